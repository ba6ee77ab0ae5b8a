//! The workspace, from outside: what its tests share.
//!
//! Tests under `offline/` read the workspace's own files and need nothing running. Tests under
//! `stack/` drive the binaries as a user does, so what they share is how to have those built. Both look for
//! secrets where none may be.

pub mod workspace;
pub mod binaries;
pub mod written;
