//! What was launched: a process with its group, or a container.

use std::{io, process::ExitStatus, time::Duration};

use nix::sys::signal::Signal;

use super::{
    engine::Container,
    process_group::{Ending, ProcessGroup},
    ready::Ends,
};

/// Something that runs until it ends, or is stopped. Dropping it ends it.
#[derive(Debug)]
pub(super) enum Running {
    /// A process of this machine, and all it starts.
    Process(ProcessGroup),
    /// A container.
    Container(Container),
}

impl Running {
    /// The id of its process group, where this machine has one.
    pub(super) fn group(&self) -> Option<u32> {
        match self {
            Running::Process(group) => Some(group.id()),
            // What an engine starts first leads a group.
            Running::Container(container) => container.process(),
        }
    }

    /// Sends `signal` to it; `SIGSTOP` and `SIGCONT` reach everything it started.
    pub(super) async fn signal(&self, signal: Signal) -> io::Result<()> {
        match self {
            Running::Process(group) => group.signal(signal),
            Running::Container(container) => container.signal(signal).await,
        }
    }

    /// What it left behind, if it has ended by itself.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        match self {
            Running::Process(group) => group.exited(),
            Running::Container(container) => container.exited(),
        }
    }

    /// Asks it to end, and kills whatever is left of it after `patience`.
    pub(super) async fn stop(&mut self, patience: Duration) -> Ending {
        match self {
            Running::Process(group) => group.stop(patience).await,
            Running::Container(container) => container.stop(patience).await,
        }
    }

    /// Removes what is left of it once it was stopped and read to its end.
    pub(super) async fn remove(self) {
        match self {
            Running::Process(group) => drop(group),
            // What cannot be removed now is left to the supervisor.
            Running::Container(container) => drop(container.remove().await),
        }
    }
}

impl Ends for Running {
    async fn end(&mut self) -> io::Result<ExitStatus> {
        match self {
            Running::Process(group) => group.end().await,
            Running::Container(container) => container.end().await,
        }
    }
}
