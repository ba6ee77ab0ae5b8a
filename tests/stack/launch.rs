//! Replicas that are started from a description, with the mock provider in the part of the gateway.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU8,
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{
    clock::Clock,
    op::Replica,
    target::{
        LaunchError, Launched, LogSink, Managed, Reach, ReplicaRequest, Secret, Surroundings,
        TargetDescription, binaries::start_mock_provider, stores::PostgresAddress,
    },
};
use tempfile::TempDir;
use tests::binaries::{self, Flavour};
use tokio::{net::TcpStream, sync::mpsc};

#[tokio::test]
async fn replicas_listen_apart_and_end_when_stopped() {
    let stack = Stack::described("command = ['{program}', '--port', '{port}']");
    let (sender, mut lines) = mpsc::channel(64);
    let mut replicas = Vec::new();
    for replica in [Replica(0), Replica(1)] {
        let sink = LogSink { replica, clock: Clock::start(), lines: sender.clone() };
        replicas.push(stack.request(replica).launch(Some(sink)).await.unwrap());
    }
    let addresses: Vec<SocketAddr> = replicas.iter().map(Launched::address).collect();
    assert_ne!(addresses[0], addresses[1]);
    assert!(lines.recv().await.unwrap().text.contains("listening"));
    for replica in replicas {
        assert!(!replica.stop().await.killed);
    }
    for address in addresses {
        assert!(TcpStream::connect(address).await.is_err(), "{address} still answers");
    }
}

#[tokio::test]
async fn a_replica_can_come_back_where_it_was() {
    let stack = Stack::described("command = ['{program}', '--port', '{port}']");
    let first = stack.request(Replica(0)).launch(None).await.unwrap();
    let port = first.address().port();
    first.stop().await;
    let request = ReplicaRequest { port: Some(port), ..stack.request(Replica(0)) };
    let again = request.launch(None).await.unwrap();
    assert_eq!(again.address().port(), port);
    let taken = request.launch(None).await.unwrap_err();
    assert!(matches!(taken, LaunchError::PortTaken { .. }), "{taken}");
    again.stop().await;
}

#[tokio::test]
async fn a_replica_that_refuses_its_arguments_is_quoted() {
    let stack = Stack::described("command = ['{program}', '--colour', 'green']");
    let error = stack.request(Replica(0)).launch(None).await.unwrap_err();
    assert!(error.to_string().contains("--colour"), "{error}");
}

#[tokio::test]
async fn the_mock_provider_says_where_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let mock = start_mock_provider(&mock_provider(), folder.path()).await.unwrap();
    TcpStream::connect(mock.address()).await.unwrap();
    assert!(!mock.stop().await.killed);
}

/// What a replica is started with.
struct Stack {
    managed: Managed,
    postgres: PostgresAddress,
    master_key: Secret,
    env: BTreeMap<String, String>,
    folder: TempDir,
}

impl Stack {
    fn described(section: &str) -> Stack {
        let section = section.replace("{program}", mock_provider().to_str().unwrap());
        let text = format!(
            "name = 'mock'\nadapter = 'mock'\n[managed]\nready_path = '/_mock/health'\n{section}"
        );
        let surroundings = Surroundings { adapters: &["mock"], variable: &|_| None };
        let described =
            TargetDescription::parse(Path::new("target.toml"), &text, surroundings).unwrap();
        let Reach::Managed(managed) = described.reach else { panic!("not managed") };
        Stack {
            managed,
            postgres: PostgresAddress::parse(&Secret::new("postgres://nobody@127.0.0.1/none"))
                .unwrap(),
            master_key: Secret::new("sk-master"),
            env: BTreeMap::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn request(&self, replica: Replica) -> ReplicaRequest<'_> {
        ReplicaRequest {
            managed: &self.managed,
            replica,
            workers: NonZeroU8::MIN,
            redis: None,
            postgres: &self.postgres,
            upstream_url: "http://127.0.0.1:9",
            master_key: &self.master_key,
            auth_cache_ttl: Duration::from_secs(2),
            config: None,
            args: &[],
            env: &self.env,
            port: None,
            folder: self.folder.path(),
        }
    }
}

fn mock_provider() -> PathBuf {
    binaries::built(Flavour::Released).join("mock-provider")
}
