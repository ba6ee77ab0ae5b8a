//! One request before a load: whether a gateway answers at all, and which model alias to ask for.
//!
//! A load that nobody answers says nothing, and thousands of refusals may look like an attack. So each
//! gateway is asked once what callers will ask it, and what it says is turned into what to do next.

use std::time::Duration;

use reqwest::{Client, StatusCode, Url, header::LOCATION, redirect::Policy};
use scenarios::{
    causes::with_causes,
    nearest::nearest,
    sample::sample,
    scenario::Act,
    steady_chat::{self, Prompt},
    streamed_chat::Stream,
};
use serde::Deserialize;

use crate::{
    client::{http, version},
    runner::redact::redacted,
};

/// The most of a body that is read, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;

/// How long a gateway may take to accept a connection. An address that leads nowhere is soon told.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How many model aliases are named in a message.
const MOST_NAMED: usize = 20;

/// What is to be asked, and of whom.
pub struct Question<'a> {
    /// Where the gateways are.
    pub gateways: &'a [Url],
    /// The keys that callers will hold; the first one asks.
    pub keys: &'a [String],
    /// The model alias, if somebody chose one.
    pub model: Option<&'a str>,
    /// What callers will do.
    pub act: Act,
    /// What the prompts are marked with.
    pub mark: &'a str,
    /// How long an answer may take.
    pub patience: Duration,
}

/// What was learned from gateways that answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The model alias to ask for.
    pub model: String,
    /// How many completions were asked for.
    pub asked: u64,
    /// The version that one of them says it has.
    pub version: Option<String>,
}

/// Why there should be no load.
///
/// Messages are lowercase fragments, made to follow "gauntlet: ".
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing came back.
    #[error("{gateway} gives no answer: {why}; is it running, and is this its address?")]
    Unreachable {
        /// Who was asked.
        gateway: String,
        /// What the system said.
        why: String,
    },
    /// The key opens no door.
    #[error(
        "{gateway} refuses the key ({status}: {said}); give one that it knows with --key, \
         GAUNTLET_KEY or --keys-file"
    )]
    Key {
        /// Who was asked.
        gateway: String,
        /// Its status.
        status: u16,
        /// What it said.
        said: String,
    },
    /// The model alias means nothing to it.
    #[error("{gateway} has no model `{model}` for this key ({status}: {said}); {hint}")]
    Model {
        /// Who was asked.
        gateway: String,
        /// For which model alias.
        model: String,
        /// Its status.
        status: u16,
        /// What it said.
        said: String,
        /// What it has, and what was probably meant.
        hint: String,
    },
    /// It does not say which model aliases it has.
    #[error(
        "{gateway} does not say which models it has ({why}); name one with --model, or give the address \
         below which it has /v1/models"
    )]
    NoModels {
        /// Who was asked.
        gateway: String,
        /// What it said instead.
        why: String,
    },
    /// It answers otherwise than such a gateway does.
    #[error(
        "{gateway} does not answer as a gateway of OpenAI's API does ({found}); give the address \
         below which it has {}",
        steady_chat::PATH
    )]
    Stranger {
        /// Who was asked.
        gateway: String,
        /// What it said.
        found: String,
    },
    /// It sends requests to another place, where load may not be meant to go.
    #[error(
        "{gateway} sends requests elsewhere ({status}: {to}); if load is meant to go there, give that \
         address with --gateway"
    )]
    Elsewhere {
        /// Who was asked.
        gateway: String,
        /// Its status.
        status: u16,
        /// Where it sends them.
        to: String,
    },
    /// It refuses for another reason.
    #[error("{gateway} refuses a first request ({status}: {said}); try again once it answers one")]
    Refused {
        /// Who was asked.
        gateway: String,
        /// Its status.
        status: u16,
        /// What it said.
        said: String,
    },
}

impl NoAnswer {
    /// Whether what was given to us is wrong, and not the gateway.
    pub fn is_usage(&self) -> bool {
        match self {
            NoAnswer::Key { .. } | NoAnswer::Model { .. } | NoAnswer::NoModels { .. } => true,
            NoAnswer::Unreachable { .. }
            | NoAnswer::Stranger { .. }
            | NoAnswer::Elsewhere { .. }
            | NoAnswer::Refused { .. } => false,
        }
    }
}

/// The address of a gateway in messages and reports, without what it may hold of secrets.
pub fn named(gateway: &Url) -> String {
    redacted(base(gateway))
}

/// The address below which the API is.
pub fn base(gateway: &Url) -> &str {
    let text = gateway.as_str().trim_end_matches('/');
    text.strip_suffix("/v1").unwrap_or(text)
}

/// Asks each gateway once.
///
/// # Errors
///
/// When one of them does not answer, with what to do about it.
pub async fn ask(question: &Question<'_>) -> Result<Answers, NoAnswer> {
    let client = http::client(question.gateways.iter().map(Url::as_str))
        .timeout(question.patience)
        .connect_timeout(question.patience.min(CONNECT_PATIENCE))
        // Load goes to hosts that somebody named, and a key to nobody else.
        .redirect(Policy::none())
        .user_agent(concat!("gauntlet/", env!("CARGO_PKG_VERSION")))
        .build();
    let mut model = question.model.map(str::to_owned);
    let mut asked = 0;
    let mut version = None;
    for gateway in question.gateways {
        let asking = Asking {
            client: client.as_ref().map_err(|error| NoAnswer::Unreachable {
                gateway: named(gateway),
                why: with_causes(error),
            })?,
            gateway,
            question,
        };
        let model = match &mut model {
            Some(model) => model,
            None => model.insert(asking.first_model().await?),
        };
        let told = asking.completion(model).await?;
        version = version.or(told);
        asked += 1;
    }
    Ok(Answers { model: model.unwrap_or_default(), asked, version })
}

/// What a gateway said.
struct Answer {
    status: StatusCode,
    /// The version that it says it has.
    version: Option<String>,
    body: Vec<u8>,
}

/// One gateway that is being asked.
struct Asking<'a> {
    client: &'a Client,
    gateway: &'a Url,
    question: &'a Question<'a>,
}

impl Asking<'_> {
    async fn first_model(&self) -> Result<String, NoAnswer> {
        let Answer { status, body, .. } = self.models().await?;
        let gateway = named(self.gateway);
        if is_about_the_key(status) {
            return Err(NoAnswer::Key { gateway, status: status.as_u16(), said: self.said(&body) });
        }
        let why = match offered(&body) {
            _ if !status.is_success() => format!("{}: {}", status.as_u16(), self.said(&body)),
            Some(models) => match models.into_iter().next() {
                Some(first) => return Ok(first),
                None => "its list is empty".to_owned(),
            },
            None => format!("{}: {}", status.as_u16(), self.said(&body)),
        };
        Err(NoAnswer::NoModels { gateway, why })
    }

    /// Asks for a completion, and gives the version that the gateway told with it.
    async fn completion(&self, model: &str) -> Result<Option<String>, NoAnswer> {
        let prompt = Prompt::new(model, self.question.mark, 0, 0);
        let prompt = match self.question.act {
            Act::SteadyChat => prompt,
            Act::StreamedChat => prompt.streamed(),
        };
        let request = self.client.post(self.at(steady_chat::PATH)).json(&prompt);
        let Answer { status, version, body } = self.answer(request).await?;
        let (gateway, said) = (named(self.gateway), self.said(&body));
        let code = status.as_u16();
        if status.is_success() {
            return match self.missing(&body) {
                None => Ok(version),
                Some(what) => Err(NoAnswer::Stranger {
                    gateway,
                    found: format!("{code} without {what}: {said}"),
                }),
            };
        }
        let known = match code {
            400 | 401 | 403 | 404 | 422 => self.models().await.ok(),
            _ => None,
        };
        let known = known.filter(|answer| answer.status.is_success());
        let known = known.and_then(|answer| offered(&answer.body));
        Err(match known {
            Some(known) if known.iter().all(|known| known != model) => {
                let hint = hint(model, &known);
                NoAnswer::Model { gateway, model: model.to_owned(), status: code, said, hint }
            }
            _ if is_about_the_key(status) => NoAnswer::Key { gateway, status: code, said },
            None if code == 404 => NoAnswer::Stranger { gateway, found: format!("{code}: {said}") },
            Some(_) | None => NoAnswer::Refused { gateway, status: code, said },
        })
    }

    /// What a body that came with a success lacks, if it is not what callers will ask for. A stream that
    /// goes wrong later on is one all the same: how often that happens is what a load is to show.
    fn missing(&self, body: &[u8]) -> Option<&'static str> {
        match self.question.act {
            Act::SteadyChat => (!steady_chat::is_answer(body)).then_some("a completion"),
            Act::StreamedChat => {
                let mut stream = Stream::default();
                stream.read(body, Duration::ZERO);
                (!stream.has_events()).then_some("a stream")
            }
        }
    }

    async fn models(&self) -> Result<Answer, NoAnswer> {
        self.answer(self.client.get(self.at("/v1/models"))).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", base(self.gateway))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Answer, NoAnswer> {
        let key = self.question.keys.first().map(String::as_str).unwrap_or_default();
        let unreachable = |error: reqwest::Error| NoAnswer::Unreachable {
            gateway: named(self.gateway),
            why: if error.is_timeout() {
                format!("nothing came for {}", scenarios::duration::text(self.question.patience))
            } else {
                with_causes(&error.without_url())
            },
        };
        let mut answer = request.bearer_auth(key).send().await.map_err(unreachable)?;
        let (status, version) = (answer.status(), version(answer.headers()));
        if status.is_redirection() {
            let to = answer.headers().get(LOCATION).map_or(&b"nowhere"[..], |to| to.as_bytes());
            let (gateway, status) = (named(self.gateway), status.as_u16());
            return Err(NoAnswer::Elsewhere { gateway, status, to: self.said(to) });
        }
        let mut body = Vec::new();
        // What broke off is judged by what came.
        while let Ok(Some(part)) = answer.chunk().await {
            body.extend_from_slice(&part);
            if body.len() > LONGEST_BODY {
                break;
            }
        }
        Ok(Answer { status, version, body })
    }

    fn said(&self, body: &[u8]) -> String {
        match redacted(&sample(body, self.question.keys)) {
            said if said.trim().is_empty() => "an empty body".to_owned(),
            said => said,
        }
    }
}

fn is_about_the_key(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN
}

/// The model aliases of a list; nothing where it is none.
fn offered(body: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
    }
    let list: List = serde_json::from_slice(body).ok()?;
    Some(list.data.into_iter().map(|model| model.id).collect())
}

/// Which model was probably meant, and which there are.
fn hint(model: &str, known: &[String]) -> String {
    let meant = nearest(model, known.iter().map(String::as_str))
        .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    let named: Vec<_> = known.iter().take(MOST_NAMED).map(String::as_str).collect();
    let more = match known.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match named.is_empty() {
        true => "it has none at all".to_owned(),
        false => format!("{meant}it has {}{more}", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_the_version() {
        for text in ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"] {
            assert_eq!(base(&text.parse().unwrap()), "http://a:1", "{text}");
        }
        assert_eq!(base(&"https://a/llm/v1".parse().unwrap()), "https://a/llm");
        assert_eq!(named(&"http://ann:secret@a:1/v1".parse().unwrap()), "http://[redacted]@a:1");
    }

    #[test]
    fn an_unknown_model_is_answered_with_the_nearest_and_the_list() {
        let known = ["gpt-4o", "gpt-4o-mini"].map(str::to_owned);
        insta::assert_snapshot!(
            hint("gpt-4o-mni", &known),
            @"did you mean `gpt-4o-mini`? it has gpt-4o, gpt-4o-mini"
        );
        let many: Vec<_> = (0..25).map(|number| format!("m{number}")).collect();
        assert!(hint("zzzzzz", &many).ends_with("m19 and 5 more"));
        assert_eq!(hint("zzzzzz", &[]), "it has none at all");
    }

    #[test]
    fn only_a_list_of_models_is_one() {
        assert_eq!(offered(br#"{"data": [{"id": "a", "object": "model"}]}"#).unwrap(), ["a"]);
        assert_eq!(offered(b"<html>"), None);
    }
}
