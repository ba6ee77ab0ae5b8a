//! The bytes of a shared entry: `{"v":1,"k":"team","d":{…}}`.
//!
//! `v` is the schema version, `k` the kind, `d` the identity with every field present, nulls
//! included. Where Postgres has no such row, `d` is null and `id` names whose absence it is. A reader
//! takes nothing else: a field it does not know may narrow rights, so an entry with one is
//! unreadable, not readable without it; and an entry that was copied from another identity's name is
//! nobody's. What is longer than any entry that is shared is not even looked at.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeSeed, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    keys::{IdentityId, Kind},
    payload::{Body, Payload},
};
use crate::{cache_schema::CacheSchema, defects::Defects};

/// How many bytes an entry has at most. A longer identity is not shared, and a longer entry is refused
/// before it is read, so that it costs no time.
pub(super) const LONGEST: usize = 1 << 20;

/// Writes entries of one schema version, and reads those of every version that it knows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Codec {
    pub(crate) schema: CacheSchema,
    pub(crate) defects: Defects,
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the entry holds a {found}, not a {}", wanted.tag())]
    WrongKind { wanted: Kind, found: String },
    #[error("the entry has schema version {found}, which is not known here")]
    WrongVersion { found: u64 },
    #[error("the entry is of another {}", kind.tag())]
    Foreign { kind: Kind },
    #[error("the entry has {bytes} bytes, and {LONGEST} at most are read")]
    TooLong { bytes: usize },
    #[error("the entry is not one that this gateway wrote")]
    Malformed,
}

/// What an entry says.
#[derive(Debug, PartialEq)]
enum Said<T> {
    Identity(T),
    /// There is no identity of this name.
    Absence(String),
}

#[derive(Serialize)]
struct Written<'a, D> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<&'static str>,
    d: Option<D>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

impl Codec {
    /// The entry of an identity.
    pub(crate) fn encode<T: Payload>(self, identity: &T) -> Vec<u8> {
        if self.defects.excludes_nulls() {
            return null_free::encode(self, identity);
        }
        self.written(T::KIND, Some(Body(self.schema, identity)), None)
    }

    /// The entry that says that there is no such identity.
    pub(crate) fn encode_absence(self, id: &IdentityId) -> Vec<u8> {
        self.written(id.kind(), None::<()>, Some(&id.name()))
    }

    fn written<D: Serialize>(self, kind: Kind, d: Option<D>, id: Option<&str>) -> Vec<u8> {
        let k = (!self.defects.drops_kind()).then_some(kind.tag());
        serde_json::to_vec(&Written { v: self.schema.number(), k, d, id })
            .expect("identities have string keys and finite numbers, so they always serialise")
    }

    /// The identity with this id in an entry, or its absence.
    pub(crate) fn decode_for<T: Payload>(
        self,
        id: &IdentityId,
        entry: &[u8],
    ) -> Result<Option<T>, Unreadable> {
        if self.defects.drops_kind() || self.defects.excludes_nulls() {
            return self.decode(entry);
        }
        match self.read::<T>(entry)? {
            Said::Identity(identity) if identity.is(id) => Ok(Some(identity)),
            // Nobody shares the absence of what callers can make up.
            Said::Absence(name) if name == id.name() && T::KIND.shares_absence() => Ok(None),
            Said::Identity(_) | Said::Absence(_) => Err(Unreadable::Foreign { kind: T::KIND }),
        }
    }

    /// The identity in an entry, or its absence, whoever it is.
    pub(crate) fn decode<T: Payload>(self, entry: &[u8]) -> Result<Option<T>, Unreadable> {
        if self.defects.drops_kind() {
            return untyped::decode(self, entry);
        }
        if self.defects.excludes_nulls() {
            return null_free::decode(self, entry);
        }
        match self.read(entry)? {
            Said::Identity(identity) => Ok(Some(identity)),
            Said::Absence(_) => Ok(None),
        }
    }

    fn read<T: Payload>(self, entry: &[u8]) -> Result<Said<T>, Unreadable> {
        if entry.len() > LONGEST {
            return Err(Unreadable::TooLong { bytes: entry.len() });
        }
        let mut input = serde_json::Deserializer::from_slice(entry);
        let said = Envelope(self, PhantomData).deserialize(&mut input);
        said.and_then(|said| input.end().map(|()| said)).map_err(|_| self.diagnose(T::KIND, entry))
    }

    /// The version with this number, if entries of it are read here.
    fn readable(self, number: u32) -> Option<CacheSchema> {
        let ignores_version = self.defects.reads_newer_without_block();
        let schema = CacheSchema::try_from(number).ok()?;
        (self.schema.reads(schema) || ignores_version).then_some(schema)
    }

    /// Says why an entry could not be read. Only unreadable entries pay for this second look.
    fn diagnose(self, wanted: Kind, entry: &[u8]) -> Unreadable {
        #[derive(Deserialize)]
        struct Header {
            v: u64,
            k: String,
        }
        let readable = |v: u64| u32::try_from(v).ok().and_then(|v| self.readable(v)).is_some();
        match serde_json::from_slice::<Header>(entry) {
            Ok(header) if !readable(header.v) => Unreadable::WrongVersion { found: header.v },
            Ok(header) if header.k != wanted.tag() => {
                Unreadable::WrongKind { wanted, found: header.k.chars().take(16).collect() }
            }
            _ => Unreadable::Malformed,
        }
    }
}

/// Reads an entry of a kind.
struct Envelope<T>(Codec, PhantomData<T>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Part {
    V,
    K,
    D,
    Id,
}

impl<'de, T: Payload> DeserializeSeed<'de> for Envelope<T> {
    type Value = Said<T>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de, T: Payload> Visitor<'de> for Envelope<T> {
    type Value = Said<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an entry of kind {:?}", T::KIND.tag())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut schema, mut is_tagged, mut id) = (None, false, None);
        let mut body: Option<Option<T>> = None;
        // What stands before its version can only be read after it. No gateway writes such an entry.
        let mut early: Option<&RawValue> = None;
        while let Some(part) = map.next_key()? {
            match part {
                Part::V if schema.is_none() => {
                    let found = self.0.readable(map.next_value()?);
                    schema = Some(found.ok_or_else(|| de::Error::custom("another version"))?);
                }
                Part::K if !is_tagged => {
                    map.next_value_seed(Tag(T::KIND))?;
                    is_tagged = true;
                }
                Part::D if body.is_none() && early.is_none() => match schema {
                    Some(schema) => {
                        body = Some(map.next_value_seed(Fields(self.0, schema, PhantomData))?);
                    }
                    None => early = Some(map.next_value()?),
                },
                Part::Id if id.is_none() => id = Some(map.next_value::<String>()?),
                Part::V | Part::K | Part::D | Part::Id => {
                    return Err(de::Error::custom("a part stands there twice"));
                }
            }
        }
        let Some(schema) = schema.filter(|_| is_tagged) else {
            return Err(de::Error::custom("version or kind is missing"));
        };
        if let Some(early) = early {
            let fields = Fields(self.0, schema, PhantomData);
            body = Some(fields.deserialize(early).map_err(de::Error::custom)?);
        }
        match (body, id) {
            (Some(Some(identity)), None) => Ok(Said::Identity(identity)),
            (Some(None), Some(id)) => Ok(Said::Absence(id)),
            _ => Err(de::Error::custom("neither an identity nor the absence of one")),
        }
    }
}

/// Reads the tag of a kind, and nothing else.
struct Tag(Kind);

impl<'de> DeserializeSeed<'de> for Tag {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for Tag {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the kind {:?}", self.0.tag())
    }

    fn visit_str<E: de::Error>(self, found: &str) -> Result<(), E> {
        match found == self.0.tag() {
            true => Ok(()),
            false => Err(E::custom("another kind")),
        }
    }
}

/// Reads the fields of an identity as a version has them, or null.
struct Fields<T>(Codec, CacheSchema, PhantomData<T>);

impl<'de, T: Payload> DeserializeSeed<'de> for Fields<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Option<T>, D::Error> {
        input.deserialize_option(self)
    }
}

impl<'de, T: Payload> Visitor<'de> for Fields<T> {
    type Value = Option<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a {} or null", T::KIND.tag())
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<Option<T>, D::Error> {
        let Fields(codec, schema, _) = self;
        let identity = T::read(schema, input)?;
        Ok(Some(match codec.schema.reads(schema) {
            true => identity,
            // Only with a planted defect is it read at all.
            false => identity.without_block(),
        }))
    }
}

/// The writer and the reader that the defect `codec-exclude-none` plants: one leaves out what is
/// null, the other makes up whatever is missing, except for the user of a key.
mod null_free {
    use serde_json::Value;

    use super::{Body, Codec, Kind, Payload, Unreadable, untyped};

    pub(super) fn encode<T: Payload>(codec: Codec, identity: &T) -> Vec<u8> {
        let mut fields = serde_json::to_value(Body(codec.schema, identity)).unwrap_or_default();
        if let Some(fields) = fields.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        codec.written(T::KIND, Some(fields), None)
    }

    pub(super) fn decode<T: Payload>(codec: Codec, entry: &[u8]) -> Result<Option<T>, Unreadable> {
        let read: Value = serde_json::from_slice(entry).map_err(|_| Unreadable::Malformed)?;
        let fields = &read["d"];
        if T::KIND == Kind::Key && fields.is_object() && fields.get("user_id").is_none() {
            return Err(Unreadable::Malformed);
        }
        untyped::decode(codec, entry)
    }
}

/// The reader that the defect `codec-untyped-payload` plants: it believes any payload, and makes
/// up whatever is missing.
mod untyped {
    use serde_json::Value;

    use super::{Body, Codec, Payload, Unreadable};

    pub(super) fn decode<T: Payload>(codec: Codec, entry: &[u8]) -> Result<Option<T>, Unreadable> {
        let malformed = |_: serde_json::Error| Unreadable::Malformed;
        let entry: Value = serde_json::from_slice(entry).map_err(malformed)?;
        let nobody = T::default();
        let mut fields = serde_json::to_value(Body(codec.schema, &nobody)).map_err(malformed)?;
        let (Some(found), Some(wanted)) = (entry["d"].as_object(), fields.as_object_mut()) else {
            return Ok(None);
        };
        for (name, value) in wanted {
            if let Some(found) = found.get(name) {
                *value = found.clone();
            }
        }
        T::read(codec.schema, fields).map(Some).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::store::{EndUser, Member, MemberBudget, Organisation, Team, User, VirtualKey};

    fn codec(schema: CacheSchema) -> Codec {
        Codec { schema, defects: Defects::default() }
    }

    fn one() -> Codec {
        codec(CacheSchema::One)
    }

    fn two() -> Codec {
        codec(CacheSchema::Two)
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
                ..VirtualKey::default()
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

    fn reads_back<T: Payload + PartialEq>(identity: &T) -> Result<(), TestCaseError> {
        let entry = one().encode(identity);
        for reader in [one(), two()] {
            let read = reader.decode::<T>(&entry);
            prop_assert_eq!(read.as_ref().map(Option::as_ref), Ok(Some(identity)));
            prop_assert_eq!(&one().encode(read.unwrap().as_ref().unwrap()), &entry);
        }
        let newer = two().encode(identity);
        let read = two().decode::<T>(&newer).unwrap().unwrap();
        prop_assert_eq!(two().encode(&read), newer.clone());
        prop_assert_eq!(one().decode::<T>(&newer), Err(Unreadable::WrongVersion { found: 2 }));
        Ok(())
    }

    fn refuses<T: Payload + PartialEq>(entry: &[u8]) -> Result<(), TestCaseError> {
        prop_assert!(one().decode::<T>(entry).is_err());
        prop_assert!(two().decode::<T>(entry).is_err());
        Ok(())
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(key in key(), team in team(), user in user(), member in member()) {
            reads_back(&key)?;
            reads_back(&team)?;
            reads_back(&user)?;
            reads_back(&member)?;
        }

        #[test]
        fn a_block_survives_either_version(key in key(), at in nullable(any::<i64>())) {
            let blocked_at_ms = at.filter(|_| key.blocked == Some(true));
            let key = VirtualKey { blocked_at_ms, ..key };
            let read = |writer: Codec| two().decode::<VirtualKey>(&writer.encode(&key)).unwrap();
            prop_assert_eq!(read(one()).unwrap().is_blocked(), key.is_blocked());
            prop_assert_eq!(read(two()).unwrap().is_blocked(), key.is_blocked());
        }

        #[test]
        fn no_kind_reads_another(key in key(), team in team(), user in user(), member in member()) {
            for codec in [one(), two()] {
                let key = codec.encode(&key);
                let team = codec.encode(&team);
                let user = codec.encode(&user);
                let member = codec.encode(&member);
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
        }

        #[test]
        fn a_truncated_entry_is_refused(team in team(), cut in any::<prop::sample::Index>()) {
            for codec in [one(), two()] {
                let entry = codec.encode(&team);
                refuses::<Team>(&entry[..cut.index(entry.len())])?;
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = two().decode::<VirtualKey>(&bytes);
        }
    }

    #[test]
    fn nulls_are_written() {
        let member = Member { budget: Some(MemberBudget::default()), ..Member::default() };
        insta::assert_snapshot!(
            String::from_utf8(one().encode(&member)).unwrap(),
            @r#"{"v":1,"k":"member","d":{"team_id":"","user_id":"","role":"","budget":{"max_budget":null,"budget_duration":null},"tpm_limit":null,"rpm_limit":null,"allowed_models":null}}"#
        );
    }

    fn team_t() -> IdentityId {
        IdentityId::Team("t".to_owned())
    }

    #[test]
    fn absence_is_remembered_by_kind_and_by_name() {
        let entry = one().encode_absence(&team_t());
        insta::assert_snapshot!(
            String::from_utf8(entry.clone()).unwrap(),
            @r#"{"v":1,"k":"team","d":null,"id":"team:t"}"#
        );
        assert_eq!(one().decode_for::<Team>(&team_t(), &entry), Ok(None));
        assert_eq!(
            one().decode_for::<Team>(&IdentityId::Team("u".to_owned()), &entry),
            Err(Unreadable::Foreign { kind: Kind::Team })
        );
        assert_eq!(
            one().decode::<User>(&entry),
            Err(Unreadable::WrongKind { wanted: Kind::User, found: "team".to_owned() })
        );
    }

    #[test]
    fn the_absence_of_what_callers_make_up_is_not_believed() {
        for id in [IdentityId::Key("hash".to_owned()), IdentityId::EndUser("u".to_owned())] {
            let entry = one().encode_absence(&id);
            match id.kind() {
                Kind::Key => assert!(one().decode_for::<VirtualKey>(&id, &entry).is_err()),
                _ => assert!(one().decode_for::<EndUser>(&id, &entry).is_err()),
            }
        }
    }

    fn belongs_to_itself_alone<T: Payload + PartialEq>(mine: &T, id: &IdentityId) {
        let foreign = Err(Unreadable::Foreign { kind: T::KIND });
        for codec in [one(), two()] {
            let entry = codec.encode(mine);
            assert!(matches!(codec.decode_for::<T>(id, &entry), Ok(Some(_))));
            let copied = codec.encode(&T::default());
            assert_eq!(codec.decode_for::<T>(id, &copied), foreign);
        }
    }

    #[test]
    fn an_entry_that_was_copied_from_another_name_is_nobodys() {
        let a = || "a".to_owned();
        let key = VirtualKey { token: a(), ..VirtualKey::default() };
        belongs_to_itself_alone(&key, &IdentityId::Key(a()));
        let team = Team { team_id: a(), ..Team::default() };
        belongs_to_itself_alone(&team, &IdentityId::Team(a()));
        let user = User { user_id: a(), ..User::default() };
        belongs_to_itself_alone(&user, &IdentityId::User(a()));
        let member = Member { team_id: a(), user_id: a(), ..Member::default() };
        belongs_to_itself_alone(&member, &IdentityId::Member { team: a(), user: a() });
        let organisation = Organisation { organization_id: a(), ..Organisation::default() };
        belongs_to_itself_alone(&organisation, &IdentityId::Organisation(a()));
        let end_user = EndUser { user_id: a(), ..EndUser::default() };
        belongs_to_itself_alone(&end_user, &IdentityId::EndUser(a()));
    }

    #[test]
    fn a_missing_an_unknown_and_a_mistyped_field_are_refused() {
        let good = serde_json::from_slice::<Value>(&one().encode(&Team::default())).unwrap();
        let mut missing = good.clone();
        missing["d"].as_object_mut().unwrap().remove("models");
        let mut unknown = good.clone();
        unknown["d"]["blocked_at"] = json!(1);
        let mut mistyped = good.clone();
        mistyped["d"]["blocked"] = json!("no");
        let mut absent_and_there = good;
        absent_and_there["id"] = json!("team:");
        for entry in [missing, unknown, mistyped, absent_and_there, json!({"v": 1, "k": "team"})] {
            let entry = serde_json::to_vec(&entry).unwrap();
            assert_eq!(one().decode::<Team>(&entry), Err(Unreadable::Malformed));
        }
    }

    #[test]
    fn the_parts_of_an_entry_may_stand_in_any_order() {
        let team = Team { team_id: "t".to_owned(), ..Team::default() };
        for codec in [one(), two()] {
            let entry: Value = serde_json::from_slice(&codec.encode(&team)).unwrap();
            let turned = format!(r#"{{"d":{},"k":"team","v":{}}}"#, entry["d"], entry["v"]);
            assert_eq!(codec.decode::<Team>(turned.as_bytes()), Ok(Some(team.clone())));
        }
    }

    #[test]
    fn poison_is_refused() {
        let nested = "[".repeat(5_000);
        let deep = format!(r#"{{"v":1,"k":"user","d":{}"#, r#"{"metadata":"#.repeat(5_000));
        let long = format!(r#"{{"v":1,"k":"user","d":"{}"}}"#, "a".repeat(LONGEST / 2));
        for entry in ["null", "\"\"", "[]", "1e999", "{}", &nested, &deep, &long] {
            assert_eq!(one().decode::<User>(entry.as_bytes()), Err(Unreadable::Malformed));
        }
    }

    #[test]
    fn an_entry_that_is_too_long_is_not_looked_at() {
        let mut entry = one().encode(&User::default());
        // Space after an entry is no part of it, and changes nothing else.
        entry.resize(LONGEST, b' ');
        let id = IdentityId::User(String::new());
        assert_eq!(one().decode_for::<User>(&id, &entry), Ok(Some(User::default())));
        entry.push(b' ');
        let bytes = entry.len();
        let too_long = Err(Unreadable::TooLong { bytes });
        assert_eq!(one().decode_for::<User>(&id, &entry), too_long);
        assert_eq!(two().decode::<User>(&entry), too_long);
        // It would be of another version and kind, if anybody looked.
        let other = format!(r#"{{"v":9,"k":"team","d":"{}"}}"#, "a".repeat(10 << 20));
        let too_long = Err(Unreadable::TooLong { bytes: other.len() });
        assert_eq!(one().decode::<User>(other.as_bytes()), too_long);
    }

    #[cfg(feature = "defects")]
    #[test]
    fn the_untyped_reader_takes_a_user_for_a_team() {
        let defects = Defects::plant(["codec-untyped-payload"]).unwrap();
        let planted = Codec { defects, ..one() };
        let user = User { user_id: "u".to_owned(), ..User::default() };
        let entry = planted.encode(&user);
        assert_eq!(planted.decode_for::<Team>(&team_t(), &entry), Ok(Some(Team::default())));
    }

    #[cfg(feature = "defects")]
    #[test]
    fn the_older_reader_that_reads_on_loses_the_block() {
        let defects = Defects::plant(["codec-v2-drops-block"]).unwrap();
        let planted = Codec { defects, ..one() };
        let key = VirtualKey { blocked: Some(true), ..VirtualKey::default() };
        let entry = two().encode(&key);
        assert!(!planted.decode::<VirtualKey>(&entry).unwrap().unwrap().is_blocked());
        assert!(two().decode::<VirtualKey>(&entry).unwrap().unwrap().is_blocked());
        // What it wrote itself, it reads whole.
        assert_eq!(planted.decode(&planted.encode(&key)), Ok(Some(key)));
    }
}
