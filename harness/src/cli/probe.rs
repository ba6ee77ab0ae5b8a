//! `gauntlet probe`: what a target can do and lets us see, what not, and what would change that.

use super::{
    CliError, ExitStatus, Surroundings,
    progress::Progress,
    target::{TargetArgs, reach, stop},
    up::describe,
};
use crate::{checks, runner::run::lacking};

/// Arguments of `gauntlet probe`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet probe --target reference
  gauntlet probe --target target.toml --allow-host gateway.example")]
pub struct ProbeArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Say nothing while it runs.
    #[arg(long)]
    quiet: bool,
}

impl ProbeArgs {
    /// Probes the target and writes what was found.
    ///
    /// # Errors
    ///
    /// When the target cannot be set up.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let request = self.target.request(around, Vec::new())?;
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let reached = reach(request, &self.target.target, &mut progress).await?;
        let told = (|| -> std::io::Result<usize> {
            describe(&reached, around.out)?;
            writeln!(around.out)?;
            for probed in &reached.probed {
                let mark = if probed.confirmed { "yes" } else { "no " };
                writeln!(
                    around.out,
                    "{mark}  {:<22} {}",
                    probed.capability.to_string(),
                    probed.note
                )?;
            }
            let applicable = checks::ALL
                .iter()
                .filter(|check| lacking(check, |capability| reached.has(capability)).is_none())
                .count();
            writeln!(around.out, "\n{applicable} of {} checks apply", checks::ALL.len())?;
            Ok(applicable)
        })();
        stop(reached, &self.target.target, &mut progress).await;
        Ok(if told? == 0 { ExitStatus::NothingRan } else { ExitStatus::Pass })
    }
}
