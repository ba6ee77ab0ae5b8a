//! Judges a gateway.

pub mod clock;
