//! The folder that keeps unpacked packages from one run to the next.
//!
//! Programs are started from it, so it must be ours, and nobody else may write to it. Postgres does not
//! run as root: where we are root, somebody else must be able to read what is kept there.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::{User, geteuid};
use tokio::time::{interval, timeout};

use super::{NotUnpacked, system};
use crate::runner::steps::Steps;

/// Where root keeps what can be fetched again.
const OF_ROOT: &str = "/var/cache/gauntlet";

/// How long another run may take to fetch what we need too.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often we look whether it is done.
const LOOK: Duration = Duration::from_millis(100);

/// A folder of ours, for the packages of one release.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    note: Option<String>,
}

/// While this lives, nobody else fetches.
#[derive(Debug)]
pub(super) struct Alone {
    _lock: File,
}

impl Cache {
    /// The first of `candidates` that serves, and in it the folder `name`.
    ///
    /// # Errors
    ///
    /// When none serves: the reasons, one after the other.
    pub(super) fn choose(
        candidates: &[PathBuf],
        reader: Option<&User>,
        name: &str,
    ) -> Result<Cache, String> {
        let of_root = geteuid().is_root().then(|| PathBuf::from(OF_ROOT));
        let mut why = Vec::new();
        for candidate in candidates.iter().chain(&of_root) {
            match Cache::in_folder(candidate, reader, name) {
                Ok(folder) => {
                    let note = (!why.is_empty()).then(|| {
                        format!(
                            "packages are kept in {}, since {}",
                            candidate.display(),
                            why.join(", and ")
                        )
                    });
                    return Ok(Cache { folder, note });
                }
                Err(reason) => why.push(reason),
            }
        }
        match why.is_empty() {
            true => Err("there is no folder to keep packages in; set XDG_CACHE_HOME".to_owned()),
            false => {
                Err(format!("{}; set XDG_CACHE_HOME to a folder that serves", why.join(", and ")))
            }
        }
    }

    fn in_folder(candidate: &Path, reader: Option<&User>, name: &str) -> Result<PathBuf, String> {
        let existing = candidate.ancestors().find(|path| path.exists());
        let owner = existing.and_then(|path| fs::metadata(path).ok()).map(|meta| meta.uid());
        if owner != Some(geteuid().as_raw()) {
            return Err(format!("{} belongs to somebody else", candidate.display()));
        }
        // Nothing is made where it would not serve.
        let unread = |reader: &User| format!("{} cannot read {}", reader.name, candidate.display());
        let closed = |path: &Path| reader.filter(|reader| !can_reach(reader, path)).map(unread);
        if let Some(why) = existing.and_then(closed) {
            return Err(why);
        }
        let folder = candidate.join(name);
        let cannot = |source: io::Error| format!("{} cannot be made: {source}", folder.display());
        make(candidate).and_then(|()| make(&folder)).map_err(cannot)?;
        for folder in [candidate, folder.as_path()] {
            let meta = fs::metadata(folder).map_err(cannot)?;
            if meta.uid() != geteuid().as_raw() || meta.mode() & 0o022 != 0 {
                return Err(format!("others can write to {}", folder.display()));
            }
        }
        match closed(&folder) {
            Some(why) => Err(why),
            None => Ok(folder),
        }
    }

    /// The folder for the packages of this release.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Why it is not the first folder that one would look in.
    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Waits until nobody else fetches.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written to, or somebody takes too long.
    pub(super) async fn lock(&self, steps: &Steps) -> Result<Alone, NotUnpacked> {
        let lock =
            File::create(self.folder.join("lock")).map_err(system("lock the cache folder"))?;
        let free = async {
            let mut look = interval(LOOK);
            loop {
                look.tick().await;
                match lock.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => {
                        steps.begin("waiting for another run, which fetches packages");
                    }
                    Err(TryLockError::Error(source)) => return Err(source),
                }
            }
        };
        let over = || io::Error::new(io::ErrorKind::TimedOut, "another run holds it");
        let locked = timeout(PATIENCE, free).await.unwrap_or_else(|_| Err(over()));
        locked.map_err(system("lock the cache folder"))?;
        Ok(Alone { _lock: lock })
    }

    /// Removes what runs that were killed left half done. Only for who is alone.
    pub(super) fn remove_leftovers(&self, prefix: &str) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                // What cannot be removed is only in the way of the disk.
                drop(fs::remove_dir_all(entry.path()));
            }
        }
    }
}

/// Makes a folder that all can read and only we can write to, unless it is there.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Whether every folder on the way lets this user through.
fn can_reach(user: &User, folder: &Path) -> bool {
    folder.ancestors().all(|path| {
        let Ok(meta) = fs::metadata(path) else { return false };
        let bit = match () {
            () if meta.uid() == user.uid.as_raw() => 0o100,
            () if meta.gid() == user.gid.as_raw() => 0o010,
            () => 0o001,
        };
        meta.mode() & bit != 0
    })
}

#[cfg(test)]
mod tests {
    use nix::unistd::{Gid, Uid};

    use super::*;

    fn stranger() -> User {
        let mut user = User::from_uid(geteuid()).unwrap().unwrap();
        user.name = "stranger".to_owned();
        (user.uid, user.gid) = (Uid::from_raw(4_000_000_001), Gid::from_raw(4_000_000_001));
        user
    }

    /// A folder that everybody can reach, whatever our own temporary ones are like.
    fn open_folder() -> tempfile::TempDir {
        folder_of_mode(0o755)
    }

    fn folder_of_mode(mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        folder
    }

    #[test]
    fn a_folder_is_made_that_others_can_read_and_only_we_write() {
        let base = open_folder();
        let cache = Cache::choose(&[base.path().join("a/b")], None, "debian-12").unwrap();
        assert_eq!(cache.folder(), base.path().join("a/b/debian-12"));
        assert_eq!(fs::metadata(cache.folder()).unwrap().mode() & 0o777, 0o755);
        assert_eq!(cache.note(), None);
    }

    #[test]
    fn a_folder_that_the_reader_cannot_reach_is_passed_over_and_said_so() {
        let (closed, open) = (folder_of_mode(0o700), open_folder());
        let [first, second] = [closed.path().join("c"), open.path().join("c")];
        let candidates = [first.clone(), second.clone()];
        let cache = Cache::choose(&candidates, Some(&stranger()), "r").unwrap();
        assert_eq!(cache.folder(), second.join("r"));
        let note = cache.note().unwrap();
        assert!(note.contains(&format!("stranger cannot read {}", first.display())), "{note}");
        assert!(!first.exists());
    }

    #[test]
    fn a_folder_that_others_write_to_does_not_serve() {
        let folder = folder_of_mode(0o777);
        let refused = Cache::in_folder(folder.path(), None, "r").unwrap_err();
        assert!(refused.contains("others can write to"), "{refused}");
    }

    #[tokio::test]
    async fn one_fetches_and_the_others_wait_and_say_so() {
        let base = open_folder();
        let cache = Cache::choose(&[base.path().to_owned()], None, "r").unwrap();
        let steps = Steps::default();
        let alone = cache.lock(&steps).await.unwrap();
        assert_eq!(steps.latest(), "");
        let waiting = cache.lock(&steps);
        let mut waiting = std::pin::pin!(waiting);
        assert!(timeout(LOOK * 3, &mut waiting).await.is_err());
        assert_eq!(steps.latest(), "waiting for another run, which fetches packages");
        drop(alone);
        waiting.await.unwrap();
    }

    #[test]
    fn only_what_was_left_half_done_is_removed() {
        let base = open_folder();
        let cache = Cache::choose(&[base.path().to_owned()], None, "r").unwrap();
        for name in ["half-1", "whole"] {
            fs::create_dir(cache.folder().join(name)).unwrap();
        }
        cache.remove_leftovers("half-");
        assert!(!cache.folder().join("half-1").exists() && cache.folder().join("whole").exists());
    }
}
