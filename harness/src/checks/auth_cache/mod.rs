//! Identity reads, their bounds, and what the cache may answer.

pub mod accepted_state_usable;
pub mod db_call_bound;
pub mod negative_lookup;
pub mod replica_scaling;
pub mod single_flight;
pub mod ttl_honoured;
