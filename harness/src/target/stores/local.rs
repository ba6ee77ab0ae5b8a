//! Stores started from programs that are installed here.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Attempt, PostgresAddress, RedisAddress, StoreError, StoreRequest, Way, process};

/// Starts the Redis or the Valkey that is installed here.
pub(super) async fn redis(request: &StoreRequest) -> Result<Attempt<RedisAddress>, StoreError> {
    let places = search_folders(request.choice.search_path.as_deref());
    let program =
        ["redis-server", "valkey-server"].into_iter().find_map(|name| find_program(&places, name));
    let Some(path) = program else {
        return Ok(Attempt::passed(
            "not installed: there is neither redis-server nor valkey-server on PATH or in the usual folders",
        ));
    };
    let started = process::redis(&installed(path), request.patience).await?;
    Ok(Attempt::started(started, []))
}

/// Starts the Postgres that is installed here.
pub(super) async fn postgres(
    request: &StoreRequest,
) -> Result<Attempt<PostgresAddress>, StoreError> {
    let places = search_folders(request.choice.search_path.as_deref());
    let Some(path) = postgres_folder(&places) else {
        return Ok(Attempt::passed(
            "not installed: there is no postgres with initdb beside it on PATH or in the usual folders",
        ));
    };
    let started = process::postgres(&installed(path), request.patience).await?;
    Ok(Attempt::started(started, []))
}

/// What is installed finds its libraries by itself.
fn installed(path: PathBuf) -> process::Programs {
    process::Programs { path, libraries: Vec::new(), way: Way::Local }
}

/// Where programs are looked for: what `PATH` says, then where they usually are.
pub(super) fn search_folders(search_path: Option<&OsStr>) -> Vec<PathBuf> {
    const USUAL: [&str; 6] = [
        "/usr/local/bin",
        "/usr/bin",
        "/usr/sbin",
        "/opt/homebrew/bin",
        "/opt/homebrew/opt/redis/bin",
        "/opt/homebrew/opt/valkey/bin",
    ];
    env::split_paths(search_path.unwrap_or_default())
        .chain(USUAL.map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .collect()
}

pub(super) fn find_program(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| is_program(path))
}

pub(super) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The folder with `postgres` and `initdb`: on the search path, or the newest that is installed.
fn postgres_folder(folders: &[PathBuf]) -> Option<PathBuf> {
    // A link on PATH often leads to a folder that has the other programs too.
    let linked = find_program(folders, "postgres")
        .and_then(|program| fs::canonicalize(program).ok())
        .and_then(|program| program.parent().map(Path::to_owned));
    let mut versioned: Vec<(u32, PathBuf)> = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ]
    .into_iter()
    .flat_map(|(parent, prefix)| versions_in(Path::new(parent), prefix))
    .collect();
    versioned.sort();
    linked
        .into_iter()
        .chain(versioned.into_iter().rev().map(|(_, folder)| folder))
        .find(|folder| is_program(&folder.join("postgres")) && is_program(&folder.join("initdb")))
}

/// The `bin` folders of every `<prefix><number>` in `parent`.
fn versions_in(parent: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    // A folder that is not there holds no version.
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn only_what_can_be_run_is_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("redis-server");
        fs::write(&program, "").unwrap();
        let folders = [folder.path().to_owned()];
        assert_eq!(find_program(&folders, "redis-server"), None);
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program(&folders, "redis-server"), Some(program));
    }

    #[test]
    fn versions_are_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pgsql-9", "pgsql-17", "pgsql-old", "other"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut versions = versions_in(folder.path(), "pgsql-");
        versions.sort();
        let numbers: Vec<u32> = versions.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [9, 17]);
    }

    #[test]
    fn relative_folders_are_not_searched() {
        let folders = search_folders(Some(OsStr::new("bin:/opt/x:")));
        assert_eq!(folders[0], Path::new("/opt/x"));
    }
}
