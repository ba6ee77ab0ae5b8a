//! The report as indented JSON: the document from which every other format derives.

use std::io::{self, Write};

use crate::schema::RunReport;

/// Writes `report` as indented JSON, with a newline at the end.
///
/// # Errors
///
/// What the writer says.
pub fn render(report: &RunReport, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

/// Reads a report that [`render`] wrote, in this version or an earlier one.
///
/// # Errors
///
/// Where the text is not JSON, or lacks a field that no default can stand for.
pub fn read(text: &str) -> serde_json::Result<RunReport> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// Version 1 as it was first published, with a field that only a later version knows.
    const GOLDEN: &str = include_str!("../golden/run_report_1.json");

    #[test]
    fn what_is_written_reads_back_the_same() {
        let mut report = samples::mixed();
        report.cache = Some(samples::cache());
        report.thresholds = samples::thresholds();
        report.log = Some(samples::log());
        report.checks.extend(samples::pictured().checks);
        let mut written = Vec::new();
        render(&report, &mut written).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(read(&text).unwrap(), report);
    }

    #[test]
    fn the_published_document_is_still_understood() {
        assert_eq!(read(GOLDEN).unwrap(), samples::mixed());
    }

    #[test]
    fn nothing_is_written_that_was_not_published() {
        let mut published: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        published.as_object_mut().unwrap().remove("from_a_later_version");
        assert_eq!(serde_json::to_value(samples::mixed()).unwrap(), published);
    }

    #[test]
    fn what_may_be_absent_has_a_default() {
        let least = r#"{
            "schema_version": 1, "tool_version": "0.1.0", "run_id": "r", "seed": 1, "started": 0,
            "duration_ms": 0,
            "target": {
                "name": "t", "adapter": "a", "wire_profile": "w",
                "bounds": { "ttl_ms": 1, "staleness_ms": 1 }, "replicas": 1
            },
            "exit": { "status": 4, "name": "nothing ran" }
        }"#;
        let report = read(least).unwrap();
        assert!(report.checks.is_empty());
        assert!(report.kill_matrix.is_empty());
        assert_eq!(report.target.gateway_version, None);
    }
}
