//! The command line, run as a person runs it, and proof that it leaves nothing behind.
//!
//! Every command leads a session of its own and has a temporary folder of its own. Whatever it starts
//! stays in the session, however deep, so what is left of it is found without knowing its names. What
//! leaves the session, as the workers of a Postgres do, is known by its parents and by the mark that
//! every process of a run bears.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;
use tests::binaries::{self, Flavour};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    time::{interval, timeout},
};

/// How long a command may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long what a command started may outlive it, whatever ended it.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Where stores may keep their files.
const MEMORY: &str = "/dev/shm";

/// The binaries of one flavour, and a folder for what they write.
pub(crate) struct Gauntlet {
    binaries: PathBuf,
    folder: TempDir,
}

impl Gauntlet {
    pub(crate) fn new(flavour: Flavour) -> Gauntlet {
        Gauntlet { binaries: binaries::built(flavour), folder: tempfile::tempdir().unwrap() }
    }

    /// A path in the folder of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder of this test.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// One of the binaries.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The command `gauntlet` with arguments that spaces part; `{}` stands for the folder of this
    /// test.
    pub(crate) fn command(&self, args: &str) -> Prepared {
        let folder = self.folder.path().to_str().unwrap();
        let args = args.split_whitespace().map(|arg| arg.replace("{}", folder)).collect();
        let temporary = tempfile::tempdir_in(self.folder.path()).unwrap();
        Prepared { program: self.binary("gauntlet"), args, temporary, path: None, before: "" }
    }

    /// Runs the command to its end.
    pub(crate) async fn run(&self, args: &str) -> Ended {
        self.command(args).start().ended().await
    }
}

/// A command that was not started yet.
pub(crate) struct Prepared {
    program: PathBuf,
    args: Vec<String>,
    temporary: TempDir,
    path: Option<&'static str>,
    before: &'static str,
}

impl Prepared {
    /// Gives it this `PATH` instead of ours.
    pub(crate) fn with_path(self, path: &'static str) -> Prepared {
        Prepared { path: Some(path), ..self }
    }

    /// Has the shell that starts it do something first.
    pub(crate) fn after(self, before: &'static str) -> Prepared {
        Prepared { before, ..self }
    }

    pub(crate) fn start(self) -> Running {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{}\nexec /usr/bin/setsid \"$0\" \"$@\"", self.before)])
            .arg(&self.program)
            .args(&self.args)
            .env("TMPDIR", self.temporary.path())
            .env_remove("GAUNTLET_REDIS_URL")
            .env_remove("GAUNTLET_POSTGRES_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(path) = self.path {
            command.env("PATH", path);
        }
        let mut child = command.spawn().unwrap();
        let leader = i32::try_from(child.id().unwrap()).unwrap();
        let out = heard(child.stdout.take().unwrap());
        let err = heard(child.stderr.take().unwrap());
        let leader = Pid::from_raw(leader);
        let known = Known::default();
        Running { child, leader, out, err, known, temporary: self.temporary }
    }
}

/// A command under way.
pub(crate) struct Running {
    child: Child,
    leader: Pid,
    out: watch::Receiver<String>,
    err: watch::Receiver<String>,
    known: Known,
    temporary: TempDir,
}

/// What is known of a command that may leave its session.
#[derive(Debug, Default)]
struct Known {
    /// Its processes, by id and beginning.
    processes: BTreeSet<(i32, u64)>,
    /// What they bear.
    mark: Option<String>,
}

impl Running {
    /// Kills it, and waits for the end of everything it started.
    pub(crate) async fn killed(mut self) -> Ended {
        self.know();
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "it ended before: {}",
            *self.err.borrow()
        );
        self.signal(Signal::SIGKILL);
        self.ended().await
    }

    /// How many processes it has by now, itself among them.
    pub(crate) fn processes(&mut self) -> usize {
        self.know();
        self.known.processes.len()
    }

    /// Looks at what it has started, and takes note.
    fn know(&mut self) {
        let table = table();
        let mut family = BTreeSet::from([self.leader.as_raw()]);
        loop {
            let more: BTreeSet<_> =
                table.iter().filter(|row| family.contains(&row.parent)).collect();
            let before = family.len();
            family.extend(more.iter().map(|row| row.id));
            if family.len() == before {
                break;
            }
        }
        let of_family = table.iter().filter(|row| family.contains(&row.id));
        for row in of_family {
            self.known.processes.insert((row.id, row.began));
            self.known.mark = self.known.mark.take().or_else(|| mark_of(row.id));
        }
    }

    /// Waits until it has written `what` as a result, and returns all that it has written so far.
    pub(crate) async fn writes(&mut self, what: &str) -> String {
        until(&mut self.out, what).await
    }

    /// Waits until it has said `what` on the way.
    pub(crate) async fn says(&mut self, what: &str) -> String {
        until(&mut self.err, what).await
    }

    /// Waits until it has started something.
    pub(crate) async fn starts_something(&self) {
        let started = timeout(PATIENCE, async {
            let mut look = interval(Duration::from_millis(5));
            while session(self.leader).len() < 2 {
                look.tick().await;
            }
        });
        started.await.unwrap_or_else(|_| panic!("nothing was started in {PATIENCE:?}"));
    }

    /// Sends it a signal. A terminal reaches no more of it: what it starts leads groups of its own.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.leader, signal).unwrap();
    }

    pub(crate) fn id(&self) -> Pid {
        self.leader
    }

    /// Whether it has a process with this in its command line.
    pub(crate) fn has_process(&self, with: &str) -> bool {
        session(self.leader).iter().any(|line| line.contains(with))
    }

    /// The process that it started with this in its command line.
    pub(crate) fn process(&self, with: &str) -> Pid {
        let all = session(self.leader);
        let lines = all.iter().filter(|line| line.contains(with));
        let ids: Vec<_> = lines.filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        assert_eq!(ids.len(), 1, "{all:#?}");
        Pid::from_raw(ids[0])
    }

    /// Waits for its end, and for the end of everything it started.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| {
            panic!("still running: {}{}", *self.out.borrow(), *self.err.borrow())
        });
        self.leaves_nothing().await;
        // Whoever held the other ends has ended, so these do too.
        for text in [&mut self.out, &mut self.err] {
            let closed = timeout(AFTERMATH, text.wait_for(|_| false)).await;
            assert!(closed.is_ok(), "something still holds its output");
        }
        Ended {
            status: status.unwrap(),
            out: self.out.borrow().clone(),
            err: self.err.borrow().clone(),
        }
    }

    async fn leaves_nothing(&self) {
        let mut left = Vec::new();
        let over = timeout(AFTERMATH, async {
            let mut look = interval(Duration::from_millis(20));
            loop {
                look.tick().await;
                left = session(self.leader);
                left.extend(entries(self.temporary.path()));
                left.extend(self.known.left());
                if left.is_empty() {
                    return;
                }
            }
        });
        assert!(over.await.is_ok(), "left behind: {left:#?}");
    }
}

impl Known {
    /// What is left of it outside the session.
    fn left(&self) -> Vec<String> {
        let table = table();
        let known = table.iter().filter(|row| {
            let marked = || self.mark.is_some() && mark_of(row.id) == self.mark;
            self.processes.contains(&(row.id, row.began)) || marked()
        });
        let known = known.map(|row| format!("process {}", row.id));
        let folders = entries(Path::new(MEMORY)).into_iter();
        let ours = |name: &String| self.mark.as_ref().is_some_and(|mark| name.contains(mark));
        known.chain(folders.filter(ours)).collect()
    }
}

/// A command that has ended, and nothing is left of it.
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Its exit status. A panic would be seen here and in what it said.
    #[track_caller]
    pub(crate) fn status(&self) -> i32 {
        assert!(!self.err.contains("panicked"), "{}", self.err);
        let status = self.status.code();
        status.unwrap_or_else(|| panic!("it was killed: {}\n{}", self.status, self.err))
    }

    /// The signal that ended it, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Asserts its exit status and the words that must be in what it said on the way.
    #[track_caller]
    pub(crate) fn says(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status(), status, "{}\n{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in: {}", self.err);
        }
    }

    /// The report that it wrote as JSON.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        let report = serde_json::from_str(&self.out);
        report.unwrap_or_else(|error| panic!("{error} in: {}\n{}", self.out, self.err))
    }
}

/// The folders of all runs below `runs`.
pub(crate) fn runs(runs: &Path) -> Vec<PathBuf> {
    entries(runs).into_iter().map(|name| runs.join(name)).collect()
}

/// Reads a pipe to its end, line by line.
fn heard(pipe: impl AsyncRead + Unpin + Send + 'static) -> watch::Receiver<String> {
    let (sender, text) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|text| {
                text.push_str(&line);
                text.push('\n');
            });
        }
    });
    text
}

async fn until(text: &mut watch::Receiver<String>, what: &str) -> String {
    let said = timeout(PATIENCE, text.wait_for(|text| text.contains(what))).await;
    let said = said.unwrap_or_else(|_| panic!("{what:?} was not said in {PATIENCE:?}"));
    said.map(|said| said.clone()).unwrap_or_else(|_| panic!("it ended without {what:?}"))
}

/// The command lines of the processes of a session.
fn session(leader: Pid) -> Vec<String> {
    let rows = table().into_iter().filter(|row| row.session == leader.as_raw());
    rows.map(|row| {
        let line = fs::read_to_string(format!("/proc/{}/cmdline", row.id)).unwrap_or_default();
        format!("{} {}", row.id, line.replace('\0', " "))
    })
    .collect()
}

/// A process that runs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    id: i32,
    parent: i32,
    session: i32,
    began: u64,
}

/// Every process that has not ended.
fn table() -> Vec<Row> {
    let numbers = entries(Path::new("/proc"));
    let numbers = numbers.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers
        .filter_map(|id| {
            // `pid (name) state ppid pgrp session … starttime …`; the name may hold anything. One that
            // has ended meanwhile has no such file.
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
            let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
            let small = |at| i32::try_from(number(at)?).ok();
            (fields.first() != Some(&"Z")).then_some(())?;
            let (parent, session) = (small(1)?, small(3)?);
            Some(Row { id: id.parse().ok()?, parent, session, began: number(19)? })
        })
        .collect()
}

/// The mark that a process of a run bears, unless it has written over its environment.
fn mark_of(process: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let variables = environment.split(|byte| *byte == 0);
    let values = variables.filter_map(|variable| variable.strip_prefix(b"GAUNTLET_SUPERVISED="));
    values.filter_map(|value| String::from_utf8(value.to_vec()).ok()).next()
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
