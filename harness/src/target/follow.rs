//! Follows the logs of replicas that run already: files that are written to, or what commands print.
//!
//! Whatever was written before we came is left out. A file is followed by `tail`, which every system
//! has and which goes on where a file is replaced. What follows is not to end before we do; where it
//! does, nothing more is seen of that log, and [`Follower::exited`] says so.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    process::Command,
    sync::{oneshot, watch},
    task::JoinSet,
};

use super::{
    LogSource,
    output::{LogSink, Output},
    process_group::ProcessGroup,
};
use crate::runner::redact::redacted;

/// How many of its last lines a follower that has ended is quoted with.
const LAST_WORDS: usize = 3;

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
    lost: Arc<AtomicU64>,
    exited: Exited,
    stop: oneshot::Sender<()>,
    /// Waits for its end. What it follows with ends with this.
    following: JoinSet<()>,
}

/// Tells whether what follows a log has ended.
#[derive(Clone, Debug)]
pub struct Exited(watch::Receiver<Option<String>>);

impl Exited {
    /// Whose log is no longer followed, how that ended, and its last words; nothing while it goes on.
    pub fn why(&self) -> Option<String> {
        self.0.borrow().clone()
    }
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
            let mut output = Output::read(stdout, stderr, nowhere, Some(sink));
            let lost = output.losses();
            let (tell, exited) = watch::channel(None);
            let (stop, stopped) = oneshot::channel();
            let mut following = JoinSet::new();
            following.spawn(async move {
                let status = tokio::select! {
                    status = group.wait() => status,
                    _ = stopped => {
                        group.stop(FAREWELL).await;
                        return;
                    }
                };
                // Whatever it left behind has the pipe open still.
                group.stop(FAREWELL).await;
                output.drain().await;
                let how =
                    status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tell.send_replace(Some(told(replica, &how, &output.tail())));
            });
            Ok(Follower { lost, exited: Exited(exited), stop, following })
        };
        started().map_err(no_command)
    }

    /// How many lines found no room on the way to who reads them.
    pub fn lost_lines(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether it has ended by itself.
    pub fn exited(&self) -> Exited {
        self.exited.clone()
    }

    /// Ends it, and whatever it started.
    pub async fn stop(self) {
        let Follower { stop, mut following, .. } = self;
        // Nobody hears it where it has ended by itself.
        let _ = stop.send(());
        while following.join_next().await.is_some() {}
    }
}

fn told(replica: u8, how: &str, last_words: &[String]) -> String {
    let last = &last_words[last_words.len().saturating_sub(LAST_WORDS)..];
    let said = match last {
        [] => "it printed nothing".to_owned(),
        lines => format!("it printed last: {}", redacted(&lines.join(" | "))),
    };
    format!("what followed the log of replica {replica} ended ({how}); {said}; correct `logs`")
}

/// What follows a file from its present end on.
fn tail(path: &Path) -> io::Result<Command> {
    File::open(path)?;
    let written = fs::metadata(path)?.len();
    let mut command = Command::new("tail");
    // The position is ours, so that nothing is missed until it has started.
    command.arg("-c").arg(format!("+{}", written + 1)).args(["-F", "--"]).arg(path);
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
    async fn one_that_ends_says_so_with_its_last_words_and_without_secrets() {
        let script = "echo one; echo the key sk-0123456789abcdef0123 is wrong >&2; exit 3";
        let words = ["sh", "-c", script].map(str::to_owned).to_vec();
        let (follower, _heard) = follow(&LogSource::Command { words, folder: PathBuf::new() });
        let follower = follower.unwrap();
        let mut exited = follower.exited();
        timeout(PATIENCE, exited.0.wait_for(Option::is_some)).await.unwrap().unwrap();
        let why = exited.why().unwrap();
        assert!(
            why.starts_with("what followed the log of replica 1 ended (exit status: 3)"),
            "{why}"
        );
        assert!(why.contains("is wrong") && !why.contains("sk-0123456789abcdef0123"), "{why}");
        follower.stop().await;
    }

    #[tokio::test]
    async fn a_file_may_be_named_like_a_flag() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("-n.log");
        fs::write(&path, "").unwrap();
        let command = tail(&path).unwrap();
        let args: Vec<_> = command.as_std().get_args().map(ToOwned::to_owned).collect();
        assert_eq!(args[args.len() - 2..], ["--".into(), path.into_os_string()]);
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
