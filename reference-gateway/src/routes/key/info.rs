//! `GET /key/info`: what a key is, for administrators and for its own holder.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    app::App,
    auth::{Caller, authenticate, hash_of},
    error::GatewayError,
    routes::{body::Asked, row},
};

/// Which key; the caller's own where none is named.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    key: Option<String>,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(which): Asked<Which>,
) -> Result<Json<Value>, GatewayError> {
    let caller = authenticate(&app, &headers).await?;
    let (own, is_admin) = match &caller {
        Caller::Master => (None, true),
        Caller::Holder(holder) => (
            Some(holder.key.token.as_str()),
            holder.user.as_ref().is_some_and(|user| user.is_admin()),
        ),
    };
    let named = which.key.filter(|key| !key.is_empty());
    let asked = named
        .as_deref()
        .or(own)
        .ok_or_else(|| GatewayError::bad_request("key must name a virtual key", "key"))?;
    let token = hash_of(asked);
    if !is_admin && own != Some(token.as_str()) {
        return Err(GatewayError::AdminOnly);
    }
    let found = app.store.key_info(&token).await?;
    let found = found.ok_or_else(|| GatewayError::NotFound { what: "Key".to_owned() })?;
    Ok(Json(json!({"key": asked, "info": row::key(&found)})))
}
