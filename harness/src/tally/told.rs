//! From what was counted to what is published of it: measures, thresholds, the report's tables.

use reports::{
    cache::{Cache, CacheClass, CacheNumbers, CacheReplica, CacheWorker},
    schema::Verdict,
    threshold::Threshold as Told,
};
use scenarios::threshold::{Kept, Labels, Measure, Measured, Threshold, Tier};

use super::{
    Window,
    warm::{Cost, LeftOut, Warm},
};
use crate::clock::whole_micros;

/// Every measure of warm requests: of each class, over all replicas and of each one.
///
/// A class without evidence is measured as nothing, so that no threshold takes it for kept. A single
/// replica is told only where it has evidence: few requests of a class reach every one.
pub fn measured(warm: &Warm) -> Vec<Measured> {
    let mut measured = Vec::new();
    for (class, of_class) in &warm.classes {
        let all = Labels::class(*class);
        measured.extend(of(all, &of_class.cost()));
        for (replica, cost) in &of_class.by_replica {
            let labels = Labels { replica: Some(replica.0), ..all };
            measured.extend(of(labels, cost).into_iter().filter(|it| it.value.is_some()));
        }
    }
    measured
}

fn of(labels: Labels, cost: &Cost) -> Vec<Measured> {
    let all = cost.lookups();
    let tier = |tier| Labels { tier: Some(tier), ..labels };
    let measured = |measure, labels, value, requests| Measured { measure, labels, value, requests };
    let here = cost.here.requests;
    vec![
        measured(Measure::HitRatio, labels, all.hit_ratio(), all.requests),
        measured(Measure::HitRatio, tier(Tier::Memory), cost.here.memory_ratio(), here),
        measured(Measure::HitRatio, tier(Tier::Redis), all.redis_ratio(), all.requests),
        measured(Measure::SqlPerWarmRequest, labels, cost.sql_per_request(), here),
        measured(Measure::RedisPerWarmRequest, labels, cost.redis_per_request(), here),
    ]
}

/// What became of thresholds, as the report has it. Where observations were lost on the way, nothing
/// was measured.
pub fn judged(thresholds: &[Threshold], measured: &[Measured], lost: u64) -> Vec<Told> {
    let measured = if lost > 0 { &[] } else { measured };
    thresholds
        .iter()
        .map(|threshold| {
            let judged = threshold.judge(measured);
            let worst = judged.worst;
            let value = worst.and_then(|worst| worst.value);
            Told {
                threshold: threshold.to_string(),
                verdict: match judged.kept {
                    Kept::Yes => Verdict::Pass,
                    Kept::No => Verdict::Fail,
                    Kept::Unknown => Verdict::Inconclusive,
                },
                value,
                shown: value.map(|value| threshold.measure().shown(value)),
                worst: worst.map_or_else(String::new, |worst| worst.labels.to_string()),
                requests: worst.map_or(0, |worst| worst.requests),
                missing: judged.missing.map(|labels| labels.to_string()),
            }
        })
        .collect()
}

/// What the identity cache did, as the report has it.
pub fn cache(warm: &Warm, window: &Window) -> Cache {
    let mut classes: Vec<_> = warm
        .classes
        .iter()
        .map(|(class, of_class)| CacheClass {
            class: class.to_string(),
            answered: of_class.answered,
            all: numbers(&of_class.cost()),
            replicas: of_class
                .by_replica
                .iter()
                .map(|(replica, cost)| CacheReplica { replica: replica.0, numbers: numbers(cost) })
                .collect(),
        })
        .collect();
    classes.sort_by(|a, b| a.all.worse_first(&b.all));
    let left_out =
        warm.left_out.iter().map(|(why, count)| (reason(*why).to_owned(), *count)).collect();
    Cache { classes, left_out, workers: workers(window), forgotten: window.forgotten }
}

fn numbers(cost: &Cost) -> CacheNumbers {
    let all = cost.lookups();
    CacheNumbers {
        requests: all.requests,
        requests_in_memory: cost.here.requests,
        hit_ratio: all.hit_ratio(),
        memory_hit_ratio: cost.here.memory_ratio(),
        redis_hit_ratio: all.redis_ratio(),
        identity_reads: all.reads,
        sql_per_request: cost.sql_per_request(),
        sql_writes_per_request: cost.sql_writes_per_request(),
        redis_per_request: cost.redis_per_request(),
    }
}

/// Why prompts say nothing of the cache, made to follow their number.
fn reason(why: LeftOut) -> &'static str {
    match why {
        LeftOut::NotSeen => "whose stores were not seen on the wire",
        LeftOut::Workers => "of replicas with several workers that share no cache",
        LeftOut::Disturbed => "while a store was struck or changed",
        LeftOut::Overlapped => "while another call of the case was under way on the replica",
        LeftOut::MaybeCold => "that may have met cold, ended or changed entries",
    }
}

fn workers(window: &Window) -> Vec<CacheWorker> {
    let mut workers: Vec<CacheWorker> = Vec::new();
    // Places are ordered by replica and worker, so those of one process stand together.
    for (place, counts) in &window.cells {
        let is_same = |before: &CacheWorker| {
            (before.replica, before.worker) == (place.replica.0, place.worker)
        };
        if !workers.last().is_some_and(is_same) {
            let (replica, worker) = (place.replica.0, place.worker);
            workers.push(CacheWorker { replica, worker, ..CacheWorker::default() });
        }
        let Some(worker) = workers.last_mut() else { continue };
        worker.commands += counts.commands;
        worker.statements += counts.statements;
        worker.identity_reads += counts.identity.calls;
        let took = whole_micros(counts.identity.took);
        worker.identity_read_us = worker.identity_read_us.saturating_add(took);
        for entries in counts.entries.values() {
            worker.redis_hits += entries.hits;
            worker.redis_misses += entries.misses;
        }
    }
    workers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use scenarios::KeyClass;

    use super::*;
    use crate::{
        clock::Micros,
        op::{Kind, Replica},
        tally::{Counts, Lookups, Place, Query, Snapshot, warm::OfClass},
    };

    /// Ten warm requests, with this many reads of the twenty identities that they needed.
    fn cost(reads: u64) -> Cost {
        let here = Lookups { requests: 10, needed: 20, reads, ..Lookups::default() };
        Cost { here, queries: reads, commands: 20, ..Cost::default() }
    }

    fn of_replicas(costs: &[Cost]) -> OfClass {
        let by_replica = (0..).map(Replica).zip(costs.iter().copied()).collect();
        OfClass { answered: 40, by_replica }
    }

    fn warm() -> Warm {
        let classes = BTreeMap::from([
            (KeyClass::Plain, of_replicas(&[cost(0), cost(0)])),
            (KeyClass::Team, of_replicas(&[cost(0), cost(10)])),
            (KeyClass::Organisation, of_replicas(&[])),
        ]);
        Warm { classes, left_out: BTreeMap::from([(LeftOut::MaybeCold, 3)]) }
    }

    fn verdict(text: &str, lost: u64) -> (Verdict, String) {
        let threshold = text.parse().unwrap();
        let told = judged(&[threshold], &measured(&warm()), lost).remove(0);
        (told.verdict, told.worst)
    }

    #[test]
    fn the_worst_replica_of_the_worst_class_decides() {
        let worst = "{class=team,replica=1}".to_owned();
        assert_eq!(verdict("hit_ratio{class=team} >= 0.7", 0), (Verdict::Fail, worst.clone()));
        assert_eq!(verdict("sql_per_warm_request == 0", 0), (Verdict::Fail, worst));
        let plain = verdict("hit_ratio{class=plain} >= 0.99", 0);
        assert_eq!(plain.0, Verdict::Pass);
    }

    #[test]
    fn a_class_without_evidence_keeps_a_bound_from_being_kept() {
        assert_eq!(verdict("hit_ratio >= 0.1", 0).0, Verdict::Inconclusive);
        assert_eq!(verdict("hit_ratio{class=organisation} >= 0", 0).0, Verdict::Inconclusive);
        assert_eq!(verdict("hit_ratio{class=user} >= 0", 0).0, Verdict::Inconclusive);
        assert_eq!(verdict("hit_ratio{class=plain} >= 0.99", 1).0, Verdict::Inconclusive);
    }

    #[test]
    fn classes_stand_worst_first_and_processes_one_by_one() {
        let place = |worker, class| Place { replica: Replica(0), worker, class };
        let query = Query { calls: 1, rows: 1, took: std::time::Duration::from_millis(2) };
        let counts = Counts {
            statements: 2,
            identity: query,
            reads: BTreeMap::from([(Kind::Key, 1)]),
            ..Counts::default()
        };
        let cells = BTreeMap::from([
            (place(Some(0), None), counts.clone()),
            (place(Some(0), Some(KeyClass::Team)), counts.clone()),
            (place(Some(1), None), counts),
        ]);
        let snapshot = Snapshot { at: Micros(1), cells, ..Snapshot::default() };
        let told = cache(&warm(), &snapshot.since(&Snapshot::default()));
        let classes: Vec<_> = told.classes.iter().map(|class| class.class.as_str()).collect();
        assert_eq!(classes, ["team", "plain", "organisation"]);
        assert_eq!(told.classes[2].all.hit_ratio, None);
        let workers: Vec<_> =
            told.workers.iter().map(|it| (it.worker, it.statements, it.identity_read_us)).collect();
        assert_eq!(workers, [(Some(0), 4, 4_000), (Some(1), 2, 2_000)]);
    }
}
