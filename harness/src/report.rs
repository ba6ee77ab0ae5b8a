//! From what a run came to, to the report that is published of it.

mod exchange;
mod script;

use std::time::Duration;

use reports::schema::{
    Bounds, Capability, CapabilityState, CheckReport, Exit, Kill, Level, LogNoise, RunReport,
    Script, Store, StoreKind, Story, Target, Totals, VERSION, Verdict as Told,
    Violation as ToldViolation, Way, Wire,
};
use reports::{cache::Cache, load::Load, threshold::Threshold};

use crate::{
    adapters,
    capability::Probed,
    check::{self, Check},
    history::{History, Manifest},
    plan::story,
    runner::{
        collect::{LineCounts, WireCounts},
        reach::MadeOf,
        run::CheckResult,
    },
    store::RunFacts,
    target::{Topology, stores},
    verdict::{Verdict, Violation},
    wire::record::StoreKind as WireStore,
};

use exchange::{Teller, exchanges};

/// What is told of one check.
#[derive(Debug)]
pub enum Conclusion {
    /// It ran.
    Ran(Box<CheckResult>),
    /// The target lacks a capability that it needs.
    NotApplicable(&'static Check, crate::capability::Capability),
    /// A person chose to leave it out, or the run ended before its turn.
    Skipped(&'static Check, String),
}

impl Conclusion {
    /// What it says, as the report has it.
    pub fn verdict(&self) -> Told {
        match self {
            Conclusion::Ran(result) => match result.verdict {
                Verdict::Pass => Told::Pass,
                Verdict::Fail(_) => Told::Fail,
                Verdict::Inconclusive(_) => Told::Inconclusive,
            },
            Conclusion::NotApplicable(..) => Told::NotApplicable,
            Conclusion::Skipped(..) => Told::Skipped,
        }
    }
}

/// What a report is made of.
pub struct Material<'a> {
    /// What was asked for.
    pub facts: &'a RunFacts,
    /// The profile that said what to drive, as it was named.
    pub profile: &'a str,
    /// How long it took.
    pub took: Duration,
    /// What the target promises.
    pub manifest: &'a Manifest,
    /// What it is made of.
    pub made_of: &'a MadeOf,
    /// What was probed.
    pub probed: &'a [Probed],
    /// What was concluded.
    pub conclusions: &'a [Conclusion],
    /// What the identity cache did.
    pub cache: Option<Cache>,
    /// What became of the thresholds.
    pub thresholds: Vec<Threshold>,
    /// What load has shown, in a run of load.
    pub load: Option<Load>,
    /// What became of the wire events.
    pub wire: &'a WireCounts,
    /// What the replicas wrote to their logs, where somebody counted.
    pub lines: Option<&'a LineCounts>,
    /// Observations that were lost on the way.
    pub lost: u64,
    /// How the process ends.
    pub exit: Exit,
    /// The folder of the run, as a person would name it.
    pub folder: &'a str,
}

/// The report of a run in which nothing was looked at: all that every run has.
pub fn blank(facts: &RunFacts, took: Duration, target: Target, exit: Exit) -> RunReport {
    RunReport {
        schema_version: VERSION,
        tool_version: facts.tool.clone(),
        run_id: facts.id.clone(),
        seed: facts.seed,
        profile: None,
        started: facts.started,
        duration_ms: millis(took),
        target,
        capabilities: Vec::new(),
        checks: Vec::new(),
        wire: Wire::default(),
        kill_matrix: Vec::new(),
        cache: None,
        thresholds: Vec::new(),
        load: None,
        gateway_load: None,
        log: None,
        totals: Totals::default(),
        exit,
    }
}

/// The report.
pub fn report(material: &Material<'_>) -> RunReport {
    let checks: Vec<_> = material
        .conclusions
        .iter()
        .map(|conclusion| check_report(conclusion, material.folder))
        .collect();
    RunReport {
        profile: Some(material.profile.to_owned()),
        capabilities: material.probed.iter().map(capability).collect(),
        totals: Totals::of(&checks),
        checks,
        wire: Wire {
            events: material.wire.events,
            joined: material.wire.joined,
            background: material.wire.housekeeping.clone(),
            unjoined: material.wire.unjoined_total(),
            unjoined_shapes: material.wire.unjoined.clone(),
            lost: material.lost,
            unseen_bytes: material.wire.unseen_bytes,
        },
        cache: material.cache.clone(),
        thresholds: material.thresholds.clone(),
        load: material.load.clone(),
        log: material.lines.filter(|lines| lines.records > 0).map(noise),
        ..blank(material.facts, material.took, target(material), material.exit.clone())
    }
}

/// The report of planted defects alone, whose matrix began in this second of the Unix epoch.
pub fn matrix(kills: Vec<Kill>, began: u64, first_seed: u64, exit: Exit) -> RunReport {
    let adapter: &dyn adapters::Adapter = &adapters::reference::Reference;
    let replicas = Topology::default().replicas.get();
    let manifest = adapter.manifest(adapter.default_ttl(), replicas, 1);
    let facts = RunFacts {
        id: format!("{began}-defects"),
        seed: first_seed,
        started: began,
        target: format!("{}, with planted defects", adapter.name()),
        cases: 0,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let target = Target {
        name: facts.target.clone(),
        adapter: manifest.gateway,
        wire_profile: manifest.wire_profile,
        bounds: Bounds { ttl_ms: manifest.auth_cache_ttl_ms, staleness_ms: manifest.staleness_ms },
        replicas: manifest.replicas,
        stores: Vec::new(),
        gateway_version: None,
    };
    let took = Duration::from_millis(kills.iter().map(|kill| kill.duration_ms).sum());
    RunReport { kill_matrix: kills, ..blank(&facts, took, target, exit) }
}

fn target(material: &Material<'_>) -> Target {
    let manifest = material.manifest;
    Target {
        name: material.facts.target.clone(),
        adapter: manifest.gateway.clone(),
        wire_profile: manifest.wire_profile.clone(),
        bounds: Bounds { ttl_ms: manifest.auth_cache_ttl_ms, staleness_ms: manifest.staleness_ms },
        replicas: manifest.replicas,
        stores: material
            .made_of
            .stores
            .iter()
            .map(|store| Store {
                kind: match store.kind {
                    WireStore::Redis => StoreKind::Redis,
                    WireStore::Postgres => StoreKind::Postgres,
                },
                version: store.version.clone(),
                way: way(store.way),
                why: store.notes.join("; "),
            })
            .collect(),
        gateway_version: material.made_of.version.clone(),
    }
}

fn noise(lines: &LineCounts) -> LogNoise {
    LogNoise {
        requests: lines.access,
        records: lines.records,
        loud: lines.loud,
        shapes: lines.loud_shapes.clone(),
    }
}

fn way(way: stores::Way) -> Way {
    match way {
        stores::Way::Given => Way::Given,
        stores::Way::Container => Way::Container,
        stores::Way::Local => Way::Local,
        stores::Way::Unpacked => Way::Unpacked,
    }
}

fn capability(probed: &Probed) -> Capability {
    let state =
        if probed.confirmed { CapabilityState::Confirmed } else { CapabilityState::Missing };
    Capability { name: probed.capability.to_string(), state, note: probed.note.clone() }
}

fn check_report(conclusion: &Conclusion, folder: &str) -> CheckReport {
    let verdict = conclusion.verdict();
    let bare = |check: &Check, reason: Option<String>| CheckReport {
        id: check.id.to_owned(),
        title: check.title.to_owned(),
        why: Some(check.why.to_owned()),
        incidents: check.incidents.iter().copied().map(ToOwned::to_owned).collect(),
        level: match check.level {
            check::Level::Core => Level::Core,
            check::Level::Extended => Level::Extended,
        },
        cases: 0,
        verdict,
        reason,
        duration_ms: 0,
        failing_case: None,
        shrunk: None,
        violations: Vec::new(),
        exchanges: Vec::new(),
        script: None,
        replay: None,
    };
    match conclusion {
        Conclusion::NotApplicable(check, lacking) => bare(
            check,
            Some(format!("the target has no {lacking}; it takes {}", lacking.how_to_have_it())),
        ),
        Conclusion::Skipped(check, why) => bare(check, Some(why.clone())),
        Conclusion::Ran(result) => {
            let mut told = bare(result.check, None);
            told.cases = result.cases;
            told.duration_ms = millis(result.took);
            match &result.verdict {
                Verdict::Pass => {}
                Verdict::Inconclusive(why) => told.reason = Some(why.clone()),
                Verdict::Fail(_) => failure(&mut told, result, folder),
            }
            told
        }
    }
}

/// A failure is told by its smallest plan, where one was found, and else by the case itself.
fn failure(told: &mut CheckReport, result: &CheckResult, folder: &str) {
    told.failing_case = result.telling.as_ref().map(|telling| telling.case);
    let smallest = result.shrunk.as_ref().map(|shrunk| &shrunk.smallest);
    if let Some(case) = smallest.or(result.telling.as_ref())
        && let Verdict::Fail(violations) = &case.verdict
    {
        let tellers: Vec<_> = case.histories.iter().map(Teller::of).collect();
        told.violations = violations
            .iter()
            .map(|violation| told_violation(violation, &case.histories, &tellers))
            .collect();
        told.exchanges = exchanges(violations, &case.histories, &tellers);
        told.script = told_script(result.check, &case.histories);
    }
    if let Some(shrunk) = &result.shrunk {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        told.shrunk = Some(Story {
            steps: story(&shrunk.plan),
            plan_len: count(shrunk.plan.steps.len()),
            shrink_steps: shrunk.candidates,
            shrink_ms: millis(shrunk.took),
            flaky_rate: shrunk.flaky_rate,
        });
    }
    told.replay = Some(format!("gauntlet replay {folder}"));
}

/// The plan as requests of `curl`, kept beside it.
fn told_script(check: &Check, histories: &[History]) -> Option<Script> {
    let adapter = adapters::named(&histories.first()?.manifest.gateway)?;
    let text = script::script(check.id, check.title, histories, adapter)?;
    Some(Script { file: format!("shrunk/{}.sh", check.id), text })
}

fn told_violation(
    violation: &Violation,
    histories: &[History],
    tellers: &[Teller<'_>],
) -> ToldViolation {
    let evidence = violation
        .evidence
        .iter()
        .filter_map(|proof| {
            let history = histories.get(proof.arm)?;
            let mut line = tellers.get(proof.arm)?.line(proof.index)?;
            if histories.len() > 1 {
                line.text = format!("[{}] {}", history.arm, line.text);
            }
            Some(line)
        })
        .collect();
    ToldViolation { summary: violation.summary.clone(), evidence }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
