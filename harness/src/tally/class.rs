//! The class of a key, and what a request with it is judged by.

use std::collections::BTreeSet;

use scenarios::KeyClass;

use crate::{
    history::History,
    op::{KeyFields, Kind},
};

/// The class of a key that was issued with these fields.
pub fn class_of(history: &History, fields: &KeyFields, is_member: bool) -> KeyClass {
    if fields.organisation.set().is_some() {
        return KeyClass::Organisation;
    }
    let text = |kind, id| history.plan.id_text(&history.prefix, kind, id);
    match (fields.team.set(), fields.user.set()) {
        (None, None) => KeyClass::Plain,
        (None, Some(_)) => KeyClass::User,
        (Some(_), None) => KeyClass::Team,
        (Some(team), Some(user)) if text(Kind::Team, *team) == text(Kind::User, *user) => {
            KeyClass::EqualIds
        }
        (Some(_), Some(_)) if is_member => KeyClass::Member,
        (Some(_), Some(_)) => KeyClass::Both,
    }
}

/// The identities that a request with such a key may be judged by.
pub fn needed(fields: &KeyFields) -> BTreeSet<Kind> {
    let (team, user) = (fields.team.set().is_some(), fields.user.set().is_some());
    let mut needed = BTreeSet::from([Kind::Key]);
    needed.extend(team.then_some(Kind::Team));
    needed.extend(user.then_some(Kind::User));
    needed.extend((team && user).then_some(Kind::Member));
    needed.extend(fields.organisation.set().map(|_| Kind::Organisation));
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::hand::Hand,
        op::{Field, Id},
    };

    fn fields(team: Option<u8>, user: Option<u8>) -> KeyFields {
        let field = |id: Option<u8>| id.map_or(Field::Absent, |id| Field::Set(Id(id)));
        KeyFields { team: field(team), user: field(user), ..KeyFields::UNSAID }
    }

    #[test]
    fn a_class_is_told_by_what_a_key_names() {
        let history = Hand::new().done();
        let class = |team, user| class_of(&history, &fields(team, user), false);
        assert_eq!(class(None, None), KeyClass::Plain);
        assert_eq!(class(None, Some(0)), KeyClass::User);
        assert_eq!(class(Some(0), None), KeyClass::Team);
        assert_eq!(class(Some(0), Some(1)), KeyClass::Both);
        assert_eq!(class(Some(1), Some(1)), KeyClass::EqualIds);
        assert_eq!(class_of(&history, &fields(Some(0), Some(1)), true), KeyClass::Member);
        let of_organisation =
            KeyFields { organisation: Field::Set(Id(0)), ..fields(Some(0), None) };
        assert_eq!(class_of(&history, &of_organisation, false), KeyClass::Organisation);
    }

    #[test]
    fn only_a_team_and_a_user_make_a_membership() {
        assert_eq!(needed(&fields(None, None)), BTreeSet::from([Kind::Key]));
        let all = BTreeSet::from([Kind::Key, Kind::User, Kind::Team, Kind::Member]);
        assert_eq!(needed(&fields(Some(0), Some(1))), all);
    }
}
