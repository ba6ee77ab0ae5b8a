//! The shape of a target: how many replicas, how many workers behind each, and whether they share
//! a Redis.
//!
//! Pure. Generators draw it, the runner starts what it says, and checks read it to compute their
//! bounds.

use std::{fmt, num::NonZeroU8};

use serde::{Deserialize, Serialize};

use crate::op::Replica;

/// How many of what a target is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Addresses that requests can be sent to.
    pub replicas: NonZeroU8,
    /// Processes behind each address.
    pub workers: NonZeroU8,
    /// Whether the replicas share a Redis.
    pub redis: bool,
}

impl Topology {
    /// Every replica, in order.
    pub fn each_replica(self) -> impl Iterator<Item = Replica> {
        (0..self.replicas.get()).map(Replica)
    }

    /// Processes that each may hold a memory tier of their own.
    pub fn processes(self) -> u16 {
        u16::from(self.replicas.get()) * u16::from(self.workers.get())
    }
}

impl Default for Topology {
    /// The smallest shape in which one replica can be wrong about what another was told.
    fn default() -> Self {
        const TWO: NonZeroU8 = NonZeroU8::MIN.saturating_add(1);
        Topology { replicas: TWO, workers: NonZeroU8::MIN, redis: true }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis = if self.redis { "one Redis" } else { "no Redis" };
        write!(
            f,
            "{} × {}, {redis}",
            Count(self.replicas, "replica"),
            Count(self.workers, "worker")
        )
    }
}

/// "1 replica", "2 replicas".
struct Count(NonZeroU8, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(number, noun) = self;
        let plural = if number.get() == 1 { "" } else { "s" };
        write!(f, "{number} {noun}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_reads_as_a_phrase() {
        assert_eq!(Topology::default().to_string(), "2 replicas × 1 worker, one Redis");
    }

    #[test]
    fn replicas_are_counted_from_zero() {
        let named: Vec<String> =
            Topology::default().each_replica().map(|replica| replica.to_string()).collect();
        assert_eq!(named, ["replica 0", "replica 1"]);
    }

    #[test]
    fn every_worker_of_every_replica_is_a_process() {
        let four = NonZeroU8::new(4).unwrap();
        let shape = Topology { replicas: four, workers: four, redis: false };
        assert_eq!(shape.processes(), 16);
    }
}
