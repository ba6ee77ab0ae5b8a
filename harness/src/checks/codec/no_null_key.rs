//! No command to Redis names a key that was made from nothing.
//!
//! Every plan has a key without a team or without a user, and uses it on every replica, cold and
//! warm. A gateway that builds the name of a cache entry from an owner that is not there asks for
//! `team:None`, `user:` or `{}`. All its tenants meet in that one entry, or Redis refuses the command
//! and each request falls through to the database. So every key of every command is looked at: where
//! an id should stand there must be more than nothing, and more than a word for nothing. Ids of a plan
//! are never such words, whatever their shape, so there is no good gateway that needs such a key. For
//! the same reason Redis has no cause to refuse a value or an argument: where its replies are seen too, a
//! refusal is a breach.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm},
    generators::{
        fewer::at_most,
        identities::{Identities, identities},
        requests,
    },
    history::{Event, History, Manifest},
    op::{Admin, Key, KeyFields, Op},
    plan::Plan,
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "codec.no-null-key",
    title: "No command to Redis names a key that was made from nothing",
    why: "An entry called `team:None` is shared by every caller without a team, or is refused by Redis \
          so that each of their requests falls through to the database.",
    incidents: &["https://github.com/BerriAI/litellm/pull/31418"],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::RedisCommands,
    ],
    plan,
    arms: one_arm,
    judge,
};

/// Keys of which one at least lacks an owner, each used cold and warm on every replica.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    let drawn = identities(3)
        .prop_filter("every key has a team and a user", |drawn: &Identities| {
            drawn.keys.iter().any(lacks_an_owner)
        });
    (at_most(2), drawn)
        .prop_map(move |(rounds, drawn)| {
            let mut steps = drawn.creation();
            steps.extend(requests::rounds(drawn.key_places(), replicas, rounds));
            Plan::new(drawn.ids, steps)
        })
        .boxed()
}

fn lacks_an_owner(fields: &KeyFields) -> bool {
    fields.team.set().is_none() || fields.user.set().is_none()
}

fn judge(histories: &[History]) -> Verdict {
    let [history] = histories else {
        return Verdict::Inconclusive("there is no history".to_owned());
    };
    let mut violations = made_from_nothing(history);
    violations.extend(refused_by_redis(history));
    if !violations.is_empty() {
        // What was seen is proof, whatever else was not.
        return Verdict::Fail(violations);
    }
    if let Some(why) = history.gap() {
        return Verdict::Inconclusive(why);
    }
    if !an_owner_was_missed(history) {
        return Verdict::Inconclusive("no key without a team or a user was served".to_owned());
    }
    let named = history
        .entries
        .iter()
        .any(|entry| matches!(&entry.event, Event::Redis { keys, .. } if !keys.is_empty()));
    if !named {
        return Verdict::Inconclusive("no command to Redis named a key".to_owned());
    }
    Verdict::Pass
}

/// Whether a prompt was answered with a key that has no team or no user.
fn an_owner_was_missed(history: &History) -> bool {
    let mut ownerless: BTreeSet<Key> = BTreeSet::new();
    for seen in history.calls().into_iter().filter(|seen| seen.answered()) {
        match &seen.call.op {
            Op::Admin(Admin::GenerateKey { key, fields }) if lacks_an_owner(fields) => {
                ownerless.insert(*key);
            }
            Op::Chat(chat) if ownerless.contains(&chat.key) => return true,
            Op::Admin(_) | Op::Chat(_) | Op::ListModels { .. } => {}
        }
    }
    false
}

fn made_from_nothing(history: &History) -> Vec<Violation> {
    let mut found: BTreeMap<&str, (BTreeSet<&str>, Vec<usize>)> = BTreeMap::new();
    for (index, entry) in history.entries.iter().enumerate() {
        let Event::Redis { command, keys, .. } = &entry.event else { continue };
        for key in keys.iter().filter(|key| is_made_from_nothing(&key.name)) {
            let (commands, places) = found.entry(&key.name).or_default();
            commands.insert(command);
            places.push(index);
        }
    }
    found
        .into_iter()
        .map(|(name, (commands, places))| {
            let commands: Vec<_> = commands.into_iter().collect();
            let commands = commands.join(" and ");
            Violation {
                summary: format!("the key {name:?}, made from nothing, is named by {commands}"),
                evidence: proof(0, places),
            }
        })
        .collect()
}

/// Whether nothing, or a word for nothing, stands in `name` where an id should.
///
/// Ids stand between separators: `^`, `:` or `{` before them, `$`, `:` or `}` after them.
fn is_made_from_nothing(name: &str) -> bool {
    const NOTHING: [&str; 6] = ["", "None", "null", "nil", "undefined", "NaN"];
    let after_separators = name.match_indices([':', '{']).map(|(place, _)| &name[place + 1..]);
    std::iter::once(name).chain(after_separators).any(|rest| {
        NOTHING
            .iter()
            .filter_map(|word| rest.strip_prefix(word))
            .any(|after| after.is_empty() || after.starts_with([':', '}']))
    })
}

/// Errors that say that a command was wrong in itself.
fn refused_by_redis(history: &History) -> Vec<Violation> {
    const WRONG: [&str; 6] = [
        "WRONGTYPE",
        "invalid",
        "not an integer",
        "not a valid float",
        "syntax error",
        "wrong number of arguments",
    ];
    let mut found: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (index, entry) in history.entries.iter().enumerate() {
        let Event::Redis { command, error: Some(error), .. } = &entry.event else { continue };
        if WRONG.iter().any(|wrong| error.contains(wrong)) {
            found.entry((command, error)).or_default().push(index);
        }
    }
    found
        .into_iter()
        .map(|((command, error), commands)| Violation {
            summary: format!("Redis refuses {command}: {error}"),
            evidence: proof(0, commands),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        history::{Access, RedisKey, hand::Hand},
        op::Replica,
    };

    /// A key without owners, served once.
    fn served() -> Hand {
        Hand::new()
            .admin(0, Admin::GenerateKey { key: Key(0), fields: KeyFields::UNSAID })
            .answered(10, 0)
    }

    fn command(name: &str, error: Option<&str>) -> Event {
        Event::Redis {
            replica: Replica(0),
            answered: None,
            command: "GET".to_owned(),
            keys: vec![RedisKey {
                name: name.to_owned(),
                access: Access::Miss,
                kind: None,
                payload: None,
                lifetime: None,
            }],
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn a_name_made_from_nothing_is_a_violation() {
        let history = served().event(11, command("team:None", None));
        let history = history.event(12, command("team:None", None)).event(13, command("", None));
        assert_snapshot!(judge(&[history.done()]), @r#"
        fail
          the key "", made from nothing, is named by GET
          the key "team:None", made from nothing, is named by GET
        "#);
    }

    #[test]
    fn a_command_that_redis_refuses_is_a_violation() {
        let error = "WRONGTYPE Operation against a key holding the wrong kind of value";
        let history = served().event(11, command("key:5f1c", Some(error)));
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          Redis refuses GET: WRONGTYPE Operation against a key holding the wrong kind of value
        ");
    }

    #[test]
    fn a_breach_is_proven_even_where_other_evidence_is_missing() {
        let gap = Event::Gap { observer: "redis on the wire".to_owned(), why: "cut".to_owned() };
        let history = served().event(11, command("user:", None)).event(12, gap.clone());
        assert!(judge(&[history.done()]).is_fail());
        let history = served().event(11, command("user:i0", None)).event(12, gap);
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: redis on the wire: cut");
    }

    #[test]
    fn a_name_for_everyone_is_fine() {
        let history = served().event(11, command("key:5f1c", None));
        let busy = Some("LOADING Redis is loading the dataset in memory");
        assert_eq!(judge(&[history.event(12, command("key:5f1c", busy)).done()]), Verdict::Pass);
    }

    #[test]
    fn without_a_key_that_lacks_an_owner_nothing_is_proven() {
        let history = Hand::new().answered(1, 0).event(2, command("key:5f1c", None));
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: no key without a team or a user was served");
    }

    #[test]
    fn without_a_command_to_redis_nothing_is_proven() {
        assert_snapshot!(judge(&[served().done()]), @"inconclusive: no command to Redis named a key");
    }

    #[test]
    fn only_what_stands_for_an_id_is_looked_at() {
        for name in ["", "None", "team:", "a::b", "{}:tokens", "team:null:user:u", "{nil}", ":a"] {
            assert!(is_made_from_nothing(name), "{name}");
        }
        for name in ["i0:a", "i0{a}", "i0 a", "{key:5f}:tokens", "Nonesuch", "team:a_None", "nils"]
        {
            assert!(!is_made_from_nothing(name), "{name}");
        }
    }
}
