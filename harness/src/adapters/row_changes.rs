//! Statements that change a row behind a gateway's back, put together from a product's own names.

use super::{Names, Statement};
use crate::store_step::Change;

/// A product's names for the table of an object and for the columns that identify its row.
pub(super) struct Row {
    /// The table, quoted where it must be.
    pub(super) table: &'static str,
    /// The identifying columns, quoted where they must be.
    pub(super) columns: &'static [&'static str],
    /// What they hold, in the same order.
    pub(super) values: Vec<String>,
}

/// The statement that makes a change to a row whose columns are called `models`, `blocked` and
/// `max_budget`.
pub(super) fn update(row: Row, change: &Change, names: &Names) -> Statement {
    let (assignment, value) = assignment(change, names);
    let found: Vec<_> =
        (2..).zip(row.columns).map(|(at, column)| format!("{column} = ${at}")).collect();
    Statement {
        sql: format!("UPDATE {} SET {assignment} WHERE {}", row.table, found.join(" AND ")),
        params: std::iter::once(value).chain(row.values).collect(),
    }
}

/// What is assigned, and the text of `$1`.
fn assignment(change: &Change, names: &Names) -> (&'static str, String) {
    match change {
        Change::Models(models) => {
            let quoted: Vec<_> =
                models.iter().map(|alias| format!("{:?}", names.alias(*alias))).collect();
            ("models = $1::text[]", format!("{{{}}}", quoted.join(",")))
        }
        Change::Blocked(blocked) => ("blocked = $1::boolean", blocked.to_string()),
        Change::MaxBudget(money) => {
            let text = format!("{}.{:06}", money.0 / 1_000_000, money.0 % 1_000_000);
            ("max_budget = $1::double precision", text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use insta::assert_snapshot;

    use super::*;
    use crate::{
        adapters::{Adapter, reference::Reference},
        op::{Alias, Id, MicroUsd},
        plan::{IdShape, Plan},
        store_step::Object,
    };

    fn names() -> Names {
        Names {
            prefix: "g1c2x".to_owned(),
            plan: Plan::new(vec![IdShape::Plain; 2], Vec::new()),
            aliases: vec!["gauntlet-a".to_owned(), "b".to_owned()],
            keys: BTreeMap::new(),
        }
    }

    #[test]
    fn a_row_is_found_by_what_identifies_it() {
        let member = Object::Member { team: Id(0), user: Id(1) };
        let row = Row {
            table: "team_members",
            columns: &["team_id", "user_id"],
            values: Reference.identifying(member, &names()),
        };
        let statement = update(row, &Change::MaxBudget(MicroUsd(1_500_000)), &names());
        assert_snapshot!(statement.sql, @"UPDATE team_members SET max_budget = $1::double precision WHERE team_id = $2 AND user_id = $3");
        assert_eq!(statement.params, ["1.500000", "g1c2xi0", "g1c2xi1"]);
    }

    #[test]
    fn models_are_an_array_of_names() {
        let (_, value) = assignment(&Change::Models(vec![Alias(0), Alias(1)]), &names());
        assert_eq!(value, r#"{"gauntlet-a","b"}"#);
    }
}
