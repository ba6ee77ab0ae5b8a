//! The reference gateway passes every check, and nothing that was seen is left unexplained.

use std::fs;

use harness::checks;
use tests::binaries::Flavour;

use crate::gauntlet::{Gauntlet, runs};

/// Every check, few cases; those that are slow by nature once or twice.
const PROFILE: &str = r#"
name = "few"
title = "every check, few cases"
cases = 6
seeds = 1
side_by_side = 6
shrink_budget = "30s"

[cases_of]
"auth-cache.replica-scaling" = 1
"auth-cache.single-flight" = 2
"codec.mixed-version" = 1
"#;

#[tokio::test]
async fn the_healthy_gateway_passes_every_check() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    gauntlet.file("few.toml", PROFILE);
    for seed in [11, 12] {
        let ended = gauntlet
            .run(&format!(
                "check --target reference --profile {{}}/few.toml --seed {seed} --out {{}}/runs --json"
            ))
            .await;
        let report = ended.report();
        for check in report["checks"].as_array().unwrap() {
            assert_eq!(check["verdict"], "pass", "seed {seed}: {check:#}");
            let cases = match check["id"].as_str().unwrap() {
                "auth-cache.replica-scaling" | "codec.mixed-version" => 1,
                "auth-cache.single-flight" => 2,
                _ => 6,
            };
            assert_eq!(check["cases"], cases, "seed {seed}: {check:#}");
        }
        assert_eq!(report["totals"]["pass"], checks::ALL.len());
        assert_eq!(ended.status(), 0, "{}", ended.err);

        let wire = &report["wire"];
        assert!(wire["joined"].as_u64().unwrap() > 1_000, "{wire:#}");
        for lack in ["unjoined", "lost", "unseen_bytes"] {
            assert_eq!(wire[lack], 0, "seed {seed}: {wire:#}");
        }
    }
}

/// What is kept of a run may be attached to a public report.
#[tokio::test]
async fn what_is_kept_of_a_run_holds_no_key() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let check = "check --target reference --only obs --only propagation --cases 2 --seed 13 \
                 --out {}/runs --replica-arg=--defect --replica-arg=log-miss-as-error";
    let ended = gauntlet.run(check).await;
    assert_eq!(ended.status(), 1, "{}\n{}", ended.out, ended.err);
    let mut kept = vec![ended.out, ended.err];
    let mut folders = runs(&gauntlet.path("runs"));
    while let Some(path) = folders.pop() {
        match path.is_dir() {
            true => folders.extend(runs(&path)),
            false => kept.push(fs::read_to_string(&path).unwrap()),
        }
    }
    assert!(kept.len() > 6, "{} texts", kept.len());
    for text in &kept {
        for (at, _) in text.match_indices("sk-") {
            let key: String =
                text[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
            assert_eq!(key, "sk-", "in {}", text.chars().take(300).collect::<String>());
        }
    }
}
