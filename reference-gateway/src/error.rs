//! Why a request was not served, and the OpenAI-shaped body that says so.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::store::Unavailable;

/// How long a caller should wait before it tries again after an outage.
const RETRY_AFTER_OUTAGE_S: u64 = 1;

/// Whose list of models left out the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelOwner {
    Key,
    Team,
    User,
    Member,
    Organisation,
}

/// Everything that can go wrong between a request's first byte and the provider's answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    #[error("Authentication Error, No api key passed in.")]
    NoKey,
    #[error("Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.")]
    MalformedKey,
    #[error(
        "Authentication Error, Virtual Key expected. Received={masked}, expected to start with 'sk-'."
    )]
    NotAVirtualKey { masked: String },
    #[error("Authentication Error, Invalid API key provided.")]
    UnknownKey,
    #[error("Authentication Error, {reason}")]
    Unauthenticated { reason: String },
    #[error("Key is blocked. Update via `/key/unblock` if you're admin.")]
    KeyBlocked,
    #[error("Team={team_id} is blocked. Update via `/team/unblock` if you're admin.")]
    TeamBlocked { team_id: String },
    #[error("End User={end_user_id} is blocked. Update via `/customer/update` if you're admin.")]
    EndUserBlocked { end_user_id: String },
    #[error("Authentication Error, Expired Key.")]
    KeyExpired,
    #[error("The model is not one that this {} may use.", match .owner {
        ModelOwner::Key => "key",
        ModelOwner::Team => "team",
        ModelOwner::User => "user",
        ModelOwner::Member => "team member",
        ModelOwner::Organisation => "organization",
    })]
    ModelDenied { owner: ModelOwner },
    #[error(
        "Invalid model name passed in model={model}. Call `/v1/models` to view available models for your key."
    )]
    UnknownModel { model: String },
    #[error(
        "Authentication Error, Only proxy admin can be used to generate, delete, update info for new keys/users/teams."
    )]
    AdminOnly,
    #[error("{message}")]
    BadRequest { message: String, param: Option<&'static str> },
    #[error("{message}")]
    UnreadableBody { status: StatusCode, message: String },
    #[error("{message}")]
    Invalid { message: String },
    #[error("{what} not found")]
    NotFound { what: String },
    #[error("The endpoint does not take this method")]
    WrongMethod,
    #[error("{what} already exists")]
    Exists { what: String, status: StatusCode },
    #[error("Budget has been exceeded! {scope}. Current cost: {spend}, Max budget: {budget}")]
    BudgetExceeded { scope: String, spend: f64, budget: f64 },
    #[error(
        "Rate limit exceeded for {scope}. Limit type: {unit}. Current limit: {limit}, Remaining: 0."
    )]
    RateLimited { scope: &'static str, unit: &'static str, limit: i64, retry_after_s: u64 },
    #[error("{0}, so the request cannot be decided now.")]
    StoreDown(#[from] Unavailable),
    #[error("the provider answered {status}")]
    Provider { status: StatusCode, body: Bytes, retry_after: Option<HeaderValue> },
    #[error("The provider cannot be reached.")]
    ProviderUnreachable,
    #[error("The provider did not answer in time.")]
    ProviderSilent,
    #[error("The provider's answer cannot be read.")]
    ProviderGarbled,
}

impl GatewayError {
    /// A legal request that asks for something impossible.
    pub(crate) fn bad_request(message: impl Into<String>, param: &'static str) -> Self {
        Self::BadRequest { message: message.into(), param: Some(param) }
    }

    /// The status that goes with the body.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoKey
            | Self::MalformedKey
            | Self::NotAVirtualKey { .. }
            | Self::UnknownKey
            | Self::Unauthenticated { .. }
            | Self::KeyBlocked
            | Self::TeamBlocked { .. }
            | Self::EndUserBlocked { .. }
            | Self::KeyExpired
            | Self::AdminOnly => StatusCode::UNAUTHORIZED,
            Self::ModelDenied { .. } => StatusCode::FORBIDDEN,
            Self::UnknownModel { .. } | Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } | Self::BudgetExceeded { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Exists { status, .. }
            | Self::UnreadableBody { status, .. }
            | Self::Provider { status, .. } => *status,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::StoreDown(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::ProviderSilent => StatusCode::REQUEST_TIMEOUT,
            Self::ProviderUnreachable | Self::ProviderGarbled => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::NoKey
            | Self::MalformedKey
            | Self::NotAVirtualKey { .. }
            | Self::Unauthenticated { .. }
            | Self::KeyBlocked
            | Self::TeamBlocked { .. }
            | Self::EndUserBlocked { .. }
            | Self::AdminOnly => "auth_error",
            Self::UnknownKey => "token_not_found_in_db",
            Self::KeyExpired => "expired_key",
            Self::ModelDenied { owner } => match owner {
                ModelOwner::Key => "key_model_access_denied",
                ModelOwner::Team => "team_model_access_denied",
                ModelOwner::User => "user_model_access_denied",
                ModelOwner::Member => "team_member_model_access_denied",
                ModelOwner::Organisation => "org_model_access_denied",
            },
            Self::UnknownModel { .. } => "invalid_request_error",
            Self::BadRequest { .. }
            | Self::UnreadableBody { .. }
            | Self::Exists { .. }
            | Self::WrongMethod => "bad_request_error",
            Self::Invalid { .. } => "validation_error",
            Self::NotFound { .. } => "not_found_error",
            Self::BudgetExceeded { .. } => "budget_exceeded",
            Self::RateLimited { .. } => "throttling_error",
            Self::StoreDown(_) => "service_unavailable_error",
            Self::Provider { status, .. } => match *status {
                StatusCode::UNAUTHORIZED => "authentication_error",
                StatusCode::FORBIDDEN => "permission_error",
                StatusCode::TOO_MANY_REQUESTS => "throttling_error",
                status if status.is_client_error() => "invalid_request_error",
                _ => "internal_server_error",
            },
            Self::ProviderSilent => "timeout_error",
            Self::ProviderUnreachable | Self::ProviderGarbled => "internal_server_error",
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::UnknownKey => Some("key"),
            Self::ModelDenied { .. } | Self::UnknownModel { .. } => Some("model"),
            Self::BadRequest { param, .. } => *param,
            Self::NoKey
            | Self::MalformedKey
            | Self::NotAVirtualKey { .. }
            | Self::Unauthenticated { .. }
            | Self::KeyBlocked
            | Self::TeamBlocked { .. }
            | Self::EndUserBlocked { .. }
            | Self::KeyExpired
            | Self::AdminOnly
            | Self::UnreadableBody { .. }
            | Self::Invalid { .. }
            | Self::NotFound { .. }
            | Self::WrongMethod
            | Self::Exists { .. }
            | Self::BudgetExceeded { .. }
            | Self::RateLimited { .. }
            | Self::StoreDown(_)
            | Self::Provider { .. }
            | Self::ProviderUnreachable
            | Self::ProviderSilent
            | Self::ProviderGarbled => None,
        }
    }

    fn retry_after(&self) -> Option<HeaderValue> {
        match self {
            Self::StoreDown(_) => Some(RETRY_AFTER_OUTAGE_S.into()),
            Self::RateLimited { retry_after_s, .. } => Some((*retry_after_s).into()),
            Self::Provider { retry_after, .. } => retry_after.clone(),
            _ => None,
        }
    }

    /// The body, as OpenAI's clients expect it: `code` is the status as a string.
    pub(crate) fn body(&self) -> Value {
        let message = match self {
            Self::Provider { body, .. } => provider_message(body),
            _ => self.to_string(),
        };
        json!({
            "error": {
                "message": message,
                "type": self.kind(),
                "param": self.param(),
                "code": self.status().as_u16().to_string(),
            }
        })
    }
}

/// The provider's own words: `error.message` where it has one, else its text.
fn provider_message(body: &[u8]) -> String {
    const LONGEST: usize = 4096;
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    match parsed.as_ref().and_then(|body| body.pointer("/error/message")).and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(LONGEST)]).into_owned(),
    }
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        if let Some(retry_after) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_without_saying_more() {
        insta::assert_snapshot!(GatewayError::UnknownKey.body(), @r#"{"error":{"message":"Authentication Error, Invalid API key provided.","type":"token_not_found_in_db","param":"key","code":"401"}}"#);
    }

    #[test]
    fn a_denied_model_is_forbidden_and_not_named() {
        let error = GatewayError::ModelDenied { owner: ModelOwner::Team };
        insta::assert_snapshot!(error.body(), @r#"{"error":{"message":"The model is not one that this team may use.","type":"team_model_access_denied","param":"model","code":"403"}}"#);
    }

    #[test]
    fn an_outage_is_never_an_authentication_error() {
        let response = GatewayError::from(Unavailable::Postgres).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn a_provider_error_keeps_its_status_and_words() {
        let error = GatewayError::Provider {
            status: StatusCode::TOO_MANY_REQUESTS,
            body: Bytes::from_static(br#"{"error":{"message":"slow down"}}"#),
            retry_after: Some(7.into()),
        };
        insta::assert_snapshot!(error.body(), @r#"{"error":{"message":"slow down","type":"throttling_error","param":null,"code":"429"}}"#);
        assert_eq!(error.into_response().headers()[header::RETRY_AFTER], "7");
    }
}
