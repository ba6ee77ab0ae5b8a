//! A process and everything it starts, stopped together.
//!
//! The process leads a group of its own: a Ctrl-C meant for us does not reach it, and whatever it
//! started and left behind is killed with it. Dropping the group ends it too, and the supervisor ends
//! it if we are killed, so nothing outlives a run.

use std::{io, process::ExitStatus, thread, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

use super::supervisor::{self, Ward};
use crate::clock::Clock;

/// How long a dropped group may take to end before it is killed.
const DROP_PATIENCE: Duration = Duration::from_millis(400);

/// A running process, leader of its group.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    child: Child,
    leader: Pid,
    farewell: Signal,
    ward: Option<Ward>,
    over: bool,
}

/// How a process came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What it left behind, where the system told us.
    pub status: Option<ExitStatus>,
    /// Whether it had to be killed because it did not end when asked to.
    pub killed: bool,
}

impl ProcessGroup {
    /// Starts `command`, which is asked to end by `farewell`.
    pub(super) fn spawn(mut command: Command, farewell: Signal) -> io::Result<ProcessGroup> {
        let (mark, value) = supervisor::mark();
        let child = command.env(mark, value).process_group(0).kill_on_drop(true).spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let leader =
            id.map(Pid::from_raw).ok_or_else(|| io::Error::other("it has no process id"))?;
        let mut group = ProcessGroup { child, leader, farewell, ward: None, over: false };
        group.ward = Some(supervisor::over_group(leader, farewell)?);
        Ok(group)
    }

    /// The process id of its leader, which is the id of the group.
    pub(super) fn id(&self) -> u32 {
        self.leader.as_raw().unsigned_abs()
    }

    /// What the leader prints, once.
    pub(super) fn outputs(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Sends `signal` to the whole group.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.over {
            true => Err(Errno::ESRCH.into()),
            false => killpg(self.leader, signal).map_err(io::Error::from),
        }
    }

    /// What the leader left behind, if it has ended.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the leader to end.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the leader to end, and kills whatever is left of the group after `patience`.
    pub(super) async fn stop(&mut self, patience: Duration) -> Ending {
        self.say_farewell();
        let in_time = timeout(patience, self.child.wait()).await;
        self.kill_the_rest();
        match in_time {
            Ok(status) => Ending { status: status.ok(), killed: false },
            Err(_) => Ending { status: self.child.wait().await.ok(), killed: true },
        }
    }

    /// The leader alone is asked: what it started is its own to end.
    fn say_farewell(&mut self) {
        if !self.over && self.exited().is_none() {
            // It may have ended a moment ago. A stopped process hears nothing until it goes on.
            let _ = kill(self.leader, self.farewell);
            let _ = killpg(self.leader, Signal::SIGCONT);
        }
    }

    fn kill_the_rest(&mut self) {
        if !self.over {
            self.over = true;
            // A group without members is what we want.
            let _ = killpg(self.leader, Signal::SIGKILL);
            self.ward = None;
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        const STEP: Duration = Duration::from_millis(5);
        if self.over {
            return;
        }
        self.say_farewell();
        // Measured, for on a busy machine a step takes much longer than it says.
        let clock = Clock::start();
        let began = clock.now();
        while self.exited().is_none() && clock.now().since(began) < DROP_PATIENCE {
            thread::sleep(STEP);
        }
        self.kill_the_rest();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use nix::sys::signal;
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    /// Starts a shell that runs `script`, and waits for its first line.
    async fn shell(script: &str) -> (ProcessGroup, String) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let mut group = ProcessGroup::spawn(command, Signal::SIGTERM).unwrap();
        let (stdout, _) = group.outputs();
        let line = BufReader::new(stdout.unwrap()).lines().next_line().await.unwrap().unwrap();
        (group, line)
    }

    /// Whether it dies soon. A killed process is gone a moment later, and its parent may never ask.
    async fn dies(pid: &str) -> bool {
        let gone = async {
            let mut steps = tokio::time::interval(Duration::from_millis(5));
            while alive(pid) {
                steps.tick().await;
            }
        };
        timeout(Duration::from_secs(5), gone).await.is_ok()
    }

    fn alive(pid: &str) -> bool {
        signal::kill(Pid::from_raw(pid.parse().unwrap()), None).is_ok()
            && !std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| stat.contains(") Z "))
    }

    #[tokio::test]
    async fn what_it_left_behind_is_killed_with_it() {
        let (mut group, child) = shell("sleep 60 & echo $!; exit 3").await;
        let status = group.wait().await.unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(alive(&child));
        group.stop(Duration::from_secs(5)).await;
        assert!(dies(&child).await);
    }

    #[tokio::test]
    async fn one_that_will_not_end_is_killed() {
        let (mut group, _) = shell("trap '' TERM; echo deaf; while :; do sleep 1; done").await;
        let ending = group.stop(Duration::from_millis(50)).await;
        assert!(ending.killed);
    }

    #[tokio::test]
    async fn a_paused_one_still_ends_when_asked_to() {
        let (mut group, _) =
            shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done").await;
        group.signal(Signal::SIGSTOP).unwrap();
        let ending = group.stop(Duration::from_secs(5)).await;
        assert_eq!((ending.status.unwrap().code(), ending.killed), (Some(7), false));
    }

    #[tokio::test]
    async fn a_dropped_one_is_ended() {
        let (group, child) = shell("sleep 60 & echo $!; wait").await;
        drop(group);
        assert!(dies(&child).await);
    }
}
