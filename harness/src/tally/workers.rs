//! Which process of a replica holds a connection to a store.
//!
//! A connection belongs to one process for as long as it lives: the port that it came from leads to a
//! socket in `/proc/net`, and the socket to the process of the replica's group that has it open. That
//! table is slow to read where there are many sockets, so a replica of one process is never looked
//! up, and the connections of one of several are looked up together, a second's worth at a time.
//! Where there is no such table, where the process lives in another network (a container), and where
//! a connection ends within that second, the worker is not known, and nobody guesses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use crate::{clock::Micros, op::Replica, proc, wire::record::StoreKind};

/// A connection, as store proxies number them.
pub type Connection = (Replica, StoreKind, u32);

/// How long connections wait for others, to be looked up together.
const TOGETHER: Duration = Duration::from_secs(1);

/// The workers of every replica, numbered from 0 in the order in which they were met.
#[derive(Debug, Default)]
pub struct Workers {
    groups: BTreeMap<Replica, Group>,
    /// Connections that were not looked up yet, by the port that they came from.
    waiting: BTreeMap<Connection, u16>,
    waiting_since: Option<Micros>,
    held_by: BTreeMap<Connection, u8>,
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This worker, or nobody knows.
    Worker(Option<u8>),
    /// It was not looked up yet.
    Waiting,
}

/// The processes of one replica.
#[derive(Debug)]
struct Group {
    leader: u32,
    /// How many processes serve; with one, there is nothing to look up.
    workers: u8,
    met: Vec<u32>,
}

impl Workers {
    /// The processes of a replica are those of the group that `leader` leads; so many of them serve.
    pub fn are_led_by(&mut self, replica: Replica, leader: u32, workers: u8) {
        self.groups.insert(replica, Group { leader, workers, met: Vec::new() });
        self.look_up();
    }

    /// A connection was opened from this port.
    pub fn opened(&mut self, connection: Connection, port: u16, at: Micros) {
        if !self.groups.get(&connection.0).is_some_and(Group::is_alone) {
            self.waiting.insert(connection, port);
            self.waiting_since.get_or_insert(at);
        }
    }

    /// A connection has ended.
    pub fn closed(&mut self, connection: Connection) {
        self.waiting.remove(&connection);
        self.held_by.remove(&connection);
    }

    /// The worker that holds a connection.
    pub fn holder(&self, connection: Connection) -> Holder {
        match self.groups.get(&connection.0) {
            // What it does before its group is known is its start.
            None => Holder::Worker(None),
            Some(group) if group.is_alone() => Holder::Worker(Some(0)),
            Some(_) if self.waiting.contains_key(&connection) => Holder::Waiting,
            Some(_) => Holder::Worker(self.held_by.get(&connection).copied()),
        }
    }

    /// Whether connections have waited for each other long enough.
    pub fn are_due(&self, now: Micros) -> bool {
        self.waiting_since.is_some_and(|since| now.since(since) >= TOGETHER)
    }

    /// Looks up every connection that waits and whose group is known.
    pub fn look_up(&mut self) {
        self.waiting_since = None;
        let known: Vec<_> = self
            .waiting
            .iter()
            .filter(|((replica, ..), _)| self.groups.contains_key(replica))
            .map(|(connection, port)| (*connection, *port))
            .collect();
        if known.is_empty() {
            return;
        }
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let ports: BTreeSet<_> = known.iter().map(|(_, port)| *port).collect();
        let sockets = sockets_from(tables.iter().flatten().map(String::as_str), &ports);
        for (connection, port) in known {
            self.waiting.remove(&connection);
            let Some(sockets) = sockets.get(&port) else { continue };
            let Some(group) = self.groups.get_mut(&connection.0) else { continue };
            if let Some(worker) = group.worker_with(sockets) {
                self.held_by.insert(connection, worker);
            }
        }
    }
}

impl Group {
    fn is_alone(&self) -> bool {
        self.workers == 1
    }

    fn worker_with(&mut self, sockets: &BTreeSet<u64>) -> Option<u8> {
        let holds = |pid: &u32| holds_one_of(*pid, sockets);
        let met = self.met.iter().copied().find(holds);
        let pid = met.or_else(|| members(self.leader).into_iter().find(holds))?;
        let number = self.met.iter().position(|worker| *worker == pid).unwrap_or_else(|| {
            self.met.push(pid);
            self.met.len() - 1
        });
        u8::try_from(number).ok()
    }
}

/// The established sockets in tables of `/proc/net` that were opened from each of these ports.
fn sockets_from<'a>(
    tables: impl Iterator<Item = &'a str>,
    ports: &BTreeSet<u16>,
) -> BTreeMap<u16, BTreeSet<u64>> {
    const ESTABLISHED: &str = "01";
    let mut sockets: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
    let lines = tables.flat_map(|table| table.lines().skip(1));
    let opened = lines.filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (_, port) = fields.nth(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok().filter(|port| ports.contains(port))?;
        let is_open = fields.nth(1)? == ESTABLISHED;
        Some((port, fields.nth(5)?.parse().ok().filter(|_| is_open)?))
    });
    for (port, socket) in opened {
        sockets.entry(port).or_default().insert(socket);
    }
    sockets
}

/// The processes of a group.
fn members(leader: u32) -> Vec<u32> {
    let Ok(leader) = i32::try_from(leader) else { return Vec::new() };
    let in_group = |pid: &u32| proc::stat(*pid).is_some_and(|stat| stat.group == leader);
    let mut members: Vec<u32> = proc::ids().filter(in_group).collect();
    members.sort_unstable();
    members
}

fn holds_one_of(pid: u32, sockets: &BTreeSet<u64>) -> bool {
    proc::sockets(pid).any(|socket| sockets.contains(&socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_the_port_that_it_was_opened_from() {
        // The two ends of one connection, and a listener.
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 11 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  0 0 22 1 0 20 4 30 10 -1\n\
            \x20  2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  0 0 33 1 0 20 4 30 10 -1\n";
        let found = sockets_from([table].into_iter(), &BTreeSet::from([50_000, 8_080, 1]));
        let expected = [(50_000, BTreeSet::from([33])), (8_080, BTreeSet::from([22]))];
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_of_our_own_is_held_by_our_own_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let held = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = held.local_addr().unwrap().port();
        let connection = (Replica(0), StoreKind::Redis, 1);
        let mut workers = Workers::default();
        workers.opened(connection, port, Micros(0));
        assert_eq!(workers.holder(connection), Holder::Worker(None));
        // We lead no group of our own under every test runner, so ask which group it is.
        let group = proc::stat(std::process::id()).unwrap().group;
        workers.are_led_by(Replica(0), group.cast_unsigned(), 2);
        assert_eq!(workers.holder(connection), Holder::Worker(Some(0)));
        workers.closed(connection);
        assert_eq!(workers.holder(connection), Holder::Worker(None));
    }

    #[test]
    fn connections_wait_for_each_other_and_a_single_process_for_nobody() {
        let mut workers = Workers::default();
        workers.are_led_by(Replica(0), 1, 2);
        workers.are_led_by(Replica(1), 1, 1);
        let (of_two, of_one) =
            ((Replica(0), StoreKind::Redis, 1), (Replica(1), StoreKind::Redis, 1));
        workers.opened(of_one, 1, Micros(0));
        assert_eq!(workers.holder(of_one), Holder::Worker(Some(0)));
        assert!(!workers.are_due(Micros(9_000_000)));
        workers.opened(of_two, 1, Micros(5_000_000));
        assert_eq!(workers.holder(of_two), Holder::Waiting);
        assert!(!workers.are_due(Micros(5_999_999)) && workers.are_due(Micros(6_000_000)));
        workers.look_up();
        assert_eq!(workers.holder(of_two), Holder::Worker(None));
    }
}
