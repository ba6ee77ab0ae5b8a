//! One port for many processes.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The first address of `host` that is free, and a socket that holds it for others to share. Port 0
/// becomes a free one.
pub(super) async fn hold(host: &str, port: u16) -> io::Result<(TcpSocket, SocketAddr)> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match hold_at(address) {
            Ok(held) => return Ok(held),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn hold_at(address: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    if address.port() != 0 {
        // Sharing would be allowed with a gateway that runs already; one that does not share is
        // told about it.
        let alone = socket(address)?;
        alone.set_reuseaddr(true)?;
        alone.bind(address)?;
    }
    let held = shared(address)?;
    let address = held.local_addr()?;
    Ok((held, address))
}

/// A socket that shares `address`; nobody is let in before it [listens](listen).
pub(super) fn shared(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = socket(address)?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Lets callers in.
pub(super) fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn workers_share_the_port_that_is_held_and_nobody_else_may_have_it() {
        let (_held, address) = hold("127.0.0.1", 0).await.unwrap();
        assert_ne!(address.port(), 0);
        assert!(TcpStream::connect(address).await.is_err());
        let workers = [shared(address).unwrap(), shared(address).unwrap()];
        let listeners = workers.map(|worker| listen(worker).unwrap());
        TcpStream::connect(address).await.unwrap();
        let refused = hold("127.0.0.1", address.port()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
    }
}
