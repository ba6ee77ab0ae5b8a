//! Stores in containers, where a container engine answers, private to one run.
//!
//! Nothing of an image is relied on but the programs it holds: a script of ours finds them, whether
//! the image is an official one or a plain Debian with the packages of the store. They are reached on
//! loopback ports that the engine chooses, keep what they hold in memory, and give up every promise
//! of durability.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    Attempt, FoundStore, PostgresAddress, RedisAddress, Server, Store, StoreError, StoreRequest,
    Way,
    process::{SETTINGS, SUPERUSER},
};
use crate::target::{
    engine::{Container, ContainerRequest, Engine, Reachable},
    output::Output,
    ready::{Waited, until_ready},
    secret::Secret,
};

/// The image of a Redis, unless a person names another.
const REDIS: &str = "redis:7-alpine";

/// The image of a Postgres, unless a person names another.
const POSTGRES: &str = "postgres:17-alpine";

/// Where Redis listens in its container.
const REDIS_PORT: u16 = 6379;

/// Where Postgres listens in its container.
const POSTGRES_PORT: u16 = 5432;

/// A folder of its container that is in memory.
const SCRATCH: &str = "/gauntlet";

/// How long a store that does not serve may take to end; nothing it holds is wanted.
const STOP_PATIENCE: Duration = Duration::ZERO;

/// Starts a Redis, or a Valkey.
const REDIS_SCRIPT: &str = r#"
for program in redis-server valkey-server; do
    command -v "$program" >/dev/null &&
        exec "$program" --bind 0.0.0.0 --protected-mode no --save '' --appendonly no \
            --daemonize no --dir /gauntlet "$@"
done
echo 'this image has neither redis-server nor valkey-server on its PATH' >&2
exit 127
"#;

/// Makes a Postgres and starts it: as an unprivileged user, since it refuses root. Whom to be is asked
/// of whatever the image has for that.
const POSTGRES_SCRIPT: &str = r#"
# The last one that fits: what the image itself would find, else the newest.
for folder in /usr/lib/postgresql/*/bin /usr/libexec/postgresql* /usr/pgsql-*/bin \
    /opt/*/postgresql/bin "$(dirname "$(command -v initdb)")"; do
    [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && bin=$folder
done
if [ -z "$bin" ]; then
    echo 'this image has no initdb with postgres beside it, on its PATH or in the usual folders' >&2
    exit 127
fi
data=/gauntlet/data
serve="umask 077
'$bin/initdb' --username '$1' --auth trust --encoding UTF8 --locale C --no-sync --pgdata $data &&
echo 'host all all all trust' >>$data/pg_hba.conf &&
exec '$bin/postgres' -D $data $2"
[ "$(id -u)" = 0 ] || exec sh -c "$serve"
user=postgres
id "$user" >/dev/null 2>&1 || user=nobody
for drop in gosu su-exec; do
    command -v "$drop" >/dev/null && exec "$drop" "$user" sh -c "$serve"
done
if setpriv --version >/dev/null 2>&1; then
    exec setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --clear-groups sh -c "$serve"
fi
exec su -s /bin/sh -c "$serve" "$user"
"#;

/// A container of ours, for as long as its store is wanted.
#[derive(Debug)]
pub(super) struct StoreContainer {
    container: Container,
}

impl StoreContainer {
    /// Removes it with all it holds.
    pub(super) async fn stop(self) -> Result<(), StoreError> {
        self.container.remove().await.map_err(|source| StoreError::NotRemoved(source.into()))
    }
}

/// Starts a Redis in a container.
pub(super) async fn redis(request: &StoreRequest) -> Result<Attempt<RedisAddress>, StoreError> {
    let wanted = Wanted {
        store: Store::Redis,
        named: request.choice.redis_image.as_deref(),
        usual: REDIS,
        script: REDIS_SCRIPT,
        args: vec!["--port".to_owned(), REDIS_PORT.to_string()],
        port: REDIS_PORT,
    };
    let version = async |address: &RedisAddress| address.version().await.ok();
    wanted.found(request, RedisAddress::local, version).await
}

/// Starts a Postgres in a container.
pub(super) async fn postgres(
    request: &StoreRequest,
) -> Result<Attempt<PostgresAddress>, StoreError> {
    let wanted = Wanted {
        store: Store::Postgres,
        named: request.choice.postgres_image.as_deref(),
        usual: POSTGRES,
        script: POSTGRES_SCRIPT,
        args: vec![SUPERUSER.to_owned(), postgres_settings()],
        port: POSTGRES_PORT,
    };
    let address = |address| PostgresAddress::local(address, SUPERUSER);
    let version = async |address: &PostgresAddress| address.version().await.ok();
    wanted.found(request, address, version).await
}

/// The settings of any Postgres of ours, but that it is asked from outside of its container.
fn postgres_settings() -> String {
    let settings = SETTINGS.into_iter().map(|setting| match setting.split_once('=') {
        Some(("listen_addresses", _)) => "-c listen_addresses=0.0.0.0".to_owned(),
        _ => format!("-c {setting}"),
    });
    settings.chain([format!("-p {POSTGRES_PORT}")]).collect::<Vec<_>>().join(" ")
}

/// A store that is wanted in a container.
struct Wanted<'a> {
    store: Store,
    /// The image that a person named.
    named: Option<&'a str>,
    /// The image where nobody named one.
    usual: &'a str,
    script: &'static str,
    args: Vec<String>,
    port: u16,
}

impl Wanted<'_> {
    /// Starts it, and waits until `version` has something to say of it.
    ///
    /// That there is no engine or no image has the next way tried, unless a person named the image.
    async fn found<A>(
        self,
        request: &StoreRequest,
        address: impl Fn(SocketAddr) -> A,
        version: impl AsyncFn(&A) -> Option<String>,
    ) -> Result<Attempt<A>, StoreError> {
        let (store, named) = (self.store, self.named);
        match (self.started(request, address, version).await, named) {
            (Ok((found, server)), _) => Ok(Attempt::Serves(found, server)),
            (Err(why), None) => Ok(Attempt::passed(format!("not in a container: {why}"))),
            (Err(why), Some(image)) => {
                Err(StoreError::Image { store, image: image.to_owned(), why })
            }
        }
    }

    async fn started<A>(
        self,
        request: &StoreRequest,
        address: impl Fn(SocketAddr) -> A,
        version: impl AsyncFn(&A) -> Option<String>,
    ) -> Result<(FoundStore<A>, Server), String> {
        let image = self.named.unwrap_or(self.usual);
        let engine = Engine::reach().await.map_err(|error| error.to_string())?;
        if !engine.has(image).await.map_err(|error| error.to_string())? {
            request.steps.begin(&format!("pulling the image {image}"));
            engine.pull(image).await.map_err(|error| error.to_string())?;
        }
        let program = "sh".to_owned();
        let script = ["-c", self.script, "sh"].map(str::to_owned);
        let wanted = ContainerRequest {
            image: image.to_owned(),
            program,
            args: script.into_iter().chain(self.args).collect(),
            env: BTreeMap::from([("LC_ALL".to_owned(), Secret::new("C"))]),
            shared: None,
            scratch: Some(SCRATCH),
            as_us: false,
            reachable: Reachable::Published(self.port),
        };
        let (mut container, printed) =
            engine.start(wanted).await.map_err(|error| error.to_string())?;
        let log = tempfile::tempfile().map_err(|error| format!("no file for its log: {error}"))?;
        let mut output = Output::read(Some(printed.stdout), Some(printed.stderr), log, None);
        let what = match container.address().map(address) {
            None => "has no port".to_owned(),
            Some(address) => {
                let answer = async || version(&address).await;
                match until_ready(&mut container, request.patience, answer).await {
                    Waited::Ready(version) => {
                        let notes = vec![format!("{image}, in a container of {}", engine.name())];
                        let found = FoundStore { address, version, way: Way::Container, notes };
                        return Ok((found, Server::Container(StoreContainer { container })));
                    }
                    Waited::Exited(status) => format!("ended with {status} before it answered"),
                    Waited::Late => format!("gave no answer within {:?}", request.patience),
                }
            }
        };
        container.stop(STOP_PATIENCE).await;
        output.drain().await;
        let said = match output.tail() {
            lines if lines.is_empty() => "it printed nothing".to_owned(),
            lines => format!("it said: {}", lines.join(" | ")),
        };
        // What cannot be removed now is left to the supervisor.
        drop(container.remove().await);
        Err(format!("the container of {image} {what}; {said}"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;

    #[test]
    fn a_postgres_in_a_container_listens_beyond_it_and_is_as_quick_as_any_of_ours() {
        let settings = postgres_settings();
        assert!(settings.starts_with("-c listen_addresses=0.0.0.0 -c "), "{settings}");
        assert!(settings.contains("-c fsync=off") && settings.ends_with("-p 5432"), "{settings}");
    }

    #[test]
    fn an_image_without_a_redis_is_told_so() {
        let said = with_programs(&[]);
        assert_eq!(said.status.code(), Some(127));
        assert!(String::from_utf8_lossy(&said.stderr).contains("valkey-server"), "{said:?}");
    }

    #[test]
    fn a_redis_or_a_valkey_is_started_with_all_it_is_told() {
        for program in ["redis-server", "valkey-server"] {
            let said = with_programs(&[program]);
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            assert!(said.starts_with(&format!("{program} --bind 0.0.0.0")), "{said}");
            assert!(said.ends_with("--dir /gauntlet one two\n"), "{said}");
        }
    }

    #[test]
    fn the_scripts_are_what_any_shell_reads() {
        for script in [REDIS_SCRIPT, POSTGRES_SCRIPT] {
            let read = Command::new("/bin/sh").args(["-n", "-c", script]).output().unwrap();
            assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
        }
    }

    /// Starts a Redis where there are only these programs, which repeat how they were called.
    fn with_programs(programs: &[&str]) -> Output {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            let path = folder.path().join(program);
            std::fs::write(&path, format!("#!/bin/sh\necho {program} \"$@\"\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Command::new("/bin/sh")
            .args(["-c", REDIS_SCRIPT, "sh", "one", "two"])
            .env_clear()
            .env("PATH", folder.path())
            .output()
            .unwrap()
    }
}
