//! Reads in flight: concurrent misses of one identity share one read.
//!
//! The read runs in a task of its own, so a caller who leaves takes nobody down with them, and a
//! read that fails, panics or is dropped wakes everyone who waits. An invalidation makes later
//! callers start a new read, and forbids the old one to fill the memory tier.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::sync::oneshot;

use super::keys::IdentityId;

type Outcome<V> = Shared<BoxFuture<'static, Option<V>>>;

struct Flight<V> {
    ticket: u64,
    outcome: Outcome<V>,
}

struct Board<V> {
    next_ticket: u64,
    flights: HashMap<IdentityId, Flight<V>>,
}

/// The reads in flight of one process.
pub(super) struct Flights<V> {
    board: Arc<Mutex<Board<V>>>,
}

impl<V: Clone + Send + Sync + 'static> Flights<V> {
    pub(super) fn new() -> Self {
        let board = Board { next_ticket: 0, flights: HashMap::new() };
        Self { board: Arc::new(Mutex::new(board)) }
    }

    /// Joins the read of `id` that is in flight, or starts one. `read` gets the ticket with which
    /// it may [land](Self::land). `None` when the read ended without an outcome.
    pub(super) async fn join<F>(&self, id: &IdentityId, read: impl FnOnce(Ticket) -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.outcome(id, read).await
    }

    fn outcome<F>(&self, id: &IdentityId, read: impl FnOnce(Ticket) -> F) -> Outcome<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut board = self.lock();
        if let Some(flight) = board.flights.get(id) {
            return flight.outcome.clone();
        }
        let ticket = board.next_ticket;
        board.next_ticket += 1;
        let (send, receive) = oneshot::channel();
        let outcome = receive.map(Result::ok).boxed().shared();
        board.flights.insert(id.clone(), Flight { ticket, outcome: outcome.clone() });
        let read = read(Ticket(ticket));
        let end = End { board: Arc::clone(&self.board), id: id.clone(), ticket };
        tokio::spawn(async move {
            let value = read.await;
            drop(end);
            // Nobody listens when every caller has left.
            let _ = send.send(value);
        });
        outcome
    }

    /// Runs `fill` if no invalidation came between the start of this read and now; no
    /// invalidation can come in while it runs.
    pub(super) fn land(&self, id: &IdentityId, ticket: Ticket, fill: impl FnOnce()) {
        let board = self.lock();
        if board.flights.get(id).is_some_and(|flight| flight.ticket == ticket.0) {
            fill();
        }
    }

    /// Lets later callers start a new read of `id`, and runs `clear` while no read can land.
    pub(super) fn ground(&self, id: &IdentityId, clear: impl FnOnce()) {
        let mut board = self.lock();
        board.flights.remove(id);
        clear();
    }

    /// Does the same for every identity.
    pub(super) fn ground_all(&self, clear: impl FnOnce()) {
        let mut board = self.lock();
        board.flights.clear();
        clear();
    }

    fn lock(&self) -> MutexGuard<'_, Board<V>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One read's right to land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Takes a read off the board when it ends, however it ends.
struct End<V> {
    board: Arc<Mutex<Board<V>>>,
    id: IdentityId,
    ticket: u64,
}

impl<V> Drop for End<V> {
    fn drop(&mut self) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        if board.flights.get(&self.id).is_some_and(|flight| flight.ticket == self.ticket) {
            board.flights.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::sync::Semaphore;

    use super::*;

    fn id() -> IdentityId {
        IdentityId::Team("t".to_owned())
    }

    #[tokio::test]
    async fn concurrent_misses_share_one_read() {
        let flights = Arc::new(Flights::new());
        let reads = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let (flights, reads) = (Arc::clone(&flights), Arc::clone(&reads));
                tokio::spawn(async move {
                    flights
                        .join(&id(), |_| async move {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            reads.fetch_add(1, Ordering::Relaxed)
                        })
                        .await
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Some(0));
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_leader_who_leaves_does_not_take_the_read_away() {
        let flights = Arc::new(Flights::new());
        let gate = Arc::new(Semaphore::new(0));
        let leader = tokio::spawn({
            let (flights, gate) = (Arc::clone(&flights), Arc::clone(&gate));
            async move {
                flights
                    .join(&id(), |_| async move {
                        gate.acquire().await.map(drop).unwrap();
                        7
                    })
                    .await
            }
        });
        tokio::task::yield_now().await;
        leader.abort();
        gate.add_permits(1);
        assert_eq!(flights.join(&id(), |_| async { 8 }).await, Some(7));
    }

    #[tokio::test]
    async fn a_read_that_panics_wakes_its_followers_and_the_next_caller_reads_anew() {
        let flights: Flights<u8> = Flights::new();
        assert_eq!(flights.join(&id(), |_| async { panic!("planted") }).await, None);
        assert_eq!(flights.join(&id(), |_| async { 3 }).await, Some(3));
    }

    #[tokio::test]
    async fn a_read_that_an_invalidation_overtook_does_not_land() {
        let flights = Arc::new(Flights::new());
        let landed = {
            let inner = Arc::clone(&flights);
            flights
                .join(&id(), |ticket| async move {
                    inner.ground(&id(), || ());
                    let mut landed = false;
                    inner.land(&id(), ticket, || landed = true);
                    landed
                })
                .await
        };
        assert_eq!(landed, Some(false));
    }
}
