//! What was asked, by which credential, and what was delivered.
//!
//! One row per attempt, written when the attempt ends, in order of completion. The server opens an
//! attempt when its head has arrived and tells it what is handed to the connection; the harness
//! reads rows page by page. Rows live in a ring: when it is full the oldest falls out and is
//! counted, so a reader always knows whether it saw everything. In the ring a row is compact, and
//! becomes an [`Attempt`] when it is read: writing one must cost little beside the answer.
//!
//! An attempt that is dropped without having been closed is one whose caller left: hyper drops the
//! handler or the body when the connection goes. That is why the drop itself writes the row.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::http::Method;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;

/// How many rows a ledger keeps unless told otherwise.
pub const DEFAULT_CAPACITY: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// How many rows one page holds at most, whatever its reader asks for.
pub const MOST_ROWS_PER_PAGE: usize = 10_000;

/// One attempt by a gateway to get an answer, as this provider saw it.
///
/// Times are microseconds on the provider's own monotonic clock, which `GET /_mock/clock` reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The row's number, from 1, in order of completion. Never used twice, not even after the
    /// ledger was cleared.
    pub seq: u64,
    /// When the head of the request had been read.
    pub arrived_us: u64,
    /// When the head of the answer was handed to the connection; none if there was no answer.
    pub first_byte_us: Option<u64>,
    /// When the last byte was handed to the connection, or the caller was seen to have left.
    pub ended_us: u64,
    /// Method of the request.
    pub method: String,
    /// Path and query of the request, cut at 1,024 bytes.
    pub path: String,
    /// The model asked for; empty if the body named none.
    pub model: String,
    /// First 16 hex digits of the SHA-256 of the bearer credential; empty if there was none.
    pub credential: String,
    /// TEXT of `[[nonce:TEXT]]` in the last message by a user.
    pub nonce: Option<String>,
    /// Names of the request's headers, in lower case, each once.
    pub header_names: Vec<String>,
    /// SHA-256 of the request's body, in hex; empty if the body was never read to its end.
    pub body_sha256: String,
    /// Status of the answer; 0 if there was none.
    pub status: u16,
    /// Whether the request asked for a stream.
    pub stream: bool,
    /// Server-sent events handed to the connection, `[DONE]` included; 0 for a whole answer.
    pub chunks_sent: u64,
    /// Bytes of body handed to the connection.
    pub bytes_sent: u64,
    /// What the answer declares, or would have declared had it not been broken off; zeros for an
    /// error.
    pub usage: Usage,
    /// The mark in the answer's text, `fp-` and 16 hex digits; none for an error.
    pub fingerprint: Option<String>,
    /// How the attempt ended.
    pub close: Close,
}

/// Token counts as the provider reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Close {
    /// Everything was handed to the connection.
    #[default]
    Complete,
    /// The peer left when this many chunks had been handed to the connection: 0 before the answer
    /// began, and for a whole answer.
    PeerClosedAtChunk(u64),
    /// The script told the provider to break the answer off.
    MockAborted,
}

/// Some rows, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPage {
    /// The oldest rows after the one asked for.
    pub rows: Vec<Attempt>,
    /// What to pass as `after` to get the rows that follow.
    pub next: u64,
    /// Rows that fell out of the ring since the ledger was last cleared.
    pub dropped: u64,
    /// Attempts that have arrived and not ended.
    pub in_flight: u64,
}

/// The rows of one provider, and its clock.
#[derive(Debug)]
pub(crate) struct Ledger {
    started: Instant,
    capacity: NonZeroUsize,
    in_flight: AtomicU64,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Numbered without a gap. Shared, so that a page is made after the lock is released.
    rows: VecDeque<Arc<Row>>,
    last_seq: u64,
    dropped: u64,
}

/// An [`Attempt`] as the ring keeps it: few allocations, nothing rendered.
#[derive(Debug, Default)]
pub(crate) struct Row {
    seq: u64,
    arrived_us: u64,
    first_byte_us: Option<u64>,
    ended_us: u64,
    pub(crate) method: Method,
    pub(crate) path: Box<str>,
    pub(crate) model: Option<Arc<str>>,
    /// The first bytes of the digest.
    pub(crate) credential: Option<[u8; 8]>,
    pub(crate) nonce: Option<Arc<str>>,
    /// One name per line.
    pub(crate) header_names: String,
    pub(crate) body_sha256: Option<[u8; 32]>,
    status: u16,
    pub(crate) stream: bool,
    chunks_sent: u64,
    bytes_sent: u64,
    pub(crate) usage: Usage,
    pub(crate) fingerprint: Option<Fingerprint>,
    close: Close,
}

impl From<&Row> for Attempt {
    fn from(row: &Row) -> Attempt {
        Attempt {
            seq: row.seq,
            arrived_us: row.arrived_us,
            first_byte_us: row.first_byte_us,
            ended_us: row.ended_us,
            method: row.method.to_string(),
            path: row.path.to_string(),
            model: row.model.as_deref().unwrap_or_default().to_owned(),
            credential: row.credential.map(|digest| hex(&digest)).unwrap_or_default(),
            nonce: row.nonce.as_deref().map(str::to_owned),
            header_names: row.header_names.lines().map(str::to_owned).collect(),
            body_sha256: row.body_sha256.map(|digest| hex(&digest)).unwrap_or_default(),
            status: row.status,
            stream: row.stream,
            chunks_sent: row.chunks_sent,
            bytes_sent: row.bytes_sent,
            usage: row.usage,
            fingerprint: row.fingerprint.map(|fingerprint| fingerprint.to_string()),
            close: row.close,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Ledger {
    pub(crate) fn new(capacity: NonZeroUsize) -> Arc<Ledger> {
        Arc::new(Ledger {
            started: Instant::now(),
            capacity,
            in_flight: AtomicU64::new(0),
            ring: Mutex::default(),
        })
    }

    /// Microseconds since this ledger was made.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Begins an attempt, which counts as in flight until it is closed or dropped.
    pub(crate) fn open(self: &Arc<Ledger>) -> OpenAttempt {
        let arrived_us = self.now_us();
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        OpenAttempt {
            ledger: Arc::clone(self),
            row: Row { arrived_us, ..Row::default() },
            closed: false,
        }
    }

    /// Up to `limit` rows that follow row `after`.
    pub(crate) fn page(&self, after: u64, limit: usize) -> LedgerPage {
        let (rows, dropped, in_flight) = {
            let ring = self.ring();
            let oldest = ring.rows.front().map_or(0, |row| row.seq);
            let skipped = after.saturating_add(1).saturating_sub(oldest);
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            let rows = ring.rows.iter().skip(skipped).take(limit.min(MOST_ROWS_PER_PAGE));
            (rows.cloned().collect::<Vec<_>>(), ring.dropped, self.in_flight())
        };
        LedgerPage {
            next: rows.last().map_or(after, |row| row.seq),
            rows: rows.iter().map(|row| Attempt::from(&**row)).collect(),
            dropped,
            in_flight,
        }
    }

    /// Forgets all rows. Numbers go on from where they were, so a reader's `after` stays valid.
    pub(crate) fn clear(&self) -> LedgerPage {
        let mut ring = self.ring();
        let forgotten = std::mem::take(&mut ring.rows);
        ring.dropped = 0;
        let (next, in_flight) = (ring.last_seq, self.in_flight());
        drop(ring);
        drop(forgotten);
        LedgerPage { rows: Vec::new(), next, dropped: 0, in_flight }
    }

    fn write(&self, mut row: Row) {
        let mut ring = self.ring();
        // Under the lock, so that numbers and times have one order, and that a reader finds an
        // attempt either in flight or in a row.
        row.ended_us = self.now_us();
        ring.last_seq += 1;
        row.seq = ring.last_seq;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let fell_out = if ring.rows.len() >= self.capacity.get() {
            ring.dropped += 1;
            ring.rows.pop_front()
        } else {
            None
        };
        ring.rows.push_back(Arc::new(row));
        drop(ring);
        // The old row's memory is given back without the lock.
        drop(fell_out);
    }

    fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A panic elsewhere leaves the ring whole: every change to it is complete before the next.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that has arrived and not ended.
#[derive(Debug)]
pub(crate) struct OpenAttempt {
    ledger: Arc<Ledger>,
    row: Row,
    closed: bool,
}

impl OpenAttempt {
    /// The row as it stands, to be filled in.
    pub(crate) fn row(&mut self) -> &mut Row {
        &mut self.row
    }

    /// The head of the answer goes out. Gives the milliseconds since the request arrived.
    pub(crate) fn answered(&mut self, status: u16) -> u64 {
        let now_us = self.ledger.now_us();
        self.row.status = status;
        self.row.first_byte_us = Some(now_us);
        now_us.saturating_sub(self.row.arrived_us) / 1_000
    }

    /// Part of the answer's body goes out.
    pub(crate) fn sent(&mut self, bytes: usize, chunks: u64) {
        self.row.bytes_sent += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.row.chunks_sent += chunks;
    }

    /// Writes the row.
    pub(crate) fn close(mut self, close: Close) {
        self.write(close);
    }

    fn write(&mut self, close: Close) {
        self.closed = true;
        let row = std::mem::take(&mut self.row);
        self.ledger.write(Row { close, ..row });
    }
}

impl Drop for OpenAttempt {
    fn drop(&mut self) {
        if !self.closed {
            self.write(Close::PeerClosedAtChunk(self.row.chunks_sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_are_numbered_in_order_of_completion() {
        let ledger = ledger_of(10);
        let first = attempt(&ledger, "first");
        attempt(&ledger, "second").close(Close::Complete);
        first.close(Close::Complete);
        assert_eq!(numbered(&ledger.page(0, 10)), [(1, "second"), (2, "first")]);
    }

    #[test]
    fn an_attempt_that_is_dropped_was_left_by_its_peer() {
        let ledger = ledger_of(10);
        let mut left = attempt(&ledger, "left");
        left.sent(10, 1);
        left.sent(10, 1);
        drop(left);
        let page = ledger.page(0, 10);
        assert_eq!(page.rows[0].close, Close::PeerClosedAtChunk(2));
        assert_eq!(page.rows[0].bytes_sent, 20);
        assert_eq!(page.in_flight, 0);
    }

    #[test]
    fn an_open_attempt_is_in_flight_and_has_no_row() {
        let ledger = ledger_of(10);
        let _open = ledger.open();
        let page = ledger.page(0, 10);
        assert_eq!((page.rows.len(), page.in_flight), (0, 1));
    }

    #[test]
    fn clearing_does_not_reuse_numbers() {
        let ledger = ledger_of(10);
        attempt(&ledger, "before").close(Close::Complete);
        assert_eq!(ledger.clear().next, 1);
        attempt(&ledger, "after").close(Close::Complete);
        assert_eq!(numbered(&ledger.page(0, 10)), [(2, "after")]);
    }

    #[test]
    fn a_reader_ahead_of_the_ledger_gets_nothing() {
        let ledger = ledger_of(10);
        attempt(&ledger, "only").close(Close::Complete);
        let page = ledger.page(u64::MAX - 1, 10);
        assert_eq!((page.rows.len(), page.next), (0, u64::MAX - 1));
    }

    #[test]
    fn digests_are_rendered_at_full_width() {
        let ledger = ledger_of(10);
        let mut attempt = ledger.open();
        attempt.row().credential = Some([0x00, 0x0f, 0xa0, 0xff, 1, 2, 3, 4]);
        attempt.row().header_names = "host\naccept\n".to_owned();
        attempt.close(Close::Complete);
        let row = ledger.page(0, 1).rows.remove(0);
        assert_eq!(row.credential, "000fa0ff01020304");
        assert_eq!(row.header_names, ["host", "accept"]);
        assert_eq!(row.body_sha256, "");
    }

    #[test]
    fn closes_read_as_the_contract_says() {
        let written = |close| serde_json::to_string(&close).unwrap();
        assert_eq!(written(Close::Complete), r#""complete""#);
        assert_eq!(written(Close::PeerClosedAtChunk(3)), r#"{"peer_closed_at_chunk":3}"#);
        assert_eq!(written(Close::MockAborted), r#""mock_aborted""#);
    }

    proptest! {
        #[test]
        fn the_ring_keeps_the_newest_and_counts_the_rest(
            capacity in 1..20usize, count in 0..60usize, limit in 1..10usize,
        ) {
            let ledger = ledger_of(capacity);
            for _ in 0..count {
                ledger.open().close(Close::Complete);
            }
            let mut seen = Vec::new();
            let mut after = 0;
            loop {
                let page = ledger.page(after, limit);
                prop_assert_eq!(page.dropped, count.saturating_sub(capacity) as u64);
                prop_assert!(page.rows.len() <= limit);
                if page.rows.is_empty() {
                    break;
                }
                seen.extend(page.rows.iter().map(|row| row.seq));
                after = page.next;
            }
            let kept = count.saturating_sub(capacity) as u64 + 1..=count as u64;
            prop_assert_eq!(seen, kept.collect::<Vec<_>>());
        }
    }

    fn ledger_of(capacity: usize) -> Arc<Ledger> {
        Ledger::new(NonZeroUsize::new(capacity).unwrap())
    }

    fn attempt(ledger: &Arc<Ledger>, model: &str) -> OpenAttempt {
        let mut attempt = ledger.open();
        attempt.row().model = Some(model.into());
        attempt
    }

    fn numbered(page: &LedgerPage) -> Vec<(u64, &str)> {
        page.rows.iter().map(|row| (row.seq, row.model.as_str())).collect()
    }
}
