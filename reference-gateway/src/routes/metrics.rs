//! `GET /metrics`: the counters of this process, for administrators.

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse};
use http::{HeaderMap, header};

use crate::{app::App, auth::require_admin, error::GatewayError};

/// All counters in Prometheus' text format.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, GatewayError> {
    require_admin(&app, &headers).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render()))
}
