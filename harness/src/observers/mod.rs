//! Read-only side channels; each appends to the history.
//!
//! What crosses the store proxies and what replicas print reaches the collector by itself; the
//! provider's ledger has to be asked.

pub mod upstream;
