//! Who may depend on whom.
//!
//! The reference gateway is judged over the network, so nothing the harness is made of may know it:
//! a type they shared could be wrong on both sides, and no check would see it.

use std::collections::BTreeSet;

use tests::workspace;

/// Every allowed edge between the crates of the workspace.
const EDGES: &[(&str, &[&str])] = &[
    ("harness", &["mocks", "reports", "scenarios"]),
    ("mocks", &[]),
    ("reference-gateway", &[]),
    ("reports", &[]),
    ("scenarios", &[]),
    ("tests", &["harness", "mocks", "reference-gateway", "reports", "scenarios"]),
];

#[test]
fn crates_depend_only_downwards() {
    for (from, allowed) in EDGES {
        let manifest = workspace::toml(&format!("{from}/Cargo.toml"));
        for to in dependencies(&manifest).intersection(&crates()) {
            assert!(allowed.contains(&to.as_str()), "{from} may not depend on {to}");
        }
    }
}

#[test]
fn every_crate_has_its_place_in_the_graph() {
    let placed: BTreeSet<_> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(crates(), placed);
}

#[test]
fn a_dependency_is_seen_wherever_it_is_written() {
    let manifest = r#"
        [dependencies]
        a = "1"
        renamed = { package = "b", version = "1" }
        [dev-dependencies]
        c.workspace = true
        [build-dependencies]
        d = { path = "../d" }
        [target.'cfg(unix)'.dependencies]
        e = "1"
    "#;
    let seen = dependencies(&manifest.parse().unwrap());
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
}

fn crates() -> BTreeSet<String> {
    workspace::members().into_iter().collect()
}

/// The packages that a manifest names, for any use and any platform.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let platforms = manifest
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(toml::Table::values);
    platforms
        .filter_map(toml::Value::as_table)
        .chain([manifest])
        .flat_map(|tables| {
            ["dependencies", "dev-dependencies", "build-dependencies"].map(|kind| tables.get(kind))
        })
        .flatten()
        .filter_map(toml::Value::as_table)
        .flatten()
        .map(|(key, dependency)| {
            let package = dependency.get("package").and_then(toml::Value::as_str);
            package.unwrap_or(key).to_owned()
        })
        .collect()
}
