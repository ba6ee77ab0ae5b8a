//! What is said to a supervisor: one order per line.
//!
//! Words, and not JSON, for a shell reads them too. Whatever may hold spaces stands last. A line is
//! shorter than what a pipe takes in one piece, or the first that a reader would miss is its own.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::{sys::signal::Signal, unistd::Pid};

use crate::target::secret::Secret;

/// Something that must not outlive the process that is supervised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// A process group.
    Group {
        /// The process that leads it, whose id is that of the group.
        leader: Pid,
        /// What the leader is asked with.
        farewell: Signal,
    },
    /// A folder and all it holds, whether or not it was made by then.
    Folder(PathBuf),
    /// Every container with a label, `name=value`.
    Containers(String),
    /// A database, whether or not it was made by then.
    Database {
        /// What it is called.
        name: String,
        /// The URL of its server.
        server: Secret,
    },
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Processes with this mark in their environment are to be ended.
    Mark(String),
    /// One thing more is watched, and has this number.
    Watch(u64, Watched),
    /// What has this number is no longer watched.
    Release(u64),
}

impl Order {
    /// The line that tells the mark.
    pub(super) fn mark(mark: &str) -> Vec<u8> {
        format!("mark {mark}\n").into_bytes()
    }

    /// The line that has something watched.
    ///
    /// # Errors
    ///
    /// When its name has a line break, which nothing that we name does.
    pub(super) fn watch(number: u64, watched: &Watched) -> io::Result<Vec<u8>> {
        let mut line = format!("watch {number} ").into_bytes();
        match watched {
            Watched::Group { leader, farewell } => {
                let farewell = farewell.as_str().trim_start_matches("SIG");
                line.extend_from_slice(format!("group {leader} {farewell}").as_bytes());
            }
            Watched::Folder(folder) => {
                line.extend_from_slice(b"folder ");
                line.extend_from_slice(folder.as_os_str().as_bytes());
            }
            Watched::Containers(label) => {
                line.extend_from_slice(format!("containers {label}").as_bytes());
            }
            Watched::Database { name, server } => {
                line.extend_from_slice(format!("database {name} {}", server.expose()).as_bytes());
            }
        }
        if line.contains(&b'\n') {
            let why = "the name of something to be watched has a line break";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        line.push(b'\n');
        Ok(line)
    }

    /// The line that has something watched no longer.
    pub(super) fn release(number: u64) -> Vec<u8> {
        format!("release {number}\n").into_bytes()
    }

    /// Reads a line, its end left out; nothing where it is none of ours.
    pub(super) fn read(line: &[u8]) -> Option<Order> {
        let (verb, rest) = word(line);
        match verb {
            "mark" => Some(Order::Mark(text(rest)?)),
            "release" => Some(Order::Release(text(rest)?.parse().ok()?)),
            "watch" => {
                let (number, rest) = word(rest);
                let (kind, rest) = word(rest);
                Some(Order::Watch(number.parse().ok()?, watched(kind, rest)?))
            }
            _ => None,
        }
    }
}

fn watched(kind: &str, rest: &[u8]) -> Option<Watched> {
    match kind {
        "group" => {
            let (leader, farewell) = word(rest);
            let leader: i32 = leader.parse().ok()?;
            let farewell = format!("SIG{}", text(farewell)?).parse().ok()?;
            // Smaller numbers stand for groups that are not ours.
            (leader > 1).then_some(Watched::Group { leader: Pid::from_raw(leader), farewell })
        }
        "folder" => {
            let folder = Path::new(OsStr::from_bytes(rest));
            folder.is_absolute().then(|| Watched::Folder(folder.to_owned()))
        }
        "containers" => Some(Watched::Containers(text(rest)?)),
        "database" => {
            let (name, server) = word(rest);
            Some(Watched::Database { name: name.to_owned(), server: Secret::new(text(server)?) })
        }
        _ => None,
    }
}

/// The first word, empty where it is no text, and what follows the space after it.
fn word(line: &[u8]) -> (&str, &[u8]) {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let rest = line.get(end + 1..).unwrap_or_default();
    (std::str::from_utf8(&line[..end]).unwrap_or_default(), rest)
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    fn line(watched: &Watched) -> String {
        String::from_utf8(Order::watch(7, watched).unwrap()).unwrap()
    }

    #[test]
    fn orders_are_words() {
        let group = Watched::Group { leader: Pid::from_raw(12), farewell: Signal::SIGQUIT };
        assert_snapshot!(line(&group), @"watch 7 group 12 QUIT");
        let folder = Watched::Folder("/tmp/a folder".into());
        assert_snapshot!(line(&folder), @"watch 7 folder /tmp/a folder");
        let containers = Watched::Containers("gauntlet.run=1".to_owned());
        assert_snapshot!(line(&containers), @"watch 7 containers gauntlet.run=1");
        let server = Secret::new("postgres://me:pw@host/db");
        let database = Watched::Database { name: "gauntlet_1".to_owned(), server };
        assert_snapshot!(line(&database), @"watch 7 database gauntlet_1 postgres://me:pw@host/db");
    }

    #[test]
    fn what_is_not_ours_is_no_order() {
        for line in [
            "",
            "watch",
            "watch x folder /a",
            "watch 1 folder a",
            "watch 1 group 0 TERM",
            "watch 1 group 1 TERM",
            "watch 1 group -5 TERM",
            "watch 1 group 5 LOUDLY",
            "watch 1 group 5",
            "watch 1 containers ",
            "release",
            "end 1",
        ] {
            assert_eq!(Order::read(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_name_with_a_line_break_is_refused() {
        let folder = Watched::Folder("/tmp/a\nwatch 8 folder /".into());
        assert!(Order::watch(7, &folder).is_err());
    }

    fn any_watched() -> impl Strategy<Value = Watched> {
        let farewell =
            prop::sample::select(vec![Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGKILL]);
        prop_oneof![
            (2..i32::MAX, farewell).prop_map(|(leader, farewell)| Watched::Group {
                leader: Pid::from_raw(leader),
                farewell
            }),
            prop::collection::vec(
                any::<u8>().prop_filter("no end of line", |it| *it != b'\n'),
                0..30
            )
            .prop_map(|name| Watched::Folder(Path::new("/").join(OsStr::from_bytes(&name)))),
            "[^\n]{1,30}".prop_map(Watched::Containers),
            ("[a-z0-9_]{1,60}", "[^\n]{1,60}")
                .prop_map(|(name, url)| Watched::Database { name, server: Secret::new(url) }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(number in any::<u64>(), watched in any_watched()) {
            let line = Order::watch(number, &watched).unwrap();
            let heard = Order::read(line.strip_suffix(b"\n").unwrap());
            prop_assert_eq!(heard, Some(Order::Watch(number, watched)));
            let line = Order::release(number);
            let heard = Order::read(line.strip_suffix(b"\n").unwrap());
            prop_assert_eq!(heard, Some(Order::Release(number)));
        }

        #[test]
        fn any_line_can_be_read(line in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Order::read(&line);
        }
    }
}
