//! What a management call may ask for: ids, durations, budgets and limits.

use serde::{Deserialize, de::DeserializeOwned};

use crate::{error::GatewayError, field::Field, store::now_ms};

/// The longest id that an index of Postgres takes without complaint.
const LONGEST_ID: usize = 1024;

/// Refuses an id that could not be stored.
pub(super) fn check_id(id: &str, param: &'static str) -> Result<(), GatewayError> {
    match id.len() <= LONGEST_ID {
        true => Ok(()),
        false => Err(GatewayError::bad_request(
            format!("{param} must not be longer than {LONGEST_ID} bytes"),
            param,
        )),
    }
}

/// Can anybody have this id? What cannot be stored was never created.
pub(super) fn is_storable(id: &str) -> bool {
    !id.is_empty() && id.len() <= LONGEST_ID && !id.contains('\0')
}

/// An id that was given, or a fresh one where it was left out, null or empty.
pub(super) fn given_or_fresh(
    id: Field<String>,
    param: &'static str,
) -> Result<String, GatewayError> {
    match id.into_value().filter(|id| !id.is_empty()) {
        Some(id) => check_id(&id, param).map(|()| id),
        None => Ok(uuid::Uuid::new_v4().to_string()),
    }
}

/// Refuses a budget below zero.
pub(super) fn check_budget(budget: &Field<f64>) -> Result<(), GatewayError> {
    match budget.value() {
        Some(budget) if *budget < 0.0 => {
            Err(GatewayError::bad_request("max_budget must not be negative", "max_budget"))
        }
        _ => Ok(()),
    }
}

/// Refuses a limit below zero.
pub(super) fn check_limit(limit: &Field<i64>, param: &'static str) -> Result<(), GatewayError> {
    match limit.value() {
        Some(limit) if *limit < 0 => {
            Err(GatewayError::bad_request(format!("{param} must not be negative"), param))
        }
        _ => Ok(()),
    }
}

/// Refuses a budget window that is not a duration; empty means none.
pub(super) fn check_window(window: &Field<String>) -> Result<(), GatewayError> {
    match window.value().filter(|window| !window.is_empty()) {
        Some(window) => duration_ms(window, "budget_duration").map(drop),
        None => Ok(()),
    }
}

/// When a key of this duration expires: absent leaves it, null or empty means never.
pub(super) fn expiry(duration: &Field<String>) -> Result<Field<i64>, GatewayError> {
    match duration {
        Field::Absent => Ok(Field::Absent),
        Field::Null => Ok(Field::Null),
        Field::Set(text) if text.is_empty() || text == "-1" => Ok(Field::Null),
        Field::Set(text) => Ok(Field::Set(now_ms().saturating_add(duration_ms(text, "duration")?))),
    }
}

/// The moment after this duration; none where it is absent, null, empty or nothing.
pub(super) fn moment_after(
    duration: &Field<String>,
    param: &'static str,
) -> Result<Option<i64>, GatewayError> {
    let Some(text) = duration.value().filter(|text| !text.is_empty()) else { return Ok(None) };
    let duration_ms = duration_ms(text, param)?;
    Ok((duration_ms > 0).then(|| now_ms().saturating_add(duration_ms)))
}

/// `30s`, `30m`, `30h`, `30d`, `1w` or `1mo`, in milliseconds.
fn duration_ms(text: &str, param: &'static str) -> Result<i64, GatewayError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        "w" => Some(604_800_000),
        "mo" => Some(2_592_000_000),
        _ => None,
    };
    let number: Option<i64> = number.parse().ok();
    number.zip(unit_ms).and_then(|(number, unit_ms)| number.checked_mul(unit_ms)).ok_or_else(|| {
        GatewayError::bad_request(
            format!("{param} must be a number with s, m, h, d, w or mo, as in 30d"),
            param,
        )
    })
}

/// One value or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, bound = "T: DeserializeOwned")]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        assert_eq!(duration_ms("30s", "duration").unwrap(), 30_000);
        assert_eq!(duration_ms("2h", "duration").unwrap(), 7_200_000);
        assert_eq!(duration_ms("1mo", "duration").unwrap(), 2_592_000_000);
        for text in ["", "s", "5", "5y", "-5s", "99999999999999999999d", "9223372036854775807d"] {
            assert!(duration_ms(text, "duration").is_err(), "{text}");
        }
    }

    #[test]
    fn no_duration_means_no_expiry() {
        assert_eq!(expiry(&Field::Null).unwrap(), Field::Null);
        assert_eq!(expiry(&Field::Set(String::new())).unwrap(), Field::Null);
        assert_eq!(expiry(&Field::Absent).unwrap(), Field::Absent);
    }

    #[test]
    fn an_id_that_nobody_can_have_is_not_looked_up() {
        assert!(is_storable("end user 1"));
        for id in ["", "a\0b", &"x".repeat(LONGEST_ID + 1)] {
            assert!(!is_storable(id));
        }
    }

    #[test]
    fn an_empty_id_is_replaced_by_a_fresh_one() {
        assert!(!given_or_fresh(Field::Set(String::new()), "team_id").unwrap().is_empty());
        assert_eq!(given_or_fresh(Field::Set("t".to_owned()), "team_id").unwrap(), "t");
    }
}
