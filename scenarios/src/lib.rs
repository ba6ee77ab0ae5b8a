//! What a run is made of: profiles, load, and the settings files they are written in.
//!
//! A [`Profile`] selects checks and says how often each is driven; it knows nothing of the checks
//! themselves. A [`LoadProfile`] says who calls, and what is measured on which shapes of a target; an
//! [`order`] made of it is carried out by an [`attack`], whose callers do what a [`scenario`] says
//! ([`steady_chat`], [`streamed_chat`]) and whose [`Latencies`] are our own; of what failed it
//! tells a [`sample`]. Either may bound what is measured by a
//! [`Threshold`], of each [`KeyClass`]. Under all of it lie three small pieces which every settings
//! file of the project is read with: [`settings`] says where a file is wrong, [`duration`] reads
//! `"800ms"`, and [`nearest`] finds the name that was probably meant. [`causes`] tells an error with
//! everything that it follows from.

pub mod profile;
pub mod key_class;
pub mod threshold;
pub mod load_profile;
pub mod scenario;
pub mod steady_chat;
pub mod streamed_chat;
pub mod order;
pub mod attack;
pub mod latency;
pub mod sample;
pub mod settings;
pub mod duration;
pub mod nearest;
pub mod causes;

pub use key_class::KeyClass;
pub use latency::Latencies;
pub use load_profile::LoadProfile;
pub use profile::Profile;
pub use threshold::Threshold;
