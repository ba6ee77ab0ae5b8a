//! The one command of README.md: checks, load, and one report of both.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::binaries::Flavour;

use crate::gauntlet::{Gauntlet, runs};

#[tokio::test]
async fn it_ends_early_in_good_order_and_tells_what_was_done() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut demo = gauntlet.command("demo --seed 4 --out {}/runs").start();
    demo.says("1 of 4: 1 replica × 1 worker, one Redis: all 200 callers are there").await;
    demo.signal(Signal::SIGINT);
    let ended = demo.ended().await;
    assert_eq!(ended.status(), 3, "{}\n{}", ended.out, ended.err);

    let run = runs(&gauntlet.path("runs")).remove(0);
    let page = ended.out.lines().last().unwrap();
    assert_eq!(fs::canonicalize(run.join("report.html")).unwrap().to_str(), Some(page));
    let kept: Value = serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
    let checks = kept["checks"].as_array().unwrap();
    let said = |verdict: &str| checks.iter().filter(|check| check["verdict"] == verdict).count();
    assert_eq!(said("pass"), checks.len() - 2, "{}", ended.out);
    assert_eq!(said("skipped"), 2, "{}", ended.out);
    let shapes = kept["load"]["shapes"].as_array().unwrap();
    assert_eq!(shapes.len(), 4, "{shapes:#?}");
    assert!(shapes.iter().all(|shape| shape["verdict"] != "pass"), "{shapes:#?}");
    assert!(shapes[0]["whole"]["answered"].as_u64().unwrap() > 0, "{shapes:#?}");

    // What was checked before the load can be judged again.
    gauntlet.run(&format!("replay {} --quiet", run.display())).await.says(0, &[]);
}
