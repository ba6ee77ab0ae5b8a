//! What became of the bounds that were asked for.

use crate::threshold::{Threshold, told};

use super::{
    badge,
    markup::Markup,
    table::{Cell, Column, row, table},
};

/// Writes one row per threshold.
pub(super) fn write(thresholds: &[Threshold], page: &mut Markup) {
    let columns = [Column::Text("threshold"), Column::Text("verdict"), Column::Text("measured")];
    table("Bounds that were asked for, and the worst that was measured", &columns, page, |body| {
        for threshold in thresholds {
            let verdict = threshold.verdict;
            let badge = |cell: &mut Markup| badge(verdict, &verdict.to_string(), cell);
            let cells = [Cell::Rich(&badge), Cell::Text(&told(threshold))];
            row(&threshold.threshold, &cells, body);
        }
    });
}
