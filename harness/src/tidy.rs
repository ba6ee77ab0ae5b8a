//! What our own source must be like.
//!
//! Each test reads the files of the workspace and holds one rule of its layout. The list of checks is
//! the only file written here, and only where `UPDATE_REGISTRY` is set in the environment.

use std::{
    collections::BTreeSet,
    fs, iter,
    path::{Path, PathBuf},
};

use crate::checks;

/// The folders that know nothing of the world: no gateway, no file, no clock.
const PURE: [&str; 3] = ["checks", "model", "generators"];

/// What such a folder may not name.
const IMPURE: [&str; 18] = [
    "crate::cli",
    "crate::client",
    "crate::clock",
    "crate::nemesis",
    "crate::observers",
    "crate::runner",
    "crate::store",
    "crate::target",
    "crate::wire::proxy",
    "reqwest",
    "sqlx",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
];

/// A moment is only a number; reading the time is what is impure.
const PURE_AFTER_ALL: &str = "crate::clock::Micros";

/// Names under which anything could be put.
const CATCH_ALL: [&str; 4] = ["common", "helpers", "misc", "utils"];

#[test]
fn every_check_is_in_the_written_list() {
    let files = check_files();
    let families: BTreeSet<_> = files.iter().map(|file| file.family.as_str()).collect();
    written(&source().join("checks/mod.rs"), |text| {
        let entries =
            files.iter().map(|file| format!("    &{}::{}::CHECK,", file.family, file.property));
        between_markers(&with_modules(text, families.iter().copied()), entries)
    });
    for family in families {
        let properties = files.iter().filter(|file| file.family == family);
        written(&source().join("checks").join(family).join("mod.rs"), |text| {
            with_modules(text, properties.clone().map(|file| file.property.as_str()))
        });
    }
}

#[test]
fn a_check_is_called_what_its_path_is() {
    if updating() {
        // The list that we were compiled with is the one that is being replaced.
        return;
    }
    let from_paths: Vec<_> = check_files().iter().map(CheckFile::id).collect();
    let from_checks: Vec<_> = checks::ALL.iter().map(|check| check.id.to_owned()).collect();
    assert_eq!(from_checks, from_paths);
}

#[test]
fn a_check_argues_its_property_and_tests_its_judgement() {
    for file in check_files() {
        let text = read(&file.path);
        let id = file.id();
        assert!(text.starts_with("//! "), "{id} does not begin with its argument");
        let tests = text.matches("#[test]").count();
        assert!(
            tests >= 3,
            "{id} has {tests} tests: a breach, a good run and a vacuous one are due"
        );
    }
}

#[test]
fn pure_folders_name_nothing_impure() {
    for path in PURE.iter().flat_map(|folder| rust_files(&source().join(folder))) {
        for named in paths_named(&read(&path)) {
            let impure = IMPURE.iter().find(|impure| is_within(&named, impure));
            if let Some(impure) = impure.filter(|_| !is_within(&named, PURE_AFTER_ALL)) {
                panic!("{} names {named}, and {impure} is not pure", path.display());
            }
        }
    }
}

#[test]
fn no_file_is_a_catch_all() {
    for path in rust_files(&workspace()) {
        for part in path.strip_prefix(workspace()).unwrap().with_extension("").iter() {
            let name = part.to_str().unwrap();
            assert!(!CATCH_ALL.contains(&name), "{} could hold anything", path.display());
        }
    }
}

#[test]
fn every_planted_defect_has_its_check_and_every_check_its_defect() {
    let ids: BTreeSet<_> = check_files().iter().map(CheckFile::id).collect();
    let defects = read(&workspace().join("reference-gateway/src/defects.rs"));
    let caught_by: BTreeSet<_> = defects
        .split("caught_by: \"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(id, _)| id.to_owned())
        .collect();
    assert_eq!(caught_by, ids, "left: named by planted defects; right: checks");
}

#[test]
fn a_use_is_seen_however_it_is_written() {
    let text = "
        use crate::{
            capability::Capability,
            clock::{Clock, Micros},
            wire,
        };
        pub(crate) use std::fs::{self, File as Opened};
        // use std::net::TcpStream;
        fn f() -> std::time::Instant { crate::runner::now() }
    ";
    let named: Vec<_> = paths_named(text).into_iter().collect();
    let expected = [
        "crate::capability::Capability",
        "crate::clock::Clock",
        "crate::clock::Micros",
        "crate::runner::now",
        "crate::wire",
        "std::fs",
        "std::fs::File",
        "std::time::Instant",
    ];
    assert_eq!(named, expected);
}

/// Whatever is started is told to the supervisor, or bears its mark.
#[test]
fn nothing_is_started_that_nobody_would_end() {
    for path in rust_files(&source()) {
        let text = read(&path);
        // What comes after is what a test starts.
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        let starts = [".spawn()?", ".spawn()\n", ".output()\n", ".status()\n"];
        let starts = starts.iter().any(|call| code.contains(call));
        let is_supervisor = path.ends_with("target/supervisor/mod.rs");
        assert!(
            !starts || is_supervisor || code.contains("supervisor::mark()"),
            "{} starts a process without the mark; use `ProcessGroup::spawn`, or `supervisor::mark` \
             and `supervisor::over_group`",
            path.display()
        );
    }
}

/// A file that holds one check.
struct CheckFile {
    family: String,
    property: String,
    path: PathBuf,
}

impl CheckFile {
    fn id(&self) -> String {
        format!("{}.{}", self.family, self.property).replace('_', "-")
    }
}

/// Every file that holds a check, in the order of their ids.
fn check_files() -> Vec<CheckFile> {
    let mut files: Vec<_> = rust_files(&source().join("checks"))
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "mod.rs"))
        .map(|path| {
            let part = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
            CheckFile { family: part(path.parent().unwrap()), property: part(&path), path }
        })
        .collect();
    files.sort_by_key(CheckFile::id);
    assert!(!files.is_empty(), "there are no checks");
    files
}

/// Holds the file at `path` to what `wanted` makes of it, or makes it so where that is asked for.
fn written(path: &Path, wanted: impl FnOnce(&str) -> String) {
    let found = read(path);
    let wanted = wanted(&found);
    if found == wanted {
        return;
    }
    assert!(
        updating(),
        "{} is out of date: run `UPDATE_REGISTRY=1 cargo test -p harness tidy`",
        path.display()
    );
    fs::write(path, wanted).unwrap();
}

/// Whether the list of checks is to be written.
fn updating() -> bool {
    std::env::var_os("UPDATE_REGISTRY").is_some()
}

/// `text` with its `pub mod` lines replaced by these, where the first one stood, or at its end.
fn with_modules<'a>(text: &str, modules: impl Iterator<Item = &'a str>) -> String {
    let modules: Vec<_> = modules.map(|name| format!("pub mod {name};")).collect();
    let is_module = |line: &&str| line.starts_with("pub mod ");
    let before = text.lines().take_while(|line| !is_module(line)).map(str::to_owned);
    let after = text.lines().skip_while(|line| !is_module(line)).filter(|line| !is_module(line));
    as_file(before.chain(modules).chain(after.map(str::to_owned)))
}

/// `text` with what stands between its two markers replaced by `entries`.
fn between_markers(text: &str, entries: impl Iterator<Item = String>) -> String {
    let (before, rest) = text.split_once("// registry: begin\n").unwrap();
    let (_, after) = rest.split_once("    // registry: end").unwrap();
    let entries = as_file(entries);
    format!("{before}// registry: begin\n{entries}    // registry: end{after}")
}

fn as_file(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

/// Every path that the code in `text` uses or spells out, in full. Comments do not count.
fn paths_named(text: &str) -> BTreeSet<String> {
    let code: Vec<_> =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut named = BTreeSet::new();
    let mut rest = code.as_str();
    while let Some(place) = roots().filter_map(|root| found(rest, &root)).min() {
        let path = &rest[place..];
        named.extend(expanded(path.split(';').next().unwrap_or(path)));
        rest = &path[path.find("::").map_or(path.len(), |end| end + 2)..];
    }
    named
}

/// What a path begins with: our own crate, or one that can do something.
fn roots() -> impl Iterator<Item = String> {
    let firsts: BTreeSet<_> =
        IMPURE.iter().map(|path| path.split("::").next().unwrap_or(path)).collect();
    firsts.into_iter().map(|first| format!("{first}::"))
}

/// Where `root` first begins a path in `code`.
fn found(code: &str, root: &str) -> Option<usize> {
    code.match_indices(root).map(|(place, _)| place).find(|place| {
        let before = code[..*place].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':')
    })
}

/// The paths that one path stands for, its groups in braces written out.
fn expanded(path: &str) -> Vec<String> {
    let path = path.trim_start();
    let end = path
        .find(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'))
        .unwrap_or(path.len());
    let (stem, rest) = path.split_at(end);
    let Some(group) = rest.strip_prefix('{') else { return vec![stem.to_owned()] };
    members(group)
        .into_iter()
        .flat_map(expanded)
        .map(|member| match member.as_str() {
            "self" => stem.trim_end_matches("::").to_owned(),
            member => format!("{stem}{member}"),
        })
        .collect()
}

/// The members of a group whose opening brace was just read.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(group[start..place].trim());
                start = place + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => (),
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

/// Whether `path` is `of`, or something in it.
fn is_within(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every Rust file under `folder`, what was built or is hidden aside.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| files_at(&path)).collect()
}

fn files_at(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if path.is_dir() && name != "target" && !name.starts_with('.') {
        return rust_files(path);
    }
    iter::once(path.to_owned()).filter(|_| name.ends_with(".rs")).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The source of this crate.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The folder of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
