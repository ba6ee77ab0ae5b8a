//! The codec of cached identities, by the name of the kind and over JSON.
//!
//! It is what the cache itself writes and reads, without any planted defect, made public so that
//! tests outside this crate can hold it to the laws of codecs.

use serde_json::Value;

use crate::{
    cache_schema::CacheSchema,
    defects::Defects,
    identity_cache::{
        codec::Codec,
        payload::{Body, Payload},
    },
    store::{EndUser, Member, Organisation, Team, User, VirtualKey},
};

/// Every kind that is cached.
pub const KINDS: [&str; 6] = ["key", "team", "user", "member", "organisation", "end_user"];

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

/// The codec of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    /// The schema version that it writes.
    pub schema: CacheSchema,
}

/// Does something with the type of a kind.
macro_rules! for_kind {
    ($kind:expr, $type:ident => $what:expr) => {
        match $kind {
            "key" => {
                type $type = VirtualKey;
                $what
            }
            "team" => {
                type $type = Team;
                $what
            }
            "user" => {
                type $type = User;
                $what
            }
            "member" => {
                type $type = Member;
                $what
            }
            "organisation" => {
                type $type = Organisation;
                $what
            }
            "end_user" => {
                type $type = EndUser;
                $what
            }
            other => Err(EntryError::UnknownKind(other.to_owned())),
        }
    };
}

impl Entries {
    /// An identity as its type holds it, every field of the version included, and its entry.
    ///
    /// # Errors
    ///
    /// When there is no such kind, or `identity` is none of it.
    pub fn encode(self, kind: &str, identity: &Value) -> Result<(Value, Vec<u8>), EntryError> {
        for_kind!(kind, T => self.encoded::<T>(identity))
    }

    /// The identity in an entry, with the fields of the version that is written here; none where the
    /// entry says that there is no such identity.
    ///
    /// # Errors
    ///
    /// When there is no such kind, or the entry is none of it.
    pub fn decode(self, kind: &str, entry: &[u8]) -> Result<Option<Value>, EntryError> {
        for_kind!(kind, T => self.decoded::<T>(entry))
    }

    fn codec(self) -> Codec {
        Codec { schema: self.schema, defects: Defects::default() }
    }

    fn encoded<T: Payload>(self, identity: &Value) -> Result<(Value, Vec<u8>), EntryError> {
        let no_identity = |error: serde_json::Error| EntryError::NoIdentity(error.to_string());
        let identity = T::read(self.schema, identity).map_err(no_identity)?;
        let held = serde_json::to_value(Body(self.schema, &identity)).map_err(no_identity)?;
        Ok((held, self.codec().encode(&identity)))
    }

    fn decoded<T: Payload>(self, entry: &[u8]) -> Result<Option<Value>, EntryError> {
        let unreadable = |why: String| EntryError::Unreadable(why);
        let identity = self.codec().decode::<T>(entry);
        let identity = identity.map_err(|why| unreadable(why.to_string()))?;
        let json = identity.map(|identity| serde_json::to_value(Body(self.schema, &identity)));
        json.transpose().map_err(|error| unreadable(error.to_string()))
    }
}
