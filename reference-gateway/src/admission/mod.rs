//! May this request go ahead? Budgets, rate limits and parallel slots, decided in one step.
//!
//! A request reserves its likely cost against every budget and token limit on its path, and a
//! place in every other limit, all or nothing, in one round trip to Redis; once it is over, one
//! more replaces the reservation by the cost and gives its slots back. Callers without budgets and
//! limits pay for neither. Without Redis each process decides for itself.

mod budget;
mod rate_limit;
mod parallel;
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

/// The window of request and token limits.
const WINDOW_MS: u64 = 60_000;

/// How long a parallel slot may be held. Slots are given back at the end of a request; only those
/// of a process that died wait for this.
const SLOT_LEASE_MS: u64 = 900_000;

/// How long to wait for a parallel slot: nobody can know, so soon.
const SLOT_WAIT_MS: u64 = 1_000;

/// How often a request asks again because a counter had to be started first.
const MOST_ROUNDS: usize = 4;

/// What a request takes of budgets and token limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub(crate) pico: i64,
    pub(crate) tokens: i64,
}

/// A budget on the path of a request.
#[derive(Debug, Clone, PartialEq)]
struct Budget {
    owner: IdentityId,
    max_budget: f64,
    max_pico: i64,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Requests in any minute.
    Requests,
    /// Tokens in any minute, of prompt and completion together.
    Tokens,
    /// Requests under way.
    Parallel,
}

impl Unit {
    /// The word in refusals, in scripts and in the names of counters.
    fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Parallel => "max_parallel_requests",
        }
    }
}

/// A limit on the path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    owner: IdentityId,
    unit: Unit,
    most: i64,
}

/// What one request asks for.
struct Ask<'a> {
    budgets: Vec<Budget>,
    limits: Vec<Limit>,
    call_id: &'a str,
    reserve: Cost,
}

/// What was decided, budgets and limits named by their place in the question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    /// Admitted; tokens are counted in this second, each budget's counter is of this epoch.
    Admitted { second: u64, epochs: Vec<String> },
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
    /// Owners of the token limits that it counts in.
    token_owners: Vec<IdentityId>,
    /// Owners of the slots that it holds.
    slot_owners: Vec<IdentityId>,
    call_id: String,
    second: u64,
    reserved: Cost,
    place: Place,
}

impl Grant {
    /// Is there anything to give back?
    fn is_empty(&self) -> bool {
        self.charges.is_empty() && self.token_owners.is_empty() && self.slot_owners.is_empty()
    }
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

    /// Admits a request that may cost `reserve`, or says why not. `None` when nothing on its path
    /// has a budget or limit, so that there is nothing to settle.
    pub(crate) async fn admit(
        &self,
        holder: &Holder,
        call_id: &str,
        reserve: Cost,
    ) -> Result<Option<Grant>, GatewayError> {
        let budgets = budget::on_path(holder);
        let mut limits = rate_limit::on_path(holder);
        limits.extend(parallel::on_path(holder));
        if budgets.is_empty() && limits.is_empty() {
            return Ok(None);
        }
        let ask = Ask { budgets, limits, call_id, reserve };
        for _ in 0..MOST_ROUNDS {
            let (decision, place) = self.decide(&ask).await;
            match decision {
                Decision::Admitted { second, epochs } => {
                    return Ok(Some(ask.granted(second, epochs, place)));
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
                        unit: limit.unit.word(),
                        limit: limit.most,
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

    /// Replaces a reservation by what the request cost, and gives its slots back.
    pub(crate) async fn settle(&self, grant: Grant, cost: Cost) {
        if grant.is_empty() {
            return;
        }
        match (grant.place, &self.shared) {
            (Place::Shared, Some(shared)) => shared.settle(&grant, cost).await,
            _ => self.local.settle(&grant, cost),
        }
    }

    /// The same where nobody can wait for it.
    pub(crate) fn settle_later(self: &Arc<Self>, grant: Grant, cost: Cost) {
        let admission = Arc::clone(self);
        self.settling.spawn(async move { admission.settle(grant, cost).await });
    }

    /// Forgets what identities have spent and asked for: they were deleted.
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

impl Ask<'_> {
    fn granted(self, second: u64, epochs: Vec<String>, place: Place) -> Grant {
        let owners = self.budgets.into_iter().map(|budget| budget.owner);
        let charges = owners.zip(epochs).map(|(owner, epoch)| Charge { owner, epoch }).collect();
        let owners_of = |unit| {
            let limits = self.limits.iter().filter(move |limit| limit.unit == unit);
            limits.map(|limit| limit.owner.clone()).collect()
        };
        Grant {
            charges,
            token_owners: owners_of(Unit::Tokens),
            slot_owners: owners_of(Unit::Parallel),
            call_id: self.call_id.to_owned(),
            second,
            reserved: self.reserve,
            place,
        }
    }
}
