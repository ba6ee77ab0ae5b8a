//! Streamed chat: every caller has one short completion after another streamed, and reads each to its
//! end.
//!
//! A stream is read as it arrives, however it is cut into pieces: server-sent events, of which each
//! holds a chunk as JSON, and `[DONE]` as the last. What a reader notices is measured: the time to the
//! first token (TTFT), and the gaps between tokens. A token is taken to be a chunk with content, since
//! only the provider knows where its tokens end. A stream has succeeded when it brought content and was
//! said to be done; every other end is a failure, whatever its status was.

use std::time::Duration;

use serde::{Deserialize, de::IgnoredAny};

use crate::{duration, order::Streamed};

/// The longest event that is read, in bytes.
const LONGEST_EVENT: usize = 1024 * 1024;

/// How much of a body is remembered in case that it is no stream, in bytes.
const LONGEST_HEAD: usize = 4096;

/// How a stream came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The body ended as bodies should.
    Whole,
    /// The connection broke off, for this reason.
    BrokenOff(String),
    /// Nothing came for so long.
    Stalled(Duration),
}

/// A stream that is being read. Times are since its request was sent.
#[derive(Debug, Default)]
pub struct Stream {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// What the event that has not ended yet holds, if it holds anything.
    data: Option<Vec<u8>>,
    head: Vec<u8>,
    bytes: u64,
    events: u64,
    first_token: Option<Duration>,
    latest_token: Duration,
    gaps: Vec<u32>,
    done: Option<Duration>,
    /// What the gateway said instead of a chunk, and why that is none.
    error: Option<(&'static str, String)>,
}

impl Stream {
    /// Reads the next bytes of the body, which arrived at this time.
    pub fn read(&mut self, bytes: &[u8], at: Duration) {
        self.bytes += bytes.len() as u64;
        let room = LONGEST_HEAD.saturating_sub(self.head.len());
        // A head is needed only as long as there was no event.
        if self.events == 0 {
            self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.read_line(line.strip_suffix(b"\r").unwrap_or(&line), at);
            // The next line needs no memory of its own.
            self.line = line;
            self.line.clear();
        }
        self.line.extend_from_slice(rest);
        let unfinished = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
        if unfinished > LONGEST_EVENT {
            self.line = Vec::new();
            self.data = None;
            self.spoilt("an event that never ends", format!("{LONGEST_EVENT} bytes and more"));
        }
    }

    /// Whether it was said to be done.
    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// Whether there was any event: a body without one is no stream.
    pub fn has_events(&self) -> bool {
        self.events > 0
    }

    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What came of it: when it was done and what was measured of it, or what happened instead and what
    /// was said.
    pub fn ended(self, end: &End) -> Result<(Duration, Streamed), (&'static str, String)> {
        let after = match (self.first_token, self.gaps.len() + 1) {
            (None, _) => "before the first token".to_owned(),
            (Some(_), 1) => "after 1 token".to_owned(),
            (Some(_), tokens) => format!("after {tokens} tokens"),
        };
        if let Some(error) = self.error {
            return Err(error);
        }
        match (self.done, self.first_token, end) {
            (Some(done), Some(first_token), _) => {
                Ok((done, Streamed { first_token, gaps: self.gaps }))
            }
            (Some(_), None, _) => {
                Err(("a stream without content", "[DONE] before the first token".to_owned()))
            }
            (None, _, End::BrokenOff(cause)) => {
                Err(("a stream that broke off", format!("{after}: {cause}")))
            }
            (None, _, End::Stalled(patience)) => Err((
                "a stream that stalled",
                format!("nothing for {} {after}", duration::text(*patience)),
            )),
            (None, _, End::Whole) if self.events == 0 => {
                Err(("no stream", String::from_utf8_lossy(&self.head).into_owned()))
            }
            (None, _, End::Whole) => {
                Err(("a stream that ended early", format!("no [DONE] {after}")))
            }
        }
    }

    fn read_line(&mut self, line: &[u8], at: Duration) {
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                self.read_event(&data, at);
            }
        } else if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            }
        }
        // All else are comments, which keep the connection alive, and fields that say nothing of tokens.
    }

    fn read_event(&mut self, data: &[u8], at: Duration) {
        self.events += 1;
        self.head = Vec::new();
        if data == b"[DONE]" {
            self.done.get_or_insert(at);
            return;
        }
        match serde_json::from_slice::<Chunk>(data) {
            Ok(chunk) if chunk.error.is_some() => {
                self.spoilt("an error in its stream", text(data));
            }
            Ok(chunk) if chunk.has_content() => self.token(at),
            Ok(_) => {}
            Err(_) => self.spoilt("something in its stream that is no chunk", text(data)),
        }
    }

    fn token(&mut self, at: Duration) {
        match self.first_token {
            None => self.first_token = Some(at),
            Some(_) => {
                let gap = at.saturating_sub(self.latest_token).as_micros();
                self.gaps.push(u32::try_from(gap).unwrap_or(u32::MAX));
            }
        }
        self.latest_token = at;
    }

    fn spoilt(&mut self, how: &'static str, said: String) {
        self.error.get_or_insert((how, said));
    }
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// What of a chunk tells whether it is a token.
#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    /// What a provider that thinks aloud shows first.
    reasoning_content: Option<String>,
}

impl Chunk {
    fn has_content(&self) -> bool {
        let shown = |text: &Option<String>| text.as_ref().is_some_and(|it| !it.is_empty());
        self.choices
            .iter()
            .flatten()
            .filter_map(|choice| choice.delta.as_ref())
            .any(|delta| shown(&delta.content) || shown(&delta.reasoning_content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = r#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    const FINISH: &str = r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}"#;

    fn token(text: &str) -> String {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    }

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// What comes of these parts, of which each arrives ten milliseconds after the one before.
    fn read(parts: &[&str], end: End) -> Result<(Duration, Streamed), (&'static str, String)> {
        let mut stream = Stream::default();
        for (part, at) in parts.iter().zip(1..) {
            stream.read(part.as_bytes(), millis(10 * at));
        }
        stream.ended(&end)
    }

    #[test]
    fn the_first_token_and_the_gaps_are_those_of_chunks_with_content() {
        let parts = [
            &format!("{ROLE}\n\n"),
            ": still here\n\n",
            &token("Hé"),
            &token("llo"),
            &format!("event: usage\r\n{FINISH}\r\n\r\n"),
            &token("!"),
            "data: [DONE]\n\n",
        ];
        let (done, streamed) = read(&parts, End::Whole).unwrap();
        assert_eq!(done, millis(70));
        let gaps = vec![10_000, 20_000];
        assert_eq!(streamed, Streamed { first_token: millis(30), gaps });
    }

    #[test]
    fn it_does_not_matter_how_a_stream_is_cut_into_pieces() {
        let body = format!(
            "{ROLE}\r\n\r\n{}data:{{\"choices\":\ndata: []}}\n\n{}data: [DONE]\n\n",
            token("é"),
            token("b")
        );
        let at_once = read(&[&body], End::Whole).unwrap();
        let mut stream = Stream::default();
        for byte in body.as_bytes() {
            stream.read(&[*byte], millis(10));
        }
        assert_eq!(stream.bytes(), body.len() as u64);
        assert_eq!(stream.ended(&End::Whole).unwrap(), at_once);
    }

    #[test]
    fn a_stream_that_is_done_has_succeeded_however_its_connection_ends() {
        let parts = [&token("a"), "data: [DONE]\n\n"];
        for end in [End::Whole, End::BrokenOff("reset".to_owned()), End::Stalled(millis(1))] {
            assert!(read(&parts, end).is_ok());
        }
    }

    #[test]
    fn every_other_end_says_what_happened() {
        let (a, b) = (token("a"), token("b"));
        let error = "data: {\"error\":{\"message\":\"out of memory\"}}\n\n";
        let told = |parts: &[&str], end| {
            let (how, said) = read(parts, end).unwrap_err();
            format!("{how}: {said}")
        };
        let reset = || End::BrokenOff("connection reset".to_owned());
        let ends = [
            told(&[&a, &b], End::Whole),
            told(&[&a], End::Stalled(Duration::from_secs(30))),
            told(&[ROLE, "\n\n"], reset()),
            told(&[&a, error, "data: [DONE]\n\n"], End::Whole),
            told(&[&a, "data: <html>\n\n"], End::Whole),
            told(&["data: [DONE]\n\n"], End::Whole),
            told(&["{\"choices\": []}"], End::Whole),
            told(&["data: ", &"x".repeat(LONGEST_EVENT)], reset()),
        ];
        insta::assert_snapshot!(ends.join("\n"), @r#"
        a stream that ended early: no [DONE] after 2 tokens
        a stream that stalled: nothing for 30s after 1 token
        a stream that broke off: before the first token: connection reset
        an error in its stream: {"error":{"message":"out of memory"}}
        something in its stream that is no chunk: <html>
        a stream without content: [DONE] before the first token
        no stream: {"choices": []}
        an event that never ends: 1048576 bytes and more
        "#);
    }
}
