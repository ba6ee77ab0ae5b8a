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

/// The body of a request.
#[derive(Clone, Debug, Serialize)]
pub struct Prompt<'a> {
    model: &'a str,
    messages: [Message; 1],
    max_tokens: u32,
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
        Prompt { model, messages: [Message { role: "user", content }], max_tokens: MAX_TOKENS }
    }
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
    fn only_a_completion_is_an_answer() {
        assert!(is_answer(br#"{"choices": [{"message": {"content": "hello"}}]}"#));
        for other in [&br#"{"choices": []}"#[..], br#"{"error": {}}"#, b"<html>", b""] {
            assert!(!is_answer(other));
        }
    }
}
