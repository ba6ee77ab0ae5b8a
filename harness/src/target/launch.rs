//! Starts one process, on this machine or in a container, waits until it is ready, and stops it with
//! everything it started.
//!
//! What to start is decided elsewhere: here a command is words, and an environment is exactly what
//! is asked for. A process that does not become ready is an error that carries its last words.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::process::Command;

use super::{
    engine::{ContainerRequest, Engine, EngineError, Reachable},
    output::{LogSink, Output},
    ports,
    process_group::{Ending, ProcessGroup},
    ready::{Ends, Waited, until_ready},
    running::Running,
    secret::Secret,
    template::NoValue,
};
use crate::{client::http, runner::steps::Steps};

/// How long one question after readiness may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// A process to start.
#[derive(Clone, Debug)]
pub struct LaunchRequest {
    /// What messages call it, as in "replica 0".
    pub name: String,
    /// On which machine, so to speak.
    pub place: Place,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment; in a container, besides what its image has.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs; in a container, its image says.
    pub folder: PathBuf,
    /// The file that all it prints is added to.
    pub log: PathBuf,
    /// How long it may take to be ready, or to end if it is to end by itself.
    pub start_timeout: Duration,
    /// How long it may take to end after it was asked to.
    pub stop_timeout: Duration,
}

/// Where a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    Here,
    /// In a container, on the network of this machine, as the user that we are.
    Container {
        /// Its image, as in `ghcr.io/berriai/litellm:main-stable`.
        image: String,
        /// A folder of this machine that it sees in the same place.
        shared: PathBuf,
    },
}

/// How we know that a process is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It answers 200 to a GET.
    Answers {
        /// Where it was told to listen.
        address: SocketAddr,
        /// The path that is asked for.
        path: String,
    },
    /// It prints a line `{"listening": "127.0.0.1:4000"}`.
    SaysSo,
}

/// A process that became ready.
#[derive(Debug)]
pub struct Launched {
    name: String,
    address: SocketAddr,
    running: Running,
    output: Output,
    stop_timeout: Duration,
}

/// Why a process is not running.
///
/// Messages are lowercase fragments, made to follow "cannot start the target: ".
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Its description has a gap that cannot be filled.
    #[error("{name} cannot be described")]
    NoValue {
        /// Which process.
        name: String,
        /// Which gap.
        source: NoValue,
    },
    /// The program is not there.
    #[error("{name}: there is no program {}; install it, correct `command`, or name PATH in `inherit_env`", program.display())]
    NoProgram {
        /// Which process.
        name: String,
        /// What we looked for.
        program: PathBuf,
    },
    /// There is no container for it.
    #[error(
        "{name} does not run in a container of {image}; start a container engine and pull the image, or name another in `image`"
    )]
    NoContainer {
        /// Which process.
        name: String,
        /// The image.
        image: String,
        /// What the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system refused us something.
    #[error("cannot {doing}")]
    System {
        /// What we were about to do.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something else listens where it is to listen.
    #[error(
        "{name} cannot listen on {address}: something else does; stop that, or leave the choice of ports to us by removing `ports`"
    )]
    PortTaken {
        /// Which process.
        name: String,
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// It ended before it was ready, or with a failure.
    #[error("{name} ended with {status}; {}", LastWords(last_words))]
    Exited {
        /// Which process.
        name: String,
        /// What it left behind.
        status: ExitStatus,
        /// The last lines it printed.
        last_words: Vec<String>,
    },
    /// It was not ready in time.
    #[error(
        "{name} was not ready within {waited:?} ({state}); raise `start_timeout` if it needs longer; {}",
        LastWords(last_words)
    )]
    NotReady {
        /// Which process.
        name: String,
        /// How long we waited.
        waited: Duration,
        /// What it answered last.
        state: String,
        /// The last lines it printed.
        last_words: Vec<String>,
    },
}

/// What a process printed last, to end a message with.
struct LastWords<'a>(&'a [String]);

impl std::fmt::Display for LastWords<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LastWords(lines) = self;
        match lines {
            [] => f.write_str("it printed nothing"),
            lines => write!(f, "it printed last:\n  {}", lines.join("\n  ")),
        }
    }
}

impl Launched {
    /// Starts a process and waits until it is ready.
    pub async fn start(
        request: LaunchRequest,
        ready: Ready,
        sink: Option<LogSink>,
    ) -> Result<Launched, LaunchError> {
        if let Ready::Answers { address, .. } = &ready
            && ports::is_taken(*address)
        {
            return Err(LaunchError::PortTaken { name: request.name, address: *address });
        }
        let (mut running, mut output) = spawn(&request, sink).await?;
        let mut state = match &ready {
            Ready::SaysSo => "it has not said where it listens".to_owned(),
            Ready::Answers { .. } => "it was not asked yet".to_owned(),
        };
        let waited = match &ready {
            Ready::SaysSo => {
                until_ready(&mut running, request.start_timeout, async || said_address(&output))
                    .await
            }
            Ready::Answers { address, path } => {
                let question = Question::new(*address, path)?;
                until_ready(&mut running, request.start_timeout, async || {
                    question.ask().await.map_err(|answer| state = answer).ok()
                })
                .await
            }
        };
        if let Waited::Ready(address) = waited {
            let LaunchRequest { name, stop_timeout, .. } = request;
            return Ok(Launched { name, address, running, output, stop_timeout });
        }

        running.stop(request.stop_timeout).await;
        output.drain().await;
        running.remove().await;
        let last_words = output.tail();
        let name = request.name;
        if let Ready::Answers { address, .. } = ready
            && ports::says_port_is_taken(last_words.iter().map(String::as_str))
        {
            return Err(LaunchError::PortTaken { name, address });
        }
        Err(match waited {
            Waited::Exited(status) => LaunchError::Exited { name, status, last_words },
            Waited::Late | Waited::Ready(_) => {
                LaunchError::NotReady { name, waited: request.start_timeout, state, last_words }
            }
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of its process group, which is that of its leader; nothing where it is in a container
    /// on a machine of its own.
    pub fn group(&self) -> Option<u32> {
        self.running.group()
    }

    /// Sends `signal` to it and to everything it started: `SIGSTOP` pauses, `SIGCONT` goes on. In a
    /// container other signals reach the first process alone.
    ///
    /// # Errors
    ///
    /// When it has ended, or the engine refuses.
    pub async fn signal(&self, signal: Signal) -> io::Result<()> {
        self.running.signal(signal).await
    }

    /// What it left behind, if it has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.running.exited()
    }

    /// Waits for it to end by itself.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.running.end().await
    }

    /// The last lines it printed, oldest first.
    pub fn last_words(&self) -> Vec<String> {
        self.output.tail()
    }

    /// How many lines were not forwarded because their reader had no room.
    pub fn lost_lines(&self) -> u64 {
        self.output.lost_lines()
    }

    /// Asks it to end, kills it if it does not, and reads its last lines.
    pub async fn stop(mut self) -> Ending {
        let ending = self.running.stop(self.stop_timeout).await;
        self.output.drain().await;
        self.running.remove().await;
        ending
    }
}

/// Runs a process that is to end by itself, and be content.
pub async fn run_to_end(request: LaunchRequest) -> Result<(), LaunchError> {
    let (mut running, mut output) = spawn(&request, None).await?;
    let waited = until_ready(&mut running, request.start_timeout, async || None::<()>).await;
    running.stop(request.stop_timeout).await;
    output.drain().await;
    running.remove().await;
    let (name, last_words) = (request.name, output.tail());
    match waited {
        Waited::Exited(status) if status.success() => Ok(()),
        Waited::Exited(status) => Err(LaunchError::Exited { name, status, last_words }),
        Waited::Ready(()) | Waited::Late => Err(LaunchError::NotReady {
            name,
            waited: request.start_timeout,
            state: "it has not ended".to_owned(),
            last_words,
        }),
    }
}

async fn spawn(
    request: &LaunchRequest,
    sink: Option<LogSink>,
) -> Result<(Running, Output), LaunchError> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(&request.log)
        .map_err(|source| system(format!("write {}", request.log.display()), source))?;
    match &request.place {
        Place::Here => spawn_here(request, log, sink),
        Place::Container { image, shared } => contain(request, image, shared, log, sink)
            .await
            .map_err(|error| no_container(&request.name, image, error)),
    }
}

/// Sees to it that `image` is here before a container of it is started; `name` is what messages call who
/// is to run in it. That it has to be pulled is said, for that may take long.
///
/// # Errors
///
/// When no engine answers, or the image is not here and does not come.
pub async fn have_image(name: &str, image: &str, steps: &Steps) -> Result<(), LaunchError> {
    let having = async {
        let engine = Engine::reach().await?;
        if !engine.has(image).await? {
            steps.begin(&format!("pulling the image {image}"));
            engine.pull(image).await?;
        }
        Ok(())
    };
    having.await.map_err(|error| no_container(name, image, error))
}

fn no_container(name: &str, image: &str, error: EngineError) -> LaunchError {
    let (name, image) = (name.to_owned(), image.to_owned());
    LaunchError::NoContainer { name, image, source: error.into() }
}

/// Starts it in a container, of an image that is here.
async fn contain(
    request: &LaunchRequest,
    image: &str,
    shared: &Path,
    log: File,
    sink: Option<LogSink>,
) -> Result<(Running, Output), EngineError> {
    let engine = Engine::reach().await?;
    let wanted = ContainerRequest {
        image: image.to_owned(),
        program: request.program.display().to_string(),
        args: request.args.clone(),
        env: request.env.clone(),
        shared: Some(shared.to_owned()),
        scratch: None,
        as_us: true,
        reachable: Reachable::OurNetwork,
    };
    let (container, printed) = engine.start(wanted).await?;
    let output = Output::read(Some(printed.stdout), Some(printed.stderr), log, sink);
    Ok((Running::Container(container), output))
}

/// Starts it on this machine.
fn spawn_here(
    request: &LaunchRequest,
    log: File,
    sink: Option<LogSink>,
) -> Result<(Running, Output), LaunchError> {
    let mut command = Command::new(&request.program);
    command
        .args(&request.args)
        .env_clear()
        .envs(request.env.iter().map(|(name, value)| (name, value.expose())))
        .current_dir(working_folder(&request.folder))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = ProcessGroup::spawn(command, Signal::SIGTERM).map_err(|source| match source
        .kind()
    {
        io::ErrorKind::NotFound if working_folder(&request.folder).is_dir() => {
            LaunchError::NoProgram { name: request.name.clone(), program: request.program.clone() }
        }
        _ => system(format!("start {}", request.program.display()), source),
    })?;
    let (stdout, stderr) = group.outputs();
    let output = Output::read(stdout, stderr, log, sink);
    Ok((Running::Process(group), output))
}

/// The folder of a file named without one is the current folder.
fn working_folder(folder: &Path) -> &Path {
    match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    }
}

/// The address in a line `{"listening": …}`, once it was printed.
fn said_address(output: &Output) -> Option<SocketAddr> {
    output.first_json_line()?.get("listening")?.as_str()?.parse().ok()
}

/// The question whether a process is ready.
struct Question {
    address: SocketAddr,
    client: reqwest::Client,
    url: String,
}

impl Question {
    fn new(address: SocketAddr, path: &str) -> Result<Question, LaunchError> {
        let client = http::client([])
            .timeout(QUESTION_TIMEOUT)
            .build()
            .map_err(|error| system("ask for readiness".to_owned(), io::Error::other(error)))?;
        Ok(Question { address, client, url: format!("http://{address}{path}") })
    }

    /// The address if it is ready, or what came instead.
    async fn ask(&self) -> Result<SocketAddr, String> {
        match self.client.get(&self.url).send().await {
            Ok(answer) if answer.status() == reqwest::StatusCode::OK => Ok(self.address),
            Ok(answer) => Err(format!("{} answers {}", self.url, answer.status())),
            Err(error) if error.is_timeout() => {
                Err(format!("{} gives no answer within {QUESTION_TIMEOUT:?}", self.url))
            }
            Err(_) => Err(format!("{} refuses connections", self.url)),
        }
    }
}

pub(super) fn system(doing: String, source: io::Error) -> LaunchError {
    LaunchError::System { doing, source }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{clock::Clock, op::Replica, target::output::LogLine};

    /// A shell that runs `script` in a folder of its own.
    fn shell(folder: &Path, script: &str) -> LaunchRequest {
        LaunchRequest {
            name: "replica 0".to_owned(),
            place: Place::Here,
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: BTreeMap::from([("GREETING".to_owned(), Secret::new("hello"))]),
            folder: folder.to_owned(),
            log: folder.join("log"),
            start_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(5),
        }
    }

    const LISTENING: &str = r#"echo '{"listening":"127.0.0.1:4000"}'"#;

    #[tokio::test]
    async fn a_process_that_says_where_it_listens_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("echo $GREETING; {LISTENING}; exec sleep 60");
        let (sender, mut lines) = mpsc::channel(8);
        let sink = LogSink { replica: Replica(0), clock: Clock::start(), lines: sender };
        let request = shell(folder.path(), &script);
        let mut launched = Launched::start(request, Ready::SaysSo, Some(sink)).await.unwrap();
        assert_eq!(launched.address().port(), 4000);
        assert_eq!(launched.exited(), None);
        let LogLine { replica, text, .. } = lines.recv().await.unwrap();
        assert_eq!((replica, text.as_str()), (Replica(0), "hello"));
        assert!(!launched.stop().await.killed);
    }

    #[tokio::test]
    async fn a_process_that_ends_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let request = shell(folder.path(), "echo loading; echo 'no licence' >&2; exit 3");
        let error = Launched::start(request, Ready::SaysSo, None).await.unwrap_err().to_string();
        assert!(
            error.starts_with("replica 0 ended with exit status: 3; it printed last:"),
            "{error}"
        );
        assert!(error.contains("\n  no licence"), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_never_answers_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let address = ports::free_address().unwrap();
        let request = LaunchRequest {
            start_timeout: Duration::from_millis(100),
            ..shell(folder.path(), "exec sleep 60")
        };
        let ready = Ready::Answers { address, path: "/ready".to_owned() };
        let error = Launched::start(request, ready, None).await.unwrap_err().to_string();
        // Whether it was asked within so short a time is the machine's to say.
        let error = error
            .replace(&format!("http://{address}/ready refuses connections"), "STATE")
            .replace("it was not asked yet", "STATE");
        assert_snapshot!(error, @"replica 0 was not ready within 100ms (STATE); raise `start_timeout` if it needs longer; it printed nothing");
    }

    #[tokio::test]
    async fn a_port_with_a_listener_is_reported_before_and_after_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ready = Ready::Answers { address, path: "/".to_owned() };
        let request = shell(folder.path(), "echo 'Address already in use' >&2; exit 1");
        let before = Launched::start(request.clone(), ready.clone(), None).await.unwrap_err();
        drop(listener);
        let after = Launched::start(request, ready, None).await.unwrap_err();
        for error in [before, after] {
            assert!(matches!(error, LaunchError::PortTaken { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let request =
            LaunchRequest { program: "no-such-gateway".into(), ..shell(folder.path(), "") };
        let error = Launched::start(request, Ready::SaysSo, None).await.unwrap_err();
        assert_snapshot!(error, @"replica 0: there is no program no-such-gateway; install it, correct `command`, or name PATH in `inherit_env`");
    }

    #[tokio::test]
    async fn a_command_that_ends_well_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        run_to_end(shell(folder.path(), "exit 0")).await.unwrap();
        let error = run_to_end(shell(folder.path(), "echo no table; exit 1")).await.unwrap_err();
        assert_snapshot!(error, @r"
        replica 0 ended with exit status: 1; it printed last:
          no table
        ");
    }
}
