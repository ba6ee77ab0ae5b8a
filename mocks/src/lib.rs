//! Providers that do exactly as told, and remember it.
//!
//! A gateway under test is pointed at a [`Provider`] as if it were a vendor. The model name that
//! reaches it is the whole instruction ([`script`]), because that is the one thing every gateway
//! passes on; the provider does as it says and writes what it did into its [`ledger`]. What the
//! gateway claims (spend, attempts, who hung up) is compared with the ledger, never the reverse.
//!
//! Reading order: [`script`] says what may be asked for; `fingerprint` marks each answer;
//! [`ledger`] is what is remembered; `openai` puts answers into bytes; `server` speaks HTTP.
//!
//! What the rest relies on:
//!
//! * every attempt that reached a provider's route has one row in the ledger, also when its caller
//!   left before the answer began;
//! * the row of a complete answer is in the ledger before the caller can have read its last byte;
//! * no two answers share a fingerprint;
//! * the ledger never grows beyond its capacity, and what fell out is counted.
//!
//! Nothing here knows the harness or any gateway.

pub mod script;
mod fingerprint;
pub mod ledger;
mod openai;
mod server;

pub use server::Provider;
