//! `POST /v1/chat/completions`: authenticate, authorise, send, relay, settle.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body as HttpBody,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    access::{CallId, StillOpen},
    admission::{Admission, Cost, Grant},
    app::App,
    auth::{Caller, authenticate},
    error::GatewayError,
    object_text::{ObjectText, quoted},
    providers::{Deployment, wants_usage, whole},
    routes::{body::RawBody, bounds::is_storable},
    spend::{Price, SpendQueue, Usage, dollars},
    store::{EndUser, SpendRow, now_ms},
    streaming::Relay,
};

const MODEL_GROUP: HeaderName = HeaderName::from_static("x-litellm-model-group");
const RESPONSE_COST: HeaderName = HeaderName::from_static("x-litellm-response-cost");

/// Serves one chat request, whole or streamed.
pub(crate) async fn serve(
    State(app): State<Arc<App>>,
    Extension(CallId(call_id)): Extension<CallId>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, GatewayError> {
    let mut caller = authenticate(&app, &headers).await?;
    let prompt_bytes = body.len();
    let body = ObjectText::parse(&body).ok_or_else(|| {
        GatewayError::bad_request("The body is not a valid JSON object.", "request_body")
    })?;
    let alias: String = body
        .read("model")
        .ok_or_else(|| GatewayError::UnknownModel { model: "None".to_owned() })?;
    if !body.raw("messages").is_some_and(|messages| messages.starts_with('[')) {
        return Err(GatewayError::bad_request("messages must be a list", "messages"));
    }
    caller.check_model(&alias)?;
    let deployment = app.providers.pick(&alias)?;
    if let Caller::Holder(holder) = &mut caller {
        holder.end_user = end_user(&app, &body).await?;
    }
    let estimate = estimate(&body, prompt_bytes);
    let grant = match &caller {
        Caller::Master => None,
        Caller::Holder(holder) => {
            app.admission.admit(holder, &call_id, cost(deployment.price, estimate)).await?
        }
    };
    let mut settlement =
        Settlement::new(&app, &caller, grant, call_id, &alias, deployment.price, prompt_bytes);
    let is_streamed = body.read("stream").unwrap_or(false);
    let answer = match app.providers.chat(deployment, &body, is_streamed).await {
        Ok(answer) => answer,
        Err(error) => {
            settlement.finish().await;
            return Err(error);
        }
    };
    if is_streamed {
        return Ok(relay(deployment, answer, alias, wants_usage(&body), settlement));
    }
    let answer = whole(deployment, answer).await;
    let response = answer.and_then(|answer| restamp(&answer, &alias, &mut settlement));
    settlement.finish().await;
    response
}

/// Whom the request is for, if its `user` is one whom this gateway knows.
async fn end_user(app: &App, body: &ObjectText<'_>) -> Result<Option<Arc<EndUser>>, GatewayError> {
    let named = body.read::<String>("user").filter(|id| is_storable(id));
    let Some(id) = named else { return Ok(None) };
    let end_user = app.cache.end_user(&id).await?;
    match end_user {
        Some(end_user) if end_user.blocked == Some(true) => {
            Err(GatewayError::EndUserBlocked { end_user_id: id })
        }
        end_user => Ok(end_user),
    }
}

/// What a request may use at most, as far as it says: four bytes of body for a prompt token.
fn estimate(body: &ObjectText<'_>, prompt_bytes: usize) -> Usage {
    const COMPLETION_TOKENS: i64 = 1024;
    let bound =
        ["max_completion_tokens", "max_tokens"].into_iter().find_map(|name| body.read::<i64>(name));
    let completion_tokens = bound.unwrap_or(COMPLETION_TOKENS);
    Usage { prompt_tokens: tokens_of(prompt_bytes), completion_tokens }.within_reason()
}

fn cost(price: Price, usage: Usage) -> Cost {
    let tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens);
    Cost { pico: price.cost_pico(usage), tokens }
}

fn tokens_of(bytes: usize) -> i64 {
    i64::try_from(bytes.div_ceil(4)).unwrap_or(i64::MAX)
}

/// A whole answer under the name that the caller asked for.
fn restamp(
    answer: &[u8],
    alias: &str,
    settlement: &mut Settlement,
) -> Result<Response, GatewayError> {
    let answer = ObjectText::parse(answer).ok_or(GatewayError::ProviderGarbled)?;
    settlement.count(answer.read("usage"), 0);
    let renamed = answer.with(&[("model", &quoted(alias))]);
    let mut response = HttpBody::from(renamed).into_response();
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

/// Charges one request exactly once: when it is finished, or dropped because the caller left.
pub(crate) struct Settlement {
    admission: Arc<Admission>,
    queue: Arc<SpendQueue>,
    grant: Option<Grant>,
    price: Price,
    prompt_bytes: usize,
    usage: Option<Usage>,
    contents: i64,
    /// Nothing was answered, so nothing is charged.
    is_answered: bool,
    /// Taken when the request is charged.
    row: Option<SpendRow>,
}

impl Settlement {
    fn new(
        app: &App,
        caller: &Caller,
        grant: Option<Grant>,
        call_id: String,
        alias: &str,
        price: Price,
        prompt_bytes: usize,
    ) -> Self {
        let holder = match caller {
            Caller::Master => None,
            Caller::Holder(holder) => Some(holder),
        };
        let owned = |id: Option<&str>| id.map(str::to_owned);
        let organisation = holder.and_then(|holder| holder.organisation.as_ref());
        let end_user = holder.and_then(|holder| holder.end_user.as_ref());
        let row = SpendRow {
            call_id,
            token: holder.map_or(&app.master_token, |holder| &holder.key.key_id).clone(),
            team_id: owned(holder.and_then(|holder| holder.key.team())),
            user_id: owned(holder.and_then(|holder| holder.key.user())),
            organization_id: organisation.map(|organisation| organisation.organization_id.clone()),
            end_user_id: end_user.map(|end_user| end_user.user_id.clone()),
            model: alias.to_owned(),
            status: 200,
            prompt_tokens: 0,
            completion_tokens: 0,
            estimated: false,
            spend_pico: 0,
            at_ms: 0,
        };
        Self {
            admission: Arc::clone(&app.admission),
            queue: Arc::clone(&app.spend),
            grant,
            price,
            prompt_bytes,
            usage: None,
            contents: 0,
            is_answered: false,
            row: Some(row),
        }
    }

    /// Notes what has been answered so far.
    pub(crate) fn count(&mut self, usage: Option<Usage>, contents: i64) {
        self.is_answered = true;
        self.usage = usage.map(Usage::within_reason);
        self.contents = contents;
    }

    /// Charges the request. Whoever asks next finds the budget as this request left it.
    pub(crate) async fn finish(&mut self) {
        let cost = self.charge();
        if let Some(grant) = self.grant.take() {
            self.admission.settle(grant, cost).await;
        }
    }

    fn charge(&mut self) -> Cost {
        let Some(row) = self.row.take().filter(|_| self.is_answered) else {
            return Cost::default();
        };
        let usage = self.usage();
        let cost = cost(self.price, usage);
        self.queue.record(SpendRow {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            estimated: self.usage.is_none(),
            spend_pico: cost.pico,
            at_ms: now_ms(),
            ..row
        });
        cost
    }

    /// The provider's usage, or an estimate: one event for a token.
    fn usage(&self) -> Usage {
        self.usage.unwrap_or_else(|| Usage {
            prompt_tokens: tokens_of(self.prompt_bytes),
            completion_tokens: self.contents,
        })
    }

    fn cost_pico(&self) -> i64 {
        self.price.cost_pico(self.usage())
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let cost = self.charge();
        if let Some(grant) = self.grant.take() {
            self.admission.settle_later(grant, cost);
        }
    }
}
