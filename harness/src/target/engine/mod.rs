//! The container engine of this machine, where one answers.
//!
//! It is found where the Docker client finds it: `DOCKER_HOST`, then the usual sockets. Containers are
//! started with an entry point and a command of ours, so nothing of an image is relied on but the
//! programs it holds. Each bears a label that no other has, and the supervisor is told that label
//! before the container is made; so what is made is removed, however we end.

use std::{io, net::IpAddr, time::Duration};

use futures::{StreamExt, future::join_all};
use reqwest::Url;
use testcontainers::{
    TestcontainersError,
    bollard::{
        Docker,
        errors::Error as ApiError,
        query_parameters::{
            CreateImageOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
        },
    },
    core::client::{ClientError, docker_client_instance},
};
use tokio::time::timeout;

mod container;
mod registry;

pub(super) use container::{Container, ContainerRequest, Printed, Reachable};

/// How long an engine may take to say that it is there.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How long a pull may go on without anything new.
const STALL: Duration = Duration::from_secs(30);

/// How long an engine may take to remove containers.
const REMOVAL: Duration = Duration::from_secs(10);

/// An engine that answered.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    docker: Docker,
    name: String,
    rootless: bool,
}

/// Why there is no container.
///
/// Messages are lowercase fragments, made to follow "containers: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// There is none, or it is not for us.
    #[error("no container engine answers ({0})")]
    NoEngine(String),
    /// It is on another machine: what it starts would listen on the loopback of that one.
    #[error(
        "the container engine of DOCKER_HOST is on another machine, {0}, whose loopback we do not reach"
    )]
    Elsewhere(String),
    /// An image is not here and did not come.
    #[error("the image {image} is not here and cannot be pulled ({why})")]
    NoImage {
        /// Which image.
        image: String,
        /// What the engine or the registry said.
        why: String,
    },
    /// A pull came to a halt.
    #[error("the pull of the image {image} made no progress for {waited:?}")]
    Stalled {
        /// Which image.
        image: String,
        /// How long we waited for something new.
        waited: Duration,
    },
    /// The engine refused us something.
    #[error("the container engine did not {doing} ({why})")]
    Refused {
        /// What it was asked for.
        doing: String,
        /// What it said.
        why: String,
    },
    /// There is nobody to remove the container when we are killed.
    #[error("no supervisor can be started for a container")]
    Unsupervised(#[source] io::Error),
}

impl Engine {
    /// The engine of this machine, if it answers at once.
    ///
    /// # Errors
    ///
    /// When there is none, it takes longer than a working one does, or it is on another machine.
    pub(super) async fn reach() -> Result<Engine, EngineError> {
        if let Some(host) = elsewhere(&docker_host()) {
            return Err(EngineError::Elsewhere(host));
        }
        let asking = async {
            let docker = connect().await?;
            let version = docker.version().await.map_err(|error| said(&error))?;
            let info = docker.info().await.map_err(|error| said(&error))?;
            let product = version.platform.map(|platform| platform.name).unwrap_or_default();
            let product = if product.contains("Podman") { "Podman" } else { "Docker" };
            let options = info.security_options.unwrap_or_default();
            Ok(Engine {
                docker,
                name: format!("{product} {}", version.version.unwrap_or_default()),
                rootless: options.iter().any(|option| option.contains("rootless")),
            })
        };
        match timeout(PATIENCE, asking).await {
            Ok(engine) => engine.map_err(EngineError::NoEngine),
            Err(_) => Err(EngineError::NoEngine(silent(PATIENCE))),
        }
    }

    /// What it is, as in "Docker 28.0.1".
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether `image` is here.
    ///
    /// # Errors
    ///
    /// When the engine does not say.
    pub(super) async fn has(&self, image: &str) -> Result<bool, EngineError> {
        match timeout(STALL, self.docker.inspect_image(image)).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(ApiError::DockerResponseServerError { status_code: 404, .. })) => Ok(false),
            Ok(Err(error)) => Err(refused(&format!("look for the image {image}"), said(&error))),
            Err(_) => Err(refused(&format!("look for the image {image}"), silent(STALL))),
        }
    }

    /// Pulls `image`.
    ///
    /// # Errors
    ///
    /// When it cannot be pulled, or nothing new of it came for half a minute.
    pub(super) async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let (name, tag) = registry::name_and_tag(image);
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        // A helper may ask somebody who is not there.
        let Ok(credentials) = timeout(STALL, registry::credentials(image)).await else {
            let why = format!("the credential helper of its registry was {}", silent(STALL));
            return Err(EngineError::NoImage { image: image.to_owned(), why });
        };
        let mut pull = Box::pin(self.docker.create_image(Some(options), None, credentials));
        let mut last = None;
        loop {
            // Only what says something new is progress.
            let news = async {
                loop {
                    match pull.next().await {
                        Some(Ok(info)) if last.as_ref() == Some(&info) => {}
                        other => return other,
                    }
                }
            };
            let image = image.to_owned();
            match timeout(STALL, news).await {
                Ok(Some(Ok(info))) => last = Some(info),
                Ok(Some(Err(error))) => {
                    return Err(EngineError::NoImage { image, why: said(&error) });
                }
                Ok(None) => return Ok(()),
                Err(_) => return Err(EngineError::Stalled { image, waited: STALL }),
            }
        }
    }

    /// Starts a container of an image that is here.
    ///
    /// # Errors
    ///
    /// When the engine refuses. Nothing is left behind then.
    pub(super) async fn start(
        &self,
        request: ContainerRequest,
    ) -> Result<(Container, Printed), EngineError> {
        // In a task of its own: what is dropped half-way through a request may be made all the same.
        let starting = tokio::spawn(Container::start(self.clone(), request));
        starting.await.unwrap_or_else(|error| Err(refused("start a container", error.to_string())))
    }
}

/// Removes every container with `label`, a `name=value`, running or not.
///
/// For a process that knows nothing else of them.
///
/// # Errors
///
/// When no engine answers, or it keeps one.
pub(super) async fn remove_labelled(label: &str) -> Result<(), EngineError> {
    let refused = |why| refused("remove containers", why);
    let removing = async {
        let docker = connect().await.map_err(EngineError::NoEngine)?;
        let filters = [("label".to_owned(), vec![label.to_owned()])].into_iter().collect();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let list = docker.list_containers(Some(options)).await;
        let ids = list.map_err(|error| refused(said(&error)))?.into_iter().filter_map(|it| it.id);
        let removals = ids.map(async |id| {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match docker.remove_container(&id, Some(options)).await {
                // Gone, or about to be, since somebody else asked too.
                Ok(())
                | Err(ApiError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
                Err(error) => Err(refused(said(&error))),
            }
        });
        join_all(removals).await.into_iter().collect()
    };
    match timeout(REMOVAL, removing).await {
        Ok(removed) => removed,
        Err(_) => Err(refused(silent(REMOVAL))),
    }
}

/// What Docker's clients, and the crate that asks on our behalf, take an engine's address from.
#[expect(clippy::disallowed_methods, reason = "it is read by that crate, and no setting of ours")]
fn docker_host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_default()
}

/// The other machine that an address of an engine leads to, if it does.
fn elsewhere(docker_host: &str) -> Option<String> {
    let url = Url::parse(docker_host).ok()?;
    // Not that of a scheme which Url knows nothing of: then an address is only a name.
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    let is_here = match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.is_empty() || host == "localhost",
    };
    (!is_here).then(|| host.to_owned())
}

async fn connect() -> Result<Docker, String> {
    docker_client_instance().await.map_err(|error| match error {
        ClientError::Init(error) => said(&error),
        other => other.to_string(),
    })
}

fn refused(doing: &str, why: String) -> EngineError {
    EngineError::Refused { doing: doing.to_owned(), why }
}

fn silent(patience: Duration) -> String {
    format!("silent for {patience:?}")
}

/// What the engine said, without what it was wrapped in on the way.
fn said(error: &ApiError) -> String {
    match error {
        ApiError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        ApiError::DockerStreamError { error } => error.trim().to_owned(),
        other => {
            let mut deepest: &dyn std::error::Error = other;
            while let Some(source) = deepest.source() {
                deepest = source;
            }
            match deepest.to_string() == other.to_string() {
                true => other.to_string(),
                false => format!("{other}: {deepest}"),
            }
        }
    }
}

/// The same, through the crate that asked on our behalf.
fn said_to_us(error: &TestcontainersError) -> String {
    match error {
        TestcontainersError::Client(
            ClientError::Init(error)
            | ClientError::CreateContainer(error)
            | ClientError::StartContainer(error)
            | ClientError::InspectContainer(error),
        ) => said(error),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_said_is_told_without_its_wrapping() {
        let message = "No such image: redis:7-alpine\n".to_owned();
        let error = ApiError::DockerResponseServerError { status_code: 404, message };
        assert_eq!(said(&error), "No such image: redis:7-alpine");
        let error = ClientError::CreateContainer(error);
        assert_eq!(said_to_us(&error.into()), "No such image: redis:7-alpine");
    }

    #[test]
    fn an_engine_is_here_where_its_address_is() {
        for here in ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "tcp://localhost:1", ""]
        {
            assert_eq!(elsewhere(here), None, "{here}");
        }
        assert_eq!(elsewhere("tcp://docker.internal:2375").as_deref(), Some("docker.internal"));
        assert_eq!(elsewhere("https://10.0.0.7:2376").as_deref(), Some("10.0.0.7"));
        let told = EngineError::Elsewhere("10.0.0.7".to_owned()).to_string();
        assert_eq!(
            told,
            "the container engine of DOCKER_HOST is on another machine, 10.0.0.7, whose loopback we do not reach"
        );
    }
}
