//! Which request limits a request must fit into. A limit of n admits n requests in any minute.

use super::RequestLimit;
use crate::{auth::Holder, identity_cache::IdentityId};

/// Every request limit on the path of this caller's requests.
pub(super) fn on_path(holder: &Holder) -> Vec<RequestLimit> {
    let key = holder.key.rpm_limit.map(|limit| (holder.key_owner(), limit));
    let team = holder.team.as_ref().and_then(|team| {
        team.rpm_limit.map(|limit| (IdentityId::Team(team.team_id.clone()), limit))
    });
    let user = holder.user.as_ref().and_then(|user| {
        user.rpm_limit.map(|limit| (IdentityId::User(user.user_id.clone()), limit))
    });
    let member =
        holder.member.as_ref().and_then(|member| Some((holder.member_owner()?, member.rpm_limit?)));
    [key, team, user, member]
        .into_iter()
        .flatten()
        .map(|(owner, per_minute)| RequestLimit { owner, per_minute })
        .collect()
}

/// Whose limit it is, without the id: a refusal tells nothing that the caller does not know.
pub(super) fn shown(owner: &IdentityId) -> &'static str {
    match owner {
        IdentityId::Key(_) => "api_key",
        IdentityId::Team(_) => "team",
        IdentityId::User(_) => "user",
        IdentityId::Member { .. } => "team_member",
    }
}
