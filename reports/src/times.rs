//! A distribution of times, by the points that people ask for.

use serde::{Deserialize, Serialize};

/// A distribution of times, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Half of them were no longer.
    pub p50_us: u64,
    /// 90 of 100 were no longer. Zero in the shapes of a load that was kept before it was told of them.
    #[serde(default)]
    pub p90_us: u64,
    /// 95 of 100 were no longer.
    pub p95_us: u64,
    /// 99 of 100 were no longer.
    pub p99_us: u64,
    /// None was longer.
    pub max_us: u64,
}

impl Times {
    /// Every point, with its name.
    pub(crate) fn points(&self) -> [(&'static str, u64); 5] {
        [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p95", self.p95_us),
            ("p99", self.p99_us),
            ("max", self.max_us),
        ]
    }
}
