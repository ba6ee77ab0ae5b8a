//! Stores whose URLs were given, by a flag or by the environment.
//!
//! They belong to someone. A given Redis is used in the database its URL names and is never
//! emptied; on a given Postgres we make databases of our own, and drop them.

use std::time::Duration;

use tokio::time::timeout;

use super::{FoundStore, PostgresAddress, RedisAddress, Store, StoreError, Way};
use crate::target::secret::Secret;

/// The Redis at `url`, if it answers.
pub(super) async fn redis(
    url: &Secret,
    patience: Duration,
) -> Result<FoundStore<RedisAddress>, StoreError> {
    let address = RedisAddress::parse(url)?;
    let version = answer(Store::Redis, &address, patience, address.version()).await?;
    let note = format!(
        "database {} of the given Redis is used as it is, and never emptied",
        address.database()
    );
    Ok(FoundStore { address, version, way: Way::Given, notes: vec![note] })
}

/// The Postgres at `url`, if it answers.
pub(super) async fn postgres(
    url: &Secret,
    patience: Duration,
) -> Result<FoundStore<PostgresAddress>, StoreError> {
    let address = PostgresAddress::parse(url)?;
    let version = answer(Store::Postgres, &address, patience, address.version()).await?;
    let note = "databases of our own are made on the given Postgres, and dropped".to_owned();
    Ok(FoundStore { address, version, way: Way::Given, notes: vec![note] })
}

async fn answer<E: std::error::Error + Send + Sync + 'static>(
    store: Store,
    address: &impl ToString,
    patience: Duration,
    version: impl Future<Output = Result<String, E>>,
) -> Result<String, StoreError> {
    let way = Way::Given;
    match timeout(patience, version).await {
        Ok(Ok(version)) => Ok(version),
        Ok(Err(source)) => {
            let address = address.to_string();
            Err(StoreError::NoAnswer { store, way, address, source: source.into() })
        }
        Err(_) => Err(StoreError::Late { store, way, address: address.to_string(), patience }),
    }
}
