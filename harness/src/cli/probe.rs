//! `gauntlet probe`: what a target can do and lets us see, what not, and what would change that.

use super::{CliError, ExitStatus, Surroundings, target::TargetArgs, up::describe};
use crate::{checks, runner::run::lacking};

/// Arguments of `gauntlet probe`.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    target: TargetArgs,
}

impl ProbeArgs {
    /// Probes the target and writes what was found.
    ///
    /// # Errors
    ///
    /// When the target cannot be set up.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let reached = self.target.reach(around, Vec::new()).await?;
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
        reached.stop().await;
        Ok(if told? == 0 { ExitStatus::NothingRan } else { ExitStatus::Pass })
    }
}
