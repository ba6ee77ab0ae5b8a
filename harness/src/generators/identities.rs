//! Teams, users, members, keys: null patterns, coinciding ids.
//!
//! The incidents live in the corners: a field that is null, a user and a team with one id
//! (litellm#27874), an id that holds a separator. So every optional field is absent, null, empty or
//! set, ids come from a pool of two or three that all kinds share, and keys name each other's owners.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use proptest::{
    collection::{SizeRange, vec},
    option,
    prelude::*,
};

use crate::{
    op::{Admin, Alias, Call, Field, Id, Key, KeyFields, MicroUsd, Op, Replica, Terms},
    plan::{IdShape, Step},
};

/// How many ids a plan draws from. Few, so that kinds coincide.
const POOL: u8 = 3;

/// Entities that exist together.
#[derive(Clone, Debug)]
pub struct Identities {
    /// The look of each id in the pool.
    pub ids: Vec<IdShape>,
    /// The users that keys name.
    pub users: BTreeMap<Id, Terms>,
    /// The teams that keys name.
    pub teams: BTreeMap<Id, Terms>,
    /// The memberships of (team, user) pairs, each with its budget.
    pub members: BTreeMap<(Id, Id), Field<MicroUsd>>,
    /// The keys.
    pub keys: Vec<KeyFields>,
}

impl Identities {
    /// The calls that create them all, teams first, keys last.
    pub fn creation(&self) -> Vec<Step> {
        let teams = self
            .teams
            .iter()
            .map(|(team, terms)| Admin::CreateTeam { team: *team, terms: terms.clone() });
        let users = self
            .users
            .iter()
            .map(|(user, terms)| Admin::CreateUser { user: *user, terms: terms.clone() });
        let members = self.members.iter().map(|((team, user), max_budget)| Admin::AddMember {
            team: *team,
            user: *user,
            max_budget: max_budget.clone(),
        });
        let keys = (0..)
            .zip(&self.keys)
            .map(|(key, fields)| Admin::GenerateKey { key: Key(key), fields: fields.clone() });
        teams.chain(users).chain(members).chain(keys).map(at_first).collect()
    }

    /// The same, with every user a member of each team that shares a key with it: a gateway looks for
    /// the membership of such a key, and one that is not there cannot be cached like one that is.
    pub fn with_every_member(mut self) -> Identities {
        for key in &self.keys {
            if let (Some(team), Some(user)) = (key.team.set(), key.user.set()) {
                self.members.entry((*team, *user)).or_insert(Field::Absent);
            }
        }
        self
    }

    /// The first `most` keys, and whoever they name.
    pub fn with_keys(mut self, most: usize) -> Identities {
        self.keys.truncate(most);
        let users: BTreeSet<_> = self.keys.iter().filter_map(|key| key.user.set()).collect();
        let teams: BTreeSet<_> = self.keys.iter().filter_map(|key| key.team.set()).collect();
        self.users.retain(|user, _| users.contains(user));
        self.teams.retain(|team, _| teams.contains(team));
        self.members.retain(|(team, user), _| teams.contains(team) && users.contains(user));
        self
    }

    /// Whether a user and a team that are both in use have one id.
    pub fn coincide(&self) -> bool {
        self.users.keys().any(|id| self.teams.contains_key(id))
    }

    /// The keys, by their place.
    pub fn key_places(&self) -> impl Iterator<Item = Key> + Clone + use<> {
        (0..self.keys.len()).filter_map(|place| u16::try_from(place).ok()).map(Key)
    }
}

/// A management call to the first replica.
pub fn at_first(admin: Admin) -> Step {
    Step::Call(Call { replica: Replica(0), op: Op::Admin(admin) })
}

/// One to `most_keys` keys with their owners, over a pool of three ids.
///
/// Owners exist because a key names them, so a plan without a key is a plan without anything. Shrinks
/// towards one key that has no owner, plain ids and fields that are left out.
pub fn identities(most_keys: usize) -> impl Strategy<Value = Identities> + use<> {
    identities_of(1..=most_keys)
}

/// So many keys with their owners, over a pool of three ids.
pub fn identities_of(keys: RangeInclusive<usize>) -> impl Strategy<Value = Identities> + use<> {
    let pool = usize::from(POOL);
    (
        vec(id_shape(), pool),
        vec(terms(), pool),
        vec(terms(), pool),
        vec(option::of(money()), pool * pool),
        vec(key_fields(), keys),
    )
        .prop_map(move |(ids, users, teams, members, keys)| {
            let owners: BTreeSet<_> =
                keys.iter().filter_map(|key| key.user.set().copied()).collect();
            let owning: BTreeSet<_> =
                keys.iter().filter_map(|key| key.team.set().copied()).collect();
            let pairs: BTreeSet<_> =
                keys.iter().filter_map(|key| Some((*key.team.set()?, *key.user.set()?))).collect();
            let at = |id: Id| usize::from(id.0);
            Identities {
                users: owners.iter().map(|id| (*id, users[at(*id)].clone())).collect(),
                teams: owning.iter().map(|id| (*id, teams[at(*id)].clone())).collect(),
                members: pairs
                    .into_iter()
                    .filter_map(|(team, user)| {
                        let budget = members[at(team) * pool + at(user)].clone()?;
                        Some(((team, user), budget))
                    })
                    .collect(),
                ids,
                keys,
            }
        })
}

/// As many keys, no two of which share an owner: what befalls one says nothing about another. Every
/// user is a member of the team that its key is of. Ids are plain, so that an object is found by its
/// id in the names of its entries.
///
/// Shrinks towards fewer keys, owners that are not named and fields that are left out.
pub fn strangers<K: Into<SizeRange>>(keys: K) -> impl Strategy<Value = Identities> + use<K> {
    vec((key_fields(), terms(), terms(), money()), keys).prop_map(|drawn| {
        let mut identities = Identities {
            ids: vec![IdShape::Plain; drawn.len()],
            users: BTreeMap::new(),
            teams: BTreeMap::new(),
            members: BTreeMap::new(),
            keys: Vec::new(),
        };
        for (id, (mut fields, user, team, in_team)) in (0..).map(Id).zip(drawn) {
            let is_named = |owner: &Field<Id>| owner.set().is_some();
            let (has_user, has_team) = (is_named(&fields.user), is_named(&fields.team));
            if has_user {
                fields.user = Field::Set(id);
                identities.users.insert(id, user);
            }
            if has_team {
                fields.team = Field::Set(id);
                identities.teams.insert(id, team);
            }
            if has_user && has_team {
                identities.members.insert((id, id), in_team);
            }
            identities.keys.push(fields);
        }
        identities
    })
}

/// An id of the pool. Shrinks towards the first, so that kinds which share an id go on sharing it.
pub fn id() -> impl Strategy<Value = Id> + use<> {
    (0..POOL).prop_map(Id)
}

fn id_shape() -> impl Strategy<Value = IdShape> + use<> {
    prop_oneof![
        4 => Just(IdShape::Plain),
        1 => Just(IdShape::Colon),
        1 => Just(IdShape::Underscore),
        1 => Just(IdShape::Slash),
        1 => Just(IdShape::Space),
        1 => Just(IdShape::Braces),
    ]
}

/// A field that is absent, null, empty or set. Shrinks in this order, towards absent.
fn field<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Field<T>> {
    prop_oneof![
        3 => Just(Field::Absent),
        1 => Just(Field::Null),
        1 => Just(Field::Empty),
        2 => value.prop_map(Field::Set),
    ]
    .boxed()
}

/// A field whose type has no empty value.
fn number<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Field<T>> {
    prop_oneof![
        3 => Just(Field::Absent),
        1 => Just(Field::Null),
        1 => value.prop_map(Field::Set),
    ]
    .boxed()
}

/// A budget that no plan uses up.
pub fn money() -> BoxedStrategy<Field<MicroUsd>> {
    number(Just(MicroUsd(1_000_000_000)))
}

/// Models that always include the first alias, so that asking for it is always allowed.
pub fn models() -> BoxedStrategy<Field<Vec<Alias>>> {
    field(prop_oneof![Just(vec![Alias(0)]), Just(vec![Alias(0), Alias(1)])])
}

fn requests_per_minute() -> BoxedStrategy<Field<u64>> {
    number(Just(1_000_000))
}

/// Token limits reach beyond 2^53, where a reader that goes through doubles loses the last digit.
fn tokens_per_minute() -> BoxedStrategy<Field<u64>> {
    number(prop_oneof![Just(1_000_000_000), Just(9_007_199_254_740_993)])
}

/// The owner of a key: most keys have one.
fn owner() -> BoxedStrategy<Field<Id>> {
    prop_oneof![
        2 => Just(Field::Absent),
        1 => Just(Field::Null),
        5 => id().prop_map(Field::Set),
    ]
    .boxed()
}

/// What is said of a user, a team or a key.
pub fn terms() -> impl Strategy<Value = Terms> + use<> {
    (
        field(Just(())),
        models(),
        field(Just(())),
        money(),
        requests_per_minute(),
        tokens_per_minute(),
    )
        .prop_map(|(alias, models, metadata, max_budget, rpm_limit, tpm_limit)| Terms {
            alias,
            models,
            metadata,
            max_budget,
            rpm_limit,
            tpm_limit,
        })
}

/// The fields of a new key.
pub fn key_fields() -> impl Strategy<Value = KeyFields> + use<> {
    (owner(), owner(), terms()).prop_map(|(user, team, terms)| KeyFields {
        user,
        team,
        terms,
        ..KeyFields::UNSAID
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #[test]
        fn fewer_keys_have_fewer_owners(drawn in identities_of(4..=4)) {
            let first = drawn.with_keys(1);
            prop_assert_eq!(first.keys.len(), 1);
            let users: Vec<_> = first.users.keys().collect();
            let teams: Vec<_> = first.teams.keys().collect();
            prop_assert_eq!(users, first.keys[0].user.set().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(teams, first.keys[0].team.set().into_iter().collect::<Vec<_>>());
            prop_assert!(first.members.len() <= 1);
        }

        #[test]
        fn every_owner_of_a_key_is_created_before_it(drawn in identities(4)) {
            for key in &drawn.keys {
                if let Some(user) = key.user.set() {
                    prop_assert!(drawn.users.contains_key(user));
                }
                if let Some(team) = key.team.set() {
                    prop_assert!(drawn.teams.contains_key(team));
                }
            }
        }
    }
}
