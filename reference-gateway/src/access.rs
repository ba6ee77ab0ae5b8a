//! One log line, one count and one id per request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, Method};
use uuid::Uuid;

use crate::app::App;

/// Identifies one request, in the answer, in the log and in the spend records.
pub(crate) const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");

const VERSION: HeaderName = HeaderName::from_static("x-gateway-version");

/// Which of several workers answered.
const WORKER: HeaderName = HeaderName::from_static("x-gateway-worker");

/// The id of the request being served, among its extensions.
#[derive(Debug, Clone)]
pub(crate) struct CallId(pub(crate) String);

/// Logs a request when it is over. Being dropped is what ends it, so a caller who leaves is
/// logged like any other.
pub(crate) struct AccessLine {
    app: Arc<App>,
    call_id: String,
    method: Method,
    route: String,
    status: u16,
    started: Instant,
}

/// Keeps a request open in the log for as long as its body is being sent. A streamed response
/// carries one among its extensions.
#[derive(Clone, Default)]
pub(crate) struct StillOpen(Arc<Mutex<Option<AccessLine>>>);

impl StillOpen {
    fn hold(&self, line: AccessLine) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }
}

/// Gives the request an id, and logs and counts its answer.
pub(crate) async fn log(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let call_id = Uuid::new_v4().to_string();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let worker = app.worker.clone();
    let mut line = AccessLine {
        app,
        call_id: call_id.clone(),
        method: request.method().clone(),
        // What no route matched is the caller's text, and stays out of logs and labels.
        route: route.unwrap_or_else(|| "unmatched".to_owned()),
        status: 0,
        started: Instant::now(),
    };
    request.extensions_mut().insert(CallId(call_id.clone()));
    let mut response = next.run(request).await;
    line.status = response.status().as_u16();
    let headers = response.headers_mut();
    if let Ok(call_id) = HeaderValue::from_str(&call_id) {
        headers.insert(CALL_ID, call_id);
    }
    headers.insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    if let Some(worker) = worker {
        headers.insert(WORKER, worker);
    }
    if let Some(open) = response.extensions_mut().remove::<StillOpen>() {
        open.hold(line);
    }
    response
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        self.app.metrics.request(&self.route, self.status);
        let duration_ms = self.started.elapsed().as_secs_f64() * 1e3;
        tracing::info!(
            call_id = self.call_id,
            method = self.method.as_str(),
            route = self.route,
            // 0 when the caller left before there was an answer.
            status = self.status,
            duration_ms = (duration_ms * 1e3).round() / 1e3,
            "request"
        );
    }
}
