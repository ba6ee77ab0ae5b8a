//! Which schema version a release writes into the shared cache, and which ones it reads.
//!
//! During a rolling deploy two releases share one Redis. The older one knows only its own version, so
//! an entry of the newer one is a miss to it. The newer one reads both, and writes its own only where
//! there was nothing to read: the two never overwrite each other's entries in turn.

use std::fmt;

use clap::ValueEnum;
use serde::Deserialize;

/// A schema version of cached entries.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, ValueEnum,
)]
#[serde(try_from = "u32")]
pub enum CacheSchema {
    /// A key or team says whether it is blocked.
    #[default]
    #[value(name = "1")]
    One,
    /// It says since when, and an older release must not read it.
    #[value(name = "2")]
    Two,
}

impl CacheSchema {
    /// Every version, oldest first.
    pub const ALL: [CacheSchema; 2] = [CacheSchema::One, CacheSchema::Two];

    /// The number in entries.
    pub fn number(self) -> u32 {
        match self {
            CacheSchema::One => 1,
            CacheSchema::Two => 2,
        }
    }

    /// Does a release that writes this version read what `other` wrote?
    pub fn reads(self, other: CacheSchema) -> bool {
        other <= self
    }
}

impl fmt::Display for CacheSchema {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.number())
    }
}

/// No release has this schema version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no schema version {0}; the versions are 1 and 2")]
pub struct UnknownSchema(u32);

impl TryFrom<u32> for CacheSchema {
    type Error = UnknownSchema;

    fn try_from(number: u32) -> Result<Self, UnknownSchema> {
        let known = CacheSchema::ALL.into_iter().find(|schema| schema.number() == number);
        known.ok_or(UnknownSchema(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_reads_its_own_version_and_older_ones() {
        assert!(CacheSchema::Two.reads(CacheSchema::One));
        assert!(CacheSchema::Two.reads(CacheSchema::Two));
        assert!(!CacheSchema::One.reads(CacheSchema::Two));
    }

    #[test]
    fn a_version_that_nobody_has_is_refused() {
        assert_eq!(CacheSchema::try_from(2), Ok(CacheSchema::Two));
        assert_eq!(CacheSchema::try_from(3), Err(UnknownSchema(3)));
    }
}
