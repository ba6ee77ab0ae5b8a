//! Which budgets a request must fit into: those of its key, team, user, member, organisation and end
//! user.
//!
//! Spend that has reached the budget is over it, for every kind of owner. A budget of zero admits
//! nothing; a budget of null is none.

use super::Budget;
use crate::{auth::Holder, identity_cache::IdentityId, spend::pico};

/// Every budget on the path of this caller's requests.
pub(super) fn on_path(holder: &Holder) -> Vec<Budget> {
    let key = holder.key.max_budget.map(|budget| (holder.key_owner(), budget));
    let team = holder.team.as_ref().and_then(|team| {
        team.max_budget.map(|budget| (IdentityId::Team(team.team_id.clone()), budget))
    });
    let user = holder.user.as_ref().and_then(|user| {
        user.max_budget.map(|budget| (IdentityId::User(user.user_id.clone()), budget))
    });
    let member = holder.member.as_ref().and_then(|member| {
        let budget = member.budget.as_ref()?.max_budget?;
        Some((holder.member_owner()?, budget))
    });
    let organisation = holder.organisation.as_ref().and_then(|organisation| {
        let id = organisation.organization_id.clone();
        organisation.max_budget.map(|budget| (IdentityId::Organisation(id), budget))
    });
    let end_user = holder.end_user.as_ref().and_then(|end_user| {
        let id = end_user.user_id.clone();
        end_user.max_budget.map(|budget| (IdentityId::EndUser(id), budget))
    });
    [key, team, user, member, organisation, end_user]
        .into_iter()
        .flatten()
        .map(|(owner, max_budget)| Budget { owner, max_budget, max_pico: pico(max_budget) })
        .collect()
}

/// Whose budget it is, in words that give no secret away.
pub(super) fn shown(owner: &IdentityId, holder: &Holder) -> String {
    match owner {
        IdentityId::Key(_) => format!("Key={}", holder.key.key_name),
        IdentityId::Team(team) => format!("Team={team}"),
        IdentityId::User(user) => format!("User={user}"),
        IdentityId::Member { team, user } => format!("User={user} in Team={team}"),
        IdentityId::Organisation(organisation) => format!("Organization={organisation}"),
        IdentityId::EndUser(end_user) => format!("End User={end_user}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{EndUser, Member, MemberBudget, Organisation, Team, User, VirtualKey};

    fn holder(
        key: Option<f64>,
        team: Option<f64>,
        user: Option<f64>,
        member: Option<MemberBudget>,
    ) -> Holder {
        Holder {
            key: Arc::new(VirtualKey { max_budget: key, ..VirtualKey::default() }),
            team: Some(Arc::new(Team { max_budget: team, ..Team::default() })),
            user: Some(Arc::new(User { max_budget: user, ..User::default() })),
            member: Some(Arc::new(Member { budget: member, ..Member::default() })),
            organisation: None,
            end_user: None,
        }
    }

    #[test]
    fn every_budget_on_the_path_holds() {
        let member = MemberBudget { max_budget: Some(4.0), budget_duration: None };
        let organisation = Organisation { max_budget: Some(5.0), ..Organisation::default() };
        let end_user = EndUser { max_budget: Some(6.0), ..EndUser::default() };
        let path = on_path(&Holder {
            organisation: Some(Arc::new(organisation)),
            end_user: Some(Arc::new(end_user)),
            ..holder(Some(1.0), Some(2.0), Some(3.0), Some(member))
        });
        let budgets: Vec<f64> = path.iter().map(|budget| budget.max_budget).collect();
        assert_eq!(budgets, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn null_is_no_budget_and_zero_is_one() {
        let cleared = MemberBudget::default();
        assert!(on_path(&holder(None, None, None, Some(cleared))).is_empty());
        assert_eq!(on_path(&holder(Some(0.0), None, None, None))[0].max_pico, 0);
    }
}
