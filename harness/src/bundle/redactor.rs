//! Takes secrets out of what leaves this machine: also those that are encoded, or known by heart.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use crate::runner::redact::{REDACTED, is_no_secret, names_a_secret, unassigned};

/// How many encodings are looked through that lie on one another.
const DEEPEST: u8 = 2;
/// A shorter secret is as likely a word of the report.
const SHORTEST: usize = 6;
/// Passwords that everybody has. Without these words a report could not be read.
const WORDS: [&str; 12] = [
    "admin",
    "changeme",
    "default",
    "gateway",
    "gauntlet",
    "litellm",
    "password",
    "postgres",
    "postgresql",
    "reference",
    "secret",
    "upstream",
];

/// The end of a token may have been cut off, so its last bits may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// So much text is remembered with what is left of it: a history says the same over and over.
const REMEMBERED: usize = 32 << 20;

/// Knows what must not leave.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// Longest first: one may be part of another.
    exact: Vec<String>,
    seen: RefCell<Seen>,
}

/// Texts that were looked through.
#[derive(Debug, Default)]
struct Seen {
    /// What is left of each, where that is not all of it.
    left: BTreeMap<String, Option<String>>,
    bytes: usize,
}

impl Redactor {
    /// Knows these by heart, besides everything that looks like a secret.
    pub(super) fn new(secrets: BTreeSet<String>) -> Redactor {
        let is_told_apart =
            |secret: &String| secret.len() >= SHORTEST && !WORDS.contains(&secret.as_str());
        let mut exact: Vec<_> = secrets.into_iter().filter(is_told_apart).collect();
        exact.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Redactor { exact, seen: RefCell::default() }
    }

    /// The text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        if let Some(left) = self.seen.borrow().left.get(text) {
            return left.as_deref().unwrap_or(text).to_owned();
        }
        let left = self.looked_through(text, DEEPEST);
        self.seen.borrow_mut().remember(text, &left);
        left
    }

    /// The document without secrets. Names of fields stay, unless they are secrets themselves.
    pub(super) fn document(&self, document: Value) -> Value {
        match document {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.document(item)).collect(),
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| {
                    let value = match value {
                        Value::String(text) if names_a_secret(&name) && !is_no_secret(&text) => {
                            Value::from(REDACTED)
                        }
                        value => self.document(value),
                    };
                    (self.text(&name), value)
                });
                Value::Object(fields.collect::<Map<_, _>>())
            }
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
        }
    }

    fn looked_through(&self, text: &str, depth: u8) -> String {
        let mut text = Cow::Borrowed(text);
        for secret in &self.exact {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        let mut text = unassigned(&text);
        let Some(deeper) = depth.checked_sub(1) else { return text };
        for encoding in [Encoding::Percent, Encoding::Hex, Encoding::Base64] {
            let hides = |token: &str| {
                encoding
                    .decoded(token)
                    .iter()
                    .any(|plain| self.looked_through(plain, deeper) != *plain)
            };
            text = without_tokens(&text, encoding, hides);
        }
        text
    }
}

impl Seen {
    fn remember(&mut self, text: &str, left: &str) {
        let is_less = left != text;
        self.bytes += text.len() + if is_less { left.len() } else { 0 };
        if self.bytes <= REMEMBERED {
            self.left.insert(text.to_owned(), is_less.then(|| left.to_owned()));
        }
    }
}

/// What a secret may be hidden in.
#[derive(Clone, Copy)]
enum Encoding {
    Percent,
    Hex,
    Base64,
}

impl Encoding {
    fn has(self, character: char) -> bool {
        match self {
            Encoding::Percent => character.is_ascii_alphanumeric() || "%._~*+-".contains(character),
            Encoding::Hex => character.is_ascii_hexdigit(),
            Encoding::Base64 => character.is_ascii_alphanumeric() || "+/-_".contains(character),
        }
    }

    /// What `token` may stand for. It may begin in the middle of what was encoded, or before it.
    fn decoded(self, token: &str) -> Vec<String> {
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match self {
            Encoding::Percent if token.contains('%') => vec![lossy(percent_decoded(token))],
            Encoding::Percent => Vec::new(),
            Encoding::Hex if token.len() < 2 * SHORTEST => Vec::new(),
            Encoding::Hex => (0..2).map(|from| lossy(hex_decoded(&token[from..]))).collect(),
            Encoding::Base64 if token.len() < SHORTEST * 4 / 3 => Vec::new(),
            Encoding::Base64 => {
                let token = token.replace('-', "+").replace('_', "/");
                (0..4)
                    .filter_map(|from| {
                        let part = &token[from..];
                        // A single character at the end stands for nothing.
                        let whole = if part.len() % 4 == 1 { part.len() - 1 } else { part.len() };
                        BASE64.decode(&part[..whole]).ok().map(lossy)
                    })
                    .collect()
            }
        }
    }
}

/// Takes out every longest run of the encoding's characters that hides something.
fn without_tokens(text: &str, encoding: Encoding, hides: impl Fn(&str) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(|c| encoding.has(c)) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|c| !encoding.has(c)).unwrap_or(from.len());
        kept.push_str(before);
        kept.push_str(if hides(&from[..end]) { REDACTED } else { &from[..end] });
        rest = &from[end..];
    }
    kept.push_str(rest);
    kept
}

/// The text that is meant by a percent-encoded one.
pub(super) fn plainly(text: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(text)).into_owned()
}

fn percent_decoded(token: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = match after {
            [high, low, ..] if *first == b'%' => nibble(*high).zip(nibble(*low)),
            _ => None,
        };
        match byte {
            Some((high, low)) => {
                plain.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

fn hex_decoded(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.filter_map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(BTreeSet::from(["hunter-2".to_owned(), "postgres".to_owned()]))
    }

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    fn percent(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    #[test]
    fn a_secret_that_is_known_goes_however_it_is_written() {
        let secret = "hunter-2";
        for written in
            [secret.to_owned(), hex(secret), percent(secret), STANDARD_NO_PAD.encode(secret)]
        {
            assert_eq!(redactor().text(&format!("it is {written}!")), "it is [redacted]!");
        }
        assert_eq!(redactor().text(&STANDARD_NO_PAD.encode(hex(secret))), "[redacted]");
    }

    #[test]
    fn what_is_said_twice_is_looked_through_as_it_was_at_first() {
        let redactor = redactor();
        for text in ["it is hunter-2", "it is nothing"] {
            assert_eq!(redactor.text(text), redactor.text(text));
        }
        assert_eq!(redactor.text("it is hunter-2"), "it is [redacted]");
        assert_eq!(redactor.seen.borrow().left.len(), 2);
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "postgres  SELECT 1 FROM \"LiteLLM_VerificationToken\" AS v WHERE v.token = $1",
            "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
            "https://h/a%20b?c=d%2Fe",
            "rg:key:5f1c, codec.key-spaces-disjoint, sk-[redacted]",
        ] {
            assert_eq!(redactor().text(text), text);
        }
    }

    #[test]
    fn a_field_is_known_by_its_name() {
        let document =
            json!({"admin_key": "x", "api_key": null, "n": {"password": "os.environ/P"}});
        let left =
            json!({"admin_key": "[redacted]", "api_key": null, "n": {"password": "os.environ/P"}});
        assert_eq!(redactor().document(document), left);
    }

    proptest! {
        #[test]
        fn no_encoding_hides_a_key(before in "[ -~]{0,9}", key in "sk-[A-Za-z0-9]{12,30}", after in "[ -~]{0,9}") {
            let plain = format!("{before} {key} {after}");
            let tests = [STANDARD.encode(&plain), URL_SAFE_NO_PAD.encode(&plain), hex(&plain), percent(&plain)];
            for written in tests {
                let left = redactor().text(&format!("x/{written} y"));
                prop_assert!(!left.contains(&written), "{left}");
            }
        }
    }
}
