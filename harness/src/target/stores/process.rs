//! Stores that are processes of ours, private to one run, wherever their programs come from.
//!
//! They listen on free loopback ports, keep what they hold in a folder of their own and give up
//! every promise of durability: nothing they hold outlives the run.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::Signal,
    unistd::{User, geteuid},
};
use tokio::process::Command;

use super::{FoundStore, PostgresAddress, RedisAddress, Server, StoreError, Way, folder::Folder};
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
pub(super) const SUPERUSER: &str = "gauntlet";

/// A process of ours, and what it keeps.
#[derive(Debug)]
pub(super) struct StoreProcess {
    group: ProcessGroup,
    /// After the group, so that it goes when nobody writes to it.
    folder: Folder,
}

impl StoreProcess {
    /// The process that leads `group`, which keeps what it holds in `folder`.
    pub(super) fn of(group: ProcessGroup, folder: Folder) -> StoreProcess {
        StoreProcess { group, folder }
    }

    /// Stops it, and removes what it kept.
    pub(super) async fn stop(mut self) -> Result<(), StoreError> {
        self.group.stop(STOP_PATIENCE).await;
        self.folder.remove().map_err(|source| system("remove the folder of a store", source))
    }
}

/// Postgres refuses to run as root, and there is nobody else to run it as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Postgres does not run as root, and this system has neither a user `postgres` nor `nobody`; run as another user, or give --postgres-url"
)]
pub struct NoUser;

/// The programs of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    /// The program of a Redis, or the folder with the `postgres` and `initdb` of a Postgres.
    pub(super) path: PathBuf,
    /// Where the libraries are that they do not find by themselves.
    pub(super) libraries: Vec<PathBuf>,
    /// Which way we came by them.
    pub(super) way: Way,
}

/// Starts a Redis, or a Valkey.
pub(super) async fn redis(
    programs: &Programs,
    patience: Duration,
) -> Result<(FoundStore<RedisAddress>, Server), StoreError> {
    let folder = folder(None)?;
    let command = |address: SocketAddr| {
        let mut command = Command::new(&programs.path);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--port", &address.port().to_string(), "--dir"])
            .arg(folder.path());
        command
    };
    let starting =
        Starting { programs, folder: folder.path(), patience, farewell: Signal::SIGTERM };
    let (address, version, group) = starting
        .start(command, async |address, process| {
            RedisAddress::local(address).version_of_process(process).await
        })
        .await?;
    let address = RedisAddress::local(address);
    let found = FoundStore { address, version, way: programs.way, notes: Vec::new() };
    Ok((found, Server::Process(StoreProcess::of(group, folder))))
}

/// Starts a Postgres.
pub(super) async fn postgres(
    programs: &Programs,
    patience: Duration,
) -> Result<(FoundStore<PostgresAddress>, Server), StoreError> {
    let user = unprivileged_user()?;
    let folder = folder(user.as_ref())?;
    let data = folder.path().join("data");
    let as_user = |program: &str| {
        let mut command = Command::new(programs.path.join(program));
        if let Some(user) = &user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    };
    let starting =
        Starting { programs, folder: folder.path(), patience, farewell: Signal::SIGQUIT };

    let mut initdb = as_user("initdb");
    initdb
        .args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8"])
        .args(["--locale", "C", "--no-sync", "--pgdata"])
        .arg(&data);
    starting.initialise(initdb).await?;

    let command = |address: SocketAddr| {
        let mut command = as_user("postgres");
        command.arg("-D").arg(&data).args(["-p", &address.port().to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
    };
    // To end at once is enough: what it holds is not wanted again.
    let (address, version, group) = starting
        .start(command, async |address, _| {
            PostgresAddress::local(address, SUPERUSER).version_over(&data).await
        })
        .await?;
    let address = PostgresAddress::local(address, SUPERUSER);
    let mut notes: Vec<_> = folder.note().into_iter().collect();
    notes.extend(user.map(|user| format!("runs as {}, since Postgres refuses root", user.name)));
    let found = FoundStore { address, version, way: programs.way, notes };
    Ok((found, Server::Process(StoreProcess::of(group, folder))))
}

/// Private, quick, and durable no longer than the run.
pub(super) const SETTINGS: [&str; 12] = [
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
    // What it compiles queries with is large, and may be missing.
    "jit=off",
    "max_connections=200",
    "log_destination=stderr",
];

/// How one store is started, whatever its port.
struct Starting<'a> {
    programs: &'a Programs,
    folder: &'a Path,
    patience: Duration,
    farewell: Signal,
}

impl Starting<'_> {
    /// Starts it on a free port, and waits until `version` has something to say of the process at
    /// that address with that id: another server may have been quicker to take the port.
    async fn start(
        &self,
        command: impl Fn(SocketAddr) -> Command,
        version: impl AsyncFn(SocketAddr, u32) -> Option<String>,
    ) -> Result<(SocketAddr, String, ProcessGroup), StoreError> {
        let mut attempts = ports::ATTEMPTS;
        loop {
            attempts -= 1;
            let address =
                ports::free_address().map_err(|source| system("find a free port", source))?;
            let log = self.folder.join("log");
            let (program, mut group) = self.spawn(command(address), &log, self.farewell)?;
            let process = group.id();
            let answer = async || version(address, process).await;
            let what = match until_ready(&mut group, self.patience, answer).await {
                Waited::Ready(version) => return Ok((address, version, group)),
                Waited::Exited(status) => format!("ended with {status} before it answered"),
                Waited::Late => format!("gave no answer within {:?}", self.patience),
            };
            group.stop(STOP_PATIENCE).await;
            let last_words = last_words(&log);
            let raced = ports::says_port_is_taken(last_words.iter().map(String::as_str));
            if !(raced && attempts > 0) {
                return Err(StoreError::Failed { program, what, last_words });
            }
        }
    }

    /// Runs `initdb` to its end.
    async fn initialise(&self, initdb: Command) -> Result<(), StoreError> {
        let log = self.folder.join("initdb.log");
        let (program, mut group) = self.spawn(initdb, &log, Signal::SIGTERM)?;
        let what = match until_ready(&mut group, self.patience, async || None::<()>).await {
            Waited::Exited(status) if status.success() => return Ok(()),
            Waited::Exited(status) => format!("ended with {status}"),
            Waited::Ready(()) | Waited::Late => format!("did not end within {:?}", self.patience),
        };
        group.stop(STOP_PATIENCE).await;
        Err(StoreError::Failed { program, what, last_words: last_words(&log) })
    }

    /// Starts a command that has nothing of our environment, and a log for all it says.
    fn spawn(
        &self,
        mut command: Command,
        log: &Path,
        farewell: Signal,
    ) -> Result<(PathBuf, ProcessGroup), StoreError> {
        let program = PathBuf::from(command.as_std().get_program());
        let logs = || {
            let file = File::options().create(true).append(true).open(log)?;
            Ok((file.try_clone()?, file))
        };
        let (stdout, stderr) = logs()
            .map_err(|source: io::Error| system(&format!("write {}", log.display()), source))?;
        command
            .env_clear()
            // Complaints are read by us, and we read English.
            .envs([("LC_ALL", "C"), ("PATH", "/usr/bin:/bin")])
            .envs(self.libraries().map(|folders| ("LD_LIBRARY_PATH", folders)))
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        let group = ProcessGroup::spawn(command, farewell)
            .map_err(|source| system(&format!("start {}", program.display()), source))?;
        Ok((program, group))
    }

    /// What the loader is told about libraries, if it has to be told anything.
    fn libraries(&self) -> Option<OsString> {
        // A folder whose name has a colon cannot be told; the program then says what it misses.
        env::join_paths(&self.programs.libraries).ok().filter(|folders| !folders.is_empty())
    }
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
///
/// # Errors
///
/// When we are root, and there is nobody else.
pub(super) fn unprivileged_user() -> Result<Option<User>, NoUser> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(Some)
        .ok_or(NoUser)
}

pub(super) fn system(doing: &str, source: io::Error) -> StoreError {
    StoreError::System { doing: doing.to_owned(), source }
}
