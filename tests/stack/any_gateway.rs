//! Any gateway under load, with nothing but its address and a key: what callers say is what it saw,
//! whatever goes wrong, and no key is told to anybody.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::binaries::Flavour;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use crate::gauntlet::{Ended, Gauntlet, runs};

/// A key that must be seen nowhere. It does not look like one.
const KEY: &str = "canary-9f8e7d6c";

/// Few callers, for a short time.
const SHORT: &str = "--users 6 --ramp 200ms --for 700ms --quiet --json --out {}/runs";

/// A mock provider that stands for a gateway. It is killed when this is dropped.
struct Provider {
    _child: Child,
    url: String,
}

impl Provider {
    async fn start(gauntlet: &Gauntlet) -> Provider {
        let mut child = Command::new(gauntlet.binary("mock-provider"))
            .args(["--port", "0"])
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let url = format!("http://{}", ready["listening"].as_str().unwrap());
        Provider { _child: child, url }
    }

    /// How many completions it was asked for.
    async fn seen(&self) -> u64 {
        let (mut rows, mut after) = (0, 0);
        loop {
            let page = format!("{}/_mock/ledger?after={after}&limit=10000", self.url);
            let page: Value = reqwest::get(page).await.unwrap().json().await.unwrap();
            match page["rows"].as_array().unwrap().len() {
                0 => return rows + page["dropped"].as_u64().unwrap(),
                more => rows += more as u64,
            }
            after = page["next"].as_u64().unwrap();
        }
    }
}

async fn load(gauntlet: &Gauntlet, url: &str, args: &str) -> Ended {
    let ended = gauntlet.run(&format!("load --gateway {url} --key {KEY} {SHORT} {args}")).await;
    no_key_in(&gauntlet.path("runs"));
    assert!(!ended.out.contains(KEY) && !ended.err.contains(KEY), "{}\n{}", ended.out, ended.err);
    ended
}

/// No file of any run holds the key.
fn no_key_in(kept: &Path) {
    if !kept.exists() {
        return;
    }
    for run in runs(kept) {
        for file in std::fs::read_dir(&run).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(!text.contains(KEY), "{}", path.display());
        }
    }
}

/// The numbers of the load, of which every request is counted once.
#[track_caller]
fn numbers(ended: &Ended) -> Value {
    let load = ended.report()["gateway_load"].clone();
    let count = |value: &Value| value.as_u64().unwrap();
    let failed = load["whole"]["failed"].as_array().unwrap();
    let failed: u64 = failed.iter().map(|failure| count(&failure["count"])).sum();
    assert_eq!(count(&load["sent"]), count(&load["whole"]["answered"]) + failed, "{load:#}");
    load
}

/// How many requests were sent, the first ones included.
fn sent(load: &Value) -> u64 {
    load["sent"].as_u64().unwrap() + load["first_asked"].as_u64().unwrap()
}

#[tokio::test]
async fn callers_and_gateway_count_the_same_requests() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let provider = Provider::start(&gauntlet).await;
    let kept = "--threshold error_rate<=0% --threshold rate>=1/s --threshold latency_p99<=30s";
    let ended = load(&gauntlet, &provider.url, &format!("--model mock-ok {kept}")).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let load = numbers(&ended);
    assert_eq!(provider.seen().await, sent(&load));
    assert!(load["window"]["answered"].as_u64().unwrap() > 6, "{load:#}");
    let latency = &load["window"]["latency"];
    assert!(latency["p50_us"].as_u64() <= latency["max_us"].as_u64(), "{load:#}");
    assert!(load["whole"].get("ttft").is_none(), "{load:#}");
    let folder = &runs(&gauntlet.path("runs"))[0];
    let shown = gauntlet.run(&format!("report {} --format terminal", folder.display())).await;
    assert!(shown.out.contains("steady-chat on http://127.0.0.1"), "{}", shown.out);
    let page = gauntlet.run(&format!("report {} --format html", folder.display())).await;
    assert!(page.out.contains("What callers waited for"), "{}", page.out);
}

#[tokio::test]
async fn a_broken_threshold_ends_with_1_and_one_without_evidence_with_3() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let provider = Provider::start(&gauntlet).await;
    let slow = "--model mock-ok-delay30ms --threshold latency_p50<=10ms";
    let broken = load(&gauntlet, &provider.url, slow).await;
    assert_eq!(broken.status(), 1, "{}\n{}", broken.out, broken.err);
    let threshold = &broken.report()["thresholds"][0];
    assert_eq!(threshold["verdict"], "fail", "{threshold:#}");
    assert!(threshold["value"].as_f64().unwrap() >= 30_000.0, "{threshold:#}");
    // Streams of one token have no gaps.
    let one = "--scenario streamed-chat --model mock-ok-chunks1 --threshold gap_p99<=1s";
    let nothing = load(&gauntlet, &provider.url, one).await;
    assert_eq!(nothing.status(), 3, "{}\n{}", nothing.out, nothing.err);
}

#[tokio::test]
async fn streams_are_measured_by_their_tokens() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let provider = Provider::start(&gauntlet).await;
    let model = "--scenario streamed-chat --model mock-ok-chunks5-first30ms-gap20ms";
    let ended = load(&gauntlet, &provider.url, model).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let load = numbers(&ended);
    assert_eq!(provider.seen().await, sent(&load));
    let whole = &load["whole"];
    assert_eq!(whole["tokens"].as_u64().unwrap(), 5 * whole["answered"].as_u64().unwrap());
    // The provider waits before the head, and before each token; nobody can be earlier.
    let at_least = |times: &Value, millis: u64| {
        assert!(times["p50_us"].as_u64().unwrap() >= millis * 1_000, "{load:#}");
    };
    at_least(&whole["ttft"], 50);
    at_least(&whole["gap"], 15);
    at_least(&whole["latency"], 130);
    assert!(whole["ttft"]["p50_us"].as_u64() < whole["latency"]["p50_us"].as_u64(), "{load:#}");
}

#[tokio::test]
async fn streams_that_go_wrong_are_failures_of_their_own_kind() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let provider = Provider::start(&gauntlet).await;
    let mut sent_so_far = 0;
    for (model, how, said) in [
        ("mock-ok-nodone", "200 with a stream that ended early", "no [DONE] after 4 tokens"),
        ("mock-ok-cut3", "200 with a stream that broke off", "after 2 tokens: "),
        ("mock-ok-stall3", "200 with a stream that stalled", "nothing for 200ms after 2 tokens"),
        ("mock-ok-error3", "200 with an error in its stream", "error"),
    ] {
        let args = format!("--scenario streamed-chat --patience 200ms --model {model}");
        let ended = load(&gauntlet, &provider.url, &args).await;
        // Not one answer: nothing can be said of latencies.
        assert_eq!(ended.status(), 3, "{model}: {}\n{}", ended.out, ended.err);
        let load = numbers(&ended);
        sent_so_far += sent(&load);
        assert_eq!(provider.seen().await, sent_so_far, "{model}");
        let failed = load["whole"]["failed"].as_array().unwrap();
        assert_eq!(failed.len(), 1, "{model}: {load:#}");
        assert_eq!(failed[0]["how"], how, "{model}");
        assert!(failed[0]["said"].as_str().unwrap().contains(said), "{model}: {load:#}");
    }
}

/// A gateway that answers once, and from then on like this.
async fn answers_once_then(then: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let answer = json!({"choices": [{"message": {"content": "hello"}}]});
    let chat = || Mock::given(method("POST")).and(path("/v1/chat/completions"));
    chat()
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    chat().respond_with(then).mount(&server).await;
    let models = json!({"object": "list", "data": [{"id": "gpt-4o"}, {"id": "gpt-4o-mini"}]});
    Mock::given(path("/v1/models"))
        .respond_with(ResponseTemplate::new(200).set_body_json(models))
        .mount(&server)
        .await;
    server
}

async fn asked(server: &MockServer, path: &str) -> u64 {
    let all = server.received_requests().await.unwrap();
    all.iter().filter(|request| request.url.path() == path).count() as u64
}

#[tokio::test]
async fn errors_are_told_by_status_with_a_sample_that_holds_no_key() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let long = format!("<html>{KEY} is over its limit{}</html>", ".".repeat(5_000));
    for (status, body) in [(429, format!("{{\"key\": \"{KEY}\"}}")), (502, long)] {
        let server = answers_once_then(ResponseTemplate::new(status).set_body_string(body)).await;
        let args = "--pause 20ms --threshold error_rate<=1%";
        let ended = load(&gauntlet, &server.uri(), args).await;
        // Whatever nobody answered breaks the bound on errors, and is no evidence for any other.
        assert_eq!(ended.status(), 1, "{}\n{}", ended.out, ended.err);
        let load = numbers(&ended);
        assert_eq!(load["model"], "gpt-4o");
        assert_eq!(asked(&server, "/v1/chat/completions").await, sent(&load));
        let failed = &load["whole"]["failed"][0];
        assert_eq!(failed["how"], status.to_string());
        assert_eq!(failed["count"], load["sent"]);
        let said = failed["said"].as_str().unwrap();
        assert!(said.contains("[redacted]") && said.chars().count() <= 300, "{said}");
    }
}

#[tokio::test]
async fn a_gateway_that_refuses_the_first_request_is_sent_no_other() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let refuses = async |status: u16, body: &str| {
        let server = MockServer::start().await;
        let models = json!({"data": [{"id": "gpt-4o"}, {"id": "gpt-4o-mini"}]});
        Mock::given(path("/v1/models"))
            .respond_with(ResponseTemplate::new(200).set_body_json(models))
            .mount(&server)
            .await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(status).set_body_string(body))
            .mount(&server)
            .await;
        server
    };
    for (status, body, args, exit, words) in [
        (401, KEY, "", 2, "refuses the key (401: [redacted]); give one that it knows with --key"),
        (
            404,
            "no",
            "--model gpt-4o-mni",
            2,
            "did you mean `gpt-4o-mini`? it has gpt-4o, gpt-4o-mini",
        ),
        (503, "later", "", 5, "refuses a first request (503: later)"),
        (
            200,
            "<html>",
            "",
            5,
            "does not answer as a gateway of OpenAI's API does (200 without a completion: <html>)",
        ),
        (200, "{}", "--scenario streamed-chat", 5, "200 without a stream: {}"),
    ] {
        let server = refuses(status, body).await;
        let ended = load(&gauntlet, &server.uri(), args).await;
        ended.says(exit, &[words]);
        assert_eq!(asked(&server, "/v1/chat/completions").await, 1, "{words}");
        assert!(!gauntlet.path("runs").exists(), "{words}");
    }
}

/// A gateway that takes each connection to itself, and answers nothing to one request in ten.
async fn never_answers_one_in_ten() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicU64::new(0));
    let serving = tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            tokio::spawn(answer_nine_in_ten(connection, Arc::clone(&seen)));
        }
    });
    (url, serving)
}

async fn answer_nine_in_ten(mut connection: TcpStream, seen: Arc<AtomicU64>) {
    let body = r#"{"choices":[{"message":{"content":"hello"}}]}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut request = Vec::new();
    // A request ends with its body, which ends with the last of its brackets.
    while let Ok(1..) = connection.read_buf(&mut request).await {
        let head = request.windows(4).position(|end| end == b"\r\n\r\n");
        if head.is_none_or(|head| serde_json::from_slice::<Value>(&request[head + 4..]).is_err()) {
            continue;
        }
        request.clear();
        if seen.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            // Whoever has no more patience closes the connection.
            while let Ok(1..) = connection.read_buf(&mut request).await {}
            return;
        }
        // Answered ones take a moment, so that not everybody hangs before all are there.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if connection.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn requests_that_hang_beyond_the_window_are_errors_of_it() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let (url, _serving) = never_answers_one_in_ten().await;
    // Whoever hangs in the window is given up after it.
    let args = "--model any --patience 2s --threshold error_rate<=1%";
    let ended = load(&gauntlet, &url, args).await;
    assert_eq!(ended.status(), 1, "{}\n{}", ended.out, ended.err);
    let load = numbers(&ended);
    let failed = load["window"]["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 1, "{load:#}");
    assert_eq!(failed[0]["how"], "no answer in time");
    assert!(failed[0]["count"].as_u64().unwrap() >= 1, "{load:#}");
    assert_eq!(ended.report()["thresholds"][0]["verdict"], "fail");
}

#[tokio::test]
async fn a_load_that_is_stopped_while_answers_hang_is_no_evidence() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let provider = Provider::start(&gauntlet).await;
    // Who is stopped in the window waits for answers until long after it was to end.
    let asked = format!(
        "load --gateway {} --key {KEY} --model mock-ok-delay3000ms --users 4 --ramp 100ms --for 2s \
         --json --threshold latency_p50<=1ms --threshold error_rate<=0% --out {{}}/runs",
        provider.url
    );
    let mut running = gauntlet.command(&asked).start();
    running.says("all 4 callers are there").await;
    running.signal(Signal::SIGINT);
    let ended = running.ended().await;
    assert_eq!(ended.status(), 3, "{}\n{}", ended.out, ended.err);
    let load = numbers(&ended);
    assert!(load["whole"]["took_ms"].as_u64().unwrap() > 2_100, "{load:#}");
    assert!(load.get("window").is_none(), "{load:#}");
    for threshold in ended.report()["thresholds"].as_array().unwrap() {
        assert_eq!(threshold["verdict"], "inconclusive", "{threshold:#}");
    }
}

#[tokio::test]
async fn nobody_is_followed_elsewhere_and_no_proxy_is_asked() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    // Whoever is sent here, or asked as a proxy, would answer.
    let elsewhere = Provider::start(&gauntlet).await;
    let to = format!("{}/v1/chat/completions", elsewhere.url);
    let moved = ResponseTemplate::new(307).insert_header("location", to.as_str());
    let server = answers_once_then(moved.clone()).await;
    let ended = load(&gauntlet, &server.uri(), "--threshold error_rate<=1%").await;
    assert_eq!(ended.status(), 1, "{}\n{}", ended.out, ended.err);
    let numbers = numbers(&ended);
    assert_eq!(numbers["whole"]["failed"][0]["how"], "307");
    assert_eq!(elsewhere.seen().await, 0);

    let moves = MockServer::start().await;
    Mock::given(method("POST")).respond_with(moved).mount(&moves).await;
    let ended = load(&gauntlet, &moves.uri(), "--model any").await;
    ended
        .says(5, &[&format!("sends requests elsewhere (307: {to}); if load is meant to go there")]);
    assert_eq!(asked(&moves, "/v1/chat/completions").await, 1);

    let provider = Provider::start(&gauntlet).await;
    let args = format!("load --gateway {} --key {KEY} --model mock-ok {SHORT}", provider.url);
    let proxied = "export http_proxy=http://127.0.0.1:1 HTTP_PROXY=http://127.0.0.1:1 \
                   ALL_PROXY=http://127.0.0.1:1; unset no_proxy NO_PROXY";
    let ended = gauntlet.command(&args).after(proxied).start().ended().await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    assert_eq!(ended.report()["gateway_load"]["whole"].get("failed"), Some(&json!([])));
    assert_eq!(elsewhere.seen().await, 0);
}

#[tokio::test]
async fn callers_have_a_connection_each_where_the_machine_has_enough() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let provider = Provider::start(&gauntlet).await;
    let args = |users| {
        format!(
            "load --gateway {} --key {KEY} --model mock-ok-delay500ms --users {users} --ramp 100ms \
             --for 300ms --quiet --json --out {{}}/runs",
            provider.url
        )
    };
    let few = gauntlet.command(&args(120)).after("ulimit -Sn 60").start().ended().await;
    assert_eq!(few.status(), 0, "{}\n{}", few.out, few.err);
    assert_eq!(numbers(&few)["whole"]["failed"], json!([]));
    let too_few = gauntlet.command(&args(120)).after("ulimit -n 100").start().ended().await;
    too_few.says(2, &["120 callers have as many connections", "take at most 36 callers"]);
}

#[tokio::test]
async fn a_load_that_is_stopped_tells_what_was_seen() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let provider = Provider::start(&gauntlet).await;
    let asked = format!(
        "load --gateway {}/v1 --key {KEY} --model mock-ok --users 6 --ramp 200ms --for 1h --json \
         --threshold latency_p95<=1h --out {{}}/runs",
        provider.url
    );
    let mut running = gauntlet.command(&asked.replace("<=1h", "<=30s")).start();
    running.says("all 6 callers are there").await;
    running.says("p95").await;
    running.signal(Signal::SIGINT);
    let ended = running.ended().await;
    assert_eq!(ended.status(), 3, "{}\n{}", ended.out, ended.err);
    let load = numbers(&ended);
    assert_eq!(provider.seen().await, sent(&load));
    assert!(load["whole"]["answered"].as_u64().unwrap() > 0, "{load:#}");
    assert!(load["reason"].as_str().unwrap().contains("stopped"), "{load:#}");
    assert!(load.get("window").is_none(), "{load:#}");
    assert!(runs(&gauntlet.path("runs"))[0].join("report.json").is_file());
}

#[tokio::test]
async fn callers_take_turns_with_keys_and_gateways() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let (one, other) = (Provider::start(&gauntlet).await, Provider::start(&gauntlet).await);
    gauntlet.file("keys", "# tenants\ntenant-a\n\ntenant-b\ntenant-c\n");
    let ended = gauntlet
        .run(&format!(
            "load --gateway {} --gateway {}/v1/ --keys-file {{}}/keys --model mock-ok {SHORT}",
            one.url, other.url
        ))
        .await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let load = numbers(&ended);
    let by_gateway: Vec<_> = load["whole"]["by_gateway"].as_array().unwrap().clone();
    // Each was asked once before the load.
    assert_eq!(by_gateway[0].as_u64().unwrap() + 1, one.seen().await);
    assert_eq!(by_gateway[1].as_u64().unwrap() + 1, other.seen().await);
    assert_eq!(load["keys"], 3);
    let shortest = Duration::from_millis(700).as_millis();
    assert!(u128::from(load["whole"]["took_ms"].as_u64().unwrap()) >= shortest, "{load:#}");
}
