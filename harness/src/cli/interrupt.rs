//! The wish that we end: Ctrl-C, or whoever started us asking the process to end.
//!
//! A command that has started something waits for this beside its work, so that what was started is
//! stopped, and what was done is told.

use std::{future::pending, sync::Once};

use tokio::signal::unix::{SignalKind, signal};

/// What a shell calls a program that Ctrl-C ended.
const LEFT: i32 = 130;

/// Returns once somebody wants us to end.
///
/// Stopping takes a moment, and may take long where a store hangs. Who asks a second time gets out at
/// once: watchdogs stop what was started.
pub(super) async fn interrupted() {
    static FIRST: Once = Once::new();
    asked_to_end().await;
    FIRST.call_once(|| drop(tokio::spawn(leave_when_asked_again())));
}

async fn asked_to_end() {
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
    }
}

#[expect(clippy::print_stderr, reason = "said while another holds the terminal's writers")]
#[expect(
    clippy::disallowed_methods,
    reason = "the person at the terminal will not wait any longer"
)]
async fn leave_when_asked_again() {
    eprintln!("\nstopping, and writing what was done; once more to leave at once");
    asked_to_end().await;
    std::process::exit(LEFT);
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        // It ends only with the runtime.
        Ok(mut wished) => drop(wished.recv().await),
        // A signal that cannot be listened to ends the process by itself, and watchdogs clean up.
        Err(_) => pending().await,
    }
}
