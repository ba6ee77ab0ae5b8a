//! `POST /customer/new`: creates an end user.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{
        body::Body,
        bounds::{check_budget, check_id, check_window},
        row,
    },
    store::NewEndUser,
};

/// What an end user may be created with; all but the id may be absent, null or empty.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    pub(super) user_id: String,
    #[serde(default)]
    pub(super) alias: Field<String>,
    #[serde(default)]
    pub(super) blocked: Field<bool>,
    #[serde(default)]
    pub(super) max_budget: Field<f64>,
    #[serde(default)]
    pub(super) budget_duration: Field<String>,
}

impl Wanted {
    pub(super) fn check(&self) -> Result<(), GatewayError> {
        if self.user_id.is_empty() {
            return Err(GatewayError::Invalid { message: "user_id: field required".to_owned() });
        }
        check_id(&self.user_id, "user_id")?;
        check_budget(&self.max_budget)?;
        check_window(&self.budget_duration)
    }
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    wanted.check()?;
    let end_user = NewEndUser {
        user_id: wanted.user_id,
        alias: wanted.alias.into_value(),
        blocked: wanted.blocked.into_value(),
        max_budget: wanted.max_budget.into_value(),
        budget_duration: wanted.budget_duration.into_value(),
    };
    let created = app.store.insert_end_user(&end_user).await?;
    let created = created.ok_or_else(|| GatewayError::Exists {
        what: format!("End User {}", end_user.user_id),
        status: StatusCode::BAD_REQUEST,
    })?;
    app.cache.invalidate(vec![IdentityId::EndUser(end_user.user_id)]).await;
    Ok(Json(Value::Object(row::end_user(&created))))
}
