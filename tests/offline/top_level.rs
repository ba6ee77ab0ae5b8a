//! The top level shows the architecture and nothing else.

use std::{collections::BTreeSet, fs};

use tests::workspace;

/// What stands beside the crates. Tool settings are hidden files.
const BESIDE_THE_CRATES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE"];

#[test]
fn nothing_stands_beside_the_crates_that_need_not() {
    let mut expected: BTreeSet<_> = workspace::members().into_iter().collect();
    expected.extend(BESIDE_THE_CRATES.map(str::to_owned));
    let found: BTreeSet<_> = entries().difference(&ignored()).cloned().collect();
    assert_eq!(found, expected);
}

#[test]
fn every_crate_bears_the_name_of_its_folder() {
    for member in workspace::members() {
        let manifest = workspace::toml(&format!("{member}/Cargo.toml"));
        assert_eq!(manifest["package"]["name"].as_str(), Some(member.as_str()));
    }
}

/// Everything at the top level that is not hidden.
fn entries() -> BTreeSet<String> {
    fs::read_dir(workspace::root())
        .expect("the workspace can be listed")
        .map(|entry| entry.expect("the workspace can be listed").file_name())
        .map(|name| name.into_string().expect("our names are UTF-8"))
        .filter(|name| !name.starts_with('.'))
        .collect()
}

/// What runs and builds leave behind, which git is told to ignore.
fn ignored() -> BTreeSet<String> {
    let lines = workspace::text(".gitignore");
    lines.lines().filter_map(|line| line.strip_prefix('/')).map(str::to_owned).collect()
}
