//! Each planted defect fails its check, and a released gateway has none to plant.

use std::process::Command;

use serde_json::Value;
use tests::binaries::Flavour;

use crate::gauntlet::Gauntlet;

#[tokio::test]
async fn each_planted_defect_fails_its_check() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let listed = Command::new(gauntlet.binary("reference-gateway"))
        .args(["defects", "--json"])
        .output()
        .unwrap();
    let planted: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();

    // Most of them wait for lifetimes to end, which two can do at once.
    let half = |half| -> String {
        let names = planted.iter().skip(half).step_by(2);
        names.map(|defect| format!(" --only {}", defect["name"].as_str().unwrap())).collect()
    };
    let (first, second) = (half(0), half(1));
    let (even, odd) = tokio::join!(kills(&gauntlet, 0, &first), kills(&gauntlet, 1, &second));
    let kills = [even, odd].concat();
    for defect in &planted {
        let kill = kills.iter().find(|kill| kill["defect"] == defect["name"]);
        let kill = kill.unwrap_or_else(|| panic!("{defect} was not driven"));
        assert_eq!(kill["check"], defect["caught_by"]);
        assert_eq!(kill["caught_seeds"], 1, "{kill:#}");
    }
    assert_eq!(kills.len(), planted.len());
}

/// The rows of the matrix for the defects that these arguments name.
async fn kills(gauntlet: &Gauntlet, half: usize, only: &str) -> Vec<Value> {
    let file = format!("kills-{half}.json");
    let matrix = format!("defects --seeds 1 --shrink-budget 0s --json {{}}/{file}{only}");
    let ended = gauntlet.run(&matrix).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    serde_json::from_slice(&std::fs::read(gauntlet.path(&file)).unwrap()).unwrap()
}

#[test]
fn a_released_gateway_knows_no_defect() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let gateway = gauntlet.binary("reference-gateway");
    for (args, said) in [
        (["--config", "gateway.yaml", "--defect", "codec-none-key"].as_slice(), "--defect"),
        (&["defects"], "defects"),
    ] {
        let ended = Command::new(&gateway).args(args).output().unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{err}");
        assert!(err.contains("unexpected argument") && err.contains(said), "{err}");
    }
}

#[tokio::test]
async fn a_matrix_without_defects_says_how_to_build_them() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let ended = gauntlet.run("defects").await;
    ended.says(2, &["cargo build -p reference-gateway --features defects"]);
}

#[tokio::test]
async fn a_defect_that_is_not_planted_is_named_with_the_nearest() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let ended = gauntlet.run("defects --only codec-shared-keyspace").await;
    ended.says(2, &["`codec-shared-keyspace`", "did you mean `codec-shared-key-space`?"]);
}
