//! Keys that do not exist cost little, hurt nobody, and can come to exist.
//!
//! One key that was never issued is asked with over and over, by one caller per replica, so that no two
//! requests of a replica meet. Each process may look for it in the database once while it is cold, and
//! once more for every tenth of a lifetime: a gateway may forget what it did not find far sooner than
//! what it did. Reads that keep step with the requests mean that whoever makes up a key makes SQL. Then
//! many different ones are asked with while an honest key is in use, which must be served throughout.
//! At last one of them, refused by every replica a moment before, is issued: it must work everywhere
//! within the staleness bound, and within five seconds. And no key is ever served before it is issued, or
//! refused in another way than as an unknown one: 401 or 403, or 429 to whoever asks too much.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    clock::Micros,
    generators::{fewer::at_most, identities::at_first, requests},
    history::{History, Manifest, Seen},
    op::{Admin, Call, Key, KeyFields, Kind, Op, Outcome, Replica},
    plan::{IdShape, Plan, Step, Wait},
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "auth-cache.negative-lookup",
    title: "Unknown keys neither reach the database each time nor stay unknown once they are issued",
    why: "Whoever sends made-up keys reaches the database with every one of them, and tenants wait \
          behind them. A gateway that remembers too well refuses a new key until it is restarted.",
    incidents: &["https://github.com/langfuse/langfuse/issues/13171"],
    level: Level::Extended,
    needs: &[Capability::VirtualKeys, Capability::PostgresWire, Capability::MockUpstream],
    plan,
    arms: one_arm,
    judge,
};

/// The honest key.
const HONEST: Key = Key(0);

/// The key that is made up again and again.
const REPEATED: Key = Key(1);

/// The key that is issued in the end.
const ISSUED_LATER: Key = Key(2);

/// The first of the different keys that are made up once each.
const MADE_UP: u16 = 3;

/// How often each replica is asked with the repeated key.
const REPETITIONS: u32 = 60;

/// How many different keys are made up.
const DIFFERENT: u32 = 60;

/// How many of them are asked with at a time.
const AT_A_TIME: usize = 6;

/// Between two requests of the honest key to a replica.
const PAUSE_MS: u32 = 20;

/// Between two requests of the key that was issued in the end.
const PROBE_MS: u32 = 50;

/// The longest that a fresh key may take to work, whatever the staleness bound.
const LONGEST_TO_WORK: Duration = Duration::from_secs(5);

/// How many times in a lifetime what was not found may be looked for again.
const LOOKUPS_IN_A_LIFETIME: u32 = 10;

/// One made-up key many times, many of them once each beside an honest one, and one that is issued.
/// Shrinks towards fewer of each.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    (at_most(DIFFERENT), at_most(REPETITIONS), 0..replicas)
        .prop_map(move |(different, repetitions, through)| {
            let everywhere = |key| (0..replicas).map(move |at| requests::chat(key, at)).collect();
            let mut steps =
                vec![at_first(Admin::GenerateKey { key: HONEST, fields: KeyFields::UNSAID })];
            steps.extend(requests::rounds([HONEST].into_iter(), replicas, 1));
            steps.extend((0..repetitions).map(|_| Step::Together(everywhere(REPEATED))));
            steps.push(Step::StartTraffic { calls: everywhere(HONEST), pause_ms: PAUSE_MS });
            let last = MADE_UP.saturating_add(u16::try_from(different).unwrap_or(u16::MAX));
            let made_up: Vec<_> = (MADE_UP..last)
                .zip((0..replicas).cycle())
                .map(|(key, at)| requests::chat(Key(key), at))
                .collect();
            steps.extend(made_up.chunks(AT_A_TIME).map(|calls| Step::Together(calls.to_vec())));
            steps.push(Step::StopTraffic);
            steps.push(Step::Together(everywhere(ISSUED_LATER)));
            let fields = KeyFields { chosen_secret: true, ..KeyFields::UNSAID };
            let issue = Op::Admin(Admin::GenerateKey { key: ISSUED_LATER, fields });
            steps.push(Step::Call(Call { replica: Replica(through), op: issue }));
            steps.push(Step::StartTraffic { calls: everywhere(ISSUED_LATER), pause_ms: PROBE_MS });
            steps.push(Step::Wait(Wait::StalenessAnd { more_ms: 300 }));
            steps.push(Step::StopTraffic);
            Plan::new(vec![IdShape::Plain], steps)
        })
        .boxed()
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let calls = history.calls();
    let issued = issued(&calls);
    let mut violations: Vec<_> = too_many_reads(history, &calls).into_iter().collect();
    violations.extend(badly_refused(&calls, &issued));
    violations.extend(locked_out(&calls));
    violations.extend(works_late(history, &calls));
    if !violations.is_empty() {
        return Verdict::Fail(violations);
    }
    match not_put_to_the_test(history, &calls) {
        Some(why) => Verdict::Inconclusive(why),
        None => Verdict::Pass,
    }
}

/// When each key was first asked for: from then on it may exist.
fn issued(calls: &[Seen<'_>]) -> BTreeMap<Key, Micros> {
    let mut issued = BTreeMap::new();
    for seen in calls {
        if let Op::Admin(Admin::GenerateKey { key, .. }) = &seen.call.op {
            issued.entry(*key).or_insert(seen.invoked);
        }
    }
    issued
}

fn prompts_with<'a>(
    calls: &'a [Seen<'a>],
    key: Key,
) -> impl DoubleEndedIterator<Item = &'a Seen<'a>> + Clone {
    calls.iter().filter(move |seen| seen.chat().is_some_and(|chat| chat.key == key))
}

/// The time in which the repeated key alone was asked with.
struct Flood {
    from: Micros,
    to: Micros,
    requests: usize,
}

fn flood(calls: &[Seen<'_>]) -> Option<Flood> {
    let repeated = || prompts_with(calls, REPEATED);
    let from = repeated().map(|seen| seen.invoked).min()?;
    let to = repeated().filter_map(|seen| seen.completed).max()?;
    Some(Flood { from, to, requests: repeated().count() })
}

/// The statements that looked for the repeated key.
fn lookups(history: &History, flood: &Flood) -> Vec<usize> {
    let reads = history.identity_reads().filter(|(_, entry, kinds)| {
        kinds.contains(&Kind::Key) && flood.from <= entry.at && entry.at <= flood.to
    });
    reads.map(|(index, _, _)| index).collect()
}

/// How many such statements a gateway may need in this time.
fn allowed(manifest: &Manifest, flood: &Flood) -> usize {
    let processes = usize::from(manifest.replicas) * usize::from(manifest.workers);
    let shortest =
        (manifest.auth_cache_ttl() / LOOKUPS_IN_A_LIFETIME).max(Duration::from_millis(1));
    let forgotten = flood.to.since(flood.from).as_nanos() / shortest.as_nanos();
    processes.saturating_mul(1 + usize::try_from(forgotten).unwrap_or(usize::MAX))
}

fn too_many_reads(history: &History, calls: &[Seen<'_>]) -> Option<Violation> {
    let flood = flood(calls)?;
    let (lookups, allowed) = (lookups(history, &flood), allowed(&history.manifest, &flood));
    (lookups.len() > allowed).then(|| Violation {
        summary: format!(
            "{} requests in {} ms with one key that was never issued led to {} reads of it from the \
             database, where at most {allowed} are due",
            flood.requests,
            flood.to.since(flood.from).as_millis(),
            lookups.len(),
        ),
        evidence: proof(0, lookups),
    })
}

/// Keys that were served before they were issued, or refused as what they are not.
fn badly_refused(calls: &[Seen<'_>], issued: &BTreeMap<Key, Micros>) -> Vec<Violation> {
    let mut told: BTreeMap<String, Vec<&Seen<'_>>> = BTreeMap::new();
    for seen in calls {
        let (Some(chat), Some(completed)) = (seen.chat(), seen.completed) else { continue };
        if issued.get(&chat.key).is_some_and(|issued| *issued <= completed) {
            continue;
        }
        let replica = seen.call.replica;
        let breach = match seen.outcome {
            Some(Outcome::Answered { .. }) => {
                format!("{replica} served a key that had not been issued")
            }
            Some(Outcome::Refused { status: 401 | 403 | 429, .. }) => continue,
            Some(Outcome::Refused { status, refusal, message, .. }) => format!(
                "{replica} refused a key that had not been issued with {status} ({refusal}): {message}"
            ),
            Some(Outcome::Listed { .. } | Outcome::Indeterminate { .. }) | None => continue,
        };
        told.entry(breach).or_default().push(seen);
    }
    told.into_iter().map(|(breach, seen)| counted(breach, &seen)).collect()
}

/// Prompts of the honest key that were refused.
fn locked_out(calls: &[Seen<'_>]) -> Vec<Violation> {
    let mut told: BTreeMap<String, Vec<&Seen<'_>>> = BTreeMap::new();
    for seen in prompts_with(calls, HONEST) {
        let replica = seen.call.replica;
        if let Some(Outcome::Refused { status, refusal, message, .. }) = seen.outcome {
            let breach = format!(
                "{replica} refused a key that was issued, while others were made up: {status} \
                 ({refusal}) {message}"
            );
            told.entry(breach).or_default().push(seen);
        }
    }
    told.into_iter().map(|(breach, seen)| counted(breach, &seen)).collect()
}

fn counted(breach: String, seen: &[&Seen<'_>]) -> Violation {
    let times = if seen.len() > 1 { format!(" ({} times)", seen.len()) } else { String::new() };
    let indices = seen.iter().flat_map(|seen| [seen.index, seen.last_index]);
    Violation { summary: format!("{breach}{times}"), evidence: proof(0, indices) }
}

/// The call that issued the key which had been made up, and from when on it must work.
fn late_issue<'a>(
    manifest: &Manifest,
    calls: &'a [Seen<'a>],
) -> Option<(&'a Seen<'a>, Micros, Micros)> {
    let issue = calls.iter().find(|seen| {
        matches!(seen.call.op, Op::Admin(Admin::GenerateKey { key: ISSUED_LATER, .. }))
            && seen.answered()
    })?;
    let acknowledged = issue.completed?;
    Some((issue, acknowledged, acknowledged.plus(manifest.staleness().min(LONGEST_TO_WORK))))
}

/// The replicas that refused the key though it was issued long enough ago.
fn works_late(history: &History, calls: &[Seen<'_>]) -> Vec<Violation> {
    let Some((issue, acknowledged, bound)) = late_issue(&history.manifest, calls) else {
        return Vec::new();
    };
    let mut late: BTreeMap<Replica, Vec<&Seen<'_>>> = BTreeMap::new();
    for seen in prompts_with(calls, ISSUED_LATER) {
        if seen.invoked > bound && matches!(seen.outcome, Some(Outcome::Refused { .. })) {
            late.entry(seen.call.replica).or_default().push(seen);
        }
    }
    let violation = |(replica, late): (Replica, Vec<&Seen<'_>>)| {
        let last = late.last().map_or(bound, |seen| seen.invoked);
        let indices = late.iter().flat_map(|seen| [seen.index, seen.last_index]);
        Violation {
            summary: format!(
                "{replica} refuses a key that it had been asked with before it was issued, {} times \
                 later than {} ms after that; the last time {} ms after it",
                late.len(),
                bound.since(acknowledged).as_millis(),
                last.since(acknowledged).as_millis(),
            ),
            evidence: proof(0, [issue.index, issue.last_index].into_iter().chain(indices)),
        }
    };
    late.into_iter().map(violation).collect()
}

/// What must have happened before a pass means anything.
fn not_put_to_the_test(history: &History, calls: &[Seen<'_>]) -> Option<String> {
    let manifest = &history.manifest;
    let Some(flood) = flood(calls) else {
        return Some("no key was made up".to_owned());
    };
    let allowed = allowed(manifest, &flood);
    if flood.requests <= 2 * allowed {
        return Some(format!(
            "{} requests with one unknown key cannot be told from {allowed} reads that are due",
            flood.requests
        ));
    }
    if lookups(history, &flood).is_empty() {
        return Some("the unknown key was never looked for in the database".to_owned());
    }
    let unsure = prompts_with(calls, HONEST).filter(|seen| !seen.answered()).count();
    if unsure > 0 {
        return Some(format!("the fate of {unsure} prompts of the honest key is not known"));
    }
    let Some((issue, _, bound)) = late_issue(manifest, calls) else {
        return Some("no key was issued with a secret of our own".to_owned());
    };
    let with_it = || prompts_with(calls, ISSUED_LATER);
    let replicas = |seen: &Seen<'_>| seen.call.replica;
    let refused: BTreeSet<_> = with_it()
        .filter(|seen| seen.completed.is_some_and(|at| at < issue.invoked))
        .map(replicas)
        .collect();
    let served: BTreeSet<_> =
        with_it().filter(|seen| seen.answered() && seen.invoked > bound).map(replicas).collect();
    (0..manifest.replicas).map(Replica).find_map(|replica| {
        if !refused.contains(&replica) {
            return Some(format!("{replica} was not asked with the key before it was issued"));
        }
        (!served.contains(&replica))
            .then(|| format!("{replica} was not asked with the key after the bound"))
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        history::hand::Hand,
        op::{Alias, Chat, Refusal},
    };

    fn chat(key: Key) -> Chat {
        Chat { key, alias: Alias(0), streamed: false }
    }

    fn refused(hand: Hand, at_ms: u64, replica: u8, key: Key, status: u16) -> Hand {
        let outcome = Outcome::Refused {
            status,
            refusal: Refusal::Unauthenticated,
            error_type: None,
            message: "no".to_owned(),
        };
        hand.asked(at_ms, replica, Op::Chat(chat(key)), outcome)
    }

    /// One unknown key asks each of two replicas forty times in 400 ms. A lifetime is one second, so
    /// eight reads are due.
    fn unread() -> Hand {
        let key = Admin::GenerateKey { key: HONEST, fields: KeyFields::UNSAID };
        let hand = Hand::new().admin(1, key).answered(10, 0).answered(20, 1);
        (0..40).fold(hand, |hand, at| {
            let hand = refused(hand, 100 + at * 10, 0, REPEATED, 401);
            refused(hand, 100 + at * 10, 1, REPEATED, 401)
        })
    }

    /// The same, and the key is looked for every `period` ms.
    fn flooded(period: usize) -> Hand {
        (0..400).step_by(period).fold(unread(), |hand, at| hand.identity_read(100 + at, Kind::Key))
    }

    /// A key that both replicas refused is issued at 600 ms: from 1,601 ms on it must work.
    fn issued_later(hand: Hand) -> Hand {
        let hand = refused(refused(hand, 550, 0, ISSUED_LATER, 401), 550, 1, ISSUED_LATER, 401);
        let fields = KeyFields { chosen_secret: true, ..KeyFields::UNSAID };
        hand.admin(600, Admin::GenerateKey { key: ISSUED_LATER, fields })
    }

    fn works(hand: Hand) -> Hand {
        hand.serves(1_700, 0, chat(ISSUED_LATER)).serves(1_700, 1, chat(ISSUED_LATER))
    }

    #[test]
    fn a_few_reads_and_a_key_that_comes_to_work_are_fine() {
        let hand = refused(issued_later(flooded(200)), 1_500, 0, ISSUED_LATER, 401);
        assert_eq!(judge(&[works(hand).done()]), Verdict::Pass);
    }

    #[test]
    fn a_read_per_request_is_a_violation() {
        assert_snapshot!(judge(&[works(issued_later(flooded(10))).done()]), @"
        fail
          80 requests in 391 ms with one key that was never issued led to 40 reads of it from the database, where at most 8 are due
        ");
    }

    #[test]
    fn a_key_that_stays_unknown_is_a_violation() {
        let hand = issued_later(flooded(200)).serves(1_700, 0, chat(ISSUED_LATER));
        let hand = refused(refused(hand, 1_650, 1, ISSUED_LATER, 401), 1_700, 1, ISSUED_LATER, 401);
        assert_snapshot!(judge(&[hand.done()]), @"
        fail
          replica 1 refuses a key that it had been asked with before it was issued, 2 times later than 1000 ms after that; the last time 1099 ms after it
        ");
    }

    #[test]
    fn an_unknown_key_is_neither_served_nor_failed_on() {
        let hand = flooded(200).serves(450, 0, chat(Key(7)));
        assert_snapshot!(judge(&[refused(hand, 460, 1, Key(8), 500).done()]), @"
        fail
          replica 0 served a key that had not been issued
          replica 1 refused a key that had not been issued with 500 (unauthenticated): no
        ");
    }

    #[test]
    fn an_honest_key_that_is_refused_is_a_violation() {
        let hand = refused(flooded(200), 450, 1, HONEST, 401);
        assert_snapshot!(judge(&[works(issued_later(hand)).done()]), @"
        fail
          replica 1 refused a key that was issued, while others were made up: 401 (unauthenticated) no
        ");
    }

    #[test]
    fn a_key_that_was_never_looked_for_proves_nothing() {
        assert_snapshot!(
            judge(&[works(issued_later(unread())).done()]),
            @"inconclusive: the unknown key was never looked for in the database"
        );
        let hand = refused(Hand::new(), 100, 0, REPEATED, 401);
        assert_snapshot!(judge(&[hand.done()]), @"inconclusive: 1 requests with one unknown key cannot be told from 2 reads that are due");
    }

    #[test]
    fn a_key_that_nobody_asked_with_before_proves_nothing() {
        let fields = KeyFields { chosen_secret: true, ..KeyFields::UNSAID };
        let issue = Admin::GenerateKey { key: ISSUED_LATER, fields };
        assert_snapshot!(judge(&[works(flooded(200).admin(600, issue)).done()]), @"inconclusive: replica 0 was not asked with the key before it was issued");
    }
}
