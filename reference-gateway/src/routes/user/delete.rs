//! `POST /user/delete`: ends users, with their memberships and their keys.

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

/// Which users.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    user_ids: Vec<String>,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(Which { user_ids }): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let deleted = app.store.delete_users(&user_ids).await?;
    if deleted.users.is_empty() {
        return Err(not_found(&user_ids.join(", ")));
    }
    let keys = deleted.tokens.into_iter().map(IdentityId::Key);
    let members = deleted.members.into_iter().map(|(team, user)| IdentityId::Member { team, user });
    let users = deleted.users.iter().cloned().map(IdentityId::User);
    app.gone(keys.chain(members).chain(users).collect()).await;
    Ok(Json(json!({"deleted_users": deleted.users})))
}
