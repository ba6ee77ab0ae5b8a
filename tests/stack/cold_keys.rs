//! Keys that no cache of the reference gateway knows: how often the database is asked about them.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use crate::fleet::{Fleet, TTL, reads, until};

/// Callers who are released together.
const HERD: usize = 200;

/// How long a statement may take.
const STATEMENT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_herd_on_a_cold_key_causes_one_read_for_the_fleet_and_again_when_it_ends() {
    let fleet = Fleet::short_lived().await;
    let fleet_of = [fleet.replica("").await, fleet.replica("").await];
    let key = fleet_of[0].key(json!({})).await;
    for _ in 0..3 {
        let before = reads(&fleet_of).await;
        let asked = Instant::now();
        let herd = (0..HERD).map(|at| fleet_of[at % 2].status(&key));
        assert!(join_all(herd).await.iter().all(|status| *status == 200));
        let read = reads(&fleet_of).await - before;
        // On a slow machine a life may end before the herd was served.
        let most = 2 * (1 + lives_within(asked.elapsed()));
        assert!((1..=most).contains(&read), "{read} reads for {HERD} callers, not {most}");
        sleep(TTL).await;
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_read_that_fails_leaves_nobody_waiting() {
    let fleet = Fleet::new().await;
    let fleet_of = [fleet.replica("").await, fleet.replica("").await];
    let key = fleet_of[0].key(json!({})).await;
    let mut database = PgConnection::connect(&fleet.database_url()).await.unwrap();
    // Whoever reads a key waits for this lock, for longer than a statement may take.
    let mut lock = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE virtual_keys IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let before = reads(&fleet_of).await;
    let asked = Instant::now();
    let herd = (0..HERD).map(|at| fleet_of[at % 2].status(&key));
    let statuses = join_all(herd).await;
    let took = asked.elapsed();
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    // Each read takes two seconds to fail, and all who wait for it by then fail with it. In turn they
    // would need minutes.
    let read = reads(&fleet_of).await - before;
    let most = 2 * (1 + took.as_secs() / STATEMENT.as_secs());
    assert!((1..=most).contains(&read), "{read} reads in {took:?}, not {most}");
    assert!(took < 10 * STATEMENT, "{took:?}");
    lock.rollback().await.unwrap();
    let herd = (0..HERD).map(|at| fleet_of[at % 2].status(&key));
    assert!(join_all(herd).await.iter().all(|status| *status == 200));
    fleet.stop().await;
}

#[tokio::test]
async fn a_leader_who_leaves_takes_nobody_along() {
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("").await;
    let key = gateway.key(json!({})).await;
    let mut database = PgConnection::connect(&fleet.database_url()).await.unwrap();
    let mut lock = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE virtual_keys IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let before = reads(std::slice::from_ref(&gateway)).await;
    let reading =
        until("the leader reads", async || reads(std::slice::from_ref(&gateway)).await > before);
    tokio::select! {
        status = gateway.status(&key) => panic!("{status} although nobody can read"),
        () = reading => {}
    }
    // By now the leader has left, and its read goes on.
    let followers = join_all((0..HERD).map(|_| gateway.status(&key)));
    let release = async {
        sleep(STATEMENT / 4).await;
        lock.rollback().await.unwrap();
    };
    let (statuses, ()) = tokio::join!(followers, release);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(reads(std::slice::from_ref(&gateway)).await - before, 1);
    fleet.stop().await;
}

#[tokio::test]
async fn keys_that_were_read_together_are_not_read_together_for_ever() {
    const KEYS: usize = 200;
    const CYCLES: u32 = 3;
    let fleet = Fleet::short_lived().await;
    let gateway = fleet.replica("").await;
    let keys = join_all((0..KEYS).map(|_| gateway.key(json!({})))).await;
    let started = Instant::now();
    // Loaded in the course of one second, then asked for all the time.
    let loads = keys.iter().enumerate().map(|(at, key)| {
        let gateway = &gateway;
        async move {
            sleep(Duration::from_millis(5 * at as u64)).await;
            assert_eq!(gateway.status(key).await, 200);
        }
    });
    join_all(loads).await;
    let mut buckets: Vec<(u64, Duration)> = Vec::new();
    let mut last = reads(std::slice::from_ref(&gateway)).await;
    while started.elapsed() < TTL * (CYCLES + 1) {
        let bucket = Instant::now();
        for chunk in keys.chunks(50) {
            join_all(chunk.iter().map(|key| gateway.status(key))).await;
        }
        sleep(Duration::from_millis(100).saturating_sub(bucket.elapsed())).await;
        let now = reads(std::slice::from_ref(&gateway)).await;
        buckets.push((now - last, bucket.elapsed()));
        last = now;
    }
    let all: u64 = buckets.iter().map(|(reads, _)| reads).sum();
    assert!(all > KEYS as u64, "{all} reads in {CYCLES} lifetimes: {buckets:?}");
    // A slow machine makes wide buckets; what counts is how many are read in a tenth of a second.
    let per_tenth = |(reads, width): &(u64, Duration)| *reads as f64 * 0.1 / width.as_secs_f64();
    let largest = buckets.iter().map(per_tenth).fold(0.0, f64::max);
    assert!(largest <= 0.25 * KEYS as f64, "{largest}: {buckets:?}");
    fleet.stop().await;
}

#[tokio::test]
async fn an_unknown_key_costs_little_and_works_once_it_is_created() {
    let fleet = Fleet::new().await;
    let fleet_of = [fleet.replica("--workers 2").await, fleet.replica("").await];
    let secret = "sk-not-yet-issued";
    let before = reads(&fleet_of[1..]).await;
    for _ in 0..1_000 / 50 {
        let asked = (0..50).map(|_| fleet_of[1].status(secret));
        assert!(join_all(asked).await.iter().all(|status| *status == 401));
    }
    let read = reads(&fleet_of[1..]).await - before;
    assert!((1..=2).contains(&read), "{read} reads for 1,000 requests of one unknown key");

    for answer in fleet_of[0].each_worker(secret, 2).await.values() {
        assert_eq!(answer.status, 401);
    }
    fleet_of[1].admin("/key/generate", json!({"key": secret})).await;
    assert_eq!(fleet_of[1].status(secret).await, 200, "at once where it was created");
    // And elsewhere when the message has arrived: that nobody knew it is remembered for longer.
    until("all workers know it", async || {
        fleet_of[0].each_worker(secret, 2).await.values().all(|answer| answer.status == 200)
    })
    .await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_flood_of_unknown_keys_makes_nobody_who_is_known_wait_for_a_store() {
    const CALLS: u64 = 100;
    const UNKNOWN: usize = 1_000;
    let fleet = Fleet::new().await;
    let gateway = fleet.replica("").await;
    let key = gateway.key(json!({})).await;
    assert_eq!(gateway.status(&key).await, 200);
    let read = reads(std::slice::from_ref(&gateway)).await;
    let remembered = gateway.remembered("key").await;
    let flood = async {
        for number in 0..UNKNOWN / 50 {
            let unknown: Vec<_> = (0..50).map(|at| format!("sk-made-up-{number}-{at}")).collect();
            let statuses = join_all(unknown.iter().map(|key| gateway.status(key))).await;
            assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
        }
    };
    let known = async {
        for _ in 0..CALLS {
            assert_eq!(gateway.status(&key).await, 200);
        }
    };
    let ((), ()) = tokio::join!(known, flood);
    assert_eq!(gateway.status(&key).await, 200, "and when it has passed");
    // Each unknown key is asked with once, so whatever was remembered is the key that is known, and
    // whatever was read is not.
    assert_eq!(gateway.remembered("key").await - remembered, CALLS + 1);
    assert_eq!(reads(std::slice::from_ref(&gateway)).await - read, UNKNOWN as u64);
    fleet.stop().await;
}

/// How many lives of a cached identity may end in this time, the shortest ones.
fn lives_within(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / (TTL.as_millis() * 8 / 10)).unwrap()
}
