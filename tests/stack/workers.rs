//! Several workers behind one address of the reference gateway.

use nix::sys::signal::{Signal, kill};
use serde_json::json;

use crate::fleet::{Fleet, Gateway, is_alive, until};

const WORKERS: u8 = 3;

#[tokio::test]
async fn workers_share_a_port_and_are_told_of_a_block() {
    let fleet = Fleet::new().await;
    let mut gateway = fleet.replica("--workers 3").await;
    let key = gateway.key(json!({})).await;
    for (worker, answer) in gateway.each_worker(&key, WORKERS).await {
        assert_eq!(answer.status, 200, "worker {worker}: {answer:?}");
    }
    gateway.admin("/key/block", json!({"key": key})).await;
    // It is a message that tells them: what they remember lives longer than anybody waits here.
    until("all workers refuse", async || refuses(&gateway, &key).await).await;
    stops_with_all(&mut gateway).await;
    fleet.stop().await;
}

async fn refuses(gateway: &Gateway, key: &str) -> bool {
    let answers = gateway.each_worker(key, WORKERS).await;
    answers.values().all(|answer| answer.status == 401)
}

/// SIGTERM ends every worker, and nothing of it was an error.
async fn stops_with_all(gateway: &mut Gateway) {
    let workers = gateway.children();
    assert_eq!(workers.len(), usize::from(WORKERS));
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.ended().await.code(), Some(0));
    for worker in workers {
        assert!(!is_alive(worker), "worker {worker} outlived its supervisor");
    }
    for line in gateway.log() {
        assert_eq!(line["level"], "INFO", "{line:#}");
    }
}

#[tokio::test]
async fn a_cold_key_is_read_once_for_all_workers() {
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("--workers 3").await;
    let key = gateway.key(json!({})).await;
    let before = gateway.statements("key.select", WORKERS).await;
    let herd = (0..200).map(|_| {
        let (key, address) = (key.clone(), gateway.address);
        tokio::spawn(async move {
            let answer = reqwest::Client::new().get(format!("http://{address}/v1/models"));
            answer.bearer_auth(key).send().await.unwrap().status().as_u16()
        })
    });
    for caller in herd.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), 200);
    }
    let reads = gateway.statements("key.select", WORKERS).await - before;
    assert!((1..=2).contains(&reads), "{reads} reads of one key");
    fleet.stop().await;
}

#[tokio::test]
async fn a_worker_that_dies_is_replaced_and_said_so() {
    let fleet = Fleet::new().await;
    let mut gateway = fleet.replica("--workers 3").await;
    let key = gateway.key(json!({})).await;
    let victim = gateway.children()[1];
    kill(victim, Signal::SIGKILL).unwrap();
    let said = gateway.logs(|line| line["message"] == "a worker ended").await;
    assert_eq!(said["level"], "ERROR", "{said:#}");
    gateway.logs(|line| line["message"] == "a worker was started again").await;
    assert!(!gateway.children().contains(&victim));
    for answer in gateway.each_worker(&key, WORKERS).await.values() {
        assert_eq!(answer.status, 200);
    }
    fleet.stop().await;
}

#[tokio::test]
async fn workers_end_when_their_supervisor_is_killed() {
    let fleet = Fleet::new().await;
    let mut gateway = fleet.replica("--workers 3").await;
    let workers = gateway.children();
    gateway.signal(Signal::SIGKILL);
    gateway.ended().await;
    until("the workers have ended", async || !workers.iter().any(|worker| is_alive(*worker))).await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_planted_defect_reaches_every_worker() {
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("--workers 3 --defect list-ignores-user").await;
    gateway.admin("/user/new", json!({"user_id": "u", "models": ["a"]})).await;
    let key = gateway.key(json!({"user_id": "u"})).await;
    for answer in gateway.each_worker(&key, WORKERS).await.values() {
        assert_eq!(answer.body["data"].as_array().unwrap().len(), 3, "{answer:?}");
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_shared_with_nobody() {
    let fleet = Fleet::new().await;
    let running = fleet.replica("").await;
    let port = running.address.port();
    for args in ["--workers 3", "--workers 1"] {
        let (status, said) = fleet.fails(&format!("{args} --port {port}")).await;
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
    }
    fleet.stop().await;
}
