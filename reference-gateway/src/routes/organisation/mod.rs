//! `/organization/*`: the owners of teams and keys.

pub(crate) mod new;
pub(crate) mod info;
pub(crate) mod update;
pub(crate) mod delete;

use crate::error::GatewayError;

fn not_found(organization_id: &str) -> GatewayError {
    GatewayError::NotFound { what: format!("Organization {organization_id}") }
}
