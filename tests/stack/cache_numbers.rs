//! Cache numbers by class of key: whole where keys are cached, and worst first where they are not.

use serde_json::Value;
use tests::binaries::Flavour;

use crate::gauntlet::Gauntlet;

/// A check that the gateway passes whether it caches teams or not.
const CHECK: &str = "check --target reference --only obs.healthy-silence --cases 24 --seed 7 \
                     --quiet --json --out {}/runs --threshold hit_ratio{class=user}>=0.99";

fn class<'a>(report: &'a Value, name: &str) -> &'a Value {
    let classes = report["cache"]["classes"].as_array().unwrap();
    let found = classes.iter().find(|class| class["class"] == name);
    found.unwrap_or_else(|| panic!("no class {name} in {classes:#?}"))
}

#[tokio::test]
async fn a_gateway_that_caches_keeps_every_bound() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let bounds = "--threshold hit_ratio{class=team}>=99% --threshold sql_per_warm_request==0";
    let ended = gauntlet.run(&format!("{CHECK} {bounds}")).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    for name in ["plain", "user", "team"] {
        let class = class(&report, name);
        assert!(class["requests"].as_u64().unwrap() >= 5, "{class:#}");
        assert_eq!(class["identity_reads"], 0, "{class:#}");
        // The news of a change may reach a replica after its first request, which is then not its only
        // cold one.
        assert!(class["memory_hit_ratio"].as_f64().unwrap() >= 0.9, "{class:#}");
    }
    for worker in report["cache"]["workers"].as_array().unwrap() {
        assert_eq!(worker["worker"], 0, "a replica of one process: {worker:#}");
    }
}

#[tokio::test]
async fn a_class_that_is_not_cached_is_the_worst_and_breaks_its_bound() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let defect = "--replica-arg=--defect --replica-arg=cache-bypass-team";
    let bound = "--threshold hit_ratio{class=team}>=0.99";
    let ended = gauntlet.run(&format!("{CHECK} {bound} {defect}")).await;
    assert_eq!(ended.status(), 1, "{}\n{}", ended.out, ended.err);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(report["totals"]["fail"], 0, "nothing but the bound says so");
    let worst = &report["cache"]["classes"][0];
    assert_eq!((worst["class"].as_str(), worst["hit_ratio"].as_f64()), (Some("team"), Some(0.5)));
    assert_eq!(class(&report, "user")["hit_ratio"], 1.0);
    let verdicts = ["user", "team"].map(|name| {
        let thresholds = report["thresholds"].as_array().unwrap();
        let bound = format!("hit_ratio{{class={name}}}>=0.99");
        let told = thresholds.iter().find(|told| told["threshold"] == bound.as_str()).unwrap();
        told["verdict"].as_str().unwrap().to_owned()
    });
    assert_eq!(verdicts, ["pass", "fail"]);
}

#[tokio::test]
async fn what_was_not_measured_is_inconclusive() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let bound = "--threshold hit_ratio{class=team,replica=7}>=0.99";
    let ended = gauntlet.run(&format!("{CHECK} {bound}")).await;
    assert_eq!(ended.status(), 3, "{}\n{}", ended.out, ended.err);
}

#[tokio::test]
async fn a_mistyped_bound_is_answered_before_anything_is_started() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let ended = gauntlet.run("check --target reference --threshold hit_ratio{clas=team}>=1").await;
    ended.says(2, &["character 11", "did you mean `class`?"]);
}

#[tokio::test]
async fn processes_behind_one_address_are_told_apart() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let command = gauntlet.binary("reference-gateway").display().to_string();
    let target = format!(
        r#"
name = "two workers"
adapter = "reference"

[managed]
command = ["{command}", "--config", "{{config}}", "--port", "{{port}}", "--workers", "{{workers}}"]
replicas = 1
workers = 2
config = """
model_list:
  - {{ model_name: gauntlet-a, litellm_params: {{ model: openai/mock-ok, api_base: "{{upstream_url}}/v1", api_key: sk-mock }} }}
general_settings:
  master_key: {{master_key}}
  database_url: {{postgres_url}}
  redis_url: {{redis_url}}
  auth_cache_ttl_ms: 2000
"""

[bounds]
auth_cache_ttl = "2s"
"#
    );
    gauntlet.file("target.toml", &target);
    let check = CHECK.replace("--target reference", "--target {}/target.toml");
    let ended = gauntlet.run(&check).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let workers = report["cache"]["workers"].as_array().unwrap();
    let met: Vec<_> = workers.iter().map(|worker| worker["worker"].as_u64()).collect();
    assert_eq!(met, [Some(0), Some(1)], "{workers:#?}");
    for worker in workers {
        assert!(worker["identity_reads"].as_u64().unwrap() > 0, "{worker:#}");
    }
    // Some tier has what was used before; nobody knows whose memory.
    let user = class(&report, "user");
    assert_eq!((&user["hit_ratio"], user.get("memory_hit_ratio")), (&Value::from(1.0), None));
}
