//! The example drivers that need more than this workspace.

use serde_json::Value;
use tests::workspace;

use crate::gauntlet::gauntlet;

#[test]
fn the_example_in_python_keeps_the_laws() {
    let (status, judged) = example("");
    assert_eq!(status, 0, "{judged:#}");
    assert_eq!(judged["breaches"], Value::Array(Vec::new()));
    assert_eq!(judged["not_put_to_the_test"], serde_json::json!({}));
}

#[test]
fn the_example_in_python_drops_nulls_when_asked_to() {
    let (status, judged) = example("--defect drop-null");
    assert_eq!(status, 1, "{judged:#}");
    let broken: Vec<_> = judged["breaches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["law"].as_str().unwrap(), it["field"].as_str().unwrap()))
        .collect();
    assert_eq!(broken, [("reads-back", "models"), ("reads-back", "tpm_limit")]);
}

fn example(arguments: &str) -> (i32, Value) {
    let driver = workspace::root().join("tests/drivers/json_codec.py");
    let driver = format!("exec python3 '{}' {arguments}", driver.display());
    gauntlet(["codec", "--cases", "32", "--seed", "7", "--driver", &driver])
}
