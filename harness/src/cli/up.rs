//! `gauntlet up`: starts a target, says what it is made of and why, stays until Ctrl-C.

use std::io::Write;

use super::{
    CliError, ExitStatus, Surroundings,
    interrupt::interrupted,
    progress::Progress,
    target::{TargetArgs, reach, stop},
};
use crate::{runner::reach::Reached, wire::record::StoreKind};

/// Arguments of `gauntlet up`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet up --target reference
  gauntlet up --target target.toml --redis-url redis://127.0.0.1:6379")]
pub struct UpArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Say nothing while it is started and stopped.
    #[arg(long)]
    quiet: bool,
}

impl UpArgs {
    /// Starts the target and waits for Ctrl-C.
    ///
    /// # Errors
    ///
    /// When the target cannot be set up, or a replica ends by itself.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let request = self.target.request(around, Vec::new())?;
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let mut reached = reach(request, &self.target.target, &mut progress).await?;
        describe(&reached, around.out)?;
        if let Some(key) = &reached.made_of.admin_key {
            writeln!(around.out, "admin key  {} (of this stack alone)", key.expose())?;
        }
        writeln!(around.out, "ready; Ctrl-C stops it")?;
        around.out.flush()?;
        let mut look = tokio::time::interval(std::time::Duration::from_millis(500));
        let ended = loop {
            tokio::select! {
                () = interrupted() => break None,
                _ = look.tick() => if let Some(ended) = reached.ended() { break Some(ended) },
            }
        };
        stop(reached, &self.target.target, &mut progress).await;
        match ended {
            None => Ok(ExitStatus::Pass),
            Some((replica, how)) => Err(CliError::Ended { replica, how }),
        }
    }
}

/// What a target is made of, and why.
pub(super) fn describe(reached: &Reached, out: &mut dyn Write) -> std::io::Result<()> {
    let made_of = &reached.made_of;
    for (number, base) in made_of.replicas.iter().enumerate() {
        writeln!(out, "replica {number}  {base}")?;
    }
    for store in &made_of.stores {
        let name = match store.kind {
            StoreKind::Redis => "redis",
            StoreKind::Postgres => "postgres",
        };
        let notes = store.notes.join("; ");
        writeln!(out, "{name:<9}  {} ({}); {notes}", store.version, store.way)?;
    }
    if let Some(upstream) = &made_of.upstream {
        writeln!(out, "upstream   {upstream}/v1")?;
    }
    if let Some(folder) = &made_of.folder {
        writeln!(out, "folder     {} (logs and configurations)", folder.display())?;
    }
    Ok(())
}
