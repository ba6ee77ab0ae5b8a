//! Joins Postgres's answers to statements: simple and extended queries, pipelines, `COPY`.
//!
//! Nothing is believed before the server says so: a statement is prepared when its `Parse` is
//! confirmed, and a portal has parameters when its `Bind` is. That keeps the names right where a
//! pipeline fails half-way.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    Refusal,
    bounded::{Bounded, REDACTED},
    fault::{Board, FaultId, Harm, Moment, Request},
    pg::{Fields, Message, MessageParser, Sender},
    pg_values,
    record::{PgError, PgStatement, TransactionState, WireBody},
    session::{Reached, ReplyFate, ReplyHarm, RequestFate, Seen},
};
use crate::clock::Micros;

/// How many messages may wait for their answers.
const PENDING: usize = 100_000;
/// How many prepared statements, and how many portals, are remembered.
const NAMES: usize = 10_000;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
const VERSION_3: u32 = 3;

/// A name that nobody gives to a portal, and a text that is no SQL: both make the server refuse a
/// request in its turn.
const REFUSED: &[u8] = b"gauntlet_refused";

/// One connection to a Postgres.
#[derive(Debug)]
pub(crate) struct PgSession {
    requests: MessageParser,
    replies: MessageParser,
    /// Answers of one bare byte that are due: one per request for encryption.
    bare_answers: u32,
    startup: Option<Startup>,
    ready: bool,
    pending: VecDeque<Pending>,
    statements: BTreeMap<Vec<u8>, Arc<Statement>>,
    portals: BTreeMap<Vec<u8>, Portal>,
    transaction: TransactionState,
    /// The server ignores everything until the next `Sync`, having refused something.
    skipping: bool,
    /// The server takes in copied data and ignores `Sync`.
    copying_in: bool,
    /// Whether anything since the last `Sync` could be harmed.
    judged: bool,
    rows: u64,
    copied_in: u64,
    copied_out: u64,
    harmed: usize,
}

#[derive(Debug)]
struct Startup {
    asked: Micros,
    body: WireBody,
}

#[derive(Debug)]
struct Statement {
    sql: Bounded,
    types: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Portal {
    statement: Arc<Statement>,
    params: Vec<Option<Bounded>>,
}

/// Something the server has yet to answer.
#[derive(Debug)]
struct Pending {
    asked: Micros,
    fault: Option<FaultId>,
    harm: Option<ReplyHarm>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A simple query, and how many of its statements are answered.
    Query {
        sql: Bounded,
        answered: u32,
    },
    Parse {
        name: Vec<u8>,
        statement: Arc<Statement>,
    },
    /// The rest of the message begins with the parameter formats.
    Bind {
        portal: Vec<u8>,
        statement: Vec<u8>,
        rest: Box<[u8]>,
    },
    /// Of this statement, or of a portal.
    Describe {
        statement: Option<Vec<u8>>,
    },
    Execute {
        portal: Vec<u8>,
    },
    Close {
        of_statement: bool,
        name: Vec<u8>,
    },
    Function,
    Sync,
    /// Copied data ended; has no answer of its own.
    CopyEnd,
}

impl Default for PgSession {
    fn default() -> PgSession {
        PgSession {
            requests: MessageParser::new(Sender::Frontend),
            replies: MessageParser::new(Sender::Backend),
            bare_answers: 0,
            startup: None,
            ready: false,
            pending: VecDeque::new(),
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            transaction: TransactionState::Idle,
            skipping: false,
            copying_in: false,
            judged: false,
            rows: 0,
            copied_in: 0,
            copied_out: 0,
            harmed: 0,
        }
    }
}

impl PgSession {
    pub(crate) fn ask(
        &mut self,
        bytes: &[u8],
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Result<Reached<RequestFate>, Refusal> {
        // The parser lends the message out, and the rest of the session needs to be free.
        let mut requests =
            std::mem::replace(&mut self.requests, MessageParser::new(Sender::Frontend));
        let step = requests.next(bytes);
        let result = step.and_then(|step| {
            let fate = match step.message {
                None => None,
                Some(message) if message.kind == 0 => Some(self.open(message, at, board, seen)?),
                Some(message) => Some(self.enqueue(message, at, board)?),
            };
            Ok(Reached { used: step.used, fate })
        });
        self.requests = requests;
        if self.startup.is_some() {
            self.requests.expect_types();
        }
        result
    }

    /// Takes in what is said before a session exists.
    fn open(
        &mut self,
        message: Message<'_>,
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Result<RequestFate, Refusal> {
        let mut fields = Fields::of(message.body);
        match fields.oid() {
            Some(SSL_REQUEST | GSS_REQUEST) => self.bare_answers += 1,
            Some(CANCEL_REQUEST) => {
                seen.push(Seen { asked: at, answered: None, fault: None, body: WireBody::Cancel });
            }
            Some(version) if version >> 16 == VERSION_3 => {
                self.startup = Some(Startup { asked: at, body: startup(fields) });
            }
            _ => return Err(Refusal("a protocol other than version 3")),
        }
        Ok(self.unanswerable(board))
    }

    fn enqueue(
        &mut self,
        message: Message<'_>,
        at: Micros,
        board: Option<&Board>,
    ) -> Result<RequestFate, Refusal> {
        if self.pending.len() >= PENDING {
            return Err(Refusal("too many messages wait for their answers"));
        }
        let mut fields = Fields::of(message.body);
        let what = match message.kind {
            b'Q' => What::Query { sql: sql(fields.text()), answered: 0 },
            b'P' => {
                let name = fields.text().to_vec();
                let sql = sql(fields.text());
                let count = fields.int16().unwrap_or(0) as u16;
                let types = (0..count).map_while(|_| fields.oid()).collect();
                What::Parse { name, statement: Arc::new(Statement { sql, types }) }
            }
            b'B' => What::Bind {
                portal: fields.text().to_vec(),
                statement: fields.text().to_vec(),
                rest: fields.rest().into(),
            },
            b'D' => {
                let of_statement = fields.byte() == Some(b'S');
                What::Describe { statement: of_statement.then(|| fields.text().to_vec()) }
            }
            b'E' => What::Execute { portal: fields.text().to_vec() },
            b'C' => What::Close {
                of_statement: fields.byte() == Some(b'S'),
                name: fields.text().to_vec(),
            },
            b'F' => What::Function,
            b'S' => What::Sync,
            b'c' | b'f' => {
                self.copying_in = false;
                What::CopyEnd
            }
            b'd' => {
                self.copied_in += u64::from(message.len);
                return Ok(RequestFate::Forward);
            }
            // Flush and Terminate have no answer; passwords have one that is not ours to keep.
            _ => return Ok(RequestFate::Forward),
        };
        if matches!(what, What::Sync) && self.copying_in {
            return Ok(RequestFate::Forward);
        }
        if self.skipping {
            if !matches!(what, What::Sync) {
                return Ok(RequestFate::Forward);
            }
            self.skipping = false;
        }
        let (fate, fault, harm) = self.judge(&what, board);
        self.harmed += usize::from(harm.is_some());
        self.pending.push_back(Pending { asked: at, fault, harm, what });
        Ok(fate)
    }

    fn judge(
        &mut self,
        what: &What,
        board: Option<&Board>,
    ) -> (RequestFate, Option<FaultId>, Option<ReplyHarm>) {
        let Some(board) = board else { return (RequestFate::Forward, None, None) };
        let statement;
        let (text, swap): (&[u8], _) = match what {
            What::Query { sql, .. } => (sql.kept(), b'Q'),
            What::Execute { portal } => {
                statement = self.to_be_executed(portal);
                (statement.as_ref().map_or(b"", |it| it.sql.kept()), b'E')
            }
            What::Function => (b"", b'F'),
            What::Sync => {
                let judged = std::mem::take(&mut self.judged);
                let fate =
                    if judged { RequestFate::Forward } else { self.unanswerable(Some(board)) };
                return (fate, None, None);
            }
            What::Parse { .. }
            | What::Bind { .. }
            | What::Describe { .. }
            | What::Close { .. }
            | What::CopyEnd => return (RequestFate::Forward, None, None),
        };
        self.judged = !matches!(what, What::Query { .. });
        let answerable = swap != b'F';
        let request = Request { sql: text, answerable, ..Request::default() };
        let Some(order) = board.judge(request) else {
            return (RequestFate::Forward, None, None);
        };
        let fate = match &order.harm {
            Harm::Delay(by) => RequestFate::Delay(*by),
            Harm::Cut(Moment::BeforeRequest) => RequestFate::Cut,
            Harm::Cut(Moment::BeforeReply | Moment::MidReply) => RequestFate::Forward,
            Harm::Answer { .. } => RequestFate::Swap(refused(swap)),
        };
        (fate, Some(order.fault), ReplyHarm::left_of(order.harm))
    }

    /// What a fault wants done with a message that has no answer to be harmed.
    fn unanswerable(&self, board: Option<&Board>) -> RequestFate {
        let request = Request { answerable: false, ..Request::default() };
        match board.and_then(|board| board.judge(request)).map(|order| order.harm) {
            Some(Harm::Delay(by)) => RequestFate::Delay(by),
            Some(Harm::Cut(_)) => RequestFate::Cut,
            Some(Harm::Answer { .. }) | None => RequestFate::Forward,
        }
    }

    /// The statement that an `Execute` will run if all before it goes well.
    fn to_be_executed(&self, portal: &[u8]) -> Option<Arc<Statement>> {
        let bound = self.pending.iter().enumerate().rev().find_map(|(at, it)| match &it.what {
            What::Bind { portal: bound, statement, .. } if bound == portal => Some((at, statement)),
            _ => None,
        });
        let Some((at, name)) = bound else {
            return Some(Arc::clone(&self.portals.get(portal)?.statement));
        };
        let parsed = self.pending.iter().take(at).rev().find_map(|it| match &it.what {
            What::Parse { name: parsed, statement } if parsed == name => Some(statement),
            _ => None,
        });
        parsed.or_else(|| self.statements.get(name)).map(Arc::clone)
    }

    pub(crate) fn answer(
        &mut self,
        bytes: &[u8],
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Result<Reached<ReplyFate>, Refusal> {
        if self.bare_answers > 0 {
            match bytes.first() {
                Some(b'N') => {
                    self.bare_answers -= 1;
                    return Ok(Reached { used: 1, fate: Some(ReplyFate::Forward) });
                }
                Some(b'S') => return Err(Refusal("encrypted with TLS")),
                Some(b'G') => return Err(Refusal("encrypted with GSSAPI")),
                // An old server, or one that is full, answers with an error.
                _ => self.bare_answers = 0,
            }
        }
        let mut replies = std::mem::replace(&mut self.replies, MessageParser::new(Sender::Backend));
        let step = replies.next(bytes);
        let result = step.and_then(|step| {
            let fate = match step.message {
                None => None,
                Some(message) => Some(self.settle(message, at, board, seen)?),
            };
            Ok(Reached { used: step.used, fate })
        });
        self.replies = replies;
        result
    }

    fn settle(
        &mut self,
        message: Message<'_>,
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Result<ReplyFate, Refusal> {
        let mut fields = Fields::of(message.body);
        match message.kind {
            b'D' => self.rows += 1,
            b'd' => self.copied_out += u64::from(message.len),
            b'C' => {
                let tag = String::from_utf8_lossy(fields.text()).into_owned();
                return self.completed(tag, at, seen);
            }
            b'I' | b's' => return self.completed(String::new(), at, seen),
            b'E' => return Ok(self.failed(error(fields), at, seen)),
            b'Z' => return self.became_ready(fields.byte(), at, seen),
            b'1' => {
                let Some(Pending { what: What::Parse { name, statement }, .. }) = self.next()
                else {
                    return Err(Refusal("a statement parsed that was not asked for"));
                };
                remember(&mut self.statements, name, statement);
            }
            b'2' => {
                let Some(Pending { what: What::Bind { portal, statement, rest }, .. }) =
                    self.next()
                else {
                    return Err(Refusal("a portal bound that was not asked for"));
                };
                self.bind(portal, &statement, &rest);
            }
            b'3' => {
                let Some(Pending { what: What::Close { of_statement, name }, .. }) = self.next()
                else {
                    return Err(Refusal("something closed that was not to be"));
                };
                if of_statement {
                    self.statements.remove(&name);
                } else {
                    self.portals.remove(&name);
                }
            }
            b't' => self.learn_types(fields),
            b'T' | b'n' => {
                if matches!(self.pending.front(), Some(Pending { what: What::Describe { .. }, .. }))
                {
                    self.next();
                }
            }
            b'G' => self.copying_in_begins(),
            b'W' => return Err(Refusal("a replication stream")),
            b'A' => {
                let _process = fields.int32();
                let channel = String::from_utf8_lossy(fields.text()).into_owned();
                let payload = Bounded::new(fields.text());
                let fault = board.and_then(|board| board.judge_push(&channel));
                let body = WireBody::PgNotification { channel, payload };
                seen.push(Seen { asked: at, answered: Some(at), fault, body });
                return Ok(if fault.is_some() { ReplyFate::Lose } else { ReplyFate::Forward });
            }
            // Authentication, settings, notices, the result of a function, the cancel key.
            _ => (),
        }
        Ok(ReplyFate::Forward)
    }

    /// Takes the next answered message from the queue.
    fn next(&mut self) -> Option<Pending> {
        let next = self.pending.pop_front()?;
        self.harmed -= usize::from(next.harm.is_some());
        while let Some(Pending { what: What::CopyEnd, .. }) = self.pending.front() {
            self.pending.pop_front();
        }
        Some(next)
    }

    fn bind(&mut self, portal: Vec<u8>, statement: &[u8], rest: &[u8]) {
        // The server confirmed it, so it exists; we may only have forgotten it.
        let statement = self.statements.get(statement).map_or_else(forgotten, Arc::clone);
        let params = pg_values::parameters(rest, &statement.types);
        remember(&mut self.portals, portal, Portal { statement, params });
    }

    fn learn_types(&mut self, mut fields: Fields<'_>) {
        let Some(Pending { what: What::Describe { statement: Some(name) }, .. }) =
            self.pending.front()
        else {
            return;
        };
        let Some(known) = self.statements.get_mut(name) else { return };
        let count = fields.int16().unwrap_or(0) as u16;
        let types = (0..count).map_while(|_| fields.oid()).collect();
        *known = Arc::new(Statement { sql: known.sql.clone(), types });
    }

    /// A `Sync` that was sent before the server began to take in copied data is ignored by it.
    fn copying_in_begins(&mut self) {
        let ended = self.pending.iter().position(|it| matches!(it.what, What::CopyEnd));
        self.copying_in = ended.is_none();
        if matches!(self.pending.front(), Some(Pending { what: What::Execute { .. }, .. })) {
            let mut index = 0;
            let ended = ended.unwrap_or(self.pending.len());
            self.pending.retain(|it| {
                index += 1;
                index > ended || !matches!(it.what, What::Sync)
            });
        }
    }

    fn completed(
        &mut self,
        tag: String,
        at: Micros,
        seen: &mut Vec<Seen>,
    ) -> Result<ReplyFate, Refusal> {
        let fate;
        match self.pending.front_mut() {
            Some(Pending { what: What::Query { sql, answered }, asked, fault, harm }) => {
                let (asked, fault, sql, part) = (*asked, *fault, sql.clone(), *answered);
                fate = reply_fate(harm.as_ref());
                *answered += 1;
                self.tell(
                    Told { asked, fault, sql, part, params: Vec::new() },
                    tag,
                    None,
                    at,
                    seen,
                );
            }
            Some(Pending { what: What::Execute { portal }, asked, fault, harm }) => {
                let (asked, fault) = (*asked, *fault);
                fate = reply_fate(harm.as_ref());
                let portal = self.portals.get(&*portal).cloned();
                self.next();
                let (sql, params) = portal.map_or_else(
                    || (forgotten().sql.clone(), Vec::new()),
                    |portal| (portal.statement.sql.clone(), portal.params),
                );
                self.tell(Told { asked, fault, sql, part: 0, params }, tag, None, at, seen);
            }
            _ => return Err(Refusal("a statement completed that was not asked for")),
        }
        Ok(fate)
    }

    fn failed(&mut self, error: PgError, at: Micros, seen: &mut Vec<Seen>) -> ReplyFate {
        let Some(front) = self.pending.front() else {
            let PgError { sqlstate, message } = error;
            let body = WireBody::StoreError { code: sqlstate, message };
            seen.push(Seen { asked: at, answered: Some(at), fault: None, body });
            return ReplyFate::Forward;
        };
        let (fate, error) = match &front.harm {
            Some(ReplyHarm::Answer { code, message }) => {
                let error = PgError { sqlstate: code.clone(), message: message.clone() };
                (ReplyFate::Swap(error_message(&error)), error)
            }
            harm => (reply_fate(harm.as_ref()), error),
        };
        let (asked, fault) = (front.asked, front.fault);
        let (sql, params, part, extended) = match &front.what {
            What::Query { sql, answered } => (sql.clone(), Vec::new(), *answered, false),
            What::Parse { statement, .. } => (statement.sql.clone(), Vec::new(), 0, true),
            What::Bind { statement, rest, .. } => {
                let statement = self.statements.get(statement).map_or_else(forgotten, Arc::clone);
                let params = pg_values::parameters(rest, &statement.types);
                (statement.sql.clone(), params, 0, true)
            }
            What::Execute { portal } => match self.portals.get(portal) {
                Some(portal) => (portal.statement.sql.clone(), portal.params.clone(), 0, true),
                None => (forgotten().sql.clone(), Vec::new(), 0, true),
            },
            What::Function => (Bounded::from(""), Vec::new(), 0, false),
            What::Describe { .. } | What::Close { .. } | What::Sync | What::CopyEnd => {
                (Bounded::from(""), Vec::new(), 0, true)
            }
        };
        self.tell(Told { asked, fault, sql, part, params }, String::new(), Some(error), at, seen);
        self.copying_in = false;
        if extended {
            self.skip_to_sync();
        }
        fate
    }

    /// Drops what the server will not look at, having refused something.
    fn skip_to_sync(&mut self) {
        while let Some(front) = self.pending.front() {
            if matches!(front.what, What::Sync) {
                return;
            }
            self.harmed -= usize::from(front.harm.is_some());
            self.pending.pop_front();
        }
        self.skipping = true;
    }

    fn became_ready(
        &mut self,
        state: Option<u8>,
        at: Micros,
        seen: &mut Vec<Seen>,
    ) -> Result<ReplyFate, Refusal> {
        self.transaction = match state {
            Some(b'I') => TransactionState::Idle,
            Some(b'T') => TransactionState::In,
            Some(b'E') => TransactionState::Failed,
            _ => return Err(Refusal("no state a session can be in")),
        };
        if self.transaction == TransactionState::Idle {
            self.portals.clear();
        }
        self.rows = 0;
        self.copied_in = 0;
        self.copied_out = 0;
        if !self.ready {
            self.ready = true;
            if let Some(Startup { asked, body }) = self.startup.as_mut() {
                let body = std::mem::replace(body, WireBody::Connected);
                seen.push(Seen { asked: *asked, answered: Some(at), fault: None, body });
            }
            return Ok(ReplyFate::Forward);
        }
        match self.next().map(|it| it.what) {
            Some(What::Query { .. } | What::Sync | What::Function) => Ok(ReplyFate::Forward),
            _ => Err(Refusal("ready without having been asked")),
        }
    }

    fn tell(
        &mut self,
        told: Told,
        tag: String,
        error: Option<PgError>,
        at: Micros,
        seen: &mut Vec<Seen>,
    ) {
        let transaction = self.transaction;
        self.transaction = match (&*tag, &error, transaction) {
            ("BEGIN" | "START TRANSACTION", _, _) => TransactionState::In,
            ("COMMIT" | "ROLLBACK", _, _) => TransactionState::Idle,
            (_, Some(_), TransactionState::In) => TransactionState::Failed,
            _ => transaction,
        };
        let Told { asked, fault, sql, part, params } = told;
        let body = WireBody::PgStatement(PgStatement {
            sql,
            part,
            params,
            tag,
            rows: std::mem::take(&mut self.rows),
            copied_bytes: std::mem::take(&mut self.copied_in)
                + std::mem::take(&mut self.copied_out),
            error,
            transaction,
        });
        seen.push(Seen { asked, answered: Some(at), fault, body });
    }

    pub(crate) fn harms_replies(&self) -> bool {
        self.harmed > 0
    }

    /// Tells of every execution that was not answered, as it would have been.
    pub(crate) fn abandon(&mut self, seen: &mut Vec<Seen>) {
        if let Some(Startup { asked, body }) = self.startup.take()
            && !self.ready
        {
            seen.push(Seen { asked, answered: None, fault: None, body });
        }
        while let Some(Pending { asked, fault, what, .. }) = self.next() {
            let (sql, params, part) = match what {
                What::Query { sql, answered } => (sql, Vec::new(), answered),
                What::Execute { portal } => match self.portals.get(&portal) {
                    Some(portal) => (portal.statement.sql.clone(), portal.params.clone(), 0),
                    None => (forgotten().sql.clone(), Vec::new(), 0),
                },
                What::Parse { name, statement } => {
                    remember(&mut self.statements, name, statement);
                    continue;
                }
                What::Bind { portal, statement, rest } => {
                    self.bind(portal, &statement, &rest);
                    continue;
                }
                What::Describe { .. }
                | What::Close { .. }
                | What::Function
                | What::Sync
                | What::CopyEnd => continue,
            };
            let body = WireBody::PgStatement(PgStatement {
                sql,
                part,
                params,
                tag: String::new(),
                rows: std::mem::take(&mut self.rows),
                copied_bytes: std::mem::take(&mut self.copied_in)
                    + std::mem::take(&mut self.copied_out),
                error: None,
                transaction: self.transaction,
            });
            seen.push(Seen { asked, answered: None, fault, body });
        }
    }
}

/// What a statement's event says of the question.
struct Told {
    asked: Micros,
    fault: Option<FaultId>,
    sql: Bounded,
    part: u32,
    params: Vec<Option<Bounded>>,
}

fn reply_fate(harm: Option<&ReplyHarm>) -> ReplyFate {
    match harm {
        Some(ReplyHarm::Cut) => ReplyFate::Cut,
        Some(ReplyHarm::CutMidway) => ReplyFate::CutMidway,
        Some(ReplyHarm::Answer { .. }) | None => ReplyFate::Forward,
    }
}

/// Stands for a statement that was prepared too many names ago.
fn forgotten() -> Arc<Statement> {
    Arc::new(Statement { sql: Bounded::from(""), types: Vec::new() })
}

fn remember<T>(named: &mut BTreeMap<Vec<u8>, T>, name: Vec<u8>, value: T) {
    if named.len() >= NAMES && !named.contains_key(&name) {
        named.pop_first();
    }
    named.insert(name, value);
}

fn startup(mut fields: Fields<'_>) -> WireBody {
    let mut text = || String::from_utf8_lossy(fields.text()).into_owned();
    let (mut application_name, mut user, mut database) = (String::new(), String::new(), None);
    loop {
        let name = text();
        match &*name {
            "" => break,
            "application_name" => application_name = text(),
            "user" => user = text(),
            "database" => database = Some(text()),
            _ => {
                text();
            }
        }
    }
    let database = database.unwrap_or_else(|| user.clone());
    WireBody::Startup { application_name, user, database }
}

fn error(mut fields: Fields<'_>) -> PgError {
    let (mut sqlstate, mut message) = (String::new(), String::new());
    while let Some(kind @ 1..) = fields.byte() {
        let text = String::from_utf8_lossy(fields.text()).into_owned();
        match kind {
            b'C' => sqlstate = text,
            b'M' => message = text,
            _ => (),
        }
    }
    PgError { sqlstate, message }
}

/// An `ErrorResponse` that says this.
fn error_message(error: &PgError) -> Vec<u8> {
    let clean = |text: &str| text.replace('\0', " ");
    let (code, text) = (clean(&error.sqlstate), clean(&error.message));
    framed(b'E', format!("SERROR\0VERROR\0C{code}\0M{text}\0\0").as_bytes())
}

/// A request of this type that the server will refuse.
fn refused(kind: u8) -> Vec<u8> {
    let mut body = REFUSED.to_vec();
    body.push(0);
    if kind == b'E' {
        body.extend(0i32.to_be_bytes());
    }
    framed(kind, &body)
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

/// The text of a statement, without the passwords it may set.
fn sql(text: &[u8]) -> Bounded {
    let mut kept = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = password(rest) {
        kept.extend_from_slice(before);
        kept.extend_from_slice(format!("'{REDACTED}'").as_bytes());
        rest = after;
    }
    if kept.is_empty() {
        return Bounded::new(text);
    }
    kept.extend_from_slice(rest);
    Bounded::new(&kept)
}

/// What stands before and after the first password in a text.
///
/// Only a literal right after the word is one: a column of that name is compared with `=`.
fn password(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const WORD: &[u8] = b"password";
    let mut from = 0;
    loop {
        let here = &text[from..];
        // Every query is searched, and most windows end at their first byte.
        let at = here.windows(WORD.len()).position(|it| {
            it[0].to_ascii_lowercase() == WORD[0] && it.eq_ignore_ascii_case(WORD)
        })?;
        let after_word = from + at + WORD.len();
        let gap = text[after_word..].iter().take_while(|it| it.is_ascii_whitespace()).count();
        let begins = after_word + gap;
        if let Some(length) = literal(&text[begins..]) {
            return Some((&text[..begins], &text[begins + length..]));
        }
        from = after_word;
    }
}

/// How long the literal is with which a text begins; all of the text if it does not end.
fn literal(text: &[u8]) -> Option<usize> {
    let (begins, escapes) = match text {
        [b'E' | b'e', b'\'', ..] => (2, true),
        [b'\'', ..] => (1, false),
        [b'$', rest @ ..] => {
            let tag = &text[..rest.iter().position(|it| *it == b'$')? + 2];
            let body = &text[tag.len()..];
            let ends = body.windows(tag.len()).position(|it| it == tag);
            return Some(ends.map_or(text.len(), |at| at + 2 * tag.len()));
        }
        _ => return None,
    };
    let mut at = begins;
    loop {
        match &text[at..] {
            [] | [_] => return Some(text.len()),
            [b'\'', b'\'', ..] => at += 2,
            [b'\'', ..] => return Some(at + 1),
            [b'\\', _, ..] if escapes => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{
        fault::{Fault, Requests},
        record::StoreKind,
        session::Session,
    };

    #[test]
    fn each_statement_of_a_simple_query_is_told() {
        let mut session = Conversation::ready();
        session.asks(&[query("SELECT 1; SELECT 2")]);
        session.answers(&[row(), done("SELECT 1"), row(), row(), done("SELECT 2"), ready(b'I')]);
        assert_eq!(
            session.statements(),
            [
                "SELECT 1; SELECT 2 [] -> SELECT 1, 1 rows, Idle",
                "SELECT 1; SELECT 2 [] -> SELECT 2, 2 rows, Idle"
            ]
        );
    }

    #[test]
    fn an_execution_is_joined_to_its_text_and_parameters() {
        let mut session = Conversation::ready();
        session.asks(&[parse("s", "SELECT $1"), describe("s"), sync()]);
        session.answers(&[bare(b'1'), types(&[23]), bare(b'n'), ready(b'I')]);
        session.asks(&[bind("", "s", &7i32.to_be_bytes()), execute(""), sync()]);
        session.answers(&[bare(b'2'), row(), done("SELECT 1"), ready(b'I')]);
        assert_eq!(session.statements(), ["SELECT $1 [7] -> SELECT 1, 1 rows, Idle"]);
    }

    #[test]
    fn what_the_server_skips_after_an_error_was_not_run() {
        let mut session = Conversation::ready();
        session.asks(&[parse("", "one"), bind("", "", b"x"), execute("")]);
        session.asks(&[parse("", "two"), bind("", "", b"x"), execute(""), sync()]);
        session.answers(&[bare(b'1'), bare(b'2'), failure("22012"), ready(b'I')]);
        session.asks(&[query("three")]);
        session.answers(&[done("SELECT 0"), ready(b'I')]);
        assert_eq!(
            session.statements(),
            ["one [x] -> 22012, 0 rows, Idle", "three [] -> SELECT 0, 0 rows, Idle"]
        );
    }

    #[test]
    fn a_statement_that_could_not_be_parsed_keeps_the_name_free() {
        let mut session = Conversation::ready();
        session.asks(&[parse("s", "good"), sync(), parse("s", "bad"), sync()]);
        session.asks(&[bind("", "s", b"x"), execute(""), sync()]);
        session.answers(&[bare(b'1'), ready(b'I'), failure("42P05"), ready(b'I')]);
        session.answers(&[bare(b'2'), done("SELECT 0"), ready(b'I')]);
        assert_eq!(
            session.statements(),
            ["bad [] -> 42P05, 0 rows, Idle", "good [x] -> SELECT 0, 0 rows, Idle"]
        );
    }

    #[test]
    fn a_statement_runs_in_the_state_that_those_before_it_left() {
        let mut session = Conversation::ready();
        session.asks(&[query("BEGIN"), query("bad"), query("ROLLBACK")]);
        session.answers(&[done("BEGIN"), ready(b'T'), failure("42601"), ready(b'E')]);
        session.answers(&[done("ROLLBACK"), ready(b'I')]);
        assert_eq!(
            session.statements(),
            [
                "BEGIN [] -> BEGIN, 0 rows, Idle",
                "bad [] -> 42601, 0 rows, In",
                "ROLLBACK [] -> ROLLBACK, 0 rows, Failed"
            ]
        );
    }

    #[test]
    fn copied_bytes_are_counted_and_an_early_sync_is_ignored() {
        let mut session = Conversation::ready();
        session.asks(&[parse("", "COPY"), bind("", "", b"x"), execute(""), sync()]);
        session.answers(&[bare(b'1'), bare(b'2'), message(b'G', b"\0\0\0")]);
        session.asks(&[message(b'd', b"12345"), message(b'd', b"678"), bare(b'c'), sync()]);
        session.answers(&[done("COPY 2"), ready(b'I')]);
        session.asks(&[query("next")]);
        session.answers(&[done("SELECT 0"), ready(b'I')]);
        assert_eq!(session.copied(), [8, 0]);
    }

    #[test]
    fn what_was_never_answered_is_told_at_the_end() {
        let mut session = Conversation::ready();
        session.asks(&[parse("", "lost"), bind("", "", b"x"), execute(""), sync()]);
        session.session.close(Micros(9), &mut session.seen);
        assert_eq!(session.statements(), ["lost [x] -> unanswered, 0 rows, Idle"]);
    }

    #[test]
    fn an_encrypted_stream_is_unseen() {
        let mut session = Conversation::default();
        session.asks(&[[8u32.to_be_bytes(), SSL_REQUEST.to_be_bytes()].concat()]);
        session.answers(&[b"S".to_vec()]);
        session.asks(&[vec![0x16; 100]]);
        session.session.close(Micros(9), &mut session.seen);
        let bodies: Vec<_> = session.seen.iter().map(|seen| seen.body.clone()).collect();
        let why = || "encrypted with TLS".to_owned();
        assert_eq!(
            bodies,
            [
                WireBody::Unseen { bytes: 1, why: why() },
                WireBody::Unseen { bytes: 101, why: why() }
            ]
        );
    }

    #[test]
    fn a_server_without_encryption_goes_on_in_the_clear() {
        let mut session = Conversation::default();
        session.asks(&[[8u32.to_be_bytes(), SSL_REQUEST.to_be_bytes()].concat()]);
        session.answers(&[b"N".to_vec()]);
        session.begin();
        session.asks(&[query("one")]);
        session.answers(&[done("SELECT 0"), ready(b'I')]);
        assert_eq!(session.statements(), ["one [] -> SELECT 0, 0 rows, Idle"]);
    }

    #[test]
    fn passwords_are_left_out_however_they_are_quoted() {
        let set = |literal: &str| sql(format!("ALTER ROLE r PASSWORD {literal} LOGIN").as_bytes());
        for literal in ["'it''s'", r"E'it\'s'", "$$it's$$", "$a$it's $$ $a$"] {
            assert_eq!(set(literal), "ALTER ROLE r PASSWORD '[redacted]' LOGIN", "{literal}");
        }
        assert_eq!(sql(b"WHERE password = 'x'"), "WHERE password = 'x'");
        assert_eq!(sql(b"PASSWORD 'never ends"), "PASSWORD '[redacted]'");
    }

    #[test]
    fn a_refused_execution_is_answered_with_the_error_asked_for() {
        let contains = "insert".to_owned();
        let (code, message) = ("53300".to_owned(), "full".to_owned());
        let board = Board::new();
        let on = Requests::Statement { contains };
        board.strike(Fault::Answer { on, code, message }, u64::MAX);
        let mut session = Conversation::ready();
        let mut ask = |bytes: Vec<u8>| {
            let Conversation { session, seen } = &mut session;
            session.ask(&bytes, Micros(1), Some(&board), seen).fate.unwrap()
        };
        assert_eq!(ask(parse("", "INSERT INTO t")), RequestFate::Forward);
        assert_eq!(ask(bind("", "", b"x")), RequestFate::Forward);
        assert_eq!(ask(execute("")), RequestFate::Swap(execute("gauntlet_refused")));
        assert_eq!(ask(sync()), RequestFate::Forward);
        assert!(session.session.harms_replies());
        session.answers(&[bare(b'1'), bare(b'2')]);
        let Conversation { session: connection, seen } = &mut session;
        let fate = connection.answer(&failure("34000"), Micros(2), Some(&board), seen).fate;
        let told = PgError { sqlstate: "53300".to_owned(), message: "full".to_owned() };
        assert_eq!(fate, Some(ReplyFate::Swap(error_message(&told))));
        session.answers(&[ready(b'I')]);
        assert!(!session.session.harms_replies());
        assert_eq!(session.statements(), ["INSERT INTO t [x] -> 53300, 0 rows, Idle"]);
    }

    #[test]
    fn a_commit_can_be_done_and_never_heard_of() {
        let board = Board::new();
        let on = Requests::Statement { contains: "commit".to_owned() };
        board.strike(Fault::CutAt { on, moment: Moment::BeforeReply }, 1);
        let mut session = Conversation::ready();
        let Conversation { session: connection, seen } = &mut session;
        let fate = connection.ask(&query("COMMIT"), Micros(1), Some(&board), seen).fate;
        assert_eq!(fate, Some(RequestFate::Forward));
        let fate = connection.answer(&done("COMMIT"), Micros(2), None, seen).fate;
        assert_eq!(fate, Some(ReplyFate::Cut));
        assert!(seen[0].fault.is_some());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            picked in proptest::collection::vec((0..12usize, any::<bool>()), 0..30),
            noise in proptest::collection::vec(any::<u8>(), 0..20),
            cuts in proptest::collection::vec(1..9usize, 1..20),
        ) {
            let asks = [query("SELECT 1"), parse("s", "two"), bind("", "s", b"x"), execute(""),
                sync(), describe("s"), bare(b'c'), message(b'd', b"abc"), bare(b'H'), query(""),
                message(b'C', b"Ss\0"), noise.clone()];
            let answers = [row(), done("SELECT 1"), ready(b'I'), bare(b'1'), bare(b'2'),
                failure("22012"), types(&[23]), bare(b'n'), ready(b'T'), bare(b's'),
                message(b'G', b"\0\0\0"), noise];
            let mut whole = Conversation::ready();
            let mut parts = Conversation::ready();
            let mut cuts = cuts.iter().cycle();
            for (index, asked) in picked {
                let bytes = if asked { &asks[index] } else { &answers[index] };
                let mut rest = &**bytes;
                while !rest.is_empty() {
                    let (part, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                    parts.takes(asked, part);
                    rest = after;
                }
                whole.takes(asked, bytes);
            }
            // How much went by unseen after a refusal depends on where the pieces end.
            let told = |seen: &Vec<Seen>| seen.iter().map(|it| match &it.body {
                WireBody::Unseen { why, .. } => why.clone(),
                body => format!("{body:?}"),
            }).collect::<Vec<_>>();
            prop_assert_eq!(told(&whole.seen), told(&parts.seen));
        }

        #[test]
        fn no_bytes_are_too_strange(
            pieces in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        ) {
            let mut session = Conversation::ready();
            for (asked, bytes) in pieces {
                session.takes(asked, &bytes);
            }
            session.session.close(Micros(0), &mut session.seen);
        }
    }

    /// One connection and what was seen of it.
    struct Conversation {
        session: Session,
        seen: Vec<Seen>,
    }

    impl Default for Conversation {
        fn default() -> Conversation {
            Conversation { session: Session::new(StoreKind::Postgres), seen: Vec::new() }
        }
    }

    impl Conversation {
        fn ready() -> Conversation {
            let mut conversation = Conversation::default();
            conversation.begin();
            conversation
        }

        fn begin(&mut self) {
            let body = b"\0\x03\0\0user\0me\0\0";
            let length = (body.len() as u32 + 4).to_be_bytes();
            self.asks(&[[&length[..], body].concat()]);
            self.answers(&[message(b'R', &[0; 4]), ready(b'I')]);
            self.seen.clear();
        }

        fn takes(&mut self, asked: bool, bytes: &[u8]) {
            if asked {
                self.session.take_requests(bytes, Micros(1), &mut self.seen);
            } else {
                self.session.take_replies(bytes, Micros(2), &mut self.seen);
            }
        }

        fn asks(&mut self, messages: &[Vec<u8>]) {
            self.takes(true, &messages.concat());
        }

        fn answers(&mut self, messages: &[Vec<u8>]) {
            self.takes(false, &messages.concat());
        }

        fn statements(&self) -> Vec<String> {
            let told = self.seen.iter().map(|seen| match &seen.body {
                WireBody::PgStatement(it) => {
                    let params: Vec<_> = it.params.iter().flatten().map(Bounded::text).collect();
                    let end = match (&it.error, seen.answered) {
                        (Some(error), _) => &*error.sqlstate,
                        (None, Some(_)) => &*it.tag,
                        (None, None) => "unanswered",
                    };
                    let (sql, rows, state) = (it.sql.text(), it.rows, it.transaction);
                    format!("{sql} [{}] -> {end}, {rows} rows, {state:?}", params.join(", "))
                }
                other => format!("{other:?}"),
            });
            told.collect()
        }

        fn copied(&self) -> Vec<u64> {
            let statements = self.seen.iter().filter_map(|seen| match &seen.body {
                WireBody::PgStatement(it) => Some(it.copied_bytes),
                _ => None,
            });
            statements.collect()
        }
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        framed(kind, body)
    }

    fn bare(kind: u8) -> Vec<u8> {
        message(kind, b"")
    }

    fn query(text: &str) -> Vec<u8> {
        message(b'Q', format!("{text}\0").as_bytes())
    }

    fn parse(name: &str, text: &str) -> Vec<u8> {
        message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
    }

    fn describe(name: &str) -> Vec<u8> {
        message(b'D', format!("S{name}\0").as_bytes())
    }

    /// With one binary parameter.
    fn bind(portal: &str, statement: &str, param: &[u8]) -> Vec<u8> {
        let names = format!("{portal}\0{statement}\0").into_bytes();
        let length = (param.len() as u32).to_be_bytes();
        message(b'B', &[&names, &b"\0\x01\0\x01\0\x01"[..], &length, param, b"\0\0"].concat())
    }

    fn execute(portal: &str) -> Vec<u8> {
        message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
    }

    fn sync() -> Vec<u8> {
        bare(b'S')
    }

    fn types(oids: &[u32]) -> Vec<u8> {
        let count = (oids.len() as u16).to_be_bytes().to_vec();
        let oids = oids.iter().flat_map(|oid| oid.to_be_bytes());
        message(b't', &count.into_iter().chain(oids).collect::<Vec<_>>())
    }

    fn row() -> Vec<u8> {
        message(b'D', b"\0\x01\0\0\0\x01x")
    }

    fn done(tag: &str) -> Vec<u8> {
        message(b'C', format!("{tag}\0").as_bytes())
    }

    fn ready(state: u8) -> Vec<u8> {
        message(b'Z', &[state])
    }

    fn failure(sqlstate: &str) -> Vec<u8> {
        message(b'E', format!("SERROR\0C{sqlstate}\0Mno\0\0").as_bytes())
    }
}
