//! Prompts: with which key, of which replica, whole or streamed.

use crate::{
    op::{Alias, Call, Chat, Key, Op, Replica},
    plan::Step,
};

/// A prompt of the first model, answered whole.
pub fn chat(key: Key, replica: u8) -> Call {
    chat_of(key, Alias(0), replica, false)
}

/// A prompt.
pub fn chat_of(key: Key, alias: Alias, replica: u8, streamed: bool) -> Call {
    Call { replica: Replica(replica), op: Op::Chat(Chat { key, alias, streamed }) }
}

/// Every key asks each replica in turn, `rounds` times over, one request after the other.
pub fn rounds(
    keys: impl Iterator<Item = Key> + Clone,
    replicas: u8,
    rounds: u32,
) -> impl Iterator<Item = Step> {
    (0..rounds).flat_map(move |_| {
        let keys = keys.clone();
        (0..replicas)
            .flat_map(move |replica| keys.clone().map(move |key| Step::Call(chat(key, replica))))
    })
}
