//! Every failure as a story: the property, the smallest plan, what proves it, how to see it again.

use crate::{
    layout::{counted, cut},
    schema::{CheckReport, Exchange, Script, Story, Verdict, Violation},
    words::origin,
};

use super::{lanes, markup::Markup};

/// Violations that stand open. Further ones are folded.
const MOST_VIOLATIONS: usize = 3;

/// The longest heading above what proves a violation, in characters. The whole stands further up.
const LONGEST_HEADING: usize = 160;

/// Those of `checks` that failed.
pub(super) fn failed(checks: &[CheckReport]) -> impl Iterator<Item = &CheckReport> {
    checks.iter().filter(|check| check.verdict == Verdict::Fail)
}

/// Where the failure with this number stands, counted from 1.
pub(super) fn anchor(number: usize) -> String {
    format!("failure-{number}")
}

/// Words of ours that a failure is told in, and what they mean.
const WORDS: &[(&str, &str)] = &[
    ("gateway", "what was tested: one API in front of many providers of language models"),
    ("replica", "one address of the gateway; several share a cache and a database"),
    ("Redis, Postgres", "the shared cache, and the database of record"),
    ("provider", "what answers prompts; here a mock that remembers whatever reaches it"),
    ("virtual key", "what a caller of the gateway holds; a team, a user or both may own it"),
    (
        "key 0, model 0, user \"i2\"",
        "the first key and model of a plan, and an id made up for it; each drive has ids of its own",
    ),
    (
        "identity",
        "who a key is: its own row and those of its owners, cached or read from the database",
    ),
    ("hit, miss", "a cache entry that was there when it was looked up, and one that was not"),
    ("plan", "the steps that were driven, drawn at random from the seed of the run"),
    ("case", "one plan, driven once; a check has many"),
    ("shrunk", "made smaller, step by step, as long as it still fails"),
    ("evidence", "what was recorded on the wire, in logs and at the provider, by number (#)"),
];

/// Writes one article per failure.
pub(super) fn write(checks: &[CheckReport], page: &mut Markup) {
    page.element("details", &[("class", "glossary")], |details| {
        details.words("summary", &[], "What the words below mean");
        details.element("dl", &[], |list| {
            for (word, meaning) in WORDS {
                list.element("div", &[], |pair| {
                    pair.words("dt", &[], word);
                    pair.words("dd", &[], meaning);
                });
            }
        });
    });
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
    if let Some(why) = &check.why {
        let why = why.trim_end_matches('.');
        article.words("p", &[], &format!("Why it matters: {why}."));
    }
    article.words("h4", &[], "What was found");
    article.element("ul", &[("class", "found")], |list| {
        for violation in &check.violations {
            list.element("li", &[("class", "violation")], |item| {
                item.words("span", &[("class", "sign"), ("aria-hidden", "true")], "✗ ");
                item.text(&violation.summary);
            });
        }
    });
    if let Some(story) = &check.shrunk {
        told(story, article);
    }
    happened(&check.exchanges, article);
    evidence(&check.violations, article);
    next(number, check, article);
}

/// What the replicas, the stores and the provider did, drawn.
fn happened(exchanges: &[Exchange], article: &mut Markup) {
    if exchanges.iter().all(|exchange| exchange.entries.is_empty()) {
        return;
    }
    article.words("h4", &[], "What happened, around the evidence");
    lanes::legend(exchanges, article);
    if exchanges.len() > 1 {
        let times = counted(exchanges.len() as u64, "way", "ways");
        let why =
            format!("The plan was driven in {times}; what differs between them is the finding.");
        article.words("p", &[], &why);
    }
    for exchange in exchanges {
        let name = sentence(&exchange.arm);
        // What a way proves nothing by is there to be compared.
        if exchange.proofs.is_empty() && exchanges.len() > 1 {
            article.element("details", &[], |details| {
                details.words("summary", &[], &format!("{name}, for comparison"));
                lanes::exchange(exchange, details);
            });
            continue;
        }
        if !name.is_empty() {
            article.words("h5", &[], &name);
        }
        lanes::exchange(exchange, article);
    }
}

/// A name as a heading.
fn sentence(name: &str) -> String {
    let mut characters = name.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The entries that prove each violation.
fn evidence(violations: &[Violation], article: &mut Markup) {
    article.words("h4", &[], "What proves it");
    let (open, folded) = violations.split_at(violations.len().min(MOST_VIOLATIONS));
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
}

/// What a reader can do with a failure.
fn next(number: usize, check: &CheckReport, article: &mut Markup) {
    if let Some(command) = &check.replay {
        let case = check.failing_case.map_or_else(String::new, |case| format!(" (case {case})"));
        article.words("h4", &[], &format!("See it again{case}"));
        let replay = "This judges what was recorded once more, without the gateway. With --live it \
                      drives the plan against a target again.";
        article.words("p", &[], replay);
        let id = format!("replay-{number}");
        article.element("div", &[("class", "replay")], |line| {
            line.words("code", &[("id", &id)], command);
            copy(&id, line);
        });
    }
    if let Some(script) = &check.script {
        send(number, script, article);
    }
    if !check.incidents.is_empty() {
        article.words("h4", &[], "Seen before");
        article.element("ul", &[("class", "incidents")], |list| {
            for incident in &check.incidents {
                list.element("li", &[], |item| incident_told(incident, item));
            }
        });
    }
}

/// The script that sends the plan without us.
fn send(number: usize, script: &Script, article: &mut Markup) {
    article.words("h4", &[], "Send the same requests yourself");
    article.element("p", &[], |line| {
        line.text(
            "Needs bash and curl, and nothing of ours. It stands in the folder of the run as ",
        );
        line.words("code", &[], &script.file);
        line.text("; what it needs to be told is ");
        line.words("code", &[], "GATEWAY");
        line.text(" and ");
        line.words("code", &[], "ADMIN_KEY");
        line.text(".");
    });
    let id = format!("script-{number}");
    article.element("details", &[("class", "script")], |details| {
        details.words("summary", &[], "Show the script");
        details.element("pre", &[("id", &id)], |text| {
            for line in script.text.lines() {
                text.text(line);
                text.verbatim("\n");
            }
        });
        copy(&id, details);
    });
}

fn copy(id: &str, place: &mut Markup) {
    let button = [("type", "button"), ("hidden", ""), ("data-copies", id)];
    place.words("button", &button, "Copy");
}

/// A public report: a link where it is an address.
fn incident_told(incident: &str, item: &mut Markup) {
    if incident.starts_with("https://") {
        item.words("a", &[("href", incident), ("rel", "noreferrer")], incident);
    } else {
        item.text(incident);
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
    article.element("h5", &[("class", "violation")], |heading| {
        heading.words("span", &[("class", "sign"), ("aria-hidden", "true")], "✗ ");
        heading.text(&cut(&violation.summary, LONGEST_HEADING));
    });
    lanes::write(&violation.evidence, article);
}
