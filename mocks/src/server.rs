//! HTTP: the provider's routes, which write rows, and the control routes, which read them.
//!
//! Every answer carries its open attempt with it, inside the body. hyper drops a body (or a handler
//! that has not answered yet) as soon as the peer is gone, and the drop writes the row; nothing
//! here has to watch the connection.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, IntoFuture, pending},
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Query, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{self, HeaderName},
        request,
    },
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use bytes::Bytes;
use futures::stream;
use http_body_util::LengthLimitError;
use hyper::body::{Frame, SizeHint};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::oneshot, task::yield_now, time::sleep};

use crate::{
    fingerprint::Fingerprints,
    ledger::{Close, Ledger, LedgerPage, OpenAttempt},
    openai::{self, Answer, ChatRequest, Event},
    script::{Act, Break, Ending, Refusal, Script},
};

/// How long answers that are under way may take when the provider is told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The largest body a request may have.
const MOST_BODY: usize = 64 << 20;

/// How much of a path a row keeps.
const MOST_PATH: usize = 1_024;

/// Room for the header names of most requests.
const USUAL_NAMES: usize = 128;

/// A provider on a port: it does as the model name says, and remembers it.
#[derive(Debug)]
pub struct Provider {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    fingerprints: Fingerprints,
}

impl Provider {
    /// Listens on `addr` (port 0 picks a free one) and keeps up to `ledger_capacity` rows.
    pub async fn bind(addr: SocketAddr, ledger_capacity: NonZeroUsize) -> io::Result<Provider> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let ledger = Ledger::new(ledger_capacity);
        let shared = Arc::new(Shared { ledger, fingerprints: Fingerprints::new() });
        Ok(Provider { listener, addr, shared })
    }

    /// Where this provider listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` is done. Then nothing new is accepted, and answers that are under way
    /// have two seconds to end.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        // Without it a small chunk waits for the peer's acknowledgement of the one before. A
        // connection that cannot be set is gone already, and serving it will show that.
        let listener = self.listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        let (stopping, stopped) = oneshot::channel::<Infallible>();
        let stop = async move {
            stop.await;
            drop(stopping);
        };
        let serving = axum::serve(listener, routes(self.shared)).with_graceful_shutdown(stop);
        let drained = async move {
            // Ends when the sender is dropped, as nothing can be sent.
            drop(stopped.await);
            sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving.into_future() => served,
            () = drained => Ok(()),
        }
    }
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(CHAT, post(chat))
        .route(MODELS, get(models))
        .route("/_mock/ledger", get(read_ledger).delete(clear_ledger))
        .route("/_mock/clock", get(read_clock))
        .route("/_mock/health", get(health))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(shared)
}

const CHAT: &str = "/v1/chat/completions";
const MODELS: &str = "/v1/models";

async fn chat(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (attempt, body) = match shared.begin(request).await {
        Ok(begun) => begun,
        Err(refused) => return refused,
    };
    shared.chat(attempt, &body).await
}

async fn models(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match shared.begin(request).await {
        Ok((attempt, _)) => shared.whole(attempt, StatusCode::OK, openai::models()),
        Err(refused) => refused,
    }
}

/// What is no route of a provider. A gateway that asks for it is remembered all the same.
async fn unknown(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path.starts_with("/_mock/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let method = request.method().clone();
    let (attempt, _) = match shared.begin(request).await {
        Ok(begun) => begun,
        Err(refused) => return refused,
    };
    let (status, code) = match path.as_str() {
        CHAT | MODELS => (StatusCode::METHOD_NOT_ALLOWED, Some("method_not_supported")),
        _ => (StatusCode::NOT_FOUND, None),
    };
    let message = format!("Invalid URL ({method} {path})");
    shared.whole(attempt, status, openai::invalid_request(code, None, &message))
}

impl Shared {
    /// Opens the attempt and reads its body. The error is the answer to one that is not let in.
    async fn begin(&self, request: Request) -> Result<(OpenAttempt, Bytes), Response> {
        let (head, body) = request.into_parts();
        let mut attempt = self.ledger.open();
        let credential = note_head(&mut attempt, &head);
        let body = match to_bytes(body, MOST_BODY).await {
            Ok(body) => body,
            Err(error) if error.source().is_some_and(|it| it.is::<LengthLimitError>()) => {
                let message = format!("The request is larger than {MOST_BODY} bytes.");
                let body = openai::invalid_request(None, None, &message);
                return Err(self.whole(attempt, StatusCode::PAYLOAD_TOO_LARGE, body));
            }
            // The peer left in the middle of its own body; nobody is there to read this.
            Err(_) => return Err(StatusCode::BAD_REQUEST.into_response()),
        };
        attempt.row().body_sha256 = Some(Sha256::digest(&body).into());
        if credential == Credential::Missing {
            let message = "You didn't provide an API key.";
            let body = openai::invalid_request(Some("invalid_api_key"), None, message);
            return Err(self.whole(attempt, StatusCode::UNAUTHORIZED, body));
        }
        Ok((attempt, body))
    }

    async fn chat(&self, mut attempt: OpenAttempt, body: &[u8]) -> Response {
        let request = match ChatRequest::parse(body) {
            Ok(request) => request,
            Err((message, param)) => {
                let body = openai::invalid_request(None, param, &message);
                return self.whole(attempt, StatusCode::BAD_REQUEST, body);
            }
        };
        let row = attempt.row();
        row.model = Some(Arc::clone(&request.model));
        row.nonce.clone_from(&request.nonce);
        row.stream = request.stream;
        let script = match Script::parse(&request.model) {
            Ok(script) => script,
            Err(error) => {
                let (code, param) = (Some("unknown_directive"), Some("model"));
                let body = openai::invalid_request(code, param, &error.to_string());
                return self.whole(attempt, StatusCode::BAD_REQUEST, body);
            }
        };
        if !script.delay.is_zero() {
            sleep(script.delay).await;
        }
        match script.act {
            Act::Hang => pending().await,
            Act::Refuse(refusal) => self.refuse(attempt, refusal),
            Act::Answer => self.answer(attempt, &script, &request),
        }
    }

    fn refuse(&self, attempt: OpenAttempt, refusal: Refusal) -> Response {
        let status = StatusCode::from_u16(refusal.status).expect("scripts hold 400 to 599 only");
        let mut response = self.whole(attempt, status, openai::error_body(refusal));
        let headers = response.headers_mut();
        if let Some(wait) = refusal.retry_after {
            headers.insert(header::RETRY_AFTER, openai::whole_seconds(wait).into());
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            headers.insert(RETRY_AFTER_MS, millis.into());
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(REMAINING_REQUESTS, HeaderValue::from_static("0"));
        }
        response
    }

    fn answer(&self, mut attempt: OpenAttempt, script: &Script, request: &ChatRequest) -> Response {
        let fingerprint = self.fingerprints.fresh();
        let row = attempt.row();
        row.fingerprint = Some(fingerprint);
        row.usage = script.usage;
        let answer = Answer::new(script, request, fingerprint, unix_seconds());
        let digits = fingerprint.digits();
        if request.stream {
            let mut response = headed(&mut attempt, StatusCode::OK, EVENT_STREAM, &digits);
            let telling = Telling {
                attempt,
                events: answer.events(request.include_usage),
                begun: 0,
                rest: Bytes::new(),
                first: script.first,
                gap: script.gap,
                split: script.split,
                broken: match script.ending {
                    Ending::BrokenAfter(place, how) => Some((place, how)),
                    Ending::Proper | Ending::WithoutDone | Ending::WithoutFinish => None,
                },
            };
            *response.body_mut() = telling.into_body();
            return response;
        }
        let body = answer.whole();
        let half = body.slice(..body.len() / 2);
        let (body, close) = match script.ending {
            Ending::Proper | Ending::WithoutDone | Ending::WithoutFinish => (body, Close::Complete),
            Ending::BrokenAfter(_, Break::End) => (half, Close::MockAborted),
            Ending::BrokenAfter(_, Break::Error) => (openai::error_as_answer(), Close::MockAborted),
            Ending::BrokenAfter(_, how @ (Break::Cut | Break::Stall)) => {
                let mut response = headed(&mut attempt, StatusCode::OK, JSON, &digits);
                // The length is that of the whole, so that the peer can tell that it has half.
                response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
                let events = [Event { bytes: half, paced: false }].into_iter();
                let telling = Telling {
                    attempt,
                    events,
                    begun: 0,
                    rest: Bytes::new(),
                    first: Duration::ZERO,
                    gap: Duration::ZERO,
                    split: None,
                    broken: Some((1, how)),
                };
                *response.body_mut() = telling.into_body();
                return response;
            }
        };
        let mut response = headed(&mut attempt, StatusCode::OK, JSON, &digits);
        *response.body_mut() = Whole::body(attempt, body, close);
        response
    }

    /// An answer in one piece that is not a completion.
    fn whole(&self, mut attempt: OpenAttempt, status: StatusCode, body: Bytes) -> Response {
        let digits = self.fingerprints.fresh().digits();
        let mut response = headed(&mut attempt, status, JSON, &digits);
        *response.body_mut() = Whole::body(attempt, body, Close::Complete);
        response
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
const ORGANIZATION: HeaderName = HeaderName::from_static("openai-organization");
const VERSION: HeaderName = HeaderName::from_static("openai-version");

/// The head of an answer, which goes out now. It names the provider's organisation and limits as a
/// vendor's does, because a gateway must decide what of that it passes on.
fn headed(
    attempt: &mut OpenAttempt,
    status: StatusCode,
    content_type: HeaderValue,
    digits: &str,
) -> Response {
    let processing_ms = attempt.answered(status.as_u16());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(12);
    if content_type == EVENT_STREAM {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    headers.insert(header::CONTENT_TYPE, content_type);
    let request_id = HeaderValue::try_from(format!("req_{digits}")).expect("hex digits are text");
    headers.insert(REQUEST_ID, request_id);
    headers.insert(PROCESSING_MS, processing_ms.into());
    headers.insert(ORGANIZATION, HeaderValue::from_static("org-mock"));
    headers.insert(VERSION, HeaderValue::from_static("2020-10-01"));
    headers.insert(LIMIT_REQUESTS, HeaderValue::from_static("10000"));
    headers.insert(REMAINING_REQUESTS, HeaderValue::from_static("9999"));
    response
}

/// A body in one piece, which closes its attempt when it is handed over.
struct Whole {
    rest: Option<(OpenAttempt, Bytes, Close)>,
}

impl Whole {
    fn body(attempt: OpenAttempt, body: Bytes, close: Close) -> Body {
        Body::new(Whole { rest: Some((attempt, body, close)) })
    }
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.rest.take().map(|(mut attempt, body, close)| {
            attempt.sent(body.len(), 0);
            attempt.close(close);
            Ok(Frame::data(body))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let len = self.rest.as_ref().map_or(0, |(_, body, _)| body.len());
        SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
    }
}

/// A body in pieces, told event by event at the script's pace.
struct Telling<E> {
    attempt: OpenAttempt,
    events: E,
    /// Events taken up so far.
    begun: u64,
    /// What of the last event is not handed over yet.
    rest: Bytes,
    first: Duration,
    gap: Duration,
    split: Option<usize>,
    broken: Option<(u64, Break)>,
}

impl<E: Iterator<Item = Event> + Send + 'static> Telling<E> {
    fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(Some(self), async |telling| telling?.step().await))
    }

    /// The next piece, and what is left to tell after it.
    async fn step(mut self) -> Option<(io::Result<Bytes>, Option<Self>)> {
        if !self.rest.is_empty() {
            yield_now().await;
            return Some(self.hand_over());
        }
        if let Some((_, how)) = self.broken.filter(|(place, _)| *place == self.begun) {
            return self.break_off(how).await;
        }
        let Some(event) = self.events.next() else {
            self.attempt.close(Close::Complete);
            return None;
        };
        let wait = self.wait_before(event.paced);
        if !wait.is_zero() {
            sleep(wait).await;
        } else if self.begun > 0 {
            // hyper gets a turn, in which it writes what it has: each piece is a write of its own,
            // and a caller who left is noticed.
            yield_now().await;
        }
        self.begun += 1;
        self.rest = event.bytes;
        Some(self.hand_over())
    }

    fn wait_before(&self, paced: bool) -> Duration {
        match (self.begun, paced) {
            (0, _) => self.first,
            (_, true) => self.gap,
            (_, false) => Duration::ZERO,
        }
    }

    fn hand_over(mut self) -> (io::Result<Bytes>, Option<Self>) {
        let len = self.split.unwrap_or(usize::MAX).min(self.rest.len());
        let piece = self.rest.split_to(len);
        self.attempt.sent(len, u64::from(self.rest.is_empty()));
        (Ok(piece), Some(self))
    }

    async fn break_off(mut self, how: Break) -> Option<(io::Result<Bytes>, Option<Self>)> {
        // What was handed over so far is to reach the peer.
        yield_now().await;
        match how {
            Break::Stall => pending().await,
            Break::Cut => {
                self.attempt.close(Close::MockAborted);
                Some((Err(io::Error::other("the script cuts here")), None))
            }
            Break::End => {
                self.attempt.close(Close::MockAborted);
                None
            }
            Break::Error => {
                let event = openai::error_event();
                self.attempt.sent(event.len(), 1);
                self.attempt.close(Close::MockAborted);
                Some((Ok(event), None))
            }
        }
    }
}

/// Whether a request bore a bearer credential. Any will do.
#[derive(PartialEq, Eq)]
enum Credential {
    Present,
    Missing,
}

/// Writes down what the head of a request tells.
fn note_head(attempt: &mut OpenAttempt, head: &request::Parts) -> Credential {
    let row = attempt.row();
    row.method = head.method.clone();
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    row.path = path[..path.floor_char_boundary(MOST_PATH)].into();
    row.header_names.reserve(USUAL_NAMES);
    for name in head.headers.keys() {
        row.header_names.push_str(name.as_str());
        row.header_names.push('\n');
    }
    match bearer(&head.headers) {
        Some(credential) => {
            row.credential = Sha256::digest(credential).first_chunk().copied();
            Credential::Present
        }
        None => Credential::Missing,
    }
}

/// The bearer credential, if there is one and it is not empty. It is never written down itself.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, credential) = value.split_at_checked("Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !credential.is_empty()).then_some(credential)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Which rows a reader wants.
#[derive(Deserialize)]
#[serde(default)]
struct Wanted {
    after: u64,
    limit: usize,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { after: 0, limit: 1_000 }
    }
}

async fn read_ledger(
    State(shared): State<Arc<Shared>>,
    Query(wanted): Query<Wanted>,
) -> Json<LedgerPage> {
    Json(shared.ledger.page(wanted.after, wanted.limit))
}

async fn clear_ledger(State(shared): State<Arc<Shared>>) -> Json<LedgerPage> {
    Json(shared.ledger.clear())
}

#[derive(Serialize)]
struct ClockReading {
    now_us: u64,
}

async fn read_clock(State(shared): State<Arc<Shared>>) -> Json<ClockReading> {
    Json(ClockReading { now_us: shared.ledger.now_us() })
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_counts_only_behind_its_scheme() {
        let bearer_of = |value: &str| {
            let value = HeaderValue::try_from(value).unwrap();
            bearer(&HeaderMap::from_iter([(header::AUTHORIZATION, value)])).map(<[u8]>::to_vec)
        };
        assert_eq!(bearer_of("Bearer sk-1").as_deref(), Some(b"sk-1".as_slice()));
        assert_eq!(bearer_of("bearer sk-1").as_deref(), Some(b"sk-1".as_slice()));
        assert_eq!(bearer_of("Bearer "), None);
        assert_eq!(bearer_of("Basic sk-1"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
