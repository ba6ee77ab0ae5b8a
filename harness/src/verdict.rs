//! A check's conclusion on a case, and on a run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the histories of one case say about a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The property was put to the test and held.
    Pass,
    /// The property was broken.
    Fail(Vec<Violation>),
    /// The property was not put to the test, or the evidence is not whole.
    Inconclusive(String),
}

impl Verdict {
    /// Fails with these violations; passes when there are none.
    pub fn of(violations: Vec<Violation>) -> Verdict {
        if violations.is_empty() { Verdict::Pass } else { Verdict::Fail(violations) }
    }

    /// Whether the property was broken.
    pub fn is_fail(&self) -> bool {
        matches!(self, Verdict::Fail(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Pass => f.write_str("pass"),
            Verdict::Inconclusive(why) => write!(f, "inconclusive: {why}"),
            Verdict::Fail(violations) => {
                f.write_str("fail")?;
                for violation in violations {
                    write!(f, "\n  {}", violation.summary)?;
                }
                Ok(())
            }
        }
    }
}

/// One breach of a property. It stands on its own: who, what, where, and the entries that prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Violation {
    /// What happened, fit to be pasted into a bug report.
    pub summary: String,
    /// The entries that prove it.
    pub evidence: Vec<Proof>,
}

/// An entry of one of the histories that were judged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Which history, counted from zero in the order of the arms.
    pub arm: usize,
    /// Which entry of it.
    pub index: usize,
}

/// How many entries prove a violation at most: enough to see the pattern, few enough to read.
const MOST_PROOFS: usize = 12;

/// Proof by entries of one history, the first few of them.
pub fn proof(arm: usize, indices: impl IntoIterator<Item = usize>) -> Vec<Proof> {
    indices.into_iter().take(MOST_PROOFS).map(|index| Proof { arm, index }).collect()
}
