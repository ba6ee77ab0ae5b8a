//! `gauntlet`: parse, run, exit status.

use std::{
    env,
    io::{self, IsTerminal, Write},
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use harness::{
    cli::{Cli, CliError, ExitStatus, Surroundings},
    target::supervisor,
};

/// The width of a report where the terminal does not say.
const WIDTH: u16 = 100;

/// How long work that is still under way may take to end. What it leaves is the supervisor's.
const FAREWELL: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut err = io::stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&mut err, &format!("cannot start: {error}"), ExitStatus::Setup),
    };
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            return fail(
                &mut err,
                &format!("cannot find this program: {error}"),
                ExitStatus::Setup,
            );
        }
    };
    supervisor::supervised_by(&program);
    let (out_is_terminal, err_is_terminal) = (io::stdout().is_terminal(), err.is_terminal());
    let variable = |name: &str| env::var_os(name).and_then(|value| value.into_string().ok());
    let told = |name: &str| variable(name).filter(|value| !value.is_empty());
    let is_plain = told("NO_COLOR").is_some() || told("TERM").is_some_and(|term| term == "dumb");
    // A shell knows its own width, and seldom tells.
    let width = told("COLUMNS")
        .and_then(|text| text.parse().ok())
        .or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0))
        .unwrap_or(WIDTH);
    let mut surroundings = Surroundings {
        out: &mut io::stdout(),
        err: &mut err,
        colour: out_is_terminal && !is_plain,
        err_is_terminal,
        width,
        program,
        search_path: env::var_os("PATH"),
        variable: &variable,
    };
    // A panic is a defect of ours; its own text has been printed by then.
    let ended =
        panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(cli.run(&mut surroundings))));
    // Work that blocks, such as a credential helper of somebody's, may never end.
    runtime.shutdown_timeout(FAREWELL);
    supervisor::dismissed();
    match ended {
        Ok(Ok(status)) => ExitCode::from(status as u8),
        // Whoever read the results has seen enough, as `head` has.
        Ok(Err(CliError::Output(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(ExitStatus::Setup as u8)
        }
        Ok(Err(error)) => fail(&mut err, &error.told(), error.status()),
        Err(_) => ExitCode::from(ExitStatus::HarnessFault as u8),
    }
}

fn fail(err: &mut dyn Write, what: &str, status: ExitStatus) -> ExitCode {
    // Nobody is left to tell when even this cannot be written.
    drop(writeln!(err, "gauntlet: {what}"));
    ExitCode::from(status as u8)
}
