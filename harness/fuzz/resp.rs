//! No bytes make the RESP parsers panic, and how they are cut into pieces changes nothing.

use harness::wire::{
    Refusal, Step,
    resp::{CommandParser, ReplyParser},
};

#[test]
fn commands() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let (mut whole, mut pieces) = (CommandParser::default(), CommandParser::default());
        let expected = all(bytes, bytes.len(), |bytes| whole.next(bytes));
        let found = all(bytes, piece_length(bytes), |bytes| pieces.next(bytes));
        assert_eq!(expected, found);
    });
}

#[test]
fn replies() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let (mut whole, mut pieces) = (ReplyParser::default(), ReplyParser::default());
        let expected = all(bytes, bytes.len(), |bytes| whole.next(bytes));
        let found = all(bytes, piece_length(bytes), |bytes| pieces.next(bytes));
        assert_eq!(expected, found);
    });
}

/// From the input itself, so that an input always means the same.
fn piece_length(bytes: &[u8]) -> usize {
    bytes.last().map_or(1, |last| usize::from(last % 7) + 1)
}

/// The messages before the end or the first refusal.
fn all<T>(
    bytes: &[u8],
    length: usize,
    mut next: impl FnMut(&[u8]) -> Result<Step<T>, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let mut found = Vec::new();
    for mut piece in bytes.chunks(length.max(1)) {
        while !piece.is_empty() {
            let step = next(piece)?;
            found.extend(step.message);
            piece = &piece[step.used..];
        }
    }
    Ok(found)
}
