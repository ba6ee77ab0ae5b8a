//! `/user/*`: people and programs that hold keys.

pub(crate) mod new;
pub(crate) mod info;
pub(crate) mod update;
pub(crate) mod delete;

use crate::error::GatewayError;

fn not_found(user_id: &str) -> GatewayError {
    GatewayError::NotFound { what: format!("User {user_id}") }
}
