//! The command line, called as a library: nothing is started, and nothing is looked up.

use std::path::PathBuf;

use clap::Parser;
use harness::cli::{Cli, CliError, ExitStatus, Surroundings};

/// What a command came to, and what it wrote.
pub(crate) async fn gauntlet(args: &[&str]) -> (Result<ExitStatus, CliError>, String) {
    gauntlet_with(args, &|_| None).await
}

/// The same, in an environment that holds these variables.
pub(crate) async fn gauntlet_with(
    args: &[&str],
    variable: &(dyn Fn(&str) -> Option<String> + Sync),
) -> (Result<ExitStatus, CliError>, String) {
    let cli = Cli::try_parse_from([&["gauntlet"], args].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut around = Surroundings {
        out: &mut out,
        err: &mut err,
        colour: false,
        err_is_terminal: false,
        width: 100,
        program: PathBuf::from("/nowhere/gauntlet"),
        search_path: None,
        variable,
    };
    let ended = cli.run(&mut around).await;
    assert!(err.is_empty(), "{}", String::from_utf8_lossy(&err));
    (ended, String::from_utf8(out).unwrap())
}
