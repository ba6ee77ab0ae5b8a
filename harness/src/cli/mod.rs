//! The command line: words in, exit status out. One file per subcommand.

pub mod attack;
pub mod check;
mod checking;
pub mod codec;
pub mod completions;
mod conclude;
pub mod defects;
pub mod init;
pub mod demo;
mod experiment;
mod interrupt;
pub mod list;
pub mod load;
pub mod man;
pub mod probe;
pub mod progress;
pub mod replay;
pub mod report;
pub mod supervise;
pub mod target;
pub mod up;
mod which_profile;
mod which_run;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
};

use clap::{CommandFactory, Parser, Subcommand};

use scenarios::attack::AttackError;

use crate::{
    bundle::BundleError,
    codec::DriverError,
    load::{experiment::ExperimentError, preflight::NoAnswer},
    runner::reach::ReachError,
    store::RunStoreError,
    target::{MissingBinary, TargetError},
};

/// Property-based conformance and load tests for LLM gateways.
///
/// Gauntlet drives generated keys, teams, users and requests through the replicas of a gateway,
/// watches what it says to Redis, to Postgres, to its providers and to its log, and tells which
/// promises it kept, with the smallest plan that breaks the others.
#[derive(Debug, Parser)]
#[command(
    name = "gauntlet",
    version,
    after_help = "Exit status: 0 every check that applied passed; 1 a check failed; 2 usage; \
                  3 inconclusive; 4 no check applied; 5 the target or a store could not be set up; \
                  6 a defect of gauntlet itself."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows everything once, in short: checks and load against the reference gateway, and a report.
    ///
    /// For whoever is new here. Two replicas of the gateway that comes along are started on a Redis and a
    /// Postgres, with a mock provider behind them; the smoke profile is driven, and then a minute of the
    /// load that showed how reads grow with replicas. Stores are used as given, or found on this machine.
    /// The last line says where the report is as a page for a browser. Ctrl-C stops in good order, and
    /// what was done by then is reported.
    Demo(demo::DemoArgs),
    /// Starts a target, says what it is made of and why, and stays until Ctrl-C.
    ///
    /// For a first look at a stack, or to try things by hand: its replicas, stores and mock provider run
    /// as they would for a check, with their addresses and the admin key told. Whatever was started is
    /// stopped again on every way out.
    Up(up::UpArgs),
    /// Runs the checks against a target.
    ///
    /// The main thing: generates plans from a seed, drives them through the replicas while faults strike
    /// and observers watch, judges what was seen, and shrinks what fails to the smallest plan that does.
    /// The exit status is the verdict, and the run is kept, so that `gauntlet replay` can show it again.
    Check(check::CheckArgs),
    /// Holds a codec in another process to the codec laws.
    ///
    /// For the author of a cache codec: no gateway and no store is needed. A driver of a few dozen lines
    /// writes and reads what it is asked to, as lines of JSON, and the laws say which field does not come
    /// back, which kinds are taken for one another, and which damage is read as an object.
    Codec(codec::CodecArgs),
    /// Proves the checks: each planted defect of the reference gateway must be caught.
    ///
    /// A check that passes is worth as much as what it would have caught. Here each defect that is planted
    /// in the reference gateway is driven until its check fails, and the matrix of kills is written. It
    /// needs a reference gateway that was built with `--features defects`.
    Defects(defects::DefectsArgs),
    /// Puts any gateway under load, or a target in several shapes whose reads are held to bounds.
    ///
    /// With `--gateway`, nothing but an address and a key is needed. One request is sent first; then
    /// simulated callers do what the scenario says, and their rate, latencies, times to the first token,
    /// token gaps and errors are told, with a sample of what each kind of error said.
    ///
    /// With `--target` and `--profile`, what replicas cost is measured. For each shape of the profile a
    /// fresh target is started, keys are issued, and callers use them over and over while the store proxies
    /// count what the target asks Postgres. A cache that holds what it is told reads each key once per
    /// lifetime: more reads break the upper bound, fewer mean that entries outlive their lifetime and break
    /// the lower one. With a shared cache reads must not grow with replicas and workers.
    ///
    /// Ctrl-C stops the callers in good order, and what was seen by then is reported.
    Load(load::LoadArgs),
    /// Carries out an order of `load`.
    #[command(name = crate::load::attacker::SUBCOMMAND, hide = true)]
    Attack,
    /// Ends and removes what a killed `gauntlet` leaves behind.
    #[command(name = crate::target::supervisor::SUBCOMMAND, hide = true)]
    Supervise,
    /// Judges a stored run again, or drives its failing plans once more.
    ///
    /// To look into a failure, or to see whether a later gauntlet judges an earlier run otherwise. A
    /// stored run is judged with nothing running; with `--live`, its smallest failing plans are driven
    /// against a target, to see whether they still fail.
    Replay(replay::ReplayArgs),
    /// Shows a stored run in another form, or packs it to be shown to others.
    ///
    /// The report of a run is kept as one document, from which every form is made: for a terminal, for a
    /// browser, for the page of test results of a CI server. An archive holds all that is known of the run,
    /// without secrets, for whoever is to look into it. The exit status says whether it was written; what
    /// the run came to stands in the report.
    Report(report::ReportArgs),
    /// Lists what there is to choose from, and why.
    ///
    /// The names that other commands take, each with what it stands for: checks, the defects that prove
    /// them, the scenarios of a load, the faults that strike stores, and profiles. With `--why`, the
    /// reason of each, and the public reports of what went wrong before.
    List(list::ListArgs),
    /// Asks a gateway that runs what it is, and writes its `target.toml`.
    ///
    /// The way in for a gateway that we do not start. It is asked which product it is, which models it
    /// offers and whether the admin key works; what is known is written, and what would let more be seen
    /// stands in the file as comments. It tells too how to point the gateway at the mock provider. The key
    /// itself is never written.
    Init(init::InitArgs),
    /// Says what a target can do and lets us see, and what would change that.
    ///
    /// To be run first on a gateway that is new here. Each capability is tried out and not believed: a key
    /// is issued and used, a prompt is looked for in the provider's ledger. What is missing is told with
    /// the line of `target.toml` that would change it, and with how many checks apply.
    Probe(probe::ProbeArgs),
    /// Writes what a shell needs to complete the words of this command line.
    ///
    /// The script goes to standard output; where a shell looks for it differs from one to the next, and
    /// the examples are the usual places.
    Completions(completions::CompletionsArgs),
    /// Writes the manual: a page, or all of them into a folder.
    ///
    /// For packages, and for reading at leisure. The pages say what `--help` says, in the form that `man`
    /// shows.
    Man(man::ManArgs),
}

/// The command line as people are told of it: without what only we call.
fn public() -> clap::Command {
    let whole = Cli::command();
    let shown: Vec<_> = whole.get_subcommands().filter(|it| !it.is_hide_set()).cloned().collect();
    let text = |told: Option<&clap::builder::StyledStr>| told.cloned().unwrap_or_default();
    clap::Command::new("gauntlet")
        .version(env!("CARGO_PKG_VERSION"))
        .about(text(whole.get_about()))
        .long_about(text(whole.get_long_about()))
        .after_help(text(whole.get_after_help()))
        .subcommand_required(true)
        .subcommands(shown)
}

/// What the process is given by its surroundings, read once.
pub struct Surroundings<'a> {
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where progress and errors go.
    pub err: &'a mut dyn Write,
    /// Whether results may be in colour.
    pub colour: bool,
    /// Whether progress goes to a terminal.
    pub err_is_terminal: bool,
    /// The width of the terminal.
    pub width: u16,
    /// The path of this program.
    pub program: PathBuf,
    /// The `PATH`.
    pub search_path: Option<OsString>,
    /// Looks up a variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// What the process tells its caller. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Every check that applied passed.
    Pass = 0,
    /// At least one check failed.
    Fail = 1,
    /// The command line or a file it names is wrong.
    Usage = 2,
    /// Nothing failed, and at least one check was inconclusive.
    Inconclusive = 3,
    /// No check applied, so the run says nothing.
    NothingRan = 4,
    /// The target or a store could not be set up.
    Setup = 5,
    /// A defect of ours: the run says nothing about the target.
    HarnessFault = 6,
}

impl ExitStatus {
    /// The status in a word, for reports.
    pub fn name(self) -> &'static str {
        match self {
            ExitStatus::Pass => "pass",
            ExitStatus::Fail => "fail",
            ExitStatus::Usage => "usage",
            ExitStatus::Inconclusive => "inconclusive",
            ExitStatus::NothingRan => "nothing applied",
            ExitStatus::Setup => "set-up",
            ExitStatus::HarnessFault => "defect of gauntlet",
        }
    }

    /// The one to report where several apply: the first of 6, 2, 5, 1, 3, 4, 0.
    #[must_use]
    pub fn graver(self, other: ExitStatus) -> ExitStatus {
        const ORDER: [ExitStatus; 7] = [
            ExitStatus::HarnessFault,
            ExitStatus::Usage,
            ExitStatus::Setup,
            ExitStatus::Fail,
            ExitStatus::Inconclusive,
            ExitStatus::NothingRan,
            ExitStatus::Pass,
        ];
        ORDER
            .into_iter()
            .find(|status| *status == self || *status == other)
            .unwrap_or(ExitStatus::HarnessFault)
    }
}

/// Why a command came to no result.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The target's description is wrong.
    #[error("cannot use the target")]
    Description(#[from] TargetError),
    /// A profile is wrong.
    #[error("cannot use the profile")]
    Profile(#[from] scenarios::profile::ProfileError),
    /// The target cannot be used.
    #[error("cannot use the target")]
    Reach(#[from] ReachError),
    /// A gateway that runs cannot be described.
    #[error("cannot describe the gateway")]
    Init(#[from] init::InitError),
    /// One of our own binaries is missing.
    #[error("cannot use the target")]
    Binary(#[from] MissingBinary),
    /// The run cannot be kept or read.
    #[error(transparent)]
    Store(#[from] RunStoreError),
    /// A run cannot be packed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The driver of a codec does not do its part.
    #[error("cannot use the driver")]
    Driver(#[from] DriverError),
    /// A load experiment cannot go on.
    #[error(transparent)]
    Load(#[from] ExperimentError),
    /// A gateway that was to be put under load does not answer.
    #[error(transparent)]
    Gateway(#[from] NoAnswer),
    /// An attack cannot be carried out.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// Somebody wanted an end before there was anything to tell.
    #[error("stopped before it came to a result; what was started is stopped too")]
    Interrupted,
    /// A replica of the target ended while it was needed.
    #[error("{replica} of the target ended by itself: {how}")]
    Ended {
        /// Which one.
        replica: crate::op::Replica,
        /// How, and its last words.
        how: String,
    },
    /// A file or folder that was asked for cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// Which one.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Results could not be written.
    #[error("cannot write the results")]
    Output(#[from] io::Error),
    /// A defect of ours.
    #[error("this is a defect of gauntlet; please report it: {0}")]
    Ours(String),
}

impl CliError {
    /// What the process tells its caller.
    pub fn status(&self) -> ExitStatus {
        match self {
            CliError::Usage(_)
            | CliError::Description(_)
            | CliError::Profile(_)
            | CliError::Bundle(BundleError::NotAFile(_)) => ExitStatus::Usage,
            CliError::Store(error) | CliError::Bundle(BundleError::Run(error)) => of_store(error),
            CliError::Reach(_)
            | CliError::Binary(_)
            | CliError::Init(_)
            | CliError::Driver(_)
            | CliError::Load(_)
            | CliError::Gateway(_)
            | CliError::Attack(_)
            | CliError::Interrupted
            | CliError::Ended { .. }
            | CliError::Bundle(BundleError::Unwritable { .. })
            | CliError::Unwritable { .. }
            | CliError::Output(_) => ExitStatus::Setup,
            CliError::Ours(_) => ExitStatus::HarnessFault,
        }
    }

    /// The error and its causes on one line.
    pub fn told(&self) -> String {
        let mut told = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(deeper) = cause {
            let text = deeper.to_string();
            // A transparent error repeats its source.
            if !told.ends_with(&text) {
                told.push_str(": ");
                told.push_str(&text);
            }
            cause = deeper.source();
        }
        told
    }
}

/// A run that cannot be read was named by somebody; one that cannot be kept lacks room.
fn of_store(error: &RunStoreError) -> ExitStatus {
    match error {
        RunStoreError::Unreadable { .. }
        | RunStoreError::Malformed { .. }
        | RunStoreError::TooNew { .. } => ExitStatus::Usage,
        RunStoreError::Unwritable { .. } => ExitStatus::Setup,
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When it comes to no result.
    pub async fn run(self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        match self.command {
            Command::Demo(args) => args.run(around).await,
            Command::Up(args) => args.run(around).await,
            Command::Check(args) => args.run(around).await,
            Command::Codec(args) => args.run(around).await,
            Command::Defects(args) => args.run(around).await,
            Command::Load(args) => args.run(around).await,
            Command::Attack => attack::run(around).await,
            Command::Supervise => supervise::run().await,
            Command::Replay(args) => args.run(around).await,
            Command::Report(args) => args.run(around).await,
            Command::List(args) => args.run(around).await,
            Command::Init(args) => args.run(around).await,
            Command::Probe(args) => args.run(around).await,
            Command::Completions(args) => args.run(around),
            Command::Man(args) => args.run(around),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn where_several_apply_the_gravest_is_reported() {
        use ExitStatus::{Fail, HarnessFault, Inconclusive, NothingRan, Pass, Setup, Usage};
        assert_eq!(Fail.graver(Setup), Setup);
        assert_eq!(Usage.graver(Setup), Usage);
        assert_eq!(Usage.graver(HarnessFault), HarnessFault);
        assert_eq!(Pass.graver(NothingRan), NothingRan);
        assert_eq!(Inconclusive.graver(Fail), Fail);
    }
}
