//! `gauntlet attack`: the part of `gauntlet load` that runs in a process of its own. Not for people.

use std::io::{self, BufReader};

use super::{CliError, ExitStatus, Surroundings};
use crate::load::descriptors;

/// Reads an order from standard input, carries it out, and tells on standard output what happens.
///
/// # Errors
///
/// When the order cannot be read, or the attack not be carried out.
pub async fn run(around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
    // Whoever gave the order has seen to it that there can be enough, and what cannot be had fails by name.
    let _kept = descriptors::raise();
    scenarios::attack::serve(BufReader::new(io::stdin()), around.out).await?;
    Ok(ExitStatus::Pass)
}
