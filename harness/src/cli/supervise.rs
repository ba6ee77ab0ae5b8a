//! `gauntlet supervise`: sees to it that nothing outlives the `gauntlet` that started it. Not for people.

use std::io::{self, BufReader};

use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, ExitStatus};
use crate::target::supervisor;

/// Reads orders from standard input, and carries them out when it ends.
///
/// # Errors
///
/// When signals cannot be kept away, or the orders not be read.
pub async fn run() -> Result<ExitStatus, CliError> {
    // Whoever ends everything means the other one first. Then this one has work to do.
    let deaf_to = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let _deaf = deaf_to.map(signal).into_iter().collect::<Result<Vec<_>, _>>()?;
    supervisor::serve(BufReader::new(io::stdin())).await?;
    Ok(ExitStatus::Pass)
}
