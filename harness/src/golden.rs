//! The stored forms of plans and histories, held to files that must stay readable.
//!
//! Each golden file uses every word of its format. It is read and written back: a field that was
//! renamed, left out or given another shape shows as a difference, and is a new version.

use std::{collections::BTreeSet, fs, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    history::{Access, Event, HISTORY_VERSION, History, Level},
    op::{Admin, Field, Kind, Listed, Op, Outcome, Refusal},
    plan::{IdShape, Naming, PLAN_VERSION, Plan, Step, Wait},
    store_step::{Change, Edit, Object, Poison, Strike},
};

/// The stored words of an enum. A variant that is left out does not compile.
macro_rules! words {
    ($($variant:pat => $word:literal),+ $(,)?) => {{
        let _every_variant = |value| match value { $($variant => ()),+ };
        [$($word),+]
    }};
}

#[test]
fn a_stored_plan_reads_back_the_same() {
    let text = golden(&format!("plan_{PLAN_VERSION}.json"));
    assert_eq!(written_back::<Plan>(&text), text);
}

#[test]
fn a_stored_history_reads_back_the_same() {
    let text = golden(&format!("history_{HISTORY_VERSION}.json"));
    assert_eq!(written_back::<History>(&text), text);
}

#[test]
fn the_golden_plan_uses_every_word() {
    let used = words_in(&golden(&format!("plan_{PLAN_VERSION}.json")));
    uses(
        &used,
        &words! {
            Step::Call(_) => "call",
            Step::Together(_) => "together",
            Step::StartTraffic { .. } => "start_traffic",
            Step::StopTraffic => "stop_traffic",
            Step::Wait(_) => "wait",
            Step::Store(_) => "store",
            Step::Strike(_) => "strike",
            Step::Heal => "heal",
        },
    );
    uses(
        &used,
        &words! {
            Wait::StalenessAnd { .. } => "staleness_and",
            Wait::Milliseconds(_) => "milliseconds",
            Wait::Lifetimes(_) => "lifetimes",
        },
    );
    uses(
        &used,
        &words! {
            IdShape::Plain => "plain",
            IdShape::Colon => "colon",
            IdShape::Underscore => "underscore",
            IdShape::Slash => "slash",
            IdShape::Space => "space",
            IdShape::Braces => "braces",
        },
    );
    uses(
        &used,
        &words! {
            Op::Admin(_) => "admin",
            Op::Chat(_) => "chat",
            Op::ListModels { .. } => "list_models",
        },
    );
    uses(&used, &words! { Edit::Poison { .. } => "poison", Edit::Row { .. } => "row" });
    uses(
        &used,
        &words! {
            Object::Key(_) => "key",
            Object::User(_) => "user",
            Object::Team(_) => "team",
            Object::Member { .. } => "member",
        },
    );
    uses(
        &used,
        &words! {
            Poison::Flipped { .. } => "flipped",
            Poison::Cut { .. } => "cut",
            Poison::Null => "null",
            Poison::Nothing => "nothing",
            Poison::EmptyText => "empty_text",
            Poison::EmptyList => "empty_list",
            Poison::EmptyObject => "empty_object",
            Poison::HugeNumber => "huge_number",
            Poison::LongText => "long_text",
            Poison::Deep => "deep",
            Poison::Foreign(_) => "foreign",
        },
    );
    uses(
        &used,
        &words! {
            Change::Models(_) => "models",
            Change::Blocked(_) => "blocked",
            Change::MaxBudget(_) => "max_budget",
        },
    );
    uses(
        &used,
        &words! {
            Strike::SlowReads { .. } => "slow_reads",
            Strike::FailReads { .. } => "fail_reads",
        },
    );
    uses(
        &used,
        &words! {
            Admin::CreateOrganisation { .. } => "create_organisation",
            Admin::CreateUser { .. } => "create_user",
            Admin::UpdateUser { .. } => "update_user",
            Admin::DeleteUser { .. } => "delete_user",
            Admin::CreateTeam { .. } => "create_team",
            Admin::UpdateTeam { .. } => "update_team",
            Admin::DeleteTeam { .. } => "delete_team",
            Admin::BlockTeam { .. } => "block_team",
            Admin::UnblockTeam { .. } => "unblock_team",
            Admin::AddMember { .. } => "add_member",
            Admin::UpdateMember { .. } => "update_member",
            Admin::RemoveMember { .. } => "remove_member",
            Admin::GenerateKey { .. } => "generate_key",
            Admin::UpdateKey { .. } => "update_key",
            Admin::DeleteKey { .. } => "delete_key",
            Admin::BlockKey { .. } => "block_key",
            Admin::UnblockKey { .. } => "unblock_key",
        },
    );
    uses(
        &used,
        &words! {
            Field::<()>::Absent => "absent",
            Field::Null => "null",
            Field::Empty => "empty",
            Field::Set(()) => "set",
        },
    );
}

#[test]
fn the_golden_history_uses_every_word() {
    let used = words_in(&golden(&format!("history_{HISTORY_VERSION}.json")));
    uses(
        &used,
        &words! {
            Event::Invoked { .. } => "invoked",
            Event::Completed { .. } => "completed",
            Event::Redis { .. } => "redis",
            Event::Push { .. } => "push",
            Event::Sql { .. } => "sql",
            Event::Log { .. } => "log",
            Event::Attempt { .. } => "attempt",
            Event::Edited { .. } => "edited",
            Event::Struck { .. } => "struck",
            Event::Healed { .. } => "healed",
            Event::Gap { .. } => "gap",
            Event::Exited { .. } => "exited",
        },
    );
    uses(
        &used,
        &words! {
            Outcome::Answered { .. } => "answered",
            Outcome::Listed { .. } => "listed",
            Outcome::Refused { .. } => "refused",
            Outcome::Indeterminate { .. } => "indeterminate",
        },
    );
    uses(&used, &words! { Listed::Alias(_) => "alias", Listed::Stranger(_) => "stranger" });
    uses(
        &used,
        &words! {
            Refusal::Unauthenticated => "unauthenticated",
            Refusal::Blocked => "blocked",
            Refusal::Expired => "expired",
            Refusal::ModelDenied => "model_denied",
            Refusal::OverBudget => "over_budget",
            Refusal::RateLimited => "rate_limited",
            Refusal::NotFound => "not_found",
            Refusal::Invalid => "invalid",
            Refusal::Unavailable => "unavailable",
            Refusal::Fault => "fault",
        },
    );
    uses(
        &used,
        &words! {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        },
    );
    uses(
        &used,
        &words! {
            Access::Hit => "hit",
            Access::Miss => "miss",
            Access::Write => "write",
            Access::Delete => "delete",
            Access::Other => "other",
        },
    );
    uses(
        &used,
        &words! {
            Kind::Key => "key",
            Kind::User => "user",
            Kind::Team => "team",
            Kind::Member => "member",
            Kind::EndUser => "end_user",
            Kind::Organisation => "organisation",
            Kind::Project => "project",
            Kind::Budget => "budget",
        },
    );
}

#[test]
fn between_them_the_golden_files_use_both_ways_of_naming() {
    let mut used = words_in(&golden(&format!("plan_{PLAN_VERSION}.json")));
    used.extend(words_in(&golden(&format!("history_{HISTORY_VERSION}.json"))));
    uses(&used, &words! { Naming::Shared => "shared", Naming::Apart => "apart" });
}

fn uses(used: &BTreeSet<String>, words: &[&str]) {
    for word in words {
        assert!(used.contains(*word), "{word:?} is not in the golden file");
    }
}

/// What a reader of `text` writes, as the golden files are laid out.
fn written_back<T: Serialize + DeserializeOwned>(text: &str) -> String {
    let read: T = serde_json::from_str(text).unwrap();
    serde_json::to_string_pretty(&read).unwrap() + "\n"
}

/// The names of fields and the texts in a file: among them are the words of its enums.
fn words_in(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut rest = vec![serde_json::from_str::<Value>(text).unwrap()];
    while let Some(value) = rest.pop() {
        match value {
            Value::String(word) => drop(words.insert(word)),
            Value::Array(values) => rest.extend(values),
            Value::Object(fields) => {
                for (name, value) in fields {
                    words.insert(name);
                    rest.push(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    words
}

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
