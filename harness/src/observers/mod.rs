//! Read-only side channels; each appends to the history.
//!
//! What crosses the store proxies and what replicas print reaches the collector by itself; the
//! provider's ledger has to be asked. Where a target runs already no store proxy stands before its
//! stores, and its Redis has to be asked to tell what others ask of it.

pub mod upstream;
pub mod redis_monitor;
mod origin;
