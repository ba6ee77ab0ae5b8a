//! `/customer/*`: whom requests are for, as their `user` says.

pub(crate) mod new;
pub(crate) mod info;
pub(crate) mod update;
pub(crate) mod delete;

use crate::error::GatewayError;

fn not_found(end_user_id: &str) -> GatewayError {
    GatewayError::NotFound { what: format!("End User {end_user_id}") }
}
