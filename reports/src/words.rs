//! What pages for people say in the same words, whatever they are written in.

use crate::{
    layout::{counted, span},
    schema::{EvidenceLine, Kill, RunReport, Story, Totals, Verdict},
};

/// How many checks, shapes and thresholds came to which verdict: `1 passed, 2 failed`.
pub(crate) fn counts(report: &RunReport) -> String {
    let loads = [
        report.load.as_ref().map(|load| load.totals()),
        report.gateway_load.as_ref().map(|load| load.totals()),
    ];
    let totals = loads.into_iter().flatten().fold(report.totals, Totals::and);
    let mut counts: Vec<_> = [
        (totals.pass, "passed"),
        (totals.fail, "failed"),
        (totals.inconclusive, "inconclusive"),
        (totals.not_applicable, "not applicable"),
        (totals.skipped, "skipped"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    for (verdict, word) in [(Verdict::Fail, "broken"), (Verdict::Inconclusive, "undecided")] {
        let those = report.thresholds.iter().filter(|threshold| threshold.verdict == verdict);
        let Some(count @ 1..) = u64::try_from(those.count()).ok() else { continue };
        counts.push(format!("{} {word}", counted(count, "threshold", "thresholds")));
    }
    if counts.is_empty() && !report.kill_matrix.is_empty() {
        counts.push(caught(&report.kill_matrix));
    }
    if counts.is_empty() { "no checks".to_owned() } else { counts.join(", ") }
}

/// How much was driven: `92 cases`, `8 shapes` of a load, or several of these.
pub(crate) fn driven(report: &RunReport) -> String {
    let seeds = report.kill_matrix.iter().map(|kill| u64::from(kill.seeds)).sum();
    let shapes = report.load.as_ref().map(|load| load.shapes.len() as u64);
    let requests = report.gateway_load.as_ref().map(|load| load.requests());
    let driven: Vec<_> = [
        (!report.checks.is_empty(), u64::from(report.totals.cases), "case", "cases"),
        (!report.kill_matrix.is_empty(), seeds, "seed", "seeds"),
        (shapes.is_some(), shapes.unwrap_or_default(), "shape", "shapes"),
        (requests.is_some(), requests.unwrap_or_default(), "request", "requests"),
    ]
    .into_iter()
    .filter(|(was_driven, ..)| *was_driven)
    .map(|(_, count, one, many)| counted(count, one, many))
    .collect();
    if driven.is_empty() { counted(0, "case", "cases") } else { driven.join(", ") }
}

/// The verdict whose colour the exit status has.
pub(crate) fn exit_verdict(report: &RunReport) -> Verdict {
    match report.exit.status {
        0 => Verdict::Pass,
        3 | 4 => Verdict::Inconclusive,
        _ => Verdict::Fail,
    }
}

/// What the smallest plan was shrunk from, and how surely it fails.
pub(crate) fn origin(story: &Story) -> String {
    let again = match story.flaky_rate {
        rate if rate <= 0.0 => "it failed on every re-run".to_owned(),
        rate => format!("it failed on {:.0} % of re-runs", (1.0 - rate) * 100.0),
    };
    match story.shrink_steps {
        0 => format!("Not shrunk; {again}."),
        tries => format!(
            "Shrunk from {} in {} ({}); {again}.",
            counted(u64::from(story.plan_len), "step", "steps"),
            counted(u64::from(tries), "try", "tries"),
            span(story.shrink_ms)
        ),
    }
}

/// When an entry of the history happened, in seconds since the run began.
pub(crate) fn seconds(line: &EvidenceLine) -> String {
    format!("{}.{:06} s", line.at_us / 1_000_000, line.at_us % 1_000_000)
}

/// How a planted defect fared: caught with every seed, with some, or with none; or no seed came to
/// anything.
pub(crate) fn fate(kill: &Kill) -> (Verdict, &'static str) {
    match kill.caught_seeds {
        _ if kill.seeds == 0 => (Verdict::Inconclusive, "?"),
        0 => (Verdict::Fail, "NO"),
        caught if caught < kill.seeds => (Verdict::Inconclusive, "some"),
        _ => (Verdict::Pass, "yes"),
    }
}

/// How many of `kills` were caught with every seed.
pub(crate) fn caught(kills: &[Kill]) -> String {
    let always = kills.iter().filter(|kill| fate(kill).0 == Verdict::Pass).count();
    format!(
        "{always} of {} caught with every seed",
        counted(kills.len() as u64, "planted defect", "planted defects")
    )
}
