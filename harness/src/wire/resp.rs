//! RESP2 and RESP3, both directions, a piece at a time.
//!
//! Pure: bytes in, messages out, whatever the pieces. Values are kept only so far (see
//! [`Bounded`]), so memory is bounded by the bounds below and not by what a peer sends. Streamed
//! strings and aggregates, which no server sends, are refused.

use std::borrow::Cow;

use super::{
    Refusal, Step,
    bounded::{Bounded, Gathering, KEPT_BYTES},
    record::{RedisReply, Several},
    redis_commands::{self, Keys},
};

/// How deep aggregates may be nested.
const DEPTH: usize = 32;
/// How many items of one message are kept.
const ITEMS_KEPT: usize = 1_024;
/// How many bytes of one message are kept.
const MESSAGE_BYTES_KEPT: usize = 256 * 1024;
/// How long a line may be.
const LINE_BYTES: usize = 64 * 1024;
/// How many arguments a command may have, as in Redis.
const ARGUMENTS: u64 = 1024 * 1024;
/// How much of a command's name is kept.
const NAME_BYTES: usize = 64;

/// One command, as sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Its name in capitals.
    pub name: Cow<'static, str>,
    /// Where its keys stand among `args`.
    pub keys: Keys,
    /// Its arguments, without the name.
    pub args: Vec<Bounded>,
    /// How many further arguments were not kept.
    pub left_out: u64,
}

/// Reads what a client sends: arrays of bulk strings, or inline commands.
#[derive(Debug, Default)]
pub struct CommandParser {
    lines: Lines,
    bulk: Option<OpenBulk>,
    open: Option<OpenCommand>,
}

#[derive(Debug)]
struct OpenCommand {
    missing: u64,
    command: Option<Command>,
    room: Room,
}

impl CommandParser {
    /// Takes in `bytes` up to the end of the first command in them.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Step<Command>, Refusal> {
        let mut used = 0;
        loop {
            if used == bytes.len() {
                return Ok(Step { used, message: None });
            }
            let Some(open) = &mut self.open else {
                if self.lines.is_empty() && !may_begin_command(bytes[used]) {
                    return Err(Refusal("neither a command nor text"));
                }
                let Some((line, length)) = self.lines.take(&bytes[used..])? else {
                    return Ok(Step { used: bytes.len(), message: None });
                };
                used += length;
                if let Some(count) = line.text.strip_prefix(b"*") {
                    let missing = signed(count).ok_or(Refusal("bad argument count"))?;
                    // Redis ignores empty commands.
                    if let Ok(missing @ 1..) = u64::try_from(missing) {
                        if missing > ARGUMENTS {
                            return Err(Refusal("too many arguments"));
                        }
                        self.open = Some(OpenCommand { missing, command: None, room: Room::new() });
                    }
                } else if let Some(command) = inline(line.text)? {
                    return Ok(Step { used, message: Some(command) });
                }
                continue;
            };

            let bulk = match &mut self.bulk {
                Some(bulk) => bulk,
                none => {
                    let Some((line, length)) = self.lines.take(&bytes[used..])? else {
                        return Ok(Step { used: bytes.len(), message: None });
                    };
                    used += length;
                    let len = line
                        .text
                        .strip_prefix(b"$")
                        .and_then(signed)
                        .and_then(|len| u64::try_from(len).ok())
                        .ok_or(Refusal("an argument is not a bulk string"))?;
                    let limit = match open.command {
                        None => Some(NAME_BYTES),
                        Some(_) => open.room.for_item(),
                    };
                    none.insert(OpenBulk::new(len, limit))
                }
            };
            let (length, ended) = bulk.take_in(&bytes[used..])?;
            used += length;
            let Some(argument) = ended else { continue };
            self.bulk = None;
            open.missing -= 1;
            match &mut open.command {
                None => {
                    let room = usize::try_from(open.missing).unwrap_or(ITEMS_KEPT).min(ITEMS_KEPT);
                    open.command = Some(Command::named(argument.kept(), room));
                }
                Some(command) => {
                    if open.room.take(&argument) {
                        command.args.push(argument);
                    } else {
                        command.left_out += 1;
                    }
                }
            }
            if open.missing == 0 {
                let ended = self.open.take().and_then(|open| open.command);
                return Ok(Step { used, message: ended });
            }
        }
    }
}

impl Command {
    fn named(name: &[u8], room: usize) -> Command {
        let (name, keys) = match redis_commands::lookup(name) {
            Some((name, keys)) => (Cow::Borrowed(name), keys),
            None => {
                let name = &name[..name.len().min(NAME_BYTES)];
                let name = String::from_utf8_lossy(name).to_ascii_uppercase();
                (Cow::Owned(name), Keys::None)
            }
        };
        Command { name, keys, args: Vec::with_capacity(room), left_out: 0 }
    }

    /// Whether the argument at `index` is `word`, in any case.
    pub fn says(&self, index: usize, word: &str) -> bool {
        self.args.get(index).is_some_and(|arg| arg.kept().eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// A first byte that no client of Redis sends, as of a TLS greeting, would otherwise be waited on
/// until a line ends.
fn may_begin_command(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t')
}

/// A command typed by a person: words, quoted where they need to be.
fn inline(line: &[u8]) -> Result<Option<Command>, Refusal> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        let Some(first) = rest.first() else { break };
        let (word, after) = match first {
            b'"' => double_quoted(&rest[1..])?,
            b'\'' => single_quoted(&rest[1..])?,
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                (rest[..end].to_vec(), &rest[end..])
            }
        };
        words.push(word);
        rest = after;
    }
    let mut words = words.into_iter();
    let Some(name) = words.next() else { return Ok(None) };
    let mut command = Command::named(&name, words.len());
    let mut room = Room::new();
    for word in words {
        let argument = kept(&word, room.for_item());
        if room.take(&argument) {
            command.args.push(argument);
        } else {
            command.left_out += 1;
        }
    }
    Ok(Some(command))
}

fn double_quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Refusal> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [b'"', after @ ..] => return Ok((word, after)),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |it: u8| char::from(it).to_digit(16).unwrap_or(0) as u8;
                word.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
            [] => return Err(Refusal("unbalanced quotes")),
        }
    }
}

fn single_quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Refusal> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [b'\'', after @ ..] => return Ok((word, after)),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
            [] => return Err(Refusal("unbalanced quotes")),
        }
    }
}

/// Reads what a server sends: any value of RESP2 or RESP3. Attributes are read and dropped.
#[derive(Debug, Default)]
pub struct ReplyParser {
    lines: Lines,
    bulk: Option<(BulkKind, OpenBulk)>,
    open: Vec<OpenAggregate>,
    room: Room,
}

#[derive(Clone, Copy, Debug)]
enum BulkKind {
    Plain,
    Error,
    Verbatim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AggregateKind {
    Array,
    Set,
    Map,
    Push,
    Attribute,
}

#[derive(Debug)]
struct OpenAggregate {
    kind: AggregateKind,
    missing: u64,
    several: Several,
}

/// What a line begins.
enum Begun {
    Value(RedisReply),
    Bulk(BulkKind, u64),
    Aggregate(AggregateKind, u64),
}

impl ReplyParser {
    /// Takes in `bytes` up to the end of the first reply in them.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Step<RedisReply>, Refusal> {
        let mut used = 0;
        loop {
            if used == bytes.len() {
                return Ok(Step { used, message: None });
            }
            let value = if let Some((kind, bulk)) = &mut self.bulk {
                let kind = *kind;
                let (length, ended) = bulk.take_in(&bytes[used..])?;
                used += length;
                let Some(value) = ended else { continue };
                self.bulk = None;
                match kind {
                    BulkKind::Plain => RedisReply::Bulk { value },
                    BulkKind::Error => RedisReply::Error { text: value },
                    BulkKind::Verbatim => RedisReply::Verbatim { text: value },
                }
            } else {
                let Some((line, length)) = self.lines.take(&bytes[used..])? else {
                    return Ok(Step { used: bytes.len(), message: None });
                };
                used += length;
                match begin(line, self.room.for_item())? {
                    Begun::Value(value) => value,
                    Begun::Bulk(kind, len) => {
                        self.bulk = Some((kind, OpenBulk::new(len, self.room.for_item())));
                        continue;
                    }
                    Begun::Aggregate(AggregateKind::Attribute, 0) => continue,
                    Begun::Aggregate(kind, 0) => closed(kind, Several::default()),
                    Begun::Aggregate(kind, len) => {
                        if self.open.len() == DEPTH {
                            return Err(Refusal("nested too deep"));
                        }
                        let room = usize::try_from(len).unwrap_or(ITEMS_KEPT);
                        let items = Vec::with_capacity(room.min(self.room.items));
                        let several = Several { len, items };
                        self.open.push(OpenAggregate { kind, missing: len, several });
                        continue;
                    }
                }
            };
            if let Some(message) = self.place(value) {
                self.room = Room::new();
                return Ok(Step { used, message: Some(message) });
            }
        }
    }

    /// Puts a value where it belongs; gives back the message it completes.
    fn place(&mut self, mut value: RedisReply) -> Option<RedisReply> {
        loop {
            let Some(open) = self.open.last_mut() else { return Some(value) };
            let bytes = match &value {
                RedisReply::Bulk { value: text }
                | RedisReply::Simple { text }
                | RedisReply::Error { text }
                | RedisReply::Double { text }
                | RedisReply::BigNumber { text }
                | RedisReply::Verbatim { text } => text.kept().len(),
                RedisReply::Ok
                | RedisReply::Nil
                | RedisReply::Int { .. }
                | RedisReply::Bool { .. }
                | RedisReply::Array(_)
                | RedisReply::Set(_)
                | RedisReply::Map(_)
                | RedisReply::Push(_)
                | RedisReply::Discarded
                | RedisReply::Suppressed => 0,
            };
            if open.kind != AggregateKind::Attribute && self.room.take_bytes(bytes) {
                open.several.items.push(value);
            }
            open.missing -= 1;
            if open.missing > 0 {
                return None;
            }
            let ended = self.open.pop()?;
            if ended.kind == AggregateKind::Attribute {
                return None;
            }
            value = closed(ended.kind, ended.several);
        }
    }
}

fn closed(kind: AggregateKind, several: Several) -> RedisReply {
    match kind {
        // Attributes are dropped where they end.
        AggregateKind::Array | AggregateKind::Attribute => RedisReply::Array(several),
        AggregateKind::Set => RedisReply::Set(several),
        AggregateKind::Map => RedisReply::Map(several),
        AggregateKind::Push => RedisReply::Push(several),
    }
}

fn begin(line: Line<'_>, limit: Option<usize>) -> Result<Begun, Refusal> {
    if !line.full_ending {
        return Err(Refusal("a line ends without a carriage return"));
    }
    let Some((first, rest)) = line.text.split_first() else {
        return Err(Refusal("an empty line is no reply"));
    };
    let length = || signed(rest).ok_or(Refusal("bad length"));
    let bulk = |kind| match length()? {
        -1 => Ok(Begun::Value(RedisReply::Nil)),
        len => Ok(Begun::Bulk(kind, u64::try_from(len).or(Err(Refusal("negative length")))?)),
    };
    let aggregate = |kind, each: u64| match length()? {
        -1 if kind == AggregateKind::Array => Ok(Begun::Value(RedisReply::Nil)),
        len => {
            let len = u64::try_from(len).ok().and_then(|len| len.checked_mul(each));
            Ok(Begun::Aggregate(kind, len.ok_or(Refusal("no length an aggregate can have"))?))
        }
    };
    let text = || kept(rest, limit);
    let value = match first {
        b'+' if rest == b"OK" => RedisReply::Ok,
        b'+' => RedisReply::Simple { text: text() },
        b'-' => RedisReply::Error { text: text() },
        b':' => RedisReply::Int { value: signed(rest).ok_or(Refusal("bad integer"))? },
        b'_' if rest.is_empty() => RedisReply::Nil,
        b'#' if rest == b"t" => RedisReply::Bool { value: true },
        b'#' if rest == b"f" => RedisReply::Bool { value: false },
        b',' => RedisReply::Double { text: text() },
        b'(' => RedisReply::BigNumber { text: text() },
        b'$' => return bulk(BulkKind::Plain),
        b'!' => return bulk(BulkKind::Error),
        b'=' => return bulk(BulkKind::Verbatim),
        b'*' => return aggregate(AggregateKind::Array, 1),
        b'~' => return aggregate(AggregateKind::Set, 1),
        b'>' => return aggregate(AggregateKind::Push, 1),
        b'%' => return aggregate(AggregateKind::Map, 2),
        b'|' => return aggregate(AggregateKind::Attribute, 2),
        _ => return Err(Refusal("no type of reply")),
    };
    Ok(Begun::Value(value))
}

/// A decimal with an optional sign and nothing else.
fn signed(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Towards the negative, which reaches one further.
    let value = digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_sub(i64::from(digit - b'0')),
        _ => None,
    })?;
    if negative { Some(value) } else { value.checked_neg() }
}

/// What may still be kept of a message.
#[derive(Debug)]
struct Room {
    items: usize,
    bytes: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room::new()
    }
}

impl Room {
    fn new() -> Room {
        Room { items: ITEMS_KEPT, bytes: MESSAGE_BYTES_KEPT }
    }

    /// How much may be kept of the next item; `None` if it will be dropped.
    fn for_item(&self) -> Option<usize> {
        (self.items > 0).then(|| self.bytes.min(KEPT_BYTES))
    }

    fn take(&mut self, item: &Bounded) -> bool {
        self.take_bytes(item.kept().len())
    }

    fn take_bytes(&mut self, bytes: usize) -> bool {
        if self.items == 0 {
            return false;
        }
        self.items -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// As much of a value as may be kept.
fn kept(value: &[u8], limit: Option<usize>) -> Bounded {
    match limit {
        Some(limit) => Bounded::keeping(value, limit),
        None => Bounded::measured(value.len() as u64),
    }
}

/// A bulk string of which the length is known.
#[derive(Debug)]
struct OpenBulk {
    len: u64,
    /// How much to keep; `None` if it will be dropped.
    limit: Option<usize>,
    /// Bytes that are still to come, the line end included.
    missing: u64,
    gathering: Option<Gathering>,
}

const LINE_END: &[u8; 2] = b"\r\n";

impl OpenBulk {
    fn new(len: u64, limit: Option<usize>) -> OpenBulk {
        OpenBulk { len, limit, missing: len.saturating_add(2), gathering: None }
    }

    /// Takes in bytes up to the end of the string; gives it back when it ends.
    fn take_in(&mut self, bytes: &[u8]) -> Result<(usize, Option<Bounded>), Refusal> {
        const NO_END: Refusal = Refusal("a bulk string does not end where it should");
        let here = usize::try_from(self.missing).unwrap_or(usize::MAX).min(bytes.len());
        let piece = &bytes[..here];
        let before = self.missing;
        self.missing -= here as u64;

        // The usual case: all of it is here.
        if self.missing == 0 && before == self.len.saturating_add(2) {
            let value = piece.strip_suffix(LINE_END).ok_or(NO_END)?;
            return Ok((here, Some(kept(value, self.limit))));
        }

        let of_value = usize::try_from(before.saturating_sub(2)).unwrap_or(usize::MAX).min(here);
        let (value, ending) = piece.split_at(of_value);
        if let Some(limit) = self.limit {
            let begun = || Gathering::expecting(self.len, limit);
            self.gathering.get_or_insert_with(begun).take_in(value);
        }
        let ending_from = if before >= 2 { 0 } else { 1 };
        if !LINE_END[ending_from..].starts_with(ending) {
            return Err(NO_END);
        }
        if self.missing > 0 {
            return Ok((here, None));
        }
        let ended = self.gathering.take().map(Gathering::finish);
        Ok((here, Some(ended.unwrap_or_else(|| Bounded::measured(self.len)))))
    }
}

/// Finds lines, whichever pieces they come in.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    given_away: bool,
}

/// A line without its ending.
struct Line<'a> {
    text: &'a [u8],
    /// Whether it ended in a carriage return and a line feed, and not in a line feed alone.
    full_ending: bool,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.given_away || self.begun.is_empty()
    }

    /// The line that ends in `bytes`, and how many of them belong to it. Without one, all of
    /// `bytes` belong to the line that has begun.
    fn take<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<(Line<'a>, usize)>, Refusal> {
        if self.given_away {
            self.begun.clear();
            self.given_away = false;
        }
        let room = LINE_BYTES - self.begun.len();
        let Some(at) = bytes.iter().take(room).position(|byte| *byte == b'\n') else {
            if bytes.len() >= room {
                return Err(Refusal("a line is too long"));
            }
            self.begun.extend_from_slice(bytes);
            return Ok(None);
        };
        let text = if self.begun.is_empty() {
            &bytes[..at]
        } else {
            self.begun.extend_from_slice(&bytes[..at]);
            self.given_away = true;
            &self.begun
        };
        let line = match text.strip_suffix(b"\r") {
            Some(text) => Line { text, full_ending: true },
            None => Line { text, full_ending: false },
        };
        Ok(Some((line, at + 1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_is_its_name_and_its_arguments() {
        let commands = commands(b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$5\r\na\r\nbc\r\n").unwrap();
        assert_eq!(commands.len(), 1);
        assert_eq!(commands[0].name, "SET");
        assert_eq!(commands[0].keys, Keys::First);
        assert_eq!(commands[0].args, ["k", "a\r\nbc"]);
    }

    #[test]
    fn a_person_may_type_commands() {
        let commands = commands(b"\r\nget  'a key'\n*0\r\nset k \"\\x41\\n\\\"\"\r\n").unwrap();
        let args: Vec<_> = commands.iter().map(|command| &command.args[..]).collect();
        assert_eq!(args, [&[Bounded::from("a key")][..], &["k".into(), "A\n\"".into()][..]]);
    }

    #[test]
    fn what_is_not_a_command_is_refused() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b"*2\r\n:1\r\n",
            b"*1\r\n$3\r\nfoobar",
            b"*99999999\r\n",
            b"get 'a\r\n",
            &[b'a'; LINE_BYTES],
        ] {
            assert!(commands(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn every_type_of_reply_is_read() {
        let text = |text: &str| Bounded::from(text);
        let bulk = |value: &str| RedisReply::Bulk { value: text(value) };
        let several = |items: Vec<RedisReply>| Several { len: items.len() as u64, items };
        let cases = [
            ("+OK\r\n", RedisReply::Ok),
            ("+PONG\r\n", RedisReply::Simple { text: text("PONG") }),
            ("-ERR no\r\n", RedisReply::Error { text: text("ERR no") }),
            (":-42\r\n", RedisReply::Int { value: -42 }),
            ("$2\r\nhi\r\n", bulk("hi")),
            ("$0\r\n\r\n", bulk("")),
            ("$-1\r\n", RedisReply::Nil),
            ("*-1\r\n", RedisReply::Nil),
            ("_\r\n", RedisReply::Nil),
            ("#t\r\n", RedisReply::Bool { value: true }),
            (",1.5e3\r\n", RedisReply::Double { text: text("1.5e3") }),
            (
                "(12345678901234567890\r\n",
                RedisReply::BigNumber { text: text("12345678901234567890") },
            ),
            ("!5\r\nERR x\r\n", RedisReply::Error { text: text("ERR x") }),
            ("=5\r\ntxt:x\r\n", RedisReply::Verbatim { text: text("txt:x") }),
            ("*0\r\n", RedisReply::Array(several(vec![]))),
            (
                "*2\r\n:1\r\n*1\r\n$1\r\na\r\n",
                RedisReply::Array(several(vec![
                    RedisReply::Int { value: 1 },
                    RedisReply::Array(several(vec![bulk("a")])),
                ])),
            ),
            ("~1\r\n:1\r\n", RedisReply::Set(several(vec![RedisReply::Int { value: 1 }]))),
            (
                "%1\r\n$1\r\na\r\n:1\r\n",
                RedisReply::Map(several(vec![bulk("a"), RedisReply::Int { value: 1 }])),
            ),
            (">1\r\n$1\r\na\r\n", RedisReply::Push(several(vec![bulk("a")]))),
            ("|1\r\n$1\r\na\r\n*1\r\n:1\r\n:7\r\n", RedisReply::Int { value: 7 }),
            (
                "*1\r\n|1\r\n:1\r\n:2\r\n:7\r\n",
                RedisReply::Array(several(vec![RedisReply::Int { value: 7 }])),
            ),
        ];
        for (bytes, reply) in cases {
            assert_eq!(replies(bytes.as_bytes()), Ok(vec![reply]), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_not_a_reply_is_refused() {
        let deep = "*1\r\n".repeat(DEPTH + 1);
        for bytes in [
            "hello\r\n",
            "$?\r\n",
            "*?\r\n",
            "$-2\r\n",
            "$1\r\nab\r\n",
            "+OK\n",
            ":x\r\n",
            "#x\r\n",
            "\r\n",
            ":9223372036854775808\r\n",
            &deep,
        ] {
            assert!(replies(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_reply_of_any_length_is_counted_and_kept_in_part() {
        let many = format!("*5000\r\n{}", ":1\r\n".repeat(5_000));
        let read = replies(many.as_bytes()).unwrap();
        let [RedisReply::Array(several)] = &*read else { panic!("{read:?}") };
        assert_eq!((several.len, several.items.len()), (5_000, ITEMS_KEPT));
    }

    proptest! {
        #[test]
        fn a_command_reads_back_as_written(
            name in "[A-Z]{1,12}",
            args in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..8),
        ) {
            let words: Vec<&[u8]> = [name.as_bytes()].into_iter().chain(args.iter().map(|it| &**it)).collect();
            let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
            for word in &words {
                bytes.extend(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend(*word);
                bytes.extend(b"\r\n");
            }
            let read = commands(&bytes).unwrap();
            prop_assert_eq!(&read[0].name, &name);
            let whole: Vec<_> = read[0].args.iter().map(|arg| arg.whole().unwrap()).collect();
            prop_assert_eq!(whole, &words[1..]);
        }

        #[test]
        fn a_reply_reads_back_as_written(reply in reply()) {
            let mut bytes = Vec::new();
            write(&reply, &mut bytes);
            prop_assert_eq!(replies(&bytes), Ok(vec![reply]));
        }

        #[test]
        fn pieces_do_not_matter(
            bytes in looks_like_resp(),
            cuts in proptest::collection::vec(1..9usize, 1..20),
        ) {
            let mut parser = CommandParser::default();
            let in_pieces = all(&bytes, &cuts, |bytes| parser.next(bytes));
            prop_assert_eq!(commands(&bytes), in_pieces);
            let mut parser = ReplyParser::default();
            let in_pieces = all(&bytes, &cuts, |bytes| parser.next(bytes));
            prop_assert_eq!(replies(&bytes), in_pieces);
        }
    }

    fn commands(bytes: &[u8]) -> Result<Vec<Command>, Refusal> {
        let mut parser = CommandParser::default();
        all(bytes, &[usize::MAX], |bytes| parser.next(bytes))
    }

    fn replies(bytes: &[u8]) -> Result<Vec<RedisReply>, Refusal> {
        let mut parser = ReplyParser::default();
        all(bytes, &[usize::MAX], |bytes| parser.next(bytes))
    }

    /// Every message of `bytes`, given in pieces of these lengths.
    fn all<T>(
        bytes: &[u8],
        cuts: &[usize],
        mut next: impl FnMut(&[u8]) -> Result<Step<T>, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let mut found = Vec::new();
        let mut cuts = cuts.iter().cycle();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (mut piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            while !piece.is_empty() {
                let step = next(piece)?;
                found.extend(step.message);
                piece = &piece[step.used..];
            }
            rest = after;
        }
        Ok(found)
    }

    fn looks_like_resp() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            "[*$%~>|=!][0-3]\r\n",
            "[+:,#(_-][a-z0-9]{0,3}\r\n",
            "[a-z0-9]{0,3}\r\n",
            "[ -~\r\n]{0,4}",
        ];
        let noise = proptest::collection::vec(any::<u8>(), 0..3);
        let part = prop_oneof![9 => token.prop_map(String::into_bytes), 1 => noise];
        proptest::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
    }

    fn reply() -> impl Strategy<Value = RedisReply> {
        let word = "[a-z]{0,8}".prop_map(|text| Bounded::from(&*text));
        let value = proptest::collection::vec(any::<u8>(), 0..40).prop_map(|it| Bounded::new(&it));
        let leaf = prop_oneof![
            Just(RedisReply::Ok),
            Just(RedisReply::Nil),
            any::<bool>().prop_map(|value| RedisReply::Bool { value }),
            any::<i64>().prop_map(|value| RedisReply::Int { value }),
            value.prop_map(|value| RedisReply::Bulk { value }),
            word.prop_map(|text| RedisReply::Error { text }),
        ];
        leaf.prop_recursive(4, 32, 4, |item| {
            let items = proptest::collection::vec(item, 0..4);
            items.prop_map(|items| RedisReply::Array(Several { len: items.len() as u64, items }))
        })
    }

    fn write(reply: &RedisReply, bytes: &mut Vec<u8>) {
        match reply {
            RedisReply::Ok => bytes.extend(b"+OK\r\n"),
            RedisReply::Nil => bytes.extend(b"$-1\r\n"),
            RedisReply::Bool { value: true } => bytes.extend(b"#t\r\n"),
            RedisReply::Bool { value: false } => bytes.extend(b"#f\r\n"),
            RedisReply::Int { value } => bytes.extend(format!(":{value}\r\n").as_bytes()),
            RedisReply::Bulk { value } => {
                bytes.extend(format!("${}\r\n", value.len()).as_bytes());
                bytes.extend(value.kept());
                bytes.extend(b"\r\n");
            }
            RedisReply::Error { text } => {
                bytes.extend(b"-");
                bytes.extend(text.kept());
                bytes.extend(b"\r\n");
            }
            RedisReply::Array(several) => {
                bytes.extend(format!("*{}\r\n", several.len).as_bytes());
                several.items.iter().for_each(|item| write(item, bytes));
            }
            other => panic!("{other:?} is not generated"),
        }
    }
}
