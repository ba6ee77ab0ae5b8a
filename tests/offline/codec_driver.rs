//! `gauntlet codec`: what a driver says and what becomes of it, down to the exit status.

use clap::Parser;
use harness::cli::{Cli, ExitStatus, Surroundings};

/// A driver in shell that introduces itself properly, and then does this.
fn polite_then(rest: &str) -> String {
    let hello = r#"{"id":1,"protocol":1,"name":"sh","kinds":[{"name":"team","unknown":"refused","schema":{"type":"object","properties":{"team_id":{"type":"string"}},"required":["team_id"]}}]}"#;
    format!("read -r ask; echo '{hello}'; {rest}")
}

/// The example driver in Rust, so that a machine without Python will do.
fn example(arguments: &str) -> String {
    format!("exec '{}' {arguments}", env!("CARGO_BIN_EXE_json-codec"))
}

#[tokio::test]
async fn a_codec_that_keeps_the_laws_passes() {
    let judged = judge(&example(""), &["--cases", "32"]).await;
    assert_eq!(judged.status, ExitStatus::Pass, "{judged:?}");
    assert!(judged.out.contains("0 breaches in 0 of 1 kinds"), "{judged:?}");
}

#[tokio::test]
async fn a_codec_that_drops_nulls_is_told_field_by_field() {
    let judged = judge(&example("--defect drop-null"), &["--cases", "8"]).await;
    assert_eq!(judged.status, ExitStatus::Fail, "{judged:?}");
    insta::assert_snapshot!(judged.out, @r#"
    json_codec: kinds 1, seed 7

    reads-back is broken: what was written reads back as it was
      team: decode(encode({models: null, team_id: "a", tpm_limit: 0})) refuses: missing field `models` at line 1 column 45
        written: {"k":"team","d":{"team_id":"a","tpm_limit":0}}
        is never read, in all:
          team: models, tpm_limit

    2 breaches in 1 of 1 kinds; held: every-value-is-written, null-is-not-default, rewrites-the-same, payload-is-json, unknown-fields, poison-is-refused
    tried: every-value-is-written 55, reads-back 55, null-is-not-default 45, rewrites-the-same 45, payload-is-json 45, unknown-fields 1, poison-is-refused 28
    "#);
}

#[tokio::test]
async fn the_same_seed_says_the_same() {
    let arguments = ["--cases", "8", "--json"];
    let first = judge(&example("--defect drop-null"), &arguments).await;
    let second = judge(&example("--defect drop-null"), &arguments).await;
    assert_eq!(first.out, second.out);
    let json: serde_json::Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["seed"], 7);
    assert_eq!(json["breaches"][0]["field"], "models");
}

#[tokio::test]
async fn a_driver_that_is_not_there_is_a_matter_of_set_up() {
    let judged = judge("exec no-such-driver", &[]).await;
    assert_eq!(judged.status, ExitStatus::Setup);
    let error = judged.error;
    assert!(error.starts_with("cannot use the driver: it ended (exit status: 127)"), "{error}");
    assert!(error.contains("no-such-driver: not found"), "its last words are told: {error}");
}

#[tokio::test]
async fn a_driver_that_prints_garbage_is_quoted() {
    let judged = judge("echo starting up; cat >/dev/null", &[]).await;
    assert_eq!(judged.status, ExitStatus::Setup);
    insta::assert_snapshot!(judged.error, @r#"
    cannot use the driver: its answer to hello is not of the protocol: no JSON (expected value at line 1 column 1): starting up
    "#);
}

#[tokio::test]
async fn a_driver_that_hangs_is_not_waited_for() {
    let judged = judge(&polite_then("exec sleep 600"), &["--patience-s", "1"]).await;
    assert_eq!(judged.status, ExitStatus::Setup);
    insta::assert_snapshot!(judged.error, @r#"
    cannot use the driver: it did not answer encode of team within 1000 ms
    "#);
}

#[tokio::test]
async fn a_driver_that_dies_is_told_with_its_last_words() {
    let dying = polite_then("read -r ask; echo 'out of memory' >&2; exit 3");
    let judged = judge(&dying, &[]).await;
    assert_eq!(judged.status, ExitStatus::Setup);
    insta::assert_snapshot!(judged.error, @r#"
    cannot use the driver: it ended (exit status: 3) instead of answering encode of team; it said: out of memory
    "#);
}

#[tokio::test]
async fn an_answer_to_another_question_is_refused() {
    let judged = judge(&polite_then(r#"echo '{"id":7,"ok":"{}"}'; cat >/dev/null"#), &[]).await;
    assert_eq!(judged.status, ExitStatus::Setup);
    insta::assert_snapshot!(judged.error, @r#"
    cannot use the driver: its answer to encode of team is not of the protocol: its id is not 2: {"id":7,"ok":"{}"}
    "#);
}

#[tokio::test]
async fn an_answer_that_says_nothing_is_refused() {
    let judged = judge(&polite_then(r#"echo '{"id":2}'; cat >/dev/null"#), &[]).await;
    assert_eq!(judged.status, ExitStatus::Setup);
    assert!(judged.error.contains("a payload is text"), "{judged:?}");
}

#[tokio::test]
async fn a_declaration_that_contradicts_itself_is_refused() {
    let hello = r#"{"id":1,"protocol":1,"name":"sh","kinds":[{"name":"team","unknown":"refused","narrows_rights":["blocked"],"schema":{"type":"object","properties":{}}}]}"#;
    let judged = judge(&format!("echo '{hello}'; cat >/dev/null"), &[]).await;
    assert_eq!(judged.status, ExitStatus::Setup);
    assert!(judged.error.contains("blocked, which its schema does not have"), "{judged:?}");
}

#[tokio::test]
async fn a_kind_of_which_there_is_no_object_proves_nothing() {
    let never = polite_then(
        r#"while read -r ask; do id=$((${id:-1} + 1)); echo "{\"id\":$id,\"illegal\":\"never\"}"; done"#,
    );
    let judged = judge(&never, &[]).await;
    assert_eq!(judged.status, ExitStatus::Inconclusive);
    assert!(judged.out.contains("not put to the test: team: never"), "{judged:?}");
}

#[test]
fn a_driver_must_be_named() {
    let refused = Cli::try_parse_from(["gauntlet", "codec"]).unwrap_err();
    assert_eq!(refused.exit_code(), 2);
}

/// What the command came to.
#[derive(Debug)]
struct Judgement {
    status: ExitStatus,
    out: String,
    error: String,
}

async fn judge(driver: &str, arguments: &[&str]) -> Judgement {
    let command = ["gauntlet", "codec", "--seed", "7", "--driver", driver];
    let cli = Cli::parse_from(command.iter().chain(arguments));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut around = Surroundings {
        out: &mut out,
        err: &mut err,
        colour: false,
        err_is_terminal: false,
        width: 100,
        program: std::env::current_exe().unwrap(),
        search_path: None,
        variable: &|_| None,
    };
    let (status, error) = match cli.run(&mut around).await {
        Ok(status) => (status, String::new()),
        Err(error) => (error.status(), error.told()),
    };
    Judgement { status, out: String::from_utf8(out).unwrap(), error }
}
