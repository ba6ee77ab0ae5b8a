//! The wish that we end: Ctrl-C, a terminal that was closed, or whoever started us asking the process
//! to end.
//!
//! A command that has started something waits for this beside its work, so that what was started is
//! stopped, and what was done is told.

use std::{
    fs,
    future::pending,
    io::{self, Write},
    sync::OnceLock,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// What a shell calls a program that Ctrl-C ended.
const LEFT: i32 = 130;

/// Returns once somebody wants us to end, or has wanted it since this was first called.
///
/// Stopping takes a moment, and may take long where a store hangs. Who asks a second time gets out at
/// once: the supervisor ends what was started.
pub(super) async fn interrupted() {
    static WISHED: OnceLock<watch::Receiver<bool>> = OnceLock::new();
    let begun = || {
        let (wish, wished) = watch::channel(false);
        // A signal that cannot be listened to ends the process by itself, and the supervisor cleans up.
        if let Ok(wishes) = Wishes::listened_to() {
            drop(tokio::spawn(hear(wishes, wish)));
        }
        wished
    };
    let mut wished = WISHED.get_or_init(begun).clone();
    if wished.wait_for(|wished| *wished).await.is_err() {
        pending().await
    }
}

/// Does `work`, which is told once somebody wants us to end, and ends in good order then. Says with what
/// it came to whether that was so.
pub(super) async fn stopping_in_good_order<T>(
    work: impl AsyncFnOnce(watch::Receiver<bool>) -> T,
) -> (T, bool) {
    let stop = watch::Sender::new(false);
    let done = {
        let work = work(stop.subscribe());
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => done,
            () = interrupted() => {
                stop.send_replace(true);
                work.await
            }
        }
    };
    let stopped = *stop.borrow();
    (done, stopped)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the person at the terminal will not wait any longer"
)]
async fn hear(mut wishes: Wishes, wish: watch::Sender<bool>) {
    wishes.next().await;
    let said = "\nstopping, and writing what was done; once more to leave at once";
    // The terminal may be what is gone.
    drop(writeln!(io::stderr(), "{said}"));
    wish.send_replace(true);
    wishes.next().await;
    std::process::exit(LEFT);
}

/// The signals that wish us to end.
struct Wishes {
    interrupt: Signal,
    terminate: Signal,
    /// Absent where whoever started us has us stay when the terminal goes, as `nohup` does, and where
    /// we cannot know.
    hangup: Option<Signal>,
}

impl Wishes {
    fn listened_to() -> io::Result<Wishes> {
        let hears_hangups = fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| ignores(&status, SignalKind::hangup()) == Some(false));
        Ok(Wishes {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: hears_hangups.then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    async fn next(&mut self) {
        let Wishes { interrupt, terminate, hangup } = self;
        let hung_up = async {
            match hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = hung_up => {}
        }
    }
}

/// Whether a process ignores a signal, by its status as Linux shows it.
fn ignores(status: &str, kind: SignalKind) -> Option<bool> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    Some(ignored >> (kind.as_raw_value() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_started_us_may_have_us_ignore_that_the_terminal_goes() {
        let status = |mask| format!("SigBlk:\t0000000000000000\nSigIgn:\t{mask}\nSigCgt:\t0\n");
        let hangup = SignalKind::hangup();
        assert_eq!(ignores(&status("0000000000000001"), hangup), Some(true));
        assert_eq!(ignores(&status("0000000000001006"), hangup), Some(false));
        assert_eq!(ignores("Name:\tgauntlet\n", hangup), None);
    }
}
