//! Relays a provider's events as they come, and counts what was relayed when the caller leaves.

use std::{borrow::Cow, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream, stream::BoxStream};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use crate::{
    access::StillOpen,
    object_text::{ObjectText, quoted},
    routes::chat::Settlement,
    spend::Usage,
};

/// The longest event that is looked into; a longer one is relayed as it is.
const LONGEST_EVENT: usize = 1024 * 1024;

/// One answer on its way to the caller. Dropping it closes the connection to the provider.
pub(crate) struct Relay {
    upstream: BoxStream<'static, reqwest::Result<Bytes>>,
    silence_bound: Duration,
    events: Events,
    settlement: Settlement,
    is_over: bool,
    _open: StillOpen,
}

impl Relay {
    pub(crate) fn new(
        upstream: reqwest::Response,
        silence_bound: Duration,
        alias: String,
        caller_wants_usage: bool,
        settlement: Settlement,
        open: StillOpen,
    ) -> Self {
        Self {
            upstream: upstream.bytes_stream().boxed(),
            silence_bound,
            events: Events::new(&alias, caller_wants_usage),
            settlement,
            is_over: false,
            _open: open,
        }
    }

    /// The answer as a body.
    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut relay| async move {
            let bytes = relay.next().await?;
            Some((Ok::<_, std::convert::Infallible>(bytes), relay))
        }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        while !self.is_over {
            let chunk = tokio::time::timeout(self.silence_bound, self.upstream.next()).await;
            let relayed = match chunk {
                Ok(Some(Ok(chunk))) => self.events.take(&chunk),
                Ok(None) => self.end(None),
                Ok(Some(Err(_))) => self.end(Some("The provider's answer broke off.")),
                Err(_) => self.end(Some("The provider fell silent.")),
            };
            self.settlement.count(self.events.usage, self.events.contents);
            if self.is_over {
                self.settlement.finish().await;
            }
            if !relayed.is_empty() {
                return Some(relayed);
            }
        }
        None
    }

    /// The last bytes: whatever was left, and an error where the answer is not whole.
    fn end(&mut self, failure: Option<&str>) -> Bytes {
        self.is_over = true;
        let mut last = self.events.rest();
        let failure = match self.events.is_done {
            true => None,
            false => Some(failure.unwrap_or("The provider's answer ended early.")),
        };
        if let Some(message) = failure {
            let error = json!({"error": {
                "message": message, "type": "internal_server_error", "param": null, "code": "500",
            }});
            last.extend_from_slice(format!("data: {error}\n\n").as_bytes());
        }
        last.freeze()
    }
}

/// Server-sent events, put together from chunks of any size.
struct Events {
    /// The alias as a JSON string.
    quoted_alias: String,
    caller_wants_usage: bool,
    pending: BytesMut,
    usage: Option<Usage>,
    /// How many events carried content.
    contents: i64,
    is_done: bool,
}

impl Events {
    fn new(alias: &str, caller_wants_usage: bool) -> Self {
        Self {
            quoted_alias: quoted(alias),
            caller_wants_usage,
            pending: BytesMut::new(),
            usage: None,
            contents: 0,
            is_done: false,
        }
    }

    /// Takes a chunk and gives every event that is now complete.
    fn take(&mut self, chunk: &[u8]) -> Bytes {
        self.pending.extend_from_slice(chunk);
        let mut out = BytesMut::new();
        while let Some(end) = event_end(&self.pending) {
            let event = self.pending.split_to(end);
            self.relay(&event, &mut out);
        }
        if self.pending.len() > LONGEST_EVENT {
            out.extend_from_slice(&self.pending.split());
        }
        out.freeze()
    }

    /// What is left of an event that never ended: nothing a client could use, unless it is whole.
    fn rest(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        let rest = self.pending.split();
        if rest.trim_ascii() == b"data: [DONE]" {
            self.relay(b"data: [DONE]\n\n", &mut out);
        }
        out
    }

    /// Relays one event, its model renamed to the alias.
    fn relay(&mut self, event: &[u8], out: &mut BytesMut) {
        let payload = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
        if payload == Some(b"[DONE]") {
            self.is_done = true;
        }
        let Some(chunk) = payload.and_then(ObjectText::parse) else {
            out.extend_from_slice(event);
            return;
        };
        if let Some(usage) = chunk.read("usage") {
            self.usage = Some(usage);
        }
        let choices: Option<Vec<Choice>> = chunk.read("choices");
        if choices.as_ref().is_some_and(|choices| choices.iter().any(Choice::has_content)) {
            self.contents += 1;
        }
        let is_unasked = chunk.raw("usage").is_some() && !self.caller_wants_usage;
        if is_unasked && choices.is_some_and(|choices| choices.is_empty()) {
            return;
        }
        let mut shown = match chunk.raw("model") {
            Some(_) => chunk.with(&[("model", &self.quoted_alias)]),
            None => chunk.with(&[]),
        };
        if is_unasked {
            // The field came with the usage that the caller did not ask for.
            let asked = ObjectText::parse(shown.as_bytes());
            let asked = asked.map(|chunk| chunk.without("usage").into_owned());
            shown = asked.unwrap_or(shown);
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(shown.as_bytes());
        out.extend_from_slice(b"\n\n");
    }
}

/// Where the first event ends, its blank line included.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let mut place = 0;
    while let Some(line) = bytes[place..].iter().position(|byte| *byte == b'\n') {
        place += line + 1;
        let rest = &bytes[place..];
        if rest.starts_with(b"\n") {
            return Some(place + 1);
        }
        if rest.starts_with(b"\r\n") {
            return Some(place + 2);
        }
    }
    None
}

/// What is looked at in one choice of a chunk.
#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    tool_calls: Option<IgnoredAny>,
}

impl Choice<'_> {
    fn has_content(&self) -> bool {
        self.delta.as_ref().is_some_and(|delta| {
            let text = delta.content.as_ref().is_some_and(|text| !text.is_empty());
            text || delta.tool_calls.is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n\
        data: {\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n\
        data: [DONE]\n\n";

    fn relayed(stream: &str, step: usize, caller_wants_usage: bool) -> (String, Events) {
        let mut events = Events::new("alias", caller_wants_usage);
        let mut out = Vec::new();
        for chunk in stream.as_bytes().chunks(step) {
            out.extend_from_slice(&events.take(chunk));
        }
        (String::from_utf8(out).unwrap(), events)
    }

    #[test]
    fn chunk_borders_change_nothing() {
        let whole = relayed(STREAM, 1_000, false).0;
        for step in 1..40 {
            assert_eq!(relayed(STREAM, step, false).0, whole);
        }
    }

    #[test]
    fn usage_is_counted_and_shown_only_to_whoever_asked() {
        let (text, events) = relayed(STREAM, 7, false);
        assert_eq!(events.usage, Some(Usage { prompt_tokens: 3, completion_tokens: 4 }));
        assert_eq!(events.contents, 1);
        assert!(events.is_done);
        insta::assert_snapshot!(text, @r#"
        data: {"model":"alias","choices":[{"delta":{"content":"a"}}]}

        data: [DONE]
        "#);
        assert!(relayed(STREAM, 7, true).0.contains("\"prompt_tokens\":3"));
    }

    #[test]
    fn what_is_not_an_event_of_ours_passes_unchanged() {
        let odd = ": comment\n\nevent: ping\ndata: x\n\n";
        assert_eq!(relayed(odd, 3, false).0, odd);
    }

    #[test]
    fn long_line_endings_end_an_event_too() {
        assert_eq!(event_end(b"data: 1\r\n\r\ndata"), Some(11));
        assert_eq!(event_end(b"data: 1\r\n"), None);
    }
}
