//! Cleans up after us, however we go.
//!
//! A drop cleans up after a return, an error and a panic; nothing of ours runs after a `SIGKILL`,
//! and a test runner that is interrupted sends one. So a shell waits at a pipe that only we hold
//! open. The pipe ends when we do, and what was left to the shell is then ended and removed.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{sys::signal::Signal, unistd::Pid};

/// Waits for the pipe to end. What is asked for politely has a second to obey.
const END_A_GROUP: &str = r#"read -r _; kill -s "$2" "$1"; sleep 1; kill -s KILL -- "-$1""#;

/// Groups have been ended by then, so nobody writes to the folder any more.
const REMOVE_A_FOLDER: &str = r#"read -r _; sleep 2; rm -rf -- "$1""#;

/// A shell that does one thing once we are gone.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Ends the process group of `leader`, which is asked by `farewell`.
    pub(super) fn over_group(leader: Pid, farewell: Signal) -> io::Result<Watchdog> {
        let farewell = farewell.as_str().trim_start_matches("SIG");
        Watchdog::start(END_A_GROUP, [leader.to_string().as_ref(), farewell.as_ref()])
    }

    /// Removes `folder` and all it holds.
    pub(super) fn over_folder(folder: &Path) -> io::Result<Watchdog> {
        Watchdog::start(REMOVE_A_FOLDER, [folder.as_os_str()])
    }

    fn start<'a>(script: &str, args: impl IntoIterator<Item = &'a OsStr>) -> io::Result<Watchdog> {
        let shell = Command::new("/bin/sh")
            .args(["-c", script, "sh"])
            .args(args)
            // Its own group: what interrupts us must not interrupt it.
            .process_group(0)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Watchdog { shell })
    }
}

impl Drop for Watchdog {
    /// We cleaned up ourselves.
    fn drop(&mut self) {
        // The pipe ends with the shell, not before: it must not take this for our end. One that
        // is gone already has nothing to be told.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_goes_when_we_do_and_stays_when_we_stay() {
        let folder = tempfile::tempdir().unwrap();
        let [kept, removed] = ["kept", "removed"].map(|name| folder.path().join(name));
        for path in [&kept, &removed] {
            fs::create_dir(path).unwrap();
        }
        drop(Watchdog::over_folder(&kept).unwrap());
        let mut watchdog = Watchdog::over_folder(&removed).unwrap();
        drop(watchdog.shell.stdin.take());
        watchdog.shell.wait().unwrap();
        assert!(kept.exists() && !removed.exists());
    }

    #[test]
    fn a_group_goes_when_we_do() {
        let mut group =
            Command::new("/bin/sh").args(["-c", "sleep 60"]).process_group(0).spawn().unwrap();
        let leader = Pid::from_raw(group.id().cast_signed());
        let mut watchdog = Watchdog::over_group(leader, Signal::SIGTERM).unwrap();
        assert!(group.try_wait().unwrap().is_none());
        drop(watchdog.shell.stdin.take());
        assert!(!group.wait().unwrap().success());
        // Its last act takes whatever the leader left behind.
        watchdog.shell.wait().unwrap();
    }
}
