//! `gauntlet man`: the manual, a page per command.

use std::{
    fs, io, iter,
    path::{Path, PathBuf},
};

use clap::Command;
use clap_mangen::Man;

use super::{CliError, ExitStatus, Surroundings, public};

/// Arguments of `gauntlet man`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet man check | man -l -
  gauntlet man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The command that the page is about; `gauntlet` itself unless given.
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<String>,

    /// Write every page into this folder, as `gauntlet.1`, `gauntlet-check.1` and so on.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ManArgs {
    /// Writes the page, or all of them.
    ///
    /// # Errors
    ///
    /// When there is no such command, or it cannot be written.
    pub fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        // Built, so that each command knows its whole name.
        let mut whole = public().disable_help_subcommand(true);
        whole.build();
        if let Some(folder) = &self.out {
            let unwritable = |path: &Path| {
                let path = path.to_owned();
                move |source| CliError::Unwritable { path, source }
            };
            fs::create_dir_all(folder).map_err(unwritable(folder))?;
            for command in iter::once(&whole).chain(whole.get_subcommands()) {
                let page = Man::new(command.clone());
                let path = folder.join(page.get_filename());
                fs::write(&path, rendered(&page)?).map_err(unwritable(&path))?;
                writeln!(around.out, "{}", path.display())?;
            }
        } else {
            let page = Man::new(self.named(&whole)?.clone());
            around.out.write_all(&rendered(&page)?)?;
        }
        Ok(ExitStatus::Pass)
    }

    /// The command that the page is about.
    fn named<'a>(&self, whole: &'a Command) -> Result<&'a Command, CliError> {
        let Some(name) = &self.command else { return Ok(whole) };
        whole.find_subcommand(name).ok_or_else(|| {
            let known = whole.get_subcommands().map(Command::get_name);
            let hint = scenarios::nearest::nearest(name, known)
                .map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
            CliError::Usage(format!("there is no command `{name}`{hint}"))
        })
    }
}

fn rendered(page: &Man) -> io::Result<Vec<u8>> {
    let mut roff = Vec::new();
    page.render(&mut roff)?;
    Ok(roff)
}
