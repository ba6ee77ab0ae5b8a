//! The OpenAI dialect: chat completions, whole and streamed, models, and errors.
//!
//! Pure: bytes in, bytes out. When they are sent, and what is written down, is the server's.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    fingerprint::Fingerprint,
    ledger::Usage,
    script::{Ending, Reason, Refusal, Script},
};

/// What of a chat request decides the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChatRequest {
    pub(crate) model: Arc<str>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) nonce: Option<Arc<str>>,
}

/// A good answer, before it is cut into bytes.
#[derive(Debug)]
pub(crate) struct Answer {
    id: String,
    created: u64,
    model: Arc<str>,
    text: Text,
    usage: Option<UsageBody>,
    ending: Ending,
}

/// One server-sent event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) bytes: Bytes,
    /// Whether a token gap comes before it: the role, the usage and the end take no time to make.
    pub(crate) paced: bool,
}

/// The longest model name that is taken for one, and the longest nonce.
const LONGEST_NAME: usize = 256;

impl ChatRequest {
    /// Reads a request's body. The error is the message and the field it is about.
    pub(crate) fn parse(body: &[u8]) -> Result<ChatRequest, (String, Option<&'static str>)> {
        let request: RequestBody<'_> = serde_json::from_slice(body).map_err(|error| {
            (format!("We could not parse the JSON body of your request: {error}."), None)
        })?;
        let Some(model) = request.model.filter(|model| !model.is_empty()) else {
            return Err(("you must provide a model parameter".to_owned(), Some("model")));
        };
        if model.len() > LONGEST_NAME {
            return Err((format!("model is longer than {LONGEST_NAME} bytes"), Some("model")));
        }
        if request.messages.is_empty() {
            return Err((
                "[] is too short: expected at least one message".to_owned(),
                Some("messages"),
            ));
        }
        let asked = request.messages.iter().rev().find(|message| message.role == "user");
        Ok(ChatRequest {
            nonce: asked.and_then(|message| message.content.as_ref()).and_then(Content::nonce),
            model: model.into(),
            stream: request.stream.unwrap_or(false),
            include_usage: request.stream_options.is_some_and(|options| options.include_usage),
        })
    }
}

/// TEXT of the first `[[nonce:TEXT]]`.
fn nonce_in(text: &str) -> Option<Arc<str>> {
    let (_, rest) = text.split_once("[[nonce:")?;
    let (nonce, _) = rest.split_once("]]")?;
    (nonce.len() <= LONGEST_NAME).then(|| nonce.into())
}

impl Answer {
    pub(crate) fn new(
        script: &Script,
        request: &ChatRequest,
        fingerprint: Fingerprint,
        created: u64,
    ) -> Answer {
        Answer {
            id: format!("chatcmpl-{}", fingerprint.digits()),
            created,
            model: Arc::clone(&request.model),
            text: Text::new(script, fingerprint, request.nonce.as_deref()),
            usage: script.declares_usage.then(|| UsageBody::new(script.usage)),
            ending: script.ending,
        }
    }

    /// The answer in one piece.
    pub(crate) fn whole(&self) -> Bytes {
        rendered(
            String::new(),
            &Completion {
                id: &self.id,
                object: "chat.completion",
                created: self.created,
                model: &self.model,
                choices: [WholeChoice {
                    index: 0,
                    message: Message {
                        role: "assistant",
                        content: &self.text.text,
                        refusal: None,
                        annotations: [],
                    },
                    logprobs: None,
                    finish_reason: "stop",
                }],
                usage: self.usage,
                service_tier: "default",
                system_fingerprint: SYSTEM_FINGERPRINT,
            },
            "",
        )
    }

    /// The answer as a stream of events. They are made when they are asked for: a stream of many
    /// chunks is never in memory as a whole.
    pub(crate) fn events(self, include_usage: bool) -> impl Iterator<Item = Event> + Send {
        let finishes = self.ending != Ending::WithoutFinish;
        let usage = self.usage.filter(|_| include_usage && finishes);
        let done = finishes && self.ending != Ending::WithoutDone;
        let parts = self.text.parts;
        let steps = [Step::Role]
            .into_iter()
            .chain((0..parts).map(Step::Content))
            .chain(finishes.then_some(Step::Finish))
            .chain(usage.map(Step::Usage))
            .chain(done.then_some(Step::Done));
        steps.map(move |step| self.event(step, include_usage))
    }

    fn event(&self, step: Step, include_usage: bool) -> Event {
        let nothing_yet = include_usage.then_some(None);
        match step {
            Step::Role => {
                let delta = Delta { role: Some("assistant"), content: Some("") };
                Event { bytes: self.chunk(&[choice(delta, None)], nothing_yet), paced: false }
            }
            Step::Content(part) => {
                let delta = Delta { role: None, content: Some(self.text.part(part)) };
                Event { bytes: self.chunk(&[choice(delta, None)], nothing_yet), paced: true }
            }
            Step::Finish => {
                let delta = Delta { role: None, content: None };
                Event {
                    bytes: self.chunk(&[choice(delta, Some("stop"))], nothing_yet),
                    paced: true,
                }
            }
            Step::Usage(usage) => Event { bytes: self.chunk(&[], Some(Some(usage))), paced: false },
            Step::Done => Event { bytes: Bytes::from_static(b"data: [DONE]\n\n"), paced: false },
        }
    }

    fn chunk(&self, choices: &[ChunkChoice<'_>], usage: Option<Option<UsageBody>>) -> Bytes {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            service_tier: "default",
            system_fingerprint: SYSTEM_FINGERPRINT,
            choices,
            usage,
        };
        rendered("data: ".to_owned(), &chunk, "\n\n")
    }
}

/// The events of a stream, in order.
#[derive(Clone, Copy)]
enum Step {
    Role,
    Content(usize),
    Finish,
    Usage(UsageBody),
    Done,
}

/// The text of an answer, and where it is cut.
///
/// The first part holds fingerprint and nonce whole, so that a stream that ends after its first
/// content still tells whose it was.
#[derive(Debug)]
struct Text {
    text: String,
    mark_len: usize,
    parts: usize,
}

/// Bytes of filler in a part, unless the script asks for a larger text. Above four, so that no
/// part is empty when it is cut between characters.
const PART_LEN: usize = 8;

impl Text {
    fn new(script: &Script, fingerprint: Fingerprint, nonce: Option<&str>) -> Text {
        let mut text = fingerprint.to_string();
        if let Some(nonce) = nonce {
            text.push_str(" [[nonce:");
            text.push_str(nonce);
            text.push_str("]]");
        }
        let mark_len = text.len();
        let filler = if script.utf8 {
            "\u{017c}\u{00f3}\u{0142}w \u{6f22}\u{5b57} \u{1f422} "
        } else {
            "so it goes and "
        };
        let len = script.size.max(mark_len + (script.chunks - 1) * PART_LEN);
        text.reserve(len - text.len() + filler.len());
        if len > mark_len {
            text.push(' ');
        }
        while text.len() < len {
            text.push_str(filler);
        }
        text.truncate(text.ceil_char_boundary(len));
        Text { text, mark_len, parts: script.chunks }
    }

    fn part(&self, index: usize) -> &str {
        let from = if index == 0 { 0 } else { self.end_of_part(index - 1) };
        &self.text[from..self.end_of_part(index)]
    }

    /// The filler is shared out evenly among the parts after the first.
    fn end_of_part(&self, index: usize) -> usize {
        let filler_len = self.text.len() - self.mark_len;
        match self.parts - 1 {
            0 => self.text.len(),
            sharing => self.text.floor_char_boundary(self.mark_len + filler_len * index / sharing),
        }
    }
}

/// The body of an error.
pub(crate) fn error_body(refusal: Refusal) -> Bytes {
    let (kind, code, message) = match refusal.reason {
        Reason::Status => error_of_status(refusal.status),
        Reason::Quota => (
            "insufficient_quota",
            Some("insufficient_quota"),
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        Reason::Context => (
            "invalid_request_error",
            Some("context_length_exceeded"),
            "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
        ),
        Reason::Filter => (
            "invalid_request_error",
            Some("content_policy_violation"),
            "Your request was rejected as a result of our safety system.",
        ),
    };
    let param = (refusal.reason == Reason::Context).then_some("messages");
    error_envelope(kind, code, param, message)
}

/// The body of a refusal of what the caller sent.
pub(crate) fn invalid_request(code: Option<&str>, param: Option<&str>, message: &str) -> Bytes {
    error_envelope("invalid_request_error", code, param, message)
}

/// An error in the middle of a stream.
pub(crate) fn error_event() -> Bytes {
    rendered("data: ".to_owned(), &Envelope { error: late_error() }, "\n\n")
}

/// An error under a status that promised an answer.
pub(crate) fn error_as_answer() -> Bytes {
    rendered(String::new(), &Envelope { error: late_error() }, "")
}

/// What goes wrong after the status was sent.
fn late_error() -> ErrorBody<'static> {
    let (kind, code, message) = error_of_status(500);
    ErrorBody { message, kind, param: None, code }
}

/// Type, code and message by which a status is known.
fn error_of_status(status: u16) -> (&'static str, Option<&'static str>, &'static str) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided."),
        402 => ("insufficient_quota", Some("insufficient_quota"), "Insufficient balance."),
        403 => (
            "request_forbidden",
            Some("unsupported_country_region_territory"),
            "Country, region, or territory not supported",
        ),
        404 => (
            "invalid_request_error",
            Some("model_not_found"),
            "The model does not exist or you do not have access to it.",
        ),
        408 | 504 => ("timeout", None, "Request timed out."),
        409 => ("conflict_error", None, "The request conflicts with another one."),
        413 => ("invalid_request_error", None, "The request is too large."),
        429 => ("requests", Some("rate_limit_exceeded"), "Rate limit reached for requests."),
        503 => (
            "service_unavailable_error",
            Some("server_is_overloaded"),
            "The server is overloaded. Please try again later.",
        ),
        529 => ("overloaded_error", Some("overloaded"), "Overloaded"),
        400..500 => ("invalid_request_error", None, "The request is not valid."),
        _ => ("server_error", None, "The server had an error while processing your request."),
    }
}

fn error_envelope(kind: &str, code: Option<&str>, param: Option<&str>, message: &str) -> Bytes {
    rendered(String::new(), &Envelope { error: ErrorBody { message, kind, param, code } }, "")
}

/// How long a caller is asked to wait, in whole seconds; rounded up, because less is too early.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The list of models: a few worked examples of the grammar.
pub(crate) fn models() -> Bytes {
    const EXAMPLES: [&str; 6] = [
        "mock-ok",
        "mock-ok-chunks5-gap20ms",
        "mock-429-ra7",
        "mock-500",
        "mock-hang",
        "mock-cut3",
    ];
    let data = EXAMPLES.map(|id| Model { id, object: "model", created: 0, owned_by: "mocks" });
    rendered(String::new(), &ModelList { object: "list", data: &data }, "")
}

/// Enough for most bodies, so that they are written without growing.
const USUAL_LEN: usize = 1_024;

fn rendered<T: Serialize>(prefix: String, body: &T, suffix: &str) -> Bytes {
    let mut bytes = prefix.into_bytes();
    bytes.reserve(USUAL_LEN);
    serde_json::to_writer(&mut bytes, body).expect("plain structs and a Vec cannot fail");
    bytes.extend_from_slice(suffix.as_bytes());
    Bytes::from(bytes)
}

const SYSTEM_FINGERPRINT: &str = "fp_mock";

#[derive(Deserialize)]
struct RequestBody<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    messages: Vec<RequestMessage<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct RequestMessage<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    #[serde(borrow)]
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

impl Content<'_> {
    fn nonce(&self) -> Option<Arc<str>> {
        match self {
            Content::Text(text) => nonce_in(text),
            Content::Parts(parts) => {
                parts.iter().filter_map(|part| part.text.as_deref()).find_map(nonce_in)
            }
        }
    }
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'a str,
    created: u64,
    model: &'a str,
    choices: [WholeChoice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody>,
    service_tier: &'a str,
    system_fingerprint: &'a str,
}

#[derive(Serialize)]
struct WholeChoice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
    refusal: Option<&'a str>,
    annotations: [(); 0],
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'a str,
    created: u64,
    model: &'a str,
    service_tier: &'a str,
    system_fingerprint: &'a str,
    choices: &'a [ChunkChoice<'a>],
    /// Absent unless asked for; then null on every chunk but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageBody>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'a str>,
}

fn choice<'a>(delta: Delta<'a>, finish_reason: Option<&'a str>) -> ChunkChoice<'a> {
    ChunkChoice { index: 0, delta, logprobs: None, finish_reason }
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    audio_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

impl UsageBody {
    fn new(usage: Usage) -> UsageBody {
        UsageBody {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
            prompt_tokens_details: PromptDetails::default(),
            completion_tokens_details: CompletionDetails::default(),
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'a str,
    data: &'a [Model<'a>],
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'a str,
    created: u64,
    owned_by: &'a str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::fingerprint::Fingerprints;

    #[test]
    fn the_nonce_comes_from_the_last_message_of_a_user() {
        let body = br#"{"model":"m","messages":[
            {"role":"user","content":"[[nonce:first]]"},
            {"role":"assistant","content":null},
            {"role":"user","content":"say [[nonce:last]] please"},
            {"role":"assistant","content":"[[nonce:mine]]"}]}"#;
        assert_eq!(ChatRequest::parse(body).unwrap().nonce.as_deref(), Some("last"));
    }

    #[test]
    fn the_nonce_may_stand_in_a_part_and_behind_escapes() {
        let body = br#"{"model":"m","stream":true,"stream_options":{"include_usage":true},
            "messages":[{"role":"user","content":[
            {"type":"image_url","image_url":{"url":"data:"}},
            {"type":"text","text":"\u00e9\n[[nonce:a\u00e9]]"}]}]}"#;
        let request = ChatRequest::parse(body).unwrap();
        assert_eq!(request.nonce.as_deref(), Some("a\u{e9}"));
        assert!(request.stream && request.include_usage);
    }

    #[test]
    fn what_is_no_chat_request_is_refused_with_the_field() {
        let field = |body: &str| ChatRequest::parse(body.as_bytes()).unwrap_err().1;
        assert_eq!(field("{"), None);
        assert_eq!(field(r#"{"messages":[{"role":"user","content":"x"}]}"#), Some("model"));
        assert_eq!(field(r#"{"model":"m"}"#), Some("messages"));
        let long = "m".repeat(LONGEST_NAME + 1);
        assert_eq!(field(&format!(r#"{{"model":"{long}"}}"#)), Some("model"));
    }

    #[test]
    fn a_hint_in_seconds_is_never_too_early() {
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(7)), 7);
    }

    #[test]
    fn usage_is_null_until_the_chunk_that_has_no_choices() {
        let chunks = streamed("mock-ok-chunks2-usage13x7", true);
        let (last, earlier) = chunks.split_last().unwrap();
        assert!(earlier.iter().all(|chunk| chunk["usage"] == Value::Null));
        assert!(earlier.iter().all(|chunk| chunk.get("usage").is_some()));
        assert_eq!(last["choices"], Value::Array(Vec::new()));
        assert_eq!(last["usage"]["total_tokens"], 20);
    }

    #[test]
    fn usage_is_absent_unless_asked_for() {
        let chunks = streamed("mock-ok", false);
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn quota_and_rate_limit_share_a_status_and_nothing_else() {
        let body = |model| -> Value {
            let crate::script::Act::Refuse(refusal) = Script::parse(model).unwrap().act else {
                panic!("{model} does not refuse")
            };
            serde_json::from_slice(&error_body(refusal)).unwrap()
        };
        assert_eq!(body("mock-429")["error"]["code"], "rate_limit_exceeded");
        assert_eq!(body("mock-429-quota")["error"]["code"], "insufficient_quota");
        assert_eq!(body("mock-context")["error"]["param"], "messages");
    }

    proptest! {
        #[test]
        fn parts_put_together_are_the_text(
            chunks in 1..40usize, size in 0..500usize, wide: bool, nonce in "[a-z\u{e9}]{0,8}",
        ) {
            let wide = if wide { "-utf8" } else { "" };
            let script = format!("mock-chunks{chunks}-size{size}{wide}");
            let script = Script::parse(&script).unwrap();
            let fingerprint = Fingerprints::new().fresh();
            let text = Text::new(&script, fingerprint, Some(&nonce));
            let parts: Vec<&str> = (0..text.parts).map(|index| text.part(index)).collect();
            prop_assert_eq!(parts.concat(), text.text.as_str());
            prop_assert_eq!(parts.len(), chunks);
            prop_assert!(parts.iter().all(|part| !part.is_empty()));
            let mark = format!("{fingerprint} [[nonce:{nonce}]]");
            prop_assert!(parts[0].starts_with(&mark));
            prop_assert!(text.text.len() >= size);
        }
    }

    /// The JSON of every event but `[DONE]`.
    fn streamed(model: &str, include_usage: bool) -> Vec<Value> {
        let request = ChatRequest { model: model.into(), stream: true, include_usage, nonce: None };
        let script = Script::parse(model).unwrap();
        let answer = Answer::new(&script, &request, Fingerprints::new().fresh(), 1);
        let events = answer.events(include_usage).map(|event| event.bytes);
        let payloads = events.map(|event| {
            let text = String::from_utf8(event.to_vec()).unwrap();
            text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap().to_owned()
        });
        payloads.filter(|it| it != "[DONE]").map(|it| serde_json::from_str(&it).unwrap()).collect()
    }
}
