//! What a store proxy saw, joined to replica and time.
//!
//! These types are stored with a run and read by later versions of the harness: fields are added,
//! never renamed or given another meaning. [`VERSION`] counts changes that an older reader would
//! misread.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use super::bounded::Bounded;
use super::fault::{Fault, FaultId};
use crate::clock::Micros;

/// Version of everything in this module.
pub const VERSION: u32 = 1;

/// One thing that happened between a replica and a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireEvent {
    /// The replica that the store proxy serves.
    pub replica: u8,
    /// Which of its stores.
    pub store: StoreKind,
    /// The connection, counted from 1 as the proxy accepted them; 0 where it is about the proxy.
    pub connection: u32,
    /// When the question reached the proxy, or when the thing happened.
    pub asked: Micros,
    /// When the last byte of the answer reached the proxy; absent if none did.
    pub answered: Option<Micros>,
    /// The fault that struck this exchange, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultId>,
    /// What happened.
    pub body: WireBody,
}

/// The kinds of store we understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// Redis, Valkey, or anything else that speaks RESP.
    Redis,
    /// Postgres, or anything else that speaks its protocol, version 3.
    Postgres,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WireBody {
    /// A Redis command and its reply.
    RedisCommand(RedisCommand),
    /// Something Redis sent without being asked at that moment: a published message, an
    /// invalidation.
    RedisPush {
        /// As Redis calls it: `message`, `pmessage`, `smessage`, `invalidate`.
        what: String,
        /// The channel; empty where there is none.
        channel: String,
        /// The message.
        payload: Bounded,
    },
    /// A statement that Postgres ran or refused.
    PgStatement(PgStatement),
    /// A `NOTIFY` that reached a listener.
    PgNotification {
        /// The channel.
        channel: String,
        /// The message.
        payload: Bounded,
    },
    /// An error the store sent without being asked: too many connections, a failed login, a
    /// shutdown.
    StoreError {
        /// The SQLSTATE, or the first word of the Redis error.
        code: String,
        /// What it said.
        message: String,
    },
    /// A gateway connected.
    Connected,
    /// Where the gateway connected from: what tells its processes apart.
    ConnectedFrom {
        /// The port.
        port: u16,
    },
    /// A Postgres session began; answered when it was first ready.
    Startup {
        /// `application_name`, empty where not given.
        application_name: String,
        /// The role.
        user: String,
        /// The database, which is the role's name where not given.
        database: String,
    },
    /// A Postgres client asked, on a connection of its own, that a statement be cancelled.
    Cancel,
    /// The connection ended.
    Closed {
        /// Who ended it.
        reason: CloseReason,
    },
    /// The connection could not be understood. Its bytes are forwarded all the same, and nothing
    /// more is recorded of it. Comes once when it begins and once, counted, when it ends.
    Unseen {
        /// How many bytes, both ways, went by unseen until now.
        bytes: u64,
        /// Why.
        why: String,
    },
    /// The nemesis struck.
    FaultStruck {
        /// Which strike.
        id: FaultId,
        /// With what.
        fault: Fault,
    },
    /// The nemesis healed what it struck.
    FaultHealed {
        /// Which strike.
        id: FaultId,
        /// With what.
        fault: Fault,
        /// How many requests or connections it really hit. Zero: the fault proves nothing.
        hits: u64,
    },
}

/// Who ended a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum CloseReason {
    /// The gateway did.
    Gateway,
    /// The store did.
    Store,
    /// A fault cut it.
    Cut,
    /// A fault refused it; the store never knew.
    Refused,
    /// The store could not be reached.
    Unreachable {
        /// What the operating system said.
        error: String,
    },
    /// A read or write failed.
    Broken {
        /// What the operating system said.
        error: String,
    },
    /// The proxy was stopped.
    Stopped,
}

/// A Redis command and its reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RedisCommand {
    /// In capitals, without its subcommand: `GET`, `CLIENT`.
    pub name: Cow<'static, str>,
    /// The arguments that name keys, where we know which do; none for a command we do not know.
    /// Channels are not keys.
    pub keys: Vec<String>,
    /// The other arguments, in order. Secrets are replaced before anything is recorded.
    pub args: Vec<Bounded>,
    /// How many arguments there were beyond those kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The reply; absent if none came before the connection ended.
    pub reply: Option<RedisReply>,
    /// Whether it was queued between `MULTI` and `EXEC`. Its reply is then its part of what `EXEC`
    /// returned, and it comes just before its `EXEC`.
    pub transaction: bool,
    /// The database it ran in.
    pub db: u32,
}

impl RedisCommand {
    /// The error text, if it was refused.
    pub fn error(&self) -> Option<Cow<'_, str>> {
        match &self.reply {
            Some(RedisReply::Error { text }) => Some(text.text()),
            _ => None,
        }
    }
}

/// What Redis said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RedisReply {
    /// `OK`.
    Ok,
    /// Any null.
    Nil,
    /// Another simple string.
    Simple {
        /// The string.
        text: Bounded,
    },
    /// An error, its code first.
    Error {
        /// Code and message.
        text: Bounded,
    },
    /// An integer.
    Int {
        /// Its value.
        value: i64,
    },
    /// A value.
    Bulk {
        /// Its bytes.
        value: Bounded,
    },
    /// RESP3: true or false.
    Bool {
        /// Which.
        value: bool,
    },
    /// RESP3: a floating point number, as written.
    Double {
        /// As written.
        text: Bounded,
    },
    /// RESP3: an integer of any size, as written.
    BigNumber {
        /// As written.
        text: Bounded,
    },
    /// RESP3: text with a format.
    Verbatim {
        /// The text, its format first: `txt:…`.
        text: Bounded,
    },
    /// A list.
    Array(Several),
    /// RESP3: a set.
    Set(Several),
    /// RESP3: a map, its keys and values in turn.
    Map(Several),
    /// RESP3: something sent out of band.
    Push(Several),
    /// The command was queued, and its transaction did not run.
    Discarded,
    /// The gateway had asked for no reply (`CLIENT REPLY OFF` or `SKIP`).
    Suppressed,
}

/// The items of a list, set or map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Several {
    /// How many there were; a map's keys and values count one each.
    pub len: u64,
    /// The first of them.
    pub items: Vec<RedisReply>,
}

/// A statement that Postgres ran or refused.
///
/// A simple query of several statements makes one of these for each that completed. A statement
/// that was parsed, bound or skipped without being run makes none, unless it was what failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PgStatement {
    /// The text as sent, joined to its execution if it was prepared earlier; role passwords are
    /// replaced.
    pub sql: Bounded,
    /// Which statement of a simple query this is, from 0.
    #[serde(default, skip_serializing_if = "is_zero_part")]
    pub part: u32,
    /// The bound parameters as text, binary ones decoded; `None` is SQL's null.
    pub params: Vec<Option<Bounded>>,
    /// As Postgres says it: `SELECT 1`; empty if it failed, was empty or was not answered.
    pub tag: String,
    /// Rows returned by this execution.
    pub rows: u64,
    /// Bytes copied in or out by `COPY`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub copied_bytes: u64,
    /// The error, if it failed.
    pub error: Option<PgError>,
    /// The state of the session in which it ran.
    pub transaction: TransactionState,
}

/// Why Postgres refused a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PgError {
    /// Five characters.
    pub sqlstate: String,
    /// For people.
    pub message: String,
}

/// Whether a session is in a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionState {
    /// In none.
    #[default]
    Idle,
    /// In one.
    In,
    /// In one that can only be rolled back.
    Failed,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero_part(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stored runs look like. A change here is a change of [`VERSION`], unless it only adds.
    const GOLDEN: [&str; 7] = [
        r#"{"replica":1,"store":"redis","connection":3,"asked":10,"answered":25,"body":{"kind":"redis_command","name":"GET","keys":["rg:key:1"],"args":[],"reply":{"is":"bulk","value":"{\"v\":1}"},"transaction":false,"db":0}}"#,
        r#"{"replica":1,"store":"redis","connection":3,"asked":10,"answered":25,"fault":2,"body":{"kind":"redis_command","name":"MGET","keys":["a","b"],"args":[],"left_out":4,"reply":{"is":"array","len":6,"items":[{"is":"nil"},{"is":"int","value":7}]},"transaction":true,"db":2}}"#,
        r#"{"replica":0,"store":"redis","connection":4,"asked":10,"answered":10,"body":{"kind":"redis_push","what":"message","channel":"invalidate","payload":{"hex":"ff","len":1}}}"#,
        r#"{"replica":0,"store":"postgres","connection":1,"asked":10,"answered":25,"body":{"kind":"pg_statement","sql":"SELECT $1, $2","params":["7",null],"tag":"SELECT 1","rows":1,"error":null,"transaction":"in"}}"#,
        r#"{"replica":0,"store":"postgres","connection":1,"asked":10,"answered":25,"body":{"kind":"pg_statement","sql":"SELECT 1/0","part":1,"params":[],"tag":"","rows":0,"error":{"sqlstate":"22012","message":"division by zero"},"transaction":"failed"}}"#,
        r#"{"replica":0,"store":"postgres","connection":1,"asked":10,"answered":null,"body":{"kind":"closed","reason":{"by":"broken","error":"reset"}}}"#,
        r#"{"replica":0,"store":"redis","connection":0,"asked":10,"answered":null,"fault":1,"body":{"kind":"fault_healed","id":1,"fault":{"fault":"delay","on":{"which":"command","name":"EVALSHA"},"by_ms":50},"hits":3}}"#,
    ];

    #[test]
    fn stored_events_can_still_be_read_and_are_written_the_same() {
        for line in GOLDEN {
            let event: WireEvent = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
        }
    }
}
