//! `POST /key/delete`: ends keys, by text, hash or alias.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    app::App,
    auth::{hash_of, require_admin},
    error::GatewayError,
    identity_cache::IdentityId,
    routes::body::Body,
};

/// Which keys.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    keys: Option<Vec<String>>,
    key_aliases: Option<Vec<String>>,
}

/// Serves the call. Keys that there are not are left out of the answer; where none is left, the
/// answer is 404.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(which): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let (deleted, shown) = match (which.keys, which.key_aliases) {
        (Some(keys), _) => {
            let tokens: Vec<String> = keys.iter().map(|key| hash_of(key)).collect();
            let deleted = app.store.delete_keys(&tokens).await?;
            let shown = keys.into_iter().filter(|key| deleted.contains(&hash_of(key)));
            let shown: Vec<String> = shown.collect();
            (deleted, shown)
        }
        (None, Some(aliases)) => {
            let (deleted, shown) = app.store.delete_keys_by_alias(&aliases).await?;
            (deleted, shown.into_iter().collect())
        }
        (None, None) => {
            return Err(GatewayError::Invalid {
                message: "keys or key_aliases: one is required".to_owned(),
            });
        }
    };
    if deleted.is_empty() {
        return Err(GatewayError::NotFound { what: "Key".to_owned() });
    }
    app.gone(deleted.into_iter().map(IdentityId::Key).collect()).await;
    Ok(Json(json!({"deleted_keys": shown})))
}
