//! Runs checks: generates their cases, drives them side by side, judges, and shrinks what fails.

use std::{collections::BTreeSet, ops::ControlFlow, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use proptest::strategy::ValueTree;

use super::{
    drive::Driver,
    minimize::{Smallest, minimize},
    stacks::Stacks,
};
use crate::{
    capability::Capability,
    check::{Arm, Check, Shape, Stack},
    clock::Micros,
    generators::plan_tree,
    history::History,
    plan::Plan,
    verdict::Verdict,
};

/// How often the smallest failing plan is driven once more, to say how reliably it fails.
const RE_RUNS: u32 = 3;

/// What to run, and how long to take over it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The number from which every plan follows.
    pub seed: u64,
    /// How long one failing plan may be shrunk.
    pub shrink_budget: Duration,
    /// Cases side by side, at most.
    pub side_by_side: usize,
    /// Whether to stop at the first case that fails: enough to know that a defect is caught.
    pub first_failure_is_enough: bool,
    /// Whether to look for the smallest plan that fails.
    pub shrink: bool,
}

/// One case, driven and judged.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// Which case of its check, counted from zero.
    pub case: u32,
    /// What its histories say.
    pub verdict: Verdict,
    /// One history per arm.
    pub histories: Vec<History>,
}

/// The smallest plan that breaks a property, and how it was come by.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The case that it was shrunk from.
    pub case: u32,
    /// What was driven last, and failed.
    pub smallest: CaseResult,
    /// The plan.
    pub plan: Plan,
    /// Steps before shrinking.
    pub steps_before: usize,
    /// How many candidates were driven.
    pub candidates: u32,
    /// Whether the budget ended the shrinking.
    pub ran_out: bool,
    /// How long it took.
    pub took: Duration,
    /// The share of re-runs of the smallest plan that did not fail.
    pub flaky_rate: f64,
}

/// What a check came to on one seed.
#[derive(Debug)]
pub struct CheckResult {
    /// Which check.
    pub check: &'static Check,
    /// The conclusion over all cases: fail before inconclusive before pass.
    pub verdict: Verdict,
    /// How many cases were judged.
    pub cases: u32,
    /// The case that the verdict comes from.
    pub telling: Option<CaseResult>,
    /// The smallest failing plan.
    pub shrunk: Option<Shrunk>,
    /// When it began.
    pub began: Micros,
    /// How long it took.
    pub took: Duration,
}

/// Who is told of each case as it is judged, and how far the run is.
pub trait Watcher {
    /// Stacks of a check's own are about to be started.
    fn own_stacks(&mut self, check: &Check, shapes: &[Shape]);
    /// A case was judged. Breaks off where no further case is of use.
    fn case(&mut self, check: &Check, result: &CaseResult) -> ControlFlow<()>;
    /// A failing plan is being shrunk.
    fn shrinking(&mut self, check: &Check, case: u32);
}

/// The capability that a check needs and the target lacks, if there is one.
pub fn lacking(check: &Check, has: impl Fn(Capability) -> bool) -> Option<Capability> {
    check.needs.iter().copied().find(|capability| !has(*capability))
}

/// Runs one check.
///
/// # Errors
///
/// When a strategy cannot generate a plan, which is a defect of the harness.
pub async fn check(
    stacks: &Stacks,
    check: &'static Check,
    cases: u32,
    settings: Settings,
    watcher: &mut dyn Watcher,
) -> Result<CheckResult, String> {
    let driver = stacks.of_all();
    let began = driver.clock.now();
    let strategy = (check.plan)(&driver.manifest);
    let mut trees = Vec::new();
    for case in 0..cases {
        trees.push((case, plan_tree(&strategy, settings.seed, check.id, case)?.current()));
    }
    // A fault strikes whoever is on the stack, and arms that are driven at once load the machine alone.
    let alone = must_be_alone(driver, check)
        || trees.iter().any(|(_, plan)| plan.disturbs() || at_once(&(check.arms)(plan)));
    let side_by_side =
        if alone { 1 } else { settings.side_by_side.clamp(1, driver.adapter.side_by_side()) };
    let mut results = stream::iter(trees)
        .map(|(case, plan)| async move {
            let (verdict, histories) = drive_and_judge(stacks, check, &plan, alone).await;
            CaseResult { case, verdict, histories }
        })
        .buffer_unordered(side_by_side);
    let mut judged = 0;
    let mut broken_off = false;
    let mut telling: Option<CaseResult> = None;
    while let Some(result) = results.next().await {
        judged += 1;
        let flow = watcher.case(check, &result);
        let is_fail = result.verdict.is_fail();
        if tells_more(&result, telling.as_ref()) {
            telling = Some(result);
        }
        broken_off = flow.is_break();
        if broken_off || (is_fail && settings.first_failure_is_enough) {
            break;
        }
    }
    drop(results);
    let verdict = telling.as_ref().map_or_else(
        || Verdict::Inconclusive("no case was driven".to_owned()),
        |telling| telling.verdict.clone(),
    );
    let shrunk = match &telling {
        Some(failing) if verdict.is_fail() && settings.shrink && !broken_off => {
            watcher.shrinking(check, failing.case);
            Some(shrink(stacks, check, failing.clone(), settings, alone).await?)
        }
        Some(_) | None => None,
    };
    let took = driver.clock.now().since(began);
    Ok(CheckResult { check, verdict, cases: judged, telling, shrunk, began, took })
}

/// The arms of a check's cases: they name every stack that is needed.
///
/// # Errors
///
/// When the strategy cannot generate a plan, which is a defect of the harness.
pub fn arms(driver: &Driver, check: &Check, cases: u32, seed: u64) -> Result<Vec<Arm>, String> {
    let strategy = (check.plan)(&driver.manifest);
    let mut arms = Vec::new();
    for case in 0..cases {
        arms.extend((check.arms)(&plan_tree(&strategy, seed, check.id, case)?.current()));
    }
    Ok(arms)
}

/// Whether log lines can only be told apart by driving one case at a time.
fn must_be_alone(driver: &Driver, check: &Check) -> bool {
    check.needs.contains(&Capability::Logs) && !driver.adapter.lines_can_be_joined()
}

/// Whether the arms of a plan can be driven at once: each has a stack that no other one has.
fn at_once(arms: &[Arm]) -> bool {
    let own: BTreeSet<_> = arms
        .iter()
        .filter_map(|arm| match arm.stack {
            Stack::Own(shape) => Some(shape),
            Stack::Shared => None,
        })
        .collect();
    arms.len() > 1 && own.len() == arms.len()
}

/// Drives every arm of a plan and judges the histories.
pub async fn drive_and_judge(
    stacks: &Stacks,
    check: &Check,
    plan: &Plan,
    alone: bool,
) -> (Verdict, Vec<History>) {
    let arms = (check.arms)(plan);
    let mut driven = Vec::new();
    for arm in &arms {
        let Some(driver) = stacks.driver(arm.stack) else {
            let why = format!("there is no stack for the arm {:?}", arm.name);
            return (Verdict::Inconclusive(why), Vec::new());
        };
        driven.push((driver, arm));
    }
    let driving = driven.into_iter().map(|(driver, arm)| driver.drive(arm, alone));
    let histories = if at_once(&arms) {
        join_all(driving).await
    } else {
        stream::iter(driving).buffered(1).collect().await
    };
    ((check.judge)(&histories), histories)
}

/// Fail before inconclusive before pass; among failures the shortest plan, which shrinks soonest.
fn tells_more(result: &CaseResult, than: Option<&CaseResult>) -> bool {
    let weight = |result: &CaseResult| match result.verdict {
        Verdict::Fail(_) => 2,
        Verdict::Inconclusive(_) => 1,
        Verdict::Pass => 0,
    };
    let steps = |result: &CaseResult| {
        result.histories.first().map_or(0, |history| history.plan.steps.len())
    };
    than.is_none_or(|than| {
        weight(result) > weight(than)
            || (weight(result) == 2 && weight(than) == 2 && steps(result) < steps(than))
    })
}

async fn shrink(
    stacks: &Stacks,
    check: &'static Check,
    failing: CaseResult,
    settings: Settings,
    alone: bool,
) -> Result<Shrunk, String> {
    let driver = stacks.of_all();
    let strategy = (check.plan)(&driver.manifest);
    let case = failing.case;
    let mut tree = plan_tree(&strategy, settings.seed, check.id, case)?;
    let first = tree.current();
    let steps_before = first.steps.len();
    let re_run = async |plan: &Plan| {
        let (verdict, histories) = drive_and_judge(stacks, check, plan, alone).await;
        verdict.is_fail().then_some(CaseResult { case, verdict, histories })
    };
    let Smallest { value, mut seen, candidates, ran_out, took } =
        minimize(tree.as_mut(), (first, failing), driver.clock, settings.shrink_budget, re_run)
            .await;
    let mut held = 0_u32;
    for _ in 0..RE_RUNS {
        match re_run(&value).await {
            Some(again) => seen = again,
            None => held += 1,
        }
    }
    Ok(Shrunk {
        case,
        smallest: seen,
        plan: value,
        steps_before,
        candidates,
        ran_out,
        took,
        flaky_rate: f64::from(held) / f64::from(RE_RUNS),
    })
}
