//! Providers that speak OpenAI's dialect: the caller's body passes through, the model is replaced.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::Deployment;
use crate::{
    error::GatewayError,
    object_text::{ObjectText, quoted},
};

/// The part of `stream_options` that this dialect is asked about.
#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Did the caller ask for the usage at the end of a stream?
pub(crate) fn wants_usage(body: &ObjectText<'_>) -> bool {
    let options = body.read::<StreamOptions>("stream_options");
    options.and_then(|options| options.include_usage) == Some(true)
}

/// The caller's body, for this deployment. A stream always declares its usage at the end.
fn body_for(deployment: &Deployment, body: &ObjectText<'_>, is_streamed: bool) -> String {
    let model = quoted(&deployment.model);
    if !is_streamed {
        return body.with(&[("model", &model)]);
    }
    let options = body.raw("stream_options").and_then(|raw| ObjectText::parse(raw.as_bytes()));
    let options = match options {
        Some(options) => options.with(&[("include_usage", "true")]),
        None => r#"{"include_usage":true}"#.to_owned(),
    };
    body.with(&[("model", &model), ("stream_options", &options)])
}

/// Posts the request, and turns everything but success into an error that keeps its status.
pub(super) async fn chat(
    client: &reqwest::Client,
    deployment: &Deployment,
    body: &ObjectText<'_>,
    is_streamed: bool,
) -> Result<reqwest::Response, GatewayError> {
    let mut request = client
        .post(&deployment.url)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(body_for(deployment, body, is_streamed));
    if let Some(key) = &deployment.api_key {
        request = request.bearer_auth(key.expose());
    }
    let response = tokio::time::timeout(deployment.timeout, request.send())
        .await
        .map_err(|_| GatewayError::ProviderSilent)?
        .map_err(|_| GatewayError::ProviderUnreachable)?;
    let status = StatusCode::from_u16(response.status().as_u16())
        .map_err(|_| GatewayError::ProviderGarbled)?;
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(header::RETRY_AFTER).cloned();
    let body = whole(deployment, response).await.unwrap_or_default();
    // A status that is neither success nor an error would confuse every client.
    let status = match status.is_client_error() || status.is_server_error() {
        true => status,
        false => StatusCode::BAD_GATEWAY,
    };
    Err(GatewayError::Provider { status, body, retry_after })
}

/// The rest of an answer, within the deployment's time.
pub(crate) async fn whole(
    deployment: &Deployment,
    response: reqwest::Response,
) -> Result<Bytes, GatewayError> {
    tokio::time::timeout(deployment.timeout, response.bytes())
        .await
        .map_err(|_| GatewayError::ProviderSilent)?
        .map_err(|_| GatewayError::ProviderUnreachable)
}
