//! `POST /key/regenerate`: a new secret for a key. Its spend and limits stay with it, and the old
//! secret works until its grace ends, if it was given one.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    generate::{Wanted, key_text},
    update::{patch, why_not},
};
use crate::{
    app::App,
    auth::{fingerprint, hash_of, require_admin, shown_name},
    error::GatewayError,
    field::Field,
    identity_cache::IdentityId,
    routes::{
        body::{Asked, Body},
        bounds::moment_after,
        row,
    },
    store::{NewSecret, NotRegenerated},
};

/// What a key may be regenerated with; whatever else an update may change is changed as well.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Regeneration {
    #[serde(flatten)]
    wanted: Wanted,
    /// The new secret; a fresh one where it is left out.
    #[serde(default)]
    new_key: Field<String>,
    /// How long the old secret works on, as in `24h`.
    #[serde(default)]
    grace_period: Field<String>,
}

/// Which key, where the body does not say.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    key: Option<String>,
}

/// Serves `/key/regenerate`.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(which): Asked<Which>,
    Body(asked): Body<Regeneration>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    regenerate(&app, which.key, asked).await
}

/// Serves `/key/{key}/regenerate`.
pub(crate) async fn serve_named(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(key): Path<String>,
    Body(asked): Body<Regeneration>,
) -> Result<Json<Value>, GatewayError> {
    require_admin(&app, &headers).await?;
    regenerate(&app, Some(key), asked).await
}

async fn regenerate(
    app: &App,
    named: Option<String>,
    asked: Regeneration,
) -> Result<Json<Value>, GatewayError> {
    let Regeneration { mut wanted, new_key, grace_period } = asked;
    let in_body = std::mem::take(&mut wanted.key).into_value();
    let named = named.or(in_body).filter(|key| !key.is_empty());
    let named =
        named.ok_or_else(|| GatewayError::Invalid { message: "key: field required".to_owned() })?;
    let old = hash_of(&named);
    let patch = patch(wanted)?;
    let text = key_text(new_key)?;
    let new = NewSecret {
        token: fingerprint(&text),
        key_name: shown_name(&text),
        old_ends_at_ms: moment_after(&grace_period, "grace_period")?,
    };
    if new.token == old {
        return Err(taken());
    }
    let regenerated = app.store.regenerate_key(&old, &new, &patch).await?;
    let changed = match regenerated {
        Ok(changed) => changed,
        Err(NotRegenerated::NoSuchKey | NotRegenerated::NoSuchOwner) => {
            return Err(why_not(app, &old, &patch).await?);
        }
        Err(NotRegenerated::SecretTaken) => return Err(taken()),
    };
    let mut tokens = changed.tokens();
    tokens.push(old);
    app.cache.invalidate(tokens.into_iter().map(IdentityId::Key).collect()).await;
    let mut shown = Map::new();
    shown.insert("key".to_owned(), text.into());
    shown.insert("token".to_owned(), new.token.clone().into());
    shown.insert("token_id".to_owned(), new.token.into());
    shown.append(&mut row::key(&changed.key));
    Ok(Json(Value::Object(shown)))
}

fn taken() -> GatewayError {
    GatewayError::bad_request("A key with this text already exists", "new_key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regeneration_says_what_an_update_says_and_more() {
        let body =
            r#"{"key":"sk-1","grace_period":"5s","rpm_limit":9223372036854775807,"models":null}"#;
        let asked: Regeneration = serde_json::from_str(body).unwrap();
        assert_eq!(asked.wanted.key, Field::Set("sk-1".to_owned()));
        assert_eq!(asked.wanted.rpm_limit, Field::Set(i64::MAX));
        assert_eq!(asked.wanted.models, Field::Null);
        assert_eq!(asked.wanted.max_budget, Field::Absent);
        assert_eq!(asked.grace_period, Field::Set("5s".to_owned()));
        assert_eq!(asked.new_key, Field::Absent);
    }
}
