//! A sample of what a gateway said, fit to be kept: short, and without the keys that callers hold.

/// The longest sample, in characters.
const LONGEST: usize = 300;

/// What stands in the place of a key.
const REDACTED: &str = "[redacted]";

/// The beginning of a body, with `keys` taken out of it: some gateways repeat the key that they refuse.
///
/// Of a key that the end of the sample would cut in two, nothing is left either.
pub fn sample(body: &[u8], keys: &[String]) -> String {
    let longest_key = keys.iter().map(String::len).max().unwrap_or_default();
    let end = body.len().min(4 * LONGEST + longest_key);
    let mut said = String::from_utf8_lossy(&body[..end]).into_owned();
    for key in keys.iter().filter(|key| !key.is_empty()) {
        if said.contains(key.as_str()) {
            said = said.replace(key.as_str(), REDACTED);
        }
    }
    said.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_short_and_holds_no_key_not_even_half_of_one() {
        let keys = ["sk-abcdefgh".to_owned(), "opaque/key".to_owned()];
        let said = |body: &str| sample(body.as_bytes(), &keys);
        assert_eq!(said("no key opaque/key here"), "no key [redacted] here");
        assert_eq!(said(&"é".repeat(2_000)), "é".repeat(LONGEST));
        for before in LONGEST - 12..=LONGEST {
            let said = said(&format!("{}opaque/key", "x".repeat(before)));
            assert!(!said.contains("opaq"), "{said}");
        }
        assert_eq!(sample(&[0xff, b'a'], &[]), "\u{fffd}a");
    }
}
