//! `gauntlet demo`: everything once, in short, against the reference gateway.

use std::path::PathBuf;

use reports::schema::Exit;
use scenarios::{LoadProfile, Profile, Threshold};

use super::{
    CliError, ExitStatus, Surroundings,
    checking::{self, Wanted, of_thresholds},
    conclude::conclude,
    experiment,
    interrupt::interrupted,
    progress::Progress,
    target::{ReachArgs, reach, stop},
};
use crate::{
    clock::new_seed,
    load::{Experiment, experiment::shapes, told},
    report::{Material, report},
    runner::{join::new_run, reach::ReachRequest},
    store::{RunFacts, RunFolder},
    tally,
};

/// The target that we bring along.
const TARGET: &str = "reference";

/// The profile of its checks.
const CHECKS: &str = "smoke";

/// The profile of its load, and what the report calls both.
const DEMO: &str = "demo";

/// Arguments of `gauntlet demo`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet demo
  gauntlet demo --seed 7 --redis-url redis://127.0.0.1:6379")]
pub struct DemoArgs {
    /// The number from which every plan follows; another for each run unless given.
    #[arg(long)]
    seed: Option<u64>,

    /// A bound on what is measured beside the checks, as in `error_rate <= 0%`; may be repeated.
    #[arg(long, value_name = "BOUND")]
    threshold: Vec<Threshold>,

    /// Where runs are kept.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    out: PathBuf,

    /// Say nothing while it runs.
    #[arg(long)]
    quiet: bool,

    /// Write the report as JSON, and where the page is among the progress.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    how: ReachArgs,
}

impl DemoArgs {
    /// Runs checks and load, writes the report, and says where the same is as a page.
    ///
    /// # Errors
    ///
    /// When the reference gateway cannot be set up, or the run cannot be kept.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let mut profile = Profile::built_in(CHECKS)?;
        profile.thresholds.extend(self.threshold.iter().cloned());
        let load = LoadProfile::built_in(DEMO)?;
        let request = self.how.request(around, TARGET, Vec::new())?;
        let all = shapes(&load);
        // On a Redis that was given, no entry of the checks may serve the load.
        let of_load = ReachRequest { run: new_run(), ..request.clone() };
        let experiment = Experiment::new(load, all, of_load, false)
            .map_err(|senseless| CliError::Usage(senseless.to_string()))?;
        // A run that cannot be kept should not be driven.
        RunFolder::can_be_made(&self.out)?;
        let seed = self.seed.unwrap_or_else(new_seed);
        let name = format!("{DEMO}-{seed}");
        let mut facts = RunFacts::of_now(&name, TARGET, seed, profile.cases.get());

        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let mut reached = reach(request, TARGET, &mut progress).await?;
        let clock = reached.driver.clock;
        let began = clock.now();
        let folder = RunFolder::create(&self.out, &mut facts)?;
        let wanted =
            Wanted { profile: &profile, seed, cases: None, time_budget: None, shrink_budget: None };
        let checked = checking::drive(&wanted, &mut reached, &folder, around, self.quiet).await;
        let manifest = reached.driver.manifest.clone();
        let (made_of, probed) = (reached.made_of.clone(), reached.probed.clone());
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let is_wanted_no_more = {
            let stopping = stop(reached, TARGET, &mut progress);
            tokio::pin!(stopping);
            tokio::select! {
                () = &mut stopping => false,
                () = interrupted() => {
                    stopping.await;
                    true
                }
            }
        };
        let checked = checked?;

        let goes_on = !checked.stopped && !is_wanted_no_more && checked.ended.is_none();
        let loaded = match goes_on {
            true => Some(experiment::drive(&experiment, &mut progress).await),
            false => None,
        };
        let (load, of_load) = match &loaded {
            Some(driven) => {
                let (load, status) = driven.told(&experiment);
                (Some(load), status)
            }
            // What was not driven is missing evidence, and that is never a pass.
            None => (None, ExitStatus::Inconclusive),
        };
        let mut lost = checked.lost;
        let mut measured = checked.measured();
        if let (Some(driven), Some(load)) = (&loaded, &load) {
            lost += driven.sum(|numbers| numbers.lost);
            measured.extend(told::measured(&experiment.profile, load, &driven.measured));
        }
        let thresholds = tally::told::judged(&profile.thresholds, &measured, lost);
        let status = checked.status().graver(of_load).graver(of_thresholds(&thresholds));
        let named = folder.path().display().to_string();
        let report = report(&Material {
            facts: &facts,
            profile: DEMO,
            took: clock.now().since(began),
            manifest: &manifest,
            made_of: &made_of,
            probed: &probed,
            conclusions: &checked.conclusions,
            cache: Some(checked.cache),
            thresholds,
            load,
            wire: &checked.wire,
            lines: Some(&checked.lines),
            lost,
            exit: Exit { status: status as u8, name: status.name().to_owned() },
            folder: &named,
        });
        conclude(&report, &folder, self.json, around)?;
        if let Some((replica, how)) = checked.ended {
            return Err(CliError::Ended { replica, how });
        }
        if let Some(driven) = loaded {
            driven.ended?;
        }
        Ok(status)
    }
}
