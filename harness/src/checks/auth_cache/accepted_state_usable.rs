//! Whatever state the admin API accepts, the credentials under it can be used.
//!
//! A sequence of management calls sets, clears with null, clears with empty and leaves out every field
//! of keys, users, teams and members. Calls that the gateway refuses change nothing; calls that it
//! accepts lead to a state, and the identity model says what a correct gateway then does with each
//! key: let it through, or refuse it for the reason the operator set. A replica may act on an older
//! state for as long as the declared bound allows, so a request is wrong only when no state that is
//! still legal explains it. Two answers are never explained: a failure of the gateway, and a refusal of
//! a credential that every legal state admits.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    generators::{
        admin,
        identities::{at_first, identities},
        requests,
    },
    history::{History, Manifest, Seen},
    model::staleness::{Decisions, Timeline},
    op::{Alias, Outcome, Refusal},
    plan::{Plan, Step, Wait},
    verdict::{Proof, Verdict, Violation},
};

/// The check.
pub static CHECK: Check = Check {
    id: "auth-cache.accepted-state-usable",
    title: "Whatever state the admin API accepts, the credentials under it can be used",
    why: "A state that the admin API accepts and the request path cannot read shuts a tenant out with \
          an authentication error, while the call that led there reported success.",
    incidents: &[
        "https://github.com/BerriAI/litellm/issues/27874",
        "https://github.com/BerriAI/litellm/pull/32207",
    ],
    level: Level::Core,
    needs: &[Capability::VirtualKeys, Capability::Teams, Capability::Users],
    plan,
    arms: one_arm,
    judge,
};

/// Management calls over live entities, each followed by a request; then, once every cache must have
/// caught up, each key asks each replica cold and warm.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    let with_a_member =
        identities(2).prop_filter("nobody is a member", |drawn| !drawn.members.is_empty());
    prop_oneof![2 => with_a_member, 1 => identities(2)]
        .prop_flat_map(|drawn| admin::changes(drawn, 5))
        .prop_map(move |(drawn, changes)| {
            let mut steps = drawn.creation();
            steps.extend(requests::rounds(drawn.key_places(), replicas, 1));
            for change in changes {
                steps.push(at_first(change));
                steps.extend(requests::rounds(drawn.key_places().take(1), 1, 1));
            }
            steps.push(Step::Wait(Wait::StalenessAnd { more_ms: 100 }));
            steps.extend(requests::rounds(drawn.key_places(), replicas, 2));
            steps.extend(drawn.key_places().flat_map(|key| {
                (0..replicas).map(move |at| Step::Call(requests::chat_of(key, Alias(1), at, false)))
            }));
            Plan::new(drawn.ids, steps)
        })
        .boxed()
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let timeline = Timeline::of(history);
    let mut decided = 0;
    let mut breaches: BTreeMap<String, Vec<Seen<'_>>> = BTreeMap::new();
    for seen in history.calls() {
        let Some(legal) = legal(&timeline, &seen) else { continue };
        if legal.may_admit != legal.may_refuse {
            decided += 1;
        }
        if let Some(breach) = unexplained(&seen, legal) {
            breaches.entry(breach).or_default().push(seen);
        }
    }
    if breaches.is_empty() && decided == 0 {
        return Verdict::Inconclusive("no request had only one legal answer".to_owned());
    }
    Verdict::of(
        breaches.into_iter().map(|(breach, seen)| violation(history, breach, &seen)).collect(),
    )
}

/// What a correct gateway may do with a prompt whose outcome is known.
fn legal(timeline: &Timeline, seen: &Seen<'_>) -> Option<Decisions> {
    Some(timeline.decisions(seen.chat()?, seen.invoked, seen.completed?))
}

fn unexplained(seen: &Seen<'_>, legal: Decisions) -> Option<String> {
    let replica = seen.call.replica;
    let chat = seen.chat()?;
    let breach = match seen.outcome? {
        Outcome::Listed { .. } => return None,
        Outcome::Answered { .. } if !legal.may_admit => {
            format!("{replica} served {} though no legal state allows it {}", chat.key, chat.alias)
        }
        Outcome::Refused {
            status,
            refusal: Refusal::Fault | Refusal::Unavailable,
            message,
            ..
        } => {
            format!("{replica} failed on a legal state of {}: {status} {message}", chat.key)
        }
        Outcome::Refused { status, refusal, message, .. } if !legal.may_refuse => format!(
            "{replica} refused {} though every legal state allows it {}: {status} ({refusal}) {message}",
            chat.key, chat.alias
        ),
        Outcome::Answered { .. } | Outcome::Refused { .. } | Outcome::Indeterminate { .. } => {
            return None;
        }
    };
    Some(breach)
}

/// The same breach may come again with every request; it is told once.
fn violation(history: &History, breach: String, seen: &[Seen<'_>]) -> Violation {
    let times = if seen.len() > 1 { format!(" ({} times)", seen.len()) } else { String::new() };
    let evidence = seen.first().map_or_else(Vec::new, |first| what_led_there(history, first));
    Violation { summary: format!("{breach}{times}"), evidence }
}

/// The management calls before the request, and the request.
fn what_led_there(history: &History, seen: &Seen<'_>) -> Vec<Proof> {
    let calls = history.calls();
    let before = calls
        .iter()
        .filter(|other| other.chat().is_none() && other.answered() && other.index < seen.index)
        .map(|other| other.index);
    before.chain([seen.index, seen.last_index]).map(|index| Proof { arm: 0, index }).collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        history::hand::Hand,
        op::{Admin, Key, KeyFields},
    };

    fn issued() -> Hand {
        Hand::new().admin(1, Admin::GenerateKey { key: Key(0), fields: KeyFields::UNSAID })
    }

    #[test]
    fn a_key_that_every_state_admits_must_be_served() {
        let history = issued().refused(2_000, 1, Refusal::Unauthenticated);
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 1 refused key 0 though every legal state allows it model 0: 401 (unauthenticated) no
        ");
    }

    #[test]
    fn a_key_that_no_state_admits_must_be_refused() {
        let history = issued().admin(10, Admin::BlockKey { key: Key(0) }).answered(2_000, 0);
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 0 served key 0 though no legal state allows it model 0
        ");
    }

    #[test]
    fn a_failure_is_never_explained() {
        let history = issued().refused(50, 0, Refusal::Fault).answered(2_000, 0);
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 0 failed on a legal state of key 0: 401 no
        ");
    }

    #[test]
    fn an_older_state_explains_a_refusal_within_the_bound() {
        let history = issued().refused(50, 1, Refusal::Unauthenticated).answered(2_000, 0);
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn requests_that_may_go_either_way_prove_nothing() {
        let history = issued().answered(50, 0);
        assert_snapshot!(
            judge(&[history.done()]),
            @"inconclusive: no request had only one legal answer"
        );
    }
}
