//! Counters in this process: for a gateway without Redis, and for while Redis is down.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{Ask, COUNTER_LIFETIME_MS, Decision, Grant, WINDOW_MS};
use crate::identity_cache::IdentityId;

const COUNTER_LIFETIME: Duration = Duration::from_millis(COUNTER_LIFETIME_MS);
const WINDOW: Duration = Duration::from_millis(WINDOW_MS);

/// How many owners are counted before those who have been idle are forgotten.
const MOST_OWNERS: usize = 100_000;

struct Spent {
    epoch: String,
    pico: i64,
    started: Instant,
}

#[derive(Default)]
struct Counters {
    spent: HashMap<IdentityId, Spent>,
    requests: HashMap<IdentityId, VecDeque<Instant>>,
}

/// The counters of one process.
#[derive(Default)]
pub(super) struct Local(Mutex<Counters>);

impl Local {
    pub(super) fn decide(&self, ask: &Ask<'_>) -> Decision {
        let now = Instant::now();
        let mut counters = self.lock();
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
            let requests = counters.requests.entry(limit.owner.clone()).or_default();
            while requests.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
                requests.pop_front();
            }
            let per_minute = usize::try_from(limit.per_minute).unwrap_or(0);
            if requests.len() >= per_minute {
                let leaver = requests.get(requests.len() - per_minute);
                let wait = leaver.map_or(WINDOW, |at| WINDOW - now.duration_since(*at));
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(WINDOW_MS);
                return Decision::OverLimit { limit: place, wait_ms };
            }
        }
        let mut epochs = vec![];
        for budget in &ask.budgets {
            if let Some(spent) = counters.spent.get_mut(&budget.owner) {
                spent.pico = spent.pico.saturating_add(ask.reserve_pico);
                epochs.push(spent.epoch.clone());
            }
        }
        for limit in &ask.limits {
            counters.requests.entry(limit.owner.clone()).or_default().push_back(now);
        }
        Decision::Admitted { epochs }
    }

    pub(super) fn start(&self, owner: &IdentityId, spend_pico: i64) {
        let now = Instant::now();
        let mut counters = self.lock();
        if counters.spent.len() >= MOST_OWNERS {
            counters.spent.retain(|_, spent| now.duration_since(spent.started) < COUNTER_LIFETIME);
        }
        if counters.requests.len() >= MOST_OWNERS {
            let is_idle = |last: &Instant| now.duration_since(*last) >= WINDOW;
            counters.requests.retain(|_, requests| !requests.back().is_none_or(is_idle));
        }
        let epoch = Uuid::new_v4().simple().to_string();
        counters.spent.insert(owner.clone(), Spent { epoch, pico: spend_pico, started: now });
    }

    pub(super) fn settle(&self, grant: &Grant, cost_pico: i64) {
        let mut counters = self.lock();
        for charge in &grant.charges {
            let Some(spent) = counters.spent.get_mut(&charge.owner) else { continue };
            let reserved = if spent.epoch == charge.epoch { grant.reserved_pico } else { 0 };
            spent.pico = spent.pico.saturating_add(cost_pico).saturating_sub(reserved);
        }
    }

    pub(super) fn forget(&self, owners: &[IdentityId]) {
        let mut counters = self.lock();
        for owner in owners {
            counters.spent.remove(owner);
            counters.requests.remove(owner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Budget, Charge, Place, RequestLimit};

    fn owner() -> IdentityId {
        IdentityId::Key("hash".to_owned())
    }

    fn ask(max_pico: Option<i64>, per_minute: Option<i64>, reserve_pico: i64) -> Ask<'static> {
        let budget = |max_pico| Budget { owner: owner(), max_budget: 0.0, max_pico };
        let limit = |per_minute| RequestLimit { owner: owner(), per_minute };
        Ask {
            budgets: max_pico.map(budget).into_iter().collect(),
            limits: per_minute.map(limit).into_iter().collect(),
            call_id: "call",
            reserve_pico,
        }
    }

    #[test]
    fn spend_at_the_budget_is_over_it() {
        let local = Local::default();
        assert_eq!(local.decide(&ask(Some(10), None, 4)), Decision::Uncounted(vec![0]));
        local.start(&owner(), 2);
        for _ in 0..2 {
            assert!(matches!(local.decide(&ask(Some(10), None, 4)), Decision::Admitted { .. }));
        }
        let refused = Decision::OverBudget { budget: 0, spend_pico: 10 };
        assert_eq!(local.decide(&ask(Some(10), None, 4)), refused);
    }

    #[test]
    fn a_settled_reservation_makes_room_for_what_was_not_spent() {
        let local = Local::default();
        local.start(&owner(), 0);
        let Decision::Admitted { epochs } = local.decide(&ask(Some(10), None, 10)) else {
            panic!("the budget has room");
        };
        let charges = vec![Charge { owner: owner(), epoch: epochs[0].clone() }];
        local.settle(&Grant { charges, reserved_pico: 10, place: Place::Local }, 3);
        assert!(matches!(local.decide(&ask(Some(10), None, 7)), Decision::Admitted { .. }));
        assert!(matches!(local.decide(&ask(Some(10), None, 0)), Decision::OverBudget { .. }));
    }

    #[test]
    fn a_reservation_of_an_earlier_epoch_is_not_taken_back_twice() {
        let local = Local::default();
        local.start(&owner(), 0);
        let charges = vec![Charge { owner: owner(), epoch: "earlier".to_owned() }];
        local.settle(&Grant { charges, reserved_pico: 10, place: Place::Local }, 3);
        let refused = Decision::OverBudget { budget: 0, spend_pico: 3 };
        assert_eq!(local.decide(&ask(Some(3), None, 0)), refused);
    }

    #[test]
    fn a_limit_of_n_admits_n_and_says_how_long_to_wait() {
        let local = Local::default();
        for _ in 0..3 {
            assert!(matches!(local.decide(&ask(None, Some(3), 0)), Decision::Admitted { .. }));
        }
        let Decision::OverLimit { wait_ms, .. } = local.decide(&ask(None, Some(3), 0)) else {
            panic!("the limit is used up");
        };
        assert!((59_000..=60_000).contains(&wait_ms));
        assert!(matches!(local.decide(&ask(None, Some(0), 0)), Decision::OverLimit { .. }));
        assert!(matches!(local.decide(&ask(None, Some(i64::MAX), 0)), Decision::Admitted { .. }));
    }
}
