//! The command line, as far as it goes without a target: help, lists, and words it does not know.

use clap::{Command, CommandFactory, Parser};
use harness::{
    checks,
    cli::{Cli, ExitStatus},
};

use crate::gauntlet::gauntlet;

#[test]
fn help_names_every_command_and_every_exit_status() {
    let help = command_line().render_long_help().to_string();
    // What only `gauntlet` itself starts is not for people.
    for command in command_line().get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(help.contains(&format!("\n  {}", command.get_name())), "{help}");
        assert!(command.get_about().is_some(), "{} says nothing of itself", command.get_name());
    }
    for status in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 "] {
        let (_, statuses) = help.split_once("Exit status: ").unwrap();
        assert!(statuses.contains(status), "{help}");
    }
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
    let (_, listed) = gauntlet(&["list", "profiles"]).await;
    for name in scenarios::Profile::names() {
        let line = listed.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.contains("cases per check")), "{listed}");
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
