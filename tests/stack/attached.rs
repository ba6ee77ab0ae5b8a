//! A target that runs already: what can be asked of it, and what it takes to ask the rest.

use nix::sys::signal::Signal;
use tests::binaries::Flavour;

use crate::gauntlet::Gauntlet;

#[tokio::test]
async fn a_stack_that_is_up_is_judged_by_what_it_lets_us_see() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut up = gauntlet.command("up --target reference").start();
    let told = up.writes("ready; Ctrl-C stops it").await;
    let value = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned()
    };
    gauntlet.file(
        "target.toml",
        &format!(
            "name = 'ours'\nadapter = 'reference'\n\n[attached]\nreplicas = ['{}', '{}']\n\
             admin_key = '{}'\nmock_url = '{}'\n\n[bounds]\nauth_cache_ttl = '2s'\n",
            value("replica 0"),
            value("replica 1"),
            value("admin key"),
            value("upstream"),
        ),
    );
    let check = "check --target {}/target.toml --cases 3 --seed 6 --out {}/runs --json";
    let ended = gauntlet.run(check).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let report = ended.report();
    let verdict = |id: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap().clone()
    };
    for id in ["auth-cache.accepted-state-usable", "propagation.revoke-bound"] {
        assert_eq!(verdict(id)["verdict"], "pass", "{:#}", verdict(id));
    }
    for id in ["codec.key-spaces-disjoint", "obs.healthy-silence"] {
        assert_eq!(verdict(id)["verdict"], "not_applicable", "{:#}", verdict(id));
        let reason = verdict(id)["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("[managed]"), "{reason}");
    }
    up.signal(Signal::SIGINT);
    up.ended().await.says(0, &[]);
}

#[tokio::test]
async fn a_target_without_an_admin_key_applies_to_nothing_and_says_what_it_takes() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    gauntlet.file(
        "target.toml",
        "name = 'ours'\nadapter = 'reference'\n\n[attached]\nreplicas = ['http://127.0.0.1:1']\n",
    );
    let ended = gauntlet.run("check --target {}/target.toml --out {}/runs --json").await;
    assert_eq!(ended.status(), 4, "{}\n{}", ended.out, ended.err);
    for check in ended.report()["checks"].as_array().unwrap() {
        assert_eq!(check["verdict"], "not_applicable", "{check:#}");
        assert!(check["reason"].as_str().unwrap().contains("admin_key"), "{check:#}");
    }
}
