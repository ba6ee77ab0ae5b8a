//! What became of the bounds that were asked for: their part of the document, and of a terminal.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::{
    layout::counted,
    schema::Verdict,
    terminal::{Style, heading, paragraph, word},
};

/// What became of one threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// As it was written.
    pub threshold: String,
    /// Pass, fail, or inconclusive where it could not be decided.
    pub verdict: Verdict,
    /// The worst value that was measured, in shares, counts or microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// What that value was measured of: `{class=team}`; empty where it is about everything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub worst: String,
    /// How many requests it rests on.
    #[serde(default)]
    pub requests: u64,
    /// What there is no evidence of, where that is why it could not be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Writes one line per threshold.
///
/// # Errors
///
/// What the writer says.
pub(crate) fn render(
    thresholds: &[Threshold],
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    heading("thresholds", style, out)?;
    for threshold in thresholds {
        let ink = style.verdict(threshold.verdict);
        let lead = format!("  {ink}{:<12}{ink:#}  ", word(threshold.verdict));
        let indent = " ".repeat("  inconclusive  ".len());
        let text = format!("{}: {}", threshold.threshold, told(threshold));
        paragraph(&lead, &indent, &text, anstyle::Style::new(), style, out)?;
    }
    Ok(())
}

/// What was measured, of what, and what there is no evidence of.
pub(crate) fn told(threshold: &Threshold) -> String {
    let mut told = Vec::new();
    if let Some(shown) = &threshold.shown {
        let of = match threshold.worst.as_str() {
            "" => String::new(),
            worst => format!(" of {worst}"),
        };
        let requests = counted(threshold.requests, "request", "requests");
        told.push(format!("{shown}{of} in {requests}"));
    }
    if let Some(missing) = &threshold.missing {
        told.push(format!("no evidence of {missing}"));
    }
    if told.is_empty() { "no evidence".to_owned() } else { told.join("; ") }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::samples;

    #[test]
    fn a_threshold_is_told_with_what_it_hinges_on() {
        let mut out = Vec::new();
        render(&samples::thresholds(), Style::PLAIN, &mut out).unwrap();
        assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        ── thresholds ──────────────────────────────────────────────────────────────────

          FAIL          hit_ratio >= 0.99: 0.5000 of {class=team,replica=1} in 30
                        requests
          pass          sql_per_warm_request <= 1: 0.50 of {class=team,replica=1} in 30
                        requests
          inconclusive  hit_ratio{class=organisation} > 0: no evidence of
                        {class=organisation}
          inconclusive  reads_slope < 0.1: no evidence
        ");
    }
}
