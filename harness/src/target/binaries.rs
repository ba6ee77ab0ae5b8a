//! Our own binaries, which are installed side by side.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::launch::{LaunchError, LaunchRequest, Launched, Place, Ready};

/// How long the mock provider may take to start, or to end.
const MOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A binary of this workspace that a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// The gateway that honours every check.
    ReferenceGateway,
    /// Providers that do as told.
    MockProvider,
}

impl Binary {
    /// What the file is called.
    pub fn name(self) -> &'static str {
        match self {
            Binary::ReferenceGateway => "reference-gateway",
            Binary::MockProvider => "mock-provider",
        }
    }

    /// The package that it is built from.
    pub fn package(self) -> &'static str {
        match self {
            Binary::ReferenceGateway => "reference-gateway",
            Binary::MockProvider => "mocks",
        }
    }

    /// Finds it next to `program`, the path of the running program.
    ///
    /// Test binaries live one folder below the others, so the folder above is looked at too.
    pub fn beside(self, program: &Path) -> Result<PathBuf, MissingBinary> {
        let file = format!("{}{}", self.name(), std::env::consts::EXE_SUFFIX);
        let folder = program.parent().unwrap_or(Path::new(""));
        [Some(folder), folder.parent().filter(|_| folder.ends_with("deps"))]
            .into_iter()
            .flatten()
            .map(|folder| folder.join(&file))
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| MissingBinary { binary: self, folder: folder.to_owned() })
    }
}

/// Starts the mock provider `program` on a free port; its log goes to `folder`.
pub async fn start_mock_provider(program: &Path, folder: &Path) -> Result<Launched, LaunchError> {
    let request = LaunchRequest {
        place: Place::Here,
        name: "the mock provider".to_owned(),
        program: program.to_owned(),
        args: ["--port", "0"].map(str::to_owned).into(),
        env: BTreeMap::new(),
        folder: folder.to_owned(),
        log: folder.join("mock-provider.log"),
        start_timeout: MOCK_PATIENCE,
        stop_timeout: MOCK_PATIENCE,
    };
    Launched::start(request, Ready::SaysSo, None).await
}

/// A binary of ours is not where it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no {} in {}; build it with `cargo build -p {}`, with `--release` if this program is a release build, or install it there",
    binary.name(), folder.display(), binary.package()
)]
pub struct MissingBinary {
    /// Which one.
    pub binary: Binary,
    /// Where we looked.
    pub folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn binaries_are_found_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let mock = folder.path().join("mock-provider");
        std::fs::write(&mock, "").unwrap();
        let found = Binary::MockProvider.beside(&folder.path().join("gauntlet"));
        assert_eq!(found.as_ref(), Ok(&mock));
        let found = Binary::MockProvider.beside(&folder.path().join("deps/stack-0123"));
        assert_eq!(found, Ok(mock));
    }

    #[test]
    fn a_missing_one_is_named_with_the_command_that_builds_it() {
        let missing = Binary::ReferenceGateway.beside(Path::new("nowhere/gauntlet")).unwrap_err();
        assert_snapshot!(missing, @"there is no reference-gateway in nowhere; build it with `cargo build -p reference-gateway`, with `--release` if this program is a release build, or install it there");
    }
}
