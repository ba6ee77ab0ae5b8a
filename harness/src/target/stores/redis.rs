//! Where a Redis is, and the little that we ever ask of it ourselves.

use std::{fmt, io, net::SocketAddr};

use redis::{AsyncCommands, Client, RedisError, aio::MultiplexedConnection};
use reqwest::Url;

use super::{Store, StoreError};
use crate::target::secret::Secret;

const DEFAULT_PORT: u16 = 6379;

/// The address of a Redis, with database number and credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    url: Url,
}

impl RedisAddress {
    /// Reads `redis://[user:password@]host[:port][/db]`.
    pub fn parse(url: &Secret) -> Result<RedisAddress, StoreError> {
        let wrong = |reason: &str| StoreError::NotAUrl {
            store: Store::Redis,
            reason: reason.to_owned(),
            example: "redis://127.0.0.1:6379/0",
        };
        let url = Url::parse(url.expose()).map_err(|_| wrong("it is no URL at all"))?;
        match url.scheme() {
            "redis" => {}
            "rediss" => return Err(wrong("stores are reached without TLS")),
            _ => return Err(wrong("it does not begin with `redis://`")),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        let number = url.path().trim_start_matches('/');
        if !number.is_empty() && number.parse::<u16>().is_err() {
            return Err(wrong("its path is not the number of a database"));
        }
        Ok(RedisAddress { url })
    }

    /// The database `0` at `address`, without credentials.
    pub(super) fn local(address: SocketAddr) -> RedisAddress {
        let url = Url::parse(&format!("redis://{address}/0")).expect("an address makes a URL");
        RedisAddress { url }
    }

    /// The same Redis behind a store proxy.
    pub fn through(&self, proxy: SocketAddr) -> RedisAddress {
        RedisAddress { url: super::postgres::moved(&self.url, proxy) }
    }

    /// The whole URL, credentials included.
    pub fn url(&self) -> Secret {
        Secret::new(self.url.as_str())
    }

    /// The host by itself.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port by itself.
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(DEFAULT_PORT)
    }

    /// The number of the database.
    pub fn database(&self) -> u16 {
        self.url.path().trim_start_matches('/').parse().unwrap_or(0)
    }

    /// Where a store proxy is to connect to.
    pub async fn socket_addr(&self) -> io::Result<SocketAddr> {
        super::postgres::resolve(self.host(), self.port()).await
    }

    /// What version it says it is; an error unless it answers as a Redis does.
    pub(super) async fn version(&self) -> Result<String, RedisError> {
        self.info().await.map(|info| version_in(&info))
    }

    /// What version it says it is, if it answers and is that process.
    pub(super) async fn version_of_process(&self, process: u32) -> Option<String> {
        let info = self.info().await.ok()?;
        (field(&info, "process_id") == Some(&process.to_string())).then(|| version_in(&info))
    }

    async fn info(&self) -> Result<String, RedisError> {
        let mut connection = self.connect().await?;
        let _: String = connection.ping().await?;
        redis::cmd("INFO").arg("server").query_async(&mut connection).await
    }

    /// Removes everything from its database.
    pub(super) async fn empty(&self) -> Result<(), StoreError> {
        let emptied = async {
            let mut connection = self.connect().await?;
            redis::cmd("FLUSHDB").query_async::<()>(&mut connection).await
        };
        emptied.await.map_err(|source: RedisError| StoreError::Redis { source: source.into() })
    }

    /// What is stored under a name, if anything is.
    ///
    /// # Errors
    ///
    /// When Redis refuses, or does not answer.
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(redis::cmd("GET").arg(name)).await
    }

    /// Stores other bytes under a name that is in use, with the lifetime it has. Whether it was.
    ///
    /// # Errors
    ///
    /// When Redis refuses, or does not answer.
    pub async fn overwrite(&self, name: &str, value: &[u8]) -> Result<bool, StoreError> {
        let stored: Option<String> =
            self.ask(redis::cmd("SET").arg(name).arg(value).arg("XX").arg("KEEPTTL")).await?;
        Ok(stored.is_some())
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        let asked = async { command.query_async(&mut self.connect().await?).await };
        asked.await.map_err(|source: RedisError| StoreError::Redis { source: source.into() })
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        Client::open(self.url.as_str())?.get_multiplexed_async_connection().await
    }
}

fn version_in(info: &str) -> String {
    let valkey = field(info, "valkey_version").map(|version| format!("Valkey {version}"));
    let redis = || field(info, "redis_version").map(str::to_owned);
    valkey.or_else(redis).unwrap_or_else(|| "of unknown version".to_owned())
}

/// One line of what INFO answers.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host(), self.port(), self.database())
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<RedisAddress, StoreError> {
        RedisAddress::parse(&Secret::new(url))
    }

    #[test]
    fn an_address_moves_behind_a_proxy_with_all_it_has() {
        let moved =
            address("redis://me:pw@cache.example/3").unwrap().through(([127, 0, 0, 1], 9).into());
        assert_eq!(moved.url().expose(), "redis://me:pw@127.0.0.1:9/3");
        assert_eq!(format!("{moved:?}"), "RedisAddress(127.0.0.1:9/3)");
    }

    #[test]
    fn what_a_url_leaves_out_has_its_usual_value() {
        let address = address("redis://cache.example").unwrap();
        assert_eq!(address.to_string(), "cache.example:6379/0");
    }

    #[test]
    fn other_urls_are_refused() {
        for url in
            ["", "cache:6379", "rediss://cache", "http://cache", "redis://cache/x", "redis:///1"]
        {
            assert!(address(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_version_is_read_from_what_the_server_says() {
        let redis = "# Server\r\nredis_version:7.2.4\r\nprocess_id:12\r\n";
        let valkey = format!("{redis}server_name:valkey\r\nvalkey_version:8.0.1\r\n");
        assert_eq!(version_in(redis), "7.2.4");
        assert_eq!(version_in(&valkey), "Valkey 8.0.1");
        assert_eq!(version_in("redis_"), "of unknown version");
    }
}
