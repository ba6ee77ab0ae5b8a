//! The reference gateway's own codec, held to the codec laws at both schema versions, and the form of
//! what it writes.

use harness::codec::{
    Codec, Decoded, Encoded, Field, Kind, Object, Shape, Value,
    laws::{self, Effort, Law},
    value::{as_map, as_object},
    versions,
};
use reference_gateway::{
    cache_schema::CacheSchema,
    entries::{self, Entries, EntryError},
};

const ONE: Release = Release(CacheSchema::One);
const TWO: Release = Release(CacheSchema::Two);

#[test]
fn the_codec_laws_hold_for_either_schema_version() {
    laws::assert_hold(&mut { ONE });
    laws::assert_hold(&mut { TWO });
}

#[test]
fn every_law_that_applies_is_put_to_the_test() {
    for mut release in [ONE, TWO] {
        let findings = laws::judge(&mut release, Effort { seed: 1, cases: 8 }).unwrap();
        for law in Law::ALL {
            // A panic is looked for on every call; the versions are held against each other below.
            let applies = !matches!(law, Law::NoPanic | Law::PreviousVersion | Law::NextVersion);
            assert_eq!(findings.tried.contains_key(&law), applies, "{}", law.id());
        }
        assert!(findings.illegal.is_empty(), "the declaration is wider than the types");
    }
}

/// The newer release reads what the older one wrote, every block included; the older one reads
/// nothing of the newer one's, whose blocks it could not see.
#[test]
fn two_releases_share_one_cache() {
    let findings = versions::judge(&mut { ONE }, &mut { TWO }, Effort { seed: 1, cases: 64 });
    let findings = findings.unwrap();
    let told: Vec<_> =
        findings.breaches.iter().map(|it| format!("{}: {it}", it.law.id())).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    for law in [Law::PreviousVersion, Law::NextVersion] {
        assert!(findings.tried[&law] > 0, "{}", law.id());
    }
}

#[test]
fn a_block_of_the_older_release_is_one_of_the_newer() {
    for kind in ["key", "team"] {
        let declared = ONE.kinds().into_iter().find(|it| it.name == kind).unwrap();
        let mut object = harness::codec::declaration::smallest(&declared.fields).unwrap();
        object.insert("blocked".to_owned(), Value::Bool(true));
        let Encoded::Written { payload, .. } = { ONE }.encode(kind, &object).unwrap() else {
            panic!("a blocked {kind} is not written");
        };
        let Decoded::Object(read) = { TWO }.decode(kind, &payload).unwrap() else {
            panic!("a blocked {kind} is not read");
        };
        assert_ne!(read["blocked_at"], Value::Null);
    }
}

#[test]
fn the_declaration_names_every_kind_and_every_field_that_is_written() {
    for mut release in [ONE, TWO] {
        let kinds = release.kinds();
        assert_eq!(kinds.iter().map(|kind| kind.name.as_str()).collect::<Vec<_>>(), entries::KINDS);
        for kind in kinds {
            let smallest = harness::codec::declaration::smallest(&kind.fields).unwrap();
            let Encoded::Written { held, .. } = release.encode(&kind.name, &smallest).unwrap()
            else {
                panic!("the smallest {} is not written", kind.name);
            };
            let held: Vec<_> = held.keys().map(String::as_str).collect();
            assert_eq!(held, kind.names().into_iter().collect::<Vec<_>>(), "{}", kind.name);
        }
    }
}

/// Whoever changes one of these changes what replicas of two versions tell each other: the schema
/// version must change too.
#[test]
fn an_entry_of_version_1_looks_like_this() {
    insta::assert_snapshot!(entries_of(ONE), @r#"
    {"v":1,"k":"key","d":{"token":"a","key_name":"a","key_id":"a","key_alias":"a","user_id":"a","team_id":"a","organization_id":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0,"expires_at_ms":0,"blocked":false}}
    {"v":1,"k":"key","d":{"token":"a","key_name":"a","key_id":"a","key_alias":null,"user_id":null,"team_id":null,"organization_id":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null,"expires_at_ms":null,"blocked":null}}
    {"v":1,"k":"team","d":{"team_id":"a","team_alias":"a","organization_id":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0,"blocked":false}}
    {"v":1,"k":"team","d":{"team_id":"a","team_alias":null,"organization_id":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null,"blocked":null}}
    {"v":1,"k":"user","d":{"user_id":"a","user_email":"a","user_alias":"a","user_role":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0}}
    {"v":1,"k":"user","d":{"user_id":"a","user_email":null,"user_alias":null,"user_role":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null}}
    {"v":1,"k":"member","d":{"team_id":"a","user_id":"a","role":"a","budget":{"max_budget":0.0,"budget_duration":"a"},"tpm_limit":0,"rpm_limit":0,"allowed_models":[]}}
    {"v":1,"k":"member","d":{"team_id":"a","user_id":"a","role":"a","budget":null,"tpm_limit":null,"rpm_limit":null,"allowed_models":null}}
    {"v":1,"k":"organisation","d":{"organization_id":"a","organization_alias":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0}}
    {"v":1,"k":"organisation","d":{"organization_id":"a","organization_alias":"a","models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null}}
    {"v":1,"k":"end_user","d":{"user_id":"a","alias":"a","blocked":false,"max_budget":0.0,"budget_duration":"a"}}
    {"v":1,"k":"end_user","d":{"user_id":"a","alias":null,"blocked":null,"max_budget":null,"budget_duration":null}}
    "#);
}

#[test]
fn an_entry_of_version_2_looks_like_this() {
    insta::assert_snapshot!(entries_of(TWO), @r#"
    {"v":2,"k":"key","d":{"token":"a","key_name":"a","key_id":"a","key_alias":"a","user_id":"a","team_id":"a","organization_id":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0,"expires_at_ms":0,"blocked_at":0}}
    {"v":2,"k":"key","d":{"token":"a","key_name":"a","key_id":"a","key_alias":null,"user_id":null,"team_id":null,"organization_id":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null,"expires_at_ms":null,"blocked_at":null}}
    {"v":2,"k":"team","d":{"team_id":"a","team_alias":"a","organization_id":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0,"blocked_at":0}}
    {"v":2,"k":"team","d":{"team_id":"a","team_alias":null,"organization_id":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null,"blocked_at":null}}
    {"v":2,"k":"user","d":{"user_id":"a","user_email":"a","user_alias":"a","user_role":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0,"max_parallel_requests":0}}
    {"v":2,"k":"user","d":{"user_id":"a","user_email":null,"user_alias":null,"user_role":null,"models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null,"max_parallel_requests":null}}
    {"v":2,"k":"member","d":{"team_id":"a","user_id":"a","role":"a","budget":{"max_budget":0.0,"budget_duration":"a"},"tpm_limit":0,"rpm_limit":0,"allowed_models":[]}}
    {"v":2,"k":"member","d":{"team_id":"a","user_id":"a","role":"a","budget":null,"tpm_limit":null,"rpm_limit":null,"allowed_models":null}}
    {"v":2,"k":"organisation","d":{"organization_id":"a","organization_alias":"a","models":[],"metadata":"a","max_budget":0.0,"budget_duration":"a","tpm_limit":0,"rpm_limit":0}}
    {"v":2,"k":"organisation","d":{"organization_id":"a","organization_alias":"a","models":null,"metadata":null,"max_budget":null,"budget_duration":null,"tpm_limit":null,"rpm_limit":null}}
    {"v":2,"k":"end_user","d":{"user_id":"a","alias":"a","blocked":false,"max_budget":0.0,"budget_duration":"a"}}
    {"v":2,"k":"end_user","d":{"user_id":"a","alias":null,"blocked":null,"max_budget":null,"budget_duration":null}}
    "#);
}

/// Of each kind, the entry of an object with every field set, and of one with every field null that
/// may be.
fn entries_of(release: Release) -> String {
    let entries: Vec<_> = release.kinds().iter().map(|kind| set_and_null(release, kind)).collect();
    entries.join("\n")
}

fn set_and_null(mut release: Release, kind: &Kind) -> String {
    let mut written = |fill: &dyn Fn(&Field) -> Value| {
        let object: Object =
            kind.fields.iter().map(|field| (field.name.clone(), fill(field))).collect();
        match release.encode(&kind.name, &object).unwrap() {
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

/// The codec of the release that writes this schema version.
#[derive(Clone, Copy)]
struct Release(CacheSchema);

impl Release {
    /// How this version says that a key or team is blocked.
    fn block(self) -> Field {
        match self.0 {
            CacheSchema::One => Field::nullable("blocked", Shape::Bool).narrowing(),
            CacheSchema::Two => {
                Field::nullable("blocked_at", Shape::INT64).narrowing().instead_of("blocked")
            }
        }
    }
}

impl Codec for Release {
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
                    Field::nullable("organization_id", Shape::Text).narrowing(),
                    Field::nullable("models", Shape::texts()).narrowing(),
                    Field::nullable("metadata", Shape::Any),
                    Field::nullable("max_budget", money.clone()).narrowing(),
                    Field::nullable("budget_duration", Shape::Text).narrowing(),
                    Field::nullable("tpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("rpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("max_parallel_requests", Shape::INT64).narrowing(),
                    self.block(),
                    Field::nullable("expires_at_ms", Shape::INT64).narrowing(),
                    Field::required("key_id", Shape::Text),
                ],
            ),
            Kind::new(
                "team",
                [
                    Field::required("team_id", Shape::Text),
                    Field::nullable("team_alias", Shape::Text),
                    Field::nullable("organization_id", Shape::Text).narrowing(),
                    Field::nullable("models", Shape::texts()).narrowing(),
                    Field::nullable("metadata", Shape::Any),
                    Field::nullable("max_budget", money.clone()).narrowing(),
                    Field::nullable("budget_duration", Shape::Text).narrowing(),
                    Field::nullable("tpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("rpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("max_parallel_requests", Shape::INT64).narrowing(),
                    self.block(),
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
                            Field::nullable("max_budget", money.clone()),
                            Field::nullable("budget_duration", Shape::Text),
                        ]),
                    )
                    .narrowing(),
                    Field::nullable("tpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("rpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("allowed_models", Shape::texts()).narrowing(),
                ],
            ),
            Kind::new(
                "organisation",
                [
                    Field::required("organization_id", Shape::Text),
                    Field::required("organization_alias", Shape::Text),
                    Field::nullable("models", Shape::texts()).narrowing(),
                    Field::nullable("metadata", Shape::Any),
                    Field::nullable("max_budget", money.clone()).narrowing(),
                    Field::nullable("budget_duration", Shape::Text).narrowing(),
                    Field::nullable("tpm_limit", Shape::INT64).narrowing(),
                    Field::nullable("rpm_limit", Shape::INT64).narrowing(),
                ],
            ),
            Kind::new(
                "end_user",
                [
                    Field::required("user_id", Shape::Text),
                    Field::nullable("alias", Shape::Text),
                    Field::nullable("blocked", Shape::Bool).narrowing(),
                    Field::nullable("max_budget", money).narrowing(),
                    Field::nullable("budget_duration", Shape::Text).narrowing(),
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
        match (Entries { schema: self.0 }).encode(kind, &json) {
            Ok((held, payload)) => {
                let held = as_object(Value::from_json(&held)).map_err(EntryError::Unreadable)?;
                Ok(Encoded::Written { payload, held })
            }
            Err(EntryError::NoIdentity(why)) => Ok(Encoded::Illegal(why)),
            Err(error) => Err(error),
        }
    }

    fn decode(&mut self, kind: &str, payload: &[u8]) -> Result<Decoded, EntryError> {
        match (Entries { schema: self.0 }).decode(kind, payload) {
            Ok(Some(identity)) => as_object(Value::from_json(&identity))
                .map(Decoded::Object)
                .map_err(EntryError::Unreadable),
            Ok(None) => Ok(Decoded::Miss),
            Err(EntryError::Unreadable(why)) => Ok(Decoded::Refused(why)),
            Err(error) => Err(error),
        }
    }
}
