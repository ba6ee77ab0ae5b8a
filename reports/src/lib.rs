//! What a run says to people and machines.
//!
//! One document, [`RunReport`], is the truth of a run. The harness fills it in; every format here
//! derives from it and adds nothing of its own. Read `schema.rs` first, then the parts of it
//! that have a table of their own (`cache.rs`, `threshold.rs`, `load.rs`, `gateway_load.rs`), then one
//! file per format.
//!
//! Nothing here judges: a verdict is written by the harness, and only shown here. Nothing here
//! prints either: output goes to the writer that is passed in.

use std::io::{self, Write};

pub mod schema;
pub mod cache;
pub mod threshold;
pub mod times;
pub mod load;
pub mod gateway_load;
pub mod json;
pub mod terminal;
pub mod junit;
pub mod html;
mod words;
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
    /// For the page of test results that a CI server keeps.
    Junit,
    /// One page for a browser, which loads nothing else.
    Html,
}

/// A form by name: how it is asked for, and what a file of it is called.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// What it is asked for by.
    pub name: &'static str,
    /// What a file that holds it is called.
    pub file: &'static str,
    /// The form itself, for one who reads it in this style.
    pub format: fn(Style) -> Format,
}

/// Every form there is.
pub const FORMS: &[Form] = &[
    Form { name: "terminal", file: "report.txt", format: Format::Terminal },
    Form { name: "json", file: "report.json", format: |_| Format::Json },
    Form { name: "junit", file: "junit.xml", format: |_| Format::Junit },
    Form { name: "html", file: "report.html", format: |_| Format::Html },
];

/// Writes `report` to `out` in the form that is asked for.
///
/// # Errors
///
/// What the writer says.
pub fn render(report: &RunReport, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => json::render(report, out),
        Format::Terminal(style) => terminal::render(report, style, out),
        Format::Junit => junit::render(report, out),
        Format::Html => html::render(report, out),
    }
}
