//! `gauntlet probe`: what a target can do and lets us see, what not, and what would change that.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    CliError, ExitStatus, Surroundings,
    progress::Progress,
    target::{TargetArgs, reach, stop},
    up::describe,
};
use crate::{
    capability::{Capability, Probed},
    check::Check,
    checks,
    runner::reach::Reached,
};

/// The version of what `--json` writes.
const VERSION: u32 = 1;

/// Arguments of `gauntlet probe`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet probe --target reference
  gauntlet probe --target target.toml --why --allow-host gateway.example")]
pub struct ProbeArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Name the checks that each gap keeps from being applicable.
    #[arg(long)]
    why: bool,

    /// As JSON, checks included.
    #[arg(long)]
    json: bool,

    /// Say nothing while it runs.
    #[arg(long)]
    quiet: bool,
}

impl ProbeArgs {
    /// Probes the target and writes what was found.
    ///
    /// # Errors
    ///
    /// When the target cannot be set up.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let request = self.target.request(around, Vec::new())?;
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let reached = reach(request, &self.target.target, &mut progress).await?;
        let probed = reached.probed.clone();
        let found = Found::of(&probed);
        let told = match self.json {
            true => writeln!(around.out, "{:#}", found.json(&self.target.target, &reached)),
            false => describe(&reached, around.out).and_then(|()| found.tell(self.why, around.out)),
        };
        stop(reached, &self.target.target, &mut progress).await;
        told?;
        Ok(if found.applicable.is_empty() { ExitStatus::NothingRan } else { ExitStatus::Pass })
    }
}

/// What a probe found, and what follows from it.
struct Found<'a> {
    probed: &'a [Probed],
    /// The checks that apply.
    applicable: Vec<&'static str>,
    gaps: Vec<Gap<'a>>,
}

/// A capability that the target lacks.
struct Gap<'a> {
    probed: &'a Probed,
    /// The checks that would apply if this alone were there.
    alone: Vec<&'static str>,
    /// Those that would need more beside it.
    with_others: Vec<&'static str>,
}

/// What one line of a description opens: these capabilities come together.
fn opened_with(capability: Capability) -> Vec<Capability> {
    let line = capability.line();
    // A target that we start has all but another release.
    let all_but_next = line == Capability::OwnStacks.line();
    let opens = |other: &Capability| match all_but_next {
        true => *other != Capability::NextBuild,
        false => other.line() == line,
    };
    Capability::ALL.into_iter().filter(opens).collect()
}

impl<'a> Found<'a> {
    fn of(probed: &'a [Probed]) -> Found<'a> {
        let has = |capability| probed.iter().any(|it| it.capability == capability && it.confirmed);
        let lacks = |check: &Check| -> Vec<Capability> {
            check.needs.iter().copied().filter(|capability| !has(*capability)).collect()
        };
        let gap = |probed: &'a Probed| {
            let opened = opened_with(probed.capability);
            let waiting = checks::ALL
                .iter()
                .map(|check| (check.id, lacks(check)))
                .filter(|(_, lacks)| lacks.contains(&probed.capability));
            let (alone, others): (Vec<_>, Vec<_>) =
                waiting.partition(|(_, lacks)| lacks.iter().all(|it| opened.contains(it)));
            let ids = |checks: Vec<(&'static str, _)>| checks.into_iter().map(|it| it.0).collect();
            Gap { probed, alone: ids(alone), with_others: ids(others) }
        };
        let applicable = checks::ALL.iter().filter(|check| lacks(check).is_empty());
        Found {
            probed,
            applicable: applicable.map(|check| check.id).collect(),
            gaps: probed.iter().filter(|probed| !probed.confirmed).map(gap).collect(),
        }
    }

    fn tell(&self, why: bool, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out)?;
        for Probed { capability, confirmed, note } in self.probed {
            let mark = if *confirmed { "yes" } else { "no " };
            writeln!(out, "{mark}  {:<22} {note}", capability.to_string())?;
        }
        if !self.gaps.is_empty() {
            writeln!(out, "\nwhat each gap takes in target.toml, and what it would add:")?;
        }
        let mut told: Vec<&str> = Vec::new();
        for gap in &self.gaps {
            let line = gap.probed.capability.line();
            if told.contains(&line) {
                continue;
            }
            told.push(line);
            let same = self.gaps.iter().filter(|other| other.probed.capability.line() == line);
            let same: Vec<_> = same.collect();
            let names: Vec<_> = same.iter().map(|it| it.probed.capability.to_string()).collect();
            let (alone, others) = union(&same);
            writeln!(out, "  {}", names.join(", "))?;
            writeln!(out, "    {line}")?;
            writeln!(out, "    {}", adds(alone.len(), others.len()))?;
            if why {
                for id in &alone {
                    writeln!(out, "      {id}")?;
                }
                for id in &others {
                    writeln!(out, "      {id} (and more is missing)")?;
                }
            }
        }
        writeln!(out, "\n{} of {} checks apply", self.applicable.len(), checks::ALL.len())?;
        if why {
            for id in &self.applicable {
                writeln!(out, "  {id}")?;
            }
        }
        Ok(())
    }

    fn json(&self, target: &str, reached: &Reached) -> Value {
        let gap_of = |probed: &Probed| {
            self.gaps.iter().find(|gap| gap.probed.capability == probed.capability)
        };
        let capability = |probed: &Probed| {
            let mut told = json!({
                "name": probed.capability.to_string(),
                "confirmed": probed.confirmed,
                "note": probed.note,
            });
            if let Some(gap) = gap_of(probed) {
                told["takes"] = json!(probed.capability.how_to_have_it());
                told["line"] = json!(probed.capability.line());
                told["adds"] = json!(gap.alone);
                told["adds_with_more"] = json!(gap.with_others);
            }
            told
        };
        json!({
            "version": VERSION,
            "target": target,
            "replicas": reached.made_of.replicas,
            "upstream": reached.made_of.upstream,
            "capabilities": self.probed.iter().map(capability).collect::<Vec<_>>(),
            "applicable": self.applicable,
            "checks": checks::ALL.len(),
        })
    }
}

/// The checks that gaps which one line closes keep from being applicable, each once.
fn union(gaps: &[&Gap<'_>]) -> (Vec<&'static str>, Vec<&'static str>) {
    let all = |of: for<'a> fn(&'a Gap<'_>) -> &'a [&'static str]| -> Vec<&'static str> {
        let mut ids: Vec<_> = gaps.iter().flat_map(|gap| of(gap).iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    (all(|gap| &gap.alone), all(|gap| &gap.with_others))
}

fn adds(alone: usize, with_others: usize) -> String {
    let checks = |count: usize| match count {
        1 => "1 check".to_owned(),
        _ => format!("{count} checks"),
    };
    match (alone, with_others) {
        (0, 0) => "adds no check".to_owned(),
        (0, 1) => "adds none by itself; 1 check needs it and more".to_owned(),
        (0, others) => format!("adds none by itself; {others} checks need it and more"),
        (some, 0) => format!("adds {}", checks(some)),
        (some, 1) => format!("adds {}; 1 other needs it and more", checks(some)),
        (some, others) => format!("adds {}; {others} others need it and more", checks(some)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that has these capabilities and no others.
    fn probed(has: &[Capability]) -> Vec<Probed> {
        let probed = |capability| {
            let confirmed = has.contains(&capability);
            Probed { capability, confirmed, note: "…".to_owned() }
        };
        Capability::ALL.map(probed).into()
    }

    #[test]
    fn every_gap_has_its_line_and_what_it_would_add() {
        use Capability::{ModelList, Replicas, Teams, Users, VirtualKeys};
        let probed = probed(&[VirtualKeys, Teams, Users, ModelList, Replicas]);
        let mut told = Vec::new();
        Found::of(&probed).tell(false, &mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        for gap in [
            "  Redis commands\n    redis_url = \"os.environ/GATEWAY_REDIS_URL\"\n    adds 2 checks\n",
            "  Redis on the wire, Postgres on the wire, stacks of its own\n    [managed] command",
            "  mock upstream\n    mock_url = \"http://127.0.0.1:9100\"\n    adds 2 checks; 2 others need",
            "  an adjacent release\n    [managed.next] command = [\"next/gateway\", …]\n    adds none by \
             itself; 1 check needs it and more\n",
            &format!("\n1 of {} checks apply\n", checks::ALL.len()),
        ] {
            assert!(told.contains(gap), "no {gap:?} in\n{told}");
        }
        assert!(
            !told.contains("auth-cache."),
            "checks are named where somebody asks for them: {told}"
        );
        let mut told = Vec::new();
        Found::of(&probed).tell(true, &mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("      codec.no-null-key\n"), "{told}");
        assert!(told.contains("      codec.mixed-version (and more is missing)\n"), "{told}");
    }

    #[test]
    fn a_check_is_added_by_a_line_only_where_nothing_else_is_missing() {
        let nothing = probed(&[]);
        let found = Found::of(&nothing);
        assert!(found.applicable.is_empty());
        let of =
            |capability| found.gaps.iter().find(|gap| gap.probed.capability == capability).unwrap();
        // One line opens all three.
        assert_eq!(of(Capability::VirtualKeys).alone, ["auth-cache.accepted-state-usable"]);
        assert!(of(Capability::RedisCommands).alone.is_empty());
        let without = of(Capability::RedisCommands).with_others.clone();
        assert_eq!(without, ["codec.key-canonical", "codec.no-null-key"]);
        assert!(Found::of(&probed(&Capability::ALL)).gaps.is_empty());
    }
}
