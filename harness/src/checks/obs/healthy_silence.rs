//! Correct traffic produces no line at WARN or above, and few bytes of log per request.
//!
//! Every request of the plan is one that a correct gateway serves: legal identities of every shape,
//! allowed models, whole and streamed answers, cold and warm. So there is nothing to warn of, and a
//! line at WARN or above is noise that will bury the line that matters. The bytes of all lines that
//! belong to the case are divided by its requests; a template that comes more than once per request
//! is a loop, or a line that should be a metric.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    clock::Micros,
    generators::{fewer::at_most, identities::identities, requests},
    history::{Event, History, Level as LogLevel, Manifest, Seen},
    op::Alias,
    plan::{Plan, Step},
    verdict::{Verdict, Violation, proof},
};

/// Bytes of log that a request may cost at the default level.
const MOST_BYTES_PER_REQUEST: u64 = 1_024;

/// The check.
pub static CHECK: Check = Check {
    id: "obs.healthy-silence",
    title: "Correct traffic produces no line at WARN or above",
    why: "A WARNING and an ERROR for every request that succeeds bury the line that matters, page \
          people for nothing, and cost more to keep than the answers they are about.",
    incidents: &[
        "https://github.com/BerriAI/litellm/issues/27874",
        "https://github.com/BerriAI/litellm/issues/8472",
        "https://github.com/BerriAI/litellm/issues/4177",
    ],
    level: Level::Core,
    needs: &[Capability::VirtualKeys, Capability::Logs],
    plan,
    arms: one_arm,
    judge,
};

/// Keys of every shape, each used cold and warm on every replica, whole and streamed.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    (at_most(3), identities(4))
        .prop_map(move |(rounds, drawn)| {
            let mut steps = drawn.creation();
            steps.extend(requests::rounds(drawn.key_places(), replicas, rounds));
            for key in drawn.key_places() {
                let streamed = (0..replicas).map(|at| requests::chat_of(key, Alias(0), at, true));
                steps.push(Step::Together(streamed.collect()));
            }
            Plan::new(drawn.ids, steps)
        })
        .boxed()
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let calls = history.calls();
    let prompts: Vec<_> = calls.iter().filter(|seen| seen.chat().is_some()).collect();
    let Some(first) = prompts.iter().find(|seen| seen.answered()) else {
        return Verdict::Inconclusive("no request was served".to_owned());
    };
    if history.lines_at_least(LogLevel::Debug).next().is_none() {
        return Verdict::Inconclusive(
            "not one line was seen, not even at a lower level".to_owned(),
        );
    }
    // A refusal may be logged. What the gateway declined to create explains lines of its own, so only
    // what comes after it is judged.
    if let Some(refused) = prompts.iter().find(|seen| !seen.answered()) {
        let outcome = refused.outcome.map_or_else(String::new, ToString::to_string);
        return Verdict::Inconclusive(format!(
            "a request that should be served was not: {outcome}"
        ));
    }
    let from = match calls.iter().all(Seen::answered) {
        true => Micros(0),
        false => first.invoked,
    };
    let mut violations = loud_lines(history, calls.len(), from);
    violations.extend(too_many_bytes(history, calls.len(), from));
    violations.extend(repeated_templates(history, calls.len(), from));
    Verdict::of(violations)
}

/// Whether an entry is no older than `from`.
fn since(history: &History, index: usize, from: Micros) -> bool {
    history.entries.get(index).is_some_and(|entry| entry.at >= from)
}

fn loud_lines(history: &History, calls: usize, from: Micros) -> Vec<Violation> {
    let mut loud: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, _, template, _) in history.lines_at_least(LogLevel::Warn) {
        if since(history, index, from) {
            loud.entry(template).or_default().push(index);
        }
    }
    loud.into_iter()
        .map(|(template, lines)| Violation {
            summary: format!(
                "{} × in {calls} calls that should be silent: {template}",
                lines.len()
            ),
            evidence: proof(0, lines),
        })
        .collect()
}

fn too_many_bytes(history: &History, calls: usize, from: Micros) -> Option<Violation> {
    let mut longest: Vec<(u64, usize)> = Vec::new();
    let mut total = 0;
    for (index, entry) in history.entries.iter().enumerate() {
        if let Event::Log { bytes, .. } = &entry.event
            && entry.at >= from
        {
            total += bytes;
            longest.push((*bytes, index));
        }
    }
    let per_call = total / u64::try_from(calls).unwrap_or(u64::MAX).max(1);
    longest.sort_unstable_by(|a, b| b.cmp(a));
    (per_call > MOST_BYTES_PER_REQUEST).then(|| Violation {
        summary: format!("{per_call} bytes of log per call; {MOST_BYTES_PER_REQUEST} are enough"),
        evidence: proof(0, longest.into_iter().map(|(_, index)| index).take(3)),
    })
}

fn repeated_templates(history: &History, calls: usize, from: Micros) -> Vec<Violation> {
    let mut quiet: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, level, template, _) in history.lines_at_least(LogLevel::Debug) {
        if level < LogLevel::Warn && since(history, index, from) {
            quiet.entry(template).or_default().push(index);
        }
    }
    quiet
        .into_iter()
        .filter(|(_, lines)| lines.len() > calls)
        .map(|(template, lines)| Violation {
            summary: format!("{} × in {calls} calls, more than one each: {template}", lines.len()),
            evidence: proof(0, lines),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::history::hand::Hand;

    #[test]
    fn each_loud_template_is_named_with_its_count() {
        let history = Hand::new()
            .answered(1, 0)
            .line(1, LogLevel::Warn, "validation failed")
            .line(1, LogLevel::Error, "failed to deserialize")
            .answered(2, 0)
            .line(2, LogLevel::Warn, "validation failed");
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          1 × in 2 calls that should be silent: failed to deserialize
          2 × in 2 calls that should be silent: validation failed
        ");
    }

    #[test]
    fn long_lines_are_noise_too() {
        let history = Hand::new().answered(1, 0).line(1, LogLevel::Info, &"x".repeat(1_025));
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          1025 bytes of log per call; 1024 are enough
        ");
    }

    #[test]
    fn a_line_that_comes_twice_per_call_is_noise() {
        let history = Hand::new().answered(1, 0).line(1, LogLevel::Info, "miss");
        let history = history.line(1, LogLevel::Info, "miss");
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          2 × in 1 calls, more than one each: miss
        ");
    }

    #[test]
    fn one_access_line_per_request_is_fine() {
        let history = Hand::new().answered(1, 0).line(1, LogLevel::Info, "200 in 3 ms");
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn silence_without_service_proves_nothing() {
        assert_snapshot!(judge(&[Hand::new().done()]), @"inconclusive: no request was served");
    }
}
