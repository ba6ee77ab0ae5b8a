//! Who may do what, and what they are told of it.

pub mod list_equals_use;
