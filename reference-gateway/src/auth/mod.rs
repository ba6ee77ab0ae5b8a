//! Who is calling: from a header to a virtual key, its team, its user and its membership.

mod credential;
mod model_access;

use std::sync::Arc;

use http::HeaderMap;

pub(crate) use credential::{fingerprint, hash_of, new_key_text, shown_name};

use self::credential::credential;
use crate::{
    app::App,
    error::GatewayError,
    identity_cache::IdentityId,
    store::{EndUser, Member, Organisation, Team, User, VirtualKey, now_ms},
};

/// An authenticated caller.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Whoever holds the master key.
    Master,
    /// Whoever holds a virtual key.
    Holder(Holder),
}

/// A virtual key and everything that may restrict it.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) key: Arc<VirtualKey>,
    pub(crate) team: Option<Arc<Team>>,
    /// The user, if the key names one that exists.
    pub(crate) user: Option<Arc<User>>,
    /// The membership, if the key names a team and a user who is a member of it.
    pub(crate) member: Option<Arc<Member>>,
    /// The organisation of the key's team, or else of the key.
    pub(crate) organisation: Option<Arc<Organisation>>,
    /// Whom the request is for, if its body names an end user who exists.
    pub(crate) end_user: Option<Arc<EndUser>>,
}

impl Holder {
    /// The key, as an owner of budgets and limits.
    pub(crate) fn key_owner(&self) -> IdentityId {
        IdentityId::Key(self.key.key_id.clone())
    }

    /// The membership, as an owner of budgets and limits.
    pub(crate) fn member_owner(&self) -> Option<IdentityId> {
        let member = self.member.as_ref()?;
        let (team, user) = (member.team_id.clone(), member.user_id.clone());
        Some(IdentityId::Member { team, user })
    }
}

/// Finds out who is calling, and refuses whoever may not call at all.
pub(crate) async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, GatewayError> {
    let credential = credential(headers)?;
    let token = fingerprint(credential);
    if token == app.master_token {
        return Ok(Caller::Master);
    }
    if !credential.starts_with("sk-") {
        return Err(GatewayError::NotAVirtualKey { masked: credential::masked(credential) });
    }
    let key = app.cache.key(&token).await?.ok_or(GatewayError::UnknownKey)?;
    check_key(&key, now_ms())?;
    let holder = holder_of(app, key).await?;
    app.cache.used(&holder.key).await;
    Ok(Caller::Holder(holder))
}

/// Lets only administrators pass: the master key, and keys of users with that role.
pub(crate) async fn require_admin(app: &App, headers: &HeaderMap) -> Result<(), GatewayError> {
    match authenticate(app, headers).await? {
        Caller::Master => Ok(()),
        Caller::Holder(holder) if holder.user.as_ref().is_some_and(|user| user.is_admin()) => {
            Ok(())
        }
        Caller::Holder(_) => Err(GatewayError::AdminOnly),
    }
}

/// Reads the key's own state, on every request, wherever the key came from.
fn check_key(key: &VirtualKey, now_ms: i64) -> Result<(), GatewayError> {
    if key.is_blocked() {
        return Err(GatewayError::KeyBlocked);
    }
    if key.expires_at_ms.is_some_and(|expires| expires <= now_ms) {
        return Err(GatewayError::KeyExpired);
    }
    Ok(())
}

async fn holder_of(app: &App, key: Arc<VirtualKey>) -> Result<Holder, GatewayError> {
    let ((team, organisation), user, member) = futures::try_join!(
        owners_of(app, &key),
        async {
            match key.user() {
                Some(user) => Ok(app.cache.user(user).await?),
                None => Ok(None),
            }
        },
        async {
            match (key.team(), key.user()) {
                (Some(team), Some(user)) => Ok(app.cache.member(team, user).await?),
                _ => Ok(None),
            }
        },
    )?;
    if app.defects.trips_over_cleared_budget() {
        check_cleared_budget(member.as_deref())?;
    }
    Ok(Holder { key, team, user, member, organisation, end_user: None })
}

/// The key's team, and the organisation of that team, or else of the key.
async fn owners_of(
    app: &App,
    key: &VirtualKey,
) -> Result<(Option<Arc<Team>>, Option<Arc<Organisation>>), GatewayError> {
    let missing = |what: &str| GatewayError::Unauthenticated {
        reason: format!("the key's {what} does not exist."),
    };
    let team = match key.team() {
        None => None,
        Some(id) => Some(app.cache.team(id).await?.ok_or_else(|| missing("team"))?),
    };
    if let Some(team) = team.as_ref().filter(|team| team.is_blocked()) {
        return Err(GatewayError::TeamBlocked { team_id: team.team_id.clone() });
    }
    let of_team = team.as_ref().and_then(|team| team.organisation());
    let organisation = match of_team.or(key.organisation()) {
        None => None,
        Some(id) => Some(app.cache.organisation(id).await?.ok_or_else(|| missing("organisation"))?),
    };
    Ok((team, organisation))
}

/// What the defect `auth-null-budget-401` plants.
fn check_cleared_budget(member: Option<&Member>) -> Result<(), GatewayError> {
    match member.and_then(|member| member.budget.as_ref()) {
        Some(budget) if budget.max_budget.is_none() => Err(GatewayError::Unauthenticated {
            reason: "the membership cannot be read.".to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(blocked: Option<bool>, expires_at_ms: Option<i64>) -> VirtualKey {
        VirtualKey { blocked, expires_at_ms, ..VirtualKey::default() }
    }

    #[test]
    fn a_key_that_is_neither_blocked_nor_expired_may_call() {
        assert!(check_key(&key(None, None), 10).is_ok());
        assert!(check_key(&key(Some(false), Some(11)), 10).is_ok());
    }

    #[test]
    fn a_blocked_key_and_an_expired_key_may_not() {
        assert!(matches!(check_key(&key(Some(true), None), 10), Err(GatewayError::KeyBlocked)));
        assert!(matches!(check_key(&key(None, Some(10)), 10), Err(GatewayError::KeyExpired)));
    }
}
