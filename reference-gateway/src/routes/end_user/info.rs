//! `GET /customer/info`: an end user.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::not_found;
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    routes::{body::Asked, row},
};

/// Which end user.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    end_user_id: String,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(Which { end_user_id }): Asked<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let end_user = app.store.end_user_info(&end_user_id).await?;
    let end_user = end_user.ok_or_else(|| not_found(&end_user_id))?;
    Ok(Json(Value::Object(row::end_user(&end_user))))
}
