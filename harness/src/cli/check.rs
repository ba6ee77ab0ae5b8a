//! `gauntlet check`: runs the checks against a target.

use std::{path::PathBuf, time::Duration};

use reports::{Format, schema::Exit};
use scenarios::{Profile, Threshold};

use super::{
    CliError, ExitStatus, Surroundings,
    interrupt::interrupted,
    progress::{Progress, stored},
    target::{TargetArgs, reach, stop},
};
use crate::{
    check::Check,
    checks,
    clock::{Micros, number_of_this_run, unix_seconds},
    report::{Conclusion, Material, report},
    runner::{
        reach::Reached,
        run::{self, CheckResult, Settings, Watcher, lacking},
        stacks::{Driven, Stacks, own_shapes},
    },
    store::{RunFacts, RunFolder},
    tally::told,
    verdict::Verdict,
};

/// Why a check was left out when time had run out.
const OVER_BUDGET: &str = "the time budget was used up";

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
                writeln!(
                    around.out,
                    "seed {seed} ({} of {}): {}",
                    number + 1,
                    chosen.seeds.len(),
                    one.status.name()
                )?;
            }
            status = status.graver(one.status);
            if one.stopped {
                break;
            }
        }
        Ok(status)
    }

    fn chosen(&self) -> Result<Chosen, CliError> {
        let mut profile = match PathBuf::from(&self.profile) {
            path if path.extension().is_some() => Profile::read(&path)?,
            _ => Profile::built_in(&self.profile)?,
        };
        if !self.only.is_empty() {
            profile.checks.only.clone_from(&self.only);
        }
        profile.checks.skip.extend(self.skip.iter().cloned());
        profile.thresholds.extend(self.threshold.iter().cloned());
        let known: Vec<_> = checks::ALL.iter().map(|check| check.id).collect();
        if let Some((stranger, nearest)) =
            profile.checks.strangers(known.iter().copied()).into_iter().next()
        {
            let hint =
                nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
            return Err(CliError::Usage(format!("there is no check `{stranger}`{hint}")));
        }
        let first = self.seed.unwrap_or_else(|| number_of_this_run() % 1_000_000_000);
        let seeds = u64::from(self.seeds.unwrap_or_else(|| profile.seeds.get()));
        Ok(Chosen { profile, seeds: (0..seeds).map(|more| first.wrapping_add(more)).collect() })
    }

    fn facts(&self, seed: u64, started: u64, cases: u32) -> RunFacts {
        let target = PathBuf::from(&self.target.target);
        let name =
            target.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        RunFacts {
            id: format!("{started}-{name}-{seed}"),
            seed,
            started,
            target: self.target.target.clone(),
            cases,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
        }
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
        let facts = self.facts(seed, unix_seconds(), cases);
        let folder = RunFolder::create(&self.out, &facts)?;
        let settings = Settings {
            seed,
            shrink_budget: self.shrink_budget.unwrap_or(profile.shrink_budget),
            side_by_side: profile.side_by_side.get().into(),
            first_failure_is_enough: false,
            shrink: true,
        };
        let began = reached.driver.clock.now();
        let (wire_before, lost_before) = (reached.wire_counts().await, reached.lost());
        let tally_before = reached.tally().await;
        let mut conclusions = Vec::new();
        if !self.quiet {
            writeln!(around.err, "seed {seed}; kept in {}", folder.path().display())?;
        }
        let mut progress =
            Progress::new(around.err, around.err_is_terminal, self.quiet, Some(&folder));
        let mut stacks = Stacks::shared(reached);
        // A run that is stopped half-way still reports what it had done.
        let driven = tokio::select! {
            ended = self.every_check(
                profile, reached, &mut stacks, settings, &mut progress, &mut conclusions
            ) => ended.map(|()| false),
            () = interrupted() => Ok(true),
        };
        progress.end();
        stacks.stop_own().await;
        let stopped = driven?;
        if let Some(error) = progress.failed.take() {
            return Err(error.into());
        }
        let warm = std::mem::take(&mut progress.warm);
        // A failure that was being shrunk is a failure all the same.
        let failing = progress.failing(reached.driver.clock.now()).map(Box::new);
        let ended = reached.ended();
        if stopped {
            conclusions.extend(failing.map(Conclusion::Ran));
        }
        skip_the_rest(&mut conclusions, stopped || ended.is_some());
        let lost = reached.lost() - lost_before;
        doubt_what_was_not_seen(&mut conclusions, lost);
        for result in conclusions.iter().filter_map(ran) {
            if let Some(shrunk) = &result.shrunk {
                folder.keep_shrunk(&stored(result.check, &shrunk.smallest))?;
            }
        }
        let mut status = status(&conclusions);
        let thresholds = told::judged(&profile.thresholds, &told::measured(&warm), lost);
        status = status.graver(of_thresholds(&thresholds));
        if stopped || conclusions.iter().any(cut_short) {
            // What was not driven is missing evidence, and that is never a pass.
            status = status.graver(ExitStatus::Inconclusive);
        }
        if ended.is_some() {
            status = status.graver(ExitStatus::Setup);
        }
        let named = folder.path().display().to_string();
        let report = report(&Material {
            facts: &facts,
            profile: &self.profile,
            took: reached.driver.clock.now().since(began),
            manifest: &reached.driver.manifest,
            made_of: &reached.made_of,
            probed: &reached.probed,
            conclusions: &conclusions,
            cache: Some(told::cache(&warm, &reached.tally().await.since(&tally_before))),
            thresholds,
            load: None,
            wire: &reached.wire_counts().await.since(&wire_before),
            lost,
            exit: Exit { status: status as u8, name: status.name().to_owned() },
            folder: &named,
        });
        folder.keep_report(&report)?;
        let format = self.format(around);
        reports::render(&report, format, around.out).map_err(std::io::Error::other)?;
        match ended {
            // What was seen until then is told all the same: it may say why.
            Some((replica, how)) => Err(CliError::Ended { replica, how }),
            None => Ok(OneSeed { status, stopped }),
        }
    }

    fn format(&self, around: &Surroundings<'_>) -> Format {
        if self.json {
            Format::Json
        } else {
            let style = reports::Style { colour: around.out_is_terminal, width: around.width };
            Format::Terminal(style)
        }
    }

    async fn every_check(
        &self,
        profile: &Profile,
        reached: &mut Reached,
        stacks: &mut Stacks,
        settings: Settings,
        progress: &mut Progress<'_>,
        conclusions: &mut Vec<Conclusion>,
    ) -> Result<(), CliError> {
        for check in checks::ALL.iter().copied() {
            // The run's clock began before the target was reached, and runs on over every seed.
            let over = self
                .time_budget
                .is_some_and(|budget| reached.driver.clock.now().since(Micros(0)) >= budget);
            let conclusion = if !profile.checks.takes(check.id) {
                Conclusion::Skipped(check, "left out by choice".to_owned())
            } else if let Some(lacking) = lacking(check, |capability| reached.has(capability)) {
                Conclusion::NotApplicable(check, lacking)
            } else if over {
                Conclusion::Skipped(check, OVER_BUDGET.to_owned())
            } else {
                let cases = self.cases.unwrap_or_else(|| profile.cases_for(check.id));
                progress.begin(check, cases, reached.driver.clock.now());
                let result = one_check(stacks, reached, check, cases, settings, progress).await?;
                progress.done();
                Conclusion::Ran(Box::new(result))
            };
            conclusions.push(conclusion);
            if progress.failed.is_some() || reached.ended().is_some() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Runs one check, on stacks of its own where it asks for some. Where this is dropped half-way, they
/// are left in `stacks`, to be stopped.
pub(super) async fn one_check(
    stacks: &mut Stacks,
    reached: &Reached,
    check: &'static Check,
    cases: u32,
    settings: Settings,
    watcher: &mut dyn Watcher,
) -> Result<CheckResult, CliError> {
    let began = reached.driver.clock.now();
    let arms = run::arms(&reached.driver, check, cases, settings.seed).map_err(CliError::Ours)?;
    let own = own_shapes(&arms);
    if !own.is_empty() {
        watcher.own_stacks(check, &own);
    }
    let driven = stacks
        .driven(&arms, reached, async |stacks| {
            run::check(stacks, check, cases, settings, watcher).await.map_err(CliError::Ours)
        })
        .await;
    match driven {
        Ok(Driven { value, doubt: None }) => value,
        Ok(Driven { value, doubt: Some(why) }) => {
            Ok(CheckResult { verdict: Verdict::Inconclusive(why), ..value? })
        }
        // The other checks need not suffer for it.
        Err(error) => {
            let why = format!("a stack of its own cannot be started: {}", CliError::from(error));
            Ok(CheckResult {
                check,
                verdict: Verdict::Inconclusive(why),
                cases: 0,
                telling: None,
                shrunk: None,
                began,
                took: reached.driver.clock.now().since(began),
            })
        }
    }
}

struct OneSeed {
    status: ExitStatus,
    stopped: bool,
}

fn ran(conclusion: &Conclusion) -> Option<&CheckResult> {
    match conclusion {
        Conclusion::Ran(result) => Some(result),
        Conclusion::NotApplicable(..) | Conclusion::Skipped(..) => None,
    }
}

fn skip_the_rest(conclusions: &mut Vec<Conclusion>, stopped: bool) {
    if stopped {
        let rest: Vec<&'static Check> =
            checks::ALL.iter().skip(conclusions.len()).copied().collect();
        conclusions.extend(rest.into_iter().map(|check| {
            Conclusion::Skipped(check, "the run was stopped before it was done".to_owned())
        }));
    }
}

/// Whether a check that applies was left out because time had run out.
fn cut_short(conclusion: &Conclusion) -> bool {
    matches!(conclusion, Conclusion::Skipped(_, why) if why == OVER_BUDGET)
}

/// A verdict that rests on evidence of which some was lost on the way is none.
fn doubt_what_was_not_seen(conclusions: &mut [Conclusion], lost: u64) {
    if lost == 0 {
        return;
    }
    for conclusion in conclusions {
        if let Conclusion::Ran(result) = conclusion
            && !matches!(result.verdict, Verdict::Inconclusive(_))
        {
            let was = if result.verdict.is_fail() { "a fail" } else { "a pass" };
            let why = format!(
                "{lost} observations were lost on the way, so {was} says nothing; try fewer cases \
                 side by side"
            );
            result.verdict = Verdict::Inconclusive(why);
        }
    }
}

/// What thresholds come to.
pub(super) fn of_thresholds(thresholds: &[reports::threshold::Threshold]) -> ExitStatus {
    use reports::schema::Verdict as Told;
    let said = |told| thresholds.iter().any(|threshold| threshold.verdict == told);
    if said(Told::Fail) {
        ExitStatus::Fail
    } else if said(Told::Inconclusive) {
        ExitStatus::Inconclusive
    } else {
        ExitStatus::Pass
    }
}

/// What a run's conclusions come to.
pub(super) fn status(conclusions: &[Conclusion]) -> ExitStatus {
    use reports::schema::Verdict as Told;
    let said = |told| conclusions.iter().any(|conclusion| conclusion.verdict() == told);
    if said(Told::Fail) {
        ExitStatus::Fail
    } else if said(Told::Inconclusive) {
        ExitStatus::Inconclusive
    } else if said(Told::Pass) {
        ExitStatus::Pass
    } else {
        ExitStatus::NothingRan
    }
}
