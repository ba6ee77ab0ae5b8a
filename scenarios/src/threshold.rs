//! One bound on one measure, as in `hit_ratio{class=team} >= 0.99` or `latency_p95 <= 80ms`.
//!
//! A threshold without a label is about the worst of what was measured, never about a mean. What was
//! not measured breaks nothing and holds nothing: it is inconclusive.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{key_class::KeyClass, nearest::nearest};

/// A number that can be bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// The share of identity lookups that no database answered.
    HitRatio,
    /// Queries of a request whose identities are cached.
    SqlPerWarmRequest,
    /// Redis commands of a request whose identities are cached.
    RedisPerWarmRequest,
    /// How long whole answers take.
    Latency(Point),
    /// The time to the first token of a stream.
    Ttft(Point),
    /// The gaps between the tokens of a stream.
    Gap(Point),
    /// The share of requests that failed.
    ErrorRate,
    /// Requests that were answered in each second.
    Rate,
    /// Tokens in each second, over all streams that succeeded.
    TokenRate,
    /// Log lines from WARN up, per 1,000 requests.
    LogLinesPer1000,
    /// How identity reads grow with replicas and workers, in reads at one of each.
    ReadsSlope,
}

/// A point of a distribution of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The median.
    P50,
    /// What 90 of 100 keep.
    P90,
    /// What 95 of 100 keep.
    P95,
    /// What 99 of 100 keep.
    P99,
    /// The longest.
    Max,
}

impl Point {
    /// Every point, from the shortest time to the longest.
    pub const ALL: [Point; 5] = [Point::P50, Point::P90, Point::P95, Point::P99, Point::Max];

    /// The share of all that is no longer.
    pub const fn share(self) -> f64 {
        match self {
            Point::P50 => 0.5,
            Point::P90 => 0.9,
            Point::P95 => 0.95,
            Point::P99 => 0.99,
            Point::Max => 1.0,
        }
    }
}

/// What a measure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Share,
    Count,
    Time,
    PerSecond,
}

impl Measure {
    /// Every measure there is.
    pub const ALL: [Measure; 23] = [
        Measure::HitRatio,
        Measure::SqlPerWarmRequest,
        Measure::RedisPerWarmRequest,
        Measure::Latency(Point::P50),
        Measure::Latency(Point::P90),
        Measure::Latency(Point::P95),
        Measure::Latency(Point::P99),
        Measure::Latency(Point::Max),
        Measure::Ttft(Point::P50),
        Measure::Ttft(Point::P90),
        Measure::Ttft(Point::P95),
        Measure::Ttft(Point::P99),
        Measure::Ttft(Point::Max),
        Measure::Gap(Point::P50),
        Measure::Gap(Point::P90),
        Measure::Gap(Point::P95),
        Measure::Gap(Point::P99),
        Measure::Gap(Point::Max),
        Measure::ErrorRate,
        Measure::Rate,
        Measure::TokenRate,
        Measure::LogLinesPer1000,
        Measure::ReadsSlope,
    ];

    /// Its name in thresholds and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Measure::HitRatio => "hit_ratio",
            Measure::SqlPerWarmRequest => "sql_per_warm_request",
            Measure::RedisPerWarmRequest => "redis_per_warm_request",
            Measure::Latency(Point::P50) => "latency_p50",
            Measure::Latency(Point::P90) => "latency_p90",
            Measure::Latency(Point::P95) => "latency_p95",
            Measure::Latency(Point::P99) => "latency_p99",
            Measure::Latency(Point::Max) => "latency_max",
            Measure::Ttft(Point::P50) => "ttft_p50",
            Measure::Ttft(Point::P90) => "ttft_p90",
            Measure::Ttft(Point::P95) => "ttft_p95",
            Measure::Ttft(Point::P99) => "ttft_p99",
            Measure::Ttft(Point::Max) => "ttft_max",
            Measure::Gap(Point::P50) => "gap_p50",
            Measure::Gap(Point::P90) => "gap_p90",
            Measure::Gap(Point::P95) => "gap_p95",
            Measure::Gap(Point::P99) => "gap_p99",
            Measure::Gap(Point::Max) => "gap_max",
            Measure::ErrorRate => "error_rate",
            Measure::Rate => "rate",
            Measure::TokenRate => "token_rate",
            Measure::LogLinesPer1000 => "log_lines_per_1000",
            Measure::ReadsSlope => "reads_slope",
        }
    }

    /// The labels that it may be asked with.
    const fn labels(self) -> &'static [&'static str] {
        match self {
            Measure::HitRatio => &["class", "tier", "replica"],
            Measure::SqlPerWarmRequest | Measure::RedisPerWarmRequest => &["class", "replica"],
            Measure::Latency(_) | Measure::ErrorRate => &["class"],
            Measure::LogLinesPer1000 => &["replica"],
            Measure::Ttft(_)
            | Measure::Gap(_)
            | Measure::Rate
            | Measure::TokenRate
            | Measure::ReadsSlope => &[],
        }
    }

    const fn unit(self) -> Unit {
        match self {
            Measure::HitRatio | Measure::ErrorRate => Unit::Share,
            Measure::SqlPerWarmRequest
            | Measure::RedisPerWarmRequest
            | Measure::LogLinesPer1000
            | Measure::ReadsSlope => Unit::Count,
            Measure::Latency(_) | Measure::Ttft(_) | Measure::Gap(_) => Unit::Time,
            Measure::Rate | Measure::TokenRate => Unit::PerSecond,
        }
    }

    /// A value of it, as a person would write it.
    pub fn shown(self, value: f64) -> String {
        match self.unit() {
            Unit::Share => format!("{value:.4}"),
            Unit::Count => format!("{value:.2}"),
            Unit::Time if value >= 1_000_000.0 => format!("{:.2}s", value / 1_000_000.0),
            Unit::Time => format!("{:.1}ms", value / 1_000.0),
            Unit::PerSecond => format!("{value:.1}/s"),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A layer of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Each process's own.
    Memory,
    /// The one that replicas share.
    Redis,
}

impl Tier {
    const ALL: [Tier; 2] = [Tier::Memory, Tier::Redis];

    const fn name(self) -> &'static str {
        match self {
            Tier::Memory => "memory",
            Tier::Redis => "redis",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a value was measured of, or a threshold is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    /// Requests with keys of this class.
    pub class: Option<KeyClass>,
    /// This layer of the cache; without one, the cache as a whole.
    pub tier: Option<Tier>,
    /// What this replica served.
    pub replica: Option<u8>,
}

impl Labels {
    /// The label of a class.
    pub fn class(class: KeyClass) -> Labels {
        Labels { class: Some(class), ..Labels::default() }
    }

    /// Whether a value with these labels is one that a threshold with `asked` is about.
    fn are_asked_for_by(&self, asked: &Labels) -> bool {
        self.tier == asked.tier
            && asked.class.is_none_or(|class| self.class == Some(class))
            && asked.replica.is_none_or(|replica| self.replica == Some(replica))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = [
            self.class.map(|class| format!("class={class}")),
            self.tier.map(|tier| format!("tier={tier}")),
            self.replica.map(|replica| format!("replica={replica}")),
        ];
        let told: Vec<_> = labels.into_iter().flatten().collect();
        if told.is_empty() { Ok(()) } else { write!(f, "{{{}}}", told.join(",")) }
    }
}

/// How a value is compared with its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtMost,
    AtLeast,
    Below,
    Above,
    Equal,
}

/// The comparisons, as they are written; the longer ones first.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// A bound on a measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written.
    text: String,
    measure: Measure,
    labels: Labels,
    comparison: Comparison,
    /// In shares, counts or microseconds.
    bound: f64,
}

/// A bound is read from digits, so it is always a number.
impl Eq for Threshold {}

/// A value that was measured; in shares, counts or microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// What.
    pub measure: Measure,
    /// Of what.
    pub labels: Labels,
    /// How much; nothing where there is no evidence.
    pub value: Option<f64>,
    /// How many requests it rests on.
    pub requests: u64,
}

/// What became of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All that was measured is within the bound.
    Yes,
    /// Something is not.
    No,
    /// Nothing was measured, or not everything.
    Unknown,
}

/// What became of a threshold, and what it hinges on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Whether it was kept.
    pub kept: Kept,
    /// The worst of what was measured.
    pub worst: Option<Measured>,
    /// What could not be measured, the first of it.
    pub missing: Option<Labels>,
}

impl Threshold {
    /// What it bounds.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// Of what it bounds it.
    pub fn labels(&self) -> Labels {
        self.labels
    }

    /// Whether a value of this measure, with these labels, is one that it is about.
    pub fn is_about(&self, measure: Measure, labels: Labels) -> bool {
        measure == self.measure && labels.are_asked_for_by(&self.labels)
    }

    /// Compares it with all that was measured.
    pub fn judge(&self, measured: &[Measured]) -> Judged {
        let asked = measured.iter().filter(|it| self.is_about(it.measure, it.labels));
        let mut worst: Option<(f64, Measured)> = None;
        let mut missing = None;
        for it in asked {
            let Some(value) = it.value else {
                missing = missing.or(Some(it.labels));
                continue;
            };
            let excess = self.excess(value);
            if worst.is_none_or(|(before, _)| excess > before) {
                worst = Some((excess, *it));
            }
        }
        let broken = worst
            .and_then(|(_, measured)| measured.value)
            .is_some_and(|value| !self.is_kept_by(value));
        let kept = match (broken, worst, missing) {
            (true, ..) => Kept::No,
            (false, Some(_), None) => Kept::Yes,
            (false, ..) => Kept::Unknown,
        };
        Judged { kept, worst: worst.map(|(_, measured)| measured), missing }
    }

    fn is_kept_by(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtMost => value <= self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Below => value < self.bound,
            Comparison::Above => value > self.bound,
            Comparison::Equal => value == self.bound,
        }
    }

    /// How far a value is on the wrong side; the larger, the worse.
    fn excess(&self, value: f64) -> f64 {
        match self.comparison {
            Comparison::AtMost | Comparison::Below => value - self.bound,
            Comparison::AtLeast | Comparison::Above => self.bound - value,
            Comparison::Equal => (value - self.bound).abs(),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that is no threshold, and where it stops being one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}, character {at}: {reason}")]
pub struct NotAThreshold {
    /// What was written.
    text: String,
    /// The place, counted from 1.
    at: usize,
    /// What is wrong there, and what was probably meant.
    reason: String,
}

impl FromStr for Threshold {
    type Err = NotAThreshold;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut reader = Reader { text, at: 0 };
        let measure = reader.measure()?;
        let labels = reader.labels(measure)?;
        let comparison = reader.comparison()?;
        let bound = reader.bound(measure)?;
        let text = text.trim().to_owned();
        Ok(Threshold { text, measure, labels, comparison, bound })
    }
}

/// Reads a threshold from left to right.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        rest.trim_start()
    }

    fn refuse<T>(&self, at: usize, reason: String) -> Result<T, NotAThreshold> {
        let before = self.text.get(..at).unwrap_or(self.text);
        let at = before.chars().count() + 1;
        Err(NotAThreshold { text: self.text.to_owned(), at, reason })
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '-')
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn takes(&mut self, mark: char) -> bool {
        let found = self.rest().starts_with(mark);
        self.at += if found { mark.len_utf8() } else { 0 };
        found
    }

    /// A word that is one of `known`; where it is not, `none` begins to say so.
    fn one_of<T: Copy>(
        &mut self,
        none: &str,
        known: &[(&'static str, T)],
    ) -> Result<T, NotAThreshold> {
        self.rest();
        let at = self.at;
        let word = self.word();
        if let Some((_, found)) = known.iter().find(|(name, _)| *name == word) {
            return Ok(*found);
        }
        let names = || known.iter().map(|(name, _)| *name);
        let hint = match nearest(word, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.refuse(at, format!("{none} `{word}`; {hint}"))
    }

    fn measure(&mut self) -> Result<Measure, NotAThreshold> {
        self.one_of("there is no measure", &Measure::ALL.map(|measure| (measure.name(), measure)))
    }

    fn labels(&mut self, measure: Measure) -> Result<Labels, NotAThreshold> {
        let mut labels = Labels::default();
        if !self.takes('{') || self.takes('}') {
            return Ok(labels);
        }
        loop {
            self.label(measure, &mut labels)?;
            if self.takes('}') {
                return Ok(labels);
            }
            if !self.takes(',') {
                return self.refuse(self.at, "`,` or `}` goes here".to_owned());
            }
        }
    }

    fn label(&mut self, measure: Measure, labels: &mut Labels) -> Result<(), NotAThreshold> {
        let known: Vec<_> = measure.labels().iter().map(|name| (*name, *name)).collect();
        if known.is_empty() {
            return self.refuse(self.at, format!("`{measure}` has no labels"));
        }
        let name = self.one_of(&format!("`{measure}` has no label"), &known)?;
        if !self.takes('=') {
            return self.refuse(self.at, format!("`=` and a value of `{name}` go here"));
        }
        match name {
            "class" => {
                let known = KeyClass::ALL.map(|class| (class.name(), class));
                labels.class = Some(self.one_of("there is no class of keys", &known)?);
            }
            "tier" => {
                labels.tier =
                    Some(self.one_of("there is no tier", &Tier::ALL.map(|it| (it.name(), it)))?);
            }
            _ => {
                self.rest();
                let at = self.at;
                let word = self.word();
                let Ok(number) = word.parse() else {
                    return self.refuse(at, format!("`{word}` is not the number of a {name}"));
                };
                labels.replica = Some(number);
            }
        }
        Ok(())
    }

    fn comparison(&mut self) -> Result<Comparison, NotAThreshold> {
        let rest = self.rest();
        match COMPARISONS.iter().find(|(mark, _)| rest.starts_with(mark)) {
            Some((mark, comparison)) => {
                self.at += mark.len();
                Ok(*comparison)
            }
            None => self.refuse(self.at, "one of <=, >=, <, > and == goes here".to_owned()),
        }
    }

    fn bound(&mut self, measure: Measure) -> Result<f64, NotAThreshold> {
        let rest = self.rest();
        let at = self.at;
        let digits = |letter: char| letter.is_ascii_digit() || letter == '.';
        let end = rest.find(|letter| !digits(letter)).unwrap_or(rest.len());
        let Ok(number) = rest[..end].parse::<f64>() else {
            return self.refuse(at, "a number goes here".to_owned());
        };
        let unit = rest[end..].trim();
        let unit_at = at + end;
        match (measure.unit(), unit) {
            (Unit::Share | Unit::Count, "") | (Unit::Time, "us") | (Unit::PerSecond, "" | "/s") => {
                Ok(number)
            }
            (Unit::Share, "%") => Ok(number / 100.0),
            (Unit::Time, "ms") => Ok(number * 1_000.0),
            (Unit::Time, "s") => Ok(number * 1_000_000.0),
            (Unit::Time, _) => self.refuse(unit_at, "one of us, ms and s goes here".to_owned()),
            (Unit::Share, _) => self.refuse(unit_at, "nothing or % goes here".to_owned()),
            (Unit::PerSecond, _) => self.refuse(unit_at, "nothing or /s goes here".to_owned()),
            (Unit::Count, _) => self.refuse(unit_at, format!("`{measure}` has no unit")),
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn threshold(text: &str) -> Threshold {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        text.parse::<Threshold>().unwrap_err().to_string()
    }

    fn hits(class: KeyClass, value: Option<f64>) -> Measured {
        let labels = Labels::class(class);
        Measured { measure: Measure::HitRatio, labels, value, requests: 100 }
    }

    #[test]
    fn a_threshold_is_a_measure_a_comparison_and_a_bound() {
        let read = threshold("hit_ratio{class=equal-ids, tier = redis,replica=1}>= 99%");
        assert_eq!(read.measure(), Measure::HitRatio);
        let class = Some(KeyClass::EqualIds);
        assert_eq!(read.labels(), Labels { class, tier: Some(Tier::Redis), replica: Some(1) });
        assert!(read.is_kept_by(0.99) && !read.is_kept_by(0.98));
        assert_eq!(read.to_string(), "hit_ratio{class=equal-ids, tier = redis,replica=1}>= 99%");
        assert_eq!(threshold("latency_p95 <= 80ms").bound, 80_000.0);
        assert_eq!(threshold("latency_max < 1.5 s").bound, 1_500_000.0);
        assert_eq!(threshold("rate >= 100/s").bound, 100.0);
        assert_eq!(threshold("ttft_p95 < 1s").measure(), Measure::Ttft(Point::P95));
        assert_eq!(threshold("reads_slope{} > 0.1").comparison, Comparison::Above);
    }

    #[test]
    fn every_measure_is_listed_under_a_name_of_its_own() {
        let mut names: Vec<_> = Measure::ALL.map(Measure::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Measure::ALL.len());
        assert!(Point::ALL.is_sorted_by(|one, next| one.share() < next.share()));
    }

    #[test]
    fn a_slip_is_placed_and_answered_with_what_was_meant() {
        assert_snapshot!(
            [
                "hit_ration >= 1",
                "hit_ratio{clas=team} >= 1",
                "hit_ratio{class=teem} >= 1",
                "hit_ratio{class=team >= 1",
                "hit_ratio{class} >= 1",
                "hit_ratio{replica=one} >= 1",
                "sql_per_warm_request{tier=redis} == 0",
                "reads_slope{class=team} < 1",
                "hit_ratio = 1",
                "hit_ratio >= many",
                "latency_p95 <= 80",
                "sql_per_warm_request == 0ms",
                "error_rate < 1 permille",
                "rate >= 100ms",
                "tftt_p95 < 1s",
                "ttft_p95{class=team} < 1s",
                "weather == 1",
            ]
            .map(refused)
            .join("\n"),
            @r#"
            "hit_ration >= 1", character 1: there is no measure `hit_ration`; did you mean `hit_ratio`?
            "hit_ratio{clas=team} >= 1", character 11: `hit_ratio` has no label `clas`; did you mean `class`?
            "hit_ratio{class=teem} >= 1", character 17: there is no class of keys `teem`; did you mean `team`?
            "hit_ratio{class=team >= 1", character 22: `,` or `}` goes here
            "hit_ratio{class} >= 1", character 16: `=` and a value of `class` go here
            "hit_ratio{replica=one} >= 1", character 19: `one` is not the number of a replica
            "sql_per_warm_request{tier=redis} == 0", character 22: `sql_per_warm_request` has no label `tier`; known here: class, replica
            "reads_slope{class=team} < 1", character 13: `reads_slope` has no labels
            "hit_ratio = 1", character 11: one of <=, >=, <, > and == goes here
            "hit_ratio >= many", character 14: a number goes here
            "latency_p95 <= 80", character 18: one of us, ms and s goes here
            "sql_per_warm_request == 0ms", character 26: `sql_per_warm_request` has no unit
            "error_rate < 1 permille", character 15: nothing or % goes here
            "rate >= 100ms", character 12: nothing or /s goes here
            "tftt_p95 < 1s", character 1: there is no measure `tftt_p95`; did you mean `ttft_p95`?
            "ttft_p95{class=team} < 1s", character 10: `ttft_p95` has no labels
            "weather == 1", character 1: there is no measure `weather`; known here: hit_ratio, sql_per_warm_request, redis_per_warm_request, latency_p50, latency_p90, latency_p95, latency_p99, latency_max, ttft_p50, ttft_p90, ttft_p95, ttft_p99, ttft_max, gap_p50, gap_p90, gap_p95, gap_p99, gap_max, error_rate, rate, token_rate, log_lines_per_1000, reads_slope
            "#
        );
    }

    #[test]
    fn without_a_label_the_worst_decides() {
        let measured = [
            hits(KeyClass::Plain, Some(1.0)),
            hits(KeyClass::Team, Some(0.5)),
            hits(KeyClass::User, Some(0.9)),
        ];
        let judged = threshold("hit_ratio >= 0.95").judge(&measured);
        assert_eq!((judged.kept, judged.worst), (Kept::No, Some(measured[1])));
        let plain = threshold("hit_ratio{class=plain} == 1").judge(&measured);
        assert_eq!((plain.kept, plain.worst), (Kept::Yes, Some(measured[0])));
    }

    #[test]
    fn what_was_not_measured_is_neither_kept_nor_broken() {
        let all = threshold("hit_ratio >= 0.95");
        assert_eq!(all.judge(&[]).kept, Kept::Unknown);
        let some = [hits(KeyClass::Plain, Some(1.0)), hits(KeyClass::Team, None)];
        let judged = all.judge(&some);
        assert_eq!(judged.kept, Kept::Unknown);
        assert_eq!(judged.missing, Some(Labels::class(KeyClass::Team)));
        let broken = [hits(KeyClass::Plain, Some(0.1)), hits(KeyClass::Team, None)];
        assert_eq!(all.judge(&broken).kept, Kept::No);
        assert_eq!(threshold("hit_ratio{tier=memory} >= 0.9").judge(&some).kept, Kept::Unknown);
        assert_eq!(threshold("sql_per_warm_request == 0").judge(&some).kept, Kept::Unknown);
    }

    #[test]
    fn values_are_shown_in_their_units() {
        assert_eq!(Measure::HitRatio.shown(0.98765), "0.9877");
        assert_eq!(Measure::Latency(Point::P95).shown(81_234.0), "81.2ms");
        assert_eq!(Measure::Gap(Point::Max).shown(2_500_000.0), "2.50s");
        assert_eq!(Measure::Rate.shown(99.96), "100.0/s");
        assert_eq!(Measure::SqlPerWarmRequest.shown(0.5), "0.50");
    }
}
