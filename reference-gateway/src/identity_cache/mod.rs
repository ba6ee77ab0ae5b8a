//! Cached identities: memory over Redis over Postgres.
//!
//! What holds, whatever the order of events:
//!
//! * Entries of different kinds, and of different ids, never share a name (`keys.rs`).
//! * An entry says what it is, whose, and which schema wrote it; anything else is a miss that is
//!   replaced (`codec.rs`, `payload.rs`).
//! * An identity is at most one lifetime old. A hit never extends that, in either tier.
//! * Concurrent misses of one identity become one read, per process (`flights.rs`) and, through a
//!   short lock in Redis, per fleet (`redis.rs`).
//! * A reader that saw a row before a change cannot cache it after the change was announced
//!   (`redis.rs` for the shared tier, `flights.rs` for the memory tier).
//! * A cached value is behind an `Arc` and never changes.

pub(crate) mod keys;
pub(crate) mod payload;
pub(crate) mod codec;
mod flights;
mod memory;
mod redis;
mod tiered;
mod invalidation;

use std::sync::Arc;

pub(crate) use self::keys::{IdentityId, Kind};
pub(crate) use self::tiered::IdentityCache;
use crate::store::{EndUser, Member, Organisation, Team, User, VirtualKey};

/// One cached answer: an identity, or the fact that there is none.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    Key(Arc<VirtualKey>),
    Team(Arc<Team>),
    User(Arc<User>),
    Member(Arc<Member>),
    Organisation(Arc<Organisation>),
    EndUser(Arc<EndUser>),
    Absent(Kind),
}

/// A kind of identity that can be cached.
pub(crate) trait Identity: payload::Payload {
    /// This identity as a record.
    fn record(identity: Arc<Self>) -> Record;

    /// The identity in a record of this kind; `Some(None)` when the record says that there is
    /// none, `None` when the record is of another kind.
    fn from_record(record: &Record) -> Option<Option<Arc<Self>>>;
}

macro_rules! identity {
    ($type:ty, $variant:ident) => {
        impl Identity for $type {
            fn record(identity: Arc<Self>) -> Record {
                Record::$variant(identity)
            }

            fn from_record(record: &Record) -> Option<Option<Arc<Self>>> {
                match record {
                    Record::$variant(identity) => Some(Some(Arc::clone(identity))),
                    Record::Absent(Kind::$variant) => Some(None),
                    _ => None,
                }
            }
        }
    };
}

identity!(VirtualKey, Key);
identity!(Team, Team);
identity!(User, User);
identity!(Member, Member);
identity!(Organisation, Organisation);
identity!(EndUser, EndUser);
