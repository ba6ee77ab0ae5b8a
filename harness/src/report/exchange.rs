//! What happened around the evidence of a failure: the entries of its histories, as they are shown.
//!
//! A history may be long. What lies nearest to the evidence is told, and how much is not.

use std::collections::{BTreeMap, BTreeSet};

use reports::schema::{EvidenceLine, Exchange, Lane, Mark};

use crate::{
    history::{Access, CallId, Entry, Event, History, Level, tell},
    op::{Outcome, Replica},
    verdict::Violation,
};

/// Entries of one history that are told, at most.
const MOST_ENTRIES: usize = 200;

/// What happened in each history, as far as it lies around what `violations` rest on.
pub(super) fn exchanges(
    violations: &[Violation],
    histories: &[History],
    tellers: &[Teller<'_>],
) -> Vec<Exchange> {
    let proofs = |arm: usize| -> Vec<usize> {
        let evidence = violations.iter().flat_map(|violation| &violation.evidence);
        evidence.filter(|proof| proof.arm == arm).map(|proof| proof.index).collect()
    };
    histories
        .iter()
        .zip(tellers)
        .enumerate()
        .map(|(arm, (history, told))| {
            let proofs = proofs(arm);
            let shown = nearest(history, &proofs.iter().copied().collect());
            let name = if histories.len() > 1 { history.arm.clone() } else { String::new() };
            Exchange {
                arm: name,
                left_out: number(history.entries.len() - shown.len()),
                entries: shown.into_iter().filter_map(|index| told.line(index)).collect(),
                proofs: proofs.into_iter().map(number).collect(),
            }
        })
        .collect()
}

/// The entries that are told, in their order: all of them where they are few, else those that prove
/// something and what lies nearest to one that does, other records below WARN last.
fn nearest(history: &History, proofs: &BTreeSet<usize>) -> BTreeSet<usize> {
    let far = |index: usize| {
        let after = proofs.range(index..).next().map(|proof| proof - index);
        let before = proofs.range(..index).next_back().map(|proof| index - proof);
        // Where nothing is proven by one entry, the end is what a failure shows itself in.
        [after, before].into_iter().flatten().min().unwrap_or(history.entries.len() - index)
    };
    let is_quiet = |index: usize| {
        let event = history.entries.get(index).map(|entry| &entry.event);
        matches!(event, Some(Event::Log { level, .. }) if *level < Level::Warn)
    };
    let mut order: Vec<usize> = (0..history.entries.len()).collect();
    if order.len() > MOST_ENTRIES {
        order.sort_by_key(|index| {
            (is_quiet(*index) && !proofs.contains(index), far(*index), *index)
        });
        order.truncate(MOST_ENTRIES);
    }
    order.into_iter().collect()
}

/// A history, and which replica each of its calls went to.
pub(super) struct Teller<'a> {
    history: &'a History,
    replicas: BTreeMap<CallId, Replica>,
}

impl<'a> Teller<'a> {
    /// Reads `history` through once.
    pub(super) fn of(history: &'a History) -> Teller<'a> {
        let replicas = history.entries.iter().filter_map(|entry| match &entry.event {
            Event::Invoked { id, call, .. } => Some((*id, call.replica)),
            _ => None,
        });
        Teller { history, replicas: replicas.collect() }
    }

    /// The entry with this index, as it is shown.
    pub(super) fn line(&self, index: usize) -> Option<EvidenceLine> {
        let entry = self.history.entries.get(index)?;
        let (_, text) = tell(self.history, entry);
        Some(EvidenceLine {
            index: number(index),
            at_us: entry.at.0,
            lane: lane(entry),
            text,
            replica: self.replica(entry).map(|replica| replica.0),
            mark: Some(mark(&entry.event)),
            call: call(&entry.event).map(|id| id.0),
        })
    }

    fn replica(&self, entry: &Entry) -> Option<Replica> {
        match &entry.event {
            Event::Redis { replica, .. }
            | Event::Push { replica, .. }
            | Event::Sql { replica, .. }
            | Event::Log { replica, .. }
            | Event::Exited { replica, .. } => Some(*replica),
            Event::Invoked { .. } | Event::Completed { .. } | Event::Attempt { .. } => {
                self.replicas.get(&call(&entry.event)?).copied()
            }
            Event::Edited { .. }
            | Event::Struck { .. }
            | Event::Healed { .. }
            | Event::Gap { .. } => None,
        }
    }
}

fn call(event: &Event) -> Option<CallId> {
    match event {
        Event::Invoked { id, .. } | Event::Completed { id, .. } => Some(*id),
        Event::Attempt { call, .. } => *call,
        _ => None,
    }
}

fn lane(entry: &Entry) -> Lane {
    match &entry.event {
        Event::Invoked { .. } | Event::Completed { .. } => Lane::Caller,
        Event::Redis { .. } | Event::Push { .. } => Lane::Redis,
        Event::Sql { .. } => Lane::Postgres,
        Event::Log { .. } => Lane::Log,
        Event::Attempt { .. } => Lane::Upstream,
        Event::Exited { replica, .. } => Lane::Replica(replica.0),
        Event::Edited { .. } | Event::Struck { .. } | Event::Healed { .. } | Event::Gap { .. } => {
            Lane::Nemesis
        }
    }
}

/// A command that does several things is marked for the one that tells most.
fn mark(event: &Event) -> Mark {
    match event {
        Event::Invoked { .. } => Mark::Asked,
        Event::Completed { outcome, .. } => match outcome {
            Outcome::Answered { .. } | Outcome::Listed { .. } => Mark::Answered,
            Outcome::Refused { .. } => Mark::Refused,
            Outcome::Indeterminate { .. } => Mark::Unknown,
        },
        Event::Redis { keys, .. } => {
            let does = |access| keys.iter().any(|key| key.access == access);
            match () {
                () if does(Access::Miss) => Mark::Miss,
                () if does(Access::Hit) => Mark::Hit,
                () if does(Access::Write) => Mark::Write,
                () if does(Access::Delete) => Mark::Delete,
                () => Mark::Command,
            }
        }
        Event::Push { .. } => Mark::Message,
        Event::Sql { reads, .. } if !reads.is_empty() => Mark::Read,
        Event::Sql { .. } => Mark::Statement,
        Event::Log { level, .. } if *level >= Level::Warn => Mark::Loud,
        Event::Log { .. } => Mark::Line,
        Event::Attempt { .. } => Mark::Attempt,
        Event::Edited { .. } => Mark::Edit,
        Event::Struck { .. } => Mark::Strike,
        Event::Healed { .. } => Mark::Heal,
        Event::Gap { .. } | Event::Exited { .. } => Mark::Gap,
    }
}

fn number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{history::hand::Hand, op::Kind, verdict::Proof};

    fn proven_by(index: usize) -> Violation {
        let evidence = vec![Proof { arm: 0, index }];
        Violation { summary: "it broke".to_owned(), evidence }
    }

    fn told(violation: Violation, history: &History) -> Vec<Exchange> {
        exchanges(&[violation], std::slice::from_ref(history), &[Teller::of(history)])
    }

    #[test]
    fn each_entry_is_told_with_its_replica_and_what_it_is() {
        let history = Hand::new()
            .answered(1, 1)
            .redis(3, 1, Access::Miss, "team:1", None)
            .identity_read_by(4, 1, Kind::Team)
            .line(5, Level::Warn, "cache entry could not be read")
            .done();
        let told = told(proven_by(0), &history);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].arm.as_str(), told[0].left_out), ("", 0));
        assert_eq!(told[0].proofs, [0]);
        let lines: Vec<_> =
            told[0].entries.iter().map(|it| (it.lane, it.replica, it.mark, it.call)).collect();
        assert_eq!(
            lines,
            [
                (Lane::Caller, Some(1), Some(Mark::Asked), Some(0)),
                (Lane::Caller, Some(1), Some(Mark::Answered), Some(0)),
                (Lane::Upstream, Some(1), Some(Mark::Attempt), Some(0)),
                (Lane::Redis, Some(1), Some(Mark::Miss), None),
                (Lane::Postgres, Some(1), Some(Mark::Read), None),
                (Lane::Log, Some(0), Some(Mark::Loud), None),
            ]
        );
    }

    #[test]
    fn of_a_long_history_what_lies_nearest_to_the_evidence_is_told() {
        let mut hand = Hand::new();
        for at in 0..500 {
            let level = if at % 2 == 0 { Level::Info } else { Level::Warn };
            hand = hand.line(at, level, "a line");
        }
        let history = hand.done();
        let shown = told(proven_by(301), &history);
        assert_eq!((shown[0].entries.len(), shown[0].left_out), (MOST_ENTRIES, 300));
        let indices: Vec<_> = shown[0].entries.iter().map(|line| line.index).collect();
        assert!(indices.is_sorted());
        // Loud lines on both sides of the proof, and no quiet ones but for want of others.
        assert_eq!((indices[0], indices[199]), (101, 499));
        // What proves something is told, however quiet it was.
        let shown = told(proven_by(300), &history);
        assert!(shown[0].entries.iter().any(|line| line.index == 300), "{shown:?}");
    }
}
