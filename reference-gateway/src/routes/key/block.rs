//! `POST /key/block` and `/key/unblock`: suspends a key, and lets it go on.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    app::App,
    auth::{hash_of, require_admin},
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{body::Body, row},
    store::KeyPatch,
};

/// Which key, by text or hash.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    key: String,
}

/// Serves `/key/block`.
pub(crate) async fn block(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(which): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    set(&app, &headers, &which.key, true).await
}

/// Serves `/key/unblock`.
pub(crate) async fn unblock(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(which): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    set(&app, &headers, &which.key, false).await
}

async fn set(
    app: &App,
    headers: &HeaderMap,
    key: &str,
    blocked: bool,
) -> Result<Json<Value>, GatewayError> {
    require_admin(app, headers).await?;
    let token = hash_of(key);
    let patch = KeyPatch { blocked: Field::Set(blocked), ..KeyPatch::default() };
    let changed = app.store.update_key(&token, &patch).await?;
    let changed = changed.ok_or_else(|| GatewayError::NotFound { what: "Key".to_owned() })?;
    app.cache.invalidate(changed.tokens().into_iter().map(IdentityId::Key).collect()).await;
    let mut shown = row::key(&changed.key);
    shown.insert("token".to_owned(), token.into());
    Ok(Json(Value::Object(shown)))
}
