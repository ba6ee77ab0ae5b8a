//! Joins answers to questions on one connection.
//!
//! Pure: bytes and moments in, what was seen out. A session never changes a byte; it says where a
//! message ends and what a fault wants done with it, and the proxy does it.

use std::time::Duration;

use super::{
    Refusal,
    fault::{Board, FaultId, Harm, Moment},
    pg_session::PgSession,
    record::{StoreKind, WireBody},
    redis_session::RedisSession,
};
use crate::clock::Micros;

/// Something seen on a connection, before it is joined to replica and connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// When it was asked, or happened.
    pub asked: Micros,
    /// When it was answered.
    pub answered: Option<Micros>,
    /// The fault that struck it.
    pub fault: Option<FaultId>,
    /// What it was.
    pub body: WireBody,
}

/// One connection, whatever store it leads to.
#[derive(Debug)]
pub struct Session {
    grammar: Grammar,
}

#[derive(Debug)]
enum Grammar {
    Redis(Box<RedisSession>),
    Postgres(Box<PgSession>),
    /// What we could not understand, and how much of it went by.
    Unseen {
        why: &'static str,
        bytes: u64,
    },
}

/// How far into some bytes a message reached.
#[derive(Debug, PartialEq)]
pub(crate) struct Reached<Fate> {
    /// How many of the bytes belong to it.
    pub(crate) used: usize,
    /// What to do with the message, if it ends with them.
    pub(crate) fate: Option<Fate>,
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
pub(crate) enum RequestFate {
    /// Forward it.
    Forward,
    /// Forward it so much later.
    Delay(Duration),
    /// Forward these bytes in its place.
    Swap(Vec<u8>),
    /// Reset the connection.
    Cut,
}

/// What to do with a reply.
#[derive(Debug, PartialEq)]
pub(crate) enum ReplyFate {
    /// Forward it.
    Forward,
    /// Forward these bytes in its place.
    Swap(Vec<u8>),
    /// Let it disappear.
    Lose,
    /// Reset the connection.
    Cut,
    /// Forward half of it and reset the connection.
    CutMidway,
}

/// What a fault wants done with the reply to a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReplyHarm {
    Cut,
    CutMidway,
    Answer { code: String, message: String },
}

impl ReplyHarm {
    /// What is left to do at the reply to a request with this harm.
    pub(crate) fn left_of(harm: Harm) -> Option<ReplyHarm> {
        match harm {
            Harm::Delay(_) | Harm::Cut(Moment::BeforeRequest) => None,
            Harm::Cut(Moment::BeforeReply) => Some(ReplyHarm::Cut),
            Harm::Cut(Moment::MidReply) => Some(ReplyHarm::CutMidway),
            Harm::Answer { code, message } => Some(ReplyHarm::Answer { code, message }),
        }
    }
}

impl Session {
    /// A connection to such a store, before its first byte.
    pub fn new(store: StoreKind) -> Session {
        let grammar = match store {
            StoreKind::Redis => Grammar::Redis(Box::default()),
            StoreKind::Postgres => Grammar::Postgres(Box::default()),
        };
        Session { grammar }
    }

    /// Takes in all that the gateway sent; says whether it ended with a message.
    pub fn take_requests(&mut self, bytes: &[u8], at: Micros, seen: &mut Vec<Seen>) -> bool {
        let mut from = 0;
        let mut whole = true;
        while from < bytes.len() {
            let reached = self.ask(&bytes[from..], at, None, seen);
            from += reached.used;
            whole = reached.fate.is_some();
        }
        whole
    }

    /// Takes in all that the store sent; says whether it ended with a message.
    pub fn take_replies(&mut self, bytes: &[u8], at: Micros, seen: &mut Vec<Seen>) -> bool {
        let mut from = 0;
        let mut whole = true;
        while from < bytes.len() {
            let reached = self.answer(&bytes[from..], at, None, seen);
            from += reached.used;
            whole = reached.fate.is_some();
        }
        whole
    }

    /// Takes in what the gateway sent, up to the end of the first message in it.
    pub(crate) fn ask(
        &mut self,
        bytes: &[u8],
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Reached<RequestFate> {
        let reached = match &mut self.grammar {
            Grammar::Redis(redis) => redis.ask(bytes, at, board, seen),
            Grammar::Postgres(postgres) => postgres.ask(bytes, at, board, seen),
            Grammar::Unseen { bytes: unseen, .. } => {
                *unseen += bytes.len() as u64;
                return Reached { used: bytes.len(), fate: Some(RequestFate::Forward) };
            }
        };
        reached.unwrap_or_else(|refusal| {
            self.give_up(refusal, bytes.len(), at, seen);
            Reached { used: bytes.len(), fate: Some(RequestFate::Forward) }
        })
    }

    /// Takes in what the store sent, up to the end of the first message in it.
    pub(crate) fn answer(
        &mut self,
        bytes: &[u8],
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Reached<ReplyFate> {
        let reached = match &mut self.grammar {
            Grammar::Redis(redis) => redis.answer(bytes, at, board, seen),
            Grammar::Postgres(postgres) => postgres.answer(bytes, at, board, seen),
            Grammar::Unseen { bytes: unseen, .. } => {
                *unseen += bytes.len() as u64;
                return Reached { used: bytes.len(), fate: Some(ReplyFate::Forward) };
            }
        };
        reached.unwrap_or_else(|refusal| {
            self.give_up(refusal, bytes.len(), at, seen);
            Reached { used: bytes.len(), fate: Some(ReplyFate::Forward) }
        })
    }

    /// Whether a reply yet to come is to be changed, so that replies must be held back until they
    /// are whole.
    pub(crate) fn harms_replies(&self) -> bool {
        match &self.grammar {
            Grammar::Redis(redis) => redis.harms_replies(),
            Grammar::Postgres(postgres) => postgres.harms_replies(),
            Grammar::Unseen { .. } => false,
        }
    }

    /// Tells what will now never be answered.
    pub(crate) fn abandon(&mut self, seen: &mut Vec<Seen>) {
        match &mut self.grammar {
            Grammar::Redis(redis) => redis.abandon(seen),
            Grammar::Postgres(postgres) => postgres.abandon(seen),
            Grammar::Unseen { .. } => (),
        }
    }

    /// Tells what was never answered, and how much went by unseen.
    pub fn close(&mut self, at: Micros, seen: &mut Vec<Seen>) {
        self.abandon(seen);
        if let Grammar::Unseen { why, bytes } = &self.grammar {
            seen.push(unseen(why, *bytes, at));
        }
    }

    fn give_up(&mut self, refusal: Refusal, bytes: usize, at: Micros, seen: &mut Vec<Seen>) {
        let Refusal(why) = refusal;
        self.abandon(seen);
        self.grammar = Grammar::Unseen { why, bytes: bytes as u64 };
        seen.push(unseen(why, bytes as u64, at));
    }
}

fn unseen(why: &str, bytes: u64, at: Micros) -> Seen {
    let body = WireBody::Unseen { bytes, why: why.to_owned() };
    Seen { asked: at, answered: None, fault: None, body }
}
