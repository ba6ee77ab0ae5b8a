//! `POST /customer/delete`: ends end users. Requests that still name them pass unbounded.

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

/// Which end users.
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
    let deleted = app.store.delete_end_users(&user_ids).await?;
    if deleted.is_empty() {
        return Err(not_found(&user_ids.join(", ")));
    }
    app.gone(deleted.iter().cloned().map(IdentityId::EndUser).collect()).await;
    Ok(Json(json!({"deleted_customers": deleted.len(), "deleted_ids": deleted})))
}
