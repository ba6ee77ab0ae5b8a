//! What we and others allow to be done with this code.

use std::{collections::BTreeSet, process::Command};

use tests::workspace;

#[test]
fn both_licences_are_here_in_full() {
    let licence = workspace::text("LICENSE");
    for passage in [
        "The Gauntlet Authors",
        "MIT License",
        "THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND",
        "Apache License",
        "Version 2.0, January 2004",
        "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION",
        "9. Accepting Warranty or Additional Liability.",
        "END OF TERMS AND CONDITIONS",
    ] {
        assert!(licence.contains(passage), "LICENSE lacks {passage:?}");
    }
}

#[test]
fn every_crate_is_under_the_licence_of_the_workspace() {
    for member in workspace::members() {
        let manifest = workspace::toml(&format!("{member}/Cargo.toml"));
        let inherited = manifest["package"]["license"]["workspace"].as_bool();
        assert_eq!(inherited, Some(true), "{member} has a licence of its own");
    }
}

#[test]
fn every_dependency_has_a_licence_we_accept() {
    let settings = workspace::toml(".deny.toml");
    let allowed: BTreeSet<_> = settings["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let terms = package["license"].as_str().unwrap_or("none declared");
        assert!(
            accepts(&allowed, terms),
            "{name} is under {terms}, which .deny.toml does not allow"
        );
    }
}

#[test]
fn terms_are_accepted_only_where_some_choice_is_allowed_whole() {
    let allowed = BTreeSet::from(["MIT", "ISC"]);
    for terms in
        ["MIT", "GPL-3.0 OR MIT", "Apache-2.0/MIT", "(MIT OR GPL-3.0) AND ISC", "MIT AND ISC"]
    {
        assert!(accepts(&allowed, terms), "{terms}");
    }
    for terms in
        ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR BSD-3-Clause)", "none declared"]
    {
        assert!(!accepts(&allowed, terms), "{terms}");
    }
}

/// Whether an SPDX expression can be met by allowed licences alone. `AND` binds before `OR`.
fn accepts(allowed: &BTreeSet<&str>, terms: &str) -> bool {
    let terms = terms.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = terms.split_whitespace().peekable();
    any_of(allowed, &mut words)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(allowed: &BTreeSet<&str>, words: &mut Words<'_>) -> bool {
    let mut met = all_of(allowed, words);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(allowed, words);
    }
    met
}

fn all_of(allowed: &BTreeSet<&str>, words: &mut Words<'_>) -> bool {
    let mut met = one(allowed, words);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(allowed, words);
    }
    met
}

fn one(allowed: &BTreeSet<&str>, words: &mut Words<'_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let met = any_of(allowed, words);
        words.next_if_eq(&")");
        return met;
    }
    let mut licence = words.next().unwrap_or_default().to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(licence.as_str())
}

/// Every package that a build on this platform is made of.
fn packages() -> Vec<serde_json::Value> {
    let platform = Command::new("rustc").arg("-vV").output().expect("rustc built this test");
    let platform = String::from_utf8(platform.stdout).expect("rustc speaks UTF-8");
    let platform = platform
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    let metadata = Command::new(env!("CARGO"))
        .current_dir(workspace::root())
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", platform])
        .output()
        .expect("cargo built this test");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata.stdout).expect("cargo writes JSON");
    metadata["packages"].as_array().expect("metadata lists packages").clone()
}
