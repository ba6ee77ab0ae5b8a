//! Which profile a command is about: a built-in one, or somebody's own.

use std::path::Path;

use scenarios::profile::ProfileError;

/// The profile of this name, or at this path: a name has no extension.
///
/// # Errors
///
/// When there is none, or it is malformed.
pub(super) fn found<P>(
    name: &str,
    built_in: fn(&str) -> Result<P, ProfileError>,
    read: fn(&Path) -> Result<P, ProfileError>,
) -> Result<P, ProfileError> {
    let path = Path::new(name);
    if path.extension().is_some() { read(path) } else { built_in(name) }
}
