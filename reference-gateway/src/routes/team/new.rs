//! `POST /team/new`: creates a team, with a chosen id or a fresh one.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{member_add::NewMember, not_found};
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{
        body::Body,
        bounds::{check_budget, check_id, check_limit, check_window, given_or_fresh},
        row,
    },
    store::{MemberPatch, NewTeam},
};

/// What a team may be created with; all of it may be absent, null or empty.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(super) team_id: Field<String>,
    #[serde(default)]
    pub(super) team_alias: Field<String>,
    #[serde(default)]
    pub(super) organization_id: Field<String>,
    #[serde(default)]
    pub(super) models: Field<Vec<String>>,
    #[serde(default)]
    pub(super) metadata: Field<Map<String, Value>>,
    #[serde(default)]
    pub(super) max_budget: Field<f64>,
    #[serde(default)]
    pub(super) budget_duration: Field<String>,
    #[serde(default)]
    pub(super) tpm_limit: Field<i64>,
    #[serde(default)]
    pub(super) rpm_limit: Field<i64>,
    #[serde(default)]
    pub(super) max_parallel_requests: Field<i64>,
    #[serde(default)]
    pub(super) blocked: Field<bool>,
    #[serde(default)]
    members_with_roles: Field<Vec<NewMember>>,
}

impl Wanted {
    pub(super) fn check(&self) -> Result<(), GatewayError> {
        check_id(self.organization_id.value().map_or("", String::as_str), "organization_id")?;
        check_budget(&self.max_budget)?;
        check_window(&self.budget_duration)?;
        check_limit(&self.tpm_limit, "tpm_limit")?;
        check_limit(&self.rpm_limit, "rpm_limit")?;
        check_limit(&self.max_parallel_requests, "max_parallel_requests")
    }
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    wanted.check()?;
    let members = wanted.members_with_roles.into_value().unwrap_or_default();
    let members = members.into_iter().map(NewMember::named).collect::<Result<Vec<_>, _>>()?;
    let team = NewTeam {
        team_id: given_or_fresh(wanted.team_id, "team_id")?,
        team_alias: wanted.team_alias.into_value(),
        organization_id: wanted.organization_id.into_value(),
        models: wanted.models.into_value(),
        metadata: wanted.metadata.into_value().map(Value::Object),
        max_budget: wanted.max_budget.into_value(),
        budget_duration: wanted.budget_duration.into_value(),
        tpm_limit: wanted.tpm_limit.into_value(),
        rpm_limit: wanted.rpm_limit.into_value(),
        max_parallel_requests: wanted.max_parallel_requests.into_value(),
        blocked: wanted.blocked.into_value(),
        blocked_at_ms: None,
    };
    let created = match app.store.insert_team(&team).await? {
        Some(created) => created,
        None => return Err(why_not(&app, &team).await?),
    };
    let mut changed = vec![IdentityId::Team(team.team_id.clone())];
    let mut added = vec![];
    for (user_id, role) in members {
        let patch = MemberPatch { role, ..MemberPatch::default() };
        let member = app.store.add_member(&team.team_id, &user_id, &patch).await?;
        added.push(member.ok_or_else(|| not_found(&team.team_id))?);
        changed.push(IdentityId::Member { team: team.team_id.clone(), user: user_id });
    }
    app.cache.invalidate(changed).await;
    Ok(Json(Value::Object(row::team_with_members(&created, &added))))
}

/// Why a team was not created: its organisation does not exist, or its id is taken.
async fn why_not(app: &App, team: &NewTeam) -> Result<GatewayError, GatewayError> {
    if let Some(id) = team.organisation()
        && app.store.organisation(id).await?.is_none()
    {
        return Ok(GatewayError::NotFound { what: format!("Organization {id}") });
    }
    let what = format!("Team {}", team.team_id);
    Ok(GatewayError::Exists { what, status: StatusCode::BAD_REQUEST })
}
