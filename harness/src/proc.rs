//! The processes of this machine, as Linux tells of them in `/proc`. Elsewhere there are none to be seen.

use std::fs;

/// A process that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Its number.
    pub(crate) id: i32,
    /// The process that started it, or has taken it over.
    pub(crate) parent: i32,
    /// The process that leads its group.
    pub(crate) group: i32,
    /// When it began, as the system counts: no later process of the same number has this too.
    pub(crate) began: u64,
}

/// The numbers of all processes.
pub(crate) fn ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What is told of a process, unless it has ended.
pub(crate) fn stat(id: u32) -> Option<Stat> {
    read(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The sockets that a process has open, by their inodes; none where we may not look at it.
pub(crate) fn sockets(id: u32) -> impl Iterator<Item = u64> {
    let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| {
        let target = fs::read_link(file.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// Reads `pid (name) state parent group … began …`; the name may hold anything.
fn read(stat: &str) -> Option<Stat> {
    /// How far after the state the beginning stands.
    const BEGAN: usize = 19;
    let (start, rest) = (stat.split(' ').next()?, stat.rsplit_once(')')?.1);
    let fields: Vec<_> = rest.split_whitespace().collect();
    let [state, parent, group, ..] = fields.as_slice() else { return None };
    if matches!(*state, "Z" | "X") {
        return None;
    }
    Some(Stat {
        id: start.parse().ok()?,
        parent: parent.parse().ok()?,
        group: group.parse().ok()?,
        began: fields.get(BEGAN)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let line = "12 (a ) b) S 3 4 5 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 987 1 2";
        assert_eq!(read(line), Some(Stat { id: 12, parent: 3, group: 4, began: 987 }));
        assert_eq!(read(&line.replace(" S ", " Z ")), None, "it has ended");
        assert_eq!(read("no process"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn we_are_among_the_processes_with_our_sockets() {
        use std::os::{fd::AsRawFd, unix::process::parent_id};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let ours = std::process::id();
        assert!(ids().any(|id| id == ours));
        assert_eq!(stat(ours).unwrap().parent, parent_id().cast_signed());
        assert!(sockets(ours).any(|inode| link.to_str() == Some(&*format!("socket:[{inode}]"))));
    }
}
