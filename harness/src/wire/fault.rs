//! What a store proxy can do wrong, on request.
//!
//! The nemesis strikes through a [`FaultHandle`] and gets a [`Strike`], which says how often the
//! fault really hit and heals it when dropped. A fault that hit nothing proves nothing; that is why
//! every hit is counted.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    proxy::Recorder,
    record::{CloseReason, WireBody},
};

/// Names one strike of one store proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u32);

/// One kind of harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Each of these requests reaches the store this much later. Requests behind it on the same
    /// connection wait for it, as in a slow network, but their delays run at the same time.
    Delay {
        /// Which requests.
        on: Requests,
        /// How much later, in milliseconds.
        by_ms: u64,
    },
    /// Open connections are reset, both sides, at once. Nothing is left to heal.
    Cut {
        /// One in so many of them: 1 for all, 2 for half of a pool.
        one_in: NonZeroU32,
    },
    /// A connection is reset when one of these requests comes along.
    CutAt {
        /// Which requests.
        on: Requests,
        /// When exactly.
        moment: Moment,
    },
    /// New connections are accepted and at once reset. (Closing the port instead would let another
    /// process take it.) Open ones live on: strike [`Fault::Cut`] too for a store that is gone.
    Refuse,
    /// Nothing is forwarded either way; connections, new ones too, are accepted and hang. When it
    /// heals, what was held back goes on its way, as after a network partition.
    Blackhole,
    /// These requests get this error for an answer, in their turn; the store never sees them.
    Answer {
        /// Which requests.
        on: Requests,
        /// First word of a Redis error (`LOADING`), or SQLSTATE (`53300`).
        code: String,
        /// The rest of it.
        message: String,
    },
    /// Published messages, invalidations and notifications get lost.
    LosePushes {
        /// Those of channels that contain this.
        channel_contains: String,
        /// One in so many of them: 1 for all, 3 for every third.
        one_in: NonZeroU32,
    },
}

/// A kind of fault, for whoever asks which there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultKind {
    /// What plans and histories call it.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// What happens so in production.
    pub like: &'static str,
}

impl Fault {
    /// Every kind of harm that a store proxy can do.
    pub const KINDS: [FaultKind; 7] = [
        FaultKind {
            name: "delay",
            does: "The chosen requests reach the store later by a stated time.",
            like: "A store that is busy, or at the other end of a slow network.",
        },
        FaultKind {
            name: "cut",
            does: "Open connections are reset on both sides: all, or one in so many.",
            like: "A store that restarts, or a balancer that drops idle connections.",
        },
        FaultKind {
            name: "cut_at",
            does: "A connection is reset before a request, before its answer, or amid the answer.",
            like: "A failover that catches a gateway half-way, when it cannot know what was done.",
        },
        FaultKind {
            name: "refuse",
            does: "New connections are accepted and at once reset; open ones live on.",
            like: "A store that has no connection left to give.",
        },
        FaultKind {
            name: "blackhole",
            does: "Nothing is forwarded either way, and everything hangs until it heals.",
            like: "A network partition, or a firewall that drops packets without a word.",
        },
        FaultKind {
            name: "answer",
            does: "The chosen requests get an error for an answer, and the store never sees them.",
            like: "A Redis that is LOADING or READONLY, a Postgres with too many clients.",
        },
        FaultKind {
            name: "lose_pushes",
            does: "Published messages and notifications get lost: all, or one in so many.",
            like: "An invalidation that was sent while its reader was reconnecting.",
        },
    ];
}

/// Which requests a fault is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "which", rename_all = "snake_case")]
pub enum Requests {
    /// All of them, those that open a session included.
    All,
    /// Redis commands of this name, in any case.
    Command {
        /// The name: `EVALSHA`.
        name: String,
    },
    /// Redis commands with a key that contains this.
    Key {
        /// Part of the key.
        contains: String,
    },
    /// Executed SQL statements whose text contains this, in any case.
    Statement {
        /// Part of the text: `insert into spend`.
        contains: String,
    },
}

/// When, in the course of a request, a connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// The store never sees the request.
    BeforeRequest,
    /// The store has answered, and the gateway never sees the answer.
    BeforeReply,
    /// The gateway sees half of the answer's last message.
    MidReply,
}

/// A request, as far as faults tell requests apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) command: &'a str,
    pub(crate) keys: &'a [String],
    pub(crate) sql: &'a [u8],
    /// Whether it has one answer that could be harmed.
    pub(crate) answerable: bool,
}

impl Requests {
    fn hold(&self, request: Request<'_>) -> bool {
        match self {
            Requests::All => true,
            Requests::Command { name } => request.command.eq_ignore_ascii_case(name),
            Requests::Key { contains } => request.keys.iter().any(|key| key.contains(contains)),
            Requests::Statement { contains } => {
                contains_ignoring_case(request.sql, contains.as_bytes())
            }
        }
    }
}

/// An empty text holds nothing, so that what is not SQL does not match.
fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    !text.is_empty()
        && (part.is_empty()
            || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part)))
}

/// What is to be done to one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) fault: FaultId,
    pub(crate) harm: Harm,
}

/// The ways in which a request can be harmed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Harm {
    Delay(Duration),
    Cut(Moment),
    Answer { code: String, message: String },
}

/// Strikes and heals the faults of one store proxy.
#[derive(Clone, Debug)]
pub struct FaultHandle {
    board: Arc<Board>,
    recorder: Recorder,
}

impl FaultHandle {
    pub(crate) fn new(board: Arc<Board>, recorder: Recorder) -> FaultHandle {
        FaultHandle { board, recorder }
    }

    /// Strikes until the strike is healed or dropped.
    pub fn strike(&self, fault: Fault) -> Strike {
        self.strike_at_most(fault, u64::MAX)
    }

    /// Strikes until it has hit so often, or is healed or dropped.
    pub fn strike_at_most(&self, fault: Fault, hits: u64) -> Strike {
        let struck = self.board.strike(fault.clone(), hits);
        let id = struck.id;
        self.recorder.record_here(Some(id), WireBody::FaultStruck { id, fault: fault.clone() });
        if let Fault::Cut { one_in } = fault {
            struck.hits.fetch_add(self.board.cut_open(one_in), Ordering::Relaxed);
        }
        Strike { handle: self.clone(), fault, id, hits: struck.hits, healed: false }
    }
}

/// A fault that has struck. Heals when dropped.
#[derive(Debug)]
pub struct Strike {
    handle: FaultHandle,
    fault: Fault,
    id: FaultId,
    hits: Arc<AtomicU64>,
    healed: bool,
}

impl Strike {
    /// Which strike this is, as in the events.
    pub fn id(&self) -> FaultId {
        self.id
    }

    /// How many requests or connections it has hit so far.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Heals, and says how many requests or connections were hit.
    pub fn heal(mut self) -> u64 {
        self.heal_once();
        self.hits()
    }

    fn heal_once(&mut self) {
        if self.healed {
            return;
        }
        self.healed = true;
        self.handle.board.heal(self.id);
        let (id, fault, hits) = (self.id, self.fault.clone(), self.hits());
        let healed = WireBody::FaultHealed { id, fault, hits };
        self.handle.recorder.record_here(Some(id), healed);
    }
}

impl Drop for Strike {
    fn drop(&mut self) {
        self.heal_once();
    }
}

/// The faults of one store proxy and the connections they can hit.
///
/// Connections ask it; the handle writes to it.
#[derive(Debug)]
pub(crate) struct Board {
    /// Whether any fault is about single requests or pushes, so that messages must be held back
    /// until they are understood. Read for every piece of every connection.
    judging: AtomicBool,
    blackhole: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u32,
    struck: Vec<Struck>,
    open: BTreeMap<u32, watch::Sender<Option<CloseReason>>>,
    stopped: bool,
}

/// A strike that has not healed yet.
#[derive(Clone, Debug)]
pub(crate) struct Struck {
    id: FaultId,
    fault: Fault,
    hits: Arc<AtomicU64>,
    at_most: u64,
    /// What came along, hit or not; for faults that hit one in so many.
    met: u64,
}

impl Struck {
    fn spent(&self) -> bool {
        self.hits.load(Ordering::Relaxed) >= self.at_most
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Board {
    pub(crate) fn new() -> Board {
        Board {
            judging: AtomicBool::new(false),
            blackhole: watch::Sender::new(false),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that panics is done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn strike(&self, fault: Fault, at_most: u64) -> Struck {
        let mut state = self.state();
        state.last_id += 1;
        let id = FaultId(state.last_id);
        let struck = Struck { id, fault, hits: Arc::default(), at_most, met: 0 };
        state.struck.push(struck.clone());
        self.changed(&state);
        struck
    }

    fn heal(&self, id: FaultId) {
        let mut state = self.state();
        state.struck.retain(|struck| struck.id != id);
        self.changed(&state);
    }

    fn changed(&self, state: &State) {
        let judging = state.struck.iter().any(|struck| match struck.fault {
            Fault::Delay { .. }
            | Fault::CutAt { .. }
            | Fault::Answer { .. }
            | Fault::LosePushes { .. } => true,
            Fault::Cut { .. } | Fault::Refuse | Fault::Blackhole => false,
        });
        self.judging.store(judging, Ordering::Release);
        let blackhole = state.struck.iter().any(|struck| struck.fault == Fault::Blackhole);
        self.blackhole.send_if_modified(|now| std::mem::replace(now, blackhole) != blackhole);
    }

    /// Whether single requests or pushes have to be judged.
    pub(crate) fn judging(&self) -> bool {
        self.judging.load(Ordering::Acquire)
    }

    /// What is to be done to `request`.
    pub(crate) fn judge(&self, request: Request<'_>) -> Option<Order> {
        let state = self.state();
        state.struck.iter().filter(|struck| !struck.spent()).find_map(|struck| {
            let (on, harm) = match &struck.fault {
                Fault::Delay { on, by_ms } => (on, Harm::Delay(Duration::from_millis(*by_ms))),
                Fault::CutAt { on, moment } => (on, Harm::Cut(*moment)),
                Fault::Answer { on, code, message } => {
                    (on, Harm::Answer { code: code.clone(), message: message.clone() })
                }
                Fault::Cut { .. } | Fault::Refuse | Fault::Blackhole | Fault::LosePushes { .. } => {
                    return None;
                }
            };
            let possible = request.answerable
                || matches!(harm, Harm::Delay(_) | Harm::Cut(Moment::BeforeRequest));
            (possible && on.hold(request)).then(|| {
                struck.hit();
                Order { fault: struck.id, harm }
            })
        })
    }

    /// The fault that loses this push, if one does.
    pub(crate) fn judge_push(&self, channel: &str) -> Option<FaultId> {
        let mut state = self.state();
        state.struck.iter_mut().find_map(|struck| {
            let Fault::LosePushes { channel_contains, one_in } = &struck.fault else {
                return None;
            };
            if struck.spent() || !channel.contains(channel_contains) {
                return None;
            }
            struck.met += 1;
            struck.met.is_multiple_of(u64::from(one_in.get())).then(|| {
                struck.hit();
                struck.id
            })
        })
    }

    /// The fault that refuses a new connection, if one does.
    pub(crate) fn judge_connection(&self) -> Option<FaultId> {
        let state = self.state();
        let refusing = |struck: &&Struck| struck.fault == Fault::Refuse && !struck.spent();
        let struck = state.struck.iter().find(refusing)?;
        struck.hit();
        Some(struck.id)
    }

    /// Waits while nothing may be forwarded.
    pub(crate) async fn let_through(&self) {
        if !*self.blackhole.borrow() {
            return;
        }
        if let Some(struck) = self.state().struck.iter().find(|it| it.fault == Fault::Blackhole) {
            struck.hit();
        }
        // The sender is part of `self`, so it cannot be gone.
        let _ = self.blackhole.subscribe().wait_for(|blackhole| !blackhole).await;
    }

    /// Enters a connection; what arrives in the receiver is why it has to end.
    pub(crate) fn opened(&self, connection: u32) -> watch::Receiver<Option<CloseReason>> {
        let mut state = self.state();
        let (ending, ended) = watch::channel(state.stopped.then_some(CloseReason::Stopped));
        state.open.insert(connection, ending);
        ended
    }

    /// Takes a connection out again.
    pub(crate) fn closed(&self, connection: u32) {
        self.state().open.remove(&connection);
    }

    fn cut_open(&self, one_in: NonZeroU32) -> u64 {
        let state = self.state();
        let mut cut = 0;
        for ending in state.open.values().step_by(one_in.get() as usize) {
            if ending.send(Some(CloseReason::Cut)).is_ok() {
                cut += 1;
            }
        }
        cut
    }

    /// Ends every connection, and those that are yet to come.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        for ending in state.open.values() {
            let _ = ending.send(Some(CloseReason::Stopped));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_under_the_name_that_plans_give_it() {
        let on = || Requests::All;
        let one_in = NonZeroU32::MIN;
        let faults = [
            Fault::Delay { on: on(), by_ms: 1 },
            Fault::Cut { one_in },
            Fault::CutAt { on: on(), moment: Moment::MidReply },
            Fault::Refuse,
            Fault::Blackhole,
            Fault::Answer { on: on(), code: String::new(), message: String::new() },
            Fault::LosePushes { channel_contains: String::new(), one_in },
        ];
        let written = faults.map(|fault| serde_json::to_value(fault).unwrap()["fault"].clone());
        assert_eq!(written, Fault::KINDS.map(|kind| serde_json::Value::from(kind.name)));
    }

    #[test]
    fn requests_are_told_apart_by_name_key_and_text() {
        let keys = ["rg:key:1".to_owned()];
        let get = Request { command: "GET", keys: &keys, sql: b"", answerable: true };
        let select = Request { sql: b"SELECT * FROM Keys", answerable: true, ..Request::default() };
        let command = Requests::Command { name: "get".to_owned() };
        let key = Requests::Key { contains: "key:".to_owned() };
        let statement = Requests::Statement { contains: "from keys".to_owned() };
        assert!(command.hold(get) && key.hold(get) && !statement.hold(get));
        assert!(!command.hold(select) && !key.hold(select) && statement.hold(select));
    }

    #[test]
    fn a_strike_with_a_bound_hits_no_more_than_that() {
        let board = Board::new();
        let fault = Fault::Delay { on: Requests::All, by_ms: 1 };
        let struck = board.strike(fault, 2);
        let harmed = (0..5).filter(|_| board.judge(Request::default()).is_some()).count();
        assert_eq!(harmed, 2);
        board.heal(struck.id);
        assert!(!board.judging());
    }

    #[test]
    fn every_third_push_is_lost() {
        let board = Board::new();
        let one_in = NonZeroU32::new(3).unwrap();
        board.strike(Fault::LosePushes { channel_contains: "inv".to_owned(), one_in }, u64::MAX);
        let lost: Vec<_> = (0..7).map(|_| board.judge_push("invalidate").is_some()).collect();
        assert_eq!(lost, [false, false, true, false, false, true, false]);
        assert_eq!(board.judge_push("other"), None);
    }
}
