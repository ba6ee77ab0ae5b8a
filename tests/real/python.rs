//! Python environments below `target/`, each made once and kept.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use tests::workspace;

/// The Python of an environment that has exactly these packages, and what they need, from PyPI.
///
/// Several test processes may ask at once: the first one makes it, and the others wait.
pub(crate) fn with(name: &str, packages: &[&str]) -> PathBuf {
    let kept = workspace::root().join("target/real-gateways");
    fs::create_dir_all(&kept).unwrap();
    let one_at_a_time = File::create(kept.join(format!("{name}.lock"))).unwrap();
    one_at_a_time.lock().unwrap();

    let home = kept.join(name);
    let python = home.join("bin/python");
    // Written last, so that what was broken off is made anew.
    let complete = home.join("complete");
    let wanted = packages.join("\n");
    if !fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
        done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        done(pip.args(packages));
        fs::write(&complete, wanted).unwrap();
    }
    python
}

#[track_caller]
fn done(command: &mut Command) {
    let ended = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; this takes Python 3.10 or later and its module venv")
    });
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {}\n{said}", ended.status);
}
