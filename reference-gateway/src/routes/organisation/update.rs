//! `PATCH /organization/update`: changes what is said, clears what is null, leaves the rest.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde_json::Value;

use super::{new::Wanted, not_found};
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{body::Body, row},
    store::OrganisationPatch,
};

/// Serves the call. The changes have the same names as when the organisation was made.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    wanted.check()?;
    let id = wanted.organization_id.into_value().ok_or_else(|| GatewayError::Invalid {
        message: "organization_id: field required".to_owned(),
    })?;
    let patch = OrganisationPatch {
        organization_alias: wanted.organization_alias.into_value(),
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
    };
    let changed = app.store.update_organisation(&id, &patch).await?;
    let changed = changed.ok_or_else(|| not_found(&id))?;
    app.cache.invalidate(vec![IdentityId::Organisation(id)]).await;
    Ok(Json(Value::Object(row::organisation(&changed))))
}
