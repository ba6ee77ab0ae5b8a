//! What is said between gauntlet and the process that it has attack a gateway: one order in, then a
//! line for each thing there is to tell.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{latency::Latencies, load_profile::Balance, scenario::Act};

/// An attack to carry out. It holds keys, so it is never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What callers do.
    pub act: Act,
    /// Where the replicas are, as in `http://127.0.0.1:4000`.
    pub replicas: Vec<String>,
    /// The keys that callers hold, in turn.
    pub keys: Vec<String>,
    /// The model alias that is asked for.
    pub model: String,
    /// What every prompt is marked with, for the provider's ledger.
    pub mark: String,
    /// How many callers.
    pub callers: u32,
    /// How long it takes until all of them are there.
    #[serde(with = "crate::duration")]
    pub ramp: Duration,
    /// How long a caller waits between an answer and the next request: at least, at most.
    pub pause: Pause,
    /// How long a caller waits for an answer, or for the next part of a stream.
    #[serde(with = "crate::duration")]
    pub patience: Duration,
    /// To which replica a caller goes.
    pub balance: Balance,
    /// When each window ends, from the moment at which all callers are there. They all begin then.
    pub windows: Vec<Window>,
}

/// A window of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window(#[serde(with = "crate::duration")] pub Duration);

/// How long a caller waits between an answer and its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// At least.
    #[serde(with = "crate::duration")]
    pub least: Duration,
    /// At most.
    #[serde(with = "crate::duration")]
    pub most: Duration,
}

/// What an attack tells while it runs, and at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub enum Told {
    /// How far it is; once a second.
    Progress(Progress),
    /// All callers are there: every window begins now.
    AllThere,
    /// A window has ended, counted from zero.
    WindowEnded {
        /// Which.
        window: usize,
    },
    /// It is over, and every request has come to its end.
    Ended(Box<Outcome>),
}

/// How far an attack is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Callers that are there.
    pub callers: u32,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were not.
    pub failed: u64,
    /// Microseconds since the attack began.
    pub after_us: u64,
    /// The latency that half of the answered ones kept so far, in microseconds.
    pub p50_us: Option<u64>,
    /// The latency that 95 of 100 kept.
    pub p95_us: Option<u64>,
}

/// What an attack came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether somebody wanted it to end early.
    pub stopped: bool,
    /// Requests that were sent, all in all. Each is counted again as answered or failed.
    pub sent: u64,
    /// Microseconds from the beginning until the last request had ended.
    pub took_us: u64,
    /// What happened in each window that ended while callers were there.
    pub windows: Vec<Counted>,
    /// What happened from the first request to the last.
    pub whole: Counted,
}

/// What happened in some stretch of time.
///
/// A request belongs to the windows in which it began, whenever it ends; one that began before them, to
/// those that it lasted through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Requests that were answered, and how long it took.
    pub latencies: Latencies,
    /// The time to the first token, of those of them that were streams.
    pub first_tokens: Latencies,
    /// The gaps between their tokens.
    pub gaps: Latencies,
    /// Their tokens: chunks with content. Those of streams that failed are not counted.
    pub tokens: u64,
    /// Bytes of all bodies that were received, failed requests included.
    pub bytes: u64,
    /// Requests that were not, by what happened instead: a status, or what went wrong on the way.
    pub failed: BTreeMap<String, Failed>,
    /// Requests by the place of their key.
    pub by_key: Vec<u64>,
    /// Requests by the place of their replica.
    pub by_replica: Vec<u64>,
    /// Those of them that were answered.
    pub answered_by_replica: Vec<u64>,
}

/// What was measured of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// From the request to the first chunk with content.
    pub first_token: Duration,
    /// From each such chunk to the next, in microseconds.
    pub gaps: Vec<u32>,
}

/// Requests that failed in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// How many.
    pub count: u64,
    /// What was said to the first.
    pub said: String,
}

impl Counted {
    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.latencies.count()
    }

    /// Requests that were not.
    pub fn failures(&self) -> u64 {
        self.failed.values().map(|failed| failed.count).sum()
    }

    /// All of them.
    pub fn requests(&self) -> u64 {
        self.answered() + self.failures()
    }

    /// Counts one request that has ended, well or as told.
    pub fn count(&mut self, key: usize, replica: usize, ended: Result<Duration, (String, String)>) {
        let answered = ended.is_ok().then_some((&mut self.answered_by_replica, replica));
        let all = [(&mut self.by_key, key), (&mut self.by_replica, replica)];
        for (places, place) in all.into_iter().chain(answered) {
            places.resize(places.len().max(place + 1), 0);
            places[place] += 1;
        }
        match ended {
            Ok(took) => self.latencies.record(took),
            Err((how, said)) => {
                let failed = self.failed.entry(how).or_insert(Failed { count: 0, said });
                failed.count += 1;
            }
        }
    }

    /// Counts what was measured of a stream that was answered.
    pub fn count_stream(&mut self, streamed: &Streamed) {
        self.first_tokens.record(streamed.first_token);
        for gap in &streamed.gaps {
            self.gaps.record(Duration::from_micros(u64::from(*gap)));
        }
        self.tokens += streamed.gaps.len() as u64 + 1;
    }

    /// Counts what another stretch of time has counted as well.
    pub fn merge(&mut self, other: &Counted) {
        self.latencies.merge(&other.latencies);
        self.first_tokens.merge(&other.first_tokens);
        self.gaps.merge(&other.gaps);
        self.tokens += other.tokens;
        self.bytes += other.bytes;
        for (how, failed) in &other.failed {
            let mine = self
                .failed
                .entry(how.clone())
                .or_insert_with(|| Failed { count: 0, said: failed.said.clone() });
            mine.count += failed.count;
        }
        for (mine, theirs) in [
            (&mut self.by_key, &other.by_key),
            (&mut self.by_replica, &other.by_replica),
            (&mut self.answered_by_replica, &other.answered_by_replica),
        ] {
            mine.resize(mine.len().max(theirs.len()), 0);
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(key: usize, replica: usize) -> Counted {
        let mut counted = Counted::default();
        counted.count(key, replica, Ok(Duration::from_millis(3)));
        counted
    }

    #[test]
    fn stretches_of_time_add_up() {
        let mut all = answered(0, 1);
        all.merge(&answered(2, 0));
        let refused = ("429".to_owned(), "slow down".to_owned());
        all.count(0, 0, Err(refused.clone()));
        let mut more = Counted::default();
        more.count(1, 1, Err(refused));
        all.merge(&more);
        assert_eq!((all.answered(), all.failures(), all.requests()), (2, 2, 4));
        assert_eq!(all.failed["429"], Failed { count: 2, said: "slow down".to_owned() });
        assert_eq!(all.by_key, [2, 1, 1]);
        assert_eq!(all.by_replica, [2, 2]);
        assert_eq!(all.answered_by_replica, [1, 1]);
    }

    #[test]
    fn streams_add_up() {
        let mut one = answered(0, 0);
        let first_token = Duration::from_millis(1);
        one.count_stream(&Streamed { first_token, gaps: vec![1_000, 2_000] });
        one.bytes = 100;
        let mut all = one.clone();
        all.merge(&one);
        assert_eq!((all.tokens, all.gaps.count(), all.first_tokens.count()), (6, 4, 2));
        assert_eq!(all.gaps.max(), Some(Duration::from_millis(2)));
        assert_eq!(all.first_tokens.max(), Some(first_token));
        assert_eq!(all.bytes, 200);
    }

    #[test]
    fn what_is_told_reads_back_the_same() {
        let outcome = Outcome {
            stopped: true,
            sent: 1,
            took_us: 9,
            windows: vec![Counted::default()],
            whole: answered(0, 0),
        };
        for told in [
            Told::Progress(Progress { callers: 3, answered: 2, failed: 1, ..Progress::default() }),
            Told::AllThere,
            Told::WindowEnded { window: 1 },
            Told::Ended(Box::new(outcome)),
        ] {
            let line = serde_json::to_string(&told).unwrap();
            assert_eq!(serde_json::from_str::<Told>(&line).unwrap(), told, "{line}");
        }
    }
}
