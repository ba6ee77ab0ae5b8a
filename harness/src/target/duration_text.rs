//! Durations as people write them: `"800ms"`, `"5s"`, `"2m"`.

use std::time::Duration;

/// Reads a whole number and a unit.
pub(super) fn parse(text: &str) -> Result<Duration, NotADuration> {
    let not_a_duration = || NotADuration { text: text.to_owned() };
    let unit_at =
        text.find(|character: char| !character.is_ascii_digit()).ok_or_else(not_a_duration)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| not_a_duration())?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
    .ok_or_else(not_a_duration)
}

/// The text is not a duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a duration; write a whole number and a unit, as in \"800ms\", \"5s\" or \"2m\""
)]
pub(super) struct NotADuration {
    text: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_with_a_unit_is_a_duration() {
        assert_eq!(parse("800ms"), Ok(Duration::from_millis(800)));
        assert_eq!(parse("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn anything_else_is_not() {
        for text in ["", "5", "s", "-5s", "5 s", "1.5s", "5h", "99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_read(text in ".{0,12}") {
            let _ = parse(&text);
        }
    }
}
