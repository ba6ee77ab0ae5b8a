//! The text of a JSON object, of which single fields are read and replaced.
//!
//! What passes through the gateway must arrive as it was sent: numbers, escapes, spaces and
//! unknown fields included. So the text is kept, and only what has to change is cut out of it.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A JSON object as text, with the places of its fields.
#[derive(Debug, Clone)]
pub(crate) struct ObjectText<'a> {
    text: &'a str,
    fields: Vec<(Cow<'a, str>, Range<usize>)>,
}

impl<'a> ObjectText<'a> {
    /// Finds the fields; `None` when this is not the text of an object.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let Fields(fields) = serde_json::from_str(text).ok()?;
        let place = |value: &RawValue| {
            // A borrowed value lies within the text.
            let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
            start..start + value.get().len()
        };
        let fields = fields.into_iter().map(|(name, value)| (name, place(value))).collect();
        Some(Self { text, fields })
    }

    /// The text of a field's value. Of several with one name the last counts, as for most readers.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        let (_, place) = self.fields.iter().rev().find(|(field, _)| field == name)?;
        self.text.get(place.clone())
    }

    /// A field's value, if it can be read as a `T`.
    pub(crate) fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// The text with these values: in place of the old ones, or at the end.
    pub(crate) fn with(&self, changes: &[(&str, &str)]) -> String {
        let added: usize = changes.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut changed = String::with_capacity(self.text.len() + added);
        let mut rest = 0;
        for (name, place) in &self.fields {
            if let Some((_, value)) = changes.iter().find(|(changed, _)| changed == name) {
                changed.push_str(&self.text[rest..place.start]);
                changed.push_str(value);
                rest = place.end;
            }
        }
        let end = self.text.rfind('}').unwrap_or(self.text.len());
        changed.push_str(&self.text[rest..end]);
        let mut is_empty = self.fields.is_empty();
        for (name, value) in changes {
            if self.raw(name).is_none() {
                if !is_empty {
                    changed.push(',');
                }
                is_empty = false;
                changed.push('"');
                changed.push_str(name);
                changed.push_str("\":");
                changed.push_str(value);
            }
        }
        changed.push_str(&self.text[end..]);
        changed
    }

    /// The text without a field that follows another one, written as `,"name":value`.
    pub(crate) fn without(&self, name: &str) -> Cow<'a, str> {
        let field = self.fields.iter().find(|(field, _)| field == name);
        let kept = field.and_then(|(_, place)| {
            let before = self.text[..place.start].trim_end().strip_suffix(':')?.trim_end();
            let before = before.strip_suffix('"')?.strip_suffix(name)?.strip_suffix('"')?;
            let before = before.trim_end().strip_suffix(',')?;
            Some(Cow::Owned(format!("{before}{}", &self.text[place.end..])))
        });
        kept.unwrap_or(Cow::Borrowed(self.text))
    }
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = vec![];
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        input.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn object(text: &str) -> ObjectText<'_> {
        ObjectText::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_what_changes_is_touched() {
        let text = r#"{ "n":1.0e2, "model" : "real","x":"\u00e9" }"#;
        assert_eq!(
            object(text).with(&[("model", "\"alias\"")]),
            r#"{ "n":1.0e2, "model" : "alias","x":"\u00e9" }"#
        );
    }

    #[test]
    fn a_field_that_is_not_there_is_added() {
        assert_eq!(object("{}").with(&[("a", "1"), ("b", "2")]), r#"{"a":1,"b":2}"#);
        assert_eq!(object(r#"{"x":0}"#).with(&[("a", "1")]), r#"{"x":0,"a":1}"#);
    }

    #[test]
    fn every_field_of_the_name_is_replaced_and_the_last_is_read() {
        let twice = object(r#"{"model":"a","model":"b"}"#);
        assert_eq!(twice.read::<String>("model").as_deref(), Some("b"));
        assert_eq!(twice.with(&[("model", "1")]), r#"{"model":1,"model":1}"#);
    }

    #[test]
    fn a_field_can_be_left_out() {
        assert_eq!(object(r#"{"a":1, "usage": null}"#).without("usage"), r#"{"a":1}"#);
        assert_eq!(object(r#"{"a":1,"usage":{},"b":2}"#).without("usage"), r#"{"a":1,"b":2}"#);
        assert_eq!(object(r#"{"usage":null}"#).without("usage"), r#"{"usage":null}"#);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["", "[]", "null", "{", r#"{"a":}"#, "{} {}"] {
            assert!(ObjectText::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    fn objects() -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
            Just(serde_json::json!({"model": [1, {"}": "{"}]})),
        ];
        prop::collection::btree_map("(model|usage|.{0,3})", value, 0..5)
            .prop_map(|fields| fields.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_change_means_what_it_would_mean_to_the_object(mut fields in objects(), name in "(model|usage)", new in ".{0,4}") {
            let text = Value::Object(fields.clone()).to_string();
            let changed = object(&text).with(&[(&name, &quoted(&new))]);
            fields.insert(name, new.into());
            prop_assert_eq!(serde_json::from_str::<Value>(&changed).unwrap(), Value::Object(fields));
        }
    }
}
