//! Durations as people write them in a settings file: `"800ms"`, `"60s"`, `"1.5h"`.
//!
//! A field is read and written so with `#[serde(with = "scenarios::duration")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The units, largest first, in microseconds.
const UNITS: [(&str, u64); 5] =
    [("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write a number and a unit, as in \"800ms\", \"60s\", \"5min\"")]
pub struct NotADuration(String);

/// Reads a number and a unit, to the microsecond.
///
/// # Errors
///
/// Where there is no number, no known unit (`us`, `ms`, `s`, `min`, `h`), or the number is negative
/// or too large.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let refused = || NotADuration(text.to_owned());
    let split = text.find(|character: char| character.is_ascii_alphabetic()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(split);
    let (_, micros) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
    let (whole, fraction) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(refused());
    }
    let whole: u64 = whole.parse().map_err(|_| refused())?;
    let part: u64 = fraction.parse().map_err(|_| refused())?;
    let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_| refused())?);
    let part = u128::from(part) * u128::from(*micros) / u128::from(scale);
    whole
        .checked_mul(*micros)
        .and_then(|whole| whole.checked_add(u64::try_from(part).ok()?))
        .map(Duration::from_micros)
        .ok_or_else(refused)
}

/// Writes a duration in the largest unit that needs no fraction.
pub fn text(duration: Duration) -> String {
    let micros = duration.as_micros();
    for (unit, size) in UNITS {
        let size = u128::from(size);
        if micros >= size && micros.is_multiple_of(size) {
            return format!("{}{unit}", micros / size);
        }
    }
    "0s".to_owned()
}

/// Reads a field.
///
/// # Errors
///
/// Where the text is not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Writes a field.
///
/// # Errors
///
/// What the serializer says.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_are_a_duration() {
        for (written, micros) in [
            ("800ms", 800_000),
            ("60s", 60_000_000),
            ("5min", 300_000_000),
            ("1.5h", 5_400_000_000),
            ("0.25 s", 250_000),
            ("7us", 7),
            ("0s", 0),
        ] {
            assert_eq!(parse(written), Ok(Duration::from_micros(micros)), "{written}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for written in
            ["", "60", "s", "-1s", "1e3s", "1 day", "1.s", ".5s", "99999999999999999999s", "1S"]
        {
            assert_eq!(parse(written), Err(NotADuration(written.to_owned())));
        }
        assert!(parse("18446744073709551615h").is_err());
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for micros in [0, 1, 999, 1_000, 1_500, 60_000_000, 90_000_000, 3_600_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse(&text(duration)), Ok(duration));
        }
        assert_eq!(text(Duration::from_secs(90)), "90s");
        assert_eq!(text(Duration::from_secs(120)), "2min");
    }
}
