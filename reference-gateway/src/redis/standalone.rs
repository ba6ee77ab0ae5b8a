//! One Redis server, reached by URL.

use std::time::Duration;

use redis::{
    Client, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Prepares the client and its shared connection; both connect when first used.
pub(super) fn open(
    url: &str,
    timeout: Duration,
) -> Result<(Client, ConnectionManager), RedisError> {
    let client = Client::open(url)?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout))
        .set_number_of_retries(1)
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(LONGEST_PAUSE);
    let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
    Ok((client, connection))
}
