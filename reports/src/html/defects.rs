//! The kill matrix: which planted defects their checks caught.

use crate::{
    layout::{counted, span},
    schema::Kill,
    words::{caught, fate},
};

use super::{
    badge,
    markup::Markup,
    table::{Cell, Column, row, table},
};

/// Writes one row per planted defect.
pub(super) fn write(kills: &[Kill], page: &mut Markup) {
    page.words("p", &[], &format!("{}.", caught(kills)));
    let columns = [
        Column::Text("defect"),
        Column::Text("check that must catch it"),
        Column::Text("caught"),
        Column::Number("shrunk to"),
        Column::Number("time"),
    ];
    table("Planted defects, and whether they were caught", &columns, page, |body| {
        for kill in kills {
            let (verdict, word) = fate(kill);
            let told = format!("{word} {}/{}", kill.caught_seeds, kill.seeds);
            let badge = |cell: &mut Markup| badge(verdict, &told, cell);
            let shrunk = kill
                .shrunk
                .map_or_else(|| "-".to_owned(), |steps| counted(u64::from(steps), "step", "steps"));
            let cells = [
                Cell::Text(&kill.check),
                Cell::Rich(&badge),
                Cell::Number(shrunk),
                Cell::Number(span(kill.duration_ms)),
            ];
            row(&kill.defect, &cells, body);
        }
    });
}
