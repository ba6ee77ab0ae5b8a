//! The endpoints, one per file.

pub(crate) mod chat;
pub(crate) mod models;
pub(crate) mod key;
pub(crate) mod team;
pub(crate) mod user;
pub(crate) mod organisation;
pub(crate) mod end_user;
pub(crate) mod health;
pub(crate) mod metrics;
mod body;
mod bounds;
mod row;

use axum::response::IntoResponse;

use crate::error::GatewayError;

/// A route that is not served with this method.
pub(crate) async fn wrong_method() -> impl IntoResponse {
    GatewayError::WrongMethod
}

/// What no route matches.
pub(crate) async fn unknown() -> impl IntoResponse {
    GatewayError::NotFound { what: "The endpoint".to_owned() }
}
