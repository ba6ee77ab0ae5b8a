//! Puts a target under the same load in one shape after another, and keeps what was seen.

use std::{num::NonZeroU8, ops::ControlFlow, path::Path, time::Duration};

use scenarios::{
    LoadProfile,
    load_profile::SharedCache,
    order::{Counted, Order, Outcome, Window as AttackWindow},
    scenario::Act,
};
use tokio::sync::watch;

use super::{
    attacker::{self, AttackerError, Heard},
    keys::{self, Issued},
};
use crate::{
    adapters,
    capability::Probed,
    history::Manifest,
    observers::upstream::rows_marked,
    op::Replica,
    runner::{
        collect::LineCounts,
        reach::{MadeOf, ReachError, ReachRequest, Reached},
        settle::settle,
    },
    tally,
    target::{
        Managed, Reach, Topology,
        template::{Placeholder, Template},
    },
};

/// How long access lines and rows of the ledger may take to come in after the last answer.
const SETTLE_DEADLINE: Duration = Duration::from_secs(5);

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done, to which target.
pub struct Experiment {
    /// Who calls, and what is measured.
    pub profile: LoadProfile,
    /// How long a cached identity lives.
    pub lifetime: Duration,
    /// The shapes, in order.
    pub shapes: Vec<Topology>,
    /// The target, whatever its shape.
    request: ReachRequest,
}

/// Why an experiment makes no sense.
///
/// Messages are lowercase fragments, made to follow "gauntlet: ".
#[derive(Debug, thiserror::Error)]
pub enum Senseless {
    /// The target runs already.
    #[error(
        "this profile starts the target in several shapes, so it takes a [managed] target; {0:?} is \
         [attached]"
    )]
    Attached(String),
    /// Its lifetime cannot be set.
    #[error(
        "entries of {target:?} live {fixed}, and its description does not let us choose; write \
         {{auth_cache_ttl_s}} or {{auth_cache_ttl_ms}} where its configuration has that number"
    )]
    FixedLifetime {
        /// What the target is called.
        target: String,
        /// How long its entries live.
        fixed: String,
    },
}

/// How far an experiment is.
pub trait Watcher {
    /// Something has begun or ended.
    fn step(&mut self, what: &str);

    /// Something goes on: the latest word on it replaces the one before.
    fn goes_on(&mut self, what: &str);
}

/// One shape, and what became of it.
#[derive(Debug)]
pub struct Measured {
    /// The shape.
    pub shape: Topology,
    /// What became of it.
    pub fate: Fate,
}

/// What became of one shape.
#[derive(Debug)]
pub enum Fate {
    /// It was under load.
    Measured(Box<Numbers>),
    /// By its description, the target cannot be had in this shape.
    NotAvailable(String),
    /// It was stopped before there was anything to see.
    Stopped,
}

/// What was seen of one shape.
#[derive(Debug)]
pub struct Numbers {
    /// Every window that ended.
    pub windows: Vec<WindowNumbers>,
    /// What the callers saw, from the first request to the last.
    pub outcome: Outcome,
    /// Rows of the provider's ledger, where it can say.
    pub provider_rows: Option<u64>,
    /// Log records, from the first request to the last.
    pub lines: LineCounts,
    /// Commands and statements, from the first request to the last.
    pub wire_events: u64,
    /// Bytes of connections that could not be understood.
    pub unseen_bytes: u64,
    /// What the stores were asked, and for how many requests, from the first to the last.
    pub whole: tally::Window,
    /// Observations that were lost on the way, from the first request to the last.
    pub lost: u64,
    /// Why some of it is missing, if it is.
    pub cut_short: Option<CutShort>,
    /// What the target promises.
    pub manifest: Manifest,
    /// What it is made of.
    pub made_of: MadeOf,
    /// What was probed.
    pub probed: Vec<Probed>,
}

/// Why some of what was to be seen of a shape is missing.
///
/// Messages follow "inconclusive: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutShort {
    /// Somebody wanted it to end.
    #[error("it was stopped before its last window ended")]
    Stopped,
    /// Not all of so many callers came.
    #[error("not all {0} callers were there soon after the ramp, so no window began")]
    Late(u32),
    /// A replica ended by itself.
    #[error("{replica} ended under load, and only windows that had ended before are told: {how}")]
    Ended {
        /// Which.
        replica: Replica,
        /// How, and what it printed last.
        how: String,
    },
}

/// What was seen of one window. All begin when the last caller is there.
#[derive(Debug)]
pub struct WindowNumbers {
    /// How long it was to be.
    pub asked: Duration,
    /// What the stores were asked.
    pub wire: tally::Window,
    /// Log records.
    pub lines: LineCounts,
    /// Observations that were lost on the way.
    pub lost: u64,
    /// What callers saw.
    pub counted: Counted,
}

/// Why an experiment cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The target cannot be had.
    #[error("cannot use the target")]
    Reach(#[from] ReachError),
    /// It does not issue keys.
    #[error("cannot use the target")]
    Keys(#[from] keys::NotIssued),
    /// The attack cannot be followed.
    #[error(transparent)]
    Attacker(#[from] AttackerError),
    /// A replica ended under load. What was seen until then is measured.
    #[error("{replica} ended under load: {how}")]
    Ended {
        /// Which.
        replica: Replica,
        /// How, and what it printed last.
        how: String,
    },
}

/// A moment of a shape under load.
struct Moment {
    wire: tally::Snapshot,
    lines: LineCounts,
    lost: u64,
}

impl Experiment {
    /// What a profile asks of a target. `shapes` are those of the profile that somebody chose.
    ///
    /// # Errors
    ///
    /// When the target cannot be started in shapes, or its lifetime not be what `unscaled` needs.
    pub fn new(
        profile: LoadProfile,
        shapes: Vec<Topology>,
        mut request: ReachRequest,
        unscaled: bool,
    ) -> Result<Experiment, Senseless> {
        let description = &mut request.description;
        let Reach::Managed(managed) = &description.reach else {
            return Err(Senseless::Attached(description.name.clone()));
        };
        let cache = &profile.cache;
        let wanted = if unscaled { cache.unscaled_lifetime } else { cache.lifetime };
        let default = adapters::named(&description.adapter).map(|adapter| adapter.default_ttl());
        let described = description.bounds.auth_cache_ttl.or(default).unwrap_or(wanted);
        let lifetime = if lets_us_choose_the_lifetime(managed) { wanted } else { described };
        if unscaled && lifetime != wanted {
            return Err(Senseless::FixedLifetime {
                target: description.name.clone(),
                fixed: scenarios::duration::text(lifetime),
            });
        }
        description.bounds.auth_cache_ttl = Some(lifetime);
        Ok(Experiment { profile, lifetime, shapes, request })
    }

    /// The windows, each with when it ends.
    pub fn windows(&self) -> Vec<Duration> {
        let windows = self.profile.cache.windows.iter();
        windows.map(|lifetimes| self.lifetime * u32::from(lifetimes.get())).collect()
    }

    /// Puts one shape after another under load, and adds what was seen to `measured`, until `stop`
    /// says so.
    ///
    /// # Errors
    ///
    /// When it cannot go on. What was measured by then is in `measured` all the same.
    pub async fn run(
        &self,
        mut stop: watch::Receiver<bool>,
        watcher: &mut dyn Watcher,
        measured: &mut Vec<Measured>,
    ) -> Result<(), ExperimentError> {
        for (number, shape) in (1..).zip(&self.shapes) {
            let named = format!("{number} of {}: {shape}", self.shapes.len());
            let stopped = *stop.borrow();
            let fate = match stopped {
                true => Fate::Stopped,
                false => self.shape(number, *shape, &named, &mut stop, watcher).await?,
            };
            let ended = ended_by_itself(&fate);
            measured.push(Measured { shape: *shape, fate });
            if let Some((replica, how)) = ended {
                return Err(ExperimentError::Ended { replica, how });
            }
        }
        Ok(())
    }

    /// What to reach for a shape, the one with this number; or why its description does not allow it.
    ///
    /// In a Redis that all shapes use, ids of another run keep them apart.
    pub(crate) fn request_for(&self, number: u32, shape: Topology) -> Result<ReachRequest, String> {
        let mut request = self.request.clone();
        request.run = request.run.wrapping_add(number);
        if let Reach::Managed(managed) = &mut request.description.reach {
            if let Some(gap) = without_redis(managed).filter(|_| !shape.redis) {
                return Err(format!(
                    "its description needs {gap}; mark the lines that are for Redis alone with {}",
                    Placeholder::RedisOnly
                ));
            }
            managed.topology = shape;
        }
        Ok(request)
    }

    async fn shape(
        &self,
        number: u32,
        shape: Topology,
        named: &str,
        stop: &mut watch::Receiver<bool>,
        watcher: &mut dyn Watcher,
    ) -> Result<Fate, ExperimentError> {
        let request = match self.request_for(number, shape) {
            Ok(request) => request,
            Err(why) => return Ok(Fate::NotAvailable(why)),
        };
        watcher.step(&format!("{named}: starting"));
        let reached = tokio::select! {
            // Whatever was started by then is dropped with the other branch, which stops it.
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(Fate::Stopped),
            reached = Reached::reach(request) => reached,
        };
        let mut reached = reached?;
        let numbers = self.load(&mut reached, named, stop, watcher).await;
        reached.stop().await;
        Ok(Fate::Measured(Box::new(numbers?)))
    }

    async fn load(
        &self,
        reached: &mut Reached,
        named: &str,
        stop: &mut watch::Receiver<bool>,
        watcher: &mut dyn Watcher,
    ) -> Result<Numbers, ExperimentError> {
        let callers = &self.profile.callers;
        let unloaded = reached.lines().await;
        let issued = keys::issue(&reached.driver, callers.key_class, callers.keys.get()).await?;
        reached.classify(issued.texts.iter().cloned(), callers.key_class).await;
        let order = self.order(reached, &issued);
        reached.count_only(true).await;
        // Lines that tell of the keys are none of the load's.
        lines_since(reached, &unloaded, issued.calls).await;
        let before = Moment::of(reached).await;
        let wire_before = reached.wire_counts().await;
        let seen = self.attack(&order, reached, named, stop, watcher).await?;
        let Seen { began, ends, outcome, cut_short } = seen;
        let provider_rows = match &reached.made_of.upstream {
            Some(base) => rows_marked(base, &issued.mark).await,
            None => None,
        };
        let lines = lines_since(reached, &before.lines, outcome.sent).await;
        for (replica, count) in (0..).map(Replica).zip(&outcome.whole.answered_by_replica) {
            // A request that failed may have looked up nothing, and would pass for a hit.
            reached.count_requests(callers.key_class, replica, *count).await;
        }
        let after = Moment::of(reached).await;
        let windows = match began {
            Some(began) => self
                .windows()
                .into_iter()
                .zip(ends)
                .zip(&outcome.windows)
                .map(|((asked, end), counted)| WindowNumbers {
                    asked,
                    wire: end.wire.since(&began.wire),
                    lines: end.lines.since(&began.lines),
                    lost: end.lost - began.lost,
                    counted: counted.clone(),
                })
                .collect(),
            None => Vec::new(),
        };
        let wire = reached.wire_counts().await.since(&wire_before);
        Ok(Numbers {
            windows,
            outcome,
            provider_rows,
            lines,
            whole: after.wire.since(&before.wire),
            lost: after.lost - before.lost,
            wire_events: wire.events,
            unseen_bytes: wire.unseen_bytes,
            cut_short,
            manifest: reached.driver.manifest.clone(),
            made_of: reached.made_of.clone(),
            probed: reached.probed.clone(),
        })
    }

    fn order(&self, reached: &Reached, issued: &Issued) -> Order {
        let callers = &self.profile.callers;
        Order {
            act: Act::SteadyChat,
            replicas: reached.made_of.replicas.clone(),
            keys: issued.secrets.clone(),
            model: reached.driver.aliases.first().cloned().unwrap_or_default(),
            mark: issued.mark.clone(),
            callers: callers.count.get(),
            ramp: callers.ramp,
            pause: callers.pause,
            patience: PATIENCE,
            balance: callers.balance,
            windows: self.windows().into_iter().map(AttackWindow).collect(),
        }
    }

    async fn attack(
        &self,
        order: &Order,
        reached: &mut Reached,
        named: &str,
        stop: &watch::Receiver<bool>,
        watcher: &mut dyn Watcher,
    ) -> Result<Seen, ExperimentError> {
        let windows = self.windows();
        let (mut began, mut ends, mut ended) = (None, Vec::new(), None);
        let hears = async |heard| {
            if ended.is_none() {
                ended = reached.ended();
            }
            match heard {
                Heard::Stopping => {}
                Heard::Progress(progress) => watcher.goes_on(&format!(
                    "{named}: {} callers, {} answered, {} failed; window {} of {}",
                    progress.callers,
                    progress.answered,
                    progress.failed,
                    if began.is_some() { ends.len() + 1 } else { 0 },
                    windows.len()
                )),
                Heard::AllThere => {
                    began = Some(Moment::of(reached).await);
                    watcher.step(&format!("{named}: all {} callers are there", order.callers));
                }
                // Nobody knows what a window would have come to if everybody had lived.
                Heard::WindowEnded(_) if ended.is_some() => {}
                Heard::WindowEnded(window) => {
                    ends.push(Moment::of(reached).await);
                    let length = windows.get(window).copied().unwrap_or_default();
                    let length = scenarios::duration::text(length);
                    watcher.step(&format!("{named}: the window of {length} has ended"));
                }
            }
            if ended.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let outcome = attacker::follow(self.program(), order, stop.clone(), hears).await?;
        let cut_short = match (ended, &began) {
            (Some((replica, how)), _) => Some(CutShort::Ended { replica, how }),
            (None, _) if outcome.stopped => Some(CutShort::Stopped),
            (None, None) => Some(CutShort::Late(order.callers)),
            (None, Some(_)) => None,
        };
        Ok(Seen { began, ends, outcome, cut_short })
    }

    /// This program.
    fn program(&self) -> &Path {
        &self.request.program
    }
}

struct Seen {
    began: Option<Moment>,
    ends: Vec<Moment>,
    outcome: Outcome,
    cut_short: Option<CutShort>,
}

impl Moment {
    async fn of(reached: &Reached) -> Moment {
        Moment { wire: reached.tally().await, lines: reached.lines().await, lost: reached.lost() }
    }
}

/// The log records since `before`, once so many of them tell of a request's end: lines are written
/// after the answer that they tell of. What does not come in time is not waited for.
async fn lines_since(reached: &Reached, before: &LineCounts, access: u64) -> LineCounts {
    let lines = settle(SETTLE_DEADLINE, async || {
        let lines = reached.lines().await.since(before);
        (lines.access >= access || !reached.driver.logs).then_some(lines)
    });
    match lines.await {
        Some(lines) => lines,
        None => reached.lines().await.since(before),
    }
}

/// The replica that ended by itself, if one did, and how.
fn ended_by_itself(fate: &Fate) -> Option<(Replica, String)> {
    match fate {
        Fate::Measured(numbers) => match &numbers.cut_short {
            Some(CutShort::Ended { replica, how }) => Some((*replica, how.clone())),
            Some(CutShort::Stopped | CutShort::Late(_)) | None => None,
        },
        Fate::NotAvailable(_) | Fate::Stopped => None,
    }
}

/// The shapes of a profile, in order.
pub fn shapes(profile: &LoadProfile) -> Vec<Topology> {
    let LoadProfile { shapes, .. } = profile;
    let of = |mode: &SharedCache| {
        let mode = *mode;
        shapes.replicas_and_workers.iter().map(move |shape| topology(*shape, mode))
    };
    shapes.shared_cache.iter().flat_map(of).collect()
}

/// The topology of a shape.
fn topology((replicas, workers): (NonZeroU8, NonZeroU8), shared_cache: SharedCache) -> Topology {
    Topology { replicas, workers, redis: shared_cache == SharedCache::On }
}

/// Whether the lifetime of an identity follows from what we say.
fn lets_us_choose_the_lifetime(managed: &Managed) -> bool {
    texts(managed)
        .flat_map(Template::placeholders)
        .any(|gap| matches!(gap, Placeholder::AuthCacheTtlMs | Placeholder::AuthCacheTtlS))
}

/// Every text with gaps that a replica is started with.
fn texts(managed: &Managed) -> impl Iterator<Item = &Template> {
    managed.command.iter().chain(managed.env.values()).chain(&managed.config)
}

/// What a target has no value for where there is no Redis.
fn without_redis(managed: &Managed) -> Option<Placeholder> {
    texts(managed).find_map(Template::unmet_without_redis)
}
