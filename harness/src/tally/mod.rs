//! What the stores were asked, counted by who it was asked for.
//!
//! Two ways lead here. A [`Tally`] counts every wire event as the collector takes it in, by classes
//! that were told beforehand: what load needs, in windows between two [`Snapshot`]s. A
//! [`warm::Warm`] counts the requests of stored histories of which it can be proved that their
//! entries were cached: what checks leave behind. Both speak of [`Lookups`], and neither judges.

pub mod class;
pub mod lookups;
pub mod told;
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
                let took = answered.unwrap_or(at).since(at);
                let query = Query { calls: 1, rows: rows.unwrap_or_default(), took };
                if !reads.is_empty() {
                    counts.identity = counts.identity.and(&query);
                }
                if reads.contains(&Kind::Key) {
                    counts.keys = counts.keys.and(&query);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        adapters::reference::Reference,
        runner::read_wire,
        wire::record::{
            Bounded, PgStatement, RedisCommand, RedisReply, StoreKind, TransactionState, WireBody,
            WireEvent,
        },
    };

    const TEAM: &str = r#"{"v":1,"k":"team","d":{}}"#;

    fn event(replica: u8, store: StoreKind, body: WireBody) -> WireEvent {
        let (asked, answered) = (Micros(1_000), Some(Micros(3_000)));
        WireEvent { replica, store, connection: 1, asked, answered, fault: None, body }
    }

    fn redis(replica: u8, name: &'static str, key: &str, reply: RedisReply) -> WireEvent {
        let command = RedisCommand {
            name: name.into(),
            keys: vec![key.to_owned()],
            args: vec![Bounded::new(TEAM.as_bytes())],
            left_out: 0,
            reply: Some(reply),
            transaction: false,
            db: 0,
        };
        event(replica, StoreKind::Redis, WireBody::RedisCommand(command))
    }

    fn hit(replica: u8, key: &str) -> WireEvent {
        redis(replica, "GET", key, RedisReply::Bulk { value: Bounded::new(TEAM.as_bytes()) })
    }

    fn read_of(team: &str) -> WireEvent {
        let statement = PgStatement {
            sql: Bounded::new(b"SELECT * FROM teams WHERE team_id = $1"),
            part: 0,
            params: vec![Some(Bounded::new(team.as_bytes()))],
            tag: "SELECT 1".to_owned(),
            rows: 1,
            copied_bytes: 0,
            error: None,
            transaction: TransactionState::Idle,
        };
        event(0, StoreKind::Postgres, WireBody::PgStatement(statement))
    }

    /// A tally that knows team `t` and two keys, one of which shares its user with the other's class.
    fn tally() -> Tally {
        let mut tally = Tally::default();
        tally.classify("t".to_owned(), KeyClass::Team);
        for class in [KeyClass::Team, KeyClass::User] {
            tally.classify("shared".to_owned(), class);
        }
        tally
    }

    fn observe(tally: &mut Tally, event: &WireEvent) {
        let read = read_wire::read(&Reference, event).unwrap();
        tally.observe(event.asked, &read.event, &read.names, Some(3));
    }

    fn place(replica: u8, class: Option<KeyClass>) -> Place {
        Place { replica: Replica(replica), worker: Some(3), class }
    }

    #[test]
    fn a_miss_is_counted_once_it_is_known_what_was_missed() {
        let mut tally = tally();
        observe(&mut tally, &redis(0, "GET", "rg:team:t", RedisReply::Nil));
        let of_team = |tally: &Tally| {
            tally.snapshot(Micros(0)).cells[&place(0, Some(KeyClass::Team))].entries.clone()
        };
        assert_eq!(of_team(&tally), BTreeMap::new());
        observe(&mut tally, &redis(0, "SET", "rg:team:t", RedisReply::Ok));
        observe(&mut tally, &hit(0, "rg:team:t"));
        let entries = window::Entries { hits: 1, misses: 1, writes: 1 };
        assert_eq!(of_team(&tally), BTreeMap::from([(Kind::Team, entries)]));
    }

    #[test]
    fn a_window_holds_what_was_gained_between_two_snapshots() {
        let mut tally = tally();
        observe(&mut tally, &read_of("t"));
        let before = tally.snapshot(Micros(1_000_000));
        assert_eq!(tally.snapshot(Micros(0)).since(&before).cells, BTreeMap::new());
        observe(&mut tally, &read_of("t"));
        observe(&mut tally, &read_of("nobody"));
        observe(&mut tally, &hit(1, "rg:team:t"));
        tally.requests(KeyClass::Team, Replica(0), 4);
        tally.requests(KeyClass::Team, Replica(1), 1);
        let window = tally.snapshot(Micros(3_000_000)).since(&before);
        assert_eq!(window.took, Duration::from_secs(2));
        let read = |class| window.cells[&place(0, class)].identity;
        let once = Query { calls: 1, rows: 1, took: Duration::from_millis(2) };
        assert_eq!([read(Some(KeyClass::Team)), read(None)], [once, once]);
        assert_eq!(window.reads(), BTreeMap::from([(Kind::Team, 2)]));
        // Requests of this class were only ever seen to look up their team.
        let all = window.lookups_by_class()[&KeyClass::Team];
        let expected = Lookups { requests: 5, needed: 5, redis_hits: 1, redis_misses: 0, reads: 1 };
        assert_eq!(all, expected);
        assert_eq!(window.lookups()[&(KeyClass::Team, Replica(0))].hit_ratio(), Some(0.75));
    }

    #[test]
    fn what_names_keys_of_two_classes_belongs_to_neither() {
        let mut tally = tally();
        observe(&mut tally, &read_of("shared"));
        observe(&mut tally, &read_of("nobody"));
        let snapshot = tally.snapshot(Micros(0));
        assert_eq!(snapshot.cells.keys().copied().collect::<Vec<_>>(), [place(0, None)]);
        assert_eq!(snapshot.cells[&place(0, None)].statements, 2);
    }
}
