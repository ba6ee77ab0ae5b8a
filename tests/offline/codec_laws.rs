//! The reference gateway's own codec, held to the codec laws, and the form of what it writes.

use harness::codec::{
    Codec, Decoded, Encoded, Field, Kind, Object, Shape, Value,
    laws::{self, Effort, Law},
    value::{as_map, as_object},
};
use reference_gateway::entries::{self, EntryError};

#[test]
fn the_codec_laws_hold_for_the_reference_gateway() {
    laws::assert_hold(&mut Entries);
}

#[test]
fn every_law_that_applies_is_put_to_the_test() {
    let findings = laws::judge(&mut Entries, Effort { seed: 1, cases: 8 }).unwrap();
    for law in Law::ALL {
        // A panic is looked for on every call, and there is no other schema version.
        let applies = !matches!(law, Law::NoPanic | Law::PreviousVersion | Law::NextVersion);
        assert_eq!(findings.tried.contains_key(&law), applies, "{}", law.id());
    }
    assert!(findings.illegal.is_empty(), "the declaration is wider than the types");
}

#[test]
fn the_declaration_names_every_field_that_is_written() {
    for kind in Entries.kinds() {
        let smallest = harness::codec::declaration::smallest(&kind.fields).unwrap();
        let Encoded::Written { held, .. } = Entries.encode(&kind.name, &smallest).unwrap() else {
            panic!("the smallest {} is not written", kind.name);
        };
        let held: Vec<_> = held.keys().map(String::as_str).collect();
        assert_eq!(held, kind.names().into_iter().collect::<Vec<_>>(), "{}", kind.name);
    }
}

/// Whoever changes one of these changes what replicas of two versions tell each other: the schema
/// version must change too.
#[test]
fn an_entry_looks_like_this() {
    let entries: Vec<_> = Entries.kinds().iter().map(set_and_null).collect();
    insta::assert_snapshot!(entries.join("\n"), @r#"
    {"v":1,"k":"key","d":{"token":"a","key_name":"a","key_alias":"a","user_id":"a","team_id":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0,"blocked":false,"expires_at_ms":0,"key_id":"a"}}
    {"v":1,"k":"key","d":{"token":"a","key_name":"a","key_alias":null,"user_id":null,"team_id":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null,"blocked":null,"expires_at_ms":null,"key_id":"a"}}
    {"v":1,"k":"team","d":{"team_id":"a","team_alias":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0,"blocked":false}}
    {"v":1,"k":"team","d":{"team_id":"a","team_alias":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null,"blocked":null}}
    {"v":1,"k":"user","d":{"user_id":"a","user_email":"a","user_alias":"a","user_role":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0}}
    {"v":1,"k":"user","d":{"user_id":"a","user_email":null,"user_alias":null,"user_role":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null}}
    {"v":1,"k":"member","d":{"team_id":"a","user_id":"a","role":"a","budget":{"max_budget":0.0,"budget_duration":"a"},"tpm_limit":0,"rpm_limit":0,"allowed_models":[]}}
    {"v":1,"k":"member","d":{"team_id":"a","user_id":"a","role":"a","budget":null,"tpm_limit":null,"rpm_limit":null,"allowed_models":null}}
    "#);
}

/// The entry of an object with every field set, and of one with every field null that may be.
fn set_and_null(kind: &Kind) -> String {
    let written = |fill: &dyn Fn(&Field) -> Value| {
        let object: Object =
            kind.fields.iter().map(|field| (field.name.clone(), fill(field))).collect();
        match Entries.encode(&kind.name, &object).unwrap() {
            Encoded::Written { payload, .. } => String::from_utf8(payload).unwrap(),
            other => panic!("{} is not written: {other:?}", as_map(&object)),
        }
    };
    let set = written(&|field| field.shape.smallest().unwrap());
    let null = written(&|field| match field.nullable {
        true => Value::Null,
        false => field.shape.smallest().unwrap(),
    });
    format!("{set}\n{null}")
}

/// The reference gateway's codec.
struct Entries;

impl Codec for Entries {
    type Error = EntryError;

    fn kinds(&self) -> Vec<Kind> {
        let money = Shape::Float { finite: true };
        vec![
            Kind::new(
                "key",
                [
                    Field::required("token", Shape::Text),
                    Field::required("key_name", Shape::Text),
                    Field::nullable("key_alias", Shape::Text),
                    Field::nullable("user_id", Shape::Text),
                    Field::nullable("team_id", Shape::Text),
                    Field::nullable("models", Shape::texts()).narrowing(),
                    Field::nullable("metadata", Shape::Any),
                    Field::nullable("max_budget", money.clone()).narrowing(),
                    Field::nullable("budget_duration", Shape::Text).narrowing(),
                    Field::nullable("tpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("rpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("max_parallel_requests", Shape::INT64).narrowing(),
                    Field::nullable("blocked", Shape::Bool).narrowing(),
                    Field::nullable("expires_at_ms", Shape::INT64).narrowing(),
                    Field::required("key_id", Shape::Text),
                ],
            ),
            Kind::new(
                "team",
                [
                    Field::required("team_id", Shape::Text),
                    Field::nullable("team_alias", Shape::Text),
                    Field::nullable("models", Shape::texts()).narrowing(),
                    Field::nullable("metadata", Shape::Any),
                    Field::nullable("max_budget", money.clone()).narrowing(),
                    Field::nullable("budget_duration", Shape::Text).narrowing(),
                    Field::nullable("tpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("rpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("max_parallel_requests", Shape::INT64).narrowing(),
                    Field::nullable("blocked", Shape::Bool).narrowing(),
                ],
            ),
            Kind::new(
                "user",
                [
                    Field::required("user_id", Shape::Text),
                    Field::nullable("user_email", Shape::Text),
                    Field::nullable("user_alias", Shape::Text),
                    Field::nullable("user_role", Shape::Text),
                    Field::nullable("models", Shape::texts()).narrowing(),
                    Field::nullable("metadata", Shape::Any),
                    Field::nullable("max_budget", money.clone()).narrowing(),
                    Field::nullable("budget_duration", Shape::Text).narrowing(),
                    Field::nullable("tpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("rpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("max_parallel_requests", Shape::INT64).narrowing(),
                ],
            ),
            Kind::new(
                "member",
                [
                    Field::required("team_id", Shape::Text),
                    Field::required("user_id", Shape::Text),
                    Field::required("role", Shape::Text),
                    Field::nullable(
                        "budget",
                        Shape::Object(vec![
                            Field::nullable("max_budget", money),
                            Field::nullable("budget_duration", Shape::Text),
                        ]),
                    )
                    .narrowing(),
                    Field::nullable("tpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("rpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("allowed_models", Shape::texts()).narrowing(),
                ],
            ),
        ]
    }

    fn writes_json(&self) -> bool {
        true
    }

    fn encode(&mut self, kind: &str, value: &Object) -> Result<Encoded, EntryError> {
        let json = match as_map(value).to_json() {
            Ok(json) => json,
            Err(why) => return Ok(Encoded::Illegal(why)),
        };
        match entries::encode(kind, &json) {
            Ok((held, payload)) => {
                let held = as_object(Value::from_json(&held)).map_err(EntryError::Unreadable)?;
                Ok(Encoded::Written { payload, held })
            }
            Err(EntryError::NoIdentity(why)) => Ok(Encoded::Illegal(why)),
            Err(error) => Err(error),
        }
    }

    fn decode(&mut self, kind: &str, payload: &[u8]) -> Result<Decoded, EntryError> {
        match entries::decode(kind, payload) {
            Ok(Some(identity)) => as_object(Value::from_json(&identity))
                .map(Decoded::Object)
                .map_err(EntryError::Unreadable),
            Ok(None) => Ok(Decoded::Miss),
            Err(EntryError::Unreadable(why)) => Ok(Decoded::Refused(why)),
            Err(error) => Err(error),
        }
    }
}
