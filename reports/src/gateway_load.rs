//! What callers saw of any gateway under load: its part of the report, and how a terminal shows it.
//!
//! Nothing is known of such a gateway but its address and a key, so all of it is what callers sent,
//! what came back, and when.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::{
    layout::{bytes, counted, grouped, span},
    load::{LoadFailure, as_f64, millis, per_second},
    schema::{Totals, Verdict},
    terminal::{Style, paragraph},
    times::Times,
};

/// A load on any gateway: what was asked for, and what callers saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayLoad {
    /// Where requests went; each is a replica.
    pub gateways: Vec<String>,
    /// What callers did.
    pub scenario: String,
    /// The model alias that they asked for.
    pub model: String,
    /// How many callers there were.
    pub callers: u32,
    /// How long it took until all of them were there.
    pub ramp_ms: u64,
    /// What each waited between an answer and its next request.
    pub pause_ms: u64,
    /// How long each waited for an answer, or for the next part of a stream.
    pub patience_ms: u64,
    /// How many keys they shared.
    pub keys: u32,
    /// How long all callers were to be there together.
    pub window_ms: u64,
    /// Whether there is something to be said of the gateway.
    pub verdict: Verdict,
    /// Why there is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Requests that were sent before the load, to see whether there would be answers.
    pub first_asked: u64,
    /// Requests that callers sent, all in all. Each is counted again as answered or failed.
    pub sent: u64,
    /// From the first request to the last.
    pub whole: Seen,
    /// While all callers were there; absent where that was cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Seen>,
}

/// What callers saw in some stretch of time: requests that began in it, whenever they ended, and those
/// that began before it and lasted through all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How long it was.
    pub took_ms: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were not, by what happened instead.
    #[serde(default)]
    pub failed: Vec<LoadFailure>,
    /// How long whole answers took; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Times>,
    /// The time to the first token; absent where there were no streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Times>,
    /// The gaps between tokens; absent where no stream had two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Times>,
    /// Tokens of streams that succeeded: chunks with content.
    #[serde(default)]
    pub tokens: u64,
    /// Bytes of all bodies, those of failed requests included.
    #[serde(default)]
    pub bytes: u64,
    /// Requests by gateway, in the order of their addresses.
    #[serde(default)]
    pub by_gateway: Vec<u64>,
}

impl GatewayLoad {
    /// What the numbers are of: the time with all callers, or all of it where that was cut short.
    pub fn seen(&self) -> &Seen {
        self.window.as_ref().unwrap_or(&self.whole)
    }

    /// Its one verdict, counted.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        totals.count(self.verdict);
        totals
    }

    /// All requests that ended.
    pub fn requests(&self) -> u64 {
        self.whole.requests()
    }
}

impl Seen {
    /// Requests that were not answered.
    pub fn failures(&self) -> u64 {
        self.failed.iter().map(|failure| failure.count).sum()
    }

    /// Requests that ended, well or not.
    pub fn requests(&self) -> u64 {
        self.answered + self.failures()
    }

    /// Answers in each second.
    pub fn rate(&self) -> f64 {
        per_second(self.answered, self.took_ms)
    }

    /// Tokens in each second, over all streams that succeeded.
    pub fn token_rate(&self) -> f64 {
        per_second(self.tokens, self.took_ms)
    }

    /// The distributions that there are, each with its name.
    pub(crate) fn times(&self) -> impl Iterator<Item = (&'static str, Times)> {
        [("latency", self.latency), ("TTFT", self.ttft), ("token gap", self.gap)]
            .into_iter()
            .filter_map(|(name, times)| Some((name, times?)))
    }
}

/// Writes what callers saw.
///
/// # Errors
///
/// What the writer says.
pub(crate) fn render(load: &GatewayLoad, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let plain = anstyle::Style::new();
    paragraph("  ", "  ", &callers(load), plain, style, out)?;
    if let Some(reason) = &load.reason {
        let ink = style.verdict(load.verdict);
        paragraph("  ", "  ", &format!("{}: {reason}", load.verdict), ink, style, out)?;
    }
    writeln!(out)?;
    paragraph("  ", "  ", &seen(load), plain, style, out)?;
    let faint = style.faint();
    if load.seen().times().next().is_some() {
        let heads =
            Times::default().points().map(|(name, _)| format!("{:>11}", format!("{name} ms")));
        writeln!(out, "\n  {faint}{:<9}{}{faint:#}", "", heads.concat())?;
    }
    for (name, times) in load.seen().times() {
        let cells = times.points().map(|(_, us)| format!("{:>11}", shown(us)));
        writeln!(out, "  {name:<9}{}", cells.concat())?;
    }
    writeln!(out)?;
    paragraph("  ", "  ", &all_in_all(load), faint, style, out)?;
    for failure in &load.whole.failed {
        let ink = style.verdict(Verdict::Fail);
        let text = format!(
            "{}: {}: {}",
            counted(failure.count, "request failed", "requests failed"),
            failure.how,
            if failure.said.is_empty() { "(an empty body)" } else { &failure.said },
        );
        paragraph("  ", "      ", &text, ink, style, out)?;
    }
    Ok(())
}

/// Who sent requests, and how.
pub(crate) fn callers(load: &GatewayLoad) -> String {
    let pause = match load.pause_ms {
        0 => "none pausing between requests".to_owned(),
        pause => format!("each pausing {} between requests", span(pause)),
    };
    let gateways = match load.gateways.len() {
        0 | 1 => String::new(),
        more => format!(", each to one of {more} gateways"),
    };
    format!(
        "{} over {}, {pause}{gateways}; {}; model alias {}",
        counted(u64::from(load.callers), "caller", "callers"),
        span(load.ramp_ms),
        counted(u64::from(load.keys), "key", "keys"),
        load.model
    )
}

/// How much there was of what the numbers are of.
pub(crate) fn seen(load: &GatewayLoad) -> String {
    let seen = load.seen();
    let stretch = match &load.window {
        Some(_) => format!("{} with all callers", span(load.window_ms)),
        None => format!("{} in all", span(seen.took_ms)),
    };
    let tokens = match seen.tokens {
        0 => String::new(),
        tokens => {
            format!("; {} ({}/s)", counted(tokens, "token", "tokens"), rate(seen.token_rate()))
        }
    };
    let share = match seen.requests() {
        0 => String::new(),
        requests => format!(" ({:.2} %)", as_f64(seen.failures()) * 100.0 / as_f64(requests)),
    };
    format!(
        "{stretch}: {} answered ({}/s), {} failed{share}{tokens}; {} received",
        grouped(seen.answered),
        rate(seen.rate()),
        grouped(seen.failures()),
        bytes(seen.bytes)
    )
}

/// What everybody who counts requests can compare with.
pub(crate) fn all_in_all(load: &GatewayLoad) -> String {
    let before = counted(load.first_asked, "more request", "more requests");
    format!(
        "all in all, from the first request to the last: {} sent, {} answered, {} failed; and {before} \
         before the load, to see whether there are answers",
        grouped(load.sent),
        grouped(load.whole.answered),
        grouped(load.whole.failures()),
    )
}

/// A time in milliseconds, with as many digits as say something.
pub(crate) fn shown(us: u64) -> String {
    match us {
        0..10_000 => format!("{:.2}", millis(us)),
        _ => format!("{:.1}", millis(us)),
    }
}

/// A rate to about three digits.
fn rate(rate: f64) -> String {
    match rate {
        ..100.0 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::samples;

    fn shown(load: &GatewayLoad) -> String {
        let mut out = Vec::new();
        render(load, Style::PLAIN, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn streams_are_told_by_their_first_token_and_their_gaps() {
        assert_snapshot!(shown(&samples::gateway_load()), @r"
          50 callers over 5 s, none pausing between requests; 1 key; model alias
          gpt-4o-mini

          30 s with all callers: 12,340 answered (411/s), 20 failed (0.16 %); 98,720
          tokens (3291/s); 22.4 MB received

                        p50 ms     p90 ms     p95 ms     p99 ms     max ms
          latency         24.1       48.2       72.3      241.1     2411.3
          TTFT            8.25       16.5       24.8       82.5      825.0
          token gap       0.99       1.98       2.97       9.90       99.0

          all in all, from the first request to the last: 13,022 sent, 13,000 answered,
          22 failed; and 2 more requests before the load, to see whether there are
          answers
          1 request failed: 200 with a stream that ended early: no [DONE] after 3
              tokens
          21 requests failed: 429: slow\u{1b}[2J down
        ");
    }

    #[test]
    fn a_load_that_was_cut_short_tells_what_was_seen() {
        let load = GatewayLoad {
            verdict: Verdict::Inconclusive,
            reason: Some("it was stopped before its end".to_owned()),
            window: None,
            whole: Seen { latency: None, ttft: None, gap: None, ..samples::gateway_load().whole },
            ..samples::gateway_load()
        };
        assert_snapshot!(shown(&load), @r"
          50 callers over 5 s, none pausing between requests; 1 key; model alias
          gpt-4o-mini
          inconclusive: it was stopped before its end

          36.1 s in all: 13,000 answered (360/s), 22 failed (0.17 %); 104,000 tokens
          (2879/s); 23.5 MB received

          all in all, from the first request to the last: 13,022 sent, 13,000 answered,
          22 failed; and 2 more requests before the load, to see whether there are
          answers
          1 request failed: 200 with a stream that ended early: no [DONE] after 3
              tokens
          21 requests failed: 429: slow\u{1b}[2J down
        ");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let written = serde_json::to_string(&samples::gateway_load()).unwrap();
        assert_eq!(serde_json::from_str::<GatewayLoad>(&written).unwrap(), samples::gateway_load());
    }
}
