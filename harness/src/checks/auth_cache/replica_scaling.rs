//! Identity reads do not grow with replicas and workers that share a cache.
//!
//! The same keys are used by the same callers at the same pace on one replica, on two of two workers each
//! and on eight, side by side on stacks of their own. Each key is used on every replica.
//! What one process has read is in the cache that all of them share, so the database is asked once per
//! object and lifetime, whoever needs it. The slope of reads against processes, as a share of the reads of
//! one process, is then nought: processes find each other's entries. Where each process reads for itself
//! the price of a replica is paid by the database.
//!
//! No two callers begin together. A key has eight, who each ask once in two and a half lifetimes, evenly
//! apart: it is asked for 3.2 times in a lifetime, each time at another replica. So one process, or several
//! that share, read it about once in a lifetime, and of eight that do not share each has forgotten it when
//! its caller comes again and reads it about 3.2 times in a lifetime: a slope of more than a fifth,
//! for owners are asked for by several keys and are read more often still.
//!
//! Sharing takes no lock over the whole fleet. Processes that find an entry ended while the first of them
//! is reading it have to read as well, so reads of one text and the same parameters that begin while one
//! is under way are counted as that one. What then remains is the time between the answer of the database
//! and the write to the shared cache. All requests of a stack are a forty-eighth of a lifetime apart, so a
//! write that takes 10 ms of a lifetime of 2 s is met 0.24 times by requests for an owner whom all keys
//! name, and 0.016 times by requests for one key. The slope that is allowed, a tenth, is that of eight
//! processes which read two thirds more than one does.
//!
//! Workers behind one address cannot be told apart, and that each of them was reached is not proven: each
//! replica was, with most keys. Where one worker took every connection, its stack counts as more processes
//! than were at work. The line hardly rests on that stack, for its four processes are close to the middle
//! of one and eight; it is replicas that the slope is about, and workers only as far as they add to it.
//!
//! A request that is turned away for want of means (unavailable, a fault, a rate limit) says that the
//! machine could not carry the load, and what was read then proves nothing. Where the gateway claims no
//! shared cache each process has to read for itself, and none of this is owed.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU8,
    time::Duration,
};

use proptest::{collection::vec, prelude::*};

use crate::{
    capability::Capability,
    check::{Arm, Builds, Check, Level, Shape, Stack},
    clock::Micros,
    generators::{fewer::at_most, identities::identities_of, requests},
    history::{Event, History, Manifest, Seen},
    op::{Call, Key, Op, Outcome, Refusal, Replica},
    plan::{Plan, Step, Wait},
    verdict::{Proof, Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "auth-cache.replica-scaling",
    title: "Identity reads do not grow with replicas and workers that share a cache",
    why: "Replicas are added because of traffic. If each of them, and each worker in it, asks the \
          database for every identity, the database is what gives way.",
    incidents: &[
        "https://github.com/BerriAI/litellm/pull/26202",
        "https://github.com/BerriAI/litellm/issues/9820",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::PostgresWire,
        Capability::OwnStacks,
    ],
    plan,
    arms,
    judge,
};

/// Keys in use.
const KEYS: u32 = 15;

/// Replicas of the largest stack, for which plans are drawn.
const MOST_REPLICAS: u8 = 8;

/// The stacks: name, replicas, workers of each. The first is the largest.
const STACKS: [(&str, u8, u8); 3] =
    [("8 replicas", MOST_REPLICAS, 1), ("2 replicas of 2 workers", 2, 2), ("1 replica", 1, 1)];

/// How many lifetimes are watched, at least.
const LIFETIMES: u32 = 5;

/// How often callers who are balanced anew change their replica, in a drive.
const TURNS: usize = 2;

/// The slope that is allowed, as a share of the reads of one process.
const STEEPEST: f64 = 0.1;

/// Fifteen keys, each used by as many callers as the largest stack has replicas. Callers keep to a
/// replica each, or are balanced anew in each turn.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    // Each caller seldom, for one machine carries all stacks at once: what its replica knew of its key has
    // ended when it comes again. All callers of a key together several times in a lifetime.
    let pause = manifest.auth_cache_ttl_ms * 5 / 2;
    let pause_ms = u32::try_from(pause).unwrap_or(u32::MAX);
    let callers = usize::try_from(KEYS).unwrap_or_default() * usize::from(MOST_REPLICAS);
    let balanced = prop_oneof![Just(Vec::new()), vec(vec(0..MOST_REPLICAS, callers), TURNS),];
    let keys = usize::try_from(KEYS).unwrap_or_default();
    (at_most(KEYS), balanced, identities_of(keys..=keys))
        .prop_map(move |(keys, balanced, drawn)| {
            let drawn =
                drawn.with_keys(usize::try_from(keys).unwrap_or_default()).with_every_member();
            let mut steps = drawn.creation();
            match balanced.is_empty() {
                true => turn(&mut steps, keys, &pinned(keys), pause_ms, LIFETIMES - 1),
                false => {
                    for replicas in &balanced {
                        turn(&mut steps, keys, replicas, pause_ms, 1);
                    }
                }
            }
            Plan::new(drawn.ids, steps)
        })
        .boxed()
}

/// The replica of each caller, where each key has one at every replica and callers who begin one after the
/// other are at different ones.
fn pinned(keys: u32) -> Vec<u8> {
    let replicas = u32::from(MOST_REPLICAS);
    let at = |(round, key): (u32, u32)| u8::try_from((round + key) % replicas).unwrap_or_default();
    (0..replicas).flat_map(|round| (0..keys).map(move |key| (round, key))).map(at).collect()
}

/// Callers who use the first so many keys in turn, each at its replica. One by one they begin over the time
/// of a pause, and so are spread over it from then on, for so many lifetimes more.
fn turn(steps: &mut Vec<Step>, keys: u32, replicas: &[u8], pause_ms: u32, lifetimes: u32) {
    let in_turn = || (0..).map(Key).take(usize::try_from(keys).unwrap_or_default());
    let callers = (0..MOST_REPLICAS).flat_map(|_| in_turn()).zip(replicas);
    let apart_ms = pause_ms / (keys * u32::from(MOST_REPLICAS)).max(1);
    for (key, at) in callers {
        let calls = vec![requests::chat(key, *at)];
        steps.push(Step::StartTraffic { calls, pause_ms });
        steps.push(Step::Wait(Wait::Milliseconds(apart_ms)));
    }
    steps.push(Step::Wait(Wait::Lifetimes(lifetimes)));
    steps.push(Step::StopTraffic);
}

/// The plan on each stack. The first is driven as it was drawn; a smaller stack takes the calls of several
/// replicas at one.
fn arms(plan: &Plan) -> Vec<Arm> {
    STACKS
        .iter()
        .map(|(name, replicas, workers)| {
            let count = |number: u8| NonZeroU8::new(number).unwrap_or(NonZeroU8::MIN);
            let shape = Shape::of(count(*replicas), count(*workers), Builds::Current);
            Arm { name, stack: Stack::Own(shape), plan: on_fewer(plan, count(*replicas)) }
        })
        .collect()
}

fn on_fewer(plan: &Plan, replicas: NonZeroU8) -> Plan {
    let moved = |calls: &mut Vec<Call>| {
        for call in calls {
            call.replica = Replica(call.replica.0 % replicas);
        }
    };
    let mut plan = plan.clone();
    for step in &mut plan.steps {
        match step {
            Step::Call(call) => call.replica = Replica(call.replica.0 % replicas),
            Step::Together(calls) | Step::StartTraffic { calls, .. } => moved(calls),
            Step::StopTraffic | Step::Wait(_) | Step::Store(_) | Step::Strike(_) | Step::Heal => {}
        }
    }
    plan
}

fn judge(histories: &[History]) -> Verdict {
    if let Some((history, why)) =
        histories.iter().find_map(|history| Some((history, history.gap()?)))
    {
        return Verdict::Inconclusive(format!("{}: {why}", history.arm));
    }
    let turned_away: Vec<_> = histories
        .iter()
        .enumerate()
        .filter_map(|(arm, history)| turned_away(arm, history))
        .collect();
    if !turned_away.is_empty() {
        return Verdict::Fail(turned_away);
    }
    if let Some(why) = histories.iter().find_map(overloaded) {
        return Verdict::Inconclusive(why);
    }
    let measured: Result<Vec<_>, String> =
        histories.iter().enumerate().map(|(arm, history)| measure(arm, history)).collect();
    let mut measured = match measured {
        Ok(measured) => measured,
        Err(why) => return Verdict::Inconclusive(why),
    };
    measured.sort_by_key(|arm| arm.processes);
    let (Some(slope), Some(history)) = (slope(&measured), histories.first()) else {
        return Verdict::Inconclusive(
            "reads of one process and of several are what is compared".to_owned(),
        );
    };
    if !history.manifest.shared_cache || slope <= STEEPEST {
        return Verdict::Pass;
    }
    Verdict::Fail(vec![too_steep(&measured, slope)])
}

/// What was read in one arm.
struct Measured {
    arm: usize,
    processes: u16,
    statements: Vec<usize>,
    /// Reads per lifetime.
    rate: f64,
    length: Duration,
}

/// The reads of one arm, or why they prove nothing.
fn measure(arm: usize, history: &History) -> Result<Measured, String> {
    let manifest = &history.manifest;
    let calls = history.calls();
    let prompts: Vec<_> = calls.iter().filter(|seen| seen.chat().is_some()).collect();
    let last = prompts.iter().filter_map(|seen| seen.completed).max();
    let (Some(first), Some(last)) = (prompts.first(), last) else {
        return Err(format!("{}: no request was sent", history.arm));
    };
    let from: Micros = first.invoked;
    let length = last.since(from);
    if length < manifest.auth_cache_ttl() * LIFETIMES {
        return Err(format!(
            "{}: requests were sent for {} ms, which is less than {LIFETIMES} lifetimes",
            history.arm,
            length.as_millis()
        ));
    }
    if let Some(why) = not_everywhere(history, &prompts) {
        return Err(format!("{}: {why}", history.arm));
    }
    let statements = reads_apart(history, from);
    if statements.is_empty() {
        return Err(format!("{}: no identity was ever read from the database", history.arm));
    }
    let lifetimes = length.as_secs_f64() / manifest.auth_cache_ttl().as_secs_f64();
    Ok(Measured {
        arm,
        processes: u16::from(manifest.replicas) * u16::from(manifest.workers),
        rate: f64::from(u32::try_from(statements.len()).unwrap_or(u32::MAX)) / lifetimes,
        statements,
        length,
    })
}

/// The statements that read identities from a moment on. Those that ask for the same while one of them is
/// under way are counted as that one: what it reads is not yet there to be shared.
fn reads_apart(history: &History, from: Micros) -> Vec<usize> {
    let mut reads: Vec<_> = history
        .identity_reads()
        .filter_map(|(index, entry, _)| match &entry.event {
            Event::Sql { sql, params, answered, .. } if entry.at >= from => {
                Some((entry.at, index, (sql, params), answered.unwrap_or(entry.at)))
            }
            _ => None,
        })
        .collect();
    reads.sort_unstable();
    let mut under_way: BTreeMap<_, Micros> = BTreeMap::new();
    reads.retain(|(at, _, asked, answered)| {
        let joins = under_way.get(asked).is_some_and(|until| at < until);
        if !joins {
            under_way.insert(*asked, *answered);
        }
        !joins
    });
    reads.into_iter().map(|(_, index, ..)| index).collect()
}

/// Whether too few of the keys were served on too few of the replicas to tell one process from several.
fn not_everywhere(history: &History, prompts: &[&Seen<'_>]) -> Option<String> {
    let issued: BTreeSet<Key> = history.plan.calls().filter_map(asked_with).collect();
    let mut served: BTreeMap<Replica, BTreeSet<Key>> = BTreeMap::new();
    for seen in prompts.iter().filter(|seen| seen.answered()) {
        served.entry(seen.call.replica).or_default().extend(asked_with(seen.call));
    }
    let pairs: usize = served.values().map(BTreeSet::len).sum();
    let all = issued.len() * usize::from(history.manifest.replicas);
    // Callers who are balanced at random miss a few.
    (pairs * 4 < all * 3)
        .then(|| format!("keys met replicas in {pairs} of {all} ways only, for want of requests"))
}

fn asked_with(call: &Call) -> Option<Key> {
    match &call.op {
        Op::Chat(chat) => Some(chat.key),
        Op::Admin(_) | Op::ListModels { .. } => None,
    }
}

/// Requests that were turned away, though nothing is wrong with their keys.
fn turned_away(arm: usize, history: &History) -> Option<Violation> {
    let calls = history.calls();
    let refused: Vec<_> = calls
        .iter()
        .filter(|seen| seen.chat().is_some())
        .filter(|seen| match seen.outcome {
            Some(Outcome::Refused { refusal, .. }) => !is_for_want_of_means(*refusal),
            Some(
                Outcome::Answered { .. } | Outcome::Listed { .. } | Outcome::Indeterminate { .. },
            )
            | None => false,
        })
        .collect();
    let first = refused.first()?;
    Some(Violation {
        summary: format!(
            "with {}, {} requests of healthy keys were refused, the first of them: {}",
            history.arm,
            refused.len(),
            first.outcome?
        ),
        evidence: proof(arm, refused.iter().flat_map(|seen| [seen.index, seen.last_index])),
    })
}

/// Whether a refusal says that a machine is overloaded, and nothing of the key: a pool that nobody gets a
/// connection of ends in a fault as well.
fn is_for_want_of_means(refusal: Refusal) -> bool {
    match refusal {
        Refusal::Unavailable | Refusal::Fault | Refusal::RateLimited => true,
        Refusal::Unauthenticated
        | Refusal::Blocked
        | Refusal::Expired
        | Refusal::ModelDenied
        | Refusal::OverBudget
        | Refusal::NotFound
        | Refusal::Invalid => false,
    }
}

/// Whether the machine could not carry the load: what was read then is a measure of the machine.
fn overloaded(history: &History) -> Option<String> {
    let calls = history.calls();
    let mut unserved =
        calls.iter().filter(|seen| seen.chat().is_some() && !seen.answered()).peekable();
    let first = unserved.peek()?.outcome.map_or_else(String::new, ToString::to_string);
    Some(format!(
        "with {}, {} requests were not served, the first of them: {first}",
        history.arm,
        unserved.count()
    ))
}

/// The slope of the line that comes closest to the reads, as a share of the reads of one process.
fn slope(measured: &[Measured]) -> Option<f64> {
    let alone = measured.iter().find(|arm| arm.processes == 1)?.rate;
    let number = f64::from(u32::try_from(measured.len()).ok()?);
    let processes = || measured.iter().map(|arm| f64::from(arm.processes));
    let middle = processes().sum::<f64>() / number;
    let mean = measured.iter().map(|arm| arm.rate).sum::<f64>() / number;
    let spread: f64 = processes().map(|at| (at - middle).powi(2)).sum();
    let together: f64 =
        measured.iter().map(|arm| (f64::from(arm.processes) - middle) * (arm.rate - mean)).sum();
    (spread > 0.0 && alone > 0.0).then(|| together / spread / alone)
}

fn too_steep(measured: &[Measured], slope: f64) -> Violation {
    let told: Vec<_> = measured
        .iter()
        .map(|arm| {
            let plural = if arm.processes == 1 { "" } else { "es" };
            format!(
                "{} by {} process{plural} in {} ms",
                arm.statements.len(),
                arm.processes,
                arm.length.as_millis()
            )
        })
        .collect();
    let evidence: Vec<Proof> = measured
        .iter()
        .rev()
        .flat_map(|arm| proof(arm.arm, arm.statements.iter().copied().take(3)))
        .collect();
    Violation {
        summary: format!(
            "each further process adds {:.0} % to what one process reads of identities, where they \
             share a cache and 10 % are allowed: {}",
            slope * 100.0,
            told.join(", ")
        ),
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    use super::*;
    use crate::{
        history::hand::Hand,
        op::{Alias, Chat, Kind},
    };

    /// How a gateway made by hand keeps what it reads. Its processes take no lock among themselves.
    #[derive(Clone, Copy)]
    enum Keeps {
        Shared,
        EachForItself,
    }

    /// A gateway made by hand. Every request needs its key and one team that all keys name; a read takes
    /// so long until everybody can find it, and an entry lives up to a fifth less than a second.
    struct Gateway {
        keeps: Keeps,
        read_ms: u64,
        /// From when to when each process, or all of them, find an object.
        entries: BTreeMap<(u64, String), Vec<(u64, u64)>>,
        reads: u64,
    }

    impl Gateway {
        /// When the entry ends that is found at this moment.
        fn end_of(&self, place: &(u64, String), at_ms: u64) -> Option<u64> {
            let mut entries = self.entries.get(place)?.iter();
            entries.find(|(from, to)| (*from..*to).contains(&at_ms)).map(|(_, to)| *to)
        }

        fn asked(&mut self, hand: Hand, at_ms: u64, process: u64, replica: u8, name: &str) -> Hand {
            let own = (process, name.to_owned());
            let shared = (u64::MAX, name.to_owned());
            if self.end_of(&own, at_ms).is_some() {
                return hand;
            }
            if let Some(to) = self.end_of(&shared, at_ms) {
                self.entries.entry(own).or_default().push((at_ms, to));
                return hand;
            }
            let ready = at_ms + self.read_ms;
            let end = ready + 1_000 - 50 * (self.reads % 5);
            self.reads += 1;
            // A process shares its own read with its own callers from the beginning.
            self.entries.entry(own).or_default().push((at_ms, end));
            if matches!(self.keeps, Keeps::Shared) {
                self.entries.entry(shared).or_default().push((ready, end));
            }
            let read = Event::Sql {
                replica: Replica(replica),
                answered: Some(Micros(ready * 1_000)),
                sql: "SELECT * FROM identity WHERE id = $1".to_owned(),
                params: vec![Some(name.to_owned())],
                reads: vec![Kind::Key],
                rows: Some(1),
                error: None,
            };
            hand.event(at_ms, read)
        }
    }

    /// When the callers of a plan ask whom, in order, where each answer takes no time.
    fn requests_of(plan: &Plan) -> Vec<(u64, Key, u8)> {
        let (mut now, mut callers, mut sent) = (0, Vec::new(), Vec::new());
        for step in &plan.steps {
            match step {
                Step::StartTraffic { calls, pause_ms } => {
                    callers.extend(calls.iter().map(|call| (now, u64::from(*pause_ms), call)));
                }
                Step::Wait(wait) => {
                    let second = Duration::from_secs(1);
                    now += u64::try_from(wait.length(second, second).as_millis()).unwrap();
                }
                Step::StopTraffic => {
                    for (from, pause_ms, call) in callers.drain(..) {
                        let times = (from..now).step_by(usize::try_from(pause_ms).unwrap());
                        sent.extend(
                            times.map(|at| (at, asked_with(call).unwrap(), call.replica.0)),
                        );
                    }
                }
                _ => {}
            }
        }
        sent.sort_unstable();
        sent
    }

    /// What is seen when a gateway made by hand is driven with a plan, on each stack.
    fn driven(plan: &Plan, keeps: Keeps, read_ms: u64) -> Vec<History> {
        let on_stack = |(arm, (_, replicas, workers)): (Arm, (_, u8, u8))| {
            let mut gateway = Gateway { keeps, read_ms, entries: BTreeMap::new(), reads: 0 };
            let mut hand = Hand::new();
            for (turn, (at_ms, key, replica)) in (0..).zip(requests_of(&arm.plan)) {
                let process = u64::from(replica) * u64::from(workers) + turn % u64::from(workers);
                hand = gateway.asked(hand, at_ms, process, replica, &key.to_string());
                hand = gateway.asked(hand, at_ms, process, replica, "team");
                let chat = Chat { key, alias: Alias(0), streamed: false };
                hand = hand.serves(at_ms, replica, chat);
            }
            let mut history = hand.done();
            history.arm = arm.name.to_owned();
            history.manifest.replicas = replicas;
            history.manifest.workers = workers;
            history.plan = arm.plan;
            history
        };
        arms(plan).into_iter().zip(STACKS).map(on_stack).collect()
    }

    /// So many plans as they are drawn for a lifetime of a second.
    fn drawn(number: usize) -> Vec<Plan> {
        let mut runner = TestRunner::deterministic();
        let strategy = plan(&Hand::new().done().manifest);
        (0..number).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
    }

    fn slope_of(histories: &[History]) -> f64 {
        let measured: Vec<_> = histories
            .iter()
            .enumerate()
            .map(|(arm, history)| measure(arm, history).unwrap())
            .collect();
        slope(&measured).unwrap()
    }

    #[test]
    fn processes_that_share_without_a_lock_are_fine() {
        for plan in drawn(20) {
            for read_ms in [1, 20, 100] {
                let histories = driven(&plan, Keeps::Shared, read_ms);
                assert_eq!(judge(&histories), Verdict::Pass, "{}", slope_of(&histories));
            }
        }
    }

    #[test]
    fn processes_that_share_nothing_are_caught_under_every_plan() {
        for plan in drawn(20) {
            for read_ms in [1, 20, 100] {
                let slope = slope_of(&driven(&plan, Keeps::EachForItself, read_ms));
                assert!(slope > 2.0 * STEEPEST, "{slope}");
            }
        }
    }

    #[test]
    fn no_two_callers_begin_together_and_each_key_is_asked_for_thrice_in_a_lifetime() {
        for plan in drawn(20) {
            let requests = requests_of(&plan);
            let begun: BTreeSet<_> = requests.iter().map(|(at, ..)| at).collect();
            assert_eq!(begun.len(), requests.len());
            let of_one: Vec<_> = requests.iter().filter(|(_, key, _)| *key == Key(0)).collect();
            let span = of_one.last().unwrap().0 - of_one.first().unwrap().0;
            assert!(of_one.len() > usize::try_from(span * 3 / 1_000).unwrap(), "{}", of_one.len());
        }
    }

    /// A key that is used on each of these replicas for a little more than five lifetimes of a second,
    /// and read so often.
    fn arm(replicas: u8, workers: u8, reads: u64) -> History {
        let hand = (0..=50_u8).fold(Hand::new(), |hand, request| {
            hand.answered(10 + u64::from(request) * 101, request % replicas)
        });
        let hand = (0..reads)
            .fold(hand, |hand, read| hand.identity_read(11 + read * 5_000 / reads, Kind::Key));
        let mut history = hand.done();
        history.arm = format!("{replicas} × {workers}");
        history.manifest.replicas = replicas;
        history.manifest.workers = workers;
        history.plan.steps = vec![Step::Call(requests::chat(Key(0), 0))];
        history
    }

    fn arms_with(reads: [u64; 3]) -> [History; 3] {
        let [eight, four, one] = reads;
        [arm(8, 1, eight), arm(2, 2, four), arm(1, 1, one)]
    }

    #[test]
    fn reads_that_stay_as_they_are_are_fine() {
        assert_eq!(judge(&arms_with([100, 100, 100])), Verdict::Pass);
        assert_eq!(judge(&arms_with([112, 95, 100])), Verdict::Pass);
    }

    #[test]
    fn processes_that_each_read_for_themselves_are_a_violation() {
        assert_snapshot!(judge(&arms_with([800, 400, 100])), @"
        fail
          each further process adds 100 % to what one process reads of identities, where they share a cache and 10 % are allowed: 100 by 1 process in 5051 ms, 400 by 4 processes in 5051 ms, 800 by 8 processes in 5051 ms
        ");
    }

    #[test]
    fn workers_that_each_read_for_themselves_are_a_violation_too() {
        assert!(judge(&arms_with([200, 400, 100])).is_fail());
    }

    #[test]
    fn without_a_shared_cache_each_process_may_read() {
        let mut histories = arms_with([800, 400, 100]);
        for history in &mut histories {
            history.manifest.shared_cache = false;
        }
        assert_eq!(judge(&histories), Verdict::Pass);
    }

    fn with_a_refusal(refusal: Refusal) -> Verdict {
        let mut histories = arms_with([100; 3]);
        histories[1].entries = Hand::new().refused(20, 0, refusal).done().entries;
        judge(&histories)
    }

    #[test]
    fn a_key_that_is_refused_is_a_violation() {
        assert_snapshot!(with_a_refusal(Refusal::Unauthenticated), @"
        fail
          with 2 × 2, 1 requests of healthy keys were refused, the first of them: refused 401 (unauthenticated): no
        ");
    }

    #[test]
    fn reads_that_begin_while_one_is_under_way_are_that_one() {
        let together = |number: u8| {
            let mut history = arm(8, 1, 100);
            let hand = (0..number).fold(Hand::new(), |hand, replica| {
                (0..100).fold(hand, |hand, read| {
                    hand.identity_read_by(11 + read * 50, replica, Kind::Key)
                })
            });
            history.entries.extend(hand.done().entries);
            [history, arm(2, 2, 100), arm(1, 1, 100)]
        };
        assert_eq!(judge(&together(8)), Verdict::Pass);
        // One that begins when the answer is there was to find it.
        let mut late = together(8);
        for entry in &mut late[0].entries {
            if let Event::Sql { answered, .. } = &mut entry.event {
                *answered = Some(entry.at);
            }
        }
        assert!(judge(&late).is_fail());
    }

    #[test]
    fn a_machine_that_cannot_carry_the_load_proves_nothing() {
        assert_snapshot!(with_a_refusal(Refusal::Unavailable), @"inconclusive: with 2 × 2, 1 requests were not served, the first of them: refused 401 (unavailable): no");
        for refusal in [Refusal::Fault, Refusal::RateLimited] {
            assert!(matches!(with_a_refusal(refusal), Verdict::Inconclusive(_)));
        }
    }

    #[test]
    fn a_replica_that_served_nobody_proves_nothing() {
        let mut histories = arms_with([100; 3]);
        histories[1].manifest.replicas = 8;
        assert_snapshot!(judge(&histories), @"inconclusive: 2 × 2: keys met replicas in 2 of 8 ways only, for want of requests");
    }

    #[test]
    fn one_size_proves_nothing() {
        assert_snapshot!(judge(&[arm(2, 1, 100), arm(2, 1, 100)]), @"inconclusive: reads of one process and of several are what is compared");
        assert_snapshot!(judge(&[]), @"inconclusive: reads of one process and of several are what is compared");
    }

    #[test]
    fn a_smaller_stack_gets_every_call() {
        let strategy = plan(&arm(2, 1, 1).manifest);
        let drawn = strategy.new_tree(&mut TestRunner::deterministic()).unwrap().current();
        let arms = arms(&drawn);
        assert_eq!(arms[0].plan, drawn);
        for (arm, (_, replicas, _)) in arms.iter().zip(STACKS) {
            assert_eq!(arm.plan.calls().count(), drawn.calls().count());
            assert!(arm.plan.calls().all(|call| call.replica.0 < replicas));
        }
    }
}
