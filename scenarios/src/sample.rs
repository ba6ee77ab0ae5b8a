//! A sample of what a gateway said, fit to be kept: short, and without the keys that callers hold.

/// The longest sample, in characters.
const LONGEST: usize = 300;

/// What stands in the place of a key.
const REDACTED: &str = "[redacted]";

/// The shortest beginning of a key that is taken out where the body ends with it, in bytes. What reads a
/// body may have cut it there.
const SHORTEST_PART: usize = 4;

/// The beginning of a body, with `keys` taken out of it: some gateways repeat the key that they refuse.
///
/// Keys go before the sample is cut, and with them what the end of the body has cut one down to.
pub fn sample(body: &[u8], keys: &[String]) -> String {
    let mut said = Vec::new();
    let mut key_ends = 0;
    for (at, byte) in body.iter().enumerate() {
        let longest = keys.iter().filter_map(|key| begins(&body[at..], key.as_bytes())).max();
        if let Some(length) = longest {
            if at >= key_ends {
                said.extend_from_slice(REDACTED.as_bytes());
            }
            key_ends = key_ends.max(at + length);
        }
        if at >= key_ends {
            said.push(*byte);
        }
        // No letter takes more.
        if said.len() >= 4 * LONGEST {
            break;
        }
    }
    String::from_utf8_lossy(&said).chars().take(LONGEST).collect()
}

/// How long a key is with which `rest` begins, as far as the body goes; nothing where it does not.
fn begins(rest: &[u8], key: &[u8]) -> Option<usize> {
    let length = key.len().min(rest.len());
    let is_whole = length == key.len();
    (length > 0 && rest[..length] == key[..length] && (is_whole || length >= SHORTEST_PART))
        .then_some(length)
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

    #[test]
    fn a_key_that_begins_another_leaves_nothing_of_it() {
        let keys = ["tenant".to_owned(), "tenant-secret".to_owned(), "secret-tail".to_owned()];
        let said = |body: &str| sample(body.as_bytes(), &keys);
        assert_eq!(said("no tenant-secret here"), "no [redacted] here");
        assert_eq!(said("no tenant-secret-tail here, tenant"), "no [redacted] here, [redacted]");
    }

    #[test]
    fn what_is_left_of_a_key_where_the_body_was_cut_goes_too() {
        let long = "k".repeat(900) + "Z";
        let keys = ["opaque/key".to_owned(), long.clone()];
        assert_eq!(sample(b"no opaque", &keys), "no [redacted]");
        assert_eq!(sample(b"to", &keys), "to");
        // Long keys make room for what stands far behind them.
        let body = format!("{long} {long} {}", &long[..500]);
        assert_eq!(sample(body.as_bytes(), &keys), "[redacted] [redacted] [redacted]");
    }
}
