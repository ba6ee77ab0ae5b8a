//! Where the lookups of some requests were answered.

use std::ops::AddAssign;

/// What requests looked up, and which tier answered.
///
/// A hit in memory leaves no trace, so it is inferred: what the requests needed, less what reached a
/// store. What a request needs is what requests of its kind were ever seen to ask a store for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// The requests that this rests on.
    pub requests: u64,
    /// Identities that they needed.
    pub needed: u64,
    /// Identities found in Redis.
    pub redis_hits: u64,
    /// Identities looked for in Redis in vain.
    pub redis_misses: u64,
    /// Identities read from the database.
    pub reads: u64,
}

impl Lookups {
    /// The share of lookups that no database answered; nothing where there was no lookup.
    pub fn hit_ratio(&self) -> Option<f64> {
        share(self.needed.saturating_sub(self.reads), self.needed)
    }

    /// The share of lookups that no store answered.
    pub fn memory_ratio(&self) -> Option<f64> {
        share(self.needed.saturating_sub(self.redis_hits + self.reads), self.needed)
    }

    /// The share that Redis answered of what memory did not; nothing where Redis was not asked.
    pub fn redis_ratio(&self) -> Option<f64> {
        let asked = self.redis_hits + self.redis_misses > 0;
        share(self.redis_hits, self.redis_hits + self.reads).filter(|_| asked)
    }
}

impl AddAssign for Lookups {
    fn add_assign(&mut self, other: Lookups) {
        self.requests += other.requests;
        self.needed += other.needed;
        self.redis_hits += other.redis_hits;
        self.redis_misses += other.redis_misses;
        self.reads += other.reads;
    }
}

/// A part of a whole that is not empty.
#[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^53")]
pub fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tier_is_asked_what_the_one_before_it_did_not_know() {
        let lookups = Lookups { requests: 5, needed: 10, redis_hits: 3, redis_misses: 2, reads: 1 };
        assert_eq!(lookups.hit_ratio(), Some(0.9));
        assert_eq!(lookups.memory_ratio(), Some(0.6));
        assert_eq!(lookups.redis_ratio(), Some(0.75));
    }

    #[test]
    fn without_a_lookup_there_is_no_ratio() {
        let none = Lookups { requests: 5, ..Lookups::default() };
        assert_eq!([none.hit_ratio(), none.memory_ratio(), none.redis_ratio()], [None; 3]);
        let no_redis = Lookups { requests: 5, needed: 10, reads: 10, ..Lookups::default() };
        assert_eq!((no_redis.hit_ratio(), no_redis.redis_ratio()), (Some(0.0), None));
    }
}
