//! What a codec is given and gives back: JSON's values, and those that JSON cannot tell apart.
//!
//! A codec that turns a date into text, infinity into null or the key 1 into "1" has changed a value
//! that plain JSON would not see change. So integers, floats, dates and keys that are not text are
//! values of their own here, and have a tagged form for drivers in other languages.

use std::{collections::BTreeMap, fmt};

use serde_json::json;

/// The named values of one object. An absent field is not in it.
pub type Object = BTreeMap<String, Value>;

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null, which is not absence.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of any size that is in use.
    Int(i128),
    /// A number with a fraction, or infinity.
    Float(f64),
    /// A moment, in RFC 3339. One without an offset is a date of nowhere.
    Date(String),
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Value>),
    /// Values by key.
    Map(BTreeMap<Key, Value>),
}

/// What a map's value stands under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Text, as everywhere in JSON.
    Text(String),
    /// An integer, as in many languages.
    Int(i64),
}

/// The largest integer that every JSON reader takes without loss.
const EXACT_IN_A_DOUBLE: i128 = 1 << 53;

/// How deep a value is shown.
const SHOWN_DEPTH: usize = 4;

/// How many letters of a text are shown.
const SHOWN_LETTERS: usize = 48;

impl Value {
    /// The value that plain JSON stands for.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(it) => Value::Bool(*it),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(it), _) => Value::Int(it.into()),
                (None, Some(it)) => Value::Int(it.into()),
                (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(it) => Value::Text(it.clone()),
            serde_json::Value::Array(items) => {
                Value::List(items.iter().map(Value::from_json).collect())
            }
            serde_json::Value::Object(fields) => Value::Map(
                fields
                    .iter()
                    .map(|(name, value)| (Key::Text(name.clone()), Value::from_json(value)))
                    .collect(),
            ),
        }
    }

    /// Plain JSON, where there is any for this value; a date becomes text.
    ///
    /// # Errors
    ///
    /// Says what JSON has no word for.
    pub fn to_json(&self) -> Result<serde_json::Value, String> {
        Ok(match self {
            Value::Null => json!(null),
            Value::Bool(it) => json!(it),
            Value::Int(it) => match (i64::try_from(*it), u64::try_from(*it)) {
                (Ok(it), _) => json!(it),
                (_, Ok(it)) => json!(it),
                (Err(_), Err(_)) => return Err(format!("{it} does not fit 64 bits")),
            },
            Value::Float(it) if it.is_finite() => json!(it),
            Value::Float(it) => return Err(format!("JSON has no {it}")),
            Value::Date(it) | Value::Text(it) => json!(it),
            Value::List(items) => {
                items.iter().map(Value::to_json).collect::<Result<Vec<_>, _>>()?.into()
            }
            Value::Map(entries) => {
                let mut fields = serde_json::Map::new();
                for (key, value) in entries {
                    match key {
                        Key::Text(name) => fields.insert(name.clone(), value.to_json()?),
                        Key::Int(_) => return Err("a key of JSON is text".to_owned()),
                    };
                }
                fields.into()
            }
        })
    }

    /// The form that drivers read: JSON, with tags for what JSON cannot tell apart.
    pub fn to_tagged(&self) -> serde_json::Value {
        match self {
            Value::Int(it) if it.abs() > EXACT_IN_A_DOUBLE => json!({"$int": it.to_string()}),
            Value::Int(it) => json!(i64::try_from(*it).unwrap_or_default()),
            Value::Float(it) if it.is_nan() => json!({"$float": "nan"}),
            Value::Float(it) if it.is_infinite() => {
                json!({"$float": if *it > 0.0 { "inf" } else { "-inf" }})
            }
            Value::Date(it) => json!({ "$date": it }),
            Value::List(items) => items.iter().map(Value::to_tagged).collect::<Vec<_>>().into(),
            Value::Map(entries) if entries.keys().all(Key::is_plain) => serde_json::Value::Object(
                entries.iter().map(|(key, it)| (key.to_string(), it.to_tagged())).collect(),
            ),
            Value::Map(entries) => {
                let pairs: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| json!([key.to_tagged(), value.to_tagged()]))
                    .collect();
                json!({ "$map": pairs })
            }
            Value::Null => json!(null),
            Value::Bool(it) => json!(it),
            Value::Float(it) => json!(it),
            Value::Text(it) => json!(it),
        }
    }

    /// The value that a driver's tagged JSON stands for.
    ///
    /// # Errors
    ///
    /// When a tag is none of ours, or holds what it cannot.
    pub fn from_tagged(json: &serde_json::Value) -> Result<Value, String> {
        match json {
            serde_json::Value::Array(items) => {
                items.iter().map(Value::from_tagged).collect::<Result<_, _>>().map(Value::List)
            }
            serde_json::Value::Object(fields) => match fields.iter().next() {
                Some((tag, held)) if tag.starts_with('$') => untag(tag, held),
                _ => fields
                    .iter()
                    .map(|(name, value)| Ok((Key::Text(name.clone()), Value::from_tagged(value)?)))
                    .collect::<Result<_, String>>()
                    .map(Value::Map),
            },
            plain => Ok(Value::from_json(plain)),
        }
    }

    /// Whether both stand for the same thing. 1 and 1.0 do: languages differ in which they write.
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Int(int), Value::Float(float)) | (Value::Float(float), Value::Int(int)) => {
                float.fract() == 0.0 && exactly(*float) == Some(*int)
            }
            (Value::List(these), Value::List(those)) => {
                these.len() == those.len() && these.iter().zip(those).all(|(a, b)| a.same(b))
            }
            (Value::Map(these), Value::Map(those)) => {
                these.len() == those.len()
                    && these.iter().zip(those).all(|((a, x), (b, y))| a == b && x.same(y))
            }
            (Value::Date(this), Value::Date(that)) => moment(this) == moment(that),
            (this, that) => this == that,
        }
    }

    /// What kind of value it is, in a word or two.
    pub fn described(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(it) if it.is_infinite() => "infinity",
            Value::Float(_) => "a float",
            Value::Date(_) => "a date",
            Value::Text(it) if it.is_empty() => "empty text",
            Value::Text(_) => "text",
            Value::List(items) if items.is_empty() => "an empty list",
            Value::List(_) => "a list",
            Value::Map(entries) if entries.is_empty() => "an empty map",
            Value::Map(entries) if entries.keys().any(|key| matches!(key, Key::Int(_))) => {
                "a map with integer keys"
            }
            Value::Map(_) => "a map",
        }
    }

    fn show(&self, depth: usize, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => out.write_str("null"),
            Value::Bool(it) => write!(out, "{it}"),
            Value::Int(it) => write!(out, "{it}"),
            Value::Float(it) => write!(out, "{it:?}"),
            Value::Date(it) => write!(out, "date {it}"),
            Value::Text(it) if it.chars().count() > SHOWN_LETTERS => {
                let shown: String = it.chars().take(SHOWN_LETTERS).collect();
                write!(out, "{shown:?}…")
            }
            Value::Text(it) => write!(out, "{it:?}"),
            Value::List(_) | Value::Map(_) if depth == SHOWN_DEPTH => out.write_str("…"),
            Value::List(items) => {
                out.write_str("[")?;
                for (place, item) in items.iter().enumerate() {
                    out.write_str(if place == 0 { "" } else { ", " })?;
                    item.show(depth + 1, out)?;
                }
                out.write_str("]")
            }
            Value::Map(entries) => {
                out.write_str("{")?;
                for (place, (key, value)) in entries.iter().enumerate() {
                    out.write_str(if place == 0 { "" } else { ", " })?;
                    match key {
                        Key::Text(name) if is_word(name) => write!(out, "{name}: ")?,
                        Key::Text(name) => write!(out, "{name:?}: ")?,
                        Key::Int(it) => write!(out, "{it}: ")?,
                    }
                    value.show(depth + 1, out)?;
                }
                out.write_str("}")
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(0, out)
    }
}

impl Key {
    /// Whether it is a key of plain JSON, and no tag.
    fn is_plain(&self) -> bool {
        matches!(self, Key::Text(name) if !name.starts_with('$'))
    }

    fn to_tagged(&self) -> serde_json::Value {
        match self {
            Key::Text(name) => json!(name),
            Key::Int(it) => Value::Int((*it).into()).to_tagged(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Text(name) => out.write_str(name),
            Key::Int(it) => write!(out, "{it}"),
        }
    }
}

/// An object as one value, for showing and sending it.
pub fn as_map(object: &Object) -> Value {
    Value::Map(
        object.iter().map(|(name, value)| (Key::Text(name.clone()), value.clone())).collect(),
    )
}

/// The object that a value is.
///
/// # Errors
///
/// When it is none.
pub fn as_object(value: Value) -> Result<Object, String> {
    let Value::Map(entries) = value else { return Err(format!("{value} is not an object")) };
    entries
        .into_iter()
        .map(|(key, value)| match key {
            Key::Text(name) => Ok((name, value)),
            Key::Int(it) => Err(format!("the name of a field is text, not {it}")),
        })
        .collect()
}

/// Whether two payloads say the same: as JSON where both are JSON, else byte for byte.
pub fn same_payload(this: &[u8], that: &[u8]) -> bool {
    let json = |payload| serde_json::from_slice::<serde_json::Value>(payload).ok();
    match (json(this), json(that)) {
        (Some(a), Some(b)) => Value::from_json(&a).same(&Value::from_json(&b)),
        _ => this == that,
    }
}

fn untag(tag: &str, held: &serde_json::Value) -> Result<Value, String> {
    let text = held.as_str();
    match (tag, text) {
        ("$int", Some(text)) => {
            text.parse().map(Value::Int).map_err(|_| format!("{text:?} is no integer"))
        }
        ("$float", Some("inf")) => Ok(Value::Float(f64::INFINITY)),
        ("$float", Some("-inf")) => Ok(Value::Float(f64::NEG_INFINITY)),
        ("$float", Some("nan")) => Ok(Value::Float(f64::NAN)),
        ("$date", Some(text)) => Ok(Value::Date(text.to_owned())),
        ("$map", None) => {
            let pairs = held.as_array().ok_or("$map holds a list of pairs")?;
            pairs.iter().map(pair).collect::<Result<_, String>>().map(Value::Map)
        }
        _ => Err(format!("{tag} with {held} is no value of the protocol")),
    }
}

fn pair(pair: &serde_json::Value) -> Result<(Key, Value), String> {
    let [key, value] = pair.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(format!("{pair} is no pair of key and value"));
    };
    let key = match Value::from_tagged(key)? {
        Value::Text(name) => Key::Text(name),
        Value::Int(it) => {
            Key::Int(i64::try_from(it).map_err(|_| format!("the key {it} is out of range"))?)
        }
        other => return Err(format!("a key is text or an integer, not {}", other.described())),
    };
    Ok((key, Value::from_tagged(value)?))
}

/// The integer that a float is, where it is one that an `i128` holds.
fn exactly(float: f64) -> Option<i128> {
    #[expect(clippy::cast_possible_truncation, reason = "the range was asked for first")]
    (float.abs() < 1e38).then_some(float as i128)
}

/// A moment in one spelling: UTC is Z, and a fraction has no zeros at its end.
fn moment(text: &str) -> String {
    let (utc, zone) = match text.strip_suffix("+00:00").or_else(|| text.strip_suffix('Z')) {
        Some(before) => (before, "Z"),
        None => (text, ""),
    };
    let whole = match utc.contains('.') {
        true => utc.trim_end_matches('0').trim_end_matches('.'),
        false => utc,
    };
    format!("{}{zone}", whole.replace(' ', "T"))
}

/// Whether a name needs no quotes: with quotes, "1" is not 1.
fn is_word(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_its_tagged_form() {
        let values = [
            Value::Int(i128::from(u64::MAX)),
            Value::Int(-9_007_199_254_740_993),
            Value::Int(7),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(0.1),
            Value::Date("2026-01-01T00:00:00Z".to_owned()),
            Value::Map([(Key::Int(i64::MAX), Value::Null), (Key::Int(1), Value::Null)].into()),
            Value::Map([(Key::Text("$date".to_owned()), Value::Text("x".to_owned()))].into()),
            Value::List(vec![Value::Text(String::new()), Value::Bool(true)]),
        ];
        for value in values {
            assert_eq!(Value::from_tagged(&value.to_tagged()), Ok(value));
        }
    }

    #[test]
    fn a_date_is_one_moment_however_it_is_spelled() {
        let date = |text: &str| Value::Date(text.to_owned());
        assert!(date("2026-01-01T00:00:00+00:00").same(&date("2026-01-01T00:00:00Z")));
        assert!(date("2026-01-01T00:00:00.500Z").same(&date("2026-01-01 00:00:00.5+00:00")));
        assert!(!date("2026-01-01T00:00:00Z").same(&date("2026-01-01T00:00:00")));
        assert!(!date("2026-01-01T00:00:10Z").same(&date("2026-01-01T00:00:1Z")));
        assert!(!date("2026-01-01").same(&Value::Text("2026-01-01".to_owned())));
    }

    #[test]
    fn an_integer_is_the_float_that_equals_it_exactly() {
        assert!(Value::Int(1).same(&Value::Float(1.0)));
        assert!(!Value::Int((1 << 53) + 1).same(&Value::Float(9_007_199_254_740_992.0)));
        assert!(!Value::Int(1).same(&Value::Float(1.5)));
    }

    #[test]
    fn a_tag_that_is_none_of_ours_is_refused() {
        assert!(Value::from_tagged(&json!({"$set": []})).is_err());
        assert!(Value::from_tagged(&json!({"$int": "x"})).is_err());
        assert!(Value::from_tagged(&json!({"$map": [[null, 1]]})).is_err());
    }
}
