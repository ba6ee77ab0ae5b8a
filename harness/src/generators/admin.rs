//! Sequences of management calls over entities that exist.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::identities::{Identities, money, terms};
use crate::op::{Admin, Field, Id, Key, MicroUsd, Terms};

/// A change to be made, before it is known to whom.
#[derive(Clone, Debug)]
enum Change {
    Member(Field<MicroUsd>),
    Rejoin(Field<MicroUsd>),
    Key(Terms),
    Team(Terms),
    User(Terms),
    BlockKey,
    UnblockKey,
    BlockTeam,
    UnblockTeam,
    DeleteKey,
    RemoveMember,
}

fn change() -> impl Strategy<Value = Change> + use<> {
    prop_oneof![
        6 => cleared_more_often().prop_map(Change::Member),
        1 => money().prop_map(Change::Rejoin),
        3 => terms().prop_map(Change::Key),
        2 => terms().prop_map(Change::Team),
        2 => terms().prop_map(Change::User),
        1 => Just(Change::BlockKey),
        1 => Just(Change::UnblockKey),
        1 => Just(Change::BlockTeam),
        1 => Just(Change::UnblockTeam),
        1 => Just(Change::DeleteKey),
        1 => Just(Change::RemoveMember),
    ]
}

/// A budget that is set, left alone, or taken away: the state that readers forget (litellm#32207).
fn cleared_more_often() -> impl Strategy<Value = Field<MicroUsd>> + use<> {
    prop_oneof![
        1 => Just(Field::Absent),
        3 => Just(Field::Null),
        1 => Just(Field::Set(MicroUsd(2_000_000_000))),
    ]
}

/// Up to `most` changes to what `identities` hold: set, cleared with null, cleared with empty, left
/// out, removed and added again. Shrinks towards fewer changes that say less.
///
/// A change that finds nobody to apply to falls away, so the sequence may be shorter than drawn.
pub fn changes(
    identities: Identities,
    most: usize,
) -> impl Strategy<Value = (Identities, Vec<Admin>)> + use<> {
    vec((change(), any::<Index>()), 1..=most).prop_map(move |drawn| {
        let changes =
            drawn.into_iter().flat_map(|(change, whom)| apply(&identities, change, whom)).collect();
        (identities.clone(), changes)
    })
}

fn apply(identities: &Identities, change: Change, whom: Index) -> Vec<Admin> {
    let key = || pick(identities.key_places().collect(), whom);
    let team = || pick(identities.teams.keys().copied().collect(), whom);
    let user = || pick(identities.users.keys().copied().collect(), whom);
    let member = || pick(identities.members.keys().copied().collect(), whom);
    let admin = match change {
        Change::Member(max_budget) => {
            member().map(|(team, user)| Admin::UpdateMember { team, user, max_budget })
        }
        Change::Rejoin(max_budget) => return rejoin(identities, member(), &max_budget),
        Change::Key(terms) => key().map(|key| Admin::UpdateKey { key, terms }),

        Change::Team(terms) => team().map(|team| Admin::UpdateTeam { team, terms }),
        Change::User(terms) => user().map(|user| Admin::UpdateUser { user, terms }),
        Change::BlockKey => key().map(|key| Admin::BlockKey { key }),
        Change::UnblockKey => key().map(|key| Admin::UnblockKey { key }),
        Change::BlockTeam => team().map(|team| Admin::BlockTeam { team }),
        Change::UnblockTeam => team().map(|team| Admin::UnblockTeam { team }),
        Change::DeleteKey => key().map(|key| Admin::DeleteKey { key }),
        Change::RemoveMember => member().map(|(team, user)| Admin::RemoveMember { team, user }),
    };
    admin.into_iter().collect()
}

/// Removing a member takes its keys along, so they are issued again afterwards.
fn rejoin(
    identities: &Identities,
    member: Option<(Id, Id)>,
    max_budget: &Field<MicroUsd>,
) -> Vec<Admin> {
    let Some((team, user)) = member else { return Vec::new() };
    let keys = identities
        .key_places()
        .zip(&identities.keys)
        .filter(|(_, fields)| fields.team.set() == Some(&team) && fields.user.set() == Some(&user));
    let again =
        keys.map(|(key, fields): (Key, _)| Admin::GenerateKey { key, fields: fields.clone() });
    [
        Admin::RemoveMember { team, user },
        Admin::AddMember { team, user, max_budget: max_budget.clone() },
    ]
    .into_iter()
    .chain(again)
    .collect()
}

fn pick<T: Copy>(all: Vec<T>, whom: Index) -> Option<T> {
    if all.is_empty() { None } else { Some(*whom.get(&all)) }
}
