//! Counters in Redis, shared by all replicas, by Redis' own clock.
//!
//! A budget's counter is a hash of its epoch `e` and the spend `s` in pico-dollars; it lives for a
//! minute and is then read again from Postgres, so that no error lasts. Requests of the last
//! minute and requests under way are sorted sets of call ids; tokens of the last minute are a hash
//! of tokens by second.

use redis::{Script, pipe};
use uuid::Uuid;

use super::{
    Ask, COUNTER_LIFETIME_MS, Cost, Decision, Grant, SLOT_LEASE_MS, SLOT_WAIT_MS, Unit, WINDOW_MS,
};
use crate::{
    identity_cache::IdentityId,
    redis::{Failure, Link, Urgency},
};

/// Checks everything, then takes everything: a request that is refused leaves no trace.
const ADMIT: &str = r"
local budgets, limits = tonumber(ARGV[1]), tonumber(ARGV[2])
local call, reserve_pico, reserve_tokens = ARGV[3], ARGV[4], ARGV[5]
local window, lease, slot_wait = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local admitted, uncounted = {'admitted', time[1]}, {'uncounted'}
for i = 1, budgets do
  local counter = redis.call('HMGET', KEYS[i], 'e', 's')
  if not counter[1] then
    table.insert(uncounted, tostring(i - 1))
  elseif tonumber(counter[2]) >= tonumber(ARGV[8 + i]) then
    return {'over_budget', tostring(i - 1), counter[2]}
  else
    table.insert(admitted, counter[1])
  end
end
if #uncounted > 1 then
  return uncounted
end
local function limit(i)
  return KEYS[budgets + i], ARGV[7 + budgets + 2 * i], tonumber(ARGV[8 + budgets + 2 * i])
end
for i = 1, limits do
  local key, unit, most = limit(i)
  local wait
  if unit == 'requests' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
    local used = redis.call('ZCARD', key)
    if used >= most then
      local leaver = redis.call('ZRANGE', key, used - most, used - most, 'WITHSCORES')
      wait = window
      if leaver[2] then
        wait = leaver[2] + window - now
      end
    end
  elseif unit == 'tokens' then
    local counted, used, seconds = redis.call('HGETALL', key), 0, {}
    for j = 1, #counted, 2 do
      local leaves = counted[j] * 1000 + 1000 + window
      if leaves <= now then
        redis.call('HDEL', key, counted[j])
      else
        used = used + counted[j + 1]
        table.insert(seconds, {leaves, tonumber(counted[j + 1])})
      end
    end
    if used >= most then
      table.sort(seconds, function(a, b) return a[1] < b[1] end)
      wait = window
      for _, second in ipairs(seconds) do
        used = used - second[2]
        if used < most then
          wait = second[1] - now
          break
        end
      end
    end
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) >= most then
      wait = slot_wait
    end
  end
  if wait then
    return {'over_limit', tostring(i - 1), string.format('%d', math.max(wait, 0))}
  end
end
for i = 1, budgets do
  redis.call('HINCRBY', KEYS[i], 's', reserve_pico)
end
for i = 1, limits do
  local key, unit = limit(i)
  if unit == 'requests' then
    redis.call('ZADD', key, now, call)
    redis.call('PEXPIRE', key, window)
  elseif unit == 'tokens' then
    redis.call('HINCRBY', key, time[1], reserve_tokens)
    redis.call('PEXPIRE', key, window + 1000)
  else
    redis.call('ZADD', key, now + lease, call)
    redis.call('PEXPIRE', key, lease)
  end
end
return admitted
";

/// Replaces reservations by the cost, and gives slots back. A counter of another epoch knows
/// nothing of the reservation; one that is gone will be read from Postgres, cost included. Tokens
/// whose second is forgotten are counted now.
const SETTLE: &str = r"
local budgets, tokens = tonumber(ARGV[1]), tonumber(ARGV[2])
local call, second, window = ARGV[3], ARGV[4], tonumber(ARGV[5])
local cost_pico, less_pico, cost_tokens, less_tokens = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
for i, key in ipairs(KEYS) do
  if i <= budgets then
    local epoch = redis.call('HGET', key, 'e')
    if epoch == ARGV[9 + i] then
      redis.call('HINCRBY', key, 's', less_pico)
    elseif epoch then
      redis.call('HINCRBY', key, 's', cost_pico)
    end
  elseif i <= budgets + tokens then
    if redis.call('HEXISTS', key, second) == 1 then
      redis.call('HINCRBY', key, second, less_tokens)
    else
      redis.call('HINCRBY', key, redis.call('TIME')[1], cost_tokens)
      redis.call('PEXPIRE', key, window + 1000)
    end
  else
    redis.call('ZREM', key, call)
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
            script.key(limit_name(&limit.owner, limit.unit));
        }
        script
            .arg(ask.budgets.len())
            .arg(ask.limits.len())
            .arg(ask.call_id)
            .arg(ask.reserve.pico)
            .arg(ask.reserve.tokens)
            .arg(WINDOW_MS)
            .arg(SLOT_LEASE_MS)
            .arg(SLOT_WAIT_MS);
        for budget in &ask.budgets {
            script.arg(budget.max_pico);
        }
        for limit in &ask.limits {
            script.arg(limit.unit.word()).arg(limit.most);
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

    pub(super) async fn settle(&self, grant: &Grant, cost: Cost) {
        let mut script = self.settle.prepare_invoke();
        for charge in &grant.charges {
            script.key(spend_name(&charge.owner));
        }
        for owner in &grant.token_owners {
            script.key(limit_name(owner, Unit::Tokens));
        }
        for owner in &grant.slot_owners {
            script.key(limit_name(owner, Unit::Parallel));
        }
        script
            .arg(grant.charges.len())
            .arg(grant.token_owners.len())
            .arg(&grant.call_id)
            .arg(grant.second)
            .arg(WINDOW_MS)
            .arg(cost.pico)
            .arg(cost.pico.saturating_sub(grant.reserved.pico))
            .arg(cost.tokens)
            .arg(cost.tokens.saturating_sub(grant.reserved.tokens));
        for charge in &grant.charges {
            script.arg(&charge.epoch);
        }
        // A settlement that is lost is mended when the counter is read from Postgres again, and
        // when windows and leases end.
        let _ = self.link.script_once::<()>(&script).await;
    }

    pub(super) async fn forget(&self, owners: &[IdentityId]) {
        let mut commands = pipe();
        for owner in owners {
            commands.cmd("DEL").arg(spend_name(owner));
            for unit in [Unit::Requests, Unit::Tokens, Unit::Parallel] {
                commands.arg(limit_name(owner, unit));
            }
            commands.ignore();
        }
        let _ = self.link.pipeline::<()>(&commands, Urgency::CanSkip).await;
    }
}

fn spend_name(owner: &IdentityId) -> String {
    format!("rg-spend:{}", owner.name())
}

fn limit_name(owner: &IdentityId, unit: Unit) -> String {
    let counter = match unit {
        Unit::Requests => "rg-requests",
        Unit::Tokens => "rg-tokens",
        Unit::Parallel => "rg-parallel",
    };
    format!("{counter}:{}", owner.name())
}

fn decision(answer: &[String]) -> Option<Decision> {
    let (word, rest) = answer.split_first()?;
    match (word.as_str(), rest) {
        ("admitted", [second, epochs @ ..]) => {
            Some(Decision::Admitted { second: second.parse().ok()?, epochs: epochs.to_vec() })
        }
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
        assert_eq!(
            read(&["admitted", "7", "e"]),
            Some(Decision::Admitted { second: 7, epochs: vec!["e".to_owned()] })
        );
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
