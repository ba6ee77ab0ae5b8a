//! Redis, as the rest of the gateway sees it: a store that answers in time or counts as down.
//!
//! Each topology has a file of its own. All of them give a [`Link`], which bounds every command,
//! stops asking for a moment after a failure, and logs when the store goes down or comes back,
//! not once per request.

mod standalone;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    Client, FromRedisValue, Pipeline, RedisError, ScriptInvocation,
    aio::{ConnectionManager, PubSub},
};

/// How long a failed Redis is left alone before it is asked again.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(250);

/// Redis could not answer; whoever asked goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("redis is unavailable")]
pub(crate) struct Down;

/// May a command be skipped while Redis rests after a failure?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It may: there is another way.
    CanSkip,
    /// It must be tried.
    MustTry,
}

/// One shared connection to Redis that mends itself.
#[derive(Clone)]
pub(crate) struct Link {
    connection: ConnectionManager,
    client: Client,
    timeout: Duration,
    health: Arc<Health>,
}

struct Health {
    up: AtomicBool,
    rests_until: Mutex<Option<Instant>>,
}

impl Link {
    /// A link to one Redis server. Nothing is sent until something is asked.
    pub(crate) fn standalone(url: &str, timeout: Duration) -> Result<Self, RedisError> {
        let (client, connection) = standalone::open(url, timeout)?;
        let health = Health { up: AtomicBool::new(true), rests_until: Mutex::new(None) };
        Ok(Self { connection, client, timeout, health: Arc::new(health) })
    }

    /// Sends commands together and waits for all answers.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
        urgency: Urgency,
    ) -> Result<T, Down> {
        let mut connection = self.connection.clone();
        self.bounded(urgency, pipeline.query_async(&mut connection)).await
    }

    /// Runs a script, loading it first where Redis does not know it.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Down> {
        let mut connection = self.connection.clone();
        self.bounded(Urgency::CanSkip, script.invoke_async(&mut connection)).await
    }

    /// A connection of its own that listens to `channel`.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<PubSub, Down> {
        self.bounded(Urgency::MustTry, async {
            let mut subscription = self.client.get_async_pubsub().await?;
            subscription.subscribe(channel).await?;
            Ok(subscription)
        })
        .await
    }

    async fn bounded<T>(
        &self,
        urgency: Urgency,
        work: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Down> {
        if urgency == Urgency::CanSkip && self.health.is_resting() {
            return Err(Down);
        }
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(value)) => {
                self.health.recovered();
                Ok(value)
            }
            // The server is well; only this entry is not what it should be.
            Ok(Err(error)) if error.code() == Some("WRONGTYPE") => Err(Down),
            Ok(Err(error)) => {
                self.health.failed(&error.to_string());
                Err(Down)
            }
            Err(_) => {
                self.health.failed("no answer in time");
                Err(Down)
            }
        }
    }
}

impl Health {
    fn is_resting(&self) -> bool {
        let rests_until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        rests_until.is_some_and(|until| Instant::now() < until)
    }

    fn recovered(&self) {
        if !self.up.swap(true, Ordering::Relaxed) {
            *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!(store = "redis", "store is back");
        }
    }

    fn failed(&self, error: &str) {
        let until = Instant::now() + REST_AFTER_FAILURE;
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        if self.up.swap(false, Ordering::Relaxed) {
            tracing::warn!(store = "redis", error, "store is down");
        }
    }
}
