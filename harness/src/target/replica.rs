//! One replica of a managed target: its description filled in, and started.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU8,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    description::Managed,
    launch::{LaunchError, LaunchRequest, Launched, Place, Ready, run_to_end, system},
    output::LogSink,
    ports,
    secret::Secret,
    stores::{PostgresAddress, RedisAddress},
    template::{Placeholder, Template, Values},
};
use crate::op::Replica;

/// What one replica is started with.
///
/// The addresses are as the replica is to see them: behind its store proxies, if it has any.
#[derive(Clone, Debug)]
pub struct ReplicaRequest<'a> {
    /// How to start one.
    pub managed: &'a Managed,
    /// Which one.
    pub replica: Replica,
    /// Processes behind its address.
    pub workers: NonZeroU8,
    /// Its Redis, if it has one.
    pub redis: Option<&'a RedisAddress>,
    /// Its Postgres, database included.
    pub postgres: &'a PostgresAddress,
    /// The mock provider, as in `http://127.0.0.1:4010`.
    pub upstream_url: &'a str,
    /// The key that may do everything.
    pub master_key: &'a Secret,
    /// How long a cached identity is to live.
    pub auth_cache_ttl: Duration,
    /// The configuration to use in place of the described one.
    pub config: Option<&'a Template>,
    /// Arguments after the described ones.
    pub args: &'a [String],
    /// Variables besides the described ones.
    pub env: &'a BTreeMap<String, String>,
    /// Where it is to listen again, if it has listened before.
    pub port: Option<u16>,
    /// The stack's folder: configurations, homes and logs go there.
    pub folder: &'a Path,
}

impl ReplicaRequest<'_> {
    /// Starts the replica and waits until it is ready.
    ///
    /// A port of our choice that is taken meanwhile is replaced by another; one that was asked for
    /// is not.
    pub async fn launch(&self, sink: Option<LogSink>) -> Result<Launched, LaunchError> {
        let asked_for = self.asked_for();
        let mut attempts = ports::ATTEMPTS;
        loop {
            attempts -= 1;
            let address = match asked_for {
                Some(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                None => ports::free_address()
                    .map_err(|source| system("find a free port".to_owned(), source))?,
            };
            let request = self.filled(address)?;
            let path = self.managed.ready_path.clone();
            match Launched::start(request, Ready::Answers { address, path }, sink.clone()).await {
                Err(LaunchError::PortTaken { .. }) if asked_for.is_none() && attempts > 0 => {}
                launched => return launched,
            }
        }
    }

    /// Runs the command that prepares the template database, if there is one.
    ///
    /// `postgres` is then the template; the replica is the first, though none is started.
    pub async fn prepare(&self) -> Result<(), LaunchError> {
        if self.managed.prepare.is_empty() {
            return Ok(());
        }
        let name = "prepare".to_owned();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.asked_for().unwrap_or(0)));
        let request = self.launch_request(name, &self.managed.prepare, &[], address)?;
        run_to_end(request).await
    }

    fn asked_for(&self) -> Option<u16> {
        self.port.or_else(|| self.managed.ports.get(usize::from(self.replica.0)).copied())
    }

    fn filled(&self, address: SocketAddr) -> Result<LaunchRequest, LaunchError> {
        self.launch_request(self.replica.to_string(), &self.managed.command, self.args, address)
    }

    fn launch_request(
        &self,
        name: String,
        command: &[Template],
        more_args: &[String],
        address: SocketAddr,
    ) -> Result<LaunchRequest, LaunchError> {
        let file_name = name.replace(' ', "-");
        let home = self.folder.join(format!("{file_name}.home"));
        fs::create_dir_all(&home)
            .map_err(|source| system(format!("make the folder {}", home.display()), source))?;
        let mut values = self.values(address, &home);
        let no_value = |source| LaunchError::NoValue { name: name.clone(), source };

        if let Some(config) = self.config.or(self.managed.config.as_ref()) {
            let path = self.folder.join(format!("{file_name}.config.yaml"));
            let text = config.fill(&values).map_err(no_value)?;
            fs::write(&path, text)
                .map_err(|source| system(format!("write {}", path.display()), source))?;
            values.insert(Placeholder::Config, Secret::new(path.display().to_string()));
        }

        let mut words = command
            .iter()
            .filter_map(|word| word.fill_word(&values).map_err(no_value).transpose())
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let program = words.next().unwrap_or_default();
        let (place, program) = match &self.managed.image {
            None => (Place::Here, self.program(program)),
            Some(image) => {
                let shared = self.folder.to_owned();
                (Place::Container { image: image.clone(), shared }, PathBuf::from(program))
            }
        };
        let described = self
            .managed
            .env
            .iter()
            .filter_map(|(variable, text)| {
                let filled = text.fill_word(&values).map_err(no_value).transpose()?;
                Some(filled.map(|text| (variable.clone(), Secret::new(text))))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut env =
            BTreeMap::from([("HOME".to_owned(), Secret::new(home.display().to_string()))]);
        env.extend(self.managed.inherited.clone());
        env.extend(described);
        env.extend(self.env.iter().map(|(name, text)| (name.clone(), Secret::new(text.as_str()))));

        Ok(LaunchRequest {
            place,
            program,
            args: words.chain(more_args.iter().cloned()).collect(),
            env,
            folder: self.managed.folder.clone(),
            log: self.folder.join(format!("{file_name}.log")),
            start_timeout: self.managed.start_timeout,
            stop_timeout: self.managed.stop_timeout,
            name,
        })
    }

    /// A program named with a folder is looked for from the description's; a bare one on `PATH`.
    fn program(&self, word: String) -> PathBuf {
        match word.contains('/') {
            true => self.managed.folder.join(word),
            false => PathBuf::from(word),
        }
    }

    fn values(&self, address: SocketAddr, home: &Path) -> Values {
        let mut values = Values::new();
        let mut give = |placeholder, text: String| {
            values.insert(placeholder, Secret::new(text));
        };
        give(Placeholder::Port, address.port().to_string());
        give(Placeholder::PostgresUrl, self.postgres.url().expose().to_owned());
        give(Placeholder::PostgresHost, self.postgres.host().to_owned());
        give(Placeholder::PostgresPort, self.postgres.port().to_string());
        give(Placeholder::PostgresUser, self.postgres.user().to_owned());
        give(Placeholder::PostgresDatabase, self.postgres.database().to_owned());
        give(Placeholder::MasterKey, self.master_key.expose().to_owned());
        give(Placeholder::UpstreamUrl, self.upstream_url.to_owned());
        give(Placeholder::Workers, self.workers.to_string());
        give(Placeholder::Replica, self.replica.0.to_string());
        give(Placeholder::Home, home.display().to_string());
        give(Placeholder::AuthCacheTtlMs, self.auth_cache_ttl.as_millis().to_string());
        give(Placeholder::AuthCacheTtlS, self.auth_cache_ttl.as_secs().max(1).to_string());
        if let Some(redis) = self.redis {
            give(Placeholder::RedisUrl, redis.url().expose().to_owned());
            give(Placeholder::RedisHost, redis.host().to_owned());
            give(Placeholder::RedisPort, redis.port().to_string());
            give(Placeholder::RedisOnly, String::new());
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::description::{Reach, Surroundings, TargetDescription};

    fn managed(section: &str) -> Managed {
        let text = format!("name = 'ours'\nadapter = 'ours'\n[managed]\n{section}");
        let variable = |name: &str| std::env::vars().find(|(set, _)| set == name).map(|set| set.1);
        let surroundings = Surroundings { adapters: &["ours"], variable: &variable };
        match TargetDescription::parse(Path::new("target.toml"), &text, surroundings).unwrap().reach
        {
            Reach::Managed(managed) => managed,
            Reach::Attached(_) => panic!("not managed"),
        }
    }

    struct Stack {
        folder: tempfile::TempDir,
        redis: RedisAddress,
        postgres: PostgresAddress,
        master_key: Secret,
        env: BTreeMap<String, String>,
    }

    impl Stack {
        fn new() -> Stack {
            Stack {
                folder: tempfile::tempdir().unwrap(),
                redis: RedisAddress::parse(&Secret::new("redis://127.0.0.1:7/2")).unwrap(),
                postgres: PostgresAddress::parse(&Secret::new("postgres://me@127.0.0.1:8/db"))
                    .unwrap(),
                master_key: Secret::new("sk-master"),
                env: BTreeMap::from([("EXTRA".to_owned(), "1".to_owned())]),
            }
        }

        fn request<'a>(&'a self, managed: &'a Managed) -> ReplicaRequest<'a> {
            ReplicaRequest {
                managed,
                replica: Replica(1),
                workers: NonZeroU8::MIN,
                redis: Some(&self.redis),
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

    #[test]
    fn every_gap_is_filled() {
        let stack = Stack::new();
        let managed = managed(
            "command = ['bin/g', '{port}', '{config}']\nenv = { DB = '{postgres_url}', R = '{redis_host}:{redis_port}' }\nconfig = '''\nkey: {master_key}\nup: {upstream_url}\n'''",
        );
        let address = SocketAddr::from(([127, 0, 0, 1], 4000));
        let filled = stack.request(&managed).filled(address).unwrap();
        assert_eq!(filled.program, Path::new("bin/g"));
        assert_eq!(filled.args[0], "4000");
        let config = fs::read_to_string(&filled.args[1]).unwrap();
        assert_eq!(config, "key: sk-master\nup: http://127.0.0.1:9\n");
        assert_eq!(filled.env["DB"].expose(), "postgres://me@127.0.0.1:8/db");
        assert_eq!(filled.env["R"].expose(), "127.0.0.1:7");
        assert_eq!(filled.env["EXTRA"].expose(), "1");
        assert!(filled.env["HOME"].expose().ends_with("replica-1.home"));
    }

    #[test]
    fn what_runs_in_a_container_sees_the_folder_of_the_stack_and_inherits_nothing() {
        let stack = Stack::new();
        let managed = managed("image = 'gateway:1'\ncommand = ['bin/g', '{home}']");
        let address = SocketAddr::from(([127, 0, 0, 1], 4000));
        let filled = stack.request(&managed).filled(address).unwrap();
        let shared = stack.folder.path().to_owned();
        assert!(filled.args[0].starts_with(shared.to_str().unwrap()), "{:?}", filled.args);
        assert_eq!(filled.place, Place::Container { image: "gateway:1".to_owned(), shared });
        assert_eq!(filled.program, Path::new("bin/g"));
        assert_eq!(filled.env.keys().collect::<Vec<_>>(), ["EXTRA", "HOME"]);
    }

    #[test]
    fn a_topology_without_redis_cannot_fill_its_gaps() {
        let stack = Stack::new();
        let managed = managed("command = ['g', '{redis_url}']");
        let request = ReplicaRequest { redis: None, ..stack.request(&managed) };
        let refused = request.filled(SocketAddr::from(([127, 0, 0, 1], 4000)));
        assert!(matches!(refused, Err(LaunchError::NoValue { .. })));
    }

    #[tokio::test]
    async fn a_prepare_command_sees_the_template() {
        let stack = Stack::new();
        let managed =
            managed("command = ['g']\nprepare = ['sh', '-c', 'test {postgres_database} = db']");
        stack.request(&managed).prepare().await.unwrap();
    }
}
