//! Free loopback ports.
//!
//! A port that was free a moment ago may be taken when a server binds it. Whoever starts one reads
//! the server's own complaint and tries another port, a bounded number of times.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// How many ports are tried before we believe that something else is wrong.
pub(super) const ATTEMPTS: u32 = 5;

/// A loopback address that nothing listens on.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
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
    fn the_usual_complaints_are_understood() {
        assert!(says_port_is_taken(["ok", "[Errno 98] Address already in use"]));
        assert!(says_port_is_taken(["Error: listen EADDRINUSE: 127.0.0.1:4000"]));
        assert!(!says_port_is_taken(["listening"]));
    }
}
