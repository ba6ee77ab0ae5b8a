//! `GET /key/list`: keys, page by page, newest first.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    app::App,
    auth::{hash_of, require_admin},
    error::GatewayError,
    routes::{body::Asked, row},
    store::KeyFilter,
};

const LARGEST_PAGE: i64 = 100;

/// Which keys, and which page of them.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    user_id: Option<String>,
    team_id: Option<String>,
    key_alias: Option<String>,
    key_hash: Option<String>,
    page: Option<i64>,
    size: Option<i64>,
    return_full_object: Option<bool>,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(which): Asked<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let page = which.page.unwrap_or(1).max(1);
    let size = which.size.unwrap_or(10).clamp(1, LARGEST_PAGE);
    let filter = KeyFilter {
        user_id: which.user_id,
        team_id: which.team_id,
        key_alias: which.key_alias,
        token: which.key_hash.as_deref().map(hash_of),
    };
    let offset = (page - 1).saturating_mul(size);
    let (keys, total) = app.store.list_keys(&filter, offset, size).await?;
    let full = which.return_full_object.unwrap_or(false);
    let shown: Vec<Value> = keys
        .iter()
        .map(|key| match full {
            false => key.row.token.clone().into(),
            true => {
                let mut shown = row::key(key);
                shown.insert("token".to_owned(), key.row.token.clone().into());
                Value::Object(shown)
            }
        })
        .collect();
    Ok(Json(json!({
        "keys": shown,
        "total_count": total,
        "current_page": page,
        "total_pages": (total + size - 1) / size,
    })))
}
