//! No bytes make the Postgres parser panic, and how they are cut into pieces changes nothing.

use harness::wire::{
    Refusal,
    pg::{MessageParser, Sender},
};

#[test]
fn openings() {
    check(|| MessageParser::new(Sender::Frontend));
}

#[test]
fn requests() {
    check(|| {
        let mut parser = MessageParser::new(Sender::Frontend);
        parser.expect_types();
        parser
    });
}

#[test]
fn answers() {
    check(|| MessageParser::new(Sender::Backend));
}

fn check(parser: fn() -> MessageParser) {
    bolero::check!().for_each(|bytes: &[u8]| {
        let length = bytes.last().map_or(1, |last| usize::from(last % 7) + 1);
        assert_eq!(all(bytes, bytes.len(), parser()), all(bytes, length, parser()));
    });
}

/// A message that outlives its parser.
#[derive(Debug, PartialEq)]
struct Found {
    kind: u8,
    len: u32,
    body: Vec<u8>,
}

/// The messages before the end or the first refusal.
fn all(bytes: &[u8], length: usize, mut parser: MessageParser) -> (Vec<Found>, Option<Refusal>) {
    let mut found = Vec::new();
    for mut piece in bytes.chunks(length.max(1)) {
        while !piece.is_empty() {
            match parser.next(piece) {
                Ok(step) => {
                    found.extend(step.message.map(|it| Found {
                        kind: it.kind,
                        len: it.len,
                        body: it.body.to_vec(),
                    }));
                    piece = &piece[step.used..];
                }
                Err(refusal) => return (found, Some(refusal)),
            }
        }
    }
    (found, None)
}
