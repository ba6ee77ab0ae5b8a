//! Redis, as the rest of the gateway sees it: a store that answers in time or counts as down.
//!
//! Each topology has a file of its own. All of them give a [`Link`], which bounds every command,
//! stops asking for a moment after a failure, and logs when the store goes down or comes back,
//! not once per request.

mod standalone;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    Client, ErrorKind, FromRedisValue, Pipeline, RedisError, ScriptInvocation,
    aio::{ConnectionManager, PubSub},
};

use crate::outage::Outage;

/// Why Redis gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// It could not answer; whoever asked goes on without it.
    #[error("redis is unavailable")]
    Down,
    /// Something else than a string lives under a name of ours.
    #[error("a name holds a value of another type")]
    WrongType,
}

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
    outage: Arc<Outage>,
}

impl Link {
    /// A link to one Redis server. Nothing is sent until something is asked.
    pub(crate) fn standalone(url: &str, timeout: Duration) -> Result<Self, RedisError> {
        let (client, connection) = standalone::open(url, timeout)?;
        let outage = Arc::new(Outage::none("redis"));
        Ok(Self { connection, client, timeout, outage })
    }

    /// Sends commands together and waits for all answers.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
        urgency: Urgency,
    ) -> Result<T, Failure> {
        self.bounded(urgency, || {
            let mut connection = self.connection.clone();
            async move { pipeline.query_async(&mut connection).await }
        })
        .await
    }

    /// Runs a script, loading it first where Redis does not know it.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Failure> {
        self.bounded(Urgency::CanSkip, || {
            let mut connection = self.connection.clone();
            async move { script.invoke_async(&mut connection).await }
        })
        .await
    }

    /// The same for a script that must not run twice: an answer that got lost counts as none.
    pub(crate) async fn script_once<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Failure> {
        let ran = AtomicBool::new(false);
        self.bounded(Urgency::CanSkip, || {
            let mut connection = self.connection.clone();
            let ran = ran.swap(true, Ordering::Relaxed);
            async move {
                match ran {
                    true => Err(RedisError::from((ErrorKind::Io, "the connection was lost"))),
                    false => script.invoke_async(&mut connection).await,
                }
            }
        })
        .await
    }

    /// A connection of its own that listens to `channel`.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<PubSub, Failure> {
        self.bounded(Urgency::MustTry, || async {
            let mut subscription = self.client.get_async_pubsub().await?;
            subscription.subscribe(channel).await?;
            Ok(subscription)
        })
        .await
    }

    /// Does `work` within the time bound. A connection that broke while it was idle says nothing
    /// about the server, so the work, which can always be repeated, gets a second chance.
    async fn bounded<T, F>(&self, urgency: Urgency, work: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        if urgency == Urgency::CanSkip && self.outage.is_resting() {
            return Err(Failure::Down);
        }
        let attempts = async {
            match work().await {
                Err(error) if error.is_connection_dropped() => work().await,
                result => result,
            }
        };
        match tokio::time::timeout(self.timeout, attempts).await {
            Ok(Ok(value)) => {
                self.outage.ended();
                Ok(value)
            }
            Ok(Err(error)) if is_wrong_type(&error) => Err(Failure::WrongType),
            Ok(Err(error)) => {
                self.outage.seen("command", &error.to_string());
                self.outage.rest();
                Err(Failure::Down)
            }
            Err(_) => {
                self.outage.seen("command", "no answer in time");
                self.outage.rest();
                Err(Failure::Down)
            }
        }
    }
}

fn is_wrong_type(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.is_some_and(|errors| errors.iter().any(|(_, error)| error.code() == "WRONGTYPE"))
}
