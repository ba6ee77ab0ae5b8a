//! `POST /v1/chat/completions`: authenticate, authorise, send, relay, settle.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body as HttpBody,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, Value, json};

use crate::{
    access::{CallId, StillOpen},
    app::App,
    auth::{Caller, authenticate, fingerprint},
    error::GatewayError,
    providers::{Deployment, whole},
    routes::body::parse_object,
    spend::{Price, SpendQueue, Usage, dollars},
    store::{SpendRow, now_ms},
    streaming::{Relay, usage_of},
};

const MODEL_GROUP: HeaderName = HeaderName::from_static("x-litellm-model-group");
const RESPONSE_COST: HeaderName = HeaderName::from_static("x-litellm-response-cost");

/// Serves one chat request, whole or streamed.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    Extension(CallId(call_id)): Extension<CallId>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, GatewayError> {
    let caller = authenticate(&app, &headers).await?;
    let prompt_bytes = body.len();
    let mut body = parse_object(&body)?;
    let alias = match body.get("model").and_then(Value::as_str) {
        Some(alias) => alias.to_owned(),
        None => return Err(GatewayError::UnknownModel { model: "None".to_owned() }),
    };
    if !body.get("messages").is_some_and(Value::is_array) {
        return Err(GatewayError::bad_request("messages must be a list", "messages"));
    }
    caller.check_model(&alias)?;
    let deployment = app.providers.pick(&alias)?;
    let settlement =
        Settlement::new(&app, &caller, call_id, &alias, deployment.price, prompt_bytes);
    let streamed = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    match streamed {
        true => {
            let caller_wants_usage = ask_for_usage(&mut body);
            let answer = app.providers.chat(deployment, body).await?;
            Ok(relay(deployment, answer, alias, caller_wants_usage, settlement))
        }
        false => {
            let answer = app.providers.chat(deployment, body).await?;
            let answer = whole(deployment, answer).await?;
            restamp(&answer, &alias, settlement)
        }
    }
}

/// Makes the provider declare usage at the end of a stream; says whether the caller had asked.
fn ask_for_usage(body: &mut Map<String, Value>) -> bool {
    let options = body.entry("stream_options").or_insert_with(|| json!({}));
    if !options.is_object() {
        *options = json!({});
    }
    let asked = options["include_usage"] == Value::Bool(true);
    options["include_usage"] = true.into();
    asked
}

/// A whole answer under the name that the caller asked for.
fn restamp(
    answer: &[u8],
    alias: &str,
    mut settlement: Settlement,
) -> Result<Response, GatewayError> {
    let mut answer: Map<String, Value> =
        serde_json::from_slice(answer).map_err(|_| GatewayError::ProviderGarbled)?;
    answer.insert("model".to_owned(), alias.into());
    settlement.count(answer.get("usage").and_then(usage_of), 0);
    let mut response = HttpBody::from(Value::Object(answer).to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    name_model(headers, alias);
    let cost = dollars(settlement.cost_pico()).to_string();
    if let Ok(cost) = HeaderValue::from_str(&cost) {
        headers.insert(RESPONSE_COST, cost);
    }
    Ok(response)
}

fn relay(
    deployment: &Deployment,
    answer: reqwest::Response,
    alias: String,
    caller_wants_usage: bool,
    settlement: Settlement,
) -> Response {
    let open = StillOpen::default();
    let mut headers = HeaderMap::new();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    name_model(&mut headers, &alias);
    let relay =
        Relay::new(answer, deployment.timeout, alias, caller_wants_usage, settlement, open.clone());
    let mut response = (headers, relay.into_body()).into_response();
    response.extensions_mut().insert(open);
    response
}

fn name_model(headers: &mut HeaderMap, alias: &str) {
    if let Ok(alias) = HeaderValue::from_str(alias) {
        headers.insert(MODEL_GROUP, alias);
    }
}

/// Charges one request exactly once: when this is dropped, whichever way the request ended.
pub(crate) struct Settlement {
    queue: Arc<SpendQueue>,
    price: Price,
    prompt_bytes: usize,
    usage: Option<Usage>,
    contents: i64,
    /// Nothing was answered, so nothing is charged.
    is_answered: bool,
    call_id: String,
    token: String,
    team_id: Option<String>,
    user_id: Option<String>,
    alias: String,
}

impl Settlement {
    fn new(
        app: &App,
        caller: &Caller,
        call_id: String,
        alias: &str,
        price: Price,
        prompt_bytes: usize,
    ) -> Self {
        let (token, team_id, user_id) = match caller {
            Caller::Master => (fingerprint(app.master_key.expose()), None, None),
            Caller::Holder(holder) => {
                let key = &holder.key;
                let owned = |id: Option<&str>| id.map(str::to_owned);
                (key.token.clone(), owned(key.team()), owned(key.user()))
            }
        };
        Self {
            queue: Arc::clone(&app.spend),
            price,
            prompt_bytes,
            usage: None,
            contents: 0,
            is_answered: false,
            call_id,
            token,
            team_id,
            user_id,
            alias: alias.to_owned(),
        }
    }

    /// Notes what has been answered so far.
    pub(crate) fn count(&mut self, usage: Option<Usage>, contents: i64) {
        self.is_answered = true;
        self.usage = usage;
        self.contents = contents;
    }

    /// The provider's usage, or an estimate: four bytes of prompt, or one event, for a token.
    fn usage(&self) -> Usage {
        self.usage.unwrap_or_else(|| Usage {
            prompt_tokens: i64::try_from(self.prompt_bytes.div_ceil(4)).unwrap_or(i64::MAX),
            completion_tokens: self.contents,
        })
    }

    fn cost_pico(&self) -> i64 {
        self.price.cost_pico(self.usage())
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if !self.is_answered {
            return;
        }
        let usage = self.usage();
        self.queue.record(SpendRow {
            call_id: std::mem::take(&mut self.call_id),
            token: std::mem::take(&mut self.token),
            team_id: self.team_id.take(),
            user_id: self.user_id.take(),
            model: std::mem::take(&mut self.alias),
            status: 200,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            estimated: self.usage.is_none(),
            spend_pico: self.price.cost_pico(usage),
            at_ms: now_ms(),
        });
    }
}
