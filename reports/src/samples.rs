//! Small reports, written by hand, for the tests of every format.

use std::collections::BTreeMap;

use crate::{
    cache::{Cache, CacheClass, CacheNumbers, CacheReplica, CacheWorker},
    gateway_load::{GatewayLoad, Seen},
    load::{
        Callers, Load, LoadFailure, LoadShape, LoadWindow, Query, ReadBound, Slope, Stands, Whole,
    },
    schema::{
        Bounds, Capability, CapabilityState, CheckReport, EvidenceLine, Exchange, Exit, Kill, Lane,
        Level, LogNoise, Mark, RunReport, Script, Store, StoreKind, Story, Target, Totals, VERSION,
        Verdict, Violation, Way, Wire,
    },
    threshold::Threshold,
    times::Times,
};

/// One check, which passed.
pub(crate) fn passing() -> RunReport {
    report(vec![passed()], (0, "pass"))
}

/// One check, which failed.
pub(crate) fn failing() -> RunReport {
    report(vec![failed()], (1, "fail"))
}

/// One check, which proved nothing.
pub(crate) fn inconclusive() -> RunReport {
    report(vec![undecided()], (3, "inconclusive"))
}

/// A check of every verdict.
pub(crate) fn mixed() -> RunReport {
    report(
        vec![
            passed(),
            failed(),
            undecided(),
            CheckReport {
                verdict: Verdict::NotApplicable,
                cases: 0,
                duration_ms: 0,
                level: Level::Extended,
                reason: Some("needs response_cache".to_owned()),
                ..check("leak.response-cache", "A cached answer never crosses a team boundary")
            },
            CheckReport {
                verdict: Verdict::Skipped,
                cases: 0,
                duration_ms: 0,
                reason: Some("--skip budget".to_owned()),
                ..check("budget.charge-once", "A request is charged once")
            },
        ],
        (1, "fail"),
    )
}

/// Two planted defects, of which one is not always caught.
pub(crate) fn kills() -> Vec<Kill> {
    vec![
        Kill {
            defect: "null-becomes-empty".to_owned(),
            check: "codec.null-round-trip".to_owned(),
            caught_seeds: 10,
            seeds: 10,
            shrunk: Some(3),
            duration_ms: 41_200,
        },
        Kill {
            defect: "revoke-forgets-memory-tier".to_owned(),
            check: "propagation.revoke-bound".to_owned(),
            caught_seeds: 9,
            seeds: 10,
            shrunk: Some(4),
            duration_ms: 128_000,
        },
        Kill {
            defect: "spend-lost".to_owned(),
            check: "budget.charge-once".to_owned(),
            caught_seeds: 0,
            seeds: 10,
            shrunk: None,
            duration_ms: 9_000,
        },
    ]
}

fn report(checks: Vec<CheckReport>, (status, name): (u8, &str)) -> RunReport {
    RunReport {
        schema_version: VERSION,
        tool_version: "0.1.0".to_owned(),
        run_id: "reference-42".to_owned(),
        seed: 42,
        profile: None,
        started: 1_790_000_000,
        duration_ms: 23_400,
        target: Target {
            name: "reference".to_owned(),
            adapter: "reference".to_owned(),
            wire_profile: "litellm-1.100".to_owned(),
            bounds: Bounds { ttl_ms: 2_000, staleness_ms: 2_500 },
            replicas: 2,
            stores: vec![
                Store {
                    kind: StoreKind::Redis,
                    version: "7.0.15".to_owned(),
                    way: Way::Local,
                    why: "no GAUNTLET_REDIS_URL".to_owned(),
                },
                Store {
                    kind: StoreKind::Postgres,
                    version: "15.14".to_owned(),
                    way: Way::Given,
                    why: "--postgres-url".to_owned(),
                },
            ],
            gateway_version: Some("0.1.0".to_owned()),
        },
        capabilities: vec![
            capability("virtual_keys", CapabilityState::Confirmed, ""),
            capability("teams", CapabilityState::Confirmed, ""),
            capability("response_cache", CapabilityState::Missing, "no second answer was reused"),
            capability("metrics", CapabilityState::Unconfirmed, "the page answered 503"),
        ],
        totals: Totals::of(&checks),
        checks,
        wire: Wire {
            events: 12_480,
            joined: 12_102,
            background: BTreeMap::from([("health".to_owned(), 310), ("pool".to_owned(), 66)]),
            unjoined: 2,
            unjoined_shapes: BTreeMap::new(),
            lost: 0,
            unseen_bytes: 0,
        },
        kill_matrix: Vec::new(),
        cache: None,
        thresholds: Vec::new(),
        load: None,
        gateway_load: None,
        log: None,
        exit: Exit { status, name: name.to_owned() },
    }
}

fn check(id: &str, title: &str) -> CheckReport {
    CheckReport {
        id: id.to_owned(),
        title: title.to_owned(),
        why: None,
        incidents: Vec::new(),
        level: Level::Core,
        cases: 64,
        verdict: Verdict::Pass,
        reason: None,
        duration_ms: 1_204,
        failing_case: None,
        shrunk: None,
        violations: Vec::new(),
        exchanges: Vec::new(),
        script: None,
        replay: None,
    }
}

fn passed() -> CheckReport {
    check("codec.null-round-trip", "What was cached reads back the same")
}

fn failed() -> CheckReport {
    CheckReport {
        cases: 12,
        verdict: Verdict::Fail,
        duration_ms: 8_412,
        failing_case: Some(3),
        shrunk: Some(Story {
            steps: vec![
                "issue key 0 to team 0".to_owned(),
                "ask replica 1 with key 0".to_owned(),
                "revoke key 0 through replica 0".to_owned(),
                "wait 1.5 staleness bounds, then ask replica 1 with key 0".to_owned(),
            ],
            plan_len: 38,
            shrink_steps: 17,
            shrink_ms: 6_100,
            flaky_rate: 0.0,
        }),
        violations: vec![Violation {
            summary: "key 0 was answered by replica 1 3.76 s after its revocation was confirmed, \
                      and the bound is 2.5 s"
                .to_owned(),
            evidence: vec![
                evidence(41, 1_204_118, Lane::Caller, "POST /key/delete key 0 -> 200"),
                evidence(42, 1_204_420, Lane::Redis, "DEL rg:key:5f1c"),
                evidence(57, 4_961_002, Lane::Caller, "POST /v1/chat/completions -> 200"),
                evidence(58, 4_961_377, Lane::Replica(1), "no store read for key 0"),
                evidence(
                    59,
                    4_963_240,
                    Lane::Upstream,
                    "attempt 12, model mock-ok, fingerprint fp-09af31c2d4e5f607, credential \
                     4be1c90d22aa1077",
                ),
            ],
        }],
        replay: Some("gauntlet replay runs/reference-42".to_owned()),
        ..check("propagation.revoke-bound", "A revoked key is refused everywhere within the bound")
    }
}

/// One check, which failed, with what happened around the evidence.
pub(crate) fn pictured() -> RunReport {
    let mut report = failing();
    report.checks = vec![CheckReport {
        why: Some("Whoever was shut out goes on spending".to_owned()),
        incidents: vec!["https://example.org/incidents/1".to_owned()],
        exchanges: vec![exchange()],
        script: Some(Script {
            file: "shrunk/propagation.revoke-bound.sh".to_owned(),
            text: "#!/usr/bin/env bash\nset -u\ncall 0 \"$GATEWAY_0\"\n".to_owned(),
        }),
        ..failed()
    }];
    report
}

fn undecided() -> CheckReport {
    CheckReport {
        cases: 16,
        verdict: Verdict::Inconclusive,
        reason: Some("no request missed the cache in any of 16 cases".to_owned()),
        duration_ms: 820,
        ..check("auth-cache.single-flight", "Concurrent misses of one key cost one read")
    }
}

fn capability(name: &str, state: CapabilityState, note: &str) -> Capability {
    Capability { name: name.to_owned(), state, note: note.to_owned() }
}

fn evidence(index: u64, at_us: u64, lane: Lane, text: &str) -> EvidenceLine {
    EvidenceLine {
        index,
        at_us,
        lane,
        text: text.to_owned(),
        replica: None,
        mark: None,
        call: None,
    }
}

/// A request that misses the cache while a fault is in force, and one beside it.
pub(crate) fn exchange() -> Exchange {
    let seen = |index: u64, lane, replica, mark, call, text: &str| EvidenceLine {
        replica,
        mark: Some(mark),
        call,
        ..evidence(index, 5_000_000 + index * 1_300, lane, text)
    };
    let strike = "from now on each read of Postgres takes 200 ms longer";
    let loud = "WARN cache entry of key 0 could not be read";
    let entries = vec![
        seen(40, Lane::Nemesis, None, Mark::Strike, None, strike),
        seen(41, Lane::Caller, Some(0), Mark::Asked, Some(3), "call 3: chat with key 0, model 0"),
        seen(42, Lane::Redis, Some(0), Mark::Miss, None, "GET \"rg:key:5f1c\" miss (key)"),
        seen(43, Lane::Caller, Some(1), Mark::Asked, Some(4), "call 4: chat with key 0, model 0"),
        seen(44, Lane::Postgres, Some(0), Mark::Read, None, "SELECT … FROM virtual_keys"),
        seen(45, Lane::Redis, Some(1), Mark::Hit, None, "GET \"rg:key:5f1c\" hit (key)"),
        seen(46, Lane::Log, Some(1), Mark::Loud, None, loud),
        seen(
            47,
            Lane::Upstream,
            Some(0),
            Mark::Attempt,
            Some(3),
            "call 3 arrives, is answered 200",
        ),
        seen(48, Lane::Redis, Some(0), Mark::Write, None, "SET \"rg:key:5f1c\" write (key)"),
        seen(49, Lane::Caller, Some(0), Mark::Answered, Some(3), "call 3 answered 200"),
        seen(50, Lane::Caller, Some(1), Mark::Refused, Some(4), "call 4 refused 401: no such key"),
        seen(51, Lane::Nemesis, None, Mark::Heal, None, "healed after 2 hits"),
    ];
    Exchange { arm: String::new(), entries, proofs: vec![46, 50], left_out: 212 }
}

/// What replicas wrote to their logs.
pub(crate) fn log() -> LogNoise {
    let shapes = [("WARN cache entry of key # could not be read", 21), ("ERROR pool is empty", 4)];
    LogNoise {
        requests: 1_204,
        records: 1_310,
        loud: 25,
        shapes: shapes.map(|(shape, times)| (shape.to_owned(), times)).into(),
    }
}

/// A class that is not cached, one that is, and one of which nothing is known.
pub(crate) fn cache() -> Cache {
    let cached = CacheNumbers {
        requests: 1_204,
        requests_in_memory: 1_190,
        hit_ratio: Some(1.0),
        memory_hit_ratio: Some(1.0),
        redis_hit_ratio: Some(1.0),
        identity_reads: 0,
        sql_per_request: Some(0.0),
        sql_writes_per_request: Some(0.05),
        redis_per_request: Some(2.0),
    };
    let local = CacheNumbers {
        requests: 60,
        requests_in_memory: 58,
        hit_ratio: Some(0.75),
        memory_hit_ratio: Some(0.75),
        redis_hit_ratio: None,
        identity_reads: 30,
        sql_per_request: Some(0.5),
        ..cached
    };
    let replica = |replica, numbers| CacheReplica { replica, numbers };
    let half = CacheNumbers { requests: 30, hit_ratio: Some(0.5), ..local };
    let whole = CacheNumbers { requests: 30, identity_reads: 0, ..cached };
    let class = |class: &str, answered, all| CacheClass {
        class: class.to_owned(),
        answered,
        all,
        replicas: Vec::new(),
    };
    let worker = |worker, identity_reads| CacheWorker {
        replica: 1,
        worker,
        commands: 2_408,
        redis_hits: 28,
        redis_misses: 4,
        statements: 61,
        identity_reads,
        identity_read_us: 13_000,
    };
    Cache {
        classes: vec![
            CacheClass {
                replicas: vec![replica(0, whole), replica(1, half)],
                ..class("team", 64, local)
            },
            class("plain", 1_280, cached),
            class("organisation", 1, CacheNumbers::default()),
        ],
        left_out: BTreeMap::from([("may have met cold entries".to_owned(), 81)]),
        workers: vec![worker(Some(0), 30), worker(None, 1)],
        forgotten: 0,
    }
}

/// A threshold that is kept, one that is broken, and two that nobody can decide.
pub(crate) fn thresholds() -> Vec<Threshold> {
    let threshold = |text: &str, verdict, value: Option<(f64, &str)>, worst: &str| Threshold {
        threshold: text.to_owned(),
        verdict,
        value: value.map(|(value, _)| value),
        shown: value.map(|(_, shown)| shown.to_owned()),
        worst: worst.to_owned(),
        requests: 30,
        missing: None,
    };
    let worst = "{class=team,replica=1}";
    vec![
        threshold("hit_ratio >= 0.99", Verdict::Fail, Some((0.5, "0.5000")), worst),
        threshold("sql_per_warm_request <= 1", Verdict::Pass, Some((0.5, "0.50")), worst),
        Threshold {
            missing: Some("{class=organisation}".to_owned()),
            ..threshold("hit_ratio{class=organisation} > 0", Verdict::Inconclusive, None, "")
        },
        threshold("reads_slope < 0.1", Verdict::Inconclusive, None, ""),
    ]
}

/// Two shapes that share a cache, one of which reads too much, and one that is not available.
pub(crate) fn load() -> Load {
    let absent = LoadShape {
        verdict: Verdict::NotApplicable,
        reason: Some("its configuration needs {redis_url}".to_owned()),
        windows: Vec::new(),
        whole: None,
        ..shape(1, false)
    };
    Load {
        profile: "seed_001".to_owned(),
        title: "identity reads as replicas are added".to_owned(),
        callers: Callers {
            count: 200,
            ramp_ms: 10_000,
            pause_ms: (500, 1_000),
            balance: "each to a replica of its own".to_owned(),
            keys: 15,
            key_class: "plain".to_owned(),
        },
        lifetime_ms: 5_000,
        scaled_from_ms: Some(60_000),
        shapes: vec![shape(1, true), shape(8, true), absent],
        slopes: vec![Slope {
            shared_cache: true,
            points: vec![(1, 1_249), (8, 1_249)],
            slope: Some(0.0),
            at_most: Some(0.1),
            verdict: Verdict::Pass,
        }],
    }
}

/// Streams of a gateway, some of which fail, and one of which tries to move the reader's cursor.
pub(crate) fn gateway_load() -> GatewayLoad {
    let times = |p50_us| Times {
        p50_us,
        p90_us: p50_us * 2,
        p95_us: p50_us * 3,
        p99_us: p50_us * 10,
        max_us: p50_us * 100,
    };
    let failed = |how: &str, count, said: &str| LoadFailure {
        how: how.to_owned(),
        count,
        said: said.to_owned(),
    };
    let window = Seen {
        took_ms: 30_000,
        answered: 12_340,
        failed: vec![failed("429", 20, "slow\u{1b}[2J down")],
        latency: Some(times(24_113)),
        ttft: Some(times(8_250)),
        gap: Some(times(990)),
        tokens: 98_720,
        bytes: 22_400_000,
        by_gateway: vec![12_360],
    };
    let whole = Seen {
        took_ms: 36_120,
        answered: 13_000,
        failed: vec![
            failed("200 with a stream that ended early", 1, "no [DONE] after 3 tokens"),
            failed("429", 21, "slow\u{1b}[2J down"),
        ],
        tokens: 104_000,
        bytes: 23_500_000,
        by_gateway: vec![13_022],
        ..window.clone()
    };
    GatewayLoad {
        gateways: vec!["http://127.0.0.1:4000".to_owned()],
        scenario: "streamed-chat".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        callers: 50,
        ramp_ms: 5_000,
        pause_ms: 0,
        patience_ms: 30_000,
        keys: 1,
        window_ms: 30_000,
        verdict: Verdict::Pass,
        reason: None,
        first_asked: 2,
        sent: 13_022,
        whole,
        window: Some(window),
    }
}

fn window(asked_ms: u64, calls: u64, stands: Stands) -> LoadWindow {
    LoadWindow {
        asked_ms,
        took_ms: asked_ms + 2,
        identity_query: Query { calls, total_us: calls * 310, rows: calls },
        bound: ReadBound { at_least: 37, at_most: 1_125 },
        stands,
        answered: 6_650,
        failed: 7,
        latency: Some(Times {
            p50_us: 812,
            p90_us: 1_733,
            p95_us: 2_044,
            p99_us: 9_120,
            max_us: 1_023_999,
        }),
        loud_lines: 4,
        lost: 0,
        by_replica: vec![6_657],
        reads: BTreeMap::from([("key".to_owned(), calls)]),
        redis_hits: 60,
        redis_misses: 15,
        redis_writes: 15,
    }
}

fn shape(replicas: u8, shared_cache: bool) -> LoadShape {
    LoadShape {
        replicas,
        workers: 1,
        shared_cache,
        verdict: Verdict::Pass,
        reason: None,
        windows: vec![window(25_000, 75, Stands::Within), window(50_000, 1_249, Stands::Over)],
        whole: Some(Whole {
            sent: 14_002,
            answered: 13_995,
            failed: vec![LoadFailure {
                how: "503".to_owned(),
                count: 7,
                said: "no\u{1b}[2J room".to_owned(),
            }],
            provider_rows: Some(13_995),
            access_lines: 14_002,
            wire_events: 88_123,
            reads: BTreeMap::from([("key".to_owned(), 1_260)]),
            loud_lines: BTreeMap::from([("WARN queue is full".to_owned(), 4)]),
        }),
    }
}
