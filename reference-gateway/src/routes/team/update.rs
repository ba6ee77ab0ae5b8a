//! `POST /team/update`: changes what is said, clears what is null, leaves the rest.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde_json::{Value, json};

use super::{new::Wanted, not_found};
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{body::Body, row},
    store::TeamPatch,
};

/// Serves the call. The changes have the same names as when the team was made.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    wanted.check()?;
    let team_id = wanted.team_id.into_value();
    let team_id = team_id
        .ok_or_else(|| GatewayError::Invalid { message: "team_id: field required".to_owned() })?;
    let patch = TeamPatch {
        team_alias: wanted.team_alias,
        organization_id: wanted.organization_id,
        models: wanted.models,
        metadata: match wanted.metadata {
            Field::Absent => Field::Absent,
            Field::Null => Field::Null,
            Field::Set(metadata) => Field::Set(Value::Object(metadata)),
        },
        max_budget: wanted.max_budget,
        budget_duration: wanted.budget_duration,
        tpm_limit: wanted.tpm_limit,
        rpm_limit: wanted.rpm_limit,
        max_parallel_requests: wanted.max_parallel_requests,
        blocked: wanted.blocked,
    };
    let changed = app.store.update_team(&team_id, &patch).await?;
    let Some(changed) = changed else { return Err(why_not(&app, &team_id, &patch).await?) };
    app.cache.invalidate(vec![IdentityId::Team(team_id.clone())]).await;
    let members = app.store.members_of_team(&team_id).await?;
    Ok(Json(json!({"team_id": team_id, "data": row::team_with_members(&changed, &members)})))
}

/// Which of the two that an update needs is missing: the team, or the organisation it should move to.
async fn why_not(
    app: &App,
    team_id: &str,
    patch: &TeamPatch,
) -> Result<GatewayError, GatewayError> {
    let organisation = patch.organization_id.value().map_or("", String::as_str);
    Ok(match app.store.team(team_id).await? {
        Some(_) => GatewayError::NotFound { what: format!("Organization {organisation}") },
        None => not_found(team_id),
    })
}
