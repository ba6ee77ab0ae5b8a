//! New secrets for keys of the reference gateway: what stops, what goes on, and when.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, sleep_until};

use crate::fleet::{COST, Fleet, Gateway, hash, until};

/// How long the old secret works on, where it does.
const GRACE: Duration = Duration::from_secs(3);

/// What rounding to milliseconds may take from a grace.
const ROUNDING: Duration = Duration::from_millis(5);

/// How much later than promised an entry may end: as long as Redis may take to be told of it.
const SLACK: Duration = Duration::from_secs(1);

#[tokio::test]
async fn without_grace_the_old_secret_stops_at_once_and_the_key_goes_on() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.replica("").await, fleet.replica("--workers 2").await);
    let old = one.key(json!({"models": ["a"], "rpm_limit": 1000})).await;
    for gateway in [&one, &two] {
        assert_eq!(gateway.chat(&old, "a").await.status, 200);
    }
    let answer = two.admin("/key/regenerate", json!({"key": old})).await;
    let new = answer["key"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!((&answer["models"], &answer["rpm_limit"]), (&json!(["a"]), &json!(1000)));
    for (gateway, workers) in [(&one, 1), (&two, 2)] {
        until("the old secret has stopped", async || match workers {
            1 => gateway.status(&old).await == 401,
            _ => gateway.each_worker(&old, workers).await.values().all(|it| it.status == 401),
        })
        .await;
        assert_eq!(gateway.chat(&new, "a").await.status, 200);
        assert_eq!(gateway.chat(&new, "b").await.status, 403);
    }
    spends(&one, &new, 4).await;
    fleet.stop().await;
}

#[tokio::test]
async fn the_old_secret_works_until_its_grace_ends_and_no_longer_though_it_is_cached() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.replica("").await, fleet.replica("--workers 2").await);
    let old = one.key(json!({})).await;
    assert_eq!(two.status(&old).await, 200);
    let before = Instant::now();
    let answer = one.admin(&format!("/key/{old}/regenerate"), json!({"grace_period": "3s"})).await;
    let after = Instant::now();
    let new = answer["key"].as_str().unwrap().to_owned();
    // Asked again and again, so that it is cached at the very end.
    let mut answers_in_grace = 0;
    while before.elapsed() < GRACE {
        for gateway in [&one, &two] {
            let status = gateway.status(&old).await;
            let answered = before.elapsed();
            if answered < GRACE - ROUNDING {
                assert_eq!(status, 200, "{answered:?} into the grace");
                answers_in_grace += 1;
            }
            assert_eq!(gateway.status(&new).await, 200);
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(answers_in_grace > 0, "nobody was answered within {GRACE:?}");
    sleep_until((after + GRACE + SLACK).into()).await;
    for gateway in [&one, &two] {
        assert_eq!(gateway.status(&old).await, 401);
        assert_eq!(gateway.status(&new).await, 200);
    }
    fleet.stop().await;
}

#[tokio::test]
async fn both_secrets_spend_from_one_budget_and_share_one_limit() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.replica("").await, fleet.replica("").await);
    let old = one.key(json!({"max_budget": 3.0 * COST, "rpm_limit": 100})).await;
    assert_eq!(one.chat(&old, "a").await.status, 200);
    let answer = two.admin("/key/regenerate", json!({"key": old, "grace_period": "60s"})).await;
    let new = answer["key"].as_str().unwrap().to_owned();
    assert_eq!(two.chat(&new, "a").await.status, 200);
    assert_eq!(two.chat(&old, "a").await.status, 200);
    for (gateway, secret) in [(&one, &old), (&one, &new), (&two, &old), (&two, &new)] {
        assert_eq!(gateway.chat(secret, "a").await.status, 422, "the budget is used up");
    }
    spends(&one, &new, 3).await;

    let limited = one.key(json!({"rpm_limit": 2})).await;
    assert_eq!(one.chat(&limited, "a").await.status, 200);
    let answer = one.admin("/key/regenerate", json!({"key": limited, "grace_period": "60s"})).await;
    let renewed = answer["key"].as_str().unwrap().to_owned();
    assert_eq!(two.chat(&renewed, "a").await.status, 200);
    for secret in [&limited, &renewed] {
        assert_eq!(two.chat(secret, "a").await.status, 429, "the limit is used up");
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_block_and_a_delete_end_every_secret_of_a_key() {
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("").await;
    for (path, body) in [("/key/block", "key"), ("/key/delete", "keys")] {
        let first = gateway.key(json!({})).await;
        let mut secrets = vec![first];
        for _ in 0..2 {
            let asked = json!({"key": secrets.last().unwrap(), "grace_period": "1m"});
            let answer = gateway.admin("/key/regenerate", asked).await;
            secrets.push(answer["key"].as_str().unwrap().to_owned());
        }
        for secret in &secrets {
            assert_eq!(gateway.status(secret).await, 200);
        }
        let current = json!(secrets.last().unwrap());
        let which = if body == "keys" { json!({body: [current]}) } else { json!({body: current}) };
        gateway.admin(path, which).await;
        for secret in &secrets {
            assert_eq!(gateway.status(secret).await, 401, "after {path}");
        }
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_secret_that_somebody_holds_is_given_to_nobody_else() {
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("").await;
    let (mine, theirs) = (gateway.key(json!({})).await, gateway.key(json!({})).await);
    let answer =
        gateway.admin("/key/regenerate", json!({"key": theirs, "grace_period": "1m"})).await;
    let renewed = answer["key"].as_str().unwrap();
    for taken in [theirs.as_str(), renewed, mine.as_str()] {
        let asked = json!({"key": mine, "new_key": taken});
        let refused = gateway.try_admin("/key/regenerate", asked).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    for taken in [theirs.as_str(), renewed] {
        let refused = gateway.try_admin("/key/generate", json!({"key": taken})).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    // A key may have an earlier secret of its own again.
    gateway.admin("/key/regenerate", json!({"key": renewed, "new_key": theirs})).await;
    assert_eq!(gateway.status(&theirs).await, 200);
    assert_eq!(gateway.status(renewed).await, 401);
    let refused = gateway.try_admin("/key/regenerate", json!({"key": "sk-nobody"})).await;
    assert_eq!(refused.status, 404, "{refused:?}");
    let refused =
        gateway.try_admin("/key/regenerate", json!({"key": mine, "grace_period": "soon"}));
    assert_eq!(refused.await.status, 400);
    fleet.stop().await;
}

#[tokio::test]
async fn a_key_that_should_move_to_nobody_keeps_its_secret() {
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("").await;
    gateway.admin("/team/new", json!({"team_id": "t"})).await;
    let key = gateway.key(json!({})).await;
    for (owners, missing) in [
        (json!({"team_id": "nobody"}), "Team nobody"),
        (json!({"organization_id": "nobody"}), "Organization nobody"),
        (json!({"team_id": "t", "organization_id": "nobody"}), "Organization nobody"),
    ] {
        let mut asked = owners;
        asked["key"] = json!(key);
        for path in ["/key/regenerate", "/key/update"] {
            let refused = gateway.try_admin(path, asked.clone()).await;
            let message = refused.body["error"]["message"].as_str().unwrap();
            assert_eq!(refused.status, 404, "{path}: {refused:?}");
            assert!(message.contains(missing), "{path}: {message}");
        }
        assert_eq!(gateway.status(&key).await, 200);
    }
    fleet.stop().await;
}

/// Releases that know nothing of a key's id issue keys while a newer one is being rolled out.
#[tokio::test]
async fn a_key_that_is_issued_without_an_id_has_that_of_its_secret() {
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("").await;
    let key = "sk-of-an-earlier-release";
    let mut database = PgConnection::connect(&fleet.database_url()).await.unwrap();
    let insert = "INSERT INTO virtual_keys (token, key_name, created_at_ms, updated_at_ms) \
                  VALUES ($1, 'sk-...ease', 0, 0) RETURNING key_id";
    let (key_id,): (String,) =
        sqlx::query_as(insert).bind(hash(key)).fetch_one(&mut database).await.unwrap();
    assert_eq!(key_id, hash(key));
    assert_eq!(gateway.status(key).await, 200);
    let answer = gateway.admin("/key/regenerate", json!({"key": key})).await;
    assert_eq!(gateway.status(answer["key"].as_str().unwrap()).await, 200);
    assert_eq!(gateway.status(key).await, 401);
    fleet.stop().await;
}

/// Waits until the key has spent what this many answers cost, and sees that it stays so.
async fn spends(gateway: &Gateway, key: &str, answers: u32) {
    let owed = f64::from(answers) * COST;
    let is_owed = |spent: f64| (spent - owed).abs() < 1e-9;
    until("all is recorded", async || is_owed(gateway.spend(key).await)).await;
    sleep(SLACK).await;
    assert!(is_owed(gateway.spend(key).await));
}
