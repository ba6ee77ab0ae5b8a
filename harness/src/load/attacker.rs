//! The process that attacks: this program once more, with an order for input.
//!
//! It has a process group of its own, so a Ctrl-C at the terminal reaches us alone and we stop it in
//! good order. It leaves when its input ends, and the supervisor sees to it that it does.

use std::{io, ops::ControlFlow, path::Path, process::Stdio, time::Duration};

use nix::{sys::signal::Signal, unistd::Pid};
use scenarios::{
    attack::STOP,
    order::{Order, Outcome, Progress, Told},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::timeout,
};

use crate::target::supervisor::{self, Ward};

/// The subcommand of this program that attacks.
pub const SUBCOMMAND: &str = "attack";

/// How long it may say nothing. It tells its progress once a second, until it waits for the last
/// answers.
const SILENCE: Duration = Duration::from_secs(60);

/// Why an attack cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum AttackerError {
    /// It could not be started, or spoken to.
    #[error("the process that attacks cannot be {doing}")]
    System {
        /// What we were about to do.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It said something that is not part of the protocol.
    #[error("the process that attacks said something else than what happens: {0:?}")]
    Garbled(String),
    /// It ended before its last word.
    #[error("the process that attacks ended early: {0}")]
    Ended(String),
    /// It has said nothing for too long.
    #[error("the process that attacks has said nothing for {} s", SILENCE.as_secs())]
    Silent,
}

/// What is heard of an attack before it is over.
pub enum Heard {
    /// It is being stopped; the last answers are waited for.
    Stopping,
    /// How far it is.
    Progress(Progress),
    /// All callers are there.
    AllThere,
    /// This window has ended.
    WindowEnded(usize),
}

/// Has a process of `program` carry out an order to its end, or until `stop` or `heard` says so. What
/// happens meanwhile is told to `heard`.
///
/// # Errors
///
/// When the process cannot be started or followed.
pub async fn follow(
    program: &Path,
    order: &Order,
    mut stop: watch::Receiver<bool>,
    mut heard: impl AsyncFnMut(Heard) -> ControlFlow<()>,
) -> Result<Outcome, AttackerError> {
    let mut attacker = Attacker::start(program, order).await?;
    let mut stopping = false;
    let outcome = loop {
        let told = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop), if !stopping => Heard::Stopping,
            told = attacker.told() => match told? {
                Told::Progress(progress) => Heard::Progress(progress),
                Told::AllThere => Heard::AllThere,
                Told::WindowEnded { window } => Heard::WindowEnded(window),
                Told::Ended(outcome) => break *outcome,
            },
        };
        let is_wish = matches!(told, Heard::Stopping);
        if (heard(told).await.is_break() || is_wish) && !stopping {
            stopping = true;
            attacker.stop().await;
        }
    };
    attacker.ended().await?;
    Ok(outcome)
}

/// A process that attacks. It is killed when this is dropped.
struct Attacker {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    ward: Ward,
}

impl Attacker {
    /// Starts it with an order.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    async fn start(program: &Path, order: &Order) -> Result<Attacker, AttackerError> {
        let system = |doing| move |source| AttackerError::System { doing, source };
        let (mark, value) = supervisor::mark();
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .env(mark, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(system("started"))?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let leader =
            leader.ok_or_else(|| system("told from others")(io::Error::other("it has no id")))?;
        let ward = supervisor::over_group(leader, Signal::SIGKILL).map_err(system("supervised"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            let source = io::Error::other("its pipes are gone");
            return Err(system("spoken to")(source));
        };
        let lines = BufReader::new(output).lines();
        let mut attacker = Attacker { child, input, lines, ward };
        let order = serde_json::to_string(order).map_err(io::Error::from);
        attacker.say(&order.map_err(system("given its order"))?).await?;
        Ok(attacker)
    }

    /// What it tells next.
    ///
    /// # Errors
    ///
    /// When it ends, is silent for too long, or says something else.
    async fn told(&mut self) -> Result<Told, AttackerError> {
        let line = timeout(SILENCE, self.lines.next_line()).await;
        let line = line.map_err(|_| AttackerError::Silent)?;
        match line.map_err(|source| AttackerError::System { doing: "read", source })? {
            Some(line) => serde_json::from_str(&line).map_err(|_| AttackerError::Garbled(line)),
            None => {
                let ended = self.child.wait().await;
                Err(AttackerError::Ended(
                    ended.map_or_else(|error| error.to_string(), |status| status.to_string()),
                ))
            }
        }
    }

    /// Has it stop in good order. It still tells what it came to.
    async fn stop(&mut self) {
        // One that does not listen has just ended by itself, and what it told last tells how.
        drop(self.say(STOP).await);
    }

    /// Sees it end, once it has told what it came to.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for, or does not end.
    async fn ended(self) -> Result<(), AttackerError> {
        let Attacker { mut child, input, lines, ward } = self;
        drop(input);
        drop(lines);
        let ended = timeout(SILENCE, child.wait()).await.map_err(|_| AttackerError::Silent)?;
        drop(ward);
        ended.map(|_| ()).map_err(|source| AttackerError::System { doing: "awaited", source })
    }

    async fn say(&mut self, line: &str) -> Result<(), AttackerError> {
        let said = async {
            self.input.write_all(format!("{line}\n").as_bytes()).await?;
            self.input.flush().await
        };
        said.await.map_err(|source| AttackerError::System { doing: "spoken to", source })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use scenarios::{
        load_profile::Balance,
        order::{Outcome, Pause},
        scenario::Act,
    };

    use super::*;

    const NOTHING: Order = Order {
        act: Act::SteadyChat,
        replicas: Vec::new(),
        keys: Vec::new(),
        model: String::new(),
        mark: String::new(),
        callers: 0,
        ramp: Duration::ZERO,
        pause: Pause { least: Duration::ZERO, most: Duration::ZERO },
        patience: Duration::ZERO,
        balance: Balance::Pinned,
        windows: Vec::new(),
    };

    /// A process that reads its order, says `last`, and is gone.
    async fn gone(last: &Told) -> Attacker {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let last = serde_json::to_string(last).unwrap();
        fs::write(&program, format!("#!/bin/sh\nread -r order\necho '{last}'\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let mut attacker = Attacker::start(&program, &NOTHING).await.unwrap();
        attacker.child.wait().await.unwrap();
        attacker
    }

    /// A process that tells how far it is, and what it came to once it is told to stop.
    async fn follow_one_that_waits(
        heard: impl AsyncFnMut(Heard) -> ControlFlow<()>,
        stop: watch::Receiver<bool>,
    ) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        let line = |told| serde_json::to_string(&told).unwrap();
        let first = line(Told::Progress(Progress::default()));
        let last = line(Told::Ended(Box::new(Outcome { sent: 7, ..Outcome::default() })));
        let script =
            format!("#!/bin/sh\nread -r order\necho '{first}'\nread -r stop\necho '{last}'\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        follow(&program, &NOTHING, stop, heard).await.unwrap()
    }

    #[tokio::test]
    async fn whoever_hears_of_an_attack_may_have_it_stopped() {
        let wish = watch::Sender::new(false);
        let mut heard = 0;
        let hears = async |told| {
            heard += 1;
            match told {
                Heard::Progress(_) => ControlFlow::Break(()),
                Heard::Stopping | Heard::AllThere | Heard::WindowEnded(_) => {
                    ControlFlow::Continue(())
                }
            }
        };
        assert_eq!(follow_one_that_waits(hears, wish.subscribe()).await.sent, 7);
        assert_eq!(heard, 1);
    }

    #[tokio::test]
    async fn a_wish_to_stop_is_heard_and_passed_on_once() {
        let wish = watch::Sender::new(true);
        let mut stopping = 0;
        let hears = async |told| {
            stopping += u32::from(matches!(told, Heard::Stopping));
            ControlFlow::Continue(())
        };
        assert_eq!(follow_one_that_waits(hears, wish.subscribe()).await.sent, 7);
        assert_eq!(stopping, 1);
    }

    #[tokio::test]
    async fn one_that_ended_by_itself_is_heard_out_though_it_cannot_be_stopped() {
        let last = Told::Ended(Box::new(Outcome { sent: 7, ..Outcome::default() }));
        let mut attacker = gone(&last).await;
        assert!(attacker.say(STOP).await.is_err());
        attacker.stop().await;
        assert_eq!(attacker.told().await.unwrap(), last);
        attacker.ended().await.unwrap();
    }

    #[tokio::test]
    async fn one_that_ended_before_its_last_word_is_an_error_all_the_same() {
        let mut attacker = gone(&Told::AllThere).await;
        attacker.stop().await;
        assert_eq!(attacker.told().await.unwrap(), Told::AllThere);
        assert!(matches!(attacker.told().await, Err(AttackerError::Ended(_))));
    }
}
