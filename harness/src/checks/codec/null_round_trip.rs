//! What was cached reads back the same, whichever fields are null.
//!
//! Each plan has one key, its owners and its membership, with every optional field left out, null,
//! empty or set. The first request on a replica is cold and fills the cache; the requests after it
//! differ from it in nothing but that they may be answered from what was written. So they are decided
//! as the first one was; and what they still read from the database, though no entry can have ended,
//! is an object that was written and could not be read back. A reader that gives up on an entry often
//! says so, and a line at WARN or above that names the case is a breach of its own.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    generators::{identities::identities, requests},
    history::{Event, History, Level as LogLevel, Manifest, Seen},
    model::cache,
    op::{Admin, Kind, Op, Outcome, Replica},
    plan::{Plan, tell},
    verdict::{Proof, Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "codec.null-round-trip",
    title: "What was cached reads back the same, whichever fields are null",
    why: "A writer that leaves out nulls in front of a reader that demands the field makes an entry \
          that is never readable: each request of such a tenant pays the SQL that the cache was to \
          save, or gets another decision than the first one got.",
    incidents: &[
        "https://github.com/BerriAI/litellm/pull/26202",
        "https://github.com/BerriAI/litellm/pull/32207",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::PostgresWire,
        Capability::Logs,
    ],
    plan,
    arms: one_arm,
    judge,
};

/// Requests after the first: enough for what is reloaded now and then to show.
const REQUESTS: u32 = 20;

/// A key of any shape: one cold request, then twenty over the replicas.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    identities(1)
        .prop_map(move |drawn| {
            let drawn = drawn.with_every_member();
            let mut steps = drawn.creation();
            steps.extend(requests::rounds(drawn.key_places(), 1, 1));
            // Not for shrinking: reads that a cache should have saved show only over many requests.
            let rounds = REQUESTS.div_ceil(replicas.into());
            steps.extend(requests::rounds(drawn.key_places(), replicas, rounds));
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
    let prompts: Vec<_> = calls.iter().filter(|seen| seen.chat().is_some()).collect();
    let Some(first) = prompts.first().filter(|seen| seen.answered()) else {
        return Verdict::Inconclusive("the cold request was not served".to_owned());
    };
    let decided_again = |seen: &&&Seen<'_>| {
        seen.call.replica == first.call.replica
            && seen.id != first.id
            && matches!(seen.outcome, Some(Outcome::Answered { .. } | Outcome::Refused { .. }))
    };
    if prompts.iter().filter(decided_again).count() == 0 {
        return Verdict::Inconclusive("no replica decided on a second request".to_owned());
    }
    if history.identity_reads().next().is_none() {
        return Verdict::Inconclusive("no identity was ever read from the database".to_owned());
    }
    let mut violations = Vec::new();
    violations.extend(other_decision(first, &prompts));
    violations.extend(read_again(history, &prompts));
    violations.extend(loud_lines(history, first));
    Verdict::of(violations)
}

/// A request that is decided otherwise than the cold one.
fn other_decision(first: &Seen<'_>, prompts: &[&Seen<'_>]) -> Option<Violation> {
    let refused: Vec<_> = prompts
        .iter()
        .filter_map(|seen| match seen.outcome? {
            outcome @ Outcome::Refused { .. } => Some((seen, outcome)),
            // What is not known is no different.
            Outcome::Answered { .. } | Outcome::Listed { .. } | Outcome::Indeterminate { .. } => {
                None
            }
        })
        .collect();
    let (seen, outcome) = refused.first()?;
    let mut evidence = vec![Proof { arm: 0, index: first.last_index }];
    evidence.extend(proof(0, refused.iter().map(|(seen, _)| seen.last_index)));
    Some(Violation {
        summary: format!(
            "{} of {} requests of a key whose cold request was served are refused; {} {outcome}",
            refused.len(),
            prompts.len(),
            seen.call.replica,
        ),
        evidence,
    })
}

/// Kinds that a replica reads once more after its first request, though no entry can have ended.
fn read_again(history: &History, prompts: &[&Seen<'_>]) -> Vec<Violation> {
    let began = history.calls().first().map_or(history.ended(), |seen| seen.invoked);
    let explained = cache::endings(&history.manifest, history.ended().since(began));
    (0..history.manifest.replicas)
        .map(Replica)
        .flat_map(|replica| {
            let here: Vec<_> = prompts.iter().filter(|seen| seen.call.replica == replica).collect();
            let warm = here.first().and_then(|seen| seen.completed).unwrap_or(history.ended());
            let mut read: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
            for (index, entry, kinds) in history.identity_reads() {
                let is_here =
                    matches!(entry.event, Event::Sql { replica: by, .. } if by == replica);
                for kind in kinds.iter().filter(|_| is_here && entry.at > warm) {
                    read.entry(*kind).or_default().push(index);
                }
            }
            let requests = here.len().saturating_sub(1);
            read.into_iter().filter(|(_, reads)| reads.len() > explained).map(
                move |(kind, reads)| Violation {
                    summary: format!(
                        "{replica} reads the {kind} from the database {} more times in the \
                         {requests} requests after its first ({explained} can be explained): {}",
                        reads.len(),
                        pattern(history, kind)
                    ),
                    evidence: proof(0, reads),
                },
            )
        })
        .collect()
}

/// What the object of this kind was created with.
fn pattern(history: &History, kind: Kind) -> String {
    let calls = history.calls();
    let creation = calls.iter().find(|seen| match &seen.call.op {
        Op::Admin(Admin::GenerateKey { .. }) => kind == Kind::Key,
        Op::Admin(Admin::CreateUser { .. }) => kind == Kind::User,
        Op::Admin(Admin::CreateTeam { .. }) => kind == Kind::Team,
        Op::Admin(Admin::AddMember { .. }) => kind == Kind::Member,
        Op::Admin(_) | Op::Chat(_) | Op::ListModels { .. } => false,
    });
    creation
        .map_or_else(|| "the plan creates none".to_owned(), |seen| tell(&history.plan, seen.call))
}

/// Lines at WARN or above that name the case, from its first request on.
fn loud_lines(history: &History, first: &Seen<'_>) -> Vec<Violation> {
    let mut loud: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, _, template, text) in history.lines_at_least(LogLevel::Warn) {
        let since = history.entries.get(index).is_some_and(|entry| entry.at >= first.invoked);
        if since && text.contains(&history.prefix) {
            loud.entry(template).or_default().push(index);
        }
    }
    loud.into_iter()
        .map(|(template, lines)| Violation {
            summary: format!("{} × at WARN or above, of a legal identity: {template}", lines.len()),
            evidence: proof(0, lines),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        history::hand::Hand,
        op::{Field, Key, KeyFields, Refusal},
    };

    /// A key that names no user, read once and used on both replicas. A lifetime is one second.
    fn cold() -> Hand {
        let fields = KeyFields { user: Field::Null, ..KeyFields::UNSAID };
        let key = Admin::GenerateKey { key: Key(0), fields };
        Hand::new().admin(0, key).answered(10, 0).identity_read(10, Kind::Key).answered(20, 1)
    }

    #[test]
    fn an_object_that_is_read_again_is_named_with_its_nulls() {
        let history = (3..8).fold(cold(), |hand, request| {
            hand.answered(request * 10, 0).identity_read(request * 10, Kind::Key)
        });
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 0 reads the key from the database 5 more times in the 5 requests after its first (0 can be explained): generate key 0 with user_id = null (replica 0)
        ");
    }

    #[test]
    fn another_decision_than_the_cold_one_is_a_violation() {
        let history = cold().answered(30, 0).refused(40, 1, Refusal::Unauthenticated);
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          1 of 4 requests of a key whose cold request was served are refused; replica 1 refused 401 (unauthenticated): no
        ");
    }

    #[test]
    fn a_loud_line_that_names_the_case_is_a_violation() {
        let history = cold().answered(30, 0).line(30, LogLevel::Warn, "missing field in pi0");
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          1 × at WARN or above, of a legal identity: missing field in pi0
        ");
    }

    #[test]
    fn reading_again_once_the_entry_has_ended_is_fine() {
        let history = cold().answered(30, 0).answered(850, 0).identity_read(850, Kind::Key);
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn another_replica_may_read_each_object_once_too() {
        let history = cold().identity_read_by(20, 1, Kind::Key).answered(30, 0).answered(40, 1);
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn a_gateway_that_reads_no_identity_proves_nothing() {
        assert_snapshot!(
            judge(&[Hand::new().answered(1, 0).answered(2, 0).done()]),
            @"inconclusive: no identity was ever read from the database"
        );
    }

    #[test]
    fn a_key_that_is_never_served_proves_nothing() {
        let history = Hand::new().refused(1, 0, Refusal::Unauthenticated).answered(2, 0);
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: the cold request was not served");
    }
}
