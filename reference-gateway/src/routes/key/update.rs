//! `POST /key/update`: changes what is said, clears what is null, leaves the rest.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde_json::{Value, json};

use super::generate::Wanted;
use crate::{
    app::App,
    auth::{hash_of, require_admin},
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{
        body::Body,
        bounds::{check_budget, check_id, check_limit, check_window, expiry},
        row,
    },
    store::KeyPatch,
};

/// Serves the call. The changes have the same names as when the key was made.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(mut wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let named = std::mem::take(&mut wanted.key).into_value().filter(|key| !key.is_empty());
    let named =
        named.ok_or_else(|| GatewayError::Invalid { message: "key: field required".to_owned() })?;
    let token = hash_of(&named);
    let patch = patch(wanted)?;
    let changed = match app.store.update_key(&token, &patch).await? {
        Some(changed) => changed,
        None => return Err(why_not(&app, &token, &patch).await?),
    };
    app.cache.invalidate(changed.tokens().into_iter().map(IdentityId::Key).collect()).await;
    let mut shown = row::key(&changed.key);
    shown.insert("key".to_owned(), json!(named));
    Ok(Json(Value::Object(shown)))
}

/// What a caller wants changed, if it may be so.
pub(super) fn patch(wanted: Wanted) -> Result<KeyPatch, GatewayError> {
    check_budget(&wanted.max_budget)?;
    check_window(&wanted.budget_duration)?;
    check_limit(&wanted.tpm_limit, "tpm_limit")?;
    check_limit(&wanted.rpm_limit, "rpm_limit")?;
    check_limit(&wanted.max_parallel_requests, "max_parallel_requests")?;
    for (id, param) in [
        (&wanted.user_id, "user_id"),
        (&wanted.team_id, "team_id"),
        (&wanted.organization_id, "organization_id"),
    ] {
        check_id(id.value().map_or("", String::as_str), param)?;
    }
    Ok(KeyPatch {
        expires_at_ms: expiry(&wanted.duration)?,
        key_alias: wanted.key_alias,
        user_id: wanted.user_id,
        team_id: wanted.team_id,
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
    })
}

/// What an update needs and is missing: the key, or the team or organisation it should move to.
pub(super) async fn why_not(
    app: &App,
    token: &str,
    patch: &KeyPatch,
) -> Result<GatewayError, GatewayError> {
    let named = |id: &Field<String>| id.value().cloned().filter(|id| !id.is_empty());
    let team = named(&patch.team_id);
    let organisation = named(&patch.organization_id).unwrap_or_default();
    let what = match (app.store.key(token).await?, team) {
        (None, _) => "Key".to_owned(),
        (Some(_), Some(team)) if app.store.team(&team).await?.is_none() => format!("Team {team}"),
        (Some(_), _) => format!("Organization {organisation}"),
    };
    Ok(GatewayError::NotFound { what })
}
