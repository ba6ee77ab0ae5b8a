//! The folder of a stack: its configurations and logs, gone when the stack is.
//!
//! Configurations hold keys, so the folder is ours alone, and a watchdog removes it if we are killed.

use std::{fs::Permissions, io, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;

use super::watchdog::Watchdog;

/// A temporary folder that does not outlive us.
#[derive(Debug)]
pub struct StackFolder {
    folder: TempDir,
    // Dropped last: until then, somebody sees to it.
    _watchdog: Watchdog,
}

impl StackFolder {
    /// Makes one where temporary files go.
    ///
    /// # Errors
    ///
    /// When the system refuses the folder, or the shell that watches over it.
    pub fn make() -> io::Result<StackFolder> {
        let folder = tempfile::Builder::new()
            .prefix("gauntlet-stack-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let watchdog = Watchdog::over_folder(folder.path())?;
        Ok(StackFolder { folder, _watchdog: watchdog })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_ours_alone_and_goes_with_what_it_holds() {
        let folder = StackFolder::make().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("gateway.yaml"), "master_key: sk").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
