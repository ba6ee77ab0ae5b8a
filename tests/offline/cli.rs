//! The command line, as far as it goes without a target: help, lists, and words it does not know.

use clap::{Command, CommandFactory, Parser};
use harness::{
    checks,
    cli::{Cli, ExitStatus},
};
use insta::assert_snapshot;

use crate::gauntlet::gauntlet;

#[test]
fn help_names_every_command_and_every_exit_status() {
    let help = command_line().render_long_help().to_string();
    for command in command_line().get_subcommands() {
        let told = help.contains(&format!("\n  {} ", command.get_name()));
        assert_eq!(told, !command.is_hide_set(), "{}: {help}", command.get_name());
        assert!(command.get_about().is_some(), "{} says nothing of itself", command.get_name());
    }
    for status in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 "] {
        let (_, statuses) = help.split_once("Exit status: ").unwrap();
        assert!(statuses.contains(status), "{help}");
    }
}

#[test]
fn every_command_says_what_it_is_for_and_shows_two_lines_that_can_be_typed() {
    for command in command_line().get_subcommands() {
        let name = command.get_name();
        if command.is_hide_set() || name == "help" {
            continue;
        }
        let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
        assert!(long.contains("\n\n"), "{name} does not say what it is for: {long}");
        let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let examples = after.strip_prefix("Examples:\n").unwrap_or_default();
        assert_eq!(examples.lines().count(), 2, "{name}: {after}");
        for example in examples.lines() {
            let words = words(example);
            assert_eq!(words[..2], ["gauntlet", name], "{example}");
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{example}: {error}");
            }
        }
    }
}

/// A line of a shell as the words of its first command: quotes group, and `>` or `|` end it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    let end = words.iter().position(|word| word == ">" || word == "|").unwrap_or(words.len());
    words.truncate(end);
    words
}

#[test]
fn every_argument_of_every_command_is_explained() {
    for command in command_line().get_subcommands() {
        for argument in command.get_arguments().filter(|it| it.get_id() != "help") {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let whose = format!("{} of `gauntlet {}`", argument.get_id(), command.get_name());
            let begins = |first: char| first.is_uppercase() || first == '`';
            assert!(help.starts_with(begins), "{whose}: {help:?}");
        }
    }
}

#[test]
fn check_says_how_a_target_is_named_and_where_stores_come_from() {
    let mut command_line = command_line();
    let check = command_line.find_subcommand_mut("check").unwrap();
    // How it is broken into lines depends on the terminal.
    let help = check.render_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for phrase in [
        "--target <TARGET>",
        "`reference`, or the path of a `target.toml`",
        "--redis-url <URL>",
        "GAUNTLET_REDIS_URL",
        "--seed <SEED>",
        "[default: release]",
        "[default: runs]",
    ] {
        assert!(help.contains(phrase), "no {phrase:?} in\n{help}");
    }
}

#[tokio::test]
async fn the_list_says_of_every_check_why_it_exists_and_where_it_went_wrong() {
    let (status, listed) = gauntlet(&["list", "--why"]).await;
    assert_eq!(status.unwrap(), ExitStatus::Pass);
    for check in checks::ALL {
        let told =
            [check.id, check.title, check.why].into_iter().chain(check.incidents.iter().copied());
        for text in told {
            assert!(listed.contains(text), "no {text:?} in\n{listed}");
        }
    }
}

#[tokio::test]
async fn the_list_as_json_is_what_people_build_on() {
    let (_, listed) = gauntlet(&["list", "checks", "codec.key-spaces", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let check = &listed[0];
    assert_eq!(check["id"], "codec.key-spaces-disjoint");
    assert_eq!(check["level"], "core");
    for field in ["title", "why"] {
        assert!(check[field].as_str().is_some_and(|text| !text.is_empty()), "{check:#}");
    }
    for field in ["needs", "incidents"] {
        assert!(check[field].as_array().is_some_and(|list| !list.is_empty()), "{check:#}");
    }
}

#[tokio::test]
async fn profiles_are_listed_with_their_size() {
    let (status, listed) = gauntlet(&["list", "profiles", "--why"]).await;
    assert_eq!(status.unwrap(), ExitStatus::Pass);
    assert_snapshot!(listed, @"
    smoke     check  a first look, within a minute; 4 cases per check
        `gauntlet check --profile smoke` drives 4 cases of each check, 8 side by side.
        a failing plan is shrunk for 10s at most
        cases of auth-cache.single-flight: 2
        left out: auth-cache.replica-scaling, codec.mixed-version
    release   check  what a release must pass; 20 cases per check
        `gauntlet check --profile release` drives 20 cases of each check, 20 side by side.
        a failing plan is shrunk for 1min at most
        cases of auth-cache.replica-scaling: 1
        cases of auth-cache.single-flight: 5
        cases of codec.mixed-version: 2
    seed_001  load   identity reads as replicas are added, with and without a shared cache; 200 callers, 15 keys
        `gauntlet load --profile seed_001` has 200 callers share 15 keys, on 12 shapes of a target.
        all callers are there after 10s
        replicas × workers: 1 × 1, 2 × 1, 2 × 2, 4 × 1, 4 × 2, 8 × 1
    demo      load   identity reads as a replica is added, with and without a shared cache, in a minute; 200 callers, 15 keys
        `gauntlet load --profile demo` has 200 callers share 15 keys, on 4 shapes of a target.
        all callers are there after 2s
        replicas × workers: 1 × 1, 2 × 1
    ");
}

#[tokio::test]
async fn faults_are_listed_with_what_they_are_like() {
    let (_, listed) = gauntlet(&["list", "faults"]).await;
    assert_snapshot!(listed, @"
    slow_reads   plan   Every read of Postgres takes longer by a stated time, until it heals.
    fail_reads   plan   So many reads of Postgres, at each replica, end in an error.
    delay        proxy  The chosen requests reach the store later by a stated time.
    cut          proxy  Open connections are reset on both sides: all, or one in so many.
    cut_at       proxy  A connection is reset before a request, before its answer, or amid the answer.
    refuse       proxy  New connections are accepted and at once reset; open ones live on.
    blackhole    proxy  Nothing is forwarded either way, and everything hangs until it heals.
    answer       proxy  The chosen requests get an error for an answer, and the store never sees them.
    lose_pushes  proxy  Published messages and notifications get lost: all, or one in so many.
    ");
    let (_, listed) = gauntlet(&["list", "faults", "blackhole", "--why"]).await;
    assert_snapshot!(listed, @"
    blackhole  proxy  Nothing is forwarded either way, and everything hangs until it heals.
        A network partition, or a firewall that drops packets without a word.
    ");
}

#[tokio::test]
async fn scenarios_are_listed_with_what_they_show() {
    let (_, listed) = gauntlet(&["list", "scenarios", "steady", "--why"]).await;
    for scenario in scenarios::scenario::ALL.iter().filter(|it| it.name.starts_with("steady")) {
        for text in [scenario.name, scenario.does, scenario.why] {
            assert!(listed.contains(text), "no {text:?} in\n{listed}");
        }
    }
}

#[tokio::test]
async fn every_list_as_json_has_id_title_and_reason() {
    for what in ["checks", "scenarios", "faults", "profiles"] {
        let (status, listed) = gauntlet(&["list", what, "--json"]).await;
        assert_eq!(status.unwrap(), ExitStatus::Pass);
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        assert!(!listed.is_empty(), "{what}");
        for entry in &listed {
            for field in ["id", "title", "why"] {
                let text = entry[field].as_str();
                assert!(text.is_some_and(|text| !text.is_empty()), "{what}: {entry:#}");
            }
        }
    }
}

#[tokio::test]
async fn defects_are_the_reference_gateways_to_list() {
    let (status, listed) = gauntlet(&["list", "defects"]).await;
    let error = status.unwrap_err();
    assert_eq!((error.status(), listed.as_str()), (ExitStatus::Usage, ""));
    assert_snapshot!(error.told(), @"there is no reference gateway in /nowhere; build one that has them with `cargo build -p reference-gateway --features defects`, with `--release` if this program is a release build");
}

#[tokio::test]
async fn what_is_in_no_list_is_answered_with_the_nearest() {
    let (status, _) = gauntlet(&["list", "faults", "slow_raeds", "--json"]).await;
    let error = status.unwrap_err();
    assert_eq!(error.status(), ExitStatus::Usage);
    assert_snapshot!(error.told(), @"there is no fault that begins with `slow_raeds`; did you mean `slow_reads`?");
    let error = Cli::try_parse_from(["gauntlet", "list", "fault"]).unwrap_err();
    assert!(error.to_string().contains("'faults'"), "{error}");
}

#[tokio::test]
async fn every_shell_completes_every_command_but_the_hidden_one() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (status, script) = gauntlet(&["completions", shell]).await;
        assert_eq!(status.unwrap(), ExitStatus::Pass);
        for word in ["check", "demo", "replay", "completions", "shrink-budget"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
        assert!(!script.contains("attack"), "{shell} completes what only we call");
    }
}

#[tokio::test]
async fn the_manual_says_of_a_command_what_its_help_says() {
    let (status, page) = gauntlet(&["man", "check"]).await;
    assert_eq!(status.unwrap(), ExitStatus::Pass);
    for text in [".TH gauntlet-check 1", "\\-\\-shrink\\-budget", "Examples:", "is the verdict"] {
        assert!(page.contains(text), "no {text:?} in\n{page}");
    }
    let (_, page) = gauntlet(&["man"]).await;
    assert!(page.contains("gauntlet\\-check(1)") && page.contains("Exit status"), "{page}");
    assert!(!page.contains("attack"), "{page}");
    let (status, _) = gauntlet(&["man", "attack"]).await;
    assert_snapshot!(status.unwrap_err().told(), @"there is no command `attack`");
    let (status, _) = gauntlet(&["man", "chek"]).await;
    assert_snapshot!(status.unwrap_err().told(), @"there is no command `chek`; did you mean `check`?");
}

#[tokio::test]
async fn the_whole_manual_goes_into_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    let (status, told) = gauntlet(&["man", "--out", out.to_str().unwrap()]).await;
    assert_eq!(status.unwrap(), ExitStatus::Pass);
    let shown = Cli::command().get_subcommands().filter(|it| !it.is_hide_set()).count();
    assert_eq!(told.lines().count(), shown + 1, "{told}");
    for line in told.lines() {
        let page = std::fs::read_to_string(line).unwrap();
        assert!(page.contains(".SH NAME"), "{line}: {page}");
    }
    assert!(out.join("gauntlet.1").is_file() && out.join("gauntlet-check.1").is_file());
    assert!(!out.join("gauntlet-attack.1").exists());
}

#[tokio::test]
async fn a_mistyped_target_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let load = ["load", "--profile", "seed_001"];
    for command in [&["check"][..], &load] {
        for target in ["no-such.toml", "refrence"] {
            let rest = ["--target", target, "--out", runs.to_str().unwrap()];
            let (status, _) = gauntlet(&[command, &rest].concat()).await;
            assert_eq!(status.unwrap_err().status(), ExitStatus::Usage, "{command:?} {target}");
            assert!(!runs.exists(), "{command:?} {target}");
        }
    }
}

#[test]
fn a_mistyped_command_is_told_with_the_nearest() {
    let error = Cli::try_parse_from(["gauntlet", "chek"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("'check'"), "{error}");
}

fn command_line() -> Command {
    let mut command_line = Cli::command();
    command_line.build();
    command_line
}
