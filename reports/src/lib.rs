//! What a run says to people and machines.
//!
//! One document, [`RunReport`], is the truth of a run. The harness fills it in; every format here
//! derives from it and adds nothing of its own. Read `schema.rs` first, then the parts of it
//! that have a table of their own (`cache.rs`, `threshold.rs`, `load.rs`), then one file per format.
//!
//! Nothing here judges: a verdict is written by the harness, and only shown here. Nothing here
//! prints either: output goes to the writer that is passed in.

use std::io::{self, Write};

pub mod schema;
pub mod cache;
pub mod threshold;
pub mod load;
pub mod json;
pub mod terminal;
mod layout;
#[cfg(test)]
mod samples;

pub use schema::RunReport;
pub use terminal::Style;

/// A form in which a run can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The document itself, as indented JSON.
    Json,
    /// For a person at a terminal.
    Terminal(Style),
}

/// Writes `report` to `out` in the form that is asked for.
///
/// # Errors
///
/// What the writer says.
pub fn render(report: &RunReport, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => json::render(report, out),
        Format::Terminal(style) => terminal::render(report, style, out),
    }
}
