//! Providers that speak OpenAI's dialect: the caller's body passes through, the model is replaced.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::Deployment;
use crate::error::GatewayError;

/// Posts the request, and turns everything but success into an error that keeps its status.
pub(super) async fn chat(
    client: &reqwest::Client,
    deployment: &Deployment,
    mut body: Map<String, Value>,
) -> Result<reqwest::Response, GatewayError> {
    body.insert("model".to_owned(), deployment.model.as_str().into());
    let text = serde_json::to_vec(&body).map_err(|_| GatewayError::ProviderGarbled)?;
    let mut request = client
        .post(&deployment.url)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(text);
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
