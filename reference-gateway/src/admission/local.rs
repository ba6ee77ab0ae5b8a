//! Counters in this process: for a gateway without Redis, and for while Redis is down.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    Ask, COUNTER_LIFETIME_MS, Cost, Decision, Grant, Limit, SLOT_WAIT_MS, Unit, WINDOW_MS,
};
use crate::{identity_cache::IdentityId, store::now_ms};

const COUNTER_LIFETIME: Duration = Duration::from_millis(COUNTER_LIFETIME_MS);
const WINDOW: Duration = Duration::from_millis(WINDOW_MS);

/// How many owners are counted before those who have been idle are forgotten.
const MOST_OWNERS: usize = 100_000;

struct Spent {
    epoch: String,
    pico: i64,
    started: Instant,
}

/// What counts towards one owner's limits.
#[derive(Default)]
struct Used {
    requests: VecDeque<Instant>,
    /// Tokens by call: reserved at first, then replaced.
    tokens: VecDeque<(Instant, String, i64)>,
    slots: HashSet<String>,
}

impl Used {
    /// Forgets what has left the window.
    fn slide(&mut self, now: Instant) {
        let has_left = |at: &Instant| now.duration_since(*at) >= WINDOW;
        while self.requests.front().is_some_and(has_left) {
            self.requests.pop_front();
        }
        while self.tokens.front().is_some_and(|(at, ..)| has_left(at)) {
            self.tokens.pop_front();
        }
    }

    fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.tokens.is_empty() && self.slots.is_empty()
    }

    /// How long this limit has no room; `None` when it has.
    fn wait(&self, limit: &Limit, now: Instant) -> Option<Duration> {
        let until_gone = |at: &Instant| WINDOW.saturating_sub(now.duration_since(*at));
        let most = usize::try_from(limit.most).unwrap_or(0);
        match limit.unit {
            Unit::Requests if self.requests.len() >= most => {
                Some(self.requests.get(self.requests.len() - most).map_or(WINDOW, until_gone))
            }
            Unit::Tokens => {
                let tokens = self.tokens.iter().map(|(.., tokens)| *tokens);
                let mut used = tokens.fold(0, i64::saturating_add);
                if used < limit.most {
                    return None;
                }
                let leaver = self.tokens.iter().find(|(.., tokens)| {
                    used -= tokens;
                    used < limit.most
                });
                Some(leaver.map_or(WINDOW, |(at, ..)| until_gone(at)))
            }
            Unit::Parallel if self.slots.len() >= most => Some(Duration::from_millis(SLOT_WAIT_MS)),
            Unit::Requests | Unit::Parallel => None,
        }
    }
}

#[derive(Default)]
struct Counters {
    spent: HashMap<IdentityId, Spent>,
    used: HashMap<IdentityId, Used>,
}

/// The counters of one process.
#[derive(Default)]
pub(super) struct Local(Mutex<Counters>);

impl Local {
    pub(super) fn decide(&self, ask: &Ask<'_>) -> Decision {
        let now = Instant::now();
        let mut counters = self.lock();
        counters.make_room(now);
        let mut uncounted = vec![];
        for (place, budget) in ask.budgets.iter().enumerate() {
            match counters.spent.get(&budget.owner) {
                Some(spent) if now.duration_since(spent.started) < COUNTER_LIFETIME => {
                    if spent.pico >= budget.max_pico {
                        return Decision::OverBudget { budget: place, spend_pico: spent.pico };
                    }
                }
                _ => uncounted.push(place),
            }
        }
        if !uncounted.is_empty() {
            return Decision::Uncounted(uncounted);
        }
        for (place, limit) in ask.limits.iter().enumerate() {
            let used = counters.used.entry(limit.owner.clone()).or_default();
            used.slide(now);
            if let Some(wait) = used.wait(limit, now) {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(WINDOW_MS);
                return Decision::OverLimit { limit: place, wait_ms };
            }
        }
        counters.take(ask, now)
    }

    pub(super) fn start(&self, owner: &IdentityId, spend_pico: i64) {
        let epoch = Uuid::new_v4().simple().to_string();
        let spent = Spent { epoch, pico: spend_pico, started: Instant::now() };
        self.lock().spent.insert(owner.clone(), spent);
    }

    pub(super) fn settle(&self, grant: &Grant, cost: Cost) {
        let mut counters = self.lock();
        for charge in &grant.charges {
            let Some(spent) = counters.spent.get_mut(&charge.owner) else { continue };
            let reserved = if spent.epoch == charge.epoch { grant.reserved.pico } else { 0 };
            spent.pico = spent.pico.saturating_add(cost.pico).saturating_sub(reserved);
        }
        for owner in &grant.token_owners {
            let Some(used) = counters.used.get_mut(owner) else { continue };
            match used.tokens.iter_mut().find(|(_, call_id, _)| *call_id == grant.call_id) {
                Some((.., tokens)) => *tokens = cost.tokens,
                None => {
                    let late = (Instant::now(), grant.call_id.clone(), cost.tokens);
                    used.tokens.push_back(late);
                }
            }
        }
        for owner in &grant.slot_owners {
            if let Some(used) = counters.used.get_mut(owner) {
                used.slots.remove(&grant.call_id);
            }
        }
    }

    pub(super) fn forget(&self, owners: &[IdentityId]) {
        let mut counters = self.lock();
        for owner in owners {
            counters.spent.remove(owner);
            counters.used.remove(owner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    /// Reserves everything that was asked for.
    fn take(&mut self, ask: &Ask<'_>, now: Instant) -> Decision {
        let mut epochs = vec![];
        for budget in &ask.budgets {
            if let Some(spent) = self.spent.get_mut(&budget.owner) {
                spent.pico = spent.pico.saturating_add(ask.reserve.pico);
                epochs.push(spent.epoch.clone());
            }
        }
        for limit in &ask.limits {
            let used = self.used.entry(limit.owner.clone()).or_default();
            let call_id = ask.call_id.to_owned();
            match limit.unit {
                Unit::Requests => used.requests.push_back(now),
                Unit::Tokens => used.tokens.push_back((now, call_id, ask.reserve.tokens)),
                Unit::Parallel => {
                    used.slots.insert(call_id);
                }
            }
        }
        Decision::Admitted { second: u64::try_from(now_ms() / 1_000).unwrap_or(0), epochs }
    }

    /// Forgets whoever has been idle, when there are too many.
    fn make_room(&mut self, now: Instant) {
        if self.spent.len() >= MOST_OWNERS {
            self.spent.retain(|_, spent| now.duration_since(spent.started) < COUNTER_LIFETIME);
        }
        if self.used.len() >= MOST_OWNERS {
            self.used.retain(|_, used| {
                used.slide(now);
                !used.is_idle()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Budget, Place};

    fn owner() -> IdentityId {
        IdentityId::Key("hash".to_owned())
    }

    fn within_budget(max_pico: i64, reserve_pico: i64) -> Ask<'static> {
        Ask {
            budgets: vec![Budget { owner: owner(), max_budget: 0.0, max_pico }],
            limits: vec![],
            call_id: "call",
            reserve: Cost { pico: reserve_pico, tokens: 0 },
        }
    }

    fn within_limit(unit: Unit, most: i64, call_id: &str) -> Ask<'_> {
        Ask {
            budgets: vec![],
            limits: vec![Limit { owner: owner(), unit, most }],
            call_id,
            reserve: Cost { pico: 0, tokens: 10 },
        }
    }

    fn admitted(local: &Local, ask: Ask<'_>) -> Option<Grant> {
        match local.decide(&ask) {
            Decision::Admitted { second, epochs } => {
                Some(ask.granted(second, epochs, Place::Local))
            }
            Decision::Uncounted(_) | Decision::OverBudget { .. } | Decision::OverLimit { .. } => {
                None
            }
        }
    }

    #[test]
    fn spend_at_the_budget_is_over_it() {
        let local = Local::default();
        assert_eq!(local.decide(&within_budget(10, 4)), Decision::Uncounted(vec![0]));
        local.start(&owner(), 2);
        for _ in 0..2 {
            assert!(admitted(&local, within_budget(10, 4)).is_some());
        }
        let refused = Decision::OverBudget { budget: 0, spend_pico: 10 };
        assert_eq!(local.decide(&within_budget(10, 4)), refused);
    }

    #[test]
    fn a_settled_reservation_makes_room_for_what_was_not_spent() {
        let local = Local::default();
        local.start(&owner(), 0);
        let grant = admitted(&local, within_budget(10, 10)).unwrap();
        assert!(admitted(&local, within_budget(10, 10)).is_none());
        local.settle(&grant, Cost { pico: 3, tokens: 0 });
        assert!(admitted(&local, within_budget(10, 7)).is_some());
        assert!(admitted(&local, within_budget(10, 0)).is_none());
    }

    #[test]
    fn a_reservation_of_an_earlier_epoch_is_not_taken_back_twice() {
        let local = Local::default();
        local.start(&owner(), 0);
        let grant = admitted(&local, within_budget(20, 10)).unwrap();
        local.start(&owner(), 0);
        local.settle(&grant, Cost { pico: 3, tokens: 0 });
        let refused = Decision::OverBudget { budget: 0, spend_pico: 3 };
        assert_eq!(local.decide(&within_budget(3, 0)), refused);
    }

    #[test]
    fn a_request_limit_of_n_admits_n_and_says_how_long_to_wait() {
        let local = Local::default();
        for _ in 0..3 {
            assert!(admitted(&local, within_limit(Unit::Requests, 3, "call")).is_some());
        }
        let refused = local.decide(&within_limit(Unit::Requests, 3, "call"));
        let Decision::OverLimit { wait_ms, .. } = refused else {
            panic!("the limit is used up");
        };
        assert!((59_000..=60_000).contains(&wait_ms));
        assert!(admitted(&local, within_limit(Unit::Requests, 0, "call")).is_none());
        assert!(admitted(&local, within_limit(Unit::Requests, i64::MAX, "call")).is_some());
    }

    #[test]
    fn tokens_are_reserved_and_then_counted_as_used() {
        let local = Local::default();
        let grant = admitted(&local, within_limit(Unit::Tokens, 10, "a")).unwrap();
        assert!(admitted(&local, within_limit(Unit::Tokens, 10, "b")).is_none());
        local.settle(&grant, Cost { pico: 0, tokens: 9 });
        let grant = admitted(&local, within_limit(Unit::Tokens, 10, "b")).unwrap();
        local.settle(&grant, Cost { pico: 0, tokens: 1 });
        assert!(admitted(&local, within_limit(Unit::Tokens, 10, "c")).is_none());
        assert!(admitted(&local, within_limit(Unit::Tokens, 0, "c")).is_none());
    }

    #[test]
    fn a_slot_is_free_again_when_its_request_is_over() {
        let local = Local::default();
        let grant = admitted(&local, within_limit(Unit::Parallel, 1, "a")).unwrap();
        assert!(admitted(&local, within_limit(Unit::Parallel, 1, "b")).is_none());
        local.settle(&grant, Cost::default());
        assert!(admitted(&local, within_limit(Unit::Parallel, 1, "b")).is_some());
    }
}
