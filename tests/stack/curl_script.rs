//! The script of a failing plan, run as whoever is sent a report would: with a shell and `curl` alone.

use std::collections::BTreeMap;

use harness::{
    history::{Event, History},
    op::Outcome,
    store::RunFolder,
};
use nix::sys::signal::Signal;
use tests::binaries::Flavour;
use tokio::process::Command;

use crate::gauntlet::Gauntlet;

/// The check that fails, and whose defect leaves answers as they should be: what goes wrong is seen on
/// the wire, so a healthy gateway answers the same requests alike.
const CHECK: &str = "codec.key-spaces-disjoint";

#[tokio::test]
async fn the_script_of_a_failing_plan_sends_its_requests_again() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let failed = gauntlet
        .run(&format!(
            "check --target reference --only {CHECK} --cases 4 --seed 1 --shrink-budget 5s --out \
             {{}}/runs --json --replica-arg=--defect --replica-arg=codec-shared-key-space"
        ))
        .await;
    assert_eq!(failed.status(), 1, "{}\n{}", failed.out, failed.err);
    let report = failed.report();
    let told = report["checks"].as_array().unwrap().iter().find(|it| it["id"] == CHECK).unwrap();
    let run = gauntlet.path("runs").join(report["run_id"].as_str().unwrap());
    let script = run.join(told["script"]["file"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(&script).unwrap(), told["script"]["text"]);
    let stored = RunFolder::at(&run).shrunk().unwrap();
    let expected: BTreeMap<_, _> =
        (0..).zip(&stored[0].histories).flat_map(|(arm, history)| statuses(arm, history)).collect();
    assert!(expected.len() > 8, "{expected:?}");

    let mut up = gauntlet.command("up --target reference").start();
    let words = up.writes("ready; Ctrl-C stops it").await;
    let value = |name: &str| {
        let line = words.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned()
    };
    let replicas = [value("replica 0"), value("replica 1")];
    let admin_key = value("admin key");
    let sent = |admin_key: String, prefix: &'static str| {
        let mut bash = Command::new("bash");
        bash.arg(&script)
            .env("GATEWAY_0", &replicas[0])
            .env("GATEWAY_1", &replicas[1])
            .env("GATEWAY", "http://127.0.0.1:1")
            .env("ADMIN_KEY", admin_key)
            .env("PREFIX", prefix);
        async move {
            let ended = bash.output().await.unwrap();
            let told = String::from_utf8_lossy(&ended.stdout).into_owned();
            assert!(ended.status.success(), "{told}\n{}", String::from_utf8_lossy(&ended.stderr));
            assert!(!told.contains("sk-"), "a key is shown: {told}");
            answers(&told)
        }
    };
    assert_eq!(sent(admin_key, "first").await, expected);
    // Whoever may not make a key is told so, and what follows is refused.
    let refused = sent("sk-nobody".to_owned(), "second").await;
    assert!(refused.values().all(|status| *status == 401), "{refused:?}");
    assert_eq!(refused.len(), expected.len());
    up.signal(Signal::SIGINT);
    up.ended().await.says(0, &[]);
}

/// How each call of a drive was answered, under the name that the script has for it.
fn statuses(arm: usize, history: &History) -> BTreeMap<String, u16> {
    let answered = |event: &Event| match event {
        Event::Completed { id, outcome } => match outcome {
            Outcome::Answered { status, .. }
            | Outcome::Listed { status, .. }
            | Outcome::Refused { status, .. } => Some((format!("{arm}-{}", id.0), *status)),
            Outcome::Indeterminate { .. } => None,
        },
        _ => None,
    };
    history.entries.iter().filter_map(|entry| answered(&entry.event)).collect()
}

/// How each request of the script was answered: `0-3 -> 200  POST generate key 0`.
fn answers(told: &str) -> BTreeMap<String, u16> {
    told.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" -> ")?;
            Some((name.to_owned(), rest.split_whitespace().next()?.parse().ok()?))
        })
        .collect()
}
