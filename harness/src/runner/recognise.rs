//! Which gateway answers at a URL: what it says of itself, and which models it offers.

use std::{collections::BTreeSet, time::Duration};

use reqwest::{RequestBuilder, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;

use super::redact::redacted;
use crate::{client::http, target::Secret};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How often an address is asked who serves it. Each time over a connection of its own.
const ASKED: usize = 8;

/// Headers by which gateways and balancers say which process has served a request.
const SERVED_BY: [&str; 6] = [
    "x-gateway-worker",
    "x-served-by",
    "x-backend-server",
    "x-upstream-addr",
    "x-replica",
    "x-pod-name",
];

/// A kind of gateway, as it shows from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// LiteLLM's proxy.
    LiteLlm,
    /// The reference gateway of this repository.
    Reference,
    /// Something that answers as OpenAI does, and is none of these.
    OpenAiLike,
}

impl Product {
    /// The adapter that knows it, or the one that is nearest.
    pub fn adapter(self) -> &'static str {
        match self {
            Product::LiteLlm | Product::OpenAiLike => "litellm",
            Product::Reference => "reference",
        }
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Product::LiteLlm => "LiteLLM",
            Product::Reference => "the reference gateway",
            Product::OpenAiLike => "an OpenAI-compatible gateway that no adapter knows",
        }
    }
}

/// What a gateway shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// What it is.
    pub product: Product,
    /// What it was known by.
    pub sign: &'static str,
    /// The version that it says it has.
    pub version: Option<String>,
    /// The models that it offers; none where they were not shown without a key.
    pub models: Option<Vec<String>>,
    /// A header that had several values, and how many: several processes serve this address.
    pub served_by: Option<(&'static str, usize)>,
}

/// Why it cannot be said what answers at a URL.
///
/// Messages are lowercase fragments.
#[derive(Debug, thiserror::Error)]
pub enum RecogniseError {
    /// Nothing answers.
    #[error("nothing answers at {base}; start the gateway, or correct the URL")]
    Silent {
        /// Where we asked.
        base: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// Something answers that is no gateway.
    #[error(
        "what answers at {base} is no gateway: GET /v1/models came back {status} with {content}, and not with OpenAI's JSON; give the URL that callers have, without the path of the API"
    )]
    NoGateway {
        /// Where we asked.
        base: String,
        /// The status.
        status: u16,
        /// What kind of content.
        content: String,
    },
    /// The key that was given is not accepted.
    #[error(
        "the gateway at {base} refuses the admin key ({status}: {message}); correct --admin-key, or leave it out to describe what can be seen without"
    )]
    KeyRefused {
        /// Where we asked.
        base: String,
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    content: String,
    gateway_version: Option<String>,
    body: Option<Value>,
}

/// Asks the gateway at `base` what it is. Nothing is changed there.
///
/// # Errors
///
/// When nothing answers, what answers is no gateway, or the key is refused.
pub async fn recognise(base: &str, key: Option<&Secret>) -> Result<Recognised, RecogniseError> {
    let silent = |source| RecogniseError::Silent { base: base.to_owned(), source };
    let http = http::client([base])
        .timeout(PATIENCE)
        .connect_timeout(CONNECT_PATIENCE)
        // Each question is to reach whoever is next in line.
        .pool_max_idle_per_host(0)
        .build()
        .map_err(silent)?;
    let get = |path: &str| http.get(format!("{base}{path}"));
    let listed = match key {
        Some(key) => get("/v1/models").bearer_auth(key.expose()),
        None => get("/v1/models"),
    };
    let models = ask(listed).await.map_err(silent)?;
    if !is_openai(models.body.as_ref()) {
        return Err(RecogniseError::NoGateway {
            base: base.to_owned(),
            status: models.status.as_u16(),
            content: models.content,
        });
    }
    if key.is_some() && matches!(models.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let said = models.body.as_ref().map(message).unwrap_or_default();
        let (base, status) = (base.to_owned(), models.status.as_u16());
        return Err(RecogniseError::KeyRefused { base, status, message: said });
    }
    let described = ask(get("/openapi.json")).await.map_err(silent)?;
    let (product, sign, version) = known(&models, &described);
    let served_by = served_by(|| get("/health/readiness")).await.map_err(silent)?;
    Ok(Recognised { product, sign, version, models: offered(models.body.as_ref()), served_by })
}

async fn ask(request: RequestBuilder) -> reqwest::Result<Answer> {
    let answer = request.send().await?;
    let header = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let content = header(CONTENT_TYPE.as_str()).unwrap_or_else(|| "nothing".to_owned());
    let (status, gateway_version) = (answer.status(), header("x-gateway-version"));
    let body = serde_json::from_slice(&answer.bytes().await?).ok();
    Ok(Answer { status, content, gateway_version, body })
}

/// A list of models, or a reason why there is none, as OpenAI words them.
fn is_openai(body: Option<&Value>) -> bool {
    body.is_some_and(|body| body["data"].is_array() || body["error"].is_object())
}

/// What a refusal says.
pub(crate) fn message(body: &Value) -> String {
    const LONGEST: usize = 120;
    let said = body["error"]["message"].as_str().or(body["detail"].as_str()).unwrap_or_default();
    redacted(said).chars().take(LONGEST).collect()
}

fn known(models: &Answer, described: &Answer) -> (Product, &'static str, Option<String>) {
    if let Some(version) = &models.gateway_version {
        return (Product::Reference, "the header `x-gateway-version`", Some(version.clone()));
    }
    let info = described.body.as_ref().map_or(&Value::Null, |body| &body["info"]);
    if info["title"].as_str().is_some_and(|title| title.starts_with("LiteLLM")) {
        let version = info["version"].as_str().map(str::to_owned);
        return (Product::LiteLlm, "the title of its /openapi.json", version);
    }
    // Its documentation can be turned off; the words of its refusal cannot.
    let said = models.body.as_ref().map(message).unwrap_or_default();
    if said.starts_with("Authentication Error, ") {
        return (Product::LiteLlm, "the words of its refusal", None);
    }
    (Product::OpenAiLike, "the shape of its answers", None)
}

fn offered(body: Option<&Value>) -> Option<Vec<String>> {
    let listed = body?["data"].as_array()?;
    Some(listed.iter().filter_map(|model| model["id"].as_str()).map(str::to_owned).collect())
}

async fn served_by(
    request: impl Fn() -> RequestBuilder,
) -> reqwest::Result<Option<(&'static str, usize)>> {
    let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); SERVED_BY.len()];
    for _ in 0..ASKED {
        let answer = request().send().await?;
        for (name, seen) in SERVED_BY.iter().zip(&mut seen) {
            let value = answer.headers().get(*name).and_then(|value| value.to_str().ok());
            seen.extend(value.map(str::to_owned));
        }
    }
    let counted = SERVED_BY.into_iter().zip(seen.iter().map(BTreeSet::len));
    Ok(counted.into_iter().find(|(_, values)| *values > 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{header, method, path},
    };

    use super::*;

    /// Something that answers these paths, and nothing else.
    async fn answering(answers: impl IntoIterator<Item = (&str, ResponseTemplate)>) -> MockServer {
        let server = MockServer::start().await;
        for (at, answer) in answers {
            Mock::given(method("GET")).and(path(at)).respond_with(answer).mount(&server).await;
        }
        server
    }

    fn json_of(status: u16, body: Value) -> ResponseTemplate {
        ResponseTemplate::new(status).set_body_json(body)
    }

    fn refused() -> ResponseTemplate {
        let error = json!({"message": "Authentication Error, No api key passed in."});
        json_of(401, json!({"error": error}))
    }

    #[tokio::test]
    async fn litellm_is_known_by_its_documentation_or_else_by_its_refusals() {
        let info = json!({"info": {"title": "LiteLLM API", "version": "1.102.4"}});
        let server = answering([("/v1/models", refused()), ("/openapi.json", json_of(200, info))]);
        let seen = recognise(&server.await.uri(), None).await.unwrap();
        assert_eq!((seen.product, seen.version.as_deref()), (Product::LiteLlm, Some("1.102.4")));
        assert_eq!(seen.models, None);
        let silent = answering([("/v1/models", refused())]).await;
        let seen = recognise(&silent.uri(), None).await.unwrap();
        assert_eq!((seen.product, seen.version), (Product::LiteLlm, None));
    }

    #[tokio::test]
    async fn the_reference_gateway_says_so_and_shows_its_models_to_a_key() {
        let server = MockServer::start().await;
        let models = json!({"data": [{"id": "a"}, {"id": "b"}]});
        let shown = json_of(200, models).insert_header("x-gateway-version", "0.1.0");
        Mock::given(path("/v1/models"))
            .and(header("authorization", "Bearer sk-admin"))
            .respond_with(shown)
            .mount(&server)
            .await;
        let seen = recognise(&server.uri(), Some(&Secret::new("sk-admin"))).await.unwrap();
        assert_eq!((seen.product, seen.version.as_deref()), (Product::Reference, Some("0.1.0")));
        assert_eq!(seen.models.unwrap(), ["a", "b"]);
    }

    #[tokio::test]
    async fn whoever_answers_as_openai_does_is_taken_for_one_like_it() {
        let server = answering([("/v1/models", json_of(200, json!({"data": []})))]).await;
        let seen = recognise(&server.uri(), None).await.unwrap();
        assert_eq!((seen.product, seen.product.adapter()), (Product::OpenAiLike, "litellm"));
    }

    #[tokio::test]
    async fn several_processes_behind_one_address_are_noticed() {
        let server = answering([("/v1/models", json_of(200, json!({"data": []})))]).await;
        for worker in ["1", "2"] {
            Mock::given(path("/health/readiness"))
                .respond_with(ResponseTemplate::new(200).insert_header("x-gateway-worker", worker))
                .up_to_n_times(3)
                .mount(&server)
                .await;
        }
        let seen = recognise(&server.uri(), None).await.unwrap();
        assert_eq!(seen.served_by, Some(("x-gateway-worker", 2)));
    }

    #[tokio::test]
    async fn a_refused_key_is_told_without_being_shown() {
        let error = json!({"error": {"message": "Invalid key sk-0123456789abcdef given"}});
        let server = answering([("/v1/models", json_of(401, error))]).await;
        let key = Secret::new("sk-0123456789abcdef");
        let told = recognise(&server.uri(), Some(&key)).await.unwrap_err().to_string();
        assert!(told.contains("refuses the admin key (401: "), "{told}");
        assert!(!told.contains("0123456789abcdef"), "{told}");
    }

    #[tokio::test]
    async fn a_page_is_no_gateway_and_neither_is_silence() {
        let page = ResponseTemplate::new(200).set_body_raw("<html>", "text/html");
        let server = answering([("/v1/models", page)]).await;
        let told = recognise(&server.uri(), None).await.unwrap_err().to_string();
        assert!(told.contains("came back 200 with text/html"), "{told}");
        let error = recognise("http://127.0.0.1:1", None).await.unwrap_err();
        assert!(error.to_string().starts_with("nothing answers at http://127.0.0.1:1;"), "{error}");
    }
}
