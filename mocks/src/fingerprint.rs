//! A mark no two answers share.
//!
//! Two callers who hold the same fingerprint were served by one answer, so a fingerprint must never
//! come up twice. It is therefore counted, not drawn: the counter starts anywhere and is put
//! through a bijection, which keeps the numbers distinct and makes neighbours look unrelated.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// The mark of one answer, written `fp-` and 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    /// The bare digits, for the ids that an answer derives from its fingerprint.
    pub(crate) fn digits(self) -> String {
        format!("{:016x}", self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fp-{:016x}", self.0)
    }
}

/// Hands out fingerprints, each once.
#[derive(Debug)]
pub(crate) struct Fingerprints {
    next: AtomicU64,
}

impl Fingerprints {
    /// Starts at a place of its own, so that two providers of one run do not repeat each other.
    pub(crate) fn new() -> Fingerprints {
        Fingerprints::starting_at(RandomState::new().hash_one("fingerprints"))
    }

    fn starting_at(start: u64) -> Fingerprints {
        Fingerprints { next: AtomicU64::new(start) }
    }

    /// A fingerprint that was never handed out before.
    pub(crate) fn fresh(&self) -> Fingerprint {
        Fingerprint(scatter(self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A bijection on 64 bits (the finaliser of splitmix64): distinct numbers stay distinct.
fn scatter(counted: u64) -> u64 {
    let mixed = (counted ^ (counted >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_fingerprint_comes_up_twice(start: u64, count in 2..2_000usize) {
            let source = Fingerprints::starting_at(start);
            let handed_out: BTreeSet<Fingerprint> = (0..count).map(|_| source.fresh()).collect();
            prop_assert_eq!(handed_out.len(), count);
        }

        #[test]
        fn distinct_counts_give_distinct_fingerprints(one: u64, other: u64) {
            prop_assert_eq!(scatter(one) == scatter(other), one == other);
        }

        #[test]
        fn every_fingerprint_is_written_at_full_width(start: u64) {
            let written = Fingerprints::starting_at(start).fresh().to_string();
            prop_assert_eq!(written.len(), "fp-".len() + 16);
        }
    }

    #[test]
    fn two_providers_start_apart() {
        assert_ne!(Fingerprints::new().fresh(), Fingerprints::new().fresh());
    }
}
