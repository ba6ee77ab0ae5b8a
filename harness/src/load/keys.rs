//! The keys that callers share: issued before the load, each with owners of its own.

use std::collections::BTreeMap;

use scenarios::KeyClass;

use crate::{
    adapters::Names,
    history::CallId,
    op::{Admin, Call, Field, Id, Key, KeyFields, Kind, Op, Outcome, Replica, Terms},
    plan::{IdShape, Naming, Plan, tell},
    runner::{drive::Driver, join::Drive},
};

/// The number of a drive that no plan has: ids of load are in no history.
const NO_DRIVE: Drive = Drive(u32::MAX);

/// The keys of a load.
pub struct Issued {
    /// The secret of each.
    pub secrets: Vec<String>,
    /// Every text by which the stores know one of them, or its owners.
    pub texts: Vec<String>,
    /// What ids and prompts begin with.
    pub mark: String,
    /// How many calls it took.
    pub calls: u64,
}

/// Why keys could not be issued.
#[derive(Debug, thiserror::Error)]
#[error("the gateway would not {call}: {outcome}")]
pub struct NotIssued {
    /// What was asked.
    call: String,
    /// What became of it.
    outcome: Outcome,
}

/// Issues `count` keys of a class through the first replica.
///
/// # Errors
///
/// When a call is not carried out.
pub async fn issue(driver: &Driver, class: KeyClass, count: u8) -> Result<Issued, NotIssued> {
    let mark = driver.prefixes.of(NO_DRIVE);
    let mut names = Names {
        prefix: mark.clone(),
        plan: pool(class, count),
        aliases: driver.aliases.clone(),
        keys: BTreeMap::new(),
    };
    let mut texts = Vec::new();
    let calls: Vec<_> = (0..count).flat_map(|place| calls(class, place)).collect();
    let made = calls.len() as u64;
    for (number, call) in (0..).zip(calls) {
        let call = Call { replica: Replica(0), op: Op::Admin(call) };
        let learned = driver.client.apply(CallId(number), &call, &names).await;
        let Op::Admin(asked) = &call.op else { continue };
        match (asked, learned.issued) {
            (Admin::GenerateKey { key, .. }, Some(secret)) => {
                texts.extend([driver.adapter.stored_form(&secret), secret.clone()]);
                names.keys.insert(*key, secret);
            }
            (Admin::GenerateKey { .. }, None) => {
                return Err(NotIssued { call: tell(&names.plan, &call), outcome: learned.outcome });
            }
            _ if learned.outcome.is_answered() => texts.extend(owner(asked, &names)),
            _ => {
                return Err(NotIssued { call: tell(&names.plan, &call), outcome: learned.outcome });
            }
        }
    }
    Ok(Issued { secrets: names.keys.into_values().collect(), texts, mark, calls: made })
}

/// Ids of all owners. Kinds share them only where equal ids are what is asked for.
fn pool(class: KeyClass, count: u8) -> Plan {
    let naming = match class {
        KeyClass::EqualIds => Naming::Shared,
        KeyClass::Plain
        | KeyClass::User
        | KeyClass::Team
        | KeyClass::Member
        | KeyClass::Both
        | KeyClass::Organisation => Naming::Apart,
    };
    Plan { naming, ..Plan::new(vec![IdShape::Plain; count.into()], Vec::new()) }
}

/// What is asked for one key: its owners first.
fn calls(class: KeyClass, place: u8) -> Vec<Admin> {
    let id = Id(place);
    let (terms, bare) = (|| Terms::UNSAID, KeyFields::UNSAID);
    let user = || Admin::CreateUser { user: id, terms: terms() };
    let team = || Admin::CreateTeam { team: id, terms: terms() };
    let member = || Admin::AddMember { team: id, user: id, max_budget: Field::Absent };
    let (mut owners, fields) = match class {
        KeyClass::Plain => (Vec::new(), bare),
        KeyClass::User => (vec![user()], KeyFields { user: Field::Set(id), ..bare }),
        KeyClass::Team => (vec![team()], KeyFields { team: Field::Set(id), ..bare }),
        KeyClass::Member => (
            vec![user(), team(), member()],
            KeyFields { user: Field::Set(id), team: Field::Set(id), ..bare },
        ),
        KeyClass::Both | KeyClass::EqualIds => {
            (vec![user(), team()], KeyFields { user: Field::Set(id), team: Field::Set(id), ..bare })
        }
        KeyClass::Organisation => (
            vec![Admin::CreateOrganisation { organisation: id, terms: terms() }],
            KeyFields { organisation: Field::Set(id), ..bare },
        ),
    };
    owners.push(Admin::GenerateKey { key: Key(place.into()), fields });
    owners
}

/// The id of what a call created.
fn owner(call: &Admin, names: &Names) -> Option<String> {
    match call {
        Admin::CreateUser { user, .. } => Some(names.id(Kind::User, *user)),
        Admin::CreateTeam { team, .. } => Some(names.id(Kind::Team, *team)),
        Admin::CreateOrganisation { organisation, .. } => {
            Some(names.id(Kind::Organisation, *organisation))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_there_before_their_key() {
        for class in KeyClass::ALL {
            let calls = calls(class, 3);
            let (key, owners) = calls.split_last().unwrap();
            let Admin::GenerateKey { fields, .. } = key else { panic!("{class}") };
            let named = [&fields.user, &fields.team, &fields.organisation];
            let named = named.into_iter().filter(|owner| owner.set().is_some()).count();
            let created =
                owners.iter().filter(|call| !matches!(call, Admin::AddMember { .. })).count();
            assert_eq!(named, created, "{class}");
        }
    }

    #[test]
    fn a_user_and_a_team_have_one_id_only_where_that_is_asked_for() {
        for class in KeyClass::ALL {
            let pool = pool(class, 1);
            let same = pool.id_text("p", Kind::User, Id(0)) == pool.id_text("p", Kind::Team, Id(0));
            assert_eq!(same, class == KeyClass::EqualIds, "{class}");
        }
    }
}
