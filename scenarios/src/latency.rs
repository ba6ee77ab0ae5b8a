//! How long answers took: counted by the microsecond, so that callers and processes can be added up
//! and a percentile of the sum is a percentile of all of them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The longest time that is counted as what it was. What took longer counts as this.
pub const LONGEST: Duration = Duration::from_secs(3_600);

/// What is told apart at least, and at most, in microseconds.
const RANGE: (u64, u64) = (1, LONGEST.as_secs() * 1_000_000);

/// Decimal digits to which a latency is kept.
const DIGITS: u8 = 3;

/// Latencies of any number of requests, to three digits, from a microsecond to an hour.
///
/// It takes as much memory as its longest latency needs: 16 KiB for milliseconds, and 190 KiB at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Latencies(Histogram::new(DIGITS).expect("three digits are allowed"))
    }
}

impl Latencies {
    /// Counts one request.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.record(micros.clamp(RANGE.0, RANGE.1)).expect("it grows as far as the range goes");
    }

    /// Counts the requests of another as well.
    pub fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("it grows as far as the other has");
    }

    /// How many requests were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time within which this share of requests was answered, as in `0.95`; nothing where none
    /// was counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(share)))
    }

    /// The longest of them.
    pub fn max(&self) -> Option<Duration> {
        self.quantile(1.0)
    }
}

/// As the list of what was counted: microseconds, and how many requests took that long.
impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_since_last_iteration())),
        )
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut latencies = Latencies::default();
        for (micros, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latencies
                .0
                .record_n(micros.clamp(RANGE.0, RANGE.1), count)
                .map_err(D::Error::custom)?;
        }
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for micros in micros {
            latencies.record(Duration::from_micros(micros));
        }
        latencies
    }

    /// Whether `found` is `micros`, to three digits.
    fn is_about(found: Option<Duration>, micros: u64) -> bool {
        let found = u64::try_from(found.unwrap().as_micros()).unwrap();
        found.abs_diff(micros) * 1_000 <= micros
    }

    #[test]
    fn a_quantile_is_right_to_three_digits() {
        let latencies = of(1..=100_000);
        for (share, micros) in [(0.5, 50_000), (0.95, 95_000), (0.99, 99_000), (1.0, 100_000)] {
            assert!(is_about(latencies.quantile(share), micros), "{share}");
        }
        assert_eq!(of([]).quantile(0.5), None);
    }

    #[test]
    fn hours_count_as_an_hour_and_nothing_shorter_does() {
        assert!(is_about(of([3 * 3_600_000_000]).max(), 3_600_000_000));
        assert!(is_about(of([120_000_000]).max(), 120_000_000));
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut parts = of((1..=9_999).step_by(2));
        parts.merge(&of((2..=9_998).step_by(2)));
        assert_eq!(parts, of(1..=9_999));
    }

    #[test]
    fn what_is_told_reads_back_the_same() {
        let latencies = of([1, 7, 7, 1_234, 987_654, 59_999_999]);
        let told = serde_json::to_string(&latencies).unwrap();
        let read: Latencies = serde_json::from_str(&told).unwrap();
        assert_eq!(read.count(), 6);
        for share in [0.1, 0.5, 0.9, 1.0] {
            assert_eq!(read.quantile(share), latencies.quantile(share));
        }
    }
}
