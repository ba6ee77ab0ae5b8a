//! What the replicas wrote to their logs: the noise, shape by shape.

use crate::{
    layout::{counted, grouped},
    schema::LogNoise,
};

use super::{
    markup::Markup,
    table::{Cell, Column, row, table},
};

/// Writes how much was logged at WARN or above, and what.
pub(super) fn write(log: &LogNoise, page: &mut Markup) {
    let records = counted(log.records, "log record", "log records");
    let requests = counted(log.requests, "request", "requests");
    let each = per_1000(log.loud, log.requests);
    let told = format!(
        "{records} in {requests}; {} at WARN or above, which is {each} in 1,000 requests.",
        grouped(log.loud)
    );
    page.words("p", &[], &told);
    if log.shapes.is_empty() {
        return;
    }
    let columns = [Column::Text("line"), Column::Number("times"), Column::Number("per 1,000")];
    table(
        "Ids, numbers and times are masked with #; the most frequent first",
        &columns,
        page,
        |body| {
            let mut shapes: Vec<_> = log.shapes.iter().collect();
            shapes.sort_by_key(|(shape, times)| (std::cmp::Reverse(**times), *shape));
            for (shape, times) in shapes {
                let cells =
                    [Cell::Number(grouped(*times)), Cell::Number(per_1000(*times, log.requests))];
                row(shape, &cells, body);
            }
        },
    );
}

/// How many of something come with 1,000 requests; a dash where there was no request.
fn per_1000(times: u64, requests: u64) -> String {
    if requests == 0 {
        return "-".to_owned();
    }
    // Tenths, rounded, in whole numbers.
    let tenths = (times.saturating_mul(10_000) + requests / 2) / requests;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}
