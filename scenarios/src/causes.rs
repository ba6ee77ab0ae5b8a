//! An error told with everything that it follows from.

use std::error::Error;

/// An error and its causes, as one line: what the system said comes last.
pub fn with_causes(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        told = format!("{told}: {deeper}");
        cause = deeper.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use super::*;
    use crate::settings::SettingsError;

    #[test]
    fn the_deepest_cause_comes_last() {
        let source = io::Error::other("no such disk");
        let error = SettingsError::Unreadable { path: PathBuf::from("a.toml"), source };
        assert_eq!(with_causes(&error), "cannot read a.toml: no such disk");
    }
}
