//! `mock-provider`: serves scripts until it is told to stop.

use std::{
    future::Future,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    process::ExitCode,
};

use clap::Parser;
use mocks::{Provider, ledger};
use tokio::signal::unix::{SignalKind, signal};

/// A provider that does as the model name says, and remembers it.
///
/// Prints one line when it is ready: {"listening":"127.0.0.1:PORT"}.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Port to listen on; 0 picks a free one.
    #[arg(long, value_name = "N")]
    port: u16,

    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,

    /// Rows the ledger keeps; older ones fall out and are counted.
    #[arg(long, value_name = "N", default_value_t = ledger::DEFAULT_CAPACITY)]
    ledger_capacity: NonZeroUsize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let Arguments { host, port, .. } = arguments;
            // If this cannot be written either, the status is all that is left to tell.
            drop(writeln!(io::stderr(), "cannot serve on {host} port {port}: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> io::Result<()> {
    let stop = told_to_stop()?;
    let addr = SocketAddr::new(arguments.host, arguments.port);
    let provider = Provider::bind(addr, arguments.ledger_capacity).await?;
    writeln!(io::stdout(), "{{\"listening\":\"{}\"}}", provider.addr())?;
    provider.serve(stop).await
}

/// Done at the first SIGTERM or Ctrl-C. Listens from the call on, so that none is missed.
fn told_to_stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}
