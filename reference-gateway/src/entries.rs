//! The codec of cached identities, by the name of the kind and over JSON.
//!
//! It is what the cache itself writes and reads, without any planted defect, made public so that
//! tests outside this crate can hold it to the laws of codecs.

use serde_json::Value;

use crate::{
    defects::Defects,
    identity_cache::codec::{self, Payload},
    store::{Member, Team, User, VirtualKey},
};

/// Why an identity or an entry was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// There is no such kind.
    #[error("there is no kind {0:?}")]
    UnknownKind(String),
    /// What should be written is no identity of this kind.
    #[error("{0}")]
    NoIdentity(String),
    /// The entry cannot be read as this kind.
    #[error("{0}")]
    Unreadable(String),
}

/// An identity as its type holds it, every field included, and its entry.
///
/// # Errors
///
/// When there is no such kind, or `identity` is none of it.
pub fn encode(kind: &str, identity: &Value) -> Result<(Value, Vec<u8>), EntryError> {
    match kind {
        "key" => encoded::<VirtualKey>(identity),
        "team" => encoded::<Team>(identity),
        "user" => encoded::<User>(identity),
        "member" => encoded::<Member>(identity),
        _ => Err(EntryError::UnknownKind(kind.to_owned())),
    }
}

/// The identity in an entry; none where the entry says that there is no such identity.
///
/// # Errors
///
/// When there is no such kind, or the entry is none of it.
pub fn decode(kind: &str, entry: &[u8]) -> Result<Option<Value>, EntryError> {
    match kind {
        "key" => decoded::<VirtualKey>(entry),
        "team" => decoded::<Team>(entry),
        "user" => decoded::<User>(entry),
        "member" => decoded::<Member>(entry),
        _ => Err(EntryError::UnknownKind(kind.to_owned())),
    }
}

fn encoded<T: Payload>(identity: &Value) -> Result<(Value, Vec<u8>), EntryError> {
    let no_identity = |error: serde_json::Error| EntryError::NoIdentity(error.to_string());
    let identity = T::deserialize(identity).map_err(no_identity)?;
    let held = serde_json::to_value(&identity).map_err(no_identity)?;
    Ok((held, codec::encode(Some(&identity), Defects::default())))
}

fn decoded<T: Payload>(entry: &[u8]) -> Result<Option<Value>, EntryError> {
    let unreadable = |why: String| EntryError::Unreadable(why);
    let identity = codec::decode::<T>(entry, Defects::default());
    let identity = identity.map_err(|why| unreadable(why.to_string()))?;
    let json = identity.map(|identity| serde_json::to_value(&identity)).transpose();
    json.map_err(|error| unreadable(error.to_string()))
}
