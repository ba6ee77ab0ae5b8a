//! A field of a request body that may be absent, null, or set: three different wishes.

use serde::{Deserialize, Deserializer};

/// What a caller said about one field. Use with `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Field<T> {
    /// Nothing: an update leaves the value as it is.
    #[default]
    Absent,
    /// `null`: an update clears the value.
    Null,
    /// A value, which may itself be empty.
    Set(T),
}

impl<T> Field<T> {
    /// Was anything said at all?
    pub(crate) fn is_said(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The value, if one was set.
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Set(value) => Some(value),
        }
    }

    /// The value, if one was set, taken out.
    pub(crate) fn into_value(self) -> Option<T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Option::deserialize(input).map(|value| value.map_or(Self::Null, Self::Set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        models: Field<Vec<String>>,
    }

    fn models(text: &str) -> Field<Vec<String>> {
        serde_json::from_str::<Body>(text).unwrap().models
    }

    #[test]
    fn absent_null_and_empty_are_three_things() {
        assert_eq!(models("{}"), Field::Absent);
        assert_eq!(models(r#"{"models":null}"#), Field::Null);
        assert_eq!(models(r#"{"models":[]}"#), Field::Set(vec![]));
    }
}
