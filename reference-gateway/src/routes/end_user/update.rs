//! `POST /customer/update`: changes what is said, clears what is null, leaves the rest.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde_json::Value;

use super::{new::Wanted, not_found};
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    identity_cache::IdentityId,
    routes::{body::Body, row},
    store::EndUserPatch,
};

/// Serves the call. The changes have the same names as when the end user was made.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    wanted.check()?;
    let patch = EndUserPatch {
        alias: wanted.alias,
        blocked: wanted.blocked,
        max_budget: wanted.max_budget,
        budget_duration: wanted.budget_duration,
    };
    let changed = app.store.update_end_user(&wanted.user_id, &patch).await?;
    let changed = changed.ok_or_else(|| not_found(&wanted.user_id))?;
    app.cache.invalidate(vec![IdentityId::EndUser(wanted.user_id)]).await;
    Ok(Json(Value::Object(row::end_user(&changed))))
}
