//! `DELETE /organization/delete`: ends organisations, with their teams and the keys of all of them.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::not_found;
use crate::{
    app::App,
    auth::require_admin,
    error::GatewayError,
    identity_cache::IdentityId,
    routes::{body::Body, row},
};

/// Which organisations.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    organization_ids: Vec<String>,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(Which { organization_ids }): Body<Which>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    let deleted = app.store.delete_organisations(&organization_ids).await?;
    if deleted.organisations.is_empty() {
        return Err(not_found(&organization_ids.join(", ")));
    }
    let keys = deleted.tokens.into_iter().map(IdentityId::Key);
    let members = deleted.members.into_iter().map(|(team, user)| IdentityId::Member { team, user });
    let teams = deleted.teams.into_iter().map(IdentityId::Team);
    let organisations = deleted.organisations.iter();
    let organisations =
        organisations.map(|it| IdentityId::Organisation(it.row.organization_id.clone()));
    app.gone(keys.chain(members).chain(teams).chain(organisations).collect()).await;
    let shown = deleted.organisations.iter().map(|it| Value::Object(row::organisation(it)));
    Ok(Json(shown.collect()))
}
