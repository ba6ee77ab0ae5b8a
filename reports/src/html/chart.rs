//! Line charts, drawn as SVG in the page: small enough to be read on a phone as they are.
//!
//! Each series has a mark of its own, so that nobody needs to tell colours apart, and every number
//! also stands in a table beside.

use std::fmt::Write as _;

use crate::layout::grouped;

use super::markup::Markup;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 344.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 192.0;

/// What a chart shows.
pub(super) struct Chart<'a> {
    /// What it is, and in which unit.
    pub(super) title: &'a str,
    /// What stands from left to right.
    pub(super) across: &'a str,
    /// The places below which something is written, from left to right, each with that.
    pub(super) places: Vec<(f64, String)>,
    /// The lines, each with a name.
    pub(super) series: Vec<Series<'a>>,
    /// Between what they should stay, with a name.
    pub(super) ranges: Option<(&'a str, Vec<Range>)>,
}

/// One line.
pub(super) struct Series<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// What stands at its points.
    pub(super) mark: Mark,
    /// Its points, from left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// What stands at the points of a line.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// A disc.
    Circle,
    /// A square on its side.
    Square,
    /// A triangle on its base.
    Triangle,
}

/// Between what the value should stay at one place.
pub(super) struct Range {
    /// Where.
    pub(super) at: f64,
    /// The least.
    pub(super) low: f64,
    /// The most.
    pub(super) high: f64,
}

/// Draws `chart`, if two places can be compared.
pub(super) fn draw(chart: &Chart<'_>, page: &mut Markup) {
    let (Some((first, _)), Some((last, _))) = (chart.places.first(), chart.places.last()) else {
        return;
    };
    if first >= last {
        return;
    }
    let highest = chart
        .series
        .iter()
        .flat_map(|series| &series.points)
        .map(|(_, value)| *value)
        .chain(chart.ranges.iter().flat_map(|(_, ranges)| ranges).map(|range| range.high))
        .fold(0.0, f64::max);
    let scale = Scale { first: *first, last: *last, top: round_up(highest) };
    page.element("figure", &[], |figure| {
        figure.words("figcaption", &[], chart.title);
        let view = format!("0 0 {WIDTH} {HEIGHT}");
        let attributes = [
            ("viewBox", view.as_str()),
            ("role", "img"),
            ("aria-label", chart.title),
            ("focusable", "false"),
        ];
        figure.element("svg", &attributes, |svg| {
            axes(chart, &scale, svg);
            legend(chart, svg);
            for range in chart.ranges.iter().flat_map(|(_, ranges)| ranges) {
                limits(range, &scale, svg);
            }
            for series in &chart.series {
                line(series, &scale, svg);
            }
        });
    });
}

/// How values become places in the drawing.
struct Scale {
    first: f64,
    last: f64,
    top: f64,
}

impl Scale {
    fn across(&self, at: f64) -> f64 {
        // Half a step is left free on both sides, so that no mark touches the frame.
        let (left, right) = (LEFT + 14.0, RIGHT - 14.0);
        left + (at - self.first) / (self.last - self.first) * (right - left)
    }

    fn up(&self, value: f64) -> f64 {
        BOTTOM - value / self.top * (BOTTOM - TOP)
    }
}

/// The next of 1, 2, 2.5, 5 and 10, in its power of ten.
fn round_up(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(highest.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= highest)
        .unwrap_or(10.0 * power)
}

fn axes(chart: &Chart<'_>, scale: &Scale, svg: &mut Markup) {
    for part in [0.0, 0.5, 1.0] {
        let value = scale.top * part;
        let y = scale.up(value);
        stroke("grid", (LEFT, y), (RIGHT, y), svg);
        label("end", (LEFT - 6.0, y + 4.0), &number(value, scale.top), svg);
    }
    for (place, name) in &chart.places {
        let x = scale.across(*place);
        stroke("tick", (x, BOTTOM), (x, BOTTOM + 5.0), svg);
        label("middle", (x, BOTTOM + 19.0), name, svg);
    }
    label("middle", (f64::midpoint(LEFT, RIGHT), BOTTOM + 40.0), chart.across, svg);
}

/// The names of the lines, each behind its mark.
fn legend(chart: &Chart<'_>, svg: &mut Markup) {
    let mut x = LEFT + 8.0;
    for series in &chart.series {
        mark(series.mark, (x, 16.0), svg);
        label("start", (x + 10.0, 20.0), series.name, svg);
        x += 80.0;
    }
    if let Some((name, _)) = &chart.ranges {
        stroke("limit", (x, 8.0), (x, 24.0), svg);
        stroke("limit", (x - 5.0, 8.0), (x + 5.0, 8.0), svg);
        stroke("limit", (x - 5.0, 24.0), (x + 5.0, 24.0), svg);
        label("start", (x + 10.0, 20.0), name, svg);
    }
}

fn limits(range: &Range, scale: &Scale, svg: &mut Markup) {
    let (x, low, high) = (scale.across(range.at), scale.up(range.low), scale.up(range.high));
    stroke("limit", (x, low), (x, high), svg);
    for y in [low, high] {
        stroke("limit", (x - 5.0, y), (x + 5.0, y), svg);
    }
}

fn line(series: &Series<'_>, scale: &Scale, svg: &mut Markup) {
    let points: Vec<_> =
        series.points.iter().map(|(at, value)| (scale.across(*at), scale.up(*value))).collect();
    let mut path = String::new();
    for (x, y) in &points {
        write!(path, "{x:.1},{y:.1} ").expect("a string takes all text");
    }
    let class = format!("series {}", class(series.mark));
    svg.element("polyline", &[("class", &class), ("points", path.trim_end())], |_| ());
    for point in points {
        mark(series.mark, point, svg);
    }
}

fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Circle => "circle",
        Mark::Square => "square",
        Mark::Triangle => "triangle",
    }
}

fn mark(mark: Mark, (x, y): (f64, f64), svg: &mut Markup) {
    let points = match mark {
        Mark::Circle => {
            let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
            let class = format!("mark {}", class(mark));
            svg.element("circle", &[("class", &class), ("cx", &x), ("cy", &y), ("r", "4")], |_| ());
            return;
        }
        Mark::Square => [(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)].as_slice(),
        Mark::Triangle => [(0.0, -5.0), (5.0, 4.0), (-5.0, 4.0)].as_slice(),
    };
    let corners: Vec<_> =
        points.iter().map(|(right, down)| format!("{:.1},{:.1}", x + right, y + down)).collect();
    let class = format!("mark {}", class(mark));
    svg.element("polygon", &[("class", &class), ("points", &corners.join(" "))], |_| ());
}

fn stroke(class: &str, from: (f64, f64), to: (f64, f64), svg: &mut Markup) {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(|place| format!("{place:.1}"));
    let attributes = [
        ("class", class),
        ("x1", x1.as_str()),
        ("y1", y1.as_str()),
        ("x2", x2.as_str()),
        ("y2", y2.as_str()),
    ];
    svg.element("line", &attributes, |_| ());
}

fn label(anchor: &str, (x, y): (f64, f64), text: &str, svg: &mut Markup) {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    svg.words("text", &[("x", &x), ("y", &y), ("text-anchor", anchor)], text);
}

/// A number beside an axis that ends at `top`.
fn number(value: f64, top: f64) -> String {
    match top {
        top if top < 2.0 => format!("{value:.2}"),
        top if top < 10.0 && value.fract() != 0.0 => format!("{value:.1}"),
        _ => grouped(whole(value)),
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is drawn is a count or a time, and the cast of any other saturates"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_above_the_highest() {
        assert_eq!(
            [0.0, 0.3, 1.0, 9.1, 24.0, 164.0, 1_249.0].map(round_up),
            [1.0, 0.5, 1.0, 10.0, 25.0, 200.0, 2_000.0]
        );
    }

    #[test]
    fn one_place_makes_no_chart() {
        let chart = Chart {
            title: "t",
            across: "a",
            places: vec![(1.0, "1".to_owned())],
            series: vec![Series { name: "s", mark: Mark::Circle, points: vec![(1.0, 2.0)] }],
            ranges: None,
        };
        let mut page = Markup::default();
        draw(&chart, &mut page);
        assert_eq!(page.into_text(), "");
    }
}
