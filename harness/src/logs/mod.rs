//! Log lines: read, and masked to what is equal for all lines of one origin.

pub mod template;
