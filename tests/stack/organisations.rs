//! Organisations and end users of the reference gateway: what binds whom, and who is charged.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fleet::{COST, Fleet, Gateway, TTL, until};

#[tokio::test]
async fn an_organisations_models_bind_the_keys_of_its_teams_and_its_own() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.replica("").await, fleet.replica("--cache-schema 2").await);
    organisation(&one, json!({"organization_id": "o", "models": ["a"]})).await;
    one.admin("/team/new", json!({"team_id": "t", "organization_id": "o"})).await;
    let of_team = one.key(json!({"team_id": "t"})).await;
    let of_organisation = one.key(json!({"organization_id": "o"})).await;
    let free = one.key(json!({})).await;
    for gateway in [&one, &two] {
        for key in [&of_team, &of_organisation] {
            assert_eq!(gateway.chat(key, "a").await.status, 200);
            assert_eq!(gateway.chat(key, "b").await.status, 403);
            let listed = gateway.models(key).await.body["data"].as_array().unwrap().len();
            assert_eq!(listed, 1);
        }
        assert_eq!(gateway.chat(&free, "b").await.status, 200);
    }
    let wider = json!({"organization_id": "o", "models": ["a", "b"]});
    let changed = two.manage(Method::PATCH, "/organization/update", wider).await;
    assert_eq!((changed.status, &changed.body["models"]), (200, &json!(["a", "b"])));
    for gateway in [&one, &two] {
        until("the new list is known", async || gateway.chat(&of_team, "b").await.status == 200)
            .await;
    }
    fleet.stop().await;
}

#[tokio::test]
async fn an_organisation_and_an_end_user_are_read_once_for_the_fleet() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.replica("").await, fleet.replica("").await);
    organisation(&one, json!({"organization_id": "o"})).await;
    one.admin("/team/new", json!({"team_id": "t", "organization_id": "o"})).await;
    let key = one.key(json!({"team_id": "t"})).await;
    let end_user = json!({"user_id": "e"});
    one.admin("/customer/new", end_user).await;
    let reads = async |kind: &str| one.statements(kind, 1).await + two.statements(kind, 1).await;
    for _ in 0..5 {
        for gateway in [&one, &two] {
            assert_eq!(chat_for(gateway, &key, "e").await.0, 200);
        }
    }
    assert_eq!(reads("organisation.select").await, 1);
    assert_eq!(reads("end_user.select").await, 1);
    fleet.stop().await;
}

#[tokio::test]
async fn an_organisation_is_read_again_when_its_life_has_ended() {
    let fleet = Fleet::short_lived().await;
    let gateway = fleet.replica("").await;
    organisation(&gateway, json!({"organization_id": "o"})).await;
    let key = gateway.key(json!({"organization_id": "o"})).await;
    assert_eq!(gateway.chat(&key, "a").await.status, 200);
    let before = gateway.statements("organisation.select", 1).await;
    assert!(before > 0);
    tokio::time::sleep(TTL).await;
    assert_eq!(gateway.chat(&key, "a").await.status, 200);
    assert!(gateway.statements("organisation.select", 1).await > before);
    fleet.stop().await;
}

#[tokio::test]
async fn an_organisations_budget_is_shared_by_its_teams() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.replica("").await, fleet.replica("").await);
    organisation(&one, json!({"organization_id": "o", "max_budget": 3.0 * COST})).await;
    let mut keys = vec![];
    for team in ["t", "u"] {
        one.admin("/team/new", json!({"team_id": team, "organization_id": "o"})).await;
        keys.push(one.key(json!({"team_id": team})).await);
    }
    for (gateway, key) in [(&one, &keys[0]), (&two, &keys[1]), (&one, &keys[1])] {
        assert_eq!(gateway.chat(key, "a").await.status, 200);
    }
    for (gateway, key) in [(&one, &keys[0]), (&two, &keys[1])] {
        let refused = gateway.chat(key, "a").await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.body["error"]["type"], "budget_exceeded");
    }
    let info = async || {
        let path = "/organization/info?organization_id=o";
        one.manage(Method::GET, path, Value::Null).await.body
    };
    let owed = 3.0 * COST;
    let is_owed = async || (info().await["spend"].as_f64().unwrap() - owed).abs() < 1e-9;
    until("all is recorded", is_owed).await;
    assert_eq!(info().await["litellm_budget_table"]["max_budget"], owed);
    fleet.stop().await;
}

#[tokio::test]
async fn with_an_organisation_go_its_teams_and_their_keys() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.replica("").await, fleet.replica("").await);
    for id in ["o", "p"] {
        organisation(&one, json!({"organization_id": id})).await;
    }
    one.admin("/team/new", json!({"team_id": "t", "organization_id": "o"})).await;
    let gone =
        [one.key(json!({"team_id": "t"})).await, one.key(json!({"organization_id": "o"})).await];
    let stays = one.key(json!({"organization_id": "p"})).await;
    for key in gone.iter().chain([&stays]) {
        assert_eq!(two.status(key).await, 200);
    }
    let which = json!({"organization_ids": ["o"]});
    let deleted = one.manage(Method::DELETE, "/organization/delete", which.clone()).await;
    assert_eq!((deleted.status, &deleted.body[0]["organization_id"]), (200, &json!("o")));
    for key in &gone {
        assert_eq!(one.status(key).await, 401);
        until("the delete is known", async || two.status(key).await == 401).await;
    }
    assert_eq!(two.status(&stays).await, 200);
    assert_eq!(one.manage(Method::DELETE, "/organization/delete", which).await.status, 404);
    for (path, body) in [
        ("/key/generate", json!({"organization_id": "o"})),
        ("/team/new", json!({"team_id": "v", "organization_id": "o"})),
    ] {
        assert_eq!(one.try_admin(path, body).await.status, 404, "{path}");
    }
    fleet.stop().await;
}

#[tokio::test]
async fn an_end_user_is_blocked_bounded_and_charged_and_a_stranger_passes() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.replica("").await, fleet.replica("--cache-schema 2").await);
    let key = one.key(json!({})).await;
    for gateway in [&one, &two] {
        assert_eq!(chat_for(gateway, &key, "stranger").await.0, 200);
        assert_eq!(chat_for(gateway, &key, "e").await.0, 200, "nobody has bound them yet");
    }
    let bounded = json!({"user_id": "e", "max_budget": 2.0 * COST, "blocked": true});
    one.admin("/customer/new", bounded).await;
    for gateway in [&one, &two] {
        until("they are known", async || chat_for(gateway, &key, "e").await.0 == 401).await;
    }
    one.admin("/customer/update", json!({"user_id": "e", "blocked": false})).await;
    // A request that is refused costs nothing, so each of them is charged for one.
    for gateway in [&one, &two] {
        until("they may call", async || chat_for(gateway, &key, "e").await.0 == 200).await;
    }
    for gateway in [&one, &two] {
        let (status, body) = chat_for(gateway, &key, "e").await;
        assert_eq!((status, &body["error"]["type"]), (422, &json!("budget_exceeded")));
        assert_eq!(chat_for(gateway, &key, "stranger").await.0, 200);
    }
    let spent = async || {
        let info = one.manage(Method::GET, "/customer/info?end_user_id=e", Value::Null).await;
        (info.body["spend"].as_f64().unwrap() - 2.0 * COST).abs() < 1e-9
    };
    until("all is recorded", spent).await;

    let blocked = json!({"user_id": "e", "max_budget": null, "blocked": true});
    two.admin("/customer/update", blocked).await;
    for gateway in [&one, &two] {
        until("the block is known", async || chat_for(gateway, &key, "e").await.0 == 401).await;
    }
    let deleted = one.admin("/customer/delete", json!({"user_ids": ["e"]})).await;
    assert_eq!(deleted["deleted_customers"], 1);
    until("the delete is known", async || chat_for(&two, &key, "e").await.0 == 200).await;
    let gone = one.manage(Method::GET, "/customer/info?end_user_id=e", Value::Null).await;
    assert_eq!(gone.status, 404);
    fleet.stop().await;
}

#[tokio::test]
async fn what_cannot_be_an_end_user_is_looked_for_nowhere() {
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("").await;
    let key = gateway.key(json!({})).await;
    for user in
        [json!(""), json!(null), json!(7), json!(["e"]), json!("\0"), json!("e".repeat(5_000))]
    {
        let body = json!({"model": "a", "messages": [], "user": user});
        let answer = gateway.call(Method::POST, "/v1/chat/completions", &key, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(gateway.statements("end_user.select", 1).await, 0);
    fleet.stop().await;
}

async fn organisation(gateway: &Gateway, mut body: Value) {
    body["organization_alias"] = body["organization_id"].clone();
    gateway.admin("/organization/new", body).await;
}

/// A chat request for an end user: its status, and its body.
async fn chat_for(gateway: &Gateway, key: &str, end_user: &str) -> (u16, Value) {
    let body = json!({"model": "a", "messages": [], "max_tokens": 3, "user": end_user});
    let answer = gateway.call(Method::POST, "/v1/chat/completions", key, body).await;
    (answer.status, answer.body)
}
