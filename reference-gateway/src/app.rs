//! The router, and what requests share.

use std::sync::Arc;

use crate::{
    access,
    admission::Admission,
    defects::Defects,
    identity_cache::{IdentityCache, IdentityId},
    metrics::Metrics,
    providers::Providers,
    routes,
    spend::SpendQueue,
    store::Store,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{delete, get, patch, post},
};
use http::HeaderValue;

/// What requests share.
pub(crate) struct App {
    pub(crate) cache: IdentityCache,
    pub(crate) store: Arc<Store>,
    pub(crate) providers: Providers,
    pub(crate) admission: Arc<Admission>,
    pub(crate) spend: Arc<SpendQueue>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) defects: Defects,
    /// Which worker this process is, if it is one of several.
    pub(crate) worker: Option<HeaderValue>,
    /// The hash of the administrator's credential. Hashes are compared, so that the time it takes
    /// says nothing about the credential.
    pub(crate) master_token: String,
}

impl App {
    /// Makes every replica forget identities that were deleted, and what they had spent.
    pub(crate) async fn gone(&self, ids: Vec<IdentityId>) {
        self.admission.forget(&ids).await;
        self.cache.invalidate(ids).await;
    }
}

/// Every endpoint, with access logging around it.
pub(crate) fn router(app: Arc<App>, max_body_bytes: usize) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(routes::chat::serve))
        .route("/chat/completions", post(routes::chat::serve))
        .route("/v1/models", get(routes::models::serve))
        .route("/models", get(routes::models::serve))
        .route("/key/generate", post(routes::key::generate::serve))
        .route("/key/info", get(routes::key::info::serve))
        .route("/key/update", post(routes::key::update::serve))
        .route("/key/regenerate", post(routes::key::regenerate::serve))
        .route("/key/{key}/regenerate", post(routes::key::regenerate::serve_named))
        .route("/key/delete", post(routes::key::delete::serve))
        .route("/key/block", post(routes::key::block::block))
        .route("/key/unblock", post(routes::key::block::unblock))
        .route("/key/list", get(routes::key::list::serve))
        .route("/team/new", post(routes::team::new::serve))
        .route("/team/info", get(routes::team::info::serve))
        .route("/team/update", post(routes::team::update::serve))
        .route("/team/delete", post(routes::team::delete::serve))
        .route("/team/block", post(routes::team::block::block))
        .route("/team/unblock", post(routes::team::block::unblock))
        .route("/team/member_add", post(routes::team::member_add::serve))
        .route("/team/member_update", post(routes::team::member_update::serve))
        .route("/team/member_delete", post(routes::team::member_delete::serve))
        .route("/user/new", post(routes::user::new::serve))
        .route("/user/info", get(routes::user::info::serve))
        .route("/user/update", post(routes::user::update::serve))
        .route("/user/delete", post(routes::user::delete::serve))
        .route("/organization/new", post(routes::organisation::new::serve))
        .route("/organization/info", get(routes::organisation::info::serve))
        .route("/organization/update", patch(routes::organisation::update::serve))
        .route("/organization/delete", delete(routes::organisation::delete::serve))
        .route("/customer/new", post(routes::end_user::new::serve))
        .route("/customer/info", get(routes::end_user::info::serve))
        .route("/customer/update", post(routes::end_user::update::serve))
        .route("/customer/delete", post(routes::end_user::delete::serve))
        .route("/health/liveliness", get(routes::health::alive))
        .route("/health/liveness", get(routes::health::alive))
        .route("/health/readiness", get(routes::health::ready))
        .route("/metrics", get(routes::metrics::serve))
        .fallback(routes::unknown)
        .method_not_allowed_fallback(routes::wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), access::log))
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .with_state(app)
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use axum::{Json, body::Body, response::IntoResponse};
    use bytes::Bytes;
    use futures::{StreamExt, stream};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{auth::fingerprint, config::Config};

    async fn listen(router: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// A gateway before this provider. The master key needs no store, so there is none.
    async fn gateway(provider: Router) -> String {
        let text = format!(
            "model_list: [{{model_name: alias, litellm_params: {{model: openai/real, api_base: '{}'}}}}]\n\
             general_settings: {{master_key: sk-m, database_url: 'postgres://u@127.0.0.1:1/d', database_timeout_ms: 50}}",
            listen(provider).await
        );
        let config = Config::parse("gateway.yaml", &text, &Default::default()).unwrap();
        let settings = &config.general_settings;
        let metrics = Arc::new(Metrics::default());
        let store = Arc::new(Store::new(settings, Arc::clone(&metrics)).unwrap());
        let spend = Arc::new(SpendQueue::new(10, Arc::clone(&metrics)));
        let defects = Defects::default();
        let app = App {
            cache: IdentityCache::new(
                settings,
                Arc::clone(&store),
                None,
                Arc::clone(&metrics),
                defects,
            ),
            admission: Arc::new(Admission::new(None, Arc::clone(&store), Arc::clone(&spend))),
            providers: Providers::new(&config).unwrap(),
            master_token: fingerprint("sk-m"),
            store,
            spend,
            metrics,
            defects,
            worker: None,
        };
        listen(router(Arc::new(app), 1 << 20)).await
    }

    async fn chat(gateway: &str, key: &str, body: Value) -> reqwest::Response {
        let request = reqwest::Client::new().post(format!("{gateway}/v1/chat/completions"));
        request.bearer_auth(key).json(&body).send().await.unwrap()
    }

    fn asks(stream: bool) -> Value {
        json!({"model": "alias", "stream": stream, "messages": []})
    }

    fn provider(answer: fn(Value) -> axum::response::Response) -> Router {
        let serve = move |Json(body): Json<Value>| async move { answer(body) };
        Router::new().route("/chat/completions", post(serve))
    }

    #[tokio::test]
    async fn an_answer_bears_the_name_that_the_caller_used() {
        let echo = provider(|body| {
            assert_eq!(body["model"], "real");
            Json(json!({"model": body["model"], "choices": []})).into_response()
        });
        let answer = chat(&gateway(echo).await, "sk-m", asks(false)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-litellm-model-group"], "alias");
        assert!(answer.headers().contains_key("x-litellm-call-id"));
        assert_eq!(answer.json::<Value>().await.unwrap()["model"], "alias");
    }

    #[tokio::test]
    async fn a_providers_refusal_keeps_its_status_and_its_retry_after() {
        let busy = provider(|_| {
            (http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "busy").into_response()
        });
        let answer = chat(&gateway(busy).await, "sk-m", asks(false)).await;
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "7");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"]["message"], "busy");
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_ends_in_an_error_and_not_in_done() {
        let cut =
            provider(|_| Body::from("data: {\"choices\":[]}\n\ndata: {\"cho").into_response());
        let answer = chat(&gateway(cut).await, "sk-m", asks(true)).await;
        let text = answer.text().await.unwrap();
        assert!(text.starts_with("data: {\"choices\":[]}\n\n"), "{text}");
        assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
    }

    #[tokio::test]
    async fn a_caller_who_leaves_ends_the_call_to_the_provider() {
        struct Ended(Arc<AtomicBool>);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let endless = Router::new().route(
            "/chat/completions",
            post(move || async move {
                let events = stream::unfold(Ended(seen), |ended| async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Some((Ok::<_, Infallible>(Bytes::from("data: {\"choices\":[]}\n\n")), ended))
                });
                Body::from_stream(events)
            }),
        );
        let answer = chat(&gateway(endless).await, "sk-m", asks(true)).await;
        let mut events = answer.bytes_stream();
        assert!(events.next().await.unwrap().is_ok());
        drop(events);
        for _ in 0..400 {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the provider was still asked two seconds after the caller had left");
    }

    #[tokio::test]
    async fn an_unknown_key_is_not_refused_while_the_database_is_down() {
        let gateway = gateway(Router::new()).await;
        let answer = chat(&gateway, "sk-unknown", asks(false)).await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(chat(&gateway, "unknown", asks(false)).await.status(), 401);
    }
}
