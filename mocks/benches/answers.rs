//! How much slower a provider that remembers is than a server that does not.
//!
//! Both answer the same request with the same bytes, head included, over kept loopback connections
//! in this process; the bare one is axum with a handler that returns a constant. What differs is
//! what the provider adds: reading the request, the script, the answer and the row. The bar is
//! 0.8 of the bare server's answers per second. Criterion times each by itself; the ratio printed
//! last alternates between the two, so that a busy machine slows both alike.

use std::{
    hint::black_box,
    io::{self, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::HeaderMap,
    response::Response,
    routing::post,
    serve::ListenerExt,
};
use criterion::{Criterion, Throughput};
use mocks::{Provider, ledger};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};

/// Connections that ask side by side.
const CONNECTIONS: u64 = 8;

/// Times the two are compared, and answers of each per time.
const ROUNDS: usize = 101;
const ANSWERS: u64 = 2_000;

fn main() -> io::Result<()> {
    let runtime = Runtime::new()?;
    let (provider, bare) = runtime.block_on(start_both())?;

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("answers");
    group.throughput(Throughput::Elements(1)).sample_size(30);
    for (name, addr) in [("bare axum", bare), ("mock provider", provider)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|answers| runtime.block_on(time(addr, answers)));
        });
    }
    group.finish();
    criterion.final_summary();

    let mut ratios = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let by_bare = runtime.block_on(time(bare, ANSWERS));
        let by_provider = runtime.block_on(time(provider, ANSWERS));
        ratios.push(by_bare.as_secs_f64() / by_provider.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    writeln!(
        io::stdout(),
        "mock provider / bare axum, answers per second: {median:.2} \
         (median of {ROUNDS}; {least:.2} to {most:.2})"
    )
}

/// Starts the provider, asks it once, and starts a server that says the same for ever.
async fn start_both() -> io::Result<(SocketAddr, SocketAddr)> {
    let provider = Provider::bind(([127, 0, 0, 1], 0).into(), ledger::DEFAULT_CAPACITY).await?;
    let provider_addr = provider.addr();
    tokio::spawn(provider.serve(std::future::pending()));

    let asked = reqwest::Client::new()
        .post(format!("http://{provider_addr}/v1/chat/completions"))
        .bearer_auth("sk-bench")
        .body(BODY);
    let answer = asked.send().await.map_err(io::Error::other)?;
    let mut headers = answer.headers().clone();
    // hyper writes these by itself.
    headers.remove("date");
    headers.remove("content-length");
    let body = answer.bytes().await.map_err(io::Error::other)?;

    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let bare_addr = listener.local_addr()?;
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let routes = Router::new().route("/v1/chat/completions", post(constant));
    let routes = routes.with_state((headers, body));
    tokio::spawn(async { axum::serve(listener, routes).await });
    Ok((provider_addr, bare_addr))
}

async fn constant(State((headers, body)): State<(HeaderMap, Bytes)>, request: Bytes) -> Response {
    black_box(request);
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    response
}

const BODY: &str = r#"{"model":"mock-ok","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Say hello. [[nonce:0123456789abcdef]]"}],"max_tokens":64,"temperature":0.7}"#;

/// How long `addr` takes for this many answers, asked over a few connections side by side.
async fn time(addr: SocketAddr, answers: u64) -> Duration {
    let mut callers = JoinSet::new();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(addr).await.expect("the server listens"));
    }
    let began = Instant::now();
    for (index, mut connection) in (0..).zip(connections) {
        let share = answers / CONNECTIONS + u64::from(index < answers % CONNECTIONS);
        callers.spawn(async move {
            for _ in 0..share {
                connection.ask().await.expect("the server answers");
            }
        });
    }
    callers.join_all().await;
    began.elapsed()
}

/// A kept connection: as little client as there can be, so that the servers are what is timed.
struct Connection {
    stream: TcpStream,
    request: String,
    received: Vec<u8>,
}

impl Connection {
    async fn open(addr: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer sk-bench\r\n\
             user-agent: bench\r\naccept: */*\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        Ok(Connection { stream, request, received: Vec::with_capacity(4_096) })
    }

    async fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(self.request.as_bytes()).await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if answer_len(&self.received).is_some_and(|len| self.received.len() >= len) {
                return Ok(());
            }
        }
    }
}

/// Length of the answer that begins here, head and body, once its head is here.
fn answer_len(received: &[u8]) -> Option<usize> {
    let head_len = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&received[..head_len]).ok()?;
    let (_, rest) = head.split_once("content-length: ")?;
    let (len, _) = rest.split_once("\r\n")?;
    Some(head_len + len.parse::<usize>().ok()?)
}
