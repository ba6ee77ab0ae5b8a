//! Which request and token limits a request must fit into.
//!
//! A request limit of n admits n requests in any minute. A token limit of n admits requests until
//! the tokens of a minute have reached n, so that the last one may go beyond it.

use super::{Limit, Unit};
use crate::{auth::Holder, identity_cache::IdentityId};

/// Every request and token limit on the path of this caller's requests.
pub(super) fn on_path(holder: &Holder) -> Vec<Limit> {
    let mut limits = vec![];
    let mut add = |owner: IdentityId, requests: Option<i64>, tokens: Option<i64>| {
        for (unit, most) in [(Unit::Requests, requests), (Unit::Tokens, tokens)] {
            if let Some(most) = most {
                limits.push(Limit { owner: owner.clone(), unit, most });
            }
        }
    };
    add(holder.key_owner(), holder.key.rpm_limit, holder.key.tpm_limit);
    if let Some(team) = &holder.team {
        add(IdentityId::Team(team.team_id.clone()), team.rpm_limit, team.tpm_limit);
    }
    if let Some(user) = &holder.user {
        add(IdentityId::User(user.user_id.clone()), user.rpm_limit, user.tpm_limit);
    }
    if let (Some(member), Some(owner)) = (&holder.member, holder.member_owner()) {
        add(owner, member.rpm_limit, member.tpm_limit);
    }
    if let Some(organisation) = &holder.organisation {
        let owner = IdentityId::Organisation(organisation.organization_id.clone());
        add(owner, organisation.rpm_limit, organisation.tpm_limit);
    }
    limits
}

/// Whose limit it is, without the id: a refusal tells nothing that the caller does not know.
pub(super) fn shown(owner: &IdentityId) -> &'static str {
    match owner {
        IdentityId::Key(_) => "api_key",
        IdentityId::Team(_) => "team",
        IdentityId::User(_) => "user",
        IdentityId::Member { .. } => "team_member",
        IdentityId::Organisation(_) => "organization",
        IdentityId::EndUser(_) => "end_user",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{Organisation, Team, VirtualKey};

    #[test]
    fn every_limit_on_the_path_holds_and_null_is_none() {
        let holder = Holder {
            key: Arc::new(VirtualKey { rpm_limit: Some(1), ..VirtualKey::default() }),
            team: Some(Arc::new(Team { tpm_limit: Some(0), ..Team::default() })),
            user: None,
            member: None,
            organisation: Some(Arc::new(Organisation {
                rpm_limit: Some(2),
                ..Organisation::default()
            })),
            end_user: None,
        };
        let limits = on_path(&holder);
        let shown: Vec<_> = limits.iter().map(|limit| (limit.unit, limit.most)).collect();
        assert_eq!(shown, [(Unit::Requests, 1), (Unit::Tokens, 0), (Unit::Requests, 2)]);
    }
}
