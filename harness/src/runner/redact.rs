//! Takes secrets out of text before it is kept: a run may be attached to a public issue.
//!
//! [`redacted`] is for whatever is recorded. It takes out what is a secret wherever it stands: keys,
//! the user and password of a URL, credentials in headers. [`unassigned`] also takes out what stands
//! behind a name such as `password`. That is for text that leaves this machine: a history whose
//! payloads were changed so could not be judged.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The shortest text after `sk-` or `Bearer` that is taken for a secret.
const SHORTEST: usize = 8;

/// Headers whose values open doors.
const HEADERS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
];

/// How the names of settings and fields end that hold secrets, in small letters and digits alone.
const SECRET_NAMES: [&str; 29] = [
    "accesskey",
    "accesstoken",
    "adminkey",
    "admintoken",
    "apikey",
    "apitoken",
    "authkey",
    "authorization",
    "authtoken",
    "bearertoken",
    "cookie",
    "credentials",
    "encryptionkey",
    "licence",
    "licencekey",
    "licensekey",
    "masterauth",
    "masterkey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "refreshtoken",
    "requirepass",
    "saltkey",
    "secret",
    "secretkey",
    "signingkey",
];

/// Stores whose URLs hold passwords as they are, with characters in them that should be encoded.
const STORE_SCHEMES: [&str; 9] =
    ["redis", "rediss", "valkey", "valkeys", "postgres", "postgresql", "mysql", "mongodb", "amqp"];

/// The text without anything that looks like a key, a password in a URL or a credential in a header.
///
/// Virtual keys, provider keys and the admin key of every gateway we know begin with `sk-`.
pub fn redacted(text: &str) -> String {
    let text = without_keys(text);
    let text = without_userinfo(&text);
    let text = without_values(&text, Naming::Header);
    without_tokens(&text).into_owned()
}

/// The same without what is assigned to names such as `password` or `api_key`.
pub fn unassigned(text: &str) -> String {
    without_values(&redacted(text), Naming::Setting).into_owned()
}

/// Whether a setting or field of this name holds a secret.
pub fn names_a_secret(name: &str) -> bool {
    let name: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    SECRET_NAMES.iter().any(|ending| name.ends_with(ending))
}

/// Whether a value says nothing: it is absent, names where the secret is, or was taken out before.
pub fn is_no_secret(value: &str) -> bool {
    let value = value.strip_prefix("Bearer ").unwrap_or(value);
    let is_placeholder = value.starts_with('{') && value.ends_with('}');
    matches!(value, "" | "null" | "None" | "none" | "true" | "false" | "True" | "False" | "Bearer")
        || ["[", "os.environ/", "sk-[redacted]"].iter().any(|start| value.starts_with(start))
        || is_variable(value)
        || is_placeholder
}

/// Whether a value is a parameter of a statement (`$1`, `$1::text`) or a variable of the shell (`$3`,
/// `$KEY`, `${KEY}`, `${KEY:?what it is}`). A password may begin with `$` too, so the names of variables
/// are in capitals, and what stands for one by default may be a secret itself.
fn is_variable(value: &str) -> bool {
    let Some(rest) = value.strip_prefix('$') else { return false };
    let is_capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let is_name = |name: &str| name.starts_with(is_capital) && name.chars().all(is_capital);
    match rest.strip_prefix('{').and_then(|braced| braced.strip_suffix('}')) {
        Some(braced) => is_name(braced.split_once(":?").map_or(braced, |(name, _)| name)),
        None => is_name(rest.split_once("::").map_or(rest, |(name, _)| name)),
    }
}

fn without_keys(text: &str) -> Cow<'_, str> {
    if !text.contains("sk-") {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("sk-") {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        let body = &from[3..];
        let end = body
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
            .unwrap_or(body.len());
        if end >= SHORTEST {
            kept.push_str("sk-[redacted]");
        } else {
            kept.push_str(&from[..3 + end]);
        }
        rest = &body[end..];
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// Takes out what stands between `://` and the last `@` before the host.
fn without_userinfo(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        kept.push_str(before);
        rest = after;
        if let Some(end) = userinfo(scheme(&before[..at]), after) {
            kept.push_str(REDACTED);
            rest = &after[end..];
        }
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

fn scheme(before: &str) -> &str {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
    before.rsplit(|c| !is_scheme(c)).next().unwrap_or_default()
}

/// Where the user and password of a URL end, if it has any. `after` is what follows its `://`.
fn userinfo(scheme: &str, after: &str) -> Option<usize> {
    let whole = &after
        [..after.find(|c: char| c.is_whitespace() || "\"`".contains(c)).unwrap_or(after.len())];
    if STORE_SCHEMES.iter().any(|store| scheme.eq_ignore_ascii_case(store)) {
        return whole.rfind('@');
    }
    let authority = &whole[..whole.find(['/', '?', '#']).unwrap_or(whole.len())];
    if let Some(end) = authority.rfind('@') {
        return Some(end);
    }
    // What cannot be a port is a password, which went on behind what looks like the host's end.
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    let is_port = port.chars().all(|c| c.is_ascii_digit() || c == ']');
    if is_port { None } else { whole.rfind('@') }
}

/// How a name and its value are told.
#[derive(Clone, Copy)]
enum Naming {
    /// `Authorization: Basic dTpw`: the value is the rest of the line.
    Header,
    /// `password=hunter2`: the value is a word, unless it is quoted.
    Setting,
}

impl Naming {
    fn takes(self, name: &str) -> bool {
        match self {
            Naming::Header => HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header)),
            Naming::Setting => names_a_secret(name),
        }
    }

    fn ends(self, character: char) -> bool {
        match self {
            Naming::Header => matches!(character, '\n' | '\r' | '"' | '\'' | ',' | ')' | '}'),
            Naming::Setting => {
                character.is_whitespace()
                    || matches!(character, '"' | '\'' | ',' | ';' | '&' | ')' | '}' | ']' | '<')
            }
        }
    }
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

/// Takes out the values behind names of this kind.
fn without_values(text: &str, naming: Naming) -> Cow<'_, str> {
    let mut kept = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(begin) = text[at..].find(is_name).map(|more| at + more) {
        let end = text[begin..].find(|c| !is_name(c)).map_or(text.len(), |more| begin + more);
        at = end;
        if naming.takes(text[begin..end].trim_start_matches('-'))
            && let Some((from, to)) = assigned(&text[end..], naming)
            && !is_no_secret(&text[end + from..end + to])
        {
            kept.push_str(&text[done..end + from]);
            kept.push_str(REDACTED);
            at = end + to;
            done = at;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(&text[done..]);
    Cow::Owned(kept)
}

/// Where the value begins and ends that is assigned to the name before `after`.
fn assigned(after: &str, naming: Naming) -> Option<(usize, usize)> {
    let skip = |at: usize, is: fn(char) -> bool| {
        after[at..].find(|c| !is(c)).map_or(after.len(), |more| at + more)
    };
    let is_quote = |c: char| matches!(c, '"' | '\'' | '\\');
    let closed = skip(0, is_quote);
    let sign = skip(closed, |c| matches!(c, ' ' | '\t'));
    match after[sign..].chars().next()? {
        '=' => {}
        ',' if closed > 0 => {}
        // `api_key:5f1c:spend` is one name; `api_key: 5f1c` is a name and its value.
        ':' => {
            let is_apart = after[sign + 1..].starts_with([' ', '\t', '"', '\'', '\\']);
            if closed == 0 && !is_apart && matches!(naming, Naming::Setting) {
                return None;
            }
        }
        _ => return None,
    }
    let mut from = skip(sign + 1, |c| matches!(c, ' ' | '\t' | '='));
    if after[from..].starts_with("b'") || after[from..].starts_with("b\"") {
        from += 1;
    }
    let opened = skip(from, |c| c == '\\');
    if !after[opened..].starts_with(['"', '\'']) {
        let to = after[from..].find(|c| naming.ends(c)).map_or(after.len(), |more| from + more);
        return Some((from, to));
    }
    let quote = &after[from..=opened];
    let from = opened + 1;
    let ends = after[from..].match_indices(quote).map(|(more, _)| from + more);
    let to = ends.into_iter().find(|end| !after[..*end].ends_with('\\'));
    Some((from, to.unwrap_or(after.len())))
}

/// Takes out what stands behind `Bearer` and `Basic`, where it is no word of a sentence.
fn without_tokens(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(begin) = text[at..].find(|c: char| c.is_ascii_alphabetic()).map(|more| at + more)
    {
        let end = text[begin..]
            .find(|c: char| !c.is_ascii_alphanumeric())
            .map_or(text.len(), |more| begin + more);
        at = end;
        let is_token: fn(&str) -> bool = match &text[begin..end] {
            word if word.eq_ignore_ascii_case("bearer") => is_bearer_token,
            word if word.eq_ignore_ascii_case("basic") => is_user_and_password,
            _ => continue,
        };
        let from = end + text[end..].len() - text[end..].trim_start_matches(' ').len();
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        let to = text[from..].find(|c| !is_part(c)).map_or(text.len(), |more| from + more);
        if from > end && is_token(&text[from..to]) {
            kept.push_str(&text[done..from]);
            kept.push_str(REDACTED);
            at = to;
            done = to;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(&text[done..]);
    Cow::Owned(kept)
}

fn is_bearer_token(word: &str) -> bool {
    word.len() >= SHORTEST && !word.chars().all(|c| c.is_ascii_lowercase() || c == '.')
}

fn is_user_and_password(word: &str) -> bool {
    STANDARD.decode(word).is_ok_and(|plain| plain.contains(&b':'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_go_and_everything_else_stays() {
        assert_eq!(redacted("a sk-1234abcd_EF-9 b sk-short c"), "a sk-[redacted] b sk-short c");
        assert_eq!(redacted("mask-ed"), "mask-ed");
    }

    #[test]
    fn a_url_keeps_its_host_and_loses_its_password() {
        for (text, left) in [
            ("at redis://u:pw@h:1/0, again", "at redis://[redacted]@h:1/0, again"),
            ("postgres://u:p/w?d@h/db", "postgres://[redacted]@h/db"),
            ("postgresql://u:12/34@h/db", "postgresql://[redacted]@h/db"),
            ("x=redis://:p@ss@h:1", "x=redis://[redacted]@h:1"),
            ("https://t0ken@h/a", "https://[redacted]@h/a"),
            ("https://u:it's@h/a", "https://[redacted]@h/a"),
            ("http://127.0.0.1:80/a?to=me@h", "http://127.0.0.1:80/a?to=me@h"),
            ("http://[::1]:80/me@h", "http://[::1]:80/me@h"),
            ("redis://127.0.0.1:6379 by me@h", "redis://127.0.0.1:6379 by me@h"),
        ] {
            assert_eq!(redacted(text), left);
        }
    }

    #[test]
    fn a_header_keeps_its_name_and_loses_its_value() {
        for (text, left) in [
            ("Authorization: Bearer hunter", "Authorization: [redacted]"),
            ("authorization:Basic dTpw\nnext", "authorization:[redacted]\nnext"),
            (
                r#"{"Authorization": "Digest a b", "n": 1}"#,
                r#"{"Authorization": "[redacted]", "n": 1}"#,
            ),
            (r#"{\"x-api-key\":\"a\",\"n\":1}"#, r#"{\"x-api-key\":\"[redacted]\",\"n\":1}"#),
            ("[(b'authorization', b'Basic x')]", "[(b'authorization', b'[redacted]')]"),
            ("Authorization: Bearer $3", "Authorization: Bearer $3"),
            ("Authorization: Bearer $3cret", "Authorization: [redacted]"),
            ("Cookie: a=b; c=d", "Cookie: [redacted]"),
            ("got Bearer eyJh.b-c_d= of", "got Bearer [redacted] of"),
            ("Basic dXNlcjpodW50ZXI= it is", "Basic [redacted] it is"),
            (
                "basic authentication, bearer authentication",
                "basic authentication, bearer authentication",
            ),
            ("no authorization for this", "no authorization for this"),
        ] {
            assert_eq!(redacted(text), left);
        }
    }

    #[test]
    fn a_setting_keeps_its_name_and_loses_its_value_where_text_leaves() {
        for (text, left) in [
            ("password=hunter2&b=1", "password=[redacted]&b=1"),
            ("PGPASSWORD: hunter2 next", "PGPASSWORD: [redacted] next"),
            (r#"{"api_key":"a\"b","n":1}"#, r#"{"api_key":"[redacted]","n":1}"#),
            ("{'clientSecret': 'a b'}", "{'clientSecret': '[redacted]'}"),
            ("--admin-key=x --port=1", "--admin-key=[redacted] --port=1"),
            (r#"UPDATE u SET "password" = $1"#, r#"UPDATE u SET "password" = $1"#),
            (
                r#"{"password": null, "api_key":"sk-[redacted]"}"#,
                r#"{"password": null, "api_key":"sk-[redacted]"}"#,
            ),
            ("litellm:api_key:5f1c:spend", "litellm:api_key:5f1c:spend"),
            (r#"admin_key = "os.environ/KEY""#, r#"admin_key = "os.environ/KEY""#),
            ("Authorization: Bearer $3", "Authorization: Bearer $3"),
            ("ADMIN_KEY=$KEY_1 sh", "ADMIN_KEY=$KEY_1 sh"),
            (r#"ADMIN_KEY="${ADMIN_KEY:?the key}""#, r#"ADMIN_KEY="${ADMIN_KEY:?the key}""#),
            (r#"ADMIN_KEY="${ADMIN_KEY:-hunter2}""#, r#"ADMIN_KEY="[redacted]""#),
            ("password = $1::text", "password = $1::text"),
            ("password = $hunter2", "password = [redacted]"),
        ] {
            assert_eq!(unassigned(text), left);
        }
        assert_eq!(redacted("password=hunter2"), "password=hunter2");
    }

    proptest! {
        #[test]
        fn no_key_survives(before in ".*", key in "sk-[A-Za-z0-9_-]{8,40}", after in "[ .,\"'}].*") {
            let left = redacted(&format!("{before}{key}{after}"));
            prop_assert!(!left.contains(&key));
        }

        #[test]
        fn no_password_survives(
            before in "[^:]*",
            password in "[A-Za-z0-9!$%&'()*+,;=:@/?#_~.-]{6,20}Z",
            after in "[ \n].*",
        ) {
            let left = redacted(&format!("{before} redis://u:{password}@host:1{after}"));
            prop_assert!(!left.contains(&password), "{left}");
        }

        #[test]
        fn what_was_redacted_stays_as_it_is(text in "((sk-|redis://|Authorization: |password=|Bearer )?[a-z0-9:@\"', ]{0,12}){0,6}") {
            let once = unassigned(&text);
            prop_assert_eq!(unassigned(&once), once);
        }
    }
}
