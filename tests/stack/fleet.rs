//! Replicas of the reference gateway on stores of their own, asked over HTTP and nothing else.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures::future::join_all;
use harness::{
    runner::steps::Steps,
    target::{
        Database, StoreRequest, Stores,
        stores::{self},
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tests::binaries::{self, Flavour};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
    time::{sleep, timeout},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// The administrator's credential.
const MASTER_KEY: &str = "sk-master-of-the-fleet";

/// How long a cached identity lives where its end is looked at.
pub(crate) const TTL: Duration = Duration::from_secs(2);

/// How long it lives everywhere else: what is seen to change within our patience, a message changed.
const LASTING: Duration = Duration::from_secs(600);

/// What one answer costs, in US dollars: two prompt tokens and three completion tokens.
pub(crate) const COST: f64 = 2.0 * 0.001 + 3.0 * 0.002;

/// Stores, a provider, and the settings that every replica shares.
pub(crate) struct Fleet {
    stores: Stores,
    database: Database,
    _provider: MockServer,
    folder: TempDir,
}

impl Fleet {
    /// One whose cached identities outlive every test, unless they change.
    pub(crate) async fn new() -> Fleet {
        Fleet::living(LASTING).await
    }

    /// One whose cached identities end after [`TTL`] at the latest.
    pub(crate) async fn short_lived() -> Fleet {
        Fleet::living(TTL).await
    }

    async fn living(ttl: Duration) -> Fleet {
        let request = StoreRequest {
            run: "fleet".to_owned(),
            redis: true,
            choice: crate::stores::own(),
            served_before: None,
            patience: PATIENCE,
            steps: Steps::default(),
        };
        let stores = stores::find(&request).await.unwrap();
        let database = stores.fresh_database(None).await.unwrap();
        let provider = MockServer::start().await;
        let answer = json!({
            "id": "c", "object": "chat.completion", "created": 0, "model": "real",
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": "hello"}}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
        });
        let answers = Mock::given(method("POST"));
        answers
            .respond_with(ResponseTemplate::new(200).set_body_json(answer))
            .mount(&provider)
            .await;
        let folder = tempfile::tempdir().unwrap();
        let model = |name: &str| {
            format!(
                "  - model_name: {name}\n    litellm_params: {{model: openai/real, api_base: \
                 '{}/v1', input_cost_per_token: 0.001, output_cost_per_token: 0.002}}\n",
                provider.uri()
            )
        };
        let settings = format!(
            "model_list:\n{}{}{}general_settings:\n  master_key: {MASTER_KEY}\n  \
             database_url: '{}'\n  redis_url: '{}'\n  auth_cache_ttl_ms: {}\n  \
             negative_ttl_ms: {}\n  negative_entries: 100\n  flush_interval_ms: 100\n  \
             redis_timeout_ms: 5000\n",
            model("a"),
            model("b"),
            model("c"),
            database.address.url().expose(),
            stores.redis.as_ref().unwrap().address.url().expose(),
            ttl.as_millis(),
            ttl.as_millis(),
        );
        std::fs::write(folder.path().join("gateway.yaml"), settings).unwrap();
        Fleet { stores, database, _provider: provider, folder }
    }

    /// Starts a replica with arguments that spaces part.
    pub(crate) async fn replica(&self, args: &str) -> Gateway {
        let mut child = self.command(args).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, log) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // A line that is none of ours, or half of one, is not JSON.
                let line: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sender.send_modify(|log| log.push(line));
            }
        });
        let mut gateway =
            Gateway { child, address: SocketAddr::from(([0, 0, 0, 0], 0)), log, client: client() };
        let first = gateway.logs(|_| true).await;
        gateway.address = first["listening"].as_str().unwrap().parse().unwrap();
        gateway
    }

    /// Starts a replica that must not come up; returns its exit status and what it said.
    pub(crate) async fn fails(&self, args: &str) -> (Option<i32>, String) {
        let output = timeout(PATIENCE, self.command(args).stderr(Stdio::piped()).output());
        let output = output.await.expect("it ends in time").unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn command(&self, args: &str) -> Command {
        let program = binaries::built(Flavour::WithDefects).join("reference-gateway");
        let mut command = Command::new(program);
        command.arg("--config").arg(self.folder.path().join("gateway.yaml"));
        if !args.contains("--port") {
            command.args(["--port", "0"]);
        }
        command.args(args.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// Where its database is.
    pub(crate) fn database_url(&self) -> String {
        self.database.address.url().expose().to_owned()
    }

    /// Where its Redis is.
    pub(crate) fn redis_url(&self) -> String {
        self.stores.redis.as_ref().unwrap().address.url().expose().to_owned()
    }

    /// Ends the stores.
    pub(crate) async fn stop(self) {
        self.stores.stop().await.unwrap();
    }
}

/// One replica.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    log: watch::Receiver<Vec<Value>>,
    client: Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) worker: Option<u8>,
    pub(crate) body: Value,
}

impl Gateway {
    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap())
    }

    /// Sends a signal to the process that was started, and to none that it started.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.id(), signal).unwrap();
    }

    /// The processes that it has started and that run still.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let of = self.id();
        let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().map(|id| Pid::from_raw(id.parse().unwrap())).collect()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").unwrap()
    }

    /// Waits for a log line that `is` what is looked for.
    pub(crate) async fn logs(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        let log = timeout(PATIENCE, self.log.wait_for(|log| log.iter().any(&is))).await;
        let log = log.expect("it is logged in time").expect("the gateway goes on");
        log.iter().find(|line| is(line)).cloned().unwrap()
    }

    /// All that it has logged so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.borrow().clone()
    }

    /// A management call that must succeed.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str, body: Value) -> impl Future<Output = Value> + use<> {
        let request = self.client.post(format!("http://{}{path}", self.address));
        let sent = request.bearer_auth(MASTER_KEY).json(&body).send();
        let path = path.to_owned();
        async move {
            let answer = sent.await.unwrap();
            let status = answer.status();
            let body: Value = answer.json().await.unwrap();
            assert!(status.is_success(), "{path}: {status} {body:#}");
            body
        }
    }

    /// A management call, whatever comes of it.
    pub(crate) async fn try_admin(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, MASTER_KEY, body).await
    }

    /// A management call of another method, whatever comes of it.
    pub(crate) async fn manage(&self, method: Method, path: &str, body: Value) -> Answer {
        self.call(method, path, MASTER_KEY, body).await
    }

    /// A call of any kind.
    pub(crate) async fn call(&self, method: Method, path: &str, key: &str, body: Value) -> Answer {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        answer(request.bearer_auth(key).json(&body)).await
    }

    /// A fresh key with these settings.
    pub(crate) async fn key(&self, body: Value) -> String {
        self.admin("/key/generate", body).await["key"].as_str().unwrap().to_owned()
    }

    /// What a key has spent, in US dollars.
    pub(crate) async fn spend(&self, key: &str) -> f64 {
        let request = self.client.get(format!("http://{}/key/info?key={key}", self.address));
        let info = answer(request.bearer_auth(MASTER_KEY)).await;
        info.body["info"]["spend"].as_f64().unwrap_or_else(|| panic!("{info:?}"))
    }

    /// Asks for the models that `key` may use: the cheapest request that needs an identity.
    pub(crate) async fn models(&self, key: &str) -> Answer {
        answer(self.client.get(format!("http://{}/v1/models", self.address)).bearer_auth(key)).await
    }

    /// The status of that request.
    pub(crate) async fn status(&self, key: &str) -> u16 {
        self.models(key).await.status
    }

    /// A chat request.
    pub(crate) async fn chat(&self, key: &str, model: &str) -> Answer {
        let request = self.client.post(format!("http://{}/v1/chat/completions", self.address));
        let body = json!({"model": model, "messages": [], "max_tokens": 3});
        answer(request.bearer_auth(key).json(&body)).await
    }

    /// Asks the same of every one of `count` workers, on a connection of its own each time.
    pub(crate) async fn each_worker(&self, key: &str, count: u8) -> BTreeMap<u8, Answer> {
        let mut answers = BTreeMap::new();
        for _ in 0..400 {
            let fresh = client().get(format!("http://{}/v1/models", self.address));
            let answer = answer(fresh.bearer_auth(key)).await;
            answers.insert(answer.worker.expect("it has workers"), answer);
            if answers.len() == usize::from(count) {
                return answers;
            }
        }
        panic!("400 connections reached only {:?} of {count} workers", answers.keys());
    }

    /// How many statements of this kind each process of it has sent to Postgres.
    pub(crate) async fn statements(&self, kind: &str, workers: u8) -> u64 {
        let count = format!("gateway_sql_statements_total{{kind=\"{kind}\"}}");
        self.counted(&count, workers).await
    }

    /// How often it has found an identity of this kind in its own memory.
    pub(crate) async fn remembered(&self, kind: &str) -> u64 {
        let count = "gateway_identity_lookups_total";
        let count = format!("{count}{{kind=\"{kind}\",tier=\"memory\",result=\"hit\"}}");
        self.counted(&count, 1).await
    }

    /// What this counter says in all of its processes.
    async fn counted(&self, counter: &str, workers: u8) -> u64 {
        let mut counted = BTreeMap::new();
        for _ in 0..400 {
            let request = client().get(format!("http://{}/metrics", self.address));
            let answer = request.bearer_auth(MASTER_KEY).send().await.unwrap();
            let worker = worker_of(&answer).unwrap_or(1);
            let text = answer.text().await.unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(counter));
            counted.insert(worker, line.map_or(0, |count| count.trim().parse::<u64>().unwrap()));
            if counted.len() == usize::from(workers) {
                return counted.values().sum();
            }
        }
        panic!("400 connections reached only {:?} of {workers} workers", counted.keys());
    }
}

fn client() -> Client {
    Client::builder().timeout(PATIENCE).build().unwrap()
}

fn worker_of(answer: &reqwest::Response) -> Option<u8> {
    answer.headers().get("x-gateway-worker").map(|worker| worker.to_str().unwrap().parse().unwrap())
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, worker) = (answer.status().as_u16(), worker_of(&answer));
    Answer { status, worker, body: answer.json().await.unwrap() }
}

/// How often these replicas of one process have read a key so far.
pub(crate) async fn reads(replicas: &[Gateway]) -> u64 {
    let counts = replicas.iter().map(|replica| replica.statements("key.select", 1));
    join_all(counts).await.into_iter().sum()
}

/// What is stored of a key's text.
pub(crate) fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Does this process run? One that ended may wait for ever for a parent to ask.
pub(crate) fn is_alive(process: Pid) -> bool {
    kill(process, None).is_ok()
        && !std::fs::read_to_string(format!("/proc/{process}/stat"))
            .is_ok_and(|stat| stat.contains(") Z "))
}

/// Waits until `holds`, or fails.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = timeout(PATIENCE, async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    });
    held.await.unwrap_or_else(|_| panic!("not in {PATIENCE:?}: {what}"));
}
