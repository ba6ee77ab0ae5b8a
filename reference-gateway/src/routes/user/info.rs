//! `GET /user/info`: a user, the user's keys and teams.

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

/// Which user.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    user_id: String,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(Which { user_id }): Asked<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let user = app.store.user_info(&user_id).await?.ok_or_else(|| not_found(&user_id))?;
    let memberships = app.store.members_of_user(&user_id).await?;
    let filter = KeyFilter { user_id: Some(user_id.clone()), ..KeyFilter::default() };
    let (keys, _) = app.store.list_keys(&filter, 0, MOST_KEYS).await?;
    Ok(Json(json!({
        "user_id": user_id,
        "user_info": row::user(&user),
        "keys": keys.iter().map(row::key).collect::<Vec<_>>(),
        "teams": memberships.iter().map(row::member).collect::<Vec<_>>(),
    })))
}
