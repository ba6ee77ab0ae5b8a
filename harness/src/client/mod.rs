//! Applies an op to a replica, and never retries.
//!
//! A request that fails on the way may or may not have taken effect; its outcome is indeterminate,
//! and what that allows is for the model to say.

pub mod http;
pub mod wire;
mod version;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::Value;

use crate::{
    adapters::{Adapter, Names},
    history::CallId,
    op::{Call, Chat, Listed, Op, Outcome, Refusal, Replica},
};
pub use version::version;
use wire::{ChatRequest, Completion, Delta, ModelList};

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a replica may take to accept a connection. An address that leads nowhere is soon told.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The longest part of an error message that is kept, in characters.
const LONGEST_MESSAGE: usize = 300;

/// Sends ops to the replicas of one target.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    bases: Vec<String>,
    admin_key: String,
    adapter: &'static dyn Adapter,
    version: Arc<OnceLock<String>>,
}

/// What a caller learned from one call.
#[derive(Clone, Debug)]
pub struct Learned {
    /// What became of the call.
    pub outcome: Outcome,
    /// The secret of the key that it issued.
    pub issued: Option<String>,
    /// The gateway's own name for the call.
    pub call_id: Option<String>,
}

impl Client {
    /// A client of the replicas at these base URLs.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be built.
    pub fn new(
        bases: Vec<String>,
        admin_key: String,
        adapter: &'static dyn Adapter,
    ) -> reqwest::Result<Client> {
        let http = http::client(bases.iter().map(String::as_str))
            .timeout(PATIENCE)
            .connect_timeout(CONNECT_PATIENCE)
            .build()?;
        Ok(Client { http, bases, admin_key, adapter, version: Arc::default() })
    }

    /// The base URL of a replica.
    pub fn base(&self, replica: Replica) -> &str {
        self.bases.get(usize::from(replica.0)).map_or("", String::as_str)
    }

    /// The version that the gateway says it has, once an answer has told it.
    pub fn version(&self) -> Option<&str> {
        self.version.get().map(String::as_str)
    }

    /// Sends one call.
    pub async fn apply(&self, id: CallId, call: &Call, names: &Names) -> Learned {
        let sent = match &call.op {
            Op::Admin(admin) => {
                let request = self.adapter.admin(admin, names);
                let url = format!("{}{}", self.base(call.replica), request.path);
                self.http.post(url).bearer_auth(&self.admin_key).json(&request.body)
            }
            Op::Chat(chat) => {
                let url = format!("{}/v1/chat/completions", self.base(call.replica));
                let model = names.alias(chat.alias);
                let body = ChatRequest::asking(&model, &mark(&names.prefix, id), chat.streamed);
                self.http.post(url).bearer_auth(names.key(chat.key)).json(&body)
            }
            Op::ListModels { key } => {
                let url = format!("{}{}", self.base(call.replica), self.adapter.models_path());
                self.http.get(url).bearer_auth(names.key(*key))
            }
        };
        match self.read(sent, &call.op, names).await {
            Ok(learned) => learned,
            Err(error) => indeterminate(told(&error)),
        }
    }

    async fn read(
        &self,
        sent: reqwest::RequestBuilder,
        op: &Op,
        names: &Names,
    ) -> reqwest::Result<Learned> {
        let answer = sent.send().await?;
        let status = answer.status();
        let header = |name: &str| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
        };
        if self.version.get().is_none()
            && let Some(told) = version(answer.headers())
        {
            // Another caller may have learned it meanwhile; the first to tell is believed.
            drop(self.version.set(told));
        }
        let call_id = header("x-litellm-call-id");
        let content_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let body = answer.bytes().await?;
        if !status.is_success() {
            let outcome = self.refused(status, &content_type, &body);
            return Ok(Learned { outcome, issued: None, call_id });
        }
        let mut learned = match op {
            Op::Chat(Chat { streamed: true, .. }) => streamed(status, &body),
            Op::Chat(_) => whole(status, &body),
            Op::ListModels { .. } => listed(status, &body, names),
            Op::Admin(_) => self.managed(status, &content_type, &body),
        };
        learned.call_id = call_id;
        Ok(learned)
    }

    fn managed(&self, status: StatusCode, content_type: &str, body: &[u8]) -> Learned {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return indeterminate(format!("answered {status} with {content_type}, not with JSON"));
        };
        let issued = self.adapter.issued_key(&value);
        let outcome = Outcome::Answered { status: status.as_u16(), fingerprint: None };
        Learned { outcome, issued, call_id: None }
    }

    fn refused(&self, status: StatusCode, content_type: &str, body: &[u8]) -> Outcome {
        let text = || String::from_utf8_lossy(body).into_owned();
        let (value, message) = match serde_json::from_slice::<Value>(body) {
            Ok(value) => {
                let message = value["error"]["message"].as_str().map_or_else(text, str::to_owned);
                (value, message)
            }
            Err(_) => (Value::Null, format!("{content_type}, not JSON: {}", text())),
        };
        Outcome::Refused {
            status: status.as_u16(),
            refusal: self.adapter.refusal(status.as_u16(), &value),
            error_type: value["error"]["type"].as_str().map(ToOwned::to_owned),
            message: message.chars().take(LONGEST_MESSAGE).collect(),
        }
    }
}

/// The mark in a prompt by which the provider's ledger is joined to the call.
pub fn mark(prefix: &str, id: CallId) -> String {
    format!("{prefix}n{}", id.0)
}

fn indeterminate(why: String) -> Learned {
    Learned { outcome: Outcome::Indeterminate { why }, issued: None, call_id: None }
}

/// A list of models, each an object with an `id`.
fn listed(status: StatusCode, body: &[u8], names: &Names) -> Learned {
    let list = match serde_json::from_slice::<ModelList>(body) {
        Ok(list) => list,
        Err(error) => {
            return indeterminate(format!("answered {status}, but not with models: {error}"));
        }
    };
    let told = |id: String| match names.alias_of(&id) {
        Some(alias) => Listed::Alias(alias),
        None => Listed::Stranger(id),
    };
    let models = list.data.into_iter().map(|model| told(model.id)).collect();
    let outcome = Outcome::Listed { status: status.as_u16(), models };
    Learned { outcome, issued: None, call_id: None }
}

fn whole(status: StatusCode, body: &[u8]) -> Learned {
    match serde_json::from_slice::<Completion>(body) {
        Ok(completion) => answered(status, completion.text()),
        Err(error) => {
            indeterminate(format!("answered {status}, but not with a completion: {error}"))
        }
    }
}

/// A stream is answered when it ends with its end marker, and failed when it carries an error.
fn streamed(status: StatusCode, body: &[u8]) -> Learned {
    let mut text = String::new();
    let mut ended = false;
    for line in String::from_utf8_lossy(body).lines() {
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
        if data == "[DONE]" {
            ended = true;
            continue;
        }
        match serde_json::from_str::<Delta>(data) {
            Ok(Delta { error: Some(error), .. }) => {
                let outcome = Outcome::Refused {
                    status: status.as_u16(),
                    refusal: Refusal::Fault,
                    error_type: error["type"].as_str().map(ToOwned::to_owned),
                    message: error.to_string().chars().take(LONGEST_MESSAGE).collect(),
                };
                return Learned { outcome, issued: None, call_id: None };
            }
            Ok(delta) => text.push_str(&delta.text()),
            Err(error) => return indeterminate(format!("a chunk is not JSON: {error}")),
        }
    }
    if ended { answered(status, text) } else { indeterminate("the stream has no end".to_owned()) }
}

fn answered(status: StatusCode, text: String) -> Learned {
    let fingerprint = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .find(|word| word.starts_with("fp-"))
        .map(ToOwned::to_owned);
    let outcome = Outcome::Answered { status: status.as_u16(), fingerprint };
    Learned { outcome, issued: None, call_id: None }
}

/// An error with its causes: reqwest's own text leaves out what the socket said.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}
