//! Bound parameters of Postgres as text.

use super::{
    bounded::{Bounded, hex},
    pg::Fields,
};

/// Microseconds from the Unix epoch to that of Postgres, 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The parameters of a `Bind`, from where its parameter formats begin.
///
/// `types` may know fewer types than there are parameters. Parameters beyond what was kept of the
/// message are left out.
pub(crate) fn parameters(bind: &[u8], types: &[u32]) -> Vec<Option<Bounded>> {
    let mut fields = Fields::of(bind);
    let Some(formats) = formats(&mut fields) else { return Vec::new() };
    let Some(count) = fields.int16() else { return Vec::new() };
    let mut decoded = Vec::new();
    // Postgres reads the count as unsigned.
    for index in 0..usize::from(count as u16) {
        let Some(len) = fields.int32() else { break };
        let Ok(len) = usize::try_from(len) else {
            decoded.push(None);
            continue;
        };
        let Some(bytes) = fields.bytes(len) else { break };
        let binary = match &*formats {
            [] => false,
            [all] => *all,
            each => each.get(index).copied().unwrap_or(false),
        };
        let oid = types.get(index).copied().unwrap_or(0);
        decoded.push(Some(match binary {
            false => Bounded::new(bytes),
            true => Bounded::from(&*binary_as_text(oid, bytes)),
        }));
    }
    decoded
}

fn formats(fields: &mut Fields<'_>) -> Option<Vec<bool>> {
    let count = fields.int16()? as u16;
    (0..count).map(|_| fields.int16().map(|format| format == 1)).collect()
}

/// A binary value as Postgres would write it, timestamps as microseconds since the Unix epoch.
/// What we cannot decode is written as `\x` and hexadecimal.
pub(crate) fn binary_as_text(oid: u32, bytes: &[u8]) -> String {
    let decoded = match element_of(oid) {
        Some(element) => array(element, bytes),
        None => scalar(oid, bytes),
    };
    decoded.unwrap_or_else(|| as_hex(bytes))
}

fn as_hex(bytes: &[u8]) -> String {
    format!("\\x{}", hex(bytes))
}

fn scalar(oid: u32, bytes: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| str::from_utf8(bytes).ok().map(str::to_owned);
    match oid {
        // bool
        16 => match bytes {
            [0] => Some("f".to_owned()),
            [1] => Some("t".to_owned()),
            _ => None,
        },
        // bytea
        17 => Some(as_hex(bytes)),
        // "char", name, text, json, xml, unknown, char(n), varchar, citext has no fixed type.
        18 | 19 | 25 | 114 | 142 | 705 | 1042 | 1043 => text(bytes),
        // int8, int2, int4, oid
        20 => Some(i64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        21 => Some(i16::from_be_bytes(bytes.try_into().ok()?).to_string()),
        23 => Some(i32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        26 => Some(u32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        // float4, float8
        700 => Some(f32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        701 => Some(f64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        // date
        1082 => Some(date(i32::from_be_bytes(bytes.try_into().ok()?))),
        // timestamp, timestamptz
        1114 | 1184 => {
            let since_2000 = i64::from_be_bytes(bytes.try_into().ok()?);
            Some(since_2000.checked_add(EPOCH_MICROS)?.to_string())
        }
        1700 => numeric(bytes),
        2950 => uuid(bytes),
        // jsonb: a version, then the text.
        3802 => match bytes {
            [1, json @ ..] => text(json),
            _ => None,
        },
        // A type of an extension, or one we never learned: text if it can be nothing else.
        _ => text(bytes).filter(|it| !it.is_empty() && !it.contains(char::is_control)),
    }
}

/// The type of an array's elements.
fn element_of(oid: u32) -> Option<u32> {
    Some(match oid {
        199 => 114,
        1000 => 16,
        1001 => 17,
        1003 => 19,
        1005 => 21,
        1007 => 23,
        1009 => 25,
        1014 => 1042,
        1015 => 1043,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1028 => 26,
        1115 => 1114,
        1182 => 1082,
        1185 => 1184,
        1231 => 1700,
        2951 => 2950,
        3807 => 3802,
        _ => return None,
    })
}

fn array(element: u32, bytes: &[u8]) -> Option<String> {
    let mut fields = Fields::of(bytes);
    let dimensions = fields.int32()?;
    let _has_nulls = fields.int32()?;
    let _element = fields.oid()?;
    match dimensions {
        0 => return Some("{}".to_owned()),
        1 => (),
        _ => return None,
    }
    let len = fields.int32()?;
    let _lower_bound = fields.int32()?;
    let mut text = String::from("{");
    for index in 0..len {
        if index > 0 {
            text.push(',');
        }
        match usize::try_from(fields.int32()?) {
            Err(_) => text.push_str("NULL"),
            Ok(len) => push_element(&mut text, &scalar(element, fields.bytes(len)?)?),
        }
    }
    text.push('}');
    Some(text)
}

/// Quotes what Postgres would quote in an array.
fn push_element(text: &mut String, element: &str) {
    let special = |it: char| matches!(it, '{' | '}' | ',' | '"' | '\\') || it.is_whitespace();
    let plain =
        !element.is_empty() && !element.contains(special) && !element.eq_ignore_ascii_case("null");
    if plain {
        text.push_str(element);
        return;
    }
    text.push('"');
    for char in element.chars() {
        if matches!(char, '"' | '\\') {
            text.push('\\');
        }
        text.push(char);
    }
    text.push('"');
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let digits = hex(bytes);
    (bytes.len() == 16).then(|| {
        let (a, b, c) = (&digits[..8], &digits[8..12], &digits[12..16]);
        format!("{a}-{b}-{c}-{}-{}", &digits[16..20], &digits[20..])
    })
}

/// Days since 2000-01-01 as a date of the proleptic Gregorian calendar.
fn date(days: i32) -> String {
    match days {
        i32::MAX => return "infinity".to_owned(),
        i32::MIN => return "-infinity".to_owned(),
        _ => (),
    }
    // Counted from 0000-03-01, so that leap days end their years and their 400-year eras.
    let days = i64::from(days) + 730_425;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Digits in base 10,000, the first worth 10,000 to the power of `weight`.
fn numeric(bytes: &[u8]) -> Option<String> {
    let mut fields = Fields::of(bytes);
    let count = fields.int16()?;
    let weight = i32::from(fields.int16()?);
    let sign = fields.int16()? as u16;
    let scale = usize::try_from(fields.int16()?).ok()?;
    let mut text = match sign {
        0x0000 => String::new(),
        0x4000 => "-".to_owned(),
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let digits: Vec<i16> = (0..count).map(|_| fields.int16()).collect::<Option<_>>()?;
    if digits.iter().any(|digit| !(0..10_000).contains(digit)) {
        return None;
    }
    let digit = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    text.push_str(&digit(weight.max(0)).to_string());
    for power in (0..weight.max(0)).rev() {
        text.push_str(&format!("{:04}", digit(power)));
    }
    if scale > 0 {
        let groups = i32::try_from(scale.div_ceil(4)).ok()?;
        let fraction: String = (1..=groups).map(|at| format!("{:04}", digit(-at))).collect();
        text.push('.');
        text.push_str(fraction.get(..scale)?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_read_as_postgres_writes_them() {
        assert_eq!(binary_as_text(16, &[1]), "t");
        assert_eq!(binary_as_text(23, &(-5i32).to_be_bytes()), "-5");
        assert_eq!(binary_as_text(701, &1.5f64.to_be_bytes()), "1.5");
        assert_eq!(binary_as_text(25, b"text"), "text");
        assert_eq!(binary_as_text(3802, b"\x01{\"a\":1}"), "{\"a\":1}");
        assert_eq!(binary_as_text(17, &[0xde, 0xad]), "\\xdead");
        assert_eq!(binary_as_text(23, &[1]), "\\x01");
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        let bytes: Vec<u8> = (0..16).map(|it| it * 0x11).collect();
        assert_eq!(binary_as_text(2950, &bytes), uuid);
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), "2000-01-01");
        assert_eq!(date(-1), "1999-12-31");
        assert_eq!(date(59), "2000-02-29");
        assert_eq!(date(9_789), "2026-10-20");
    }

    #[test]
    fn numbers_of_any_size_keep_their_scale() {
        let numeric_of = |weight: i16, sign: u16, scale: i16, digits: &[i16]| {
            let mut bytes = Vec::new();
            bytes.extend((digits.len() as i16).to_be_bytes());
            bytes.extend(weight.to_be_bytes());
            bytes.extend(sign.to_be_bytes());
            bytes.extend(scale.to_be_bytes());
            digits.iter().for_each(|digit| bytes.extend(digit.to_be_bytes()));
            binary_as_text(1700, &bytes)
        };
        assert_eq!(numeric_of(0, 0, 0, &[42]), "42");
        assert_eq!(numeric_of(1, 0x4000, 2, &[1, 234, 5_600]), "-10234.56");
        assert_eq!(numeric_of(-1, 0, 6, &[12, 3_400]), "0.001234");
        assert_eq!(numeric_of(0, 0, 0, &[]), "0");
        assert_eq!(numeric_of(2, 0, 0, &[7]), "700000000");
    }

    #[test]
    fn arrays_are_quoted_as_postgres_quotes_them() {
        let mut bytes = Vec::new();
        for int in [1, 1, 25, 3, 1] {
            bytes.extend(i32::to_be_bytes(int));
        }
        bytes.extend(1i32.to_be_bytes());
        bytes.push(b'a');
        bytes.extend((-1i32).to_be_bytes());
        bytes.extend(3i32.to_be_bytes());
        bytes.extend(b"b\"c");
        assert_eq!(binary_as_text(1009, &bytes), r#"{a,NULL,"b\"c"}"#);
    }
}
