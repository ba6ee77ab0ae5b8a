//! What was used, recorded once.
//!
//! A request's spend goes into a bounded queue in this process and from there to Postgres every
//! flush interval, and once more when the gateway drains. A crash loses at most one interval.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    config::DeploymentParams,
    metrics::Metrics,
    store::{SpendRow, Store},
};

/// How many requests one statement records.
const BATCH: usize = 500;

/// The most tokens that one answer can be about, and the most that it can cost: about 9,000 dollars.
/// A thousand such sums still fit into a counter.
const MOST_TOKENS: i64 = 1 << 40;
const MOST_PICO: i64 = 1 << 53;

/// Token counts as the provider reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: i64,
    pub(crate) completion_tokens: i64,
}

impl Usage {
    /// The same within what can be: negative counts would be a way to earn money, and absurd ones
    /// overflow the sums of everybody who shares a counter.
    pub(crate) fn within_reason(self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.clamp(0, MOST_TOKENS),
            completion_tokens: self.completion_tokens.clamp(0, MOST_TOKENS),
        }
    }
}

/// What tokens cost, in pico-dollars (1e-12 USD) so that sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Price {
    input_pico: i64,
    output_pico: i64,
}

impl Price {
    pub(crate) fn of(params: &DeploymentParams) -> Self {
        Self {
            input_pico: pico(params.input_cost_per_token),
            output_pico: pico(params.output_cost_per_token),
        }
    }

    /// The cost of one answer.
    pub(crate) fn cost_pico(self, usage: Usage) -> i64 {
        let input = self.input_pico.saturating_mul(usage.prompt_tokens);
        let output = self.output_pico.saturating_mul(usage.completion_tokens);
        input.saturating_add(output).min(MOST_PICO)
    }
}

/// Pico-dollars in dollars, for answers.
#[expect(clippy::cast_precision_loss, reason = "shown to people and compared with budgets")]
pub(crate) fn dollars(pico: i64) -> f64 {
    pico as f64 / 1e12
}

/// Dollars in pico-dollars, as exactly as a double says them.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
pub(crate) fn pico(dollars: f64) -> i64 {
    (dollars * 1e12).round() as i64
}

/// The queue between requests and Postgres.
pub(crate) struct SpendQueue {
    waiting: Mutex<VecDeque<SpendRow>>,
    /// One flush at a time: whoever reads a total after its own flush finds everything in it.
    turn: Semaphore,
    bound: usize,
    metrics: Arc<Metrics>,
}

impl SpendQueue {
    pub(crate) fn new(bound: usize, metrics: Arc<Metrics>) -> Self {
        Self { waiting: Mutex::new(VecDeque::new()), turn: Semaphore::new(1), bound, metrics }
    }

    /// Queues one request's spend.
    pub(crate) fn record(&self, row: SpendRow) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.bound {
            waiting.pop_front();
            self.metrics.spend_dropped();
        }
        waiting.push_back(row);
    }

    /// Moves spend to Postgres every `interval` until `stop`, then once more.
    pub(crate) async fn run(&self, store: &Store, interval: Duration, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            self.flush(store).await;
        }
        self.flush(store).await;
        let lost = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len();
        if lost > 0 {
            tracing::error!(requests = lost, "spend was lost: Postgres did not take it in time");
        }
    }

    /// Moves everything that waits to Postgres; what Postgres does not take goes on waiting.
    pub(crate) async fn flush(&self, store: &Store) {
        // The semaphore is never closed.
        let Ok(_turn) = self.turn.acquire().await else { return };
        loop {
            let mut batch = self.batch();
            if batch.rows.is_empty() || store.record_spend(&batch.rows).await.is_err() {
                return;
            }
            batch.rows.clear();
        }
    }

    fn batch(&self) -> Batch<'_> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(BATCH);
        Batch { queue: self, rows: waiting.drain(..count).collect() }
    }
}

/// Spend on its way to Postgres. It goes back to the queue unless it arrived, also when the caller on
/// whose behalf it was moved hangs up on the way.
struct Batch<'a> {
    queue: &'a SpendQueue,
    rows: Vec<SpendRow>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for row in self.rows.drain(..).rev() {
            waiting.push_front(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_usage_times_price_without_rounding() {
        let price = Price { input_pico: pico(0.000_000_15), output_pico: pico(0.000_000_6) };
        let usage = Usage { prompt_tokens: 3, completion_tokens: 7 };
        assert_eq!(price.cost_pico(usage), 3 * 150_000 + 7 * 600_000);
    }

    #[test]
    fn a_cost_beyond_all_bounds_is_cut_to_one_that_can_be_summed() {
        let price = Price { input_pico: i64::MAX, output_pico: 1 };
        let usage = Usage { prompt_tokens: 2, completion_tokens: 2 };
        assert_eq!(price.cost_pico(usage), MOST_PICO);
    }
}
