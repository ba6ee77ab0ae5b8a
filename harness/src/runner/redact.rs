//! Takes secrets out of text before it is kept: a run may be attached to a public issue.

/// The shortest text after `sk-` that is taken for a secret.
const SHORTEST: usize = 8;

/// The text without anything that looks like a key.
///
/// Virtual keys, provider keys and the admin key of every gateway we know begin with `sk-`.
pub fn redacted(text: &str) -> String {
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
    kept
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

    proptest! {
        #[test]
        fn no_key_survives(before in ".*", key in "sk-[A-Za-z0-9_-]{8,40}", after in "[ .,\"'}].*") {
            let left = redacted(&format!("{before}{key}{after}"));
            prop_assert!(!left.contains(&key));
        }
    }
}
