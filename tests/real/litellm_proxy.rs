//! LiteLLM's proxies, two of each release on one Redis and one Postgres.
//!
//! How they are started is for a `target.toml` to say. One that is not named fails its test: it was asked
//! for, and not judged.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tests::workspace;

use crate::gauntlet::gauntlet;

const CHECK: &str = "codec.key-spaces-disjoint";

/// [litellm#27874](https://github.com/BerriAI/litellm/issues/27874): a user and a team with one id are
/// one entry, and what is read as a user is a team.
#[test]
fn release_1_84_0rc1_gives_a_user_and_a_team_one_entry() {
    let (status, check) = judged(&named("GAUNTLET_LITELLM_1_84_0RC1"));
    assert_eq!((status, &check["verdict"]), (1, &Value::from("fail")), "{check:#}");
    let summaries: Vec<_> = check["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| violation["summary"].as_str().unwrap())
        .collect();
    for words in [
        ["the Redis key ", " is written as user and as team"],
        ["none when ids are apart", "failed to deserialize cached value"],
    ] {
        let told = summaries.iter().any(|it| words.iter().all(|word| it.contains(word)));
        assert!(told, "{words:?} is in none of {summaries:#?}");
    }
    assert!(check["shrunk"]["steps"].as_array().is_some_and(|it| !it.is_empty()), "{check:#}");
}

#[test]
fn release_1_102_4_keeps_users_and_teams_apart() {
    let (status, check) = judged(&named("GAUNTLET_LITELLM_1_102_4"));
    assert_eq!((status, &check["verdict"]), (0, &Value::from("pass")), "{check:#}");
    assert_eq!(check["cases"], 6);
}

/// The description that a variable names.
fn named(variable: &str) -> PathBuf {
    let target = env::var_os(variable);
    target.unwrap_or_else(|| panic!("set {variable} to the target.toml of that release")).into()
}

/// The exit status of a run of the one check, and what its report says of it.
fn judged(target: &Path) -> (i32, Value) {
    let runs = workspace::root().join("target/real-gateways/runs");
    let args = ["--only", CHECK, "--seed", "2", "--cases", "6", "--shrink-budget", "10s"];
    let (status, mut report) = gauntlet(
        ["check", "--target", target.to_str().unwrap(), "--out", runs.to_str().unwrap()]
            .into_iter()
            .chain(args),
    );
    assert_eq!(report["target"]["adapter"], "litellm");
    assert_eq!(report["target"]["replicas"], 2);
    let checks = report["checks"].as_array_mut().unwrap();
    let check = checks.iter_mut().find(|check| check["id"] == CHECK);
    (status, check.unwrap().take())
}
