//! Whether a store answers: said when it changes, not once per request.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a store that cannot be reached is left alone before it is asked again.
const REST: Duration = Duration::from_millis(250);

/// The state of one store, as this process finds it.
#[derive(Debug)]
pub(crate) struct Outage {
    store: &'static str,
    is_down: AtomicBool,
    rests_until: Mutex<Option<Instant>>,
}

impl Outage {
    /// A store that has not failed yet.
    pub(crate) fn none(store: &'static str) -> Self {
        Self { store, is_down: AtomicBool::new(false), rests_until: Mutex::new(None) }
    }

    /// Was the store out of reach just now, so that asking again is a waste of time?
    pub(crate) fn is_resting(&self) -> bool {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// The store answered.
    pub(crate) fn ended(&self) {
        if self.is_down.swap(false, Ordering::Relaxed) {
            *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!(store = self.store, "store is back");
        }
    }

    /// The store did not answer.
    pub(crate) fn seen(&self, what: &'static str, error: &str) {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(store = self.store, what, error, "store is down");
        }
    }

    /// The store is out of reach: leave it alone for a moment.
    pub(crate) fn rest(&self) {
        let until = Instant::now() + REST;
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_rests_after_a_failure_and_no_longer_than_that() {
        let outage = Outage::none("redis");
        assert!(!outage.is_resting());
        outage.seen("command", "refused");
        outage.rest();
        assert!(outage.is_resting());
        outage.ended();
        assert!(!outage.is_resting());
    }
}
