//! How far, and how soon, a change reaches.

pub mod revoke_bound;
