//! The wish that we end: Ctrl-C, or whoever started us asking the process to end.
//!
//! A command that has started something waits for this beside its work, so that what was started is
//! stopped, and what was done is told.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};

/// Returns once somebody wants us to end.
pub(super) async fn interrupted() {
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
    }
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        // It ends only with the runtime.
        Ok(mut wished) => drop(wished.recv().await),
        // A signal that cannot be listened to ends the process by itself, and watchdogs clean up.
        Err(_) => pending().await,
    }
}
