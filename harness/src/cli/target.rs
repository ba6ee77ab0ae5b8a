//! Which target a command is about.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use reqwest::Url;

use super::{CliError, Surroundings, interrupt::interrupted, progress::Progress};
use crate::{
    adapters,
    check::Builds,
    runner::{
        join::new_run,
        reach::{ReachRequest, Reached},
        redact::redacted,
        steps::Steps,
    },
    target::{self, Reach, Secret, StoreChoice, TargetDescription},
};

/// Which target, and how it is reached.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// `reference`, or the path of a `target.toml`.
    #[arg(long, value_name = "TARGET")]
    pub target: String,

    #[command(flatten)]
    how: ReachArgs,
}

impl TargetArgs {
    /// What to reach; `args` are given to every replica after the described ones.
    ///
    /// # Errors
    ///
    /// When it cannot be described, or may not be reached.
    pub fn request(
        &self,
        around: &Surroundings<'_>,
        args: Vec<String>,
    ) -> Result<ReachRequest, CliError> {
        self.how.request(around, &self.target, args)
    }
}

/// How a target is reached, whichever it is.
#[derive(Clone, Debug, clap::Args)]
pub struct ReachArgs {
    /// Send requests to this host too, which is not this machine; may be repeated.
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,

    /// A running Redis to use, instead of one of our own.
    #[arg(long, env = "GAUNTLET_REDIS_URL", value_name = "URL", hide_env_values = true)]
    redis_url: Option<String>,

    /// A running Postgres to use, instead of one of our own.
    #[arg(long, env = "GAUNTLET_POSTGRES_URL", value_name = "URL", hide_env_values = true)]
    postgres_url: Option<String>,

    /// The image of a Redis of our own, where a container engine answers.
    #[arg(long, env = "GAUNTLET_REDIS_IMAGE", value_name = "IMAGE")]
    redis_image: Option<String>,

    /// The image of a Postgres of our own, where a container engine answers.
    #[arg(long, env = "GAUNTLET_POSTGRES_IMAGE", value_name = "IMAGE")]
    postgres_image: Option<String>,
}

impl ReachArgs {
    /// What to reach for the target of this name.
    ///
    /// # Errors
    ///
    /// When it cannot be described, or may not be reached.
    pub fn request(
        &self,
        around: &Surroundings<'_>,
        target: &str,
        args: Vec<String>,
    ) -> Result<ReachRequest, CliError> {
        let description = description(target, around)?;
        self.may_be_reached(&description)?;
        let secret = |url: &Option<String>| url.as_ref().map(|url| Secret::new(url.clone()));
        Ok(ReachRequest {
            run: new_run(),
            description,
            args,
            builds: Builds::Current,
            stores: StoreChoice {
                redis_url: secret(&self.redis_url),
                postgres_url: secret(&self.postgres_url),
                redis_image: self.redis_image.clone(),
                postgres_image: self.postgres_image.clone(),
                search_path: around.search_path.clone(),
                caches: caches(around.variable, &around.program),
            },
            program: around.program.clone(),
            steps: Steps::default(),
        })
    }

    /// Whether requests may go to the gateway at this address.
    ///
    /// # Errors
    ///
    /// When it is not on this machine, and nobody has named its host.
    pub(super) fn may_go_to(&self, gateway: &Url) -> Result<(), CliError> {
        let host = gateway.host_str().unwrap_or_default();
        may_be_asked(&redacted(gateway.as_str()), host, &self.allow_host)
    }

    /// Load goes to this machine only, unless somebody says otherwise by name.
    fn may_be_reached(&self, description: &TargetDescription) -> Result<(), CliError> {
        let Reach::Attached(attached) = &description.reach else { return Ok(()) };
        for url in attached.replicas.iter().chain(&attached.mock_url) {
            may_be_asked(url.as_str(), url.host_str().unwrap_or_default(), &self.allow_host)?;
        }
        match &attached.redis {
            Some(redis) => may_be_asked(&redis.to_string(), redis.host(), &self.allow_host),
            None => Ok(()),
        }
    }
}

/// What a target is called in the names of its runs: how it was named, or its file.
pub(super) fn name_of(target: &str) -> String {
    let stem = Path::new(target).file_stem();
    stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// Whether requests may go to this host: it is this machine, or somebody named it.
///
/// # Errors
///
/// When it is neither.
pub(super) fn may_be_asked(what: &str, host: &str, allowed: &[String]) -> Result<(), CliError> {
    if is_loopback(host) || allowed.iter().any(|allowed| allowed == host) {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "{what} is not on this machine; if requests may go there, say so with --allow-host {host}"
    )))
}

/// Reaches a target, and tells meanwhile what is being done `about` it.
///
/// # Errors
///
/// When it cannot be set up, or somebody will not wait for it.
pub async fn reach(
    request: ReachRequest,
    about: &str,
    progress: &mut Progress<'_>,
) -> Result<Reached, CliError> {
    let steps = request.steps.clone();
    let reaching = async {
        tokio::select! {
            // Whatever was started by then is dropped with the other branch, which stops it.
            biased;
            () = interrupted() => Err(CliError::Interrupted),
            reached = Reached::reach(request) => Ok(reached?),
        }
    };
    let reached = progress.while_at(about, &steps, reaching).await;
    progress.end();
    reached
}

/// Stops what was started for a target, and tells so where that takes long.
pub async fn stop(reached: Reached, about: &str, progress: &mut Progress<'_>) {
    let steps = Steps::default();
    steps.begin("stopping what was started");
    progress.while_at(about, &steps, reached.stop()).await;
    progress.end();
}

/// The description of the target of this name.
fn description(name: &str, around: &Surroundings<'_>) -> Result<TargetDescription, CliError> {
    let names: Vec<_> = adapters::ALL.iter().map(|adapter| adapter.name()).collect();
    let surroundings = target::Surroundings { adapters: &names, variable: around.variable };
    let path = Path::new(name);
    if path.is_dir() && adapters::named(name).is_none() {
        let inside = path.join("target.toml");
        let hint = match inside.is_file() {
            true => format!("did you mean `{}`?", inside.display()),
            false => "give the path of a target.toml, which `gauntlet init` writes".to_owned(),
        };
        return Err(CliError::Usage(format!("the target `{name}` is a folder; {hint}")));
    }
    if path.extension().is_some() || path.is_file() {
        return Ok(TargetDescription::load(path, surroundings)?);
    }
    let Some(adapter) = adapters::named(name) else {
        return Err(CliError::Usage(no_such_target(name, &names)));
    };
    match adapter.built_in_target(&around.program) {
        Some(text) => {
            let place = PathBuf::from(format!("<built-in {name}>"));
            Ok(TargetDescription::parse(&place, &text?, surroundings)?)
        }
        None => Err(CliError::Usage(adapter.how_to_describe().to_owned())),
    }
}

/// Where what was fetched may be kept for later runs: by the convention of desktops, or with what is
/// built.
fn caches(variable: &dyn Fn(&str) -> Option<String>, program: &Path) -> Vec<PathBuf> {
    // The convention has relative paths ignored.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let built =
        program.ancestors().find(|path| path.file_name().is_some_and(|name| name == "target"));
    let built = built.map(|target| target.join("tmp"));
    base.into_iter().chain(built).map(|base| base.join("gauntlet")).collect()
}

/// Whether a host is this machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn no_such_target(name: &str, known: &[&str]) -> String {
    let hint = match scenarios::nearest::nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!(
            "known are `{}`, or give the path of a target.toml, which `gauntlet init` writes",
            known.join("`, `")
        ),
    };
    format!("there is no target `{name}`; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_any_of_its_names() {
        for host in ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["gateway.example", "192.168.1.7", "localhost.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn what_was_fetched_is_kept_where_caches_are() {
        let folders = |variables: &[(&str, &str)], program: &str| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let caches = caches(&variable, Path::new(program));
            caches.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let home = ("HOME", "/home/ann");
        let (installed, built) = ("/usr/local/bin/gauntlet", "/src/target/release/gauntlet");
        assert_eq!(folders(&[home], installed), ["/home/ann/.cache/gauntlet"]);
        assert_eq!(folders(&[home, ("XDG_CACHE_HOME", "/fast")], installed), ["/fast/gauntlet"]);
        let empty = ("XDG_CACHE_HOME", "");
        assert_eq!(folders(&[home, empty], installed), folders(&[home], installed));
        let both = ["/home/ann/.cache/gauntlet", "/src/target/tmp/gauntlet"];
        assert_eq!(folders(&[home], built), both);
        assert!(folders(&[], installed).is_empty());
    }
}
