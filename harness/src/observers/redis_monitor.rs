//! What a target asks of a Redis that is not behind a store proxy of ours, as Redis itself tells it.
//!
//! `MONITOR` tells every command with its keys and values, and no reply: whether something was found
//! stays unknown. It is told in the order in which Redis carries it out, so a command of our own that
//! comes back proves that everything before it has come too.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::StreamExt;
use redis::aio::MultiplexedConnection;
use reqwest::Url;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::origin::Origins;
use crate::{
    clock::{Clock, Micros},
    target::stores::RedisAddress,
    wire::{
        record::{StoreKind, WireBody, WireEvent},
        session::Session,
    },
};

/// How long Redis may take to tell of a command.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections are kept apart at a time.
const MOST_CONNECTIONS: usize = 4_096;

/// The replica of commands whose origin cannot be told: no target has so many.
pub const NOBODY: u8 = u8::MAX;

/// Why a Redis cannot be listened to.
///
/// Messages are lowercase fragments, made to follow "cannot use the target: ".
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// It cannot be reached.
    #[error("nothing answers at `redis_url`, {address}; correct it, or remove the line")]
    Unreachable {
        /// Where, without credentials.
        address: String,
        /// What went wrong.
        source: redis::RedisError,
    },
    /// It does not let us listen.
    #[error(
        "the Redis at {address} does not let us MONITOR it; allow that to the user of `redis_url`, or remove the line"
    )]
    Refused {
        /// Where, without credentials.
        address: String,
        /// What it said.
        source: redis::RedisError,
    },
    /// It tells nothing, which is how some refuse.
    #[error(
        "the Redis at {address} tells nothing of what it is asked; allow MONITOR to the user of `redis_url`, or remove the line"
    )]
    Silent {
        /// Where, without credentials.
        address: String,
    },
    /// It took too long.
    #[error("the Redis at {address} does not answer within {} s", PATIENCE.as_secs())]
    Late {
        /// Where, without credentials.
        address: String,
    },
}

/// Listens to a Redis.
#[derive(Debug)]
pub struct RedisMonitor {
    asking: MultiplexedConnection,
    /// What our own commands begin with.
    mark: String,
    next: AtomicU64,
    come_back: watch::Receiver<u64>,
    reader: JoinHandle<()>,
}

impl RedisMonitor {
    /// Begins to listen for what the replicas at these URLs ask.
    ///
    /// # Errors
    ///
    /// When Redis cannot be reached, or refuses.
    pub async fn watch(
        address: &RedisAddress,
        replicas: &[Url],
        run: u32,
        clock: Clock,
        wire: mpsc::Sender<WireEvent>,
    ) -> Result<RedisMonitor, MonitorError> {
        let told = address.to_string();
        let late = || MonitorError::Late { address: told.clone() };
        let unreachable = |source| MonitorError::Unreachable { address: told.clone(), source };
        let client = redis::Client::open(address.url().expose()).map_err(unreachable)?;
        let asking = timeout(PATIENCE, client.get_multiplexed_async_connection()).await;
        let asking = asking.map_err(|_| late())?.map_err(unreachable)?;
        let monitor = timeout(PATIENCE, client.get_async_monitor())
            .await
            .map_err(|_| late())?
            .map_err(|source| MonitorError::Refused { address: told.clone(), source })?;
        let mark = format!("gauntlet-{run:06x}-");
        let (back, come_back) = watch::channel(0);
        let mut listener = Listener {
            mark: mark.clone(),
            back,
            origins: Origins::of(replicas, clock).await,
            connections: BTreeMap::new(),
            numbered: 0,
        };
        let reader = tokio::spawn(async move {
            let mut told = monitor.into_on_message::<String>();
            while let Some(line) = told.next().await {
                for event in listener.hear(&line, clock.now()).await {
                    if wire.send(event).await.is_err() {
                        return;
                    }
                }
            }
            let why = "Redis no longer tells what it is asked".to_owned();
            drop(wire.send(unseen(why, clock.now())).await);
        });
        let monitor = RedisMonitor { asking, mark, next: AtomicU64::new(1), come_back, reader };
        match monitor.sync().await {
            true => Ok(monitor),
            false => Err(MonitorError::Silent { address: told }),
        }
    }

    /// Waits until all that Redis was asked by now has been told. False where it was not in time.
    pub async fn sync(&self) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut asking = self.asking.clone();
        let mut come_back = self.come_back.clone();
        let told = timeout(PATIENCE, async {
            let echo = format!("{}{number}", self.mark);
            redis::cmd("ECHO").arg(echo).query_async::<String>(&mut asking).await.ok()?;
            come_back.wait_for(|last| *last >= number).await.ok().map(drop)
        });
        told.await.ok().flatten().is_some()
    }
}

impl Drop for RedisMonitor {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Makes events of lines.
struct Listener {
    mark: String,
    back: watch::Sender<u64>,
    origins: Origins,
    connections: BTreeMap<SocketAddr, u32>,
    /// How many connections have a number.
    numbered: u32,
}

impl Listener {
    async fn hear(&mut self, line: &str, at: Micros) -> Vec<WireEvent> {
        let Some(told) = told(line) else {
            return vec![unseen(format!("MONITOR tells something else: {line:.40}"), at)];
        };
        if let [name, text] = &told.words[..]
            && name.eq_ignore_ascii_case(b"ECHO")
            && let Some(number) = self.number(text)
        {
            self.back.send_modify(|last| *last = number.max(*last));
            return Vec::new();
        }
        let replica = match told.from {
            // What a script does is told by the command that ran it.
            Asker::Script => return Vec::new(),
            Asker::Elsewhere => None,
            Asker::Address(address) => self.origins.replica(address).await,
        };
        let connection = match told.from {
            Asker::Address(address) => self.connection(address),
            Asker::Script | Asker::Elsewhere => 0,
        };
        // A session knows which words are keys and which are secrets. It is never answered.
        let mut seen = Vec::new();
        let mut session = Session::new(StoreKind::Redis);
        session.take_requests(&command(&told.words), at, &mut seen);
        session.close(at, &mut seen);
        let events = seen.into_iter().map(|mut seen| {
            if let WireBody::RedisCommand(command) = &mut seen.body {
                command.db = told.db;
            }
            WireEvent {
                replica: replica.map_or(NOBODY, |replica| replica.0),
                store: StoreKind::Redis,
                connection,
                asked: seen.asked,
                answered: None,
                fault: None,
                body: seen.body,
            }
        });
        events.collect()
    }

    /// The number of a connection. It is not told when one ends, so those that are known are forgotten
    /// from time to time; one that lives on then has another number.
    fn connection(&mut self, from: SocketAddr) -> u32 {
        if let Some(number) = self.connections.get(&from) {
            return *number;
        }
        if self.connections.len() >= MOST_CONNECTIONS {
            self.connections.clear();
        }
        self.numbered = self.numbered.saturating_add(1);
        self.connections.insert(from, self.numbered);
        self.numbered
    }

    /// Which of our own commands this is.
    fn number(&self, text: &[u8]) -> Option<u64> {
        str::from_utf8(text).ok()?.strip_prefix(&self.mark)?.parse().ok()
    }
}

fn unseen(why: String, at: Micros) -> WireEvent {
    WireEvent {
        replica: NOBODY,
        store: StoreKind::Redis,
        connection: 0,
        asked: at,
        answered: None,
        fault: None,
        body: WireBody::Unseen { bytes: 0, why },
    }
}

/// A command as it goes over the wire.
fn command(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        // Writing to memory cannot fail.
        let _ = write!(bytes, "${}\r\n", word.len());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A line of `MONITOR`.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    db: u32,
    from: Asker,
    words: Vec<Vec<u8>>,
}

/// Where a command came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Address(SocketAddr),
    Script,
    /// A Unix socket, or something newer than this.
    Elsewhere,
}

/// Reads `1700000000.123456 [0 127.0.0.1:60866] "GET" "team:1"`.
fn told(line: &str) -> Option<Told> {
    let (_, rest) = line.split_once(" [")?;
    let (origin, rest) = rest.split_once("] \"")?;
    let (db, from) = origin.split_once(' ')?;
    let from = match from {
        "lua" => Asker::Script,
        address => address.parse().map_or(Asker::Elsewhere, Asker::Address),
    };
    Some(Told { db: db.parse().ok()?, from, words: quoted(rest)? })
}

/// The words after the first quotation mark, as Redis quotes them.
fn quoted(text: &str) -> Option<Vec<Vec<u8>>> {
    let mut words = vec![Vec::new()];
    let mut bytes = text.bytes();
    loop {
        let word = words.last_mut()?;
        match bytes.next()? {
            b'"' => match bytes.next() {
                None => return Some(words),
                Some(b' ') if bytes.next() == Some(b'"') => words.push(Vec::new()),
                Some(_) => return None,
            },
            b'\\' => word.push(match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'a' => 7,
                b'b' => 8,
                b'x' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
                }
                itself => itself,
            }),
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        let words = told(line).unwrap().words;
        words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn lines_are_read_as_redis_writes_them() {
        let line = r#"1700000000.123456 [3 127.0.0.1:60866] "SET" "a \"b\"" "{\"k\":\"\\x\"}" """#;
        let read = told(line).unwrap();
        assert_eq!((read.db, read.from), (3, Asker::Address("127.0.0.1:60866".parse().unwrap())));
        assert_eq!(words(line), ["SET", "a \"b\"", r#"{"k":"\x"}"#, ""]);
        assert_eq!(told(r#"1.2 [0 lua] "get" "k""#).unwrap().from, Asker::Script);
        assert_eq!(told(r#"1.2 [0 unix:/tmp/s] "get" "k""#).unwrap().from, Asker::Elsewhere);
        let six = told(r#"1.2 [0 [::1]:7] "get" "k""#).unwrap().from;
        assert_eq!(six, Asker::Address("[::1]:7".parse().unwrap()));
        for odd in ["OK", r#"1.2 [0 lua] "get"#, r#"1.2 [0 lua] "a"b""#, r#"1.2 [x lua] "a""#] {
            assert_eq!(told(odd), None, "{odd}");
        }
    }

    async fn listener() -> (Listener, watch::Receiver<u64>) {
        let (back, come_back) = watch::channel(0);
        let one = [Url::parse("http://127.0.0.1:1").unwrap()];
        let origins = Origins::of(&one, Clock::start()).await;
        (
            Listener {
                mark: "m-".into(),
                back,
                origins,
                connections: BTreeMap::new(),
                numbered: 0,
            },
            come_back,
        )
    }

    #[tokio::test]
    async fn a_command_has_its_keys_its_values_and_no_reply() {
        let (mut listener, _) = listener().await;
        let line = r#"1.2 [2 127.0.0.1:9] "set" "team:1" "{}" "EX" "5""#;
        let events = listener.hear(line, Micros(7)).await;
        let [event] = &events[..] else { panic!("{events:?}") };
        let WireBody::RedisCommand(command) = &event.body else { panic!("{event:?}") };
        assert_eq!((event.replica, event.connection, event.asked), (0, 1, Micros(7)));
        assert_eq!((command.name.as_ref(), command.db), ("SET", 2));
        assert_eq!(command.keys, ["team:1"]);
        assert_eq!(command.args[0].text(), "{}");
        assert_eq!(command.reply, None);
    }

    #[tokio::test]
    async fn our_own_commands_say_how_far_it_has_come_and_are_no_events() {
        let (mut listener, come_back) = listener().await;
        assert_eq!(listener.hear(r#"1.2 [0 127.0.0.1:9] "ECHO" "m-12""#, Micros(7)).await, []);
        assert_eq!(*come_back.borrow(), 12);
        assert_eq!(listener.hear(r#"1.2 [0 lua] "get" "k""#, Micros(7)).await, []);
        let others = listener.hear(r#"1.2 [0 127.0.0.1:9] "ECHO" "hello""#, Micros(7)).await;
        assert_eq!(others.len(), 1);
    }

    #[tokio::test]
    async fn connections_have_numbers_of_their_own_however_many_there_were() {
        let (mut listener, _) = listener().await;
        let ports = || 1..=u16::try_from(MOST_CONNECTIONS).unwrap();
        let from = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let numbers: Vec<_> = ports().map(|port| listener.connection(from(port))).collect();
        assert_eq!(listener.connection(from(7)), numbers[6]);
        let last = listener.connection(from(60_000));
        assert!(!numbers.contains(&last) && listener.connections.len() == 1);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told() {
        let (mut listener, _) = listener().await;
        let events = listener.hear("something new", Micros(7)).await;
        assert!(matches!(&events[0].body, WireBody::Unseen { .. }), "{events:?}");
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd_to_read(line in r#"[0-9. \[\]"\\xa-f:]{0,60}"#) {
            let _ = told(&line);
        }
    }
}
