//! `GET /v1/models`: the aliases that the caller may use.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::{app::App, auth::authenticate, error::GatewayError};

/// When OpenAI says that its first models were made; every gateway of this kind repeats it.
const CREATED: u64 = 1_677_610_602;

/// Exactly the aliases that a chat request of this caller would not be denied.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, GatewayError> {
    let caller = authenticate(&app, &headers).await?;
    let models: Vec<Value> = app
        .providers
        .aliases()
        .filter(|alias| caller.may_use(alias, app.defects))
        .map(|alias| json!({"id": alias, "object": "model", "created": CREATED, "owned_by": "openai"}))
        .collect();
    Ok(Json(json!({"data": models, "object": "list"})))
}
