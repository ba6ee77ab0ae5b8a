//! The text that callers present, and what may be kept of it.

use std::fmt::Write as _;

use http::{HeaderMap, header};
use rand::RngExt;
use sha2::{Digest, Sha256};

use crate::error::GatewayError;

/// Where else a credential may stand, in this order, when there is no `Authorization`.
const OTHER_HEADERS: [&str; 4] =
    ["api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"];

/// The credential that a request presents.
pub(super) fn credential(headers: &HeaderMap) -> Result<&str, GatewayError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.to_str().map_err(|_| GatewayError::MalformedKey)?;
        let token = value
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token);
        return token.filter(|token| !token.is_empty()).ok_or(GatewayError::MalformedKey);
    }
    let value = OTHER_HEADERS.iter().find_map(|name| headers.get(*name));
    let token = value.ok_or(GatewayError::NoKey)?.to_str();
    token.ok().filter(|token| !token.is_empty()).ok_or(GatewayError::NoKey)
}

/// The SHA-256 of a credential, in hex: what the gateway stores instead of it.
pub(crate) fn fingerprint(credential: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(credential.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The hash of a key that is given as its text or as its hash.
pub(crate) fn hash_of(key_or_hash: &str) -> String {
    match key_or_hash.starts_with("sk-") {
        true => fingerprint(key_or_hash),
        false => key_or_hash.to_owned(),
    }
}

/// The text of a fresh key.
pub(crate) fn new_key_text() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = rand::rng();
    let text = (0..22).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    format!("sk-{}", text.collect::<String>())
}

/// What may be shown of a key: its last four characters.
pub(crate) fn shown_name(key: &str) -> String {
    let skipped = key.chars().count().saturating_sub(4).max(3);
    format!("sk-...{}", key.chars().skip(skipped).collect::<String>())
}

/// What may be said about something that was presented as a key.
pub(super) fn masked(credential: &str) -> String {
    let letters: Vec<char> = credential.chars().collect();
    match letters.len() {
        0..=8 => "****".to_owned(),
        count => {
            let (start, end) = (&letters[..4], &letters[count - 4..]);
            format!("{}****{}", start.iter().collect::<String>(), end.iter().collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn presented(name: &'static str, value: &'static str) -> Result<String, String> {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )]);
        credential(&headers).map(str::to_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bearer_token_or_an_api_key_header_is_taken() {
        assert_eq!(presented("authorization", "Bearer sk-1").unwrap(), "sk-1");
        assert_eq!(presented("x-api-key", "sk-2").unwrap(), "sk-2");
    }

    #[test]
    fn a_credential_without_its_scheme_is_malformed() {
        for value in ["sk-1", "Bearer", "Bearer ", "Basic abc"] {
            assert!(presented("authorization", value).unwrap_err().contains("Malformed"));
        }
    }

    #[test]
    fn a_request_without_credential_is_told_so() {
        assert!(matches!(credential(&HeaderMap::new()), Err(GatewayError::NoKey)));
    }

    #[test]
    fn a_key_shows_four_characters_at_most() {
        assert_eq!(shown_name("sk-abcdefgh"), "sk-...efgh");
        assert_eq!(shown_name("sk-a"), "sk-...a");
        assert_eq!(masked("short"), "****");
        assert_eq!(masked("abcdefghijkl"), "abcd****ijkl");
    }
}
