//! `gauntlet list`: what would be checked, and why.

use std::io::Write;

use serde_json::json;

use super::{CliError, ExitStatus};
use crate::{
    check::{Check, Level},
    checks,
};

/// Arguments of `gauntlet list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// What to list.
    #[arg(value_enum, default_value = "checks")]
    what: What,

    /// Only what begins with this.
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,

    /// Say why each check exists, and where it went wrong before.
    #[arg(long)]
    why: bool,

    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// The checks.
    Checks,
    /// The profiles.
    Profiles,
}

impl ListArgs {
    /// Writes the list to `out`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    #[expect(clippy::unused_async, reason = "every subcommand is called alike")]
    pub async fn run(&self, out: &mut dyn Write) -> Result<ExitStatus, CliError> {
        let listed = match self.what {
            What::Checks => self.checks(out)?,
            What::Profiles => self.profiles(out)?,
        };
        Ok(if listed == 0 { ExitStatus::NothingRan } else { ExitStatus::Pass })
    }

    fn checks(&self, out: &mut dyn Write) -> Result<usize, CliError> {
        let chosen: Vec<_> =
            checks::ALL.iter().filter(|check| check.id.starts_with(&self.prefix)).collect();
        if self.json {
            let all: Vec<_> = chosen.iter().map(|check| as_json(check)).collect();
            writeln!(out, "{:#}", json!(all))?;
            return Ok(chosen.len());
        }
        for check in &chosen {
            writeln!(out, "{:<34} {:<9} {}", check.id, level(check), check.title)?;
            if self.why {
                writeln!(out, "    {}", check.why)?;
                for incident in check.incidents {
                    writeln!(out, "    seen: {incident}")?;
                }
            }
        }
        Ok(chosen.len())
    }

    fn profiles(&self, out: &mut dyn Write) -> Result<usize, CliError> {
        let mut listed = 0;
        for name in scenarios::Profile::names().filter(|name| name.starts_with(&self.prefix)) {
            let profile = scenarios::Profile::built_in(name)?;
            writeln!(out, "{name:<12} {}; {} cases per check", profile.title, profile.cases)?;
            listed += 1;
        }
        Ok(listed)
    }
}

fn level(check: &Check) -> &'static str {
    match check.level {
        Level::Core => "core",
        Level::Extended => "extended",
    }
}

fn as_json(check: &Check) -> serde_json::Value {
    let needs: Vec<_> = check.needs.iter().map(ToString::to_string).collect();
    json!({
        "id": check.id,
        "title": check.title,
        "why": check.why,
        "incidents": check.incidents,
        "level": level(check),
        "needs": needs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_prefix_that_nothing_begins_with_lists_nothing() {
        let args =
            ListArgs { what: What::Checks, prefix: "zz".to_owned(), why: false, json: false };
        let mut out = Vec::new();
        assert_eq!(args.run(&mut out).await.unwrap(), ExitStatus::NothingRan);
        assert!(out.is_empty());
    }
}
