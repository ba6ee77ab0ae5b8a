//! Several processes behind one address: whoever was started supervises them.
//!
//! The supervisor holds the port with a socket that never listens, and starts itself again once per
//! worker. Each worker binds a socket of its own to the same port, and the kernel spreads
//! connections over those that listen; they begin to only when every worker is ready. A worker that
//! ends uncalled is replaced. When the supervisor ends, however it ends, so do its workers: each
//! holds one end of a line to it (`leash.rs`).

mod crew;
mod leash;
mod port;

pub use crew::{Crew, CrewError};
pub use leash::{Leash, Post};
