//! What is written to the shared cache must be readable by every reader.

pub mod key_canonical;
pub mod key_spaces_disjoint;
pub mod mixed_version;
pub mod no_null_key;
pub mod null_round_trip;
pub mod poison_entry_contained;
pub mod representation_independence;
