//! The lifetime that was configured is the lifetime that entries have, of every kind and in every tier.
//!
//! A row is changed in Postgres behind the gateway's back, so that no invalidation tells of it and only
//! the end of an entry does. Until then the key is hot on every replica, or nobody asks at all: a
//! lifetime that each hit extends shows in the first, one that is simply too long in both. A request that
//! is sent later than a lifetime and two seconds after the change must be decided by the new row; one
//! that is still served was decided by an entry that outlived its lifetime. A second key, whose owner was
//! given through the API what the row is changed to, shows that the gateway acts on it at all.
//!
//! The Redis tier is seen on the wire as well. No command gives an entry more life than was configured,
//! or finds it to have more; and no replica makes entries of a kind last longer more often than it has
//! read that kind from the database. A gateway may write an entry back with the life that it computed as
//! left: sent some milliseconds later, or rounded up to a second, that moves the end a little and reads
//! nothing. So an entry lasts longer only once its end is more than a second after the end that was last
//! counted. That one stays where it is meanwhile: an end that creeps, however small its steps are, has
//! moved by more than a second before long and is counted, again and again. Commands that say no length of
//! time, as scripts do, are passed over: what is left of an entry's life tells of them.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    clock::Micros,
    generators::{identities::at_first, requests},
    history::{Event, History, Lifetime, Manifest, RedisKey, Seen},
    op::{
        Admin, Alias, Field, Id, Key, KeyFields, Kind, MicroUsd, Op, Outcome, Refusal, Replica,
        Terms,
    },
    plan::{IdShape, Plan, Step, Wait},
    store_step::{Change, Edit, Object},
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "auth-cache.ttl-honoured",
    title: "The configured lifetime is the lifetime of every cached identity",
    why: "Rights that were taken away live on for as long as an entry does. An operator who configures \
          five seconds and gets sixty, or for ever as long as the key is in use, has no bound at all.",
    incidents: &[
        "https://github.com/BerriAI/litellm/issues/31504",
        "https://github.com/BerriAI/litellm/issues/25553",
        "https://github.com/BerriAI/litellm/issues/9820",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::PostgresWire,
    ],
    plan,
    arms: one_arm,
    judge,
};

/// How long after its lifetime an entry may still decide a request: one that was under way, and clocks.
const ALLOWANCE: Duration = Duration::from_secs(2);

/// How long is waited beyond the lifetime of an entry: the allowance, and time for a last request.
const WATCHED_MS: u32 = 2_600;

/// Between two requests of a hot key, over all replicas.
const PAUSE_MS: u32 = 100;

/// How much later an entry may end without lasting longer: a life that is written back in whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// What a management call may leave to be written to the cache once it has been answered.
const LEFT_BY_A_CALL: usize = 1;

const USER: Id = Id(0);
const TEAM: Id = Id(1);

/// Owners of the second key, who are from the beginning as the row will be.
const CHANGED_USER: Id = Id(2);
const CHANGED_TEAM: Id = Id(3);

/// The key whose identity is changed.
const HOT: Key = Key(0);

/// The key whose identity was like that from the beginning.
const CHANGED: Key = Key(1);

/// What is changed, and whose it is.
#[derive(Clone, Debug)]
struct Drawn {
    kind: Kind,
    change: Change,
    /// Whether a key that is itself changed has owners.
    owned: bool,
}

/// A key is warm on every replica when a row behind it changes; then it stays hot, or rests.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    let hot = prop_oneof![1 => Just(false), 3 => Just(true)];
    (drawn(), hot, 1..4_u32)
        .prop_map(move |(drawn, hot, warm_up)| {
            let mut steps = drawn.creation();
            steps.extend(requests::rounds([HOT].into_iter(), replicas, 1));
            if hot {
                let calls = (0..replicas).map(|at| requests::chat(HOT, at)).collect();
                let pause_ms = PAUSE_MS.saturating_mul(u32::from(replicas));
                steps.push(Step::StartTraffic { calls, pause_ms });
                steps.push(Step::Wait(Wait::Milliseconds(warm_up * 200)));
            }
            let edit = Edit::Row { object: drawn.object(), change: drawn.change };
            steps.push(Step::Store(edit));
            steps.push(Step::Wait(Wait::Lifetimes(1)));
            steps.push(Step::Wait(Wait::Milliseconds(WATCHED_MS)));
            steps.extend(hot.then_some(Step::StopTraffic));
            steps.extend(requests::rounds([HOT].into_iter(), replicas, 1));
            steps.push(Step::Call(requests::chat(CHANGED, 0)));
            Plan::new(vec![IdShape::Plain; 4], steps)
        })
        .boxed()
}

fn drawn() -> impl Strategy<Value = Drawn> + use<> {
    let models = || Just(Change::Models(vec![Alias(1)]));
    let blocked = || Just(Change::Blocked(true));
    let budget = || Just(Change::MaxBudget(MicroUsd(0)));
    let of = |kind| move |change| (Just(kind), Just(change));
    let changes = prop_oneof![
        1 => prop_oneof![models(), blocked(), budget()].prop_flat_map(of(Kind::Key)),
        1 => prop_oneof![models(), budget()].prop_flat_map(of(Kind::User)),
        1 => prop_oneof![models(), blocked(), budget()].prop_flat_map(of(Kind::Team)),
        1 => budget().prop_flat_map(of(Kind::Member)),
    ];
    (changes, any::<bool>()).prop_map(|((kind, change), owned)| Drawn { kind, change, owned })
}

impl Drawn {
    fn object(&self) -> Object {
        match self.kind {
            Kind::User => Object::User(USER),
            Kind::Team => Object::Team(TEAM),
            Kind::Member => Object::Member { team: TEAM, user: USER },
            _ => Object::Key(HOT),
        }
    }

    /// Both keys with their owners: the second ones as the first ones will be.
    fn creation(&self) -> Vec<Step> {
        let first = self.identity(HOT, USER, TEAM, None);
        let second = self.identity(CHANGED, CHANGED_USER, CHANGED_TEAM, Some(&self.change));
        first.into_iter().chain(second).map(at_first).collect()
    }

    fn identity(&self, key: Key, user: Id, team: Id, change: Option<&Change>) -> Vec<Admin> {
        let for_kind = |kind| change.filter(|_| self.kind == kind);
        let is_member = self.kind == Kind::Member;
        let has_user = self.kind == Kind::User || is_member || self.owned;
        // A user's own models bind the keys that belong to no team.
        let has_team = self.kind != Kind::User && (self.kind != Kind::Key || self.owned);
        let mut admins = Vec::new();
        if has_team {
            admins.push(Admin::CreateTeam { team, terms: terms(for_kind(Kind::Team)) });
        }
        if has_user {
            admins.push(Admin::CreateUser { user, terms: terms(for_kind(Kind::User)) });
        }
        if has_team && has_user {
            let of_member = terms(for_kind(Kind::Member)).max_budget;
            // A membership without a budget may have no row to be changed.
            let plenty = Field::Set(MicroUsd(1_000_000_000));
            let max_budget = if of_member.is_absent() { plenty } else { of_member };
            admins.push(Admin::AddMember { team, user, max_budget });
        }
        let owner = |has: bool, id| if has { Field::Set(id) } else { Field::Absent };
        let fields = KeyFields {
            user: owner(has_user, user),
            team: owner(has_team, team),
            terms: terms(for_kind(Kind::Key)),
            ..KeyFields::UNSAID
        };
        admins.push(Admin::GenerateKey { key, fields });
        match (change, self.kind) {
            (Some(Change::Blocked(true)), Kind::Key) => admins.push(Admin::BlockKey { key }),
            (Some(Change::Blocked(true)), Kind::Team) => admins.push(Admin::BlockTeam { team }),
            _ => {}
        }
        admins
    }
}

/// What the API is told of an object that is to be as a change makes it. A block is a call of its own.
fn terms(change: Option<&Change>) -> Terms {
    match change {
        Some(Change::Models(models)) => {
            Terms { models: Field::Set(models.clone()), ..Terms::UNSAID }
        }
        Some(Change::MaxBudget(money)) => Terms { max_budget: Field::Set(*money), ..Terms::UNSAID },
        Some(Change::Blocked(_)) | None => Terms::UNSAID,
    }
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let calls = history.calls();
    let mut in_redis = too_long_lives(history);
    in_redis.extend(unread_extensions(history, &calls));
    match by_requests(history, &calls) {
        Verdict::Fail(violations) => Verdict::of(violations.into_iter().chain(in_redis).collect()),
        Verdict::Pass | Verdict::Inconclusive(_) if !in_redis.is_empty() => Verdict::Fail(in_redis),
        verdict => verdict,
    }
}

/// What the requests say, whatever was seen of Redis.
fn by_requests(history: &History, calls: &[Seen<'_>]) -> Verdict {
    let edit = match edited(history) {
        Ok(edit) => edit,
        Err(why) => return Verdict::Inconclusive(why),
    };
    let of_the_key = |seen: &&Seen<'_>| seen.chat().is_some_and(|chat| chat.key == HOT);
    let prompts: Vec<_> = calls.iter().filter(of_the_key).collect();
    let late = served_late(history, &prompts, &edit);
    if !late.is_empty() && !acts_on_the_change(calls) {
        let why = "the gateway serves even the key whose identity was like that from the beginning";
        return Verdict::Inconclusive(why.to_owned());
    }
    match not_put_to_the_test(history, &prompts, &edit) {
        Some(why) if late.is_empty() => Verdict::Inconclusive(why),
        Some(_) | None => Verdict::of(late),
    }
}

/// The change of a row, and from when on every request must be decided by it.
struct Edited {
    index: usize,
    at: Micros,
    bound: Micros,
}

fn edited(history: &History) -> Result<Edited, String> {
    let mut edits = history.entries.iter().enumerate().filter_map(|(index, entry)| {
        let Event::Edited { touched, .. } = entry.event else { return None };
        Some((index, entry.at, touched))
    });
    match edits.next() {
        None => Err("no row was changed".to_owned()),
        Some((_, _, 0)) => Err("no row was found that could be changed".to_owned()),
        Some((index, at, _)) => {
            let bound = at.plus(history.manifest.auth_cache_ttl() + ALLOWANCE);
            Ok(Edited { index, at, bound })
        }
    }
}

/// The requests of each replica that were served though they were sent after the bound.
fn served_late(history: &History, prompts: &[&Seen<'_>], edit: &Edited) -> Vec<Violation> {
    let mut late: BTreeMap<Replica, Vec<&Seen<'_>>> = BTreeMap::new();
    for seen in prompts.iter().filter(|seen| seen.invoked > edit.bound && seen.answered()) {
        late.entry(seen.call.replica).or_default().push(seen);
    }
    let violation = |(replica, late): (Replica, Vec<&Seen<'_>>)| {
        let last = late.last().map_or(edit.bound, |seen| seen.invoked);
        let indices = late.iter().flat_map(|seen| [seen.index, seen.last_index]);
        Violation {
            summary: format!(
                "{replica} goes by the older row {} ms after it was changed in the database, where an \
                 entry lives {} ms: it served {} requests that were sent later than {} ms after the \
                 change",
                last.since(edit.at).as_millis(),
                history.manifest.auth_cache_ttl_ms,
                late.len(),
                edit.bound.since(edit.at).as_millis(),
            ),
            evidence: proof(0, std::iter::once(edit.index).chain(indices)),
        }
    };
    late.into_iter().map(violation).collect()
}

/// Whether the key that was like that from the beginning was refused.
fn acts_on_the_change(calls: &[Seen<'_>]) -> bool {
    calls.iter().any(|seen| {
        seen.chat().is_some_and(|chat| chat.key == CHANGED) && seen.outcome.is_some_and(is_denial)
    })
}

fn is_denial(outcome: &Outcome) -> bool {
    use Refusal::{Blocked, ModelDenied, OverBudget, Unauthenticated};
    matches!(
        outcome,
        Outcome::Refused { refusal: Blocked | ModelDenied | OverBudget | Unauthenticated, .. }
    )
}

/// Each replica must have gone by the older row, and by the newer one after the bound.
fn not_put_to_the_test(history: &History, prompts: &[&Seen<'_>], edit: &Edited) -> Option<String> {
    let lacking = (0..history.manifest.replicas).map(Replica).find_map(|replica| {
        let mut here = prompts.iter().filter(|seen| seen.call.replica == replica);
        let before = here
            .clone()
            .any(|seen| seen.answered() && seen.completed.is_some_and(|at| at < edit.at));
        let after =
            here.any(|seen| seen.invoked > edit.bound && seen.outcome.is_some_and(is_denial));
        match (before, after) {
            (false, _) => Some(format!("{replica} had not served the key before the change")),
            (true, false) => Some(format!("{replica} decided on nothing after the bound")),
            (true, true) => None,
        }
    });
    // Another worker behind an address may not have been asked.
    let several = (history.manifest.workers > 1)
        .then(|| "the workers behind one address cannot be told apart".to_owned());
    lacking.or(several)
}

/// Every Redis key of a command: its entry, who gave the command and what was done.
fn keys_named(
    history: &History,
) -> impl Iterator<Item = (usize, Micros, Replica, &str, &RedisKey)> {
    history.entries.iter().enumerate().flat_map(|(index, entry)| {
        let (replica, command, keys) = match &entry.event {
            Event::Redis { replica, command, keys, .. } => (*replica, command.as_str(), &keys[..]),
            _ => (Replica(0), "", &[][..]),
        };
        keys.iter().map(move |key| (index, entry.at, replica, command, key))
    })
}

/// The kind of identity in each Redis entry, by its name.
fn kinds(history: &History) -> BTreeMap<&str, Kind> {
    keys_named(history)
        .filter_map(|(_, _, _, _, key)| Some((key.name.as_str(), key.kind?)))
        .collect()
}

/// Entries with more life than was configured.
fn too_long_lives(history: &History) -> Vec<Violation> {
    let configured = Lifetime::Milliseconds(history.manifest.auth_cache_ttl_ms);
    let kinds = kinds(history);
    let mut long: BTreeMap<Kind, (Lifetime, Vec<usize>)> = BTreeMap::new();
    for (index, _, _, _, key) in keys_named(history) {
        let Some(kind) = kinds.get(key.name.as_str()) else { continue };
        let Some(lifetime) = key.lifetime.filter(|lifetime| *lifetime > configured) else {
            continue;
        };
        let (longest, indices) = long.entry(*kind).or_insert((lifetime, Vec::new()));
        *longest = (*longest).max(lifetime);
        indices.push(index);
    }
    long.into_iter()
        .map(|(kind, (longest, indices))| Violation {
            summary: format!(
                "the Redis entry of a {kind} lives {longest}, where {configured} are configured"
            ),
            evidence: proof(0, indices),
        })
        .collect()
}

/// Entries that a replica made last longer more often than it had read them from the database.
fn unread_extensions(history: &History, calls: &[Seen<'_>]) -> Vec<Violation> {
    let kinds = kinds(history);
    let settled = settled(calls);
    let mut ends: BTreeMap<&str, Micros> = BTreeMap::new();
    let mut made: BTreeMap<(Replica, Kind), Vec<usize>> = BTreeMap::new();
    for (index, at, replica, command, key) in keys_named(history) {
        let Some(kind) = kinds.get(key.name.as_str()) else { continue };
        let Some(Lifetime::Milliseconds(lifetime)) = key.lifetime else { continue };
        let end = at.plus(Duration::from_millis(lifetime));
        if ends.get(key.name.as_str()).is_some_and(|counted| end <= counted.plus(ROUNDING)) {
            continue;
        }
        ends.insert(&key.name, end);
        // What is only found to be there was made to last by somebody else.
        if !matches!(command, "TTL" | "PTTL") && at > settled {
            made.entry((replica, *kind)).or_default().push(index);
        }
    }
    made.into_iter()
        .filter_map(|((replica, kind), indices)| {
            let reads = reads(history, replica, kind, settled);
            if indices.len() <= reads + LEFT_BY_A_CALL {
                return None;
            }
            Some(Violation {
                summary: format!(
                    "{replica} made the Redis entry of a {kind} last longer {} times, and read a {kind} \
                     from the database {reads} times",
                    indices.len()
                ),
                evidence: proof(0, indices),
            })
        })
        .collect()
}

/// When the last management call was answered: from then on only requests fill the cache.
fn settled(calls: &[Seen<'_>]) -> Micros {
    let managed = calls.iter().filter(|seen| matches!(seen.call.op, Op::Admin(_)));
    managed.filter_map(|seen| seen.completed).max().unwrap_or_default()
}

/// How often a replica read a kind of identity from the database.
fn reads(history: &History, replica: Replica, kind: Kind, since: Micros) -> usize {
    let of_the_kind = history.identity_reads().filter(|(_, entry, kinds)| {
        let here = matches!(&entry.event, Event::Sql { replica: by, .. } if *by == replica);
        here && entry.at > since && kinds.contains(&kind)
    });
    of_the_kind.count()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        history::{Access, hand::Hand},
        op::Chat,
    };

    /// Both replicas have served the key when its row is changed at 100 ms. An entry lives one second,
    /// so every request that is sent after 3,100 ms goes by the new row.
    fn changed(touched: u64) -> Hand {
        let change = Change::Models(vec![Alias(1)]);
        let edit = Edit::Row { object: Object::Key(HOT), change };
        let key = Admin::GenerateKey { key: HOT, fields: KeyFields::UNSAID };
        let hand = Hand::new().admin(1, key).answered(10, 0).answered(20, 1);
        hand.event(100, Event::Edited { edit, touched, names: Vec::new() })
    }

    fn denied(hand: Hand, at_ms: u64, replica: u8, key: Key) -> Hand {
        let outcome = Outcome::Refused {
            status: 403,
            refusal: Refusal::ModelDenied,
            error_type: None,
            message: "no".to_owned(),
        };
        let chat = Chat { key, alias: Alias(0), streamed: false };
        hand.asked(at_ms, replica, Op::Chat(chat), outcome)
    }

    /// A command of replica 1 about the entry of a key.
    fn told(hand: Hand, at_ms: u64, command: &str, lifetime: Lifetime) -> Hand {
        let key = RedisKey {
            name: "auth:key".to_owned(),
            access: Access::Write,
            kind: Some(Kind::Key),
            payload: None,
            lifetime: Some(lifetime),
        };
        let command = Event::Redis {
            replica: Replica(1),
            answered: Some(Micros(at_ms * 1_000 + 200)),
            command: command.to_owned(),
            keys: vec![key],
            error: None,
        };
        hand.event(at_ms, command)
    }

    /// The older row is gone by until its entries end, and nowhere later.
    fn honoured(hand: Hand) -> Hand {
        let hand = hand.answered(1_000, 0).answered(1_050, 1);
        let hand = denied(denied(hand, 3_200, 0, HOT), 3_210, 1, HOT);
        denied(hand, 3_300, 0, CHANGED)
    }

    #[test]
    fn entries_that_end_in_time_are_fine() {
        let written = told(changed(1), 150, "SET", Lifetime::Milliseconds(1_000));
        assert_eq!(judge(&[honoured(written).done()]), Verdict::Pass);
    }

    #[test]
    fn an_entry_that_outlives_its_lifetime_is_a_violation() {
        let hand = denied(changed(1), 3_200, 0, HOT).answered(3_200, 1).answered(3_300, 1);
        assert_snapshot!(judge(&[denied(hand, 3_300, 0, CHANGED).done()]), @"
        fail
          replica 1 goes by the older row 3200 ms after it was changed in the database, where an entry lives 1000 ms: it served 2 requests that were sent later than 3000 ms after the change
        ");
    }

    #[test]
    fn a_change_that_the_gateway_never_acts_on_proves_nothing() {
        let changed_chat = Chat { key: CHANGED, alias: Alias(0), streamed: false };
        let hand = changed(1).answered(3_200, 0).answered(3_200, 1).serves(3_300, 0, changed_chat);
        assert_snapshot!(judge(&[hand.done()]), @"inconclusive: the gateway serves even the key whose identity was like that from the beginning");
    }

    #[test]
    fn more_life_than_was_configured_is_a_violation() {
        let hand = told(changed(1), 150, "SET", Lifetime::Milliseconds(60_000));
        let hand = told(hand, 250, "PTTL", Lifetime::Milliseconds(59_900));
        assert_snapshot!(judge(&[honoured(hand).done()]), @"
        fail
          the Redis entry of a key lives 60000 ms, where 1000 ms are configured
        ");
        let endless = told(changed(1), 150, "SETNX", Lifetime::Endless);
        assert_snapshot!(judge(&[honoured(endless).done()]), @"
        fail
          the Redis entry of a key lives for ever, where 1000 ms are configured
        ");
    }

    #[test]
    fn each_extension_takes_a_read_of_the_same_replica() {
        let extended = |replica| {
            [200, 1_300, 2_400].into_iter().fold(changed(1), |hand, at| {
                let read = hand.identity_read_by(at, replica, Kind::Key);
                told(read, at + 1, "SET", Lifetime::Milliseconds(1_000))
            })
        };
        assert_eq!(judge(&[honoured(extended(1)).done()]), Verdict::Pass);
        assert_snapshot!(judge(&[honoured(extended(0)).done()]), @"
        fail
          replica 1 made the Redis entry of a key last longer 3 times, and read a key from the database 0 times
        ");
    }

    /// The entry written back at each of these moments with so much life, and read from the database once.
    fn written_back(times: impl IntoIterator<Item = (u64, u64)>) -> Verdict {
        let read = changed(1).identity_read_by(150, 1, Kind::Key);
        let hand = times
            .into_iter()
            .fold(read, |hand, (at, left)| told(hand, at, "SET", Lifetime::Milliseconds(left)));
        judge(&[honoured(hand).done()])
    }

    #[test]
    fn what_is_written_back_with_the_life_that_was_left_does_not_last_longer() {
        assert_eq!(written_back([(200, 1_000), (400, 800), (600, 600)]), Verdict::Pass);
        // Each is sent a little after its life was computed.
        assert_eq!(written_back((0..9).map(|n| (200 + n * 100, 1_000 - n * 97))), Verdict::Pass);
        // Whole seconds, and always the next one.
        assert_eq!(written_back((0..9).map(|n| (200 + n * 100, 1_000))), Verdict::Pass);
    }

    #[test]
    fn an_end_that_creeps_is_a_violation_all_the_same() {
        assert_snapshot!(written_back((0..30).map(|n| (200 + n * 100, 1_000))), @"
        fail
          replica 1 made the Redis entry of a key last longer 3 times, and read a key from the database 1 times
        ");
    }

    #[test]
    fn a_row_that_was_not_found_proves_nothing() {
        assert_snapshot!(judge(&[honoured(changed(0)).done()]), @"inconclusive: no row was found that could be changed");
    }

    #[test]
    fn a_replica_that_was_not_asked_after_the_bound_proves_nothing() {
        let hand = denied(denied(changed(1), 3_200, 0, HOT), 3_000, 1, HOT);
        assert_snapshot!(judge(&[hand.done()]), @"inconclusive: replica 1 decided on nothing after the bound");
    }
}
