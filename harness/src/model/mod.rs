//! Reference machines, pure: what a correct gateway would do.

pub mod cache;
pub mod identity;
pub mod staleness;
