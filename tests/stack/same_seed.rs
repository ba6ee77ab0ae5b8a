//! A seed decides every plan, and a stored run can be judged and driven again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tests::binaries::Flavour;

use crate::gauntlet::{Gauntlet, runs};

#[tokio::test]
async fn the_same_seed_gives_the_same_plans_and_another_gives_others() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut plans = Vec::new();
    for (run, seed) in [("first", 7), ("second", 7), ("other", 8)] {
        let check =
            format!("check --target reference --cases 1 --seed {seed} --out {{}}/{run} --quiet");
        let ended = gauntlet.run(&check).await;
        assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
        plans.push(plans_of(&only_run(&gauntlet.path(run))));
    }
    assert!(plans[0].len() >= 8, "{:?}", plans[0].keys());
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0].keys().collect::<Vec<_>>(), plans[2].keys().collect::<Vec<_>>());
    for (case, plan) in &plans[0] {
        assert_ne!(plans[2][case], *plan, "{} is the same on another seed", case.display());
    }
}

#[tokio::test]
async fn several_seeds_have_a_document_each_and_nothing_else_beside() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let check = "check --target reference --only codec.no-null-key --cases 1 --seed 1 --seeds 2 \
                 --out {}/runs --json";
    let ended = gauntlet.run(check).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let documents: Result<Vec<Value>, _> =
        serde_json::Deserializer::from_str(&ended.out).into_iter().collect();
    let documents = documents.unwrap_or_else(|error| panic!("{error}: {}", ended.out));
    let seeds: Vec<_> = documents.iter().map(|document| &document["seed"]).collect();
    assert_eq!(seeds, [1, 2]);
    assert!(ended.err.contains("seed 1 (1 of 2): pass"), "{}", ended.err);
}

#[tokio::test]
async fn a_failing_run_is_judged_and_driven_again() {
    const DEFECT: &str = "--replica-arg=--defect --replica-arg=codec-shared-key-space";
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let ended = gauntlet
        .run(&format!(
            "check --target reference --only codec.key-spaces-disjoint --cases 2 --seed 3 \
             --out {{}}/runs --json {DEFECT}"
        ))
        .await;
    assert_eq!(ended.status(), 1, "{}\n{}", ended.out, ended.err);
    let run = only_run(&gauntlet.path("runs"));
    let run = run.to_str().unwrap();

    // The target is gone, and nothing could start it again.
    let judged = gauntlet.command(&format!("replay {run}")).with_path("").start().ended().await;
    assert_eq!(judged.status(), 1, "{}\n{}", judged.out, judged.err);
    assert!(judged.out.contains(" 0 otherwise"), "{}", judged.out);
    assert!(judged.out.contains("is written as user and as team"), "{}", judged.out);

    let healthy = gauntlet.run(&format!("replay {run} --live")).await;
    assert_eq!(healthy.status(), 0, "{}\n{}", healthy.out, healthy.err);
    assert!(healthy.out.contains("1 cases: 1 pass"), "{}", healthy.out);
    let broken = gauntlet.run(&format!("replay {run} --live {DEFECT}")).await;
    assert_eq!(broken.status(), 1, "{}\n{}", broken.out, broken.err);
    assert!(broken.out.contains("case 1 (as before)") || broken.out.contains("case 0 (as before)"));
}

#[tokio::test]
async fn a_passing_run_is_judged_the_same_with_the_target_gone() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let check = "check --target reference --cases 1 --seed 5 --out {}/runs --quiet";
    let ended = gauntlet.run(check).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let run = only_run(&gauntlet.path("runs"));
    let replay = format!("replay {}", run.display());
    let judged = gauntlet.command(&replay).with_path("").start().ended().await;
    assert_eq!(judged.status(), 0, "{}\n{}", judged.out, judged.err);
    assert!(judged.out.contains(" 0 otherwise"), "{}", judged.out);
}

fn only_run(folder: &Path) -> PathBuf {
    let mut runs = runs(folder);
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

/// The plans of every arm of every case, as they are stored.
fn plans_of(run: &Path) -> BTreeMap<PathBuf, Vec<String>> {
    let cases = run.join("cases");
    runs(&cases)
        .iter()
        .flat_map(|check| runs(check))
        .map(|file| {
            let case: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let histories = case["histories"].as_array().unwrap();
            let plans = histories.iter().map(|history| history["plan"].to_string()).collect();
            (file.strip_prefix(&cases).unwrap().to_owned(), plans)
        })
        .collect()
}
