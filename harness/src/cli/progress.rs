//! Tells how far a run is: one line that is written over on a terminal, a line per step elsewhere.

use std::{io::Write, ops::ControlFlow, pin::pin, time::Duration};

use crate::{
    check::{Builds, Check, Shape, Stack},
    checks,
    clock::Micros,
    history::History,
    load,
    runner::{
        run::{CaseResult, CheckResult, Watcher},
        steps::Steps,
    },
    store::{RunFolder, RunStoreError, StoredCase},
    tally::warm::Warm,
};

/// How often something long is looked at. What is over before the first look is not told.
const BEAT: Duration = Duration::from_secs(1);

/// After how many looks a step that goes on is told once more, where no line can be written over.
const STILL: u32 = 30;

/// Tells progress, and keeps each case as it is judged.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    over_write: bool,
    quiet: bool,
    folder: Option<&'a RunFolder>,
    cases: u32,
    judged: u32,
    /// The first case of the check under way that failed.
    telling: Option<(&'static Check, CaseResult)>,
    began: Micros,
    /// What warm requests cost in all cases so far.
    pub warm: Warm,
    /// Why a case could not be kept.
    pub failed: Option<RunStoreError>,
}

impl<'a> Progress<'a> {
    /// Progress that goes to `out`; `over_write` where that is a terminal.
    pub fn new(
        out: &'a mut dyn Write,
        over_write: bool,
        quiet: bool,
        folder: Option<&'a RunFolder>,
    ) -> Progress<'a> {
        Progress {
            out,
            over_write,
            quiet,
            folder,
            cases: 0,
            judged: 0,
            telling: None,
            began: Micros(0),
            warm: Warm::default(),
            failed: None,
        }
    }

    /// A check begins.
    pub fn begin(&mut self, check: &Check, cases: u32, now: Micros) {
        self.began = now;
        self.telling = None;
        self.cases = cases;
        self.judged = 0;
        self.say(&format!("{}: {cases} cases", check.id));
    }

    /// The check under way is done, and its result is in other hands.
    pub fn done(&mut self) {
        self.telling = None;
    }

    /// The check under way, if one of its cases has failed: a failure that was being shrunk when the
    /// run was stopped is a failure all the same.
    pub fn failing(&mut self, now: Micros) -> Option<CheckResult> {
        let (check, telling) = self.telling.take()?;
        Some(CheckResult {
            check,
            verdict: telling.verdict.clone(),
            cases: self.judged,
            telling: Some(telling),
            shrunk: None,
            began: self.began,
            took: now.since(self.began),
        })
    }

    /// Clears the line that is written over.
    pub fn end(&mut self) {
        if self.over_write && !self.quiet {
            // Progress that cannot be shown is no reason to stop.
            drop(write!(self.out, "\r\x1b[K").and_then(|()| self.out.flush()));
        }
    }

    /// Says one thing.
    pub fn say(&mut self, what: &str) {
        if self.quiet {
            return;
        }
        let said = if self.over_write {
            write!(self.out, "\r\x1b[K{what}")
        } else {
            writeln!(self.out, "{what}")
        };
        drop(said.and_then(|()| self.out.flush()));
    }

    /// Says how far something is, where the next word on it can be written over this one.
    pub fn goes_on(&mut self, what: &str) {
        if self.over_write {
            self.say(what);
        }
    }

    /// Waits for `work`, and tells which step it is at and for how long, as `about: step (7 s)`.
    pub async fn while_at<T>(
        &mut self,
        about: &str,
        steps: &Steps,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        let mut beat = tokio::time::interval(BEAT);
        // The first comes at once.
        beat.tick().await;
        let mut heard = Heard::default();
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = beat.tick() => if let Some(word) = heard.word(steps.latest(), self.over_write) {
                    self.say(&format!("{about}: {word}"));
                },
            }
        }
    }
}

/// What was heard of something long at the last beat.
#[derive(Default)]
struct Heard {
    step: String,
    /// For how many beats it is at that step.
    beats: u32,
}

impl Heard {
    /// What is to be said at a beat, if anything: a new step at once; one that goes on each time where
    /// a line is written over, and now and then elsewhere.
    fn word(&mut self, step: String, over_write: bool) -> Option<String> {
        if step != self.step {
            *self = Heard { step, beats: 0 };
            return Some(self.step.clone());
        }
        self.beats += 1;
        let said = over_write || self.beats.is_multiple_of(STILL);
        (said && !self.step.is_empty())
            .then(|| format!("{} ({} s)", self.step, u64::from(self.beats) * BEAT.as_secs()))
    }
}

impl load::Watcher for Progress<'_> {
    fn step(&mut self, what: &str) {
        self.say(what);
    }

    fn goes_on(&mut self, what: &str) {
        Progress::goes_on(self, what);
    }
}

impl Watcher for Progress<'_> {
    fn own_stacks(&mut self, check: &Check, shapes: &[Shape]) {
        let told: Vec<_> = shapes
            .iter()
            .map(|shape| match shape.builds {
                Builds::Current => shape.topology.to_string(),
                Builds::Mixed => format!("{}, two releases", shape.topology),
            })
            .collect();
        self.say(&format!("{}: starting stacks of its own: {}", check.id, told.join("; ")));
    }

    fn case(&mut self, check: &Check, result: &CaseResult) -> ControlFlow<()> {
        self.judged += 1;
        add_shared(&mut self.warm, check, &result.histories);
        self.goes_on(&format!("{}: {} of {} cases", check.id, self.judged, self.cases));
        if self.telling.is_none() && result.verdict.is_fail() {
            let known = checks::ALL.iter().copied().find(|known| known.id == check.id);
            self.telling = known.map(|check| (check, result.clone()));
        }
        let Some(folder) = self.folder else { return ControlFlow::Continue(()) };
        if self.failed.is_none() {
            self.failed = folder.keep_case(&stored(check, result)).err();
        }
        // A case that cannot be kept is driven for nothing.
        if self.failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn shrinking(&mut self, check: &Check, case: u32) {
        self.say(&format!(
            "{}: case {case} fails; looking for the smallest plan that does",
            check.id
        ));
    }
}

/// Adds what a case cost that was driven on the shared stack. A stack of a check's own may be broken on
/// purpose: what it costs is for the check to judge.
pub(super) fn add_shared(warm: &mut Warm, check: &Check, histories: &[History]) {
    let plan = histories.first().map(|history| &history.plan);
    let arms = plan.map(|plan| (check.arms)(plan)).unwrap_or_default();
    for (arm, history) in arms.iter().zip(histories) {
        if arm.stack == Stack::Shared {
            warm.add(history);
        }
    }
}

/// A case, as it is kept.
pub fn stored(check: &Check, result: &CaseResult) -> StoredCase {
    StoredCase {
        check: check.id.to_owned(),
        case: result.case,
        verdict: result.verdict.clone(),
        histories: result.histories.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::*;

    /// What is said of a step for two beats and another for 31.
    fn said(over_write: bool) -> Vec<String> {
        let mut heard = Heard::default();
        let steps = [["starting stores"].repeat(2), ["starting replicas"].repeat(31)].concat();
        steps.iter().filter_map(|step| heard.word((*step).to_owned(), over_write)).collect()
    }

    #[test]
    fn each_step_is_told_once_and_a_long_one_again_each_half_minute() {
        assert_eq!(
            said(false),
            ["starting stores", "starting replicas", "starting replicas (30 s)"]
        );
    }

    #[test]
    fn a_line_that_is_written_over_counts_the_seconds() {
        let said = said(true);
        assert_eq!(said.len(), 33);
        assert_eq!(said[1], "starting stores (1 s)");
        assert_eq!(said[32], "starting replicas (30 s)");
    }

    #[tokio::test]
    async fn what_is_over_at_once_is_not_told() {
        let mut out = Vec::new();
        let steps = Steps::default();
        steps.begin("starting stores");
        let mut progress = Progress::new(&mut out, false, false, None);
        assert_eq!(progress.while_at("ours", &steps, async { 7 }).await, 7);
        assert!(out.is_empty());
    }

    #[test]
    fn quiet_says_nothing() {
        let mut out = Vec::new();
        Progress::new(&mut out, true, true, None).say("starting stores");
        assert!(out.is_empty());
    }

    #[test]
    fn stacks_of_a_checks_own_are_told_by_their_shape() {
        let mut out = Vec::new();
        let shape = |builds| Shape::of(NonZeroU8::MIN, NonZeroU8::MIN, builds);
        let mut progress = Progress::new(&mut out, false, false, None);
        progress.own_stacks(checks::ALL[0], &[shape(Builds::Current), shape(Builds::Mixed)]);
        insta::assert_snapshot!(
            String::from_utf8(out).unwrap(),
            @"auth-cache.accepted-state-usable: starting stacks of its own: 1 replica × 1 worker, one Redis; 1 replica × 1 worker, one Redis, two releases"
        );
    }
}
