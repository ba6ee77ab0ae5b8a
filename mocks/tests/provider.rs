//! The provider from outside: what a gateway gets from it, and what its ledger then says.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail as a test does")]

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use mocks::{
    Provider,
    ledger::{Attempt, Close, LedgerPage, Usage},
};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

/// Longer than anything here takes, so that a failure is a failed assertion and not a hang.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_whole_answer_is_remembered_as_it_was_given() {
    let provider = Running::start().await;
    let response = provider.chat("mock-usage13x7", &json!({})).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("x-request-id"));
    let bytes = response.bytes().await.unwrap();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "mock-usage13x7");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["total_tokens"], 20);

    let row = provider.only_row().await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.starts_with(&format!("{} [[nonce:n-1]]", row.fingerprint.clone().unwrap())));
    assert_eq!((row.method.as_str(), row.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!((row.seq, row.status, row.stream), (1, 200, false));
    assert_eq!(row.model, "mock-usage13x7");
    assert_eq!(row.nonce.as_deref(), Some("n-1"));
    assert_eq!(row.usage, Usage { prompt_tokens: 13, completion_tokens: 7 });
    assert_eq!((row.chunks_sent, row.bytes_sent), (0, bytes.len() as u64));
    assert_eq!(row.close, Close::Complete);
    // The first 16 digits of `printf %s sk-test | sha256sum`.
    assert_eq!(row.credential, "f3abf2a6cc4f0098");
    assert!(row.header_names.contains(&"authorization".to_owned()));
    assert_eq!(row.body_sha256.len(), 64);
    assert!(row.arrived_us <= row.first_byte_us.unwrap());
    assert!(row.first_byte_us.unwrap() <= row.ended_us);
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_vendor_in_order() {
    let provider = Running::start().await;
    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    let response = provider.chat("mock-ok-chunks5-usage13x7", &asked).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let body = response.text().await.unwrap();
    let events = events(&body);
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    // The role, five chunks of content, the finish and the usage.
    assert_eq!(chunks.len(), 8);
    for shared in ["id", "created", "model", "object"] {
        assert!(chunks.iter().all(|chunk| chunk[shared] == chunks[0][shared]), "{shared}");
    }
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(chunks[6]["choices"][0]["delta"], json!({}));
    assert_eq!(chunks[6]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[7]["choices"], json!([]));
    assert_eq!(chunks[7]["usage"]["total_tokens"], 20);

    let row = provider.only_row().await;
    let first = chunks[1]["choices"][0]["delta"]["content"].as_str().unwrap();
    assert!(first.starts_with(&format!("{} [[nonce:n-1]]", row.fingerprint.unwrap())));
    assert_eq!((row.stream, row.chunks_sent, row.bytes_sent), (true, 9, body.len() as u64));
    assert_eq!(row.close, Close::Complete);
}

#[tokio::test]
async fn chunks_come_at_the_pace_of_the_script() {
    let provider = Running::start().await;
    let began = Instant::now();
    let model = "mock-ok-delay100ms-chunks4-gap50ms";
    let mut response = provider.chat(model, &json!({"stream": true})).await;
    assert!(began.elapsed() >= Duration::from_millis(100));
    let mut arrivals = Vec::new();
    while let Some(piece) = response.chunk().await.unwrap() {
        let held = piece.windows(6).filter(|window| window == b"data: ").count();
        arrivals.push((began.elapsed(), held));
    }
    // Four chunks of content and the finish chunk come after a gap, each by itself.
    let after_a_gap: Vec<_> = arrivals
        .windows(2)
        .filter(|pair| pair[1].0 - pair[0].0 >= Duration::from_millis(25))
        .collect();
    assert!(after_a_gap.len() >= 4, "{arrivals:?}");
    assert!(began.elapsed() >= Duration::from_millis(350));
}

#[tokio::test]
async fn a_stream_split_into_bytes_is_the_same_stream() {
    let provider = Running::start().await;
    let body = provider.chat("mock-ok-utf8-split1", &json!({"stream": true})).await.text().await;
    assert_eq!(events(&body.unwrap()).last().unwrap(), "[DONE]");
    assert_eq!(provider.only_row().await.chunks_sent, 7);
}

#[tokio::test]
async fn a_cut_breaks_the_transport_and_is_ours() {
    let provider = Running::start().await;
    let mut response = provider.chat("mock-cut3", &json!({"stream": true})).await;
    let mut body = String::new();
    let broken = loop {
        match response.chunk().await {
            Ok(Some(piece)) => body.push_str(std::str::from_utf8(&piece).unwrap()),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken, "the body ended as if it were whole");
    assert_eq!(events(&body).len(), 3);
    let row = provider.only_row().await;
    assert_eq!((row.close, row.chunks_sent), (Close::MockAborted, 3));

    let whole = provider.chat("mock-cut3", &json!({})).await;
    assert!(whole.bytes().await.is_err());
}

#[tokio::test]
async fn an_early_end_and_a_late_error_are_clean_and_ours() {
    let provider = Running::start().await;
    for (model, chunks) in [("mock-end3", 3), ("mock-error2", 3), ("mock-end0", 0)] {
        let body = provider.chat(model, &json!({"stream": true})).await.text().await.unwrap();
        assert_eq!(events(&body).len(), chunks, "{model}");
        assert!(!body.contains("[DONE]"), "{model}");
        assert_eq!(provider.rows(0).await.rows.last().unwrap().close, Close::MockAborted);
    }
    let late = provider.chat("mock-error1", &json!({})).await;
    assert_eq!(late.status(), StatusCode::OK);
    assert_eq!(late.json::<Value>().await.unwrap()["error"]["type"], "server_error");
}

#[tokio::test]
async fn a_stream_without_done_or_finish_is_otherwise_whole() {
    let provider = Running::start().await;
    for (model, chunks) in [("mock-nodone", 6), ("mock-nofinish", 5)] {
        let body = provider.chat(model, &json!({"stream": true})).await.text().await.unwrap();
        assert_eq!(events(&body).len(), chunks, "{model}");
    }
    assert!(provider.rows(0).await.rows.iter().all(|row| row.close == Close::Complete));
}

#[tokio::test]
async fn a_hang_up_is_noticed_at_its_chunk() {
    let provider = Running::start().await;
    let asked = json!({"stream": true});
    let mut response = provider.chat("mock-ok-chunks1000-gap20ms", &asked).await;
    let mut body = String::new();
    while events(&body).len() < 4 {
        body.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    let left = Instant::now();
    drop(response);
    let row = provider.only_row().await;
    assert!(left.elapsed() < Duration::from_secs(1), "noticed after {:?}", left.elapsed());
    assert_eq!(row.close, Close::PeerClosedAtChunk(row.chunks_sent));
    assert!((4..10).contains(&row.chunks_sent), "{row:?}");
}

#[tokio::test]
async fn a_hang_up_is_noticed_without_a_chunk_to_send() {
    let provider = Running::start().await;
    for model in ["mock-hang", "mock-ok-delay60s", "mock-stall0"] {
        for stream in [true, false] {
            provider.clear().await;
            let request = request_of(model, &json!({"stream": stream}));
            let mut connection = TcpStream::connect(provider.addr()).await.unwrap();
            connection.write_all(request.as_bytes()).await.unwrap();
            provider.until(|page| page.in_flight == 1).await;
            drop(connection);
            let row = provider.only_row().await;
            assert_eq!(row.close, Close::PeerClosedAtChunk(row.chunks_sent), "{model}");
            assert_eq!(row.first_byte_us.is_none(), row.status == 0, "{model}");
        }
    }
}

#[tokio::test]
async fn a_request_broken_off_is_remembered() {
    let provider = Running::start().await;
    let request = request_of("mock-ok", &json!({}));
    let mut connection = TcpStream::connect(provider.addr()).await.unwrap();
    connection.write_all(&request.as_bytes()[..request.len() - 10]).await.unwrap();
    provider.until(|page| page.in_flight == 1).await;
    drop(connection);
    let row = provider.only_row().await;
    assert_eq!((row.close, row.status), (Close::PeerClosedAtChunk(0), 0));
    assert_eq!((row.body_sha256.as_str(), row.model.as_str()), ("", ""));
}

#[tokio::test]
async fn errors_have_the_envelope_of_the_vendor() {
    let provider = Running::start().await;
    for (model, status, kind, code) in [
        ("mock-400", 400, "invalid_request_error", None),
        ("mock-401", 401, "invalid_request_error", Some("invalid_api_key")),
        ("mock-404", 404, "invalid_request_error", Some("model_not_found")),
        ("mock-429", 429, "requests", Some("rate_limit_exceeded")),
        ("mock-quota", 429, "insufficient_quota", Some("insufficient_quota")),
        ("mock-500", 500, "server_error", None),
        ("mock-503", 503, "service_unavailable_error", Some("server_is_overloaded")),
        ("mock-529", 529, "overloaded_error", Some("overloaded")),
    ] {
        // An error is an error, streamed or not.
        for stream in [false, true] {
            let response = provider.chat(model, &json!({"stream": stream})).await;
            assert_eq!(response.status().as_u16(), status, "{model}");
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["error"]["type"], kind, "{model}");
            assert_eq!(body["error"]["code"].as_str(), code, "{model}");
            let row = provider.rows(0).await.rows.pop().unwrap();
            assert_eq!((row.status, row.fingerprint, row.usage), (status, None, Usage::default()));
            assert_eq!(row.nonce.as_deref(), Some("n-1"));
        }
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_retry() {
    let provider = Running::start().await;
    let hints = async |model| {
        let response = provider.chat(model, &json!({})).await;
        ["retry-after", "retry-after-ms"].map(|name| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        })
    };
    let said = |after: &str, ms: &str| [Some(after.to_owned()), Some(ms.to_owned())];
    assert_eq!(hints("mock-429-ra7").await, said("7", "7000"));
    assert_eq!(hints("mock-429-ra1500ms").await, said("2", "1500"));
    assert_eq!(hints("mock-429").await, said("1", "1000"));
    assert_eq!(hints("mock-429-nora").await, [None, None]);
    assert_eq!(hints("mock-500").await, [None, None]);
}

#[tokio::test]
async fn an_unknown_directive_is_named_with_the_known_ones() {
    let provider = Running::start().await;
    let response = provider.chat("mock-ok-dleay5ms", &json!({})).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body: Value = response.json().await.unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("`dleay5ms`") && message.contains("delayD"), "{message}");
    assert_eq!(provider.only_row().await.model, "mock-ok-dleay5ms");
}

#[tokio::test]
async fn what_is_no_chat_is_refused_and_remembered() {
    let provider = Running::start().await;
    let client = &provider.client;
    let no_credential = client.post(provider.url("/v1/chat/completions")).send().await.unwrap();
    assert_eq!(no_credential.status(), StatusCode::UNAUTHORIZED);
    let no_json = client.post(provider.url("/v1/chat/completions")).bearer_auth("k").body("{");
    assert_eq!(no_json.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let no_route =
        client.post(provider.url("/v1/other?a=b")).bearer_auth("k").send().await.unwrap();
    assert_eq!(no_route.status(), StatusCode::NOT_FOUND);
    let no_method = client.put(provider.url("/v1/models")).bearer_auth("k").send().await.unwrap();
    assert_eq!(no_method.status(), StatusCode::METHOD_NOT_ALLOWED);
    let models = client.get(provider.url("/v1/models")).bearer_auth("k").send().await.unwrap();
    assert_eq!(models.json::<Value>().await.unwrap()["object"], "list");
    // Not a provider's route, so no attempt.
    let control = client.get(provider.url("/_mock/other")).send().await.unwrap();
    assert_eq!(control.status(), StatusCode::NOT_FOUND);

    let page = provider.rows(0).await;
    let seen: Vec<(&str, u16)> =
        page.rows.iter().map(|row| (row.path.as_str(), row.status)).collect();
    assert_eq!(
        seen,
        [
            ("/v1/chat/completions", 401),
            ("/v1/chat/completions", 400),
            ("/v1/other?a=b", 404),
            ("/v1/models", 405),
            ("/v1/models", 200),
        ]
    );
}

#[tokio::test]
async fn the_ledger_is_read_page_by_page_and_counts_what_fell_out() {
    let provider = Running::keeping(5).await;
    for _ in 0..8 {
        provider.chat("mock-ok", &json!({})).await.bytes().await.unwrap();
    }
    let numbers = |page: &LedgerPage| page.rows.iter().map(|row| row.seq).collect::<Vec<_>>();
    let first: LedgerPage = provider.get("/_mock/ledger?after=0&limit=3").await;
    assert_eq!((numbers(&first), first.next, first.dropped), (vec![4, 5, 6], 6, 3));
    let second: LedgerPage = provider.get("/_mock/ledger?after=6&limit=3").await;
    assert_eq!((numbers(&second), second.next), (vec![7, 8], 8));
    let last: LedgerPage = provider.get("/_mock/ledger?after=8").await;
    assert_eq!((numbers(&last), last.next, last.in_flight), (vec![], 8, 0));

    provider.clear().await;
    provider.chat("mock-ok", &json!({})).await.bytes().await.unwrap();
    let page = provider.rows(0).await;
    assert_eq!((numbers(&page), page.dropped), (vec![9], 0));
}

#[tokio::test]
async fn no_two_answers_share_a_fingerprint() {
    let provider = Running::start().await;
    for stream in [true, false].repeat(20) {
        provider.chat("mock-ok", &json!({"stream": stream})).await.bytes().await.unwrap();
    }
    let page = provider.rows(0).await;
    let marks: std::collections::BTreeSet<_> =
        page.rows.iter().map(|row| row.fingerprint.clone().unwrap()).collect();
    assert_eq!(marks.len(), 40);
}

#[tokio::test]
async fn the_clock_is_that_of_the_rows() {
    let provider = Running::start().await;
    let now =
        async || -> u64 { provider.get::<Value>("/_mock/clock").await["now_us"].as_u64().unwrap() };
    let before = now().await;
    provider.chat("mock-ok-delay30ms", &json!({})).await.bytes().await.unwrap();
    let after = now().await;
    let row = provider.only_row().await;
    assert!(before <= row.arrived_us && row.ended_us <= after);
    assert!(row.first_byte_us.unwrap() - row.arrived_us >= 30_000);
    assert_eq!(provider.get::<Value>("/_mock/health").await, json!({"status": "ok"}));
}

#[tokio::test]
async fn stopping_lets_an_answer_end_and_does_not_wait_for_one_that_never_will() {
    let mut provider = Running::start().await;
    let hanging = request_of("mock-hang", &json!({}));
    let mut connection = TcpStream::connect(provider.addr()).await.unwrap();
    connection.write_all(hanging.as_bytes()).await.unwrap();
    let slow = provider.chat("mock-ok-gap50ms", &json!({"stream": true})).await;
    let told = Instant::now();
    provider.stop.take().unwrap().send(()).unwrap();
    assert!(slow.text().await.unwrap().contains("[DONE]"));
    tokio::time::timeout(SOON, provider.serving.take().unwrap()).await.unwrap().unwrap().unwrap();
    assert!(told.elapsed() < Duration::from_secs(4), "{:?}", told.elapsed());
}

#[tokio::test]
async fn the_binary_says_where_it_listens_and_ends_when_told() {
    use tokio::{
        io::{AsyncBufReadExt, BufReader},
        process::Command,
    };

    let mut child = Command::new(env!("CARGO_BIN_EXE_mock-provider"))
        .args(["--port", "0", "--ledger-capacity", "7"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let addr = ready["listening"].as_str().unwrap();
    let mut connection = TcpStream::connect(addr).await.unwrap();
    let request =
        format!("GET /_mock/health HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = tokio::time::timeout(SOON, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

/// A provider of this test's own, and a caller.
struct Running {
    base: String,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Running {
    async fn start() -> Running {
        Running::keeping(1_000).await
    }

    async fn keeping(capacity: usize) -> Running {
        let capacity = NonZeroUsize::new(capacity).unwrap();
        let provider = Provider::bind(([127, 0, 0, 1], 0).into(), capacity).await.unwrap();
        let base = format!("http://{}", provider.addr());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(provider.serve(async {
            // A test that ends drops the sender; the runtime then ends the server.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Running { base, client: Client::new(), stop: Some(stop), serving: Some(serving) }
    }

    fn addr(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn chat(&self, model: &str, also: &Value) -> Response {
        let request = self.client.post(self.url("/v1/chat/completions")).bearer_auth("sk-test");
        request.json(&chat_body(model, also)).send().await.unwrap()
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.client.get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    async fn rows(&self, after: u64) -> LedgerPage {
        self.get(&format!("/_mock/ledger?after={after}&limit=100")).await
    }

    async fn clear(&self) {
        self.client.delete(self.url("/_mock/ledger")).send().await.unwrap();
    }

    /// Reads the ledger until it is as `wanted`.
    async fn until(&self, wanted: impl Fn(&LedgerPage) -> bool) -> LedgerPage {
        let deadline = Instant::now() + SOON;
        loop {
            let page = self.rows(0).await;
            if wanted(&page) {
                return page;
            }
            assert!(Instant::now() < deadline, "the ledger stayed as {page:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The row of the one attempt there was, once it has ended.
    async fn only_row(&self) -> Attempt {
        let mut page = self.until(|page| !page.rows.is_empty()).await;
        assert_eq!((page.rows.len(), page.in_flight), (1, 0));
        page.rows.remove(0)
    }
}

fn chat_body(model: &str, also: &Value) -> Value {
    let mut body = json!({
        "model": model,
        "messages": [{"role": "user", "content": "hello [[nonce:n-1]]"}],
    });
    for (name, value) in also.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn request_of(model: &str, also: &Value) -> String {
    let body = chat_body(model, also).to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\nauthorization: Bearer sk-test\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The payloads of the events in `body`.
fn events(body: &str) -> Vec<String> {
    let events = body.split_terminator("\n\n");
    events.map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
}
