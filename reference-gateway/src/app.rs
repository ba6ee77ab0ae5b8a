//! The router, and what requests share.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use sha2::{Digest, Sha256};

use crate::{
    access,
    admission::Admission,
    config::Secret,
    defects::Defects,
    identity_cache::{IdentityCache, IdentityId},
    metrics::Metrics,
    providers::Providers,
    routes,
    spend::SpendQueue,
    store::Store,
};

/// What requests share.
pub(crate) struct App {
    pub(crate) cache: IdentityCache,
    pub(crate) store: Arc<Store>,
    pub(crate) providers: Providers,
    pub(crate) admission: Arc<Admission>,
    pub(crate) spend: Arc<SpendQueue>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) defects: Defects,
    pub(crate) master_key: Secret,
}

impl App {
    /// Is this the administrator's credential? Hashes are compared, so that the time it takes
    /// says nothing about the key.
    pub(crate) fn is_master_key(&self, credential: &str) -> bool {
        Sha256::digest(credential) == Sha256::digest(self.master_key.expose())
    }
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
