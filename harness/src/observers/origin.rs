//! Which replica of a target that runs already a store's connection comes from.
//!
//! A single replica is the origin of all that names ids of ours. Several are told apart by where they
//! connect from: by their addresses where no two share one, else by the process that holds the other
//! end, where that process runs on this machine. What cannot be told is nobody's, and nobody guesses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use reqwest::Url;

use crate::{
    clock::{Clock, Micros},
    op::Replica,
};

/// How long it is believed who holds a connection. A port is not given out again so soon.
const BELIEVED: Duration = Duration::from_secs(1);

/// Tells replicas apart by where they connect from.
#[derive(Debug)]
pub(super) struct Origins {
    homes: Vec<Home>,
    clock: Clock,
    known: BTreeMap<SocketAddr, Option<Replica>>,
    since: Micros,
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
        Origins { homes, clock, known: BTreeMap::new(), since: clock.now() }
    }

    /// The replica that connected from here, where that can be told.
    pub(super) fn replica(&mut self, from: SocketAddr) -> Option<Replica> {
        if self.homes.len() == 1 {
            return Some(Replica(0));
        }
        if self.clock.now().since(self.since) >= BELIEVED {
            self.known.clear();
            self.since = self.clock.now();
        }
        let homes = &self.homes;
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        *self.known.entry(from).or_insert_with(|| match are_apart(homes) {
            true => by_address(homes, from.ip()),
            false => by_process(homes, from),
        })
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
fn by_process(homes: &[Home], from: SocketAddr) -> Option<Replica> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let sockets: Vec<_> = tables.iter().flatten().flat_map(|table| sockets(table)).collect();
    let held = sockets.iter().filter(|it| it.local == from && it.state == State::Open);
    let held: BTreeSet<_> = held.map(|socket| socket.inode).collect();
    if held.is_empty() {
        return None;
    }
    let holders = holders();
    let of = |wanted: &BTreeSet<u64>| -> BTreeSet<u32> {
        let found = holders.iter().filter(|(inode, _)| wanted.contains(inode));
        found.map(|(_, pid)| *pid).collect()
    };
    let mut line: BTreeSet<u32> = of(&held);
    let mut young: Vec<u32> = line.iter().copied().collect();
    while let Some(child) = young.pop() {
        if let Some(parent) = parent(child)
            && line.insert(parent)
        {
            young.push(parent);
        }
    }
    let listens = |home: &Home| {
        let listening = sockets.iter().filter(|it| {
            let here = it.local.ip().is_unspecified() || home.addresses.contains(&it.local.ip());
            it.state == State::Listening && it.local.port() == home.port && here
        });
        !of(&listening.map(|socket| socket.inode).collect()).is_disjoint(&line)
    };
    let mut found = (0..).zip(homes).filter(|(_, home)| listens(home)).map(|(at, _)| Replica(at));
    // A process that listens for two replicas could be either.
    found.next().filter(|_| found.next().is_none())
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

/// Every socket that a process which we may look at has open, with that process.
fn holders() -> Vec<(u64, u32)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let open = |pid: u32| {
        let files = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
        let links = files.into_iter().flatten().flatten();
        links.filter_map(move |file| {
            let link = fs::read_link(file.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some((inode.parse().ok()?, pid))
        })
    };
    pids.flat_map(open).collect()
}

/// The process that started this one. The name in its line may hold anything, brackets too.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 1)
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
        assert_eq!(origins.replica("10.0.0.9:5".parse().unwrap()), Some(Replica(0)));
    }

    #[tokio::test]
    async fn replicas_with_addresses_of_their_own_are_told_apart_by_them() {
        let mut origins = origins(&["http://127.0.0.1:1", "http://127.0.0.2:1"]).await;
        assert_eq!(origins.replica("127.0.0.2:5".parse().unwrap()), Some(Replica(1)));
        assert_eq!(origins.replica("[::ffff:127.0.0.1]:5".parse().unwrap()), Some(Replica(0)));
        assert_eq!(origins.replica("127.0.0.3:5".parse().unwrap()), None);
    }

    #[tokio::test]
    async fn on_this_machine_the_listening_process_is_the_origin() {
        let (replica, store) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let asking = TcpStream::connect(store.local_addr().unwrap()).unwrap();
        let (_accepted, from) = store.accept().unwrap();
        let url = format!("http://{}", replica.local_addr().unwrap());
        let mut origins = origins(&["http://127.0.0.1:1", &url]).await;
        assert_eq!(origins.replica(from), Some(Replica(1)));
        drop(asking);
        assert_eq!(by_process(&origins.homes, "127.0.0.1:1".parse().unwrap()), None);
    }

    #[tokio::test]
    async fn a_process_that_listens_for_two_replicas_could_be_either() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other, store) = (listen(), listen(), listen());
        let _asking = TcpStream::connect(store.local_addr().unwrap()).unwrap();
        let (_accepted, from) = store.accept().unwrap();
        let url = |of: &TcpListener| format!("http://{}", of.local_addr().unwrap());
        let mut origins = origins(&[&url(&one), &url(&other)]).await;
        assert_eq!(origins.replica(from), None);
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
