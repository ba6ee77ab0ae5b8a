//! Has callers put any gateway under load, and tells what they saw: only an address and keys are known
//! of it.

use std::{ops::ControlFlow, path::Path, time::Duration};

use reports::{
    gateway_load::{GatewayLoad, Seen},
    load::LoadFailure,
    schema::Verdict,
    times::Times,
};
use scenarios::{
    Latencies,
    order::{Counted, Order, Outcome, Progress},
    scenario::Act,
    threshold::{self, Labels, Measure, Point},
};
use tokio::sync::watch;

use super::{
    attacker::{self, AttackerError, Heard},
    experiment::Watcher,
    slope::float,
};
use crate::{clock::whole_micros, runner::redact::redacted};

/// After how many seconds progress is told once more where no line can be written over.
const STILL: u64 = 5;

/// Has callers carry out an order, until its end or until `stop` says so.
///
/// # Errors
///
/// When the process that attacks cannot be followed.
pub async fn drive(
    program: &Path,
    order: &Order,
    stop: watch::Receiver<bool>,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, AttackerError> {
    let (mut latest, mut told) = (Progress::default(), 0);
    let mut stage = Stage::Ramp;
    let hears = async |heard| {
        match heard {
            Heard::Stopping => watcher.step("stopping: the last answers are waited for"),
            Heard::Progress(progress) => {
                let line = line(order, stage, &latest, &progress);
                latest = progress;
                told += 1;
                match told % STILL {
                    0 => watcher.step(&line),
                    _ => watcher.goes_on(&line),
                }
            }
            Heard::AllThere => {
                stage = Stage::Window { since: latest.after_us };
                watcher.step(&format!("all {} callers are there", order.callers));
            }
            Heard::WindowEnded(_) => stage = Stage::Over,
        }
        ControlFlow::Continue(())
    };
    attacker::follow(program, order, stop, hears).await
}

/// Where a load is.
#[derive(Clone, Copy)]
enum Stage {
    Ramp,
    Window { since: u64 },
    Over,
}

/// How far a load is, as one line: the rate is that of the time since `before`.
fn line(order: &Order, stage: Stage, before: &Progress, now: &Progress) -> String {
    let seconds = float(now.after_us.saturating_sub(before.after_us)) / 1_000_000.0;
    let rate = match now.answered.saturating_sub(before.answered) {
        answered if seconds > 0.0 => float(answered) / seconds,
        _ => 0.0,
    };
    let millis = |us: Option<u64>| {
        us.map_or_else(|| "-".to_owned(), |us| format!("{:.1} ms", float(us) / 1_000.0))
    };
    let stage = match stage {
        Stage::Ramp => "ramp".to_owned(),
        Stage::Window { since } => {
            let length = order.windows.last().map_or(Duration::ZERO, |window| window.0);
            let at = now.after_us.saturating_sub(since) / 1_000_000;
            format!("{at} s of {}", scenarios::duration::text(length))
        }
        Stage::Over => "the last answers".to_owned(),
    };
    format!(
        "{stage}: {} callers, {rate:.0}/s, p50 {}, p95 {}, {} answered, {} failed",
        now.callers,
        millis(now.p50_us),
        millis(now.p95_us),
        now.answered,
        now.failed
    )
}

/// What a load was to be.
pub struct Asked<'a> {
    /// Where requests went, as it may be told.
    pub gateways: Vec<String>,
    /// What callers did.
    pub scenario: &'a str,
    /// The order that they carried out.
    pub order: &'a Order,
    /// Requests that were sent before.
    pub first_asked: u64,
}

/// What a load has shown, as the report has it.
pub fn told(asked: &Asked<'_>, outcome: &Outcome) -> GatewayLoad {
    let order = asked.order;
    let length = order.windows.last().map_or(Duration::ZERO, |window| window.0);
    let window = outcome.windows.last().filter(|_| !outcome.stopped);
    let window = window.map(|counted| seen(counted, length));
    let whole = seen(&outcome.whole, Duration::from_micros(outcome.took_us));
    let reason = if outcome.stopped {
        Some("it was stopped before its end, so thresholds have no evidence".to_owned())
    } else if window.is_none() {
        Some(format!("not all {} callers were there soon after the ramp", order.callers))
    } else if window.as_ref().is_none_or(|window| window.answered == 0) {
        Some("no request was answered while all callers were there".to_owned())
    } else {
        None
    };
    GatewayLoad {
        gateways: asked.gateways.clone(),
        scenario: asked.scenario.to_owned(),
        model: order.model.clone(),
        callers: order.callers,
        ramp_ms: millis(order.ramp),
        pause_ms: millis(order.pause.most),
        patience_ms: millis(order.patience),
        keys: u32::try_from(order.keys.len()).unwrap_or(u32::MAX),
        window_ms: millis(length),
        verdict: if reason.is_some() { Verdict::Inconclusive } else { Verdict::Pass },
        reason,
        first_asked: asked.first_asked,
        sent: outcome.sent,
        whole,
        window,
    }
}

/// What a load whose callers do this measures.
pub fn measures(act: Act) -> impl Iterator<Item = Measure> {
    Measure::ALL.into_iter().filter(move |measure| match measure {
        Measure::Latency(_) | Measure::ErrorRate | Measure::Rate => true,
        Measure::Ttft(_) | Measure::Gap(_) | Measure::TokenRate => act == Act::StreamedChat,
        Measure::HitRatio
        | Measure::SqlPerWarmRequest
        | Measure::RedisPerWarmRequest
        | Measure::LogLinesPer1000
        | Measure::ReadsSlope => false,
    })
}

/// What thresholds can be about: what was seen while all callers were there. Where that was cut short,
/// all of it is measured as nothing.
pub fn measured(act: Act, load: &GatewayLoad) -> Vec<threshold::Measured> {
    let window = load.window.as_ref().filter(|window| window.requests() > 0);
    let requests = window.map_or(0, Seen::requests);
    let labels = Labels::default();
    measures(act)
        .map(|measure| {
            let value = window.and_then(|window| value(measure, window));
            threshold::Measured { measure, labels, value, requests }
        })
        .collect()
}

fn value(measure: Measure, seen: &Seen) -> Option<f64> {
    match measure {
        Measure::Latency(point) => Some(float(of(seen.latency?, point))),
        Measure::Ttft(point) => Some(float(of(seen.ttft?, point))),
        Measure::Gap(point) => Some(float(of(seen.gap?, point))),
        Measure::ErrorRate => Some(float(seen.failures()) / float(seen.requests())),
        Measure::Rate => Some(seen.rate()),
        Measure::TokenRate => Some(seen.token_rate()),
        Measure::HitRatio
        | Measure::SqlPerWarmRequest
        | Measure::RedisPerWarmRequest
        | Measure::LogLinesPer1000
        | Measure::ReadsSlope => None,
    }
}

/// A point of a distribution, in microseconds.
pub(super) fn of(times: Times, point: Point) -> u64 {
    match point {
        Point::P50 => times.p50_us,
        Point::P90 => times.p90_us,
        Point::P95 => times.p95_us,
        Point::P99 => times.p99_us,
        Point::Max => times.max_us,
    }
}

fn seen(counted: &Counted, took: Duration) -> Seen {
    Seen {
        took_ms: millis(took),
        answered: counted.answered(),
        failed: counted
            .failed
            .iter()
            .map(|(how, failed)| LoadFailure {
                how: how.clone(),
                count: failed.count,
                said: redacted(&failed.said),
            })
            .collect(),
        latency: times(&counted.latencies),
        ttft: times(&counted.first_tokens),
        gap: times(&counted.gaps),
        tokens: counted.tokens,
        bytes: counted.bytes,
        by_gateway: counted.by_replica.clone(),
    }
}

/// The points of a distribution; nothing where nothing was counted.
pub(super) fn times(latencies: &Latencies) -> Option<Times> {
    let at = |point: Point| latencies.quantile(point.share()).map(whole_micros);
    Some(Times {
        p50_us: at(Point::P50)?,
        p90_us: at(Point::P90)?,
        p95_us: at(Point::P95)?,
        p99_us: at(Point::P99)?,
        max_us: at(Point::Max)?,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use scenarios::{
        load_profile::Balance,
        order::{Pause, Streamed, Window},
        threshold::Kept,
    };

    use super::*;

    fn order() -> Order {
        Order {
            act: Act::StreamedChat,
            replicas: vec!["http://127.0.0.1:1".to_owned()],
            keys: vec!["sk-abcdefghij".to_owned()],
            model: "a".to_owned(),
            mark: "m".to_owned(),
            callers: 3,
            ramp: Duration::from_secs(1),
            pause: Pause { least: Duration::ZERO, most: Duration::ZERO },
            patience: Duration::from_secs(30),
            balance: Balance::EachRequest,
            windows: vec![Window(Duration::from_secs(10))],
        }
    }

    fn counted(answered: u64, failed: u64) -> Counted {
        let mut counted = Counted::default();
        for _ in 0..answered {
            counted.count(0, 0, Ok(Duration::from_millis(20)));
            counted.count_stream(&Streamed {
                first_token: Duration::from_millis(5),
                gaps: vec![1_000; 4],
            });
        }
        for _ in 0..failed {
            counted.count(0, 0, Err(("503".to_owned(), "no sk-zyxwvuts here".to_owned())));
        }
        counted
    }

    fn load(windows: Vec<Counted>, stopped: bool) -> GatewayLoad {
        let whole = windows.last().cloned().unwrap_or_default();
        let outcome =
            Outcome { stopped, sent: whole.requests(), took_us: 11_000_000, windows, whole };
        let gateways = vec!["http://127.0.0.1:1".to_owned()];
        let asked = Asked { gateways, scenario: "streamed-chat", order: &order(), first_asked: 1 };
        told(&asked, &outcome)
    }

    fn kept(threshold: &str, load: &GatewayLoad) -> Kept {
        let threshold: threshold::Threshold = threshold.parse().unwrap();
        threshold.judge(&measured(Act::StreamedChat, load)).kept
    }

    #[test]
    fn what_callers_saw_while_all_were_there_is_what_thresholds_are_about() {
        let load = load(vec![counted(95, 5)], false);
        assert_eq!((load.verdict, load.reason.as_deref()), (Verdict::Pass, None));
        assert_eq!(load.whole.failed[0].said, "no sk-[redacted] here");
        for (threshold, expected) in [
            ("latency_p95 <= 21ms", Kept::Yes),
            ("latency_p95 <= 19ms", Kept::No),
            ("ttft_max <= 5.1ms", Kept::Yes),
            ("gap_p99 < 900us", Kept::No),
            ("error_rate <= 5%", Kept::Yes),
            ("error_rate < 5%", Kept::No),
            ("rate == 9.5/s", Kept::Yes),
            ("token_rate == 47.5", Kept::Yes),
            ("latency_p90 <= 19ms", Kept::No),
        ] {
            assert_eq!(kept(threshold, &load), expected, "{threshold}");
        }
    }

    #[test]
    fn what_was_cut_short_or_not_answered_is_no_evidence() {
        let cut_short = load(Vec::new(), true);
        let refused = load(vec![counted(0, 5)], false);
        for load in [&cut_short, &refused] {
            assert_eq!(load.verdict, Verdict::Inconclusive);
            assert_eq!(kept("latency_p95 <= 1s", load), Kept::Unknown);
            assert_eq!(kept("ttft_p50 <= 1s", load), Kept::Unknown);
        }
        assert_eq!(kept("error_rate <= 1%", &cut_short), Kept::Unknown);
        // A window that was to end while the last answers came.
        let stopped = load(vec![counted(95, 5)], true);
        assert_eq!((stopped.verdict, &stopped.window), (Verdict::Inconclusive, &None));
        assert_eq!(kept("error_rate <= 1%", &stopped), Kept::Unknown);
        assert_eq!(kept("error_rate <= 1%", &refused), Kept::No);
    }

    #[test]
    fn a_line_of_progress_tells_the_rate_of_the_last_second() {
        let before = Progress { answered: 100, after_us: 1_000_000, ..Progress::default() };
        let now = Progress {
            callers: 3,
            answered: 400,
            failed: 2,
            after_us: 3_000_000,
            p50_us: Some(1_250),
            p95_us: None,
        };
        insta::assert_snapshot!(
            line(&order(), Stage::Window { since: 1_000_000 }, &before, &now),
            @"2 s of 10s: 3 callers, 150/s, p50 1.2 ms, p95 -, 400 answered, 2 failed"
        );
    }
}
