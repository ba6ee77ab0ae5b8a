//! Steady chat: every caller sends one short prompt after another, and takes turns with its keys.
//!
//! All keys stay in use the whole time, so a cache that holds what it is told reads each of them once
//! per lifetime and no more.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Where chat completions are asked for, below the address of a replica.
pub const PATH: &str = "/v1/chat/completions";

/// The longest answer that a prompt asks for.
const MAX_TOKENS: u32 = 16;

/// The longest that is asked for as a stream: long enough to have gaps.
const MAX_STREAMED_TOKENS: u32 = 64;

/// The body of a request.
#[derive(Clone, Debug, Serialize)]
pub struct Prompt<'a> {
    model: &'a str,
    messages: [Message; 1],
    max_tokens: u32,
    #[serde(skip_serializing_if = "is_false")]
    stream: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
}

impl<'a> Prompt<'a> {
    /// The prompt of a caller's turn. The provider's ledger shows its mark.
    pub fn new(model: &'a str, mark: &str, caller: usize, turn: u64) -> Self {
        let content = format!("[[nonce:{mark}u{caller}t{turn}]] Say something.");
        let messages = [Message { role: "user", content }];
        Prompt { model, messages, max_tokens: MAX_TOKENS, stream: false }
    }

    /// The same, with its answer as a stream.
    #[must_use]
    pub fn streamed(self) -> Self {
        Prompt { max_tokens: MAX_STREAMED_TOKENS, stream: true, ..self }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(stream: &bool) -> bool {
    !stream
}

/// Which of `keys` keys a caller uses in its turn: each one in its time, and no two neighbours the
/// same at once.
pub fn key(caller: usize, turn: u64, keys: usize) -> usize {
    let turn = usize::try_from(turn % keys.max(1) as u64).unwrap_or_default();
    (caller + turn) % keys.max(1)
}

/// Whether a body that came with a success is the completion that was asked for.
pub fn is_answer(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Completion {
        choices: Vec<IgnoredAny>,
    }
    serde_json::from_slice::<Completion>(body).is_ok_and(|answer| !answer.choices.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_caller_uses_every_key_in_turn() {
        let of = |caller| (0..5).map(|turn| key(caller, turn, 3)).collect::<Vec<_>>();
        assert_eq!(of(0), [0, 1, 2, 0, 1]);
        assert_eq!(of(4), [1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_prompt_asks_for_a_stream_only_where_it_is_to() {
        let prompt = Prompt::new("gauntlet-a", "m", 1, 2);
        let whole = serde_json::to_value(&prompt).unwrap();
        assert_eq!(whole["messages"][0]["content"], "[[nonce:mu1t2]] Say something.");
        assert!(whole.get("stream").is_none(), "{whole}");
        assert_eq!(serde_json::to_value(prompt.streamed()).unwrap()["stream"], true);
    }

    #[test]
    fn only_a_completion_is_an_answer() {
        assert!(is_answer(br#"{"choices": [{"message": {"content": "hello"}}]}"#));
        for other in [&br#"{"choices": []}"#[..], br#"{"error": {}}"#, b"<html>", b""] {
            assert!(!is_answer(other));
        }
    }
}
