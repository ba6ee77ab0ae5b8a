//! Whatever ends `gauntlet`, nothing of its run is left, and what was done is told where that can be.
//!
//! That nothing is left (no process, however far it went, and no folder) is what [`Running::ended`]
//! waits for, each time, for five seconds at most.
//!
//! [`Running::ended`]: crate::gauntlet::Running::ended

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use harness::{
    adapters,
    runner::steps::Steps,
    target::{Secret, StoreChoice, StoreRequest, stores},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tests::binaries::Flavour;
use tokio::{
    process::Command,
    time::{interval, sleep, timeout},
};

use crate::gauntlet::{Gauntlet, Running, runs};

/// How often `demo`, which does everything, is killed.
const KILLS: u32 = 10;

/// How often a command is killed that does a part of it.
const FEWER_KILLS: u32 = 4;

/// A load that goes on for longer than anybody waits.
const LOAD: &str = "\
name = 'long'
title = 'a few callers for long'
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
windows = [200]
[shapes]
replicas_and_workers = [[2, 1]]
shared_cache = ['on']
";

/// A check of many cases, which nobody waits for.
const CHECK: &str =
    "check --target reference --only codec.key-spaces-disjoint --cases 200 --out {}/runs";

/// The same, once it drives.
const DRIVING: &str = "codec.key-spaces-disjoint: 200 cases";

/// Numbers that follow from a seed: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// So many moments up to `last`, one in each equal part of the way. Most come early, while things are
/// being started.
fn moments(seed: u64, kills: u32, last: Duration) -> Vec<Duration> {
    let mut numbers = Numbers(seed);
    let moment = |kill| {
        let within = f64::from(u32::try_from(numbers.next() >> 32).unwrap()) / f64::from(u32::MAX);
        let way = (f64::from(kill) + within) / f64::from(kills);
        last.mul_f64(way * way)
    };
    (0..kills).map(moment).collect()
}

/// Kills a command once it is under way, then at so many moments up to as late as that, then sees that
/// the target can be had as ever.
async fn killed_at_any_moment(
    gauntlet: &Gauntlet,
    command: &str,
    kills: u32,
    seed: u64,
    under_way: impl AsyncFn(&mut Running),
) {
    let began = Instant::now();
    let mut running = gauntlet.command(command).start();
    under_way(&mut running).await;
    let last = began.elapsed();
    // Itself, its supervisor, two stores of which one has workers, a provider, two replicas.
    assert!(running.processes() > 8, "it had {} processes", running.processes());
    running.killed().await;
    for moment in moments(seed, kills, last) {
        let running = gauntlet.command(command).start();
        // A moment is what is asked for here, and not a condition.
        sleep(moment).await;
        let ended = running.killed().await;
        assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32), "after {moment:?}");
    }
    let again =
        "check --target reference --only codec.no-null-key --cases 1 --seed 1 --out {}/again";
    gauntlet.run(again).await.says(0, &[]);
}

#[tokio::test]
async fn a_check_killed_at_any_moment_leaves_nothing() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    killed_at_any_moment(&gauntlet, CHECK, FEWER_KILLS, 41, async |check: &mut Running| {
        check.says(DRIVING).await;
    })
    .await;
    for run in runs(&gauntlet.path("runs")) {
        // What was kept by then is whole.
        gauntlet.run(&format!("replay {}", run.display())).await.status();
    }
}

#[tokio::test]
async fn a_load_killed_at_any_moment_leaves_nothing() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    gauntlet.file("long.toml", LOAD);
    let load = "load --target reference --profile {}/long.toml --out {}/runs";
    killed_at_any_moment(&gauntlet, load, FEWER_KILLS, 42, async |load: &mut Running| {
        until("callers are at work", async || load.has_process("gauntlet attack")).await;
    })
    .await;
}

#[tokio::test]
async fn a_demo_killed_at_any_moment_leaves_nothing_and_the_next_one_starts_as_ever() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let demo = "demo --seed 4 --out {}/runs";
    let started = async |demo: &mut Running| {
        until("all is started", async || demo.processes() > 8).await;
    };
    killed_at_any_moment(&gauntlet, demo, KILLS, 43, started).await;
    let mut demo = gauntlet.command(demo).start();
    started(&mut demo).await;
    demo.killed().await;
}

#[tokio::test]
async fn databases_on_a_given_postgres_go_when_the_run_is_killed() {
    let given = stores::find(&StoreRequest {
        run: "given".to_owned(),
        redis: true,
        choice: StoreChoice { search_path: std::env::var_os("PATH"), ..StoreChoice::default() },
        served_before: None,
        patience: Duration::from_secs(60),
        steps: Steps::default(),
    })
    .await
    .unwrap();
    let url = given.postgres.address.url();
    let redis = given.redis.as_ref().unwrap().address.url();
    let gauntlet = Gauntlet::new(Flavour::Released);
    let command = format!("{CHECK} --postgres-url {} --redis-url {}", url.expose(), redis.expose());
    for driven in [false, true] {
        let mut running = gauntlet.command(&command).start();
        until("there is a database", async || !databases(&url).await.is_empty()).await;
        if driven {
            running.says(DRIVING).await;
        }
        running.killed().await;
        assert_eq!(databases(&url).await, [""; 0], "killed when it was driven: {driven}");
    }
    given.stop().await.unwrap();
}

#[tokio::test]
async fn a_closed_terminal_ends_a_run_that_still_reports_what_it_had_done() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut check = gauntlet.command(CHECK).start();
    check.says(DRIVING).await;
    check.signal(Signal::SIGHUP);
    assert_eq!(check.ended().await.status(), 3);
    assert_eq!(report(&gauntlet)["exit"]["status"], 3);
}

#[tokio::test]
async fn a_second_wish_is_obeyed_at_once_and_the_supervisor_does_the_rest() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let reference = adapters::named("reference").unwrap();
    let described = reference.built_in_target(&gauntlet.binary("gauntlet")).unwrap().unwrap();
    // A leader that does not listen holds up the end that the first wish asks for.
    let deaf = r#"command = ["/bin/sh", "-c", "trap '' TERM; \"$0\" \"$@\"; :", "#;
    gauntlet.file("deaf.toml", &described.replace("command = [", deaf));
    let mut up = gauntlet.command("up --target {}/deaf.toml").start();
    up.writes("ready; Ctrl-C stops it").await;
    up.signal(Signal::SIGINT);
    up.says("once more to leave at once").await;
    up.signal(Signal::SIGINT);
    assert_eq!(up.ended().await.status(), 130);
}

#[tokio::test]
async fn whoever_reads_only_the_first_line_leaves_nothing_running() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let folder = tempfile::tempdir().unwrap();
    let script = "\"$0\" check --target reference --only codec.no-null-key --cases 2 --json \
                  --out \"$1/runs\" 2>&1 | head -n 1";
    let read = Command::new("/bin/sh")
        .args(["-c", script])
        .arg(gauntlet.binary("gauntlet"))
        .arg(folder.path())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output();
    let read = timeout(Duration::from_secs(60), read).await.expect("it ends").unwrap();
    assert_eq!(read.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
    let kept = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name());
    assert_eq!(kept.collect::<Vec<_>>(), ["runs"]);
}

#[tokio::test]
async fn a_codec_that_is_stopped_is_told_of_with_what_was_found_by_then() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut codec = driver(&gauntlet);
    codec.says("judging what it writes of").await;
    codec.signal(Signal::SIGINT);
    let ended = codec.ended().await;
    assert!(ended.out.contains("stopped before all laws were judged"), "{}", ended.out);
    assert_eq!(ended.status(), 3, "{}", ended.out);
}

#[tokio::test]
async fn a_codec_that_is_killed_leaves_no_driver() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut codec = driver(&gauntlet);
    codec.says("judging what it writes of").await;
    codec.killed().await;
}

/// The laws, over a driver that takes its time.
fn driver(gauntlet: &Gauntlet) -> Running {
    let slow = gauntlet.file(
        "slow.sh",
        "#!/bin/sh\nread -r _\necho '{\"id\": 1, \"protocol\": 1, \"name\": \"slow\", \"kinds\": \
         [{\"name\": \"team\", \"unknown\": \"refused\", \"schema\": {\"type\": \"object\", \
         \"required\": [\"id\"], \"properties\": {\"id\": {\"type\": \"string\"}}}}]}'\n\
         while read -r _; do sleep 600; done\n",
    );
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o700)).unwrap();
    gauntlet.command(&format!("codec --driver {}", slow.display())).start()
}

/// The report of the only run.
fn report(gauntlet: &Gauntlet) -> Value {
    let [run]: [PathBuf; 1] = runs(&gauntlet.path("runs")).try_into().unwrap();
    serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap()
}

/// The databases of runs on a Postgres, by name.
async fn databases(url: &Secret) -> Vec<String> {
    let mut connection = PgConnection::connect(url.expose()).await.unwrap();
    let names =
        sqlx::query_scalar("SELECT datname FROM pg_database WHERE datname LIKE 'gauntlet_%'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    connection.close().await.unwrap();
    names
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = timeout(Duration::from_secs(60), async {
        let mut look = interval(Duration::from_millis(5));
        while !holds().await {
            look.tick().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}
