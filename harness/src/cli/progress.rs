//! Tells how far a run is: one line that is written over on a terminal, a line per step elsewhere.

use std::{io::Write, ops::ControlFlow};

use crate::{
    check::{Check, Stack},
    checks,
    clock::Micros,
    runner::run::{CaseResult, CheckResult, Watcher},
    store::{RunFolder, RunStoreError, StoredCase},
    tally::warm::Warm,
};

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
}

impl Watcher for Progress<'_> {
    fn case(&mut self, check: &Check, result: &CaseResult) -> ControlFlow<()> {
        self.judged += 1;
        // A stack of a check's own may be broken on purpose: what it costs is for the check to judge.
        let plan = result.histories.first().map(|history| &history.plan);
        let arms = plan.map(|plan| (check.arms)(plan)).unwrap_or_default();
        for (arm, history) in arms.iter().zip(&result.histories) {
            if arm.stack == Stack::Shared {
                self.warm.add(history);
            }
        }
        if self.over_write {
            self.say(&format!("{}: {} of {} cases", check.id, self.judged, self.cases));
        }
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

/// A case, as it is kept.
pub fn stored(check: &Check, result: &CaseResult) -> StoredCase {
    StoredCase {
        check: check.id.to_owned(),
        case: result.case,
        verdict: result.verdict.clone(),
        histories: result.histories.clone(),
    }
}
