//! What a store proxy costs, beside a proxy that only copies.
//!
//! Both run in this process, before the same store, which answers every command from memory; so
//! the ratios say something and the absolute figures do not. The bars: the proxy adds at most 1.5
//! times the median latency that the copy adds, and carries at least half of its pipelined
//! throughput. Their ratios are printed last: `cargo bench -p harness --bench store_proxy`.

use std::{
    hint::black_box,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group};
use harness::{
    clock::Clock,
    wire::{proxy::StoreProxy, record::StoreKind},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::mpsc,
};

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$10\r\nkey:000042\r\n";
const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$10\r\nkey:000042\r\n$16\r\n0123456789abcdef\r\n";
const VALUE: &[u8] = b"$16\r\n0123456789abcdef\r\n";
const OK: &[u8] = b"+OK\r\n";

/// Commands in flight at once, as `redis-benchmark -P 16` has them.
const PIPELINE: usize = 16;
/// Answers measured for one median.
const ROUND_TRIPS: usize = 4_000;
/// Pipelines measured for one throughput.
const PIPELINES: usize = 16_000;
/// Callers at once, so that no proxy ever waits for work.
const CALLERS: usize = 16;
/// Measurements of each way, in turn, of which the median is taken.
const TURNS: usize = 15;

/// The three ways to the store.
struct Ways {
    direct: SocketAddr,
    copied: SocketAddr,
    proxied: SocketAddr,
    proxy: StoreProxy,
}

impl Ways {
    async fn open() -> io::Result<Ways> {
        let direct = store().await?;
        let copied = copy(direct).await?;
        let (sender, mut sink) = mpsc::channel(65_536);
        tokio::spawn(async move {
            let mut events = Vec::new();
            while sink.recv_many(&mut events, 1_024).await > 0 {
                black_box(&events);
                events.clear();
            }
        });
        let proxy = StoreProxy::start(StoreKind::Redis, 0, direct, Clock::start(), sender).await?;
        let proxied = proxy.addr();
        Ok(Ways { direct, copied, proxied, proxy })
    }

    fn named(&self) -> [(&'static str, SocketAddr); 3] {
        [("direct", self.direct), ("copy", self.copied), ("store proxy", self.proxied)]
    }
}

/// A store that knows two commands, each by its length.
async fn store() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    });
    Ok(addr)
}

async fn answer(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut asked = Vec::with_capacity(65_536);
    let mut answers = Vec::new();
    while socket.read_buf(&mut asked).await? > 0 {
        let mut rest = &asked[..];
        loop {
            if let Some(after) = rest.strip_prefix(GET) {
                answers.extend_from_slice(VALUE);
                rest = after;
            } else if let Some(after) = rest.strip_prefix(SET) {
                answers.extend_from_slice(OK);
                rest = after;
            } else {
                break;
            }
        }
        asked.drain(..asked.len() - rest.len());
        socket.write_all(&answers).await?;
        answers.clear();
    }
    Ok(())
}

/// The least a proxy can do.
async fn copy(upstream: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(upstream).await?;
                from.set_nodelay(true)?;
                to.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    Ok(addr)
}

/// A connection, and room for answers.
struct Caller {
    socket: TcpStream,
    pipeline: Vec<u8>,
    answers: Vec<u8>,
}

impl Caller {
    async fn connect(addr: SocketAddr) -> io::Result<Caller> {
        let socket = TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        let pair = PIPELINE / 2;
        let pipeline = [GET, SET].concat().repeat(pair);
        let answers = vec![0; (VALUE.len() + OK.len()) * pair];
        Ok(Caller { socket, pipeline, answers })
    }

    async fn round_trip(&mut self) -> io::Result<()> {
        self.socket.write_all(GET).await?;
        self.socket.read_exact(&mut self.answers[..VALUE.len()]).await?;
        Ok(())
    }

    async fn pipelined(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.pipeline).await?;
        self.socket.read_exact(&mut self.answers).await?;
        Ok(())
    }
}

async fn median_round_trip(caller: &mut Caller) -> io::Result<Duration> {
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let began = now();
        caller.round_trip().await?;
        took.push(began.elapsed());
    }
    Ok(median(took))
}

/// Commands per second of all callers together.
async fn throughput(addr: SocketAddr) -> io::Result<f64> {
    let began = now();
    let callers = [(); CALLERS].map(|()| {
        tokio::spawn(async move {
            let mut caller = Caller::connect(addr).await?;
            for _ in 0..PIPELINES / CALLERS {
                caller.pipelined().await?;
            }
            io::Result::Ok(())
        })
    });
    for caller in callers {
        caller.await.map_err(io::Error::other)??;
    }
    Ok((PIPELINES * PIPELINE) as f64 / began.elapsed().as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).expect("measurements are numbers"));
    values[values.len() / 2]
}

/// Latency and throughput as criterion tells them.
fn store_proxy(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let ways = runtime.block_on(Ways::open()).expect("loopback sockets open");
    let mut group = criterion.benchmark_group("round trip");
    for (name, addr) in ways.named() {
        let mut caller = runtime.block_on(Caller::connect(addr)).expect("the way is open");
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(caller.round_trip()).expect("the way stays open"));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("pipeline of 16");
    group.throughput(Throughput::Elements(PIPELINE as u64));
    for (name, addr) in ways.named() {
        let mut caller = runtime.block_on(Caller::connect(addr)).expect("the way is open");
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(caller.pipelined()).expect("the way stays open"));
        });
    }
    group.finish();
}

/// Every way in turn, again and again, so that what else the machine does hits all alike.
async fn ratios(out: &mut dyn Write) -> io::Result<()> {
    let ways = Ways::open().await?;
    let [direct, copied, proxied] = [ways.direct, ways.copied, ways.proxied];
    let mut callers = [
        Caller::connect(direct).await?,
        Caller::connect(copied).await?,
        Caller::connect(proxied).await?,
    ];
    let mut added = Vec::new();
    let mut carried = Vec::new();
    for _ in 0..TURNS {
        let mut took = [Duration::ZERO; 3];
        for (caller, took) in callers.iter_mut().zip(&mut took) {
            *took = median_round_trip(caller).await?;
        }
        let [direct_took, copy_took, proxy_took] = took.map(|it| it.as_secs_f64() * 1e6);
        added.push((proxy_took - direct_took) / (copy_took - direct_took));
        let copy_carried = throughput(copied).await?;
        let proxy_carried = throughput(proxied).await?;
        carried.push(proxy_carried / copy_carried);
        writeln!(
            out,
            "round trip {direct_took:.1} direct, {copy_took:.1} copy, {proxy_took:.1} proxy (us); \
             pipelined {copy_carried:.0} copy, {proxy_carried:.0} proxy (commands/s)"
        )?;
    }
    writeln!(out, "added p50: {:.2} x that of the copy (bar: at most 1.5)", median(added))?;
    writeln!(out, "throughput: {:.2} x that of the copy (bar: at least 0.5)", median(carried))?;
    writeln!(out, "events lost: {}", ways.proxy.lost())
}

criterion_group!(benches, store_proxy);

fn main() -> io::Result<()> {
    benches();
    Criterion::default().configure_from_args().final_summary();
    // Only where it is measured, not where `cargo test` tries whether it runs.
    if std::env::args().any(|arg| arg == "--bench") {
        let runtime = Runtime::new()?;
        runtime.block_on(ratios(&mut io::stdout()))?;
    }
    Ok(())
}
