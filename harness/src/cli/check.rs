//! `gauntlet check`: runs the checks against a target.

use std::{io::Write, path::PathBuf, time::Duration};

use reports::schema::Exit;
use scenarios::{Profile, Threshold};

use super::{
    CliError, ExitStatus, Surroundings,
    checking::{self, Wanted, no_check, of_thresholds},
    conclude::conclude,
    progress::Progress,
    target::{TargetArgs, name_of, reach, stop},
    which_profile,
};
use crate::{
    checks,
    clock::new_seed,
    report::{Material, report},
    runner::reach::Reached,
    store::{RunFacts, RunFolder},
    tally::told,
};

/// Arguments of `gauntlet check`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet check --target reference --profile smoke
  gauntlet check --target target.toml --only codec --seed 7")]
pub struct CheckArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// A built-in profile (`smoke`, `release`) or the path of one.
    #[arg(long, default_value = "release", value_name = "PROFILE")]
    profile: String,

    /// Only this check, or the checks of this family; may be repeated.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,

    /// Not this check, nor the checks of this family; may be repeated.
    #[arg(long, value_name = "ID")]
    skip: Vec<String>,

    /// The number from which every plan follows; another for each run unless given.
    #[arg(long)]
    seed: Option<u64>,

    /// How many seeds in a row, counted up from the first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,

    /// Cases per check, instead of the profile's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cases: Option<u32>,

    /// Begin no further check after this long, as in `90s`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time_budget: Option<Duration>,

    /// How long one failing plan may be shrunk, instead of the profile's, as in `5m`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    shrink_budget: Option<Duration>,

    /// A bound on what is measured beside the checks, as in `hit_ratio{class=team} >= 0.99`; may be
    /// repeated, and adds to the profile's.
    #[arg(long, value_name = "BOUND")]
    threshold: Vec<Threshold>,

    /// Where runs are kept.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    out: PathBuf,

    /// Say nothing while it runs.
    #[arg(long)]
    quiet: bool,

    /// Write the report as JSON.
    #[arg(long)]
    json: bool,

    /// Give every replica these arguments too, as in `--replica-arg=--defect`.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    replica_arg: Vec<String>,
}

/// A duration as it is written on the command line.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    scenarios::duration::parse(text).map_err(|error| error.to_string())
}

/// What was decided before the target is touched.
struct Chosen {
    profile: Profile,
    seeds: Vec<u64>,
}

impl CheckArgs {
    /// Runs the checks and writes the report.
    ///
    /// # Errors
    ///
    /// When the target cannot be set up, or the run cannot be kept.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let chosen = self.chosen()?;
        // Before anything is written: a mistyped target should leave nothing behind.
        let request = self.target.request(around, self.replica_arg.clone())?;
        // A run that cannot be kept should not be driven.
        RunFolder::can_be_made(&self.out)?;
        let target = &self.target.target;
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let mut reached = reach(request, target, &mut progress).await?;
        let ended = self.seeds(around, &chosen, &mut reached).await;
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        stop(reached, target, &mut progress).await;
        ended
    }

    async fn seeds(
        &self,
        around: &mut Surroundings<'_>,
        chosen: &Chosen,
        reached: &mut Reached,
    ) -> Result<ExitStatus, CliError> {
        let mut status = ExitStatus::Pass;
        for (number, seed) in chosen.seeds.iter().enumerate() {
            let one = self.one_seed(around, chosen, reached, *seed).await?;
            if chosen.seeds.len() > 1 {
                // Nothing but documents goes where documents were asked for.
                let told: &mut dyn Write = if self.json { around.err } else { around.out };
                let (number, all, how) = (number + 1, chosen.seeds.len(), one.status.name());
                writeln!(told, "seed {seed} ({number} of {all}): {how}")?;
            }
            status = status.graver(one.status);
            if one.stopped {
                break;
            }
        }
        Ok(status)
    }

    fn chosen(&self) -> Result<Chosen, CliError> {
        let mut profile = which_profile::found(&self.profile, Profile::built_in, Profile::read)?;
        if !self.only.is_empty() {
            profile.checks.only.clone_from(&self.only);
        }
        profile.checks.skip.extend(self.skip.iter().cloned());
        profile.thresholds.extend(self.threshold.iter().cloned());
        let known: Vec<_> = checks::ALL.iter().map(|check| check.id).collect();
        if let Some((stranger, nearest)) =
            profile.checks.strangers(known.iter().copied()).into_iter().next()
        {
            return Err(no_check(&stranger, nearest));
        }
        let first = self.seed.unwrap_or_else(new_seed);
        let seeds = u64::from(self.seeds.unwrap_or_else(|| profile.seeds.get()));
        Ok(Chosen { profile, seeds: (0..seeds).map(|more| first.wrapping_add(more)).collect() })
    }

    async fn one_seed(
        &self,
        around: &mut Surroundings<'_>,
        chosen: &Chosen,
        reached: &mut Reached,
        seed: u64,
    ) -> Result<OneSeed, CliError> {
        let profile = &chosen.profile;
        let cases = self.cases.unwrap_or_else(|| profile.cases.get());
        let target = &self.target.target;
        let name = format!("{}-{seed}", name_of(target));
        let mut facts = RunFacts::of_now(&name, target, seed, cases);
        let folder = RunFolder::create(&self.out, &mut facts)?;
        let wanted = Wanted {
            profile,
            seed,
            cases: self.cases,
            time_budget: self.time_budget,
            shrink_budget: self.shrink_budget,
        };
        let began = reached.driver.clock.now();
        let driven = checking::drive(&wanted, reached, &folder, around, self.quiet).await?;
        let thresholds = told::judged(&profile.thresholds, &driven.measured(), driven.lost);
        let status = driven.status().graver(of_thresholds(&thresholds));
        let named = folder.path().display().to_string();
        let report = report(&Material {
            facts: &facts,
            profile: &self.profile,
            took: reached.driver.clock.now().since(began),
            manifest: &reached.driver.manifest,
            made_of: &reached.made_of,
            probed: &reached.probed,
            conclusions: &driven.conclusions,
            cache: Some(driven.cache),
            thresholds,
            load: None,
            wire: &driven.wire,
            lines: Some(&driven.lines),
            lost: driven.lost,
            exit: Exit { status: status as u8, name: status.name().to_owned() },
            folder: &named,
        });
        conclude(&report, &folder, self.json, around)?;
        match driven.ended {
            // What was seen until then is told all the same: it may say why.
            Some((replica, how)) => Err(CliError::Ended { replica, how }),
            None => Ok(OneSeed { status, stopped: driven.stopped }),
        }
    }
}

struct OneSeed {
    status: ExitStatus,
    stopped: bool,
}
