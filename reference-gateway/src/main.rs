//! `reference-gateway`: configure, connect, serve, drain.

use std::{
    collections::BTreeMap, env, num::NonZeroU8, path::PathBuf, process::ExitCode, time::Duration,
};

use clap::Parser;
use reference_gateway::{
    cache_schema::CacheSchema,
    config::Config,
    defects::Defects,
    logging,
    serve::{Door, serve},
    workers::{Crew, CrewError, Leash, Post},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A small gateway in front of OpenAI-compatible providers.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    /// The settings, as described in the crate's README.
    #[arg(long, required = true)]
    config: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 4000)]
    port: u16,
    /// Processes that serve on the port; each has a memory tier and connections of its own.
    #[arg(long, value_name = "N", default_value = "1")]
    workers: NonZeroU8,
    /// Which of them this process is, and where it listens; said by whoever started it.
    #[arg(long, hide = true)]
    worker: Option<Post>,
    /// What is logged: a level, or a tracing filter.
    #[arg(long, default_value = "info,sqlx=off,hyper=off")]
    log: String,
    /// The schema version of the entries that are written to Redis; what the settings say if left
    /// out.
    #[arg(long, value_name = "VERSION")]
    cache_schema: Option<CacheSchema>,
    /// A planted defect to activate; may be given more than once.
    #[cfg(feature = "defects")]
    #[arg(long = "defect", value_name = "NAME")]
    defects: Vec<String>,
    #[cfg(feature = "defects")]
    #[command(subcommand)]
    command: Option<Command>,
}

#[cfg(feature = "defects")]
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the planted defects and the check that must catch each.
    Defects {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stopped { status, message }) => {
            say_error(&message);
            ExitCode::from(status)
        }
    }
}

/// Why the process ends with something else than success.
struct Stopped {
    status: u8,
    message: String,
}

impl Stopped {
    /// The command line or the configuration is wrong.
    fn usage(error: &dyn std::error::Error) -> Self {
        Self { status: 2, message: chain(error) }
    }

    /// A store, an address or the server failed.
    fn failure(error: &dyn std::error::Error) -> Self {
        Self { status: 1, message: chain(error) }
    }

    /// The workers failed; what a worker said by its status holds for all.
    fn with_crew(error: &CrewError) -> Self {
        let said = match error {
            CrewError::Ended { status, .. } => status.code().and_then(|code| code.try_into().ok()),
            _ => None,
        };
        Self { status: said.unwrap_or(1), message: chain(error) }
    }
}

fn run(cli: Cli) -> Result<(), Stopped> {
    #[cfg(feature = "defects")]
    if let Some(Command::Defects { json }) = cli.command {
        return list_defects(json);
    }
    let defects = planted(&cli)?;
    let environment: BTreeMap<String, String> = env::vars().collect();
    let path = cli.config.unwrap_or_default();
    let mut config = Config::load(&path, &environment).map_err(|error| Stopped::usage(&error))?;
    if let Some(schema) = cli.cache_schema {
        config.general_settings.cache_schema = schema;
    }
    let worker = cli.worker.map(|post| post.worker);
    logging::start(&cli.log, worker).map_err(|error| Stopped::usage(&*error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stopped::failure(&error))?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = tokio::spawn(stop_on_signal(stop.clone(), worker.is_some()));
        let ended = match (cli.worker, cli.workers) {
            (None, NonZeroU8::MIN) => {
                let door = Door::Own { host: cli.host, port: cli.port };
                served(config, door, defects, stop).await
            }
            (None, count) => {
                let settings = &config.general_settings;
                let drain_timeout = Duration::from_millis(settings.drain_timeout_ms);
                let crew = Crew { count, host: cli.host, port: cli.port, drain_timeout };
                crew.serve(stop).await.map_err(|error| Stopped::with_crew(&error))
            }
            (Some(post), _) => {
                let leash = Leash::take_up(post).map_err(|error| Stopped::failure(&error))?;
                served(config, Door::Shared { worker: post.worker, leash }, defects, stop).await
            }
        };
        signals.abort();
        ended
    })
}

async fn served(
    config: Config,
    door: Door,
    defects: Defects,
    stop: CancellationToken,
) -> Result<(), Stopped> {
    serve(config, door, defects, stop).await.map_err(|error| Stopped::failure(&error))
}

/// A Ctrl-C reaches every process of a terminal's job, but what becomes of a worker is its
/// supervisor's to say.
async fn stop_on_signal(stop: CancellationToken, is_worker: bool) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals cannot be heard; the gateway stops only when it is killed");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv(), if !is_worker => {}
    }
    stop.cancel();
}

#[cfg(feature = "defects")]
fn planted(cli: &Cli) -> Result<Defects, Stopped> {
    Defects::plant(cli.defects.iter().map(String::as_str)).map_err(|error| Stopped::usage(&error))
}

#[cfg(not(feature = "defects"))]
#[expect(clippy::unnecessary_wraps, reason = "with the `defects` feature a name can be unknown")]
fn planted(_: &Cli) -> Result<Defects, Stopped> {
    Ok(Defects::default())
}

#[cfg(feature = "defects")]
fn list_defects(json: bool) -> Result<(), Stopped> {
    use std::io::Write as _;

    use reference_gateway::defects::ALL;

    let mut out = std::io::stdout().lock();
    let written = match json {
        true => {
            let list: Vec<serde_json::Value> = ALL
                .iter()
                .map(|defect| {
                    serde_json::json!({
                        "name": defect.name,
                        "caught_by": defect.caught_by,
                        "summary": defect.summary,
                    })
                })
                .collect();
            writeln!(out, "{}", serde_json::Value::from(list))
        }
        false => ALL.iter().try_for_each(|defect| {
            writeln!(out, "{:<24} {:<34} {}", defect.name, defect.caught_by, defect.summary)
        }),
    };
    written.map_err(|error| Stopped::failure(&error))
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[expect(clippy::print_stderr, reason = "there is nobody left to tell but the terminal")]
fn say_error(message: &str) {
    eprintln!("reference-gateway: {message}");
}
