//! Identity reads, their bounds, and what the cache may answer.

pub mod accepted_state_usable;
pub mod db_call_bound;
