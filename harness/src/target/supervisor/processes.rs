//! The processes that must end, however far they went.
//!
//! A group is not enough: a process may leave it, as the workers of Postgres do. So on Linux the table
//! of processes is read, and ours are those that bear the mark in their environment, those in a watched
//! group, and whatever any of these started. Some write over their environment as soon as they run, as
//! Redis does; one that was started and not yet told is still known by what it has become since we
//! ended, an orphan like the supervisor, and by its current folder, which is a watched one. Elsewhere
//! there are the groups alone.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getpid, getppid},
};

use super::MARK;
use crate::proc::{self, Stat};

/// One process, not to be taken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    id: i32,
    /// When it began, as the system counts.
    began: u64,
}

impl Process {
    fn of(seen: &Stat) -> Process {
        Process { id: seen.id, began: seen.began }
    }
}

/// What must end.
#[derive(Debug)]
pub(super) struct Doomed {
    /// `GAUNTLET_SUPERVISED=…`, as it stands in an environment.
    mark: Option<Vec<u8>>,
    groups: Vec<(Pid, Signal)>,
    folders: Vec<PathBuf>,
    known: BTreeSet<Process>,
    /// Those of them that nobody among them started, and that no watched group has.
    strays: Vec<Pid>,
}

impl Doomed {
    /// Everything with `mark`, in `groups`, and at work in `folders`.
    pub(super) fn new(
        mark: Option<&str>,
        groups: Vec<(Pid, Signal)>,
        folders: Vec<PathBuf>,
    ) -> Doomed {
        let mark = mark.map(|mark| format!("{MARK}={mark}").into_bytes());
        Doomed { mark, groups, folders, known: BTreeSet::new(), strays: Vec::new() }
    }

    /// Looks who there is, and whether anybody is.
    pub(super) fn any(&mut self) -> bool {
        let table = table();
        let (ours, orphans) = (getpid().as_raw(), getppid().as_raw());
        for seen in table.iter().filter(|seen| seen.id != ours) {
            if self.is_ours(seen, orphans) {
                self.known.insert(Process::of(seen));
            }
        }
        // What one of these started was started before what that started in turn, mostly.
        let mut before = 0;
        while self.known.len() > before {
            before = self.known.len();
            for seen in table.iter().filter(|seen| seen.id != ours) {
                if self.known.iter().any(|known| known.id == seen.parent) {
                    self.known.insert(Process::of(seen));
                }
            }
        }
        self.known.retain(|known| table.iter().any(|seen| Process::of(seen) == *known));
        let is_known = |id| self.known.iter().any(|known| known.id == id);
        let strays = table
            .iter()
            .filter(|seen| is_known(seen.id) && !is_known(seen.parent) && !self.is_in_group(seen));
        self.strays = strays.map(|seen| Pid::from_raw(seen.id)).collect();
        // Who was killed and not yet collected is in no table, but in its group.
        let unseen = table.is_empty();
        let left = || self.groups.iter().any(|(leader, _)| is_there(*leader));
        !self.known.is_empty() || (unseen && left())
    }

    /// Asks the leaders of groups to end, and what was not told of yet.
    pub(super) fn ask(&self) {
        for (leader, farewell) in &self.groups {
            // It may have ended a moment ago. A stopped process hears nothing until it goes on.
            let _ = kill(*leader, *farewell);
            let _ = killpg(*leader, Signal::SIGCONT);
        }
        for stray in &self.strays {
            let _ = kill(*stray, Signal::SIGTERM);
        }
    }

    /// Ends all that were seen.
    pub(super) fn end(&self) {
        for (leader, _) in &self.groups {
            let _ = killpg(*leader, Signal::SIGKILL);
        }
        for process in &self.known {
            let _ = kill(Pid::from_raw(process.id), Signal::SIGKILL);
        }
    }

    fn is_ours(&self, seen: &Stat, orphans: i32) -> bool {
        let process = PathBuf::from(format!("/proc/{}", seen.id));
        self.is_in_group(seen)
            || self.mark.as_ref().is_some_and(|mark| bears(&process, mark).unwrap_or(false))
            || (seen.parent == orphans && self.is_at_work(&process))
    }

    fn is_in_group(&self, seen: &Stat) -> bool {
        self.groups.iter().any(|(leader, _)| leader.as_raw() == seen.group)
    }

    fn is_at_work(&self, process: &Path) -> bool {
        let place = fs::read_link(process.join("cwd"));
        place.is_ok_and(|place| self.folders.iter().any(|folder| place.starts_with(folder)))
    }
}

/// Whether a process has `variable` in its environment, as far as we may look.
fn bears(process: &Path, variable: &[u8]) -> io::Result<bool> {
    Ok(fs::read(process.join("environ"))?.split(|byte| *byte == 0).any(|it| it == variable))
}

/// Whether a group has members.
fn is_there(leader: Pid) -> bool {
    killpg(leader, None) != Err(Errno::ESRCH)
}

/// All processes that have not ended; none where the system has no such table.
fn table() -> Vec<Stat> {
    proc::ids().filter_map(proc::stat).collect()
}
