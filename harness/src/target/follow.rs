//! Follows the logs of replicas that run already: files that are written to, or what commands print.
//!
//! Whatever was written before we came is left out. A file is followed by `tail`, which every system
//! has and which goes on where a file is replaced.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::process::Command;

use super::{
    LogSource,
    output::{LogSink, Output},
    process_group::ProcessGroup,
};

/// How long a follower may take to end after it was asked to.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a log cannot be followed.
///
/// Messages are lowercase fragments, made to follow "cannot use the target: ".
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The file cannot be read.
    #[error("the log {} of replica {replica} cannot be read; correct `logs`", path.display())]
    Unreadable {
        /// Whose it is.
        replica: u8,
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The command cannot be started.
    #[error(
        "the command `{program}` that is to follow the log of replica {replica} cannot be started; correct `logs`"
    )]
    NoCommand {
        /// Whose it is.
        replica: u8,
        /// Its program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Follows one log.
#[derive(Debug)]
pub struct Follower {
    group: ProcessGroup,
    output: Output,
}

impl Follower {
    /// Begins to follow, from what is written next on. Lines go into the sink as its replica's.
    ///
    /// # Errors
    ///
    /// When the log is not there, or what is to follow it cannot be started.
    pub fn start(source: &LogSource, sink: LogSink) -> Result<Follower, FollowError> {
        let replica = sink.replica.0;
        let mut command = match source {
            LogSource::File(path) => tail(path).map_err(|source| {
                let path = path.clone();
                FollowError::Unreadable { replica, path, source }
            })?,
            LogSource::Command { words, folder } => {
                let mut command = Command::new(words.first().map_or("", String::as_str));
                command.args(words.iter().skip(1));
                if folder.is_dir() {
                    command.current_dir(folder);
                }
                command
            }
        };
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let no_command = |source| FollowError::NoCommand { replica, program, source };
        // What `tail` says of itself is no line of the log.
        let of_itself = matches!(source, LogSource::File(_));
        let errors = if of_itself { Stdio::null() } else { Stdio::piped() };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let started = || -> io::Result<Follower> {
            // It is a log already, so no file of ours has to hold it.
            let nowhere = File::options().write(true).open("/dev/null")?;
            let mut group = ProcessGroup::spawn(command, Signal::SIGTERM)?;
            let (stdout, stderr) = group.outputs();
            Ok(Follower { output: Output::read(stdout, stderr, nowhere, Some(sink)), group })
        };
        started().map_err(no_command)
    }

    /// How many lines found no room on the way to who reads them.
    pub fn lost_lines(&self) -> u64 {
        self.output.lost_lines()
    }

    /// Ends it, and whatever it started.
    pub async fn stop(mut self) {
        self.group.stop(FAREWELL).await;
    }
}

/// What follows a file from its present end on.
fn tail(path: &Path) -> io::Result<Command> {
    File::open(path)?;
    let written = fs::metadata(path)?.len();
    let mut command = Command::new("tail");
    // The position is ours, so that nothing is missed until it has started.
    command.arg("-c").arg(format!("+{}", written + 1)).arg("-F").arg(path);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::{sync::mpsc, time::timeout};

    use super::*;
    use crate::{clock::Clock, op::Replica, target::LogLine};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn follow(source: &LogSource) -> (Result<Follower, FollowError>, mpsc::Receiver<LogLine>) {
        let (lines, heard) = mpsc::channel(100);
        let sink = LogSink { replica: Replica(1), clock: Clock::start(), lines };
        (Follower::start(source, sink), heard)
    }

    async fn next(heard: &mut mpsc::Receiver<LogLine>) -> (Replica, String) {
        let line = timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
        (line.replica, line.text)
    }

    #[tokio::test]
    async fn a_file_is_followed_from_its_end_on_and_when_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.log");
        fs::write(&path, "long ago\n").unwrap();
        let (follower, mut heard) = follow(&LogSource::File(path.clone()));
        let follower = follower.unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        writeln!(file, "now").unwrap();
        assert_eq!(next(&mut heard).await, (Replica(1), "now".to_owned()));
        fs::rename(&path, folder.path().join("gateway.log.1")).unwrap();
        fs::write(&path, "rotated\n").unwrap();
        assert_eq!(next(&mut heard).await.1, "rotated");
        follower.stop().await;
    }

    #[tokio::test]
    async fn what_a_command_prints_is_a_log_too() {
        let words = ["sh", "-c", "echo one; echo two >&2; sleep 60"].map(str::to_owned).to_vec();
        let source = LogSource::Command { words, folder: PathBuf::new() };
        let (follower, mut heard) = follow(&source);
        let follower = follower.unwrap();
        let mut both = [next(&mut heard).await.1, next(&mut heard).await.1];
        both.sort();
        assert_eq!(both, ["one", "two"]);
        follower.stop().await;
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_with_the_line_to_correct() {
        let (absent, _) = follow(&LogSource::File("/nowhere/gateway.log".into()));
        let told = absent.unwrap_err().to_string();
        assert!(told.contains("/nowhere/gateway.log of replica 1 cannot be read; correct `logs`"));
        let words = vec!["no-such-program".to_owned()];
        let (absent, _) = follow(&LogSource::Command { words, folder: PathBuf::new() });
        assert!(absent.unwrap_err().to_string().contains("`no-such-program`"));
    }
}
