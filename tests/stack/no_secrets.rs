//! What is kept of a run holds no secret of its target: neither the keys that open it, nor those that it
//! issues, nor the passwords of its stores.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{
    runner::steps::Steps,
    target::{StoreChoice, StoreRequest, stores},
};
use redis::Value;
use serde_json::json;
use tests::{binaries::Flavour, written::written};

use crate::gauntlet::Gauntlet;

/// How long a store may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// What opens the target: its own key, and that of its provider. Digits would be masked in log lines.
const MASTER_KEY: &str = "sk-canary-of-the-master";
const PROVIDER_KEY: &str = "sk-canary-of-the-provider";

/// What opens its stores, which looks like nothing.
const REDIS_PASSWORD: &str = "red/canary+word";
const POSTGRES_PASSWORD: &str = "pg/canary+word";

/// Says what a file says as long as the gateway runs, which it becomes.
const TALKATIVE: &str =
    "while kill -0 $$ 2>/dev/null; do cat \"$0\"; sleep 0.2; done & exec \"$@\"";

/// The check that fails, so that there is a story, a script and a smallest plan.
const CHECK: &str = "codec.key-spaces-disjoint";

#[tokio::test]
async fn nothing_that_is_kept_of_a_run_opens_a_door() {
    let gauntlet = Gauntlet::new(Flavour::WithDefects);
    let found = stores::find(&StoreRequest {
        run: "secrets".to_owned(),
        redis: true,
        choice: StoreChoice { search_path: std::env::var_os("PATH"), ..StoreChoice::default() },
        served_before: None,
        patience: PATIENCE,
        steps: Steps::default(),
    })
    .await
    .unwrap();
    let redis = found.redis.as_ref().unwrap().address.url().expose().to_owned();
    let postgres = found.postgres.address.url().expose().to_owned();
    let mut admin = redis::Client::open(redis.as_str())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let user = ["SETUSER", "gw", "on", &format!(">{REDIS_PASSWORD}"), "~*", "&*", "+@all"];
    let made: Value = redis::cmd("ACL").arg(&user).query_async(&mut admin).await.unwrap();
    assert_eq!(made, Value::Okay);
    let said = [
        format!("the key {MASTER_KEY} is not known"),
        format!("sent Authorization: Bearer {PROVIDER_KEY}"),
        format!("cannot reach redis://gw:{REDIS_PASSWORD}@redis.test"),
        format!("cannot reach postgres://gw:{POSTGRES_PASSWORD}@db.test/llm"),
    ];
    let lines = said.map(|text| format!("{}\n", json!({"level": "WARN", "message": text})));
    gauntlet.file("said", &lines.concat());
    gauntlet.file("target.toml", &described(&gauntlet));

    let failed = gauntlet
        .run(&format!(
            "check --target {{}}/target.toml --only {CHECK} --cases 4 --seed 1 --shrink-budget 5s \
             --out {{}}/runs --redis-url {} --postgres-url {}",
            opened_by(&redis, Some("gw"), REDIS_PASSWORD),
            opened_by(&postgres, None, POSTGRES_PASSWORD),
        ))
        .await;
    assert_eq!(failed.status(), 1, "{}\n{}", failed.out, failed.err);
    let run = fs::read_dir(gauntlet.path("runs")).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        (!path.is_symlink() && path.is_dir()).then_some(path)
    });
    let run = run.unwrap();
    let junit = gauntlet.path("junit.xml");
    let (from, to) = (run.display(), junit.display());
    gauntlet.run(&format!("report {from} --format junit --out {to}")).await.says(0, &[]);

    let mut kept = BTreeMap::new();
    read(&run, &mut kept);
    kept.insert(junit.clone(), fs::read_to_string(&junit).unwrap());
    kept.insert(PathBuf::from("the terminal"), failed.out + &failed.err);
    for name in [
        "report.html",
        "report.json",
        "run.json",
        &format!("shrunk/{CHECK}.sh"),
        &format!("shrunk/{CHECK}.json"),
        &format!("cases/{CHECK}/0000.json"),
    ] {
        assert!(kept.contains_key(&run.join(name)), "{name} is not among {:?}", kept.keys());
    }
    let report = &kept[&run.join("report.json")];
    let left = ["the key sk-[redacted] is", "Bearer sk-[redacted]", "@redis.test", "@db.test"];
    for left in left {
        assert!(report.contains(left), "nothing was taken out of {left}: {report}");
    }
    // It tells its version with its answers, and is believed.
    assert!(report.contains(&format!(r#""gateway_version":"{}""#, env!("CARGO_PKG_VERSION"))));
    for (file, text) in &kept {
        for secret in [MASTER_KEY, PROVIDER_KEY, REDIS_PASSWORD, POSTGRES_PASSWORD] {
            for written in written(secret) {
                assert!(!text.contains(&written), "{secret} as {written} in {}", file.display());
            }
        }
        assert_eq!(keys(text), [""; 0], "{}", file.display());
    }
    found.stop().await.unwrap();
}

/// Two replicas with a planted defect, whose keys are those above.
fn described(gauntlet: &Gauntlet) -> String {
    let model = |name: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params:\n      model: openai/mock-ok\n      \
             api_base: {{upstream_url}}/v1\n      api_key: {PROVIDER_KEY}\n"
        )
    };
    format!(
        "name = 'ours'\nadapter = 'reference'\n\n[managed]\n\
         command = ['sh', '-c', '{TALKATIVE}', '{}', '{}', '--config', '{{config}}', '--port', '{{port}}', '--defect', \
         'codec-shared-key-space']\nmaster_key = '{MASTER_KEY}'\n\
         config = \"\"\"\nmodel_list:\n{}{}general_settings:\n  master_key: {{master_key}}\n  \
         database_url: {{postgres_url}}\n  redis_url: {{redis_url}} # {{redis_only}}\n  \
         auth_cache_ttl_ms: 2000\n  negative_ttl_ms: 500\n\"\"\"\n\n[bounds]\nauth_cache_ttl = '2s'\n",
        gauntlet.path("said").display(),
        gauntlet.binary("reference-gateway").display(),
        model("gauntlet-a"),
        model("gauntlet-b"),
    )
}

/// The URL of a store for whoever has this password: this user, or the one whom it names already.
fn opened_by(url: &str, user: Option<&str>, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (before, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let named = before.split(':').next().unwrap_or_default();
    let password = password.replace('/', "%2F").replace('+', "%2B");
    format!("{scheme}://{}:{password}@{place}", user.unwrap_or(named))
}

/// Every file below a folder, with what it says.
fn read(folder: &Path, kept: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, kept);
        } else {
            let text = fs::read(&path).unwrap();
            kept.insert(path, String::from_utf8_lossy(&text).into_owned());
        }
    }
}

/// Whatever is a key in this text. A script has variables in those that it makes up.
fn keys(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.match_indices("sk-")
        .map(|(at, _)| &text[at..])
        .map(|key| &key[..key.find(|c| !is_part(c)).unwrap_or(key.len())])
        .filter(|key| key.len() > "sk-".len() + 8)
        .collect()
}
