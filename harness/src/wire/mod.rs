//! The store proxies: one per replica and store, between a gateway and its Redis or Postgres.
//!
//! A store proxy forwards every byte as it came and tells what it saw as [`record::WireEvent`]s:
//! which replica asked for which key or statement, when, and what the store said. It needs nothing
//! from the gateway but an address to connect to. The nemesis orders its faults here too, because
//! only here can a fault be about one kind of command.
//!
//! What the rest of the code may rely on: the event of an answer is in the channel before the
//! answer's bytes leave for the gateway. Whoever holds an HTTP answer therefore finds in the
//! channel every exchange with a store that led to it.
//!
//! Reading order: [`record`] says what is seen, [`proxy`] moves the bytes, [`fault`] harms them;
//! the sessions join answers to questions; [`resp`] and [`pg`] are the grammars, pure and
//! incremental.

pub mod record;
pub mod bounded;
pub mod proxy;
pub mod fault;
pub mod session;
pub mod redis_session;
pub mod pg_session;
pub mod resp;
pub mod redis_commands;
pub mod pg;
pub mod pg_values;

/// Why bytes are not what a store and its clients say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub &'static str);

/// How far a parser got with the bytes it was given.
///
/// It takes in all of them, unless a message ends before they do; the rest is then for its next
/// step. After a [`Refusal`] a parser is of no more use.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<T> {
    /// How many of the bytes it took in.
    pub used: usize,
    /// The message that ended with the last of them, if one did.
    pub message: Option<T>,
}
