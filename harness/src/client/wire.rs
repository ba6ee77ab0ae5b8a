//! The OpenAI-compatible JSON, written a second time on purpose.
//!
//! A field misnamed in types that gateway and harness share would be misnamed on both sides, and no
//! check could see it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest answer that a prompt asks for.
const MAX_TOKENS: u32 = 16;

/// A chat completion request.
#[derive(Clone, Debug, Serialize)]
pub struct ChatRequest {
    model: String,
    messages: [Message; 1],
    // Without it LiteLLM 1.84 reserves the caller's whole remaining budget for one prompt, and refuses
    // whoever asks at the same time.
    max_tokens: u32,
    stream: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
}

impl ChatRequest {
    /// One short prompt that carries `mark` for the provider's ledger.
    pub fn asking(model: &str, mark: &str, stream: bool) -> ChatRequest {
        let content = format!("[[nonce:{mark}]] Say something.");
        let message = Message { role: "user", content };
        ChatRequest { model: model.to_owned(), messages: [message], max_tokens: MAX_TOKENS, stream }
    }
}

/// The models that may be called.
#[derive(Clone, Debug, Deserialize)]
pub struct ModelList {
    /// One after the other.
    pub data: Vec<Model>,
}

/// A model in a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Model {
    /// The name by which it is called.
    pub id: String,
}

/// A whole chat completion.
#[derive(Clone, Debug, Deserialize)]
pub struct Completion {
    choices: Vec<Choice>,
}

#[derive(Clone, Debug, Deserialize)]
struct Choice {
    message: Content,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

impl Completion {
    /// The text of every choice.
    pub fn text(self) -> String {
        self.choices.into_iter().filter_map(|choice| choice.message.content).collect()
    }
}

/// One chunk of a stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Delta {
    #[serde(default)]
    choices: Vec<DeltaChoice>,
    /// The error that ended the stream.
    #[serde(default)]
    pub error: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct DeltaChoice {
    #[serde(default)]
    delta: Content,
}

impl Delta {
    /// The text of the chunk.
    pub fn text(self) -> String {
        self.choices.into_iter().filter_map(|choice| choice.delta.content).collect()
    }
}
