//! `POST /user/new`: creates a user, and a key of the user's own unless told not to.

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
        key::generate,
        row,
    },
    store::{MemberPatch, NewUser},
};

/// What a user may be created with; all of it may be absent, null or empty.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(super) user_id: Field<String>,
    #[serde(default)]
    pub(super) user_email: Field<String>,
    #[serde(default)]
    pub(super) user_alias: Field<String>,
    #[serde(default)]
    pub(super) user_role: Field<String>,
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
    #[serde(default)]
    pub(super) max_parallel_requests: Field<i64>,
    #[serde(default)]
    auto_create_key: Field<bool>,
    #[serde(default)]
    key_alias: Field<String>,
    #[serde(default)]
    duration: Field<String>,
    #[serde(default)]
    teams: Field<Vec<String>>,
}

impl Wanted {
    pub(super) fn check(&self) -> Result<(), GatewayError> {
        check_budget(&self.max_budget)?;
        check_window(&self.budget_duration)?;
        check_limit(&self.tpm_limit, "tpm_limit")?;
        check_limit(&self.rpm_limit, "rpm_limit")?;
        check_limit(&self.max_parallel_requests, "max_parallel_requests")
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
    let teams = wanted.teams.into_value().unwrap_or_default();
    for team in &teams {
        if app.store.team(team).await?.is_none() {
            return Err(GatewayError::NotFound { what: format!("Team {team}") });
        }
    }
    let user = NewUser {
        user_id: given_or_fresh(wanted.user_id, "user_id")?,
        user_email: wanted.user_email.into_value(),
        user_alias: wanted.user_alias.into_value(),
        user_role: wanted.user_role.into_value(),
        models: wanted.models.into_value(),
        metadata: wanted.metadata.into_value().map(Value::Object),
        max_budget: wanted.max_budget.into_value(),
        budget_duration: wanted.budget_duration.into_value(),
        tpm_limit: wanted.tpm_limit.into_value(),
        rpm_limit: wanted.rpm_limit.into_value(),
        max_parallel_requests: wanted.max_parallel_requests.into_value(),
    };
    let created = app.store.insert_user(&user).await?.ok_or_else(|| GatewayError::Exists {
        what: format!("User {}", user.user_id),
        status: StatusCode::CONFLICT,
    })?;
    let mut changed = vec![IdentityId::User(user.user_id.clone())];
    for team in &teams {
        app.store.add_member(team, &user.user_id, &MemberPatch::default()).await?;
        changed.push(IdentityId::Member { team: team.clone(), user: user.user_id.clone() });
    }
    app.cache.invalidate(changed).await;
    let mut shown = row::user(&created);
    shown.insert("teams".to_owned(), teams.into());
    if wanted.auto_create_key.into_value().unwrap_or(true) {
        let key = generate::Wanted {
            user_id: Field::Set(user.user_id),
            key_alias: wanted.key_alias,
            duration: wanted.duration,
            ..generate::Wanted::default()
        };
        let issued = generate::issue(&app, key).await?;
        for name in ["key", "token", "key_name", "expires"] {
            shown.insert(name.to_owned(), issued.get(name).cloned().unwrap_or_default());
        }
    }
    Ok(Json(Value::Object(shown)))
}
