//! Gathers what everybody saw, and hands each drive its history.
//!
//! One task owns all of it and is spoken to by messages. Store proxies put an event into their channel
//! before they forward the reply that it is about, so by the time a caller holds an answer, everything
//! that led to it is in the channel; closing a drive reads the channel empty first.

use std::collections::{BTreeMap, BTreeSet};

use mocks::ledger::Attempt;
use scenarios::KeyClass;
use tokio::sync::{mpsc, oneshot};

use super::{
    join::{Drive, Parked, Prefixes, claimable},
    read_wire,
    redact::redacted,
};
use crate::{
    adapters::{Adapter, Line},
    clock::Micros,
    history::{Access, CallId, Entry, Event, History, Level},
    logs::template::{template, without_colours},
    observers::redis_monitor::NOBODY,
    op::{Kind, Op, Outcome, Replica},
    tally::{
        Snapshot, Tally,
        workers::{Connection as StoreConnection, Holder, Workers},
    },
    target::{LogLine, Stream},
    wire::record::{StoreKind, WireBody, WireEvent},
};

/// Observations that wait to be claimed, at most.
const MOST_PARKED: usize = 200_000;

/// Observations that wait until it is known which process made them, at most.
const MOST_UNDECIDED: usize = 10_000;

/// Different shapes of unjoined wire events, or of log records, that are kept as samples, at most.
const MOST_SAMPLES: usize = 40;

/// What is said to the collector.
#[derive(Debug)]
pub enum Note {
    /// A drive begins; this is its empty history. What names its ids before the answer belongs to
    /// nobody, for wire events are taken in before notes.
    Open(Drive, Box<History>, oneshot::Sender<()>),
    /// Something that a caller or the runner saw.
    Saw(Drive, Entry),
    /// Whatever names this token belongs to the drive.
    Claim(Drive, String),
    /// Rows of the provider's ledger, in the run's own time.
    Attempts(Vec<Arrival>),
    /// The Redis keys under which objects of a kind were seen in a drive.
    CachedUnder(Drive, Kind, oneshot::Sender<BTreeSet<String>>),
    /// How far the observations of a drive have come.
    Progress(Drive, oneshot::Sender<Progress>),
    /// A drive has ended; its history is wanted.
    Close(Drive, oneshot::Sender<Option<History>>),
    /// What became of all wire events so far is wanted.
    Count(oneshot::Sender<WireCounts>),
    /// The processes of a replica are those of the group that this process leads; so many serve.
    Group(Replica, u32, u8),
    /// Whatever names one of these texts is counted for keys of this class.
    Classify(Vec<String>, KeyClass, oneshot::Sender<()>),
    /// So many requests with keys of this class ran to their end.
    Requests(KeyClass, Replica, u64),
    /// From now on, or no longer, what is observed is counted and given to nobody: under load there
    /// are no cases, and what waits for one would wait for ever.
    CountOnly(bool),
    /// How many log records there were so far is wanted.
    Lines(oneshot::Sender<LineCounts>),
    /// The counters are wanted, as they stand at this moment.
    Tally(Micros, oneshot::Sender<Snapshot>),
}

/// A row of the provider's ledger, in the run's own time.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When it arrived.
    pub at: Micros,
    /// When the provider had finished with it.
    pub ended: Micros,
    /// How far both may be off.
    pub clock_error_us: u64,
    /// The row.
    pub row: Attempt,
}

/// How far the observations of a drive have come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Access lines that belong to it.
    pub access_lines: u64,
    /// Calls whose attempt is in the ledger.
    pub attempts: BTreeSet<CallId>,
    /// Prompts that were answered.
    pub served: BTreeSet<CallId>,
    /// Requests of which we know how they ended.
    pub ended: u64,
}

/// What became of the wire events of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// All of them.
    pub events: u64,
    /// Those that name an entity or a call of a case.
    pub joined: u64,
    /// Those that belong to no request, by what they are.
    pub housekeeping: BTreeMap<String, u64>,
    /// The others, by their shape.
    pub unjoined: BTreeMap<String, u64>,
    /// Bytes of connections that could not be understood.
    pub unseen_bytes: u64,
}

/// How many log records the replicas of a target have written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// All of them.
    pub records: u64,
    /// Those that tell of a request's end.
    pub access: u64,
    /// Those at WARN or above.
    pub loud: u64,
    /// The shapes of those, by their first line.
    pub loud_shapes: BTreeMap<String, u64>,
}

impl LineCounts {
    /// What has come since `before`, which was counted earlier in the same run.
    #[must_use]
    pub fn since(&self, before: &LineCounts) -> LineCounts {
        LineCounts {
            records: self.records - before.records,
            access: self.access - before.access,
            loud: self.loud - before.loud,
            loud_shapes: gained(&self.loud_shapes, &before.loud_shapes),
        }
    }
}

impl WireCounts {
    /// What has come since `before`, which was counted earlier in the same run.
    #[must_use]
    pub fn since(&self, before: &WireCounts) -> WireCounts {
        WireCounts {
            events: self.events - before.events,
            joined: self.joined - before.joined,
            housekeeping: gained(&self.housekeeping, &before.housekeeping),
            unjoined: gained(&self.unjoined, &before.unjoined),
            unseen_bytes: self.unseen_bytes - before.unseen_bytes,
        }
    }

    /// How many events belong to no case though they should.
    pub fn unjoined_total(&self) -> u64 {
        self.unjoined.values().sum()
    }
}

/// What counters gained.
fn gained(now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter()
        .map(|(what, count)| (what, count - then.get(what).copied().unwrap_or(0).min(*count)))
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| (what.clone(), count))
        .collect()
}

/// What was observed and is not yet known to belong to a drive.
#[derive(Clone, Debug)]
struct Observed {
    entry: Entry,
    /// The shape of a wire event; `None` for a log line.
    wire: Option<String>,
    access: bool,
}

/// Where the last statement of a connection went.
#[derive(Clone, Debug, Default)]
enum Went {
    #[default]
    Nowhere,
    To(BTreeSet<Drive>),
    Parked(BTreeSet<String>),
    Housekeeping(&'static str),
}

#[derive(Default)]
struct Connection {
    held: Vec<Observed>,
    last: Went,
}

struct OpenDrive {
    history: History,
    prompts: BTreeSet<CallId>,
    progress: Progress,
}

struct PendingLine {
    at: Micros,
    level: Level,
    access: bool,
    text: String,
}

/// The state behind the channel.
pub struct Collector {
    adapter: &'static dyn Adapter,
    prefixes: Prefixes,
    open: BTreeMap<Drive, OpenDrive>,
    parked: Parked<Observed>,
    connections: BTreeMap<(u8, StoreKind, u32), Connection>,
    lines: BTreeMap<(Replica, Stream), PendingLine>,
    /// Connections that cannot be understood: the bytes so far, and why.
    unseen: BTreeMap<(u8, StoreKind, u32), (u64, String)>,
    counts: WireCounts,
    tally: Tally,
    line_counts: LineCounts,
    count_only: bool,
    workers: Workers,
    /// What was observed on connections whose worker is being looked for.
    undecided: Vec<(StoreConnection, Entry, String)>,
}

impl Collector {
    /// A collector for one run.
    pub fn new(adapter: &'static dyn Adapter, prefixes: Prefixes) -> Collector {
        Collector {
            adapter,
            prefixes,
            open: BTreeMap::new(),
            parked: Parked::at_most(MOST_PARKED),
            connections: BTreeMap::new(),
            lines: BTreeMap::new(),
            unseen: BTreeMap::new(),
            counts: WireCounts::default(),
            tally: Tally::default(),
            line_counts: LineCounts::default(),
            count_only: false,
            workers: Workers::default(),
            undecided: Vec::new(),
        }
    }

    /// Serves until every note-taker is gone.
    pub async fn run(
        mut self,
        mut notes: mpsc::Receiver<Note>,
        mut wire: mpsc::Receiver<WireEvent>,
        mut lines: mpsc::Receiver<LogLine>,
    ) {
        loop {
            tokio::select! {
                biased;
                Some(event) = wire.recv() => self.wire(&event),
                Some(line) = lines.recv() => self.line(line),
                note = notes.recv() => {
                    let Some(note) = note else { return };
                    // Whatever led to this note is in the channels already.
                    while let Ok(event) = wire.try_recv() {
                        self.wire(&event);
                    }
                    while let Ok(line) = lines.try_recv() {
                        self.line(line);
                    }
                    self.note(note);
                }
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Open(drive, history, reply) => {
                let open = OpenDrive {
                    history: *history,
                    prompts: BTreeSet::new(),
                    progress: Progress::default(),
                };
                self.open.insert(drive, open);
                // What is said on a connection that cannot be understood is missing from now on.
                for ((_, store, _), (_, why)) in self.unseen.clone() {
                    let observer = format!("{store:?} on the wire");
                    let event = Event::Gap { observer, why };
                    self.give(drive, Entry { at: Micros(0), event }, false);
                }
                let _gone = reply.send(());
            }
            Note::Saw(drive, entry) => self.give(drive, entry, false),
            Note::Claim(drive, token) => {
                for observed in self.parked.claim(&token, drive) {
                    self.deliver(&BTreeSet::from([drive]), observed);
                }
            }
            Note::Attempts(arrivals) => {
                for arrival in arrivals {
                    self.attempt(&arrival);
                }
            }
            // Whoever asked may have given up; then nobody wants the answer.
            Note::CachedUnder(drive, kind, reply) => {
                let names = self.open.get(&drive).map(|open| cached_under(&open.history, kind));
                drop(reply.send(names.unwrap_or_default()));
            }
            Note::Progress(drive, reply) => {
                let progress = self.open.get(&drive).map(|open| open.progress.clone());
                drop(reply.send(progress.unwrap_or_default()));
            }
            Note::Close(drive, reply) => {
                self.finish_lines();
                let history = self.open.remove(&drive).map(|open| {
                    let mut history = open.history;
                    history.entries.sort_by_key(|entry| entry.at);
                    history
                });
                drop(reply.send(history));
            }
            Note::Count(reply) => {
                let mut counts = self.counts.clone();
                let unclaimed = self.parked.unclaimed().filter_map(|it| it.wire.clone());
                let held = self.connections.values().flat_map(|it| it.held.iter());
                for shape in unclaimed.chain(held.filter_map(|it| it.wire.clone())) {
                    count(&mut counts.unjoined, shape);
                }
                drop(reply.send(counts));
            }
            Note::Group(replica, leader, workers) => {
                self.workers.are_led_by(replica, leader, workers);
            }
            Note::Classify(texts, class, reply) => {
                for text in texts {
                    self.tally.classify(text, class);
                }
                let _gone = reply.send(());
            }
            Note::Requests(class, replica, count) => self.tally.requests(class, replica, count),
            Note::CountOnly(count_only) => self.count_only = count_only,
            Note::Lines(reply) => {
                let _gone = reply.send(self.line_counts.clone());
            }
            Note::Tally(at, reply) => {
                self.decide();
                drop(reply.send(self.tally.snapshot(at)));
            }
        }
    }

    fn give(&mut self, drive: Drive, entry: Entry, access: bool) {
        let Some(open) = self.open.get_mut(&drive) else { return };
        match &entry.event {
            Event::Invoked { id, call, .. } if matches!(call.op, Op::Chat(_)) => {
                open.prompts.insert(*id);
            }
            Event::Completed { id, outcome } => {
                if outcome.is_answered() && open.prompts.contains(id) {
                    open.progress.served.insert(*id);
                }
                open.progress.ended += u64::from(!matches!(outcome, Outcome::Indeterminate { .. }));
            }
            _ => {}
        }
        open.progress.access_lines += u64::from(access);
        open.history.entries.push(entry);
    }

    fn deliver(&mut self, drives: &BTreeSet<Drive>, observed: Observed) {
        if observed.wire.is_some() {
            self.counts.joined += 1;
        }
        for drive in drives {
            self.give(*drive, observed.entry.clone(), observed.access);
        }
    }

    fn attempt(&mut self, arrival: &Arrival) {
        let nonce = arrival.row.nonce.as_deref().unwrap_or_default();
        for drive in self.prefixes.found_in(nonce) {
            let number = nonce.strip_prefix(&self.prefixes.of(drive));
            let call = number
                .and_then(|rest| rest.strip_prefix('n'))
                .and_then(|number| number.parse().ok())
                .map(CallId);
            let event = Event::Attempt {
                call,
                ended: arrival.ended,
                clock_error_us: arrival.clock_error_us,
                status: arrival.row.status,
            };
            self.give(drive, Entry { at: arrival.at, event }, false);
            if let (Some(open), Some(call)) = (self.open.get_mut(&drive), call) {
                open.progress.attempts.insert(call);
            }
        }
    }

    fn wire(&mut self, event: &WireEvent) {
        let connection = (Replica(event.replica), event.store, event.connection);
        if let WireBody::ConnectedFrom { port } = &event.body {
            self.workers.opened(connection, *port, event.asked);
            return;
        }
        self.counts.events += 1;
        let Some(read) = read_wire::read(self.adapter, event) else {
            let place = (event.replica, event.store, event.connection);
            match &event.body {
                WireBody::Unseen { bytes, why } => {
                    // It comes when a connection can no longer be understood, and again, with all
                    // of its bytes, when the connection ends.
                    let unseen = self.unseen.entry(place).or_insert((0, why.clone()));
                    self.counts.unseen_bytes += bytes.saturating_sub(unseen.0);
                    unseen.0 = *bytes;
                    self.gap(event.asked, &format!("{:?} on the wire", event.store), why);
                }
                WireBody::Closed { .. } => {
                    self.workers.closed(connection);
                    self.unseen.remove(&place);
                    self.connections.remove(&place);
                }
                _ => {}
            }
            let what = self.adapter.housekeeping(event).unwrap_or("between proxy and store");
            count(&mut self.counts.housekeeping, what.to_owned());
            return;
        };
        let mut read = read;
        if event.replica == NOBODY {
            // It is of a case of ours, as the ids in it may say, and yet of no replica that we know.
            read.event = Event::Gap {
                observer: "Redis commands".to_owned(),
                why: format!("{} comes from no replica that is described", read.shape),
            };
        } else {
            self.count_for_its_worker(connection, event.asked, &read);
        }
        if self.count_only {
            return;
        }
        let drives = self.prefixes.found_in(&read.names);
        let observed = Observed {
            entry: Entry { at: event.asked, event: read.event },
            wire: Some(read.shape),
            access: false,
        };
        let place = (event.replica, event.store, event.connection);
        if let Some(boundary) = read.boundary {
            self.boundary(place, boundary, observed);
            return;
        }
        if drives.is_empty()
            && let Some(what) = self.adapter.housekeeping(event)
        {
            self.follow(place, Went::Housekeeping(what), observed);
            return;
        }
        let tokens = claimable(&read.names);
        let owner = self.parked.owner(tokens.iter().copied());
        let drives: BTreeSet<_> = drives.into_iter().chain(owner).collect();
        if drives.is_empty() && tokens.is_empty() {
            self.show_to_everybody(&observed.entry);
        }
        let went = if !drives.is_empty() {
            Went::To(drives)
        } else if tokens.is_empty() {
            // Nobody will ever claim it.
            Went::Nowhere
        } else {
            Went::Parked(tokens.into_iter().map(ToOwned::to_owned).collect())
        };
        self.follow(place, went, observed);
    }

    fn count_for_its_worker(
        &mut self,
        connection: StoreConnection,
        at: Micros,
        read: &read_wire::Read,
    ) {
        if self.workers.are_due(at) || self.undecided.len() >= MOST_UNDECIDED {
            self.decide();
        }
        match self.workers.holder(connection) {
            Holder::Worker(worker) => self.tally.observe(at, &read.event, &read.names, worker),
            Holder::Waiting => {
                let entry = Entry { at, event: read.event.clone() };
                self.undecided.push((connection, entry, read.names.clone()));
            }
        }
    }

    /// Counts what waited until it is known which process made it.
    fn decide(&mut self) {
        self.workers.look_up();
        for (connection, Entry { at, event }, names) in std::mem::take(&mut self.undecided) {
            let worker = match self.workers.holder(connection) {
                Holder::Worker(worker) => worker,
                Holder::Waiting => None,
            };
            self.tally.observe(at, &event, &names, worker);
        }
    }

    /// A Redis key that names nobody (`team:None`) is everybody's, as a loud line is: a gateway that
    /// makes names from nothing shows in no other way, and driving a case alone settles whose it was.
    /// It stays unjoined in the counts. Statements are not shown so, for reads are counted by case.
    fn show_to_everybody(&mut self, entry: &Entry) {
        if matches!(&entry.event, Event::Redis { keys, .. } if !keys.is_empty()) {
            let drives: Vec<_> = self.open.keys().copied().collect();
            for drive in drives {
                self.give(drive, entry.clone(), false);
            }
        }
    }

    /// Sends an event, and the beginning of its transaction that waited for it.
    fn follow(&mut self, place: (u8, StoreKind, u32), went: Went, observed: Observed) {
        let connection = self.connections.entry(place).or_default();
        connection.last = went.clone();
        let mut all = std::mem::take(&mut connection.held);
        all.push(observed);
        for observed in all {
            self.send(&went, observed);
        }
    }

    /// Begins and ends of transactions name nothing; they go where the statements between them go.
    fn boundary(
        &mut self,
        place: (u8, StoreKind, u32),
        boundary: read_wire::Boundary,
        observed: Observed,
    ) {
        let connection = self.connections.entry(place).or_default();
        match boundary {
            read_wire::Boundary::Begin => connection.held.push(observed),
            read_wire::Boundary::End => {
                let went = std::mem::take(&mut connection.last);
                let mut all = std::mem::take(&mut connection.held);
                all.push(observed);
                for observed in all {
                    self.send(&went, observed);
                }
            }
        }
    }

    fn send(&mut self, went: &Went, observed: Observed) {
        match went {
            Went::To(drives) => self.deliver(&drives.clone(), observed),
            Went::Parked(tokens) => {
                let owner = self.parked.owner(tokens.iter().map(String::as_str));
                match owner {
                    Some(drive) => self.deliver(&BTreeSet::from([drive]), observed),
                    None => self.parked.park(tokens.clone(), observed),
                }
            }
            Went::Housekeeping(what) => {
                count(&mut self.counts.housekeeping, (*what).to_owned());
            }
            Went::Nowhere => {
                count_few(&mut self.counts.unjoined, observed.wire.unwrap_or_default());
            }
        }
    }

    fn line(&mut self, line: LogLine) {
        let place = (line.replica, line.stream);
        match self.adapter.line(&line.text) {
            Line::Record { level, access } => {
                self.line_counts.records += 1;
                self.line_counts.access += u64::from(access);
                self.line_counts.loud += u64::from(level >= Level::Warn);
                if level >= Level::Warn {
                    let text = redacted(&without_colours(&line.text));
                    let shape = template(&text, self.prefixes.run());
                    count_few(&mut self.line_counts.loud_shapes, shape);
                }
                if self.count_only {
                    return;
                }
                let pending = PendingLine { at: line.at, level, access, text: line.text };
                if let Some(before) = self.lines.insert(place, pending) {
                    self.record(line.replica, before);
                }
                // A line that tells of a request's end is never continued.
                if access && let Some(whole) = self.lines.remove(&place) {
                    self.record(line.replica, whole);
                }
            }
            Line::More => {
                if let Some(pending) = self.lines.get_mut(&place) {
                    pending.text.push('\n');
                    pending.text.push_str(&line.text);
                }
            }
        }
    }

    fn finish_lines(&mut self) {
        for ((replica, _), pending) in std::mem::take(&mut self.lines) {
            self.record(replica, pending);
        }
    }

    fn record(&mut self, replica: Replica, pending: PendingLine) {
        let PendingLine { at, level, access, text } = pending;
        let mut drives = self.prefixes.found_in(&text);
        let tokens: BTreeSet<_> = claimable(&text).into_iter().map(ToOwned::to_owned).collect();
        drives.extend(self.parked.owner(tokens.iter().map(String::as_str)));
        let bytes = text.len() as u64 + 1;
        let text = redacted(&without_colours(&text));
        let template = template(&text, self.prefixes.run());
        let event = Event::Log { replica, level, template, bytes, text };
        let observed = Observed { entry: Entry { at, event }, wire: None, access };
        if drives.is_empty() {
            // Nobody can say whose it is. A line that should not be there at all is everybody's, and
            // driving the case alone will show whose it was.
            let alone = self.open.len() == 1 && !self.adapter.lines_can_be_joined();
            if alone || level >= Level::Warn {
                drives = self.open.keys().copied().collect();
            }
        }
        if !drives.is_empty() {
            self.deliver(&drives, observed);
        } else if !tokens.is_empty() {
            self.parked.park(tokens, observed);
        }
    }

    fn gap(&mut self, at: Micros, observer: &str, why: &str) {
        let event = Event::Gap { observer: observer.to_owned(), why: why.to_owned() };
        let drives: Vec<_> = self.open.keys().copied().collect();
        for drive in drives {
            self.give(drive, Entry { at, event: event.clone() }, false);
        }
    }
}

/// Counts a shape, or that there are too many shapes to tell.
fn count_few(counts: &mut BTreeMap<String, u64>, shape: String) {
    let few = counts.len() < MOST_SAMPLES || counts.contains_key(&shape);
    count(counts, if few { shape } else { "other shapes".to_owned() });
}

fn count(counts: &mut BTreeMap<String, u64>, what: String) {
    *counts.entry(what).or_default() += 1;
}

/// The Redis keys under which objects of this kind were written, or found.
fn cached_under(history: &History, kind: Kind) -> BTreeSet<String> {
    let keys = history.entries.iter().flat_map(|entry| match &entry.event {
        Event::Redis { keys, .. } => &keys[..],
        _ => &[],
    });
    keys.filter(|key| key.kind == Some(kind) && matches!(key.access, Access::Hit | Access::Write))
        .map(|key| key.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::reference::Reference,
        history::hand::Hand,
        wire::record::{Bounded, PgStatement, RedisCommand, TransactionState},
    };

    /// Two drives that are under way.
    fn two_drives() -> (Collector, Prefixes) {
        let prefixes = Prefixes::of_run(1);
        let mut collector = Collector::new(&Reference, prefixes.clone());
        for drive in [Drive(0), Drive(1)] {
            let (reply, _) = oneshot::channel();
            collector.note(Note::Open(drive, Box::new(Hand::new().done()), reply));
        }
        (collector, prefixes)
    }

    fn event(store: StoreKind, body: WireBody) -> WireEvent {
        WireEvent {
            replica: 0,
            store,
            connection: 1,
            asked: Micros(1),
            answered: None,
            fault: None,
            body,
        }
    }

    fn get(key: String) -> WireEvent {
        let command = RedisCommand {
            name: "GET".into(),
            keys: vec![key],
            args: Vec::new(),
            left_out: 0,
            reply: None,
            transaction: false,
            db: 0,
        };
        event(StoreKind::Redis, WireBody::RedisCommand(command))
    }

    fn select(param: &str) -> WireEvent {
        let statement = PgStatement {
            sql: Bounded::new(b"SELECT * FROM teams WHERE team_id = $1"),
            part: 0,
            params: vec![Some(Bounded::new(param.as_bytes()))],
            tag: "SELECT 0".to_owned(),
            rows: 0,
            copied_bytes: 0,
            error: None,
            transaction: TransactionState::Idle,
        };
        event(StoreKind::Postgres, WireBody::PgStatement(statement))
    }

    /// How many entries each drive has in the end, and how many events belong to no case.
    fn seen(mut collector: Collector) -> ([usize; 2], u64) {
        let (reply, mut counts) = oneshot::channel();
        collector.note(Note::Count(reply));
        let entries = [Drive(0), Drive(1)].map(|drive| {
            let (reply, mut history) = oneshot::channel();
            collector.note(Note::Close(drive, reply));
            history.try_recv().unwrap().unwrap().entries.len()
        });
        (entries, counts.try_recv().unwrap().unjoined_total())
    }

    #[test]
    fn what_names_an_id_of_a_case_is_shown_to_that_case() {
        let (mut collector, prefixes) = two_drives();
        collector.wire(&get(format!("rg:team:{}i0", prefixes.of(Drive(1)))));
        collector.wire(&select(&format!("{}i0", prefixes.of(Drive(1)))));
        assert_eq!(seen(collector), ([0, 2], 0));
    }

    #[test]
    fn what_names_a_key_is_shown_to_whoever_issued_it() {
        let (mut collector, _) = two_drives();
        let hash = "ab".repeat(32);
        collector.wire(&get(format!("rg:key:{hash}")));
        collector.note(Note::Claim(Drive(0), hash.clone()));
        collector.wire(&get(format!("rg:key:{hash}")));
        assert_eq!(seen(collector), ([2, 0], 0));
    }

    #[test]
    fn a_redis_key_that_names_nobody_is_shown_to_all_and_stays_unjoined() {
        let (mut collector, _) = two_drives();
        collector.wire(&get("rg:team:None".to_owned()));
        assert_eq!(seen(collector), ([1, 1], 1));
    }

    #[test]
    fn a_command_of_a_case_that_no_replica_sent_is_a_gap_in_that_case() {
        let (mut collector, prefixes) = two_drives();
        let of_nobody = |name: String| WireEvent { replica: NOBODY, ..get(name) };
        collector.wire(&of_nobody("somebody:else".to_owned()));
        collector.wire(&of_nobody(format!("rg:team:{}i0", prefixes.of(Drive(1)))));
        let hash = "ab".repeat(32);
        collector.wire(&of_nobody(format!("rg:key:{hash}")));
        collector.note(Note::Claim(Drive(1), hash));
        let gaps = [Drive(0), Drive(1)].map(|drive| {
            let (reply, mut history) = oneshot::channel();
            collector.note(Note::Close(drive, reply));
            history.try_recv().unwrap().unwrap()
        });
        assert_eq!(gaps[0].gap(), None);
        assert_eq!(gaps[1].entries.len(), 2);
        let why = gaps[1].gap().unwrap();
        assert!(why.contains("comes from no replica that is described"), "{why}");
    }

    #[test]
    fn a_statement_that_names_nobody_is_shown_to_none() {
        let (mut collector, _) = two_drives();
        collector.wire(&select("None"));
        assert_eq!(seen(collector), ([0, 0], 1));
    }
}
