//! Postgres: the truth about identities and spend, and the only place that speaks SQL.
//!
//! Every statement that concerns an identity carries its id as a bound parameter, so that an
//! observer on the wire can tell whose it is.

mod virtual_key;
mod regeneration;
mod team;
mod user;
mod member;
mod organisation;
mod end_user;
mod spend;

pub(crate) use end_user::{EndUser, EndUserPatch, NewEndUser};
#[cfg(test)]
pub(crate) use member::MemberBudget;
pub(crate) use member::{Member, MemberPatch};
pub(crate) use organisation::{NewOrganisation, Organisation, OrganisationPatch};
pub(crate) use regeneration::{NewSecret, NotRegenerated};
pub(crate) use spend::SpendRow;
pub(crate) use team::{NewTeam, Team, TeamPatch};
pub(crate) use user::{NewUser, User, UserPatch};
pub(crate) use virtual_key::{ChangedKey, KeyFilter, KeyPatch, NewKey, NotInserted, VirtualKey};

use std::{
    io,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{
    FromRow, PgPool, Postgres,
    migrate::Migrator,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::QueryAs,
};
use tokio::time::{Instant, timeout_at};

use crate::{config::GeneralSettings, metrics::Metrics, outage::Outage};

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
    outage: Outage,
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
            .test_before_acquire(true)
            .connect_lazy_with(options);
        Ok(Self { pool, timeout, outage: Outage::none("postgres"), metrics })
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
        let deadline = Instant::now() + self.timeout;
        self.judged(kind, || async {
            let result = self.attempt(deadline, statement()).await;
            match result {
                // A connection that died says nothing about the server.
                Err(error) if repeat == Repeat::Once && is_lost_connection(&error) => {
                    self.attempt(deadline, statement()).await
                }
                result => result,
            }
        })
        .await
    }

    async fn attempt<T>(
        &self,
        deadline: Instant,
        statement: QueryAs<'static, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let connection = timeout_at(deadline, self.pool.acquire()).await;
        let mut connection = connection.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        let result = timeout_at(deadline, statement.fetch_all(&mut *connection)).await;
        result.unwrap_or_else(|_| {
            // Its answer may still arrive; nobody may take it for the answer to another.
            connection.close_on_drop();
            Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
        })
    }

    /// Carries out a transaction within the time bound.
    async fn bounded<T>(
        &self,
        kind: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Unavailable> {
        self.metrics.statement(kind);
        self.judged(kind, || async {
            let result = timeout_at(Instant::now() + self.timeout, work).await;
            result.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
        })
        .await
    }

    /// Does `work`, unless the server was out of reach just now, and learns from how it ends.
    async fn judged<T, F>(
        &self,
        kind: &'static str,
        work: impl FnOnce() -> F,
    ) -> Result<T, Unavailable>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        if self.outage.is_resting() {
            return Err(Unavailable::Postgres);
        }
        match work().await {
            Ok(value) => {
                self.outage.ended();
                Ok(value)
            }
            Err(error) if is_conflict(&error) => Err(Unavailable::Postgres),
            Err(error) => {
                self.outage.seen(kind, &error.to_string());
                if is_out_of_reach(&error) {
                    self.outage.rest();
                }
                Err(Unavailable::Postgres)
            }
        }
    }
}

/// Was there no connection, as opposed to a statement that took too long?
fn is_out_of_reach(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::PoolTimedOut) || is_lost_connection(error)
}

/// Did the connection end before there was an answer?
fn is_lost_connection(error: &sqlx::Error) -> bool {
    const ADMIN_SHUTDOWN: &str = "57P01";
    let code = error.as_database_error().and_then(|error| error.code());
    match error {
        sqlx::Error::Io(error) => error.kind() != io::ErrorKind::TimedOut,
        _ => code.as_deref() == Some(ADMIN_SHUTDOWN),
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
