//! `target.toml`, typed: one installation, and either how to start it or where it runs.
//!
//! ```toml
//! name = "our gateway"
//! adapter = "litellm"
//!
//! [managed]
//! command = ["bin/gateway", "--config", "{config}", "--port", "{port}"]
//! env = { DATABASE_URL = "{postgres_url}", LICENCE = "os.environ/GATEWAY_LICENCE" }
//! inherit_env = ["PATH"]
//! config = "gateway.yaml"
//! start_timeout = "60s"
//!
//! [bounds]
//! auth_cache_ttl = "5s"
//! ```
//!
//! Relative paths start at the folder of the file. A mistake is reported with its file, line and
//! column, and with the nearest word that would have been understood.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    num::NonZeroU8,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Url;
use scenarios::{duration, nearest::nearest};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{
    secret::Secret,
    stores::{RedisAddress, StoreError},
    template::{Placeholder, Template, UnknownPlaceholder},
    topology::Topology,
};

/// One installation of a gateway.
#[derive(Clone, Debug)]
pub struct TargetDescription {
    /// What people call it.
    pub name: String,
    /// Which adapter knows its dialect.
    pub adapter: String,
    /// How it comes to be running.
    pub reach: Reach,
    /// Promises that differ from those of the adapter's manifest.
    pub bounds: Bounds,
    /// The model aliases that plans ask for; each must end at the mock provider.
    pub models: Vec<String>,
}

/// How a target comes to be running.
#[derive(Clone, Debug)]
pub enum Reach {
    /// We start it, and stop it.
    Managed(Managed),
    /// It runs already.
    Attached(Attached),
}

/// A target that we start: the section `[managed]`.
#[derive(Clone, Debug)]
pub struct Managed {
    /// Where relative paths start, and where the command runs.
    pub folder: PathBuf,
    /// The image whose containers its replicas run in; none where they are processes of this machine.
    pub image: Option<String>,
    /// The program and its arguments.
    pub command: Vec<Template>,
    /// What its environment holds besides what it inherits.
    pub env: BTreeMap<String, Template>,
    /// What it inherits: the variables named by `inherit_env` that are set. Where nobody says, that is
    /// `PATH` on this machine, and nothing in a container.
    pub inherited: BTreeMap<String, Secret>,
    /// The configuration to write for each replica.
    pub config: Option<Template>,
    /// A folder of SQL for the template database.
    pub migrations: Option<PathBuf>,
    /// A command to run once against the template database; empty for none.
    pub prepare: Vec<Template>,
    /// The key that may do everything, where it is not for us to choose.
    pub master_key: Option<Secret>,
    /// The path that answers 200 once a replica is ready.
    pub ready_path: String,
    /// How long a replica may take to be ready.
    pub start_timeout: Duration,
    /// How long a replica may take to end after it was asked to.
    pub stop_timeout: Duration,
    /// Where replicas listen, in order; those beyond its end get a free port.
    pub ports: Vec<u16>,
    /// The shape to start, unless a plan asks for another.
    pub topology: Topology,
    /// The adjacent release, where there is one: the section `[managed.next]`.
    pub next: Option<Next>,
}

/// How a replica of the adjacent release is started, configured as the described one.
#[derive(Clone, Debug)]
pub struct Next {
    /// The image, where it is another one.
    pub image: Option<String>,
    /// The program and its arguments; the described ones where it has none.
    pub command: Vec<Template>,
    /// More arguments.
    pub args: Vec<Template>,
}

impl Managed {
    /// The same target, of the adjacent release; as it is where there is none.
    pub fn of_next_release(&self) -> Managed {
        let mut managed = self.clone();
        if let Some(next) = &self.next {
            if next.image.is_some() {
                managed.image.clone_from(&next.image);
            }
            if !next.command.is_empty() {
                managed.command.clone_from(&next.command);
            }
            managed.command.extend(next.args.iter().cloned());
        }
        managed
    }
}

/// A target that runs already: the section `[attached]`.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Where each replica is, or the one balancer before them.
    pub replicas: Vec<Url>,
    /// Processes behind each address.
    pub workers: NonZeroU8,
    /// The key that may manage teams, users and keys.
    pub admin_key: Option<Secret>,
    /// The mock provider that the gateway was pointed at.
    pub mock_url: Option<Url>,
    /// The Redis that its replicas share, which we may listen to.
    pub redis: Option<RedisAddress>,
    /// Where the log of each replica is, in their order; empty where it is not to be had.
    pub logs: Vec<LogSource>,
}

/// Where the log of a replica that runs already is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// A file that is written to.
    File(PathBuf),
    /// A command that prints what is written, and runs in this folder.
    Command {
        /// The program and its arguments.
        words: Vec<String>,
        /// Where it runs.
        folder: PathBuf,
    },
}

/// Declared bounds: the section `[bounds]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// How long an identity may be served from a cache.
    #[serde(deserialize_with = "optional_duration")]
    pub auth_cache_ttl: Option<Duration>,
    /// How long a change may take to hold on every replica.
    #[serde(deserialize_with = "optional_duration")]
    pub propagation: Option<Duration>,
}

/// Why a target description cannot be used.
///
/// Messages are lowercase fragments, made to follow "cannot use the target: ".
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The description, or a file it names, could not be read from disk.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Where we looked.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The description is not TOML, or a value is not of its kind.
    #[error("{at}: {reason}")]
    Malformed {
        /// Where it stops making sense.
        at: Place,
        /// What was found, and what was expected.
        reason: String,
    },
    /// A key that means nothing to us.
    #[error("{at}: nothing is called `{key}` here{}", Instead { nearest: nearest.as_deref(), known })]
    UnknownKey {
        /// Where it stands.
        at: Place,
        /// The key.
        key: String,
        /// The known key most like it.
        nearest: Option<String>,
        /// Every key that would be understood there.
        known: Vec<String>,
    },
    /// An adapter that does not exist.
    #[error("{at}: there is no adapter `{adapter}`{}", Instead { nearest: nearest.as_deref(), known })]
    UnknownAdapter {
        /// Where it is named.
        at: Place,
        /// The name.
        adapter: String,
        /// The known name most like it.
        nearest: Option<String>,
        /// Every adapter there is.
        known: Vec<String>,
    },
    /// A placeholder that stands for nothing.
    #[error("{at}")]
    UnknownPlaceholder {
        /// Where it stands.
        at: Place,
        /// Which it is.
        source: UnknownPlaceholder,
    },
    /// A placeholder that stands for a Redis there will not be.
    #[error(
        "{at}: {placeholder} stands for a Redis, and `redis = false` asks for none; remove one of the two"
    )]
    PlaceholderWithoutRedis {
        /// Where it stands.
        at: Place,
        /// Which it is.
        placeholder: Placeholder,
    },
    /// A variable that the description refers to is not set.
    #[error(
        "{at}: the environment has no {name}; set it, or write the value in place of `os.environ/{name}`"
    )]
    MissingVariable {
        /// Where it is referred to.
        at: Place,
        /// The variable.
        name: String,
    },
    /// Nothing says how to reach the target.
    #[error("{} has neither [managed] nor [attached]; add [managed] with a command to start the gateway, or [attached] with the URLs of its replicas", path.display())]
    NoReach {
        /// The description.
        path: PathBuf,
    },
    /// Two sections say how to reach the target.
    #[error("{} has both [managed] and [attached]; keep [managed] if the gateway is to be started, [attached] if it runs already", path.display())]
    TwoReaches {
        /// The description.
        path: PathBuf,
    },
}

/// A place in a text file, as editors and compilers write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from one.
    pub line: usize,
    /// The column in characters, from one.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// What could have been meant: the nearest word, or all of them.
struct Instead<'a> {
    nearest: Option<&'a str>,
    known: &'a [String],
}

impl fmt::Display for Instead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => write!(f, "; known are `{}`", self.known.join("`, `")),
        }
    }
}

/// What a description is read with, besides its text.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The names of all adapters.
    pub adapters: &'a [&'a str],
    /// Looks up a variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl TargetDescription {
    /// Reads the description at `path`.
    pub fn load(
        path: &Path,
        surroundings: Surroundings<'_>,
    ) -> Result<TargetDescription, TargetError> {
        let text = read(path)?;
        TargetDescription::parse(path, &text, surroundings)
    }

    /// Reads a description that is said to stand at `path`.
    pub fn parse(
        path: &Path,
        text: &str,
        surroundings: Surroundings<'_>,
    ) -> Result<TargetDescription, TargetError> {
        let reader = Reader { file: File { path, text }, surroundings };
        let written: Written = toml::from_str(text).map_err(|error| reader.malformed(&error))?;
        reader.adapter_exists(&written.adapter)?;
        let reach = match (written.managed, written.attached) {
            (Some(managed), None) => Reach::Managed(reader.managed(managed)?),
            (None, Some(attached)) => Reach::Attached(reader.attached(attached)?),
            (None, None) => return Err(TargetError::NoReach { path: path.to_owned() }),
            (Some(_), Some(_)) => return Err(TargetError::TwoReaches { path: path.to_owned() }),
        };
        Ok(TargetDescription {
            name: written.name,
            adapter: written.adapter.into_inner(),
            reach,
            bounds: written.bounds,
            models: written.models,
        })
    }
}

impl Attached {
    /// The shape it claims to have.
    ///
    /// Whether its replicas share a Redis is not for us to see.
    pub fn topology(&self) -> Topology {
        let replicas = u8::try_from(self.replicas.len()).unwrap_or(u8::MAX);
        Topology {
            replicas: NonZeroU8::new(replicas).unwrap_or(NonZeroU8::MIN),
            workers: self.workers,
            redis: false,
        }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    adapter: Spanned<String>,
    managed: Option<WrittenManaged>,
    attached: Option<WrittenAttached>,
    #[serde(default)]
    bounds: Bounds,
    #[serde(default = "two_models")]
    models: Vec<String>,
}

/// `[managed]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenManaged {
    image: Option<Spanned<String>>,
    command: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    env: BTreeMap<String, Spanned<String>>,
    inherit_env: Option<Vec<String>>,
    config: Option<Spanned<String>>,
    migrations: Option<PathBuf>,
    #[serde(default)]
    prepare: Vec<Spanned<String>>,
    master_key: Option<Spanned<String>>,
    ready_path: Option<Spanned<String>>,
    #[serde(default = "half_a_minute", deserialize_with = "duration::deserialize")]
    start_timeout: Duration,
    #[serde(default = "ten_seconds", deserialize_with = "duration::deserialize")]
    stop_timeout: Duration,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default = "two")]
    replicas: NonZeroU8,
    #[serde(default = "one")]
    workers: NonZeroU8,
    #[serde(default = "yes")]
    redis: bool,
    next: Option<Spanned<WrittenNext>>,
}

/// `[managed.next]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenNext {
    image: Option<Spanned<String>>,
    #[serde(default)]
    command: Vec<Spanned<String>>,
    #[serde(default)]
    args: Vec<Spanned<String>>,
}

/// `[attached]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAttached {
    replicas: Spanned<Vec<Spanned<String>>>,
    #[serde(default = "one")]
    workers: NonZeroU8,
    admin_key: Option<Spanned<String>>,
    mock_url: Option<Spanned<String>>,
    redis_url: Option<Spanned<String>>,
    logs: Option<Spanned<Vec<WrittenLog>>>,
}

/// A log as it is written: the path of a file, or the words of a command.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected the path of a file, or the words of a command in a list")]
enum WrittenLog {
    File(PathBuf),
    Command(Vec<String>),
}

fn two_models() -> Vec<String> {
    vec!["gauntlet-a".to_owned(), "gauntlet-b".to_owned()]
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn one() -> NonZeroU8 {
    NonZeroU8::MIN
}

fn two() -> NonZeroU8 {
    Topology::default().replicas
}

fn yes() -> bool {
    true
}

fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer).map(Some)
}

/// A text and where it is kept, to say where in it something stands.
#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Where `part` stands within the value at `span`; the value itself if escapes hide it.
    fn place_within(&self, span: Range<usize>, part: &str) -> Place {
        let found = self.text.get(span.clone()).and_then(|value| value.find(part));
        self.place(span.start + found.unwrap_or(0))
    }
}

/// Turns what is written into what is meant.
#[derive(Clone, Copy)]
struct Reader<'a> {
    file: File<'a>,
    surroundings: Surroundings<'a>,
}

impl Reader<'_> {
    fn malformed(&self, error: &toml::de::Error) -> TargetError {
        let at = self.file.place(error.span().map_or(0, |span| span.start));
        let mut quoted = error.message().split('`').skip(1).step_by(2).map(str::to_owned);
        match error.message().starts_with("unknown field `").then(|| quoted.next()).flatten() {
            Some(key) => {
                let known: Vec<String> = quoted.collect();
                let nearest = nearest(&key, known.iter().map(String::as_str)).map(str::to_owned);
                TargetError::UnknownKey { at, key, nearest, known }
            }
            None => TargetError::Malformed { at, reason: error.message().trim().to_owned() },
        }
    }

    fn adapter_exists(&self, adapter: &Spanned<String>) -> Result<(), TargetError> {
        let adapters = self.surroundings.adapters;
        if adapters.contains(&adapter.get_ref().as_str()) {
            return Ok(());
        }
        Err(TargetError::UnknownAdapter {
            at: self.file.place(adapter.span().start),
            adapter: adapter.get_ref().clone(),
            nearest: nearest(adapter.get_ref(), adapters.iter().copied()).map(str::to_owned),
            known: adapters.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    fn managed(&self, written: WrittenManaged) -> Result<Managed, TargetError> {
        let redis = written.redis;
        let texts = |texts: &[Spanned<String>]| -> Result<Vec<Template>, TargetError> {
            texts.iter().map(|text| self.template(text, redis)).collect()
        };
        if written.command.get_ref().is_empty() {
            return Err(self.refused(written.command.span(), "the command names no program"));
        }
        if let Some(path) =
            written.ready_path.as_ref().filter(|path| !path.get_ref().starts_with('/'))
        {
            return Err(self.refused(path.span(), "a path on the gateway begins with `/`"));
        }
        let variable = self.surroundings.variable;
        let image = written.image.map(|image| self.image(&image)).transpose()?;
        let inherit_env = written.inherit_env.unwrap_or_else(|| match image {
            // Where programs are is for the image to say.
            Some(_) => Vec::new(),
            None => vec!["PATH".to_owned()],
        });
        let next = written.next.map(|next| self.next(next, image.is_some(), redis)).transpose()?;
        Ok(Managed {
            folder: self.folder(),
            image,
            command: texts(written.command.get_ref())?,
            env: written
                .env
                .into_iter()
                .map(|(name, text)| Ok((name, self.template_or_variable(&text, redis)?)))
                .collect::<Result<_, TargetError>>()?,
            inherited: inherit_env
                .into_iter()
                .filter_map(|name| variable(&name).map(|value| (name, Secret::new(value))))
                .collect(),
            config: written.config.map(|config| self.config(&config, redis)).transpose()?,
            migrations: written.migrations.map(|folder| self.folder().join(folder)),
            prepare: texts(&written.prepare)?,
            master_key: written.master_key.map(|key| self.secret(&key)).transpose()?,
            ready_path: written
                .ready_path
                .map_or_else(|| "/health/readiness".to_owned(), Spanned::into_inner),
            start_timeout: written.start_timeout,
            stop_timeout: written.stop_timeout,
            ports: written.ports,
            topology: Topology { replicas: written.replicas, workers: written.workers, redis },
            next,
        })
    }

    /// The adjacent release, beside a described one that is `contained` or is not.
    fn next(
        &self,
        next: Spanned<WrittenNext>,
        contained: bool,
        redis: bool,
    ) -> Result<Next, TargetError> {
        let span = next.span();
        let WrittenNext { image, command, args } = next.into_inner();
        if image.is_none() && command.is_empty() && args.is_empty() {
            let reason = "the adjacent release would be the described one; give it an `image`, a \
                          `command` or `args` of its own";
            return Err(self.refused(span, reason));
        }
        if let Some(image) = image.as_ref().filter(|_| !contained) {
            let reason = "the adjacent release is an image, and the described one is none; give \
                          [managed] an `image` too";
            return Err(self.refused(image.span(), reason));
        }
        let texts = |texts: &[Spanned<String>]| -> Result<Vec<Template>, TargetError> {
            texts.iter().map(|text| self.template(text, redis)).collect()
        };
        Ok(Next {
            image: image.map(|image| self.image(&image)).transpose()?,
            command: texts(&command)?,
            args: texts(&args)?,
        })
    }

    fn image(&self, image: &Spanned<String>) -> Result<String, TargetError> {
        let name = image.get_ref();
        match name.is_empty() || name.contains(char::is_whitespace) {
            false => Ok(name.clone()),
            true => {
                let reason = "not the name of an image; write one as in `registry/gateway:1.2`";
                Err(self.refused(image.span(), reason))
            }
        }
    }

    fn attached(&self, written: WrittenAttached) -> Result<Attached, TargetError> {
        if written.replicas.get_ref().is_empty() {
            return Err(self.refused(written.replicas.span(), "the list of replicas is empty"));
        }
        Ok(Attached {
            replicas: written
                .replicas
                .get_ref()
                .iter()
                .map(|text| self.url(text))
                .collect::<Result<_, _>>()?,
            workers: written.workers,
            admin_key: written.admin_key.map(|key| self.secret(&key)).transpose()?,
            mock_url: written.mock_url.map(|url| self.url(&url)).transpose()?,
            redis: written.redis_url.map(|url| self.redis(&url)).transpose()?,
            logs: self.logs(written.logs, written.replicas.get_ref().len())?,
        })
    }

    fn redis(&self, text: &Spanned<String>) -> Result<RedisAddress, TargetError> {
        RedisAddress::parse(&self.secret(text)?).map_err(|error| {
            // Whoever reads this has written a line, and no flag.
            let reason = match error {
                StoreError::NotAUrl { reason, example, .. } => {
                    format!("not the URL of a Redis: {reason}; write one as in `{example}`")
                }
                other => other.to_string(),
            };
            self.refused(text.span(), &reason)
        })
    }

    /// One log for each replica, or none at all.
    fn logs(
        &self,
        written: Option<Spanned<Vec<WrittenLog>>>,
        replicas: usize,
    ) -> Result<Vec<LogSource>, TargetError> {
        let Some(written) = written else { return Ok(Vec::new()) };
        let (span, logs) = (written.span(), written.into_inner());
        if logs.len() != replicas {
            let reason = format!(
                "`logs` has {} entries and `replicas` {replicas}; name one log for each replica, in their order",
                logs.len()
            );
            return Err(self.refused(span, &reason));
        }
        let source = |log| match log {
            WrittenLog::File(path) => Ok(LogSource::File(self.folder().join(path))),
            WrittenLog::Command(words) if words.is_empty() => {
                Err(self.refused(span.clone(), "a command names no program"))
            }
            WrittenLog::Command(words) => Ok(LogSource::Command { words, folder: self.folder() }),
        };
        logs.into_iter().map(source).collect()
    }

    /// The configuration: the text itself if it has several lines, else the file it names.
    fn config(&self, written: &Spanned<String>, redis: bool) -> Result<Template, TargetError> {
        if written.get_ref().contains('\n') {
            return self.template(written, redis);
        }
        let path = self.folder().join(written.get_ref());
        let text = read(&path)?;
        let file = File { path: &path, text: &text };
        template_in(file, 0..text.len(), &text, redis)
    }

    fn template(&self, text: &Spanned<String>, redis: bool) -> Result<Template, TargetError> {
        template_in(self.file, text.span(), text.get_ref(), redis)
    }

    fn template_or_variable(
        &self,
        text: &Spanned<String>,
        redis: bool,
    ) -> Result<Template, TargetError> {
        match text.get_ref().strip_prefix(VARIABLE) {
            Some(_) => self.secret(text).map(Template::secret),
            None => self.template(text, redis),
        }
    }

    fn secret(&self, text: &Spanned<String>) -> Result<Secret, TargetError> {
        let Some(name) = text.get_ref().strip_prefix(VARIABLE) else {
            return Ok(Secret::new(text.get_ref().as_str()));
        };
        (self.surroundings.variable)(name).map(Secret::new).ok_or_else(|| {
            TargetError::MissingVariable {
                at: self.file.place(text.span().start),
                name: name.to_owned(),
            }
        })
    }

    fn url(&self, text: &Spanned<String>) -> Result<Url, TargetError> {
        Url::parse(text.get_ref())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                self.refused(text.span(), "not a URL; write one as in `http://127.0.0.1:4000`")
            })
    }

    fn refused(&self, span: Range<usize>, reason: &str) -> TargetError {
        TargetError::Malformed { at: self.file.place(span.start), reason: reason.to_owned() }
    }

    fn folder(&self) -> PathBuf {
        self.file.path.parent().unwrap_or(Path::new("")).to_owned()
    }
}

/// What refers to a variable of the environment.
const VARIABLE: &str = "os.environ/";

fn read(path: &Path) -> Result<String, TargetError> {
    fs::read_to_string(path)
        .map_err(|source| TargetError::Unreadable { path: path.to_owned(), source })
}

/// Reads the text with gaps that stands at `span` of `file`.
fn template_in(
    file: File<'_>,
    span: Range<usize>,
    text: &str,
    redis: bool,
) -> Result<Template, TargetError> {
    let template = Template::parse(text).map_err(|source| TargetError::UnknownPlaceholder {
        at: file.place_within(span.clone(), &format!("{{{}}}", source.word)),
        source,
    })?;
    let unmet = template.unmet_without_redis().filter(|_| !redis);
    match unmet {
        Some(placeholder) => Err(TargetError::PlaceholderWithoutRedis {
            at: file.place_within(span, &placeholder.to_string()),
            placeholder,
        }),
        None => Ok(template),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_managed_target_needs_only_a_command() {
        let managed = managed("command = ['gateway', '--port', '{port}']");
        assert_eq!(managed.topology, Topology::default());
        assert_eq!(managed.ready_path, "/health/readiness");
        assert_eq!(managed.start_timeout, Duration::from_secs(30));
        assert_eq!(managed.folder, Path::new("conf"));
        assert_eq!(managed.inherited.keys().collect::<Vec<_>>(), ["PATH"]);
    }

    #[test]
    fn the_adjacent_release_is_started_like_the_described_one_but_for_what_it_says() {
        let more = managed("command = ['g', '--port']\n[managed.next]\nargs = ['--new']");
        let command = |managed: &Managed| -> Vec<String> {
            let filled = managed.command.iter().map(|word| word.fill(&BTreeMap::new()).unwrap());
            filled.collect()
        };
        assert_eq!(command(&more.of_next_release()), ["g", "--port", "--new"]);
        let other = managed("command = ['g']\n[managed.next]\ncommand = ['h']");
        assert_eq!(command(&other.of_next_release()), ["h"]);
        assert_eq!(command(&managed("command = ['g']").of_next_release()), ["g"]);
    }

    #[test]
    fn an_image_brings_its_own_surroundings() {
        let contained = managed("image = 'g:1'\ncommand = ['g']\nnext = { image = 'g:2' }");
        assert_eq!(contained.image.as_deref(), Some("g:1"));
        assert_eq!(contained.of_next_release().image.as_deref(), Some("g:2"));
        assert!(contained.inherited.is_empty());
        let same = managed("image = 'g:1'\ncommand = ['g']\nnext = { args = ['--new'] }");
        assert_eq!(same.of_next_release().image.as_deref(), Some("g:1"));
        let asked = managed("image = 'g:1'\ncommand = ['g']\ninherit_env = ['PATH']");
        assert!(asked.inherited.contains_key("PATH"));
    }

    #[test]
    fn secrets_come_from_the_environment_and_are_not_shown() {
        let managed = managed(
            "command = ['gateway']\nmaster_key = 'os.environ/KEY'\nenv = { K = 'os.environ/KEY' }",
        );
        assert_eq!(managed.master_key.as_ref().unwrap().expose(), "sk-1234");
        assert_eq!(managed.env["K"].fill(&BTreeMap::new()).unwrap(), "sk-1234");
        assert!(!format!("{managed:?}").contains("1234"));
    }

    #[test]
    fn an_attached_target_has_as_many_replicas_as_addresses() {
        let described =
            parse(&head("[attached]\nreplicas = ['http://a:1', 'http://b:2']")).unwrap();
        let Reach::Attached(attached) = described.reach else { panic!("attached") };
        assert_eq!(attached.topology().to_string(), "2 replicas × 1 worker, no Redis");
    }

    #[test]
    fn what_is_given_of_a_target_that_runs_is_read_and_not_shown() {
        let given = "[attached]\nreplicas = ['http://a:1', 'http://b:2']\n\
                     redis_url = 'redis://u:hush@c:3/4'\nlogs = ['0.log', ['follow', '1']]";
        let Reach::Attached(attached) = parse(&head(given)).unwrap().reach else { panic!() };
        assert_eq!(attached.redis.as_ref().unwrap().to_string(), "c:3/4");
        assert_eq!(attached.logs[0], LogSource::File("conf/0.log".into()));
        assert!(matches!(&attached.logs[1], LogSource::Command { words, .. } if words.len() == 2));
        assert!(!format!("{attached:?}").contains("hush"));
        let refused =
            |rest: &str| refusal(&format!("[attached]\nreplicas = ['http://a:1']\n{rest}"));
        assert_snapshot!(refused("logs = []"), @"conf/target.toml:5:8: `logs` has 0 entries and `replicas` 1; name one log for each replica, in their order");
        assert_snapshot!(refused("logs = [[]]"), @"conf/target.toml:5:8: a command names no program");
        assert_snapshot!(refused("logs = [7]"), @"conf/target.toml:5:8: expected the path of a file, or the words of a command in a list");
        assert_snapshot!(refused("redis_url = 'http://hush@c'"), @"conf/target.toml:5:13: not the URL of a Redis: it does not begin with `redis://`; write one as in `redis://127.0.0.1:6379/0`");
    }

    #[test]
    fn bounds_override_the_manifest() {
        let text = head("[managed]\ncommand = ['g']\n[bounds]\nauth_cache_ttl = '1500ms'");
        let bounds = parse(&text).unwrap().bounds;
        assert_eq!(bounds.auth_cache_ttl, Some(Duration::from_millis(1500)));
        assert_eq!(bounds.propagation, None);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest() {
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\nredy_path = '/'"), @"conf/target.toml:5:1: nothing is called `redy_path` here; did you mean `ready_path`?");
        assert_snapshot!(refusal("[managd]\ncommand = ['g']"), @"conf/target.toml:3:2: nothing is called `managd` here; did you mean `managed`?");
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\n[bounds]\nxyz = '5s'"), @"conf/target.toml:6:1: nothing is called `xyz` here; known are `auth_cache_ttl`, `propagation`");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_shown_where_it_stands() {
        assert_snapshot!(refusal("[managed]\ncommand = 'gateway'"), @r#"conf/target.toml:4:11: invalid type: string "gateway", expected a sequence"#);
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\nstart_timeout = '5 minutes'"), @r#"conf/target.toml:5:17: "5 minutes" is not a duration; write a number and a unit, as in "800ms", "60s", "5min""#);
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\nreplicas = 0"), @"conf/target.toml:5:12: invalid value: integer `0`, expected a nonzero u8");
        assert_snapshot!(refusal("[managed]\ncommand = []"), @"conf/target.toml:4:11: the command names no program");
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\n[managed.next]"), @"conf/target.toml:5:1: the adjacent release would be the described one; give it an `image`, a `command` or `args` of its own");
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\nnext = { command = [] }"), @"conf/target.toml:5:8: the adjacent release would be the described one; give it an `image`, a `command` or `args` of its own");
        assert_snapshot!(refusal("[managed]\nimage = ''\ncommand = ['g']"), @"conf/target.toml:4:9: not the name of an image; write one as in `registry/gateway:1.2`");
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\nnext = { image = 'g:2' }"), @"conf/target.toml:5:18: the adjacent release is an image, and the described one is none; give [managed] an `image` too");
        assert_snapshot!(refusal("[attached]\nreplicas = ['localhost:4000']"), @"conf/target.toml:4:13: not a URL; write one as in `http://127.0.0.1:4000`");
        assert_snapshot!(refusal("[managed"), @"conf/target.toml:3:9: unclosed table, expected `]`");
    }

    #[test]
    fn an_unknown_placeholder_is_shown_where_it_stands() {
        assert_snapshot!(refusal("[managed]\ncommand = ['g', '--port={prt}']"), @"conf/target.toml:4:25: nothing is called {prt}, the nearest is {port}; write {{prt}} to mean the braces themselves");
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\nconfig = '''\nport: {port}\nkey: {materkey}\n'''"), @"conf/target.toml:7:6: nothing is called {materkey}, the nearest is {master_key}; write {{materkey}} to mean the braces themselves");
        assert_snapshot!(refusal("[managed]\ncommand = ['g', '{redis_url}']\nredis = false"), @"conf/target.toml:4:18: {redis_url} stands for a Redis, and `redis = false` asks for none; remove one of the two");
    }

    #[test]
    fn what_does_not_exist_is_said_with_what_to_do() {
        assert_snapshot!(refusal("[attached]\nreplicas = ['http://a']\nadmin_key = 'os.environ/NO'"), @"conf/target.toml:5:13: the environment has no NO; set it, or write the value in place of `os.environ/NO`");
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\nconfig = 'absent.yaml'"), @"cannot read conf/absent.yaml: No such file or directory (os error 2)");
        assert_snapshot!(refusal(""), @"conf/target.toml has neither [managed] nor [attached]; add [managed] with a command to start the gateway, or [attached] with the URLs of its replicas");
        assert_snapshot!(refusal("[managed]\ncommand = ['g']\n[attached]\nreplicas = ['http://a']"), @"conf/target.toml has both [managed] and [attached]; keep [managed] if the gateway is to be started, [attached] if it runs already");
        let unknown = parse("name = 'x'\nadapter = 'lightllm'\n").unwrap_err();
        assert_snapshot!(chain(&unknown), @"conf/target.toml:2:11: there is no adapter `lightllm`; did you mean `litellm`?");
    }

    #[test]
    fn columns_count_characters() {
        let file = File { path: Path::new("t"), text: "a\nüb" };
        assert_eq!(file.place(4).to_string(), "t:2:2");
        assert_eq!(file.place(99).to_string(), "t:2:3");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_read(text in "[\\[\\]{}a-z_='\", \\n0-9#é]{0,80}") {
            let _ = parse(&text);
            let _ = parse(&head(&text));
        }
    }

    fn parse(text: &str) -> Result<TargetDescription, TargetError> {
        let variable = |name: &str| match name {
            "KEY" => Some("sk-1234".to_owned()),
            "PATH" => Some("/bin".to_owned()),
            _ => None,
        };
        let surroundings =
            Surroundings { adapters: &["reference", "litellm"], variable: &variable };
        TargetDescription::parse(Path::new("conf/target.toml"), text, surroundings)
    }

    fn head(rest: &str) -> String {
        format!("name = 'ours'\nadapter = 'litellm'\n{rest}")
    }

    fn managed(section: &str) -> Managed {
        match parse(&head(&format!("[managed]\n{section}"))).unwrap().reach {
            Reach::Managed(managed) => managed,
            Reach::Attached(_) => panic!("not managed"),
        }
    }

    /// What a reader of the error sees.
    fn refusal(sections: &str) -> String {
        chain(&parse(&head(sections)).unwrap_err())
    }

    fn chain(error: &TargetError) -> String {
        match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }
}
