//! Stores started from packages that are unpacked, on Debian and Ubuntu, and not installed.
//!
//! The packages are those of this very release, so libraries that are installed serve them; where
//! one is missing, all that they load is fetched with them. What was unpacked stays in a cache folder: a
//! later run needs no network. Nothing here needs root, or changes what is installed.

use std::{
    env,
    ffi::OsString,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::sync::Mutex;

use super::{
    Attempt, PostgresAddress, RedisAddress, Store, StoreError, StoreRequest, Way,
    local::{find_program, is_program, search_folders},
    process::{self, NoUser, Programs},
};
use crate::{runner::steps::Steps, target::supervisor::OwnFolder};

mod apt;
mod cache;
mod release;

use apt::{Apt, AptError, Lists, Package};
use cache::Cache;
use release::Release;

/// Where a system says which one it is.
const OS_RELEASE: &str = "/etc/os-release";

/// Where Postgres as Debian builds it looks for time zones. Who connects asks for UTC, which it does not
/// know by itself.
const ZONES: &str = "/usr/share/zoneinfo";

/// How the folder begins in which packages are unpacked before they are complete.
const UNFINISHED: &str = "unfinished-";

/// Two stores of this process fetch one after the other.
static FETCHING: Mutex<()> = Mutex::const_new(());

/// Starts a Redis out of unpacked packages.
pub(super) async fn redis(request: &StoreRequest) -> Result<Attempt<RedisAddress>, StoreError> {
    match unpacked(request, Store::Redis).await {
        Ok((programs, notes)) => {
            Ok(Attempt::started(process::redis(&programs, request.patience).await?, notes))
        }
        Err(why) => Ok(Attempt::passed(format!("not unpacked: {why}"))),
    }
}

/// Starts a Postgres out of unpacked packages.
pub(super) async fn postgres(
    request: &StoreRequest,
) -> Result<Attempt<PostgresAddress>, StoreError> {
    match unpacked(request, Store::Postgres).await {
        Ok((programs, notes)) => {
            Ok(Attempt::started(process::postgres(&programs, request.patience).await?, notes))
        }
        Err(why) => Ok(Attempt::passed(format!("not unpacked: {why}"))),
    }
}

/// Why no package serves. Fragments, made to follow "not unpacked: ".
#[derive(Debug, thiserror::Error)]
enum NotUnpacked {
    /// There are no packages of this system.
    #[error("this is neither Debian nor Ubuntu")]
    Foreign,
    /// Nowhere can anything be kept.
    #[error("{0}")]
    NoCache(String),
    /// apt, or a program beside it, refused.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// What was unpacked lacks something.
    #[error("{0}")]
    Unusable(String),
    /// Somebody must be there whom Postgres can run as.
    #[error(transparent)]
    NoUser(#[from] NoUser),
    /// The Postgres of a distribution reads the zones of its machine, from one folder and no other.
    #[error(
        "Debian's Postgres reads time zones from {ZONES}, and there is no UTC in it; install tzdata"
    )]
    NoZones,
    /// The system refused us something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What we were about to do.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The programs of `store`, fetched unless they are in the cache, and what a person should know.
async fn unpacked(
    request: &StoreRequest,
    store: Store,
) -> Result<(Programs, Vec<String>), NotUnpacked> {
    let release = fs::read_to_string(OS_RELEASE).ok().and_then(|text| Release::read(&text));
    let release = release.ok_or(NotUnpacked::Foreign)?;
    if store == Store::Postgres && !Path::new(ZONES).join("UTC").exists() {
        return Err(NotUnpacked::NoZones);
    }
    let places = search_folders(request.choice.search_path.as_deref());
    let reader = process::unprivileged_user()?;
    let cache = Cache::choose(&request.choice.caches, reader.as_ref(), &release.folder_name())
        .map_err(NotUnpacked::NoCache)?;
    let shelf = Shelf { cache: &cache, places: &places, steps: &request.steps, store };
    let programs = match shelf.usable().await {
        Ok(Some(programs)) => programs,
        Ok(None) | Err(_) => shelf.fetched(&release).await?,
    };
    let package = programs.path.strip_prefix(cache.folder()).ok();
    let package = package.and_then(|path| path.iter().next()).unwrap_or_default();
    let kept = format!(
        "unpacked from {}, which is kept in {} and not installed",
        apt::told(&package.to_string_lossy()),
        cache.folder().display()
    );
    Ok((programs, [kept].into_iter().chain(cache.note().map(str::to_owned)).collect()))
}

/// Where the packages of one store are kept.
struct Shelf<'a> {
    cache: &'a Cache,
    /// Where programs of this system are looked for.
    places: &'a [PathBuf],
    steps: &'a Steps,
    store: Store,
}

impl Shelf<'_> {
    /// What is unpacked already and finds all its libraries.
    async fn usable(&self) -> Result<Option<Programs>, NotUnpacked> {
        // A folder that is not there holds nothing yet.
        let entries = fs::read_dir(self.cache.folder()).into_iter().flatten().flatten();
        let mut roots: Vec<_> = entries.map(|entry| entry.path()).collect();
        roots.sort();
        for root in roots.into_iter().rev() {
            let Some(programs) = self.programs_in(&root) else { continue };
            if self.missing(&programs).await?.is_empty() {
                return Ok(Some(programs));
            }
        }
        Ok(None)
    }

    /// Fetches and unpacks what is missing, unless another run does so meanwhile.
    async fn fetched(&self, release: &Release) -> Result<Programs, NotUnpacked> {
        let _alone_here = FETCHING.lock().await;
        let _alone = self.cache.lock(self.steps).await?;
        if let Ok(Some(programs)) = self.usable().await {
            return Ok(programs);
        }
        self.cache.remove_leftovers(UNFINISHED);
        let apt = Apt::of(self.places, self.cache.folder())?;
        let root = match self.unpack(&apt, Lists::OfMachine).await {
            Ok(root) => root,
            // There may be no lists here, or old ones.
            Err(_) => {
                self.steps.begin(&format!("fetching the lists of packages of {release}"));
                apt.refresh().await?;
                self.unpack(&apt, Lists::Own).await?
            }
        };
        let programs = self.programs_in(&root).ok_or_else(|| {
            NotUnpacked::Unusable(format!(
                "{} holds no program of a {}",
                root.display(),
                self.store
            ))
        })?;
        match self.missing(&programs).await? {
            missing if missing.is_empty() => Ok(programs),
            missing => Err(NotUnpacked::Unusable(format!(
                "{} needs libraries that are nowhere: {}",
                programs.path.display(),
                missing.join(", ")
            ))),
        }
    }

    /// Fetches the packages that these lists know, and unpacks them into one folder.
    async fn unpack(&self, apt: &Apt, lists: Lists) -> Result<PathBuf, NotUnpacked> {
        let wanted = match self.store {
            // The program itself is in its tools.
            Store::Redis => vec!["redis-server".to_owned(), "redis-tools".to_owned()],
            Store::Postgres => vec![apt.postgres_of_release(lists).await?],
        };
        let needed = apt.needed(lists, &wanted).await?;
        let (packages, libraries): (Vec<_>, Vec<_>) =
            needed.into_iter().partition(|package| wanted.contains(&package.name));
        let unfinished = OwnFolder::make_in(self.cache.folder(), UNFINISHED)
            .map_err(system("make a folder for packages"))?;
        let root = unfinished.path().join("root");
        fs::create_dir(&root).map_err(system("make a folder for packages"))?;
        self.steps.begin(&told_of_packages(&packages, &wanted[0]));
        apt.fetch(lists, &packages, unfinished.path(), &root).await?;
        let fits = match self.programs_in(&root) {
            Some(programs) => self.missing(&programs).await?.is_empty(),
            None => false,
        };
        if !fits {
            self.steps.begin(&told_of_libraries(&libraries, &wanted[0]));
            apt.fetch(lists, &libraries, unfinished.path(), &root).await?;
        }
        // Whoever runs them need not be us.
        fs::set_permissions(&root, Permissions::from_mode(0o755))
            .map_err(system("open a folder of packages to be read"))?;
        let first = packages.iter().find(|package| package.name == wanted[0]);
        let name = first.map_or_else(|| wanted[0].clone(), Package::folder_name);
        let finished = self.cache.folder().join(name);
        if finished.exists() {
            // It was there and did not do.
            fs::rename(&finished, unfinished.path().join("old"))
                .map_err(system("put packages away"))?;
        }
        fs::rename(&root, &finished).map_err(system("keep packages"))?;
        Ok(finished)
    }

    /// The programs of this store in an unpacked folder, and where its libraries are.
    fn programs_in(&self, root: &Path) -> Option<Programs> {
        let path = match self.store {
            Store::Redis => find_program(&[root.join("usr/bin")], "redis-server")?,
            Store::Postgres => {
                let versions = fs::read_dir(root.join("usr/lib/postgresql")).ok()?;
                let mut folders = versions.flatten().map(|version| version.path().join("bin"));
                folders.find(|folder| {
                    ["postgres", "initdb"].iter().all(|name| is_program(&folder.join(name)))
                })?
            }
        };
        Some(Programs { path, libraries: library_folders(root), way: Way::Unpacked })
    }

    /// The libraries that the loader does not find for these programs.
    async fn missing(&self, programs: &Programs) -> Result<Vec<String>, NotUnpacked> {
        let files = match self.store {
            Store::Redis => vec![programs.path.clone()],
            Store::Postgres => ["postgres", "initdb"].map(|name| programs.path.join(name)).into(),
        };
        // A folder whose name has a colon cannot be told; its libraries are then missed.
        let folders: OsString = env::join_paths(&programs.libraries).unwrap_or_default();
        match apt::missing_libraries(self.places, &files, &folders).await {
            Ok(missing) => Ok(missing),
            // A library is there and is none.
            Err(AptError::Refused { said, .. }) => Ok(vec![said]),
            Err(error) => Err(error.into()),
        }
    }
}

/// The folders of an unpacked root where the loader has to look.
fn library_folders(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = ["usr/lib", "lib"]
        .into_iter()
        .flat_map(|parent| fs::read_dir(root.join(parent)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("-linux-gnu") && path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// What is said while the packages of a store are fetched.
fn told_of_packages(packages: &[Package], main: &str) -> String {
    let version = packages.iter().find(|package| package.name == main);
    let version = version.map(Package::upstream_version).unwrap_or_default();
    let more = match packages.len().saturating_sub(1) {
        0 => String::new(),
        1 => " and 1 more package".to_owned(),
        more => format!(" and {more} more packages"),
    };
    format!("fetching {main} {version}{more} ({})", megabytes(packages))
}

/// What is said while its libraries are fetched.
fn told_of_libraries(libraries: &[Package], main: &str) -> String {
    format!(
        "fetching {} packages of libraries for {main} ({})",
        libraries.len(),
        megabytes(libraries)
    )
}

/// In tenths, upwards.
fn megabytes(packages: &[Package]) -> String {
    let tenths = packages.iter().map(|package| package.bytes).sum::<u64>().div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> NotUnpacked {
    move |source| NotUnpacked::System { doing: doing.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, bytes: u64) -> Package {
        Package { name: name.to_owned(), version: version.to_owned(), bytes }
    }

    #[test]
    fn what_is_fetched_is_told_in_the_words_of_its_authors() {
        let redis = package("redis-server", "5:7.0.15-1~deb12u10", 73_908);
        let tools = package("redis-tools", "5:7.0.15-1~deb12u10", 991_988);
        let jemalloc = package("libjemalloc2", "5.3.0-1", 275_000);
        let told = |packages: &[Package]| told_of_packages(packages, "redis-server");
        assert_eq!(told(std::slice::from_ref(&redis)), "fetching redis-server 7.0.15 (0.1 MB)");
        let two = [tools.clone(), redis.clone()];
        assert_eq!(told(&two), "fetching redis-server 7.0.15 and 1 more package (1.1 MB)");
        let three = [jemalloc.clone(), tools, redis];
        assert_eq!(told(&three), "fetching redis-server 7.0.15 and 2 more packages (1.4 MB)");
        let libraries = told_of_libraries(&[jemalloc.clone(), jemalloc], "redis-server");
        assert_eq!(libraries, "fetching 2 packages of libraries for redis-server (0.6 MB)");
    }

    #[test]
    fn libraries_are_looked_for_where_debian_puts_them() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["usr/lib/x86_64-linux-gnu", "usr/lib/postgresql", "lib/aarch64-linux-gnu"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let found = library_folders(root.path());
        let expected = ["lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
        assert_eq!(found, expected.map(|folder| root.path().join(folder)));
    }
}
