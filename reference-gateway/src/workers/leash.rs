//! The line between a supervisor and one worker: the worker's standard input, in both directions.
//!
//! The worker says when it is ready and when it listens; the supervisor says when to listen. When
//! the line ends, the worker stops: that is how it is told to, and how it learns that its supervisor
//! was killed.

use std::{
    fmt, io,
    net::SocketAddr,
    num::NonZeroU8,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    process::Stdio,
    str::FromStr,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, UnixStream},
};
use tokio_util::sync::CancellationToken;

use super::port;

/// What the worker says once it could listen.
const READY: u8 = b'r';
/// What the supervisor says once every worker is ready.
const SERVE: u8 = b's';
/// What the worker says once it listens.
const LISTENING: u8 = b'l';

/// Which worker a process is, and where its supervisor has it listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Post {
    /// Its number, from 1.
    pub worker: NonZeroU8,
    /// The address that all workers share.
    pub address: SocketAddr,
}

impl fmt::Display for Post {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.worker, self.address)
    }
}

/// The text is not a worker's number, `@` and an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a post is a number and an address, as in 2@127.0.0.1:4000")]
pub struct NoPost;

impl FromStr for Post {
    type Err = NoPost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (worker, address) = text.split_once('@').ok_or(NoPost)?;
        match (worker.parse(), address.parse()) {
            (Ok(worker), Ok(address)) => Ok(Self { worker, address }),
            _ => Err(NoPost),
        }
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Leash {
    line: UnixStream,
    address: SocketAddr,
}

impl Leash {
    /// Takes up the line that was handed over as standard input.
    ///
    /// # Errors
    /// When standard input cannot be used.
    pub fn take_up(post: Post) -> io::Result<Self> {
        let line = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        line.set_nonblocking(true)?;
        Ok(Self { line: UnixStream::from_std(line)?, address: post.address })
    }

    /// Where it will listen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until every worker is ready, and listens. From then on the end of the line cancels
    /// `stop`. `None` when the supervisor ended first.
    pub(crate) async fn listen(self, stop: &CancellationToken) -> io::Result<Option<TcpListener>> {
        let Self { mut line, address } = self;
        let socket: TcpSocket = port::shared(address)?;
        if line.write_u8(READY).await.is_err() || line.read_u8().await.ok() != Some(SERVE) {
            return Ok(None);
        }
        let listener = port::listen(socket)?;
        // Where nobody hears it, the line has ended, which is found out below.
        let _ = line.write_u8(LISTENING).await;
        let stop = stop.clone();
        tokio::spawn(async move {
            // Nothing else is ever said, so whatever this is, it is the end.
            let _ = line.read_u8().await;
            stop.cancel();
        });
        Ok(Some(listener))
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Hand {
    line: UnixStream,
}

impl Hand {
    /// A line, and the end of it that becomes the worker's standard input.
    pub(super) fn with_leash() -> io::Result<(Self, Stdio)> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let line = UnixStream::from_std(ours)?;
        Ok((Self { line }, Stdio::from(OwnedFd::from(theirs))))
    }

    /// Waits until the worker could listen; `false` when it ended instead.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.line.read_u8().await.ok() == Some(READY)
    }

    /// Has the worker listen; `false` when it ended instead.
    pub(super) async fn has_it_serve(&mut self) -> bool {
        self.line.write_u8(SERVE).await.is_ok() && self.line.read_u8().await.ok() == Some(LISTENING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_survives_the_command_line() {
        let post = Post { worker: NonZeroU8::MIN, address: "[::1]:4000".parse().unwrap() };
        assert_eq!(post.to_string(), "1@[::1]:4000");
        assert_eq!(post.to_string().parse(), Ok(post));
        for text in ["", "1", "0@127.0.0.1:1", "1@localhost:1"] {
            assert_eq!(text.parse::<Post>(), Err(NoPost));
        }
    }

    /// Both ends, at a port that is held.
    async fn line() -> (Hand, Leash, TcpSocket) {
        let (held, address) = port::hold("127.0.0.1", 0).await.unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Hand { line: ours }, Leash { line: theirs, address }, held)
    }

    #[tokio::test]
    async fn a_worker_listens_when_it_is_told_and_stops_when_the_line_ends() {
        let (mut hand, leash, _held) = line().await;
        let stop = CancellationToken::new();
        let listening = {
            let stop = stop.clone();
            tokio::spawn(async move { leash.listen(&stop).await })
        };
        assert!(hand.is_ready().await);
        assert!(!listening.is_finished());
        assert!(hand.has_it_serve().await);
        assert!(listening.await.unwrap().unwrap().is_some());
        assert!(!stop.is_cancelled());
        drop(hand);
        stop.cancelled().await;
    }

    #[tokio::test]
    async fn a_worker_whose_supervisor_is_gone_never_listens() {
        let (hand, leash, _held) = line().await;
        drop(hand);
        assert!(leash.listen(&CancellationToken::new()).await.unwrap().is_none());
    }
}
