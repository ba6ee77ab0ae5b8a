//! Which replica of a target that runs already a store's connection comes from.
//!
//! A single replica is the origin of all that names ids of ours. Several are told apart by where they
//! connect from: by their addresses where no two share one, else by the process that holds the other
//! end, where that process runs on this machine. What cannot be told is nobody's, and nobody guesses.
//!
//! To look at all processes takes long where there are many, so one look serves every connection that
//! it shows, for a second.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::Url;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    clock::{Clock, Micros},
    op::Replica,
    proc,
};

/// How long it is believed who holds a connection. A port is not given out again so soon.
const BELIEVED: Duration = Duration::from_secs(1);

/// How often we look at most, for connections that the last look did not show.
const APART: Duration = Duration::from_millis(100);

/// Tells replicas apart by where they connect from.
#[derive(Debug)]
pub(super) struct Origins {
    homes: Vec<Home>,
    clock: Clock,
    /// Who holds the connections that were looked for.
    known: BTreeMap<SocketAddr, Option<Replica>>,
    seen: Arc<Seen>,
    since: Micros,
    looks: Interval,
}

/// Where a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Home {
    addresses: BTreeSet<IpAddr>,
    port: u16,
}

impl Origins {
    /// Of the replicas at these URLs. A host that has no address is the origin of nothing.
    pub(super) async fn of(replicas: &[Url], clock: Clock) -> Origins {
        let mut homes = Vec::new();
        for url in replicas {
            let port = url.port_or_known_default().unwrap_or_default();
            let host = url.host_str().unwrap_or_default();
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let found = tokio::net::lookup_host((bare, port)).await;
            let addresses = found.into_iter().flatten().map(|at| at.ip().to_canonical()).collect();
            homes.push(Home { addresses, port });
        }
        let mut looks = interval(APART);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (known, seen, since) = (BTreeMap::new(), Arc::default(), clock.now());
        Origins { homes, clock, known, seen, since, looks }
    }

    /// The replica that connected from here, where that can be told.
    pub(super) async fn replica(&mut self, from: SocketAddr) -> Option<Replica> {
        if self.homes.len() == 1 {
            return Some(Replica(0));
        }
        if are_apart(&self.homes) {
            return by_address(&self.homes, from.ip().to_canonical());
        }
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if self.clock.now().since(self.since) >= BELIEVED {
            self.known.clear();
            self.seen = Arc::default();
            self.since = self.clock.now();
        }
        if let Some(known) = self.known.get(&from) {
            return *known;
        }
        if !self.seen.shows(from) {
            self.looks.tick().await;
            // A look that is lost shows nothing.
            let seen = tokio::task::spawn_blocking(Seen::now).await;
            self.seen = Arc::new(seen.unwrap_or_default());
        }
        let replica = by_process(&self.homes, &self.seen, from);
        self.known.insert(from, replica);
        replica
    }
}

/// Whether no two replicas share an address.
fn are_apart(homes: &[Home]) -> bool {
    let mut met = BTreeSet::new();
    homes.iter().flat_map(|home| &home.addresses).all(|address| met.insert(*address))
}

fn by_address(homes: &[Home], from: IpAddr) -> Option<Replica> {
    let home = homes.iter().position(|home| home.addresses.contains(&from))?;
    u8::try_from(home).ok().map(Replica)
}

/// The replica whose listening process holds this end of a connection, or started who does.
fn by_process(homes: &[Home], seen: &Seen, from: SocketAddr) -> Option<Replica> {
    let held = seen.sockets.iter().filter(|it| it.local == from && it.state == State::Open);
    let held: BTreeSet<_> = held.map(|socket| socket.inode).collect();
    if held.is_empty() {
        return None;
    }
    let of = |wanted: &BTreeSet<u64>| -> BTreeSet<u32> {
        let found = seen.holders.iter().filter(|(inode, _)| wanted.contains(inode));
        found.map(|(_, pid)| *pid).collect()
    };
    let mut line: BTreeSet<u32> = of(&held);
    let mut young: Vec<u32> = line.iter().copied().collect();
    while let Some(child) = young.pop() {
        if let Some(parent) = seen.parents.get(&child)
            && line.insert(*parent)
        {
            young.push(*parent);
        }
    }
    let listens = |home: &Home| {
        let listening = seen.sockets.iter().filter(|it| {
            let here = it.local.ip().is_unspecified() || home.addresses.contains(&it.local.ip());
            it.state == State::Listening && it.local.port() == home.port && here
        });
        !of(&listening.map(|socket| socket.inode).collect()).is_disjoint(&line)
    };
    let mut found = (0..).zip(homes).filter(|(_, home)| listens(home)).map(|(at, _)| Replica(at));
    // A process that listens for two replicas could be either.
    found.next().filter(|_| found.next().is_none())
}

/// All sockets and all processes that we may look at, as they were at one moment.
#[derive(Debug, Default)]
struct Seen {
    sockets: Vec<Socket>,
    /// Every socket that a process has open, with that process.
    holders: Vec<(u64, u32)>,
    /// The process that started each.
    parents: BTreeMap<u32, u32>,
}

impl Seen {
    fn now() -> Seen {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let sockets = tables.iter().flatten().flat_map(|table| sockets(table)).collect();
        let pids: Vec<u32> = proc::ids().collect();
        let open = |pid: &u32| proc::sockets(*pid).map(|inode| (inode, *pid)).collect::<Vec<_>>();
        let parents = pids.iter().filter_map(|pid| {
            // The first process of all started everybody, and is nobody's replica.
            let parent = proc::stat(*pid)?.parent;
            Some((*pid, u32::try_from(parent).ok().filter(|parent| *parent > 1)?))
        });
        Seen { sockets, holders: pids.iter().flat_map(open).collect(), parents: parents.collect() }
    }

    fn shows(&self, from: SocketAddr) -> bool {
        self.sockets.iter().any(|socket| socket.local == from && socket.state == State::Open)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Listening,
    Other,
}

/// A line of a table of `/proc/net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    state: State,
    inode: u64,
}

fn sockets(table: &str) -> impl Iterator<Item = Socket> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let local = address(fields.nth(1)?)?;
        let state = match fields.nth(1)? {
            "01" => State::Open,
            "0A" => State::Listening,
            _ => State::Other,
        };
        Some(Socket { local, state, inode: fields.nth(5)?.parse().ok()? })
    })
}

/// An address as those tables have it: words of four bytes as this machine keeps them, in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once(':')?;
    let words: Option<Vec<u32>> = (0..ip.len())
        .step_by(8)
        .map(|at| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok())
        .collect();
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::from(Ipv4Addr::from(four)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    async fn origins(urls: &[&str]) -> Origins {
        let urls: Vec<_> = urls.iter().map(|url| Url::parse(url).unwrap()).collect();
        Origins::of(&urls, Clock::start()).await
    }

    #[tokio::test]
    async fn all_that_names_us_comes_from_the_only_replica() {
        let mut origins = origins(&["http://127.0.0.1:1"]).await;
        assert_eq!(origins.replica("10.0.0.9:5".parse().unwrap()).await, Some(Replica(0)));
    }

    #[tokio::test]
    async fn replicas_with_addresses_of_their_own_are_told_apart_by_them() {
        let mut origins = origins(&["http://127.0.0.1:1", "http://127.0.0.2:1"]).await;
        assert_eq!(origins.replica("127.0.0.2:5".parse().unwrap()).await, Some(Replica(1)));
        let mapped = "[::ffff:127.0.0.1]:5".parse().unwrap();
        assert_eq!(origins.replica(mapped).await, Some(Replica(0)));
        assert_eq!(origins.replica("127.0.0.3:5".parse().unwrap()).await, None);
    }

    #[tokio::test]
    async fn on_this_machine_the_listening_process_is_the_origin() {
        let (replica, store) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let asking = TcpStream::connect(store.local_addr().unwrap()).unwrap();
        let (_accepted, from) = store.accept().unwrap();
        let url = format!("http://{}", replica.local_addr().unwrap());
        let mut origins = origins(&["http://127.0.0.1:1", &url]).await;
        assert_eq!(origins.replica(from).await, Some(Replica(1)));
        // One look serves all that it shows, and what it does not show is looked for once.
        let seen = Arc::clone(&origins.seen);
        assert_eq!(origins.replica(from).await, Some(Replica(1)));
        assert!(Arc::ptr_eq(&seen, &origins.seen));
        let later = TcpStream::connect(store.local_addr().unwrap()).unwrap();
        let (_accepted, from) = store.accept().unwrap();
        assert_eq!(origins.replica(from).await, Some(Replica(1)));
        assert!(!Arc::ptr_eq(&seen, &origins.seen));
        drop((asking, later));
        assert_eq!(origins.replica("127.0.0.1:1".parse().unwrap()).await, None);
    }

    #[tokio::test]
    async fn a_process_that_listens_for_two_replicas_could_be_either() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other, store) = (listen(), listen(), listen());
        let _asking = TcpStream::connect(store.local_addr().unwrap()).unwrap();
        let (_accepted, from) = store.accept().unwrap();
        let url = |of: &TcpListener| format!("http://{}", of.local_addr().unwrap());
        let mut origins = origins(&[&url(&one), &url(&other)]).await;
        assert_eq!(origins.replica(from).await, None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn tables_have_addresses_in_the_order_of_this_machine() {
        assert_eq!(address("0100007F:1F90"), Some("127.0.0.1:8080".parse().unwrap()));
        let six = "00000000000000000000000001000000:0050";
        assert_eq!(address(six), Some("[::1]:80".parse().unwrap()));
        let mapped = "0000000000000000FFFF00000100007F:0050";
        assert_eq!(address(mapped), Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(address("nonsense"), None);
    }
}
