//! `POST /team/delete`: ends teams, with their memberships and their keys.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::not_found;
use crate::{
    app::App, auth::require_admin, error::GatewayError, identity_cache::IdentityId,
    routes::body::Body,
};

/// Which teams.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    team_ids: Vec<String>,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(Which { team_ids }): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let deleted = app.store.delete_teams(&team_ids).await?;
    if deleted.teams.is_empty() {
        return Err(not_found(&team_ids.join(", ")));
    }
    let keys = deleted.tokens.into_iter().map(IdentityId::Key);
    let members = deleted.members.into_iter().map(|(team, user)| IdentityId::Member { team, user });
    let teams = deleted.teams.iter().cloned().map(IdentityId::Team);
    app.gone(keys.chain(members).chain(teams).collect()).await;
    Ok(Json(json!({"deleted_teams": deleted.teams})))
}
