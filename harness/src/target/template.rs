//! Texts of a target description with gaps in them: `--port {port}`.
//!
//! `{word}` is a gap when it stands for something a launch decides, an error when it names nothing
//! we know, and `{{word}}` is how to write the braces themselves. Any other brace stands for
//! itself, so JSON and YAML need no escaping.
//!
//! A line that holds `{redis_only}` is left out where the topology has no Redis, so that one
//! configuration serves with and without: `redis_url: {redis_url} # {redis_only}`. An argument or a
//! variable that holds it is left out as a whole.

use std::{collections::BTreeMap, fmt};

use scenarios::nearest::nearest;

use super::secret::Secret;

/// What a launch decides, as a description refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placeholder {
    /// `{port}`: where the replica is to listen.
    Port,
    /// `{redis_url}`: the Redis of this replica, database number included.
    RedisUrl,
    /// `{redis_host}`.
    RedisHost,
    /// `{redis_port}`.
    RedisPort,
    /// `{postgres_url}`: the Postgres of this replica, database included.
    PostgresUrl,
    /// `{postgres_host}`.
    PostgresHost,
    /// `{postgres_port}`.
    PostgresPort,
    /// `{postgres_user}`.
    PostgresUser,
    /// `{postgres_database}`.
    PostgresDatabase,
    /// `{config}`: where the filled-in configuration of this replica was written.
    Config,
    /// `{master_key}`: the key that may do everything.
    MasterKey,
    /// `{upstream_url}`: the mock provider.
    UpstreamUrl,
    /// `{workers}`: processes behind the address.
    Workers,
    /// `{replica}`: which replica this is, from zero.
    Replica,
    /// `{home}`: an empty folder of the replica's own.
    Home,
    /// `{auth_cache_ttl_ms}`: how long a cached identity is to live, in milliseconds.
    AuthCacheTtlMs,
    /// `{auth_cache_ttl_s}`: the same in seconds, and at least one.
    AuthCacheTtlS,
    /// `{redis_only}`: nothing, in a line that is left out where there is no Redis.
    RedisOnly,
}

impl Placeholder {
    /// Every placeholder there is.
    pub const ALL: [Placeholder; 18] = [
        Placeholder::Port,
        Placeholder::RedisUrl,
        Placeholder::RedisHost,
        Placeholder::RedisPort,
        Placeholder::PostgresUrl,
        Placeholder::PostgresHost,
        Placeholder::PostgresPort,
        Placeholder::PostgresUser,
        Placeholder::PostgresDatabase,
        Placeholder::Config,
        Placeholder::MasterKey,
        Placeholder::UpstreamUrl,
        Placeholder::Workers,
        Placeholder::Replica,
        Placeholder::Home,
        Placeholder::AuthCacheTtlMs,
        Placeholder::AuthCacheTtlS,
        Placeholder::RedisOnly,
    ];

    /// The word between the braces.
    pub fn word(self) -> &'static str {
        match self {
            Placeholder::Port => "port",
            Placeholder::RedisUrl => "redis_url",
            Placeholder::RedisHost => "redis_host",
            Placeholder::RedisPort => "redis_port",
            Placeholder::PostgresUrl => "postgres_url",
            Placeholder::PostgresHost => "postgres_host",
            Placeholder::PostgresPort => "postgres_port",
            Placeholder::PostgresUser => "postgres_user",
            Placeholder::PostgresDatabase => "postgres_database",
            Placeholder::Config => "config",
            Placeholder::MasterKey => "master_key",
            Placeholder::UpstreamUrl => "upstream_url",
            Placeholder::Workers => "workers",
            Placeholder::Replica => "replica",
            Placeholder::Home => "home",
            Placeholder::AuthCacheTtlMs => "auth_cache_ttl_ms",
            Placeholder::AuthCacheTtlS => "auth_cache_ttl_s",
            Placeholder::RedisOnly => "redis_only",
        }
    }

    /// Whether it only means something where there is a Redis.
    pub fn needs_redis(self) -> bool {
        matches!(self, Placeholder::RedisUrl | Placeholder::RedisHost | Placeholder::RedisPort)
    }

    fn named(word: &str) -> Option<Placeholder> {
        Placeholder::ALL.into_iter().find(|placeholder| placeholder.word() == word)
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.word())
    }
}

/// What a launch decided, by placeholder.
pub type Values = BTreeMap<Placeholder, Secret>;

/// A text with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Gap(Placeholder),
    Secret(Secret),
}

/// A `{word}` that names nothing we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing is called {{{word}}}{}; write {{{{{word}}}}} to mean the braces themselves",
    Suggestion(nearest)
)]
pub struct UnknownPlaceholder {
    /// The word between the braces.
    pub word: String,
    /// Where its opening brace stands in the text, in bytes.
    pub offset: usize,
    /// The known word most like it.
    pub nearest: Option<&'static str>,
}

/// A gap that this launch has nothing to fill with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this topology gives {0} no value; remove it from the description or change the topology")]
pub struct NoValue(pub Placeholder);

impl Template {
    /// Reads a text with gaps.
    pub fn parse(text: &str) -> Result<Template, UnknownPlaceholder> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find('{') {
            plain.push_str(&rest[..brace]);
            rest = &rest[brace..];
            if let Some(word) = rest.strip_prefix('{').and_then(braced_word)
                && rest[word.len() + 3..].starts_with('}')
            {
                let (doubled, after) = rest.split_at(word.len() + 4);
                plain.push_str(&doubled[1..doubled.len() - 1]);
                rest = after;
            } else if let Some(word) = braced_word(rest) {
                let placeholder = Placeholder::named(word).ok_or_else(|| UnknownPlaceholder {
                    word: word.to_owned(),
                    offset: text.len() - rest.len(),
                    nearest: nearest(word, Placeholder::ALL.map(Placeholder::word)),
                })?;
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Gap(placeholder));
                rest = &rest[word.len() + 2..];
            } else {
                plain.push('{');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { pieces })
    }

    /// A text without gaps, whatever braces it holds.
    pub fn literal(text: impl Into<String>) -> Template {
        Template { pieces: vec![Piece::Text(text.into())] }
    }

    /// A text that is kept from being shown.
    pub fn secret(secret: Secret) -> Template {
        Template { pieces: vec![Piece::Secret(secret)] }
    }

    /// The gaps, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Gap(placeholder) => Some(*placeholder),
            Piece::Text(_) | Piece::Secret(_) => None,
        })
    }

    /// The first gap that a topology without Redis has no value for, outside of the lines that are
    /// left out there.
    pub fn unmet_without_redis(&self) -> Option<Placeholder> {
        let others = Placeholder::ALL.into_iter().filter(|gap| !gap.needs_redis());
        let values =
            others.filter(|gap| *gap != Placeholder::RedisOnly).map(|gap| (gap, Secret::new("")));
        self.fill(&values.collect()).err().map(|NoValue(gap)| gap)
    }

    /// The text with every gap filled.
    ///
    /// # Errors
    ///
    /// When there is a gap that has no value, in a line that is not left out.
    pub fn fill(&self, values: &Values) -> Result<String, NoValue> {
        self.fill_word(values).map(Option::unwrap_or_default)
    }

    /// The text with every gap filled; nothing where all of it is left out.
    ///
    /// # Errors
    ///
    /// When there is a gap that has no value, in a line that is not left out.
    pub fn fill_word(&self, values: &Values) -> Result<Option<String>, NoValue> {
        let mut filled = Filled::default();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    for part in text.split_inclusive('\n') {
                        filled.text.push_str(part);
                        if part.ends_with('\n') {
                            filled.end_line()?;
                        }
                    }
                }
                Piece::Secret(secret) => filled.text.push_str(secret.expose()),
                Piece::Gap(gap) => match values.get(gap) {
                    Some(value) => filled.text.push_str(value.expose()),
                    None if *gap == Placeholder::RedisOnly => filled.leave_out = true,
                    None => filled.missing = filled.missing.or(Some(*gap)),
                },
            }
        }
        filled.end_line()?;
        let nothing_left = filled.left_out && filled.text.is_empty();
        Ok((!nothing_left).then_some(filled.text))
    }
}

/// A text that is being filled, line by line.
#[derive(Default)]
struct Filled {
    text: String,
    /// Where the line begins.
    line: usize,
    /// Whether the line is left out.
    leave_out: bool,
    /// The first gap of the line that has no value.
    missing: Option<Placeholder>,
    /// Whether any line was left out.
    left_out: bool,
}

impl Filled {
    fn end_line(&mut self) -> Result<(), NoValue> {
        let missing = self.missing.take();
        if std::mem::take(&mut self.leave_out) {
            self.text.truncate(self.line);
            self.left_out = true;
        } else if let Some(gap) = missing {
            return Err(NoValue(gap));
        }
        self.line = self.text.len();
        Ok(())
    }
}

/// The word of a text that begins with `{word}`.
fn braced_word(text: &str) -> Option<&str> {
    let (word, _) = text.strip_prefix('{')?.split_once('}')?;
    let wordlike = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (word.starts_with(|first: char| first.is_ascii_lowercase()) && word.bytes().all(wordlike))
        .then_some(word)
}

/// ", the nearest is {port}", or nothing.
struct Suggestion<'a>(&'a Option<&'static str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(word) => write!(f, ", the nearest is {{{word}}}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> String {
        let values = Placeholder::ALL.map(|gap| (gap, Secret::new(format!("<{}>", gap.word()))));
        Template::parse(text).unwrap().fill(&values.into()).unwrap()
    }

    #[test]
    fn gaps_are_filled_and_other_braces_stay() {
        assert_eq!(filled("--port {port}"), "--port <port>");
        assert_eq!(filled(r#"{"a":{"b":"{home}"}}"#), r#"{"a":{"b":"<home>"}}"#);
        assert_eq!(filled("{ port }{}{Port}{"), "{ port }{}{Port}{");
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(filled("{{port}} and {{other}}"), "{port} and {other}");
        assert_eq!(filled("{{{port}}}"), "{{port}}");
        assert_eq!(filled("{{port}"), "{<port>");
    }

    #[test]
    fn an_unknown_word_is_met_with_the_nearest_known_one() {
        let unknown = Template::parse("--url {postgre_url}").unwrap_err();
        assert_eq!(unknown.offset, 6);
        assert_snapshot!(unknown, @"nothing is called {postgre_url}, the nearest is {postgres_url}; write {{postgre_url}} to mean the braces themselves");
    }

    #[test]
    fn a_gap_without_a_value_is_named() {
        let template = Template::parse("{redis_url}").unwrap();
        assert_snapshot!(template.fill(&Values::new()).unwrap_err(), @"this topology gives {redis_url} no value; remove it from the description or change the topology");
    }

    #[test]
    fn lines_for_redis_are_left_out_where_there_is_none() {
        let text = "a: 1\nredis: {redis_url} # {redis_only}\nb: {port}\n";
        assert_eq!(filled(text), "a: 1\nredis: <redis_url> # <redis_only>\nb: <port>\n");
        let values = Values::from([(Placeholder::Port, Secret::new("1"))]);
        let without = |text| Template::parse(text).unwrap().fill_word(&values).unwrap();
        assert_eq!(without(text).unwrap(), "a: 1\nb: 1\n");
        assert_eq!(without("--cache{redis_only}"), None);
        assert_eq!(without(""), Some(String::new()));
    }

    #[test]
    fn what_needs_a_redis_is_found_unless_it_goes_without() {
        let unmet = |text| Template::parse(text).unwrap().unmet_without_redis();
        assert_eq!(unmet("{port} {redis_host}"), Some(Placeholder::RedisHost));
        assert_eq!(unmet("{port}\n{redis_host} {redis_only}"), None);
        assert_eq!(unmet("{redis_only}\n{redis_url}"), Some(Placeholder::RedisUrl));
    }

    #[test]
    fn a_secret_is_filled_in_but_not_shown() {
        let template = Template::secret(Secret::new("sk-1234"));
        assert_eq!(template.fill(&Values::new()).unwrap(), "sk-1234");
        assert!(!format!("{template:?}").contains("1234"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_read(text in "[{}a-z_ é]{0,40}") {
            let _ = Template::parse(&text);
        }

        #[test]
        fn text_without_braces_stays_as_it_is(text in "[^{}]{0,40}") {
            prop_assert_eq!(filled(&text), text);
        }

        #[test]
        fn doubling_the_braces_of_a_word_gives_the_word_back(word in "[a-z][a-z0-9_]{0,12}") {
            prop_assert_eq!(filled(&format!("{{{{{word}}}}}")), format!("{{{word}}}"));
        }

        #[test]
        fn an_unknown_word_is_found_where_it_stands(before in "[^{}]{0,20}", word in "x[a-z]{0,9}") {
            let unknown = Template::parse(&format!("{before}{{{word}}}")).unwrap_err();
            prop_assert_eq!(unknown.offset, before.len());
            prop_assert_eq!(unknown.word, word);
        }
    }
}
