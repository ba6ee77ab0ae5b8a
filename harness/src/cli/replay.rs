//! `gauntlet replay`: judges a stored run again, or drives its failing plans once more.

use std::{io::Write, path::PathBuf};

use reports::Style;

use super::{
    CliError, ExitStatus, Surroundings,
    checking::no_check,
    interrupt::interrupted,
    progress::{Progress, add_shared},
    target::{ReachArgs, reach, stop},
    which_run::found,
};
use crate::{
    check::Check,
    checks,
    plan::Plan,
    runner::{
        run::{drive_and_judge, lacking},
        stacks::Stacks,
        steps::Steps,
    },
    store::{RunFolder, StoredCase},
    tally::{Snapshot, told, warm::Warm},
    verdict::Verdict,
};

/// Arguments of `gauntlet replay`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet replay runs/latest
  gauntlet replay runs/1795168474-reference-2 --live --only codec.no-null-key")]
pub struct ReplayArgs {
    /// The folder of a run; `runs/latest` is the run that began last.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Drive the smallest failing plans again, instead of judging what is stored.
    #[arg(long)]
    live: bool,

    /// The target to drive them against, instead of the run's own.
    #[arg(long, value_name = "TARGET", requires = "live")]
    target: Option<String>,

    /// Only the cases of this check.
    #[arg(long, value_name = "ID")]
    only: Option<String>,

    /// Give every replica these arguments too.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, requires = "live")]
    replica_arg: Vec<String>,

    /// Say nothing while it runs.
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    how: ReachArgs,
}

impl ReplayArgs {
    /// Replays the run and writes a line per case that is not a plain pass.
    ///
    /// # Errors
    ///
    /// When the run cannot be read, or the target cannot be set up.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        if let Some(only) = &self.only {
            known(only)?;
        }
        let (folder, facts) = RunFolder::open(&found(&self.run)?)?;
        let wanted = |case: &StoredCase| self.only.as_ref().is_none_or(|only| case.check == *only);
        writeln!(around.out, "run {} of seed {} against {}", facts.id, facts.seed, facts.target)?;
        if self.live {
            let shrunk: Vec<_> = folder.shrunk()?.into_iter().filter(wanted).collect();
            let target = self.target.clone().unwrap_or(facts.target);
            return self.live(around, target, &shrunk).await;
        }
        let mut cases: Vec<_> = folder.cases()?;
        // The smallest failing plans were driven while shrinking, which a run does not count.
        let driven = cases.iter().filter(|case| wanted(case)).count();
        cases.extend(folder.shrunk()?);
        cases.retain(wanted);
        let mut warm = Warm::default();
        let mut tally = Tally::default();
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        for (number, case) in cases.iter().enumerate() {
            progress.goes_on(&format!("judging case {} of {}", number + 1, cases.len()));
            let check = named(case)?;
            let verdict = (check.judge)(&case.histories);
            progress.end();
            tally.add(case, &verdict, around.out)?;
            if number < driven {
                add_shared(&mut warm, check, &case.histories);
            }
        }
        // What each process asked of the stores is counted while it runs, and not kept.
        let nothing = Snapshot::default();
        let cache = told::cache(&warm, &nothing.since(&nothing));
        if !cache.classes.is_empty() {
            let style = Style { colour: around.colour, width: around.width };
            reports::cache::render(&cache, style, around.out)?;
            writeln!(around.out)?;
        }
        tally.end(around.out)
    }

    async fn live(
        &self,
        around: &mut Surroundings<'_>,
        target: String,
        shrunk: &[StoredCase],
    ) -> Result<ExitStatus, CliError> {
        let request = self.how.request(around, &target, self.replica_arg.clone())?;
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let mut reached = reach(request, &target, &mut progress).await?;
        let mut tally = Tally::default();
        let mut ended = Ok(());
        for case in shrunk {
            let mut stacks = Stacks::shared(&reached);
            let steps = Steps::default();
            steps.begin(&format!("driving the smallest plan of {}", case.check));
            let driven = async {
                let check = named(case)?;
                let Some(plan) = planned(case) else {
                    return Err(CliError::Usage(format!("{} holds no plan", case.check)));
                };
                if let Some(lacking) = lacking(check, |capability| reached.has(capability)) {
                    writeln!(around.out, "{}: not applicable: no {lacking}", check.id)?;
                    return Ok(());
                }
                let driven = stacks
                    .driven(&(check.arms)(&plan), &reached, async |stacks| {
                        drive_and_judge(stacks, check, &plan, true).await
                    })
                    .await?;
                let verdict = driven.doubt.map_or(driven.value.0, Verdict::Inconclusive);
                tally.add(case, &verdict, around.out)
            };
            let driven = async {
                tokio::select! {
                    ended = driven => ended,
                    () = interrupted() => Err(CliError::Interrupted),
                }
            };
            ended = progress.while_at(&target, &steps, driven).await;
            progress.end();
            stacks.stop_own().await;
            if ended.is_ok()
                && let Some((replica, how)) = reached.ended()
            {
                ended = Err(CliError::Ended { replica, how });
            }
            if ended.is_err() {
                break;
            }
        }
        stop(reached, &target, &mut progress).await;
        ended?;
        tally.end(around.out)
    }
}

/// The plan that the arms of a case were made from: that of the first.
fn planned(case: &StoredCase) -> Option<Plan> {
    case.histories.first().map(|history| history.plan.clone())
}

/// Confirms that a check is called so.
fn known(only: &str) -> Result<(), CliError> {
    let ids = || checks::ALL.iter().map(|check| check.id);
    if ids().any(|id| id == only) {
        return Ok(());
    }
    Err(no_check(only, scenarios::nearest::nearest(only, ids())))
}

fn named(case: &StoredCase) -> Result<&'static Check, CliError> {
    checks::ALL.iter().find(|check| check.id == case.check).copied().ok_or_else(|| {
        CliError::Usage(format!(
            "the run has a check `{}` that this gauntlet does not know",
            case.check
        ))
    })
}

#[derive(Default)]
struct Tally {
    same: usize,
    changed: usize,
    fails: usize,
    inconclusive: usize,
    passes: usize,
}

impl Tally {
    fn add(
        &mut self,
        case: &StoredCase,
        verdict: &Verdict,
        out: &mut dyn Write,
    ) -> Result<(), CliError> {
        let is_same = std::mem::discriminant(verdict) == std::mem::discriminant(&case.verdict);
        if is_same {
            self.same += 1
        } else {
            self.changed += 1
        }
        match verdict {
            Verdict::Pass => self.passes += 1,
            Verdict::Fail(_) => self.fails += 1,
            Verdict::Inconclusive(_) => self.inconclusive += 1,
        }
        if !is_same || *verdict != Verdict::Pass {
            let was = if is_same { "as before" } else { "it was judged otherwise before" };
            writeln!(out, "{} case {} ({was}): {verdict}", case.check, case.case)?;
        }
        Ok(())
    }

    fn end(&self, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
        writeln!(
            out,
            "{} cases: {} pass, {} fail, {} inconclusive; {} judged as before, {} otherwise",
            self.same + self.changed,
            self.passes,
            self.fails,
            self.inconclusive,
            self.same,
            self.changed
        )?;
        Ok(if self.fails > 0 {
            ExitStatus::Fail
        } else if self.inconclusive > 0 {
            ExitStatus::Inconclusive
        } else if self.passes > 0 {
            ExitStatus::Pass
        } else {
            ExitStatus::NothingRan
        })
    }
}
