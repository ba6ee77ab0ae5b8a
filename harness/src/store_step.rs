//! What a plan does to the stores themselves: edits behind the gateway's back, and faults on the way
//! to them.
//!
//! Entities are named by their place in the plan, as in every op; the adapter knows the row, and the
//! wire shows under which Redis keys an object is cached.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    op::{Alias, Id, Key, Kind, MicroUsd},
    plan::{Plan, Told},
    wire::fault::FaultKind,
};

/// An object of the plan that a gateway keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// A virtual key.
    Key(Key),
    /// A user.
    User(Id),
    /// A team.
    Team(Id),
    /// A membership.
    Member {
        /// Of which team.
        team: Id,
        /// Whose.
        user: Id,
    },
}

impl Object {
    /// Its kind.
    pub fn kind(self) -> Kind {
        match self {
            Object::Key(_) => Kind::Key,
            Object::User(_) => Kind::User,
            Object::Team(_) => Kind::Team,
            Object::Member { .. } => Kind::Member,
        }
    }
}

/// A change made in a store, behind the gateway's back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// Overwrites every Redis entry in which the object was seen to be cached. Lifetimes stay.
    Poison {
        /// Whose entries.
        object: Object,
        /// With what.
        poison: Poison,
    },
    /// Changes a row of Postgres, so that no invalidation tells of it.
    Row {
        /// Whose.
        object: Object,
        /// What about it.
        change: Change,
    },
}

impl Edit {
    /// The objects whose cache entries it needs to find.
    pub fn objects(&self) -> Vec<Object> {
        match self {
            Edit::Row { .. } => Vec::new(),
            Edit::Poison { object, poison: Poison::Foreign(other) } => vec![*object, *other],
            Edit::Poison { object, .. } => vec![*object],
        }
    }
}

/// What is found under the name of a cache entry that nobody wrote there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Poison {
    /// The entry, one byte of which is another.
    Flipped {
        /// Where, in thousandths of its length.
        at_permille: u16,
        /// The bits that are turned.
        mask: u8,
    },
    /// The beginning of the entry.
    Cut {
        /// How much of it, in thousandths of its length.
        at_permille: u16,
    },
    /// The JSON `null`.
    Null,
    /// Nothing at all.
    Nothing,
    /// The JSON `""`.
    EmptyText,
    /// The JSON `[]`.
    EmptyList,
    /// The JSON `{}`.
    EmptyObject,
    /// A number that no double holds.
    HugeNumber,
    /// A text of 10 MiB.
    LongText,
    /// Lists nested 5,000 deep.
    Deep,
    /// The entry of another object.
    Foreign(Object),
}

/// What is changed about a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The models that may be called.
    Models(Vec<Alias>),
    /// Whether it is blocked.
    Blocked(bool),
    /// What may be spent.
    MaxBudget(MicroUsd),
}

/// A fault on the way to a store, at every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strike {
    /// Every read of Postgres takes this much longer.
    SlowReads {
        /// How much, in milliseconds.
        by_ms: u32,
    },
    /// So many reads of Postgres, at each replica, end in an error.
    FailReads {
        /// How many.
        times: u32,
    },
}

impl Strike {
    /// Every kind of fault that a plan can ask for.
    pub const KINDS: [FaultKind; 2] = [
        FaultKind {
            name: "slow_reads",
            does: "Every read of Postgres takes longer by a stated time, until it heals.",
            like: "A database under load, when many callers miss the cache at once.",
        },
        FaultKind {
            name: "fail_reads",
            does: "So many reads of Postgres, at each replica, end in an error.",
            like: "A database that sheds load, or fails over while callers wait.",
        },
    ];
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strike::SlowReads { by_ms } => {
                write!(f, "from now on each read of Postgres takes {by_ms} ms longer")
            }
            Strike::FailReads { times: 1 } => {
                f.write_str("let each replica's next read of Postgres fail")
            }
            Strike::FailReads { times } => {
                write!(f, "let each replica's next {times} reads of Postgres fail")
            }
        }
    }
}

/// An edit in words.
pub fn edit_told(plan: &Plan, edit: &Edit) -> String {
    match edit {
        Edit::Poison { object, poison } => {
            let found = match poison {
                Poison::Flipped { .. } => "itself with one byte changed".to_owned(),
                Poison::Cut { at_permille } => {
                    format!("its first {}.{} %", at_permille / 10, at_permille % 10)
                }
                Poison::Null => "null".to_owned(),
                Poison::Nothing => "nothing".to_owned(),
                Poison::EmptyText => "an empty text".to_owned(),
                Poison::EmptyList => "an empty list".to_owned(),
                Poison::EmptyObject => "an empty object".to_owned(),
                Poison::HugeNumber => "1e999".to_owned(),
                Poison::LongText => "10 MiB of text".to_owned(),
                Poison::Deep => "lists nested 5,000 deep".to_owned(),
                Poison::Foreign(other) => format!("the entry of {}", object_told(plan, *other)),
            };
            format!("overwrite the cache entry of {} with {found}", object_told(plan, *object))
        }
        Edit::Row { object, change } => {
            let change = match change {
                Change::Models(models) => {
                    let told: Vec<_> = models.iter().map(ToString::to_string).collect();
                    format!("models = [{}]", told.join(", "))
                }
                Change::Blocked(blocked) => format!("blocked = {blocked}"),
                Change::MaxBudget(money) => format!("max_budget = {} µ$", money.0),
            };
            format!("in the row of {}, set {change}", object_told(plan, *object))
        }
    }
}

fn object_told(plan: &Plan, object: Object) -> String {
    match object {
        Object::Key(key) => key.to_string(),
        Object::User(user) => Told(plan, Kind::User, user).to_string(),
        Object::Team(team) => Told(plan, Kind::Team, team).to_string(),
        Object::Member { team, user } => {
            format!("{} in {}", Told(plan, Kind::User, user), Told(plan, Kind::Team, team))
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::plan::IdShape;

    #[test]
    fn every_strike_is_told_under_the_name_that_plans_give_it() {
        let strikes = [Strike::SlowReads { by_ms: 1 }, Strike::FailReads { times: 1 }];
        for (strike, kind) in strikes.into_iter().zip(Strike::KINDS) {
            assert!(serde_json::to_value(strike).unwrap().get(kind.name).is_some(), "{kind:?}");
        }
    }

    #[test]
    fn edits_are_told_in_words() {
        let plan = Plan::new(vec![IdShape::Plain, IdShape::Plain], Vec::new());
        let object = Object::Member { team: Id(0), user: Id(1) };
        let told = |edit| edit_told(&plan, &edit);
        let cut = Edit::Poison { object, poison: Poison::Cut { at_permille: 505 } };
        assert_snapshot!(told(cut), @r#"overwrite the cache entry of user "i1" in team "i0" with its first 50.5 %"#);
        let foreign = Poison::Foreign(Object::Team(Id(0)));
        let foreign = Edit::Poison { object: Object::Key(Key(0)), poison: foreign };
        assert_snapshot!(told(foreign), @r#"overwrite the cache entry of key 0 with the entry of team "i0""#);
        let change = Change::Models(vec![Alias(1)]);
        let row = Edit::Row { object: Object::User(Id(0)), change };
        assert_snapshot!(told(row), @r#"in the row of user "i0", set models = [model 1]"#);
    }
}
