//! `GET /health/*`: is the process alive, and can it serve?

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use http::StatusCode;
use serde_json::json;

use crate::app::App;

/// The process answers.
pub(crate) async fn alive() -> impl IntoResponse {
    Json("I'm alive!")
}

/// The database answers too.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    match app.store.is_up().await {
        true => (StatusCode::OK, Json(json!({"status": "healthy", "db": "connected"}))),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "unhealthy", "db": "disconnected"})),
        ),
    }
}
