//! Entries of a history as a picture: a lane for each place, time downwards.
//!
//! Every entry is one line, marked in the lane where it was seen and told beside it. A request is a bar
//! in the lane of its replica, from where it was sent to where its answer came; what a replica asks of
//! a store or of the provider is joined to the lane of that replica; while a fault is in force, its
//! lane is shaded. Where much time passes between two entries, the picture says how much.
//!
//! What the marks say stands in words beside them, so whoever cannot see them misses nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    layout::{counted, span},
    schema::{EvidenceLine, Exchange, Lane, Mark},
    words::seconds,
};

use super::markup::Markup;

/// Entries of evidence that stand open. Further ones are folded.
const MOST_EVIDENCE: usize = 24;

/// Entries of an exchange that stand open. What comes before and after is folded.
const MOST_OF_AN_EXCHANGE: usize = 30;

/// Of those, the ones before the first that proves something.
const LEAD: usize = 12;

/// The longest text that stands open, in characters.
const LONGEST_TEXT: usize = 280;

/// As much of a longer text, in characters.
const TEXT_BEGINNING: usize = 160;

/// As many digits in a row are a hash: those of SHA-1, and longer ones.
const SHORTEST_HASH: usize = 40;

/// Lanes that find room at their full width.
const MOST_WIDE_LANES: usize = 6;

/// A pause that is worth a line of its own, in milliseconds.
const LONG_PAUSE_MS: u64 = 100;

/// Writes the picture of `evidence`.
pub(super) fn write(evidence: &[EvidenceLine], page: &mut Markup) {
    let open = evidence.len().min(MOST_EVIDENCE);
    picture(evidence, None, (0, open), page);
}

/// Writes the picture of what happened around the evidence.
pub(super) fn exchange(exchange: &Exchange, page: &mut Markup) {
    let entries = &exchange.entries;
    let proofs: BTreeSet<u64> = exchange.proofs.iter().copied().collect();
    // What the first violation rests on tells most.
    let telling = exchange.proofs.first();
    let first = entries.iter().position(|line| Some(&line.index) == telling);
    let from = match first {
        Some(first) => first.saturating_sub(LEAD),
        // Where no one entry proves it, the end is where a failure shows itself.
        None => entries.len().saturating_sub(MOST_OF_AN_EXCHANGE),
    };
    let to = entries.len().min(from + MOST_OF_AN_EXCHANGE);
    picture(entries, Some(&proofs), (to.saturating_sub(MOST_OF_AN_EXCHANGE), to), page);
    if exchange.left_out > 0 {
        let more = counted(exchange.left_out, "further entry", "further entries");
        let where_ = format!("{more} of this history lie further away, in the folder of the run.");
        page.words("p", &[("class", "faint")], &where_);
    }
}

/// Writes what each mark means that stands in one of `exchanges`.
pub(super) fn legend(exchanges: &[Exchange], page: &mut Markup) {
    let entries = exchanges.iter().flat_map(|exchange| &exchange.entries);
    let marks: BTreeSet<Mark> = entries.filter_map(|line| line.mark).collect();
    page.element("ul", &[("class", "legend")], |list| {
        for mark in marks {
            list.element("li", &[], |item| {
                let class = format!("mark {}", sign(mark));
                item.words("i", &[("class", &class), ("aria-hidden", "true")], "");
                item.text(" ");
                item.text(meaning(mark));
            });
        }
    });
}

/// The class by which a mark is drawn.
fn sign(mark: Mark) -> &'static str {
    match mark {
        Mark::Asked => "asked",
        Mark::Answered => "answered",
        Mark::Refused => "refused",
        Mark::Unknown => "unknown",
        Mark::Hit => "hit",
        Mark::Miss => "miss",
        Mark::Write => "write",
        Mark::Delete => "delete",
        Mark::Command => "command",
        Mark::Message => "message",
        Mark::Read => "read",
        Mark::Statement => "statement",
        Mark::Line => "record",
        Mark::Loud => "loud",
        Mark::Attempt => "attempt",
        Mark::Edit => "edit",
        Mark::Strike => "strike",
        Mark::Heal => "heal",
        Mark::Gap => "gap",
    }
}

/// What a mark means, in words.
fn meaning(mark: Mark) -> &'static str {
    match mark {
        Mark::Asked => "a request is sent",
        Mark::Answered => "it is answered",
        Mark::Refused => "it is refused",
        Mark::Unknown => "nobody knows what became of it",
        Mark::Hit => "cache hit",
        Mark::Miss => "cache miss",
        Mark::Write => "cache entry written",
        Mark::Delete => "cache entry removed",
        Mark::Command => "other command to the cache",
        Mark::Message => "message from the cache",
        Mark::Read => "SQL that reads who somebody is",
        Mark::Statement => "other SQL",
        Mark::Line => "log line",
        Mark::Loud => "log line at WARN or above",
        Mark::Attempt => "request at the provider",
        Mark::Edit => "stored data changed behind the gateway's back",
        Mark::Strike => "a fault strikes",
        Mark::Heal => "it is healed",
        Mark::Gap => "evidence is missing",
    }
}

/// A lane, in the order from who asks to what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Faults,
    Callers,
    Replica(u8),
    Redis,
    Postgres,
    Provider,
    Log,
}

impl Place {
    /// Where `line` is marked. What a replica does itself is marked in its own lane.
    fn of(line: &EvidenceLine) -> Place {
        let own = line.replica.map(Place::Replica);
        match line.lane {
            Lane::Nemesis => Place::Faults,
            Lane::Caller => own.unwrap_or(Place::Callers),
            Lane::Replica(number) => Place::Replica(number),
            Lane::Redis => Place::Redis,
            Lane::Postgres => Place::Postgres,
            Lane::Upstream => Place::Provider,
            Lane::Log => own.unwrap_or(Place::Log),
        }
    }

    fn name(self) -> String {
        match self {
            Place::Faults => "faults".to_owned(),
            Place::Callers => "callers".to_owned(),
            Place::Replica(number) => format!("replica {number}"),
            Place::Redis => "Redis".to_owned(),
            Place::Postgres => "Postgres".to_owned(),
            Place::Provider => "provider".to_owned(),
            Place::Log => "log".to_owned(),
        }
    }

    /// The colour of the lane.
    fn class(self) -> &'static str {
        match self {
            Place::Faults => "nemesis",
            Place::Callers => "caller",
            Place::Replica(_) => "replica",
            Place::Redis => "redis",
            Place::Postgres => "postgres",
            Place::Provider => "upstream",
            Place::Log => "log",
        }
    }
}

/// The lanes of `entries`, in order; that of a replica too which is only seen to ask a store.
fn in_order(entries: &[EvidenceLine]) -> Vec<Place> {
    let places = entries.iter().flat_map(|line| {
        [Some(Place::of(line)), line.replica.map(Place::Replica)].into_iter().flatten()
    });
    places.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Who does what to whom: the beginning of what is told of an entry.
fn actors(line: &EvidenceLine) -> String {
    let Some(replica) = line.replica else {
        return match (line.lane, line.mark) {
            (Lane::Nemesis, Some(Mark::Strike | Mark::Heal)) => "fault".to_owned(),
            (Lane::Nemesis, Some(Mark::Edit)) => "we, in the stores".to_owned(),
            (Lane::Nemesis, Some(Mark::Gap)) => "not seen".to_owned(),
            _ => Place::of(line).name(),
        };
    };
    match (line.lane, line.mark) {
        (Lane::Caller, Some(Mark::Asked)) => format!("caller → replica {replica}"),
        (Lane::Caller, _) => format!("replica {replica} → caller"),
        (Lane::Redis, Some(Mark::Message)) => format!("Redis → replica {replica}"),
        (Lane::Redis | Lane::Postgres | Lane::Upstream, _) => {
            format!("replica {replica} → {}", Place::of(line).name())
        }
        (Lane::Log, _) => format!("replica {replica} logs"),
        (Lane::Replica(_) | Lane::Nemesis, _) => format!("replica {replica}"),
    }
}

/// Writes `entries`, of which those from the first to before the second of `open` stand open. Those
/// that follow each other without a gap say which `proofs` are among them.
fn picture(
    entries: &[EvidenceLine],
    proofs: Option<&BTreeSet<u64>>,
    open: (usize, usize),
    page: &mut Markup,
) {
    let Some(first) = entries.first() else {
        page.words("p", &[("class", "faint")], "No entry of the history was kept for this.");
        return;
    };
    let mut drawing = Drawing::new(entries, proofs, first);
    let class = if drawing.places.len() > MOST_WIDE_LANES { "lanes many" } else { "lanes" };
    let (before, rest) = entries.split_at(open.0);
    let (shown, after) = rest.split_at(open.1 - open.0);
    page.element("div", &[("class", class)], |page| {
        heads(&drawing.places, page);
        folded(before, "earlier entry", "earlier entries", &mut drawing, page);
        drawing.lines(shown, page);
        folded(after, "more entry", "more entries", &mut drawing, page);
        let began = format!("Times count from #{}, {} into the run.", first.index, seconds(first));
        page.words("p", &[("class", "faint")], &began);
    });
}

fn folded<'a>(
    entries: &'a [EvidenceLine],
    one: &str,
    many: &str,
    drawing: &mut Drawing<'a>,
    page: &mut Markup,
) {
    if entries.is_empty() {
        return;
    }
    page.element("details", &[], |details| {
        details.words("summary", &[], &counted(entries.len() as u64, one, many));
        drawing.lines(entries, details);
    });
}

/// The names of the lanes, above them. Each line has its own for who cannot see them.
fn heads(places: &[Place], picture: &mut Markup) {
    picture.element("div", &[("class", "line heads"), ("aria-hidden", "true")], |line| {
        line.words("span", &[("class", "when")], "");
        line.element("span", &[("class", "rail")], |rail| {
            for place in places {
                rail.words("span", &[("class", place.class())], &place.name());
            }
        });
        line.words("span", &[("class", "what")], "");
    });
}

/// A picture in the making, from top to bottom.
struct Drawing<'a> {
    places: Vec<Place>,
    /// Entries that prove something. `None` where the entries are a choice, in which the end of a
    /// request alone says nothing of how long it was under way.
    proofs: Option<&'a BTreeSet<u64>>,
    /// From which entry times count.
    first: &'a EvidenceLine,
    before_us: u64,
    told_before: Option<&'a EvidenceLine>,
    /// Requests under way, by replica.
    under_way: BTreeMap<u8, BTreeSet<u32>>,
    /// Faults in force.
    struck: u32,
}

impl<'a> Drawing<'a> {
    fn new(
        entries: &'a [EvidenceLine],
        proofs: Option<&'a BTreeSet<u64>>,
        first: &'a EvidenceLine,
    ) -> Drawing<'a> {
        let mut under_way: BTreeMap<u8, BTreeSet<u32>> = BTreeMap::new();
        let asked: BTreeSet<_> = entries
            .iter()
            .filter(|line| line.mark == Some(Mark::Asked))
            .filter_map(|line| line.call)
            .collect();
        // What is answered here and was sent earlier is under way from the beginning.
        for line in entries.iter().filter(|line| proofs.is_some() && ends(line)) {
            if let (Some(replica), Some(call)) = (line.replica, line.call)
                && !asked.contains(&call)
            {
                under_way.entry(replica).or_default().insert(call);
            }
        }
        Drawing {
            places: in_order(entries),
            proofs,
            first,
            before_us: first.at_us,
            told_before: None,
            under_way,
            struck: 0,
        }
    }

    fn lines(&mut self, entries: &'a [EvidenceLine], page: &mut Markup) {
        page.element("ol", &[], |list| {
            for line in entries {
                if let Some(aside) = aside(self.before_us, line) {
                    list.element("li", &[("class", "line pause")], |item| {
                        item.words("span", &[("class", "when")], "");
                        self.rail(None, item);
                        item.words("span", &[("class", "what")], &aside);
                    });
                }
                if line.at_us < self.before_us {
                    self.first = line;
                }
                self.before_us = line.at_us;
                self.line(line, list);
            }
        });
    }

    fn line(&mut self, line: &'a EvidenceLine, list: &mut Markup) {
        let is_proof = self.proofs.is_some_and(|proofs| proofs.contains(&line.index));
        let class = if is_proof { "line proof" } else { "line" };
        list.element("li", &[("class", class)], |item| {
            item.element("span", &[("class", "when")], |when| {
                when.words("span", &[("class", "index")], &format!("#{}", line.index));
                when.text(" ");
                when.text(&offset(line.at_us.saturating_sub(self.first.at_us)));
            });
            self.rail(Some(line), item);
            item.element("div", &[("class", "what")], |what| {
                let place = format!("lane {}", Place::of(line).class());
                what.words("span", &[("class", &place)], &actors(line));
                what.text(" ");
                if is_proof {
                    what.words("strong", &[("class", "tag")], "evidence");
                    what.text(" ");
                }
                match self.told_before.filter(|before| before.text == line.text) {
                    Some(before) => {
                        let same = format!("the same as #{}", before.index);
                        what.words("span", &[("class", "faint")], &same);
                    }
                    None => {
                        told(&line.text, what);
                        self.told_before = Some(line);
                    }
                }
            });
        });
    }

    /// One cell per lane, and in the lane of `line` its mark.
    fn rail(&mut self, line: Option<&EvidenceLine>, item: &mut Markup) {
        let here = line.map(Place::of);
        let by = line.and_then(|line| line.replica).map(Place::Replica);
        let before = self.under_way.clone();
        if let Some(line) = line {
            self.follow(line);
        }
        let busy = |calls: &BTreeMap<u8, BTreeSet<u32>>, replica: u8| {
            calls.get(&replica).is_some_and(|calls| !calls.is_empty())
        };
        item.element("span", &[("class", "rail"), ("aria-hidden", "true")], |rail| {
            for place in &self.places {
                let mut class = Vec::new();
                if let Place::Replica(replica) = place {
                    match (busy(&before, *replica), busy(&self.under_way, *replica)) {
                        (true, true) => class.push("busy"),
                        (false, true) => class.push("busy begins"),
                        (true, false) => class.push("busy ends"),
                        (false, false) => {}
                    }
                }
                if *place == Place::Faults && self.struck > 0 {
                    class.push("struck");
                }
                if let (Some(by), Some(here)) = (by, here)
                    && by < here
                {
                    if *place == by {
                        class.push("from");
                    } else if by < *place && *place < here {
                        class.push("through");
                    }
                }
                if let Some(line) = line.filter(|_| Some(*place) == here) {
                    class.extend(["here", place.class()]);
                    class.push(line.mark.map_or("dot", sign));
                    if by.is_some_and(|by| by < *place) {
                        class.push("to");
                    }
                }
                let class = class.join(" ");
                let attributes = [("class", class.as_str())];
                let attributes: &[_] = if class.is_empty() { &[] } else { &attributes };
                rail.element("i", attributes, |cell| {
                    if line.is_some() && Some(*place) == here {
                        cell.words("b", &[], "");
                    }
                });
            }
        });
    }

    /// What is under way, and in force, from `line` on.
    fn follow(&mut self, line: &EvidenceLine) {
        match line.mark {
            Some(Mark::Strike) => self.struck += 1,
            Some(Mark::Heal) => self.struck = self.struck.saturating_sub(1),
            _ => {}
        }
        let (Some(replica), Some(call)) = (line.replica, line.call) else { return };
        if line.mark == Some(Mark::Asked) && self.proofs.is_some() {
            self.under_way.entry(replica).or_default().insert(call);
        } else if ends(line) {
            self.under_way.entry(replica).or_default().remove(&call);
        }
    }
}

/// Whether a request comes to its end with `line`.
fn ends(line: &EvidenceLine) -> bool {
    matches!(line.mark, Some(Mark::Answered | Mark::Refused | Mark::Unknown))
}

/// What happened; a long text is folded behind its beginning, and a hash shortened.
fn told(text: &str, what: &mut Markup) {
    let text = &shortened(text);
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

/// `text` in which of each hash only the ends are left: nobody reads the rest, and it fills a phone.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut hash = String::new();
    for character in text.chars().chain(std::iter::once('\0')) {
        if character.is_ascii_hexdigit() {
            hash.push(character);
            continue;
        }
        if hash.len() >= SHORTEST_HASH {
            short.push_str(&format!("{}…{}", &hash[..6], &hash[hash.len() - 4..]));
        } else {
            short.push_str(&hash);
        }
        hash.clear();
        if character != '\0' {
            short.push(character);
        }
    }
    short
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
    use crate::samples::exchange as sample;

    fn line(index: u64, at_us: u64) -> EvidenceLine {
        EvidenceLine {
            index,
            at_us,
            lane: Lane::Redis,
            text: String::new(),
            replica: None,
            mark: None,
            call: None,
        }
    }

    #[test]
    fn offsets_have_a_unit() {
        assert_eq!([0, 88_250, 7_307_527].map(offset), ["+0.0 ms", "+88.2 ms", "+7.307 s"]);
    }

    #[test]
    fn of_a_hash_the_ends_are_told() {
        let hash = "6b4a72fd08230d1cacaa4afd45e49937b8e5e1ae890d4651583c543f31ef2ef0";
        assert_eq!(shortened(&format!("GET \"key:{hash}\"")), "GET \"key:6b4a72…2ef0\"");
        assert_eq!(shortened("deadbeef of 12"), "deadbeef of 12");
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
        let ordered =
            [Place::Callers, Place::Replica(0), Place::Replica(1), Place::Redis, Place::Log];
        assert_eq!(in_order(&evidence), ordered);
    }

    #[test]
    fn a_replica_has_a_lane_where_only_its_stores_were_seen() {
        let evidence = [EvidenceLine { replica: Some(2), ..line(0, 0) }];
        assert_eq!(in_order(&evidence), [Place::Replica(2), Place::Redis]);
    }

    /// The cells of every line of the sample, one letter for each lane and what is drawn there.
    fn drawn(exchange: &Exchange) -> Vec<String> {
        let mut page = Markup::default();
        self::exchange(exchange, &mut page);
        let page = page.into_text();
        let rails = page.split("<span class=\"rail\" aria-hidden=\"true\">").skip(1);
        rails
            .map(|rail| {
                let cells = rail.split("</span>").next().unwrap_or_default().split("<i").skip(1);
                let drawn = cells.map(|cell| {
                    let class = cell.strip_prefix(" class=\"").and_then(|it| it.split('"').next());
                    class.unwrap_or(".").to_owned()
                });
                drawn.collect::<Vec<_>>().join(" | ")
            })
            .collect()
    }

    #[test]
    fn a_request_is_a_bar_and_what_it_asks_is_joined_to_its_replica() {
        insta::assert_snapshot!(drawn(&sample()).join("\n"), @r"
        struck here nemesis strike | . | . | . | . | .
        struck | busy begins here replica asked | . | . | . | .
        struck | busy from | through | here redis miss to | . | .
        struck | busy | busy begins here replica asked | . | . | .
        struck | busy from | busy through | through | here postgres read to | .
        struck | busy | busy from | here redis hit to | . | .
        struck | busy | busy here replica loud | . | . | .
        struck | busy from | busy through | through | through | here upstream attempt to
        struck | busy from | busy through | here redis write to | . | .
        struck | busy ends here replica answered | busy | . | . | .
        struck | . | busy ends here replica refused | . | . | .
        here nemesis heal | . | . | . | . | .
        ");
    }

    #[test]
    fn what_stands_open_is_around_what_proves_something() {
        let entries: Vec<_> = (0..100).map(|index| line(index, index)).collect();
        let long = Exchange { entries, proofs: vec![50], left_out: 7, ..Exchange::default() };
        let mut page = Markup::default();
        exchange(&long, &mut page);
        let page = page.into_text();
        let summaries: Vec<_> = page
            .split("<summary>")
            .skip(1)
            .filter_map(|rest| rest.split("</summary>").next())
            .collect();
        assert_eq!(summaries, ["38 earlier entries", "32 more entries"]);
        assert_eq!(page.matches("line proof").count(), 1);
        assert!(page.contains("7 further entries of this history"));
    }
}
