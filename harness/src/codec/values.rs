//! Strategies for the objects of a kind, from its declaration; pure.
//!
//! Two ways to generate, because they find different things. A **place** varies one field, at any
//! depth, inside the smallest object that can hold it, by one **class** of value at a time: null, a
//! date, an integer beyond 2^53. So every field is tried in every state, and what fails is named. A
//! **lattice** draws all fields of an object at once, to find states that only fail together. Both
//! shrink towards absent fields and small values.

use std::{collections::BTreeSet, rc::Rc};

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    sample::select,
    strategy::Union,
};

use super::{
    declaration::{Field, Kind, Shape, smallest},
    value::{Key, Object, Value, as_map},
};

/// A class of states that a field can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It is null.
    Null,
    /// It holds its default, or what is empty: zero, no text, no items.
    Empty,
    /// It holds an ordinary value.
    Plain,
    /// It holds text that is not ASCII, or that formats reserve.
    Unicode,
    /// It holds an integer that a double cannot.
    BigInt,
    /// It holds infinity.
    Infinite,
    /// It holds a moment.
    Date,
    /// It holds a map with keys that are not text.
    IntKey,
    /// It holds nulls inside a list or a map.
    NullInside,
    /// It holds values nested a hundred deep.
    Deep,
}

/// One field of a kind, at any depth, and the smallest object around it.
#[derive(Clone)]
pub(super) struct Place {
    /// Where it is, as in `members[].role`.
    pub path: String,
    /// The path of the field that holds it, where it is inside one.
    pub within: Option<String>,
    /// The field.
    pub field: Field,
    around: Around,
}

/// Puts a value where a field is, inside the smallest object that can hold it.
type Around = Rc<dyn Fn(Value) -> Object>;

/// How deep nested values go. JSON readers commonly stop at 128, and a payload needs some for itself.
const DEEPEST: usize = 100;

/// How many objects deep places are looked for.
const PLACE_DEPTH: usize = 3;

/// Text that formats and languages have got wrong.
const HARD_TEXTS: [&str; 12] = [
    "é",
    "e\u{301}",
    "日本",
    "🦀",
    "\u{0}",
    "\u{2028}",
    "\u{feff}",
    "\"\\/",
    "\u{202e}a",
    "None",
    "a:b",
    "{\"$date\":1}",
];

impl Place {
    /// Every place of a kind. Without a smallest object of it, there are none.
    pub(super) fn all(kind: &Kind) -> Vec<Place> {
        let Some(base) = smallest(&kind.fields) else { return Vec::new() };
        let mut places = Vec::new();
        let whole: Rc<dyn Fn(Object) -> Object> = Rc::new(|object| object);
        collect(&kind.fields, &base, None, &whole, &mut places);
        places
    }

    /// The classes of states that it can be in, when present.
    pub(super) fn classes(&self) -> BTreeSet<Class> {
        let mut classes = classes(&self.field.shape);
        if self.field.nullable {
            classes.insert(Class::Null);
        }
        if self.field.default.as_ref().is_some_and(|default| *default != Value::Null) {
            classes.insert(Class::Empty);
        }
        classes
    }

    /// Objects in which this field is in a state of this class, and all else is as small as can be.
    pub(super) fn objects(&self, class: Class) -> Option<BoxedStrategy<Object>> {
        let around = Rc::clone(&self.around);
        Some(states(&self.field, class)?.prop_map(move |value| around(value)).boxed())
    }
}

/// Every object of a kind, apart from states that are `known` to fail.
pub(super) fn lattice(
    kind: &Kind,
    known: &BTreeSet<(String, Class)>,
) -> Option<BoxedStrategy<Object>> {
    fields_lattice(&kind.fields, "", known)
}

/// Adds the places of these fields, whose object `around` puts into a whole one.
fn collect(
    fields: &[Field],
    base: &Object,
    within: Option<&str>,
    around: &Rc<dyn Fn(Object) -> Object>,
    places: &mut Vec<Place>,
) {
    for field in fields {
        let path = match within {
            Some(outer) => format!("{outer}.{}", field.name),
            None => field.name.clone(),
        };
        let (base, whole, name) = (base.clone(), Rc::clone(around), field.name.clone());
        let at: Around = Rc::new(move |value| {
            let mut object = base.clone();
            object.insert(name.clone(), value);
            whole(object)
        });
        places.push(Place {
            path: path.clone(),
            within: within.map(str::to_owned),
            field: field.clone(),
            around: Rc::clone(&at),
        });
        if path.matches('.').count() < PLACE_DEPTH {
            descend(&field.shape, &path, &at, places);
        }
    }
}

/// Adds the places inside a value of this shape, which `around` puts into a whole object.
fn descend(shape: &Shape, path: &str, around: &Around, places: &mut Vec<Place>) {
    let around = Rc::clone(around);
    match shape {
        Shape::Object(fields) => {
            let Some(base) = smallest(fields) else { return };
            let whole: Rc<dyn Fn(Object) -> Object> =
                Rc::new(move |object| around(as_map(&object)));
            collect(fields, &base, Some(path), &whole, places);
        }
        Shape::List(items) => {
            let at: Around = Rc::new(move |item| around(Value::List(vec![item])));
            descend(items, &format!("{path}[]"), &at, places);
        }
        Shape::Map { values, .. } => {
            let at: Around = Rc::new(move |value| {
                around(Value::Map([(Key::Text("a".to_owned()), value)].into()))
            });
            descend(values, &format!("{path}{{}}"), &at, places);
        }
        Shape::OneOf(shapes) => {
            for shape in shapes {
                descend(shape, path, &around, places);
            }
        }
        Shape::Null
        | Shape::Bool
        | Shape::Int { .. }
        | Shape::Float { .. }
        | Shape::Text
        | Shape::Date
        | Shape::Choice(_)
        | Shape::Any => (),
    }
}

/// The classes of values that a shape has.
fn classes(shape: &Shape) -> BTreeSet<Class> {
    match shape {
        Shape::Null => [Class::NullInside].into(),
        Shape::Bool | Shape::Choice(_) => [Class::Plain].into(),
        Shape::Int { min, max } => {
            let mut classes = BTreeSet::from([Class::Plain]);
            classes.extend((*min <= 0 && 0 <= *max).then_some(Class::Empty));
            classes.extend(big(*min, *max).next().map(|_| Class::BigInt));
            classes
        }
        Shape::Float { finite: true } => [Class::Empty, Class::Plain].into(),
        Shape::Float { finite: false } => [Class::Empty, Class::Plain, Class::Infinite].into(),
        Shape::Text => [Class::Empty, Class::Plain, Class::Unicode].into(),
        Shape::Date => [Class::Date].into(),
        Shape::List(items) => {
            let mut classes = classes(items);
            classes.insert(Class::Empty);
            classes
        }
        Shape::Map { values, int_keys } => {
            let mut classes = classes(values);
            classes.extend([Class::Empty, Class::Plain, Class::Unicode]);
            classes.extend(int_keys.then_some(Class::IntKey));
            classes
        }
        Shape::Object(fields) => smallest(fields).map(|_| Class::Plain).into_iter().collect(),
        Shape::OneOf(shapes) => shapes.iter().flat_map(classes).collect(),
        Shape::Any => [
            Class::Empty,
            Class::Plain,
            Class::Unicode,
            Class::BigInt,
            Class::NullInside,
            Class::Deep,
        ]
        .into(),
    }
}

/// The states of a field that are of this class.
fn states(field: &Field, class: Class) -> Option<BoxedStrategy<Value>> {
    let empty = values(&field.shape, class);
    let default = field.default.clone().filter(|default| *default != Value::Null);
    match (class, default, empty) {
        (Class::Null, _, _) => field.nullable.then(|| Just(Value::Null).boxed()),
        (Class::Empty, Some(default), Some(empty)) => {
            Some(prop_oneof![empty, Just(default)].boxed())
        }
        (Class::Empty, Some(default), None) => Some(Just(default).boxed()),
        (_, _, values) => values,
    }
}

/// The values of a shape that are of this class.
fn values(shape: &Shape, class: Class) -> Option<BoxedStrategy<Value>> {
    if !classes(shape).contains(&class) {
        return None;
    }
    let text = |text: &str| Value::Text(text.to_owned());
    let just = |value: Value| Some(Just(value).boxed());
    match (shape, class) {
        (Shape::Null, _) => just(Value::Null),
        (Shape::Bool, _) => Some(any::<bool>().prop_map(Value::Bool).boxed()),
        (Shape::Choice(choices), _) if choices.is_empty() => None,
        (Shape::Choice(choices), _) => Some(select(choices.clone()).boxed()),
        (Shape::Int { .. }, Class::Empty) => just(Value::Int(0)),
        (Shape::Int { min, max }, Class::BigInt) => {
            Some(select(big(*min, *max).collect::<Vec<_>>()).prop_map(Value::Int).boxed())
        }
        (Shape::Int { min, max }, _) => {
            let (least, most) = (1.clamp(*min, *max), 1_000_000.clamp(*min, *max));
            Some((least..=most).prop_map(Value::Int).boxed())
        }
        (Shape::Float { .. }, Class::Empty) => just(Value::Float(0.0)),
        (Shape::Float { .. }, Class::Infinite) => just(Value::Float(f64::INFINITY)),
        (Shape::Float { .. }, _) => {
            let hard = select(vec![1.5, 0.1, 1e-9, 1e300, 5e-324, 123_456_789.123_456_79]);
            Some(hard.prop_map(Value::Float).boxed())
        }
        (Shape::Text, Class::Empty) => just(text("")),
        (Shape::Text, Class::Unicode) => Some(select(&HARD_TEXTS[..]).prop_map(text).boxed()),
        (Shape::Text, _) => Some("[a-z][a-z0-9:_/-]{0,8}".prop_map(Value::Text).boxed()),
        (Shape::Date, _) => Some(dates().boxed()),
        (Shape::List(_), Class::Empty) => just(Value::List(Vec::new())),
        (Shape::List(items), _) => {
            Some(vec(values(items, class)?, 1..3).prop_map(Value::List).boxed())
        }
        (Shape::Map { .. }, Class::Empty) => just(Value::Map([].into())),
        (Shape::Map { values: inner, .. }, Class::Unicode) => {
            let value = Just(inner.smallest()?);
            let key = select(&HARD_TEXTS[..]).prop_map(|key| Key::Text(key.to_owned()));
            Some(btree_map(key, value, 1..3).prop_map(Value::Map).boxed())
        }
        (Shape::Map { values: inner, .. }, Class::IntKey) => {
            let keys = select(vec![0, 1, -1, i64::MAX]).prop_map(Key::Int);
            Some(btree_map(keys, Just(inner.smallest()?), 1..3).prop_map(Value::Map).boxed())
        }
        (Shape::Map { values: inner, .. }, _) => {
            let value =
                values(inner, class).or_else(|| inner.smallest().map(|it| Just(it).boxed()));
            let key = "[a-z]{1,4}".prop_map(Key::Text);
            Some(btree_map(key, value?, 1..3).prop_map(Value::Map).boxed())
        }
        (Shape::Object(fields), _) => just(as_map(&smallest(fields)?)),
        (Shape::OneOf(shapes), _) => union(shapes.iter().filter_map(|it| values(it, class))),
        (Shape::Any, class) => Some(json(class)),
    }
}

/// Any JSON of a class.
fn json(class: Class) -> BoxedStrategy<Value> {
    let shapes = [
        Shape::Text,
        Shape::Bool,
        Shape::INT64,
        Shape::Float { finite: true },
        Shape::texts(),
        Shape::Map { values: Box::new(Shape::INT64), int_keys: false },
    ];
    match class {
        Class::NullInside => prop_oneof![
            Just(Value::List(vec![Value::Null])),
            Just(Value::Map([(Key::Text("a".to_owned()), Value::Null)].into())),
        ]
        .boxed(),
        Class::Deep => (DEEPEST / 2..=DEEPEST, any::<bool>())
            .prop_map(|(depth, lists)| {
                (0..depth).fold(Value::Bool(true), |inner, _| match lists {
                    true => Value::List(vec![inner]),
                    false => Value::Map([(Key::Text("a".to_owned()), inner)].into()),
                })
            })
            .boxed(),
        Class::Null
        | Class::Empty
        | Class::Plain
        | Class::Unicode
        | Class::BigInt
        | Class::Infinite
        | Class::Date
        | Class::IntKey => union(shapes.iter().filter_map(|shape| values(shape, class)))
            .unwrap_or_else(|| Just(Value::Text("a".to_owned())).boxed()),
    }
}

fn dates() -> impl Strategy<Value = Value> {
    select(vec![
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000001Z",
        "1969-12-31T23:59:59Z",
        "2038-01-19T03:14:08Z",
        "9999-12-31T23:59:59Z",
    ])
    .prop_map(|date| Value::Date(date.to_owned()))
}

/// Integers of a range that a double may not hold: the first beyond 2^53, and the edges.
fn big(min: i128, max: i128) -> impl Iterator<Item = i128> {
    const BEYOND: i128 = (1 << 53) + 1;
    let far = |it: &i128| it.abs() >= BEYOND;
    [BEYOND, -BEYOND, max, min].into_iter().filter(move |it| far(it) && (min..=max).contains(it))
}

/// Every state of every field, absence included, apart from those known to fail.
fn fields_lattice(
    fields: &[Field],
    within: &str,
    known: &BTreeSet<(String, Class)>,
) -> Option<BoxedStrategy<Object>> {
    let mut each = Vec::new();
    for field in fields {
        let path = match within {
            "" => field.name.clone(),
            outer => format!("{outer}.{}", field.name),
        };
        let mut options = Vec::new();
        if !field.required {
            options.push((3, Just(None).boxed()));
        }
        if field.nullable && !known.contains(&(path.clone(), Class::Null)) {
            options.push((1, Just(Some(Value::Null)).boxed()));
        }
        if let Some(values) = value_lattice(&field.shape, &path, known) {
            options.push((2, values.prop_map(Some).boxed()));
        }
        if options.is_empty() {
            // A required field that fails in every state takes part in its smallest one.
            options.push((1, Just(Some(field.shape.smallest()?)).boxed()));
        }
        let name = field.name.clone();
        each.push(
            Union::new_weighted(options)
                .prop_map(move |value| value.map(|value| (name.clone(), value)))
                .boxed(),
        );
    }
    Some(each.prop_map(|fields| fields.into_iter().flatten().collect()).boxed())
}

/// Every value of a shape, apart from those known to fail at this path.
fn value_lattice(
    shape: &Shape,
    path: &str,
    known: &BTreeSet<(String, Class)>,
) -> Option<BoxedStrategy<Value>> {
    match shape {
        Shape::Object(_) if known.contains(&(path.to_owned(), Class::Plain)) => None,
        Shape::Object(fields) => {
            Some(fields_lattice(fields, path, known)?.prop_map(|object| as_map(&object)).boxed())
        }
        Shape::List(items) if holds_objects(items) => {
            let items = value_lattice(items, &format!("{path}[]"), known);
            let empty = Just(Value::List(Vec::new())).boxed();
            union(
                [empty]
                    .into_iter()
                    .chain(items.map(|items| vec(items, 1..3).prop_map(Value::List).boxed())),
            )
        }
        Shape::OneOf(shapes) => {
            union(shapes.iter().filter_map(|shape| value_lattice(shape, path, known)))
        }
        shape => {
            let fine = classes(shape).into_iter();
            let fine = fine.filter(|class| !known.contains(&(path.to_owned(), *class)));
            union(fine.filter_map(|class| values(shape, class)))
        }
    }
}

fn holds_objects(shape: &Shape) -> bool {
    match shape {
        Shape::Object(_) => true,
        Shape::OneOf(shapes) => shapes.iter().any(holds_objects),
        Shape::Null
        | Shape::Bool
        | Shape::Int { .. }
        | Shape::Float { .. }
        | Shape::Text
        | Shape::Date
        | Shape::Choice(_)
        | Shape::List(_)
        | Shape::Map { .. }
        | Shape::Any => false,
    }
}

fn union(
    strategies: impl IntoIterator<Item = BoxedStrategy<Value>>,
) -> Option<BoxedStrategy<Value>> {
    let strategies: Vec<_> = strategies.into_iter().collect();
    (!strategies.is_empty()).then(|| Union::new(strategies).boxed())
}

#[cfg(test)]
mod tests {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    use super::*;

    fn team() -> Kind {
        let member = [
            Field::required("role", Shape::Text),
            Field::nullable("budget", Shape::Float { finite: false }),
        ];
        Kind::new(
            "team",
            [
                Field::required("team_id", Shape::Text),
                Field::optional("models", Shape::texts()),
                Field::optional("members", Shape::List(Box::new(Shape::Object(member.into())))),
            ],
        )
    }

    fn paths(kind: &Kind) -> Vec<String> {
        Place::all(kind).into_iter().map(|place| place.path).collect()
    }

    #[test]
    fn every_field_at_any_depth_is_a_place() {
        assert_eq!(
            paths(&team()),
            ["team_id", "models", "members", "members[].role", "members[].budget"]
        );
    }

    #[test]
    fn a_place_varies_its_field_and_nothing_else() {
        let budget = Place::all(&team()).remove(4);
        assert_eq!(budget.within.as_deref(), Some("members[]"));
        let objects = budget.objects(Class::Infinite).unwrap();
        let object = objects.new_tree(&mut TestRunner::deterministic()).unwrap().current();
        assert_eq!(
            as_map(&object).to_string(),
            r#"{members: [{budget: inf, role: "a"}], team_id: "a"}"#
        );
    }

    #[test]
    fn a_kind_that_cannot_be_has_no_places() {
        let never = Kind::new("never", [Field::required("it", Shape::OneOf(Vec::new()))]);
        assert!(Place::all(&never).is_empty());
    }

    proptest! {
        #[test]
        fn the_lattice_holds_what_is_required_and_nothing_undeclared(
            object in lattice(&team(), &BTreeSet::new()).unwrap()
        ) {
            prop_assert!(object.contains_key("team_id"));
            prop_assert!(object.keys().all(|name| team().names().contains(name.as_str())));
        }

        #[test]
        fn what_is_known_to_fail_is_left_out(
            object in lattice(&team(), &BTreeSet::from([("models".to_owned(), Class::Null)])).unwrap()
        ) {
            prop_assert_ne!(object.get("models"), Some(&Value::Null));
        }
    }
}
