//! What `apt-get` does for us: it finds out which packages are needed, and fetches them.
//!
//! It verifies what it fetches against the signatures of the archive, and is told to refuse what has
//! none. It installs nothing: it is asked for addresses, for files, and for lists in a folder of ours.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use super::super::local::find_program;
use crate::target::process_group::ProcessGroup;

/// How long one command of apt may take, whatever the network does.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long a command may take to end after it was asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Libraries that every program here brings or that none of ours loads: the C library is the
/// machine's, whose loader belongs to it, and compiling queries is turned off.
const NOT_WANTED: [&str; 6] = ["libc6", "libc-bin", "libc-l10n", "libllvm", "libz3", "libperl"];

/// A package, as the archive has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// What it is called.
    pub(super) name: String,
    /// Its whole version, as in `5:7.0.15-1~deb12u10`.
    pub(super) version: String,
    /// How much there is to fetch.
    pub(super) bytes: u64,
}

/// Which lists of packages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lists {
    /// Those of this machine, which may be old, or not there.
    OfMachine,
    /// Those that we fetched.
    Own,
}

/// Why packages cannot be had. Fragments, made to follow "not unpacked: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum AptError {
    /// A program is not there.
    #[error("there is no {0} here")]
    NoProgram(&'static str),
    /// A program refused.
    #[error("{program} {what}: {said}")]
    Refused {
        /// The program and what it was asked to do.
        program: String,
        /// How it ended.
        what: String,
        /// The line that says why.
        said: String,
    },
    /// The system refused us something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What we were about to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The programs of apt, and a folder of ours for what they keep.
#[derive(Debug)]
pub(super) struct Apt {
    get: PathBuf,
    cache: PathBuf,
    deb: PathBuf,
    folder: PathBuf,
}

impl Apt {
    /// Looks for the programs in `places`; `folder` keeps what they need.
    pub(super) fn of(places: &[PathBuf], folder: &Path) -> Result<Apt, AptError> {
        let program = |name| find_program(places, name).ok_or(AptError::NoProgram(name));
        let apt = Apt {
            get: program("apt-get")?,
            cache: program("apt-cache")?,
            deb: program("dpkg-deb")?,
            folder: folder.join("apt"),
        };
        apt.configure().map_err(cannot("write what apt is told"))?;
        Ok(apt)
    }

    /// Writes what apt is told, once for either kind of lists.
    fn configure(&self) -> io::Result<()> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        // As if nothing were installed: then it does not matter whether what is here fits together.
        let status = self.folder.join("status");
        fs::write(&status, "")?;
        let quoted = |path: PathBuf| format!("\"{}\"", path.display());
        let shared = format!(
            "Dir::Cache {};\n\
             Dir::State::status {};\n\
             Acquire::AllowInsecureRepositories \"false\";\n\
             APT::Get::AllowUnauthenticated \"false\";\n\
             Acquire::http::Timeout \"20\";\n\
             Acquire::https::Timeout \"20\";\n",
            quoted(self.folder.join("cache")),
            quoted(status),
        );
        // What this machine does after an update of its own is none of ours to set off.
        let own = format!(
            "{shared}Dir::State {};\n\
             APT::Update::Error-Mode \"any\";\n\
             #clear APT::Update::Pre-Invoke;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n",
            quoted(self.folder.join("state")),
        );
        fs::write(self.configuration(Lists::OfMachine), shared)?;
        fs::write(self.configuration(Lists::Own), own)
    }

    fn configuration(&self, lists: Lists) -> PathBuf {
        self.folder.join(match lists {
            Lists::OfMachine => "machine.conf",
            Lists::Own => "own.conf",
        })
    }

    /// Fetches lists of our own.
    pub(super) async fn refresh(&self) -> Result<(), AptError> {
        let mut command = self.command(&self.get, Lists::Own);
        command.args(["-q", "update"]);
        run(command).await.map(drop)
    }

    /// The package of the Postgres that belongs to this release, as in `postgresql-15`.
    pub(super) async fn postgres_of_release(&self, lists: Lists) -> Result<String, AptError> {
        let mut command = self.command(&self.cache, lists);
        command.args(["depends", "--important", "postgresql"]);
        let said = run(command).await?;
        versioned_postgres(&said).ok_or_else(|| AptError::Refused {
            program: "apt-cache".to_owned(),
            what: "knows no postgresql".to_owned(),
            said: "the lists of packages may be missing".to_owned(),
        })
    }

    /// These packages, and the libraries that they load.
    pub(super) async fn needed(
        &self,
        lists: Lists,
        wanted: &[String],
    ) -> Result<Vec<Package>, AptError> {
        let mut command = self.command(&self.get, lists);
        command.args(["-qq", "--yes", "--print-uris", "--no-install-recommends"]);
        command.arg("install").args(wanted);
        let said = run(command).await?;
        let packages: Vec<_> = said
            .lines()
            .filter_map(Package::of_line)
            .filter(|package| wanted.contains(&package.name) || is_library(&package.name))
            .collect();
        match wanted.iter().find(|name| packages.iter().all(|package| package.name != **name)) {
            None => Ok(packages),
            Some(name) => Err(AptError::Refused {
                program: "apt-get".to_owned(),
                what: "offers nothing".to_owned(),
                said: format!("{name} is in none of its lists"),
            }),
        }
    }

    /// Fetches packages into `folder`, and unpacks them into `root`.
    pub(super) async fn fetch(
        &self,
        lists: Lists,
        packages: &[Package],
        folder: &Path,
        root: &Path,
    ) -> Result<(), AptError> {
        let mut command = self.command(&self.get, lists);
        command.args(["-q", "download"]).current_dir(folder);
        command
            .args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
        run(command).await?;
        let entries = fs::read_dir(folder).map_err(cannot("read what was fetched"))?.flatten();
        let files = entries.map(|entry| entry.path());
        for file in files.filter(|file| file.extension().is_some_and(|end| end == "deb")) {
            let mut command = Command::new(&self.deb);
            command.arg("-x").args([&*file, root]);
            run(command).await?;
            fs::remove_file(file).map_err(cannot("remove a package that was unpacked"))?;
        }
        Ok(())
    }

    fn command(&self, program: &Path, lists: Lists) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.configuration(lists));
        command
    }
}

impl Package {
    /// Reads a line of `--print-uris`: an address in quotes, the name of a file, its size.
    fn of_line(line: &str) -> Option<Package> {
        let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split_whitespace();
        let (file, bytes) = (words.next()?, words.next()?.parse().ok()?);
        let mut parts = file.strip_suffix(".deb")?.split('_');
        let (name, version) = (parts.next()?.to_owned(), parts.next()?.replace("%3a", ":"));
        Some(Package { name, version, bytes })
    }

    /// What its authors call this version: without what the release added to it.
    pub(super) fn upstream_version(&self) -> &str {
        let without_epoch = self.version.split_once(':').map_or(&*self.version, |(_, rest)| rest);
        without_epoch.rsplit_once('-').map_or(without_epoch, |(version, _)| version)
    }

    /// What the folder is called that holds it unpacked. A colon would part it in a search path.
    pub(super) fn folder_name(&self) -> String {
        format!("{}_{}", self.name, self.version.replace(':', "%3a"))
    }
}

/// A folder of unpacked packages, as a person would name the package.
pub(super) fn told(folder_name: &str) -> String {
    folder_name.replacen('_', " ", 1).replace("%3a", ":")
}

/// Whether a package holds libraries that a program of ours may load.
fn is_library(name: &str) -> bool {
    let begins = ["lib", "lua-", "zlib1g"].iter().any(|start| name.starts_with(start));
    let other = ["-perl", "-dev", "-data", "-doc"].iter().any(|end| name.ends_with(end));
    begins && !other && !NOT_WANTED.iter().any(|start| name.starts_with(start))
}

/// The first dependency that is a Postgres with a version in its name.
fn versioned_postgres(depends: &str) -> Option<String> {
    let mut names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let versioned = |name: &&str| {
        let version = name.strip_prefix("postgresql-");
        version
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    names.find(versioned).map(str::to_owned)
}

/// What the loader does not find for `programs` when it looks in `folders` too.
pub(super) async fn missing_libraries(
    places: &[PathBuf],
    programs: &[PathBuf],
    folders: &OsStr,
) -> Result<Vec<String>, AptError> {
    let ldd = find_program(places, "ldd").ok_or(AptError::NoProgram("ldd"))?;
    let mut command = Command::new(ldd);
    command.args(programs).env("LD_LIBRARY_PATH", folders);
    Ok(not_found(&run(command).await?))
}

/// What `ldd` says is not there: a library, or a version of one.
fn not_found(said: &str) -> Vec<String> {
    let lines = said.lines().filter(|line| line.contains("not found"));
    let mut missing: Vec<_> =
        lines.map(|line| line.split("=>").next().unwrap_or(line).trim().to_owned()).collect();
    missing.sort();
    missing.dedup();
    missing
}

/// Runs a command to its end, and returns what it wrote.
async fn run(mut command: Command) -> Result<String, AptError> {
    let program = described(&command);
    command
        // Complaints are read by us, and we read English.
        .envs([("LC_ALL", "C"), ("DEBIAN_FRONTEND", "noninteractive")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group =
        ProcessGroup::spawn(command, Signal::SIGTERM).map_err(cannot("start a program of apt"))?;
    let (out, err) = group.outputs();
    let to_its_end = async { tokio::join!(read(out), read(err), group.wait()) };
    let Ok((out, err, status)) = timeout(PATIENCE, to_its_end).await else {
        group.stop(STOP_PATIENCE).await;
        let (what, said) =
            (format!("did not end within {PATIENCE:?}"), "is there a network?".to_owned());
        return Err(AptError::Refused { program, what, said });
    };
    match status {
        Ok(status) if status.success() => Ok(out),
        Ok(status) => Err(AptError::Refused {
            program,
            what: format!("ended with {status}"),
            said: complaint(&err),
        }),
        Err(source) => Err(AptError::System { doing: "wait for a program of apt", source }),
    }
}

async fn read(output: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut output) = output {
        // What was read by then is all there is.
        drop(output.read_to_end(&mut bytes).await);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A command by the name of its program and the word that says what it does.
fn described(command: &Command) -> String {
    const DOES: [&str; 4] = ["update", "install", "download", "depends"];
    let command = command.as_std();
    let name = Path::new(command.get_program()).file_name().map(OsString::from).unwrap_or_default();
    let does = command.get_args().find_map(|arg| DOES.iter().find(|word| arg == **word));
    let does = does.map(|word| format!(" {word}")).unwrap_or_default();
    format!("{}{does}", name.to_string_lossy())
}

/// The line that says why: the first that apt marks as an error, or the last.
fn complaint(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().find_map(|line| line.strip_prefix("E: "));
    error.or_else(|| lines().next_back()).unwrap_or("it said nothing").to_owned()
}

fn cannot(doing: &'static str) -> impl FnOnce(io::Error) -> AptError {
    move |source| AptError::System { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_read_from_the_address_of_its_file() {
        let line = "'http://deb.debian.org/debian/pool/updates/main/r/redis/redis-server_7.0.15-1%7edeb12u10_amd64.deb' redis-server_5%3a7.0.15-1~deb12u10_amd64.deb 73908 SHA256:0a";
        let package = Package::of_line(line).unwrap();
        let version = "5:7.0.15-1~deb12u10".to_owned();
        let expected = Package { name: "redis-server".to_owned(), version, bytes: 73_908 };
        assert_eq!(package, expected);
        assert_eq!(package.upstream_version(), "7.0.15");
        assert_eq!(package.folder_name(), "redis-server_5%3a7.0.15-1~deb12u10");
        assert_eq!(told(&package.folder_name()), "redis-server 5:7.0.15-1~deb12u10");
        for line in ["", "Reading package lists...", "'http://a' x.tar.gz 1"] {
            assert_eq!(Package::of_line(line), None);
        }
    }

    #[test]
    fn libraries_are_told_from_what_only_an_installed_postgres_needs() {
        for name in ["libjemalloc2", "liblua5.1-0", "lua-cjson", "zlib1g", "libssl3t64", "libicu72"]
        {
            assert!(is_library(name), "{name}");
        }
        for name in
            ["libc6", "libllvm14", "libz3-4", "libjson-perl", "perl", "ssl-cert", "libpq-dev"]
        {
            assert!(!is_library(name), "{name}");
        }
    }

    #[test]
    fn the_postgres_of_a_release_is_the_one_that_its_metapackage_stands_for() {
        let said = "postgresql\n  Depends: postgresql-15\n  Suggests: postgresql-doc\n";
        assert_eq!(versioned_postgres(said).as_deref(), Some("postgresql-15"));
        assert_eq!(versioned_postgres("postgresql\n  Depends: postgresql-common\n"), None);
    }

    #[test]
    fn what_the_loader_does_not_find_is_named_once() {
        let said = "/a/initdb:\n\tlibc.so.6 => /lib/libc.so.6 (0x1)\n\tlibpq.so.5 => not found\n\
                    /a/postgres:\n\tlibpq.so.5 => not found\n\tlibxml2.so.2 => not found\n";
        assert_eq!(not_found(said), ["libpq.so.5", "libxml2.so.2"]);
        assert!(not_found("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n").is_empty());
    }

    #[test]
    fn a_complaint_is_the_first_error_or_the_last_line() {
        let said = "W: something\nE: Unable to locate package redis-server\nE: later\n";
        assert_eq!(complaint(said), "Unable to locate package redis-server");
        assert_eq!(complaint("one\ntwo\n"), "two");
        assert_eq!(complaint(""), "it said nothing");
    }
}
