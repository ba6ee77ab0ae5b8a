//! What a request costs whose entries must be cached, from the histories of cases.
//!
//! A prompt is *warm* on a replica when an earlier prompt of the same key was answered there, no
//! management call came in between, and no entry that the earlier one left can have ended yet. It is
//! warm *elsewhere* when that earlier prompt was answered by another replica, and the replicas share
//! a cache. Nothing else is counted, so a cold start or an ended entry is no miss.
//!
//! What a case asked of the stores is known by its ids. Which of its prompts asked is known where no
//! other call of the case was under way on that replica: from one call to the next, all is the
//! first one's. Where an address has several workers, nobody can say whose memory a prompt met: it is
//! warm elsewhere at best.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
    time::Duration,
};

use scenarios::KeyClass;

use super::{
    Lookups,
    class::{class_of, needed},
    lookups::share,
};
use crate::{
    clock::Micros,
    history::{Access, Entry, Event, History, Seen},
    op::{Admin, Field, Id, Key, KeyFields, Kind, Op, Replica},
    runner::join::claimable,
};

/// What warm requests cost, by the class of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warm {
    /// Every class of which a prompt was answered.
    pub classes: BTreeMap<KeyClass, OfClass>,
    /// Prompts that were answered and say nothing of the cache, by why.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// Why an answered prompt says nothing of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// No store was seen on the wire, or evidence was lost.
    NotSeen,
    /// Several workers share an address, and no cache.
    Workers,
    /// A fault struck, or a store was changed behind the gateway's back.
    Disturbed,
    /// Another call was under way on that replica.
    Overlapped,
    /// Its entries may have been cold, or ended, or changed.
    MaybeCold,
}

/// What is known of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfClass {
    /// Prompts that were answered.
    pub answered: u64,
    /// What the warm ones cost.
    pub by_replica: BTreeMap<Replica, Cost>,
}

impl OfClass {
    /// What warm requests cost over all replicas.
    pub fn cost(&self) -> Cost {
        self.by_replica.values().fold(Cost::default(), |mut all, cost| {
            all += *cost;
            all
        })
    }
}

/// What warm requests cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Lookups of prompts that were warm on their replica.
    pub here: Lookups,
    /// Lookups of prompts that were warm on another.
    pub elsewhere: Lookups,
    /// Statements of prompts that were warm here, except those that write and the edges of
    /// transactions.
    pub queries: u64,
    /// Statements that write: what was spent is recorded in the background, and in batches.
    pub writes: u64,
    /// Redis commands of prompts that were warm here.
    pub commands: u64,
}

impl Cost {
    /// Lookups of all prompts that were warm, here or elsewhere.
    pub fn lookups(&self) -> Lookups {
        let mut all = self.here;
        all += self.elsewhere;
        all
    }

    /// Queries per request that was warm here.
    pub fn sql_per_request(&self) -> Option<f64> {
        share(self.queries, self.here.requests)
    }

    /// Writing statements per request that was warm here.
    pub fn sql_writes_per_request(&self) -> Option<f64> {
        share(self.writes, self.here.requests)
    }

    /// Redis commands per request that was warm here.
    pub fn redis_per_request(&self) -> Option<f64> {
        share(self.commands, self.here.requests)
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.here += other.here;
        self.elsewhere += other.elsewhere;
        self.queries += other.queries;
        self.writes += other.writes;
        self.commands += other.commands;
    }
}

impl Warm {
    /// Counts what one case shows.
    pub fn add(&mut self, history: &History) {
        let calls = history.calls();
        let case = Case::of(history, &calls);
        let mut owners = Owners::default();
        for (number, seen) in calls.iter().enumerate() {
            owners.take(seen);
            let Some(chat) = seen.chat().filter(|_| seen.answered()) else { continue };
            let Some(fields) = owners.keys.get(&chat.key) else { continue };
            let class = class_of(history, fields, owners.is_member(fields));
            let of_class = self.classes.entry(class).or_default();
            of_class.answered += 1;
            match case.warmth(number) {
                Err(why) => *self.left_out.entry(why).or_default() += 1,
                Ok(warmth) => {
                    let cost = case.cost(number, warmth, fields);
                    *of_class.by_replica.entry(seen.call.replica).or_default() += cost;
                }
            }
        }
    }
}

/// The keys that were issued so far, and who is a member.
#[derive(Default)]
struct Owners<'a> {
    keys: BTreeMap<Key, &'a KeyFields>,
    members: BTreeSet<(Id, Id)>,
}

impl<'a> Owners<'a> {
    fn take(&mut self, seen: &Seen<'a>) {
        match &seen.call.op {
            Op::Admin(Admin::GenerateKey { key, fields }) => {
                self.keys.insert(*key, fields);
            }
            Op::Admin(Admin::AddMember { team, user, .. }) if seen.answered() => {
                self.members.insert((*team, *user));
            }
            Op::Admin(Admin::RemoveMember { team, user }) => {
                self.members.remove(&(*team, *user));
            }
            Op::Admin(_) | Op::Chat(_) | Op::ListModels { .. } => {}
        }
    }

    fn is_member(&self, fields: &KeyFields) -> bool {
        match (&fields.team, &fields.user) {
            (Field::Set(team), Field::Set(user)) => self.members.contains(&(*team, *user)),
            _ => false,
        }
    }
}

/// Where the entries of a warm prompt must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warmth {
    Here,
    Elsewhere,
}

/// A history, with what its prompts are judged by.
struct Case<'a> {
    history: &'a History,
    calls: &'a [Seen<'a>],
    /// Why nothing in it can be counted, if that is so.
    unusable: Option<LeftOut>,
    /// The kinds that were ever asked of a store.
    asked: BTreeSet<Kind>,
    /// The Redis keys that ever held an identity.
    names: BTreeMap<&'a str, Kind>,
}

impl<'a> Case<'a> {
    fn of(history: &'a History, calls: &'a [Seen<'a>]) -> Case<'a> {
        let mut asked = BTreeSet::new();
        let mut names = BTreeMap::new();
        let (mut sql_seen, mut disturbed) = (false, false);
        for entry in &history.entries {
            match &entry.event {
                Event::Sql { reads, .. } => {
                    sql_seen = true;
                    asked.extend(reads);
                }
                Event::Redis { keys, .. } => {
                    let kinds = keys.iter().filter_map(|key| Some((key.name.as_str(), key.kind?)));
                    names.extend(kinds);
                }
                Event::Edited { .. } | Event::Struck { .. } => disturbed = true,
                _ => {}
            }
        }
        asked.extend(names.values());
        // Creating keys takes statements. Where there are none, it is we who do not see them.
        let unusable = if history.gap().is_some() || !sql_seen {
            Some(LeftOut::NotSeen)
        } else if history.manifest.workers > 1 && !history.manifest.shared_cache {
            Some(LeftOut::Workers)
        } else {
            disturbed.then_some(LeftOut::Disturbed)
        };
        Case { history, calls, unusable, asked, names }
    }

    /// Whether a prompt is warm, and where.
    fn warmth(&self, number: usize) -> Result<Warmth, LeftOut> {
        if let Some(why) = self.unusable {
            return Err(why);
        }
        let prompt = &self.calls[number];
        let (Some(chat), Some(completed)) = (prompt.chat(), prompt.completed) else {
            return Err(LeftOut::NotSeen);
        };
        let others = || self.calls.iter().filter(|seen| seen.id != prompt.id);
        if others().any(|other| {
            other.call.replica == prompt.call.replica
                && other.invoked <= completed
                && other.completed.is_none_or(|at| at >= prompt.invoked)
        }) {
            return Err(LeftOut::Overlapped);
        }
        let manages = |seen: &&Seen<'_>| matches!(seen.call.op, Op::Admin(_));
        let changed = others()
            .filter(manages)
            .filter(|admin| admin.invoked <= completed)
            .map(|admin| admin.completed.unwrap_or(Micros(u64::MAX)))
            .max()
            .unwrap_or_default();
        let began = self.began(number);
        if completed > began.plus(self.shortest_life()) {
            return Err(LeftOut::MaybeCold);
        }
        let answered_by = others()
            .filter(|other| other.chat().is_some_and(|earlier| earlier.key == chat.key))
            .filter(|other| other.answered() && other.invoked >= changed.max(began))
            .filter(|other| other.completed.is_some_and(|at| at <= prompt.invoked))
            .map(|other| other.call.replica)
            .collect::<BTreeSet<_>>();
        let manifest = &self.history.manifest;
        if answered_by.contains(&prompt.call.replica) && manifest.workers == 1 {
            Ok(Warmth::Here)
        } else if !answered_by.is_empty() && manifest.shared_cache {
            Ok(Warmth::Elsewhere)
        } else {
            Err(LeftOut::MaybeCold)
        }
    }

    /// An entry may end a fifth early.
    fn shortest_life(&self) -> Duration {
        self.history.manifest.auth_cache_ttl() * 4 / 5
    }

    /// No entry that a prompt may find was made before this moment: the case's first call, or the
    /// first after a silence that no entry outlives. Keys share owners, so any call counts.
    fn began(&self, number: usize) -> Micros {
        let ttl = self.history.manifest.auth_cache_ttl();
        let mut began = None;
        let mut last = Micros(0);
        for seen in &self.calls[..=number] {
            if began.is_none() || seen.invoked.since(last) > ttl {
                began = Some(seen.invoked);
            }
            last = last.max(seen.completed.unwrap_or(Micros(u64::MAX)));
        }
        began.unwrap_or_default()
    }

    /// What a warm prompt cost.
    fn cost(&self, number: usize, warmth: Warmth, fields: &KeyFields) -> Cost {
        let replica = self.calls[number].call.replica;
        let mut cost = Cost::default();
        let (mut hit, mut missed, mut read) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for entry in self.entries_of(number) {
            match &entry.event {
                Event::Redis { replica: by, keys, .. } if *by == replica => {
                    let is_ours = |name: &str| {
                        name.contains(&self.history.prefix)
                            || name.contains("sk-[redacted]")
                            || !claimable(name).is_empty()
                    };
                    // What names nobody is in the history of every case that was open.
                    cost.commands +=
                        u64::from(keys.is_empty() || keys.iter().any(|key| is_ours(&key.name)));
                    for key in keys {
                        let Some(kind) = self.names.get(key.name.as_str()) else { continue };
                        match key.access {
                            Access::Hit => hit.insert(*kind),
                            Access::Miss => missed.insert(*kind),
                            Access::Write | Access::Delete | Access::Other => false,
                        };
                    }
                }
                Event::Sql { replica: by, sql, reads, .. } if *by == replica => {
                    match does(sql) {
                        Does::Query => cost.queries += 1,
                        Does::Write => cost.writes += 1,
                        Does::Edge => {}
                    }
                    read.extend(reads.iter().copied());
                }
                _ => {}
            }
        }
        let needed: BTreeSet<_> = needed(fields).intersection(&self.asked).copied().collect();
        let count = |kinds: &BTreeSet<Kind>| kinds.intersection(&needed).count() as u64;
        let from_redis: BTreeSet<_> = hit.difference(&read).copied().collect();
        let lookups = Lookups {
            requests: 1,
            needed: needed.len() as u64,
            redis_hits: count(&from_redis),
            redis_misses: count(&missed),
            reads: count(&read),
        };
        match warmth {
            Warmth::Here => Cost { here: lookups, ..cost },
            // Filling memory from Redis is no part of what a warm request costs.
            Warmth::Elsewhere => Cost { elsewhere: lookups, ..Cost::default() },
        }
    }

    /// From a prompt to the next call on its replica.
    fn entries_of(&self, number: usize) -> &'a [Entry] {
        let prompt = &self.calls[number];
        let next = self.calls[number + 1..]
            .iter()
            .find(|other| other.call.replica == prompt.call.replica)
            .map_or(Micros(u64::MAX), |other| other.invoked);
        let entries = &self.history.entries;
        let from = entries.partition_point(|entry| entry.at < prompt.invoked);
        let to = entries.partition_point(|entry| entry.at < next);
        &entries[from..to.max(from)]
    }
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Query,
    Write,
    /// Begins or ends a transaction.
    Edge,
}

fn does(sql: &str) -> Does {
    const WRITES: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY"];
    const EDGES: [&str; 8] =
        ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];
    let upper = sql.to_ascii_uppercase();
    let words = || upper.split(|letter: char| !letter.is_ascii_alphabetic());
    let first = words().find(|word| !word.is_empty()).unwrap_or_default();
    if EDGES.contains(&first) {
        Does::Edge
    } else if WRITES.contains(&first)
        || (first == "WITH" && words().any(|word| WRITES[..4].contains(&word)))
    {
        Does::Write
    } else {
        Does::Query
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{RedisKey, hand::Hand},
        op::Refusal,
    };

    fn key_of(team: bool, user: bool) -> Admin {
        let id = |set: bool| if set { Field::Set(Id(0)) } else { Field::Absent };
        let fields = KeyFields { team: id(team), user: id(user), ..KeyFields::UNSAID };
        Admin::GenerateKey { key: Key(0), fields }
    }

    /// A key of a team that was used once on each of two replicas.
    fn warmed() -> Hand {
        Hand::new()
            .admin(0, key_of(true, false))
            .answered(10, 0)
            .identity_read(10, Kind::Key)
            .identity_read(10, Kind::Team)
    }

    fn redis(at_ms: u64, replica: u8, name: &str, access: Access, kind: Option<Kind>) -> Entry {
        let key = RedisKey { name: name.to_owned(), access, kind, payload: None, lifetime: None };
        let event = Event::Redis {
            replica: Replica(replica),
            answered: None,
            command: "GET".to_owned(),
            keys: vec![key],
            error: None,
        };
        Entry { at: Micros(at_ms * 1_000), event }
    }

    fn counted(hand: Hand) -> Warm {
        let mut history = hand.done();
        history.entries.sort_by_key(|entry| entry.at);
        let mut warm = Warm::default();
        warm.add(&history);
        warm
    }

    fn team(warm: &Warm) -> Cost {
        warm.classes[&KeyClass::Team].cost()
    }

    #[test]
    fn a_request_that_reads_nothing_is_a_hit_in_memory() {
        let warm = counted(warmed().answered(20, 0).answered(30, 0));
        let cost = team(&warm);
        assert_eq!(cost.here, Lookups { requests: 2, needed: 4, ..Lookups::default() });
        assert_eq!(cost.here.memory_ratio(), Some(1.0));
        assert_eq!(cost.sql_per_request(), Some(0.0));
        assert_eq!(warm.left_out, BTreeMap::from([(LeftOut::MaybeCold, 1)]));
    }

    #[test]
    fn a_read_of_a_warm_request_is_a_miss() {
        let cost = team(&counted(warmed().answered(20, 0).identity_read(20, Kind::Team)));
        assert_eq!((cost.here.needed, cost.here.reads), (2, 1));
        assert_eq!(cost.lookups().hit_ratio(), Some(0.5));
        assert_eq!(cost.sql_per_request(), Some(1.0));
    }

    #[test]
    fn the_first_request_of_another_replica_is_answered_by_redis() {
        let hand = warmed()
            .redis_write(11, "key:p", Kind::Key)
            .redis_write(11, "team:p", Kind::Team)
            .answered(20, 1);
        let mut history = hand.done();
        history.entries.push(redis(20, 1, "key:p", Access::Hit, Some(Kind::Key)));
        history.entries.push(redis(20, 1, "team:p", Access::Miss, None));
        history.entries.sort_by_key(|entry| entry.at);
        let mut warm = Warm::default();
        warm.add(&history);
        let cost = team(&warm);
        assert_eq!(cost.here, Lookups::default());
        let elsewhere =
            Lookups { requests: 1, needed: 2, redis_hits: 1, redis_misses: 1, reads: 0 };
        assert_eq!((cost.elsewhere, cost.commands), (elsewhere, 0));
    }

    #[test]
    fn what_may_have_ended_or_changed_is_not_counted() {
        let late = counted(warmed().answered(900, 0).identity_read(900, Kind::Team));
        assert_eq!(team(&late), Cost::default());
        let changed = warmed().admin(20, Admin::BlockTeam { team: Id(0) }).answered(30, 0);
        assert_eq!(team(&counted(changed)), Cost::default());
        let refused = Hand::new()
            .admin(0, key_of(true, false))
            .refused(10, 0, Refusal::ModelDenied)
            .identity_read(10, Kind::Team)
            .answered(20, 0);
        assert_eq!(team(&counted(refused)), Cost::default());
    }

    #[test]
    fn after_a_silence_that_no_entry_outlives_counting_begins_anew() {
        let again = warmed().answered(2_000, 0).answered(2_010, 0);
        assert_eq!(team(&counted(again)).here.requests, 1);
    }

    #[test]
    fn without_a_store_in_sight_nothing_is_known() {
        let blind =
            counted(Hand::new().admin(0, key_of(true, false)).answered(10, 0).answered(20, 0));
        assert_eq!(blind.classes[&KeyClass::Team].answered, 2);
        assert_eq!(team(&blind), Cost::default());
        assert_eq!(blind.left_out, BTreeMap::from([(LeftOut::NotSeen, 2)]));
    }

    #[test]
    fn what_workers_share_an_address_is_not_guessed() {
        let mut history = warmed().answered(20, 0).done();
        history.manifest.workers = 2;
        let mut warm = Warm::default();
        warm.add(&history);
        assert_eq!((team(&warm).here.requests, team(&warm).elsewhere.requests), (0, 1));
        history.manifest.shared_cache = false;
        let mut warm = Warm::default();
        warm.add(&history);
        assert_eq!(warm.left_out, BTreeMap::from([(LeftOut::Workers, 2)]));
    }

    #[test]
    fn writes_and_the_edges_of_transactions_are_no_queries() {
        let all = ["SELECT 1", "insert into a", " COMMIT;", "WITH x AS (DELETE FROM a) SELECT 1"];
        assert_eq!(all.map(does), [Does::Query, Does::Write, Does::Edge, Does::Write]);
    }
}
