//! Whatever both sides say, a session neither panics nor loses count of what went by unseen.

use harness::{
    clock::Micros,
    wire::{
        record::{StoreKind, WireBody},
        session::Session,
    },
};

#[test]
fn redis() {
    check(StoreKind::Redis);
}

#[test]
fn postgres() {
    check(StoreKind::Postgres);
}

/// A turn is who speaks, and what.
fn check(store: StoreKind) {
    bolero::check!().with_type::<Vec<(bool, Vec<u8>)>>().for_each(|turns| {
        let mut session = Session::new(store);
        let mut seen = Vec::new();
        for (asked, bytes) in turns {
            let bytes = bent(store, *asked, bytes);
            if *asked {
                session.take_requests(&bytes, Micros(1), &mut seen);
            } else {
                session.take_replies(&bytes, Micros(2), &mut seen);
            }
        }
        session.close(Micros(3), &mut seen);
        let unseen: Vec<_> = seen
            .iter()
            .filter_map(|it| match it.body {
                WireBody::Unseen { bytes, .. } => Some(bytes),
                _ => None,
            })
            .collect();
        assert!(matches!(*unseen, [] | [_, _]), "begins and ends once: {unseen:?}");
        assert!(unseen.is_sorted(), "{unseen:?}");
    });
}

/// Makes noise look more like what is understood, or most of it would end at its first byte.
fn bent(store: StoreKind, asked: bool, bytes: &[u8]) -> Vec<u8> {
    let Some((choice, rest)) = bytes.split_first() else { return Vec::new() };
    let choice = usize::from(*choice);
    let pick = |from: &[&[u8]]| from[choice % from.len()].to_vec();
    match (store, asked) {
        _ if choice > 240 => rest.to_vec(),
        (StoreKind::Redis, true) => pick(&[
            b"MULTI\r\n",
            b"EXEC\r\n",
            b"GET k\r\n",
            b"SUBSCRIBE a b\r\n",
            b"UNSUBSCRIBE\r\n",
            b"CLIENT REPLY SKIP\r\n",
            b"RESET\r\n",
            b"DISCARD\r\n",
            b"SELECT 1\r\n",
            b"MONITOR\r\n",
        ]),
        (StoreKind::Redis, false) => pick(&[
            b"+OK\r\n",
            b"+QUEUED\r\n",
            b"*1\r\n:1\r\n",
            b"*-1\r\n",
            b"-ERR no\r\n",
            b"+RESET\r\n",
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
            b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
            b"_\r\n",
        ]),
        (StoreKind::Postgres, true) if choice < 20 => pick(&[
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\0\0\0\x09\0\x03\0\0\0",
            b"\0\0\0\x08\x04\xd2\x16\x30",
        ]),
        (StoreKind::Postgres, true) => framed(b"QPBDECSHdcfFXp"[choice % 14], rest),
        (StoreKind::Postgres, false) if choice < 10 => pick(&[b"N", b"S", b"G"]),
        (StoreKind::Postgres, false) => framed(b"RZKSTDCEN123GHdcInAst"[choice % 21], rest),
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a generated body is short");
    [&[kind], &length.to_be_bytes()[..], body].concat()
}
