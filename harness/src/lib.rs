//! Judges a gateway: generated plans in, verdicts with evidence out.
//!
//! A run has five steps: **reach** the target, **generate** plans from a seed, **drive** them while
//! observers watch, **judge** the histories, **report**. Read in this order:
//!
//! 1. [`op`], [`plan`], [`history`], [`verdict`], [`check`]: the words that everything else shares;
//! 2. [`checks`], [`generators`], [`model`]: the properties, pure;
//! 3. [`wire`], [`target`], [`adapters`], [`client`]: how a gateway is reached and watched;
//! 4. [`runner`], [`tally`], [`store`], [`bundle`], [`cli`]: the loop, what it costs the stores, what is
//!    kept of it, what is handed on, and the command line.
//!
//! The invariants: everything random follows from the seed; only the history crosses from driving to
//! judging; missing evidence is inconclusive; what was started is stopped on every way out. Nothing
//! here links the gateway under test, ours included: it is reached over the network only.

pub mod capability;
pub mod op;
pub mod plan;
pub mod store_step;
pub mod history;
pub mod verdict;
pub mod check;
pub mod checks;
pub mod generators;
pub mod model;
pub mod codec;
pub mod clock;
mod proc;
pub mod wire;
pub mod target;
pub mod adapters;
pub mod client;
pub mod observers;
pub mod logs;
pub mod tally;
pub mod runner;
pub mod load;
pub mod store;
pub mod report;
pub mod bundle;
pub mod cli;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tidy;
