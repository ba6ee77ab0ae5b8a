//! `POST /key/generate`: issues a virtual key. Its text is in the answer and nowhere else.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    app::App,
    auth::{fingerprint, new_key_text, require_admin, shown_name},
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{
        body::Body,
        bounds::{check_budget, check_id, check_limit, check_window, expiry},
        row,
    },
    store::{NewKey, NotInserted},
};

/// What a key may be issued with; all of it may be absent, null or empty.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(crate) key: Field<String>,
    #[serde(default)]
    pub(crate) key_alias: Field<String>,
    #[serde(default)]
    pub(crate) user_id: Field<String>,
    #[serde(default)]
    pub(crate) team_id: Field<String>,
    #[serde(default)]
    pub(crate) organization_id: Field<String>,
    #[serde(default)]
    pub(crate) models: Field<Vec<String>>,
    #[serde(default)]
    pub(crate) metadata: Field<Map<String, Value>>,
    #[serde(default)]
    pub(crate) max_budget: Field<f64>,
    #[serde(default)]
    pub(crate) budget_duration: Field<String>,
    #[serde(default)]
    pub(crate) tpm_limit: Field<i64>,
    #[serde(default)]
    pub(crate) rpm_limit: Field<i64>,
    #[serde(default)]
    pub(crate) max_parallel_requests: Field<i64>,
    #[serde(default)]
    pub(crate) duration: Field<String>,
    #[serde(default)]
    pub(crate) blocked: Field<bool>,
}

/// Serves the call.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    issue(&app, wanted).await.map(|shown| Json(Value::Object(shown)))
}

/// Issues the key and shows it, text included.
pub(crate) async fn issue(app: &App, wanted: Wanted) -> Result<Map<String, Value>, GatewayError> {
    let expires = expiry(&wanted.duration)?;
    check_budget(&wanted.max_budget)?;
    check_window(&wanted.budget_duration)?;
    check_limit(&wanted.tpm_limit, "tpm_limit")?;
    check_limit(&wanted.rpm_limit, "rpm_limit")?;
    check_limit(&wanted.max_parallel_requests, "max_parallel_requests")?;
    for (id, param) in [
        (&wanted.user_id, "user_id"),
        (&wanted.team_id, "team_id"),
        (&wanted.organization_id, "organization_id"),
    ] {
        check_id(id.value().map_or("", String::as_str), param)?;
    }
    let text = key_text(wanted.key)?;
    let key = NewKey {
        token: fingerprint(&text),
        key_name: shown_name(&text),
        key_alias: wanted.key_alias.into_value(),
        user_id: wanted.user_id.into_value(),
        team_id: wanted.team_id.into_value(),
        organization_id: wanted.organization_id.into_value(),
        models: wanted.models.into_value(),
        metadata: wanted.metadata.into_value().map(Value::Object),
        max_budget: wanted.max_budget.into_value(),
        budget_duration: wanted.budget_duration.into_value(),
        tpm_limit: wanted.tpm_limit.into_value(),
        rpm_limit: wanted.rpm_limit.into_value(),
        max_parallel_requests: wanted.max_parallel_requests.into_value(),
        blocked: wanted.blocked.into_value(),
        blocked_at_ms: None,
        expires_at_ms: expires.into_value(),
        key_id: fingerprint(&text),
    };
    let issued = app.store.insert_key(&key).await?.map_err(|reason| match reason {
        NotInserted::NoSuchTeam => {
            GatewayError::NotFound { what: format!("Team {}", key.team().unwrap_or_default()) }
        }
        NotInserted::NoSuchOrganisation => GatewayError::NotFound {
            what: format!("Organization {}", key.organisation().unwrap_or_default()),
        },
        NotInserted::KeyExists => {
            GatewayError::bad_request("A key with this text already exists", "key")
        }
    })?;
    app.cache.invalidate(vec![IdentityId::Key(key.token.clone())]).await;
    let mut shown = Map::new();
    shown.insert("key".to_owned(), text.into());
    shown.insert("token".to_owned(), key.token.clone().into());
    shown.insert("token_id".to_owned(), key.token.into());
    shown.append(&mut row::key(&issued));
    Ok(shown)
}

/// The text that was asked for, or a fresh one.
pub(super) fn key_text(wanted: Field<String>) -> Result<String, GatewayError> {
    let Some(text) = wanted.into_value().filter(|text| !text.is_empty()) else {
        return Ok(new_key_text());
    };
    // A credential travels in a header, so it must be able to.
    let can_travel = text.bytes().all(|byte| byte.is_ascii_graphic());
    match text.starts_with("sk-") && text.len() > 3 && can_travel {
        true => Ok(text),
        false => Err(GatewayError::bad_request(
            "key must start with 'sk-' and consist of visible ASCII characters",
            "key",
        )),
    }
}
