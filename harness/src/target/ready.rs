//! Waits for a process that was just started to answer.

use std::{process::ExitStatus, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::process_group::ProcessGroup;

/// How often we ask.
const STEP: Duration = Duration::from_millis(20);

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

/// Asks until `answer` gives something, `process` ends or `patience` is over.
///
/// A single answer may take as long as it likes; it is dropped when one of the other two happens.
pub(super) async fn until_ready<T>(
    process: &mut ProcessGroup,
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
            ended = process.wait() => match ended {
                Ok(status) => Waited::Exited(status),
                // The system has lost sight of it, so it will not answer.
                Err(_) => Waited::Late,
            },
            ready = asking => Waited::Ready(ready),
        }
    };
    timeout(patience, first).await.unwrap_or(Waited::Late)
}
