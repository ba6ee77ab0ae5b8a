//! What README.md says can be typed, followed and found.

use clap::Parser;
use harness::cli::Cli;
use tests::workspace;

#[test]
fn it_has_two_commands_and_both_are_known() {
    let readme = workspace::text("README.md");
    let commands = blocks(&readme, "sh");
    let [first, second] = commands.as_slice() else { panic!("not two commands: {commands:?}") };

    let (build, run) = first.split_once(" && ").expect("it is built, and then run");
    assert_eq!(build, "cargo build --release");
    let run: Vec<_> = run.split(' ').collect();
    assert_eq!(run[0], "target/release/gauntlet");
    if let Err(error) = Cli::try_parse_from(&run) {
        panic!("{run:?}: {error}");
    }
    let manifest = workspace::toml("Cargo.toml");
    let built = manifest["workspace"]["default-members"].as_array().unwrap();
    for package in ["harness", "mocks", "reference-gateway"] {
        assert!(
            built.iter().any(|it| it.as_str() == Some(package)),
            "{build} leaves out {package}"
        );
    }

    assert_eq!(*second, "cargo test");
    let ci = workspace::text(".ci/run");
    let runs_it = |line: &str| {
        let command = line.split('|').next().unwrap_or_default();
        command.trim().trim_end_matches(" 2>&1") == *second
    };
    assert!(ci.lines().any(runs_it), ".ci/run does not run {second:?} of the whole workspace");
}

#[test]
fn it_says_what_this_is_in_few_lines() {
    let readme = workspace::text("README.md");
    let (opening, _) = readme.split_once("\n## ").unwrap();
    let lines = opening.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert!((3..=6).contains(&lines.count()), "{opening}");
}

#[test]
fn every_command_that_it_names_is_one() {
    let readme = workspace::text("README.md");
    let names = readme.split("`gauntlet ").skip(1).filter_map(|rest| rest.split('`').next());
    let names: Vec<_> = names.filter_map(|line| line.split(' ').next()).collect();
    assert!(!names.is_empty());
    for name in names {
        let error = Cli::try_parse_from(["gauntlet", name, "--help"]).unwrap_err();
        assert_eq!(error.exit_code(), 0, "there is no `gauntlet {name}`: {error}");
    }
}

#[test]
fn whatever_it_points_at_is_there() {
    let readme = workspace::text("README.md");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("https://")) {
        let path = link.split('#').next().unwrap_or_default();
        assert!(workspace::root().join(path).exists(), "{link} is not there");
    }
}

#[test]
fn the_code_map_shows_folders_that_are_there_and_every_crate() {
    let readme = workspace::text("README.md");
    let (_, map) = readme.split_once("## The code map").unwrap();
    let mut at = String::new();
    let mut crates = Vec::new();
    for line in blocks(map, "text")[0].lines() {
        let folder = line.split_whitespace().next().unwrap();
        assert!(folder.ends_with('/'), "{line}");
        let path = if line.starts_with(' ') { format!("{at}{folder}") } else { folder.to_owned() };
        if !line.starts_with(' ') {
            folder.clone_into(&mut at);
            crates.push(folder.trim_end_matches('/').to_owned());
        }
        assert!(workspace::root().join(&path).is_dir(), "there is no {path}");
    }
    crates.sort();
    assert_eq!(crates, workspace::members());
}

/// What stands in the fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}
