//! The only reader of the time.
//!
//! Every entry of a history carries the microseconds that had passed since its run began, so that
//! entries of clients, store proxies and observers can be compared, and so that a stored run means
//! the same when it is read again.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// A moment of a run: microseconds since it began.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// The moment `later` after this one.
    pub fn plus(self, later: Duration) -> Micros {
        Micros(self.0.saturating_add(whole_micros(later)))
    }

    /// How long before this moment `earlier` was; zero if it was not before.
    pub fn since(self, earlier: Micros) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

/// A length of time as a number of microseconds, what is less than one left out.
pub fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Tells the moments of one run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// Starts a run's clock at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Clock {
        Clock { began: Instant::now() }
    }

    /// The moment it is.
    pub fn now(&self) -> Micros {
        Micros(whole_micros(self.began.elapsed()))
    }
}

/// Seconds since the Unix epoch, for naming runs and for nothing else.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A number that differs from run to run. Ids are made unique by it, and a run that was given no seed
/// has one from it; no plan depends on it in any other way.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn number_of_this_run() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap_or(0);
    // Spreads neighbouring moments over the whole range: the finaliser of SplitMix64.
    let mixed = (nanos ^ (nanos >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The seed of a run that was given none: short enough to be typed again.
pub fn new_seed() -> u64 {
    number_of_this_run() % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_before_another_is_no_time_after_it() {
        assert_eq!(Micros(3).since(Micros(5)), Duration::ZERO);
        assert_eq!(Micros(5).since(Micros(3)), Duration::from_micros(2));
    }

    #[test]
    fn moments_read_as_seconds() {
        assert_eq!(Micros(12_345_678).to_string(), "12.345 s");
    }
}
