//! Which limits on requests under way a request must fit into: its key's, its team's, its user's.

use super::{Limit, Unit};
use crate::{auth::Holder, identity_cache::IdentityId};

/// Every such limit on the path of this caller's requests.
pub(super) fn on_path(holder: &Holder) -> impl Iterator<Item = Limit> {
    let key = holder.key.max_parallel_requests.map(|most| (holder.key_owner(), most));
    let team = holder.team.as_ref().and_then(|team| {
        team.max_parallel_requests.map(|most| (IdentityId::Team(team.team_id.clone()), most))
    });
    let user = holder.user.as_ref().and_then(|user| {
        user.max_parallel_requests.map(|most| (IdentityId::User(user.user_id.clone()), most))
    });
    let limits = [key, team, user].into_iter().flatten();
    limits.map(|(owner, most)| Limit { owner, unit: Unit::Parallel, most })
}
