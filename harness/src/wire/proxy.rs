//! Stands between a gateway and one of its stores: forwards, records, obeys the nemesis.
//!
//! A connection is one task with two pumps. While no fault is about single messages, a request is
//! on its way before it is looked at, and a reply is recorded before it is on its way. While one
//! is, messages are held back until they are whole and their fate is known.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use super::{
    fault::{Board, FaultHandle, FaultId},
    record::{CloseReason, StoreKind, WireBody, WireEvent},
    session::{ReplyFate, RequestFate, Seen, Session},
};
use crate::clock::Clock;

/// How much is read at once.
const PIECE_BYTES: usize = 32 * 1024;
/// How much of one message is held back for a fault; a longer one is let go unharmed.
const HELD_BYTES: usize = 4 * 1024 * 1024;
/// How much may wait for its delay to pass before no more is read.
const DELAYED_BYTES: usize = 4 * 1024 * 1024;
/// How long to wait after the system could not accept a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// One store of one replica, as the replica sees it.
///
/// Ends when stopped or dropped; [`StoreProxy::stop`] waits until it has.
#[derive(Debug)]
pub struct StoreProxy {
    addr: SocketAddr,
    board: Arc<Board>,
    recorder: Recorder,
    stopping: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
}

impl StoreProxy {
    /// Listens on a free loopback port for `replica`, forwards to `upstream`, and tells `sink`.
    pub async fn start(
        store: StoreKind,
        replica: u8,
        upstream: SocketAddr,
        clock: Clock,
        sink: mpsc::Sender<WireEvent>,
    ) -> io::Result<StoreProxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let board = Arc::new(Board::new());
        let lost = Arc::default();
        let recorder = Recorder { sink, lost, clock, replica, store, connection: 0 };
        let (stopping, stopped) = watch::channel(false);
        let accepting = Accepting {
            listener,
            upstream,
            board: Arc::clone(&board),
            recorder: recorder.clone(),
            stopped,
        };
        let accepting = Some(tokio::spawn(accepting.run()));
        Ok(StoreProxy { addr, board, recorder, stopping, accepting })
    }

    /// Where the gateway should connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How to strike this store.
    pub fn faults(&self) -> FaultHandle {
        FaultHandle::new(Arc::clone(&self.board), self.recorder.clone())
    }

    /// How many events were lost because nobody took them out of the channel in time. When this is
    /// not zero, the absence of an event proves nothing.
    pub fn lost(&self) -> u64 {
        self.recorder.lost.load(Ordering::Relaxed)
    }

    /// Closes every connection and waits until all is recorded.
    pub async fn stop(mut self) {
        self.end();
        if let Some(accepting) = self.accepting.take() {
            // It neither panics nor is aborted.
            let _ = accepting.await;
        }
    }

    fn end(&self) {
        self.stopping.send_replace(true);
        self.board.stop();
    }
}

impl Drop for StoreProxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// Puts events into the channel, or counts those it could not.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    sink: mpsc::Sender<WireEvent>,
    lost: Arc<AtomicU64>,
    clock: Clock,
    replica: u8,
    store: StoreKind,
    connection: u32,
}

impl Recorder {
    /// Records something that happens now.
    pub(crate) fn record_here(&self, fault: Option<FaultId>, body: WireBody) {
        self.record(Seen { asked: self.clock.now(), answered: None, fault, body });
    }

    fn record(&self, seen: Seen) {
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) =
            self.sink.try_send(self.joined(seen))
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record_all(&self, seen: &mut Vec<Seen>) {
        if seen.len() > 1
            && let Ok(permits) = self.sink.try_reserve_many(seen.len())
        {
            for (permit, seen) in permits.zip(seen.drain(..)) {
                permit.send(self.joined(seen));
            }
            return;
        }
        for seen in seen.drain(..) {
            self.record(seen);
        }
    }

    fn joined(&self, seen: Seen) -> WireEvent {
        let Seen { asked, answered, fault, body } = seen;
        let Recorder { replica, store, connection, .. } = *self;
        WireEvent { replica, store, connection, asked, answered, fault, body }
    }
}

/// Takes connections in until told to stop.
struct Accepting {
    listener: TcpListener,
    upstream: SocketAddr,
    board: Arc<Board>,
    recorder: Recorder,
    stopped: watch::Receiver<bool>,
}

impl Accepting {
    async fn run(mut self) {
        let mut connections = JoinSet::new();
        let mut last = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                // The proxy is gone if its sender is.
                _ = self.stopped.changed() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((gateway, _)) = accepted else {
                let _ = timeout(ACCEPT_AGAIN, self.stopped.changed()).await;
                continue;
            };
            last += 1;
            let connection = Connection {
                upstream: self.upstream,
                board: Arc::clone(&self.board),
                recorder: Recorder { connection: last, ..self.recorder.clone() },
            };
            connections.spawn(connection.serve(gateway));
        }
        while connections.join_next().await.is_some() {}
    }
}

/// One connection of the gateway's.
struct Connection {
    upstream: SocketAddr,
    board: Arc<Board>,
    recorder: Recorder,
}

impl Connection {
    async fn serve(self, mut gateway: TcpStream) {
        let recorder = &self.recorder;
        if let Some(fault) = self.board.judge_connection() {
            recorder.record_here(Some(fault), WireBody::Closed { reason: CloseReason::Refused });
            reset(&gateway);
            return;
        }
        recorder.record_here(None, WireBody::Connected);
        if let Ok(from) = gateway.peer_addr() {
            recorder.record_here(None, WireBody::ConnectedFrom { port: from.port() });
        }
        let mut ended = self.board.opened(recorder.connection);
        let session = Mutex::new(Session::new(recorder.store));
        let mut store = None;
        let reason = tokio::select! {
            biased;
            reason = ending(&mut ended) => reason,
            reason = self.carry(&mut gateway, &mut store, &session) => reason,
        };
        self.board.closed(recorder.connection);
        let mut seen = Vec::new();
        locked(&session).close(recorder.clock.now(), &mut seen);
        recorder.record_all(&mut seen);
        recorder.record_here(None, WireBody::Closed { reason: reason.clone() });
        match reason {
            CloseReason::Gateway | CloseReason::Store | CloseReason::Stopped => (),
            CloseReason::Cut
            | CloseReason::Refused
            | CloseReason::Unreachable { .. }
            | CloseReason::Broken { .. } => {
                reset(&gateway);
                store.iter().for_each(reset);
            }
        }
    }

    /// Carries bytes both ways until one side or a fault ends it.
    async fn carry(
        &self,
        gateway: &mut TcpStream,
        store: &mut Option<TcpStream>,
        session: &Mutex<Session>,
    ) -> CloseReason {
        self.board.let_through().await;
        let store = match TcpStream::connect(self.upstream).await {
            Ok(connected) => store.insert(connected),
            Err(error) => return CloseReason::Unreachable { error: error.to_string() },
        };
        for socket in [&*gateway, &*store] {
            if let Err(error) = socket.set_nodelay(true) {
                return broken(&error);
            }
        }
        let (from_gateway, to_gateway) = gateway.split();
        let (from_store, to_store) = store.split();
        let pump = || Pump {
            board: &self.board,
            recorder: &self.recorder,
            session,
            piece: vec![0; PIECE_BYTES].into(),
            held: Vec::new(),
            torn: false,
            seen: Vec::new(),
        };
        let mut requests = pin!(pump().requests(from_gateway, to_store));
        let mut replies = pin!(pump().replies(from_store, to_gateway));
        // Whoever ends first gives the reason; the other half may still have something to say.
        tokio::select! {
            biased;
            ended = &mut replies => match ended {
                Ended::AtEnd => {
                    requests.await;
                    CloseReason::Store
                }
                Ended::Because(reason) => reason,
            },
            ended = &mut requests => match ended {
                Ended::AtEnd => match replies.await {
                    Ended::AtEnd => CloseReason::Gateway,
                    Ended::Because(reason) => reason,
                },
                Ended::Because(reason) => reason,
            },
        }
    }
}

/// How a pump ended.
enum Ended {
    /// Its source closed, and the other side was told so.
    AtEnd,
    Because(CloseReason),
}

/// Moves bytes one way.
struct Pump<'a> {
    board: &'a Board,
    recorder: &'a Recorder,
    session: &'a Mutex<Session>,
    piece: Box<[u8]>,
    /// The beginning of a message whose fate is not known yet.
    held: Vec<u8>,
    /// Whether the beginning of the current message has been forwarded already. It is too late
    /// then to put another in its place.
    torn: bool,
    seen: Vec<Seen>,
}

impl Pump<'_> {
    async fn requests(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Ended {
        let mut delayed = Delayed::default();
        loop {
            let read = tokio::select! {
                biased;
                () = delayed.due() => {
                    if let Err(error) = to.write_all(&delayed.take_first()).await {
                        return Ended::Because(broken(&error));
                    }
                    continue;
                }
                read = from.read(&mut self.piece), if delayed.bytes < DELAYED_BYTES => read,
            };
            let length = match read {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) => return Ended::Because(broken(&error)),
            };
            self.board.let_through().await;
            let judging = self.board.judging();
            let sent = if judging || !self.held.is_empty() || !delayed.is_empty() {
                if self.judge_requests(length, judging, &mut delayed) {
                    to.write_all(&delayed.take_due()).await
                } else {
                    let _ = to.write_all(&delayed.take_due()).await;
                    return Ended::Because(CloseReason::Cut);
                }
            } else {
                self.pass_requests(length, &mut to).await
            };
            if let Err(error) = sent {
                return Ended::Because(broken(&error));
            }
        }
        while !delayed.is_empty() {
            delayed.due().await;
            if let Err(error) = to.write_all(&delayed.take_first()).await {
                return Ended::Because(broken(&error));
            }
        }
        self.finish(to).await
    }

    /// Forwards first and looks afterwards: no reply can be looked at in between.
    async fn pass_requests(&mut self, length: usize, to: &mut WriteHalf<'_>) -> io::Result<()> {
        let piece = &self.piece[..length];
        let at = self.recorder.clock.now();
        let gone = match to.try_write(piece) {
            Ok(gone) => gone,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.torn = !locked(self.session).take_requests(piece, at, &mut self.seen);
        self.recorder.record_all(&mut self.seen);
        to.write_all(&piece[gone..]).await
    }

    /// Looks first. What may go is then in `delayed`. False if the connection has to be cut.
    fn judge_requests(&mut self, length: usize, judging: bool, delayed: &mut Delayed) -> bool {
        let at = self.recorder.clock.now();
        let now = Instant::now();
        let mut session = locked(self.session);
        let mut rest = &self.piece[..length];
        while !rest.is_empty() {
            let board = (judging && !self.torn).then_some(self.board);
            let reached = session.ask(rest, at, board, &mut self.seen);
            let (part, after) = rest.split_at(reached.used);
            self.held.extend_from_slice(part);
            rest = after;
            let Some(fate) = reached.fate else { continue };
            self.torn = false;
            match fate {
                RequestFate::Forward => delayed.add(&mut self.held, now),
                RequestFate::Delay(by) => delayed.add(&mut self.held, now + by),
                RequestFate::Swap(mut bytes) => {
                    self.held.clear();
                    delayed.add(&mut bytes, now);
                }
                RequestFate::Cut => {
                    drop(session);
                    self.recorder.record_all(&mut self.seen);
                    return false;
                }
            }
        }
        drop(session);
        self.recorder.record_all(&mut self.seen);
        if !judging || self.torn || self.held.len() > HELD_BYTES {
            self.torn |= !self.held.is_empty();
            delayed.add(&mut self.held, now);
        }
        true
    }

    async fn replies(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Ended {
        loop {
            let length = match from.read(&mut self.piece).await {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) => return Ended::Because(broken(&error)),
            };
            self.board.let_through().await;
            let judging = self.board.judging();
            let harms = locked(self.session).harms_replies();
            let sent = if judging || harms || !self.held.is_empty() {
                let (going, cut) = self.judge_replies(length, judging || harms);
                let sent = to.write_all(&going).await;
                if cut {
                    return Ended::Because(CloseReason::Cut);
                }
                sent
            } else {
                let piece = &self.piece[..length];
                let at = self.recorder.clock.now();
                self.torn = !locked(self.session).take_replies(piece, at, &mut self.seen);
                self.recorder.record_all(&mut self.seen);
                to.write_all(piece).await
            };
            if let Err(error) = sent {
                return Ended::Because(broken(&error));
            }
        }
        // What was not answered will not be: that, too, is told before the gateway can act on it.
        locked(self.session).abandon(&mut self.seen);
        self.recorder.record_all(&mut self.seen);
        self.finish(to).await
    }

    /// What may go to the gateway, and whether the connection is to be cut then.
    fn judge_replies(&mut self, length: usize, hold: bool) -> (Vec<u8>, bool) {
        let at = self.recorder.clock.now();
        let mut going = Vec::new();
        let mut cut = false;
        let mut session = locked(self.session);
        let mut rest = &self.piece[..length];
        while !rest.is_empty() && !cut {
            let board = (!self.torn).then_some(self.board);
            let reached = session.answer(rest, at, board, &mut self.seen);
            let (part, after) = rest.split_at(reached.used);
            self.held.extend_from_slice(part);
            rest = after;
            let Some(fate) = reached.fate else { continue };
            match fate {
                ReplyFate::Forward => going.append(&mut self.held),
                ReplyFate::Swap(_) | ReplyFate::Lose if self.torn => going.append(&mut self.held),
                ReplyFate::Swap(mut bytes) => going.append(&mut bytes),
                ReplyFate::Lose => (),
                ReplyFate::Cut => cut = true,
                ReplyFate::CutMidway => {
                    going.extend_from_slice(&self.held[..self.held.len() / 2]);
                    cut = true;
                }
            }
            self.held.clear();
            self.torn = false;
        }
        drop(session);
        self.recorder.record_all(&mut self.seen);
        if !cut && (!hold || self.torn || self.held.len() > HELD_BYTES) {
            self.torn |= !self.held.is_empty();
            going.append(&mut self.held);
        }
        (going, cut)
    }

    /// Passes the end of the source on, after what was held back.
    async fn finish(self, mut to: WriteHalf<'_>) -> Ended {
        let finished = async {
            to.write_all(&self.held).await?;
            to.shutdown().await
        };
        match finished.await {
            Ok(()) => Ended::AtEnd,
            // The other side is gone altogether.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ended::AtEnd,
            Err(error) => Ended::Because(broken(&error)),
        }
    }
}

/// Messages that wait for their delay to pass, in order.
#[derive(Default)]
struct Delayed {
    waiting: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Delayed {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes all of `message`. It goes no earlier than what came before it.
    fn add(&mut self, message: &mut Vec<u8>, due: Instant) {
        self.bytes += message.len();
        match self.waiting.back_mut() {
            Some((last, bytes)) if due <= *last => bytes.append(message),
            _ if message.is_empty() => (),
            _ => self.waiting.push_back((due, std::mem::take(message))),
        }
    }

    /// Waits until the first may go; for ever if there is none.
    async fn due(&self) {
        match self.waiting.front() {
            Some((due, _)) => sleep_until(*due).await,
            None => std::future::pending().await,
        }
    }

    fn take_first(&mut self) -> Vec<u8> {
        let first = self.waiting.pop_front().map_or_else(Vec::new, |(_, bytes)| bytes);
        self.bytes -= first.len();
        first
    }

    /// Takes all that may go by now.
    fn take_due(&mut self) -> Vec<u8> {
        let now = Instant::now();
        let mut going = Vec::new();
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            going.append(&mut self.take_first());
        }
        going
    }
}

async fn ending(ended: &mut watch::Receiver<Option<CloseReason>>) -> CloseReason {
    // Without a sender the proxy is gone.
    let reason = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
    reason.unwrap_or(CloseReason::Stopped)
}

/// Makes the peer see a reset instead of an orderly end when the socket is dropped.
fn reset(socket: &TcpStream) {
    // On failure the peer sees an orderly end, which is the most we can still do.
    let _ = socket.set_zero_linger();
}

fn broken(error: &io::Error) -> CloseReason {
    CloseReason::Broken { error: error.to_string() }
}

fn locked<'a>(session: &'a Mutex<Session>) -> MutexGuard<'a, Session> {
    // Only the connection's own task locks it.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::wire::{
        fault::{Fault, Moment, Requests, Strike},
        record::RedisReply,
        resp::CommandParser,
    };

    const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";

    #[tokio::test]
    async fn an_answer_is_in_the_channel_before_it_is_in_the_gateway() {
        let mut rig = Rig::new().await;
        let mut gateway = rig.connect().await;
        for _ in 0..200 {
            gateway.write_all(&[SET, GET].concat()).await.unwrap();
            assert_eq!(read(&mut gateway, 10).await, b"+OK\r\n+OK\r\n");
            assert_eq!(rig.commands(), ["SET Ok", "GET Ok"]);
        }
        assert_eq!(*rig.store_got.borrow(), [SET, GET].concat().repeat(200));
    }

    #[tokio::test]
    async fn bytes_that_nobody_understands_are_forwarded_and_counted() {
        let mut rig = Rig::new().await;
        let mut gateway = rig.connect().await;
        let noise: Vec<u8> = (0..200_000u32).map(|it| (it * 7) as u8).collect();
        gateway.write_all(&noise).await.unwrap();
        rig.store_got.wait_for(|got| got.len() == noise.len()).await.unwrap();
        assert_eq!(*rig.store_got.borrow(), noise);
        drop(gateway);
        let events = rig.stop().await;
        let unseen: Vec<_> = events
            .iter()
            .filter_map(|event| match event.body {
                WireBody::Unseen { bytes, .. } => Some(bytes),
                _ => None,
            })
            .collect();
        assert_eq!(unseen.len(), 2, "{events:?}");
        assert_eq!(unseen[1], noise.len() as u64);
    }

    #[tokio::test]
    async fn what_the_channel_cannot_take_is_counted() {
        let mut rig = Rig::with_room(3).await;
        let mut gateway = rig.connect().await;
        gateway.write_all(&GET.repeat(10)).await.unwrap();
        read(&mut gateway, 50).await;
        // The room went to the connection and two commands, at most.
        assert!(rig.proxy.as_ref().unwrap().lost() >= 8);
        assert!(rig.commands().len() <= 2);
    }

    #[tokio::test]
    async fn only_the_commands_a_fault_is_about_are_delayed() {
        let mut rig = Rig::new().await;
        let on = Requests::Command { name: "get".to_owned() };
        let strike = rig.strike(Fault::Delay { on, by_ms: 80 });
        let mut gateway = rig.connect().await;
        let took = |event: &WireEvent| event.answered.unwrap().since(event.asked).as_millis();
        gateway.write_all(SET).await.unwrap();
        read(&mut gateway, 5).await;
        gateway.write_all(&GET.repeat(5)).await.unwrap();
        read(&mut gateway, 25).await;
        let answered: Vec<_> =
            rig.events().into_iter().filter(|it| it.answered.is_some()).collect();
        assert!(took(&answered[0]) < 80, "{answered:?}");
        // Their delays run at the same time.
        for delayed in &answered[1..] {
            assert!((80..240).contains(&took(delayed)), "{delayed:?}");
            assert_eq!(delayed.fault, Some(strike.id()));
        }
        assert_eq!(strike.heal(), 5);
        gateway.write_all(GET).await.unwrap();
        read(&mut gateway, 5).await;
        assert!(rig.events().iter().all(|event| event.fault.is_none() || event.answered.is_none()));
    }

    #[tokio::test]
    async fn a_refused_command_never_reaches_the_store_and_is_answered_in_its_turn() {
        let mut rig = Rig::new().await;
        let on = Requests::Command { name: "GET".to_owned() };
        let (code, message) = ("LOADING".to_owned(), "loading".to_owned());
        let _strike = rig.strike(Fault::Answer { on, code, message });
        let mut gateway = rig.connect().await;
        gateway.write_all(&[SET, GET, SET].concat()).await.unwrap();
        assert_eq!(read(&mut gateway, 28).await, b"+OK\r\n-LOADING loading\r\n+OK\r\n");
        assert!(!rig.store_got.borrow().windows(3).any(|window| window == b"GET"));
        assert_eq!(rig.commands(), ["SET Ok", "GET LOADING loading", "SET Ok"]);
    }

    #[tokio::test]
    async fn a_connection_is_cut_at_the_moment_asked_for() {
        for (moment, store_sees_it, gateway_sees) in [
            (Moment::BeforeRequest, false, ""),
            (Moment::BeforeReply, true, ""),
            (Moment::MidReply, true, "+O"),
        ] {
            let mut rig = Rig::new().await;
            let on = Requests::Command { name: "GET".to_owned() };
            let strike = rig.strike(Fault::CutAt { on, moment });
            let mut gateway = rig.connect().await;
            gateway.write_all(SET).await.unwrap();
            read(&mut gateway, 5).await;
            gateway.write_all(GET).await.unwrap();
            let mut rest = Vec::new();
            let end = gateway.read_to_end(&mut rest).await;
            // A reset may overtake what was sent before it.
            assert!(rest.is_empty() || rest == gateway_sees.as_bytes(), "{moment:?}: {rest:?}");
            assert!(end.is_err() || !rest.is_empty(), "{moment:?}: {end:?}");
            assert_eq!(strike.hits(), 1);
            let events = rig.stop().await;
            let cut = WireBody::Closed { reason: CloseReason::Cut };
            assert!(events.iter().any(|event| event.body == cut), "{events:?}");
            let got = rig.store_got.borrow().windows(3).any(|window| window == b"GET");
            assert_eq!(got, store_sees_it, "{moment:?}");
        }
    }

    #[tokio::test]
    async fn a_refusing_store_resets_new_connections_and_keeps_the_old() {
        let rig = Rig::new().await;
        let mut before = rig.connect().await;
        before.write_all(GET).await.unwrap();
        read(&mut before, 5).await;
        let strike = rig.strike(Fault::Refuse);
        let mut refused = rig.connect().await;
        assert!(refused.read(&mut [0]).await.is_err());
        before.write_all(GET).await.unwrap();
        read(&mut before, 5).await;
        assert_eq!(strike.heal(), 1);
        let mut after = rig.connect().await;
        after.write_all(GET).await.unwrap();
        read(&mut after, 5).await;
    }

    #[tokio::test]
    async fn one_in_two_connections_is_cut() {
        let rig = Rig::new().await;
        let mut gateways = Vec::new();
        for _ in 0..4 {
            let mut gateway = rig.connect().await;
            gateway.write_all(GET).await.unwrap();
            read(&mut gateway, 5).await;
            gateways.push(gateway);
        }
        assert_eq!(rig.strike(Fault::Cut { one_in: NonZeroU32::new(2).unwrap() }).heal(), 2);
        let mut alive = 0;
        for mut gateway in gateways {
            let _ = gateway.write_all(GET).await;
            alive += usize::from(gateway.read(&mut [0; 5]).await.is_ok_and(|length| length == 5));
        }
        assert_eq!(alive, 2);
    }

    #[tokio::test]
    async fn a_black_hole_gives_back_what_it_held() {
        let rig = Rig::new().await;
        let mut before = rig.connect().await;
        before.write_all(GET).await.unwrap();
        read(&mut before, 5).await;
        let strike = rig.strike(Fault::Blackhole);
        let mut during = rig.connect().await;
        for gateway in [&mut before, &mut during] {
            gateway.write_all(GET).await.unwrap();
            let answer = timeout(Duration::from_millis(50), gateway.read(&mut [0; 5])).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        assert_eq!(strike.heal(), 2);
        for gateway in [&mut before, &mut during] {
            assert_eq!(read(gateway, 5).await, b"+OK\r\n");
        }
    }

    #[tokio::test]
    async fn stopping_closes_what_is_open_and_tells_what_was_not_answered() {
        let mut rig = Rig::new().await;
        let strike = rig.strike(Fault::Delay { on: Requests::All, by_ms: 60_000 });
        let mut gateway = rig.connect().await;
        gateway.write_all(GET).await.unwrap();
        while strike.hits() == 0 {
            tokio::task::yield_now().await;
        }
        let events = rig.stop().await;
        assert!(matches!(gateway.read(&mut [0]).await, Ok(0) | Err(_)));
        let commands: Vec<_> = events
            .iter()
            .filter(|event| matches!(&event.body, WireBody::RedisCommand(it) if it.reply.is_none()))
            .collect();
        assert_eq!(commands.len(), 1, "{events:?}");
        let stopped = WireBody::Closed { reason: CloseReason::Stopped };
        assert!(events.iter().any(|event| event.body == stopped), "{events:?}");
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_told() {
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = nobody.local_addr().unwrap();
        drop(nobody);
        let mut rig = Rig::at(addr, 100).await;
        let mut gateway = rig.connect().await;
        assert!(gateway.read(&mut [0]).await.is_err());
        let events = rig.stop().await;
        let unreachable = |event: &WireEvent| {
            matches!(event.body, WireBody::Closed { reason: CloseReason::Unreachable { .. } })
        };
        assert!(events.iter().any(unreachable), "{events:?}");
    }

    /// A store proxy in front of a store that says `OK` to everything.
    struct Rig {
        proxy: Option<StoreProxy>,
        sink: mpsc::Receiver<WireEvent>,
        store_got: watch::Receiver<Vec<u8>>,
    }

    impl Rig {
        async fn new() -> Rig {
            Rig::with_room(10_000).await
        }

        async fn with_room(room: usize) -> Rig {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mut rig = Rig::at(listener.local_addr().unwrap(), room).await;
            let (got, store_got) = watch::channel(Vec::new());
            rig.store_got = store_got;
            let got = Arc::new(got);
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(agree(socket, Arc::clone(&got)));
                }
            });
            rig
        }

        async fn at(addr: SocketAddr, room: usize) -> Rig {
            let (sender, sink) = mpsc::channel(room);
            let proxy = StoreProxy::start(StoreKind::Redis, 0, addr, Clock::start(), sender);
            let (_, store_got) = watch::channel(Vec::new());
            Rig { proxy: Some(proxy.await.unwrap()), sink, store_got }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.proxy.as_ref().unwrap().addr()).await.unwrap()
        }

        fn strike(&self, fault: Fault) -> Strike {
            self.proxy.as_ref().unwrap().faults().strike(fault)
        }

        /// What is in the channel now.
        fn events(&mut self) -> Vec<WireEvent> {
            std::iter::from_fn(|| self.sink.try_recv().ok()).collect()
        }

        /// The commands in the channel now, with their replies.
        fn commands(&mut self) -> Vec<String> {
            let commands = self.events().into_iter().filter_map(|event| match event.body {
                WireBody::RedisCommand(command) => Some(match &command.reply {
                    Some(RedisReply::Error { text }) => format!("{} {}", command.name, text.text()),
                    Some(reply) => format!("{} {reply:?}", command.name),
                    None => command.name.into_owned(),
                }),
                _ => None,
            });
            commands.collect()
        }

        async fn stop(&mut self) -> Vec<WireEvent> {
            self.proxy.take().unwrap().stop().await;
            self.events()
        }
    }

    async fn agree(mut socket: TcpStream, got: Arc<watch::Sender<Vec<u8>>>) {
        socket.set_nodelay(true).unwrap();
        let mut parser = CommandParser::default();
        let mut piece = vec![0; 65_536];
        while let Ok(length @ 1..) = socket.read(&mut piece).await {
            got.send_modify(|got| got.extend_from_slice(&piece[..length]));
            let mut rest = &piece[..length];
            while !rest.is_empty() {
                let Ok(step) = parser.next(rest) else { break };
                rest = &rest[step.used..];
                let answer: &[u8] = match step.message {
                    Some(it) if it.name == "GAUNTLET.REFUSED" => b"-ERR unknown command\r\n",
                    Some(_) => b"+OK\r\n",
                    None => b"",
                };
                if socket.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn read(gateway: &mut TcpStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        gateway.read_exact(&mut bytes).await.unwrap();
        bytes
    }
}
