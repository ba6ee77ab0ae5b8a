//! A revoked key is refused everywhere within the declared bound.
//!
//! All replicas are warm and hot when the key is blocked or deleted through one of them. Let t0 be the
//! moment at which that call reported success. A request of the key that arrives at the provider
//! after t0 + D was let through on the older state, by a replica that never learned of the change or
//! that somebody taught the old state again. And a replica that has once refused the key has learned;
//! if it lets the key through later, it has been taught the old state again, whatever the bound is.
//! Arrivals are read from the provider's own ledger, so the gateway's word is not needed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    clock::Micros,
    generators::{identities::identities, requests},
    history::{History, Manifest, Seen},
    op::{Admin, Call, Key, Op, Outcome, Refusal, Replica},
    plan::{Plan, Step, Wait},
    verdict::{Proof, Verdict, Violation, proof},
};

/// Background callers per replica: with their pauses, more than ten requests a second.
const CALLERS: usize = 2;
const PAUSE_MS: u32 = 80;

/// The check.
pub static CHECK: Check = Check {
    id: "propagation.revoke-bound",
    title: "A revoked key is refused by every replica within the declared bound",
    why: "A key that was blocked because it leaked goes on spending on the replicas that have not \
          heard of it, and the one who blocked it saw success.",
    incidents: &[
        "https://github.com/BerriAI/litellm/issues/9820",
        "https://github.com/BerriAI/litellm/issues/25553",
        "https://github.com/BerriAI/litellm/pull/33565",
    ],
    level: Level::Core,
    needs: &[Capability::VirtualKeys, Capability::Replicas, Capability::MockUpstream],
    plan,
    arms: one_arm,
    judge,
};

/// A hot key is blocked or deleted through one of the replicas.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    let revoke =
        prop_oneof![Just(Admin::BlockKey { key: Key(0) }), Just(Admin::DeleteKey { key: Key(0) }),];
    (identities(1), revoke, 0..replicas, 1..6_u32)
        .prop_map(move |(drawn, revoke, through, warm_up)| {
            let mut steps = drawn.creation();
            steps.extend(requests::rounds(drawn.key_places(), replicas, 1));
            let everywhere = (0..replicas)
                .flat_map(|at| std::iter::repeat_n(requests::chat(Key(0), at), CALLERS));
            steps.push(Step::StartTraffic { calls: everywhere.collect(), pause_ms: PAUSE_MS });
            steps.push(Step::Wait(Wait::Milliseconds(warm_up * 100)));
            let revoke = Call { replica: Replica(through), op: Op::Admin(revoke) };
            steps.push(Step::Call(revoke));
            steps.push(Step::Wait(Wait::StalenessAnd { more_ms: 600 }));
            steps.push(Step::StopTraffic);
            Plan::new(drawn.ids, steps)
        })
        .boxed()
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let calls = history.calls();
    let Some(revocation) = calls.iter().find(|seen| revokes(seen.call) && seen.answered()) else {
        return Verdict::Inconclusive("no revocation was acknowledged".to_owned());
    };
    let Some(acknowledged) = revocation.completed else {
        return Verdict::Inconclusive("no revocation was acknowledged".to_owned());
    };
    let bound = acknowledged.plus(history.manifest.staleness());
    if let Some(why) = not_put_to_the_test(history, &calls, acknowledged, bound) {
        return Verdict::Inconclusive(why);
    }
    let mut violations = late_arrivals(history, revocation, acknowledged, bound);
    if history.manifest.workers > 1 {
        // Another worker behind the same address may lawfully have learned later, and one that was
        // never reached may not have learned at all.
        if violations.is_empty() {
            let why = "the workers behind one address cannot be told apart";
            return Verdict::Inconclusive(why.to_owned());
        }
        return Verdict::Fail(violations);
    }
    violations.extend(answers_after_a_refusal(history, &calls, revocation));
    Verdict::of(violations)
}

fn revokes(call: &Call) -> bool {
    matches!(call.op, Op::Admin(Admin::BlockKey { .. } | Admin::DeleteKey { .. }))
}

/// Every replica must have served the key before, and have been asked again after the bound.
fn not_put_to_the_test(
    history: &History,
    calls: &[Seen<'_>],
    acknowledged: Micros,
    bound: Micros,
) -> Option<String> {
    (0..history.manifest.replicas).map(Replica).find_map(|replica| {
        let mut here =
            calls.iter().filter(|seen| seen.call.replica == replica && seen.chat().is_some());
        let warm = here.clone().any(|seen| {
            seen.answered() && seen.completed.is_some_and(|completed| completed < acknowledged)
        });
        if !warm {
            return Some(format!("{replica} had not served the key before it was revoked"));
        }
        let asked_late = here.any(|seen| seen.invoked > bound && is_decided(seen));
        (!asked_late).then(|| format!("{replica} decided on nothing after the bound"))
    })
}

fn is_decided(seen: &Seen<'_>) -> bool {
    matches!(seen.outcome, Some(Outcome::Answered { .. } | Outcome::Refused { .. }))
}

/// Requests of the key that reached the provider after the bound, or were answered though sent later.
fn late_arrivals(
    history: &History,
    revocation: &Seen<'_>,
    acknowledged: Micros,
    bound: Micros,
) -> Vec<Violation> {
    let mut late: BTreeMap<Replica, Vec<(Micros, usize)>> = BTreeMap::new();
    for arrival in history.arrivals() {
        if arrival.at > bound.plus(arrival.clock_error) {
            let at_each = late.entry(arrival.seen.call.replica).or_default();
            at_each.push((arrival.at, arrival.index));
        }
    }
    late.into_iter()
        .map(|(replica, arrivals)| {
            let last = arrivals.last().map_or(bound, |(at, _)| *at);
            let mut evidence = proof(0, [revocation.index, revocation.last_index]);
            evidence.extend(proof(0, arrivals.iter().map(|(_, index)| *index)));
            Violation {
                summary: format!(
                    "{replica} let {} requests of the revoked key through to the provider later \
                     than {} ms after {} acknowledged the revocation; the last arrived {} ms after it",
                    arrivals.len(),
                    history.manifest.staleness_ms,
                    revocation.call.replica,
                    last.since(acknowledged).as_millis()
                ),
                evidence,
            }
        })
        .collect()
}

/// A replica that served the key again after it had refused it.
fn answers_after_a_refusal(
    history: &History,
    calls: &[Seen<'_>],
    revocation: &Seen<'_>,
) -> Vec<Violation> {
    (0..history.manifest.replicas)
        .map(Replica)
        .filter_map(|replica| {
            let here: Vec<_> = calls
                .iter()
                .filter(|seen| seen.call.replica == replica && seen.chat().is_some())
                .collect();
            let refused = here
                .iter()
                .filter(|seen| seen.invoked >= revocation.invoked && is_refusal_of_the_key(seen))
                .min_by_key(|seen| seen.completed)?;
            let learned = refused.completed?;
            let again: Vec<_> =
                here.iter().filter(|seen| seen.invoked > learned && seen.answered()).collect();
            let first = again.first()?;
            Some(Violation {
                summary: format!(
                    "{replica} refused the revoked key and then served it again, {} times; first {} \
                     ms after its refusal",
                    again.len(),
                    first.invoked.since(learned).as_millis()
                ),
                evidence: [refused.last_index, first.last_index]
                    .into_iter()
                    .map(|index| Proof { arm: 0, index })
                    .collect(),
            })
        })
        .collect()
}

fn is_refusal_of_the_key(seen: &Seen<'_>) -> bool {
    matches!(
        seen.outcome,
        Some(Outcome::Refused { refusal: Refusal::Unauthenticated | Refusal::Blocked, .. })
    )
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::history::hand::Hand;

    /// Both replicas have served the key, which is then blocked at 100 ms. D is one second.
    fn blocked() -> Hand {
        Hand::new().answered(10, 0).answered(20, 1).admin(99, Admin::BlockKey { key: Key(0) })
    }

    #[test]
    fn a_request_that_arrives_after_the_bound_is_a_violation() {
        let history = blocked().refused(1_200, 0, Refusal::Blocked).answered(1_300, 1);
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 1 let 1 requests of the revoked key through to the provider later than 1000 ms after replica 0 acknowledged the revocation; the last arrived 1200 ms after it
        ");
    }

    #[test]
    fn a_replica_that_goes_back_is_a_violation_even_within_the_bound() {
        let history = blocked()
            .refused(200, 1, Refusal::Blocked)
            .answered(300, 1)
            .refused(1_200, 0, Refusal::Blocked)
            .refused(1_200, 1, Refusal::Blocked);
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 1 refused the revoked key and then served it again, 1 times; first 99 ms after its refusal
        ");
    }

    #[test]
    fn late_by_less_than_the_bound_is_fine() {
        let history = blocked().answered(900, 1).refused(1_200, 0, Refusal::Blocked).refused(
            1_200,
            1,
            Refusal::Blocked,
        );
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn a_replica_that_was_not_asked_after_the_bound_proves_nothing() {
        let history = blocked().refused(1_200, 0, Refusal::Blocked);
        assert_snapshot!(
            judge(&[history.done()]),
            @"inconclusive: replica 1 decided on nothing after the bound"
        );
    }
}
