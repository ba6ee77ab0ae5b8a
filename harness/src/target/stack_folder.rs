//! The folder of a stack: its configurations and logs, gone when the stack is.
//!
//! Configurations hold keys, so the folder is ours alone.

use std::{env, io, path::Path};

use super::supervisor::OwnFolder;

/// A temporary folder that does not outlive us.
#[derive(Debug)]
pub struct StackFolder(OwnFolder);

impl StackFolder {
    /// Makes one where temporary files go.
    ///
    /// # Errors
    ///
    /// When the system refuses the folder, or a supervisor to watch over it.
    pub fn make() -> io::Result<StackFolder> {
        Ok(StackFolder(OwnFolder::make_in(&env::temp_dir(), "gauntlet-stack-")?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
