//! What the stores were asked, counted by who it was asked for.
//!
//! Two ways lead here. A [`Tally`] counts every wire event as the collector takes it in, by classes
//! that were told beforehand: what load needs, in windows between two [`Snapshot`]s. A
//! [`warm::Warm`] counts the requests of stored histories of which it can be proved that their
//! entries were cached: what checks leave behind. Both speak of [`Lookups`], and neither judges.

pub mod class;
pub mod lookups;
pub mod warm;
pub mod window;
pub mod workers;

use std::collections::BTreeMap;

use scenarios::KeyClass;

pub use lookups::Lookups;
pub use window::{Counts, Place, Query, Snapshot, Window};

use crate::{
    clock::Micros,
    history::{Access, Event},
    op::{Kind, Replica},
};

/// Texts whose class is remembered, at most.
const MOST_TEXTS: usize = 1_000_000;

/// Redis keys whose kind is remembered, at most.
const MOST_NAMES: usize = 200_000;

/// Counters of wire events, fed as they come.
#[derive(Debug, Default)]
pub struct Tally {
    /// The class that a text stands for; none where two classes claimed it.
    classes: BTreeMap<String, Option<KeyClass>>,
    names: BTreeMap<String, Name>,
    cells: BTreeMap<Place, Counts>,
    requests: BTreeMap<(KeyClass, Replica), u64>,
    forgotten: u64,
}

/// What is known of a Redis key.
#[derive(Debug)]
enum Name {
    /// It holds identities of this kind.
    Holds(Kind),
    /// It was looked for in vain so far: this often, by whom.
    Unknown(BTreeMap<Place, u64>),
}

impl Tally {
    /// Counts whatever names `text` for `class`. A text is a word: letters, digits, `-`, `_`.
    pub fn classify(&mut self, text: String, class: KeyClass) {
        if self.classes.len() >= MOST_TEXTS {
            self.forgotten += 1;
            return;
        }
        self.classes
            .entry(text)
            .and_modify(|known| *known = known.filter(|known| *known == class))
            .or_insert(Some(class));
    }

    /// Counts requests that keys of `class` sent to `replica` and that ran to their end.
    pub fn requests(&mut self, class: KeyClass, replica: Replica, count: u64) {
        *self.requests.entry((class, replica)).or_default() += count;
    }

    /// Counts a wire event. `names` holds every text in it that may name somebody.
    pub fn observe(&mut self, at: Micros, event: &Event, names: &str, worker: Option<u8>) {
        match event {
            Event::Redis { replica, keys, .. } => {
                let place = Place { replica: *replica, worker, class: self.class_in(names) };
                self.cells.entry(place).or_default().commands += 1;
                for key in keys {
                    self.redis_key(place, &key.name, key.access, key.kind);
                }
            }
            Event::Sql { replica, answered, params, reads, rows, .. } => {
                let class = self.class_in(&params.iter().flatten().fold(
                    String::new(),
                    |mut all, param| {
                        all.push_str(param);
                        all.push(' ');
                        all
                    },
                ));
                let counts =
                    self.cells.entry(Place { replica: *replica, worker, class }).or_default();
                counts.statements += 1;
                if !reads.is_empty() {
                    counts.identity.calls += 1;
                    counts.identity.rows += rows.unwrap_or_default();
                    counts.identity.took += answered.unwrap_or(at).since(at);
                }
                for kind in reads {
                    *counts.reads.entry(*kind).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// All counters, as they stand at `at`.
    pub fn snapshot(&self, at: Micros) -> Snapshot {
        Snapshot {
            at,
            requests: self.requests.clone(),
            cells: self.cells.clone(),
            forgotten: self.forgotten,
        }
    }

    /// The one class that the words of a text name.
    fn class_in(&self, text: &str) -> Option<KeyClass> {
        if self.classes.is_empty() {
            return None;
        }
        let mut words = text
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-' && letter != '_')
            .filter_map(|word| self.classes.get(word));
        let first = (*words.next()?)?;
        words.all(|class| *class == Some(first)).then_some(first)
    }

    /// Only a payload says what an entry is, so a key that was never found there is counted once it
    /// was written.
    fn redis_key(&mut self, place: Place, name: &str, access: Access, kind: Option<Kind>) {
        let room = self.names.len() < MOST_NAMES;
        if let Some(kind) = kind {
            let before = match self.names.get_mut(name) {
                Some(known) => Some(std::mem::replace(known, Name::Holds(kind))),
                None if room => self.names.insert(name.to_owned(), Name::Holds(kind)),
                None => {
                    self.forgotten += 1;
                    None
                }
            };
            if let Some(Name::Unknown(missed)) = before {
                for (place, count) in missed {
                    self.of_kind(place, kind).misses += count;
                }
            }
            match access {
                Access::Hit => self.of_kind(place, kind).hits += 1,
                Access::Write => self.of_kind(place, kind).writes += 1,
                Access::Miss | Access::Delete | Access::Other => {}
            }
        } else if access == Access::Miss {
            match self.names.get_mut(name) {
                Some(Name::Holds(kind)) => {
                    let kind = *kind;
                    self.of_kind(place, kind).misses += 1;
                }
                Some(Name::Unknown(missed)) => *missed.entry(place).or_default() += 1,
                None if room => {
                    let missed = Name::Unknown(BTreeMap::from([(place, 1)]));
                    self.names.insert(name.to_owned(), missed);
                }
                None => self.forgotten += 1,
            }
        }
    }

    fn of_kind(&mut self, place: Place, kind: Kind) -> &mut window::Entries {
        self.cells.entry(place).or_default().entries.entry(kind).or_default()
    }
}
