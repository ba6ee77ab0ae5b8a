//! Callers who meet one cold entry together cause one read, not one each.
//!
//! A herd of requests of one key is released together over the replicas, once while nothing is cached
//! and once when every entry has just ended. Reads of Postgres are slow meanwhile, so whoever comes
//! while the first read is under way finds it under way. They all need the same few objects, and that
//! read answers all of them: a process has no use for a read per caller. Two are allowed, for a caller
//! who looked before the first had been written down, and again as many for each lifetime that a slow
//! gateway takes to serve the herd. Statements are counted one by one, for a gateway may well ask several
//! things about one object.
//!
//! Whoever waits for another's read depends on how it ends. So a third herd, now and then, finds that the
//! first read fails. Each of its callers is then answered or refused, within two seconds and twice the
//! time that the slowest caller took whose read did not fail, for a busy machine is slow without any
//! failure; and once the database is whole, the key is served.
//!
//! Not judged are: the reads that several replicas make of one object, for each process may read once;
//! which worker behind an address read, for that is not seen, and one of them may make the reads that all
//! of them are allowed; reads for keys that nobody issued; and how long a herd takes whose reads do not
//! fail.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    clock::Micros,
    generators::{
        fewer::{at_most, many},
        identities::identities,
        requests,
    },
    history::{Event, History, Manifest, Seen},
    model::cache,
    op::{Call, Key, Kind, Outcome, Replica},
    plan::{Plan, Step, Wait},
    store_step::Strike,
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "auth-cache.single-flight",
    title: "Callers who meet one cold entry together cause one read, not one each",
    why: "When the entry of a busy key ends, a hundred callers miss it in one instant; a read for each \
          takes every connection of the database, and the gateway goes down with it.",
    incidents: &["https://github.com/BerriAI/litellm/issues/20030"],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::PostgresWire,
    ],
    plan,
    arms: one_arm,
    judge,
};

/// Callers who are released together.
const CALLERS: RangeInclusive<u32> = 40..=200;

/// Statements of one text that a process may give for a herd.
const READS: usize = 2;

/// How much longer a caller may wait when the read that it waits for fails, on a machine that is idle.
const WAKING: Duration = Duration::from_secs(2);

/// Herds on a cold key and on one whose entries have just ended, and now and then one whose first read
/// fails.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    // Far below the lifetime, though an identity may take four reads, one after the other.
    let slowest = u32::try_from(manifest.auth_cache_ttl_ms / 20).unwrap_or(u32::MAX).max(2);
    (at_most(2), any::<bool>(), many(CALLERS), slowest / 2..=slowest, identities(1))
        .prop_map(move |(herds, fails, callers, by_ms, drawn)| {
            let drawn = drawn.with_every_member();
            let herd: Vec<Call> = (0..replicas)
                .cycle()
                .take(usize::try_from(callers).unwrap_or(usize::MAX))
                .map(|at| requests::chat(Key(0), at))
                .collect();
            let mut steps = drawn.creation();
            steps.push(Step::Strike(Strike::SlowReads { by_ms }));
            steps.push(Step::Together(herd.clone()));
            for _ in 1..herds {
                steps.push(Step::Wait(Wait::Lifetimes(1)));
                steps.push(Step::Together(herd.clone()));
            }
            steps.push(Step::Heal);
            if fails {
                steps.push(Step::Wait(Wait::Lifetimes(1)));
                steps.push(Step::Strike(Strike::FailReads { times: 1 }));
                steps.push(Step::Together(herd));
                steps.push(Step::Heal);
                steps.extend((0..replicas).map(|at| Step::Call(requests::chat(Key(0), at))));
            }
            Plan::new(drawn.ids, steps)
        })
        .boxed()
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let (slowed, failed) = herds(history);
    let slowest = slowed.iter().filter_map(Herd::slowest).max().unwrap_or_default();
    let mut violations = Vec::new();
    for herd in slowed.iter().chain(&failed) {
        violations.extend(herd.reads_for_each(history));
    }
    for herd in &failed {
        violations.extend(herd.left_waiting(slowest));
        violations.extend(refused_afterwards(history, herd));
    }
    if !violations.is_empty() {
        return Verdict::Fail(violations);
    }
    if slowed.is_empty() {
        return Verdict::Inconclusive("no request was sent".to_owned());
    }
    let doubt = slowed
        .iter()
        .find_map(|herd| herd.proves_nothing(history))
        .or_else(|| failed.iter().find_map(|herd| herd.met_no_failure(history)))
        .or_else(|| never_hit(history));
    doubt.map_or(Verdict::Pass, Verdict::Inconclusive)
}

/// Callers who were released together.
struct Herd<'a> {
    callers: Vec<Seen<'a>>,
    from: Micros,
    to: Micros,
}

/// The herds whose reads were slow, and those whose first read was to fail.
fn herds(history: &History) -> (Vec<Herd<'_>>, Vec<Herd<'_>>) {
    let mut by_step: BTreeMap<u32, Vec<Seen<'_>>> = BTreeMap::new();
    for seen in history.calls() {
        by_step.entry(seen.step).or_default().push(seen);
    }
    let (mut slowed, mut failed) = (Vec::new(), Vec::new());
    let mut fails = false;
    for (number, step) in (0..).zip(&history.plan.steps) {
        match step {
            Step::Strike(strike) => fails = matches!(strike, Strike::FailReads { .. }),
            Step::Heal => fails = false,
            Step::Together(_) => {
                let callers = by_step.remove(&number).unwrap_or_default();
                let from = callers.iter().map(|seen| seen.invoked).min().unwrap_or_default();
                let to = callers.iter().filter_map(|seen| seen.completed).max().unwrap_or(from);
                let herd = Herd { callers, from, to };
                if fails { failed.push(herd) } else { slowed.push(herd) }
            }
            Step::Call(_)
            | Step::StartTraffic { .. }
            | Step::StopTraffic
            | Step::Wait(_)
            | Step::Store(_) => {}
        }
    }
    (slowed, failed)
}

/// A statement that reads identities.
struct Read<'a> {
    index: usize,
    replica: Replica,
    sql: &'a str,
    kinds: &'a [Kind],
    asked: Micros,
    answered: Option<Micros>,
    failed: bool,
}

impl Herd<'_> {
    /// What was read from the first request of the herd to its last answer.
    fn reads<'h>(&self, history: &'h History) -> impl Iterator<Item = Read<'h>> {
        let span = self.from..=self.to;
        history.identity_reads().filter_map(move |(index, entry, kinds)| match &entry.event {
            Event::Sql { replica, answered, sql, error, .. } if span.contains(&entry.at) => {
                Some(Read {
                    index,
                    replica: *replica,
                    sql,
                    kinds,
                    asked: entry.at,
                    answered: *answered,
                    failed: error.is_some(),
                })
            }
            _ => None,
        })
    }

    /// How long the slowest caller waited.
    fn slowest(&self) -> Option<Duration> {
        self.callers.iter().filter_map(|seen| Some(seen.completed?.since(seen.invoked))).max()
    }

    /// Statements that a replica repeated as if its callers had nothing in common.
    fn reads_for_each(&self, history: &History) -> Vec<Violation> {
        let mut read: BTreeMap<(Replica, &str), Vec<Read<'_>>> = BTreeMap::new();
        for one in self.reads(history) {
            read.entry((one.replica, one.sql)).or_default().push(one);
        }
        // A herd that takes longer than a lifetime meets the end of the entry that it made.
        let lives = 1 + cache::endings(&history.manifest, self.to.since(self.from));
        let processes = usize::from(history.manifest.workers.max(1));
        read.into_iter()
            .filter_map(|((replica, _), reads)| {
                // Those who wait for a read that fails may have to begin anew.
                let failed = reads.iter().filter(|read| read.failed).count();
                let most = READS * (processes * lives + failed);
                let kinds: Vec<_> =
                    reads.first()?.kinds.iter().map(|kind| format!("one {kind}")).collect();
                let callers =
                    self.callers.iter().filter(|seen| seen.call.replica == replica).count();
                (reads.len() > most).then(|| Violation {
                    summary: format!(
                        "{replica} read {} {} times with one statement for {callers} requests that \
                         were released together; {most} are enough",
                        kinds.join(" and "),
                        reads.len()
                    ),
                    evidence: proof(0, reads.iter().map(|read| read.index)),
                })
            })
            .collect()
    }

    /// Callers who were left without an answer much longer than the slowest whose read did not fail.
    fn left_waiting(&self, slowest: Duration) -> Option<Violation> {
        let bound = slowest * 2 + WAKING;
        let waited = |seen: &Seen<'_>| Some(seen.completed?.since(seen.invoked));
        let late: Vec<_> =
            self.callers.iter().filter(|seen| waited(seen).is_none_or(|it| it > bound)).collect();
        if late.is_empty() {
            return None;
        }
        Some(Violation {
            summary: format!(
                "{} of {} requests that were released together, and one of whose reads failed, had no \
                 answer within {} ms; the slowest had one after {} ms, and where no read failed, after \
                 {} ms",
                late.len(),
                self.callers.len(),
                bound.as_millis(),
                self.slowest().unwrap_or_default().as_millis(),
                slowest.as_millis(),
            ),
            evidence: proof(0, late.iter().flat_map(|seen| [seen.index, seen.last_index])),
        })
    }

    /// Whether the first read of this herd was shared, and its callers were served.
    fn proves_nothing(&self, history: &History) -> Option<String> {
        let served = self.callers.iter().filter(|seen| seen.answered()).count();
        if served * 2 < self.callers.len() || served == 0 {
            return Some(format!("only {served} of {} requests were served", self.callers.len()));
        }
        let Some(first) = self.reads(history).next() else {
            return Some("no identity was read from the database for a herd".to_owned());
        };
        self.nobody_waited_for(&first)
    }

    /// Whether a read of this herd failed that several callers may have waited for.
    fn met_no_failure(&self, history: &History) -> Option<String> {
        let Some(failed) = self.reads(history).find(|read| read.failed) else {
            return Some("no read of an identity failed, though one was to".to_owned());
        };
        self.nobody_waited_for(&failed)
    }

    fn nobody_waited_for(&self, read: &Read<'_>) -> Option<String> {
        let Some(answered) = read.answered else {
            return Some("the answer to the first read was not seen".to_owned());
        };
        let together = self
            .callers
            .iter()
            .filter(|seen| seen.call.replica == read.replica)
            .filter(|seen| seen.invoked <= answered)
            .filter(|seen| seen.completed.is_none_or(|at| at >= read.asked))
            .count();
        (together < 2).then(|| "nobody shared the first read with another caller".to_owned())
    }
}

/// Requests that were refused when the database was whole again.
fn refused_afterwards(history: &History, herd: &Herd<'_>) -> Option<Violation> {
    let calls = history.calls();
    let refused: Vec<_> = calls
        .iter()
        .filter(|seen| seen.chat().is_some() && seen.invoked >= herd.to)
        .filter(|seen| matches!(seen.outcome, Some(Outcome::Refused { .. })))
        .filter(|seen| matches!(step_of(history, seen), Some(Step::Call(_))))
        .collect();
    let first = refused.first()?;
    Some(Violation {
        summary: format!(
            "{} did not serve a key after one read of Postgres had failed, though nothing fails any \
             more: {}",
            first.call.replica, first.outcome?
        ),
        evidence: proof(0, refused.iter().flat_map(|seen| [seen.index, seen.last_index])),
    })
}

fn step_of<'h>(history: &'h History, seen: &Seen<'_>) -> Option<&'h Step> {
    history.plan.steps.get(usize::try_from(seen.step).ok()?)
}

/// A fault that hit nothing proves nothing.
fn never_hit(history: &History) -> Option<String> {
    history.entries.iter().find_map(|entry| match &entry.event {
        Event::Healed { strike, hits: 0 } => Some(format!("a fault hit nothing: {strike}")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        history::{CallId, hand::Hand},
        op::Refusal,
    };

    const SLOW: Strike = Strike::SlowReads { by_ms: 100 };
    const FAIL: Strike = Strike::FailReads { times: 1 };

    /// A case in the making: herds of ten on replica 0, all within one millisecond.
    struct Case {
        hand: Hand,
        steps: Vec<Step>,
        calls: u32,
    }

    impl Case {
        fn new() -> Case {
            Case { hand: Hand::new(), steps: Vec::new(), calls: 0 }
        }

        fn strike(mut self, at_ms: u64, strike: Strike) -> Case {
            self.steps.push(Step::Strike(strike));
            Case { hand: self.hand.event(at_ms, Event::Struck { strike }), ..self }
        }

        fn heal(mut self, at_ms: u64, strike: Strike, hits: u64) -> Case {
            self.steps.push(Step::Heal);
            Case { hand: self.hand.event(at_ms, Event::Healed { strike, hits }), ..self }
        }

        /// Ten requests released together, which end as `outcome` says.
        fn herd(self, from_ms: u64, to_ms: u64, outcome: &Outcome) -> Case {
            let calls = vec![requests::chat(Key(0), 0); 10];
            self.send(from_ms, to_ms, Step::Together(calls.clone()), &calls, outcome)
        }

        fn one(self, from_ms: u64, outcome: &Outcome) -> Case {
            let call = requests::chat(Key(0), 0);
            self.send(from_ms, from_ms + 1, Step::Call(call.clone()), &[call], outcome)
        }

        fn send(
            mut self,
            from_ms: u64,
            to_ms: u64,
            step: Step,
            calls: &[Call],
            outcome: &Outcome,
        ) -> Case {
            let number = u32::try_from(self.steps.len()).unwrap();
            self.steps.push(step);
            for call in calls {
                let (id, call) = (CallId(self.calls), call.clone());
                self.calls += 1;
                self.hand = self.hand.event(from_ms, Event::Invoked { id, step: number, call });
                let outcome = outcome.clone();
                self.hand = self.hand.event(to_ms, Event::Completed { id, outcome });
            }
            self
        }

        fn reads(self, at_ms: u64, number: u64) -> Case {
            let hand = (0..number).fold(self.hand, |hand, _| hand.identity_read(at_ms, Kind::Team));
            Case { hand, ..self }
        }

        fn failed_read(self, at_ms: u64) -> Case {
            let failed = Event::Sql {
                replica: Replica(0),
                answered: Some(Micros(at_ms * 1_000 + 300)),
                sql: "SELECT * FROM team WHERE id = $1".to_owned(),
                params: vec![Some("p".to_owned())],
                reads: vec![Kind::Team],
                rows: None,
                error: Some("57P03".to_owned()),
            };
            Case { hand: self.hand.event(at_ms, failed), ..self }
        }

        fn verdict(self) -> Verdict {
            let mut history = self.hand.done();
            history.plan.steps = self.steps;
            judge(&[history])
        }
    }

    fn served() -> Outcome {
        Outcome::Answered { status: 200, fingerprint: None }
    }

    fn unavailable() -> Outcome {
        Outcome::Refused {
            status: 503,
            refusal: Refusal::Unavailable,
            error_type: None,
            message: "no".to_owned(),
        }
    }

    /// A herd on a cold entry whose reads are slow.
    fn cold(reads: u64) -> Case {
        Case::new().strike(0, SLOW).herd(10, 120, &served()).reads(11, reads).heal(130, SLOW, 9)
    }

    /// The same, and a herd whose first read fails.
    fn with_a_failure(until_ms: u64, afterwards: &Outcome) -> Case {
        cold(1)
            .strike(2_000, FAIL)
            .herd(2_010, until_ms, &unavailable())
            .failed_read(2_011)
            .heal(until_ms + 1, FAIL, 1)
            .one(until_ms + 2, afterwards)
    }

    #[test]
    fn a_read_for_each_caller_is_a_violation() {
        assert_snapshot!(cold(10).verdict(), @"
        fail
          replica 0 read one team 10 times with one statement for 10 requests that were released together; 2 are enough
        ");
    }

    #[test]
    fn one_read_or_two_for_all_are_fine() {
        assert_eq!(cold(1).verdict(), Verdict::Pass);
        assert_eq!(cold(2).verdict(), Verdict::Pass);
        assert!(cold(3).verdict().is_fail());
    }

    #[test]
    fn each_replica_may_read_for_itself() {
        let case = cold(2);
        let hand = case.hand.identity_read_by(12, 1, Kind::Team);
        assert_eq!(Case { hand, ..case }.verdict(), Verdict::Pass);
    }

    #[test]
    fn a_herd_that_outlives_an_entry_may_read_it_again() {
        let case = Case::new().strike(0, SLOW).herd(10, 900, &served()).heal(910, SLOW, 9);
        assert_eq!(case.reads(11, 2).reads(850, 2).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_herd_whose_read_fails_is_told_soon() {
        assert_eq!(with_a_failure(2_020, &served()).verdict(), Verdict::Pass);
        assert_eq!(with_a_failure(4_110, &served()).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_herd_that_is_not_woken_is_a_violation() {
        assert_snapshot!(with_a_failure(9_000, &served()).verdict(), @"
        fail
          10 of 10 requests that were released together, and one of whose reads failed, had no answer within 2220 ms; the slowest had one after 6990 ms, and where no read failed, after 110 ms
        ");
    }

    #[test]
    fn a_key_that_is_refused_for_a_failure_long_past_is_a_violation() {
        assert_snapshot!(with_a_failure(2_020, &unavailable()).verdict(), @"
        fail
          replica 0 did not serve a key after one read of Postgres had failed, though nothing fails any more: refused 503 (unavailable): no
        ");
    }

    #[test]
    fn a_failure_that_nobody_met_proves_nothing() {
        let case = cold(1).strike(2_000, FAIL).herd(2_010, 2_020, &served()).heal(2_021, FAIL, 1);
        assert_snapshot!(case.verdict(), @"inconclusive: no read of an identity failed, though one was to");
    }

    #[test]
    fn a_fault_that_hits_nothing_proves_nothing() {
        let case = Case::new().strike(0, SLOW).herd(10, 120, &served()).reads(11, 1);
        assert_snapshot!(case.heal(130, SLOW, 0).verdict(), @"inconclusive: a fault hit nothing: from now on each read of Postgres takes 100 ms longer");
    }

    #[test]
    fn a_herd_that_finds_everything_cached_proves_nothing() {
        assert_snapshot!(cold(0).verdict(), @"inconclusive: no identity was read from the database for a herd");
    }

    #[test]
    fn a_herd_that_is_turned_away_proves_nothing() {
        let case = Case::new().strike(0, SLOW).herd(10, 120, &unavailable()).reads(11, 1);
        assert_snapshot!(case.heal(130, SLOW, 9).verdict(), @"inconclusive: only 0 of 10 requests were served");
    }
}
