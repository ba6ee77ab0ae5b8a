//! The bytes of a shared entry: `{"v":1,"k":"team","d":{…}}`.
//!
//! `v` is the schema version, `k` the kind, `d` the identity with every field present, nulls
//! included; `d` is null when Postgres has no such row. A reader takes nothing else: a field it
//! does not know may narrow rights, so an entry with one is unreadable, not readable without it.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, de, de::DeserializeOwned};

use super::keys::Kind;
use crate::defects::Defects;

/// Changes whenever the meaning of a payload does.
const VERSION: u32 = 1;

/// What can stand in an entry's `d`.
pub(crate) trait Payload:
    Serialize + DeserializeOwned + Default + fmt::Debug + Send + Sync + 'static
{
    /// The tag that its entries carry.
    const KIND: Kind;
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the entry holds a {found}, not a {}", wanted.tag())]
    WrongKind { wanted: Kind, found: String },
    #[error("the entry has schema version {found}, not {VERSION}")]
    WrongVersion { found: u64 },
    #[error("the entry is not one that this gateway wrote")]
    Malformed,
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<&'static str>,
    d: Option<&'a T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "T: Payload")]
struct Read<T> {
    #[serde(rename = "v")]
    _version: OurVersion,
    #[serde(rename = "k")]
    _kind: OurKind<T>,
    #[serde(deserialize_with = "Option::deserialize")]
    d: Option<T>,
}

/// Reads only our schema version.
struct OurVersion;

impl<'de> Deserialize<'de> for OurVersion {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        match u32::deserialize(input)? {
            VERSION => Ok(Self),
            _ => Err(de::Error::custom("another schema version")),
        }
    }
}

/// Reads only the tag of `T`.
struct OurKind<T>(PhantomData<T>);

impl<'de, T: Payload> Deserialize<'de> for OurKind<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Tag<T>(PhantomData<T>);
        impl<T: Payload> de::Visitor<'_> for Tag<T> {
            type Value = OurKind<T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "the kind {:?}", T::KIND.tag())
            }
            fn visit_str<E: de::Error>(self, found: &str) -> Result<Self::Value, E> {
                match found == T::KIND.tag() {
                    true => Ok(OurKind(PhantomData)),
                    false => Err(E::custom("another kind")),
                }
            }
        }
        input.deserialize_str(Tag(PhantomData))
    }
}

/// The entry for an identity, or for its absence.
pub(crate) fn encode<T: Payload>(identity: Option<&T>, defects: Defects) -> Vec<u8> {
    if defects.excludes_nulls() {
        return null_free::encode(identity);
    }
    let k = (!defects.drops_kind()).then_some(T::KIND.tag());
    serde_json::to_vec(&Written { v: VERSION, k, d: identity })
        .expect("identities have string keys and finite numbers, so they always serialise")
}

/// The identity in an entry, or its absence.
pub(crate) fn decode<T: Payload>(entry: &[u8], defects: Defects) -> Result<Option<T>, Unreadable> {
    if defects.drops_kind() {
        return untyped::decode(entry);
    }
    if defects.excludes_nulls() {
        return null_free::decode(entry);
    }
    match serde_json::from_slice::<Read<T>>(entry) {
        Ok(read) => Ok(read.d),
        Err(_) => Err(diagnose(T::KIND, entry)),
    }
}

/// Says why an entry could not be read. Only unreadable entries pay for this second look.
fn diagnose(wanted: Kind, entry: &[u8]) -> Unreadable {
    #[derive(Deserialize)]
    struct Header {
        v: u64,
        k: String,
    }
    match serde_json::from_slice::<Header>(entry) {
        Ok(header) if header.v != u64::from(VERSION) => {
            Unreadable::WrongVersion { found: header.v }
        }
        Ok(header) if header.k != wanted.tag() => {
            Unreadable::WrongKind { wanted, found: header.k.chars().take(16).collect() }
        }
        _ => Unreadable::Malformed,
    }
}

/// The writer and the reader that the defect `codec-exclude-none` plants: one leaves out what is
/// null, the other makes up whatever is missing, except for the user of a key.
mod null_free {
    use serde_json::Value;

    use super::{Kind, Payload, Unreadable, VERSION, Written, untyped};

    pub(super) fn encode<T: Payload>(identity: Option<&T>) -> Vec<u8> {
        let mut fields = serde_json::to_value(identity).unwrap_or_default();
        if let Some(fields) = fields.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let written = Written { v: VERSION, k: Some(T::KIND.tag()), d: Some(&fields) };
        serde_json::to_vec(&written).unwrap_or_default()
    }

    pub(super) fn decode<T: Payload>(entry: &[u8]) -> Result<Option<T>, Unreadable> {
        let read: Value = serde_json::from_slice(entry).map_err(|_| Unreadable::Malformed)?;
        let fields = &read["d"];
        if T::KIND == Kind::Key && fields.is_object() && fields.get("user_id").is_none() {
            return Err(Unreadable::Malformed);
        }
        untyped::decode(entry)
    }
}

/// The reader that the defect `codec-untyped-payload` plants: it believes any payload, and makes
/// up whatever is missing.
mod untyped {
    use serde_json::Value;

    use super::{Payload, Unreadable};

    pub(super) fn decode<T: Payload>(entry: &[u8]) -> Result<Option<T>, Unreadable> {
        let entry: Value = serde_json::from_slice(entry).map_err(|_| Unreadable::Malformed)?;
        let mut fields = serde_json::to_value(T::default()).map_err(|_| Unreadable::Malformed)?;
        let (Some(found), Some(wanted)) = (entry["d"].as_object(), fields.as_object_mut()) else {
            return Ok(None);
        };
        for (name, value) in wanted {
            if let Some(found) = found.get(name) {
                *value = found.clone();
            }
        }
        serde_json::from_value(fields).map(Some).map_err(|_| Unreadable::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::store::{Member, MemberBudget, Team, User, VirtualKey};

    fn healthy() -> Defects {
        Defects::default()
    }

    fn nullable<T: std::fmt::Debug + Clone>(
        value: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Option<T>> {
        prop::option::of(value)
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), ".{1,6}"]
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(text(), 0..3)
    }

    fn metadata() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(json!({})),
            Just(json!({"nested": {"null": null, "list": [1, null, "x"]}})),
            any::<i64>().prop_map(|number| json!({ "number": number })),
            text().prop_map(|text| json!({ "text": text })),
        ]
    }

    fn money() -> impl Strategy<Value = f64> {
        prop::num::f64::POSITIVE
            | prop::num::f64::NORMAL
            | prop::num::f64::SUBNORMAL
            | prop::num::f64::ZERO
    }

    fn key() -> impl Strategy<Value = VirtualKey> {
        (
            (text(), text(), nullable(text()), nullable(text()), nullable(text())),
            (nullable(texts()), nullable(metadata()), nullable(money()), nullable(text())),
            (nullable(any::<i64>()), nullable(any::<i64>()), nullable(any::<i64>())),
            (nullable(any::<bool>()), nullable(any::<i64>())),
        )
            .prop_map(|(ids, rights, limits, state)| VirtualKey {
                token: ids.0.clone(),
                key_name: ids.1,
                key_alias: ids.2,
                user_id: ids.3,
                team_id: ids.4,
                models: rights.0,
                metadata: rights.1,
                max_budget: rights.2,
                budget_duration: rights.3,
                tpm_limit: limits.0,
                rpm_limit: limits.1,
                max_parallel_requests: limits.2,
                blocked: state.0,
                expires_at_ms: state.1,
                key_id: ids.0,
            })
    }

    fn team() -> impl Strategy<Value = Team> {
        (
            (text(), nullable(text()), nullable(texts()), nullable(metadata())),
            (nullable(money()), nullable(any::<i64>()), nullable(any::<bool>())),
        )
            .prop_map(|(who, limits)| Team {
                team_id: who.0,
                team_alias: who.1,
                models: who.2,
                metadata: who.3,
                max_budget: limits.0,
                tpm_limit: limits.1,
                blocked: limits.2,
                ..Team::default()
            })
    }

    fn user() -> impl Strategy<Value = User> {
        (text(), nullable(text()), nullable(texts()), nullable(any::<i64>())).prop_map(
            |(user_id, user_role, models, rpm_limit)| User {
                user_id,
                user_role,
                models,
                rpm_limit,
                ..User::default()
            },
        )
    }

    fn member() -> impl Strategy<Value = Member> {
        let budget = nullable(money())
            .prop_map(|max_budget| MemberBudget { max_budget, budget_duration: None });
        (text(), text(), nullable(budget), nullable(texts())).prop_map(
            |(team_id, user_id, budget, allowed_models)| Member {
                team_id,
                user_id,
                budget,
                allowed_models,
                ..Member::default()
            },
        )
    }

    fn reads_back<T: Payload + PartialEq>(identity: T) -> Result<(), TestCaseError> {
        let entry = encode(Some(&identity), healthy());
        let read = decode::<T>(&entry, healthy());
        prop_assert_eq!(read.as_ref(), Ok(&Some(identity)));
        let again = encode(read.unwrap().as_ref(), healthy());
        prop_assert_eq!(again, entry);
        Ok(())
    }

    fn refuses<T: Payload + PartialEq>(entry: &[u8]) -> Result<(), TestCaseError> {
        prop_assert!(decode::<T>(entry, healthy()).is_err());
        Ok(())
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(key in key(), team in team(), user in user(), member in member()) {
            reads_back(key)?;
            reads_back(team)?;
            reads_back(user)?;
            reads_back(member)?;
        }

        #[test]
        fn no_kind_reads_another(key in key(), team in team(), user in user(), member in member()) {
            let key = encode(Some(&key), healthy());
            let team = encode(Some(&team), healthy());
            let user = encode(Some(&user), healthy());
            let member = encode(Some(&member), healthy());
            for entry in [&team, &user, &member] {
                refuses::<VirtualKey>(entry)?;
            }
            for entry in [&key, &user, &member] {
                refuses::<Team>(entry)?;
            }
            for entry in [&key, &team, &member] {
                refuses::<User>(entry)?;
            }
            for entry in [&key, &team, &user] {
                refuses::<Member>(entry)?;
            }
        }

        #[test]
        fn a_truncated_entry_is_refused(team in team(), cut in any::<prop::sample::Index>()) {
            let entry = encode(Some(&team), healthy());
            refuses::<Team>(&entry[..cut.index(entry.len())])?;
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode::<VirtualKey>(&bytes, healthy());
        }
    }

    #[test]
    fn nulls_are_written() {
        let member = Member { budget: Some(MemberBudget::default()), ..Member::default() };
        insta::assert_snapshot!(
            String::from_utf8(encode(Some(&member), healthy())).unwrap(),
            @r#"{"v":1,"k":"member","d":{"team_id":"","user_id":"","role":"","budget":{"max_budget":null,"budget_duration":null},"tpm_limit":null,"rpm_limit":null,"allowed_models":null}}"#
        );
    }

    #[test]
    fn absence_is_remembered_by_kind() {
        let entry = encode::<Team>(None, healthy());
        assert_eq!(decode::<Team>(&entry, healthy()), Ok(None));
        assert_eq!(
            decode::<User>(&entry, healthy()),
            Err(Unreadable::WrongKind { wanted: Kind::User, found: "team".to_owned() })
        );
    }

    #[test]
    fn a_missing_an_unknown_and_a_mistyped_field_are_refused() {
        let good = serde_json::from_slice::<Value>(&encode(Some(&Team::default()), healthy()));
        let good = good.unwrap();
        let mut missing = good.clone();
        missing["d"].as_object_mut().unwrap().remove("models");
        let mut unknown = good.clone();
        unknown["d"]["blocked_at"] = json!(1);
        let mut mistyped = good.clone();
        mistyped["d"]["blocked"] = json!("no");
        let mut newer = good;
        newer["v"] = json!(2);
        for entry in [missing, unknown, mistyped] {
            let entry = serde_json::to_vec(&entry).unwrap();
            assert_eq!(decode::<Team>(&entry, healthy()), Err(Unreadable::Malformed));
        }
        assert_eq!(
            decode::<Team>(&serde_json::to_vec(&newer).unwrap(), healthy()),
            Err(Unreadable::WrongVersion { found: 2 })
        );
    }

    #[test]
    fn poison_is_refused() {
        let nested = "[".repeat(5_000);
        for entry in ["null", "\"\"", "[]", "1e999", "{}", nested.as_str()] {
            assert_eq!(decode::<User>(entry.as_bytes(), healthy()), Err(Unreadable::Malformed));
        }
    }

    #[cfg(feature = "defects")]
    #[test]
    fn the_untyped_reader_takes_a_user_for_a_team() {
        let planted = Defects::plant(["codec-untyped-payload"]).unwrap();
        let user = User { user_id: "u".to_owned(), ..User::default() };
        let entry = encode(Some(&user), planted);
        assert_eq!(decode::<Team>(&entry, planted), Ok(Some(Team::default())));
    }
}
