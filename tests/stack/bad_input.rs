//! What people get wrong, and what goes wrong around them: each is told in words that help, with the
//! right exit status and nothing left running.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Command,
};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tests::binaries::Flavour;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::gauntlet::{Gauntlet, runs};

#[tokio::test]
async fn a_mistake_in_target_toml_is_told_with_its_line_and_the_nearest_key() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    gauntlet.file(
        "target.toml",
        "name = 'ours'\nadapter = 'reference'\n\n[attached]\nreplicass = ['http://127.0.0.1:1']\n",
    );
    for command in ["check", "probe", "up"] {
        let ended = gauntlet.run(&format!("{command} --target {{}}/target.toml")).await;
        ended.says(2, &["target.toml:5:1", "`replicass`", "did you mean `replicas`?"]);
    }
}

#[tokio::test]
async fn a_word_that_nothing_is_called_is_told_with_the_nearest() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    for (args, words) in [
        ("check --target referense", ["`referense`", "did you mean `reference`?"]),
        ("check --target reference --profile smokes", ["\"smokes\"", "did you mean \"smoke\"?"]),
        (
            "check --target reference --only codec.key-space-disjoint",
            ["`codec.key-space-disjoint`", "did you mean `codec.key-spaces-disjoint`?"],
        ),
        (
            "check --target reference --skip obs.healthy-silense",
            ["`obs.healthy-silense`", "did you mean `obs.healthy-silence`?"],
        ),
        ("check --target reference --seed seven", ["seven", "--seed"]),
        ("check --target reference --cases 0", ["0", "--cases"]),
        ("check --target reference --seeds 0", ["0", "--seeds"]),
        ("check --target reference --time-budget 90", ["90", "--time-budget"]),
        ("check --taget reference", ["--taget", "--target"]),
        ("chek --target reference", ["chek", "check"]),
        ("check --target {}/none/target.toml", ["none/target.toml", "No such file"]),
        ("check --target reference --profile {}/none.toml", ["none.toml", "No such file"]),
        ("replay {}/none", ["there is no run", "/none`"]),
        (
            "replay {}/none --only obs.healthy-silense",
            ["`obs.healthy-silense`", "did you mean `obs.healthy-silence`?"],
        ),
    ] {
        let out =
            format!("{args}{}", if args.starts_with("check") { " --out {}/runs" } else { "" });
        gauntlet.run(&out).await.says(2, &words);
    }
    let begun = gauntlet.path("runs");
    assert!(!begun.exists() || runs(&begun).is_empty(), "a run was begun");
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_told_by_its_address() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let nobody = free_address();
    attached(&gauntlet, &format!("http://{nobody}"), "sk-any");
    let ended = gauntlet.run("check --target {}/target.toml --out {}/runs").await;
    ended.says(5, &[&nobody.to_string(), "Connection refused", "check that the URL"]);
}

#[tokio::test]
async fn a_web_page_in_place_of_a_gateway_is_told_as_such() {
    let server = MockServer::start().await;
    let gauntlet = Gauntlet::new(Flavour::Released);
    attached(&gauntlet, &server.uri(), "sk-any");
    let page = "<html><body>Welcome to nginx!</body></html>";
    for status in [200, 404, 502] {
        server.reset().await;
        let answer = ResponseTemplate::new(status).set_body_raw(page, "text/html");
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let ended = gauntlet.run("check --target {}/target.toml --out {}/runs").await;
        ended.says(5, &[&server.uri(), "text/html", &status.to_string()]);
    }
}

#[tokio::test]
async fn a_wrong_admin_key_is_told_and_what_runs_goes_on_running() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut up = gauntlet.command("up --target reference").start();
    let told = up.writes("ready; Ctrl-C stops it").await;
    let base = told.lines().find_map(|line| line.strip_prefix("replica 0  ")).unwrap();

    attached(&gauntlet, base, "sk-wrong");
    let ended = gauntlet.run("check --target {}/target.toml --out {}/runs").await;
    ended.says(5, &[base, "refuses the admin key", "401", "`admin_key`"]);
    assert!(!ended.err.contains("sk-wrong"), "{}", ended.err);

    up.signal(Signal::SIGINT);
    up.ended().await.says(0, &[]);
}

#[tokio::test]
async fn a_port_in_use_is_told_by_its_number() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let occupied = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = occupied.local_addr().unwrap().port();
    let gateway = gauntlet.binary("reference-gateway");
    gauntlet.file(
        "target.toml",
        &format!(
            "name = 'ours'\nadapter = 'reference'\n\n[managed]\n\
             command = [{:?}, '--config', '{{config}}', '--port', '{{port}}']\n\
             config = '''\nmodel_list: []\n'''\nports = [{port}]\nreplicas = 1\n",
            gateway.display().to_string()
        ),
    );
    let ended = gauntlet.run("check --target {}/target.toml --out {}/runs").await;
    ended.says(5, &[&port.to_string(), "ports"]);
}

#[tokio::test]
async fn a_disk_that_is_full_from_the_start_is_told_before_anything_is_driven() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let full = "trap '' XFSZ; ulimit -f 8";
    let check = gauntlet.command("check --target reference --out {}/runs").after(full);
    let ended = check.start().ended().await;
    ended.says(5, &["writing", "/runs failed", "free space", "--out"]);
    assert!(!ended.err.contains("kept in"), "{}", ended.err);
}

/// The limit on the size of files stands for the disk: unlike a mount, it needs no rights.
#[tokio::test]
async fn a_disk_that_fills_up_on_the_way_ends_the_run() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let check = "check --target reference --cases 200 --out {}/runs";
    let mut check = gauntlet.command(check).after("trap '' XFSZ").start();
    check.says("kept in").await;
    let limited = Command::new("prlimit")
        .args(["--pid", &check.id().to_string(), "--fsize=1024:1024"])
        .status();
    assert!(limited.unwrap().success());
    let ended = check.ended().await;
    ended.says(5, &["writing", "/cases/", ".json", "failed", "free space", "--out"]);
}

#[tokio::test]
async fn a_replica_that_dies_on_the_way_is_told_with_what_was_seen_until_then() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let check = "check --target reference --only codec --cases 20 --seed 4 --out {}/runs --json";
    let mut check = gauntlet.command(check).start();
    check.says("codec.key-spaces-disjoint: 20 cases").await;
    kill(check.process("replica-1.config"), Signal::SIGKILL).unwrap();
    let ended = check.ended().await;
    ended.says(5, &["replica 1 of the target ended by itself", "SIGKILL"]);
    assert_eq!(ended.report()["exit"]["status"], 5);
    assert_eq!(ended.report()["checks"].as_array().unwrap().len(), harness::checks::ALL.len());
}

#[tokio::test]
async fn ctrl_c_ends_a_run_that_still_reports_what_it_had_done() {
    const FIRST: &str = "codec.key-spaces-disjoint";
    const SECOND: &str = "propagation.revoke-bound";
    let gauntlet = Gauntlet::new(Flavour::Released);
    let check = format!(
        "check --target reference --only {FIRST} --only {SECOND} --cases 25 --seed 4 \
         --out {{}}/runs --json"
    );
    let mut check = gauntlet.command(&check).start();
    check.says(&format!("{SECOND}: 25 cases")).await;
    check.signal(Signal::SIGINT);
    let ended = check.ended().await;
    assert_eq!(ended.status(), 3, "{}\n{}", ended.out, ended.err);

    let run = runs(&gauntlet.path("runs")).remove(0);
    let kept: Value = serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
    assert_eq!(kept, ended.report());
    assert_eq!(kept["exit"]["status"], 3);
    let told = |id: &str| {
        let checks = kept["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap().clone()
    };
    assert_eq!(told(FIRST)["verdict"], "pass");
    assert_eq!(told(SECOND)["verdict"], "skipped");
    assert!(told(SECOND)["reason"].as_str().unwrap().contains("stopped"), "{kept:#}");
    gauntlet.run(&format!("replay {}", run.display())).await.says(0, &[]);
}

#[tokio::test]
async fn an_end_while_the_target_starts_leaves_nothing_either() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let up = gauntlet.command("up --target reference").start();
        up.starts_something().await;
        up.signal(signal);
        up.ended().await.says(5, &["stopped before"]);
    }
}

#[tokio::test]
async fn nothing_outlives_a_command_that_is_killed() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut up = gauntlet.command("up --target reference").start();
    up.writes("ready; Ctrl-C stops it").await;
    up.signal(Signal::SIGKILL);
    let ended = up.ended().await;
    assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32));
}

/// Describes a gateway that runs already.
fn attached(gauntlet: &Gauntlet, base: &str, admin_key: &str) {
    gauntlet.file(
        "target.toml",
        &format!(
            "name = 'ours'\nadapter = 'reference'\n\n[attached]\nreplicas = ['{base}']\n\
             admin_key = '{admin_key}'\n"
        ),
    );
}

/// An address of this machine where nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr()).unwrap()
}
