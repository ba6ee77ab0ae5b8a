//! Which earlier states a replica may still act on.
//!
//! Replicas cache identities, so after a change there is a time in which the older state is legal.
//! It ends D after the change was acknowledged. Before the acknowledgement, from the moment the call
//! was sent, either state is legal. A call whose fate is unknown leaves both legal for ever.

use std::time::Duration;

use super::identity::{Identities, PARTS};
use crate::{
    clock::Micros,
    history::{History, Seen},
    op::{Chat, Op, Outcome},
};

/// The states of one case over time.
#[derive(Clone, Debug)]
pub struct Timeline {
    staleness: Duration,
    /// Every state since the beginning, and what ended its being the only truth.
    states: Vec<State>,
}

#[derive(Clone, Debug)]
struct State {
    identities: Identities,
    /// When the call that led here was sent.
    since: Micros,
    /// When the call that led away was acknowledged; `None` while none was.
    replaced: Option<Micros>,
}

/// What a correct gateway may do with a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decisions {
    /// It may let it through.
    pub may_admit: bool,
    /// It may refuse it.
    pub may_refuse: bool,
}

impl Timeline {
    /// Reads the management calls of a history, which must not overlap each other.
    pub fn of(history: &History) -> Timeline {
        let first = State { identities: Identities::default(), since: Micros(0), replaced: None };
        let mut timeline =
            Timeline { staleness: history.manifest.staleness(), states: vec![first] };
        for seen in history.calls() {
            timeline.absorb(&seen);
        }
        timeline
    }

    fn absorb(&mut self, seen: &Seen<'_>) {
        let Op::Admin(admin) = &seen.call.op else { return };
        let acknowledged = match seen.outcome {
            Some(Outcome::Refused { .. }) => return,
            Some(Outcome::Answered { .. } | Outcome::Listed { .. }) => seen.completed,
            Some(Outcome::Indeterminate { .. }) | None => None,
        };
        // Every state that may be true gives one that may be true after the call.
        let open: Vec<_> = (0..self.states.len())
            .filter(|index| self.states.get(*index).is_some_and(|state| state.replaced.is_none()))
            .collect();
        for index in open {
            let Some(state) = self.states.get_mut(index) else { continue };
            state.replaced = acknowledged;
            let mut identities = state.identities.clone();
            identities.apply(admin);
            self.states.push(State { identities, since: seen.invoked, replaced: None });
        }
    }

    /// What may be done with a prompt sent at `invoked` whose outcome was known at `completed`.
    pub fn decisions(&self, chat: &Chat, invoked: Micros, completed: Micros) -> Decisions {
        let legal: Vec<_> = self
            .states
            .iter()
            .filter(|state| {
                let still =
                    state.replaced.is_none_or(|replaced| replaced.plus(self.staleness) >= invoked);
                state.since <= completed && still
            })
            .map(|state| state.identities.parts(chat))
            .collect();
        let parts = 0..PARTS;
        let lets = |part: usize, wanted: bool| {
            legal.iter().any(|parts| parts.get(part).is_some_and(|lets| *lets == wanted))
        };
        Decisions {
            may_admit: parts.clone().all(|part| lets(part, true)),
            may_refuse: parts.clone().any(|part| lets(part, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::hand::Hand,
        op::{Admin, Alias, Key, KeyFields},
    };

    fn decisions(history: &History, at_ms: u64) -> (bool, bool) {
        let chat = Chat { key: Key(0), alias: Alias(0), streamed: false };
        let at = Micros(at_ms * 1_000);
        let found = Timeline::of(history).decisions(&chat, at, at.plus(Duration::from_millis(1)));
        (found.may_admit, found.may_refuse)
    }

    /// A key issued at 1 ms and blocked in a call from 100 to 110 ms; D is 1 s.
    fn blocked(outcome: Outcome) -> History {
        Hand::with_staleness(1_000)
            .admin(1, Admin::GenerateKey { key: Key(0), fields: KeyFields::UNSAID })
            .admin_until(100, 110, Admin::BlockKey { key: Key(0) }, outcome)
            .done()
    }

    #[test]
    fn before_a_block_is_sent_nothing_may_be_refused() {
        let history = blocked(Outcome::Answered { status: 200, fingerprint: None });
        // D after the key was issued, an older state may still hide it.
        assert_eq!(decisions(&history, 50), (true, true));
    }

    #[test]
    fn within_the_bound_both_are_legal_and_after_it_one() {
        let history = blocked(Outcome::Answered { status: 200, fingerprint: None });
        assert_eq!(decisions(&history, 1_109), (true, true));
        assert_eq!(decisions(&history, 1_111), (false, true));
    }

    #[test]
    fn an_unknown_fate_leaves_both_legal() {
        let history = blocked(Outcome::Indeterminate { why: "connection lost".to_owned() });
        assert_eq!(decisions(&history, 60_000), (true, true));
    }
}
