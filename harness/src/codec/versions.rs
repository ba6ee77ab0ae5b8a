//! Two versions of one codec, side by side on one cache, as during every rolling deploy.
//!
//! The newer one must read what the older one wrote, or each key is read from the database by every
//! replica for as long as the deploy takes. The older one need not read what the newer one writes;
//! but what it does read must keep every restriction, those that it has never heard of included.
//! Fields that only one of the two knows are nobody's loss unless they narrow rights.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    Codec, Decoded, Encoded,
    declaration::{Field, Kind, Shape, smallest},
    laws::{Court, Effort, Findings, Law, PER_CLASS, Wrong, difference, shown},
    value::{Object, Value, as_map, as_object},
    values::{Place, lattice},
};

/// Has the newer codec read what the older one writes, and the other way round.
///
/// # Errors
///
/// When a codec gives no answer.
pub fn judge<C: Codec>(older: &mut C, newer: &mut C, effort: Effort) -> Result<Findings, C::Error> {
    let (findings, ended) = judge_so_far(older, newer, effort);
    ended.map(|()| findings)
}

/// The same until one can no longer be asked: what was found by then, and why it ended early, if it did.
pub fn judge_so_far<C: Codec>(
    older: &mut C,
    newer: &mut C,
    effort: Effort,
) -> (Findings, Result<(), C::Error>) {
    let (mut findings, ended) = one_way(older, newer, Law::PreviousVersion, effort);
    if ended.is_err() {
        return (findings, ended);
    }
    let (more, ended) = one_way(newer, older, Law::NextVersion, effort);
    findings.extend(more);
    (findings, ended)
}

/// Has one read what the other writes, for every kind that both have.
fn one_way<C: Codec>(
    writer: &mut C,
    reader: &mut C,
    law: Law,
    effort: Effort,
) -> (Findings, Result<(), C::Error>) {
    let read_kinds = reader.kinds();
    let (written, read) = (Court::new(writer, effort), Court::new(reader, effort));
    let kinds = written.kinds();
    let ended = kinds.iter().try_for_each(|kind| {
        let Some(read_kind) = read_kinds.iter().find(|it| it.name == kind.name) else {
            return Ok(());
        };
        Way { law, written: &written, read: &read, kind, read_kind }.judge(effort)
    });
    (written.findings(), ended)
}

/// One kind, from its writer to its reader.
struct Way<'a, 'b, C> {
    law: Law,
    written: &'a Court<'b, C>,
    read: &'a Court<'b, C>,
    kind: &'a Kind,
    read_kind: &'a Kind,
}

impl<C: Codec> Way<'_, '_, C> {
    /// Varies each field alone, and then all of them.
    fn judge(&self, effort: Effort) -> Result<(), C::Error> {
        let known = RefCell::new(BTreeSet::new());
        let probe = |object: &Object| self.carried(object);
        let Some(base) = smallest(&self.kind.fields) else { return Ok(()) };
        if let Some(wrong) = self.carried(&base)? {
            // What fails in the smallest object would be told again for every field.
            self.written.record(self.kind, wrong.field.as_deref(), &wrong, &base);
            return Ok(());
        }
        for place in Place::all(self.kind) {
            for class in place.classes() {
                let Some(objects) = place.objects(class) else { continue };
                let name = format!("{} {} {} {class:?}", self.law.id(), self.kind.name, place.path);
                let found =
                    self.written.search(&name, PER_CLASS, &objects, &BTreeSet::new(), &probe)?;
                if let Some((object, wrong)) = found {
                    known.borrow_mut().insert((place.path.clone(), class));
                    self.written.record(self.kind, Some(&place.path), &wrong, &object);
                }
            }
        }
        let Some(objects) = lattice(self.kind, &known.borrow()) else { return Ok(()) };
        let name = format!("{} {} whole", self.law.id(), self.kind.name);
        let found = self.written.search(&name, effort.cases, &objects, &BTreeSet::new(), &probe)?;
        if let Some((object, wrong)) = found {
            self.written.record(self.kind, wrong.field.as_deref(), &wrong, &object);
        }
        Ok(())
    }

    /// What is lost of an object on its way.
    fn carried(&self, object: &Object) -> Result<Option<Wrong>, C::Error> {
        let Ok(Encoded::Written { payload, held }) = self.written.encode(self.kind, object)? else {
            return Ok(None);
        };
        // What its own writer does not give back is told by the other laws.
        let held = match self.written.decode(self.kind, &payload)? {
            Ok(Decoded::Object(own)) if difference(&held, &own).is_none() => held,
            Ok(_) | Err(_) => return Ok(None),
        };
        self.written.tried(self.law);
        let given = as_map(object);
        let wrong = |field, symptom: &str, story| {
            let symptom = symptom.to_owned();
            Some(Wrong { law: self.law, field, symptom, story, written: payload.clone() })
        };
        let (writer, reader) = match self.law {
            Law::NextVersion => ("this", "the previous"),
            _ => ("the previous", "this"),
        };
        let how = |what: &str| {
            format!("{reader} version's decode({writer} version's encode({given})) {what}")
        };
        Ok(match self.read.decode(self.read_kind, &payload)? {
            Ok(Decoded::Refused(_) | Decoded::Miss) if self.law == Law::NextVersion => None,
            Ok(Decoded::Miss) => wrong(None, "of another version is never read", how("is a miss")),
            Ok(Decoded::Refused(why)) => wrong(
                None,
                "of another version is never read",
                how(&format!("refuses: {}", shown(&why))),
            ),
            Err(panic) => {
                wrong(None, "of another version panics", how(&format!("panics: {panic}")))
            }
            Ok(Decoded::Object(read)) => {
                if let Some(lost) = self.lost(&held, &read) {
                    let what = format!("gives an object without {lost}, which narrows rights");
                    return Ok(wrong(Some(lost), "that narrows rights is lost", how(&what)));
                }
                let both = |it: &Object, kind: &Kind| {
                    let understood = kind.understood(it);
                    known_to_both(&understood, &self.kind.fields, &self.read_kind.fields)
                };
                let changed = difference(&both(&held, self.kind), &both(&read, self.read_kind));
                changed.and_then(|(field, _, after)| {
                    let after = after.map_or("nothing".to_owned(), |value| value.to_string());
                    let what = format!("gives {field}: {after}");
                    wrong(Some(field), "changes between versions", how(&what))
                })
            }
        })
    }

    /// A restriction that is in force and that the reader has never heard of, or has put into other
    /// words that are not in force.
    fn lost(&self, held: &Object, read: &Object) -> Option<String> {
        let names = self.read_kind.names();
        let unheard = self.kind.fields.iter().find(|field| {
            let mut heirs = self.read_kind.fields.iter();
            let is_inherited = heirs.any(|heir| {
                heir.instead_of.contains(&field.name) && heir.is_in_force(read.get(&heir.name))
            });
            let is_known = is_inherited || names.contains(field.name.as_str());
            field.is_in_force(held.get(&field.name)) && !is_known
        });
        unheard.map(|field| field.name.clone())
    }
}

/// The fields of an object that both versions know, as deep as they declare it.
fn known_to_both(object: &Object, these: &[Field], those: &[Field]) -> Object {
    let both = object.iter().filter_map(|(name, value)| {
        let this = these.iter().find(|field| field.name == *name)?;
        let that = those.iter().find(|field| field.name == *name)?;
        Some((name.clone(), value_known_to_both(value, &this.shape, &that.shape)))
    });
    both.collect()
}

fn value_known_to_both(value: &Value, this: &Shape, that: &Shape) -> Value {
    match value {
        Value::Map(_) => {
            let (these, those) = (fields_of(this), fields_of(that));
            // A map without declared fields is one value, and so is what one of them takes for such.
            let object = as_object(value.clone()).ok();
            let object = object.filter(|_| !these.is_empty() && !those.is_empty());
            object.map_or_else(|| value.clone(), |it| as_map(&known_to_both(&it, &these, &those)))
        }
        Value::List(items) => match (items_of(this), items_of(that)) {
            (Some(this), Some(that)) => {
                Value::List(items.iter().map(|it| value_known_to_both(it, this, that)).collect())
            }
            _ => value.clone(),
        },
        plain => plain.clone(),
    }
}

/// The fields that an object of this shape may have.
fn fields_of(shape: &Shape) -> Vec<Field> {
    match shape {
        Shape::Object(fields) => fields.clone(),
        Shape::OneOf(shapes) => shapes.iter().flat_map(fields_of).collect(),
        _ => Vec::new(),
    }
}

fn items_of(shape: &Shape) -> Option<&Shape> {
    match shape {
        Shape::List(items) => Some(items),
        Shape::OneOf(shapes) => shapes.iter().find_map(items_of),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::codec::{Typed, UnknownFields};

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Older {
        id: String,
        tpm: Option<i64>,
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Newer {
        id: String,
        tpm: Option<i64>,
        blocked: Option<bool>,
    }

    fn older() -> Typed {
        codec::<Older>([])
    }

    fn newer() -> Typed {
        codec::<Newer>([Field::optional("blocked", Shape::Bool).narrowing()])
    }

    fn codec<T: serde::Serialize + serde::de::DeserializeOwned + 'static>(
        more: impl IntoIterator<Item = Field>,
    ) -> Typed {
        let fields = [Field::required("id", Shape::Text), Field::optional("tpm", Shape::INT64)];
        let mut kind = Kind::new("team", fields.into_iter().chain(more));
        kind.unknown = UnknownFields::Ignored;
        Typed::new().with(
            kind,
            |it: &T| serde_json::to_vec(it).map_err(|error| error.to_string()),
            |entry| serde_json::from_slice(entry).map_err(|error| error.to_string()),
        )
    }

    fn told(mut older: Typed, mut newer: Typed) -> String {
        let found = judge(&mut older, &mut newer, Effort { seed: 7, cases: 16 }).unwrap();
        let told = found.breaches.iter().map(|it| format!("{}: {it}", it.law.id()));
        told.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_version_gets_on_with_itself() {
        assert_eq!(told(newer(), newer()), "");
    }

    #[test]
    fn a_field_that_one_version_does_not_know_is_no_difference_at_any_depth() {
        let map = |names: &[&str]| {
            as_map(&names.iter().map(|name| ((*name).to_owned(), Value::Int(1))).collect())
        };
        let shape = |names: &[&str]| {
            let fields = names.iter().map(|name| Field::required(name, Shape::INT64));
            Shape::List(Box::new(Shape::Object(fields.collect())))
        };
        let newer = Value::List(vec![map(&["a", "b"])]);
        let seen = value_known_to_both(&newer, &shape(&["a", "b"]), &shape(&["a"]));
        assert_eq!(seen, Value::List(vec![map(&["a"])]));
        let plain = Shape::List(Box::new(Shape::json_object()));
        assert_eq!(value_known_to_both(&newer, &shape(&["a"]), &plain), newer);
    }

    #[test]
    fn a_restriction_that_the_older_version_drops_is_told() {
        assert_snapshot!(told(older(), newer()), @r#"
        next-version: team: the previous version's decode(this version's encode({blocked: true, id: "a"})) gives an object without blocked, which narrows rights
          written: {"id":"a","tpm":null,"blocked":true}
        "#);
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Dated {
        id: String,
        tpm: Option<i64>,
        blocked_at: Option<i64>,
    }

    /// Says since when, where the older version says whether; `date` reads what that one wrote.
    fn dated(date: fn(bool) -> Option<i64>) -> Typed {
        let fields = [
            Field::required("id", Shape::Text),
            Field::optional("tpm", Shape::INT64),
            Field::optional("blocked_at", Shape::INT64).narrowing().instead_of("blocked"),
        ];
        Typed::new().with(
            Kind { unknown: UnknownFields::Ignored, ..Kind::new("team", fields) },
            |it: &Dated| serde_json::to_vec(it).map_err(|error| error.to_string()),
            move |entry| {
                let read: Dated = serde_json::from_slice(entry).map_err(|it| it.to_string())?;
                let json: serde_json::Value =
                    serde_json::from_slice(entry).map_err(|it| it.to_string())?;
                let flag = json["blocked"].as_bool().and_then(date);
                Ok(Dated { blocked_at: read.blocked_at.or(flag), ..read })
            },
        )
    }

    fn flagged() -> Typed {
        let strict = newer().kinds().remove(0);
        Typed::new().with(
            Kind { unknown: UnknownFields::Refused, ..strict },
            |it: &Newer| serde_json::to_vec(it).map_err(|error| error.to_string()),
            |entry| {
                let json: serde_json::Value =
                    serde_json::from_slice(entry).map_err(|error| error.to_string())?;
                match json.get("blocked_at") {
                    Some(_) => Err("what is blocked_at?".to_owned()),
                    None => serde_json::from_value(json).map_err(|error| error.to_string()),
                }
            },
        )
    }

    #[test]
    fn a_restriction_in_other_words_is_not_lost() {
        assert_eq!(told(flagged(), dated(|blocked| blocked.then_some(1))), "");
    }

    #[test]
    fn a_restriction_whose_other_words_are_not_in_force_is_told() {
        assert_snapshot!(told(flagged(), dated(|_| None)), @r#"
        previous-version: team: this version's decode(the previous version's encode({blocked: true, id: "a"})) gives an object without blocked, which narrows rights
          written: {"id":"a","tpm":null,"blocked":true}
        "#);
    }

    #[test]
    fn what_the_newer_version_cannot_read_is_told() {
        let strict = Typed::new().with(
            older().kinds().remove(0),
            |it: &Newer| serde_json::to_vec(it).map_err(|error| error.to_string()),
            |entry| {
                let json: serde_json::Value =
                    serde_json::from_slice(entry).map_err(|error| error.to_string())?;
                json.get("blocked").ok_or("blocked is missing")?;
                serde_json::from_value::<Newer>(json).map_err(|error| error.to_string())
            },
        );
        assert_snapshot!(told(older(), strict), @r#"
        previous-version: team: this version's decode(the previous version's encode({id: "a"})) refuses: blocked is missing
          written: {"id":"a","tpm":null}
        "#);
    }
}
