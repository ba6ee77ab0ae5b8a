//! Where a Postgres is, and its databases: made, migrated, copied and dropped.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use reqwest::Url;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use super::{Store, StoreError};
use crate::target::secret::Secret;

const DEFAULT_PORT: u16 = 5432;

/// The address of a database on a Postgres, with credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresAddress {
    url: Url,
    user: String,
}

/// How the template of a database is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// File by file, which forces checkpoints.
    Files,
    /// As the server does by itself.
    AsConfigured,
}

impl Copying {
    /// The quicker way on a Postgres of ours.
    ///
    /// Its checkpoints cost nothing, since it gave up durability. Before version 15 there was one
    /// way only, and no word for it.
    pub(super) fn quickest(version: &str) -> Copying {
        let major = version.split(|character: char| !character.is_ascii_digit()).next();
        match major.and_then(|major| major.parse::<u32>().ok()) {
            Some(15..) => Copying::Files,
            Some(_) | None => Copying::AsConfigured,
        }
    }
}

impl PostgresAddress {
    /// Reads `postgres://[user[:password]@]host[:port][/database]`.
    pub fn parse(url: &Secret) -> Result<PostgresAddress, StoreError> {
        let wrong = |reason: &str| StoreError::NotAUrl {
            store: Store::Postgres,
            reason: reason.to_owned(),
            example: "postgres://user:password@127.0.0.1:5432/postgres",
        };
        let url = Url::parse(url.expose()).map_err(|_| wrong("it is no URL at all"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("it does not begin with `postgres://`"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        let options = PgConnectOptions::from_str(url.as_str())
            .map_err(|_| wrong("one of its parts is not understood"))?;
        let user = options.get_username().to_owned();
        Ok(PostgresAddress { url, user })
    }

    /// The database `postgres` at `address`, as `user`, who needs no password.
    pub(super) fn local(address: SocketAddr, user: &str) -> PostgresAddress {
        let url = Url::parse(&format!("postgres://{user}@{address}/postgres"))
            .expect("a plain name and an address make a URL");
        PostgresAddress { url, user: user.to_owned() }
    }

    /// The same database behind a store proxy.
    pub fn through(&self, proxy: SocketAddr) -> PostgresAddress {
        PostgresAddress { url: moved(&self.url, proxy), user: self.user.clone() }
    }

    /// Another database of the same Postgres.
    pub fn with_database(&self, name: &str) -> PostgresAddress {
        let mut url = self.url.clone();
        url.set_path(name);
        PostgresAddress { url, user: self.user.clone() }
    }

    /// The whole URL, credentials included.
    pub fn url(&self) -> Secret {
        Secret::new(self.url.as_str())
    }

    /// The host by itself.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port by itself.
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(DEFAULT_PORT)
    }

    /// The user by itself.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The name of the database; that of the user where none is given.
    pub fn database(&self) -> &str {
        match self.url.path().trim_start_matches('/') {
            "" => &self.user,
            name => name,
        }
    }

    /// Where a store proxy is to connect to.
    pub async fn socket_addr(&self) -> io::Result<SocketAddr> {
        resolve(self.host(), self.port()).await
    }

    /// What version it says it is; an error unless it answers as a Postgres does.
    pub(super) async fn version(&self) -> Result<String, sqlx::Error> {
        self.setting("SHOW server_version").await
    }

    /// What version it says it is, if it answers and keeps its data in `folder`.
    pub(super) async fn version_over(&self, folder: &Path) -> Option<String> {
        let kept_in = self.setting("SHOW data_directory").await.ok()?;
        if Path::new(&kept_in) != folder {
            return None;
        }
        self.version().await.ok()
    }

    async fn setting(&self, question: &'static str) -> Result<String, sqlx::Error> {
        let mut connection = self.connect().await?;
        let answer = sqlx::query_scalar(question).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(answer)
    }

    /// Makes the database `name`: empty, or a copy of `template`.
    pub(super) async fn create_database(
        &self,
        name: &str,
        template: Option<&str>,
        copying: Copying,
    ) -> Result<(), StoreError> {
        // An empty database takes the encoding of the server's pristine one.
        let template = template.unwrap_or("template0");
        let strategy = match copying {
            Copying::Files => " STRATEGY FILE_COPY",
            Copying::AsConfigured => "",
        };
        let statement =
            format!("CREATE DATABASE {} TEMPLATE {}{strategy}", quoted(name), quoted(template));
        self.tell(statement, || format!("create the database {name} from {template}")).await
    }

    /// Drops the database `name`, whoever is connected to it.
    pub(super) async fn drop_database(&self, name: &str) -> Result<(), StoreError> {
        self.tell(dropping(name), || format!("drop the database {name}")).await
    }

    /// Drops the database `name` for somebody who was killed, perhaps while it was being made.
    ///
    /// # Errors
    ///
    /// When no Postgres answers there, or it no longer does.
    pub(in crate::target) async fn drop_abandoned(&self, name: &str) -> Result<(), sqlx::Error> {
        const STEP: Duration = Duration::from_millis(100);
        let mut connection = self.connect().await?;
        let mut look = tokio::time::interval(STEP);
        loop {
            look.tick().await;
            // A server goes on with a statement whose sender has gone.
            let making = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' \
                 AND pid <> pg_backend_pid() AND position($1 IN query) = 1)",
            );
            let making = making.bind(format!("CREATE DATABASE {} ", quoted(name)));
            let making: bool = making.fetch_one(&mut connection).await?;
            let statement = AssertSqlSafe(dropping(name));
            match sqlx::raw_sql(statement).execute(&mut connection).await {
                Ok(_) if !making => return connection.close().await,
                // One that is being copied is kept for that long.
                Ok(_) | Err(sqlx::Error::Database(_)) => {}
                Err(gone) => return Err(gone),
            }
        }
    }

    /// Applies every migration of `folder` to this database, in order.
    pub(super) async fn apply(&self, folder: &Path) -> Result<(), StoreError> {
        let files = migrations(folder)?;
        let mut connection = self.connect().await.map_err(|source| refused(source, self))?;
        for file in files {
            let sql = fs::read_to_string(&file).map_err(|source| StoreError::System {
                doing: format!("read {}", file.display()),
                source,
            })?;
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await
                .map_err(|source| refused(source, format_args!("apply {}", file.display())))?;
        }
        // A database with a connection cannot be copied.
        connection.close().await.map_err(|source| refused(source, "close the connection"))
    }

    async fn tell(&self, statement: String, doing: impl Fn() -> String) -> Result<(), StoreError> {
        let told = async {
            let mut connection = self.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
            connection.close().await
        };
        told.await.map_err(|source| refused(source, doing()))
    }

    /// Carries out one statement with these parameters, all of them text. How many rows it changed.
    ///
    /// # Errors
    ///
    /// When Postgres refuses, or does not answer.
    pub async fn change(&self, sql: &str, params: &[String]) -> Result<u64, StoreError> {
        let changed = async {
            let mut connection = self.connect().await?;
            let statement = AssertSqlSafe(sql.to_owned());
            let query =
                params.iter().fold(sqlx::query(statement), |query, param| query.bind(param));
            let done = query.execute(&mut connection).await?;
            connection.close().await?;
            Ok(done.rows_affected())
        };
        changed.await.map_err(|source| refused(source, "change a row"))
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::from_str(self.url.as_str())?.connect().await
    }
}

fn refused(source: sqlx::Error, doing: impl fmt::Display) -> StoreError {
    StoreError::Postgres { doing: doing.to_string(), source: source.into() }
}

fn dropping(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The SQL files of `folder`, in the order of their names.
fn migrations(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let unreadable = |source| StoreError::System {
        doing: format!("read the folder {}", folder.display()),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let nested = path.join("migration.sql");
        if nested.is_file() {
            files.push(nested);
        } else if path.is_file() && path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(StoreError::NoMigrations { folder: folder.to_owned() }),
        false => Ok(files),
    }
}

/// The same URL at another address.
pub(super) fn moved(url: &Url, address: SocketAddr) -> Url {
    let mut url = url.clone();
    url.set_ip_host(address.ip()).expect("the URL of a store has a host");
    url.set_port(Some(address.port())).expect("the URL of a store has a host");
    url
}

/// The first address that a name stands for.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    tokio::net::lookup_host((host, port)).await?.next().ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("{host} stands for no address"))
    })
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host(), self.port(), self.database())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<PostgresAddress, StoreError> {
        PostgresAddress::parse(&Secret::new(url))
    }

    #[test]
    fn an_address_moves_behind_a_proxy_with_all_it_has() {
        let given = address("postgresql://m%40e:pw@db.example/first?application_name=x").unwrap();
        let moved = given.with_database("second").through(([127, 0, 0, 1], 9).into());
        let url = "postgresql://m%40e:pw@127.0.0.1:9/second?application_name=x";
        assert_eq!(moved.url().expose(), url);
        assert_eq!(moved.user(), "m@e");
        assert_eq!(format!("{moved:?}"), "PostgresAddress(127.0.0.1:9/second)");
    }

    #[test]
    fn files_are_copied_where_the_server_knows_how() {
        assert_eq!(Copying::quickest("15.14 (Debian 15.14-0+deb12u1)"), Copying::Files);
        assert_eq!(Copying::quickest("17beta1"), Copying::Files);
        assert_eq!(Copying::quickest("14.2"), Copying::AsConfigured);
        assert_eq!(Copying::quickest(""), Copying::AsConfigured);
    }

    #[test]
    fn other_urls_are_refused() {
        for url in ["", "db:5432", "mysql://db", "postgres:///x", "postgres://h?sslmode=what"] {
            assert!(address(url).is_err(), "{url}");
        }
    }

    #[test]
    fn migrations_are_taken_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(matches!(migrations(path), Err(StoreError::NoMigrations { .. })));
        for name in ["2_b", "1_a"] {
            fs::create_dir(path.join(name)).unwrap();
            fs::write(path.join(name).join("migration.sql"), "").unwrap();
        }
        fs::write(path.join("0_first.sql"), "").unwrap();
        fs::write(path.join("readme.md"), "").unwrap();
        let found = migrations(path).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|file| file.strip_prefix(path).unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["0_first.sql", "1_a/migration.sql", "2_b/migration.sql"]);
    }
}
