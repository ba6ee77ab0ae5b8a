//! `gauntlet load --gateway`, as far as it goes without a gateway: two ways that exclude each other,
//! and words it does not know.

use clap::Parser;
use harness::cli::{Cli, ExitStatus};
use insta::assert_snapshot;

use crate::gauntlet::gauntlet;

/// What clap says to these arguments of `gauntlet load`: its first line, and its hint if it has one.
fn refused(args: &[&str]) -> String {
    let error = Cli::try_parse_from([&["gauntlet", "load"], args].concat()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let told = error.to_string();
    let hint = told.lines().find(|line| line.trim_start().starts_with("tip:"));
    format!("{}{}", told.lines().next().unwrap_or_default(), hint.unwrap_or_default())
}

const GATEWAY: [&str; 2] = ["--gateway", "http://127.0.0.1:1"];

fn with_gateway<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&GATEWAY, args].concat()
}

#[test]
fn a_slip_is_answered_with_the_nearest_word() {
    let slips: [&[&str]; 7] = [
        &["--scenario", "streamd-chat"],
        &["--threshold", "ttft_p59 <= 1s"],
        &["--for", "30"],
        &["--for", "0s"],
        &["--patience", "2h"],
        &["--users", "0"],
        &["--treshold", "rate >= 1"],
    ];
    assert_snapshot!(slips.map(|slip| refused(&with_gateway(slip))).join("\n"), @r#"
    error: invalid value 'streamd-chat' for '--scenario <SCENARIO>'  tip: a similar value exists: 'streamed-chat'
    error: invalid value 'ttft_p59 <= 1s' for '--threshold <BOUND>': "ttft_p59 <= 1s", character 1: there is no measure `ttft_p59`; did you mean `ttft_p50`?
    error: invalid value '30' for '--for <D>': "30" is not a duration; write a number and a unit, as in "800ms", "60s", "5min"
    error: invalid value '0s' for '--for <D>': this is no time at all
    error: invalid value '2h' for '--patience <D>': answers are counted up to 1h; nobody waits longer
    error: invalid value '0' for '--users <N>': number would be zero for non-zero type
    error: unexpected argument '--treshold' found  tip: a similar argument exists: '--threshold'
    "#);
    assert_snapshot!(
        refused(&["--gateway", "127.0.0.1:4000"]),
        @"error: invalid value '127.0.0.1:4000' for '--gateway <URL>': relative URL without a base; an address begins with http:// or https://"
    );
    assert_snapshot!(
        refused(&["--gateway", "ftp://127.0.0.1"]),
        @"error: invalid value 'ftp://127.0.0.1' for '--gateway <URL>': an address begins with http:// or https://, and names a host"
    );
}

#[test]
fn a_gateway_and_a_target_exclude_each_other() {
    for args in [
        &["--target", "reference", "--profile", "seed_001"][..],
        &["--replicas", "2"],
        &["--shared-cache", "on"],
        &["--unscaled"],
    ] {
        let told = refused(&with_gateway(args));
        assert!(told.contains("cannot be used with"), "{args:?}: {told}");
    }
    for args in [&["--target", "reference"][..], &["--profile", "seed_001"], &[]] {
        let told = refused(args);
        assert!(told.contains("required arguments were not provided"), "{args:?}: {told}");
    }
    for store in ["--redis-url", "--postgres-url", "--redis-image", "--postgres-image"] {
        let told = refused(&with_gateway(&[store, "redis://127.0.0.1:1"]));
        assert!(told.contains(&format!("'{store}' cannot be used with '--gateway'")), "{told}");
    }
    // A variable that is meant for another command is no reason to refuse this one.
    let target = ["--target", "reference", "--profile", "seed_001"];
    assert!(
        Cli::try_parse_from([&["gauntlet", "load", "--key", "k"][..], &target].concat()).is_ok()
    );
}

#[tokio::test]
async fn what_cannot_be_a_load_is_told_before_anything_is_sent_or_kept() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let empty = folder.path().join("keys");
    std::fs::write(&empty, "# no key yet\n\n").unwrap();
    let two = folder.path().join("two");
    std::fs::write(&two, "sk-one\nsk two\n").unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (empty, two) = (text(&empty), text(&two));
    let mut told = Vec::new();
    for args in [
        &["--gateway", "https://ann:hunter2@gateway.example/v1", "--key", "k"][..],
        &["--gateway", "http://127.0.0.1:1/v1?api_key=hunter2", "--key", "k"],
        &["--gateway", "http://127.0.0.1:1/v1#hunter2", "--key", "k"],
        &["--gateway", "http://127.0.0.1:1", "--key", "k", "--threshold", "ttft_p95 <= 1s"],
        &["--gateway", "http://127.0.0.1:1", "--key", "k", "--threshold", "hit_ratio >= 0.9"],
        &[
            "--gateway",
            "http://127.0.0.1:1",
            "--key",
            "k",
            "--threshold",
            "latency_p95{class=team} <= 1s",
        ],
        &["--gateway", "http://127.0.0.1:1"],
        &["--gateway", "http://127.0.0.1:1", "--key", "hunter2 hunter2"],
        &["--gateway", "http://127.0.0.1:1", "--keys-file", "/nowhere/keys"],
        &["--gateway", "http://127.0.0.1:1", "--keys-file", &empty],
        &["--gateway", "http://127.0.0.1:1", "--keys-file", &two],
    ] {
        let out = ["--out", runs.to_str().unwrap()];
        let (status, _) = gauntlet(&[&["load"], args, &out].concat()).await;
        let error = status.unwrap_err();
        assert_eq!(error.status(), ExitStatus::Usage);
        told.push(error.told().replace(folder.path().to_str().unwrap(), "{}"));
        assert!(!runs.exists(), "{args:?}");
    }
    assert!(!told.iter().any(|told| told.contains("hunter2")), "{told:#?}");
    assert_snapshot!(told.join("\n"), @r"
    https://[redacted]@gateway.example/v1 is not on this machine; if requests may go there, say so with --allow-host gateway.example
    an address has no `?` and no `#`; give --gateway http://127.0.0.1:1, and a key with --key or GAUNTLET_KEY
    an address has no `?` and no `#`; give --gateway http://127.0.0.1:1, and a key with --key or GAUNTLET_KEY
    this load does not measure what --threshold 'ttft_p95 <= 1s' bounds; --scenario streamed-chat measures it
    this load does not measure what --threshold 'hit_ratio >= 0.9' bounds; it measures latency_p50, latency_p90, latency_p95, latency_p99, latency_max, error_rate, rate
    this load does not measure what --threshold 'latency_p95{class=team} <= 1s' bounds; it measures `latency_p95` only
    there is no key; give one with --key or GAUNTLET_KEY, or a file of them with --keys-file
    --key or GAUNTLET_KEY: a key is one word of printable ASCII letters, and this is none
    cannot read /nowhere/keys: No such file or directory (os error 2)
    {}/keys holds no key; write one on each line
    {}/two:2: a key is one word of printable ASCII letters, and this is none
    ");
}

#[tokio::test]
async fn a_threshold_that_a_profile_never_measures_is_refused_before_anything_is_started() {
    let mut told = Vec::new();
    for (shapes, threshold) in [
        ("1,2", "ttft_p95 <= 1s"),
        ("1,2", "latency_p95{class=team} <= 1s"),
        ("1,2", "hit_ratio{tier=memory} >= 0.9"),
        ("1", "reads_slope <= 0.1"),
    ] {
        let run = ["load", "--target", "reference", "--profile", "demo", "--workers", "1"];
        let (status, _) =
            gauntlet(&[&run[..], &["--replicas", shapes, "--threshold", threshold]].concat()).await;
        let error = status.unwrap_err();
        assert_eq!(error.status(), ExitStatus::Usage);
        told.push(error.told());
    }
    assert_snapshot!(told.join("\n"), @r"
    this load does not measure what --threshold 'ttft_p95 <= 1s' bounds; it measures hit_ratio, latency_p50, latency_p90, latency_p95, latency_p99, latency_max, error_rate, rate, log_lines_per_1000, reads_slope
    this load does not measure what --threshold 'latency_p95{class=team} <= 1s' bounds; it measures `latency_p95{class=plain}` only
    this load does not measure what --threshold 'hit_ratio{tier=memory} >= 0.9' bounds; it measures `hit_ratio{class=plain}` only
    this load does not measure what --threshold 'reads_slope <= 0.1' bounds; it measures hit_ratio, latency_p50, latency_p90, latency_p95, latency_p99, latency_max, error_rate, rate, log_lines_per_1000
    ");
}

/// More callers than any machine lets a process have connections.
#[tokio::test]
async fn callers_that_cannot_have_a_connection_each_are_refused() {
    let args = ["load", "--gateway", "http://127.0.0.1:1", "--key", "k", "--users", "4294967295"];
    let (status, _) = gauntlet(&args).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Usage);
    assert!(error.told().contains("take at most"), "{}", error.told());
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_no_mistake_of_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/v1/");
    let (status, _) = gauntlet(&["load", "--gateway", &url, "--key", "k", "--out", out]).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Setup);
    let told = error.told().replace(&port.to_string(), "PORT");
    assert!(told.starts_with("http://127.0.0.1:PORT gives no answer: "), "{told}");
    assert!(told.ends_with("; is it running, and is this its address?"), "{told}");
}
