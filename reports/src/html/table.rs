//! Tables: a caption above, column heads with their scope, a first column that names its row.
//!
//! A table wider than a phone scrolls within its own frame, which the keyboard reaches.

use super::markup::Markup;

/// The head of one column.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// Of text.
    Text(&'static str),
    /// Of numbers, which are aligned at their end.
    Number(&'static str),
}

/// What stands in a row behind its name.
pub(super) enum Cell<'a> {
    /// Text.
    Text(&'a str),
    /// A number, laid out.
    Number(String),
    /// More than text.
    Rich(&'a dyn Fn(&mut Markup)),
}

/// Writes a table whose rows `rows` writes, each with [`row`].
pub(super) fn table(
    caption: &str,
    columns: &[Column],
    page: &mut Markup,
    rows: impl FnOnce(&mut Markup),
) {
    let frame =
        [("class", "frame"), ("role", "region"), ("tabindex", "0"), ("aria-label", caption)];
    // A caption within the frame would scroll out of it.
    page.words("p", &[("class", "caption")], caption);
    page.element("div", &frame, |frame| {
        frame.element("table", &[], |table| {
            head(columns, table);
            table.element("tbody", &[], rows);
        });
    });
}

/// Writes the heads of `columns`.
pub(super) fn head(columns: &[Column], table: &mut Markup) {
    table.element("thead", &[], |head| {
        head.element("tr", &[], |row| {
            for column in columns {
                match column {
                    Column::Text(name) => row.words("th", &[("scope", "col")], name),
                    Column::Number(name) => {
                        row.words("th", &[("scope", "col"), ("class", "number")], name);
                    }
                }
            }
        });
    });
}

/// Writes one row.
pub(super) fn row(name: &str, cells: &[Cell<'_>], body: &mut Markup) {
    body.element("tr", &[], |row| {
        row.words("th", &[("scope", "row")], name);
        for cell in cells {
            match cell {
                Cell::Text(text) => row.words("td", &[], text),
                Cell::Number(number) => row.words("td", &[("class", "number")], number),
                Cell::Rich(write) => row.element("td", &[], write),
            }
        }
    });
}
