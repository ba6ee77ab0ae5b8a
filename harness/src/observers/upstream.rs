//! Reads the mock provider's ledger, and puts its moments into the run's own time.

use std::time::Duration;

use mocks::ledger::LedgerPage;
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    client::http,
    clock::{Clock, Micros},
    runner::collect::{Arrival, Note},
};

/// How often the provider's clock is asked before the run; the quickest answer is the best one.
const CLOCK_READINGS: usize = 12;

/// Rows asked for at once.
const PAGE: u32 = 5_000;

/// Requests for the newest rows that may wait.
const QUEUE: usize = 1_024;

/// Why the ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The mock provider does not answer as one.
    #[error("the mock provider at {base} does not answer as one")]
    Unreadable {
        /// Where we asked.
        base: String,
        /// What went wrong.
        source: reqwest::Error,
    },
}

#[derive(Deserialize)]
struct ClockReading {
    now_us: u64,
}

/// Reads the ledger on request.
#[derive(Debug)]
pub struct Upstream {
    wanted: mpsc::Sender<oneshot::Sender<()>>,
    reader: JoinHandle<()>,
}

impl Upstream {
    /// Compares clocks with the mock provider at `base`, and begins to serve.
    ///
    /// # Errors
    ///
    /// When the provider's control routes cannot be read.
    pub async fn watch(
        base: &str,
        clock: Clock,
        notes: mpsc::Sender<Note>,
    ) -> Result<Upstream, UpstreamError> {
        let unreadable = |source| UpstreamError::Unreadable { base: base.to_owned(), source };
        let http =
            http::client([base]).timeout(Duration::from_secs(10)).build().map_err(unreadable)?;
        let offset = compare_clocks(&http, base, clock).await.map_err(unreadable)?;
        let (wanted, mut asked) = mpsc::channel::<oneshot::Sender<()>>(QUEUE);
        let base = base.to_owned();
        let reader = tokio::spawn(async move {
            let mut after = 0;
            while let Some(first) = asked.recv().await {
                let mut waiting = vec![first];
                while let Ok(more) = asked.try_recv() {
                    waiting.push(more);
                }
                // A ledger that cannot be read leaves the rows missing, and their drives with a gap.
                if let Ok(rows) = newest(&http, &base, &mut after).await {
                    let arrivals = rows.into_iter().map(|row| offset.arrival(row)).collect();
                    if notes.send(Note::Attempts(arrivals)).await.is_err() {
                        return;
                    }
                }
                for waiter in waiting {
                    // Whoever asked may have given up.
                    let _gone = waiter.send(());
                }
            }
        });
        Ok(Upstream { wanted, reader })
    }

    /// Brings every row that the ledger holds by now to the collector.
    pub async fn sync(&self) {
        let (done, read) = oneshot::channel();
        if self.wanted.send(done).await.is_ok() {
            // An answer that never comes means that the reader ended with the run.
            drop(read.await);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// How many rows of the ledger at `base` carry a mark that begins so; nothing where rows have fallen
/// out of it, or it cannot be read.
pub async fn rows_marked(base: &str, mark: &str) -> Option<u64> {
    let http = http::client([base]).timeout(Duration::from_secs(10)).build().ok()?;
    let (mut after, mut marked) = (0, 0);
    loop {
        let url = format!("{base}/_mock/ledger?after={after}&limit={PAGE}");
        let page: LedgerPage =
            http.get(url).send().await.ok()?.error_for_status().ok()?.json().await.ok()?;
        if page.dropped > 0 {
            return None;
        }
        if page.rows.is_empty() {
            return Some(marked);
        }
        let of_ours =
            |nonce: &Option<String>| nonce.as_deref().is_some_and(|it| it.starts_with(mark));
        marked += page.rows.iter().filter(|row| of_ours(&row.nonce)).count() as u64;
        after = page.next;
    }
}

/// How the provider's clock relates to the run's.
#[derive(Clone, Copy, Debug)]
struct Offset {
    theirs: u64,
    ours: Micros,
    error_us: u64,
}

impl Offset {
    fn in_our_time(self, theirs: u64) -> Micros {
        Micros((self.ours.0 + theirs).saturating_sub(self.theirs))
    }

    fn arrival(self, row: mocks::ledger::Attempt) -> Arrival {
        Arrival {
            at: self.in_our_time(row.arrived_us),
            ended: self.in_our_time(row.ended_us),
            clock_error_us: self.error_us,
            row,
        }
    }
}

/// The reading with the shortest way there and back; half of that way is how far it may be off.
async fn compare_clocks(
    http: &reqwest::Client,
    base: &str,
    clock: Clock,
) -> reqwest::Result<Offset> {
    let url = format!("{base}/_mock/clock");
    let mut best: Option<Offset> = None;
    for _ in 0..CLOCK_READINGS {
        let sent = clock.now();
        let reading: ClockReading = http.get(&url).send().await?.error_for_status()?.json().await?;
        let way = clock.now().since(sent);
        let half = way / 2;
        let error_us = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        if best.is_none_or(|best| error_us < best.error_us) {
            best = Some(Offset { theirs: reading.now_us, ours: sent.plus(half), error_us });
        }
    }
    Ok(best.unwrap_or(Offset { theirs: 0, ours: Micros(0), error_us: u64::MAX }))
}

async fn newest(
    http: &reqwest::Client,
    base: &str,
    after: &mut u64,
) -> reqwest::Result<Vec<mocks::ledger::Attempt>> {
    let mut rows = Vec::new();
    loop {
        let url = format!("{base}/_mock/ledger?after={after}&limit={PAGE}");
        let page =
            async { http.get(url).send().await?.error_for_status()?.json::<LedgerPage>().await };
        let page = match page.await {
            Ok(page) => page,
            // What was read already is not asked for again.
            Err(_) if !rows.is_empty() => return Ok(rows),
            Err(error) => return Err(error),
        };
        let none = page.rows.is_empty();
        *after = page.next;
        rows.extend(page.rows);
        if none {
            return Ok(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_moments_are_told_in_our_time() {
        let offset = Offset { theirs: 1_000, ours: Micros(5_000), error_us: 7 };
        assert_eq!(offset.in_our_time(1_250), Micros(5_250));
        assert_eq!(offset.in_our_time(900), Micros(4_900));
    }
}
