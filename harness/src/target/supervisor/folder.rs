//! A temporary folder that does not outlive us.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Ward, mark, over_folder};

/// How many names may be taken already. Ours hold the mark, so none should be.
const ATTEMPTS: u32 = 8;

/// A folder that only we can enter. It is removed when this is dropped, and by the supervisor if we
/// are killed.
#[derive(Debug)]
pub(crate) struct OwnFolder {
    path: PathBuf,
    ward: Option<Ward>,
}

impl OwnFolder {
    /// Makes one in `parent`, whose name begins with `prefix`.
    ///
    /// # Errors
    ///
    /// When the system refuses the folder, or a supervisor to watch over it.
    pub(crate) fn make_in(parent: &Path, prefix: &str) -> io::Result<OwnFolder> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let parent = std::path::absolute(parent)?;
        let (_, mark) = mark();
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{prefix}{mark}-{number}"));
            let ward = over_folder(&path)?;
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(OwnFolder { path, ward: Some(ward) }),
                // Somebody else's, which is no longer watched.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all it holds.
    ///
    /// # Errors
    ///
    /// When something in it cannot be removed; then the supervisor tries again in the end.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.removed()
    }

    fn removed(&mut self) -> io::Result<()> {
        let Some(ward) = self.ward.take() else { return Ok(()) };
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // Never released: it stays on the list until we end.
                std::mem::forget(ward);
                Err(error)
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // Somebody may still be writing to it. The supervisor comes after them.
        drop(self.removed());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_ours_alone_and_goes_with_what_it_holds() {
        let parent = tempfile::tempdir().unwrap();
        let folder = OwnFolder::make_in(parent.path(), "gauntlet-").unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("gateway.yaml"), "master_key: sk").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn no_two_have_one_name() {
        let parent = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| OwnFolder::make_in(parent.path(), "g-").unwrap());
        assert_ne!(one.path(), other.path());
        one.remove().unwrap();
        assert!(other.path().exists());
    }
}
