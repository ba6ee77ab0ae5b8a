//! Connect, serve, drain.

use std::{io, num::NonZeroU8, sync::Arc, time::Duration};

use axum::serve::ListenerExt;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::Admission,
    app::{App, router},
    auth::fingerprint,
    config::Config,
    defects::Defects,
    identity_cache::IdentityCache,
    metrics::Metrics,
    providers::Providers,
    redis::Link,
    spend::SpendQueue,
    store::{Store, StoreError},
    workers::Leash,
};

/// Why the gateway could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database could not be prepared.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `redis_url` is not a Redis URL.
    #[error("redis_url is not a Redis URL")]
    Redis(#[source] redis::RedisError),
    /// The client for providers could not be made.
    #[error("cannot prepare the client for providers")]
    Client(#[source] reqwest::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server broke off.
    #[error("the server broke off")]
    Broken(#[source] io::Error),
}

/// Where callers come in.
#[derive(Debug)]
pub enum Door {
    /// At an address of this process's own.
    Own {
        /// The host to listen on.
        host: String,
        /// The port to listen on; 0 picks a free one.
        port: u16,
    },
    /// At the address that the workers of one supervisor share.
    Shared {
        /// Which worker this process is.
        worker: NonZeroU8,
        /// The line to its supervisor.
        leash: Leash,
    },
}

impl Door {
    /// Which worker this process is, if it is one of several.
    fn worker(&self) -> Option<NonZeroU8> {
        match self {
            Self::Own { .. } => None,
            Self::Shared { worker, .. } => Some(*worker),
        }
    }

    /// Lets callers in; `None` when there is no supervisor any more.
    async fn open(self, stop: &CancellationToken) -> Result<Option<TcpListener>, ServeError> {
        let (address, opened) = match self {
            Self::Own { host, port } => {
                (format!("{host}:{port}"), TcpListener::bind((host, port)).await.map(Some))
            }
            Self::Shared { leash, .. } => (leash.address().to_string(), leash.listen(stop).await),
        };
        opened.map_err(|source| ServeError::Listen { address, source })
    }
}

/// Serves until `stop`, then finishes what is in flight within the drain timeout and flushes
/// spend. Returns once nothing is left to do.
///
/// # Errors
/// When a store, the address or the configuration cannot be used.
pub async fn serve(
    config: Config,
    door: Door,
    defects: Defects,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let settings = &config.general_settings;
    let metrics = Arc::new(Metrics::default());
    let store = Arc::new(Store::new(settings, Arc::clone(&metrics))?);
    store.migrate().await?;
    let redis_timeout = Duration::from_millis(settings.redis_timeout_ms);
    let redis = settings.redis_url.as_ref();
    let redis = redis
        .map(|url| Link::standalone(url.expose(), redis_timeout))
        .transpose()
        .map_err(ServeError::Redis)?;
    let spend = Arc::new(SpendQueue::new(settings.spend_queue_entries, Arc::clone(&metrics)));
    let admission = Arc::new(Admission::new(redis.clone(), Arc::clone(&store), Arc::clone(&spend)));
    let cache =
        IdentityCache::new(settings, Arc::clone(&store), redis, Arc::clone(&metrics), defects);
    let app = Arc::new(App {
        cache: cache.clone(),
        store: Arc::clone(&store),
        providers: Providers::new(&config).map_err(ServeError::Client)?,
        admission: Arc::clone(&admission),
        spend: Arc::clone(&spend),
        metrics,
        defects,
        worker: door.worker().map(|worker| HeaderValue::from(u16::from(worker.get()))),
        master_token: fingerprint(settings.master_key.expose()),
    });

    let is_alone = door.worker().is_none();
    let Some(listener) = door.open(&stop).await? else {
        store.close().await;
        return Ok(());
    };
    if is_alone {
        let address = listener.local_addr().map_err(ServeError::Broken)?;
        tracing::info!(listening = %address, "listening");
    }

    let background_stop = CancellationToken::new();
    let listening = tokio::spawn({
        let stop = background_stop.clone();
        async move { cache.follow(stop).await }
    });
    let flushing = tokio::spawn({
        let (spend, store) = (Arc::clone(&spend), Arc::clone(&store));
        let stop = background_stop.clone();
        let interval = Duration::from_millis(settings.flush_interval_ms);
        async move { spend.run(&store, interval, stop).await }
    });

    let listener = listener.tap_io(|connection| {
        // Small answers must not wait for an acknowledgement; without it they are only slower.
        let _ = connection.set_nodelay(true);
    });
    let served = axum::serve(listener, router(app, settings.max_body_bytes))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    let drain_timeout = Duration::from_millis(settings.drain_timeout_ms);
    let result = tokio::select! {
        result = served => result.map_err(ServeError::Broken),
        () = async { stop.cancelled().await; tokio::time::sleep(drain_timeout).await } => {
            tracing::warn!("requests were still in flight when the drain timeout passed");
            Ok(())
        }
    };

    admission.drain().await;
    background_stop.cancel();
    // Both tasks end by themselves once they are told; neither can fail.
    let _ = tokio::join!(listening, flushing);
    store.close().await;
    tracing::info!("stopped");
    result
}
