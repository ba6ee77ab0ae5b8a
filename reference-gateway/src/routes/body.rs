//! JSON bodies and query strings of management calls.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::GatewayError;

/// A body as it was sent.
pub(crate) struct RawBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = GatewayError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        Bytes::from_request(request, state).await.map(Self).map_err(|error| {
            GatewayError::UnreadableBody { status: error.status(), message: error.body_text() }
        })
    }
}

/// A JSON body. Fields that are not known here are ignored, as LiteLLM ignores them.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = GatewayError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        parse(&bytes).map(Self)
    }
}

/// How deep a body may be nested. A reader of JSON gives up at 128, and what is stored here is
/// nested a little deeper when it is cached.
const DEEPEST: usize = 100;

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, GatewayError> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    // Postgres stores any text but this one.
    if bytes.windows(6).any(|window| window == b"\\u0000") {
        return Err(GatewayError::Invalid { message: "text must not contain U+0000".to_owned() });
    }
    if depth(bytes) > DEEPEST {
        let message = format!("the body must not be nested deeper than {DEEPEST}");
        return Err(GatewayError::Invalid { message });
    }
    serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
        true => GatewayError::Invalid { message: error.to_string() },
        false => GatewayError::bad_request("The body is not valid JSON.", "request_body"),
    })
}

/// How deep objects and lists stand in each other.
fn depth(json: &[u8]) -> usize {
    let (mut open, mut deepest, mut in_text) = (0_usize, 0, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            // Whatever is escaped ends no text.
            b'\\' if in_text => {
                bytes.next();
            }
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' if !in_text => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A query string.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = GatewayError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(asked)| Self(asked))
            .map_err(|error| GatewayError::Invalid { message: error.body_text() })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Limit {
        rpm_limit: Option<i64>,
    }

    fn refused(text: &str) -> u16 {
        parse::<Limit>(text.as_bytes()).unwrap_err().status().as_u16()
    }

    #[test]
    fn an_empty_body_says_nothing() {
        assert_eq!(parse::<Limit>(b" ").unwrap().rpm_limit, None);
    }

    #[test]
    fn limits_beyond_what_a_double_can_hold_survive() {
        let body = format!("{{\"rpm_limit\":{}}}", i64::MAX);
        assert_eq!(parse::<Limit>(body.as_bytes()).unwrap().rpm_limit, Some(i64::MAX));
    }

    #[test]
    fn what_could_not_be_read_from_the_cache_is_not_accepted() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = |depth| format!("{{\"metadata\":{}}}", nested(depth));
        assert!(parse::<Limit>(body(DEEPEST - 1).as_bytes()).is_ok());
        assert_eq!(refused(&body(DEEPEST)), 422);
        assert_eq!(depth(br#"{"a":"[[\"[[","b":[{}]}"#), 3);
    }

    #[test]
    fn a_broken_body_and_a_wrong_type_are_told_apart() {
        assert_eq!(refused("{"), 400);
        assert_eq!(refused("{\"rpm_limit\":\"many\"}"), 422);
        assert_eq!(refused("{\"rpm_limit\":1.5}"), 422);
        assert_eq!(refused("{\"alias\":\"\\u0000\"}"), 422);
    }
}
