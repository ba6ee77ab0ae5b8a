//! Every failure as a story: the property, the smallest plan, what proves it, how to see it again.

use crate::{
    layout::counted,
    schema::{CheckReport, Story, Verdict, Violation},
    words::origin,
};

use super::{lanes, markup::Markup};

/// Violations that stand open. Further ones are folded.
const MOST_VIOLATIONS: usize = 3;

/// Those of `checks` that failed.
pub(super) fn failed(checks: &[CheckReport]) -> impl Iterator<Item = &CheckReport> {
    checks.iter().filter(|check| check.verdict == Verdict::Fail)
}

/// Where the failure with this number stands, counted from 1.
pub(super) fn anchor(number: usize) -> String {
    format!("failure-{number}")
}

/// Writes one article per failure.
pub(super) fn write(checks: &[CheckReport], page: &mut Markup) {
    for (number, check) in (1..).zip(failed(checks)) {
        let (anchor, heading) = (anchor(number), format!("failure-{number}-heading"));
        page.element(
            "article",
            &[("class", "failure"), ("id", &anchor), ("aria-labelledby", &heading)],
            |article| {
                article.words(
                    "h3",
                    &[("id", &heading)],
                    &format!("Failure {number}: {}", check.id),
                );
                failure(number, check, article);
            },
        );
    }
}

fn failure(number: usize, check: &CheckReport, article: &mut Markup) {
    article.words("p", &[("class", "property")], &format!("Expected: {}.", check.title));
    if let Some(story) = &check.shrunk {
        told(story, article);
    }
    let open = check.violations.len().min(MOST_VIOLATIONS);
    let (open, folded) = check.violations.split_at(open);
    for violation in open {
        breach(violation, article);
    }
    if !folded.is_empty() {
        article.element("details", &[], |details| {
            let more = counted(folded.len() as u64, "more violation", "more violations");
            details.words("summary", &[], &more);
            for violation in folded {
                breach(violation, details);
            }
        });
    }
    if let Some(command) = &check.replay {
        let case = check.failing_case.map_or_else(String::new, |case| format!(" (case {case})"));
        article.words("h4", &[], &format!("See it again{case}"));
        let id = format!("replay-{number}");
        article.element("div", &[("class", "replay")], |line| {
            line.words("code", &[("id", &id)], command);
            let button = [("type", "button"), ("hidden", ""), ("data-copies", id.as_str())];
            line.words("button", &button, "Copy");
        });
    }
}

/// The smallest failing plan, step by step.
fn told(story: &Story, article: &mut Markup) {
    let steps = counted(story.steps.len() as u64, "step", "steps");
    article.words("h4", &[], &format!("The smallest plan that fails has {steps}"));
    article.element("ol", &[("class", "steps")], |list| {
        for step in &story.steps {
            list.words("li", &[], step);
        }
    });
    article.words("p", &[("class", "faint")], &origin(story));
}

/// One violation, with what proves it.
fn breach(violation: &Violation, article: &mut Markup) {
    article.element("h4", &[("class", "violation")], |heading| {
        heading.words("span", &[("class", "sign"), ("aria-hidden", "true")], "✗ ");
        heading.text(&violation.summary);
    });
    lanes::write(&violation.evidence, article);
}
