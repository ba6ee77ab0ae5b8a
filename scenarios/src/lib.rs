//! What a run is made of: profiles, and the settings files they are written in.
//!
//! A [`Profile`] selects checks and says how often each is driven; it knows nothing of the checks
//! themselves. Under it lie three small pieces which every settings file of the project is read
//! with: [`settings`] says where a file is wrong, [`duration`] reads `"800ms"`, and [`nearest`]
//! finds the name that was probably meant.

pub mod profile;
pub mod key_class;
pub mod settings;
pub mod duration;
pub mod nearest;

pub use key_class::KeyClass;
pub use profile::Profile;
