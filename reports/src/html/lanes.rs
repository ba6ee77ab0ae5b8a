//! The evidence of a violation as a picture: a lane for each place, time downwards.
//!
//! Every entry of the history is one line, marked in the lane where it was seen and told beside it;
//! where much time passes between two of them, the picture says how much. Where the page is too
//! narrow for lanes they are left out, and each line names its lane: so does what a reader hears.

use std::collections::BTreeSet;

use crate::{
    layout::{counted, span},
    schema::{EvidenceLine, Lane},
    words::seconds,
};

use super::markup::Markup;

/// Entries that stand open. Further ones are folded.
const MOST_EVIDENCE: usize = 24;

/// The longest text that stands open, in characters.
const LONGEST_TEXT: usize = 280;

/// As much of a longer text, in characters.
const TEXT_BEGINNING: usize = 160;

/// Lanes that find room at their full width.
const MOST_WIDE_LANES: usize = 6;

/// A pause that is worth a line of its own, in milliseconds.
const LONG_PAUSE_MS: u64 = 100;

/// Writes the picture of `evidence`.
pub(super) fn write(evidence: &[EvidenceLine], page: &mut Markup) {
    let Some(first) = evidence.first() else {
        page.words("p", &[("class", "faint")], "No entry of the history was kept for this.");
        return;
    };
    let lanes = in_order(evidence);
    let (open, folded) = evidence.split_at(evidence.len().min(MOST_EVIDENCE));
    let class = if lanes.len() > MOST_WIDE_LANES { "lanes many" } else { "lanes" };
    page.element("div", &[("class", class)], |picture| {
        heads(&lanes, picture);
        lines(open, first, &lanes, picture);
        if !folded.is_empty() {
            picture.element("details", &[], |details| {
                let more = counted(folded.len() as u64, "more entry", "more entries");
                let last = open.last().unwrap_or(first);
                let summary = format!("{more}; their times count from #{}", last.index);
                details.words("summary", &[], &summary);
                lines(folded, last, &lanes, details);
            });
        }
        let began = format!("Times count from #{}, {} into the run.", first.index, seconds(first));
        picture.words("p", &[("class", "faint")], &began);
    });
}

/// The lanes of `evidence`, from who asks to what is asked.
fn in_order(evidence: &[EvidenceLine]) -> Vec<Lane> {
    let found: BTreeSet<_> = evidence.iter().map(|line| (place(line.lane), line.lane)).collect();
    found.into_iter().map(|(_, lane)| lane).collect()
}

fn place(lane: Lane) -> u8 {
    match lane {
        Lane::Nemesis => 0,
        Lane::Caller => 1,
        Lane::Replica(_) => 2,
        Lane::Redis => 3,
        Lane::Postgres => 4,
        Lane::Upstream => 5,
        Lane::Log => 6,
    }
}

/// The colour of a lane.
fn class(lane: Lane) -> &'static str {
    match lane {
        Lane::Nemesis => "nemesis",
        Lane::Caller => "caller",
        Lane::Replica(_) => "replica",
        Lane::Redis => "redis",
        Lane::Postgres => "postgres",
        Lane::Upstream => "upstream",
        Lane::Log => "log",
    }
}

/// The names of the lanes, above them. Each line has its own for who cannot see them.
fn heads(lanes: &[Lane], picture: &mut Markup) {
    picture.element("div", &[("class", "line heads"), ("aria-hidden", "true")], |line| {
        line.words("span", &[("class", "when")], "");
        line.element("span", &[("class", "rail")], |rail| {
            for lane in lanes {
                rail.words("span", &[("class", class(*lane))], &lane.to_string());
            }
        });
        line.words("span", &[("class", "what")], "");
    });
}

fn lines(evidence: &[EvidenceLine], first: &EvidenceLine, lanes: &[Lane], picture: &mut Markup) {
    let (mut first, mut before) = (first, first.at_us);
    let mut told_before: Option<&EvidenceLine> = None;
    picture.element("ol", &[], |list| {
        for line in evidence {
            if let Some(aside) = aside(before, line) {
                list.element("li", &[("class", "line pause")], |item| {
                    item.words("span", &[("class", "when")], "");
                    rail(lanes, None, item);
                    item.words("span", &[("class", "what")], &aside);
                });
            }
            if line.at_us < before {
                first = line;
            }
            before = line.at_us;
            list.element("li", &[("class", "line")], |item| {
                item.element("span", &[("class", "when")], |when| {
                    when.words("span", &[("class", "index")], &format!("#{}", line.index));
                    when.text(" ");
                    when.text(&offset(line.at_us.saturating_sub(first.at_us)));
                });
                rail(lanes, Some(line.lane), item);
                item.element("div", &[("class", "what")], |what| {
                    let marked = format!("lane {}", class(line.lane));
                    what.words("span", &[("class", &marked)], &line.lane.to_string());
                    what.text(" ");
                    match told_before.filter(|before| before.text == line.text) {
                        Some(before) => {
                            let same = format!("the same as #{}", before.index);
                            what.words("span", &[("class", "faint")], &same);
                        }
                        None => {
                            told(&line.text, what);
                            told_before = Some(line);
                        }
                    }
                });
            });
        }
    });
}

fn rail(lanes: &[Lane], here: Option<Lane>, item: &mut Markup) {
    item.element("span", &[("class", "rail"), ("aria-hidden", "true")], |rail| {
        for lane in lanes {
            if Some(*lane) == here {
                rail.words("i", &[("class", &format!("here {}", class(*lane)))], "");
            } else {
                rail.words("i", &[], "");
            }
        }
    });
}

/// What happened; a long text is folded behind its beginning.
fn told(text: &str, what: &mut Markup) {
    if text.chars().count() <= LONGEST_TEXT {
        what.words("span", &[("class", "text")], text);
        return;
    }
    what.element("details", &[], |details| {
        let beginning: String = text.chars().take(TEXT_BEGINNING).collect();
        let beginning = format!("{}…", beginning.trim_end());
        details.words("summary", &[("class", "text")], &beginning);
        details.words("span", &[("class", "text")], text);
    });
}

/// What is said between an entry at `before` and `line`: that much time passed, or that the plan was
/// driven once more, in another arm, whose history has times of its own.
fn aside(before: u64, line: &EvidenceLine) -> Option<String> {
    match line.at_us.checked_sub(before).map(|pause| pause / 1_000) {
        Some(pause @ LONG_PAUSE_MS..) => Some(format!("{} later", span(pause))),
        Some(_) => None,
        None => Some(format!(
            "In another history: times count from #{}, {} into the run.",
            line.index,
            seconds(line)
        )),
    }
}

/// How long after the first of its history an entry is, to the tenth of a millisecond.
fn offset(after_us: u64) -> String {
    match after_us {
        0..1_000_000 => format!("+{}.{} ms", after_us / 1_000, after_us % 1_000 / 100),
        _ => format!("+{}.{:03} s", after_us / 1_000_000, after_us % 1_000_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(index: u64, at_us: u64) -> EvidenceLine {
        EvidenceLine { index, at_us, lane: Lane::Redis, text: String::new() }
    }

    #[test]
    fn offsets_have_a_unit() {
        assert_eq!([0, 88_250, 7_307_527].map(offset), ["+0.0 ms", "+88.2 ms", "+7.307 s"]);
    }

    #[test]
    fn a_pause_and_another_history_are_told() {
        assert_eq!(aside(1_000, &line(7, 100_999)), None);
        assert_eq!(aside(1_000, &line(7, 7_101_000)), Some("7.1 s later".to_owned()));
        let back = "In another history: times count from #7, 0.000999 s into the run.";
        assert_eq!(aside(1_000, &line(7, 999)), Some(back.to_owned()));
    }

    #[test]
    fn lanes_stand_in_the_order_of_a_request() {
        let seen = [Lane::Log, Lane::Replica(1), Lane::Redis, Lane::Replica(0), Lane::Caller];
        let evidence: Vec<_> = seen.map(|lane| EvidenceLine { lane, ..line(0, 0) }).into();
        let ordered = [Lane::Caller, Lane::Replica(0), Lane::Replica(1), Lane::Redis, Lane::Log];
        assert_eq!(in_order(&evidence), ordered);
    }
}
