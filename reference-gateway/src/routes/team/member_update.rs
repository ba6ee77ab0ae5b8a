//! `POST /team/member_update`: changes what is said of a member, clears what is null.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{
        body::Body,
        bounds::{check_budget, check_limit, check_window},
        row,
    },
    store::MemberPatch,
};

/// Which member, and the changes.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    team_id: String,
    user_id: String,
    #[serde(default)]
    role: Field<String>,
    #[serde(default)]
    max_budget_in_team: Field<f64>,
    #[serde(default)]
    budget_duration: Field<String>,
    #[serde(default)]
    tpm_limit: Field<i64>,
    #[serde(default)]
    rpm_limit: Field<i64>,
    #[serde(default)]
    allowed_models: Field<Vec<String>>,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(change): Body<Change>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    check_budget(&change.max_budget_in_team)?;
    check_window(&change.budget_duration)?;
    check_limit(&change.tpm_limit, "tpm_limit")?;
    check_limit(&change.rpm_limit, "rpm_limit")?;
    let patch = MemberPatch {
        role: change.role,
        max_budget: change.max_budget_in_team,
        budget_duration: change.budget_duration,
        tpm_limit: change.tpm_limit,
        rpm_limit: change.rpm_limit,
        allowed_models: change.allowed_models,
    };
    let changed = app.store.update_member(&change.team_id, &change.user_id, &patch).await?;
    let changed = changed.ok_or_else(|| GatewayError::NotFound {
        what: format!("User {} in team {}", change.user_id, change.team_id),
    })?;
    let member = IdentityId::Member { team: change.team_id, user: change.user_id };
    app.cache.invalidate(vec![member]).await;
    let mut shown = row::member(&changed);
    let bound = changed.row.budget.as_ref().and_then(|budget| budget.max_budget);
    shown.insert("max_budget_in_team".to_owned(), bound.into());
    Ok(Json(Value::Object(shown)))
}
