//! Where the workspace is, and what its manifests say.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder that holds the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a folder of the workspace")
        .to_owned()
}

/// The text of a file of the workspace.
///
/// # Panics
///
/// Where there is no such file: the test that asks for it has failed.
pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A TOML file of the workspace.
///
/// # Panics
///
/// Where there is no such file, or it is not TOML.
pub fn toml(path: &str) -> toml::Table {
    text(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The crates of the workspace, in the order of its manifest.
///
/// # Panics
///
/// Where the manifest does not list them.
pub fn members() -> Vec<String> {
    toml("Cargo.toml")["workspace"]["members"]
        .as_array()
        .expect("members is a list")
        .iter()
        .map(|member| member.as_str().expect("a member is a path").to_owned())
        .collect()
}
