//! Work that is seen to its end where nobody can await it: in a drop.

use std::{future::Future, io, thread};

/// Runs `work` to its end, with or without a runtime around us.
///
/// # Errors
///
/// When the system refuses what that takes.
pub(super) fn to_its_end<T: Send>(work: impl Future<Output = T> + Send) -> io::Result<T> {
    // A runtime cannot wait within another, so this one has a thread.
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(work))
        });
        working.join().unwrap_or_else(|_| Err(io::Error::other("its thread ended early")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_where_nobody_can_await_it() {
        let answer = async {
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(to_its_end(answer).unwrap(), 7);
    }

    #[tokio::test]
    async fn work_ends_within_a_runtime_too() {
        assert_eq!(to_its_end(async { 7 }).unwrap(), 7);
    }
}
