//! The end of a run: its report is kept, and shown.

use std::io;

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
        Format::Terminal(Style { colour: around.out_is_terminal, width: around.width })
    };
    reports::render(report, format, around.out).map_err(io::Error::other)?;
    Ok(())
}
