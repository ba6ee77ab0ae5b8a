//! A run that was stored once is judged the same by today's checks.
//!
//! `runs/history-1` was driven against the reference gateway: two cases that pass, and the smallest
//! failing plans of two planted defects. It is never driven again, so a check that judges it otherwise
//! has changed its mind, and a history that cannot be read has changed its format.

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::{cli::ExitStatus, store::RunFolder, verdict::Verdict};
use insta::assert_snapshot;
use tests::workspace;

use crate::gauntlet::gauntlet;

#[tokio::test]
async fn a_stored_run_is_judged_as_it_was() {
    let (status, told) = gauntlet(&["replay", stored().to_str().unwrap()]).await;
    assert_eq!(status.unwrap(), ExitStatus::Fail);
    assert_snapshot!(told, @r##"
    run history-1 of seed 3 against reference
    codec.no-null-key case 1 (as before): fail
      the key "rg:team:None", made from nothing, is named by GET and PTTL
      the key "rg:user:None", made from nothing, is named by GET and PTTL
    obs.healthy-silence case 2 (as before): fail
      1 × in 5 calls that should be silent: {"ts":"#-#-#:#:#.#","level":"ERROR","target":"reference_gateway::identity_cache::tiered","message":"identity cache miss","kind":"key","name":"rg:key:#"}

    ── cache ───────────────────────────────────────────────────────────────────────────────────────────

      key class  requests      hits    memory     Redis  reads  SQL/req  Redis/req
      plain             7  100.00 %  100.00 %  100.00 %      0     0.00       2.00
      user              3  100.00 %  100.00 %  100.00 %      0     0.00       0.00

      Requests whose identities must be cached: used before on that replica (memory) or on another
      (Redis), within a lifetime, and not changed since. Not counted: 2 that may have met cold, ended or
      changed entries.

    4 cases: 2 pass, 2 fail, 0 inconclusive; 4 judged as before, 0 otherwise
    "##);
}

#[tokio::test]
async fn a_run_is_judged_check_by_check_where_asked() {
    let run = stored();
    let (status, told) =
        gauntlet(&["replay", run.to_str().unwrap(), "--only", "propagation.revoke-bound"]).await;
    assert_eq!(status.unwrap(), ExitStatus::NothingRan, "{told}");
}

#[test]
fn violations_and_their_evidence_are_the_same_too() {
    let (folder, _) = RunFolder::open(&stored()).unwrap();
    let cases = [folder.cases().unwrap(), folder.shrunk().unwrap()].concat();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let check = harness::checks::ALL.iter().find(|check| check.id == case.check).unwrap();
        let verdict = (check.judge)(&case.histories);
        assert_eq!(verdict, case.verdict, "{} case {}", case.check, case.case);
        if let Verdict::Fail(violations) = verdict {
            assert!(violations.iter().all(|violation| !violation.evidence.is_empty()));
        }
    }
}

#[tokio::test]
async fn a_history_of_a_later_version_is_left_to_a_later_gauntlet() {
    let run = changed(|text| {
        text.replace("\"histories\":[{\"version\":1", "\"histories\":[{\"version\":99")
    });
    let (status, _) = gauntlet(&["replay", run.path().to_str().unwrap()]).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Usage);
    assert!(error.told().contains("version 99"), "{}", error.told());
    assert!(error.told().contains("use a newer one"), "{}", error.told());
}

#[tokio::test]
async fn a_torn_file_is_named() {
    let run = changed(|text| text[..text.len() / 2].to_owned());
    let (status, _) = gauntlet(&["replay", run.path().to_str().unwrap()]).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Usage);
    assert!(error.told().contains("shrunk/codec.no-null-key.json"), "{}", error.told());
}

fn stored() -> PathBuf {
    workspace::root().join("tests/offline/runs/history-1")
}

/// A run of one case, after something happened to its file.
fn changed(change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let run = tempfile::tempdir().unwrap();
    fs::create_dir(run.path().join("shrunk")).unwrap();
    for file in ["run.json", "shrunk/codec.no-null-key.json"].map(Path::new) {
        let text = fs::read_to_string(stored().join(file)).unwrap();
        let text = if file.starts_with("shrunk") { change(&text) } else { text };
        fs::write(run.path().join(file), text).unwrap();
    }
    run
}
