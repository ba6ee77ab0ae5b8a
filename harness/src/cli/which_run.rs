//! Which stored run a command is about.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::CliError;
use crate::store::RunFolder;

/// What stands for the run of a folder that began last.
const LATEST: &str = "latest";

/// The file of a run that is its report.
const REPORT: &str = "report.json";

/// The folder of the run that is meant: by itself, by its report, or as the `latest` of its folder.
///
/// # Errors
///
/// When there is no such run; the nearest is named.
pub(super) fn found(run: &Path) -> Result<PathBuf, CliError> {
    let runs = match run.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if run.is_dir() {
        return Ok(run.to_owned());
    }
    if run.is_file() && run.file_name().is_some_and(|name| name == REPORT) {
        return Ok(runs.to_owned());
    }
    let known = runs_in(runs);
    if run.file_name().is_some_and(|name| name == LATEST) {
        // The id of a run begins with its moment.
        let newest = known.iter().max_by_key(|(started, name)| (*started, name.clone()));
        return newest.map(|(_, name)| runs.join(name)).ok_or_else(|| {
            CliError::Usage(format!(
                "there is no run in {}; `gauntlet check` makes one",
                runs.display()
            ))
        });
    }
    let name = run.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let latest = known.first().map(|_| LATEST);
    let names = known.iter().map(|(_, name)| name.as_str()).chain(latest);
    let hint = scenarios::nearest::nearest(&name, names).map_or_else(String::new, |nearest| {
        format!("; did you mean `{}`?", run.with_file_name(nearest).display())
    });
    Err(CliError::Usage(format!("there is no run `{}`{hint}", run.display())))
}

/// The runs in a folder, each with its moment.
fn runs_in(folder: &Path) -> Vec<(u64, String)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let (_, facts) = RunFolder::open(&entry.path()).ok()?;
            Some((facts.started, entry.file_name().to_string_lossy().into_owned()))
        })
        .collect()
}
