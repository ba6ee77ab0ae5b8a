//! The memory tier: bounded, per process, and never older than what it was filled from.

use std::time::{Duration, Instant};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{Kind, Record};

#[derive(Clone)]
struct Entry {
    record: Record,
    expires_at: Instant,
}

/// Entries by name, and apart from them what callers made up, keys and end users each, so that a
/// flood of those cannot push out an identity that exists.
pub(super) struct Memory {
    entries: Cache<String, Entry>,
    unknown_keys: Cache<String, Entry>,
    unknown_end_users: Cache<String, Entry>,
}

impl Memory {
    pub(super) fn new(entries: u64, ttl: Duration, unknown: u64, unknown_ttl: Duration) -> Self {
        let bounded = |entries, ttl| {
            Cache::builder()
                .max_capacity(entries)
                .time_to_live(ttl)
                .eviction_policy(EvictionPolicy::lru())
                .build()
        };
        Self {
            entries: bounded(entries, ttl),
            unknown_keys: bounded(unknown, unknown_ttl),
            unknown_end_users: bounded(unknown, unknown_ttl),
        }
    }

    /// The record under this name, if it has not expired.
    pub(super) fn get(&self, name: &str) -> Option<Record> {
        let now = Instant::now();
        let fresh = |entry: Entry| (entry.expires_at > now).then_some(entry.record);
        self.entries
            .get(name)
            .and_then(fresh)
            .or_else(|| self.unknown_keys.get(name).and_then(fresh))
            .or_else(|| self.unknown_end_users.get(name).and_then(fresh))
    }

    /// Keeps an identity until `expires_at`.
    pub(super) fn keep(&self, name: &str, record: Record, expires_at: Instant) {
        self.entries.insert(name.to_owned(), Entry { record, expires_at });
    }

    /// Keeps the fact that there is no such key or end user until `expires_at`.
    pub(super) fn keep_unknown(&self, name: &str, kind: Kind, expires_at: Instant) {
        let unknown = match kind {
            Kind::EndUser => &self.unknown_end_users,
            Kind::Key | Kind::Team | Kind::User | Kind::Member | Kind::Organisation => {
                &self.unknown_keys
            }
        };
        unknown.insert(name.to_owned(), Entry { record: Record::Absent(kind), expires_at });
    }

    /// Forgets what is under this name.
    pub(super) fn forget(&self, name: &str) {
        self.entries.invalidate(name);
        self.unknown_keys.invalidate(name);
        self.unknown_end_users.invalidate(name);
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        self.entries.invalidate_all();
        self.unknown_keys.invalidate_all();
        self.unknown_end_users.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::new(10, Duration::from_secs(60), 10, Duration::from_secs(60))
    }

    #[test]
    fn an_entry_ends_with_its_own_expiry_however_often_it_is_hit() {
        let memory = memory();
        let soon = Instant::now() + Duration::from_millis(30);
        memory.keep("name", Record::Absent(Kind::Team), soon);
        while Instant::now() < soon {
            let _ = memory.get("name");
        }
        assert!(memory.get("name").is_none());
    }

    #[test]
    fn a_flood_of_what_callers_made_up_is_bounded_and_pushes_out_no_identity() {
        let memory = memory();
        let later = Instant::now() + Duration::from_secs(60);
        memory.keep("team", Record::Absent(Kind::Team), later);
        for number in 0..1_000 {
            memory.keep_unknown(&format!("key {number}"), Kind::Key, later);
            memory.keep_unknown(&format!("end user {number}"), Kind::EndUser, later);
        }
        for unknown in [&memory.unknown_keys, &memory.unknown_end_users] {
            unknown.run_pending_tasks();
            assert!((1..=10).contains(&unknown.entry_count()));
        }
        assert!(memory.get("team").is_some());
    }

    #[test]
    fn what_was_forgotten_is_gone_from_both_sides() {
        let memory = memory();
        let later = Instant::now() + Duration::from_secs(60);
        memory.keep("a", Record::Absent(Kind::Team), later);
        memory.keep_unknown("b", Kind::Key, later);
        memory.forget("a");
        memory.forget("b");
        assert!(memory.get("a").is_none() && memory.get("b").is_none());
    }
}
