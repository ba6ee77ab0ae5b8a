//! From the numbers of an experiment to its part of the report. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reports::{
    load::{
        Callers, Load, LoadFailure, LoadShape, LoadWindow, Query, Slope, Stands, Whole, per_second,
    },
    schema::Verdict,
};
use scenarios::{
    KeyClass, LoadProfile,
    load_profile::Balance,
    threshold::{self, Labels, Measure, Point},
};

use super::{
    bound::{bound, stands},
    experiment::{Fate, Measured, Numbers, WindowNumbers},
    gateway::{of, times},
    slope::{float, slope},
};
use crate::{
    capability::{Capability, Probed},
    clock::whole_micros,
    op::Kind,
    runner::redact::redacted,
    target::Topology,
};

/// The most that reads may grow with each process, where all share a cache.
const STEEPEST: f64 = 0.1;

/// The share of requests that may fail before the reads of the others say nothing.
const MOST_FAILED: f64 = 0.01;

/// What an experiment with this profile has shown.
pub fn told(profile: &LoadProfile, lifetime: Duration, measured: &[Measured]) -> Load {
    let callers = &profile.callers;
    let shapes: Vec<_> =
        measured.iter().map(|measured| shape(profile, lifetime, measured)).collect();
    let slopes =
        [true, false].into_iter().filter_map(|shared| growth(profile, &shapes, shared)).collect();
    let unscaled = profile.cache.unscaled_lifetime;
    Load {
        profile: profile.name.clone(),
        title: profile.title.clone(),
        callers: Callers {
            count: callers.count.get(),
            ramp_ms: millis(callers.ramp),
            pause_ms: (millis(callers.pause.least), millis(callers.pause.most)),
            balance: match callers.balance {
                Balance::Pinned => "each to a replica of its own".to_owned(),
                Balance::EachRequest => "to another replica with each request".to_owned(),
            },
            keys: callers.keys.get(),
            key_class: callers.key_class.to_string(),
        },
        lifetime_ms: millis(lifetime),
        scaled_from_ms: (unscaled != lifetime).then(|| millis(unscaled)),
        shapes,
        slopes,
    }
}

/// What a load with this profile measures on these shapes, and with which labels.
pub fn measures(profile: &LoadProfile, shapes: &[Topology]) -> Vec<(Measure, Labels)> {
    let class = Labels::class(profile.callers.key_class);
    let sharing = shapes.iter().filter(|shape| shape.redis);
    let processes: BTreeSet<_> = sharing.map(|shape| shape.processes()).collect();
    Measure::ALL
        .into_iter()
        .filter_map(|measure| match measure {
            Measure::HitRatio | Measure::Latency(_) | Measure::ErrorRate => Some((measure, class)),
            Measure::Rate | Measure::LogLinesPer1000 => Some((measure, Labels::default())),
            // One point has no slope.
            Measure::ReadsSlope => (processes.len() > 1).then_some((measure, Labels::default())),
            Measure::SqlPerWarmRequest
            | Measure::RedisPerWarmRequest
            | Measure::Ttft(_)
            | Measure::Gap(_)
            | Measure::TokenRate => None,
        })
        .collect()
}

/// What thresholds can be about: of each shape, the longest window and, for the cache, all of it.
///
/// A shape that was not seen to its end is measured as nothing, so that no threshold takes the others
/// for all.
pub fn measured(
    profile: &LoadProfile,
    load: &Load,
    measured: &[Measured],
) -> Vec<threshold::Measured> {
    let class = profile.callers.key_class;
    let labels = Labels::class(class);
    let mut all = Vec::new();
    for (shape, measured) in load.shapes.iter().zip(measured) {
        let numbers = match &measured.fate {
            Fate::Measured(numbers) => Some(numbers),
            Fate::Stopped => None,
            Fate::NotAvailable(_) => continue,
        };
        let window = longest(profile, shape);
        let requests = window.map_or(0, |window| window.answered + window.failed);
        let mut tell = |measure, labels, value| {
            all.push(threshold::Measured { measure, labels, value, requests });
        };
        for point in Point::ALL {
            let value = window.and_then(|window| Some(float(of(window.latency?, point))));
            tell(Measure::Latency(point), labels, value);
        }
        let rate = window.map(|window| per_second(window.answered, window.asked_ms));
        tell(Measure::Rate, Labels::default(), rate);
        let share = |of: fn(&LoadWindow) -> u64| {
            window.filter(|_| requests > 0).map(|window| float(of(window)) / float(requests))
        };
        tell(Measure::ErrorRate, labels, share(|window| window.failed));
        let loud = share(|window| window.loud_lines).map(|share| share * 1_000.0);
        tell(Measure::LogLinesPer1000, Labels::default(), loud);
        let hit_ratio = window.and(numbers).and_then(|numbers| hit_ratio(class, numbers));
        tell(Measure::HitRatio, labels, hit_ratio);
    }
    let due = |shape: &&LoadShape| shape.shared_cache && shape.verdict != Verdict::NotApplicable;
    let due = load.shapes.iter().filter(due).count();
    for slope in load.slopes.iter().filter(|slope| slope.shared_cache) {
        let (measure, labels) = (Measure::ReadsSlope, Labels::default());
        let value = slope.slope.filter(|_| slope.points.len() == due);
        all.push(threshold::Measured { measure, labels, value, requests: 0 });
    }
    all
}

/// The longest window of a shape; nothing where not all of the profile's ended, for the last that did
/// is shorter than those that it would stand beside.
fn longest<'a>(profile: &LoadProfile, shape: &'a LoadShape) -> Option<&'a LoadWindow> {
    shape.windows.last().filter(|_| shape.windows.len() == profile.cache.windows.len())
}

/// The share of lookups that no database answered, over the whole run; nothing where its reads would
/// not be believed.
fn hit_ratio(class: KeyClass, numbers: &Numbers) -> Option<f64> {
    let requests = &numbers.outcome.whole;
    let all_seen = blind(numbers).is_none() && numbers.lost == 0 && numbers.whole.forgotten == 0;
    if !all_seen || is_too_much(requests.failures(), requests.requests()) {
        return None;
    }
    numbers.whole.lookups_by_class().get(&class)?.hit_ratio()
}

/// What an experiment comes to as a whole: nothing where no shape was measured.
pub fn verdict(load: &Load) -> Option<Verdict> {
    let all = || {
        let slopes = load.slopes.iter().map(|slope| slope.verdict);
        load.shapes.iter().map(|shape| shape.verdict).chain(slopes)
    };
    [Verdict::Fail, Verdict::Inconclusive, Verdict::Skipped, Verdict::Pass]
        .into_iter()
        .find(|verdict| all().any(|found| found == *verdict))
}

fn shape(profile: &LoadProfile, lifetime: Duration, measured: &Measured) -> LoadShape {
    let Topology { replicas, workers, redis } = measured.shape;
    let mut told = LoadShape {
        replicas: replicas.get(),
        workers: workers.get(),
        shared_cache: redis,
        verdict: Verdict::Skipped,
        reason: None,
        windows: Vec::new(),
        whole: None,
    };
    let numbers = match &measured.fate {
        Fate::Measured(numbers) => numbers,
        Fate::NotAvailable(why) => {
            told.verdict = Verdict::NotApplicable;
            told.reason = Some(why.clone());
            return told;
        }
        Fate::Stopped => {
            told.reason = Some("the run was stopped before its turn".to_owned());
            return told;
        }
    };
    let caches =
        if redis && numbers.manifest.shared_cache { 1 } else { measured.shape.processes() };
    let blind = blind(numbers);
    told.windows = numbers
        .windows
        .iter()
        .map(|window| one_window(window, profile.callers.keys.get(), lifetime, caches))
        .map(|window| match &blind {
            Some(_) => LoadWindow { stands: Stands::Unknown, ..window },
            None => window,
        })
        .collect();
    told.whole = Some(whole(numbers));
    let broken = |stands| matches!(stands, Stands::Over | Stands::Under);
    let cut_short = numbers.cut_short.as_ref().map(|why| redacted(&why.to_string()));
    let doubt = cut_short.or(blind).or_else(|| doubt(&told.windows));
    (told.verdict, told.reason) = if told.windows.iter().any(|window| broken(window.stands)) {
        (Verdict::Fail, None)
    } else if let Some(why) = doubt {
        (Verdict::Inconclusive, Some(why))
    } else {
        (Verdict::Pass, None)
    };
    told
}

/// Why no reads of a shape can be told, if they cannot.
fn blind(numbers: &Numbers) -> Option<String> {
    let seen = |probed: &Probed| probed.capability == Capability::PostgresWire && probed.confirmed;
    if !numbers.probed.iter().any(seen) {
        return Some("what the target asks Postgres is not seen on the wire".to_owned());
    }
    // Keys are new when callers come, so somebody has to read each of them once.
    if numbers.whole.key_query().calls == 0 {
        return Some("no statement was ever seen to read a key".to_owned());
    }
    (numbers.unseen_bytes > 0).then(|| {
        format!("{} bytes on the way to the stores were not understood", numbers.unseen_bytes)
    })
}

/// Why the reads of these windows say nothing, if they do not.
fn doubt(windows: &[LoadWindow]) -> Option<String> {
    let Some(unknown) = windows.iter().find(|window| window.stands == Stands::Unknown) else {
        return windows.is_empty().then(|| "no window ended".to_owned());
    };
    let requests = unknown.answered + unknown.failed;
    Some(if unknown.lost > 0 {
        format!("{} observations were lost on the way, so reads cannot be told", unknown.lost)
    } else if requests == 0 {
        "no request came to its end".to_owned()
    } else {
        format!(
            "{} of {requests} requests failed, so keys were not in use as meant",
            unknown.failed
        )
    })
}

fn one_window(window: &WindowNumbers, keys: u8, lifetime: Duration, caches: u16) -> LoadWindow {
    let query = window.wire.key_query();
    let bound = bound(keys.into(), window.asked, lifetime, caches.into());
    let (answered, failed) = (window.counted.answered(), window.counted.failures());
    let entries = window.wire.cells.values().flat_map(|counts| counts.entries.values());
    let believed = window.lost == 0 && !is_too_much(failed, answered + failed);
    LoadWindow {
        asked_ms: millis(window.asked),
        took_ms: millis(window.wire.took),
        identity_query: Query {
            calls: query.calls,
            total_us: whole_micros(query.took),
            rows: query.rows,
        },
        bound,
        stands: if believed { stands(bound, query.calls) } else { Stands::Unknown },
        answered,
        failed,
        latency: times(&window.counted.latencies),
        loud_lines: window.lines.loud,
        lost: window.lost,
        by_replica: window.counted.by_replica.clone(),
        reads: by_kind(&window.wire.reads()),
        redis_hits: entries.clone().map(|entries| entries.hits).sum(),
        redis_misses: entries.clone().map(|entries| entries.misses).sum(),
        redis_writes: entries.map(|entries| entries.writes).sum(),
    }
}

/// Whether so many of so many requests failed that the others do not stand for all.
fn is_too_much(failed: u64, requests: u64) -> bool {
    requests == 0 || float(failed) > MOST_FAILED * float(requests)
}

fn by_kind(reads: &BTreeMap<Kind, u64>) -> BTreeMap<String, u64> {
    reads.iter().map(|(kind, count)| (kind.to_string(), *count)).collect()
}

fn whole(numbers: &Numbers) -> Whole {
    let outcome = &numbers.outcome;
    Whole {
        sent: outcome.sent,
        answered: outcome.whole.answered(),
        failed: outcome
            .whole
            .failed
            .iter()
            .map(|(how, failed)| LoadFailure {
                how: how.clone(),
                count: failed.count,
                said: redacted(&failed.said),
            })
            .collect(),
        provider_rows: numbers.provider_rows,
        access_lines: numbers.lines.access,
        wire_events: numbers.wire_events,
        reads: by_kind(&numbers.whole.reads()),
        loud_lines: numbers.lines.loud_shapes.clone(),
    }
}

/// How reads of the longest window grow, over all shapes that were measured with a shared cache or
/// without; nothing where there are none.
fn growth(profile: &LoadProfile, shapes: &[LoadShape], shared_cache: bool) -> Option<Slope> {
    let points: Vec<_> = shapes
        .iter()
        .filter(|shape| shape.shared_cache == shared_cache)
        .filter_map(|shape| {
            let longest = longest(profile, shape).filter(|it| it.stands != Stands::Unknown)?;
            let processes = u16::from(shape.replicas) * u16::from(shape.workers);
            Some((processes, longest.identity_query.calls))
        })
        .collect();
    if points.is_empty() {
        return None;
    }
    let slope = slope(&points);
    let verdict = match slope {
        _ if !shared_cache => Verdict::NotApplicable,
        Some(slope) if slope > STEEPEST => Verdict::Fail,
        Some(_) => Verdict::Pass,
        None => Verdict::NotApplicable,
    };
    Some(Slope { shared_cache, points, slope, at_most: shared_cache.then_some(STEEPEST), verdict })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use scenarios::{
        order::{Counted, Outcome},
        threshold::Kept,
    };

    use super::*;
    use crate::{
        clock::Micros,
        history::{Event, hand::Hand},
        load::experiment::CutShort,
        op::Replica,
        runner::{collect::LineCounts, reach::MadeOf},
        tally::{self, Tally},
    };

    const LIFETIME: Duration = Duration::from_secs(5);

    /// The published load, with windows that end after so many lifetimes.
    fn profile_of(windows: &[u8]) -> LoadProfile {
        let mut profile = LoadProfile::built_in("seed_001").unwrap();
        profile.cache.windows =
            windows.iter().map(|window| NonZeroU8::new(*window).unwrap()).collect();
        profile
    }

    fn profile() -> LoadProfile {
        profile_of(&[5])
    }

    /// What the stores were asked in a window with so many reads of keys, for a thousand requests.
    fn wire(reads: u64) -> tally::Window {
        let mut tally = Tally::default();
        tally.classify("k".to_owned(), KeyClass::Plain);
        let before = tally.snapshot(Micros(0));
        for _ in 0..reads {
            let read = Event::Sql {
                replica: Replica(0),
                answered: Some(Micros(300)),
                sql: "SELECT".to_owned(),
                params: vec![Some("k".to_owned())],
                reads: vec![Kind::Key],
                rows: Some(1),
                error: None,
            };
            tally.observe(Micros(0), &read, "", None);
        }
        tally.requests(KeyClass::Plain, Replica(0), 1_000);
        tally.snapshot(Micros(25_000_000)).since(&before)
    }

    fn counted(answered: u64, failed: u64) -> Counted {
        let mut counted = Counted::default();
        for _ in 0..answered {
            counted.count(0, 0, Ok(Duration::from_millis(2)));
        }
        for _ in 0..failed {
            counted.count(0, 0, Err(("503".to_owned(), "no key sk-abcdefghij".to_owned())));
        }
        counted
    }

    /// One window of five lifetimes, in which 38 to 112 reads of one cache are within bounds.
    fn numbers(reads: u64) -> Numbers {
        Numbers {
            windows: vec![WindowNumbers {
                asked: Duration::from_secs(25),
                wire: wire(reads),
                lines: LineCounts::default(),
                lost: 0,
                counted: counted(1_000, 0),
            }],
            outcome: Outcome { sent: 1_000, whole: counted(1_000, 0), ..Outcome::default() },
            provider_rows: Some(1_000),
            lines: LineCounts::default(),
            wire_events: reads,
            unseen_bytes: 0,
            whole: wire(reads),
            lost: 0,
            cut_short: None,
            manifest: Hand::new().done().manifest,
            made_of: MadeOf::default(),
            probed: vec![Probed {
                capability: Capability::PostgresWire,
                confirmed: true,
                note: String::new(),
            }],
        }
    }

    fn measured(replicas: u8, redis: bool, fate: Fate) -> Measured {
        let replicas = NonZeroU8::new(replicas).unwrap();
        Measured { shape: Topology { replicas, workers: NonZeroU8::MIN, redis }, fate }
    }

    /// The verdict on one replica with these numbers, and why.
    fn judged(numbers: Numbers) -> (Verdict, String) {
        let measured = [measured(1, true, Fate::Measured(Box::new(numbers)))];
        let load = told(&profile(), LIFETIME, &measured);
        assert_eq!(verdict(&load), Some(load.shapes[0].verdict));
        (load.shapes[0].verdict, load.shapes[0].reason.clone().unwrap_or_default())
    }

    fn judged_by(threshold: &str, measured: &[threshold::Measured]) -> Kept {
        threshold.parse::<threshold::Threshold>().unwrap().judge(measured).kept
    }

    #[test]
    fn reads_break_their_bound_on_either_side() {
        let verdicts = [37, 38, 112, 113].map(|reads| judged(numbers(reads)).0);
        assert_eq!(verdicts, [Verdict::Fail, Verdict::Pass, Verdict::Pass, Verdict::Fail]);
    }

    #[test]
    fn what_was_not_seen_is_inconclusive_and_says_why() {
        let with = |change: fn(&mut Numbers)| {
            let mut numbers = numbers(500);
            change(&mut numbers);
            judged(numbers)
        };
        for ((verdict, why), word) in [
            (with(|it| it.windows[0].lost = 3), "3 observations were lost"),
            (with(|it| it.windows[0].counted = counted(980, 20)), "20 of 1000 requests failed"),
            (with(|it| it.windows[0].counted = counted(0, 0)), "no request"),
            (with(|it| it.windows.clear()), "no window ended"),
            (with(|it| it.probed.clear()), "not seen on the wire"),
            (with(|it| it.whole = wire(0)), "ever seen to read a key"),
            (with(|it| it.unseen_bytes = 9), "9 bytes"),
            (
                with(|it| {
                    it.windows.clear();
                    it.cut_short = Some(CutShort::Late(3))
                }),
                "not all 3",
            ),
        ] {
            assert_eq!(verdict, Verdict::Inconclusive, "{why}");
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_shape_that_cannot_be_had_says_why_and_decides_nothing() {
        let absent = measured(1, false, Fate::NotAvailable("no".to_owned()));
        let there = measured(1, true, Fate::Measured(Box::new(numbers(75))));
        let load = told(&profile(), LIFETIME, &[there, absent]);
        assert_eq!(load.shapes[1].verdict, Verdict::NotApplicable);
        assert_eq!(verdict(&load), Some(Verdict::Pass));
        let stopped = measured(1, true, Fate::Stopped);
        let load = told(&profile(), LIFETIME, &[stopped]);
        assert_eq!(verdict(&load), Some(Verdict::Skipped));
    }

    #[test]
    fn growth_breaks_its_bound_only_where_a_cache_is_shared() {
        let grown = |redis| {
            let shapes = [1_u8, 2].map(|replicas| {
                let reads = 50 * u64::from(replicas);
                measured(replicas, redis, Fate::Measured(Box::new(numbers(reads))))
            });
            told(&profile(), LIFETIME, &shapes)
        };
        let shared = grown(true);
        assert!(shared.shapes.iter().all(|shape| shape.verdict == Verdict::Pass));
        assert_eq!(shared.slopes[0].slope, Some(1.0));
        assert_eq!(verdict(&shared), Some(Verdict::Fail));
        assert_eq!(verdict(&grown(false)), Some(Verdict::Pass));
    }

    #[test]
    fn what_was_said_to_a_failed_request_holds_no_key() {
        let mut failing = numbers(75);
        failing.outcome.whole = counted(1, 1);
        let load =
            told(&profile(), LIFETIME, &[measured(1, true, Fate::Measured(Box::new(failing)))]);
        assert_eq!(load.shapes[0].whole.as_ref().unwrap().failed[0].said, "no key sk-[redacted]");
    }

    #[test]
    fn thresholds_are_about_the_longest_window_of_every_shape() {
        let mut failing = numbers(75);
        failing.windows[0].counted = counted(995, 5);
        let shapes = [
            measured(1, true, Fate::Measured(Box::new(numbers(75)))),
            measured(2, true, Fate::Measured(Box::new(failing))),
        ];
        let load = told(&profile(), LIFETIME, &shapes);
        let all = super::measured(&profile(), &load, &shapes);
        let judge = |text: &str| judged_by(text, &all);
        assert_eq!(judge("error_rate <= 0.5%"), Kept::Yes);
        assert_eq!(judge("error_rate <= 0%"), Kept::No);
        assert_eq!(judge("latency_p95{class=plain} <= 3ms"), Kept::Yes);
        assert_eq!(judge("latency_max < 1ms"), Kept::No);
        assert_eq!(judge("latency_p90 <= 1ms"), Kept::No);
        assert_eq!(judge("latency_p90 <= 3ms"), Kept::Yes);
        // The worst is 995 answers in 25 s.
        assert_eq!(judge("rate >= 39/s"), Kept::Yes);
        assert_eq!(judge("rate >= 39.9/s"), Kept::No);
        let told: BTreeSet<_> = all.iter().map(|it| (it.measure, it.labels)).collect();
        let shapes = shapes.map(|it| it.shape);
        assert_eq!(told, measures(&profile(), &shapes).into_iter().collect());
        let slope =
            |shapes| measures(&profile(), shapes).iter().any(|it| it.0 == Measure::ReadsSlope);
        assert!(slope(&shapes) && !slope(&shapes[..1]));
        assert_eq!(judge("reads_slope <= 0.1"), Kept::Yes);
        assert_eq!(judge("hit_ratio >= 0.92"), Kept::Yes);
        assert_eq!(judge("hit_ratio >= 0.93"), Kept::No);
    }

    #[test]
    fn a_hit_ratio_is_believed_where_reads_would_be() {
        let kept = |change: fn(&mut Numbers)| {
            let mut numbers = numbers(75);
            change(&mut numbers);
            let shapes = [measured(1, true, Fate::Measured(Box::new(numbers)))];
            let load = told(&profile(), LIFETIME, &shapes);
            judged_by("hit_ratio >= 0.9", &super::measured(&profile(), &load, &shapes))
        };
        assert_eq!(kept(|_| {}), Kept::Yes);
        for change in [
            (|it| it.lost = 1) as fn(&mut Numbers),
            |it| it.whole.forgotten = 1,
            |it| it.unseen_bytes = 1,
            |it| it.probed.clear(),
            |it| it.outcome.whole = counted(980, 20),
            |it| it.windows.clear(),
        ] {
            assert_eq!(kept(change), Kept::Unknown);
        }
    }

    #[test]
    fn a_shape_that_was_cut_short_stands_beside_no_other() {
        // The first has both windows, the second only the one of five lifetimes.
        let mut first = numbers(75);
        first.windows.push(WindowNumbers {
            asked: Duration::from_secs(50),
            wire: wire(150),
            lines: LineCounts::default(),
            lost: 0,
            counted: counted(2_000, 0),
        });
        let second = Numbers {
            cut_short: Some(CutShort::Ended { replica: Replica(1), how: "gone".to_owned() }),
            ..numbers(75)
        };
        let shapes = [(1, first), (2, second)]
            .map(|(replicas, numbers)| measured(replicas, true, Fate::Measured(Box::new(numbers))));
        let profile = profile_of(&[5, 10]);
        let load = told(&profile, LIFETIME, &shapes);
        assert_eq!(load.slopes[0].points, [(1, 150)]);
        assert_eq!(load.shapes[1].windows.len(), 1);
        let all = super::measured(&profile, &load, &shapes);
        for threshold in
            ["latency_p50 <= 1s", "error_rate <= 0%", "hit_ratio >= 0", "reads_slope <= 9"]
        {
            assert_eq!(judged_by(threshold, &all), Kept::Unknown, "{threshold}");
        }
    }
}
