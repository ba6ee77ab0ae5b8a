//! `GET /organization/info`: an organisation.

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

/// Which organisation.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    organization_id: String,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(Which { organization_id }): Asked<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let organisation = app.store.organisation_info(&organization_id).await?;
    let organisation = organisation.ok_or_else(|| not_found(&organization_id))?;
    Ok(Json(Value::Object(row::organisation(&organisation))))
}
