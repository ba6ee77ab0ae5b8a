//! Stores started from programs that are installed here, private to one run.
//!
//! They listen on free loopback ports, keep what they hold in a folder of their own and give up
//! every promise of durability: nothing they hold outlives the run.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::Signal,
    unistd::{User, geteuid},
};
use tokio::process::Command;

use super::{
    FoundStore, PostgresAddress, RedisAddress, Store, StoreError, StoreRequest, Way, folder::Folder,
};
use crate::target::{
    ports,
    process_group::ProcessGroup,
    ready::{Waited, until_ready},
};

/// How long a store may take to end after it was asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Lines of a log that are worth showing.
const LAST_WORDS: usize = 20;

/// The superuser of a Postgres of ours.
const SUPERUSER: &str = "gauntlet";

/// A server of ours, and what it keeps.
#[derive(Debug)]
pub(super) struct LocalServer {
    group: ProcessGroup,
    /// After the group, so that it goes when nobody writes to it.
    folder: Folder,
}

impl LocalServer {
    /// Stops it, and removes what it kept.
    pub(super) async fn stop(mut self) -> Result<(), StoreError> {
        self.group.stop(STOP_PATIENCE).await;
        self.folder.remove().map_err(|source| system("remove the folder of a store", source))
    }
}

/// Starts a Redis, or a Valkey.
pub(super) async fn redis(
    request: &StoreRequest,
) -> Result<(FoundStore<RedisAddress>, LocalServer), StoreError> {
    let places = search_folders(request.search_path.as_deref());
    let program = ["redis-server", "valkey-server"]
        .into_iter()
        .find_map(|name| find_program(&places, name))
        .ok_or(StoreError::NotInstalled {
            store: Store::Redis,
            programs: "redis-server or valkey-server",
            package: "redis-server",
        })?;
    let folder = folder(None)?;
    let command = |address: SocketAddr| {
        let mut command = Command::new(&program);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--port", &address.port().to_string(), "--dir"])
            .arg(folder.path());
        command
    };
    let server = Server { program: &program, folder: folder.path(), farewell: Signal::SIGTERM };
    let (address, version, group) = server
        .start(request.patience, command, async |address, process| {
            RedisAddress::local(address).version_of_process(process).await
        })
        .await?;
    let address = RedisAddress::local(address);
    let notes = vec![Store::Redis.not_given()];
    Ok((FoundStore { address, version, way: Way::Local, notes }, LocalServer { group, folder }))
}

/// Starts a Postgres.
pub(super) async fn postgres(
    request: &StoreRequest,
) -> Result<(FoundStore<PostgresAddress>, LocalServer), StoreError> {
    let binaries = postgres_folder(&search_folders(request.search_path.as_deref())).ok_or(
        StoreError::NotInstalled {
            store: Store::Postgres,
            programs: "postgres with initdb beside it",
            package: "postgresql",
        },
    )?;
    let user = unprivileged_user()?;
    let folder = folder(user.as_ref())?;
    let data = folder.path().join("data");
    let as_user = |program: &Path| {
        let mut command = Command::new(program);
        if let Some(user) = &user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    };

    let mut initdb = as_user(&binaries.join("initdb"));
    initdb
        .args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8"])
        .args(["--locale", "C", "--no-sync", "--pgdata"])
        .arg(&data);
    initialise(initdb, folder.path(), request.patience).await?;

    let program = binaries.join("postgres");
    let command = |address: SocketAddr| {
        let mut command = as_user(&program);
        command.arg("-D").arg(&data).args(["-p", &address.port().to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
    };
    // To end at once is enough: what it holds is not wanted again.
    let server = Server { program: &program, folder: folder.path(), farewell: Signal::SIGQUIT };
    let (address, version, group) = server
        .start(request.patience, command, async |address, _| {
            PostgresAddress::local(address, SUPERUSER).version_over(&data).await
        })
        .await?;
    let address = PostgresAddress::local(address, SUPERUSER);
    let mut notes = vec![Store::Postgres.not_given()];
    notes.extend(folder.note());
    notes.extend(user.map(|user| format!("runs as {}, since Postgres refuses root", user.name)));
    Ok((FoundStore { address, version, way: Way::Local, notes }, LocalServer { group, folder }))
}

/// Private, quick, and durable no longer than the run.
const SETTINGS: [&str; 11] = [
    "listen_addresses=127.0.0.1",
    // A socket's path has a length limit that temporary folders may exceed; nobody needs one.
    "unix_socket_directories=",
    // In its folder, where it is removed even after a SIGKILL.
    "dynamic_shared_memory_type=mmap",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "max_connections=200",
    "log_destination=stderr",
];

/// How one kind of server is started, whatever its port.
struct Server<'a> {
    program: &'a Path,
    folder: &'a Path,
    farewell: Signal,
}

impl Server<'_> {
    /// Starts it on a free port, and waits until `version` has something to say of the process at
    /// that address with that id: another server may have been quicker to take the port.
    async fn start(
        &self,
        patience: Duration,
        command: impl Fn(SocketAddr) -> Command,
        version: impl AsyncFn(SocketAddr, u32) -> Option<String>,
    ) -> Result<(SocketAddr, String, ProcessGroup), StoreError> {
        let mut attempts = ports::ATTEMPTS;
        loop {
            attempts -= 1;
            let address =
                ports::free_address().map_err(|source| system("find a free port", source))?;
            let log = self.folder.join("log");
            let mut command = command(address);
            private(&mut command, self.folder, &log)?;
            let mut group = ProcessGroup::spawn(command, self.farewell)
                .map_err(|source| system(&format!("start {}", self.program.display()), source))?;
            let process = group.id();
            let answer = async || version(address, process).await;
            let what = match until_ready(&mut group, patience, answer).await {
                Waited::Ready(version) => return Ok((address, version, group)),
                Waited::Exited(status) => format!("ended with {status} before it answered"),
                Waited::Late => format!("gave no answer within {patience:?}"),
            };
            group.stop(STOP_PATIENCE).await;
            let last_words = last_words(&log);
            let raced = ports::says_port_is_taken(last_words.iter().map(String::as_str));
            if !(raced && attempts > 0) {
                return Err(StoreError::Failed {
                    program: self.program.to_owned(),
                    what,
                    last_words,
                });
            }
        }
    }
}

/// Runs `initdb` to its end.
async fn initialise(
    mut initdb: Command,
    folder: &Path,
    patience: Duration,
) -> Result<(), StoreError> {
    let program = PathBuf::from(initdb.as_std().get_program());
    let log = folder.join("initdb.log");
    private(&mut initdb, folder, &log)?;
    let mut group = ProcessGroup::spawn(initdb, Signal::SIGTERM)
        .map_err(|source| system(&format!("start {}", program.display()), source))?;
    let what = match until_ready(&mut group, patience, async || None::<()>).await {
        Waited::Exited(status) if status.success() => return Ok(()),
        Waited::Exited(status) => format!("ended with {status}"),
        Waited::Ready(()) | Waited::Late => format!("did not end within {patience:?}"),
    };
    group.stop(STOP_PATIENCE).await;
    Err(StoreError::Failed { program, what, last_words: last_words(&log) })
}

/// Gives a command nothing of our environment, and a log for all it says.
fn private(command: &mut Command, folder: &Path, log: &Path) -> Result<(), StoreError> {
    let logs = || {
        let file = File::options().create(true).append(true).open(log)?;
        Ok((file.try_clone()?, file))
    };
    let (stdout, stderr) =
        logs().map_err(|source: io::Error| system(&format!("write {}", log.display()), source))?;
    command
        .env_clear()
        // Complaints are read by us, and we read English.
        .envs([("LC_ALL", "C"), ("PATH", "/usr/bin:/bin")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    Ok(())
}

fn last_words(log: &Path) -> Vec<String> {
    // A log that cannot be read has nothing to say.
    let log = fs::read(log).unwrap_or_default();
    let lines: Vec<String> = String::from_utf8_lossy(&log).lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].to_vec()
}

fn folder(owner: Option<&User>) -> Result<Folder, StoreError> {
    Folder::make(owner).map_err(|source| system("make a folder for a store", source))
}

/// Whom Postgres can run as, if it cannot run as us.
fn unprivileged_user() -> Result<Option<User>, StoreError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(Some)
        .ok_or(StoreError::NoUser)
}

/// Where programs are looked for: what `PATH` says, then where they usually are.
fn search_folders(search_path: Option<&OsStr>) -> Vec<PathBuf> {
    const USUAL: [&str; 6] = [
        "/usr/local/bin",
        "/usr/bin",
        "/usr/sbin",
        "/opt/homebrew/bin",
        "/opt/homebrew/opt/redis/bin",
        "/opt/homebrew/opt/valkey/bin",
    ];
    env::split_paths(search_path.unwrap_or_default())
        .chain(USUAL.map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .collect()
}

fn find_program(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The folder with `postgres` and `initdb`: on the search path, or the newest that is installed.
fn postgres_folder(folders: &[PathBuf]) -> Option<PathBuf> {
    // A link on PATH often leads to a folder that has the other programs too.
    let linked = find_program(folders, "postgres")
        .and_then(|program| fs::canonicalize(program).ok())
        .and_then(|program| program.parent().map(Path::to_owned));
    let mut versioned: Vec<(u32, PathBuf)> = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ]
    .into_iter()
    .flat_map(|(parent, prefix)| versions_in(Path::new(parent), prefix))
    .collect();
    versioned.sort();
    linked
        .into_iter()
        .chain(versioned.into_iter().rev().map(|(_, folder)| folder))
        .find(|folder| is_program(&folder.join("postgres")) && is_program(&folder.join("initdb")))
}

/// The `bin` folders of every `<prefix><number>` in `parent`.
fn versions_in(parent: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    // A folder that is not there holds no version.
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect()
}

fn system(doing: &str, source: io::Error) -> StoreError {
    StoreError::System { doing: doing.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn only_what_can_be_run_is_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("redis-server");
        fs::write(&program, "").unwrap();
        let folders = [folder.path().to_owned()];
        assert_eq!(find_program(&folders, "redis-server"), None);
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program(&folders, "redis-server"), Some(program));
    }

    #[test]
    fn versions_are_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pgsql-9", "pgsql-17", "pgsql-old", "other"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut versions = versions_in(folder.path(), "pgsql-");
        versions.sort();
        let numbers: Vec<u32> = versions.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [9, 17]);
    }

    #[test]
    fn relative_folders_are_not_searched() {
        let folders = search_folders(Some(OsStr::new("bin:/opt/x:")));
        assert_eq!(folders[0], Path::new("/opt/x"));
    }
}
