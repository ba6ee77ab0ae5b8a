//! Postgres: the truth about identities and spend, and the only place that speaks SQL.
//!
//! Every statement that concerns an identity carries its id as a bound parameter, so that an
//! observer on the wire can tell whose it is.

mod virtual_key;
mod team;
mod user;
mod member;
mod spend;

#[cfg(test)]
pub(crate) use member::MemberBudget;
pub(crate) use member::{Member, MemberPatch};
pub(crate) use spend::SpendRow;
pub(crate) use team::{NewTeam, Team, TeamPatch};
pub(crate) use user::{NewUser, User, UserPatch};
pub(crate) use virtual_key::{KeyFilter, KeyPatch, NewKey, NotInserted, VirtualKey};

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    FromRow, PgPool, Postgres,
    migrate::Migrator,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::QueryAs,
};

use crate::{config::GeneralSettings, metrics::Metrics};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Which store could not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("The database is unavailable")]
    Postgres,
    #[error("The counters of spend are unavailable")]
    Counters,
}

/// Why the store could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `database_url` is not a Postgres URL.
    #[error("database_url is not a Postgres URL")]
    Url(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("cannot migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

/// A row as it is cached, together with what it has spent, which is not.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Spent<T> {
    #[sqlx(flatten)]
    pub(crate) row: T,
    pub(crate) spend_pico: i64,
    pub(crate) created_at_ms: i64,
    pub(crate) updated_at_ms: i64,
}

/// May a statement be sent again after its connection broke?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It only reads.
    Once,
    /// It writes, and may have been carried out.
    Never,
}

/// A bounded pool of connections, with a bound on every statement's time.
pub(crate) struct Store {
    pool: PgPool,
    timeout: Duration,
    up: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Store {
    /// Prepares the pool; connections are made when they are needed.
    pub(crate) fn new(
        settings: &GeneralSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(settings.database_url.expose())
            .map_err(StoreError::Url)?
            .application_name("reference-gateway");
        let timeout = Duration::from_millis(settings.database_timeout_ms);
        let pool = PgPoolOptions::new()
            .max_connections(settings.database_connections)
            .acquire_timeout(timeout)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Ok(Self { pool, timeout, up: AtomicBool::new(true), metrics })
    }

    /// Brings the schema up to date. Replicas that start together wait for each other on an
    /// advisory lock.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATIONS.run(&self.pool).await.map_err(StoreError::Migrate)
    }

    /// Can a statement be carried out now?
    pub(crate) async fn is_up(&self) -> bool {
        self.rows::<(i32,)>("ping", Repeat::Once, || sqlx::query_as("SELECT 1")).await.is_ok()
    }

    /// Ends all connections.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Carries out one statement within the time bound, and returns its rows.
    async fn rows<T>(
        &self,
        kind: &'static str,
        repeat: Repeat,
        statement: impl Fn() -> QueryAs<'static, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, Unavailable>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.metrics.statement(kind);
        let attempt = async {
            let mut result = self.attempt(statement()).await;
            if repeat == Repeat::Once && matches!(result, Err(sqlx::Error::Io(_))) {
                // A pooled connection that died while idle says nothing about the server.
                result = self.attempt(statement()).await;
            }
            result
        };
        self.bounded(kind, attempt).await
    }

    async fn attempt<T>(
        &self,
        statement: QueryAs<'static, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut connection = self.pool.acquire().await?;
        let result =
            tokio::time::timeout(self.timeout, statement.fetch_all(&mut *connection)).await;
        match result {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                // Its answer may still arrive; nobody may take it for the answer to another.
                connection.close_on_drop();
                Err(sqlx::Error::PoolTimedOut)
            }
        }
    }

    /// Waits for `work` at most the time bound, and logs when the store goes down or comes back.
    async fn bounded<T>(
        &self,
        kind: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Unavailable> {
        let result = tokio::time::timeout(self.timeout, work)
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut));
        match result {
            Ok(value) => {
                if !self.up.swap(true, Ordering::Relaxed) {
                    tracing::info!(store = "postgres", "store is back");
                }
                Ok(value)
            }
            Err(error) if is_conflict(&error) => Err(Unavailable::Postgres),
            Err(error) => {
                if self.up.swap(false, Ordering::Relaxed) {
                    tracing::warn!(store = "postgres", statement = kind, %error, "store is down");
                }
                Err(Unavailable::Postgres)
            }
        }
    }
}

/// Did the server choose this statement as the victim of a deadlock? It will do better next time.
fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40P01" | "40001"))
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
