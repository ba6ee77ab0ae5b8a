//! Free loopback ports.
//!
//! A port that was free a moment ago may be taken when a server binds it, and a gateway may need
//! many seconds to come so far. So ports are chosen where the system gives none to connections,
//! and every process of ours begins to look at a place of its own. Whoever starts a server reads
//! its complaint all the same, and tries another port a bounded number of times.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below what Linux, macOS and the standard call ephemeral.
const FIRST: u16 = 20_000;

/// How many ports belong to one process before those of the next begin.
const STRIDE: u32 = 37;

/// How many processes have ports of their own.
const PROCESSES: u32 = 330;

/// How many ports are tried before we believe that something else is wrong.
pub(super) const ATTEMPTS: u32 = 5;

/// A loopback address that nothing listens on, and that was not handed out lately.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    static HANDED_OUT: AtomicU32 = AtomicU32::new(0);
    let mine = process::id() % PROCESSES * STRIDE;
    let total = PROCESSES * STRIDE;
    let free = (0..total).find_map(|_| {
        let place = (mine + HANDED_OUT.fetch_add(1, Ordering::Relaxed)) % total;
        let port = FIRST + u16::try_from(place).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
    });
    match free {
        Some(listener) => listener.local_addr(),
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr(),
    }
}

/// Whether something listens on `address` already.
pub(super) fn is_taken(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Whether a server says that its port was taken.
pub(super) fn says_port_is_taken<'a>(lines: impl IntoIterator<Item = &'a str>) -> bool {
    lines.into_iter().any(|line| {
        let line = line.to_ascii_lowercase();
        line.contains("address already in use") || line.contains("eaddrinuse")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_a_listener_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(is_taken(listener.local_addr().unwrap()));
        assert!(!is_taken(free_address().unwrap()));
    }

    #[test]
    fn a_port_is_not_handed_out_twice_in_a_row() {
        let first = free_address().unwrap();
        assert_ne!(free_address().unwrap(), first);
        assert!((FIRST..32_768).contains(&first.port()), "{first}");
    }

    #[test]
    fn the_usual_complaints_are_understood() {
        assert!(says_port_is_taken(["ok", "[Errno 98] Address already in use"]));
        assert!(says_port_is_taken(["Error: listen EADDRINUSE: 127.0.0.1:4000"]));
        assert!(!says_port_is_taken(["listening"]));
    }
}
