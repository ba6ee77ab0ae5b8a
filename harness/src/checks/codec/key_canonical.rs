//! Writer, reader and invalidator of one object agree on the name of its entry.
//!
//! Every object of a plan is used on every replica, changed through the admin API and used again, so
//! that each way of storing, finding and dropping its entry is taken. On the way to Redis the names are
//! seen; with ids replaced by what they stand for, names of one origin have one pattern. Identities
//! that are written under a pattern which nobody reads were written for nothing, whoever reads looks
//! elsewhere. And where everything that is deleted for an object has another pattern than everything
//! that is written for it, a change leaves the older entry in place. Kinds keep to ids of their own, so
//! that no kind's reads stand in for another's.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Arm, Check, Level, whole},
    generators::{
        admin,
        identities::{at_first, identities},
        requests,
    },
    history::{Access, Event, History, Manifest},
    plan::{IdShape, Plan},
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "codec.key-canonical",
    title: "Writer, reader and invalidator of one object agree on the name of its entry",
    why: "An entry that is written under one name and looked for under another saves no read, and one \
          that is deleted under another goes on letting a revoked key through.",
    incidents: &[
        "https://github.com/BerriAI/litellm/pull/31418",
        "https://github.com/BerriAI/litellm/issues/34217",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::RedisCommands,
    ],
    plan,
    arms,
    judge,
};

/// Objects that are used, changed and used again, on every replica.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    identities(2)
        .prop_flat_map(|drawn| admin::changes(drawn.with_every_member(), 5))
        .prop_map(move |(drawn, changes)| {
            let mut steps = drawn.creation();
            steps.extend(requests::rounds(drawn.key_places(), replicas, 1));
            for change in changes {
                steps.push(at_first(change));
                steps.extend(requests::rounds(drawn.key_places(), replicas, 1));
            }
            // How an id looks is for other checks; here it must be found in every name.
            Plan::new(vec![IdShape::Plain; drawn.ids.len()], steps)
        })
        .boxed()
}

fn arms(plan: &Plan) -> Vec<Arm> {
    vec![Arm::shared("ids apart", plan.apart())]
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let used = used(history);
    if used.values().all(|uses| uses.written.is_empty()) {
        return Verdict::Inconclusive("no identity was written to Redis".to_owned());
    }
    if used.values().all(|uses| uses.read.is_empty()) {
        return Verdict::Inconclusive("nothing about an identity was read from Redis".to_owned());
    }
    let mut violations = Vec::new();
    for uses in used.values() {
        violations.extend(written_for_nothing(uses));
        violations.extend(deleted_elsewhere(uses));
    }
    Verdict::of(violations)
}

/// Patterns of names, each with the entries of the history in which it was used.
type Patterns = BTreeMap<String, Vec<usize>>;

/// What was done under names that hold the same ids.
#[derive(Default)]
struct Uses {
    written: Patterns,
    read: Patterns,
    deleted: Patterns,
}

/// What was done to the entries of a case, by the ids that their names hold.
fn used(history: &History) -> BTreeMap<Vec<Stands>, Uses> {
    let mut used: BTreeMap<Vec<Stands>, Uses> = BTreeMap::new();
    for (index, entry) in history.entries.iter().enumerate() {
        let Event::Redis { command, keys, .. } = &entry.event else { continue };
        // What a script does with a name is not seen; it may read there.
        let is_script = command.starts_with("EVAL") || command.starts_with("FCALL");
        // Who looks under a name reads there, whether or not the reply was seen.
        let looks = matches!(command.as_str(), "GET" | "GETEX" | "MGET");
        for key in keys {
            let (pattern, ids) = pattern(&key.name, &history.prefix);
            if ids.is_empty() {
                continue;
            }
            let uses = used.entry(ids).or_default();
            let patterns = match key.access {
                // Counters and locks have names of their own, and are no identities.
                Access::Write if key.kind.is_some() => &mut uses.written,
                Access::Hit | Access::Miss => &mut uses.read,
                Access::Other if is_script || looks => &mut uses.read,
                Access::Delete => &mut uses.deleted,
                Access::Write | Access::Other => continue,
            };
            patterns.entry(pattern).or_default().push(index);
        }
    }
    used
}

/// What an id in a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stands {
    Key,
    Team,
    User,
    Other,
}

impl Stands {
    fn placeholder(self) -> &'static str {
        match self {
            Stands::Key => "<key>",
            Stands::Team => "<team>",
            Stands::User => "<user>",
            Stands::Other => "<id>",
        }
    }
}

/// Hexadecimal digits in the hash by which gateways know a key.
const HASH: usize = 64;

/// A name with its ids replaced by what they stand for, and those, in a fixed order.
fn pattern(name: &str, prefix: &str) -> (String, Vec<Stands>) {
    let mut pattern = String::new();
    let mut ids = BTreeSet::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let found = id_at(rest, prefix).or_else(|| hash_at(rest));
        let length = match found {
            Some((stands, length)) => {
                ids.insert(stands);
                pattern.push_str(stands.placeholder());
                length
            }
            None => {
                pattern.push(first);
                first.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    (pattern, ids.into_iter().collect())
}

/// The id that `text` begins with, and its length.
fn id_at(text: &str, prefix: &str) -> Option<(Stands, usize)> {
    let after = text.strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    let letter = after.chars().next()?;
    let place = after.get(letter.len_utf8()..)?;
    let digits = place.len() - place.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let stands = match letter {
        't' => Stands::Team,
        'u' => Stands::User,
        _ => Stands::Other,
    };
    (digits > 0).then_some((stands, prefix.len() + letter.len_utf8() + digits))
}

/// The hash of a key that `text` begins with, and its length.
fn hash_at(text: &str) -> Option<(Stands, usize)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
    (digits == HASH).then_some((Stands::Key, HASH))
}

/// Patterns under which identities are written and nobody reads.
fn written_for_nothing(uses: &Uses) -> Vec<Violation> {
    uses.written
        .iter()
        .filter(|(pattern, _)| !uses.read.contains_key(*pattern))
        .map(|(pattern, writes)| Violation {
            summary: format!(
                "{} times an identity is written under {pattern:?}, where nobody reads; read is {}",
                writes.len(),
                listed(&uses.read)
            ),
            evidence: proof(0, writes.iter().chain(uses.read.values().flatten()).copied()),
        })
        .collect()
}

/// What is deleted for an object, where none of it was ever written.
fn deleted_elsewhere(uses: &Uses) -> Option<Violation> {
    let is_elsewhere = !uses.deleted.is_empty()
        && !uses.written.is_empty()
        && !uses.deleted.keys().any(|pattern| uses.written.contains_key(pattern));
    is_elsewhere.then(|| Violation {
        summary: format!(
            "{} is deleted when an object changes, but its identity is written under {}",
            listed(&uses.deleted),
            listed(&uses.written)
        ),
        evidence: proof(0, uses.deleted.values().chain(uses.written.values()).flatten().copied()),
    })
}

fn listed(patterns: &Patterns) -> String {
    let told: Vec<_> = patterns.keys().map(|pattern| format!("{pattern:?}")).collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join(" and ") }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        history::{RedisKey, hand::Hand},
        op::{Kind, Replica},
    };

    fn command(hand: Hand, name: &str, access: Access) -> Hand {
        let key =
            RedisKey { name: name.to_owned(), access, kind: None, payload: None, lifetime: None };
        hand.event(
            20,
            Event::Redis {
                replica: Replica(0),
                answered: None,
                command: "ANY".to_owned(),
                keys: vec![key],
                error: None,
            },
        )
    }

    /// A team that is looked for under `read` and written under `written`.
    fn team(read: &str, written: &str) -> Hand {
        command(Hand::new(), read, Access::Miss).redis_write(11, written, Kind::Team)
    }

    #[test]
    fn an_entry_that_is_looked_for_elsewhere_is_a_violation() {
        assert_snapshot!(judge(&[team("team_id:pt0", "pt0").done()]), @r#"
        fail
          1 times an identity is written under "<team>", where nobody reads; read is "team_id:<team>"
        "#);
    }

    #[test]
    fn an_entry_that_is_deleted_elsewhere_is_a_violation() {
        let history = command(team("team:pt0", "team:pt0"), "teams:pt0", Access::Delete);
        assert_snapshot!(judge(&[history.done()]), @r#"
        fail
          "teams:<team>" is deleted when an object changes, but its identity is written under "team:<team>"
        "#);
    }

    #[test]
    fn one_name_for_all_is_fine_whichever_object_it_is_of() {
        let history = team("team:pt0", "team:pt1");
        let history = command(history, "team:pt2", Access::Delete);
        // A name of an earlier release is deleted too.
        let history = command(history, "pt2", Access::Delete);
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn a_gateway_that_writes_no_identity_proves_nothing() {
        let history = command(Hand::new(), "team:pt0", Access::Miss);
        assert_snapshot!(
            judge(&[history.done()]),
            @"inconclusive: no identity was written to Redis"
        );
    }

    #[test]
    fn a_gateway_that_reads_nothing_back_proves_nothing() {
        let history = Hand::new().redis_write(11, "team:pt0", Kind::Team);
        assert_snapshot!(
            judge(&[history.done()]),
            @"inconclusive: nothing about an identity was read from Redis"
        );
    }

    #[test]
    fn ids_and_hashes_are_found_in_names() {
        let hash = "5f".repeat(32);
        let of = |name: &str| pattern(name, "p7x").0;
        assert_eq!(of(&format!("rg:key:{hash}")), "rg:key:<key>");
        assert_eq!(of("member:p7xt0:p7xu12"), "member:<team>:<user>");
        assert_eq!(of("p7xt0_p7xu1"), "<team>_<user>");
        assert_eq!(of("ab:p7x"), "ab:p7x");
    }
}
