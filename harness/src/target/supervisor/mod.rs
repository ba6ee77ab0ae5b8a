//! A child process that outlives us for a moment, and ends what we could not.
//!
//! A drop cleans up after a return, an error and a panic; nothing of ours runs after a `SIGKILL`. So
//! whatever must not outlive us is first told to a supervisor: a child in a group of its own that reads
//! from a pipe which only we hold open. The system closes the pipe when we end, however we end, and
//! whatever is still on the supervisor's list is then ended and removed.
//!
//! Names are told before things are made, and every process bears a mark in its environment, so there
//! is no moment in which something exists that nobody would see to. The pipe is not inherited across
//! `exec`, and a process between `fork` and `exec` holds it open still: once it has ended, every process
//! that we started has its mark.
//!
//! There is one supervisor for this process, started by the first thing there is to watch. A supervisor
//! that is gone is replaced, with all that was on its list, by the next; where none can be started,
//! nothing else is. It is `gauntlet` itself with a hidden subcommand, so `main` says where that is
//! ([`supervised_by`]). In a program that says nothing, such as a test that uses this crate as a library,
//! a shell stands in: it ends groups and removes folders, while containers and databases are left to
//! drops.

mod order;
mod stand_in;
mod clean_up;
mod processes;
mod folder;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};

use super::stores::PostgresAddress;
use crate::clock::{Clock, number_of_this_run};
use order::{Order, Watched};

pub(crate) use clean_up::serve;
pub(crate) use folder::OwnFolder;

/// The subcommand of this program that supervises.
pub const SUBCOMMAND: &str = "supervise";

/// The variable of the environment that every process of a run bears.
pub const MARK: &str = "GAUNTLET_SUPERVISED";

/// How long the supervisor may take over what we left it when we end in good order.
const FAREWELL: Duration = Duration::from_secs(10);

/// The program that supervises, where it was told.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The supervisor of this process.
static OURS: LazyLock<Arc<Supervisor>> =
    LazyLock::new(|| Supervisor::new(PROGRAM.get().map(PathBuf::as_path)));

/// Has this process supervised by `program`, which is a `gauntlet`. The first word counts, and only
/// before there is anything to watch.
pub fn supervised_by(program: &Path) {
    drop(PROGRAM.set(program.to_owned()));
}

/// Waits until the supervisor has ended and removed whatever is left, where there is one.
///
/// For the end of a program: what is watched later has a new supervisor.
pub fn dismissed() {
    if let Some(ours) = LazyLock::get(&OURS) {
        ours.dismiss();
    }
}

/// What every process that we start must have in its environment: a variable and its value.
///
/// Whoever asks is about to start one, so there is a supervisor from here on, where one can be started.
pub(crate) fn mark() -> (&'static str, &'static str) {
    OURS.attend();
    (MARK, &OURS.mark)
}

/// Has the process group of `leader` ended when we end; the leader is asked by `farewell` first.
pub(crate) fn over_group(leader: Pid, farewell: Signal) -> io::Result<Ward> {
    OURS.watch(&Watched::Group { leader, farewell })
}

/// Has `folder` removed with all it holds when we end. Best told before the folder is made.
pub(crate) fn over_folder(folder: &Path) -> io::Result<Ward> {
    OURS.watch(&Watched::Folder(std::path::absolute(folder)?))
}

/// Has every container with `label`, a `name=value`, removed when we end. To be told before the first
/// one is made.
pub(crate) fn over_containers(label: &str) -> io::Result<Ward> {
    OURS.watch(&Watched::Containers(label.to_owned()))
}

/// Has the database `name` dropped when we end, on the Postgres at `server`. To be told before it is
/// made.
pub(crate) fn over_database(server: &PostgresAddress, name: &str) -> io::Result<Ward> {
    OURS.watch(&Watched::Database { name: name.to_owned(), server: server.url() })
}

/// Something on the supervisor's list. Dropped once that thing is gone, or no longer ours.
#[must_use = "what is dropped is no longer watched"]
pub(crate) struct Ward {
    supervisor: Arc<Supervisor>,
    number: u64,
}

/// What it is about may hold a password.
impl fmt::Debug for Ward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ward({})", self.number)
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.supervisor.release(self.number);
    }
}

/// One supervisor, and what it was told.
struct Supervisor {
    mark: String,
    program: Option<PathBuf>,
    state: Mutex<State>,
}

/// The process, and what would be told to another one.
#[derive(Default)]
struct State {
    child: Option<Child>,
    watched: BTreeMap<u64, Vec<u8>>,
    last: u64,
}

impl Supervisor {
    /// One that is started once there is something to watch.
    fn new(program: Option<&Path>) -> Arc<Supervisor> {
        let number = number_of_this_run().wrapping_add(u64::from(std::process::id()));
        Arc::new(Supervisor {
            mark: format!("{number:016x}"),
            program: program.map(Path::to_owned),
            state: Mutex::default(),
        })
    }

    /// Starts the process, unless it was. Where that is refused, so is whatever is to be watched next.
    fn attend(&self) {
        let mut state = self.state();
        if state.child.is_none() {
            state.child = self.start(&state.watched).ok();
        }
    }

    fn watch(self: &Arc<Supervisor>, watched: &Watched) -> io::Result<Ward> {
        let mut state = self.state();
        let number = state.last + 1;
        let line = Order::watch(number, watched)?;
        if state.say(&line).is_err() {
            // None yet, or none any longer.
            state.child = None;
            state.child = Some(self.start(&state.watched)?);
            state.say(&line)?;
        }
        state.last = number;
        state.watched.insert(number, line);
        Ok(Ward { supervisor: Arc::clone(self), number })
    }

    fn release(&self, number: u64) {
        let mut state = self.state();
        if state.watched.remove(&number).is_some() {
            // One that is gone has forgotten it already.
            drop(state.say(&Order::release(number)));
        }
    }

    fn dismiss(&self) {
        const STEP: Duration = Duration::from_millis(5);
        let Some(mut child) = self.state().child.take() else { return };
        drop(child.stdin.take());
        let clock = Clock::start();
        while matches!(child.try_wait(), Ok(None))
            && clock.now().since(Default::default()) < FAREWELL
        {
            thread::sleep(STEP);
        }
    }

    fn start(&self, watched: &BTreeMap<u64, Vec<u8>>) -> io::Result<Child> {
        let mut command = match &self.program {
            Some(program) => {
                let mut command = Command::new(program);
                command.arg(SUBCOMMAND);
                command
            }
            None => stand_in::command(),
        };
        let mut child = command
            // Its own group: what interrupts us must not interrupt it.
            .process_group(0)
            // One that supervises us would take it for one of ours.
            .env_remove(MARK)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(pipe) = &mut child.stdin {
            pipe.write_all(&Order::mark(&self.mark))?;
            watched.values().try_for_each(|line| pipe.write_all(line))?;
        }
        Ok(child)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn say(&mut self, line: &[u8]) -> io::Result<()> {
        let child = self.child.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        match (child.try_wait()?, &mut child.stdin) {
            (None, Some(pipe)) => pipe.write_all(line),
            (Some(_), _) | (_, None) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::process::ExitStatusExt, process::ExitStatus};

    use super::*;

    impl Supervisor {
        /// Ends as a killed process does, and waits for what the supervisor makes of it.
        fn abandon(&self) -> ExitStatus {
            let mut child = self.state().child.take().unwrap();
            drop(child.stdin.take());
            child.wait().unwrap()
        }
    }

    /// A shell that leads a group, and has the mark.
    fn shell(supervisor: &Supervisor, script: &str) -> (Child, Pid) {
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .env(MARK, &supervisor.mark)
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let leader = Pid::from_raw(child.id().cast_signed());
        (child, leader)
    }

    #[test]
    fn what_bears_the_mark_is_seen_to_before_anything_is_watched() {
        let supervisor = Supervisor::new(None);
        supervisor.attend();
        let first = supervisor.state().child.as_ref().map(Child::id);
        supervisor.attend();
        assert_eq!(supervisor.state().child.as_ref().map(Child::id), first);
        assert!(first.is_some() && supervisor.abandon().success());
    }

    #[test]
    fn what_is_watched_goes_with_us_and_what_was_released_stays() {
        let supervisor = Supervisor::new(None);
        let parent = tempfile::tempdir().unwrap();
        let [kept, removed] = ["kept", "to be removed"].map(|name| parent.path().join(name));
        for path in [&kept, &removed] {
            fs::create_dir(path).unwrap();
        }
        let released = supervisor.watch(&Watched::Folder(kept.clone())).unwrap();
        let _watched = supervisor.watch(&Watched::Folder(removed.clone())).unwrap();
        drop(released);
        let (mut group, leader) = shell(&supervisor, "sleep 60");
        let farewell = Signal::SIGTERM;
        let _ward = supervisor.watch(&Watched::Group { leader, farewell }).unwrap();
        assert!(group.try_wait().unwrap().is_none());
        assert!(supervisor.abandon().success());
        assert_eq!(group.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
        assert!(kept.exists() && !removed.exists());
    }

    #[test]
    fn a_supervisor_that_is_gone_is_replaced_with_all_that_was_on_its_list() {
        let supervisor = Supervisor::new(None);
        let parent = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| parent.path().join(name));
        for path in [&first, &second] {
            fs::create_dir(path).unwrap();
        }
        let _first = supervisor.watch(&Watched::Folder(first.clone())).unwrap();
        let killed = supervisor.state().child.as_mut().map(|child| {
            child.kill().unwrap();
            child.wait().unwrap();
            child.id()
        });
        let _second = supervisor.watch(&Watched::Folder(second.clone())).unwrap();
        assert_ne!(supervisor.state().child.as_ref().map(Child::id), killed);
        supervisor.abandon();
        assert!(!first.exists() && !second.exists());
    }

    #[test]
    fn nothing_is_watched_where_no_supervisor_can_be_started() {
        let supervisor = Supervisor::new(Some(Path::new("/nowhere/gauntlet")));
        let refused = supervisor.watch(&Watched::Folder("/tmp/never-made".into())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn one_that_is_dismissed_waits_for_what_is_left() {
        let supervisor = Supervisor::new(None);
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join("left");
        fs::create_dir(&left).unwrap();
        let _ward = supervisor.watch(&Watched::Folder(left.clone())).unwrap();
        supervisor.dismiss();
        assert!(!left.exists());
    }
}
