//! `gauntlet load`: puts any gateway under load (`gateway`), or a target in several shapes, whose reads
//! are held to bounds.

mod gateway;
mod measurable;
mod stores_of_targets;

use std::{num::NonZeroU8, path::PathBuf};

use reports::schema::Exit;
use scenarios::{KeyClass, LoadProfile, Threshold};

use super::{
    CliError, ExitStatus, Surroundings,
    checking::of_thresholds,
    conclude::conclude,
    experiment::{self, Driven},
    progress::Progress,
    target::{ReachArgs, name_of},
    which_profile,
};
use crate::{
    clock::{Clock, Micros},
    load::{Experiment, Fate, Measured, descriptors, experiment::shapes, told},
    report::{Material, report},
    runner::collect::WireCounts,
    store::{RunFacts, RunFolder},
    tally,
    target::Topology,
};

/// Arguments of `gauntlet load`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet load --gateway http://127.0.0.1:4000 --key sk-1234 --users 50 --threshold 'latency_p95 <= 80ms'
  gauntlet load --target target.toml --profile seed_001 --replicas 2 --workers 1 --shared-cache on")]
pub struct LoadArgs {
    #[command(flatten)]
    _stores: stores_of_targets::StoresOfTargets,

    #[command(flatten)]
    gateway: gateway::GatewayArgs,

    /// `reference`, or the path of a `target.toml`; it is started in the shapes of a profile.
    #[arg(long, value_name = "TARGET", requires = "profile")]
    target: Option<String>,

    #[command(flatten)]
    how: ReachArgs,

    /// A built-in load profile (`seed_001`, `demo`) or the path of one.
    #[arg(long, value_name = "PROFILE", requires = "target")]
    profile: Option<String>,

    /// Only shapes with so many replicas, as in `1,2`.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    replicas: Vec<NonZeroU8>,

    /// Only shapes with so many workers behind each replica.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    workers: Vec<NonZeroU8>,

    /// Only with a cache that all processes share, or only without.
    #[arg(long, value_name = "MODE", default_value = "both")]
    shared_cache: Modes,

    /// What the keys name, instead of what the profile says: `plain`, `user`, `team`, `member`,
    /// `both`, `equal-ids`, `organisation`.
    #[arg(long, value_name = "CLASS")]
    key_class: Option<KeyClass>,

    /// Take lifetimes and windows as they are, not scaled down.
    #[arg(long)]
    unscaled: bool,

    /// A bound on what is measured, as in `error_rate <= 0%`; may be repeated. The worst shape
    /// counts.
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

/// With a shared cache, without, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Modes {
    /// With a cache that all processes share.
    On,
    /// Without one.
    Off,
    /// Both, one after the other.
    Both,
}

impl Modes {
    fn take(self, is_shared: bool) -> bool {
        match self {
            Modes::On => is_shared,
            Modes::Off => !is_shared,
            Modes::Both => true,
        }
    }
}

impl LoadArgs {
    /// Runs the experiment and writes the report.
    ///
    /// # Errors
    ///
    /// When the target cannot be set up, or the run cannot be kept.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        match &self.target {
            Some(target) => self.experiment(target, around).await,
            None => self.gateway.run(self, around).await,
        }
    }

    /// What replicas of a target cost.
    async fn experiment(
        &self,
        target: &str,
        around: &mut Surroundings<'_>,
    ) -> Result<ExitStatus, CliError> {
        let profile = self.profile()?;
        let shapes = self.shapes(&profile)?;
        let measures = told::measures(&profile, &shapes);
        measurable::all_are_measurable(&self.threshold, &measures, |_| None)?;
        descriptors::suffice_for(profile.callers.count.get())
            .map_err(|too_many| CliError::Usage(too_many.to_string()))?;
        let request = self.how.request(around, target, self.replica_arg.clone())?;
        let experiment = Experiment::new(profile, shapes, request, self.unscaled)
            .map_err(|senseless| CliError::Usage(senseless.to_string()))?;
        // A run that cannot be kept should not be driven.
        RunFolder::can_be_made(&self.out)?;
        let mut facts = RunFacts::of_now(&format!("{}-load", name_of(target)), target, 0, 0);
        let clock = Clock::start();
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let driven = experiment::drive(&experiment, &mut progress).await;
        let status = self.report(around, &experiment, &mut facts, &driven, clock.now())?;
        driven.ended?;
        status.ok_or_else(|| match driven.stopped {
            true => CliError::Interrupted,
            false => nothing_available(&driven.measured),
        })
    }

    /// The name of the profile, which comes with a target.
    fn profile_name(&self) -> &str {
        self.profile.as_deref().unwrap_or_default()
    }

    fn profile(&self) -> Result<LoadProfile, CliError> {
        let name = self.profile_name();
        let mut profile = which_profile::found(name, LoadProfile::built_in, LoadProfile::read)?;
        if let Some(class) = self.key_class {
            profile.callers.key_class = class;
        }
        Ok(profile)
    }

    /// The shapes of the profile that are left of it.
    fn shapes(&self, profile: &LoadProfile) -> Result<Vec<Topology>, CliError> {
        let takes = |chosen: &[NonZeroU8], number| chosen.is_empty() || chosen.contains(&number);
        let shapes: Vec<_> = shapes(profile)
            .into_iter()
            .filter(|shape| {
                takes(&self.replicas, shape.replicas)
                    && takes(&self.workers, shape.workers)
                    && self.shared_cache.take(shape.redis)
            })
            .collect();
        if shapes.is_empty() {
            let known = &profile.shapes.replicas_and_workers;
            let known: Vec<_> =
                known.iter().map(|(replicas, workers)| format!("{replicas} × {workers}")).collect();
            return Err(CliError::Usage(format!(
                "no shape of the profile {} is left; it has these replicas × workers: {}",
                profile.name,
                known.join(", ")
            )));
        }
        Ok(shapes)
    }

    /// Writes the report and says what it comes to; nothing where nothing was measured.
    fn report(
        &self,
        around: &mut Surroundings<'_>,
        experiment: &Experiment,
        facts: &mut RunFacts,
        driven: &Driven,
        took: Micros,
    ) -> Result<Option<ExitStatus>, CliError> {
        let Some(numbers) = driven.largest() else { return Ok(None) };
        let (load, status) = driven.told(experiment);
        let lost = driven.sum(|numbers| numbers.lost);
        let measured = told::measured(&experiment.profile, &load, &driven.measured);
        let thresholds = tally::told::judged(&self.threshold, &measured, lost);
        let status = status.graver(of_thresholds(&thresholds));
        let folder = RunFolder::create(&self.out, facts)?;
        let named = folder.path().display().to_string();
        let wire = WireCounts {
            events: driven.sum(|numbers| numbers.wire_events),
            ..WireCounts::default()
        };
        let report = report(&Material {
            facts,
            profile: self.profile_name(),
            took: took.since(Micros(0)),
            manifest: &numbers.manifest,
            made_of: &numbers.made_of,
            probed: &numbers.probed,
            conclusions: &[],
            cache: None,
            thresholds,
            load: Some(load),
            wire: &wire,
            lines: None,
            lost,
            exit: Exit { status: status as u8, name: status.name().to_owned() },
            folder: &named,
        });
        conclude(&report, &folder, self.json, around)?;
        Ok(Some(status))
    }
}

/// Why nothing could be measured.
fn nothing_available(measured: &[Measured]) -> CliError {
    let why = measured.iter().find_map(|measured| match &measured.fate {
        Fate::NotAvailable(why) => Some(why.clone()),
        Fate::Measured(_) | Fate::Stopped => None,
    });
    CliError::Usage(format!(
        "the target cannot be had in these shapes: {}",
        why.unwrap_or_else(|| "none was begun".to_owned())
    ))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn chosen(args: &str) -> Result<Vec<String>, String> {
        let line = format!("load --target reference --profile seed_001 {args}");
        let line = Line::parse_from(line.split_whitespace()).load;
        let shapes = line.shapes(&line.profile().unwrap()).map_err(|error| error.to_string())?;
        Ok(shapes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn shapes_are_narrowed_by_what_is_asked_for() {
        assert_eq!(chosen("").unwrap().len(), 12);
        assert_eq!(
            chosen("--replicas 2 --workers 1").unwrap(),
            ["2 replicas × 1 worker, one Redis", "2 replicas × 1 worker, no Redis"]
        );
        assert_eq!(
            chosen("--replicas 1,8 --shared-cache off").unwrap(),
            ["1 replica × 1 worker, no Redis", "8 replicas × 1 worker, no Redis"]
        );
    }

    #[test]
    fn each_shape_has_ids_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target.toml");
        let managed = "[managed]\ncommand = ['gateway', '--port', '{port}']";
        fs::write(&target, format!("name = 'ours'\nadapter = 'reference'\n{managed}\n")).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let around = Surroundings {
            out: &mut out,
            err: &mut err,
            colour: false,
            err_is_terminal: false,
            width: 100,
            program: folder.path().join("gauntlet"),
            search_path: None,
            variable: &|_| None,
        };
        let line = Line::parse_from(["load", "--target", "ours", "--profile", "seed_001"]).load;
        let request = line.how.request(&around, target.to_str().unwrap(), Vec::new()).unwrap();
        let profile = line.profile().unwrap();
        let shapes = line.shapes(&profile).unwrap();
        let experiment = Experiment::new(profile, shapes.clone(), request, false).unwrap();
        let ids: BTreeSet<_> = (1..)
            .zip(&shapes)
            .map(|(number, shape)| experiment.request_for(number, *shape).unwrap().run)
            .collect();
        assert_eq!(ids.len(), shapes.len());
    }

    #[test]
    fn a_shape_that_the_profile_has_not_is_answered_with_those_it_has() {
        insta::assert_snapshot!(
            chosen("--replicas 3").unwrap_err(),
            @"no shape of the profile seed_001 is left; it has these replicas × workers: 1 × 1, 2 × 1, 2 × 2, 4 × 1, 4 × 2, 8 × 1"
        );
    }
}
