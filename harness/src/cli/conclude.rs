//! The end of a run: its report is kept, and shown.

use std::{
    fs,
    io::{self, Write},
};

use reports::{Format, RunReport, Style};

use super::{CliError, Surroundings};
use crate::store::RunFolder;

/// Keeps the report of a run in its folder, and shows it: as JSON, or for a person. The last word is
/// where its page for a browser is.
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
    // From another folder, and for a browser, only the whole path says where it is.
    let page = folder.page();
    let page = fs::canonicalize(&page).unwrap_or(page);
    let last: &mut dyn Write = if json { around.err } else { around.out };
    writeln!(last, "the same as a page for a browser:\n{}", page.display())?;
    Ok(())
}
