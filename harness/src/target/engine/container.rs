//! One container: started, followed, stopped, and removed on every way out.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    pin::Pin,
    process::ExitStatus,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::StreamExt;
use nix::{
    sys::signal::Signal,
    unistd::{getegid, geteuid},
};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    bollard::{
        Docker,
        errors::Error as ApiError,
        models::{HostConfig, PortBinding},
        query_parameters::{
            InspectContainerOptions, KillContainerOptionsBuilder, WaitContainerOptions,
        },
    },
    core::{IntoContainerPort, Mount},
    runners::AsyncRunner,
};
use tokio::{
    io::AsyncBufRead,
    sync::watch,
    task::JoinSet,
    time::{interval, timeout},
};

use super::{Engine, EngineError, refused, registry, remove_labelled, said, said_to_us, silent};
use crate::target::{
    process_group::Ending,
    ready::Ends,
    secret::Secret,
    supervisor::{self, Ward},
    to_its_end::to_its_end,
};

/// The label of all containers of one process of ours.
const RUN: &str = "org.gauntlet.run";

/// The label that no two containers share.
const CONTAINER: &str = "org.gauntlet.container";

/// How long a container that was killed may take to be gone.
const KILLED: Duration = Duration::from_secs(5);

/// How long an engine may take to answer about a container.
const ANSWER: Duration = Duration::from_secs(10);

/// How often an engine that lost sight of a container is asked again.
const STEP: Duration = Duration::from_millis(500);

/// What to start.
#[derive(Clone, Debug)]
pub(in crate::target) struct ContainerRequest {
    /// The image, as in `redis:7-alpine`.
    pub(in crate::target) image: String,
    /// The program, whatever the image would start.
    pub(in crate::target) program: String,
    /// Its arguments.
    pub(in crate::target) args: Vec<String>,
    /// Variables besides those of the image.
    pub(in crate::target) env: BTreeMap<String, Secret>,
    /// A folder of this machine that it sees in the same place, and may write to.
    pub(in crate::target) shared: Option<PathBuf>,
    /// Where it has a folder in memory that anybody in it may write to.
    pub(in crate::target) scratch: Option<&'static str>,
    /// Whether it runs as we do, so that both of us can read and remove what either writes; as the
    /// image says otherwise.
    pub(in crate::target) as_us: bool,
    /// How it is reached.
    pub(in crate::target) reachable: Reachable,
}

/// How a container is reached from this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::target) enum Reachable {
    /// Its port is published on a loopback port of the engine's choice.
    Published(u16),
    /// It is on our network: it listens where it is told, and reaches what listens on loopback.
    OurNetwork,
}

/// A container that was started.
#[derive(Debug)]
pub(in crate::target) struct Container {
    docker: Docker,
    id: String,
    process: Option<u32>,
    address: Option<SocketAddr>,
    ended: watch::Receiver<Option<ExitStatus>>,
    // Ends with this.
    _waiting: JoinSet<()>,
    removal: Removal,
}

/// What a container prints.
pub(in crate::target) struct Printed {
    /// To its standard output.
    pub(in crate::target) stdout: Pin<Box<dyn AsyncBufRead + Send>>,
    /// To its standard error.
    pub(in crate::target) stderr: Pin<Box<dyn AsyncBufRead + Send>>,
}

impl Container {
    /// Starts one, from an image that is here.
    pub(super) async fn start(
        engine: Engine,
        request: ContainerRequest,
    ) -> Result<(Container, Printed), EngineError> {
        let mut removal = Removal::of_one_more()?;
        let begun = async {
            let reachable = request.reachable;
            let started = wanted(&engine, request, &removal)
                .start()
                .await
                .map_err(|error| refused("start a container", said_to_us(&error)))?;
            let inspected = inspect(&engine.docker, started.id()).await;
            let address = match reachable {
                Reachable::OurNetwork => None,
                Reachable::Published(port) => {
                    let port = started.get_host_port_ipv4(port.tcp()).await;
                    let port =
                        port.map_err(|error| refused("publish a port of it", said_to_us(&error)))?;
                    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
                }
            };
            Ok((started, inspected.0, address))
        };
        let (started, process, address) = match begun.await {
            Ok(begun) => begun,
            Err(error) => {
                // What cannot be removed now is left to the supervisor.
                drop(removal.remove().await);
                return Err(error);
            }
        };
        removal.made = true;
        let id = started.id().to_owned();
        let printed = Printed { stdout: started.stdout(true), stderr: started.stderr(true) };
        // Its own destructor needs a runtime to run in. Ours needs none, and removes it.
        std::mem::forget::<ContainerAsync<GenericImage>>(started);
        let process = process.filter(|process| is_here(*process, &id));
        let (sender, ended) = watch::channel(None);
        let mut waiting = JoinSet::new();
        waiting.spawn(wait_for_end(engine.docker.clone(), id.clone(), sender));
        let docker = engine.docker;
        let container =
            Container { docker, id, process, address, ended, _waiting: waiting, removal };
        Ok((container, printed))
    }

    /// Where its published port is, if it has one.
    pub(in crate::target) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Its first process as this machine numbers it; nothing where it is on another one, or in one of
    /// the engine's own.
    pub(in crate::target) fn process(&self) -> Option<u32> {
        self.process
    }

    /// Sends `signal` to its first process; `SIGSTOP` and `SIGCONT` hold and go on with all of them.
    pub(in crate::target) async fn signal(&self, signal: Signal) -> io::Result<()> {
        let sending = async {
            match signal {
                Signal::SIGSTOP => self.docker.pause_container(&self.id).await,
                Signal::SIGCONT => self.docker.unpause_container(&self.id).await,
                other => {
                    let options = KillContainerOptionsBuilder::new().signal(other.as_str()).build();
                    self.docker.kill_container(&self.id, Some(options)).await
                }
            }
        };
        match timeout(ANSWER, sending).await {
            Ok(sent) => sent.map_err(|error| io::Error::other(said(&error))),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the container engine was {}", silent(ANSWER)),
            )),
        }
    }

    /// What it left behind, if it has ended.
    pub(in crate::target) fn exited(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Asks it to end, and kills it if it has not after `patience`.
    pub(in crate::target) async fn stop(&mut self, patience: Duration) -> Ending {
        if let Some(status) = self.exited() {
            return Ending { status: Some(status), killed: false };
        }
        // It may have ended a moment ago. One that is held hears nothing until it goes on.
        drop(self.signal(Signal::SIGTERM).await);
        drop(self.signal(Signal::SIGCONT).await);
        if let Ok(status) = timeout(patience, self.end()).await {
            return Ending { status: status.ok(), killed: false };
        }
        drop(self.signal(Signal::SIGKILL).await);
        let status = timeout(KILLED, self.end()).await;
        Ending { status: status.ok().and_then(Result::ok), killed: true }
    }

    /// Removes it with all it holds, running or not.
    pub(in crate::target) async fn remove(self) -> Result<(), EngineError> {
        self.removal.remove().await
    }
}

impl Ends for Container {
    async fn end(&mut self) -> io::Result<ExitStatus> {
        match self.ended.wait_for(Option::is_some).await {
            Ok(status) => status.ok_or_else(out_of_sight),
            Err(_) => Err(out_of_sight()),
        }
    }
}

fn out_of_sight() -> io::Error {
    io::Error::other("the container engine says nothing of it any more")
}

/// The container that stands for `request`, to be started.
fn wanted(
    engine: &Engine,
    request: ContainerRequest,
    removal: &Removal,
) -> testcontainers::ContainerRequest<GenericImage> {
    let (name, tag) = registry::around_the_last_colon(&request.image);
    let mut image = GenericImage::new(name, tag).with_entrypoint(&request.program);
    if let Reachable::Published(port) = request.reachable {
        image = image.with_exposed_port(port.tcp());
    }
    let reachable = request.reachable;
    let mut wanted = image
        .with_cmd(request.args)
        .with_label(RUN, supervisor::mark().1)
        .with_label(CONTAINER, removal.name.as_str())
        .with_host_config_modifier(move |host| reachable.configure(host));
    for (name, value) in &request.env {
        wanted = wanted.with_env_var(name, value.expose());
    }
    if let Some(folder) = &request.shared {
        let folder = folder.display().to_string();
        wanted = wanted.with_mount(Mount::bind_mount(folder.clone(), folder));
    }
    if let Some(place) = request.scratch {
        wanted = wanted.with_mount(Mount::tmpfs_mount(place));
    }
    if request.as_us {
        // Without root, an engine's root is we.
        wanted = wanted.with_user(match engine.rootless {
            true => "0:0".to_owned(),
            false => format!("{}:{}", geteuid(), getegid()),
        });
    }
    wanted
}

impl Reachable {
    fn configure(self, host: &mut HostConfig) {
        host.publish_all_ports = Some(false);
        match self {
            Reachable::OurNetwork => host.network_mode = Some("host".to_owned()),
            Reachable::Published(port) => {
                let free = PortBinding {
                    host_ip: Some(Ipv4Addr::LOCALHOST.to_string()),
                    host_port: Some(String::new()),
                };
                host.port_bindings = Some([(port.tcp().to_string(), Some(vec![free]))].into());
            }
        }
    }
}

/// Removes one container, whether it was made or not.
///
/// An engine that was asked for one may make it after we have looked for it, and found nothing. So until
/// it is known to be made, the supervisor keeps it on its list, and looks once more when we have ended.
#[derive(Debug)]
struct Removal {
    name: String,
    made: bool,
    ward: Option<Ward>,
}

impl Removal {
    /// For a container that is about to be made. The supervisor knows of it from here on.
    fn of_one_more() -> Result<Removal, EngineError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", supervisor::mark().1);
        let ward = supervisor::over_containers(&format!("{CONTAINER}={name}"))
            .map_err(EngineError::Unsupervised)?;
        Ok(Removal { name, made: false, ward: Some(ward) })
    }

    fn label(&self) -> String {
        format!("{CONTAINER}={}", self.name)
    }

    async fn remove(mut self) -> Result<(), EngineError> {
        let removed = remove_labelled(&self.label()).await;
        self.settle(removed.is_ok());
        removed
    }

    /// Takes it off the supervisor's list if it was made and is gone; else never.
    fn settle(&mut self, is_gone: bool) {
        match self.ward.take() {
            Some(ward) if !(self.made && is_gone) => std::mem::forget(ward),
            Some(_) | None => {}
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        if self.ward.is_some() {
            let removed = to_its_end(remove_labelled(&self.label()));
            self.settle(matches!(removed, Ok(Ok(()))));
        }
    }
}

/// Waits until a container has ended, and tells what it left behind.
async fn wait_for_end(docker: Docker, id: String, ended: watch::Sender<Option<ExitStatus>>) {
    let mut steps = interval(STEP);
    loop {
        steps.tick().await;
        let code = match docker.wait_container(&id, None::<WaitContainerOptions>).next().await {
            Some(Ok(ending)) => Some(ending.status_code),
            Some(Err(ApiError::DockerContainerWaitError { code, .. })) => Some(code),
            // Some engines answer nothing until the end, and the question is given up.
            Some(Err(_)) | None => match inspect(&docker, &id).await {
                (Some(_), _) => None,
                (None, Some(code)) => Some(code),
                (None, None) => return,
            },
        };
        if let Some(code) = code {
            ended.send_replace(Some(status(code)));
            return;
        }
    }
}

/// Its first process while it runs, and its exit code once it does not; neither where it is unknown.
async fn inspect(docker: &Docker, id: &str) -> (Option<u32>, Option<i64>) {
    let inspecting = docker.inspect_container(id, None::<InspectContainerOptions>);
    let inspected = timeout(ANSWER, inspecting).await.ok().and_then(Result::ok);
    let Some(state) = inspected.and_then(|it| it.state) else { return (None, None) };
    match state.running {
        Some(true) => (state.pid.and_then(|pid| u32::try_from(pid).ok()), None),
        Some(false) | None => (None, state.exit_code),
    }
}

/// An exit code as the system would have told it.
fn status(code: i64) -> ExitStatus {
    ExitStatus::from_raw((i32::try_from(code).unwrap_or(255) & 0xff) << 8)
}

/// Whether the process of this number is of the container, and not somebody else's on this machine.
fn is_here(process: u32, id: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/cgroup")).is_ok_and(|groups| groups.contains(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_reads_as_one() {
        assert_eq!(status(0).code(), Some(0));
        assert_eq!(status(137).code(), Some(137));
        assert_eq!(status(3).to_string(), "exit status: 3");
    }

    #[test]
    fn a_port_is_published_on_loopback_alone() {
        let mut host = HostConfig { publish_all_ports: Some(true), ..HostConfig::default() };
        Reachable::Published(6379).configure(&mut host);
        let bindings = host.port_bindings.unwrap();
        let binding = &bindings["6379/tcp"].as_ref().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!((host.publish_all_ports, host.network_mode), (Some(false), None));
    }

    #[test]
    fn our_own_process_is_in_no_container_of_that_name() {
        assert!(!is_here(std::process::id(), "no-such-container"));
    }
}
