//! Plan in, history out, verdicts after: the loop.

pub mod settle;
pub mod steps;
pub mod join;
pub mod redact;
mod lifetime;
pub mod read_wire;
pub mod behind;
pub mod collect;
pub mod drive;
pub mod probe;
pub mod recognise;
pub mod reach;
pub mod stacks;
pub mod minimize;
pub mod run;
