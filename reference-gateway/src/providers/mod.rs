//! The providers behind the model aliases. Each dialect has a file of its own.

mod openai;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

pub(crate) use openai::{wants_usage, whole};

use crate::{
    config::{Config, DeploymentParams, Secret},
    error::GatewayError,
    object_text::ObjectText,
    spend::Price,
};

/// One provider's model, ready to be called.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) price: Price,
    model: String,
    url: String,
    api_key: Option<Secret>,
    pub(crate) timeout: Duration,
}

/// The deployments behind one alias, used in turn.
#[derive(Debug, Default)]
struct Group {
    deployments: Vec<Deployment>,
    next: AtomicUsize,
}

/// Every model alias, and one pool of connections for all of them.
pub(crate) struct Providers {
    groups: BTreeMap<String, Group>,
    client: reqwest::Client,
}

impl Providers {
    pub(crate) fn new(config: &Config) -> Result<Self, reqwest::Error> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for entry in &config.model_list {
            let deployment = Deployment::of(&entry.litellm_params);
            groups.entry(entry.model_name.clone()).or_default().deployments.push(deployment);
        }
        let mut bases = config.model_list.iter().map(|entry| &entry.litellm_params.api_base);
        let client = match bases.any(|base| base.starts_with("https:")) {
            true => reqwest::Client::builder(),
            // A machine without certificates needs none for providers in the clear.
            false => reqwest::Client::builder().tls_certs_only([]),
        };
        let client = client
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(1024)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { groups, client })
    }

    /// Every alias, in order.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// The deployment whose turn it is.
    pub(crate) fn pick(&self, alias: &str) -> Result<&Deployment, GatewayError> {
        let unknown = || GatewayError::UnknownModel { model: alias.chars().take(128).collect() };
        let group = self.groups.get(alias).ok_or_else(unknown)?;
        let turn = group.next.fetch_add(1, Ordering::Relaxed) % group.deployments.len();
        group.deployments.get(turn).ok_or_else(unknown)
    }

    /// Sends a chat request; the answer's head has arrived and says success.
    pub(crate) async fn chat(
        &self,
        deployment: &Deployment,
        body: &ObjectText<'_>,
        is_streamed: bool,
    ) -> Result<reqwest::Response, GatewayError> {
        openai::chat(&self.client, deployment, body, is_streamed).await
    }
}

impl Deployment {
    fn of(params: &DeploymentParams) -> Self {
        let model = params.model.strip_prefix("openai/").unwrap_or(&params.model);
        Self {
            price: Price::of(params),
            model: model.to_owned(),
            url: format!("{}/chat/completions", params.api_base.trim_end_matches('/')),
            api_key: params.api_key.clone(),
            timeout: Duration::from_millis(params.timeout_ms),
        }
    }
}
