//! A cache entry that nobody wrote costs one reload, and decides nothing.
//!
//! Before anything is poisoned, a key that may be served, a key that is barred and a key that was never
//! issued are asked with, and what becomes of each is on record. Then entries of theirs are overwritten
//! in Redis under the names that were seen on the way there: cut short, one byte damaged, of another
//! type, or copied from another object. The damage always leaves something that no JSON writer wrote,
//! for an entry that is whole cannot be told from a good one. Nobody's rights have changed, so every key
//! is decided as before, on replicas that still remember it and on those that read the poison. Who reads
//! it may ask the database once, in as many statements as that takes it, writes what it found in its
//! place, and says no more than three lines about it. A gateway that was busy or down before anything was
//! poisoned has decided nothing that a later decision could be held to.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    clock::Micros,
    generators::{
        fewer::at_most,
        identities::{Identities, at_first, strangers},
        requests,
    },
    history::{Access, Event, History, Level as LogLevel, Manifest, Seen},
    model::cache,
    op::{Admin, Alias, Field, Key, KeyFields, Op, Outcome, Refusal, Replica},
    plan::{Plan, Step},
    store_step::{Edit, Object, Poison},
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "codec.poison-entry-contained",
    title: "A cache entry that nobody wrote costs one reload, and decides nothing",
    why: "An entry that was cut short, or that another object's stands in for, shuts a tenant out for \
          as long as it lives, or lets in a key that was blocked.",
    incidents: &[
        "https://github.com/BerriAI/litellm/pull/26202",
        "https://github.com/BerriAI/litellm/issues/11797",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::Replicas,
        Capability::RedisWire,
        Capability::PostgresWire,
        Capability::Logs,
    ],
    plan,
    arms: one_arm,
    judge,
};

/// The key that may be served, with whoever owns it.
const SERVED: Key = Key(0);
/// A key that is never poisoned: on every replica, something good was read last.
const BYSTANDER: Key = Key(1);
/// The key that is barred.
const BARRED: Key = Key(2);
/// The key that nobody issued.
const NEVER_ISSUED: Key = Key(3);

/// Lines at WARN or above that an entry may cost: one where it is found, one where it is reloaded and one
/// where it is replaced.
const LINES: usize = 3;

/// The cost of an object's poison, for each process: how often it may give the same statement.
const RELOADS: usize = 1;

/// What is written over an entry, before it is known whose could be copied.
#[derive(Clone, Copy, Debug)]
enum Drawn {
    Alone(Poison),
    Copied(Index),
}

/// Flips reach the highest bit, which no byte of an ASCII entry has, and a cut leaves something out: what
/// is left is no JSON.
fn poison() -> impl Strategy<Value = Drawn> + use<> {
    let alone = |poison| Just(Drawn::Alone(poison));
    let flipped = (0..1_000_u16, 0x80..=0xff_u8)
        .prop_map(|(at_permille, mask)| Drawn::Alone(Poison::Flipped { at_permille, mask }));
    let cut = (0..1_000_u16).prop_map(|at_permille| Drawn::Alone(Poison::Cut { at_permille }));
    prop_oneof![
        12 => alone(Poison::Null),
        12 => alone(Poison::Nothing),
        12 => alone(Poison::EmptyText),
        12 => alone(Poison::EmptyList),
        12 => alone(Poison::EmptyObject),
        12 => alone(Poison::HugeNumber),
        48 => cut,
        48 => flipped,
        72 => any::<Index>().prop_map(Drawn::Copied),
        12 => alone(Poison::Deep),
        // It is 10 MiB that travel.
        1 => alone(Poison::LongText),
    ]
}

/// Entries that are warm in Redis and poisoned there, then read by replicas that did not remember them.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    let poisons = vec((any::<Index>(), poison()), 1..=3);
    (strangers(1), any::<bool>(), poisons, at_most(2))
        .prop_map(move |(mut drawn, is_blocked, poisons, rounds)| {
            let barred_from = if is_blocked { Alias(0) } else { Alias(1) };
            let only_first = Field::Set(vec![Alias(0)]);
            let mut barred = KeyFields::UNSAID;
            if !is_blocked {
                barred.terms.models = only_first;
            }
            let objects = objects(&drawn);
            drawn.keys.extend([KeyFields::UNSAID, barred]);
            let mut steps = drawn.creation();
            if is_blocked {
                steps.push(at_first(Admin::BlockKey { key: BARRED }));
            }
            let ask = |key, replica| {
                let alias = if key == BARRED { barred_from } else { Alias(0) };
                requests::chat_of(key, alias, replica, false)
            };
            steps.push(Step::Call(ask(NEVER_ISSUED, 0)));
            steps.extend((0..replicas).map(|replica| Step::Call(ask(BYSTANDER, replica))));
            // Last, so that little of their entries' lives has passed.
            steps.extend([SERVED, BARRED].map(|key| Step::Call(ask(key, 0))));
            steps.extend(edits(&objects, &poisons));
            for _ in 0..rounds {
                steps.extend((1..replicas).chain([0]).map(|replica| {
                    let asked = [NEVER_ISSUED, SERVED, BARRED].map(|key| ask(key, replica));
                    Step::Together(asked.to_vec())
                }));
            }
            // Which kinds may share an id is for `codec.key-spaces-disjoint` to ask.
            Plan::new(drawn.ids, steps).apart()
        })
        .boxed()
}

/// What may be poisoned: the barred key, the key that is served, and its owners.
fn objects(drawn: &Identities) -> Vec<Object> {
    let users = drawn.users.keys().map(|user| Object::User(*user));
    let teams = drawn.teams.keys().map(|team| Object::Team(*team));
    let members =
        drawn.members.keys().map(|(team, user)| Object::Member { team: *team, user: *user });
    let keys = [Object::Key(BARRED), Object::Key(SERVED)];
    keys.into_iter().chain(teams).chain(users).chain(members).collect()
}

/// The edits, one per object at most: the first that was drawn for it. The first of all is of a key, which
/// is cached wherever anything is. What is copied is whole, for two copies on end would bring an entry
/// back, and no membership, for some gateways keep those that have a budget only.
fn edits(objects: &[Object], poisons: &[(Index, Drawn)]) -> Vec<Step> {
    let is_key = |object: &Object| matches!(object, Object::Key(_));
    let keys: Vec<_> = objects.iter().copied().filter(is_key).collect();
    let mut poisoned = BTreeSet::new();
    let mut edits = Vec::new();
    for (whose, drawn) in poisons {
        let object = *whose.get(if edits.is_empty() { &keys } else { objects });
        if !poisoned.insert(object) {
            continue;
        }
        let poison = match drawn {
            Drawn::Alone(poison) => *poison,
            Drawn::Copied(from) => {
                let may_be_copied = |other: &Object| {
                    !poisoned.contains(other) && !matches!(other, Object::Member { .. })
                };
                let others: Vec<_> = std::iter::once(Object::Key(BYSTANDER))
                    .chain(objects.iter().copied().filter(may_be_copied))
                    .collect();
                Poison::Foreign(*from.get(&others))
            }
        };
        edits.push(Step::Store(Edit::Poison { object, poison }));
    }
    edits
}

/// An object whose entries were poisoned.
struct Poisoned<'a> {
    object: Object,
    names: &'a [String],
    at: Micros,
    index: usize,
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let poisoned = poisoned(history);
    let Some(first) = poisoned.first() else {
        return Verdict::Inconclusive("nothing was found in Redis to be poisoned".to_owned());
    };
    let calls = history.calls();
    let prompts: Vec<_> = calls.iter().filter(|seen| seen.chat().is_some()).collect();
    let before = before(&prompts, first.at);
    let after: Vec<_> = prompts.iter().filter(|seen| seen.invoked > first.at).copied().collect();
    let mut violations = decided_otherwise(history, &before, &after, first);
    let mut doubt = None;
    for poisoned in &poisoned {
        violations.extend(read_again(history, poisoned));
        for left in left_in_place(history, poisoned, first.at) {
            match left {
                Left::Breach(violation) => violations.push(violation),
                Left::InDoubt(why) => doubt = doubt.or(Some(why)),
            }
        }
    }
    violations.extend(too_many_lines(history, &poisoned, first.at));
    if !violations.is_empty() {
        return Verdict::Fail(violations);
    }
    if !before.get(&(SERVED, Alias(0))).is_some_and(|decided| decided.answered()) {
        let why = format!("{SERVED} was not served before anything was poisoned");
        return Verdict::Inconclusive(why);
    }
    let is_new = |asked: &(Key, Alias)| !before.contains_key(asked);
    if let Some((key, _)) = after.iter().filter_map(|seen| asked(seen)).find(is_new) {
        let why = format!("what becomes of {key} without any poison is not known");
        return Verdict::Inconclusive(why);
    }
    if let Some(lost) = after.iter().find(|seen| !is_decided(seen)) {
        let why = format!("what {} decided on the poison is not known", lost.call.replica);
        return Verdict::Inconclusive(why);
    }
    if let Some(why) = doubt {
        return Verdict::Inconclusive(why);
    }
    let is_found = |poisoned: &Poisoned<'_>| {
        poisoned.names.iter().any(|name| found(history, poisoned, name).is_some())
    };
    if !poisoned.iter().any(is_found) {
        return Verdict::Inconclusive("no replica read what was poisoned".to_owned());
    }
    Verdict::Pass
}

fn poisoned(history: &History) -> Vec<Poisoned<'_>> {
    let each = history.entries.iter().enumerate();
    each.filter_map(|(index, entry)| match &entry.event {
        Event::Edited { edit: Edit::Poison { object, .. }, names, .. } if !names.is_empty() => {
            Some(Poisoned { object: *object, names, at: entry.at, index })
        }
        _ => None,
    })
    .collect()
}

fn is_decided(seen: &Seen<'_>) -> bool {
    matches!(seen.outcome, Some(Outcome::Answered { .. } | Outcome::Refused { .. }))
}

/// Whether a prompt was served, or denied for what its key is and may. A gateway that is busy or fails
/// says nothing about the key.
fn is_judged(seen: &Seen<'_>) -> bool {
    match seen.outcome {
        Some(Outcome::Answered { .. }) => true,
        Some(Outcome::Refused { status, refusal, .. }) => match refusal {
            Refusal::Unauthenticated
            | Refusal::Blocked
            | Refusal::Expired
            | Refusal::ModelDenied
            | Refusal::OverBudget
            | Refusal::NotFound => *status < 500 && *status != 429,
            Refusal::Invalid => matches!(status, 401 | 403 | 404 | 422),
            Refusal::RateLimited | Refusal::Unavailable | Refusal::Fault => false,
        },
        Some(Outcome::Listed { .. } | Outcome::Indeterminate { .. }) | None => false,
    }
}

/// What became of each key and model before anything was poisoned.
fn before<'a>(prompts: &[&'a Seen<'a>], first: Micros) -> BTreeMap<(Key, Alias), &'a Seen<'a>> {
    let decided = prompts.iter().filter(|seen| seen.invoked < first && is_judged(seen));
    decided.filter_map(|seen| Some((asked(seen)?, *seen))).collect()
}

fn asked(seen: &Seen<'_>) -> Option<(Key, Alias)> {
    seen.chat().map(|chat| (chat.key, chat.alias))
}

/// Keys that are served, refused or failed on otherwise than before the poison. Each breach is told once.
fn decided_otherwise(
    history: &History,
    before: &BTreeMap<(Key, Alias), &Seen<'_>>,
    after: &[&Seen<'_>],
    poison: &Poisoned<'_>,
) -> Vec<Violation> {
    let issued: BTreeSet<_> = history
        .calls()
        .iter()
        .filter_map(|seen| match &seen.call.op {
            Op::Admin(Admin::GenerateKey { key, .. }) => Some(*key),
            Op::Admin(_) | Op::Chat(_) | Op::ListModels { .. } => None,
        })
        .collect();
    let mut breaches: BTreeMap<String, Vec<&Seen<'_>>> = BTreeMap::new();
    for seen in after {
        let (Some((key, alias)), Some(outcome)) = (asked(seen), seen.outcome) else { continue };
        let replica = seen.call.replica;
        let was = before.get(&(key, alias)).map(|before| before.answered());
        let breach = match outcome {
            Outcome::Refused { status: 500.., .. } => {
                format!("{replica} fails on {key} once an entry is poisoned: {outcome}")
            }
            Outcome::Refused { .. } if was == Some(true) => {
                format!("{replica} refuses {key}, which was served before: {outcome}")
            }
            Outcome::Answered { .. } if !issued.contains(&key) => {
                format!("{replica} serves {key}, which was never issued")
            }
            Outcome::Answered { .. } if was == Some(false) => {
                format!("{replica} serves {key} {alias}, which was refused before")
            }
            Outcome::Answered { .. }
            | Outcome::Listed { .. }
            | Outcome::Refused { .. }
            | Outcome::Indeterminate { .. } => continue,
        };
        breaches.entry(breach).or_default().push(seen);
    }
    let told = breaches.into_iter().map(|(breach, seen)| {
        let earlier = seen.first().and_then(|seen| before.get(&asked(seen)?));
        let evidence = earlier.map(|seen| seen.last_index).into_iter().chain([poison.index]);
        Violation {
            summary: format!("{breach}{}", times(seen.len())),
            evidence: proof(0, evidence.chain(seen.iter().map(|seen| seen.last_index))),
        }
    });
    told.collect()
}

fn times(count: usize) -> String {
    if count > 1 { format!(" ({count} times)") } else { String::new() }
}

/// Redis commands on a poisoned name once it was poisoned.
fn on_its_name<'a>(
    history: &'a History,
    poisoned: &'a Poisoned<'_>,
    name: &'a str,
) -> impl Iterator<Item = (usize, Replica, Access)> {
    let commands = history.entries.iter().enumerate().skip(poisoned.index);
    commands
        .filter_map(move |(index, entry)| match &entry.event {
            Event::Redis { replica, keys, .. } if entry.at >= poisoned.at => {
                Some(keys.iter().map(move |key| (index, *replica, key)))
            }
            _ => None,
        })
        .flatten()
        .filter(move |(_, _, key)| key.name == name)
        .map(|(index, replica, key)| (index, replica, key.access))
}

/// Where the poison itself was found first: before anybody replaced it, and before it ended.
fn found(history: &History, poisoned: &Poisoned<'_>, name: &str) -> Option<(usize, Replica)> {
    on_its_name(history, poisoned, name)
        .take_while(|(_, _, access)| matches!(access, Access::Hit | Access::Other))
        .find(|(_, _, access)| *access == Access::Hit)
        .map(|(index, replica, _)| (index, replica))
}

/// A replica that gives a statement about a poisoned object more often than its processes reload it. A
/// gateway may well ask several things about one object, each in a statement of its own.
fn read_again(history: &History, poisoned: &Poisoned<'_>) -> Vec<Violation> {
    let endings = cache::endings(&history.manifest, history.ended().since(poisoned.at));
    let processes = usize::from(history.manifest.workers.max(1));
    let explained = processes * (RELOADS + endings);
    let mut reads: BTreeMap<(Replica, &str), Vec<usize>> = BTreeMap::new();
    for Reload { index, replica, sql } in reloads(history, poisoned) {
        reads.entry((replica, sql)).or_default().push(index);
    }
    let too_many = reads.into_iter().filter(|(_, reads)| reads.len() > explained);
    too_many
        .map(|((replica, _), reads)| Violation {
            summary: format!(
                "{replica} reads the {} from the database {} times with one statement after its entry \
                 was poisoned ({explained} can be explained)",
                poisoned.object.kind(),
                reads.len()
            ),
            evidence: proof(0, std::iter::once(poisoned.index).chain(reads)),
        })
        .collect()
}

/// A statement that reads a poisoned object.
struct Reload<'a> {
    index: usize,
    replica: Replica,
    sql: &'a str,
}

/// Statements that read a poisoned object once it was poisoned.
fn reloads<'a>(history: &'a History, poisoned: &Poisoned<'_>) -> impl Iterator<Item = Reload<'a>> {
    history.identity_reads().filter_map(|(index, entry, kinds)| {
        let Event::Sql { replica, sql, params, .. } = &entry.event else { return None };
        let is_of_it = params.iter().flatten().any(|param| {
            identifies(param, &history.prefix)
                && poisoned.names.iter().any(|name| name.contains(param.as_str()))
        });
        let is_reload =
            entry.at > poisoned.at && is_of_it && kinds.contains(&poisoned.object.kind());
        is_reload.then_some(Reload { index, replica: *replica, sql })
    })
}

/// Whether a parameter is an id of the case, or the hash of a key.
fn identifies(param: &str, prefix: &str) -> bool {
    const HASH: usize = 64;
    let is_hash = param.len() == HASH && param.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash || param.starts_with(prefix)
}

/// A poisoned entry that was found and stayed.
enum Left {
    /// Nothing stood in the way of replacing it.
    Breach(Violation),
    /// The gateway complained of something else meanwhile, which may have.
    InDoubt(String),
}

/// Poisoned entries that a replica found, and that nobody replaced or removed.
fn left_in_place(history: &History, poisoned: &Poisoned<'_>, first_poison: Micros) -> Vec<Left> {
    let left = poisoned.names.iter().filter_map(|name| {
        let (first, replica) = found(history, poisoned, name)?;
        let is_replaced = on_its_name(history, poisoned, name).any(|(index, _, access)| {
            index > first && matches!(access, Access::Write | Access::Delete)
        });
        if is_replaced {
            return None;
        }
        let told = format!("{replica} finds {name:?} poisoned, and nobody ever replaces it");
        // Redis may be out of reach for who has read the database and would write.
        let is_reloaded = reloads(history, poisoned).any(|reload| reload.replica == replica);
        let complaint = new_lines(history, first_poison)
            .find(|(_, _, text)| is_reloaded && !text.contains(&history.prefix));
        if let Some((_, template, _)) = complaint {
            return Some(Left::InDoubt(format!(
                "{told}; meanwhile the gateway complained: {template}"
            )));
        }
        let evidence = proof(0, [poisoned.index, first]);
        Some(Left::Breach(Violation { summary: told, evidence }))
    });
    left.collect()
}

/// Lines at WARN or above since a moment, of origins that had nothing to say before it.
fn new_lines(history: &History, since: Micros) -> impl Iterator<Item = (usize, &str, &str)> {
    let is_late =
        move |index: usize| history.entries.get(index).is_some_and(|entry| entry.at >= since);
    let known: BTreeSet<_> = history
        .lines_at_least(LogLevel::Warn)
        .filter(|(index, ..)| !is_late(*index))
        .map(|(_, _, template, _)| template)
        .collect();
    history
        .lines_at_least(LogLevel::Warn)
        .filter(move |(index, _, template, _)| is_late(*index) && !known.contains(template))
        .map(|(index, _, template, text)| (index, template, text))
}

/// Lines at WARN or above that name the case, of origins that had nothing to say before the poison:
/// more than its entries account for.
fn too_many_lines(
    history: &History,
    poisoned: &[Poisoned<'_>],
    first: Micros,
) -> Option<Violation> {
    let names: Vec<_> = poisoned.iter().flat_map(|poisoned| poisoned.names).collect();
    let words = names.iter().flat_map(|name| name.split(|c: char| !c.is_ascii_alphanumeric()));
    let ids: BTreeSet<_> =
        words.filter(|word| identifies(word, &history.prefix)).chain([&*history.prefix]).collect();
    let lines: Vec<_> = new_lines(history, first)
        .filter(|(_, _, text)| ids.iter().any(|id| text.contains(id)))
        .collect();
    let (_, template, _) = lines.first()?;
    let most = LINES * names.len();
    (lines.len() > most).then(|| Violation {
        summary: format!(
            "{} lines at WARN or above once {} entries are poisoned ({most} are enough); the first: \
             {template}",
            lines.len(),
            names.len()
        ),
        evidence: proof(0, lines.iter().map(|(index, ..)| *index)),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        generators::plan_tree,
        history::hand::Hand,
        op::{Call, Chat, Kind},
    };

    const NAME: &str = "key:p0";

    fn ask(key: Key) -> Op {
        Op::Chat(Chat { key, alias: Alias(0), streamed: false })
    }

    fn served() -> Outcome {
        Outcome::Answered { status: 200, fingerprint: None }
    }

    fn refused() -> Outcome {
        Outcome::Refused {
            status: 401,
            refusal: Refusal::Blocked,
            error_type: None,
            message: "no".to_owned(),
        }
    }

    fn poison(at_ms: u64, poison: Poison) -> (u64, Event) {
        let edit = Edit::Poison { object: Object::Key(SERVED), poison };
        (at_ms, Event::Edited { edit, touched: 1, names: vec![NAME.to_owned()] })
    }

    /// A key that is served and one that is barred; the entry of the first is poisoned at 50 ms.
    fn poisoned() -> Hand {
        let issue = |key| Admin::GenerateKey { key, fields: KeyFields::UNSAID };
        let (at, poison) = poison(50, Poison::Null);
        Hand::new()
            .admin(1, issue(SERVED))
            .admin(2, issue(BARRED))
            .asked(10, 0, ask(SERVED), served())
            .asked(20, 0, ask(BARRED), refused())
            .asked(30, 0, ask(NEVER_ISSUED), refused())
            .event(at, poison)
    }

    /// Replica 1 finds the poison, reads the database and writes what it found.
    fn reloaded(hand: Hand) -> Hand {
        hand.redis(60, 1, Access::Hit, NAME, None).event(61, read("p0")).redis(
            62,
            1,
            Access::Write,
            NAME,
            Some(Kind::Key),
        )
    }

    fn read(id: &str) -> Event {
        read_with("SELECT * FROM keys WHERE id = $1", id)
    }

    fn read_with(sql: &str, id: &str) -> Event {
        Event::Sql {
            replica: Replica(1),
            answered: None,
            sql: sql.to_owned(),
            params: vec![Some(id.to_owned())],
            reads: vec![Kind::Key],
            rows: Some(1),
            error: None,
        }
    }

    #[test]
    fn an_entry_that_is_reloaded_and_replaced_passes() {
        let history = reloaded(poisoned().asked(60, 1, ask(SERVED), served()));
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn a_key_that_poison_shuts_out_is_a_violation() {
        let history = reloaded(poisoned().asked(60, 1, ask(SERVED), refused()));
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 1 refuses key 0, which was served before: refused 401 (blocked): no
        ");
    }

    #[test]
    fn a_key_that_poison_lets_in_is_a_violation() {
        let history = reloaded(poisoned())
            .asked(60, 1, ask(BARRED), served())
            .asked(70, 1, ask(BARRED), served())
            .asked(80, 1, ask(NEVER_ISSUED), served());
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 1 serves key 2 model 0, which was refused before (2 times)
          replica 1 serves key 3, which was never issued
        ");
    }

    #[test]
    fn poison_that_stays_is_a_violation() {
        let history = poisoned()
            .asked(60, 1, ask(SERVED), served())
            .redis(60, 1, Access::Hit, NAME, None)
            .event(61, read("p0"));
        assert_snapshot!(judge(&[history.done()]), @r#"
        fail
          replica 1 finds "key:p0" poisoned, and nobody ever replaces it
        "#);
    }

    #[test]
    fn a_second_reload_is_a_violation_and_the_read_of_another_key_is_none() {
        let history = reloaded(poisoned().asked(60, 1, ask(SERVED), served()))
            .event(70, read("p0"))
            .event(70, read("p9"));
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 1 reads the key from the database 2 times with one statement after its entry was poisoned (1 can be explained)
        ");
    }

    #[test]
    fn several_statements_about_an_object_are_one_reload() {
        let history = reloaded(poisoned().asked(60, 1, ask(SERVED), served()))
            .event(61, read_with("SELECT blocked FROM keys WHERE id = $1", "p0"));
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn each_worker_may_reload_for_itself() {
        let read_twice = || {
            let history = reloaded(poisoned().asked(60, 1, ask(SERVED), served()));
            history.event(63, read("p0")).done()
        };
        let mut of_two_workers = read_twice();
        of_two_workers.manifest.workers = 2;
        assert_eq!(judge(&[of_two_workers]), Verdict::Pass);
        assert!(judge(&[read_twice()]).is_fail());
    }

    /// A case in which `key` met an overload before anything was poisoned, and normal service after it.
    fn overloaded(key: Key, status: u16, refusal: Refusal) -> Verdict {
        let issue = |key| Admin::GenerateKey { key, fields: KeyFields::UNSAID };
        let busy = Outcome::Refused { status, refusal, error_type: None, message: "no".to_owned() };
        let of = |asked, usual: Outcome| if asked == key { busy.clone() } else { usual };
        let (at, poison) = poison(50, Poison::Null);
        let hand = Hand::new()
            .admin(1, issue(SERVED))
            .admin(2, issue(BARRED))
            .asked(10, 0, ask(SERVED), of(SERVED, served()))
            .asked(20, 0, ask(BARRED), of(BARRED, refused()))
            .asked(30, 0, ask(NEVER_ISSUED), refused())
            .event(at, poison);
        let history = reloaded(hand.asked(60, 1, ask(key), served()));
        judge(&[history.done()])
    }

    #[test]
    fn an_overload_before_the_poison_is_no_denial() {
        assert_snapshot!(overloaded(SERVED, 503, Refusal::Unavailable), @"inconclusive: key 0 was not served before anything was poisoned");
        assert_snapshot!(overloaded(BARRED, 500, Refusal::Fault), @"inconclusive: what becomes of key 2 without any poison is not known");
        assert_snapshot!(overloaded(BARRED, 429, Refusal::RateLimited), @"inconclusive: what becomes of key 2 without any poison is not known");
        assert!(overloaded(BARRED, 403, Refusal::ModelDenied).is_fail());
        assert!(overloaded(BARRED, 422, Refusal::OverBudget).is_fail());
    }

    #[test]
    fn a_fourth_line_is_a_violation_and_a_line_that_came_before_is_none() {
        let quiet = poisoned().line(20, LogLevel::Warn, "refused a key of p");
        let quiet = reloaded(quiet.asked(60, 1, ask(SERVED), served()));
        let noisy = (61..65).fold(quiet, |hand, at| {
            let hand = hand.line(at, LogLevel::Warn, "refused a key of p");
            hand.line(at, LogLevel::Error, "cannot decode the entry of p")
        });
        assert_snapshot!(judge(&[noisy.done()]), @"
        fail
          4 lines at WARN or above once 1 entries are poisoned (3 are enough); the first: cannot decode the entry of p
        ");
    }

    #[test]
    fn poison_that_stays_while_the_gateway_complains_of_something_else_proves_nothing() {
        let history = poisoned()
            .asked(60, 1, ask(SERVED), served())
            .redis(60, 1, Access::Hit, NAME, None)
            .event(61, read("p0"))
            .line(62, LogLevel::Warn, "redis is down");
        assert_snapshot!(judge(&[history.done()]), @r#"inconclusive: replica 1 finds "key:p0" poisoned, and nobody ever replaces it; meanwhile the gateway complained: redis is down"#);
    }

    #[test]
    fn poison_that_ended_before_it_was_read_proves_nothing() {
        let history = poisoned()
            .asked(60, 1, ask(SERVED), served())
            .redis(60, 1, Access::Miss, NAME, None)
            .redis(62, 1, Access::Write, NAME, Some(Kind::Key))
            .redis(70, 0, Access::Hit, NAME, Some(Kind::Key));
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: no replica read what was poisoned");
    }

    #[test]
    fn poison_that_nobody_reads_proves_nothing() {
        let history = poisoned().asked(60, 1, ask(SERVED), served());
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: no replica read what was poisoned");
    }

    #[test]
    fn a_cache_in_which_there_is_nothing_to_poison_proves_nothing() {
        let history = Hand::new().asked(10, 0, ask(SERVED), served());
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: nothing was found in Redis to be poisoned");
    }

    #[test]
    fn what_is_not_known_proves_nothing() {
        let lost = Outcome::Indeterminate { why: "connection reset".to_owned() };
        let history = reloaded(poisoned().asked(60, 1, ask(SERVED), lost));
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: what replica 1 decided on the poison is not known");
    }

    #[test]
    fn only_the_key_that_nobody_issued_is_asked_with_and_not_generated() {
        let manifest = Hand::new().done().manifest;
        for case in 0..32 {
            let plan = plan_tree(&plan(&manifest), 7, CHECK.id, case).unwrap().current();
            let (mut issued, mut asked) = (BTreeSet::new(), BTreeSet::new());
            for Call { op, .. } in plan.calls() {
                match op {
                    Op::Admin(Admin::GenerateKey { key, .. }) => issued.insert(*key),
                    Op::Chat(chat) => asked.insert(chat.key),
                    Op::Admin(_) | Op::ListModels { .. } => true,
                };
            }
            assert_eq!(issued, BTreeSet::from([SERVED, BYSTANDER, BARRED]));
            assert_eq!(asked.difference(&issued).collect::<Vec<_>>(), [&NEVER_ISSUED]);
        }
    }
}
