//! Redis and Postgres for a target, found in the first way that serves: given, in a container, from
//! programs that are installed here, from packages that are unpacked and not installed.
//!
//! Each way serves, or says in one sentence why not, or ends the search: what a person named does
//! not work, or what is here is broken.
//!
//! Whoever gets [`Stores`] may rely on both answering, on every database it asks for being its
//! own, and on everything that was started or created going away with [`Stores::stop`] or a drop.

use std::{
    ffi::OsString,
    fmt, io,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::LocalBoxFuture};
use tokio::time::timeout;

use super::{
    secret::Secret,
    supervisor::{self, Ward},
    to_its_end::to_its_end,
};
use crate::runner::steps::Steps;

mod given;
mod containers;
mod local;
mod unpacked;
mod process;
mod folder;
mod postgres;
mod learnt;
mod redis;

use containers::StoreContainer;
use postgres::Copying;
pub use postgres::PostgresAddress;
pub use process::NoUser;
use process::StoreProcess;
pub use redis::RedisAddress;

/// How long the databases we made on a given Postgres may take to be dropped.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(5);

/// What stores are wanted, and what was given.
#[derive(Clone, Debug)]
pub struct StoreRequest {
    /// Names what we create on a shared server, so that runs do not meet.
    pub run: String,
    /// Whether a Redis is wanted at all.
    pub redis: bool,
    /// What a person chose.
    pub choice: StoreChoice,
    /// The first way that is tried, if not all are to be.
    pub served_before: Option<Way>,
    /// How long a store may take to answer.
    pub patience: Duration,
    /// Where it is said what is being done.
    pub steps: Steps,
}

/// What a person, or the surroundings, say about stores.
#[derive(Clone, Debug, Default)]
pub struct StoreChoice {
    /// `--redis-url` or `GAUNTLET_REDIS_URL`.
    pub redis_url: Option<Secret>,
    /// `--postgres-url` or `GAUNTLET_POSTGRES_URL`.
    pub postgres_url: Option<Secret>,
    /// `--redis-image` or `GAUNTLET_REDIS_IMAGE`.
    pub redis_image: Option<String>,
    /// `--postgres-image` or `GAUNTLET_POSTGRES_IMAGE`.
    pub postgres_image: Option<String>,
    /// The `PATH` that programs are looked for on.
    pub search_path: Option<OsString>,
    /// Folders that may keep what was fetched for later runs; the first that serves is taken.
    pub caches: Vec<PathBuf>,
}

/// The stores of a target.
#[derive(Debug)]
pub struct Stores {
    /// Absent where none was wanted.
    pub redis: Option<FoundStore<RedisAddress>>,
    /// The Postgres; its address names a database for maintenance.
    pub postgres: FoundStore<PostgresAddress>,
    run: String,
    counter: AtomicU32,
    /// The databases we made and have not dropped.
    made: Mutex<Vec<Made>>,
    servers: Vec<Server>,
}

/// What runs a store of ours, for as long as it is wanted.
#[derive(Debug)]
enum Server {
    /// A container.
    Container(StoreContainer),
    /// A process.
    Process(StoreProcess),
}

impl Server {
    /// Stops it, and removes what it kept.
    async fn stop(self) -> Result<(), StoreError> {
        match self {
            Server::Container(container) => container.stop().await,
            Server::Process(process) => process.stop().await,
        }
    }
}

/// What came of one way to a store.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Attempt<A> {
    /// It serves, for as long as its server runs.
    Serves(FoundStore<A>, Server),
    /// It does not, for this reason: a fragment without its full stop.
    Passes(String),
}

impl<A> Attempt<A> {
    /// It was started, and this too should be known of it.
    fn started(
        (mut found, server): (FoundStore<A>, Server),
        notes: impl IntoIterator<Item = String>,
    ) -> Attempt<A> {
        found.notes.extend(notes);
        Attempt::Serves(found, server)
    }

    fn passed(why: impl Into<String>) -> Attempt<A> {
        Attempt::Passes(why.into())
    }
}

/// A store, and how it was found.
#[derive(Clone, Debug)]
pub struct FoundStore<A> {
    /// Where it answers.
    pub address: A,
    /// What it says it is, as in "7.0.15".
    pub version: String,
    /// Which way it was found.
    pub way: Way,
    /// What a person should know: why earlier ways were not taken, and what we will not do.
    pub notes: Vec<String>,
}

/// A way to come by a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Its URL was given.
    Given,
    /// We started a container.
    Container,
    /// We started a program that is installed here.
    Local,
    /// We started a program out of a package that is not installed, only unpacked.
    Unpacked,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Given => "given",
            Way::Container => "container",
            Way::Local => "local",
            Way::Unpacked => "unpacked",
        })
    }
}

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Redis, or Valkey.
    Redis,
    /// Postgres.
    Postgres,
}

impl Store {
    fn flag(self) -> &'static str {
        match self {
            Store::Redis => "--redis-url",
            Store::Postgres => "--postgres-url",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Store::Redis => "GAUNTLET_REDIS_URL",
            Store::Postgres => "GAUNTLET_POSTGRES_URL",
        }
    }

    fn image_flag(self) -> &'static str {
        match self {
            Store::Redis => "--redis-image",
            Store::Postgres => "--postgres-image",
        }
    }

    fn image_variable(self) -> &'static str {
        match self {
            Store::Redis => "GAUNTLET_REDIS_IMAGE",
            Store::Postgres => "GAUNTLET_POSTGRES_IMAGE",
        }
    }

    /// Where Debian has it.
    fn package(self) -> &'static str {
        match self {
            Store::Redis => "redis-server",
            Store::Postgres => "postgresql",
        }
    }

    fn not_given(self) -> String {
        format!("not given: neither {} nor {} is set", self.flag(), self.variable())
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Store::Redis => "Redis",
            Store::Postgres => "Postgres",
        })
    }
}

/// Why there are no stores, or no database on them.
///
/// Messages are lowercase fragments, made to follow "cannot set up the stores: ".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What was given is not the URL of such a store.
    #[error("{} is not the URL of a {store}: {reason}; write it as in `{example}`", store.flag())]
    NotAUrl {
        /// Which store it was given for.
        store: Store,
        /// What is wrong with it.
        reason: String,
        /// A URL that would do.
        example: &'static str,
    },
    /// The store that was given, or that we started, does not answer.
    #[error("the {way} {store} at {address} does not answer as one")]
    NoAnswer {
        /// Which store.
        store: Store,
        /// How we came by it.
        way: Way,
        /// Where, without its password.
        address: String,
        /// What came back.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store did not answer in time.
    #[error("the {way} {store} at {address} gave no answer within {patience:?}")]
    Late {
        /// Which store.
        store: Store,
        /// How we came by it.
        way: Way,
        /// Where, without its password.
        address: String,
        /// How long we waited.
        patience: Duration,
    },
    /// No way serves.
    #[error(
        "there is no {store} here ({}); give a running one with {} (or {}), or start a container engine (its image is named with {} or {}), or install Debian's {}",
        why.join("; "), store.flag(), store.variable(), store.image_flag(), store.image_variable(),
        store.package()
    )]
    NoWay {
        /// Which store.
        store: Store,
        /// Why each way does not serve, in the order of trying.
        why: Vec<String>,
    },
    /// The image that a person named does not serve.
    #[error("the {store} of the image {image} that {} names cannot be used: {why}", store.image_flag())]
    Image {
        /// Which store.
        store: Store,
        /// The image.
        image: String,
        /// What is wrong with it.
        why: String,
    },
    /// A container of ours is still there.
    #[error(
        "a container was not removed; `docker ps --filter label=org.gauntlet.run` shows it, `docker rm --force` removes it"
    )]
    NotRemoved(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Postgres refuses to run as root, and there is nobody else to run it as.
    #[error(transparent)]
    NoUser(#[from] NoUser),
    /// A program that we started ended, or never answered.
    #[error("{} {what}; it said:\n{}", program.display(), last_words.join("\n"))]
    Failed {
        /// The program.
        program: PathBuf,
        /// What it did.
        what: String,
        /// The end of its log.
        last_words: Vec<String>,
    },
    /// The system refused us something.
    #[error("cannot {doing}")]
    System {
        /// What we were about to do.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// Postgres refused a statement.
    #[error("Postgres did not {doing}")]
    Postgres {
        /// What it was asked for.
        doing: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Redis refused to be emptied.
    #[error("Redis was not emptied")]
    Redis {
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A folder that should hold migrations holds none.
    #[error("{} holds neither *.sql nor */migration.sql; point `migrations` at the folder that does", folder.display())]
    NoMigrations {
        /// The folder.
        folder: PathBuf,
    },
}

/// A database of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// What it is called.
    pub name: String,
    /// Where it is, name included.
    pub address: PostgresAddress,
}

/// Finds the stores that `request` asks for.
///
/// # Errors
///
/// When a store that was given does not answer, what is here is broken, or no way serves.
pub async fn find(request: &StoreRequest) -> Result<Stores, StoreError> {
    let redis = async {
        if !request.redis {
            return Ok(None);
        }
        find_redis(request).await.map(Some)
    };
    let (redis, postgres) = tokio::try_join!(redis, find_postgres(request))?;
    let (redis, redis_server) = redis.unzip();
    let (postgres, postgres_server) = postgres;
    Ok(Stores {
        redis,
        postgres,
        run: plain_name(&request.run),
        counter: AtomicU32::new(0),
        made: Mutex::default(),
        servers: redis_server.flatten().into_iter().chain(postgres_server).collect(),
    })
}

async fn find_redis(
    request: &StoreRequest,
) -> Result<(FoundStore<RedisAddress>, Option<Server>), StoreError> {
    if let Some(url) = &request.choice.redis_url {
        return Ok((given::redis(url, request.patience).await?, None));
    }
    let ways = [
        (Way::Container, containers::redis(request).boxed_local()),
        (Way::Local, local::redis(request).boxed_local()),
        (Way::Unpacked, unpacked::redis(request).boxed_local()),
    ];
    first_that_serves(Store::Redis, request, ways).await
}

async fn find_postgres(
    request: &StoreRequest,
) -> Result<(FoundStore<PostgresAddress>, Option<Server>), StoreError> {
    if let Some(url) = &request.choice.postgres_url {
        return Ok((given::postgres(url, request.patience).await?, None));
    }
    let ways = [
        (Way::Container, containers::postgres(request).boxed_local()),
        (Way::Local, local::postgres(request).boxed_local()),
        (Way::Unpacked, unpacked::postgres(request).boxed_local()),
    ];
    first_that_serves(Store::Postgres, request, ways).await
}

/// An attempt that was not begun.
type Trying<'a, A> = LocalBoxFuture<'a, Result<Attempt<A>, StoreError>>;

/// Tries ways in their order until one serves, which then says why the earlier ones did not. What did not
/// serve in this process before is not tried again.
async fn first_that_serves<A, const N: usize>(
    store: Store,
    request: &StoreRequest,
    ways: [(Way, Trying<'_, A>); N],
) -> Result<(FoundStore<A>, Option<Server>), StoreError> {
    let recalled = match request.served_before {
        None => learnt::recalled(store, &request.choice),
        Some(_) => None,
    };
    let first = request.served_before.or(recalled.as_ref().map(|learnt| learnt.way));
    let mut why = recalled.map_or_else(|| vec![store.not_given()], |learnt| learnt.why);
    for (way, attempt) in ways {
        if first.is_some_and(|first| way < first) {
            continue;
        }
        match attempt.await? {
            Attempt::Serves(mut found, server) => {
                if request.served_before.is_none() {
                    learnt::learn(store, &request.choice, way, &why);
                }
                why.append(&mut found.notes);
                found.notes = why;
                return Ok((found, Some(server)));
            }
            Attempt::Passes(reason) => why.push(reason),
        }
    }
    Err(StoreError::NoWay { store, why })
}

impl Stores {
    /// A database of its own for a stack: empty, or a copy of `template`.
    pub async fn fresh_database(&self, template: Option<&str>) -> Result<Database, StoreError> {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let name = format!("gauntlet_{}_{number}", self.run);
        // Noted first: it may exist even if we never hear so.
        let made = Made { ward: self.ward_over(&name)?, name: name.clone() };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        let how = match self.postgres.way {
            Way::Container | Way::Local | Way::Unpacked => {
                Copying::quickest(&self.postgres.version)
            }
            Way::Given => Copying::AsConfigured,
        };
        self.postgres.address.create_database(&name, template, how).await?;
        Ok(Database { address: self.postgres.address.with_database(&name), name })
    }

    /// A database to copy from, to which every SQL file of `folder` was applied in order.
    ///
    /// The files are `*.sql`, or `*/migration.sql` as Prisma writes them.
    pub async fn migrated_template(&self, folder: &Path) -> Result<Database, StoreError> {
        let template = self.fresh_database(None).await?;
        template.address.apply(folder).await?;
        Ok(template)
    }

    /// Drops a database, whoever is still connected to it.
    pub async fn drop_database(&self, database: Database) -> Result<(), StoreError> {
        self.postgres.address.drop_database(&database.name).await?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|made| made.name != database.name);
        Ok(())
    }

    /// Empties the Redis, if it is ours to empty.
    ///
    /// A given Redis is left as it is: what it holds may be someone's.
    pub async fn empty_redis(&self) -> Result<(), StoreError> {
        match &self.redis {
            Some(found) if found.way != Way::Given => found.address.empty().await,
            Some(_) | None => Ok(()),
        }
    }

    /// Drops what we made and stops what we started.
    pub async fn stop(mut self) -> Result<(), StoreError> {
        let mut first_failure = self.drop_what_we_made().await;
        for server in std::mem::take(&mut self.servers) {
            let stopped = server.stop().await;
            first_failure = first_failure.and(stopped);
        }
        first_failure
    }

    /// Only a given Postgres outlives us, so only there is anything left behind.
    async fn drop_what_we_made(&mut self) -> Result<(), StoreError> {
        let made = std::mem::take(self.made.get_mut().unwrap_or_else(PoisonError::into_inner));
        match self.postgres.way {
            Way::Container | Way::Local | Way::Unpacked => Ok(()),
            Way::Given => drop_all(&self.postgres.address, made).await,
        }
    }

    /// Has the supervisor drop a database if we are killed, where it would outlive us.
    fn ward_over(&self, name: &str) -> Result<Option<Ward>, StoreError> {
        match self.postgres.way {
            Way::Container | Way::Local | Way::Unpacked => Ok(None),
            Way::Given => supervisor::over_database(&self.postgres.address, name)
                .map(Some)
                .map_err(|source| StoreError::System {
                    doing: "have the database of a run supervised".to_owned(),
                    source,
                }),
        }
    }
}

/// A database that we made, or were about to make.
#[derive(Debug)]
struct Made {
    name: String,
    ward: Option<Ward>,
}

/// Drops every one of these, and reports the first that stays. The supervisor tries those once more in
/// the end.
async fn drop_all(address: &PostgresAddress, made: Vec<Made>) -> Result<(), StoreError> {
    let mut first_failure = Ok(());
    // Never released where this is given up half-way.
    let mut made: Vec<_> = made.into_iter().map(ManuallyDrop::new).collect();
    for made in &mut made {
        let dropped = address.drop_database(&made.name).await;
        if dropped.is_ok() {
            made.ward = None;
        }
        first_failure = first_failure.and(dropped);
    }
    first_failure
}

impl Drop for Stores {
    /// A run that panics leaves no database on a Postgres that is not ours.
    fn drop(&mut self) {
        let made = std::mem::take(self.made.get_mut().unwrap_or_else(PoisonError::into_inner));
        if made.is_empty() || self.postgres.way != Way::Given {
            return;
        }
        let all_dropped =
            async { timeout(FAREWELL_PATIENCE, drop_all(&self.postgres.address, made)).await };
        // What is left is on the supervisor's list.
        drop(to_its_end(all_dropped));
    }
}

/// What of `run` may stand in the name of a database without quotes.
fn plain_name(run: &str) -> String {
    let plain = |character: char| match character.to_ascii_lowercase() {
        lower if lower.is_ascii_alphanumeric() => lower,
        _ => '_',
    };
    // Postgres cuts names at 63 bytes, and the counter must survive.
    run.chars().map(plain).take(40).collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    fn request() -> StoreRequest {
        StoreRequest {
            run: "test".to_owned(),
            redis: true,
            choice: StoreChoice::default(),
            served_before: None,
            patience: Duration::from_secs(2),
            steps: Steps::default(),
        }
    }

    #[tokio::test]
    async fn a_given_store_that_does_not_answer_is_an_error() {
        let nobody = super::super::ports::free_address().unwrap();
        let given = StoreRequest {
            choice: StoreChoice {
                redis_url: Some(Secret::new(format!("redis://u:pw@{nobody}/3"))),
                postgres_url: Some(Secret::new(format!("postgres://u:pw@{nobody}/db"))),
                ..StoreChoice::default()
            },
            ..request()
        };
        let error = find(&given).await.unwrap_err().to_string();
        assert!(error.contains("does not answer") && !error.contains("pw"), "{error}");
    }

    #[tokio::test]
    async fn a_given_text_that_is_no_url_is_not_repeated() {
        let choice =
            StoreChoice { postgres_url: Some(Secret::new("s3cret")), ..StoreChoice::default() };
        let given = StoreRequest { redis: false, choice, ..request() };
        let error = find(&given).await.unwrap_err();
        assert_snapshot!(error, @"--postgres-url is not the URL of a Postgres: it is no URL at all; write it as in `postgres://user:password@127.0.0.1:5432/postgres`");
    }

    #[tokio::test]
    async fn a_way_that_does_not_serve_is_tried_once_and_its_reason_is_told_each_time() {
        let caches = vec![PathBuf::from("/nowhere/of/this/test")];
        let choice = StoreChoice { caches, ..StoreChoice::default() };
        let request = StoreRequest { choice, ..request() };
        let mut notes = Vec::new();
        let (tried, second) = (std::cell::Cell::new(0), Way::Local);
        for _ in 0..2 {
            let passing = async {
                tried.set(tried.get() + 1);
                Ok(Attempt::passed("no engine answers"))
            };
            let serving = async {
                let folder = folder::Folder::make(None).unwrap();
                let mut command = tokio::process::Command::new("/bin/sleep");
                command.arg("60");
                let group = super::super::process_group::ProcessGroup::spawn(
                    command,
                    nix::sys::signal::Signal::SIGTERM,
                );
                let found =
                    FoundStore { address: (), version: String::new(), way: second, notes: vec![] };
                Ok(Attempt::Serves(
                    found,
                    Server::Process(StoreProcess::of(group.unwrap(), folder)),
                ))
            };
            let ways = [(Way::Container, passing.boxed_local()), (second, serving.boxed_local())];
            let (found, server) = first_that_serves(Store::Redis, &request, ways).await.unwrap();
            server.unwrap().stop().await.unwrap();
            notes.push(found.notes);
        }
        assert_eq!(tried.get(), 1);
        assert_eq!(notes[0], notes[1]);
        assert_eq!(notes[1], [Store::Redis.not_given(), "no engine answers".to_owned()]);
    }

    proptest! {
        #[test]
        fn any_run_can_name_a_database(run in ".{0,80}") {
            let name = plain_name(&run);
            prop_assert!(name.len() <= 40);
            prop_assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')));
        }
    }
}
