//! A kind's declaration, read from JSON Schema.
//!
//! What schemas of data classes consist of is understood: types, `anyOf`, `$ref`, formats, ranges,
//! defaults. Two words are ours, for what JSON Schema cannot say: `x-open` on a schema of any map
//! says that its keys may be integers and its values dates; `x-finite` on a number, that it is never
//! infinite. A schema that refers to itself ends where it does so for the first time.

use serde_json::Value as Json;

use super::{
    declaration::{Field, Shape},
    value::Value,
};

/// The fields of the object that `schema` describes.
///
/// # Errors
///
/// Says where it is no schema of an object.
pub fn fields(schema: &Json) -> Result<Vec<Field>, String> {
    let reader = Reader { root: schema };
    match reader.shape(schema, &[])? {
        Shape::Object(fields) => Ok(fields),
        Shape::Null
        | Shape::Bool
        | Shape::Int { .. }
        | Shape::Float { .. }
        | Shape::Text
        | Shape::Date
        | Shape::Choice(_)
        | Shape::List(_)
        | Shape::Map { .. }
        | Shape::OneOf(_)
        | Shape::Any => Err("the schema of a kind has properties".to_owned()),
    }
}

struct Reader<'a> {
    root: &'a Json,
}

impl Reader<'_> {
    /// The shape of `schema`, which stands inside the references `within`.
    fn shape(&self, schema: &Json, within: &[&str]) -> Result<Shape, String> {
        if let Some(reference) = schema["$ref"].as_str() {
            if within.contains(&reference) {
                return Ok(Shape::OneOf(Vec::new()));
            }
            let pointer = reference.strip_prefix('#').unwrap_or(reference);
            let meant =
                self.root.pointer(pointer).ok_or(format!("{reference} is not in the schema"))?;
            return self.shape(meant, &[within, &[reference]].concat());
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(schemas) = schema[several].as_array() {
                let shapes = schemas.iter().map(|schema| self.shape(schema, within));
                return Ok(one_of(shapes.collect::<Result<_, _>>()?));
            }
        }
        if let [only] = schema["allOf"].as_array().map(Vec::as_slice).unwrap_or_default() {
            return self.shape(only, within);
        }
        if let Some(values) = schema["enum"].as_array() {
            return Ok(Shape::Choice(values.iter().map(Value::from_json).collect()));
        }
        if let Some(value) = schema.get("const") {
            return Ok(Shape::Choice(vec![Value::from_json(value)]));
        }
        match &schema["type"] {
            Json::Null => Ok(Shape::Any),
            Json::String(name) => self.typed(name, schema, within),
            Json::Array(names) => {
                let shapes = names.iter().filter_map(Json::as_str);
                let shapes = shapes.map(|name| self.typed(name, schema, within));
                Ok(one_of(shapes.collect::<Result<_, _>>()?))
            }
            Json::Bool(_) | Json::Number(_) | Json::Object(_) => {
                Err(format!("{} is no type", schema["type"]))
            }
        }
    }

    fn typed(&self, name: &str, schema: &Json, within: &[&str]) -> Result<Shape, String> {
        Ok(match name {
            "null" => Shape::Null,
            "boolean" => Shape::Bool,
            "integer" => integers(schema),
            "number" => Shape::Float { finite: schema["x-finite"] == true },
            "string" if schema["format"] == "date-time" => Shape::Date,
            "string" => Shape::Text,
            "array" => Shape::List(Box::new(match schema.get("items") {
                Some(items) => self.shape(items, within)?,
                None => Shape::Any,
            })),
            "object" if schema["properties"].is_object() => {
                Shape::Object(self.fields(schema, within)?)
            }
            "object" => {
                let open = schema["x-open"] == true;
                let values = match &schema["additionalProperties"] {
                    values @ Json::Object(_) => self.shape(values, within)?,
                    _ if open => Shape::OneOf(vec![Shape::Any, Shape::Date]),
                    _ => Shape::Any,
                };
                Shape::Map { values: Box::new(values), int_keys: open }
            }
            other => return Err(format!("{other:?} is no type of JSON Schema")),
        })
    }

    fn fields(&self, schema: &Json, within: &[&str]) -> Result<Vec<Field>, String> {
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let properties = schema["properties"].as_object().into_iter().flatten();
        properties
            .map(|(name, property)| {
                let shape = self.shape(property, within).map_err(|why| format!("{name}: {why}"))?;
                let (shape, nullable) = without_null(shape);
                Ok(Field {
                    required: required.iter().any(|it| it == name),
                    nullable,
                    default: property.get("default").map(Value::from_json),
                    ..Field::required(name, shape)
                })
            })
            .collect()
    }
}

fn one_of(mut shapes: Vec<Shape>) -> Shape {
    match shapes.len() {
        1 => shapes.remove(0),
        _ => Shape::OneOf(shapes),
    }
}

/// A shape without its null, and whether it had one.
fn without_null(shape: Shape) -> (Shape, bool) {
    match shape {
        Shape::Null => (Shape::OneOf(Vec::new()), true),
        Shape::OneOf(mut shapes) => {
            let all = shapes.len();
            shapes.retain(|shape| *shape != Shape::Null);
            let nullable = shapes.len() < all;
            (one_of(shapes), nullable)
        }
        shape => (shape, false),
    }
}

fn integers(schema: &Json) -> Shape {
    let (min, max) = match schema["format"].as_str() {
        Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
        Some("uint32") => (0, i128::from(u32::MAX)),
        Some("uint64" | "uint") => (0, i128::from(u64::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    let bound = |name: &str| match Value::from_json(&schema[name]) {
        Value::Int(bound) => Some(bound),
        Value::Float(bound) if bound.abs() < 1e15 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "the range was asked for first")]
            Some(bound as i128)
        }
        _ => None,
    };
    let least = bound("minimum").or(bound("exclusiveMinimum").map(|bound| bound + 1));
    let most = bound("maximum").or(bound("exclusiveMaximum").map(|bound| bound - 1));
    Shape::Int { min: least.unwrap_or(min), max: most.unwrap_or(max) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only(property: serde_json::Value) -> Field {
        let schema = json!({"type": "object", "properties": {"it": property}, "required": ["it"],
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}});
        fields(&schema).unwrap().remove(0)
    }

    #[test]
    fn null_belongs_to_the_field_and_a_default_too() {
        let field = only(json!({"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}));
        assert_eq!((field.shape, field.nullable), (Shape::Text, true));
        assert_eq!(field.default, Some(Value::Null));
        assert!(only(json!({"type": ["integer", "null"]})).nullable);
    }

    #[test]
    fn ranges_and_formats_bound_integers() {
        let bounded = only(json!({"type": "integer", "minimum": 1, "format": "int32"})).shape;
        assert_eq!(bounded, Shape::Int { min: 1, max: i128::from(i32::MAX) });
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let Shape::Object(node) = only(json!({"$ref": "#/$defs/node"})).shape else { panic!() };
        assert_eq!(node[0].shape, Shape::OneOf(Vec::new()));
        assert_eq!(node[0].shape.smallest(), None);
    }

    #[test]
    fn what_is_no_schema_of_an_object_is_refused() {
        assert!(fields(&json!({"type": "string"})).is_err());
        assert!(fields(&json!({"type": "object", "properties": {"a": {"type": "what"}}})).is_err());
        assert!(fields(&json!({"type": "object", "properties": {"a": {"$ref": "#/x"}}})).is_err());
    }
}
