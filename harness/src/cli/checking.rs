//! Drives the checks that a profile takes against a target that was reached, and says what they came to.
//!
//! `gauntlet check` and `gauntlet demo` drive the same checks. A run that is stopped half-way, or whose
//! target ends, tells what it had done.

use std::time::Duration;

use reports::{cache::Cache, schema::Verdict as Told};
use scenarios::{Profile, threshold::Measured};

use super::{
    CliError, ExitStatus, Surroundings,
    interrupt::interrupted,
    progress::{Progress, stored},
};
use crate::{
    check::Check,
    checks,
    clock::Micros,
    op::Replica,
    report::Conclusion,
    runner::{
        collect::{LineCounts, WireCounts},
        reach::Reached,
        redact::redacted,
        run::{self, CheckResult, Settings, Watcher, lacking},
        stacks::{Driven as OnStacks, Stacks, own_shapes},
    },
    store::RunFolder,
    tally::{told, warm::Warm},
    verdict::Verdict,
};

/// Why a check was left out when time had run out.
const OVER_BUDGET: &str = "the time budget was used up";

/// What is to be driven.
pub(super) struct Wanted<'a> {
    /// Which checks, and how often.
    pub(super) profile: &'a Profile,
    /// The number from which every plan follows.
    pub(super) seed: u64,
    /// Cases per check, instead of the profile's.
    pub(super) cases: Option<u32>,
    /// How long after the beginning no further check is begun.
    pub(super) time_budget: Option<Duration>,
    /// How long one failing plan may be shrunk, instead of the profile's.
    pub(super) shrink_budget: Option<Duration>,
}

/// Checks that were driven.
pub(super) struct Driven {
    /// What was concluded of each, in order.
    pub(super) conclusions: Vec<Conclusion>,
    /// What the identity cache did.
    pub(super) cache: Cache,
    /// What became of the wire events.
    pub(super) wire: WireCounts,
    /// What the replicas wrote to their logs.
    pub(super) lines: LineCounts,
    /// Observations that were lost on the way.
    pub(super) lost: u64,
    /// Whether somebody wanted an end.
    pub(super) stopped: bool,
    /// The replica that ended by itself, if one did, and how.
    pub(super) ended: Option<(Replica, String)>,
    warm: Warm,
}

/// Drives checks, and keeps each case in `folder` as it is judged.
///
/// # Errors
///
/// When a case cannot be kept, or a check is at fault itself.
pub(super) async fn drive(
    wanted: &Wanted<'_>,
    reached: &mut Reached,
    folder: &RunFolder,
    around: &mut Surroundings<'_>,
    quiet: bool,
) -> Result<Driven, CliError> {
    let (wire_before, lost_before) = (reached.wire_counts().await, reached.lost());
    let (tally_before, lines_before) = (reached.tally().await, reached.lines().await);
    let mut conclusions = Vec::new();
    if !quiet {
        writeln!(around.err, "seed {}; kept in {}", wanted.seed, folder.path().display())?;
    }
    let mut progress = Progress::new(around.err, around.err_is_terminal, quiet, Some(folder));
    let mut stacks = Stacks::shared(reached);
    // A run that is stopped half-way still reports what it had done.
    let driven = tokio::select! {
        ended = wanted.every_check(reached, &mut stacks, &mut progress, &mut conclusions) => {
            ended.map(|()| false)
        }
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
    Ok(Driven {
        conclusions,
        cache: told::cache(&warm, &reached.tally().await.since(&tally_before)),
        wire: reached.wire_counts().await.since(&wire_before),
        lines: reached.lines().await.since(&lines_before),
        lost,
        stopped,
        ended,
        warm,
    })
}

impl Wanted<'_> {
    async fn every_check(
        &self,
        reached: &mut Reached,
        stacks: &mut Stacks,
        progress: &mut Progress<'_>,
        conclusions: &mut Vec<Conclusion>,
    ) -> Result<(), CliError> {
        let profile = self.profile;
        let settings = Settings {
            seed: self.seed,
            shrink_budget: self.shrink_budget.unwrap_or(profile.shrink_budget),
            side_by_side: profile.side_by_side.get().into(),
            first_failure_is_enough: false,
            shrink: true,
        };
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

impl Driven {
    /// What thresholds can be about.
    pub(super) fn measured(&self) -> Vec<Measured> {
        told::measured(&self.warm)
    }

    /// What the checks come to, thresholds aside.
    pub(super) fn status(&self) -> ExitStatus {
        let mut status = status(&self.conclusions);
        if self.stopped || self.conclusions.iter().any(cut_short) {
            // What was not driven is missing evidence, and that is never a pass.
            status = status.graver(ExitStatus::Inconclusive);
        }
        if self.ended.is_some() {
            status = status.graver(ExitStatus::Setup);
        }
        status
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
        Ok(OnStacks { value, doubt: None }) => value,
        Ok(OnStacks { value, doubt: Some(why) }) => {
            Ok(CheckResult { verdict: Verdict::Inconclusive(why), ..value? })
        }
        // The other checks need not suffer for it.
        Err(error) => {
            let why = redacted(&CliError::from(error).told());
            let why = format!("a stack of its own cannot be started: {why}");
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

/// What is said where no check is called so.
pub(super) fn no_check(name: &str, nearest: Option<&str>) -> CliError {
    let hint = nearest.map_or_else(
        || "; `gauntlet list checks` has them all".to_owned(),
        |nearest| format!("; did you mean `{nearest}`?"),
    );
    CliError::Usage(format!("there is no check `{name}`{hint}"))
}

/// What thresholds come to.
pub(super) fn of_thresholds(thresholds: &[reports::threshold::Threshold]) -> ExitStatus {
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
