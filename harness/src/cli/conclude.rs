//! The end of a run: its report is kept, and shown.

use std::{fs, io, path::PathBuf};

use reports::{Format, RunReport, Style};

use super::{CliError, Surroundings};
use crate::store::RunFolder;

/// Keeps the report of a run in its folder, and shows it: as JSON, or for a person.
///
/// # Errors
///
/// When it cannot be kept or shown.
pub(super) fn conclude(
    report: &RunReport,
    folder: &RunFolder,
    json: bool,
    around: &mut Surroundings<'_>,
) -> Result<(), CliError> {
    folder.keep_report(report)?;
    let format = if json {
        Format::Json
    } else {
        Format::Terminal(Style { colour: around.colour, width: around.width })
    };
    reports::render(report, format, around.out).map_err(io::Error::other)?;
    Ok(())
}

/// Keeps the report of a run in its folder as a page for a browser too, and says where.
///
/// # Errors
///
/// When it cannot be kept.
pub(super) fn keep_page(report: &RunReport, folder: &RunFolder) -> Result<PathBuf, CliError> {
    let file = folder.path().join("report.html");
    let mut page = Vec::new();
    reports::render(report, Format::Html, &mut page)?;
    fs::write(&file, page).map_err(|source| CliError::Unwritable { path: file.clone(), source })?;
    // From another folder, and for a browser, only the whole path says where it is.
    Ok(fs::canonicalize(&file).unwrap_or(file))
}
