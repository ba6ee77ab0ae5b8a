//! Everything that happened in one case, in the order of its moments.
//!
//! The history is the only thing that crosses from driving to judging. Clients, observers and the
//! nemesis append to it; checks read it. It opens with the arm, the plan and the target's declared
//! bounds, so that it can be judged alone, and again by tomorrow's checks.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Micros,
    op::{Call, Chat, Kind, Op, Outcome, Replica},
    plan::{self, Plan},
    store_step::{Edit, Strike, edit_told},
};

/// The version of the stored form of a history.
pub const HISTORY_VERSION: u32 = 1;

/// What a target promises: the bounds that its verdicts are judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Which gateway.
    pub gateway: String,
    /// What of its wire behaviour changed between releases.
    pub wire_profile: String,
    /// The lifetime of a cached identity that the operator configured, in milliseconds.
    pub auth_cache_ttl_ms: u64,
    /// D, in milliseconds: how long after an acknowledged change a replica may still act on the
    /// older state. It is the declared bound, else the TTL and two seconds.
    pub staleness_ms: u64,
    /// Whether replicas share the identity cache.
    pub shared_cache: bool,
    /// How many replicas the target has.
    pub replicas: u8,
    /// How many workers each replica has.
    pub workers: u8,
}

impl Manifest {
    /// The lifetime of a cached identity.
    pub fn auth_cache_ttl(&self) -> Duration {
        Duration::from_millis(self.auth_cache_ttl_ms)
    }

    /// The staleness bound D.
    pub fn staleness(&self) -> Duration {
        Duration::from_millis(self.staleness_ms)
    }
}

/// One case, driven once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// [`HISTORY_VERSION`].
    pub version: u32,
    /// Which arm of its check.
    pub arm: String,
    /// The run-unique beginning of every id of this case.
    pub prefix: String,
    /// What the target promises.
    pub manifest: Manifest,
    /// What was asked.
    pub plan: Plan,
    /// What happened.
    pub entries: Vec<Entry>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When, or when it began.
    pub at: Micros,
    /// What.
    pub event: Event,
}

/// A call as it was made; unique within its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u32);

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Anything below INFO.
    Debug,
    /// INFO.
    Info,
    /// WARN or WARNING.
    Warn,
    /// ERROR and above.
    Error,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A caller sent a request.
    Invoked {
        /// Which call.
        id: CallId,
        /// The step of the plan that it belongs to, counted from zero.
        step: u32,
        /// What was asked, of which replica.
        call: Call,
    },
    /// The caller learned what became of it.
    Completed {
        /// Which call.
        id: CallId,
        /// What became of it.
        outcome: Outcome,
    },
    /// The gateway gave Redis a command. The entry's moment is when it was asked.
    Redis {
        /// By which replica.
        replica: Replica,
        /// When the reply had come.
        answered: Option<Micros>,
        /// The command's name, in capitals.
        command: String,
        /// Every key it named, with what was read or written under it.
        keys: Vec<RedisKey>,
        /// The error that Redis replied with.
        error: Option<String>,
    },
    /// Redis pushed a message to the gateway.
    Push {
        /// To which replica.
        replica: Replica,
        /// On which channel.
        channel: String,
        /// The beginning of what it said.
        payload: String,
    },
    /// The gateway gave Postgres a statement. The entry's moment is when it was asked.
    Sql {
        /// By which replica.
        replica: Replica,
        /// When the answer had come.
        answered: Option<Micros>,
        /// The statement's text.
        sql: String,
        /// Its parameters, as text.
        params: Vec<Option<String>>,
        /// The kinds of identity that it reads; empty for anything else.
        reads: Vec<Kind>,
        /// Rows sent back or changed.
        rows: Option<u64>,
        /// The error that Postgres replied with.
        error: Option<String>,
    },
    /// The gateway wrote to its log.
    Log {
        /// Which replica.
        replica: Replica,
        /// How severe.
        level: Level,
        /// The line with ids, numbers and times masked: equal for lines of one origin.
        template: String,
        /// The line, its continuation lines included.
        text: String,
        /// How long it was, in bytes, before anything was taken out.
        bytes: u64,
    },
    /// A request reached the mock provider. The entry's moment is its arrival.
    Attempt {
        /// The call that it serves, by the mark in the prompt.
        call: Option<CallId>,
        /// When the provider had finished with it.
        ended: Micros,
        /// How far the provider's clock may be off against ours, in microseconds.
        clock_error_us: u64,
        /// The status the provider answered with.
        status: u16,
    },
    /// A store was changed behind the gateway's back. The entry's moment is when it was done.
    Edited {
        /// What was asked for.
        edit: Edit,
        /// Redis keys or rows that were changed.
        touched: u64,
        /// The names of those Redis keys.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<String>,
    },
    /// A fault struck the stores of every replica.
    Struck {
        /// Which.
        strike: Strike,
    },
    /// A fault was healed.
    Healed {
        /// Which.
        strike: Strike,
        /// Requests that it hit, over all replicas.
        hits: u64,
    },
    /// Evidence that should be here is missing.
    Gap {
        /// Who could not see.
        observer: String,
        /// Why.
        why: String,
    },
    /// A replica's process ended.
    Exited {
        /// Which replica.
        replica: Replica,
        /// How.
        how: String,
    },
}

/// A Redis key, and what a command did under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisKey {
    /// Its name.
    pub name: String,
    /// What was done.
    pub access: Access,
    /// The kind of identity in the payload, where the adapter recognises one.
    pub kind: Option<Kind>,
    /// The beginning of the payload, with secrets taken out.
    pub payload: Option<String>,
    /// The life that the command gives it, or finds it to have left, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
}

/// How long a Redis key goes on living.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// So many milliseconds.
    Milliseconds(u64),
    /// For ever.
    Endless,
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lifetime::Milliseconds(ms) => write!(f, "{ms} ms"),
            Lifetime::Endless => f.write_str("for ever"),
        }
    }
}

/// What a command did under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read it, and it was there.
    Hit,
    /// Read it, and it was not there.
    Miss,
    /// Wrote it.
    Write,
    /// Removed it.
    Delete,
    /// Something else.
    Other,
}

/// A request to completion, as a caller saw it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Which call.
    pub id: CallId,
    /// The step of the plan.
    pub step: u32,
    /// What was asked.
    pub call: &'a Call,
    /// When it was sent.
    pub invoked: Micros,
    /// When its outcome was known; `None` where it never was.
    pub completed: Option<Micros>,
    /// What became of it; `None` where it is not known.
    pub outcome: Option<&'a Outcome>,
    /// The entry of its invocation.
    pub index: usize,
    /// The entry of its completion, or else of its invocation.
    pub last_index: usize,
}

/// A request of ours that reached the provider.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The request.
    pub seen: Seen<'a>,
    /// When it arrived.
    pub at: Micros,
    /// How far the provider's clock may be off against ours.
    pub clock_error: Duration,
    /// The entry of its arrival.
    pub index: usize,
}

impl Seen<'_> {
    /// The prompt that was sent, where the call was one.
    pub fn chat(&self) -> Option<&Chat> {
        match &self.call.op {
            Op::Chat(chat) => Some(chat),
            Op::Admin(_) | Op::ListModels { .. } => None,
        }
    }

    /// Whether the gateway did as asked.
    pub fn answered(&self) -> bool {
        self.outcome.is_some_and(Outcome::is_answered)
    }
}

impl History {
    /// A history in which nothing has happened.
    pub fn new(arm: &str, prefix: &str, manifest: Manifest, plan: Plan) -> History {
        History {
            version: HISTORY_VERSION,
            arm: arm.to_owned(),
            prefix: prefix.to_owned(),
            manifest,
            plan,
            entries: Vec::new(),
        }
    }

    /// Every request, in the order of sending.
    pub fn calls(&self) -> Vec<Seen<'_>> {
        let mut completions = BTreeMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if let Event::Completed { id, outcome } = &entry.event {
                completions.insert(*id, (index, entry.at, outcome));
            }
        }
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| match &entry.event {
                Event::Invoked { id, step, call } => {
                    let completion = completions.get(id);
                    Some(Seen {
                        id: *id,
                        step: *step,
                        call,
                        invoked: entry.at,
                        completed: completion.map(|(_, at, _)| *at),
                        outcome: completion.map(|(_, _, outcome)| *outcome),
                        index,
                        last_index: completion.map_or(index, |(index, _, _)| *index),
                    })
                }
                _ => None,
            })
            .collect()
    }

    /// Every request of ours that reached the provider, in the order of arrival.
    pub fn arrivals(&self) -> Vec<Arrival<'_>> {
        let calls: BTreeMap<_, _> = self.calls().into_iter().map(|seen| (seen.id, seen)).collect();
        let arrival = |(index, entry): (usize, &Entry)| match &entry.event {
            Event::Attempt { call: Some(id), clock_error_us, .. } => Some(Arrival {
                seen: *calls.get(id)?,
                at: entry.at,
                clock_error: Duration::from_micros(*clock_error_us),
                index,
            }),
            _ => None,
        };
        self.entries.iter().enumerate().filter_map(arrival).collect()
    }

    /// Every statement that reads an identity: its entry and the kinds that it reads.
    pub fn identity_reads(&self) -> impl Iterator<Item = (usize, &Entry, &[Kind])> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| match &entry.event {
            Event::Sql { reads, .. } if !reads.is_empty() => Some((index, entry, &reads[..])),
            _ => None,
        })
    }

    /// Every log line of at least this level: its entry, template and text.
    pub fn lines_at_least(&self, least: Level) -> impl Iterator<Item = (usize, Level, &str, &str)> {
        self.entries.iter().enumerate().filter_map(move |(index, entry)| match &entry.event {
            Event::Log { level, template, text, .. } if *level >= least => {
                Some((index, *level, template.as_str(), text.as_str()))
            }
            _ => None,
        })
    }

    /// Why the evidence of this case is not whole, where it is not.
    pub fn gap(&self) -> Option<String> {
        self.entries.iter().find_map(|entry| match &entry.event {
            Event::Gap { observer, why } => Some(format!("{observer}: {why}")),
            Event::Exited { replica, how } => Some(format!("{replica} ended: {how}")),
            _ => None,
        })
    }

    /// The moment of the last entry.
    pub fn ended(&self) -> Micros {
        self.entries.iter().map(|entry| entry.at).max().unwrap_or_default()
    }
}

/// One line that tells an entry of a history to a person: where it happened, and what.
pub fn tell(history: &History, entry: &Entry) -> (String, String) {
    match &entry.event {
        Event::Invoked { id, call, .. } => {
            let told = plan::tell(&history.plan, call);
            ("caller".to_owned(), format!("call {}: {told}", id.0))
        }
        Event::Completed { id, outcome } => {
            ("caller".to_owned(), format!("call {} {outcome}", id.0))
        }
        Event::Redis { replica, command, keys, error, .. } => {
            let mut text = command.clone();
            for key in keys {
                let did = match key.access {
                    Access::Hit => " hit",
                    Access::Miss => " miss",
                    Access::Write => " write",
                    Access::Delete => " delete",
                    Access::Other => "",
                };
                let kind = key.kind.map_or_else(String::new, |kind| format!(" ({kind})"));
                let life = key.lifetime.map_or_else(String::new, |life| format!(", life {life}"));
                text.push_str(&format!(" {:?}{did}{kind}{life}", key.name));
            }
            if let Some(error) = error {
                text.push_str(&format!(" error {error}"));
            }
            (format!("{replica} to redis"), text)
        }
        Event::Push { replica, channel, payload } => {
            (format!("redis to {replica}"), format!("on {channel}: {payload}"))
        }
        Event::Sql { replica, sql, params, .. } => {
            let params: Vec<_> =
                params.iter().map(|param| param.as_deref().unwrap_or("NULL")).collect();
            (
                format!("{replica} to postgres"),
                format!("{} [{}]", brief(&without_columns(sql)), params.join(", ")),
            )
        }
        Event::Log { replica, text, .. } => (format!("{replica} log"), brief(text)),
        Event::Attempt { call, status, .. } => {
            let call =
                call.map_or_else(|| "no call of ours".to_owned(), |id| format!("call {}", id.0));
            ("upstream".to_owned(), format!("{call} arrives, is answered {status}"))
        }
        Event::Edited { edit, touched, .. } => {
            let told = edit_told(&history.plan, edit);
            ("stores".to_owned(), format!("{told}: {touched} changed"))
        }
        Event::Struck { strike } => ("nemesis".to_owned(), strike.to_string()),
        Event::Healed { strike, hits } => {
            ("nemesis".to_owned(), format!("healed after {hits} hits: {strike}"))
        }
        Event::Gap { observer, why } => (observer.clone(), format!("evidence missing: {why}")),
        Event::Exited { replica, how } => (replica.to_string(), format!("ended: {how}")),
    }
}

/// A statement without its list of columns: what it reads from, and of whom, is what tells.
fn without_columns(sql: &str) -> String {
    const LONG: usize = 120;
    let sql = sql.trim_start();
    let is_select = sql.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"));
    match sql.find("FROM ") {
        Some(from) if is_select && from > LONG => format!("SELECT … {}", &sql[from..]),
        Some(_) | None => sql.to_owned(),
    }
}

fn brief(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut folded = String::new();
    for word in text.split_whitespace() {
        if folded.len() + word.len() > LONGEST {
            folded.push('…');
            break;
        }
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    folded
}

/// Histories written by hand, for the tests of checks and models.
#[cfg(test)]
pub(crate) mod hand {
    use super::*;
    use crate::{
        op::{Admin, Alias, Key, Refusal},
        plan::IdShape,
    };

    /// A history in the making. Moments are in milliseconds.
    pub(crate) struct Hand {
        history: History,
        next: u32,
    }

    impl Hand {
        /// Two replicas, a TTL of one second and this staleness bound.
        pub(crate) fn with_staleness(staleness_ms: u64) -> Hand {
            let manifest = Manifest {
                gateway: "by hand".to_owned(),
                wire_profile: "any".to_owned(),
                auth_cache_ttl_ms: 1_000,
                staleness_ms,
                shared_cache: true,
                replicas: 2,
                workers: 1,
            };
            let plan = Plan::new(vec![IdShape::Plain], Vec::new());
            Hand { history: History::new("as planned", "p", manifest, plan), next: 0 }
        }

        pub(crate) fn new() -> Hand {
            Hand::with_staleness(1_000)
        }

        pub(crate) fn event(mut self, at_ms: u64, event: Event) -> Hand {
            self.history.entries.push(Entry { at: Micros(at_ms * 1_000), event });
            self
        }

        fn call(mut self, from_ms: u64, to_ms: u64, call: Call, outcome: Outcome) -> Hand {
            let id = CallId(self.next);
            let step = self.next;
            self.next += 1;
            self = self.event(from_ms, Event::Invoked { id, step, call });
            self.event(to_ms, Event::Completed { id, outcome })
        }

        /// A management call to replica 0 that is answered within a millisecond.
        pub(crate) fn admin(self, at_ms: u64, admin: Admin) -> Hand {
            let outcome = Outcome::Answered { status: 200, fingerprint: None };
            self.admin_until(at_ms, at_ms + 1, admin, outcome)
        }

        pub(crate) fn admin_until(
            self,
            from_ms: u64,
            to_ms: u64,
            admin: Admin,
            outcome: Outcome,
        ) -> Hand {
            self.call(from_ms, to_ms, Call { replica: Replica(0), op: Op::Admin(admin) }, outcome)
        }

        /// A prompt with key 0, whose outcome is known a millisecond later.
        pub(crate) fn chat(self, at_ms: u64, replica: u8, outcome: Outcome) -> Hand {
            let chat = Chat { key: Key(0), alias: Alias(0), streamed: false };
            let call = Call { replica: Replica(replica), op: Op::Chat(chat) };
            self.call(at_ms, at_ms + 1, call, outcome)
        }

        /// A prompt with key 0 that is answered, and its attempt at the provider.
        pub(crate) fn answered(self, at_ms: u64, replica: u8) -> Hand {
            self.serves(at_ms, replica, Chat { key: Key(0), alias: Alias(0), streamed: false })
        }

        /// A prompt that is answered, and its attempt at the provider.
        pub(crate) fn serves(self, at_ms: u64, replica: u8, chat: Chat) -> Hand {
            let id = CallId(self.next);
            let outcome =
                Outcome::Answered { status: 200, fingerprint: Some(format!("fp-{at_ms}")) };
            let attempt = Event::Attempt {
                call: Some(id),
                ended: Micros(at_ms * 1_000 + 500),
                clock_error_us: 100,
                status: 200,
            };
            self.asked(at_ms, replica, Op::Chat(chat), outcome).event(at_ms, attempt)
        }

        /// An op whose outcome is known a millisecond later.
        pub(crate) fn asked(self, at_ms: u64, replica: u8, op: Op, outcome: Outcome) -> Hand {
            self.call(at_ms, at_ms + 1, Call { replica: Replica(replica), op }, outcome)
        }

        /// A prompt with key 0 that is refused with 401.
        pub(crate) fn refused(self, at_ms: u64, replica: u8, refusal: Refusal) -> Hand {
            let outcome = Outcome::Refused {
                status: 401,
                refusal,
                error_type: None,
                message: "no".to_owned(),
            };
            self.chat(at_ms, replica, outcome)
        }

        /// A statement that reads identities of one kind.
        pub(crate) fn identity_read(self, at_ms: u64, kind: Kind) -> Hand {
            self.identity_read_by(at_ms, 0, kind)
        }

        /// A statement of this replica that reads identities of one kind.
        pub(crate) fn identity_read_by(self, at_ms: u64, replica: u8, kind: Kind) -> Hand {
            let sql = Event::Sql {
                replica: Replica(replica),
                answered: Some(Micros(at_ms * 1_000 + 300)),
                sql: format!("SELECT * FROM {kind} WHERE id = $1"),
                params: vec![Some("p".to_owned())],
                reads: vec![kind],
                rows: Some(1),
                error: None,
            };
            self.event(at_ms, sql)
        }

        pub(crate) fn line(self, at_ms: u64, level: Level, text: &str) -> Hand {
            let line = Event::Log {
                replica: Replica(0),
                level,
                template: text.to_owned(),
                text: text.to_owned(),
                bytes: text.len() as u64,
            };
            self.event(at_ms, line)
        }

        /// A write of an identity of one kind to a Redis key.
        pub(crate) fn redis_write(self, at_ms: u64, name: &str, kind: Kind) -> Hand {
            let key = RedisKey {
                name: name.to_owned(),
                access: Access::Write,
                kind: Some(kind),
                payload: None,
                lifetime: None,
            };
            let write = Event::Redis {
                replica: Replica(0),
                answered: Some(Micros(at_ms * 1_000 + 200)),
                command: "SET".to_owned(),
                keys: vec![key],
                error: None,
            };
            self.event(at_ms, write)
        }

        /// A command of this replica that names one Redis key.
        pub(crate) fn redis(
            self,
            at_ms: u64,
            replica: u8,
            access: Access,
            name: &str,
            kind: Option<Kind>,
        ) -> Hand {
            let key =
                RedisKey { name: name.to_owned(), access, kind, payload: None, lifetime: None };
            let command = match access {
                Access::Hit | Access::Miss => "GET",
                Access::Write => "SET",
                Access::Delete => "DEL",
                Access::Other => "PTTL",
            };
            let event = Event::Redis {
                replica: Replica(replica),
                answered: Some(Micros(at_ms * 1_000 + 200)),
                command: command.to_owned(),
                keys: vec![key],
                error: None,
            };
            self.event(at_ms, event)
        }

        pub(crate) fn done(self) -> History {
            self.history
        }
    }
}
