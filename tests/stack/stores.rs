//! The stores that a run finds for itself, on real servers.

use std::{env, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use harness::{
    runner::steps::Steps,
    target::{
        Secret, StoreChoice, StoreError, StoreRequest,
        stores::{self, Way},
    },
};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn stores_of_our_own_answer_and_leave_nothing_behind() {
    let stores = stores::find(&request()).await.unwrap();
    let redis = stores.redis.as_ref().unwrap();
    // Which of the other ways it is depends on the machine.
    assert!(redis.way != Way::Given && stores.postgres.way != Way::Given);
    assert!(redis.notes.iter().any(|note| note.contains("--redis-url")), "{:?}", redis.notes);

    let redis = redis.address.socket_addr().await.unwrap();
    let postgres = stores.postgres.address.socket_addr().await.unwrap();
    assert_eq!(tell_redis(redis, "PING").await, "+PONG\r\n");
    stores.stop().await.unwrap();
    for address in [redis, postgres] {
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "{address} still answers");
    }
}

#[tokio::test]
async fn dropped_stores_leave_nothing_behind() {
    let stores = stores::find(&request()).await.unwrap();
    let redis = stores.redis.as_ref().unwrap().address.socket_addr().await.unwrap();
    let postgres = stores.postgres.address.socket_addr().await.unwrap();
    drop(stores);
    for address in [redis, postgres] {
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "{address} still answers");
    }
}

#[tokio::test]
async fn a_fresh_database_is_a_copy_of_the_migrated_template() {
    let stores = stores::find(&StoreRequest { redis: false, ..request() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("2.sql"),
        "INSERT INTO teams VALUES (1); INSERT INTO teams VALUES (2);",
    )
    .unwrap();
    fs::write(folder.path().join("1.sql"), "CREATE TABLE teams (id int);").unwrap();
    let template = stores.migrated_template(folder.path()).await.unwrap();
    for _ in 0..2 {
        let one = stores.fresh_database(Some(&template.name)).await.unwrap();
        assert_eq!(teams(one.address.url()).await, 2);
        stores.drop_database(one).await.unwrap();
    }
    stores.stop().await.unwrap();
}

#[tokio::test]
async fn a_migration_that_fails_is_named() {
    let stores = stores::find(&StoreRequest { redis: false, ..request() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("1_broken.sql"), "CREATE TABLE").unwrap();
    let error = stores.migrated_template(folder.path()).await.unwrap_err();
    assert!(error.to_string().ends_with("1_broken.sql"), "{error}");
    stores.stop().await.unwrap();
}

#[tokio::test]
async fn only_a_redis_of_ours_is_emptied() {
    let ours = stores::find(&request()).await.unwrap();
    let address = &ours.redis.as_ref().unwrap().address;
    let socket = address.socket_addr().await.unwrap();
    let given = StoreRequest {
        choice: StoreChoice {
            redis_url: Some(address.url()),
            postgres_url: Some(ours.postgres.address.url()),
            ..StoreChoice::default()
        },
        ..request()
    };
    let theirs = stores::find(&given).await.unwrap();
    tell_redis(socket, "SET a b").await;
    theirs.empty_redis().await.unwrap();
    assert_eq!(tell_redis(socket, "DBSIZE").await, ":1\r\n");
    ours.empty_redis().await.unwrap();
    assert_eq!(tell_redis(socket, "DBSIZE").await, ":0\r\n");
    drop(theirs);
    ours.stop().await.unwrap();
}

#[tokio::test]
async fn databases_made_on_a_given_postgres_are_dropped_in_either_way() {
    let ours = stores::find(&StoreRequest { redis: false, ..request() }).await.unwrap();
    let url = ours.postgres.address.url();
    let given = StoreRequest {
        redis: false,
        choice: StoreChoice { postgres_url: Some(url.clone()), ..StoreChoice::default() },
        run: "Given-1".to_owned(),
        ..request()
    };
    for stopped in [true, false] {
        let theirs = stores::find(&given).await.unwrap();
        assert_eq!(theirs.postgres.way, Way::Given);
        let made = theirs.fresh_database(None).await.unwrap();
        assert_eq!(made.name, "gauntlet_given_1_0");
        assert_eq!(databases(url.clone()).await, 1);
        match stopped {
            true => theirs.stop().await.unwrap(),
            false => drop(theirs),
        }
        assert_eq!(databases(url.clone()).await, 0);
    }
    ours.stop().await.unwrap();
}

#[tokio::test]
async fn a_given_store_of_the_other_kind_is_refused() {
    let ours = stores::find(&request()).await.unwrap();
    let redis = ours.redis.as_ref().unwrap().address.socket_addr().await.unwrap();
    let postgres = ours.postgres.address.socket_addr().await.unwrap();
    let swapped = StoreRequest {
        choice: StoreChoice {
            redis_url: Some(Secret::new(format!("redis://{postgres}"))),
            postgres_url: Some(Secret::new(format!("postgres://gauntlet@{redis}/x"))),
            ..StoreChoice::default()
        },
        patience: Duration::from_secs(3),
        ..request()
    };
    let error = stores::find(&swapped).await.unwrap_err();
    assert!(matches!(error, StoreError::NoAnswer { .. } | StoreError::Late { .. }), "{error}");
    ours.stop().await.unwrap();
}

#[tokio::test]
async fn where_nothing_is_installed_packages_are_unpacked() {
    let caches = tempfile::tempdir().unwrap();
    // Postgres may run as somebody else, who has to read it.
    fs::set_permissions(caches.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let steps = Steps::default();
    let unpacked = |run: &str| StoreRequest {
        run: run.to_owned(),
        choice: StoreChoice { caches: vec![caches.path().to_owned()], ..own() },
        // Whatever is installed is not looked for.
        served_before: Some(Way::Unpacked),
        steps: steps.clone(),
        ..request()
    };
    if !Path::new("/usr/bin/apt-get").exists() {
        let error = stores::find(&unpacked("foreign")).await.unwrap_err().to_string();
        for way in ["--redis-url", "--redis-image", "redis-server", "not unpacked"] {
            assert!(error.contains(way), "{error}");
        }
        return;
    }
    // Two that begin with nothing fetch once, and one that comes later fetches nothing.
    let (one, other) = (unpacked("one"), unpacked("other"));
    let (one, other) = tokio::join!(stores::find(&one), stores::find(&other));
    for stores in [one.unwrap(), other.unwrap()] {
        let redis = stores.redis.as_ref().unwrap();
        assert_eq!((redis.way, stores.postgres.way), (Way::Unpacked, Way::Unpacked));
        let address = redis.address.socket_addr().await.unwrap();
        assert_eq!(tell_redis(address, "PING").await, "+PONG\r\n");
        stores.fresh_database(None).await.unwrap();
        stores.stop().await.unwrap();
    }
    assert!(steps.latest().starts_with("fetching"), "{}", steps.latest());
    steps.begin("nothing is fetched");
    stores::find(&unpacked("later")).await.unwrap().stop().await.unwrap();
    assert_eq!(steps.latest(), "nothing is fetched");
}

/// What the environment says about stores, except that none is given: these tests look at all there is
/// in theirs, and end them.
pub(crate) fn own() -> StoreChoice {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gauntlet");
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache/gauntlet"));
    let cache = env::var_os("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("gauntlet"));
    StoreChoice {
        redis_url: None,
        postgres_url: None,
        redis_image: env::var("GAUNTLET_REDIS_IMAGE").ok(),
        postgres_image: env::var("GAUNTLET_POSTGRES_IMAGE").ok(),
        search_path: env::var_os("PATH"),
        caches: cache.or(home).into_iter().chain([built]).collect(),
    }
}

fn request() -> StoreRequest {
    StoreRequest {
        run: "stores".to_owned(),
        redis: true,
        choice: own(),
        served_before: None,
        patience: Duration::from_secs(60),
        steps: Steps::default(),
    }
}

/// What Redis answers to one command.
async fn tell_redis(address: std::net::SocketAddr, command: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 64];
    let length = socket.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

async fn teams(url: Secret) -> i64 {
    count(url, "SELECT count(*) FROM teams").await
}

async fn databases(url: Secret) -> i64 {
    count(url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'gauntlet_given%'").await
}

async fn count(url: Secret, question: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url.expose()).await.unwrap();
    let counted = sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    counted
}
