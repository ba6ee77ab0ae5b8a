//! `POST /user/update`: changes what is said, clears what is null, leaves the rest.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde_json::{Value, json};

use super::{new::Wanted, not_found};
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{body::Body, row},
    store::UserPatch,
};

/// Serves the call. The changes have the same names as when the user was made.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    wanted.check()?;
    let user_id = wanted.user_id.into_value();
    let user_id = user_id
        .ok_or_else(|| GatewayError::Invalid { message: "user_id: field required".to_owned() })?;
    let patch = UserPatch {
        user_email: wanted.user_email,
        user_alias: wanted.user_alias,
        user_role: wanted.user_role,
        models: wanted.models,
        metadata: match wanted.metadata {
            Field::Absent => Field::Absent,
            Field::Null => Field::Null,
            Field::Set(metadata) => Field::Set(Value::Object(metadata)),
        },
        max_budget: wanted.max_budget,
        budget_duration: wanted.budget_duration,
        tpm_limit: wanted.tpm_limit,
        rpm_limit: wanted.rpm_limit,
        max_parallel_requests: wanted.max_parallel_requests,
    };
    let changed = app.store.update_user(&user_id, &patch).await?;
    let changed = changed.ok_or_else(|| not_found(&user_id))?;
    app.cache.invalidate(vec![IdentityId::User(user_id.clone())]).await;
    Ok(Json(json!({"user_id": user_id, "data": row::user(&changed)})))
}
