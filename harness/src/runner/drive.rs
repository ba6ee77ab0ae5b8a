//! Sends a plan, one task per caller, and returns its history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    behind::{Behind, Striking, Touched},
    collect::{Note, Progress},
    join::{Drive, Prefixes},
    redact::redacted,
    settle::{let_pass, settle},
};
use crate::{
    adapters::{Adapter, Names},
    check::Arm,
    client::{Client, Learned},
    clock::Clock,
    history::{CallId, Entry, Event, History, Manifest},
    observers::{redis_monitor::RedisMonitor, upstream::Upstream},
    op::{Call, Key, Listed, Op, Outcome},
    plan::Step,
    store_step::{Edit, Object, Strike},
    target::follow::Exited,
};

/// How long the observations of a drive may take to arrive once its last answer has.
const SETTLE_DEADLINE: Duration = Duration::from_secs(5);

/// Everything needed to drive plans against one running target.
pub struct Driver {
    /// Sends the ops.
    pub client: Client,
    /// Knows the product.
    pub adapter: &'static dyn Adapter,
    /// What the target promises.
    pub manifest: Manifest,
    /// The model aliases that the target offers.
    pub aliases: Vec<String>,
    /// Tells the moments of the run.
    pub clock: Clock,
    /// The beginnings of ids.
    pub prefixes: Prefixes,
    /// Where everything that is seen goes.
    pub notes: mpsc::Sender<Note>,
    /// The provider's ledger, where there is one.
    pub upstream: Option<Upstream>,
    /// Whether log lines are seen.
    pub logs: bool,
    /// What follows the logs of a target that runs already, and may end before we do.
    pub followers: Vec<Exited>,
    /// What stands behind the target, where we started it.
    pub behind: Option<Behind>,
    /// Tells what is asked of a Redis that no store proxy stands before.
    pub commands: Option<RedisMonitor>,
    next: AtomicU32,
}

impl Driver {
    /// A driver that has driven nothing.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the target, named by its field"
    )]
    pub fn new(
        client: Client,
        adapter: &'static dyn Adapter,
        manifest: Manifest,
        aliases: Vec<String>,
        clock: Clock,
        prefixes: Prefixes,
        notes: mpsc::Sender<Note>,
        upstream: Option<Upstream>,
        logs: bool,
        behind: Option<Behind>,
    ) -> Driver {
        let next = AtomicU32::new(0);
        Driver {
            client,
            adapter,
            manifest,
            aliases,
            clock,
            prefixes,
            notes,
            upstream,
            logs,
            followers: Vec::new(),
            behind,
            commands: None,
            next,
        }
    }

    /// Drives one arm. `alone` says that no other drive is under way, so that log lines which name
    /// nothing are its own.
    pub async fn drive(self: &Arc<Self>, arm: &Arm, alone: bool) -> History {
        let drive = Drive(self.next.fetch_add(1, Ordering::Relaxed));
        let prefix = self.prefixes.of(drive);
        let empty = History::new(arm.name, &prefix, self.manifest.clone(), arm.plan.clone());
        self.open(drive, &empty).await;
        let names = Names {
            prefix,
            plan: arm.plan.clone(),
            aliases: self.aliases.clone(),
            keys: BTreeMap::new(),
        };
        let mut driving = Driving {
            driver: self,
            drive,
            names,
            next_call: Arc::default(),
            traffic: JoinSet::new(),
            stop: watch::Sender::new(false),
            striking: Vec::new(),
        };
        driving.claim_keys_that_were_never_issued().await;
        for (number, step) in (0..).zip(&arm.plan.steps) {
            driving.step(number, step).await;
        }
        driving.stop_traffic().await;
        driving.heal().await;
        self.settle(drive, alone).await;
        self.close(drive).await.unwrap_or(empty)
    }

    async fn note(&self, note: Note) {
        // The collector outlives every drive; it is gone only when the run is being torn down.
        drop(self.notes.send(note).await);
    }

    /// Waits until the collector knows the drive: what it sees before that belongs to nobody.
    async fn open(&self, drive: Drive, empty: &History) {
        let (reply, opened) = oneshot::channel();
        self.note(Note::Open(drive, Box::new(empty.clone()), reply)).await;
        // Without a collector there is nobody to wait for.
        drop(opened.await);
    }

    /// Whatever names this key, plain or as it is stored, belongs to the drive.
    async fn claim_key(&self, drive: Drive, secret: String) {
        let stored = self.adapter.stored_form(&secret);
        self.note(Note::Claim(drive, stored)).await;
        self.note(Note::Claim(drive, secret)).await;
    }

    async fn close(&self, drive: Drive) -> Option<History> {
        let (reply, history) = oneshot::channel();
        self.note(Note::Close(drive, reply)).await;
        history.await.ok().flatten()
    }

    /// Waits until everything that the answers promise was seen, and records what was not.
    async fn settle(&self, drive: Drive, alone: bool) {
        let unfollowed: Vec<_> = self.followers.iter().filter_map(Exited::why).collect();
        // What nobody reads any more is not waited for.
        let lines_told =
            self.logs && unfollowed.is_empty() && (alone || self.adapter.lines_can_be_joined());
        for why in unfollowed {
            let event = Event::Gap { observer: "logs".to_owned(), why };
            self.note(Note::Saw(drive, Entry { at: self.clock.now(), event })).await;
        }
        if let Some(commands) = &self.commands
            && !commands.sync().await
        {
            let why = "Redis does not tell in time what it was asked".to_owned();
            let event = Event::Gap { observer: "Redis commands".to_owned(), why };
            self.note(Note::Saw(drive, Entry { at: self.clock.now(), event })).await;
        }
        let mut missing =
            format!("who watches did not answer within {} s", SETTLE_DEADLINE.as_secs());
        let settled = settle(SETTLE_DEADLINE, async || {
            if let Some(upstream) = &self.upstream {
                upstream.sync().await;
            }
            let (reply, progress) = oneshot::channel();
            self.note(Note::Progress(drive, reply)).await;
            let progress = progress.await.unwrap_or_default();
            missing = self.missing(&progress, lines_told);
            missing.is_empty().then_some(())
        })
        .await;
        if settled.is_none() {
            let event = Event::Gap { observer: "runner".to_owned(), why: missing };
            self.note(Note::Saw(drive, Entry { at: self.clock.now(), event })).await;
        }
    }

    fn missing(&self, progress: &Progress, lines_told: bool) -> String {
        let unseen: BTreeSet<_> = progress.served.difference(&progress.attempts).collect();
        if self.upstream.is_some() && !unseen.is_empty() {
            return format!(
                "{} answered prompts are not in the provider's ledger within {} s",
                unseen.len(),
                SETTLE_DEADLINE.as_secs()
            );
        }
        if lines_told && progress.access_lines < progress.ended {
            return format!(
                "{} of {} requests have no access line within {} s",
                progress.ended - progress.access_lines,
                progress.ended,
                SETTLE_DEADLINE.as_secs()
            );
        }
        String::new()
    }
}

struct Driving<'a> {
    driver: &'a Arc<Driver>,
    drive: Drive,
    names: Names,
    next_call: Arc<AtomicU32>,
    traffic: JoinSet<()>,
    stop: watch::Sender<bool>,
    striking: Vec<Striking>,
}

impl Driving<'_> {
    async fn step(&mut self, number: u32, step: &Step) {
        match step {
            Step::Call(call) => self.together(number, std::slice::from_ref(call)).await,
            Step::Together(calls) => self.together(number, calls).await,
            Step::StartTraffic { calls, pause_ms } => self.start_traffic(number, calls, *pause_ms),
            Step::StopTraffic => self.stop_traffic().await,
            Step::Wait(wait) => {
                let manifest = &self.driver.manifest;
                let_pass(wait.length(manifest.auth_cache_ttl(), manifest.staleness())).await;
            }
            Step::Store(edit) => self.edit(edit).await,
            Step::Strike(strike) => self.strike(*strike).await,
            Step::Heal => self.heal().await,
        }
    }

    /// What a gateway says of a key that nobody issued is the case's own all the same.
    async fn claim_keys_that_were_never_issued(&self) {
        let asked_with: BTreeSet<Key> = self
            .names
            .plan
            .calls()
            .filter_map(|call| match &call.op {
                Op::Chat(chat) => Some(chat.key),
                Op::ListModels { key } => Some(*key),
                Op::Admin(_) => None,
            })
            .collect();
        let issued: BTreeSet<Key> = self
            .names
            .plan
            .calls()
            .filter(|call| !chooses_the_secret(call))
            .filter_map(issues)
            .collect();
        for key in asked_with.difference(&issued) {
            let secret = self.names.key(*key);
            self.driver.claim_key(self.drive, secret).await;
        }
    }

    async fn edit(&self, edit: &Edit) {
        let Some(behind) = &self.driver.behind else {
            return self.gap("the stores", "they are not ours to edit".to_owned()).await;
        };
        let mut cached = BTreeMap::new();
        for object in edit.objects() {
            cached.insert(object, self.cached_under(object).await);
        }
        let cached_under = |object| cached.get(&object).cloned().unwrap_or_default();
        match behind.edit(edit, self.driver.adapter, &self.names, &cached_under).await {
            Ok(Touched { number, names }) => {
                let names = names.iter().map(|name| redacted(name)).collect();
                let edit = edit.clone();
                self.saw(Event::Edited { edit, touched: number, names }).await;
            }
            Err(error) => self.gap("the stores", error.to_string()).await,
        }
    }

    /// The Redis keys under which an object of this case was seen.
    async fn cached_under(&self, object: Object) -> Vec<String> {
        let (reply, names) = oneshot::channel();
        self.driver.note(Note::CachedUnder(self.drive, object.kind(), reply)).await;
        let identifying = self.driver.adapter.identifying(object, &self.names);
        let names = names.await.unwrap_or_default().into_iter();
        names.filter(|name| identifying.iter().all(|id| name.contains(id))).collect()
    }

    async fn strike(&mut self, strike: Strike) {
        let Some(behind) = &self.driver.behind else {
            return self
                .gap("the nemesis", "no store proxy of ours is in the way".to_owned())
                .await;
        };
        self.striking.push(behind.strike(strike));
        self.saw(Event::Struck { strike }).await;
    }

    async fn heal(&mut self) {
        for striking in std::mem::take(&mut self.striking) {
            let (strike, hits) = striking.heal();
            self.saw(Event::Healed { strike, hits }).await;
        }
    }

    async fn gap(&self, observer: &str, why: String) {
        self.saw(Event::Gap { observer: observer.to_owned(), why }).await;
    }

    async fn saw(&self, event: Event) {
        let entry = Entry { at: self.driver.clock.now(), event };
        self.driver.note(Note::Saw(self.drive, entry)).await;
    }

    async fn together(&mut self, step: u32, calls: &[Call]) {
        let caller = self.caller();
        let sent = calls.iter().map(|call| caller.send(step, call, &self.names));
        let issued: Vec<(Key, String)> = join_all(sent)
            .await
            .into_iter()
            .filter_map(|(key, learned)| Some((key?, learned.issued?)))
            .collect();
        self.names.keys.extend(issued);
    }

    fn caller(&self) -> Caller {
        Caller {
            driver: Arc::clone(self.driver),
            drive: self.drive,
            next_call: Arc::clone(&self.next_call),
        }
    }

    fn start_traffic(&mut self, step: u32, calls: &[Call], pause_ms: u32) {
        // Callers who are under way already are not to notice; a notice ends their pause.
        self.stop.send_if_modified(|stop| std::mem::replace(stop, false));
        for call in calls {
            let (caller, call, names) = (self.caller(), call.clone(), self.names.clone());
            let mut stopped = self.stop.subscribe();
            self.traffic.spawn(async move {
                while !*stopped.borrow_and_update() {
                    caller.send(step, &call, &names).await;
                    let pause = let_pass(Duration::from_millis(pause_ms.into()));
                    // Whichever comes first; a stop ends the pause.
                    tokio::select! {
                        () = pause => {}
                        changed = stopped.changed() => if changed.is_err() { return },
                    }
                }
            });
        }
    }

    async fn stop_traffic(&mut self) {
        self.stop.send_replace(true);
        while self.traffic.join_next().await.is_some() {}
    }
}

struct Caller {
    driver: Arc<Driver>,
    drive: Drive,
    next_call: Arc<AtomicU32>,
}

impl Caller {
    /// Sends one call and records both its ends. Returns the key that the call was to issue.
    async fn send(&self, step: u32, call: &Call, names: &Names) -> (Option<Key>, Learned) {
        let id = CallId(self.next_call.fetch_add(1, Ordering::Relaxed));
        self.saw(Event::Invoked { id, step, call: call.clone() }).await;
        let mut learned = self.driver.client.apply(id, call, names).await;
        if let Some(secret) = &learned.issued {
            self.driver.claim_key(self.drive, secret.clone()).await;
        }
        if let Some(call_id) = &learned.call_id {
            self.driver.note(Note::Claim(self.drive, call_id.clone())).await;
        }
        match &mut learned.outcome {
            Outcome::Refused { message, error_type, .. } => {
                *message = redacted(message);
                *error_type = error_type.take().map(|text| redacted(&text));
            }
            Outcome::Indeterminate { why } => *why = redacted(why),
            Outcome::Listed { models, .. } => {
                for model in models {
                    if let Listed::Stranger(name) = model {
                        *name = redacted(name);
                    }
                }
            }
            Outcome::Answered { .. } => {}
        }
        self.saw(Event::Completed { id, outcome: learned.outcome.clone() }).await;
        (issues(call), learned)
    }

    async fn saw(&self, event: Event) {
        let entry = Entry { at: self.driver.clock.now(), event };
        self.driver.note(Note::Saw(self.drive, entry)).await;
    }
}

fn issues(call: &Call) -> Option<Key> {
    match &call.op {
        Op::Admin(crate::op::Admin::GenerateKey { key, .. }) => Some(*key),
        Op::Admin(_) | Op::Chat(_) | Op::ListModels { .. } => None,
    }
}

fn chooses_the_secret(call: &Call) -> bool {
    matches!(
        &call.op,
        Op::Admin(crate::op::Admin::GenerateKey { fields, .. }) if fields.chosen_secret
    )
}
