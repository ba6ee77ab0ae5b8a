//! Reaches a target: finds its stores, starts its replicas behind store proxies, or attaches to what
//! runs already; then probes what it can do and lets us see.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use scenarios::KeyClass;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    behind::Behind,
    collect::{Collector, LineCounts, Note, WireCounts},
    drive::Driver,
    join::Prefixes,
    probe::{self, ProbeError},
    steps::Steps,
};
use crate::{
    adapters::{self, Adapter},
    capability::{Capability, Probed},
    check::{Builds, Shape},
    client::Client,
    clock::Clock,
    history::Manifest,
    observers::{
        redis_monitor::{MonitorError, RedisMonitor},
        upstream::{Upstream, UpstreamError},
    },
    op::Replica,
    tally::Snapshot,
    target::{
        Attached, Binary, Bounds, Database, LaunchError, Launched, LogSink, Managed, MissingBinary,
        Reach, ReplicaRequest, Secret, StackFolder, StoreChoice, StoreError, StoreRequest, Stores,
        TargetDescription,
        binaries::start_mock_provider,
        follow::{FollowError, Follower},
        launch,
        stores::Way,
    },
    wire::{fault::FaultHandle, proxy::StoreProxy, record::StoreKind},
};

/// Observations that may wait for the collector. What does not fit is counted as lost.
const QUEUE: usize = 65_536;

/// How long a store may take to forget a database.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a store may take to answer.
const STORE_PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ReachRequest {
    /// The run's number, which every id of the run carries.
    pub run: u32,
    /// Which target.
    pub description: TargetDescription,
    /// Arguments for every replica, after the described ones.
    pub args: Vec<String>,
    /// Which releases its replicas are of.
    pub builds: Builds,
    /// What a person chose about stores.
    pub stores: StoreChoice,
    /// This program: our other binaries are next to it.
    pub program: PathBuf,
    /// Where it is said what is being done.
    pub steps: Steps,
}

/// Why a target cannot be used.
///
/// Messages are lowercase fragments, made to follow "cannot use the target: ".
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// A store could not be set up.
    #[error("its stores cannot be set up")]
    Store(#[from] StoreError),
    /// A process could not be started.
    #[error("it cannot be started")]
    Launch(#[from] LaunchError),
    /// One of our own binaries is missing.
    #[error("a program that it needs is missing")]
    Binary(#[from] MissingBinary),
    /// The mock provider cannot be read.
    #[error("its provider cannot be watched")]
    Upstream(#[from] UpstreamError),
    /// The Redis of a target that runs already does not tell what it is asked.
    #[error("its Redis cannot be watched")]
    Redis(#[from] MonitorError),
    /// A log of a target that runs already cannot be followed.
    #[error("its logs cannot be followed")]
    Logs(#[from] FollowError),
    /// The probe found it unusable.
    #[error("it was probed and does not work")]
    Probe(#[from] ProbeError),
    /// The system refused us something.
    #[error("cannot {doing}")]
    System {
        /// What we were about to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No HTTP client could be made.
    #[error("cannot make an HTTP client")]
    Http(#[source] reqwest::Error),
    /// No adapter has this name.
    #[error("there is no adapter `{0}`")]
    NoAdapter(String),
}

/// A target that was reached.
pub struct Reached {
    /// Drives plans against it.
    pub driver: Arc<Driver>,
    /// What it can do, and lets us see.
    pub probed: Vec<Probed>,
    /// What it is made of, and why.
    pub made_of: MadeOf,
    parts: Parts,
    request: ReachRequest,
    /// How many stacks were asked for beside this one.
    beside: AtomicU32,
}

/// What a target is made of.
#[derive(Clone, Debug, Default)]
pub struct MadeOf {
    /// Its stores: kind, version, way, notes.
    pub stores: Vec<StoreFact>,
    /// The address of every replica.
    pub replicas: Vec<String>,
    /// The version that the gateway says it has.
    pub version: Option<String>,
    /// The mock provider.
    pub upstream: Option<String>,
    /// The folder of its logs and configurations, while it runs.
    pub folder: Option<PathBuf>,
    /// The admin key, where we started the target. No report has it.
    pub admin_key: Option<Secret>,
}

/// One store of a target.
#[derive(Clone, Debug)]
pub struct StoreFact {
    /// Which store.
    pub kind: StoreKind,
    /// What it says it is.
    pub version: String,
    /// How it was found.
    pub way: Way,
    /// Why earlier ways were not taken.
    pub notes: Vec<String>,
}

/// What has to be stopped, in this order.
#[derive(Default)]
struct Parts {
    replicas: Vec<Launched>,
    proxies: Vec<StoreProxy>,
    followers: Vec<Follower>,
    upstream: Option<Launched>,
    database: Vec<Database>,
    stores: Option<Stores>,
    collector: Option<JoinHandle<()>>,
    folder: Option<StackFolder>,
    /// For the driver, once there is one.
    behind: Option<Behind>,
}

/// Where observers put what they see.
struct Channels {
    notes: mpsc::Sender<Note>,
    wire: mpsc::Sender<crate::wire::record::WireEvent>,
    lines: mpsc::Sender<crate::target::LogLine>,
}

impl Reached {
    /// Reaches and probes a target. What was started is stopped again when a later part fails.
    ///
    /// # Errors
    ///
    /// When a part cannot be set up, or the probe finds that the target does not work.
    pub async fn reach(request: ReachRequest) -> Result<Reached, ReachError> {
        let mut parts = Parts::default();
        match reach(&request, &mut parts).await {
            Ok((driver, probed, made_of)) => {
                let beside = AtomicU32::new(0);
                Ok(Reached { driver, probed, made_of, parts, request, beside })
            }
            Err(error) => {
                parts.stop().await;
                Err(error)
            }
        }
    }

    /// Whether a probe confirmed a capability.
    pub fn has(&self, capability: Capability) -> bool {
        self.probed.iter().any(|probed| probed.capability == capability && probed.confirmed)
    }

    /// What to reach for a stack of another shape beside this one, on the same Postgres.
    ///
    /// It has a database of its own, and a Redis of its own unless one was given: what is published in
    /// one reaches every gateway on it. In a Redis that both use, ids of another run keep them apart.
    pub fn request_for(&self, shape: Shape) -> ReachRequest {
        let mut request = self.request.clone();
        let number = self.beside.fetch_add(1, Ordering::Relaxed) + 1;
        request.run = request.run.wrapping_add(number);
        request.builds = shape.builds;
        if let Reach::Managed(managed) = &mut request.description.reach {
            managed.topology = shape.topology;
            // Those that were asked for are taken.
            managed.ports = Vec::new();
        }
        if let Some(stores) = &self.parts.stores {
            request.stores.postgres_url = Some(stores.postgres.address.url());
        }
        request
    }

    /// What became of all wire events so far.
    pub async fn wire_counts(&self) -> WireCounts {
        let (reply, counts) = tokio::sync::oneshot::channel();
        drop(self.driver.notes.send(Note::Count(reply)).await);
        counts.await.unwrap_or_default()
    }

    /// Counts whatever names one of these texts (ids, hashes of keys as they are stored) for keys of
    /// this class, from the moment when this returns.
    pub async fn classify(&self, texts: impl IntoIterator<Item = String>, class: KeyClass) {
        let texts = texts.into_iter().collect();
        let (reply, known) = tokio::sync::oneshot::channel();
        drop(self.driver.notes.send(Note::Classify(texts, class, reply)).await);
        drop(known.await);
    }

    /// Counts requests that keys of this class sent to a replica and that ran to their end.
    pub async fn count_requests(&self, class: KeyClass, replica: Replica, count: u64) {
        drop(self.driver.notes.send(Note::Requests(class, replica, count)).await);
    }

    /// From now on, or no longer, counts what is observed and gives it to no case.
    pub async fn count_only(&self, count_only: bool) {
        drop(self.driver.notes.send(Note::CountOnly(count_only)).await);
    }

    /// How many log records there were so far.
    pub async fn lines(&self) -> LineCounts {
        let (reply, lines) = tokio::sync::oneshot::channel();
        drop(self.driver.notes.send(Note::Lines(reply)).await);
        lines.await.unwrap_or_default()
    }

    /// What the stores were asked so far. Two of these subtract to a window.
    pub async fn tally(&self) -> Snapshot {
        let (reply, snapshot) = tokio::sync::oneshot::channel();
        let now = self.driver.clock.now();
        drop(self.driver.notes.send(Note::Tally(now, reply)).await);
        snapshot.await.unwrap_or_default()
    }

    /// Events that the store proxies saw and that found no room on the way to the collector.
    pub fn lost(&self) -> u64 {
        let wire: u64 = self.parts.proxies.iter().map(StoreProxy::lost).sum();
        let lines: u64 = self.parts.replicas.iter().map(Launched::lost_lines).sum();
        let followed: u64 = self.parts.followers.iter().map(Follower::lost_lines).sum();
        wire + lines + followed
    }

    /// The replica that ended by itself, if one did, and what it printed last.
    pub fn ended(&mut self) -> Option<(Replica, String)> {
        (0_u8..).zip(&mut self.parts.replicas).find_map(|(number, replica)| {
            let status = replica.exited()?;
            Some((Replica(number), format!("{status}; {}", replica.last_words().join(" | "))))
        })
    }

    /// Stops everything that was started.
    pub async fn stop(self) {
        let Reached { driver, parts, .. } = self;
        drop(driver);
        parts.stop().await;
    }
}

impl Parts {
    async fn stop(self) {
        let Parts {
            replicas,
            proxies,
            followers,
            upstream,
            database,
            stores,
            collector,
            folder,
            ..
        } = self;
        futures::future::join_all(replicas.into_iter().map(Launched::stop)).await;
        futures::future::join_all(proxies.into_iter().map(StoreProxy::stop)).await;
        futures::future::join_all(followers.into_iter().map(Follower::stop)).await;
        if let Some(upstream) = upstream {
            upstream.stop().await;
        }
        if let Some(stores) = stores {
            for database in database {
                // A database that cannot be dropped in time goes with its server, or is told by `stop`.
                drop(timeout(FAREWELL, stores.drop_database(database)).await);
            }
            if let Err(error) = stores.stop().await {
                tracing_of_last_resort(&error);
            }
        }
        if let Some(collector) = collector {
            collector.abort();
        }
        drop(folder);
    }
}

/// Stopping has nobody to report to but the person at the terminal.
#[expect(clippy::print_stderr, reason = "there is no report to write this into any more")]
fn tracing_of_last_resort(error: &StoreError) {
    eprintln!("warning: something was left behind: {error}");
}

async fn reach(
    request: &ReachRequest,
    parts: &mut Parts,
) -> Result<(Arc<Driver>, Vec<Probed>, MadeOf), ReachError> {
    let name = &request.description.adapter;
    let adapter = adapters::named(name).ok_or_else(|| ReachError::NoAdapter(name.clone()))?;
    let clock = Clock::start();
    let prefixes = Prefixes::of_run(request.run);
    let (notes, note_receiver) = mpsc::channel(QUEUE);
    let (wire, wire_receiver) = mpsc::channel(QUEUE);
    let (lines, line_receiver) = mpsc::channel(QUEUE);
    let collector = Collector::new(adapter, prefixes.clone());
    parts.collector =
        Some(tokio::spawn(collector.run(note_receiver, wire_receiver, line_receiver)));
    let channels = Channels { notes, wire, lines };
    let reaching = Reaching { request, adapter, clock, channels };
    let (client, mut made_of, topology) = match &request.description.reach {
        Reach::Managed(managed) => reaching.managed(managed, parts).await?,
        Reach::Attached(attached) => reaching.attached(attached)?,
    };
    let bounds = &request.description.bounds;
    let mut manifest = manifest(adapter, bounds, topology.0, topology.1);
    if let Reach::Managed(managed) = &request.description.reach {
        // Without a Redis nothing can be shared, whatever the product could do.
        manifest.shared_cache &= managed.topology.redis;
    }
    let upstream = match &made_of.upstream {
        Some(base) => Some(Upstream::watch(base, clock, reaching.channels.notes.clone()).await?),
        None => None,
    };
    let logs = match &request.description.reach {
        Reach::Managed(_) => true,
        Reach::Attached(attached) => {
            parts.followers = reaching.follow(attached)?;
            !attached.logs.is_empty()
        }
    };
    let mut driver = Driver::new(
        client,
        adapter,
        manifest,
        request.description.models.clone(),
        clock,
        prefixes,
        reaching.channels.notes.clone(),
        upstream,
        logs,
        parts.behind.take(),
    );
    if let Reach::Attached(attached) = &request.description.reach {
        driver.commands = reaching.commands(attached).await?;
        driver.followers = parts.followers.iter().map(Follower::exited).collect();
    }
    let driver = Arc::new(driver);
    request.steps.begin("probing what it can do and lets us see");
    let probed = probe::probe(&driver, &request.description).await?;
    made_of.version = driver.client.version().map(str::to_owned);
    Ok((driver, probed, made_of))
}

/// The adapter's manifest, with what the description says otherwise.
fn manifest(adapter: &dyn Adapter, bounds: &Bounds, replicas: u8, workers: u8) -> Manifest {
    let mut manifest = adapter.manifest(auth_cache_ttl(adapter, bounds), replicas, workers);
    if let Some(propagation) = bounds.propagation {
        manifest.staleness_ms = u64::try_from(propagation.as_millis()).unwrap_or(u64::MAX);
    }
    manifest
}

/// How long a cached identity is to live: as described, or as the product has it.
fn auth_cache_ttl(adapter: &dyn Adapter, bounds: &Bounds) -> Duration {
    bounds.auth_cache_ttl.unwrap_or(adapter.default_ttl())
}

struct Reaching<'a> {
    request: &'a ReachRequest,
    adapter: &'static dyn Adapter,
    clock: Clock,
    channels: Channels,
}

impl Reaching<'_> {
    async fn managed(
        &self,
        managed: &Managed,
        parts: &mut Parts,
    ) -> Result<(Client, MadeOf, (u8, u8)), ReachError> {
        let folder = StackFolder::make()
            .map_err(|source| ReachError::System { doing: "make a folder", source })?;
        let path = folder.path().to_owned();
        parts.folder = Some(folder);
        let steps = &self.request.steps;
        steps.begin(match managed.topology.redis {
            true => "looking for a Redis and a Postgres, and starting them",
            false => "looking for a Postgres, and starting it",
        });
        let stores = crate::target::stores::find(&StoreRequest {
            run: format!("{:06x}", self.request.run),
            redis: managed.topology.redis,
            choice: self.request.stores.clone(),
            served_before: None,
            patience: STORE_PATIENCE,
            steps: steps.clone(),
        })
        .await?;
        let stores = parts.stores.insert(stores);
        steps.begin("starting the mock provider");
        let mock = Binary::MockProvider.beside(&self.request.program)?;
        let mock = parts.upstream.insert(start_mock_provider(&mock, &path).await?);
        let upstream = format!("http://{}", mock.address());
        let master_key = managed.master_key.clone().unwrap_or_else(|| master_key(self.request.run));
        let setup = Setup {
            managed,
            master_key: &master_key,
            upstream: &upstream,
            auth_cache_ttl: auth_cache_ttl(self.adapter, &self.request.description.bounds),
            path: &path,
        };
        // Once, and not by every replica.
        for (replica, image) in self.images(managed) {
            launch::have_image(&replica.to_string(), &image, steps).await?;
        }
        steps.begin("making a database, and migrating it");
        let database = self.database(&setup, stores, &mut parts.database).await?;
        stores.empty_redis().await?;
        let mut behind = Vec::new();
        for replica in managed.topology.each_replica() {
            behind.push(self.proxies(replica, stores, &database, &mut parts.proxies).await?);
        }
        parts.behind = Some(Behind {
            redis: stores.redis.as_ref().map(|found| found.address.clone()),
            postgres: database.address.clone(),
            to_postgres: behind.iter().map(|behind| behind.faults.clone()).collect(),
        });
        let next = managed.of_next_release();
        let next = Setup { managed: &next, ..setup };
        let setup_of = |replica| if self.request.builds.is_next(replica) { &next } else { &setup };
        let launching = managed
            .topology
            .each_replica()
            .zip(&behind)
            .map(|(replica, behind)| self.launch(setup_of(replica), replica, behind));
        steps.begin(&format!("starting {}", managed.topology));
        // Every launch is seen through, so that a replica which started beside one that failed is
        // stopped with the rest.
        let mut failed = None;
        for launched in futures::future::join_all(launching).await {
            match launched {
                Ok(launched) => parts.replicas.push(launched),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        for (number, replica) in (0..).zip(&parts.replicas) {
            let workers = managed.topology.workers.get();
            if let Some(leader) = replica.group() {
                let group = Note::Group(Replica(number), leader, workers);
                drop(self.channels.notes.send(group).await);
            }
        }
        let bases: Vec<_> =
            parts.replicas.iter().map(|replica| format!("http://{}", replica.address())).collect();
        let mut made_of = made_of(stores);
        made_of.replicas.clone_from(&bases);
        made_of.upstream = Some(upstream);
        made_of.folder = Some(path);
        // One that was given is its operator's own, and not for us to show.
        made_of.admin_key = managed.master_key.is_none().then(|| master_key.clone());
        let client = Client::new(bases, master_key.expose().to_owned(), self.adapter)
            .map_err(ReachError::Http)?;
        let topology = managed.topology;
        Ok((client, made_of, (topology.replicas.get(), topology.workers.get())))
    }

    /// The images that its replicas run in, each with the first of them.
    fn images(&self, managed: &Managed) -> Vec<(Replica, String)> {
        let next = managed.of_next_release();
        let mut images: Vec<(Replica, String)> = Vec::new();
        for replica in managed.topology.each_replica() {
            let of = if self.request.builds.is_next(replica) { &next } else { managed };
            if let Some(image) = &of.image
                && images.iter().all(|(_, known)| known != image)
            {
                images.push((replica, image.clone()));
            }
        }
        images
    }

    /// A database of the stack's own, cloned from a template that was migrated once.
    async fn database(
        &self,
        setup: &Setup<'_>,
        stores: &Stores,
        made: &mut Vec<Database>,
    ) -> Result<Database, ReachError> {
        let managed = setup.managed;
        if managed.migrations.is_none() && managed.prepare.is_empty() {
            let fresh = stores.fresh_database(None).await?;
            made.push(fresh.clone());
            return Ok(fresh);
        }
        let template = match &managed.migrations {
            Some(folder) => stores.migrated_template(folder).await?,
            None => stores.fresh_database(None).await?,
        };
        made.push(template.clone());
        let redis = stores.redis.as_ref().map(|found| &found.address);
        setup.replica(Replica(0), redis, &template.address, &self.request.args).prepare().await?;
        let fresh = stores.fresh_database(Some(&template.name)).await?;
        made.push(fresh.clone());
        Ok(fresh)
    }

    /// The store proxies of one replica.
    async fn proxies(
        &self,
        replica: Replica,
        stores: &Stores,
        database: &Database,
        proxies: &mut Vec<StoreProxy>,
    ) -> Result<StoresOf, ReachError> {
        let system = |doing| move |source| ReachError::System { doing, source };
        let behind = database.address.socket_addr().await.map_err(system("find Postgres"))?;
        let proxy = self.proxy(StoreKind::Postgres, replica, behind).await?;
        let postgres = database.address.through(proxy.addr());
        let faults = proxy.faults();
        proxies.push(proxy);
        let redis = match &stores.redis {
            None => None,
            Some(found) => {
                let behind = found.address.socket_addr().await.map_err(system("find Redis"))?;
                let proxy = self.proxy(StoreKind::Redis, replica, behind).await?;
                let through = found.address.through(proxy.addr());
                proxies.push(proxy);
                Some(through)
            }
        };
        Ok(StoresOf { redis, postgres, faults })
    }

    async fn launch(
        &self,
        setup: &Setup<'_>,
        replica: Replica,
        behind: &StoresOf,
    ) -> Result<Launched, ReachError> {
        let sink = LogSink { replica, clock: self.clock, lines: self.channels.lines.clone() };
        let args = &self.request.args;
        let request = setup.replica(replica, behind.redis.as_ref(), &behind.postgres, args);
        Ok(request.launch(Some(sink)).await?)
    }

    async fn proxy(
        &self,
        kind: StoreKind,
        replica: Replica,
        behind: std::net::SocketAddr,
    ) -> Result<StoreProxy, ReachError> {
        StoreProxy::start(kind, replica.0, behind, self.clock, self.channels.wire.clone())
            .await
            .map_err(|source| ReachError::System { doing: "start a store proxy", source })
    }

    fn attached(&self, attached: &Attached) -> Result<(Client, MadeOf, (u8, u8)), ReachError> {
        let bases: Vec<_> = attached
            .replicas
            .iter()
            .map(|url| url.as_str().trim_end_matches('/').to_owned())
            .collect();
        let key = attached.admin_key.as_ref().map(|key| key.expose().to_owned());
        let client = Client::new(bases.clone(), key.unwrap_or_default(), self.adapter)
            .map_err(ReachError::Http)?;
        let upstream = attached.mock_url.as_ref();
        let made_of = MadeOf {
            replicas: bases,
            upstream: upstream.map(|url| without_api_path(url.as_str()).to_owned()),
            ..MadeOf::default()
        };
        let topology = attached.topology();
        Ok((client, made_of, (topology.replicas.get(), topology.workers.get())))
    }
}

impl Reaching<'_> {
    /// Follows the logs of replicas that run already.
    fn follow(&self, attached: &Attached) -> Result<Vec<Follower>, FollowError> {
        let sink =
            |replica| LogSink { replica, clock: self.clock, lines: self.channels.lines.clone() };
        let logs = (0..).map(Replica).zip(&attached.logs);
        logs.map(|(replica, log)| Follower::start(log, sink(replica))).collect()
    }

    /// Listens to the Redis of replicas that run already, where we may.
    async fn commands(&self, attached: &Attached) -> Result<Option<RedisMonitor>, MonitorError> {
        let Some(redis) = &attached.redis else { return Ok(None) };
        let (run, wire) = (self.request.run, self.channels.wire.clone());
        RedisMonitor::watch(redis, &attached.replicas, run, self.clock, wire).await.map(Some)
    }
}

/// A mock provider without the path that gateways are pointed at: whoever copies theirs means it too.
fn without_api_path(url: &str) -> &str {
    let base = url.trim_end_matches('/');
    base.strip_suffix("/v1").unwrap_or(base)
}

/// The stores of one replica, as it reaches them.
struct StoresOf {
    redis: Option<crate::target::stores::RedisAddress>,
    postgres: crate::target::stores::PostgresAddress,
    /// The faults of its way to Postgres.
    faults: FaultHandle,
}

/// What every replica of a stack is started with.
#[derive(Clone, Copy)]
struct Setup<'a> {
    managed: &'a Managed,
    master_key: &'a Secret,
    upstream: &'a str,
    auth_cache_ttl: Duration,
    path: &'a Path,
}

impl<'a> Setup<'a> {
    fn replica(
        &self,
        replica: Replica,
        redis: Option<&'a crate::target::stores::RedisAddress>,
        postgres: &'a crate::target::stores::PostgresAddress,
        args: &'a [String],
    ) -> ReplicaRequest<'a> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        ReplicaRequest {
            managed: self.managed,
            replica,
            workers: self.managed.topology.workers,
            redis,
            postgres,
            upstream_url: self.upstream,
            master_key: self.master_key,
            auth_cache_ttl: self.auth_cache_ttl,
            config: None,
            args,
            env: &NONE,
            port: None,
            folder: self.path,
        }
    }
}

/// A key for a gateway that lives no longer than the run. It guards nothing but loopback ports.
fn master_key(run: u32) -> Secret {
    Secret::new(format!("sk-gauntlet-{run:06x}"))
}

fn made_of(stores: &Stores) -> MadeOf {
    let postgres = StoreFact {
        kind: StoreKind::Postgres,
        version: stores.postgres.version.clone(),
        way: stores.postgres.way,
        notes: stores.postgres.notes.clone(),
    };
    let redis = stores.redis.as_ref().map(|found| StoreFact {
        kind: StoreKind::Redis,
        version: found.version.clone(),
        way: found.way,
        notes: found.notes.clone(),
    });
    MadeOf { stores: redis.into_iter().chain([postgres]).collect(), ..MadeOf::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mock_provider_is_found_by_the_url_that_gateways_have() {
        for url in ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"] {
            assert_eq!(without_api_path(url), "http://a:1");
        }
    }
}
