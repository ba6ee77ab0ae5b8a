//! `POST /team/block` and `/team/unblock`: suspends all keys of a team, and lets them go on.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::not_found;
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{body::Body, row},
    store::TeamPatch,
};

/// Which team.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    team_id: String,
}

/// Serves `/team/block`.
pub(crate) async fn block(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(which): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    set(&app, &headers, which.team_id, true).await
}

/// Serves `/team/unblock`.
pub(crate) async fn unblock(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(which): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    set(&app, &headers, which.team_id, false).await
}

async fn set(
    app: &App,
    headers: &HeaderMap,
    team_id: String,
    blocked: bool,
) -> Result<Json<Value>, GatewayError> {
    require_admin(app, headers).await?;
    let patch = TeamPatch { blocked: Field::Set(blocked), ..TeamPatch::default() };
    let changed = app.store.update_team(&team_id, &patch).await?;
    let changed = changed.ok_or_else(|| not_found(&team_id))?;
    app.cache.invalidate(vec![IdentityId::Team(team_id)]).await;
    Ok(Json(Value::Object(row::team(&changed))))
}
