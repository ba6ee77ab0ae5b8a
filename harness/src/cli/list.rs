//! `gauntlet list`: what there is to choose from, and why.

use std::{collections::BTreeSet, io::Write};

use scenarios::{LoadProfile, Profile, scenario};
use serde_json::{Map, Value, json};

use super::{CliError, ExitStatus, Surroundings, defects::planted};
use crate::{
    check::{Check, Level},
    checks,
    store_step::Strike,
    wire::fault::{Fault, FaultKind},
};

/// Arguments of `gauntlet list`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet list checks codec --why
  gauntlet list defects --json")]
pub struct ListArgs {
    /// What to list.
    #[arg(value_enum, default_value = "checks")]
    what: What,

    /// Only what begins with this.
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,

    /// Say of each why it is there, and where it went wrong before.
    #[arg(long)]
    why: bool,

    /// As JSON, reasons included.
    #[arg(long)]
    json: bool,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// What is checked: `--only`, `--skip`.
    Checks,
    /// What is planted in the reference gateway, for each check to catch: `gauntlet defects --only`.
    Defects,
    /// What callers do under load.
    Scenarios,
    /// What happens to the stores while a plan is driven.
    Faults,
    /// What is driven, and how often: `--profile`.
    Profiles,
}

impl What {
    /// One of it.
    fn noun(self) -> &'static str {
        match self {
            What::Checks => "check",
            What::Defects => "defect",
            What::Scenarios => "scenario",
            What::Faults => "fault",
            What::Profiles => "profile",
        }
    }
}

/// One line of a list.
struct Entry {
    id: String,
    /// What sets it apart from the others, in a word.
    mark: String,
    title: String,
    why: String,
    /// Sentences for `--why`, after the reason.
    more: Vec<String>,
    /// Fields of JSON beside id, title and reason.
    fields: Map<String, Value>,
}

impl ListArgs {
    /// Writes the list.
    ///
    /// # Errors
    ///
    /// When nothing begins with the prefix, the defects are not known, or it cannot be written.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let mut entries = match self.what {
            What::Checks => checks::ALL.iter().copied().map(of_check).collect(),
            What::Defects => defects(around).await?,
            What::Scenarios => scenario::ALL.into_iter().map(of_scenario).collect(),
            What::Faults => faults(),
            What::Profiles => profiles()?,
        };
        let strange = stranger(self.what, &self.prefix, &entries);
        entries.retain(|entry| entry.id.starts_with(&self.prefix));
        if entries.is_empty() {
            return Err(strange);
        }
        if self.json {
            let all: Vec<_> = entries.into_iter().map(Entry::into_json).collect();
            writeln!(around.out, "{:#}", Value::from(all))?;
        } else {
            self.tell(&entries, around.out)?;
        }
        Ok(ExitStatus::Pass)
    }

    fn tell(&self, entries: &[Entry], out: &mut dyn Write) -> std::io::Result<()> {
        let widest = |of: fn(&Entry) -> &str| {
            entries.iter().map(|entry| of(entry).chars().count()).max().unwrap_or_default()
        };
        let (ids, marks) = (widest(|entry| &entry.id), widest(|entry| &entry.mark));
        for entry in entries {
            let Entry { id, mark, title, why, more, .. } = entry;
            // A list without marks has no column for them.
            let mark = if marks == 0 { String::new() } else { format!("{mark:<marks$}  ") };
            writeln!(out, "{id:<ids$}  {mark}{title}")?;
            if self.why {
                for line in std::iter::once(why).chain(more) {
                    writeln!(out, "    {line}")?;
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    fn into_json(self) -> Value {
        let mut object = Map::new();
        object.insert("id".to_owned(), self.id.into());
        object.insert("title".to_owned(), self.title.into());
        object.insert("why".to_owned(), self.why.into());
        object.extend(self.fields);
        object.into()
    }
}

fn of_check(check: &Check) -> Entry {
    let level = match check.level {
        Level::Core => "core",
        Level::Extended => "extended",
    };
    let needs: Vec<_> = check.needs.iter().map(ToString::to_string).collect();
    Entry {
        id: check.id.to_owned(),
        mark: level.to_owned(),
        title: check.title.to_owned(),
        why: check.why.to_owned(),
        more: check.incidents.iter().map(|incident| format!("seen: {incident}")).collect(),
        fields: fields([
            ("incidents", json!(check.incidents)),
            ("level", json!(level)),
            ("needs", json!(needs)),
        ]),
    }
}

async fn defects(around: &Surroundings<'_>) -> Result<Vec<Entry>, CliError> {
    let planted = planted(around).await?;
    Ok(planted
        .into_iter()
        .map(|defect| {
            let caught_by = checks::ALL.iter().find(|check| check.id == defect.check);
            Entry {
                id: defect.name,
                title: defect.summary,
                why: caught_by.map_or_else(String::new, |check| check.why.to_owned()),
                more: caught_by
                    .map(|check| format!("broken by it: {}", check.title))
                    .into_iter()
                    .collect(),
                fields: fields([("caught_by", json!(defect.check))]),
                mark: defect.check,
            }
        })
        .collect())
}

fn of_scenario(scenario: scenario::Scenario) -> Entry {
    Entry {
        id: scenario.name.to_owned(),
        mark: String::new(),
        title: scenario.does.to_owned(),
        why: scenario.why.to_owned(),
        more: Vec::new(),
        fields: Map::new(),
    }
}

/// What plans ask for first, then everything that the proxies can do.
fn faults() -> Vec<Entry> {
    let of = |by: &'static str| {
        move |kind: FaultKind| Entry {
            id: kind.name.to_owned(),
            mark: by.to_owned(),
            title: kind.does.to_owned(),
            why: kind.like.to_owned(),
            more: Vec::new(),
            fields: fields([("struck_by", json!(by))]),
        }
    };
    let plans = Strike::KINDS.into_iter().map(of("plan"));
    plans.chain(Fault::KINDS.into_iter().map(of("proxy"))).collect()
}

/// Those of checks first, then those of load.
fn profiles() -> Result<Vec<Entry>, CliError> {
    let mut entries = Vec::new();
    for name in Profile::names() {
        entries.push(of_profile(Profile::built_in(name)?));
    }
    for name in LoadProfile::names() {
        entries.push(of_load_profile(LoadProfile::built_in(name)?));
    }
    Ok(entries)
}

fn of_profile(profile: Profile) -> Entry {
    let left_out = &profile.checks.skip;
    let budget = scenarios::duration::text(profile.shrink_budget);
    let mut more = vec![format!("a failing plan is shrunk for {budget} at most")];
    more.extend(profile.cases_of.iter().map(|(check, cases)| format!("cases of {check}: {cases}")));
    if !left_out.is_empty() {
        more.push(format!("left out: {}", left_out.join(", ")));
    }
    Entry {
        title: format!("{}; {} cases per check", profile.title, profile.cases),
        mark: "check".to_owned(),
        why: format!(
            "`gauntlet check --profile {}` drives {} cases of each check, {} side by side.",
            profile.name, profile.cases, profile.side_by_side
        ),
        more,
        fields: fields([
            ("command", json!("check")),
            ("cases", json!(profile.cases)),
            ("cases_of", json!(profile.cases_of)),
            ("seeds", json!(profile.seeds)),
            ("shrink_budget", json!(budget)),
            ("skip", json!(left_out)),
        ]),
        id: profile.name,
    }
}

fn of_load_profile(profile: LoadProfile) -> Entry {
    let (callers, shapes) = (&profile.callers, &profile.shapes);
    let told: Vec<_> = shapes
        .replicas_and_workers
        .iter()
        .map(|(replicas, workers)| format!("{replicas} × {workers}"))
        .collect();
    let ramp = scenarios::duration::text(callers.ramp);
    Entry {
        title: format!("{}; {} callers, {} keys", profile.title, callers.count, callers.keys),
        mark: "load".to_owned(),
        why: format!(
            "`gauntlet load --profile {}` has {} callers share {} keys, on {} shapes of a target.",
            profile.name,
            callers.count,
            callers.keys,
            told.len() * shapes.shared_cache.len()
        ),
        more: vec![
            format!("all callers are there after {ramp}"),
            format!("replicas × workers: {}", told.join(", ")),
        ],
        fields: fields([
            ("command", json!("load")),
            ("callers", json!(callers.count)),
            ("keys", json!(callers.keys)),
            ("ramp", json!(ramp)),
            ("replicas_and_workers", json!(shapes.replicas_and_workers)),
            ("shared_cache", json!(shapes.shared_cache)),
        ]),
        id: profile.name,
    }
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is said where nothing begins with `prefix`: what was probably meant, or what there is.
fn stranger(what: What, prefix: &str, entries: &[Entry]) -> CliError {
    let noun = what.noun();
    // Of names in families, a family is what a prefix is mostly meant to be.
    let family = |entry: &Entry| entry.id.split_once('.').map(|(family, _)| family.to_owned());
    let families: BTreeSet<_> = entries.iter().filter_map(family).collect();
    let ids = entries.iter().map(|entry| entry.id.as_str());
    let known = families.iter().map(String::as_str).chain(ids);
    let hint = scenarios::nearest::nearest(prefix, known)
        .map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
    CliError::Usage(format!("there is no {noun} that begins with `{prefix}`{hint}"))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn a_prefix_that_nothing_begins_with_is_answered_with_the_nearest() {
        let checks: Vec<_> = checks::ALL.iter().copied().map(of_check).collect();
        let told = |prefix| stranger(What::Checks, prefix, &checks).to_string();
        assert_snapshot!(told("codex"), @"there is no check that begins with `codex`; did you mean `codec`?");
        assert_snapshot!(told("zz"), @"there is no check that begins with `zz`");
        assert_snapshot!(
            stranger(What::Faults, "blackhol_", &faults()),
            @"there is no fault that begins with `blackhol_`; did you mean `blackhole`?"
        );
    }
}
