//! What load has shown: the tables, and charts of how reads and latencies go with processes.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    gateway_load::{self, GatewayLoad, Seen},
    layout::{counted, grouped, span},
    load::{
        Load, LoadShape, LoadWindow, Slope, as_f64, callers, millis, name, numbers, slope_told,
        stands,
    },
    schema::Verdict,
    times::Times,
};

use super::{
    badge,
    chart::{Chart, Mark, Range, Series, draw},
    markup::Markup,
    table::{Cell, Column, row, table},
};

/// Writes what `load` has shown.
pub(super) fn write(load: &Load, page: &mut Markup) {
    page.words("p", &[], &format!("{}: {}.", load.profile, load.title));
    page.words("p", &[], &format!("{}.", callers(&load.callers)));
    let scaled = load
        .scaled_from_ms
        .map_or_else(String::new, |from| format!(", and stands for {}", span(from)));
    let lifetime = format!("A cached identity lives {}{scaled}.", span(load.lifetime_ms));
    page.words("p", &[], &lifetime);
    for (shared_cache, title) in
        [(true, "With a cache that all share"), (false, "Without a shared cache")]
    {
        let shapes: Vec<_> =
            load.shapes.iter().filter(|shape| shape.shared_cache == shared_cache).collect();
        if shapes.is_empty() {
            continue;
        }
        page.words("h3", &[], title);
        standings(&shapes, page);
        if shapes.iter().any(|shape| !shape.windows.is_empty()) {
            queries(&shapes, page);
            requests(&shapes, page);
        }
        for slope in load.slopes.iter().filter(|slope| slope.shared_cache == shared_cache) {
            growth(slope, page);
        }
        page.element("div", &[("class", "charts")], |charts| {
            let longest = longest(&shapes);
            reads_chart(&longest, charts);
            latency_chart(&longest, charts);
        });
    }
    whole(&load.shapes, page);
    failures(&load.shapes, page);
    loud_lines(&load.shapes, page);
}

/// Writes what callers saw of a gateway of which only an address is known.
pub(super) fn write_gateway(load: &GatewayLoad, page: &mut Markup) {
    page.words("p", &[], &format!("{}: {}.", load.scenario, gateway_load::callers(load)));
    if let Some(reason) = &load.reason {
        page.element("p", &[], |line| {
            badge(load.verdict, &load.verdict.to_string(), line);
            line.text(&format!(" {reason}"));
        });
    }
    page.words("p", &[], &format!("{}.", gateway_load::seen(load)));
    times(load.seen(), page);
    page.words("p", &[("class", "faint")], &format!("{}.", gateway_load::all_in_all(load)));
    if load.gateways.len() > 1 {
        let columns = [Column::Text("gateway"), Column::Number("requests")];
        table("Requests, by gateway", &columns, page, |body| {
            for (gateway, requests) in load.gateways.iter().zip(&load.whole.by_gateway) {
                row(gateway, &[Cell::Number(grouped(*requests))], body);
            }
        });
    }
    if load.whole.failed.is_empty() {
        return;
    }
    page.words("h3", &[], "Requests that failed");
    let columns =
        [Column::Text("how"), Column::Number("requests"), Column::Text("what the first was told")];
    table("Requests that failed, by how", &columns, page, |body| {
        for failure in &load.whole.failed {
            let cells = [Cell::Number(grouped(failure.count)), Cell::Text(&failure.said)];
            row(&failure.how, &cells, body);
        }
    });
}

/// The distributions of what callers saw, as a table and as a chart.
fn times(seen: &Seen, page: &mut Markup) {
    let all: Vec<_> = seen.times().collect();
    if all.is_empty() {
        return;
    }
    let points = Times::default().points().map(|(name, _)| name);
    let columns = [
        Column::Text("what"),
        Column::Number("p50 ms"),
        Column::Number("p90 ms"),
        Column::Number("p95 ms"),
        Column::Number("p99 ms"),
        Column::Number("max ms"),
    ];
    table("What callers waited for", &columns, page, |body| {
        for (name, times) in &all {
            let cells = times.points().map(|(_, us)| Cell::Number(gateway_load::shown(us)));
            row(name, &cells, body);
        }
    });
    let places = || (0u32..).map(f64::from);
    let marks = [Mark::Circle, Mark::Square, Mark::Triangle];
    let chart = Chart {
        title: "What callers waited for, in milliseconds",
        across: "share of requests",
        places: places().zip(points.map(str::to_owned)).collect(),
        series: all
            .iter()
            .zip(marks)
            .map(|((name, times), mark)| Series {
                name,
                mark,
                points: places().zip(times.points().map(|(_, us)| millis(us))).collect(),
            })
            .collect(),
        ranges: None,
    };
    page.element("div", &[("class", "charts")], |charts| draw(&chart, charts));
}

/// What became of each shape.
fn standings(shapes: &[&LoadShape], page: &mut Markup) {
    let columns =
        [Column::Text("replicas × workers"), Column::Text("verdict"), Column::Text("why")];
    table("Shapes of the target", &columns, page, |body| {
        for shape in shapes {
            let badge = |cell: &mut Markup| {
                let word = match shape.verdict {
                    Verdict::NotApplicable => "not available".to_owned(),
                    verdict => verdict.to_string(),
                };
                badge(shape.verdict, &word, cell);
            };
            let why = match (&shape.reason, shape.verdict) {
                (Some(reason), _) => reason.as_str(),
                (None, Verdict::Pass) => "reads stay within their bounds",
                (None, Verdict::Fail) => "reads leave their bounds",
                (None, Verdict::Inconclusive | Verdict::NotApplicable | Verdict::Skipped) => "",
            };
            row(&name(shape), &[Cell::Rich(&badge), Cell::Text(why)], body);
        }
    });
}

/// The table of the query that reads keys.
fn queries(shapes: &[&LoadShape], page: &mut Markup) {
    let columns = [
        Column::Text("replicas × workers"),
        Column::Number("window"),
        Column::Number("calls"),
        Column::Number("total ms"),
        Column::Number("mean ms"),
        Column::Number("rows"),
        Column::Number("bound"),
        Column::Text("stands"),
    ];
    table("The query that reads keys, beside its bounds", &columns, page, |body| {
        for (shape, window) in windows(shapes) {
            let query = window.identity_query;
            let mean = match query.calls {
                0 => "-".to_owned(),
                calls => format!("{:.2}", millis(query.total_us) / as_f64(calls)),
            };
            let (verdict, word) = stands(window.stands);
            let badge = |cell: &mut Markup| badge(verdict, word, cell);
            let bound =
                format!("{}..{}", grouped(window.bound.at_least), grouped(window.bound.at_most));
            let cells = [
                Cell::Number(span(window.asked_ms)),
                Cell::Number(grouped(query.calls)),
                Cell::Number(format!("{:.2}", millis(query.total_us))),
                Cell::Number(mean),
                Cell::Number(grouped(query.rows)),
                Cell::Number(bound),
                Cell::Rich(&badge),
            ];
            row(&name(shape), &cells, body);
        }
    });
}

/// The table of what callers saw.
fn requests(shapes: &[&LoadShape], page: &mut Markup) {
    let columns = [
        Column::Text("replicas × workers"),
        Column::Number("window"),
        Column::Number("answers"),
        Column::Number("per s"),
        Column::Number("errors"),
        Column::Number("p50 ms"),
        Column::Number("p95 ms"),
        Column::Number("p99 ms"),
        Column::Number("max ms"),
        Column::Number("loud lines per 1,000"),
    ];
    table(
        "What callers saw; loud lines are log records at WARN or above",
        &columns,
        page,
        |body| {
            for (shape, window) in windows(shapes) {
                row(&name(shape), &numbers(window).map(Cell::Number), body);
            }
        },
    );
}

fn windows<'a>(shapes: &'a [&LoadShape]) -> impl Iterator<Item = (&'a LoadShape, &'a LoadWindow)> {
    shapes.iter().flat_map(|shape| shape.windows.iter().map(|window| (*shape, window)))
}

fn growth(slope: &Slope, page: &mut Markup) {
    page.element("p", &[], |line| {
        line.text("Growth of reads, in those of one process: ");
        badge(slope.verdict, &slope_told(slope), line);
    });
}

/// A shape, how many processes it has, and the longest of its windows.
type Longest<'a> = (&'a LoadShape, f64, &'a LoadWindow);

/// The longest window of each shape, from few processes to many.
fn longest<'a>(shapes: &[&'a LoadShape]) -> Vec<Longest<'a>> {
    let mut all: Vec<Longest<'a>> = shapes
        .iter()
        .filter_map(|shape| {
            let window = shape.windows.iter().max_by_key(|window| window.asked_ms)?;
            Some((*shape, f64::from(shape.replicas) * f64::from(shape.workers), window))
        })
        .collect();
    all.sort_by(|one, other| one.1.total_cmp(&other.1));
    all
}

fn reads_chart(longest: &[Longest<'_>], page: &mut Markup) {
    let mut places: Vec<_> = longest.iter().map(|(_, at, _)| (*at, format!("{at}"))).collect();
    places.dedup();
    let reads = Series {
        name: "reads",
        mark: Mark::Circle,
        points: longest
            .iter()
            .map(|(_, at, window)| (*at, as_f64(window.identity_query.calls)))
            .collect(),
    };
    let bounds = longest
        .iter()
        .map(|(_, at, window)| Range {
            at: *at,
            low: as_f64(window.bound.at_least),
            high: as_f64(window.bound.at_most),
        })
        .collect();
    let chart = Chart {
        title: "Reads of keys in the longest window, with their bounds",
        across: "processes",
        places,
        series: vec![reads],
        ranges: Some(("bound", bounds)),
    };
    draw(&chart, page);
}

/// Shapes of equally many processes stand beside each other, since they differ in this.
fn latency_chart(longest: &[Longest<'_>], page: &mut Markup) {
    let placed = || longest.iter().zip(0u32..).map(|(it, place)| (f64::from(place), it));
    let series = |name, mark, of: fn(&Times) -> u64| Series {
        name,
        mark,
        points: placed()
            .filter_map(|(at, (_, _, window))| Some((at, millis(of(window.latency.as_ref()?)))))
            .collect(),
    };
    let chart = Chart {
        title: "Latency in the longest window, in milliseconds",
        across: "replicas × workers",
        places: placed().map(|(at, (shape, _, _))| (at, name(shape))).collect(),
        series: vec![
            series("p50", Mark::Circle, |it| it.p50_us),
            series("p95", Mark::Square, |it| it.p95_us),
            series("p99", Mark::Triangle, |it| it.p99_us),
        ],
        ranges: None,
    };
    draw(&chart, page);
}

/// Whether everybody counts the same requests.
fn whole(shapes: &[LoadShape], page: &mut Markup) {
    if shapes.iter().all(|shape| shape.whole.is_none()) {
        return;
    }
    page.words("h3", &[], "From the first request to the last");
    let columns = [
        Column::Text("replicas × workers"),
        Column::Number("sent"),
        Column::Number("answered"),
        Column::Number("in the provider's ledger"),
        Column::Number("access lines"),
        Column::Number("commands and statements"),
    ];
    table("The same requests, counted by everybody who sees them", &columns, page, |body| {
        for shape in shapes {
            let Some(whole) = &shape.whole else { continue };
            let cells = [
                grouped(whole.sent),
                grouped(whole.answered),
                whole.provider_rows.map_or_else(|| "-".to_owned(), grouped),
                grouped(whole.access_lines),
                grouped(whole.wire_events),
            ];
            row(&described(shape), &cells.map(Cell::Number), body);
        }
    });
}

/// What happened to requests that failed.
fn failures(shapes: &[LoadShape], page: &mut Markup) {
    let failed = |shape: &LoadShape| shape.whole.iter().any(|whole| !whole.failed.is_empty());
    if !shapes.iter().any(failed) {
        return;
    }
    page.words("h3", &[], "Requests that failed");
    let columns = [
        Column::Text("replicas × workers"),
        Column::Number("requests"),
        Column::Text("how"),
        Column::Text("what the first was told"),
    ];
    table("Requests that failed, by how", &columns, page, |body| {
        for shape in shapes {
            for failure in shape.whole.iter().flat_map(|whole| &whole.failed) {
                let cells = [
                    Cell::Number(grouped(failure.count)),
                    Cell::Text(&failure.how),
                    Cell::Text(&failure.said),
                ];
                row(&described(shape), &cells, body);
            }
        }
    });
}

/// What was logged at WARN or above, the most frequent first.
fn loud_lines(shapes: &[LoadShape], page: &mut Markup) {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for (line, count) in shapes.iter().flat_map(|it| &it.whole).flat_map(|it| &it.loud_lines) {
        *all.entry(line).or_default() += count;
    }
    if all.is_empty() {
        return;
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, count)| Reverse(*count));
    page.words("h3", &[], "Log records at WARN or above");
    let shapes = counted(all.len() as u64, "shape", "shapes");
    let columns = [Column::Text("line"), Column::Number("times")];
    table(&format!("{shapes} of log records, the most frequent first"), &columns, page, |body| {
        for (line, count) in all {
            row(line, &[Cell::Number(grouped(count))], body);
        }
    });
}

fn described(shape: &LoadShape) -> String {
    let cache = if shape.shared_cache { "" } else { ", without a shared cache" };
    format!("{}{cache}", name(shape))
}
