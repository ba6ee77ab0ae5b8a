//! The description of a target, without its secrets, and the secrets it held.
//!
//! A description is written by a person, who may have put a key anywhere in it. What is not known to
//! be harmless is therefore left out: the value of an environment variable is kept only where it is
//! made of placeholders, or says where the value is to be found.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::redactor::Redactor;
use crate::runner::redact::{REDACTED, is_no_secret, names_a_secret};

/// How a value begins that is to be found in the environment.
const ELSEWHERE: &str = "os.environ/";

/// A description that can be shown.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// Its text, without comments.
    pub(super) text: String,
    /// What was taken out of it, and what the variables that it refers to hold.
    pub(super) secrets: BTreeSet<String>,
}

/// Takes the secrets out of a description.
///
/// # Errors
///
/// When it is not TOML.
pub(super) fn without_secrets(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Described, toml::de::Error> {
    let mut description: Table = toml::from_str(text)?;
    let mut secrets = BTreeSet::new();
    take_out(&mut description, false, variable, &mut secrets);
    // What is left may say again, in another place, what was taken out here.
    let redactor = Redactor::new(secrets.clone());
    let shown = without_looks(description, &redactor);
    Ok(Described { text: shown.to_string(), secrets })
}

/// Takes out values by where they stand. The values of an `env` are all suspect.
fn take_out(
    table: &mut Table,
    is_env: bool,
    variable: &dyn Fn(&str) -> Option<String>,
    secrets: &mut BTreeSet<String>,
) {
    for (name, value) in table.iter_mut() {
        match value {
            Value::String(text) => {
                secrets.extend(passwords(text));
                if let Some(held) = text.strip_prefix(ELSEWHERE).and_then(variable) {
                    secrets.extend(passwords(&held));
                    secrets.insert(held);
                } else if names_a_secret(name) && !is_no_secret(text) {
                    secrets.insert(std::mem::replace(text, REDACTED.to_owned()));
                } else if is_env && !text.contains('{') && !text.starts_with(ELSEWHERE) {
                    REDACTED.clone_into(text);
                }
            }
            Value::Array(words) => take_out_of_words(words, is_env, variable, secrets),
            Value::Table(table) => take_out(table, name == "env", variable, secrets),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }
}

/// Takes out what an argument before it names as a secret. A word may be a list of words itself.
fn take_out_of_words(
    words: &mut [Value],
    is_env: bool,
    variable: &dyn Fn(&str) -> Option<String>,
    secrets: &mut BTreeSet<String>,
) {
    let mut is_secret = false;
    for word in words {
        match word {
            Value::String(text) => {
                secrets.extend(passwords(text));
                let names_next =
                    text.starts_with('-') && !text.contains('=') && names_a_secret(text);
                if is_secret && !is_no_secret(text) {
                    secrets.insert(std::mem::replace(text, REDACTED.to_owned()));
                }
                is_secret = names_next;
            }
            Value::Table(table) => take_out(table, is_env, variable, secrets),
            Value::Array(words) => take_out_of_words(words, is_env, variable, secrets),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }
}

/// Takes out what looks like a secret, wherever it stands.
fn without_looks(table: Table, redactor: &Redactor) -> Table {
    table.into_iter().map(|(name, value)| (name, value_without_looks(value, redactor))).collect()
}

fn value_without_looks(value: Value, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) => Value::String(redactor.text(&text)),
        Value::Array(words) => {
            let words = words.into_iter().map(|word| value_without_looks(word, redactor));
            Value::Array(words.collect())
        }
        Value::Table(table) => Value::Table(without_looks(table, redactor)),
        plain @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => {
            plain
        }
    }
}

/// The passwords in the URLs of `text`, as they are written and as they are meant.
pub(super) fn passwords(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "\"'`<>".contains(c));
    let userinfos = words.filter_map(|word| {
        let (_, after) = word.split_once("://")?;
        let (userinfo, _) = after.rsplit_once('@')?;
        Some(userinfo.split_once(':').map_or(userinfo, |(_, password)| password))
    });
    userinfos
        .filter(|password| !is_no_secret(password))
        .flat_map(|password| [password.to_owned(), super::redactor::plainly(password)])
        .collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn what_says_how_to_start_it_stays_and_what_opens_it_goes() {
        let variable = |name: &str| (name == "ADMIN").then(|| "from-the-environment".to_owned());
        let described = without_secrets(
            r#"
            name = "ours" # the key is hunter-1
            adapter = "litellm"
            [managed]
            command = ["bin/gateway", "--port", "{port}", "--admin-key", "hunter-2", "--salt-key=hunter-3"]
            config = "general_settings:\n  master_key: hunter-4\n  port: 4000\n"
            master_key = "hunter-5"
            env = { DATABASE_URL = "{postgres_url}", LICENCE = "os.environ/ADMIN", MODE = "hunter-6", CACHE = "redis://u:hunter%2D7@{redis_host}" }
            [attached]
            replicas = ["http://caller:hunter-8@gateway.example:4000"]
            admin_key = "os.environ/ADMIN"
            "#,
            &variable,
        )
        .unwrap();
        assert_snapshot!(described.text, @r#"
        adapter = "litellm"
        name = "ours"

        [attached]
        admin_key = "os.environ/ADMIN"
        replicas = ["http://[redacted]@gateway.example:4000"]

        [managed]
        command = ["bin/gateway", "--port", "{port}", "--admin-key", "[redacted]", "--salt-key=[redacted]"]
        config = """
        general_settings:
          master_key: [redacted]
          port: 4000
        """
        master_key = "[redacted]"

        [managed.env]
        CACHE = "redis://[redacted]@{redis_host}"
        DATABASE_URL = "{postgres_url}"
        LICENCE = "os.environ/ADMIN"
        MODE = "[redacted]"
        "#);
        let known = ["from-the-environment", "hunter-2", "hunter-5", "hunter-7", "hunter-8"];
        for secret in known {
            assert!(described.secrets.contains(secret), "{secret}: {:?}", described.secrets);
        }
    }

    #[test]
    fn a_command_that_follows_a_log_is_searched_as_any_other() {
        let text = r#"
            [attached]
            redis_url = "redis://u:hunter-4@redis.example/0"
            logs = ["0.log", ["follow", "--api-key", "hunter-6", "gateway-1"]]
        "#;
        let described = without_secrets(text, &|_| None).unwrap();
        assert!(!described.text.contains("hunter"), "{}", described.text);
        assert!(described.text.contains("gateway-1"), "{}", described.text);
        assert!(described.secrets.contains("hunter-6") && described.secrets.contains("hunter-4"));
    }

    #[test]
    fn what_is_no_description_is_left_to_its_reader() {
        assert!(without_secrets("name = ", &|_| None).is_err());
    }
}
