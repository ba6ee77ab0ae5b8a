//! Load, small and short: everybody counts the same requests, and bounds are broken by whoever breaks
//! them.

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tests::binaries::Flavour;

use crate::gauntlet::{Ended, Gauntlet};

/// A few callers who keep every key in use, for ten short lifetimes.
const PROFILE: &str = "\
name = 'tiny'
title = 'a few callers'
[callers]
count = 6
ramp = '300ms'
pause = { least = '10ms', most = '30ms' }
balance = 'pinned'
keys = 4
key_class = 'plain'
[cache]
lifetime = '500ms'
unscaled_lifetime = '60s'
windows = [5, 10]
[shapes]
replicas_and_workers = [[1, 1], [2, 1]]
shared_cache = ['on', 'off']
";

async fn load(gauntlet: &Gauntlet, args: &str) -> Ended {
    gauntlet.file("tiny.toml", PROFILE);
    let load = "load --target reference --profile {}/tiny.toml --out {}/runs --json --quiet";
    gauntlet.run(&format!("{load} {args}")).await
}

fn shapes(report: &Value) -> &Vec<Value> {
    report["load"]["shapes"].as_array().unwrap()
}

#[tokio::test]
async fn callers_provider_and_log_count_the_same_requests() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let ended = load(&gauntlet, "--replicas 2 --threshold error_rate<=0%").await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let report = ended.report();
    assert_eq!(shapes(&report).len(), 2);
    for shape in shapes(&report) {
        assert_eq!(shape["verdict"], "pass", "{shape:#}");
        let whole = &shape["whole"];
        let sent = whole["sent"].as_u64().unwrap();
        assert!(sent > 200, "{whole:#}");
        for counted in ["answered", "provider_rows", "access_lines"] {
            assert_eq!(whole[counted], sent, "{counted} in {whole:#}");
        }
        for window in shape["windows"].as_array().unwrap() {
            assert_eq!(window["stands"], "within", "{window:#}");
            let by_replica = window["by_replica"].as_array().unwrap();
            let by_replica: Vec<_> = by_replica.iter().map(|it| it.as_u64().unwrap()).collect();
            assert!(by_replica.len() == 2 && by_replica.iter().all(|it| *it > 0), "{window:#}");
            assert_eq!(by_replica.iter().sum::<u64>(), window["answered"].as_u64().unwrap());
        }
    }
    assert_eq!(report["thresholds"][0]["verdict"], "pass", "{:#}", report["thresholds"]);
}

#[tokio::test]
async fn replicas_that_only_seem_to_share_a_cache_break_the_bounds() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let defect = "--replica-arg=--defect --replica-arg=cache-local-only";
    let ended = load(&gauntlet, &format!("--shared-cache on {defect}")).await;
    assert_eq!(ended.status(), 1, "{}\n{}", ended.out, ended.err);
    let report = ended.report();
    let slope = &report["load"]["slopes"][0];
    assert_eq!(slope["verdict"], "fail", "{slope:#}");
    assert!(slope["slope"].as_f64().unwrap() > 0.5, "{slope:#}");
}

#[tokio::test]
async fn a_load_that_is_stopped_tells_what_was_seen_and_leaves_nothing() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    gauntlet.file("long.toml", &PROFILE.replace("[5, 10]", "[5, 200]"));
    let load = "load --target reference --profile {}/long.toml --out {}/runs --json --replicas 1";
    let mut running = gauntlet.command(load).start();
    running.says("the window of 2500ms has ended").await;
    running.signal(Signal::SIGINT);
    let ended = running.ended().await;
    assert_eq!(ended.status(), 3, "{}\n{}", ended.out, ended.err);
    let report = ended.report();
    let [first, second] = shapes(&report).as_slice() else { panic!("{report:#}") };
    assert_eq!(first["verdict"], "inconclusive", "{first:#}");
    assert_eq!(first["windows"].as_array().unwrap().len(), 1, "{first:#}");
    assert_eq!(first["whole"]["sent"], first["whole"]["provider_rows"], "{first:#}");
    assert_eq!(second["verdict"], "skipped", "{second:#}");
}

#[tokio::test]
async fn a_replica_that_dies_under_load_is_told_with_the_windows_that_had_ended() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    gauntlet.file("long.toml", &PROFILE.replace("[5, 10]", "[5, 200]"));
    let load = "load --target reference --profile {}/long.toml --out {}/runs --json --replicas 2";
    let mut running = gauntlet.command(load).start();
    running.says("the window of 2500ms has ended").await;
    kill(running.process("replica-1.config"), Signal::SIGKILL).unwrap();
    let ended = running.ended().await;
    ended.says(5, &["replica 1 ended under load", "SIGKILL"]);
    let report = ended.report();
    assert_eq!(report["exit"]["status"], 5);
    let [only] = shapes(&report).as_slice() else { panic!("{report:#}") };
    assert_eq!(only["verdict"], "inconclusive", "{only:#}");
    assert!(only["reason"].as_str().unwrap().contains("replica 1 ended under load"), "{only:#}");
    assert_eq!(only["windows"].as_array().unwrap().len(), 1, "{only:#}");
    assert_eq!(only["windows"][0]["stands"], "within", "{only:#}");
}

#[tokio::test]
async fn a_load_that_would_measure_nothing_is_refused_by_the_name_of_its_field() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    gauntlet.file("none.toml", &PROFILE.replace("[5, 10]", "[]"));
    let load = "load --target reference --profile {}/none.toml --out {}/runs";
    gauntlet.run(load).await.says(2, &["none.toml", "`windows` is empty"]);
}
