//! Names of entries: different identities never share one, whatever their ids.
//!
//! An id is escaped to letters, digits, `-`, `.` and `~`, so that `:` only ever separates. An
//! escaped id that reads like a missing value (`null`, `None`) has its first letter escaped too:
//! nobody who looks at a name has to wonder. Both steps can be undone, so the name is injective.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::defects::Defects;

/// The kinds of identity that are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Key,
    Team,
    User,
    Member,
    Organisation,
    EndUser,
}

impl Kind {
    /// The tag in entries, names, metrics and logs.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team => "team",
            Self::User => "user",
            Self::Member => "member",
            Self::Organisation => "organisation",
            Self::EndUser => "end_user",
        }
    }

    /// May Redis hold that there is no such identity? Callers make up keys and end users, as many as
    /// they like, and Redis is not theirs to fill.
    pub(crate) fn shares_absence(self) -> bool {
        match self {
            Self::Key | Self::EndUser => false,
            Self::Team | Self::User | Self::Member | Self::Organisation => true,
        }
    }
}

/// Which identity; also what replicas tell each other when one changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IdentityId {
    /// By the SHA-256 of the key's text, in hex.
    Key(String),
    Team(String),
    User(String),
    Member {
        team: String,
        user: String,
    },
    Organisation(String),
    EndUser(String),
}

impl IdentityId {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Key(_) => Kind::Key,
            Self::Team(_) => Kind::Team,
            Self::User(_) => Kind::User,
            Self::Member { .. } => Kind::Member,
            Self::Organisation(_) => Kind::Organisation,
            Self::EndUser(_) => Kind::EndUser,
        }
    }

    /// Its kind and its escaped id: no other identity has the same.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.kind().tag(), self.escaped())
    }

    fn escaped(&self) -> String {
        match self {
            Self::Key(id)
            | Self::Team(id)
            | Self::User(id)
            | Self::Organisation(id)
            | Self::EndUser(id) => escape(id),
            Self::Member { team, user } => format!("{}:{}", escape(team), escape(user)),
        }
    }

    /// The name of its entry, in both tiers.
    pub(crate) fn entry(&self, defects: Defects) -> String {
        let is_bare = defects.shares_key_space() && matches!(self, Self::Team(_) | Self::User(_));
        match is_bare {
            true => format!("rg:{}", self.escaped()),
            false => format!("rg:{}", self.name()),
        }
    }

    /// The names under which this identity lives in Redis.
    pub(crate) fn names(&self, defects: Defects) -> Names {
        let name = self.name();
        Names {
            entry: self.entry(defects),
            generation: format!("rg-gen:{name}"),
            lock: format!("rg-lock:{name}"),
        }
    }
}

/// The names under which one identity lives in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// Its payload; also its name in the memory tier.
    pub(crate) entry: String,
    /// A mark that changes whenever the identity does.
    pub(crate) generation: String,
    /// Held by the replica that is reading it from Postgres.
    pub(crate) lock: String,
}

/// Words that stand for a missing value in some language.
const MISSING_WORDS: [&str; 5] = ["None", "null", "nil", "undefined", "NaN"];

fn escape(id: &str) -> String {
    let mut escaped = String::with_capacity(id.len());
    let looks_missing = MISSING_WORDS.contains(&id);
    for (place, byte) in id.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'~');
        if plain && !(looks_missing && place == 0) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ids that try to look like something else: separators, prefixes, hashes, missing values.
    fn hostile_id() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "a", "b", ":", "_", "/", "%", "%3A", " ", "rg:", "team:", "user:", "member", "null",
            "None", "{", "}", "é", "\n", "0",
        ]);
        prop_oneof![
            prop::collection::vec(pieces, 1..5).prop_map(|pieces| pieces.concat()),
            ".{1,8}",
            "[0-9a-f]{64}",
        ]
    }

    fn identity() -> impl Strategy<Value = IdentityId> {
        prop_oneof![
            hostile_id().prop_map(IdentityId::Key),
            hostile_id().prop_map(IdentityId::Team),
            hostile_id().prop_map(IdentityId::User),
            (hostile_id(), hostile_id()).prop_map(|(team, user)| IdentityId::Member { team, user }),
            hostile_id().prop_map(IdentityId::Organisation),
            hostile_id().prop_map(IdentityId::EndUser),
        ]
    }

    fn unescape(escaped: &str) -> String {
        let mut bytes = vec![];
        let mut rest = escaped.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let hex: Vec<u8> = rest.by_ref().take(2).collect();
                    u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
                }
                plain => plain,
            });
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn different_identities_have_different_names(one in identity(), other in identity()) {
            let (a, b) = (one.names(Defects::default()), other.names(Defects::default()));
            prop_assert_eq!(one == other, a == b);
            prop_assert_eq!(one == other, a.entry == b.entry);
        }

        #[test]
        fn an_id_can_be_read_back_from_its_name(id in hostile_id()) {
            prop_assert_eq!(unescape(&escape(&id)), id);
        }

        #[test]
        fn no_name_reads_like_a_missing_value(identity in identity()) {
            let name = identity.names(Defects::default()).entry;
            for part in name.split(':') {
                prop_assert!(!part.is_empty());
                prop_assert!(!MISSING_WORDS.contains(&part));
            }
        }

        #[test]
        fn an_identity_survives_the_channel(identity in identity()) {
            let told = serde_json::to_string(&identity).unwrap();
            prop_assert_eq!(serde_json::from_str::<IdentityId>(&told).unwrap(), identity);
        }
    }

    #[test]
    fn a_plain_id_stays_readable() {
        let member = IdentityId::Member { team: "red".to_owned(), user: "a_b".to_owned() };
        assert_eq!(member.names(Defects::default()).entry, "rg:member:red:a%5Fb");
        assert_eq!(
            IdentityId::Team("null".to_owned()).names(Defects::default()).entry,
            "rg:team:%6Eull"
        );
    }
}
