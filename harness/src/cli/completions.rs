//! `gauntlet completions`: what a shell needs to complete our words.

use super::{CliError, ExitStatus, Surroundings, public};

/// Arguments of `gauntlet completions`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet completions bash > ~/.local/share/bash-completion/completions/gauntlet
  gauntlet completions zsh > ~/.zfunc/_gauntlet")]
pub struct CompletionsArgs {
    /// Which shell.
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    /// Writes the script.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        // The generator panics where it cannot write, as after `| head`.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut public(), "gauntlet", &mut script);
        around.out.write_all(&script)?;
        Ok(ExitStatus::Pass)
    }
}
