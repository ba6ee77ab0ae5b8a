//! The messages of Postgres's protocol, version 3, both directions, a piece at a time.
//!
//! Pure: bytes in, messages out, whatever the pieces. Rows and copied data are measured and not
//! kept; of any other message at most [`BODY_KEPT`] bytes are.

use super::{Refusal, Step};

/// How much of one message's body is kept.
pub const BODY_KEPT: usize = 1024 * 1024;
/// How long a message may be, as in Postgres.
const MESSAGE_BYTES: u32 = 0x3fff_ffff;
/// How long an opening message may be, as in Postgres.
const OPENING_BYTES: u32 = 10_000;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type; 0 for the opening messages, which have none.
    pub kind: u8,
    /// How long its body was.
    pub len: u32,
    /// The beginning of its body.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Whether all of the body was kept.
    pub fn is_whole(&self) -> bool {
        self.body.len() as u64 == u64::from(self.len)
    }
}

/// Who sends the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client.
    Frontend,
    /// A server.
    Backend,
}

impl Sender {
    /// How much of such a message's body is kept; `None` if there is no such message.
    fn kept(self, kind: u8) -> Option<usize> {
        match (self, kind) {
            (_, b'd') | (Sender::Backend, b'D') => Some(0),
            (Sender::Frontend, 0)
            | (Sender::Frontend, b'B' | b'C' | b'D' | b'E' | b'F' | b'H' | b'P' | b'Q')
            | (Sender::Frontend, b'S' | b'X' | b'c' | b'f' | b'p')
            | (Sender::Backend, b'1' | b'2' | b'3' | b'A' | b'C' | b'E' | b'G' | b'H' | b'I')
            | (Sender::Backend, b'K' | b'N' | b'R' | b'S' | b'T' | b'V' | b'W' | b'Z')
            | (Sender::Backend, b'c' | b'n' | b's' | b't' | b'v') => Some(BODY_KEPT),
            _ => None,
        }
    }
}

/// Finds the messages of one direction.
#[derive(Debug)]
pub struct MessageParser {
    sender: Sender,
    typed: bool,
    head: Vec<u8>,
    open: Option<Open>,
    body: Vec<u8>,
    given_away: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    kind: u8,
    len: u32,
    missing: usize,
    limit: usize,
}

impl MessageParser {
    /// From the first byte of a connection.
    pub fn new(sender: Sender) -> MessageParser {
        MessageParser {
            sender,
            typed: sender == Sender::Backend,
            head: Vec::new(),
            open: None,
            body: Vec::new(),
            given_away: false,
        }
    }

    /// From here on every message has a type. A client's have none until it asks for a session.
    pub fn expect_types(&mut self) {
        self.typed = true;
    }

    /// Takes in `bytes` up to the end of the first message in them.
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Step<Message<'a>>, Refusal> {
        if self.given_away {
            self.body.clear();
            self.given_away = false;
        }
        let mut used = 0;
        let mut open = match self.open {
            Some(open) => open,
            None => {
                let head_len = if self.typed { 5 } else { 4 };
                let head = if self.head.is_empty() && bytes.len() >= head_len {
                    used = head_len;
                    &bytes[..head_len]
                } else {
                    used = bytes.len().min(head_len - self.head.len());
                    self.head.extend_from_slice(&bytes[..used]);
                    &self.head
                };
                if self.typed
                    && let Some(kind) = head.first()
                    && self.sender.kept(*kind).is_none()
                {
                    return Err(Refusal("no type of message"));
                }
                if head.len() < head_len {
                    return Ok(Step { used, message: None });
                }
                let open = self.begin(head)?;
                self.head.clear();
                open
            }
        };

        let here = open.missing.min(bytes.len() - used);
        let piece = &bytes[used..used + here];
        used += here;
        let whole_here = here == open.len as usize;
        open.missing -= here;
        if !whole_here {
            let room = open.limit - self.body.len();
            self.body.extend_from_slice(&piece[..here.min(room)]);
        }
        if open.missing > 0 {
            self.open = Some(open);
            return Ok(Step { used, message: None });
        }
        self.open = None;
        let body = if whole_here {
            &piece[..here.min(open.limit)]
        } else {
            self.given_away = true;
            &self.body
        };
        Ok(Step { used, message: Some(Message { kind: open.kind, len: open.len, body }) })
    }

    fn begin(&self, head: &[u8]) -> Result<Open, Refusal> {
        let (kind, length, longest) = match head {
            [kind, length @ ..] if self.typed => (*kind, length, MESSAGE_BYTES),
            length => (0, length, OPENING_BYTES),
        };
        let length = length.try_into().map(u32::from_be_bytes).unwrap_or(0);
        if length < 4 || length > longest {
            return Err(Refusal(match self.typed {
                true => "no length a message can have",
                false => "no opening of a session",
            }));
        }
        let len = length - 4;
        let limit = self.sender.kept(kind).unwrap_or(0);
        Ok(Open { kind, len, missing: len as usize, limit })
    }
}

/// Reads the fields of a body, as far as it was kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(body: &'a [u8]) -> Fields<'a> {
        Fields { rest: body }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(crate) fn int16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(crate) fn int32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(crate) fn oid(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    /// Text up to the next zero byte, or to the end where the body was cut off.
    pub(crate) fn text(&mut self) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let (text, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        text
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
