//! Codec laws: what any codec of cached identities owes its readers.
//!
//! A gateway that shares its cache between replicas writes an identity as bytes and reads it back,
//! perhaps in another process, of another version. A codec tells of its kinds ([`Kind`]), encodes and
//! decodes; [`laws::judge`] generates identities from that declaration and says which laws do not
//! hold, each with the smallest value that breaks it. A codec in the same process is a [`Typed`], one
//! in another process, of any language, a [`Driver`].
//!
//! ```
//! use harness::codec::{Field, Kind, Shape, Typed, laws};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Team {
//!     team_id: String,
//!     #[serde(default, skip_serializing_if = "Option::is_none")]
//!     models: Option<Vec<String>>,
//! }
//!
//! let team = Kind::new(
//!     "team",
//!     [Field::required("team_id", Shape::Text), Field::optional("models", Shape::texts())],
//! );
//! let mut codec = Typed::new().with(
//!     team,
//!     |team: &Team| serde_json::to_vec(team).map_err(|error| error.to_string()),
//!     |payload| serde_json::from_slice::<Team>(payload).map_err(|error| error.to_string()),
//! );
//! laws::assert_hold(&mut codec);
//! ```

pub mod value;
pub mod declaration;
pub mod schema;
mod values;
mod poison;
pub mod laws;
pub mod versions;
mod typed;
pub mod driver;

pub use self::{
    declaration::{Field, Kind, PreviousEntry, Shape, UnknownFields},
    driver::{Driver, DriverError},
    typed::Typed,
    value::{Key, Object, Value},
};

/// Writes objects as bytes, and reads them back.
pub trait Codec {
    /// Why it gave no answer at all, which says nothing about the codec.
    type Error: std::error::Error;

    /// What it writes and reads.
    fn kinds(&self) -> Vec<Kind>;

    /// Whether its payloads are JSON text.
    fn writes_json(&self) -> bool;

    /// Writes an object of a kind.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    fn encode(&mut self, kind: &str, value: &Object) -> Result<Encoded, Self::Error>;

    /// Reads a payload as an object of a kind.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    fn decode(&mut self, kind: &str, payload: &[u8]) -> Result<Decoded, Self::Error>;
}

/// What became of a value that was to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoded {
    /// It was written.
    Written {
        /// What was written.
        payload: Vec<u8>,
        /// The value as the codec's own type held it before it was written, all fields included. It
        /// is what reading must give back.
        held: Object,
    },
    /// It is a value of this kind, and could not be written.
    Refused(String),
    /// It is no value of this kind: the declaration is wider than the type.
    Illegal(String),
}

/// What a payload was read as.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// An object.
    Object(Object),
    /// Nothing, because it is no payload of this kind.
    Refused(String),
    /// Nothing, as if there were no payload, or as one that says that there is no such object.
    Miss,
}
