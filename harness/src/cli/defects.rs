//! `gauntlet defects`: proves the checks. Each planted defect of the reference gateway must be caught.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Stdio, time::Duration};

use reports::{
    Format,
    schema::{Exit, Kill},
    terminal::kill_matrix,
};
use scenarios::Profile;
use serde::Deserialize;

use super::{
    CliError, ExitStatus, Surroundings,
    check::duration,
    checking::one_check,
    interrupt::interrupted,
    progress::Progress,
    target::{ReachArgs, reach, stop},
};
use crate::{
    checks,
    clock::unix_seconds,
    report::matrix,
    runner::{run::Settings, stacks::Stacks},
    store::RunStoreError,
    target::{Binary, supervisor},
    verdict::Verdict,
};

/// The first seed; the others count up from it.
const FIRST_SEED: u64 = 1;

/// Arguments of `gauntlet defects`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet defects --json kills.json --html kills.html
  gauntlet defects --only cache-bypass-team --seeds 3")]
pub struct DefectsArgs {
    /// How many seeds each defect must be caught on.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,

    /// Only this defect; may be repeated.
    #[arg(long, value_name = "DEFECT")]
    only: Vec<String>,

    /// Cases per seed, at most: the first that fails is enough.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,

    /// How long one failing plan may be shrunk, as in `30s`, or `0s` for not at all; the profile
    /// says unless given.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    shrink_budget: Option<Duration>,

    /// Keep the matrix in this file as it grows, and go on from what it holds.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the matrix to this file too, as a page for a browser.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Say nothing while it runs.
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    how: ReachArgs,
}

/// A planted defect, as the reference gateway lists it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Planted {
    pub(super) name: String,
    #[serde(rename = "caught_by")]
    pub(super) check: String,
    pub(super) summary: String,
}

impl DefectsArgs {
    /// Runs the matrix and writes it.
    ///
    /// # Errors
    ///
    /// When the reference gateway was built without defects, or a stack cannot be set up.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let began = unix_seconds();
        let planted = self.chosen(planted(around).await?)?;
        let mut kills = self.known()?;
        for (number, defect) in (1..).zip(&planted) {
            if kills.get(&defect.name).is_some_and(|kill| self.is_done(kill)) {
                continue;
            }
            let about = format!("{} ({number} of {})", defect.name, planted.len());
            let kill = match self.one(around, defect, &about).await {
                Ok(Some(kill)) => kill,
                // What is known by then is told.
                Ok(None) | Err(CliError::Interrupted) => break,
                Err(error) => return Err(error),
            };
            kills.insert(defect.name.clone(), kill);
            self.keep(&kills)?;
        }
        let names: Vec<_> = planted.iter().map(|defect| defect.name.clone()).collect();
        let shown: Vec<_> = names.iter().filter_map(|name| kills.get(name)).cloned().collect();
        let style = reports::Style { colour: around.colour, width: around.width };
        kill_matrix(&shown, style, around.out)?;
        let status = self.status(&shown, planted.len());
        if let Some(file) = &self.html {
            let exit = Exit { status: status as u8, name: status.name().to_owned() };
            let mut page = Vec::new();
            reports::render(&matrix(shown, began, FIRST_SEED, exit), Format::Html, &mut page)?;
            fs::write(file, page)
                .map_err(|source| CliError::Unwritable { path: file.clone(), source })?;
        }
        Ok(status)
    }

    /// Whether all seeds of a defect have come to something.
    fn is_done(&self, kill: &Kill) -> bool {
        kill.seeds >= self.seeds
    }

    /// What a matrix of so many defects comes to.
    fn status(&self, kills: &[Kill], planted: usize) -> ExitStatus {
        if kills.iter().any(|kill| kill.caught_seeds < kill.seeds) {
            ExitStatus::Fail
        } else if kills.len() == planted && kills.iter().all(|kill| self.is_done(kill)) {
            ExitStatus::Pass
        } else {
            ExitStatus::Inconclusive
        }
    }

    /// Those that were asked for.
    fn chosen(&self, planted: Vec<Planted>) -> Result<Vec<Planted>, CliError> {
        if let Some(stranger) =
            self.only.iter().find(|only| planted.iter().all(|defect| defect.name != **only))
        {
            let known = planted.iter().map(|defect| defect.name.as_str());
            let hint = scenarios::nearest::nearest(stranger, known).map_or_else(
                || "; `gauntlet list defects` has them all".to_owned(),
                |nearest| format!("; did you mean `{nearest}`?"),
            );
            return Err(CliError::Usage(format!("there is no defect `{stranger}`{hint}")));
        }
        let wanted = |defect: &Planted| self.only.is_empty() || self.only.contains(&defect.name);
        Ok(planted.into_iter().filter(wanted).collect())
    }

    /// Drives one defect over all seeds, on one stack. `None` when the person at the terminal stops it.
    async fn one(
        &self,
        around: &mut Surroundings<'_>,
        defect: &Planted,
        about: &str,
    ) -> Result<Option<Kill>, CliError> {
        let Some(check) = checks::ALL.iter().copied().find(|check| check.id == defect.check) else {
            return Err(CliError::Ours(format!(
                "the defect {} names the check {}, which does not exist",
                defect.name, defect.check
            )));
        };
        let args = vec!["--defect".to_owned(), defect.name.clone()];
        let request = self.how.request(around, "reference", args)?;
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let mut reached = reach(request, about, &mut progress).await?;
        let mut stacks = Stacks::shared(&reached);
        let began = reached.driver.clock.now();
        let profile = Profile::built_in("release")?;
        let shrink_budget = self.shrink_budget.unwrap_or(profile.shrink_budget);
        let (mut caught, mut concluded) = (0, 0);
        let mut lengths = Vec::new();
        let driven = async {
            for more in 0..u64::from(self.seeds) {
                let settings = Settings {
                    seed: FIRST_SEED + more,
                    shrink_budget,
                    side_by_side: profile.side_by_side.get().into(),
                    first_failure_is_enough: true,
                    // One smallest plan tells the story; the other seeds need only be caught.
                    shrink: lengths.is_empty() && !shrink_budget.is_zero(),
                };
                progress.say(&format!("{about}: seed {} of {}", more + 1, self.seeds));
                let lost = reached.lost();
                let result =
                    one_check(&mut stacks, &reached, check, self.cases, settings, &mut progress)
                        .await?;
                if let Some((replica, how)) = reached.ended() {
                    return Err(CliError::Ended { replica, how });
                }
                // What was lost on the way may be why it failed, or why it did not.
                let lost = reached.lost() - lost;
                let doubt = match result.verdict {
                    Verdict::Inconclusive(why) => Some(why),
                    Verdict::Pass | Verdict::Fail(_) if lost > 0 => {
                        Some(format!("{lost} observations were lost on the way"))
                    }
                    Verdict::Pass => None,
                    Verdict::Fail(_) => {
                        caught += 1;
                        None
                    }
                };
                if let Some(why) = doubt {
                    progress.say(&format!("{about}: seed {}: inconclusive: {why}", more + 1));
                    continue;
                }
                concluded += 1;
                lengths.extend(result.shrunk.map(|shrunk| shrunk.plan.steps.len()));
            }
            Ok::<_, CliError>(())
        };
        let ended = tokio::select! {
            ended = driven => ended.map(|()| false),
            () = interrupted() => Ok(true),
        };
        progress.end();
        let duration = reached.driver.clock.now().since(began);
        stacks.stop_own().await;
        stop(reached, about, &mut progress).await;
        if ended? {
            return Ok(None);
        }
        lengths.sort_unstable();
        Ok(Some(Kill {
            defect: defect.name.clone(),
            check: check.id.to_owned(),
            caught_seeds: caught,
            seeds: concluded,
            shrunk: lengths.get(lengths.len() / 2).and_then(|length| u32::try_from(*length).ok()),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }))
    }

    /// What an earlier run left in the file.
    fn known(&self) -> Result<BTreeMap<String, Kill>, CliError> {
        let Some(path) = self.json.as_ref().filter(|path| path.exists()) else {
            return Ok(BTreeMap::new());
        };
        let text = fs::read(path)
            .map_err(|source| RunStoreError::Unreadable { path: path.clone(), source })?;
        let kills: Vec<Kill> = serde_json::from_slice(&text)
            .map_err(|source| RunStoreError::Malformed { path: path.clone(), source })?;
        Ok(kills.into_iter().map(|kill| (kill.defect.clone(), kill)).collect())
    }

    fn keep(&self, kills: &BTreeMap<String, Kill>) -> Result<(), CliError> {
        let Some(path) = &self.json else { return Ok(()) };
        let all: Vec<_> = kills.values().collect();
        let text = serde_json::to_vec_pretty(&all)
            .map_err(|error| CliError::Ours(format!("the matrix has no JSON: {error}")))?;
        fs::write(path, text)
            .map_err(|source| RunStoreError::Unwritable { path: path.clone(), source }.into())
    }
}

/// The planted defects, which the reference gateway beside this program is asked for.
pub(super) async fn planted(around: &Surroundings<'_>) -> Result<Vec<Planted>, CliError> {
    let gateway = Binary::ReferenceGateway.beside(&around.program).map_err(|missing| {
        without_defects(&format!("there is no reference gateway in {}", missing.folder.display()))
    })?;
    let (mark, value) = supervisor::mark();
    let listed = tokio::process::Command::new(&gateway)
        .args(["defects", "--json"])
        .env(mark, value)
        .stdin(Stdio::null())
        .output()
        .await?;
    // One that has none does not know the word, and says so on its standard error.
    serde_json::from_slice(&listed.stdout).map_err(|_| {
        without_defects(
            "the reference gateway beside this program was built without planted defects",
        )
    })
}

fn without_defects(why: &str) -> CliError {
    CliError::Usage(format!(
        "{why}; build one that has them with `cargo build -p reference-gateway --features defects`, \
         with `--release` if this program is a release build"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        defects: DefectsArgs,
    }

    fn kill(caught_seeds: u32, seeds: u32) -> Kill {
        Kill {
            defect: "cache-bypass-team".to_owned(),
            check: "cache.warm-hits".to_owned(),
            caught_seeds,
            seeds,
            shrunk: None,
            duration_ms: 1,
        }
    }

    #[test]
    fn a_seed_that_came_to_nothing_is_neither_caught_nor_missed() {
        let defects = Line::parse_from(["defects", "--seeds", "3"]).defects;
        for (kills, status) in [
            ([kill(3, 3), kill(3, 3)], ExitStatus::Pass),
            ([kill(3, 3), kill(2, 2)], ExitStatus::Inconclusive),
            ([kill(3, 3), kill(0, 0)], ExitStatus::Inconclusive),
            ([kill(2, 3), kill(2, 2)], ExitStatus::Fail),
        ] {
            assert_eq!(defects.status(&kills, 2), status, "{kills:?}");
        }
        assert_eq!(defects.status(&[kill(3, 3)], 2), ExitStatus::Inconclusive);
        assert!(!defects.is_done(&kill(2, 2)), "it is driven again");
    }
}
