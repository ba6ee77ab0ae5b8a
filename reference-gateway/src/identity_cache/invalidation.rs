//! How a change reaches every replica: committed first, then announced, then answered.
//!
//! The announcement replaces the generations, deletes the entries and publishes the ids in one
//! transaction. What could not be announced is announced as soon as Redis answers again, and
//! until then this process does not believe Redis about it. Where a message is lost, entries
//! still end with their lifetime; a replica that was deaf for a while forgets everything once it
//! hears again.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use redis::{Value, aio::PubSub};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{IdentityCache, IdentityId, redis::RedisTier, tiered::Tiers};
use crate::redis::Failure;

/// Where replicas tell each other which identities changed.
const CHANNEL: &str = "rg-invalidation";

/// How often a silent subscription is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The pause before a lost subscription, or a failed announcement, is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// How many changes wait for Redis at most; beyond it the lifetime alone bounds staleness.
const MOST_UNANNOUNCED: usize = 10_000;

#[derive(Serialize, Deserialize)]
struct Message {
    ids: Vec<IdentityId>,
}

/// Changes that other replicas, and Redis, have not heard of.
#[derive(Debug, Default)]
pub(super) struct Unannounced(Mutex<BTreeSet<IdentityId>>);

impl Unannounced {
    pub(super) fn contains(&self, id: &IdentityId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn add(&self, ids: Vec<IdentityId>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST_UNANNOUNCED {
            waiting.extend(ids);
        }
    }

    fn all(&self) -> Vec<IdentityId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn remove(&self, ids: &[IdentityId]) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            waiting.remove(id);
        }
    }
}

impl IdentityCache {
    /// Makes every replica read these identities anew. Call it after the change was committed
    /// and before it is confirmed.
    pub(crate) async fn invalidate(&self, ids: Vec<IdentityId>) {
        let tiers = &self.tiers;
        tiers.forget(&ids);
        if tiers.defects.revokes_locally() {
            return;
        }
        let Some(redis) = &tiers.redis else { return };
        if tiers.announce(redis, &ids).await.is_err() {
            tiers.unannounced.add(ids.clone());
        }
        // A request may have taken the old entry from Redis before it was deleted.
        tiers.forget(&ids);
    }

    /// Hears what other replicas announce, and announces what could not be announced before,
    /// until `stop`.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let tiers = &self.tiers;
        let Some(redis) = &tiers.redis else { return };
        let both = async { futures::join!(tiers.listen(redis), tiers.catch_up(redis)) };
        let _ = stop.run_until_cancelled(both).await;
    }
}

impl Tiers {
    async fn announce(&self, redis: &RedisTier, ids: &[IdentityId]) -> Result<(), Failure> {
        let message = serde_json::to_string(&Message { ids: ids.to_vec() })
            .expect("ids are strings, so they always serialise");
        let generation = Uuid::new_v4().simple().to_string();
        redis.announce(ids, CHANNEL, &message, &generation, self.defects).await
    }

    /// Announces what could not be announced, once Redis answers again.
    async fn catch_up(&self, redis: &RedisTier) {
        loop {
            tokio::time::sleep(RETRY_AFTER).await;
            let waiting = self.unannounced.all();
            if !waiting.is_empty() && self.announce(redis, &waiting).await.is_ok() {
                self.unannounced.remove(&waiting);
                self.forget(&waiting);
            }
        }
    }

    async fn listen(&self, redis: &RedisTier) {
        loop {
            if let Ok(subscription) = redis.link().subscribe(CHANNEL).await {
                // Whatever was announced until now went by unheard, at the start as after a break.
                self.forget_all();
                let _ = self.hear(subscription).await;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Follows one subscription until it breaks.
    async fn hear(&self, subscription: PubSub) -> Result<(), Failure> {
        let (mut sink, mut messages) = subscription.split();
        loop {
            match timeout(PING_EVERY, messages.next()).await {
                Ok(Some(message)) => {
                    match serde_json::from_slice::<Message>(message.get_payload_bytes()) {
                        Ok(message) => self.forget(&message.ids),
                        // Somebody speaks another language here; better to forget too much.
                        Err(_) => self.forget_all(),
                    }
                }
                Ok(None) => return Err(Failure::Down),
                Err(_) => {
                    let ping = timeout(PING_EVERY, sink.ping::<Value>()).await;
                    ping.map_err(|_| Failure::Down)?.map_err(|_| Failure::Down)?;
                }
            }
        }
    }

    fn forget(&self, ids: &[IdentityId]) {
        for id in ids {
            let name = id.entry(self.defects);
            self.flights.ground(id, || self.memory.forget(&name));
        }
    }

    fn forget_all(&self) {
        self.flights.ground_all(|| self.memory.forget_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_announced_is_kept_until_it_was() {
        let unannounced = Unannounced::default();
        let id = IdentityId::Key("hash".to_owned());
        unannounced.add(vec![id.clone()]);
        assert!(unannounced.contains(&id));
        unannounced.remove(&unannounced.all());
        assert!(!unannounced.contains(&id));
    }
}
