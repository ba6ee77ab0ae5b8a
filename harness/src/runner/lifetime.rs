//! How long a Redis key goes on living, as one command says.
//!
//! A command that ends a key at a moment of the wall clock (`EXPIREAT`, `PXAT`) says nothing here: the
//! clock of Redis is not ours. Nor does a script, which is opaque.

use crate::{
    history::Lifetime,
    wire::record::{Bounded, RedisCommand, RedisReply},
};

/// The life that a command gives to its key, or finds it to have left.
pub(super) fn lifetime(command: &RedisCommand) -> Option<Lifetime> {
    if command.error().is_some() || command.left_out > 0 {
        return None;
    }
    let args: Vec<String> = command.args.iter().map(option).collect();
    let number = |at: usize, unit_ms: u64| {
        let number: u64 = args.get(at)?.parse().ok()?;
        Some(Lifetime::Milliseconds(number.saturating_mul(unit_ms)))
    };
    match command.name.as_ref() {
        "SETEX" | "EXPIRE" => number(0, 1_000),
        "PSETEX" | "PEXPIRE" => number(0, 1),
        "SETNX" | "GETSET" | "PERSIST" => Some(Lifetime::Endless),
        "SET" => match among(args.get(1..)?) {
            Said::Nothing => Some(Lifetime::Endless),
            Said::Lifetime(lifetime) => Some(lifetime),
            Said::Otherwise => None,
        },
        "GETEX" => match among(&args) {
            Said::Lifetime(lifetime) => Some(lifetime),
            Said::Nothing | Said::Otherwise => None,
        },
        "TTL" => left(command.reply.as_ref()?, 1_000),
        "PTTL" => left(command.reply.as_ref()?, 1),
        _ => None,
    }
}

/// An argument as an option or a number reads; nothing where it is too long to be one.
fn option(arg: &Bounded) -> String {
    const LONGEST: usize = 24;
    if arg.kept().len() > LONGEST { String::new() } else { arg.text().to_ascii_uppercase() }
}

/// What the options of a command say of a lifetime.
enum Said {
    Nothing,
    Lifetime(Lifetime),
    /// Something that is no length of time: it stays as it is, or ends at a moment.
    Otherwise,
}

fn among(options: &[String]) -> Said {
    for (at, option) in options.iter().enumerate() {
        let unit_ms = match option.as_str() {
            "EX" => 1_000,
            "PX" => 1,
            "PERSIST" => return Said::Lifetime(Lifetime::Endless),
            "KEEPTTL" | "EXAT" | "PXAT" => return Said::Otherwise,
            _ => continue,
        };
        let number = options.get(at + 1).and_then(|number| number.parse::<u64>().ok());
        return number.map_or(Said::Otherwise, |number| {
            Said::Lifetime(Lifetime::Milliseconds(number.saturating_mul(unit_ms)))
        });
    }
    Said::Nothing
}

/// What `TTL` and `PTTL` reply: -1 for a key without an end, -2 where there is no key.
fn left(reply: &RedisReply, unit_ms: u64) -> Option<Lifetime> {
    match reply {
        RedisReply::Int { value: -1 } => Some(Lifetime::Endless),
        RedisReply::Int { value } => {
            u64::try_from(*value).ok().map(|left| Lifetime::Milliseconds(left * unit_ms))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &'static str, args: &[&str], reply: RedisReply) -> Option<Lifetime> {
        lifetime(&RedisCommand {
            name: name.into(),
            keys: vec!["k".to_owned()],
            args: args.iter().map(|arg| Bounded::new(arg.as_bytes())).collect(),
            left_out: 0,
            reply: Some(reply),
            transaction: false,
            db: 0,
        })
    }

    #[test]
    fn a_write_says_how_long_it_lasts() {
        let written = |name, args: &[&str]| said(name, args, RedisReply::Ok);
        let five_seconds = Some(Lifetime::Milliseconds(5_000));
        assert_eq!(written("SET", &["{}", "EX", "5"]), five_seconds);
        assert_eq!(written("SET", &["{}", "nx", "px", "5000"]), five_seconds);
        assert_eq!(written("SETEX", &["5", "{}"]), five_seconds);
        assert_eq!(written("PEXPIRE", &["5000"]), five_seconds);
        // A value that reads like an option is none.
        assert_eq!(written("SET", &["EX"]), Some(Lifetime::Endless));
        assert_eq!(written("SET", &["{}", "KEEPTTL"]), None);
        assert_eq!(written("SET", &["{}", "PXAT", "1763640000000"]), None);
    }

    #[test]
    fn a_read_says_what_is_left_only_where_it_asks() {
        let read = |name, args: &[&str], value| said(name, args, RedisReply::Int { value });
        assert_eq!(read("PTTL", &[], 1_999), Some(Lifetime::Milliseconds(1_999)));
        assert_eq!(read("TTL", &[], -1), Some(Lifetime::Endless));
        assert_eq!(read("PTTL", &[], -2), None);
        assert_eq!(said("GET", &[], RedisReply::Nil), None);
        assert_eq!(said("GETEX", &[], RedisReply::Nil), None);
        let longer = said("GETEX", &["EX", "5"], RedisReply::Nil);
        assert_eq!(longer, Some(Lifetime::Milliseconds(5_000)));
    }

    #[test]
    fn a_command_that_failed_gives_no_life() {
        let text = Bounded::new(b"WRONGTYPE");
        assert_eq!(said("SET", &["{}", "EX", "5"], RedisReply::Error { text }), None);
    }
}
