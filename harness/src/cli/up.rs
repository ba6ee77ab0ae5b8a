//! `gauntlet up`: starts a target, says what it is made of and why, stays until Ctrl-C.

use std::io::Write;

use super::{CliError, ExitStatus, Surroundings, interrupt::interrupted, target::TargetArgs};
use crate::{runner::reach::Reached, wire::record::StoreKind};

/// Arguments of `gauntlet up`.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    #[command(flatten)]
    target: TargetArgs,
}

impl UpArgs {
    /// Starts the target and waits for Ctrl-C.
    ///
    /// # Errors
    ///
    /// When the target cannot be set up, or a replica ends by itself.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let mut reached = self.target.reach(around, Vec::new()).await?;
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
        reached.stop().await;
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
        let way = if store.given { "given" } else { "local" };
        writeln!(out, "{name:<9}  {} ({way}); {}", store.version, store.notes.join("; "))?;
    }
    if let Some(upstream) = &made_of.upstream {
        writeln!(out, "upstream   {upstream}/v1")?;
    }
    if let Some(folder) = &made_of.folder {
        writeln!(out, "folder     {} (logs and configurations)", folder.display())?;
    }
    Ok(())
}
