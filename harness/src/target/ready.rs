//! Waits for what was just started to answer, be it a process or a container.

use std::{io, process::ExitStatus, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::process_group::ProcessGroup;

/// How often we ask.
const STEP: Duration = Duration::from_millis(20);

/// What may end instead of answering.
pub(super) trait Ends {
    /// Waits for it to end by itself.
    ///
    /// # Errors
    ///
    /// When the system has lost sight of it.
    async fn end(&mut self) -> io::Result<ExitStatus>;
}

impl Ends for ProcessGroup {
    async fn end(&mut self) -> io::Result<ExitStatus> {
        self.wait().await
    }
}

/// What came of waiting.
#[derive(Debug)]
pub(super) enum Waited<T> {
    /// It answered.
    Ready(T),
    /// It ended instead.
    Exited(ExitStatus),
    /// It did neither in time.
    Late,
}

/// Asks until `answer` gives something, `started` ends or `patience` is over.
///
/// A single answer may take as long as it likes; it is dropped when one of the other two happens.
pub(super) async fn until_ready<T>(
    started: &mut impl Ends,
    patience: Duration,
    mut answer: impl AsyncFnMut() -> Option<T>,
) -> Waited<T> {
    let asking = async {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            if let Some(ready) = answer().await {
                return ready;
            }
        }
    };
    let first = async {
        tokio::select! {
            biased;
            ended = started.end() => match ended {
                Ok(status) => Waited::Exited(status),
                // Nobody can see it, so it will not answer.
                Err(_) => Waited::Late,
            },
            ready = asking => Waited::Ready(ready),
        }
    };
    timeout(patience, first).await.unwrap_or(Waited::Late)
}
