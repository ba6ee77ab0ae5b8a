//! `POST /team/member_delete`: ends a membership, and that user's keys of the team.

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
    identity_cache::IdentityId,
    routes::{body::Body, row},
};

/// Which member of which team.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    team_id: String,
    user_id: String,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(Which { team_id, user_id }): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let tokens = app.store.delete_member(&team_id, &user_id).await?;
    let tokens = tokens.ok_or_else(|| GatewayError::NotFound {
        what: format!("User {user_id} in team {team_id}"),
    })?;
    let mut changed: Vec<IdentityId> = tokens.into_iter().map(IdentityId::Key).collect();
    changed.push(IdentityId::Member { team: team_id.clone(), user: user_id });
    app.gone(changed).await;
    let team = app.store.team_info(&team_id).await?.ok_or_else(|| not_found(&team_id))?;
    let members = app.store.members_of_team(&team_id).await?;
    Ok(Json(Value::Object(row::team_with_members(&team, &members))))
}
