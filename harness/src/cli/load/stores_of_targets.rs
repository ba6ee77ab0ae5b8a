//! Stores are for targets that we start: to put them on a line with `--gateway` is a mistake, and a
//! variable that names them for other commands is none.

use clap::{
    ArgMatches, Args, Command, Error, FromArgMatches, error::ErrorKind, parser::ValueSource,
};

/// The arguments that say where stores come from, as clap knows them.
const STORES: [&str; 4] = ["redis_url", "postgres_url", "redis_image", "postgres_image"];

/// The fact that nobody has put a store beside `--gateway`. It stands before those arguments, which are
/// taken out as they are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoresOfTargets;

impl FromArgMatches for StoresOfTargets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let is_given = |name: &&&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        match STORES.iter().find(is_given) {
            Some(store) if matches.value_source("gateway").is_some() => {
                let store = store.replace('_', "-");
                let told = format!(
                    "the argument '--{store}' cannot be used with '--gateway': nothing is started for it, \
                     and its stores are its own\n"
                );
                Err(Error::raw(ErrorKind::ArgumentConflict, told))
            }
            Some(_) | None => Ok(StoresOfTargets),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for StoresOfTargets {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
