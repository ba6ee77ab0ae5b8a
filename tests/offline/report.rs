//! A stored run is shown in another form, and found by more than one name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use harness::cli::{Cli, ExitStatus};
use insta::assert_snapshot;
use serde_json::json;
use tests::workspace;

use crate::gauntlet::gauntlet;

/// A folder of two runs, of which `2-reference-7` began last.
pub(crate) fn runs() -> tempfile::TempDir {
    let runs = tempfile::tempdir().unwrap();
    run(runs.path(), "1-reference-7", 1);
    run(runs.path(), "2-reference-7", 2);
    runs
}

/// A run with the histories of the stored one, and a report of one failure.
pub(crate) fn run(runs: &Path, id: &str, started: u64) -> PathBuf {
    let stored = workspace::root().join("tests/offline/runs/history-1");
    let run = runs.join(id);
    for file in ["codec.no-null-key", "obs.healthy-silence"] {
        let cases = format!("cases/{file}");
        fs::create_dir_all(run.join(&cases)).unwrap();
        for case in fs::read_dir(stored.join(&cases)).unwrap() {
            let case = case.unwrap();
            fs::copy(case.path(), run.join(&cases).join(case.file_name())).unwrap();
        }
        fs::create_dir_all(run.join("shrunk")).unwrap();
        let shrunk = format!("shrunk/{file}.json");
        fs::copy(stored.join(&shrunk), run.join(&shrunk)).unwrap();
    }
    let facts = json!({
        "id": id, "seed": 7, "started": started, "target": "reference", "cases": 1, "tool": "0.1.0",
    });
    fs::write(run.join("run.json"), facts.to_string()).unwrap();
    let report = json!({
        "schema_version": 1, "tool_version": "0.1.0", "run_id": id, "seed": 7, "started": started,
        "duration_ms": 1200,
        "target": {
            "name": "reference", "adapter": "reference", "wire_profile": "litellm-1.10x",
            "bounds": { "ttl_ms": 2000, "staleness_ms": 2500 }, "replicas": 2,
            "stores": [{ "kind": "redis", "version": "7.0.15", "way": "local", "why": "not given" }],
        },
        "checks": [{
            "id": "codec.no-null-key", "title": "No key is made from nothing", "level": "core",
            "cases": 1, "verdict": "fail", "duration_ms": 1100,
            "violations": [{
                "summary": "the key \"rg:user:None\" is made from nothing",
                "evidence": [{ "index": 20, "at_us": 1_000, "lane": "redis", "text": "GET rg:user:None" }],
            }],
            "replay": format!("gauntlet replay runs/{id}"),
        }],
        "totals": { "pass": 0, "fail": 1, "inconclusive": 0, "not_applicable": 0, "skipped": 0, "cases": 1 },
        "exit": { "status": 1, "name": "fail" },
    });
    fs::write(run.join("report.json"), report.to_string()).unwrap();
    run
}

#[test]
fn help_says_in_which_forms_a_run_is_shown() {
    let mut command_line = Cli::command();
    command_line.build();
    let report = command_line.find_subcommand_mut("report").unwrap().clone();
    // Nothing is broken into lines by the width of a terminal.
    let help = report.term_width(0).render_long_help().to_string();
    assert_snapshot!(help, @r#"
    Shows a stored run in another form, or packs it to be shown to others.

    The report of a run is kept as one document, from which every form is made: for a terminal, for a browser, for the page of test results of a CI server. An archive holds all that is known of the run, without secrets, for whoever is to look into it. The exit status says whether it was written; what the run came to stands in the report.

    Usage: gauntlet report [OPTIONS] <RUN>

    Arguments:
      <RUN>
              The folder of a run, or its `report.json`; `runs/latest` is the run that began last

    Options:
          --format <FORMAT>
              In which form
              
              [default: terminal]
              [possible values: terminal, json, junit, html]

          --out <FILE>
              Write it to this file, instead of the standard output

          --bundle <FILE.tar.gz>
              Pack the run into this archive instead: the report in every form, plans, histories and the target's description, all without secrets, fit for a public issue

          --quiet
              Say nothing while it is packed

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      gauntlet report runs/latest --format junit --out junit.xml
      gauntlet report runs/1795168474-reference-2 --bundle run.tar.gz
    "#);
}

#[tokio::test]
async fn a_run_is_shown_as_it_was_when_it_ended() {
    let runs = runs();
    let run = runs.path().join("1-reference-7");
    let (status, told) = gauntlet(&["report", run.to_str().unwrap()]).await;
    // What the run came to is in the report; that it could be shown is in the status.
    assert_eq!(status.unwrap(), ExitStatus::Pass);
    assert_snapshot!(told, @r#"
    gauntlet 0.1.0  run 1-reference-7  seed 7  1970-01-01 00:00:01 UTC

      check              verdict          cases         time  property
      codec.no-null-key  FAIL                 1        1.1 s  No key is made from nothing

    ── failure 1 of 1: codec.no-null-key ───────────────────────────────────────────────────────────────

      No key is made from nothing.

      ! the key "rg:user:None" is made from nothing
        #20  0.001000 s  redis  GET rg:user:None

      See it again: gauntlet replay runs/1-reference-7

    ── the run ─────────────────────────────────────────────────────────────────────────────────────────

      target    reference, version unknown, 2 replicas; adapter reference, wire profile litellm-1.10x;
                TTL 2 s, staleness bound 2.5 s
      redis     7.0.15, local: not given
      probes    0 capabilities confirmed
      wire      0 events: 0 joined, 0 background, 0 unjoined; 0 lost, 0 bytes unseen

    fail (exit 1): 1 failed; 1 case in 1.2 s
    "#);
}

#[tokio::test]
async fn every_form_is_asked_for_by_its_name() {
    let runs = runs();
    let run = runs.path().join("1-reference-7");
    for (form, begins) in [
        ("terminal", "gauntlet 0.1.0"),
        ("json", "{\n  \"schema_version\": 1"),
        ("junit", "<?xml "),
    ] {
        let (status, told) = gauntlet(&["report", run.to_str().unwrap(), "--format", form]).await;
        assert_eq!(status.unwrap(), ExitStatus::Pass);
        assert!(told.starts_with(begins), "{form}: {told}");
        assert!(told.contains("codec.no-null-key"), "{form}: {told}");
    }
}

#[tokio::test]
async fn a_run_goes_by_its_folder_by_its_report_and_by_being_the_latest() {
    let runs = runs();
    for (named, id) in [
        ("1-reference-7/", "1-reference-7"),
        ("1-reference-7/report.json", "1-reference-7"),
        ("latest", "2-reference-7"),
    ] {
        let run = runs.path().join(named);
        let (status, told) = gauntlet(&["report", run.to_str().unwrap()]).await;
        assert_eq!(status.unwrap(), ExitStatus::Pass);
        assert!(told.contains(&format!("run {id} ")), "{named}: {told}");
    }
}

#[tokio::test]
async fn a_file_takes_what_the_standard_output_would() {
    let runs = runs();
    let (run, file) = (runs.path().join("latest"), runs.path().join("junit.xml"));
    let args = ["report", run.to_str().unwrap(), "--format", "junit"];
    let (_, told) = gauntlet(&args).await;
    let (status, nothing) =
        gauntlet(&[&args[..], &["--out", file.to_str().unwrap()]].concat()).await;
    assert_eq!(status.unwrap(), ExitStatus::Pass);
    assert_eq!(nothing, "");
    assert_eq!(fs::read_to_string(file).unwrap(), told);
}

#[tokio::test]
async fn a_mistyped_run_is_told_with_the_nearest() {
    let runs = runs();
    let (status, _) =
        gauntlet(&["report", runs.path().join("1-refrence-7").to_str().unwrap()]).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Usage);
    let told = error.told().replace(runs.path().to_str().unwrap(), "runs");
    assert_snapshot!(told, @r#"
    there is no run `runs/1-refrence-7`; did you mean `runs/1-reference-7`?
    "#);
    let (status, _) = gauntlet(&["replay", runs.path().join("latst").to_str().unwrap()]).await;
    assert!(status.unwrap_err().told().ends_with("/latest`?"));
}

#[tokio::test]
async fn where_there_is_no_run_none_is_the_latest() {
    let empty = tempfile::tempdir().unwrap();
    let (status, _) = gauntlet(&["report", empty.path().join("latest").to_str().unwrap()]).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Usage);
    assert!(error.told().starts_with("there is no run in "), "{}", error.told());
}

#[tokio::test]
async fn a_report_that_is_torn_or_too_new_is_named() {
    let runs = runs();
    let run = runs.path().join("1-reference-7");
    let whole = fs::read_to_string(run.join("report.json")).unwrap();
    for (text, why) in [
        (whole[..whole.len() / 2].to_owned(), "report.json is not what gauntlet writes there"),
        (whole.replace("\"schema_version\":1", "\"schema_version\":9"), "use a newer one"),
    ] {
        fs::write(run.join("report.json"), text).unwrap();
        let (status, _) = gauntlet(&["report", run.to_str().unwrap()]).await;
        let error = status.unwrap_err();
        assert_eq!(error.status(), ExitStatus::Usage);
        assert!(error.told().contains(why), "{}", error.told());
    }
}

#[test]
fn a_mistyped_form_is_told_with_the_nearest() {
    let error = Cli::try_parse_from(["gauntlet", "report", "r", "--format", "junti"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("'junit'"), "{error}");
}
