//! The counters of a tally at a moment, and what they gained between two.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use scenarios::KeyClass;

use super::Lookups;
use crate::{
    clock::Micros,
    op::{Kind, Replica},
};

/// For whom, and by whom, a store was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which replica asked.
    pub replica: Replica,
    /// Which of its processes, where that is known.
    pub worker: Option<u8>,
    /// For keys of which class; none where it names none, or keys of several.
    pub class: Option<KeyClass>,
}

/// What the stores were asked at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Redis commands, whatever they were about.
    pub commands: u64,
    /// Redis entries that hold identities, by their kind.
    pub entries: BTreeMap<Kind, Entries>,
    /// Statements, whatever they were about.
    pub statements: u64,
    /// Statements that read identities.
    pub identity: Query,
    /// Those of them that read keys, whatever else they read.
    pub keys: Query,
    /// Identities read, by their kind. One statement may read several.
    pub reads: BTreeMap<Kind, u64>,
}

/// What was done to the Redis entries of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Looked for and found.
    pub hits: u64,
    /// Looked for in vain.
    pub misses: u64,
    /// Written.
    pub writes: u64,
}

/// How often a query ran, and what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// How often it ran.
    pub calls: u64,
    /// Rows sent back, in all.
    pub rows: u64,
    /// Time from question to answer, in all.
    pub took: Duration,
}

impl Query {
    /// Both together.
    #[must_use]
    pub fn and(&self, more: &Query) -> Query {
        Query {
            calls: self.calls + more.calls,
            rows: self.rows + more.rows,
            took: self.took + more.took,
        }
    }

    fn less(&self, before: &Query) -> Query {
        Query {
            calls: self.calls - before.calls,
            rows: self.rows - before.rows,
            took: self.took - before.took,
        }
    }
}

/// All counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub(super) at: Micros,
    pub(super) requests: BTreeMap<(KeyClass, Replica), u64>,
    pub(super) cells: BTreeMap<Place, Counts>,
    pub(super) forgotten: u64,
}

/// What was counted between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// How long it was.
    pub took: Duration,
    /// Requests that ran to their end, by class and replica.
    pub requests: BTreeMap<(KeyClass, Replica), u64>,
    /// What the stores were asked.
    pub cells: BTreeMap<Place, Counts>,
    /// Observations that could not be counted because too many names were in use. If there are any,
    /// hits and misses are too few.
    pub forgotten: u64,
    /// The kinds that were ever looked up for a class, in this window or before it.
    looked_up: BTreeMap<KeyClass, BTreeSet<Kind>>,
}

impl Snapshot {
    /// What was counted since `before`, a snapshot of the same tally.
    #[must_use]
    pub fn since(&self, before: &Snapshot) -> Window {
        Window {
            took: self.at.since(before.at),
            requests: gained(&self.requests, &before.requests, |now, then| now - then),
            cells: gained(&self.cells, &before.cells, Counts::less),
            forgotten: self.forgotten.saturating_sub(before.forgotten),
            looked_up: self.looked_up(),
        }
    }

    fn looked_up(&self) -> BTreeMap<KeyClass, BTreeSet<Kind>> {
        let mut looked_up: BTreeMap<KeyClass, BTreeSet<Kind>> = BTreeMap::new();
        for (place, counts) in &self.cells {
            let Some(class) = place.class else { continue };
            let kinds = looked_up.entry(class).or_default();
            kinds.extend(counts.reads.keys());
            kinds.extend(counts.entries.keys());
        }
        looked_up
    }
}

impl Counts {
    fn less(&self, before: &Counts) -> Counts {
        Counts {
            commands: self.commands - before.commands,
            entries: gained(&self.entries, &before.entries, |now, then| Entries {
                hits: now.hits - then.hits,
                misses: now.misses - then.misses,
                writes: now.writes - then.writes,
            }),
            statements: self.statements - before.statements,
            identity: self.identity.less(&before.identity),
            keys: self.keys.less(&before.keys),
            reads: gained(&self.reads, &before.reads, |now, then| now - then),
        }
    }
}

/// What counters gained. A tally only ever adds, so nothing that was counted before is missing now.
fn gained<K: Ord + Clone, V: Default + Clone + PartialEq>(
    now: &BTreeMap<K, V>,
    before: &BTreeMap<K, V>,
    less: impl Fn(&V, &V) -> V,
) -> BTreeMap<K, V> {
    now.iter()
        .map(|(key, now)| match before.get(key) {
            Some(before) => (key.clone(), less(now, before)),
            None => (key.clone(), now.clone()),
        })
        .filter(|(_, gained)| *gained != V::default())
        .collect()
}

impl Window {
    /// The statements that read keys, one for each time a key was looked for in the database: the
    /// rows of the published table.
    pub fn key_query(&self) -> Query {
        self.cells.values().fold(Query::default(), |all, counts| all.and(&counts.keys))
    }

    /// Identities read from the database, by their kind.
    pub fn reads(&self) -> BTreeMap<Kind, u64> {
        let mut reads = BTreeMap::new();
        for (kind, count) in self.cells.values().flat_map(|counts| &counts.reads) {
            *reads.entry(*kind).or_default() += count;
        }
        reads
    }

    /// Where the lookups of each class were answered, by replica; a class without a request is not
    /// told.
    pub fn lookups(&self) -> BTreeMap<(KeyClass, Replica), Lookups> {
        let mut lookups: BTreeMap<_, Lookups> = BTreeMap::new();
        for ((class, replica), requests) in &self.requests {
            let kinds = self.looked_up.get(class).map_or(0, BTreeSet::len) as u64;
            let of_class = lookups.entry((*class, *replica)).or_default();
            of_class.requests = *requests;
            of_class.needed = requests * kinds;
        }
        for (place, counts) in &self.cells {
            let Some(class) = place.class else { continue };
            let Some(of_class) = lookups.get_mut(&(class, place.replica)) else { continue };
            of_class.reads += counts.reads.values().sum::<u64>();
            for entries in counts.entries.values() {
                of_class.redis_hits += entries.hits;
                of_class.redis_misses += entries.misses;
            }
        }
        lookups
    }

    /// The same over all replicas.
    pub fn lookups_by_class(&self) -> BTreeMap<KeyClass, Lookups> {
        let mut by_class: BTreeMap<_, Lookups> = BTreeMap::new();
        for ((class, _), lookups) in self.lookups() {
            *by_class.entry(class).or_default() += lookups;
        }
        by_class
    }
}
