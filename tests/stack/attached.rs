//! A target that runs already: what can be asked of it, and what it takes to ask the rest.

use std::{fs::File, process::Stdio, time::Duration};

use harness::{
    runner::{settle::settle, steps::Steps},
    target::{Database, StoreChoice, StoreRequest, Stores, stores},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::binaries::Flavour;
use tokio::process::{Child, Command};

use crate::gauntlet::Gauntlet;

/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// The administrator's credential.
const ADMIN_KEY: &str = "sk-admin-of-the-installation";

#[tokio::test]
async fn a_stack_that_is_up_is_judged_by_what_it_lets_us_see() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    let mut up = gauntlet.command("up --target reference").start();
    let told = up.writes("ready; Ctrl-C stops it").await;
    let value = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned()
    };
    gauntlet.file(
        "target.toml",
        &format!(
            "name = 'ours'\nadapter = 'reference'\n\n[attached]\nreplicas = ['{}', '{}']\n\
             admin_key = '{}'\nmock_url = '{}'\n\n[bounds]\nauth_cache_ttl = '2s'\n",
            value("replica 0"),
            value("replica 1"),
            value("admin key"),
            value("upstream"),
        ),
    );
    let check = "check --target {}/target.toml --cases 3 --seed 6 --out {}/runs --json";
    let ended = gauntlet.run(check).await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let report = ended.report();
    let verdict = |id: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap().clone()
    };
    for id in ["auth-cache.accepted-state-usable", "propagation.revoke-bound"] {
        assert_eq!(verdict(id)["verdict"], "pass", "{:#}", verdict(id));
    }
    for id in ["codec.key-spaces-disjoint", "obs.healthy-silence"] {
        assert_eq!(verdict(id)["verdict"], "not_applicable", "{:#}", verdict(id));
        let reason = verdict(id)["reason"].as_str().unwrap().to_owned();
        let line = if id.starts_with("obs") { "`logs`" } else { "[managed]" };
        assert!(reason.contains(line), "{id}: {reason}");
    }
    up.signal(Signal::SIGINT);
    up.ended().await.says(0, &[]);
}

#[tokio::test]
async fn a_target_without_an_admin_key_applies_to_nothing_and_says_what_it_takes() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    gauntlet.file(
        "target.toml",
        "name = 'ours'\nadapter = 'reference'\n\n[attached]\nreplicas = ['http://127.0.0.1:1']\n",
    );
    let ended = gauntlet.run("check --target {}/target.toml --out {}/runs --json").await;
    assert_eq!(ended.status(), 4, "{}\n{}", ended.out, ended.err);
    for check in ended.report()["checks"].as_array().unwrap() {
        assert_eq!(check["verdict"], "not_applicable", "{check:#}");
        assert!(check["reason"].as_str().unwrap().contains("admin_key"), "{check:#}");
    }
}

/// Two replicas that somebody else has started, on stores and a mock provider of their own.
struct Installed {
    stores: Stores,
    _database: Database,
    _running: Vec<Child>,
    replicas: [String; 2],
    mock: String,
}

impl Installed {
    /// Starts it in the folder of `gauntlet`, where `0.log` and `1.log` are the logs of its replicas.
    async fn with(gauntlet: &Gauntlet, defects: &[&str]) -> Installed {
        let request = StoreRequest {
            run: "attached".to_owned(),
            redis: true,
            choice: StoreChoice { search_path: std::env::var_os("PATH"), ..StoreChoice::default() },
            served_before: None,
            patience: PATIENCE,
            steps: Steps::default(),
        };
        let stores = stores::find(&request).await.unwrap();
        let database = stores.fresh_database(None).await.unwrap();
        let mut mock = Command::new(gauntlet.binary("mock-provider"));
        mock.args(["--port", "0"]);
        let (mock, provider) = started(gauntlet, mock, "mock.log").await;
        let model = |name: &str| {
            format!(
                "  - model_name: {name}\n    litellm_params: {{model: openai/mock-ok, api_base: \
                 '{mock}/v1', api_key: sk-provider-of-the-mock}}\n"
            )
        };
        let config = format!(
            "model_list:\n{}{}general_settings:\n  master_key: {ADMIN_KEY}\n  database_url: '{}'\n  \
             redis_url: '{}'\n  auth_cache_ttl_ms: 2000\n  negative_ttl_ms: 500\n",
            model("gauntlet-a"),
            model("gauntlet-b"),
            database.address.url().expose(),
            stores.redis.as_ref().unwrap().address.url().expose(),
        );
        let config = gauntlet.file("gateway.yaml", &config);
        let replica = async |log: &str| {
            let mut command = Command::new(gauntlet.binary("reference-gateway"));
            command.arg("--config").arg(&config).args(["--port", "0"]);
            command.args(defects.iter().flat_map(|defect| ["--defect", defect]));
            started(gauntlet, command, log).await
        };
        let (first, one) = replica("0.log").await;
        let (second, other) = replica("1.log").await;
        let running = vec![provider, one, other];
        let replicas = [first, second];
        Installed { stores, _database: database, _running: running, replicas, mock }
    }

    fn redis_url(&self) -> String {
        self.stores.redis.as_ref().unwrap().address.url().expose().to_owned()
    }

    /// Describes it with these lines below its replicas.
    fn described(&self, gauntlet: &Gauntlet, name: &str, lines: &[&str]) {
        let [first, second] = &self.replicas;
        let text = format!(
            "name = 'ours'\nadapter = 'reference'\n\n[attached]\nreplicas = ['{first}', '{second}']\n\
             {}\n\n[bounds]\nauth_cache_ttl = '2s'\n",
            lines.join("\n")
        );
        gauntlet.file(name, &text);
    }
}

/// Starts a program that says where it listens, all of whose output goes into this file.
async fn started(gauntlet: &Gauntlet, mut command: Command, log: &str) -> (String, Child) {
    let path = gauntlet.path(log);
    let output = File::create(&path).unwrap();
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let child = command.kill_on_drop(true).spawn().unwrap();
    let listening = settle(PATIENCE, async || {
        let said = std::fs::read_to_string(&path).unwrap();
        said.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(format!("http://{}", line["listening"].as_str()?))
        })
    });
    let base = listening.await.unwrap_or_else(|| panic!("{log}: it never said where it listens"));
    (base, child)
}

#[tokio::test]
async fn every_subset_of_access_shows_what_it_is_said_to_show() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let installed = Installed::with(&gauntlet, &[]).await;
    let admin = format!("admin_key = '{ADMIN_KEY}'");
    let mock = format!("mock_url = '{}'", installed.mock);
    let redis = format!("redis_url = '{}'", installed.redis_url());
    let logs = "logs = ['0.log', ['tail', '-n', '0', '-F', '1.log']]".to_owned();
    let told = async |name: &str, lines: &[&String], status: i32| {
        let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
        installed.described(&gauntlet, name, &lines);
        let ended = gauntlet.run(&format!("probe --target {{}}/{name} --json")).await;
        assert_eq!(ended.status(), status, "{name}: {}\n{}", ended.out, ended.err);
        assert!(!ended.out.contains(ADMIN_KEY), "{}", ended.out);
        ended.report()
    };
    let confirmed = |told: &Value| -> Vec<String> {
        let capabilities = told["capabilities"].as_array().unwrap().iter();
        let confirmed = capabilities.filter(|it| it["confirmed"] == true);
        confirmed.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    let managing =
        ["virtual keys", "teams", "users", "lists of models", "addressable replicas"].to_vec();
    let and = |more: &[&'static str]| [managing.clone(), more.to_vec()].concat();
    let of_callers = ["auth-cache.accepted-state-usable"];
    let of_redis = ["codec.key-canonical", "codec.no-null-key"];
    let of_mock = ["authz.list-equals-use", "propagation.revoke-bound"];

    let nothing = told("nothing.toml", &[], 4).await;
    assert_eq!(confirmed(&nothing), [""; 0]);
    assert_eq!(nothing["applicable"], serde_json::json!([]));

    let untried = told("untried.toml", &[&mock, &redis, &logs], 4).await;
    assert_eq!(confirmed(&untried), [""; 0]);
    let of_logs = untried["capabilities"].as_array().unwrap().iter();
    let of_logs = of_logs.clone().find(|it| it["name"] == "logs").unwrap();
    assert_eq!(of_logs["note"], "described, and not tried: it takes `admin_key`");

    let with_key = told("admin.toml", &[&admin], 0).await;
    assert_eq!(confirmed(&with_key), and(&[]));
    assert_eq!(with_key["applicable"], serde_json::json!(of_callers));
    let gap = with_key["capabilities"].as_array().unwrap().iter();
    let gap = gap.clone().find(|it| it["name"] == "Redis commands").unwrap();
    assert_eq!(gap["adds"], serde_json::json!(of_redis));
    assert_eq!(gap["line"], "redis_url = \"os.environ/GATEWAY_REDIS_URL\"");

    let with_mock = told("mock.toml", &[&admin, &mock], 0).await;
    assert_eq!(confirmed(&with_mock), and(&["mock upstream"]));
    let applicable = [&of_callers[..], &of_mock].concat();
    assert_eq!(with_mock["applicable"], serde_json::json!(applicable));

    let with_redis = told("redis.toml", &[&admin, &redis], 0).await;
    assert_eq!(confirmed(&with_redis), and(&["Redis commands"]));
    let applicable = [&of_callers[..], &of_redis].concat();
    assert_eq!(with_redis["applicable"], serde_json::json!(applicable));

    let with_logs = told("logs.toml", &[&admin, &logs], 0).await;
    assert_eq!(confirmed(&with_logs), and(&["logs"]));
    let applicable = [&of_callers[..], &["obs.healthy-silence"]].concat();
    assert_eq!(with_logs["applicable"], serde_json::json!(applicable));

    let whole = told("all.toml", &[&admin, &mock, &redis, &logs], 0).await;
    assert_eq!(confirmed(&whole), and(&["Redis commands", "logs", "mock upstream"]));
    let ended = gauntlet.run("check --target {}/all.toml --cases 3 --seed 3 --out {}/runs --json");
    let ended = ended.await;
    assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
    let report = ended.report();
    let ran = report["checks"].as_array().unwrap().iter();
    let passed: Vec<_> =
        ran.filter(|check| check["verdict"] == "pass").map(|it| &it["id"]).collect();
    let applicable =
        [&of_callers[..], &of_mock[..1], &of_redis, &["obs.healthy-silence"], &of_mock[1..]];
    assert_eq!(passed, applicable.concat());
    installed.stores.stop().await.unwrap();
}

#[tokio::test]
async fn a_running_gateway_is_described_probed_and_judged_by_what_its_redis_is_asked() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let installed = Installed::with(&gauntlet, &[]).await;
    let describe = async |of: &Installed| {
        let [first, second] = &of.replicas;
        let init = format!("init {first}/v1 --replica {second} --out {{}}/target.toml --force");
        let ended =
            gauntlet.command(&format!("{init} --admin-key {ADMIN_KEY}")).start().ended().await;
        assert_eq!(ended.status(), 0, "{}\n{}", ended.out, ended.err);
        assert!(ended.out.contains("the reference gateway"), "{}", ended.out);
        let text = std::fs::read_to_string(gauntlet.path("target.toml")).unwrap();
        assert!(!text.contains(ADMIN_KEY) && !ended.out.contains(ADMIN_KEY), "{text}");
        // As its comment says.
        let offered = "# redis_url = \"os.environ/GATEWAY_REDIS_URL\"";
        assert!(text.contains(offered), "{text}");
        let given = format!("redis_url = '{}'", of.redis_url());
        let text = text.replace(offered, &given).replace("# auth_cache_ttl =", "auth_cache_ttl =");
        gauntlet.file("target.toml", &text);
    };
    let with_key = "export GAUNTLET_ADMIN_KEY=sk-admin-of-the-installation";
    let run = async |args: &str| gauntlet.command(args).after(with_key).start().ended().await;
    describe(&installed).await;
    let probed = run("probe --target {}/target.toml --why").await;
    assert_eq!(probed.status(), 0, "{}\n{}", probed.out, probed.err);
    assert!(probed.out.contains("yes  Redis commands"), "{}", probed.out);
    assert!(probed.out.contains("3 of "), "{}", probed.out);
    let check = "check --target {}/target.toml --only codec --cases 4 --seed 5 --shrink-budget 2s --out {}/runs --json";
    let healthy = run(check).await;
    assert_eq!(healthy.status(), 0, "{}\n{}", healthy.out, healthy.err);
    installed.stores.stop().await.unwrap();

    for (defect, id) in
        [("codec-none-key", "codec.no-null-key"), ("codec-key-mismatch", "codec.key-canonical")]
    {
        let broken = Installed::with(&gauntlet, &[defect]).await;
        describe(&broken).await;
        let ended = run(check).await;
        assert_eq!(ended.status(), 1, "{defect}: {}\n{}", ended.out, ended.err);
        let report = ended.report();
        let found = report["checks"].as_array().unwrap().iter().find(|it| it["id"] == id).cloned();
        assert_eq!(found.unwrap()["verdict"], "fail", "{defect}");
        broken.stores.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_described_and_not_there_is_told_with_the_line_to_correct() {
    let gauntlet = Gauntlet::new(Flavour::Released);
    for (line, said) in [
        ("redis_url = 'redis://127.0.0.1:1'", "nothing answers at `redis_url`"),
        ("redis_url = 'redis://redis.example'", "--allow-host redis.example"),
        ("logs = ['no-such.log']", "no-such.log of replica 0 cannot be read; correct `logs`"),
        ("logs = [['no-such-program']]", "`no-such-program` that is to follow"),
    ] {
        gauntlet.file(
            "target.toml",
            &format!(
                "name = 'ours'\nadapter = 'reference'\n\n[attached]\nreplicas = \
                 ['http://127.0.0.1:1']\nadmin_key = 'sk-a'\n{line}\n"
            ),
        );
        let ended = gauntlet.run("probe --target {}/target.toml").await;
        let status = if line.contains("example") { 2 } else { 5 };
        ended.says(status, &[said]);
    }
}
