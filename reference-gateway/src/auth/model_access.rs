//! Which model aliases a caller may use.
//!
//! A list that is absent, null or empty restricts nothing. A key's list, its team's and its
//! organisation's all hold; a user's list holds for keys without a team, a member's for keys of that
//! member in the team.

use super::{Caller, Holder};
use crate::{
    defects::Defects,
    error::{GatewayError, ModelOwner},
};

/// Names in a list that stand for every model the next owner allows.
const EVERYTHING: [&str; 3] = ["*", "all-proxy-models", "all-team-models"];

impl Caller {
    /// Refuses a model that some list leaves out.
    pub(crate) fn check_model(&self, model: &str) -> Result<(), GatewayError> {
        match self.restrictions(model).next() {
            None => Ok(()),
            Some(owner) => Err(GatewayError::ModelDenied { owner }),
        }
    }

    /// Should this caller see the model in a list? It is, if no request would be refused for it.
    pub(crate) fn may_use(&self, model: &str, defects: Defects) -> bool {
        self.restrictions(model)
            .all(|owner| owner == ModelOwner::User && defects.lists_without_user())
    }

    fn restrictions(&self, model: &str) -> impl Iterator<Item = ModelOwner> {
        let holder = match self {
            Self::Master => None,
            Self::Holder(holder) => Some(holder),
        };
        holder.into_iter().flat_map(move |holder| holder.restrictions(model))
    }
}

impl Holder {
    /// Whose lists leave this model out.
    fn restrictions(&self, model: &str) -> impl Iterator<Item = ModelOwner> {
        let user_list = match self.key.team() {
            Some(_) => None,
            None => self.user.as_ref().and_then(|user| user.models.as_deref()),
        };
        [
            (ModelOwner::Key, self.key.models.as_deref()),
            (ModelOwner::Team, self.team.as_ref().and_then(|team| team.models.as_deref())),
            (
                ModelOwner::Organisation,
                self.organisation.as_ref().and_then(|organisation| organisation.models.as_deref()),
            ),
            (ModelOwner::User, user_list),
            (
                ModelOwner::Member,
                self.member.as_ref().and_then(|member| member.allowed_models.as_deref()),
            ),
        ]
        .into_iter()
        .filter(move |(_, list)| list.is_some_and(|list| !allows(list, model)))
        .map(|(owner, _)| owner)
    }
}

fn allows(list: &[String], model: &str) -> bool {
    list.is_empty()
        || list.iter().any(|allowed| allowed == model || EVERYTHING.contains(&allowed.as_str()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{Organisation, Team, User, VirtualKey};

    fn models(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn holder(key: Option<Vec<String>>, team: Option<Option<Vec<String>>>) -> Holder {
        let team_id = team.as_ref().map(|_| "t".to_owned());
        Holder {
            key: Arc::new(VirtualKey { models: key, team_id, ..VirtualKey::default() }),
            team: team.map(|models| Arc::new(Team { models, ..Team::default() })),
            user: Some(Arc::new(User { models: models(&["u"]), ..User::default() })),
            member: None,
            organisation: None,
            end_user: None,
        }
    }

    impl Holder {
        fn restriction(&self, model: &str) -> Option<ModelOwner> {
            self.restrictions(model).next()
        }
    }

    #[test]
    fn what_is_listed_is_what_may_be_used() {
        let list = || models(&["a", "u"]);
        for holder in [
            holder(None, None),
            holder(models(&[]), Some(models(&["a"]))),
            holder(list(), Some(None)),
            holder(models(&["*"]), None),
        ] {
            let caller = Caller::Holder(holder);
            for model in ["a", "b", "u"] {
                let is_listed = caller.may_use(model, Defects::default());
                assert_eq!(is_listed, caller.check_model(model).is_ok(), "{model}: {caller:?}");
            }
        }
    }

    #[cfg(feature = "defects")]
    #[test]
    fn the_planted_list_ignores_the_user_and_nobody_else() {
        let planted = Defects::plant(["list-ignores-user"]).unwrap();
        let by_user = Caller::Holder(holder(None, None));
        assert!(by_user.may_use("a", planted) && by_user.check_model("a").is_err());
        let by_key = Caller::Holder(holder(models(&["u"]), None));
        assert!(!by_key.may_use("a", planted));
    }

    #[test]
    fn an_absent_or_empty_list_restricts_nothing() {
        for list in [None, models(&[])] {
            assert_eq!(holder(list.clone(), Some(list)).restriction("a"), None);
        }
    }

    #[test]
    fn the_lists_of_key_and_team_both_hold() {
        let both = holder(models(&["a", "b"]), Some(models(&["a"])));
        assert_eq!(both.restriction("a"), None);
        assert_eq!(both.restriction("b"), Some(ModelOwner::Team));
        assert_eq!(both.restriction("c"), Some(ModelOwner::Key));
    }

    #[test]
    fn the_list_of_an_organisation_binds_its_teams_keys() {
        let organisation = Organisation { models: models(&["a"]), ..Organisation::default() };
        let bound =
            Holder { organisation: Some(Arc::new(organisation)), ..holder(None, Some(None)) };
        assert_eq!(bound.restriction("a"), None);
        assert_eq!(bound.restriction("b"), Some(ModelOwner::Organisation));
    }

    #[test]
    fn a_users_list_holds_for_keys_without_a_team() {
        assert_eq!(holder(None, None).restriction("a"), Some(ModelOwner::User));
        assert_eq!(holder(None, None).restriction("u"), None);
        assert_eq!(holder(None, Some(None)).restriction("a"), None);
    }

    #[test]
    fn a_wildcard_defers_to_the_next_owner() {
        let deferred = holder(models(&["all-team-models"]), Some(models(&["a"])));
        assert_eq!(deferred.restriction("a"), None);
        assert_eq!(deferred.restriction("b"), Some(ModelOwner::Team));
    }
}
