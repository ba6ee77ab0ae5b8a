//! `/team/*`: the owners of keys and budgets.

pub(crate) mod new;
pub(crate) mod info;
pub(crate) mod update;
pub(crate) mod delete;
pub(crate) mod block;
pub(crate) mod member_add;
pub(crate) mod member_update;
pub(crate) mod member_delete;

use crate::error::GatewayError;

fn not_found(team_id: &str) -> GatewayError {
    GatewayError::NotFound { what: format!("Team {team_id}") }
}
