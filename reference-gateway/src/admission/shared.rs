//! Counters in Redis, shared by all replicas.
//!
//! A budget's counter is a hash of its epoch `e` and the spend `s` in pico-dollars; it lives for a
//! minute and is then read again from Postgres, so that no error lasts. A request limit's counter
//! is a sorted set of the last minute's requests by Redis' own clock.

use redis::{Script, pipe};
use uuid::Uuid;

use super::{Ask, COUNTER_LIFETIME_MS, Decision, Grant, WINDOW_MS};
use crate::{
    identity_cache::IdentityId,
    redis::{Failure, Link, Urgency},
};

/// Checks everything, then takes everything: a request that is refused leaves no trace.
const ADMIT: &str = r"
local budgets, limits = tonumber(ARGV[1]), tonumber(ARGV[2])
local reserve, call, window = ARGV[3], ARGV[4], tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epochs, uncounted = {'admitted'}, {'uncounted'}
for i = 1, budgets do
  local counter = redis.call('HMGET', KEYS[i], 'e', 's')
  if not counter[1] then
    table.insert(uncounted, tostring(i - 1))
  elseif tonumber(counter[2]) >= tonumber(ARGV[5 + i]) then
    return {'over_budget', tostring(i - 1), counter[2]}
  else
    table.insert(epochs, counter[1])
  end
end
if #uncounted > 1 then
  return uncounted
end
for i = 1, limits do
  local key, limit = KEYS[budgets + i], tonumber(ARGV[5 + budgets + i])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  local used = redis.call('ZCARD', key)
  if used >= limit then
    local leaver = redis.call('ZRANGE', key, used - limit, used - limit, 'WITHSCORES')
    local wait = window
    if leaver[2] then
      wait = leaver[2] + window - now
    end
    return {'over_limit', tostring(i - 1), string.format('%d', math.max(wait, 0))}
  end
end
for i = 1, budgets do
  redis.call('HINCRBY', KEYS[i], 's', reserve)
end
for i = 1, limits do
  redis.call('ZADD', KEYS[budgets + i], now, call)
  redis.call('PEXPIRE', KEYS[budgets + i], window)
end
return epochs
";

/// Replaces reservations by the cost. A counter of another epoch knows nothing of the
/// reservation; one that is gone will be read from Postgres, cost included.
const SETTLE: &str = r"
for i, key in ipairs(KEYS) do
  local epoch = redis.call('HGET', key, 'e')
  if epoch == ARGV[2 + i] then
    redis.call('HINCRBY', key, 's', ARGV[1])
  elseif epoch then
    redis.call('HINCRBY', key, 's', ARGV[2])
  end
end
";

/// Starts a counter, unless another replica just has.
const START: &str = r"
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'e', ARGV[1], 's', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
";

/// The counters of all replicas.
pub(super) struct Shared {
    link: Link,
    admit: Script,
    settle: Script,
    start: Script,
}

impl Shared {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            admit: Script::new(ADMIT),
            settle: Script::new(SETTLE),
            start: Script::new(START),
        }
    }

    pub(super) async fn decide(&self, ask: &Ask<'_>) -> Result<Decision, Failure> {
        let mut script = self.admit.prepare_invoke();
        for budget in &ask.budgets {
            script.key(spend_name(&budget.owner));
        }
        for limit in &ask.limits {
            script.key(requests_name(&limit.owner));
        }
        script
            .arg(ask.budgets.len())
            .arg(ask.limits.len())
            .arg(ask.reserve_pico)
            .arg(ask.call_id)
            .arg(WINDOW_MS);
        for budget in &ask.budgets {
            script.arg(budget.max_pico);
        }
        for limit in &ask.limits {
            script.arg(limit.per_minute);
        }
        let answer: Vec<String> = self.link.script_once(&script).await?;
        decision(&answer).ok_or(Failure::Down)
    }

    pub(super) async fn start(&self, owner: &IdentityId, spend_pico: i64) {
        let mut script = self.start.prepare_invoke();
        script
            .key(spend_name(owner))
            .arg(Uuid::new_v4().simple().to_string())
            .arg(spend_pico)
            .arg(COUNTER_LIFETIME_MS);
        // Where it cannot be started, the next question is answered by this process alone.
        let _ = self.link.script::<()>(&script).await;
    }

    pub(super) async fn settle(&self, grant: &Grant, cost_pico: i64) {
        if grant.charges.is_empty() {
            return;
        }
        let mut script = self.settle.prepare_invoke();
        for charge in &grant.charges {
            script.key(spend_name(&charge.owner));
        }
        script.arg(cost_pico.saturating_sub(grant.reserved_pico)).arg(cost_pico);
        for charge in &grant.charges {
            script.arg(&charge.epoch);
        }
        // A settlement that is lost is mended when the counter is read from Postgres again.
        let _ = self.link.script_once::<()>(&script).await;
    }

    pub(super) async fn forget(&self, owners: &[IdentityId]) {
        let mut commands = pipe();
        for owner in owners {
            commands.cmd("DEL").arg(spend_name(owner)).arg(requests_name(owner)).ignore();
        }
        let _ = self.link.pipeline::<()>(&commands, Urgency::CanSkip).await;
    }
}

fn spend_name(owner: &IdentityId) -> String {
    format!("rg-spend:{}", owner.name())
}

fn requests_name(owner: &IdentityId) -> String {
    format!("rg-requests:{}", owner.name())
}

fn decision(answer: &[String]) -> Option<Decision> {
    let (word, rest) = answer.split_first()?;
    match (word.as_str(), rest) {
        ("admitted", epochs) => Some(Decision::Admitted { epochs: epochs.to_vec() }),
        ("uncounted", budgets) => {
            let budgets = budgets.iter().map(|place| place.parse().ok());
            Some(Decision::Uncounted(budgets.collect::<Option<_>>()?))
        }
        ("over_budget", [budget, spend]) => Some(Decision::OverBudget {
            budget: budget.parse().ok()?,
            spend_pico: spend.parse().ok()?,
        }),
        ("over_limit", [limit, wait]) => {
            Some(Decision::OverLimit { limit: limit.parse().ok()?, wait_ms: wait.parse().ok()? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &[&str]) -> Option<Decision> {
        decision(&answer.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_answer_of_the_script_is_understood() {
        assert_eq!(read(&["admitted"]), Some(Decision::Admitted { epochs: vec![] }));
        assert_eq!(read(&["uncounted", "0", "2"]), Some(Decision::Uncounted(vec![0, 2])));
        assert_eq!(
            read(&["over_budget", "1", "5"]),
            Some(Decision::OverBudget { budget: 1, spend_pico: 5 })
        );
        assert_eq!(
            read(&["over_limit", "0", "59000"]),
            Some(Decision::OverLimit { limit: 0, wait_ms: 59_000 })
        );
        assert_eq!(read(&["what"]), None);
        assert_eq!(read(&[]), None);
    }
}
