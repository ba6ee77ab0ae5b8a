//! `POST /organization/new`: creates an organisation, with a chosen id or a fresh one.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{
        body::Body,
        bounds::{check_budget, check_limit, check_window, given_or_fresh},
        row,
    },
    store::NewOrganisation,
};

/// What an organisation may be created with; all but its alias may be absent, null or empty.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(super) organization_id: Field<String>,
    #[serde(default)]
    pub(super) organization_alias: Field<String>,
    #[serde(default)]
    pub(super) models: Field<Vec<String>>,
    #[serde(default)]
    pub(super) metadata: Field<Map<String, Value>>,
    #[serde(default)]
    pub(super) max_budget: Field<f64>,
    #[serde(default)]
    pub(super) budget_duration: Field<String>,
    #[serde(default)]
    pub(super) tpm_limit: Field<i64>,
    #[serde(default)]
    pub(super) rpm_limit: Field<i64>,
}

impl Wanted {
    pub(super) fn check(&self) -> Result<(), GatewayError> {
        check_budget(&self.max_budget)?;
        check_window(&self.budget_duration)?;
        check_limit(&self.tpm_limit, "tpm_limit")?;
        check_limit(&self.rpm_limit, "rpm_limit")
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
    let alias = wanted.organization_alias.into_value();
    let organisation = NewOrganisation {
        organization_id: given_or_fresh(wanted.organization_id, "organization_id")?,
        organization_alias: alias.ok_or_else(|| GatewayError::Invalid {
            message: "organization_alias: field required".to_owned(),
        })?,
        models: wanted.models.into_value(),
        metadata: wanted.metadata.into_value().map(Value::Object),
        max_budget: wanted.max_budget.into_value(),
        budget_duration: wanted.budget_duration.into_value(),
        tpm_limit: wanted.tpm_limit.into_value(),
        rpm_limit: wanted.rpm_limit.into_value(),
    };
    let created = app.store.insert_organisation(&organisation).await?;
    let created = created.ok_or_else(|| GatewayError::Exists {
        what: format!("Organization {}", organisation.organization_id),
        status: StatusCode::BAD_REQUEST,
    })?;
    app.cache.invalidate(vec![IdentityId::Organisation(organisation.organization_id)]).await;
    Ok(Json(Value::Object(row::organisation(&created))))
}
