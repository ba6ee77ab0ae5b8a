//! The command line, run to its end, and what it says as JSON.

use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tests::binaries::{self, Flavour};

/// The exit status and the JSON of a command. What it says on the way is shown as it is said.
#[track_caller]
pub(crate) fn gauntlet(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> (i32, Value) {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let binaries = BUILT.get_or_init(|| binaries::built(Flavour::Released));
    let mut command = Command::new(binaries.join("gauntlet"));
    command.args(args).arg("--json").stdin(Stdio::null()).stderr(Stdio::inherit());
    let ended = command.output().unwrap();
    let out = String::from_utf8_lossy(&ended.stdout);
    let status = ended.status.code().unwrap_or_else(|| panic!("{command:?}: {}", ended.status));
    let json = serde_json::from_str(&out);
    (status, json.unwrap_or_else(|error| panic!("{command:?}: status {status}, {error}: {out}")))
}
