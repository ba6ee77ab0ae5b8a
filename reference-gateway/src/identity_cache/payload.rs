//! What stands in an entry's `d`: the fields of each kind, at each schema version.
//!
//! Keys and teams say at version 1 whether they are blocked, at version 2 since when. The other kinds
//! are the same in both. Every field is written, nulls included, and every field must be there to be
//! read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::keys::{IdentityId, Kind};
use crate::{
    cache_schema::CacheSchema,
    store::{EndUser, Member, Organisation, Team, User, VirtualKey},
};

/// What can stand in an entry's `d`.
pub(crate) trait Payload: Default + fmt::Debug + Send + Sync + 'static {
    /// The tag that its entries carry.
    const KIND: Kind;

    /// Is it the identity with this id?
    fn is(&self, id: &IdentityId) -> bool;

    /// Writes its fields as this version has them.
    fn write<S: Serializer>(&self, schema: CacheSchema, out: S) -> Result<S::Ok, S::Error>;

    /// Reads the fields that this version has.
    fn read<'de, D: Deserializer<'de>>(schema: CacheSchema, input: D) -> Result<Self, D::Error>;

    /// The same without its block. Only a planted defect asks for it.
    #[must_use]
    fn without_block(self) -> Self {
        self
    }

    /// The same without its budget. Only a planted defect asks for it.
    #[must_use]
    fn without_budget(self) -> Self {
        self
    }
}

/// An identity, to be written as a version has it.
pub(crate) struct Body<'a, T>(pub(crate) CacheSchema, pub(crate) &'a T);

impl<T: Payload> Serialize for Body<'_, T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.1.write(self.0, out)
    }
}

/// The moment of a block of which nobody knows the moment.
const LONG_AGO: i64 = 0;

/// The two forms of a kind that can be blocked.
macro_rules! forms {
    (
        $remote:literal as $one:ident and $two:ident:
        required { $($required:ident: $required_type:ty,)* }
        nullable { $($nullable:ident: $nullable_type:ty,)* }
    ) => {
        #[derive(Serialize, Deserialize)]
        #[serde(remote = $remote, deny_unknown_fields)]
        struct $one {
            $($required: $required_type,)*
            $(#[serde(deserialize_with = "Option::deserialize")]
            $nullable: Option<$nullable_type>,)*
            #[serde(deserialize_with = "Option::deserialize")]
            blocked: Option<bool>,
            #[serde(skip)]
            blocked_at_ms: Option<i64>,
        }

        #[derive(Serialize, Deserialize)]
        #[serde(remote = $remote, deny_unknown_fields)]
        struct $two {
            $($required: $required_type,)*
            $(#[serde(deserialize_with = "Option::deserialize")]
            $nullable: Option<$nullable_type>,)*
            #[serde(skip)]
            blocked: Option<bool>,
            #[serde(rename = "blocked_at", deserialize_with = "Option::deserialize")]
            blocked_at_ms: Option<i64>,
        }
    };
}

forms! {
    "VirtualKey" as KeyOne and KeyTwo:
    required { token: String, key_name: String, key_id: String, }
    nullable {
        key_alias: String,
        user_id: String,
        team_id: String,
        organization_id: String,
        models: Vec<String>,
        metadata: Value,
        max_budget: f64,
        budget_duration: String,
        tpm_limit: i64,
        rpm_limit: i64,
        max_parallel_requests: i64,
        expires_at_ms: i64,
    }
}

forms! {
    "Team" as TeamOne and TeamTwo:
    required { team_id: String, }
    nullable {
        team_alias: String,
        organization_id: String,
        models: Vec<String>,
        metadata: Value,
        max_budget: f64,
        budget_duration: String,
        tpm_limit: i64,
        rpm_limit: i64,
        max_parallel_requests: i64,
    }
}

/// How a kind of two forms is written and read, whichever of `blocked` and its moment is known.
macro_rules! written_in_two_forms {
    ($one:ident, $two:ident) => {
        fn write<S: Serializer>(&self, schema: CacheSchema, out: S) -> Result<S::Ok, S::Error> {
            match schema {
                CacheSchema::One => $one::serialize(self, out),
                CacheSchema::Two if self.blocked == Some(true) && self.blocked_at_ms.is_none() => {
                    let dated = Self { blocked_at_ms: Some(LONG_AGO), ..self.clone() };
                    $two::serialize(&dated, out)
                }
                CacheSchema::Two => $two::serialize(self, out),
            }
        }

        fn read<'de, D: Deserializer<'de>>(
            schema: CacheSchema,
            input: D,
        ) -> Result<Self, D::Error> {
            match schema {
                CacheSchema::One => $one::deserialize(input),
                CacheSchema::Two => {
                    let read = $two::deserialize(input)?;
                    Ok(Self { blocked: read.blocked_at_ms.map(|_| true), ..read })
                }
            }
        }

        fn without_block(self) -> Self {
            Self { blocked: None, blocked_at_ms: None, ..self }
        }
    };
}

/// How a kind of one form is written and read.
macro_rules! written_in_one_form {
    () => {
        fn write<S: Serializer>(&self, _: CacheSchema, out: S) -> Result<S::Ok, S::Error> {
            self.serialize(out)
        }

        fn read<'de, D: Deserializer<'de>>(_: CacheSchema, input: D) -> Result<Self, D::Error> {
            Self::deserialize(input)
        }
    };
}

impl Payload for VirtualKey {
    const KIND: Kind = Kind::Key;

    fn is(&self, id: &IdentityId) -> bool {
        matches!(id, IdentityId::Key(token) if *token == self.token)
    }

    written_in_two_forms!(KeyOne, KeyTwo);

    fn without_budget(self) -> Self {
        Self { max_budget: None, ..self }
    }
}

impl Payload for Team {
    const KIND: Kind = Kind::Team;

    fn is(&self, id: &IdentityId) -> bool {
        matches!(id, IdentityId::Team(team) if *team == self.team_id)
    }

    written_in_two_forms!(TeamOne, TeamTwo);
}

impl Payload for User {
    const KIND: Kind = Kind::User;

    fn is(&self, id: &IdentityId) -> bool {
        matches!(id, IdentityId::User(user) if *user == self.user_id)
    }

    written_in_one_form!();
}

impl Payload for Member {
    const KIND: Kind = Kind::Member;

    fn is(&self, id: &IdentityId) -> bool {
        matches!(id, IdentityId::Member { team, user }
            if *team == self.team_id && *user == self.user_id)
    }

    written_in_one_form!();
}

impl Payload for Organisation {
    const KIND: Kind = Kind::Organisation;

    fn is(&self, id: &IdentityId) -> bool {
        matches!(id, IdentityId::Organisation(organisation) if *organisation == self.organization_id)
    }

    written_in_one_form!();
}

impl Payload for EndUser {
    const KIND: Kind = Kind::EndUser;

    fn is(&self, id: &IdentityId) -> bool {
        matches!(id, IdentityId::EndUser(user) if *user == self.user_id)
    }

    written_in_one_form!();
}
