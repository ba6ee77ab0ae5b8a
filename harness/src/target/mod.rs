//! How the system under test is laid out and reached.
//!
//! A description says what a target is; the stores are found, a database is cloned for it, and
//! each replica is launched with the addresses of its own store proxies. Everything that is started
//! here ends when its handle is stopped or dropped.

pub mod topology;
pub mod description;
pub mod sketch;
pub mod template;
pub mod secret;
pub mod stores;
pub mod replica;
pub mod launch;
pub mod output;
pub mod follow;
pub mod binaries;
pub mod stack_folder;
pub mod supervisor;
mod running;
mod process_group;
mod engine;
mod to_its_end;
mod ready;
mod ports;

pub use binaries::{Binary, MissingBinary};
pub use description::{
    Attached, Bounds, LogSource, Managed, Next, Reach, Surroundings, TargetDescription, TargetError,
};
pub use launch::{LaunchError, LaunchRequest, Launched, Place, Ready};
pub use output::{LogLine, LogSink, Stream};
pub use process_group::Ending;
pub use replica::ReplicaRequest;
pub use secret::Secret;
pub use stack_folder::StackFolder;
pub use stores::{Database, StoreChoice, StoreError, StoreRequest, Stores};
pub use topology::Topology;
