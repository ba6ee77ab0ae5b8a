//! The version that a gateway says it has, in the headers of its answers.

use reqwest::header::HeaderMap;

/// Headers by which gateways tell their version.
const HEADERS: [&str; 2] = ["x-litellm-version", "x-gateway-version"];

/// No version is longer, in characters.
const LONGEST: usize = 40;

/// What these headers tell, if they do. What does not look like a version is none.
pub fn version(headers: &HeaderMap) -> Option<String> {
    let told = |name: &&str| headers.get(*name).and_then(|value| value.to_str().ok());
    let part = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
    HEADERS
        .iter()
        .filter_map(told)
        .find(|told| (1..=LONGEST).contains(&told.len()) && told.chars().all(part))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn what_looks_like_a_version_is_one() {
        for (name, value, known) in [
            ("x-litellm-version", "1.84.0rc1", true),
            ("x-gateway-version", "0.1.0", true),
            ("x-gateway-version", "", false),
            ("x-gateway-version", "<b>1</b>", false),
            ("server", "0.1.0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(version(&headers).as_deref(), known.then_some(value), "{name}: {value}");
        }
    }
}
