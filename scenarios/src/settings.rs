//! Settings files: TOML read into a typed struct, and errors that say where and what was meant.
//!
//! The struct denies unknown fields (`#[serde(deny_unknown_fields)]`); this module turns what serde
//! then says into file, line, column and the nearest known name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::nearest::nearest;

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It could not be read from disk.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Where we looked.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It holds something that does not belong there.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1 in characters.
        column: usize,
        /// What is wrong there, and what was probably meant.
        reason: String,
    },
}

/// Reads the settings in the file at `path`.
///
/// # Errors
///
/// Where the file cannot be read, is not TOML, or does not fit `T`.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let text = fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    parse(&text, path)
}

/// Reads the settings in `text`; errors speak of it as the file at `path`.
///
/// # Errors
///
/// Where the text is not TOML, or does not fit `T`.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, SettingsError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let (line, column) = place(text, offset);
        let reason = meant(error.message());
        SettingsError::Malformed { path: path.to_owned(), line, column, reason }
    })
}

/// Line and column of a byte of `text`, both counted from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// What serde says, made a fragment of ours where it speaks of an unknown name.
fn meant(message: &str) -> String {
    // "unknown field `a`, expected one of `b`, `c`": names stand between backquotes, the unknown
    // one first. Serde has written it so since its first release.
    let mut names = message.split('`').skip(1).step_by(2);
    let kind = match message.split_once(" `") {
        Some(("unknown field", _)) => "key",
        Some(("unknown variant", _)) => "value",
        _ => return message.trim_end().to_owned(),
    };
    let Some(unknown) = names.next() else { return message.trim_end().to_owned() };
    let known: Vec<_> = names.collect();
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("unknown {kind} `{unknown}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown {kind} `{unknown}`; nothing goes here"),
        None => format!("unknown {kind} `{unknown}`; known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its place in the file matters")]
        replicas: u8,
        #[expect(dead_code, reason = "only its place in the file matters")]
        store: Option<Store>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Store {
        #[expect(dead_code, reason = "only its place in the file matters")]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Redis,
        Postgres,
    }

    #[test]
    fn a_mistyped_key_is_named_with_the_right_one() {
        assert_snapshot!(
            refusal("replicas = 2\n\n[store]\n  knid = \"redis\"\n"),
            @"sample.toml:4:3: unknown key `knid`; did you mean `kind`?"
        );
    }

    #[test]
    fn a_strange_key_is_shown_what_is_known() {
        assert_snapshot!(
            refusal("replicas = 2\ncolour = true\n"),
            @"sample.toml:2:1: unknown key `colour`; known here: replicas, store"
        );
    }

    #[test]
    fn a_mistyped_value_is_named_with_the_right_one() {
        assert_snapshot!(
            refusal("replicas = 2\nstore = { kind = \"postgre\" }\n"),
            @"sample.toml:2:18: unknown value `postgre`; did you mean `postgres`?"
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        assert_snapshot!(refusal("[store]\n"), @"sample.toml:1:1: missing field `replicas`");
    }

    #[test]
    fn what_is_not_toml_is_placed() {
        assert_snapshot!(
            refusal("replicas = 2\nstore = \n"),
            @"sample.toml:2:9: string values must be quoted, expected literal string"
        );
    }

    #[test]
    fn a_wrong_type_is_placed() {
        assert_snapshot!(
            refusal("# é\nreplicas = \"é\"\n"),
            @r#"sample.toml:2:12: invalid type: string "é", expected u8"#
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read::<Sample>(Path::new("/nonexistent/target.toml")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/target.toml");
    }

    fn refusal(text: &str) -> String {
        parse::<Sample>(text, Path::new("sample.toml")).unwrap_err().to_string()
    }
}
