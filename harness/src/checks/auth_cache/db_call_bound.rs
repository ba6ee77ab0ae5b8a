//! Identity reads from the database stay between two bounds.
//!
//! Every key is asked for on every replica, without a pause that is long against the lifetime, for five
//! lifetimes and more. A cached object is then read once when it is cold and once each time its entry
//! has ended; there is nothing else to read it for. More reads mean that something is not cached or
//! not shared. Fewer mean that entries outlive their lifetime, and so do the rights in them: a good
//! number of reads alone would praise that gateway. The upper bound allows for entries that end a fifth
//! early; the lower one counts only requests so far apart that no entry can have served two of them,
//! and asks for half of those reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    clock::Micros,
    generators::{identities::identities, requests},
    history::{Event, History, Manifest, Seen},
    model::cache,
    op::{Key, Kind},
    plan::{Plan, Step, Wait},
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "auth-cache.db-call-bound",
    title: "Identity reads from the database follow from the lifetime of an entry",
    why: "A cache that misses turns every request into SQL, and the database goes down with the \
          traffic. One that never ends its entries looks splendid, and serves rights that were \
          taken away.",
    incidents: &[
        "https://github.com/BerriAI/litellm/pull/26202",
        "https://github.com/BerriAI/litellm/pull/31418",
        "https://github.com/BerriAI/litellm/issues/14616",
        "https://github.com/BerriAI/litellm/issues/25553",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::PostgresWire,
    ],
    plan,
    arms: one_arm,
    judge,
};

/// How many lifetimes are watched, at least.
const LIFETIMES: u32 = 5;

/// Reads that cannot be avoided in a window that tells entries which end from entries which do not.
const FEWEST: u64 = 3;

/// How many requests each caller sends in a lifetime, about.
const REQUESTS_IN_A_LIFETIME: u64 = 5;

/// One to three keys, in steady use on every replica.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    let pause = manifest.auth_cache_ttl_ms / REQUESTS_IN_A_LIFETIME;
    let pause_ms = u32::try_from(pause).unwrap_or(u32::MAX);
    identities(3)
        .prop_map(move |drawn| {
            let drawn = drawn.with_every_member();
            let mut steps = drawn.creation();
            let calls = drawn
                .key_places()
                .flat_map(|key| (0..replicas).map(move |at| requests::chat(key, at)))
                .collect();
            steps.push(Step::StartTraffic { calls, pause_ms });
            steps.push(Step::Wait(Wait::Lifetimes(LIFETIMES)));
            // The window ends with the last answer, which may be a pause before the traffic stops.
            steps.push(Step::Wait(Wait::Milliseconds(pause_ms.saturating_mul(2))));
            steps.push(Step::StopTraffic);
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
    let window = match window(history, &prompts) {
        Ok(window) => window,
        Err(why) => return Verdict::Inconclusive(why),
    };
    let read = reads(history, &window);
    if read.is_empty() {
        return Verdict::Inconclusive("no identity was ever read from the database".to_owned());
    }
    let objects = cache::objects(history);
    let violations = read.iter().filter_map(|(kind, read)| {
        let objects = objects.get(kind).copied().unwrap_or(1).max(1);
        out_of_bounds(history, &window, *kind, objects, read)
    });
    Verdict::of(violations.collect())
}

/// The time for which every key was in steady use.
struct Window {
    from: Micros,
    length: Duration,
    requests: usize,
    /// Reads that no cache can do without, for an object that the least served key needs.
    unavoidable: u64,
}

/// The window of a history, or why there is none.
fn window(history: &History, prompts: &[&Seen<'_>]) -> Result<Window, String> {
    let ttl = history.manifest.auth_cache_ttl();
    let (Some(first), Some(last)) =
        (prompts.first(), prompts.iter().filter_map(|seen| seen.completed).max())
    else {
        return Err("no request was sent".to_owned());
    };
    let from = first.invoked;
    let length = last.since(from);
    if length < ttl * LIFETIMES {
        return Err(format!(
            "requests were sent for {} ms, which is less than {LIFETIMES} lifetimes",
            length.as_millis()
        ));
    }
    let mut served: BTreeMap<Key, Vec<(Micros, Micros)>> = BTreeMap::new();
    for seen in prompts {
        let (Some(chat), Some(completed)) = (seen.chat(), seen.completed) else { continue };
        let spans = served.entry(chat.key).or_default();
        spans.extend(seen.answered().then_some((seen.invoked, completed)));
    }
    let unavoidable =
        served.into_values().map(|spans| unavoidable(spans, ttl)).min().unwrap_or_default();
    if unavoidable < FEWEST {
        return Err(format!("a key was served in only {unavoidable} separate lifetimes"));
    }
    Ok(Window { from, length, requests: prompts.len(), unavoidable })
}

/// How many reads of an object these requests cannot do without, when no entry outlives `ttl`.
///
/// What a request is judged by was read no earlier than a lifetime before it was sent, and no later
/// than it was answered. Requests whose such times do not meet have no read in common.
fn unavoidable(mut spans: Vec<(Micros, Micros)>, ttl: Duration) -> u64 {
    spans.sort_unstable_by_key(|(_, answered)| *answered);
    let mut last: Option<Micros> = None;
    let mut reads = 0;
    for (sent, answered) in spans {
        if last.is_none_or(|last| sent > last.plus(ttl)) {
            last = Some(answered);
            reads += 1;
        }
    }
    reads
}

/// The statements that read objects of one kind.
#[derive(Default)]
struct Reads<'a> {
    statements: Vec<usize>,
    asked_for: BTreeSet<&'a [Option<String>]>,
}

/// The identity reads of the window, by kind.
fn reads<'a>(history: &'a History, window: &Window) -> BTreeMap<Kind, Reads<'a>> {
    let mut read: BTreeMap<Kind, Reads<'_>> = BTreeMap::new();
    for (index, entry, kinds) in history.identity_reads() {
        let Event::Sql { params, .. } = &entry.event else { continue };
        for kind in kinds.iter().filter(|_| entry.at >= window.from) {
            let of_kind = read.entry(*kind).or_default();
            of_kind.statements.push(index);
            of_kind.asked_for.insert(params);
        }
    }
    read
}

/// Too many reads of a kind, or too few.
fn out_of_bounds(
    history: &History,
    window: &Window,
    kind: Kind,
    objects: usize,
    read: &Reads<'_>,
) -> Option<Violation> {
    let manifest = &history.manifest;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let ttl = manifest.auth_cache_ttl_ms.max(1);
    let caches = match manifest.shared_cache {
        true => 1,
        false => u64::from(manifest.replicas) * u64::from(manifest.workers),
    };
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let reads = count(read.statements.len());
    // K × (Wt/TTL + 1) × S × 1.25, in whole numbers.
    let most = count(objects) * caches * 5 * (millis(window.length) + ttl) / (4 * ttl);
    // Half of what cannot be avoided; an object that this gateway has no need to read is not missed.
    let needed = count(read.asked_for.len()).min(count(objects));
    let least = (needed * window.unavoidable).div_ceil(2);
    let bound = if reads > most {
        format!("at most {most}")
    } else if reads < least {
        format!("at least {least}")
    } else {
        return None;
    };
    let requests = count(window.requests).max(1);
    Some(Violation {
        summary: format!(
            "{reads} reads of {kind}s from the database in {} ms of steady traffic, where {bound} \
             follow from a lifetime of {ttl} ms and {objects} in use ({} reads per 1,000 requests)",
            millis(window.length),
            reads * 1_000 / requests,
        ),
        evidence: proof(0, read.statements.iter().copied()),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        history::hand::Hand,
        op::{Admin, KeyFields},
    };

    /// A key that is used every 100 ms for a little more than five lifetimes of one second, and read
    /// once each `period` ms.
    fn used(period: u64) -> Hand {
        let key = Admin::GenerateKey { key: Key(0), fields: KeyFields::UNSAID };
        let hand = Hand::new().admin(0, key);
        let hand = (0..=50).fold(hand, |hand, request| hand.answered(10 + request * 100, 0));
        (0..)
            .map(|read| 11 + read * period)
            .take_while(|at| *at < 5_000)
            .fold(hand, |hand, at| hand.identity_read(at, Kind::Key))
    }

    #[test]
    fn one_read_per_lifetime_is_fine() {
        assert_eq!(judge(&[used(1_000).done()]), Verdict::Pass);
        assert_eq!(judge(&[used(800).done()]), Verdict::Pass);
    }

    #[test]
    fn a_cache_that_misses_is_over_the_upper_bound() {
        assert_snapshot!(judge(&[used(100).done()]), @"
        fail
          50 reads of keys from the database in 5001 ms of steady traffic, where at most 7 follow from a lifetime of 1000 ms and 1 in use (980 reads per 1,000 requests)
        ");
    }

    #[test]
    fn an_entry_that_never_ends_is_under_the_lower_bound() {
        assert_snapshot!(judge(&[used(5_000).done()]), @"
        fail
          1 reads of keys from the database in 5001 ms of steady traffic, where at least 3 follow from a lifetime of 1000 ms and 1 in use (19 reads per 1,000 requests)
        ");
    }

    #[test]
    fn without_a_shared_cache_every_process_may_read() {
        let mut history = used(500).done();
        assert!(judge(std::slice::from_ref(&history)).is_fail());
        history.manifest.shared_cache = false;
        assert_eq!(judge(&[history]), Verdict::Pass);
    }

    #[test]
    fn requests_that_one_entry_can_serve_have_one_read_in_common() {
        let ttl = Duration::from_secs(1);
        let spans = |sent: &[u64]| {
            let span = |ms: &u64| (Micros(ms * 1_000), Micros(ms * 1_000 + 5_000));
            unavoidable(sent.iter().map(span).collect(), ttl)
        };
        assert_eq!(spans(&[0, 500, 1_005]), 1);
        assert_eq!(spans(&[0, 500, 1_006, 1_500, 2_011]), 2);
        assert_eq!(spans(&[]), 0);
    }

    #[test]
    fn traffic_with_a_hole_proves_nothing() {
        let history = Hand::new().answered(0, 0).answered(5_000, 0).identity_read(0, Kind::Key);
        assert_snapshot!(
            judge(&[history.done()]),
            @"inconclusive: a key was served in only 2 separate lifetimes"
        );
    }

    #[test]
    fn a_short_run_proves_nothing() {
        assert_snapshot!(
            judge(&[Hand::new().answered(0, 0).done()]),
            @"inconclusive: requests were sent for 1 ms, which is less than 5 lifetimes"
        );
    }
}
