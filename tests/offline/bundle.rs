//! What leaves this machine holds no secret, and can still be judged.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use harness::cli::ExitStatus;
use serde_json::{Value, json};

use tests::{
    workspace,
    written::{encoded, written},
};

use crate::{
    gauntlet::{gauntlet, gauntlet_with},
    report::run,
};

/// A secret, and texts that a gateway may have put it into.
const CANARIES: &[(&str, &[&str])] = &[
    ("sk-canary0123456789abcdef", &["key sk-canary0123456789abcdef is blocked"]),
    ("red-canary-pw", &["cannot reach redis://gw:red-canary-pw@10.0.0.5:6379/0"]),
    ("pg/canary?pw", &["DSN postgres://gw:pg/canary?pw@db.example/llm was refused"]),
    ("web-canary-pw", &["proxy http://gw:web-canary-pw@proxy.example:3128 is used"]),
    (
        "eyJcanary.bearer_x-1",
        &["Authorization: Bearer eyJcanary.bearer_x-1", "sent Bearer eyJcanary.bearer_x-1 on"],
    ),
    ("Z3c6YmFzaWMtY2FuYXJ5", &[r#"{"authorization": "Basic Z3c6YmFzaWMtY2FuYXJ5", "n": 1}"#]),
    ("header-canary-7", &["x-api-key: header-canary-7", "[(b'x-api-key', b'header-canary-7')]"]),
    ("named-canary-8", &["password=named-canary-8&user=gw", r#"{"api_key": "named-canary-8"}"#]),
    // It looks like nothing, and stands in the target's description.
    (
        "admin canary of ours",
        &["it is admin canary of ours, who would think", "admin canary of ours"],
    ),
    // These look like nothing either, and stand in the environment.
    ("caller canary of ours", &["caller canary of ours was refused"]),
    ("operator canary of ours", &["operator canary of ours was refused"]),
];

/// The environment of whoever packs a run.
fn variable(name: &str) -> Option<String> {
    match name {
        "GAUNTLET_KEY" => Some("caller canary of ours".to_owned()),
        "GAUNTLET_ADMIN_KEY" => Some("operator canary of ours".to_owned()),
        _ => None,
    }
}

#[tokio::test]
async fn no_secret_is_in_it_however_it_is_written() {
    let runs = tempfile::tempdir().unwrap();
    let run = run(runs.path(), "1-ours-7", 1);
    let target = runs.path().join("target.toml");
    fs::write(&target, described()).unwrap();
    plant(&run, target.to_str().unwrap());
    let planted = fs::read_to_string(run.join("cases/codec.no-null-key/0001.json")).unwrap();
    for (secret, _) in CANARIES {
        assert!(written(secret).iter().any(|written| planted.contains(written)), "{secret}");
    }

    let (files, told) = packed(&run).await;
    assert!(told.contains("files, without secrets, in "), "{told}");
    for name in ["about.txt", "report.txt", "report.json", "junit.xml", "run.json", "target.toml"] {
        assert!(files.contains_key(Path::new("1-ours-7").join(name).as_path()), "{name}");
    }
    for (file, text) in &files {
        // A page for a terminal is broken into lines.
        let joined: String = text.split_whitespace().collect();
        for (secret, _) in CANARIES {
            for written in written(secret) {
                assert!(!text.contains(&written), "{secret} as {written} in {}", file.display());
                assert!(!joined.contains(&written), "{secret} as {written} in {}", file.display());
            }
        }
        let name = file.file_name().unwrap();
        assert_ne!(name, "notes.txt", "what nobody knows was packed");
    }
    let case = &files[Path::new("1-ours-7/cases/codec.no-null-key/0001.json")];
    assert!(case.contains("is blocked") && case.contains("10.0.0.5:6379"), "too much is gone");
    let target = &files[Path::new("1-ours-7/target.toml")];
    assert!(target.contains("--port") && target.contains("{postgres_url}"), "{target}");
}

#[tokio::test]
async fn what_was_packed_is_judged_as_what_was_kept() {
    let runs = tempfile::tempdir().unwrap();
    let run = run(runs.path(), "1-reference-7", 1);
    let (files, _) = packed(&run).await;
    let unpacked = tempfile::tempdir().unwrap();
    for (file, text) in &files {
        let file = unpacked.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let again = unpacked.path().join("1-reference-7");
    let (before, told_before) = gauntlet(&["replay", run.to_str().unwrap()]).await;
    let (after, told_after) = gauntlet(&["replay", again.to_str().unwrap()]).await;
    assert_eq!(after.unwrap(), before.unwrap());
    assert_eq!(told_after, told_before);
    assert!(told_after.contains("4 judged as before, 0 otherwise"), "{told_after}");
    let (_, shown) = gauntlet(&["report", again.to_str().unwrap()]).await;
    assert!(shown.contains("codec.no-null-key"), "{shown}");
}

#[tokio::test]
async fn the_script_of_a_failing_plan_is_packed_as_it_was_kept() {
    let runs = tempfile::tempdir().unwrap();
    let run = run(runs.path(), "1-reference-7", 1);
    let failing: Value =
        serde_json::from_str(&workspace::text("tests/browser/runs/failing.json")).unwrap();
    let checks = failing["checks"].as_array().unwrap();
    let script = checks.iter().map(|check| &check["script"]).find(|it| it.is_object()).unwrap();
    let text = script["text"].as_str().unwrap();
    for needed in ["Authorization: Bearer $3", "ADMIN_KEY=\"${ADMIN_KEY:?"] {
        assert!(text.contains(needed), "{text}");
    }
    changed(&run.join("report.json"), |report| report["checks"][0]["script"] = script.clone());
    let (files, _) = packed(&run).await;
    let packed = &files[&Path::new("1-reference-7").join(script["file"].as_str().unwrap())];
    assert_eq!(packed, text);
    let report: Value =
        serde_json::from_str(&files[Path::new("1-reference-7/report.json")]).unwrap();
    assert_eq!(report["checks"][0]["script"], *script);
}

#[tokio::test]
async fn it_says_what_is_in_it() {
    let runs = tempfile::tempdir().unwrap();
    let checked = run(runs.path(), "1-reference-7", 1);
    let (files, _) = packed(&checked).await;
    let about = &files[Path::new("1-reference-7/about.txt")];
    assert!(about.contains("gateway   reference: version unknown, adapter reference"), "{about}");
    assert!(about.contains("`reference` is built in"), "{about}");
    assert!(about.contains("can be judged again: gauntlet replay 1-reference-7"), "{about}");

    // Of a gateway under load there is neither a description nor a plan.
    let loaded = runs.path().join("2-gw.example-load");
    fs::create_dir(&loaded).unwrap();
    let target = "http://gw.example:4000";
    let facts = json!({
        "id": "2-gw.example-load", "seed": 0, "started": 2, "target": target, "cases": 0,
        "tool": "0.1.0",
    });
    fs::write(loaded.join("run.json"), facts.to_string()).unwrap();
    let report = workspace::text("tests/browser/runs/gateway-load.json");
    fs::write(loaded.join("report.json"), report).unwrap();
    let (files, _) = packed(&loaded).await;
    let about = &files[Path::new("2-gw.example-load/about.txt")];
    assert!(about.contains(", put under load\n"), "{about}");
    assert!(about.contains("The gateway was known by its address and a key alone."), "{about}");
    for nonsense in ["replay", "not where it was", "wire profile"] {
        assert!(!about.contains(nonsense), "{about}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_named_and_nothing_is_left() {
    let runs = tempfile::tempdir().unwrap();
    let run = run(runs.path(), "1-reference-7", 1);
    let file = runs.path().join("nowhere/run.tar.gz");
    let (status, _) =
        gauntlet(&["report", run.to_str().unwrap(), "--bundle", file.to_str().unwrap()]).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Setup);
    assert!(error.told().contains("nowhere/run.tar.gz"), "{}", error.told());

    let file = runs.path().join("run.tar.gz");
    fs::write(run.join("shrunk/codec.no-null-key.json"), "{").unwrap();
    let (status, _) =
        gauntlet(&["report", run.to_str().unwrap(), "--bundle", file.to_str().unwrap()]).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Usage);
    assert!(error.told().contains("shrunk/codec.no-null-key.json"), "{}", error.told());
    let left: Vec<_> =
        fs::read_dir(runs.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["1-reference-7"]);
}

/// Packs a run, and gives what every file of the archive says.
async fn packed(run: &Path) -> (BTreeMap<PathBuf, String>, String) {
    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("run.tar.gz");
    let (status, told) = gauntlet_with(
        &["report", run.to_str().unwrap(), "--bundle", file.to_str().unwrap()],
        &variable,
    )
    .await;
    assert_eq!(status.unwrap(), ExitStatus::Pass);
    let mut archive =
        tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(file).unwrap()));
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().into_owned(), text)
    });
    (files.collect(), told)
}

fn described() -> String {
    r#"
    name = "ours" # admin canary of ours
    adapter = "litellm"

    [managed]
    command = ["gateway", "--port", "{port}", "--password", "named-canary-8"]
    config = "general_settings:\n  master_key: sk-canary0123456789abcdef\n"
    master_key = "admin canary of ours"
    env = { DATABASE_URL = "{postgres_url}", CACHE = "redis://gw:red-canary-pw@10.0.0.5", X = "header-canary-7" }
    "#
    .to_owned()
}

/// Puts every canary into every place of a run where a gateway's words are kept.
fn plant(run: &Path, target: &str) {
    let said: Vec<_> = CANARIES
        .iter()
        .flat_map(|(_, texts)| texts.iter())
        .flat_map(|text| [vec![(*text).to_owned()], encoded(text)].concat())
        .collect();
    for file in ["cases/codec.no-null-key/0001.json", "shrunk/obs.healthy-silence.json"] {
        changed(&run.join(file), |case| {
            let entries = case["histories"][0]["entries"].as_array_mut().unwrap();
            let at = entries.last().unwrap()["at"].clone();
            for text in &said {
                let in_payload = json!({"note": text}).to_string();
                let keys = json!([{
                    "name": text, "access": "write", "kind": null, "payload": in_payload,
                }]);
                let mut redis = entries
                    .iter()
                    .find(|entry| entry["event"]["redis"].is_object())
                    .map_or(json!({}), |entry| entry["event"]["redis"].clone());
                if redis["keys"][0].is_object() {
                    redis["keys"][0]["name"] = keys[0]["name"].clone();
                    redis["keys"][0]["payload"] = keys[0]["payload"].clone();
                    entries.push(json!({"at": at, "event": {"redis": redis}}));
                }
                entries.push(json!({"at": at, "event": {"log": {
                    "replica": 0, "level": "info", "template": text, "text": text, "bytes": 9,
                }}}));
                entries.push(json!({"at": at, "event": {"sql": {
                    "replica": 0, "answered": null, "sql": format!("SELECT '{text}'"),
                    "params": [text, in_payload], "reads": [], "rows": null, "error": text,
                }}}));
            }
        });
    }
    changed(&run.join("report.json"), |report| {
        let everything = said.join(" ; ");
        report["target"]["stores"][0]["why"] = json!(everything);
        report["checks"][0]["violations"][0]["summary"] = json!(everything);
        report["checks"][0]["violations"][0]["evidence"][0]["text"] = json!(everything);
        report["checks"][0]["reason"] = json!(everything);
        report["wire"] = json!({"unjoined_shapes": BTreeMap::from([(everything, 1)])});
    });
    changed(&run.join("run.json"), |facts| facts["target"] = json!(target));
    fs::write(run.join("notes.txt"), said.join("\n")).unwrap();
}

fn changed(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut document = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    change(&mut document);
    fs::write(file, document.to_string()).unwrap();
}
