//! No two kinds of object share a cache entry, whatever their ids.
//!
//! The same plan is driven twice: once with users and teams drawing their ids from one pool, so that
//! a user and a team have the same id, and once with every kind keeping to ids of its own. Nothing
//! else differs, so whatever the first drive does that the second does not is the price of the
//! coincidence: another decision, a WARN or ERROR line, reads of the database that a cache should
//! have saved, or an object that was never read at all because another kind's entry stood in for it.
//! What is seen on the way to Redis proves the cause: one key, written with payloads of two kinds.
//! The argument needs no knowledge of how the gateway names its keys.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Arm, Check, Level},
    generators::{
        identities::{Identities, identities},
        requests,
    },
    history::{Access, Event, History, Level as LogLevel, Manifest, Seen},
    model::cache,
    op::{Alias, Kind, Outcome},
    plan::{Plan, Step},
    verdict::{Proof, Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "codec.key-spaces-disjoint",
    title: "No two kinds of object share a cache entry, whatever their ids",
    why: "Where a user and a team have one id, as in products that make a team for each user, their \
          entries overwrite each other: every request pays extra SQL and two log lines for ever, or \
          is judged by the other object's rights.",
    incidents: &[
        "https://github.com/BerriAI/litellm/issues/27874",
        "https://github.com/BerriAI/litellm/pull/31418",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::RedisWire,
        Capability::PostgresWire,
        Capability::Logs,
    ],
    plan,
    arms,
    judge,
};

/// Requests with each key: enough for entries that overwrite each other to do so many times.
const REQUESTS: u32 = 20;

/// Keys whose owners coincide, each used twenty times across the replicas.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    identities(3)
        .prop_filter("no user and team have the same id", Identities::coincide)
        .prop_map(move |drawn| {
            let mut steps = drawn.creation();
            // Not for shrinking: reads that a cache should have saved show only over many requests.
            let rounds = REQUESTS.div_ceil(replicas.into());
            steps.extend(requests::rounds(drawn.key_places(), replicas, rounds));
            // The second model is one that some teams and users may not call: rights that are lost
            // show here.
            steps.extend(
                drawn
                    .key_places()
                    .map(|key| Step::Call(requests::chat_of(key, Alias(1), 0, false))),
            );
            Plan::new(drawn.ids, steps)
        })
        .boxed()
}

fn arms(plan: &Plan) -> Vec<Arm> {
    vec![Arm::shared("ids shared", plan.clone()), Arm::shared("ids apart", plan.apart())]
}

fn judge(histories: &[History]) -> Verdict {
    let [shared, apart] = histories else {
        return Verdict::Inconclusive("the two drives to compare are not both there".to_owned());
    };
    if let Some(why) = shared.gap().or_else(|| apart.gap()) {
        return Verdict::Inconclusive(why);
    }
    if !apart.calls().iter().any(|seen| seen.chat().is_some() && seen.answered()) {
        return Verdict::Inconclusive("no request was answered with ids apart".to_owned());
    }
    if !shared.calls().iter().any(|seen| seen.chat().is_some() && decision(seen).is_some()) {
        return Verdict::Inconclusive("no request was decided with ids shared".to_owned());
    }
    if apart.identity_reads().next().is_none() {
        return Verdict::Inconclusive("no identity was ever read from the database".to_owned());
    }
    let mut violations = Vec::new();
    violations.extend(other_decision(shared, apart));
    violations.extend(one_key_two_kinds(shared));
    violations.extend(more_lines(shared, apart));
    violations.extend(more_reads(shared, apart));
    violations.extend(never_read(shared, apart));
    Verdict::of(violations)
}

/// A request that is decided otherwise than its twin.
fn other_decision(shared: &History, apart: &History) -> Option<Violation> {
    let (ours, theirs) = (shared.calls(), apart.calls());
    let pairs: Vec<_> = ours
        .iter()
        .zip(&theirs)
        .filter(|(ours, theirs)| match (decision(ours), decision(theirs)) {
            (Some(ours), Some(theirs)) => ours != theirs,
            // What is not known is no different.
            (None, _) | (_, None) => false,
        })
        .collect();
    let (first, twin) = pairs.first()?;
    let told = |seen: &Seen<'_>| {
        seen.outcome.map_or_else(|| "never completed".to_owned(), ToString::to_string)
    };
    let evidence = pairs.iter().take(4).flat_map(|(ours, theirs)| {
        [Proof { arm: 0, index: ours.last_index }, Proof { arm: 1, index: theirs.last_index }]
    });
    Some(Violation {
        summary: format!(
            "{} of {} calls end otherwise when ids coincide; the first is {} and its twin {}",
            pairs.len(),
            ours.len(),
            told(first),
            told(twin)
        ),
        evidence: evidence.collect(),
    })
}

/// What was decided, without what differs from drive to drive; `None` where that is not known.
fn decision(seen: &Seen<'_>) -> Option<(bool, u16)> {
    match seen.outcome? {
        Outcome::Answered { status, .. } | Outcome::Listed { status, .. } => Some((true, *status)),
        Outcome::Refused { status, .. } => Some((false, *status)),
        Outcome::Indeterminate { .. } => None,
    }
}

/// A Redis key that was written with payloads of two kinds.
fn one_key_two_kinds(shared: &History) -> Vec<Violation> {
    let mut written: BTreeMap<&str, BTreeMap<Kind, usize>> = BTreeMap::new();
    for (index, entry) in shared.entries.iter().enumerate() {
        let Event::Redis { keys, .. } = &entry.event else { continue };
        for key in keys.iter().filter(|key| key.access == Access::Write) {
            if let Some(kind) = key.kind {
                written.entry(&key.name).or_default().entry(kind).or_insert(index);
            }
        }
    }
    written
        .into_iter()
        .filter(|(_, kinds)| kinds.len() > 1)
        .map(|(name, kinds)| {
            let told: Vec<_> = kinds.keys().map(ToString::to_string).collect();
            Violation {
                summary: format!("the Redis key {name:?} is written as {}", told.join(" and as ")),
                evidence: proof(0, kinds.into_values()),
            }
        })
        .collect()
}

/// WARN or ERROR lines that the twin does not have.
///
/// A gateway may warn of something else meanwhile, so a template counts only where one of its lines
/// names an id of the case.
fn more_lines(shared: &History, apart: &History) -> Option<Violation> {
    let known: BTreeSet<_> =
        apart.lines_at_least(LogLevel::Warn).map(|(_, _, template, _)| template).collect();
    let ours: BTreeSet<_> = shared
        .lines_at_least(LogLevel::Warn)
        .filter(|(_, _, _, text)| text.contains(&shared.prefix))
        .map(|(_, _, template, _)| template)
        .collect();
    let mut new: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for (index, _, template, _) in shared.lines_at_least(LogLevel::Warn) {
        if ours.contains(template) && !known.contains(template) {
            *new.entry(template).or_default() += 1;
            lines.push(index);
        }
    }
    let requests = chats(shared);
    let told: Vec<_> =
        new.iter().map(|(template, count)| format!("{count} × {template}")).collect();
    (!lines.is_empty()).then(|| Violation {
        summary: format!(
            "{} lines at WARN or above in {requests} requests, none when ids are apart: {}",
            lines.len(),
            told.join("; ")
        ),
        evidence: proof(0, lines),
    })
}

/// Identity reads that a working cache would have saved, and that the twin does save.
fn more_reads(shared: &History, apart: &History) -> Option<Violation> {
    let (ours, theirs) = (request_reads(shared), request_reads(apart));
    // The two drives do not meet their expiries at the same requests.
    let allowed = theirs.len() + cache::explained_reads(shared);
    let requests = chats(shared);
    (ours.len() > allowed).then(|| Violation {
        summary: format!(
            "{} identity reads in {requests} requests, {} when ids are apart (at most {allowed} can \
             be explained)",
            ours.len(),
            theirs.len(),
        ),
        evidence: proof(0, ours),
    })
}

/// The statements that read an identity once the first prompt was sent.
fn request_reads(history: &History) -> Vec<usize> {
    let first = history.calls().into_iter().find(|seen| seen.chat().is_some());
    let from = first.map_or(history.ended(), |seen| seen.invoked);
    history
        .identity_reads()
        .filter(|(_, entry, _)| entry.at >= from)
        .map(|(index, _, _)| index)
        .collect()
}

/// A kind that the twin reads from the database, and that is not read at all when ids coincide.
fn never_read(shared: &History, apart: &History) -> Vec<Violation> {
    let kinds = |history: &History| -> BTreeMap<Kind, usize> {
        let mut kinds = BTreeMap::new();
        for (index, _, read) in history.identity_reads() {
            for kind in read {
                kinds.entry(*kind).or_insert(index);
            }
        }
        kinds
    };
    let ours = kinds(shared);
    kinds(apart)
        .into_iter()
        .filter(|(kind, _)| !ours.contains_key(kind))
        .map(|(kind, index)| Violation {
            summary: format!(
                "no {kind} is ever read from the database when ids coincide, though its twin is: \
                 another kind's entry was taken for it"
            ),
            evidence: vec![Proof { arm: 1, index }],
        })
        .collect()
}

fn chats(history: &History) -> usize {
    history.calls().iter().filter(|seen| seen.chat().is_some()).count()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{generators::plan_tree, history::hand::Hand, op::Refusal};

    /// Ten answered requests after one read of a user and a team each.
    fn quiet() -> Hand {
        let cold = Hand::new().answered(1, 0).identity_read(2, Kind::User);
        let cold = cold.identity_read(3, Kind::Team).redis_write(4, "user:i0", Kind::User);
        (1..10).fold(cold, |hand, request| hand.answered(request * 10, 0))
    }

    #[test]
    fn a_shared_entry_shows_in_lines_reads_and_writes() {
        let noisy = (1..10).fold(quiet(), |hand, request| {
            hand.identity_read(request * 10, Kind::User)
                .line(request * 10, LogLevel::Warn, "validation of pi0 failed")
                .line(request * 10, LogLevel::Error, "failed to deserialize pi0")
        });
        let noisy = noisy.redis_write(11, "i0", Kind::User).redis_write(12, "i0", Kind::Team);
        assert_snapshot!(judge(&[noisy.done(), quiet().done()]), @r#"
        fail
          the Redis key "i0" is written as user and as team
          18 lines at WARN or above in 10 requests, none when ids are apart: 9 × failed to deserialize pi0; 9 × validation of pi0 failed
          11 identity reads in 10 requests, 2 when ids are apart (at most 2 can be explained)
        "#);
    }

    #[test]
    fn another_decision_than_the_twin_is_a_violation() {
        let other = quiet().refused(200, 0, Refusal::ModelDenied);
        let twin = quiet().answered(200, 0);
        assert_snapshot!(judge(&[other.done(), twin.done()]), @"
        fail
          1 of 11 calls end otherwise when ids coincide; the first is refused 401 (model denied): no and its twin answered 200
        ");
    }

    #[test]
    fn an_object_that_is_never_read_was_taken_for_another() {
        let one_kind = Hand::new().answered(1, 0).identity_read(2, Kind::User);
        let both = Hand::new().answered(1, 0).identity_read(2, Kind::User);
        let both = both.identity_read(3, Kind::Team);
        assert_snapshot!(judge(&[one_kind.done(), both.done()]), @"
        fail
          no team is ever read from the database when ids coincide, though its twin is: another kind's entry was taken for it
        ");
    }

    #[test]
    fn a_request_of_unknown_fate_is_no_other_decision() {
        let lost = Outcome::Indeterminate { why: "connection reset".to_owned() };
        let torn = quiet().chat(200, 0, lost);
        let twin = quiet().answered(200, 0);
        assert_eq!(judge(&[torn.done(), twin.done()]), Verdict::Pass);
    }

    #[test]
    fn a_line_about_something_else_is_no_violation() {
        let busy = quiet().line(50, LogLevel::Warn, "the queue is full");
        assert_eq!(judge(&[busy.done(), quiet().done()]), Verdict::Pass);
    }

    #[test]
    fn drives_that_do_the_same_pass() {
        assert_eq!(judge(&[quiet().done(), quiet().done()]), Verdict::Pass);
    }

    #[test]
    fn a_gateway_that_reads_no_identity_proves_nothing() {
        let blind = || Hand::new().answered(1, 0).done();
        assert_snapshot!(
            judge(&[blind(), blind()]),
            @"inconclusive: no identity was ever read from the database"
        );
    }

    #[test]
    fn missing_evidence_proves_nothing() {
        let gap = Event::Gap { observer: "redis".to_owned(), why: "unseen".to_owned() };
        let torn = quiet().event(500, gap).done();
        assert_snapshot!(judge(&[torn, quiet().done()]), @"inconclusive: redis: unseen");
    }

    #[test]
    fn every_plan_holds_a_user_and_a_team_with_one_id() {
        let manifest = quiet().done().manifest;
        for case in 0..32 {
            let tree = plan_tree(&plan(&manifest), 7, CHECK.id, case).unwrap();
            let told = crate::plan::story(&tree.current()).join("\n");
            let shared = (0..3).any(|id| {
                told.contains(&format!("create user \"i{id}"))
                    && told.contains(&format!("create team \"i{id}"))
            });
            assert!(shared, "{told}");
        }
    }
}
