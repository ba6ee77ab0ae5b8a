//! May this request go ahead? Budgets and rate limits, decided in one step.
//!
//! A request reserves its likely cost against every budget on its path and a place in every rate
//! limit, all or nothing, in one round trip to Redis; once it is over, one more replaces the
//! reservation by the cost. Callers without budgets and limits pay for neither. Without Redis
//! each process decides for itself.

mod budget;
mod rate_limit;
mod shared;
mod local;

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use self::{local::Local, shared::Shared};
use crate::{
    auth::Holder,
    error::GatewayError,
    identity_cache::IdentityId,
    redis::Link,
    spend::{SpendQueue, dollars},
    store::{Store, Unavailable},
};

/// How long a counter of spend may differ from Postgres before it is read again.
const COUNTER_LIFETIME_MS: u64 = 60_000;

/// The window of a request limit.
const WINDOW_MS: u64 = 60_000;

/// How often a request asks again because a counter had to be started first.
const MOST_ROUNDS: usize = 4;

/// A budget on the path of a request.
#[derive(Debug, Clone, PartialEq)]
struct Budget {
    owner: IdentityId,
    max_budget: f64,
    max_pico: i64,
}

/// A request limit on the path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RequestLimit {
    owner: IdentityId,
    per_minute: i64,
}

/// What one request asks for.
struct Ask<'a> {
    budgets: Vec<Budget>,
    limits: Vec<RequestLimit>,
    call_id: &'a str,
    reserve_pico: i64,
}

/// What was decided, budgets and limits named by their place in the question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    /// Admitted; each budget's counter is of this epoch.
    Admitted { epochs: Vec<String> },
    /// Nobody has counted for these budgets yet.
    Uncounted(Vec<usize>),
    /// This budget is used up.
    OverBudget { budget: usize, spend_pico: i64 },
    /// This limit is used up until then.
    OverLimit { limit: usize, wait_ms: u64 },
}

/// Where a request was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Shared,
    Local,
}

/// What a request holds until it is settled.
#[derive(Debug)]
pub(crate) struct Grant {
    charges: Vec<Charge>,
    reserved_pico: i64,
    place: Place,
}

/// A reservation against one budget. A counter that was read again since has another epoch, and
/// does not contain the reservation.
#[derive(Debug, Clone)]
struct Charge {
    owner: IdentityId,
    epoch: String,
}

/// Decides, and remembers what was decided.
pub(crate) struct Admission {
    shared: Option<Shared>,
    local: Local,
    store: Arc<Store>,
    spend: Arc<SpendQueue>,
    settling: TaskTracker,
}

impl Admission {
    pub(crate) fn new(redis: Option<Link>, store: Arc<Store>, spend: Arc<SpendQueue>) -> Self {
        Self {
            shared: redis.map(Shared::new),
            local: Local::default(),
            store,
            spend,
            settling: TaskTracker::new(),
        }
    }

    /// Admits a request that may cost `reserve_pico`, or says why not. `None` when nothing on its
    /// path has a budget or limit, so that there is nothing to settle.
    pub(crate) async fn admit(
        &self,
        holder: &Holder,
        call_id: &str,
        reserve_pico: i64,
    ) -> Result<Option<Grant>, GatewayError> {
        let (budgets, limits) = (budget::on_path(holder), rate_limit::on_path(holder));
        if budgets.is_empty() && limits.is_empty() {
            return Ok(None);
        }
        let ask = Ask { budgets, limits, call_id, reserve_pico };
        for _ in 0..MOST_ROUNDS {
            let (decision, place) = self.decide(&ask).await;
            match decision {
                Decision::Admitted { epochs } => {
                    let owners = ask.budgets.into_iter().map(|budget| budget.owner);
                    let charges =
                        owners.zip(epochs).map(|(owner, epoch)| Charge { owner, epoch }).collect();
                    return Ok(Some(Grant { charges, reserved_pico: reserve_pico, place }));
                }
                Decision::Uncounted(budgets) => {
                    for place_in_ask in budgets {
                        self.count(&ask.budgets[place_in_ask].owner, place).await?;
                    }
                }
                Decision::OverBudget { budget, spend_pico } => {
                    let budget = &ask.budgets[budget];
                    return Err(GatewayError::BudgetExceeded {
                        scope: budget::shown(&budget.owner, holder),
                        spend: dollars(spend_pico),
                        budget: budget.max_budget,
                    });
                }
                Decision::OverLimit { limit, wait_ms } => {
                    let limit = &ask.limits[limit];
                    return Err(GatewayError::RateLimited {
                        scope: rate_limit::shown(&limit.owner),
                        limit: limit.per_minute,
                        retry_after_s: wait_ms.div_ceil(1_000).max(1),
                    });
                }
            }
        }
        Err(Unavailable::Counters.into())
    }

    async fn decide(&self, ask: &Ask<'_>) -> (Decision, Place) {
        if let Some(shared) = &self.shared
            && let Ok(decision) = shared.decide(ask).await
        {
            return (decision, Place::Shared);
        }
        (self.local.decide(ask), Place::Local)
    }

    /// Starts a counter from what Postgres knows, this process's own unflushed spend included.
    async fn count(&self, owner: &IdentityId, place: Place) -> Result<(), Unavailable> {
        self.spend.flush(&self.store).await;
        let spend_pico = self.store.spend_of(owner).await?;
        match (place, &self.shared) {
            (Place::Shared, Some(shared)) => shared.start(owner, spend_pico).await,
            _ => self.local.start(owner, spend_pico),
        }
        Ok(())
    }

    /// Replaces a reservation by what the request cost.
    pub(crate) async fn settle(&self, grant: Grant, cost_pico: i64) {
        match (grant.place, &self.shared) {
            (Place::Shared, Some(shared)) => shared.settle(&grant, cost_pico).await,
            _ => self.local.settle(&grant, cost_pico),
        }
    }

    /// The same where nobody can wait for it.
    pub(crate) fn settle_later(self: &Arc<Self>, grant: Grant, cost_pico: i64) {
        let admission = Arc::clone(self);
        self.settling.spawn(async move { admission.settle(grant, cost_pico).await });
    }

    /// Forgets what identities have spent and asked for: they were deleted or made anew.
    pub(crate) async fn forget(&self, owners: &[IdentityId]) {
        self.local.forget(owners);
        if let Some(shared) = &self.shared {
            shared.forget(owners).await;
        }
    }

    /// Waits for what was left to settle.
    pub(crate) async fn drain(&self) {
        self.settling.close();
        self.settling.wait().await;
    }
}
