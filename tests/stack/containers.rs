//! Stores and gateways in containers, of images that are made here: `.ci/images`.

use std::{path::Path, process::Command, time::Duration};

use harness::adapters;
use nix::sys::signal::Signal;
use tests::{binaries::Flavour, workspace};
use tokio::time::{interval, timeout};

use crate::gauntlet::Gauntlet;

/// Stores of images that have no entry point, and are nobody's default.
const IMAGES: &str = "--redis-image gauntlet-test/redis --postgres-image gauntlet-test/postgres";

/// The image that a gateway is put into.
const GATEWAY: &str = "gauntlet-test/reference-gateway";

/// How long a container may outlive the run that was killed.
const AFTERMATH: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_check_on_stores_in_containers_sees_all_there_is_to_see() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let check =
        format!("check --target reference --cases 3 --seed 6 --json --out {{}}/runs {IMAGES}");
    let ended = gauntlet.run(&check).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let checks = ended.report()["checks"].as_array().unwrap().clone();
    for check in &checks {
        assert_eq!(check["verdict"], "pass", "{check:#}");
    }
}

#[tokio::test]
async fn containers_are_labelled_reached_on_loopback_and_removed_on_every_way_out() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    for ending in [Signal::SIGINT, Signal::SIGKILL] {
        let mut up = gauntlet.command(&format!("up --target reference {IMAGES}")).start();
        let told = up.writes("ready; Ctrl-C stops it").await;
        for (store, image) in
            [("redis", "gauntlet-test/redis"), ("postgres", "gauntlet-test/postgres")]
        {
            let line = told.lines().find(|line| line.starts_with(store)).unwrap();
            assert!(line.contains("(container)") && line.contains(image), "{line}");
        }
        let run = run_of(&told);
        let containers = containers(&run);
        assert_eq!(containers.len(), 2, "{containers:#?}");
        assert!(containers.iter().all(|line| line.contains("127.0.0.1:")), "{containers:#?}");
        assert!(containers.iter().all(|line| !line.contains("0.0.0.0:")), "{containers:#?}");
        up.signal(ending);
        drop(up.ended().await);
        gone(&run).await;
    }
}

#[tokio::test]
async fn a_gateway_in_a_container_is_judged_like_a_process() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    pack(&gauntlet.binary("reference-gateway"));
    gauntlet.file("target.toml", &described(&gauntlet.binary("gauntlet")));
    let check = "check --target {}/target.toml --cases 3 --seed 6 --json --out {}/runs";
    let ended = gauntlet.run(check).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let checks = ended.report()["checks"].as_array().unwrap().clone();
    // What it prints is read, what it asks of its stores is seen, and so is its adjacent release.
    for check in &checks {
        assert_eq!(check["verdict"], "pass", "{check:#}");
    }
}

#[tokio::test]
async fn a_gateway_in_a_container_that_ends_is_quoted_and_removed() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    pack(&gauntlet.binary("reference-gateway"));
    gauntlet.file(
        "target.toml",
        &format!(
            "name = 'ours'\nadapter = 'reference'\n[managed]\nimage = '{GATEWAY}'\n\
             command = ['sh', '-c', 'echo no licence in {{home}}; exit 3']\nreplicas = 1\n"
        ),
    );
    let ended = gauntlet.run("up --target {}/target.toml").await;
    assert_eq!(ended.status(), 5, "{}", ended.err);
    assert!(ended.err.contains("replica 0 ended with exit status: 3"), "{}", ended.err);
    assert!(ended.err.contains("no licence in /"), "{}", ended.err);
}

#[tokio::test]
async fn an_image_that_a_person_named_and_that_cannot_be_had_is_an_error() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let ended = gauntlet.run("up --target reference --redis-image 127.0.0.1:9/no/redis:1").await;
    assert_eq!(ended.status(), 5, "{}", ended.err);
    for part in ["--redis-image", "127.0.0.1:9/no/redis:1", "cannot be pulled"] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
}

/// The reference gateway as it is built in, but in a container.
fn described(gauntlet: &Path) -> String {
    let built_in =
        adapters::named("reference").unwrap().built_in_target(gauntlet).unwrap().unwrap();
    let gateway = gauntlet.with_file_name("reference-gateway");
    let command = format!("command = [\"{}\"", gateway.display());
    assert!(built_in.contains(&command), "{built_in}");
    let contained = format!("image = \"{GATEWAY}\"\ncommand = [\"reference-gateway\"");
    built_in.replace(&command, &contained)
}

/// Puts a gateway into its image.
fn pack(gateway: &Path) {
    let packed = Command::new(workspace::root().join(".ci/images"))
        .arg("gateway")
        .arg(gateway)
        .output()
        .unwrap();
    assert!(packed.status.success(), "{packed:?}");
}

/// The label's value of the run that said this: its folder bears it too.
fn run_of(told: &str) -> String {
    let folder = told.lines().find_map(|line| line.strip_prefix("folder")).unwrap();
    let folder = Path::new(folder.split_whitespace().next().unwrap());
    let name = folder.file_name().unwrap().to_str().unwrap();
    name.split('-').nth(2).unwrap().to_owned()
}

/// The containers of a run, with the ports they publish.
fn containers(run: &str) -> Vec<String> {
    let listed = Command::new("docker")
        .args(["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Image}} {{.Ports}}"])
        .args(["--filter", &format!("label=org.gauntlet.run={run}")])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

/// Waits until a run has no containers.
async fn gone(run: &str) {
    let none_left = async {
        let mut look = interval(Duration::from_millis(50));
        while !containers(run).is_empty() {
            look.tick().await;
        }
    };
    assert!(timeout(AFTERMATH, none_left).await.is_ok(), "left: {:#?}", containers(run));
}
