//! How a change reaches every replica: committed first, then announced, then answered.
//!
//! The announcement replaces the generations, deletes the entries and publishes the ids in one
//! transaction. Where it cannot be made, or a message is lost, entries still end with their
//! lifetime; a replica that was deaf for a while forgets everything once it hears again.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use redis::{Value, aio::PubSub};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{IdentityCache, IdentityId, tiered::Tiers};
use crate::redis::{Down, Link};

/// Where replicas tell each other which identities changed.
const CHANNEL: &str = "rg-invalidation";

/// How often a silent subscription is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The pause before a lost subscription is tried again.
const RECONNECT_AFTER: Duration = Duration::from_millis(250);

#[derive(Serialize, Deserialize)]
struct Message {
    ids: Vec<IdentityId>,
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
        let message = serde_json::to_string(&Message { ids: ids.clone() })
            .expect("ids are strings, so they always serialise");
        let generation = Uuid::new_v4().simple().to_string();
        // The link logs when Redis goes down; the lifetime bounds what was not announced.
        let _ = redis.announce(&ids, CHANNEL, &message, &generation, tiers.defects).await;
        // A request may have taken the old entry from Redis before it was deleted.
        tiers.forget(&ids);
    }

    /// Hears what other replicas announce, until `stop`.
    pub(crate) async fn listen(&self, stop: CancellationToken) {
        let Some(redis) = &self.tiers.redis else { return };
        let _ = stop.run_until_cancelled(listen(&self.tiers, redis.link())).await;
    }
}

async fn listen(tiers: &Arc<Tiers>, link: &Link) {
    let mut was_deaf = false;
    loop {
        if let Ok(subscription) = link.subscribe(CHANNEL).await {
            if was_deaf {
                tiers.forget_all();
            }
            let _ = hear(tiers, subscription).await;
        }
        was_deaf = true;
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// Follows one subscription until it breaks.
async fn hear(tiers: &Tiers, subscription: PubSub) -> Result<(), Down> {
    let (mut sink, mut messages) = subscription.split();
    loop {
        match timeout(PING_EVERY, messages.next()).await {
            Ok(Some(message)) => {
                match serde_json::from_slice::<Message>(message.get_payload_bytes()) {
                    Ok(message) => tiers.forget(&message.ids),
                    // Somebody speaks another language here; better to forget too much.
                    Err(_) => tiers.forget_all(),
                }
            }
            Ok(None) => return Err(Down),
            Err(_) => {
                let ping = timeout(PING_EVERY, sink.ping::<Value>()).await;
                ping.map_err(|_| Down)?.map_err(|_| Down)?;
            }
        }
    }
}

impl Tiers {
    fn forget(&self, ids: &[IdentityId]) {
        for id in ids {
            let name = id.names(self.defects).entry;
            self.flights.ground(id, || self.memory.forget(&name));
        }
    }

    fn forget_all(&self) {
        self.flights.ground_all(|| self.memory.forget_all());
    }
}
