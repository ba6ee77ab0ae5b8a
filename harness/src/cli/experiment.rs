//! Drives an experiment of load to its end, or until somebody wants one, and says what it came to.
//!
//! `gauntlet load` and `gauntlet demo` drive the same experiments. What was measured is told however
//! an experiment ended.

use reports::{load::Load, schema::Verdict};

use super::{ExitStatus, interrupt::stopping_in_good_order, progress::Progress};
use crate::{
    load::{
        Experiment, Fate, Measured,
        experiment::{ExperimentError, Numbers},
        told,
    },
    target::Topology,
};

/// An experiment that was driven.
pub(super) struct Driven {
    /// What was seen of each shape, in order.
    pub(super) measured: Vec<Measured>,
    /// Why it could not go on, if it could not.
    pub(super) ended: Result<(), ExperimentError>,
    /// Whether somebody wanted an end.
    pub(super) stopped: bool,
}

/// Drives an experiment.
pub(super) async fn drive(experiment: &Experiment, progress: &mut Progress<'_>) -> Driven {
    let mut measured = Vec::new();
    let run = async |stop| experiment.run(stop, progress, &mut measured).await;
    let (ended, stopped) = stopping_in_good_order(run).await;
    progress.end();
    Driven { measured, ended, stopped }
}

impl Driven {
    /// What is told of it: that part of the report, and what it comes to, thresholds aside.
    pub(super) fn told(&self, experiment: &Experiment) -> (Load, ExitStatus) {
        let load = told::told(&experiment.profile, experiment.lifetime, &self.measured);
        let status = status(&load).graver(self.at_best());
        (load, status)
    }

    /// The best that it can come to.
    fn at_best(&self) -> ExitStatus {
        match &self.ended {
            Err(_) => ExitStatus::Setup,
            // What was not driven is missing evidence, and that is never a pass.
            Ok(()) if self.stopped => ExitStatus::Inconclusive,
            Ok(()) => ExitStatus::Pass,
        }
    }

    /// The largest shape that was measured. What a target is made of is the same in every shape; this
    /// one tells most.
    pub(super) fn largest(&self) -> Option<&Numbers> {
        let largest = self.numbers().max_by_key(|(shape, _)| (shape.redis, shape.processes()));
        largest.map(|(_, numbers)| numbers)
    }

    /// The sum of a number over all shapes.
    pub(super) fn sum(&self, of: impl Fn(&Numbers) -> u64) -> u64 {
        self.numbers().map(|(_, numbers)| of(numbers)).sum()
    }

    fn numbers(&self) -> impl Iterator<Item = (Topology, &Numbers)> {
        self.measured.iter().filter_map(|measured| match &measured.fate {
            Fate::Measured(numbers) => Some((measured.shape, numbers.as_ref())),
            Fate::NotAvailable(_) | Fate::Stopped => None,
        })
    }
}

/// What an experiment comes to.
fn status(load: &Load) -> ExitStatus {
    match told::verdict(load) {
        Some(Verdict::Fail) => ExitStatus::Fail,
        Some(Verdict::Inconclusive | Verdict::Skipped) => ExitStatus::Inconclusive,
        Some(Verdict::Pass) => ExitStatus::Pass,
        Some(Verdict::NotApplicable) | None => ExitStatus::NothingRan,
    }
}
