//! The three binaries, built side by side in either flavour.
//!
//! They have a target folder of their own, so that building them never undoes the build under test.
//! Many test processes may ask at once: a lock file has them build one after the other, and a folder
//! per flavour keeps one from replacing what another runs.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use crate::workspace;

/// The binaries, and the packages they come from.
const BINARIES: [(&str, &str); 3] = [
    ("gauntlet", "harness"),
    ("reference-gateway", "reference-gateway"),
    ("mock-provider", "mocks"),
];

/// How the reference gateway is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// As released: it knows no `--defect`.
    Released,
    /// With planted defects, to be chosen by `--defect`.
    WithDefects,
}

/// Builds the binaries and returns the folder that holds all three.
///
/// # Panics
///
/// Where they cannot be built: the test that asks for them has failed.
pub fn built(flavour: Flavour) -> PathBuf {
    let target = workspace::root().join("target").join("stack");
    fs::create_dir_all(&target).expect("the target folder can be written to");
    let one_at_a_time =
        File::create(target.join("building.lock")).expect("the target folder can be written to");
    one_at_a_time.lock().expect("the file system has locks");

    let mut build = Command::new(env!("CARGO"));
    build.current_dir(workspace::root()).args(["build", "--quiet", "--target-dir"]).arg(&target);
    for (binary, package) in BINARIES {
        build.args(["--package", package, "--bin", binary]);
    }
    let name = match flavour {
        Flavour::Released => "released",
        Flavour::WithDefects => {
            build.args(["--features", "reference-gateway/defects"]);
            "with-defects"
        }
    };
    let status = build.status().expect("cargo is what runs this test");
    assert!(status.success(), "cannot build the binaries {name}: {status}");

    let folder = target.join(name);
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    for (binary, _) in BINARIES {
        // Renaming lets a process that runs the earlier file keep it.
        let fresh = folder.join(format!("{binary}.new"));
        fs::copy(target.join("debug").join(binary), &fresh).expect("cargo has just built it");
        fs::rename(&fresh, folder.join(binary)).expect("both are in the same folder");
    }
    folder
}
