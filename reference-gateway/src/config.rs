//! `gateway.yaml` and the environment, typed.
//!
//! An unknown key is an error that names its line. Any string may be `os.environ/NAME`; it is
//! resolved once, when the file is read.

use std::{collections::BTreeMap, fmt, fs, io, path::Path, time::Duration};

use serde::{Deserialize, Deserializer, de};

use crate::cache_schema::CacheSchema;

/// Everything that an operator decides.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model aliases and the deployments behind them.
    #[serde(default)]
    pub model_list: Vec<Deployment>,
    /// Credentials, stores, lifetimes and bounds.
    pub general_settings: GeneralSettings,
}

/// One provider's model behind a model alias. Several may share an alias.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The name that callers use.
    pub model_name: String,
    /// Where the requests go.
    pub litellm_params: DeploymentParams,
}

/// How a deployment is reached and what it costs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentParams {
    /// The provider's own name of the model; a leading `openai/` names the dialect and is dropped.
    pub model: String,
    /// The URL before `/chat/completions`.
    pub api_base: String,
    /// The provider key.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// US dollars for one prompt token.
    #[serde(default)]
    pub input_cost_per_token: f64,
    /// US dollars for one completion token.
    #[serde(default)]
    pub output_cost_per_token: f64,
    /// How long the provider may stay silent before the first byte of its answer.
    #[serde(default = "defaults::upstream_timeout_ms")]
    pub timeout_ms: u64,
}

/// Credentials, stores, lifetimes and bounds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneralSettings {
    /// The administrator's credential.
    pub master_key: Secret,
    /// `postgres://…`; the truth about identities and spend.
    pub database_url: Secret,
    /// `redis://…`; without it the memory tier stands directly over Postgres.
    #[serde(default)]
    pub redis_url: Option<Secret>,
    /// How old a cached identity may get before it is read again.
    #[serde(default = "defaults::auth_cache_ttl_ms")]
    pub auth_cache_ttl_ms: u64,
    /// The schema version of the entries that are written to Redis.
    #[serde(default)]
    pub cache_schema: CacheSchema,
    /// How long a virtual key or end user that does not exist is remembered as such.
    #[serde(default = "defaults::negative_ttl_ms")]
    pub negative_ttl_ms: u64,
    /// How many identities one process keeps in memory.
    #[serde(default = "defaults::memory_entries")]
    pub memory_entries: u64,
    /// How many unknown virtual keys and end users one process remembers, each.
    #[serde(default = "defaults::negative_entries")]
    pub negative_entries: u64,
    /// How long one replica waits for another that is already loading the same identity.
    #[serde(default = "defaults::fleet_wait_ms")]
    pub fleet_wait_ms: u64,
    /// The longest a Redis command may take before Redis counts as down.
    #[serde(default = "defaults::redis_timeout_ms")]
    pub redis_timeout_ms: u64,
    /// The longest a statement may take, waiting for a connection included.
    #[serde(default = "defaults::database_timeout_ms")]
    pub database_timeout_ms: u64,
    /// Connections to Postgres, at most.
    #[serde(default = "defaults::database_connections")]
    pub database_connections: u32,
    /// How often recorded spend goes to Postgres.
    #[serde(default = "defaults::flush_interval_ms")]
    pub flush_interval_ms: u64,
    /// How many requests' spend may wait for Postgres; beyond it the oldest is dropped and logged.
    #[serde(default = "defaults::spend_queue_entries")]
    pub spend_queue_entries: usize,
    /// How long requests in flight may take to finish after SIGTERM.
    #[serde(default = "defaults::drain_timeout_ms")]
    pub drain_timeout_ms: u64,
    /// The largest request body that is read.
    #[serde(default = "defaults::max_body_bytes")]
    pub max_body_bytes: usize,
}

impl GeneralSettings {
    /// How old a cached identity may get.
    pub fn auth_cache_ttl(&self) -> Duration {
        Duration::from_millis(self.auth_cache_ttl_ms)
    }
}

/// The values of settings that were left out.
mod defaults {
    pub(super) fn auth_cache_ttl_ms() -> u64 {
        60_000
    }
    pub(super) fn negative_ttl_ms() -> u64 {
        5_000
    }
    pub(super) fn memory_entries() -> u64 {
        100_000
    }
    pub(super) fn negative_entries() -> u64 {
        10_000
    }
    pub(super) fn fleet_wait_ms() -> u64 {
        1_500
    }
    pub(super) fn redis_timeout_ms() -> u64 {
        500
    }
    pub(super) fn database_timeout_ms() -> u64 {
        2_000
    }
    pub(super) fn database_connections() -> u32 {
        10
    }
    pub(super) fn flush_interval_ms() -> u64 {
        1_000
    }
    pub(super) fn spend_queue_entries() -> usize {
        100_000
    }
    pub(super) fn drain_timeout_ms() -> u64 {
        10_000
    }
    pub(super) fn max_body_bytes() -> usize {
        16 * 1024 * 1024
    }
    pub(super) fn upstream_timeout_ms() -> u64 {
        600_000
    }
}

/// A string that no log line and no `Debug` output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The credential itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        if text.is_empty() {
            return Err(de::Error::custom("a credential must not be empty"));
        }
        Ok(Self(text))
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file, as it was named.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not YAML, or says something that it may not say.
    #[error("{path}: {message}")]
    Invalid {
        /// The file, as it was named.
        path: String,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A string names an environment variable that is not set.
    #[error("{path}:{line}: environment variable {name} is not set")]
    NoSuchVariable {
        /// The file, as it was named.
        path: String,
        /// The line that names the variable.
        line: usize,
        /// The variable.
        name: String,
    },
}

impl Config {
    /// Reads the file at `path`, taking `os.environ/NAME` from `environment`.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid, or names a variable that is not set.
    pub fn load(path: &Path, environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
        Self::parse(&shown, &text, environment)
    }

    /// Reads `text`, which came from the file called `path`.
    ///
    /// # Errors
    /// When the text is not valid, or names a variable that is not set.
    pub fn parse(
        path: &str,
        text: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let resolved = resolve_environment(path, text, environment)?;
        // A snippet of the text around a mistake could show a secret.
        let options = serde_saphyr::options! { with_snippet: false };
        let config: Self =
            serde_saphyr::from_str_with_options(&resolved, options).map_err(|error| {
                ConfigError::Invalid { path: path.to_owned(), message: error.to_string() }
            })?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &str) -> Result<(), ConfigError> {
        let invalid =
            |message: String| Err(ConfigError::Invalid { path: path.to_owned(), message });
        for deployment in &self.model_list {
            let params = &deployment.litellm_params;
            for (name, cost) in [
                ("input_cost_per_token", params.input_cost_per_token),
                ("output_cost_per_token", params.output_cost_per_token),
            ] {
                if !cost.is_finite() || cost < 0.0 {
                    return invalid(format!(
                        "{name} of {} must be a finite price",
                        deployment.model_name
                    ));
                }
            }
            if !params.api_base.starts_with("http://") {
                return invalid(format!(
                    "api_base of {} must start with http://",
                    deployment.model_name
                ));
            }
        }
        if self.general_settings.auth_cache_ttl_ms == 0 {
            return invalid("auth_cache_ttl_ms must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// Replaces every `os.environ/NAME` by a quoted scalar, so that no value can change the structure.
fn resolve_environment(
    path: &str,
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<String, ConfigError> {
    const MARK: &str = "os.environ/";
    let mut resolved = String::with_capacity(text.len());
    for (index, line) in text.lines().enumerate() {
        let mut rest = line;
        let is_comment = line.trim_start().starts_with('#');
        while let Some(start) = rest.find(MARK).filter(|_| !is_comment) {
            let (before, after) = rest.split_at(start);
            let after = &after[MARK.len()..];
            let end =
                after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, tail) = after.split_at(end);
            let value = environment.get(name).ok_or_else(|| ConfigError::NoSuchVariable {
                path: path.to_owned(),
                line: index + 1,
                name: name.to_owned(),
            })?;
            let quote = before.chars().next_back().filter(|c| matches!(c, '"' | '\''));
            let before = quote.map_or(before, |quote| before.trim_end_matches(quote));
            let tail = quote.map_or(tail, |quote| tail.strip_prefix(quote).unwrap_or(tail));
            resolved.push_str(before);
            resolved.push_str(&serde_json::Value::from(value.as_str()).to_string());
            rest = tail;
        }
        resolved.push_str(rest);
        resolved.push('\n');
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "\
general_settings:
  master_key: sk-master
  database_url: postgres://localhost/gateway
";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let environment = BTreeMap::from([("PG".to_owned(), "postgres://h/\"x: y".to_owned())]);
        Config::parse("gateway.yaml", text, &environment)
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let config = parse(MINIMAL).unwrap();
        assert!(config.model_list.is_empty());
        assert_eq!(config.general_settings.auth_cache_ttl_ms, 60_000);
        assert!(config.general_settings.redis_url.is_none());
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = parse(&format!("{MINIMAL}  auth_cache_ttl: 5\n")).unwrap_err().to_string();
        assert!(error.contains("auth_cache_ttl"), "{error}");
        assert!(error.contains("line 4") || error.contains(":4:"), "{error}");
        // The lines around a mistake may hold a secret.
        assert!(!error.contains("sk-master"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_an_error_with_its_line() {
        let error = parse(&format!("{MINIMAL}  negative_ttl_ms: soon\n")).unwrap_err().to_string();
        assert!(error.contains("line 4") || error.contains(":4:"), "{error}");
    }

    #[test]
    fn the_environment_supplies_any_string_and_cannot_break_the_file() {
        for line in [
            "  database_url: os.environ/PG",
            "  database_url: \"os.environ/PG\"",
            "  database_url: 'os.environ/PG' # the truth",
        ] {
            let config =
                parse(&format!("general_settings:\n  master_key: sk-m\n{line}\n")).unwrap();
            assert_eq!(config.general_settings.database_url.expose(), "postgres://h/\"x: y");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_its_line() {
        let error = parse("general_settings:\n  master_key: os.environ/NOPE\n").unwrap_err();
        insta::assert_snapshot!(error, @"gateway.yaml:2: environment variable NOPE is not set");
    }

    #[test]
    fn a_secret_does_not_show() {
        let config = parse(MINIMAL).unwrap();
        assert!(!format!("{config:?}").contains("sk-master"));
    }
}
