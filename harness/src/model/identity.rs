//! Who exists, and what they may use.
//!
//! The state that a gateway owes to its management calls. It says nothing of caches or replicas:
//! [`staleness`](super::staleness) says which of the states since a change may still be acted on.

use std::collections::{BTreeMap, BTreeSet};

use crate::op::{Admin, Alias, Chat, Field, Id, Key, KeyFields};

/// Every entity that was created and not deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    organisations: BTreeMap<Id, Allowed>,
    users: BTreeMap<Id, Allowed>,
    teams: BTreeMap<Id, Team>,
    members: BTreeSet<(Id, Id)>,
    keys: BTreeMap<Key, Issued>,
}

/// How many parts a decision has.
pub const PARTS: usize = 5;

/// The models that an entity may call; empty for all of them.
type Allowed = Vec<Alias>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Team {
    models: Allowed,
    blocked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Issued {
    user: Option<Id>,
    team: Option<Id>,
    organisation: Option<Id>,
    models: Allowed,
    blocked: bool,
}

impl Identities {
    /// Takes in a management call that took effect.
    pub fn apply(&mut self, admin: &Admin) {
        match admin {
            Admin::CreateOrganisation { organisation, terms } => {
                self.organisations.insert(*organisation, models_or_all(&terms.models));
            }
            Admin::CreateUser { user, terms } => {
                self.users.insert(*user, models_or_all(&terms.models));
            }
            Admin::UpdateUser { user, terms } => {
                if let Some(models) = self.users.get_mut(user) {
                    update_models(models, &terms.models);
                }
            }
            Admin::DeleteUser { user } => {
                self.users.remove(user);
                self.members.retain(|(_, member)| member != user);
                self.keys.retain(|_, key| key.user != Some(*user));
            }
            Admin::CreateTeam { team, terms } => {
                let models = models_or_all(&terms.models);
                self.teams.insert(*team, Team { models, blocked: false });
            }
            Admin::UpdateTeam { team, terms } => {
                if let Some(team) = self.teams.get_mut(team) {
                    update_models(&mut team.models, &terms.models);
                }
            }
            Admin::DeleteTeam { team } => {
                self.teams.remove(team);
                self.members.retain(|(of, _)| of != team);
                self.keys.retain(|_, key| key.team != Some(*team));
            }
            Admin::BlockTeam { team } => self.set_team_blocked(*team, true),
            Admin::UnblockTeam { team } => self.set_team_blocked(*team, false),
            Admin::AddMember { team, user, .. } => {
                self.members.insert((*team, *user));
            }
            Admin::UpdateMember { .. } => {}
            Admin::RemoveMember { team, user } => {
                self.members.remove(&(*team, *user));
                self.keys.retain(|_, key| key.team != Some(*team) || key.user != Some(*user));
            }
            Admin::GenerateKey { key, fields } => {
                self.keys.insert(*key, issued(fields));
            }
            Admin::UpdateKey { key, terms } => {
                if let Some(key) = self.keys.get_mut(key) {
                    update_models(&mut key.models, &terms.models);
                }
            }
            Admin::DeleteKey { key } => {
                self.keys.remove(key);
            }
            Admin::BlockKey { key } => self.set_key_blocked(*key, true),
            Admin::UnblockKey { key } => self.set_key_blocked(*key, false),
        }
    }

    fn set_team_blocked(&mut self, team: Id, blocked: bool) {
        if let Some(team) = self.teams.get_mut(&team) {
            team.blocked = blocked;
        }
    }

    fn set_key_blocked(&mut self, key: Key, blocked: bool) {
        if let Some(key) = self.keys.get_mut(&key) {
            key.blocked = blocked;
        }
    }

    /// Whether each part of the decision lets the prompt through, in a fixed order.
    ///
    /// The parts are kept separate because a replica may hold one object in an older state than
    /// another: every part may come from a different moment.
    pub fn parts(&self, chat: &Chat) -> [bool; PARTS] {
        let Some(key) = self.keys.get(&chat.key) else {
            return [false, true, true, true, true];
        };
        let team = key.team.and_then(|team| self.teams.get(&team));
        let user = key.user.and_then(|user| self.users.get(&user));
        let team_lets = match (key.team, team) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(team)) => !team.blocked && lets(&team.models, chat.alias),
        };
        // A user's own models bind the keys that belong to no team.
        let user_lets = key.team.is_some() || user.is_none_or(|models| lets(models, chat.alias));
        let organisation = key.organisation.and_then(|id| self.organisations.get(&id));
        let organisation_lets = organisation.is_none_or(|models| lets(models, chat.alias));
        [!key.blocked, lets(&key.models, chat.alias), team_lets, user_lets, organisation_lets]
    }
}

fn lets(models: &[Alias], alias: Alias) -> bool {
    models.is_empty() || models.contains(&alias)
}

fn models_or_all(field: &Field<Allowed>) -> Allowed {
    field.set().cloned().unwrap_or_default()
}

fn update_models(models: &mut Allowed, field: &Field<Allowed>) {
    match field {
        Field::Absent => {}
        Field::Null | Field::Empty => models.clear(),
        Field::Set(new) => models.clone_from(new),
    }
}

fn issued(fields: &KeyFields) -> Issued {
    Issued {
        user: fields.user.set().copied(),
        team: fields.team.set().copied(),
        organisation: fields.organisation.set().copied(),
        models: models_or_all(&fields.terms.models),
        blocked: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Terms;

    fn chat(alias: u8) -> Chat {
        Chat { key: Key(0), alias: Alias(alias), streamed: false }
    }

    fn admits(state: &Identities, alias: u8) -> bool {
        state.parts(&chat(alias)).into_iter().all(|part| part)
    }

    fn team_key() -> Identities {
        let mut state = Identities::default();
        state.apply(&Admin::CreateTeam { team: Id(0), terms: Terms::UNSAID });
        let fields = KeyFields { team: Field::Set(Id(0)), ..KeyFields::UNSAID };
        state.apply(&Admin::GenerateKey { key: Key(0), fields });
        state
    }

    #[test]
    fn a_key_that_was_never_issued_is_refused() {
        assert!(!admits(&Identities::default(), 0));
    }

    #[test]
    fn a_blocked_team_refuses_its_keys_until_it_is_unblocked() {
        let mut state = team_key();
        assert!(admits(&state, 0));
        state.apply(&Admin::BlockTeam { team: Id(0) });
        assert!(!admits(&state, 0));
        state.apply(&Admin::UnblockTeam { team: Id(0) });
        assert!(admits(&state, 0));
    }

    #[test]
    fn a_deleted_team_takes_its_keys_along() {
        let mut state = team_key();
        state.apply(&Admin::DeleteTeam { team: Id(0) });
        state.apply(&Admin::CreateTeam { team: Id(0), terms: Terms::UNSAID });
        assert!(!admits(&state, 0));
    }

    #[test]
    fn models_cleared_with_null_or_empty_allow_all_and_left_out_change_nothing() {
        for (field, expected) in [(Field::Null, true), (Field::Empty, true), (Field::Absent, false)]
        {
            let mut state = team_key();
            let only_first = Terms { models: Field::Set(vec![Alias(0)]), ..Terms::UNSAID };
            state.apply(&Admin::UpdateKey { key: Key(0), terms: only_first });
            assert!(!admits(&state, 1));
            let terms = Terms { models: field, ..Terms::UNSAID };
            state.apply(&Admin::UpdateKey { key: Key(0), terms });
            assert_eq!(admits(&state, 1), expected);
        }
    }
}
