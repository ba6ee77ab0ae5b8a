//! The table of checks, and the form that filters it.

use std::collections::BTreeSet;

use crate::{
    layout::{counted, span},
    schema::{CheckReport, Level, Verdict},
};

use super::{
    badge,
    failures::{anchor, failed},
    markup::Markup,
    table::{Column, head},
};

/// All verdicts, those first that ask for something to be done.
const VERDICTS: [Verdict; 5] =
    [Verdict::Fail, Verdict::Inconclusive, Verdict::Pass, Verdict::NotApplicable, Verdict::Skipped];

/// Writes the table of `checks`, and the form that filters it.
pub(super) fn write(checks: &[CheckReport], page: &mut Markup) {
    filters(checks, page);
    page.element("table", &[("class", "checks")], |table| {
        let caption = "Every check of the run, those first that ask for something to be done";
        table.words("caption", &[], caption);
        let columns = [Column::Text("check"), Column::Text("verdict")];
        head(&columns, table);
        table.element("tbody", &[("id", "checks")], |body| {
            for verdict in VERDICTS {
                for check in checks.iter().filter(|check| check.verdict == verdict) {
                    row(check, checks, body);
                }
            }
        });
    });
}

/// Shown by the script alone, which is what it needs.
fn filters(checks: &[CheckReport], page: &mut Markup) {
    let found: BTreeSet<_> = checks.iter().map(|check| check.verdict).collect();
    let verdicts: Vec<_> = VERDICTS
        .into_iter()
        .filter(|verdict| found.contains(verdict))
        .map(|verdict| verdict.to_string())
        .collect();
    let families: BTreeSet<_> = checks.iter().map(family).collect();
    page.element("form", &[("id", "filters"), ("hidden", "")], |form| {
        choice("verdict", "Verdict", verdicts.iter().map(String::as_str), form);
        choice("family", "Family", families.into_iter(), form);
        form.words("p", &[("id", "shown"), ("role", "status")], "");
    });
}

fn choice<'a>(
    name: &'static str,
    label: &'static str,
    values: impl Iterator<Item = &'a str>,
    form: &mut Markup,
) {
    let id = format!("filter-{name}");
    form.element("div", &[], |pair| {
        pair.words("label", &[("for", &id)], label);
        pair.element("select", &[("id", &id), ("name", name), ("autocomplete", "off")], |select| {
            select.words("option", &[("value", "")], "all");
            for value in values {
                select.words("option", &[("value", value)], value);
            }
        });
    });
}

fn row(check: &CheckReport, checks: &[CheckReport], body: &mut Markup) {
    let verdict = check.verdict.to_string();
    body.element("tr", &[("data-verdict", &verdict), ("data-family", family(check))], |row| {
        row.element("th", &[("scope", "row")], |head| {
            match failed(checks).position(|other| std::ptr::eq(other, check)) {
                Some(place) => {
                    let to = format!("#{}", anchor(place + 1));
                    head.words("a", &[("class", "id"), ("href", &to)], &check.id);
                }
                None => head.words("span", &[("class", "id")], &check.id),
            }
            head.words("span", &[("class", "title")], &check.title);
            if check.level == Level::Extended {
                let owed = "Extended: owed where the feature is offered";
                head.words("span", &[("class", "reason")], owed);
            }
            if let Some(reason) = &check.reason {
                head.words("span", &[("class", "reason")], &format!("Why: {reason}"));
            }
        });
        row.element("td", &[], |cell| {
            badge(check.verdict, &verdict, cell);
            if let Verdict::Pass | Verdict::Fail | Verdict::Inconclusive = check.verdict {
                let cases = counted(u64::from(check.cases), "case", "cases");
                let driven = format!("{cases}, {}", span(check.duration_ms));
                cell.words("span", &[("class", "driven")], &driven);
            }
        });
    });
}

/// The part of a check's id before its property.
fn family(check: &CheckReport) -> &str {
    check.id.split('.').next().unwrap_or(&check.id)
}
