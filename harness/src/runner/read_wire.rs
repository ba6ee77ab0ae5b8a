//! From what a store proxy saw to what a history says.

use super::{lifetime::lifetime, redact::redacted};
use crate::{
    adapters::Adapter,
    history::{Access, Event, RedisKey},
    logs::template::template,
    op::{Kind, Replica},
    wire::record::{PgStatement, RedisCommand, RedisReply, WireBody, WireEvent},
};

/// The longest payload that a history keeps, in characters.
const LONGEST_PAYLOAD: usize = 600;

/// The longest statement that a history keeps, in characters.
const LONGEST_SQL: usize = 2_000;

/// A wire event as a history tells it.
pub struct Read {
    /// What the history says.
    pub event: Event,
    /// Every text in which an id may stand.
    pub names: String,
    /// What events of this origin have in common.
    pub shape: String,
    /// Whether it begins or ends a transaction.
    pub boundary: Option<Boundary>,
}

/// The edge of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// Its beginning.
    Begin,
    /// Its end.
    End,
}

/// Reads an event; `None` for those that are about connections and faults.
pub fn read(adapter: &dyn Adapter, event: &WireEvent) -> Option<Read> {
    let replica = Replica(event.replica);
    match &event.body {
        WireBody::RedisCommand(command) => Some(redis(adapter, replica, event, command)),
        WireBody::PgStatement(statement) => Some(postgres(adapter, replica, event, statement)),
        WireBody::RedisPush { channel, payload, .. } => {
            let text = payload.text().into_owned();
            Some(Read {
                names: format!("{channel} {text}"),
                shape: format!("push on {channel}"),
                boundary: None,
                event: Event::Push {
                    replica,
                    channel: redacted(channel),
                    payload: brief(&redacted(&text), LONGEST_PAYLOAD),
                },
            })
        }
        WireBody::PgNotification { .. }
        | WireBody::StoreError { .. }
        | WireBody::Connected
        | WireBody::ConnectedFrom { .. }
        | WireBody::Startup { .. }
        | WireBody::Cancel
        | WireBody::Closed { .. }
        | WireBody::Unseen { .. }
        | WireBody::FaultStruck { .. }
        | WireBody::FaultHealed { .. } => None,
    }
}

fn redis(
    adapter: &dyn Adapter,
    replica: Replica,
    event: &WireEvent,
    command: &RedisCommand,
) -> Read {
    let mut names = command.keys.join(" ");
    for arg in &command.args {
        names.push(' ');
        names.push_str(&arg.text());
    }
    let keys = command
        .keys
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let (access, payload) = accessed(adapter, command, at, name);
            let kind = payload.as_deref().and_then(|payload| adapter.payload_kind(name, payload));
            RedisKey {
                name: redacted(name),
                access,
                kind,
                payload: payload.map(|payload| brief(&redacted(&payload), LONGEST_PAYLOAD)),
                lifetime: lifetime(command),
            }
        })
        .collect();
    let boundary = match command.name.as_ref() {
        "MULTI" => Some(Boundary::Begin),
        "EXEC" | "DISCARD" => Some(Boundary::End),
        _ => None,
    };
    let first = command.keys.first().map_or("", String::as_str);
    Read {
        shape: format!("{} {}", command.name, template(&redacted(first), "")),
        names,
        boundary,
        event: Event::Redis {
            replica,
            answered: event.answered,
            command: command.name.clone().into_owned(),
            keys,
            error: command.error().map(|text| redacted(&text)),
        },
    }
}

/// What a command did under its `at`-th key, and the payload that it read or wrote.
fn accessed(
    adapter: &dyn Adapter,
    command: &RedisCommand,
    at: usize,
    name: &str,
) -> (Access, Option<String>) {
    let argument = |place: usize| command.args.get(place).map(|arg| arg.text().into_owned());
    match command.name.as_ref() {
        "GET" | "GETEX" => read_reply(command.reply.as_ref()),
        "MGET" => match &command.reply {
            Some(RedisReply::Array(several)) => read_reply(several.items.get(at)),
            _ => (Access::Other, None),
        },
        "SET" | "SETNX" | "GETSET" => (Access::Write, argument(0)),
        "SETEX" | "PSETEX" => (Access::Write, argument(1)),
        "DEL" | "UNLINK" | "GETDEL" => (Access::Delete, None),
        "EVAL" | "EVALSHA" | "FCALL" if at == 0 => {
            // A script is opaque; what it was given and what it returned is not.
            let written = command
                .args
                .iter()
                .map(|arg| arg.text().into_owned())
                .find(|text| adapter.payload_kind(name, text).is_some());
            match (written, read_reply(command.reply.as_ref())) {
                (Some(payload), _) => (Access::Write, Some(payload)),
                (None, (Access::Hit, Some(payload)))
                    if adapter.payload_kind(name, &payload).is_some() =>
                {
                    (Access::Hit, Some(payload))
                }
                (None, _) => (Access::Other, None),
            }
        }
        _ => (Access::Other, None),
    }
}

fn read_reply(reply: Option<&RedisReply>) -> (Access, Option<String>) {
    match reply {
        Some(RedisReply::Bulk { value }) => (Access::Hit, Some(value.text().into_owned())),
        Some(RedisReply::Nil) => (Access::Miss, None),
        _ => (Access::Other, None),
    }
}

fn postgres(
    adapter: &dyn Adapter,
    replica: Replica,
    event: &WireEvent,
    statement: &PgStatement,
) -> Read {
    let sql = statement.sql.text().into_owned();
    let params: Vec<_> = statement
        .params
        .iter()
        .map(|param| param.as_ref().map(|text| text.text().into_owned()))
        .collect();
    let mut names = sql.clone();
    for param in params.iter().flatten() {
        names.push(' ');
        names.push_str(param);
    }
    let reads: Vec<Kind> = adapter.identity_reads(&sql, &params);
    Read {
        names,
        shape: brief(&redacted(&sql), 160),
        boundary: boundary(&sql),
        event: Event::Sql {
            replica,
            answered: event.answered,
            reads,
            sql: brief(&redacted(&sql), LONGEST_SQL),
            params: params
                .into_iter()
                .map(|param| param.map(|text| brief(&redacted(&text), LONGEST_PAYLOAD)))
                .collect(),
            rows: Some(statement.rows),
            error: statement
                .error
                .as_ref()
                .map(|error| redacted(&format!("{} {}", error.sqlstate, error.message))),
        },
    }
}

fn boundary(sql: &str) -> Option<Boundary> {
    let word =
        sql.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    match word.to_ascii_uppercase().as_str() {
        "BEGIN" | "START" => Some(Boundary::Begin),
        "COMMIT" | "END" | "ROLLBACK" | "ABORT" => Some(Boundary::End),
        _ => None,
    }
}

fn brief(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(most).collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_a_transaction_are_known() {
        assert_eq!(boundary("BEGIN ISOLATION LEVEL SERIALIZABLE"), Some(Boundary::Begin));
        assert_eq!(boundary(" commit;"), Some(Boundary::End));
        assert_eq!(boundary("SELECT 1"), None);
    }
}
