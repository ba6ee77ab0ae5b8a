//! A private folder for what a store of ours keeps, gone when the run is.

use std::{env, io, os::unix::fs::chown, path::Path};

use crate::target::supervisor::OwnFolder;
use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, User, access},
};

/// Where Linux keeps files in memory.
const MEMORY: &str = "/dev/shm";

/// How much of it must be free: a Postgres with a few dozen small databases stays well below.
const ROOM_WANTED: u128 = 2 << 30;

/// A temporary folder, in memory where there is plenty.
///
/// In memory a database is cloned in milliseconds, whatever else the disk is busy with.
#[derive(Debug)]
pub(super) struct Folder {
    folder: OwnFolder,
    in_memory: bool,
}

impl Folder {
    /// Makes a folder that only `owner` can enter, or only we where there is none.
    pub(super) fn make(owner: Option<&User>) -> io::Result<Folder> {
        let in_memory = has_room(Path::new(MEMORY));
        let parent = if in_memory { MEMORY.into() } else { env::temp_dir() };
        let folder = OwnFolder::make_in(&parent, "gauntlet-")?;
        if let Some(user) = owner {
            chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(Folder { folder, in_memory })
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
        self.folder.remove()
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
    use std::{fs, os::unix::fs::PermissionsExt};

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
