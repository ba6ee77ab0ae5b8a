//! A private folder for what a store of ours keeps, gone when the run is.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, User, access},
};
use tempfile::TempDir;

use crate::target::watchdog::Watchdog;

/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";

/// How much of it must be free: a Postgres with a few dozen small databases stays well below.
const ROOM_WANTED: u128 = 2 << 30;

/// A temporary folder, in memory where there is plenty.
///
/// In memory a database is cloned in milliseconds, whatever else the disk is busy with.
#[derive(Debug)]
pub(super) struct Folder {
    folder: TempDir,
    in_memory: bool,
    _watchdog: Watchdog,
}

impl Folder {
    /// Makes a folder that only `owner` can enter, or only we where there is none.
    pub(super) fn make(owner: Option<&User>) -> io::Result<Folder> {
        let in_memory = has_room(Path::new(MEMORY));
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("gauntlet-");
        let folder = match in_memory {
            true => builder.tempdir_in(MEMORY)?,
            false => builder.tempdir()?,
        };
        let watchdog = Watchdog::over_folder(folder.path())?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700))?;
        if let Some(user) = owner {
            chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(Folder { folder, in_memory, _watchdog: watchdog })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What a person should know of it.
    pub(super) fn note(&self) -> Option<String> {
        self.in_memory.then(|| format!("keeps its data in memory, in {MEMORY}"))
    }

    /// Removes it with all it holds.
    pub(super) fn remove(self) -> io::Result<()> {
        self.folder.close()
    }
}

/// Whether `folder` can be written to and has the room we want.
fn has_room(folder: &Path) -> bool {
    let free = statvfs(folder)
        .map(|room| u128::from(room.blocks_available()) * u128::from(room.fragment_size()));
    free.is_ok_and(|free| free >= ROOM_WANTED) && access(folder, AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_ours_alone_and_can_be_removed() {
        let folder = Folder::make(None).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        folder.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_room() {
        assert!(!has_room(Path::new("/nowhere")));
    }
}
