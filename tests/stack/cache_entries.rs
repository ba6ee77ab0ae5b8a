//! What is found in the reference gateway's Redis: entries of two releases, and what nobody wrote.

use redis::Client;
use serde_json::{Value, json};

use crate::fleet::{Fleet, Gateway, hash, until};

/// How long a poisoned entry lives, in milliseconds.
const LIFE_MS: u64 = 60_000;

#[tokio::test]
async fn two_releases_share_one_cache_and_neither_undoes_the_others_work() {
    let fleet = Fleet::new().await;
    let shelf = Shelf::of(&fleet);
    let older = fleet.replica("--cache-schema 1").await;
    let newer = fleet.replica("--cache-schema 2").await;
    let key = newer.key(json!({"models": ["a"]})).await;

    assert_eq!(newer.status(&key).await, 200);
    assert_eq!(shelf.entry(&key)["v"], 2);
    assert_eq!(older.status(&key).await, 200);
    assert_eq!(
        older.statements("key.select", 1).await,
        1,
        "a version that it does not know is a miss"
    );
    assert_eq!(shelf.entry(&key)["v"], 1);

    let another = fleet.replica("--cache-schema 2").await;
    assert_eq!(another.status(&key).await, 200);
    assert_eq!(another.chat(&key, "b").await.status, 403);
    assert_eq!(another.statements("key.select", 1).await, 0, "an earlier version is read");
    assert_eq!(shelf.entry(&key)["v"], 1);

    for gateway in [&older, &newer, &another] {
        gateway.admin("/key/block", json!({"key": key})).await;
        for asked in [&newer, &older, &another] {
            until("the block is known", async || asked.status(&key).await == 401).await;
        }
        gateway.admin("/key/unblock", json!({"key": key})).await;
        for asked in [&newer, &older, &another] {
            until("the end of the block is known", async || asked.status(&key).await == 200).await;
        }
    }
    for gateway in [&older, &newer, &another] {
        assert_eq!(said_of_entries(gateway), 0, "{:?}", gateway.log());
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_block_says_since_when_in_version_2_only() {
    let fleet = Fleet::new().await;
    let shelf = Shelf::of(&fleet);
    for version in [1, 2] {
        let gateway = fleet.replica(&format!("--cache-schema {version}")).await;
        let key = gateway.key(json!({"blocked": true})).await;
        assert_eq!(gateway.status(&key).await, 401);
        let fields = &shelf.entry(&key)["d"];
        match version {
            1 => assert_eq!((&fields["blocked"], fields.get("blocked_at")), (&json!(true), None)),
            _ => assert!(fields["blocked_at"].is_i64() && fields.get("blocked").is_none()),
        }
    }
    fleet.stop().await;
}

#[tokio::test]
async fn poison_costs_one_read_and_authorises_and_denies_nobody() {
    let fleet = Fleet::new().await;
    let shelf = Shelf::of(&fleet);
    let author = fleet.replica("").await;
    let victim = fleet.replica("").await;
    let rich = author.key(json!({"models": ["a", "b", "c"]})).await;
    assert_eq!(author.status(&rich).await, 200);
    let good = shelf.text(&rich).unwrap();
    let of_a_team = good.replace("\"k\":\"key\"", "\"k\":\"team\"");
    let mistyped = good.replace("\"tpm_limit\":null", "\"tpm_limit\":\"many\"");
    let newer = good.replace("\"v\":1", "\"v\":3");
    let absent = format!(r#"{{"v":1,"k":"key","d":null,"id":"key:{}"}}"#, hash(&rich));
    let poisons = [
        String::new(),
        "null".to_owned(),
        "\"\"".to_owned(),
        "[]".to_owned(),
        "1e999".to_owned(),
        format!("\"{}\"", "a".repeat(10 << 20)),
        "[".repeat(5_000),
        format!("{}1{}", r#"{"d":"#.repeat(5_000), "}".repeat(5_000)),
        good[..good.len() / 2].to_owned(),
        good.replace("\"max_budget\":null", "\"max_budget\":1e999"),
        good.clone(),
        of_a_team,
        mistyped,
        newer,
        absent,
    ];
    for (number, poison) in poisons.iter().enumerate() {
        let shown: String = poison.chars().take(80).collect();
        let key = author.key(json!({"models": ["a"]})).await;
        let (reads, lines) = (victim.statements("key.select", 1).await, victim.log().len());
        shelf.put(&key, poison);
        for _ in 0..3 {
            assert_eq!(victim.chat(&key, "a").await.status, 200, "{shown}");
            assert_eq!(victim.chat(&key, "b").await.status, 403, "{shown}");
        }
        assert_eq!(victim.statements("key.select", 1).await, reads + 1, "{shown}");
        assert_eq!(shelf.entry(&key)["d"]["token"], hash(&key), "{shown}");
        let log = victim.log();
        let said: Vec<_> =
            log[lines..].iter().filter(|line| line.get("call_id").is_none()).collect();
        assert!(said.len() <= 1, "{shown}: {said:?}");
        assert!(said.iter().all(|line| line["level"] == "INFO"), "{shown}: {said:?}");

        // Nobody becomes somebody by an entry under their name.
        let stranger = format!("sk-stranger-{number}");
        shelf.put(&stranger, poison);
        assert_eq!(victim.chat(&stranger, "a").await.status, 401, "{shown}");
    }
    shelf.is_of_another_type(&rich);
    assert_eq!(victim.chat(&rich, "a").await.status, 200);
    assert_eq!(shelf.entry(&rich)["d"]["token"], hash(&rich));
    fleet.stop().await;
}

/// An entry of a neighbour, under the name of a team or an organisation.
#[tokio::test]
async fn an_entry_of_a_neighbour_lifts_no_restriction() {
    let fleet = Fleet::new().await;
    let shelf = Shelf::of(&fleet);
    let author = fleet.replica("").await;
    let victim = fleet.replica("").await;
    for (id, models) in [("o-free", json!([])), ("o-bound", json!(["a"]))] {
        let body = json!({"organization_id": id, "organization_alias": id, "models": models});
        author.admin("/organization/new", body).await;
    }
    let mut keys = vec![];
    for (team, organisation, models) in [
        ("t-free", "o-free", json!([])),
        ("t-bound", "o-free", json!(["a"])),
        ("t-of-bound", "o-bound", json!([])),
    ] {
        let body = json!({"team_id": team, "organization_id": organisation, "models": models});
        author.admin("/team/new", body).await;
        keys.push(author.key(json!({"team_id": team})).await);
    }
    for key in &keys {
        assert_eq!(author.chat(key, "a").await.status, 200);
    }
    assert_eq!(author.chat(&keys[0], "b").await.status, 200);
    shelf.copy("rg:team:t-free", "rg:team:t-bound");
    shelf.copy("rg:organisation:o-free", "rg:organisation:o-bound");
    for key in &keys[1..] {
        assert_eq!(victim.chat(key, "a").await.status, 200);
        assert_eq!(victim.chat(key, "b").await.status, 403);
    }
    fleet.stop().await;
}

#[tokio::test]
async fn an_identity_that_is_too_long_to_share_is_read_once_by_each_replica() {
    let fleet = Fleet::new().await;
    let shelf = Shelf::of(&fleet);
    let replicas = [fleet.replica("").await, fleet.replica("").await];
    let long = json!({"models": ["a"], "metadata": {"text": "x".repeat(2 << 20)}});
    let key = replicas[0].key(long).await;
    for replica in &replicas {
        for _ in 0..3 {
            assert_eq!(replica.chat(&key, "a").await.status, 200);
            assert_eq!(replica.chat(&key, "b").await.status, 403);
        }
        assert_eq!(replica.statements("key.select", 1).await, 1);
        assert_eq!(said_of_entries(replica), 0, "{:?}", replica.log());
    }
    assert_eq!(shelf.text(&key), None);
    fleet.stop().await;
}

#[tokio::test]
async fn planted_codec_defects_do_what_they_say() {
    let fleet = Fleet::new().await;
    let shelf = Shelf::of(&fleet);
    let newer = fleet.replica("--cache-schema 2").await;

    let careless = fleet.replica("--cache-schema 1 --defect codec-v2-drops-block").await;
    let blocked = newer.key(json!({"blocked": true})).await;
    assert_eq!(newer.status(&blocked).await, 401);
    assert_eq!(careless.status(&blocked).await, 200, "the block is dropped");

    let forgetful = fleet.replica("--cache-schema 2 --defect codec-dict-leak").await;
    let spent = newer.key(json!({"max_budget": 0.0})).await;
    assert_eq!(newer.chat(&spent, "a").await.status, 422);
    assert_eq!(forgetful.chat(&spent, "a").await.status, 200, "the budget is forgotten");

    let trusting = fleet.replica("--defect codec-trust-any").await;
    let known = trusting.key(json!({})).await;
    assert_eq!(trusting.status(&known).await, 200);
    shelf.put("sk-made-up", "garbage");
    assert_eq!(trusting.status("sk-made-up").await, 200, "garbage is taken for the last key");
    fleet.stop().await;
}

/// How many lines of its log are about entries that were replaced.
fn said_of_entries(gateway: &Gateway) -> usize {
    gateway.log().iter().filter(|line| line["message"] == "cached entry replaced").count()
}

/// The entries in Redis, by the text of keys.
struct Shelf(Client);

impl Shelf {
    fn of(fleet: &Fleet) -> Shelf {
        Shelf(Client::open(fleet.redis_url()).unwrap())
    }

    fn text(&self, key: &str) -> Option<String> {
        let mut redis = self.0.get_connection().unwrap();
        redis::cmd("GET").arg(name(key)).query(&mut redis).unwrap()
    }

    #[track_caller]
    fn entry(&self, key: &str) -> Value {
        serde_json::from_str(&self.text(key).expect("there is an entry")).unwrap()
    }

    fn put(&self, key: &str, payload: &str) {
        let mut redis = self.0.get_connection().unwrap();
        let mut set = redis::cmd("SET");
        set.arg(name(key)).arg(payload).arg("PX").arg(LIFE_MS).exec(&mut redis).unwrap();
    }

    fn is_of_another_type(&self, key: &str) {
        let mut redis = self.0.get_connection().unwrap();
        redis::cmd("DEL").arg(name(key)).exec(&mut redis).unwrap();
        redis::cmd("LPUSH").arg(name(key)).arg("item").exec(&mut redis).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        let mut redis = self.0.get_connection().unwrap();
        let copied: i64 =
            redis::cmd("COPY").arg(from).arg(to).arg("REPLACE").query(&mut redis).unwrap();
        assert_eq!(copied, 1, "there is no {from}");
    }
}

fn name(key: &str) -> String {
    format!("rg:key:{}", hash(key))
}
