//! Between what the identity reads of a window stay, where every key is in use all the time.
//!
//! A cache that lets an entry live for a fixed time reads each key once per lifetime, whoever asks how
//! often. More reads, and it does not hold what it is told. Fewer, and something keeps entries alive
//! beyond their lifetime: a revoked key would be served for as long.

use std::time::Duration;

use reports::load::{ReadBound, Stands};

/// The two-sided bound on reads of `keys` keys in a window.
///
/// `caches` is how many caches have to read for themselves: one where all processes share one, else
/// one for each process. Callers may reach a key through one process alone, so the lower side is for the
/// fleet as a whole, whether its processes share a cache or not. An entry that is cold when the window begins makes for one more reading,
/// and a quarter is left for those that end early or are read by two at once.
pub fn bound(keys: u64, window: Duration, lifetime: Duration, caches: u64) -> ReadBound {
    let lifetime = lifetime.max(Duration::from_millis(1)).as_micros();
    let window = window.as_micros();
    // In whole numbers: five quarters of keys × (window / lifetime + 1) × caches, and half of keys ×
    // whole lifetimes.
    let most = u128::from(keys) * (window + lifetime) * u128::from(caches) * 5 / (lifetime * 4);
    let least = (u128::from(keys) * (window / lifetime)).div_ceil(2);
    let whole = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    ReadBound { at_least: whole(least), at_most: whole(most) }
}

/// Where reads stand to their bound.
pub fn stands(bound: ReadBound, reads: u64) -> Stands {
    if reads > bound.at_most {
        Stands::Over
    } else if reads < bound.at_least {
        Stands::Under
    } else {
        Stands::Within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_published_of_one_shared_cache_is_one_key_and_not_fifteen() {
        let five = |keys| bound(keys, 5 * MINUTE, MINUTE, 1);
        assert_eq!(five(15), ReadBound { at_least: 38, at_most: 112 });
        assert_eq!(stands(five(15), 5), Stands::Under);
        assert_eq!(stands(five(1), 5), Stands::Within);
    }

    #[test]
    fn each_cache_reads_for_itself() {
        let ten = |caches| bound(15, 10 * MINUTE, MINUTE, caches).at_most;
        assert_eq!([ten(1), ten(4), ten(8)], [206, 825, 1_650]);
    }

    #[test]
    fn the_lower_side_is_for_all_caches_together() {
        let least = [1, 4, 8].map(|caches| bound(15, 10 * MINUTE, MINUTE, caches).at_least);
        assert_eq!(least, [75; 3]);
    }

    #[test]
    fn a_window_stands_for_the_same_at_any_scale() {
        let scaled = bound(15, Duration::from_secs(25), Duration::from_secs(5), 4);
        assert_eq!(scaled, bound(15, 5 * MINUTE, MINUTE, 4));
    }

    #[test]
    fn reads_are_bounded_on_both_sides() {
        let bound = ReadBound { at_least: 38, at_most: 112 };
        let found = [37, 38, 112, 113].map(|reads| stands(bound, reads));
        assert_eq!(found, [Stands::Under, Stands::Within, Stands::Within, Stands::Over]);
    }
}
