//! `GET /team/info`: a team, its members and its keys.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::not_found;
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    routes::{body::Asked, row},
    store::KeyFilter,
};

/// How many keys are shown at most.
const MOST_KEYS: i64 = 1_000;

/// Which team.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    team_id: String,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(Which { team_id }): Asked<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let team = app.store.team_info(&team_id).await?.ok_or_else(|| not_found(&team_id))?;
    let members = app.store.members_of_team(&team_id).await?;
    let filter = KeyFilter { team_id: Some(team_id.clone()), ..KeyFilter::default() };
    let (keys, _) = app.store.list_keys(&filter, 0, MOST_KEYS).await?;
    Ok(Json(json!({
        "team_id": team_id,
        "team_info": row::team_with_members(&team, &members),
        "keys": keys.iter().map(row::key).collect::<Vec<_>>(),
        "team_memberships": members.iter().map(row::member).collect::<Vec<_>>(),
    })))
}
