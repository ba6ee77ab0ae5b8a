//! What load has shown: its part of the report, and how a terminal shows it.
//!
//! First the table that the experiment is known by: how often the query that reads identities ran in
//! each window, what it took, and between which bounds it had to stay. Then what callers saw of the
//! same windows, then how reads grow with the processes that share a cache.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anstyle::Style as Ink;
use serde::{Deserialize, Serialize};

use crate::{
    layout::{counted, cut, grouped, printable, span},
    schema::{Totals, Verdict},
    terminal::{Style, paragraph},
    times::Times,
};

/// Shapes of log records that are shown. The stored report has them all.
const MOST_LINES: usize = 3;

/// The longest part of one that is shown, in characters.
const LONGEST_LINE: usize = 160;

/// A load experiment: what was asked for, and what it showed of each shape of the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The profile's name.
    pub profile: String,
    /// What it is for.
    pub title: String,
    /// Who sent requests.
    pub callers: Callers,
    /// How long a cached identity lives.
    pub lifetime_ms: u64,
    /// The lifetime that the windows stand for, where this one is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_from_ms: Option<u64>,
    /// What was seen of each shape, in the order of the profile.
    pub shapes: Vec<LoadShape>,
    /// How reads grow with the number of processes.
    #[serde(default)]
    pub slopes: Vec<Slope>,
}

impl Load {
    /// How many shapes came to each verdict.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shape in &self.shapes {
            totals.count(shape.verdict);
        }
        totals
    }
}

/// Who sent requests, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callers {
    /// How many.
    pub count: u32,
    /// How long it took until all of them were there.
    pub ramp_ms: u64,
    /// What a caller waits between an answer and its next request: at least, and at most.
    pub pause_ms: (u64, u64),
    /// To which replica each goes.
    pub balance: String,
    /// How many keys they share.
    pub keys: u8,
    /// What those keys name.
    pub key_class: String,
}

/// What was seen of one shape of the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadShape {
    /// Addresses that callers went to.
    pub replicas: u8,
    /// Processes behind each.
    pub workers: u8,
    /// Whether all processes share a cache.
    pub shared_cache: bool,
    /// Whether its reads stay within their bounds.
    pub verdict: Verdict,
    /// Why the verdict is neither a pass nor a fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Every window that ended, each from the moment at which all callers were there.
    #[serde(default)]
    pub windows: Vec<LoadWindow>,
    /// From the first request to the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
}

/// What was seen of one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadWindow {
    /// How long it was to be.
    pub asked_ms: u64,
    /// How long it was, as the store proxies saw it.
    pub took_ms: u64,
    /// What the query that reads keys was asked.
    pub identity_query: Query,
    /// Between what the calls of that query have to stay.
    pub bound: ReadBound,
    /// Where they stand.
    pub stands: Stands,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were not.
    pub failed: u64,
    /// How long the answers took; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Times>,
    /// Log records at WARN or above.
    pub loud_lines: u64,
    /// Observations that were lost on the way to us.
    pub lost: u64,
    /// Requests by replica.
    #[serde(default)]
    pub by_replica: Vec<u64>,
    /// Identities read from the database, by kind; one statement may read several.
    #[serde(default)]
    pub reads: BTreeMap<String, u64>,
    /// Identities looked for in Redis and found.
    #[serde(default)]
    pub redis_hits: u64,
    /// Identities looked for in Redis in vain.
    #[serde(default)]
    pub redis_misses: u64,
    /// Identities written to Redis.
    #[serde(default)]
    pub redis_writes: u64,
}

/// How often a query ran, and what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// How often.
    pub calls: u64,
    /// Microseconds from question to answer, in all.
    pub total_us: u64,
    /// Rows sent back, in all.
    pub rows: u64,
}

/// Between what reads have to stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadBound {
    /// Fewer, and entries outlive their lifetime.
    pub at_least: u64,
    /// More, and the cache does not hold what it is told.
    pub at_most: u64,
}

/// Where reads stand to their bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stands {
    /// Between its two sides.
    Within,
    /// There are too many.
    Over,
    /// There are too few.
    Under,
    /// It cannot be said.
    Unknown,
}

/// What was seen from the first request to the last, by everybody who counts them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    /// Requests that callers sent.
    pub sent: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were not, by what happened instead.
    #[serde(default)]
    pub failed: Vec<LoadFailure>,
    /// Rows that the provider's ledger has of them; absent where it cannot say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_rows: Option<u64>,
    /// Log lines that tell of a request's end.
    pub access_lines: u64,
    /// Commands and statements that the store proxies saw.
    pub wire_events: u64,
    /// Identities read from the database, by kind, from the first request on.
    #[serde(default)]
    pub reads: BTreeMap<String, u64>,
    /// Log records at WARN or above, by the shape of their first line.
    #[serde(default)]
    pub loud_lines: BTreeMap<String, u64>,
}

/// Requests that failed in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadFailure {
    /// The status, or what went wrong on the way.
    pub how: String,
    /// How many.
    pub count: u64,
    /// What was said to the first, secrets taken out.
    pub said: String,
}

/// How reads of the longest window grow with the number of processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slope {
    /// Whether the processes share a cache.
    pub shared_cache: bool,
    /// Processes, and the reads of the longest window.
    pub points: Vec<(u16, u64)>,
    /// By how much of what one process reads the reads grow with each more; absent where there are
    /// too few points to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slope: Option<f64>,
    /// The most it may be; absent where it is told only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// Whether it is.
    pub verdict: Verdict,
}

/// Writes what load has shown.
///
/// # Errors
///
/// What the writer says.
pub(crate) fn render(load: &Load, style: Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {}", callers(&load.callers))?;
    let scaled = load
        .scaled_from_ms
        .map_or_else(String::new, |from| format!(", and stands for {}", span(from)));
    writeln!(out, "  a cached identity lives {}{scaled}", span(load.lifetime_ms))?;
    for shared_cache in [true, false] {
        let of_mode: Vec<_> =
            load.shapes.iter().filter(|shape| shape.shared_cache == shared_cache).collect();
        if of_mode.is_empty() {
            continue;
        }
        let bold = style.bold();
        let title =
            if shared_cache { "With a cache that all share" } else { "Without a shared cache" };
        writeln!(out, "\n  {bold}{title}{bold:#}\n")?;
        identity_query(&of_mode, style, out)?;
        if of_mode.iter().any(|shape| !shape.windows.is_empty()) {
            writeln!(out)?;
            requests(&of_mode, style, out)?;
        }
        for slope in load.slopes.iter().filter(|slope| slope.shared_cache == shared_cache) {
            growth(slope, style, out)?;
        }
    }
    reconciled(&load.shapes, style, out)?;
    loudest(&load.shapes, style, out)?;
    failures(&load.shapes, style, out)
}

/// Who sent requests, and how.
pub(crate) fn callers(callers: &Callers) -> String {
    let (least, most) = callers.pause_ms;
    format!(
        "{} over {}, each pausing {} to {}, {}; {}",
        counted(u64::from(callers.count), "caller", "callers"),
        span(callers.ramp_ms),
        span(least),
        span(most),
        callers.balance,
        counted(
            u64::from(callers.keys),
            &format!("{} key", callers.key_class),
            &format!("{} keys", callers.key_class)
        )
    )
}

/// The table of the query that reads keys.
fn identity_query(shapes: &[&LoadShape], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let faint = style.faint();
    writeln!(
        out,
        "  {faint}{:<6}{:>8}{:>9}{:>11}{:>9}{:>9}{:>15}  stands{faint:#}",
        "V × W", "window", "calls", "total ms", "mean ms", "rows", "bound"
    )?;
    for shape in shapes {
        let mut name = name(shape);
        for window in &shape.windows {
            let query = window.identity_query;
            let mean = match query.calls {
                0 => "-".to_owned(),
                calls => format!("{:.2}", millis(query.total_us) / as_f64(calls)),
            };
            let bound = format!("{}..{}", window.bound.at_least, grouped(window.bound.at_most));
            let (verdict, word) = stands(window.stands);
            let ink = style.verdict(verdict);
            writeln!(
                out,
                "  {name:<6}{:>8}{:>9}{:>11}{mean:>9}{:>9}{bound:>15}  {ink}{word}{ink:#}",
                span(window.asked_ms),
                grouped(query.calls),
                format!("{:.2}", millis(query.total_us)),
                grouped(query.rows),
            )?;
            name.clear();
        }
        if let Some(reason) = &shape.reason {
            let ink = style.verdict(shape.verdict);
            writeln!(
                out,
                "  {name:<6}  {ink}{}{ink:#}: {}",
                match shape.verdict {
                    Verdict::NotApplicable => "not available".to_owned(),
                    verdict => verdict.to_string(),
                },
                printable(reason)
            )?;
        }
    }
    Ok(())
}

/// The table of what callers saw.
fn requests(shapes: &[&LoadShape], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let faint = style.faint();
    writeln!(
        out,
        "  {faint}{:<6}{:>8}{:>9}{:>7}{:>8}{:>8}{:>8}{:>8}{:>9}{:>8}{faint:#}",
        "V × W",
        "window",
        "answers",
        "per s",
        "errors",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "WARN+"
    )?;
    for shape in shapes {
        let mut name = name(shape);
        for window in &shape.windows {
            let [asked, answered, rate, failed, p50, p95, p99, longest, noise] = numbers(window);
            writeln!(
                out,
                "  {name:<6}{asked:>8}{answered:>9}{rate:>7}{failed:>8}{p50:>8}{p95:>8}{p99:>8}\
                 {longest:>9}{noise:>8}",
            )?;
            name.clear();
        }
    }
    writeln!(out, "  {faint}WARN+: log records at WARN or above for each 1,000 requests{faint:#}")
}

/// What callers saw in a window, in the words of a table: how long it was asked for, requests answered,
/// in each second, and failed; p50, p95, p99 and maximum of latency in milliseconds; log records at WARN or
/// above for each 1,000 requests.
pub(crate) fn numbers(window: &LoadWindow) -> [String; 9] {
    let latency = |of: fn(&Times) -> u64| match &window.latency {
        Some(latency) => format!("{:.1}", millis(of(latency))),
        None => "-".to_owned(),
    };
    [
        span(window.asked_ms),
        grouped(window.answered),
        format!("{:.0}", per_second(window.answered, window.asked_ms)),
        grouped(window.failed),
        latency(|it| it.p50_us),
        latency(|it| it.p95_us),
        latency(|it| it.p99_us),
        latency(|it| it.max_us),
        per_thousand(window),
    ]
}

/// How reads grow.
fn growth(slope: &Slope, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let ink = style.verdict(slope.verdict);
    let points: Vec<_> = slope
        .points
        .iter()
        .map(|(processes, reads)| format!("{processes}: {}", grouped(*reads)))
        .collect();
    let told = slope_told(slope);
    writeln!(
        out,
        "\n  growth of reads, in those of one process: {ink}{told}{ink:#}\n    reads by processes: {}",
        points.join("; ")
    )
}

/// By how much reads grow, and by how much they may.
pub(crate) fn slope_told(slope: &Slope) -> String {
    // A slope that rounds to nothing has no sign.
    let found = slope.slope.map(|found| if found.abs() < 0.005 { 0.0 } else { found });
    match (found, slope.at_most) {
        (Some(found), Some(at_most)) => {
            format!("{found:.2} for each more process, at most {at_most:.2}: {}", slope.verdict)
        }
        (Some(found), None) => {
            format!("{found:.2} for each more process, where about 1 is expected")
        }
        (None, _) => "cannot be told from these shapes".to_owned(),
    }
}

/// Whether everybody counts the same requests.
fn reconciled(shapes: &[LoadShape], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let all: Vec<_> = shapes.iter().filter_map(|shape| shape.whole.as_ref()).collect();
    if all.is_empty() {
        return Ok(());
    }
    let sum = |of: fn(&Whole) -> u64| grouped(all.iter().map(|whole| of(whole)).sum());
    let rows: Option<u64> = all.iter().map(|whole| whole.provider_rows).sum();
    let faint = style.faint();
    writeln!(
        out,
        "\n  {faint}all in all: {} requests sent, {} answered; {} in the provider's ledger, {} access \
         lines,\n  {} commands and statements on the wire{faint:#}",
        sum(|whole| whole.sent),
        sum(|whole| whole.answered),
        rows.map_or_else(|| "an unknown number".to_owned(), grouped),
        sum(|whole| whole.access_lines),
        sum(|whole| whole.wire_events),
    )
}

/// What was most often logged at WARN or above.
fn loudest(shapes: &[LoadShape], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for (line, count) in shapes.iter().flat_map(|it| &it.whole).flat_map(|it| &it.loud_lines) {
        *all.entry(line).or_default() += count;
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (line, count) in all.into_iter().take(MOST_LINES) {
        let lead = format!("  logged {}: ", counted(count, "time", "times"));
        paragraph(&lead, "      ", &cut(line, LONGEST_LINE), Ink::new(), style, out)?;
    }
    Ok(())
}

/// What happened to requests that failed.
fn failures(shapes: &[LoadShape], style: Style, out: &mut dyn Write) -> io::Result<()> {
    for shape in shapes {
        for failure in shape.whole.iter().flat_map(|whole| &whole.failed) {
            let ink = style.verdict(Verdict::Fail);
            let cache = if shape.shared_cache { "" } else { ", without a shared cache" };
            writeln!(
                out,
                "  {ink}{} on {}{cache}: {}{ink:#}: {}",
                counted(failure.count, "request failed", "requests failed"),
                name(shape),
                failure.how,
                printable(&failure.said)
            )?;
        }
    }
    Ok(())
}

pub(crate) fn name(shape: &LoadShape) -> String {
    format!("{} × {}", shape.replicas, shape.workers)
}

pub(crate) fn stands(stands: Stands) -> (Verdict, &'static str) {
    match stands {
        Stands::Within => (Verdict::Pass, "within"),
        Stands::Over => (Verdict::Fail, "OVER"),
        Stands::Under => (Verdict::Fail, "UNDER"),
        Stands::Unknown => (Verdict::Inconclusive, "unknown"),
    }
}

fn per_thousand(window: &LoadWindow) -> String {
    match window.answered + window.failed {
        0 => "-".to_owned(),
        requests => format!("{:.1}", as_f64(window.loud_lines) * 1_000.0 / as_f64(requests)),
    }
}

/// How many there are of so many in each second of this time; none where it is no time.
pub fn per_second(count: u64, ms: u64) -> f64 {
    if ms == 0 { 0.0 } else { as_f64(count) * 1_000.0 / as_f64(ms) }
}

pub(crate) fn millis(us: u64) -> f64 {
    as_f64(us) / 1_000.0
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::samples;

    #[test]
    fn the_table_reads_as_the_one_it_answers() {
        let mut out = Vec::new();
        render(&samples::load(), Style::PLAIN, &mut out).unwrap();
        assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        200 callers over 10 s, each pausing 500 ms to 1 s, each to a replica of its own; 15 plain keys
        a cached identity lives 5 s, and stands for 1 min 0 s

        With a cache that all share

        V × W   window    calls   total ms  mean ms     rows          bound  stands
        1 × 1     25 s       75      23.25     0.31       75      37..1,125  within
                  50 s    1,249     387.19     0.31    1,249      37..1,125  OVER
        8 × 1     25 s       75      23.25     0.31       75      37..1,125  within
                  50 s    1,249     387.19     0.31    1,249      37..1,125  OVER

        V × W   window  answers  per s  errors  p50 ms  p95 ms  p99 ms   max ms   WARN+
        1 × 1     25 s    6,650    266       7     0.8     2.0     9.1   1024.0     0.6
                  50 s    6,650    133       7     0.8     2.0     9.1   1024.0     0.6
        8 × 1     25 s    6,650    266       7     0.8     2.0     9.1   1024.0     0.6
                  50 s    6,650    133       7     0.8     2.0     9.1   1024.0     0.6
        WARN+: log records at WARN or above for each 1,000 requests

        growth of reads, in those of one process: 0.00 for each more process, at most 0.10: pass
          reads by processes: 1: 1,249; 8: 1,249

        Without a shared cache

        V × W   window    calls   total ms  mean ms     rows          bound  stands
        1 × 1   not available: its configuration needs {redis_url}

        all in all: 28,004 requests sent, 27,990 answered; 27,990 in the provider's ledger, 28,004 access lines,
        176,246 commands and statements on the wire
        logged 8 times: WARN queue is full
        7 requests failed on 1 × 1: 503: no\u{1b}[2J room
        7 requests failed on 8 × 1: 503: no\u{1b}[2J room
        "#);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let written = serde_json::to_string(&samples::load()).unwrap();
        assert_eq!(serde_json::from_str::<Load>(&written).unwrap(), samples::load());
    }

    #[test]
    fn a_load_that_was_kept_before_it_told_of_90_of_100_is_still_understood() {
        let mut written = serde_json::to_value(samples::load()).unwrap();
        let latency = &mut written["shapes"][0]["windows"][0]["latency"];
        assert!(latency.as_object_mut().unwrap().remove("p90_us").is_some());
        let read: Load = serde_json::from_value(written).unwrap();
        assert_eq!(read.shapes[0].windows[0].latency.unwrap().p95_us, 2_044);
    }
}
