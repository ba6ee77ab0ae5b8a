//! Which process of a replica holds a connection to a store.
//!
//! A connection belongs to one process for as long as it lives, so this is asked once per
//! connection: the port that it came from leads to a socket in `/proc/net`, and the socket to the
//! process of the replica's group that has it open. Where there is no such folder, or the process
//! lives in another network (a container), the worker is not known, and nobody guesses.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{op::Replica, wire::record::StoreKind};

/// A connection, as store proxies number them.
pub type Connection = (Replica, StoreKind, u32);

/// The workers of every replica, numbered from 0 in the order in which they were met.
#[derive(Debug, Default)]
pub struct Workers {
    groups: BTreeMap<Replica, Group>,
    /// Connections of replicas whose group is not known yet, by the port that they came from.
    waiting: BTreeMap<Connection, u16>,
    held_by: BTreeMap<Connection, u8>,
}

/// The processes of one replica.
#[derive(Debug)]
struct Group {
    leader: u32,
    workers: Vec<u32>,
}

impl Workers {
    /// The processes of a replica are those of the group that `leader` leads.
    pub fn are_led_by(&mut self, replica: Replica, leader: u32) {
        self.groups.insert(replica, Group { leader, workers: Vec::new() });
        let waiting: Vec<_> =
            self.waiting.iter().filter(|((by, ..), _)| *by == replica).map(|(it, _)| *it).collect();
        for connection in waiting {
            if let Some(port) = self.waiting.remove(&connection) {
                self.opened(connection, port);
            }
        }
    }

    /// A connection was opened from this port.
    pub fn opened(&mut self, connection: Connection, port: u16) {
        let Some(group) = self.groups.get_mut(&connection.0) else {
            self.waiting.insert(connection, port);
            return;
        };
        if let Some(worker) = group.worker_at(port) {
            self.held_by.insert(connection, worker);
        }
    }

    /// A connection has ended.
    pub fn closed(&mut self, connection: Connection) {
        self.waiting.remove(&connection);
        self.held_by.remove(&connection);
    }

    /// The worker that holds a connection, where that is known.
    pub fn holder(&self, connection: Connection) -> Option<u8> {
        self.held_by.get(&connection).copied()
    }
}

impl Group {
    fn worker_at(&mut self, port: u16) -> Option<u8> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let sockets: BTreeSet<_> =
            tables.iter().flatten().flat_map(|table| sockets_from(table, port)).collect();
        if sockets.is_empty() {
            return None;
        }
        let holds = |pid: &u32| holds_one_of(*pid, &sockets);
        let met = self.workers.iter().copied().find(holds);
        let pid = met.or_else(|| members(self.leader).into_iter().find(holds))?;
        let number = self.workers.iter().position(|worker| *worker == pid).unwrap_or_else(|| {
            self.workers.push(pid);
            self.workers.len() - 1
        });
        u8::try_from(number).ok()
    }
}

/// The established sockets of a table of `/proc/net` that were opened from `port`.
fn sockets_from(table: &str, port: u16) -> Vec<u64> {
    const ESTABLISHED: &str = "01";
    let from = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let is_from = fields.nth(1)?.ends_with(&from);
            let is_open = fields.nth(1)? == ESTABLISHED;
            fields.nth(5)?.parse().ok().filter(|_| is_from && is_open)
        })
        .collect()
}

/// The processes of a group.
fn members(leader: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut members: Vec<u32> = pids
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| group_of(&stat) == Some(leader))
        })
        .collect();
    members.sort_unstable();
    members
}

/// The group in a line of `/proc/PID/stat`. The name before it may hold anything, brackets too.
fn group_of(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(2)?.parse().ok()
}

fn holds_one_of(pid: u32, sockets: &BTreeSet<u64>) -> bool {
    let Ok(files) = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    files.flatten().any(|file| {
        fs::read_link(file.path())
            .ok()
            .and_then(|target| {
                target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
            })
            .is_some_and(|socket: u64| sockets.contains(&socket))
    })
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
        assert_eq!(sockets_from(table, 50_000), [33]);
        assert_eq!(sockets_from(table, 8_080), [22]);
        assert_eq!(sockets_from(table, 1), Vec::<u64>::new());
    }

    #[test]
    fn a_group_is_read_past_any_name() {
        assert_eq!(group_of("41 (a (b) c) S 1 40 40 0 -1"), Some(40));
        assert_eq!(group_of("no process"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_of_our_own_is_held_by_our_own_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let held = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = held.local_addr().unwrap().port();
        let connection = (Replica(0), StoreKind::Redis, 1);
        let mut workers = Workers::default();
        workers.opened(connection, port);
        assert_eq!(workers.holder(connection), None);
        // We lead no group of our own under every test runner, so ask which group it is.
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        workers.are_led_by(Replica(0), group_of(&stat).unwrap());
        assert_eq!(workers.holder(connection), Some(0));
        workers.closed(connection);
        assert_eq!(workers.holder(connection), None);
    }
}
