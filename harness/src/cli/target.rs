//! Which target a command is about.

use std::path::{Path, PathBuf};

use super::{CliError, Surroundings, interrupt::interrupted};
use crate::{
    adapters,
    clock::number_of_this_run,
    runner::reach::{ReachRequest, Reached},
    target::{self, Secret, TargetDescription},
};

/// Arguments of every command that needs a target.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// `reference`, or the path of a `target.toml`.
    #[arg(long, value_name = "TARGET")]
    pub target: String,

    /// A running Redis to use, instead of one of our own.
    #[arg(long, env = "GAUNTLET_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<String>,

    /// A running Postgres to use, instead of one of our own.
    #[arg(long, env = "GAUNTLET_POSTGRES_URL", value_name = "URL", hide_env_values = true)]
    pub postgres_url: Option<String>,
}

impl TargetArgs {
    /// The description of the target.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or it is wrong.
    pub fn description(&self, around: &Surroundings<'_>) -> Result<TargetDescription, CliError> {
        let names: Vec<_> = adapters::ALL.iter().map(|adapter| adapter.name()).collect();
        let surroundings = target::Surroundings { adapters: &names, variable: around.variable };
        let path = Path::new(&self.target);
        if path.extension().is_some() || path.is_file() {
            return Ok(TargetDescription::load(path, surroundings)?);
        }
        let Some(adapter) = adapters::named(&self.target) else {
            return Err(CliError::Usage(no_such_target(&self.target, &names)));
        };
        match adapter.built_in_target(&around.program) {
            Some(text) => {
                let place = PathBuf::from(format!("<built-in {}>", self.target));
                Ok(TargetDescription::parse(&place, &text?, surroundings)?)
            }
            None => Err(CliError::Usage(adapter.how_to_describe().to_owned())),
        }
    }

    /// Reaches the target; `args` are given to every replica after the described ones.
    ///
    /// # Errors
    ///
    /// When it cannot be described or set up.
    pub async fn reach(
        &self,
        around: &Surroundings<'_>,
        args: Vec<String>,
    ) -> Result<Reached, CliError> {
        let secret = |url: &Option<String>| url.as_ref().map(|url| Secret::new(url.clone()));
        let request = ReachRequest {
            run: u32::try_from(number_of_this_run() & 0xff_ffff).unwrap_or_default(),
            description: self.description(around)?,
            args,
            redis_url: secret(&self.redis_url),
            postgres_url: secret(&self.postgres_url),
            search_path: around.search_path.clone(),
            program: around.program.clone(),
        };
        tokio::select! {
            // Whatever was started by then is dropped with the other branch, which stops it.
            biased;
            () = interrupted() => Err(CliError::Interrupted),
            reached = Reached::reach(request) => Ok(reached?),
        }
    }
}

fn no_such_target(name: &str, known: &[&str]) -> String {
    let hint = match scenarios::nearest::nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known are `{}`, or give the path of a target.toml", known.join("`, `")),
    };
    format!("there is no target `{name}`; {hint}")
}
