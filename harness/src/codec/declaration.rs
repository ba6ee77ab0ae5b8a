//! What a codec says of its kinds: their fields, and what may stand in them.
//!
//! The laws know nothing else of a codec's types. A declaration is written by hand in Rust, or read
//! from the JSON Schema that a driver sends (`schema.rs`).

use std::collections::BTreeSet;

use super::value::{Object, Value};

/// One kind of object that a codec writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// What the codec calls it.
    pub name: String,
    /// What it consists of.
    pub fields: Vec<Field>,
    /// What a reader does with a field that is not in this list.
    pub unknown: UnknownFields,
    /// Entries that the previous schema version wrote.
    pub previous: Vec<PreviousEntry>,
}

/// One field of a kind, or of an object inside one.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What may stand in it.
    pub shape: Shape,
    /// Whether an object without it is none of this kind.
    pub required: bool,
    /// Whether null may stand in it.
    pub nullable: bool,
    /// What an object without it means.
    pub default: Option<Value>,
    /// Whether null and absence are the same thing.
    pub null_is_absent: bool,
    /// Whether what stands in it can only take rights away: a block, a budget, a list of models.
    pub narrows_rights: bool,
    /// What earlier versions called it.
    pub previously: Vec<String>,
    /// Fields of the previous version in whose place it stands, and which said it in other words: a
    /// flag, where this is a moment.
    pub instead_of: Vec<String>,
}

/// What a reader does with a field that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// It reads nothing that holds one.
    Refused,
    /// It keeps it, and writes it again.
    Kept,
    /// It reads as if it were not there.
    Ignored,
}

/// An entry of the previous schema version, and what it must read as.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviousEntry {
    /// What was written.
    pub payload: Vec<u8>,
    /// What it means today, where more is asked than that it reads.
    pub value: Option<Object>,
}

/// What may stand in a field. Null is the field's business, save inside lists and maps.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Null, among others.
    Null,
    /// True or false.
    Bool,
    /// An integer of this range.
    Int {
        /// The least.
        min: i128,
        /// The greatest.
        max: i128,
    },
    /// A number.
    Float {
        /// Whether infinity is none of them.
        finite: bool,
    },
    /// Text.
    Text,
    /// A moment.
    Date,
    /// One of these.
    Choice(Vec<Value>),
    /// Values of one shape.
    List(Box<Shape>),
    /// Values of one shape, by key.
    Map {
        /// What stands under the keys.
        values: Box<Shape>,
        /// Whether keys may be integers too.
        int_keys: bool,
    },
    /// An object with fields of its own.
    Object(Vec<Field>),
    /// Any of these shapes. Of none, no value has this shape.
    OneOf(Vec<Shape>),
    /// Any JSON.
    Any,
}

impl Kind {
    /// A kind whose readers refuse what they do not know.
    pub fn new(name: &str, fields: impl IntoIterator<Item = Field>) -> Kind {
        Kind {
            name: name.to_owned(),
            fields: fields.into_iter().collect(),
            unknown: UnknownFields::Refused,
            previous: Vec::new(),
        }
    }

    /// `object` as its reader understands it: defaults are in place, and null is absence where the
    /// two are declared to be the same.
    pub fn understood(&self, object: &Object) -> Object {
        let mut object = object.clone();
        for field in &self.fields {
            if field.null_is_absent && object.get(&field.name) == Some(&Value::Null) {
                object.remove(&field.name);
            }
            let default = field.default.as_ref().filter(|_| !object.contains_key(&field.name));
            match default {
                Some(Value::Null) if field.null_is_absent => (),
                Some(default) => {
                    object.insert(field.name.clone(), default.clone());
                }
                None => (),
            }
        }
        object
    }

    /// The names of its fields.
    pub fn names(&self) -> BTreeSet<&str> {
        self.fields.iter().map(|field| field.name.as_str()).collect()
    }

    /// Whether anything in it takes rights away.
    pub fn narrows_rights(&self) -> bool {
        self.fields.iter().any(|field| field.narrows_rights)
    }
}

impl Field {
    /// A field that is always there, and never null.
    pub fn required(name: &str, shape: Shape) -> Field {
        Field {
            name: name.to_owned(),
            shape,
            required: true,
            nullable: false,
            default: None,
            null_is_absent: false,
            narrows_rights: false,
            previously: Vec::new(),
            instead_of: Vec::new(),
        }
    }

    /// A field that is always there, and may be null.
    pub fn nullable(name: &str, shape: Shape) -> Field {
        Field { nullable: true, ..Field::required(name, shape) }
    }

    /// A field that may be absent, which null means as well.
    pub fn optional(name: &str, shape: Shape) -> Field {
        Field { required: false, null_is_absent: true, ..Field::nullable(name, shape) }
    }

    /// The same field, which can only take rights away.
    #[must_use]
    pub fn narrowing(self) -> Field {
        Field { narrows_rights: true, ..self }
    }

    /// The same field, which says what another one said in the previous version.
    #[must_use]
    pub fn instead_of(mut self, earlier: &str) -> Field {
        self.instead_of.push(earlier.to_owned());
        self
    }

    /// Whether a value of it takes rights away.
    pub fn is_in_force(&self, value: Option<&Value>) -> bool {
        let value = value.unwrap_or(&Value::Null);
        let nothing = matches!(value, Value::Null | Value::Bool(false));
        self.narrows_rights && !nothing && Some(value) != self.default.as_ref()
    }
}

impl Shape {
    /// The integers of a Rust or SQL `i64`.
    pub const INT64: Shape = Shape::Int { min: i64::MIN as i128, max: i64::MAX as i128 };

    /// A list of texts.
    pub fn texts() -> Shape {
        Shape::List(Box::new(Shape::Text))
    }

    /// A JSON object whose fields nobody declared.
    pub fn json_object() -> Shape {
        Shape::Map { values: Box::new(Shape::Any), int_keys: false }
    }

    /// The smallest value of this shape, where there is any.
    pub fn smallest(&self) -> Option<Value> {
        Some(match self {
            Shape::Null => Value::Null,
            Shape::Bool => Value::Bool(false),
            Shape::Int { min, max } => Value::Int(0.clamp(*min, *max)),
            Shape::Float { .. } => Value::Float(0.0),
            Shape::Text | Shape::Any => Value::Text("a".to_owned()),
            Shape::Date => Value::Date("2026-01-01T00:00:00Z".to_owned()),
            Shape::Choice(values) => values.first()?.clone(),
            Shape::List(_) => Value::List(Vec::new()),
            Shape::Map { .. } => Value::Map([].into()),
            Shape::Object(fields) => super::value::as_map(&smallest(fields)?),
            Shape::OneOf(shapes) => shapes.iter().find_map(Shape::smallest)?,
        })
    }
}

/// The smallest object of these fields, where there is any.
pub fn smallest(fields: &[Field]) -> Option<Object> {
    let required = fields.iter().filter(|field| field.required);
    required
        .map(|field| {
            let value = field.shape.smallest().or(field.nullable.then_some(Value::Null))?;
            Some((field.name.clone(), value))
        })
        .collect()
}
