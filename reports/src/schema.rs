//! The report of a run, as it is stored and published.
//!
//! The harness writes it, every format reads it, and so does whatever a reader builds on top. Fields
//! are only ever added: a reader of version 1 skips what it does not know, and what may be absent
//! has a default. [`VERSION`] changes only if the meaning of a field has to.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{cache::Cache, gateway_load::GatewayLoad, load::Load, threshold::Threshold};

/// The version of the document that this crate writes.
pub const VERSION: u32 = 1;

/// Everything there is to say about one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Version of this document; see [`VERSION`].
    pub schema_version: u32,
    /// Version of the harness that made the run.
    pub tool_version: String,
    /// Name of the run, and of its folder under `runs/`.
    pub run_id: String,
    /// The number from which every plan of the run follows.
    pub seed: u64,
    /// The profile that said what to drive; absent from reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// When the run began, in seconds since 1970 UTC.
    pub started: u64,
    /// How long the run took, from first probe to last verdict.
    pub duration_ms: u64,
    /// What was judged.
    pub target: Target,
    /// What the target can do and lets us see, as probed before any check ran.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// One entry per check of the profile, in the order of the profile.
    #[serde(default)]
    pub checks: Vec<CheckReport>,
    /// What the store proxies saw, and how much of it could be told apart.
    #[serde(default)]
    pub wire: Wire,
    /// Which planted defects their checks caught; empty unless defects were planted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kill_matrix: Vec<Kill>,
    /// What the identity cache did, by class of key; absent where nothing of it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// What became of the bounds that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
    /// What load has shown; absent unless the run was one of load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// What callers saw of a gateway of which only an address is known; absent unless the run was one
    /// of such a load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_load: Option<GatewayLoad>,
    /// What the replicas wrote to their logs; absent where nobody read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogNoise>,
    /// How many checks came to each verdict.
    #[serde(default)]
    pub totals: Totals,
    /// What the process told its caller.
    pub exit: Exit,
}

/// One gateway installation, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// What its description calls it.
    pub name: String,
    /// The adapter that spoke to it.
    pub adapter: String,
    /// Which of the adapter's wire profiles the probes chose.
    pub wire_profile: String,
    /// The bounds that its manifest declares, which the checks hold it to.
    pub bounds: Bounds,
    /// How many replicas were addressed.
    pub replicas: u8,
    /// The stores behind it that we know of.
    #[serde(default)]
    pub stores: Vec<Store>,
    /// What the gateway says its version is; absent when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_version: Option<String>,
}

/// Bounds a manifest declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// How long a cached identity may live.
    pub ttl_ms: u64,
    /// How long a replica may act on a state that was changed elsewhere.
    pub staleness_ms: u64,
}

/// One store, and how we came by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Which kind.
    pub kind: StoreKind,
    /// What it says its version is.
    pub version: String,
    /// How it was found.
    pub way: Way,
    /// Why in this way: what was given, or why no earlier way served.
    pub why: String,
}

/// The kinds of store a gateway keeps its state in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// The shared cache.
    Redis,
    /// The database of record.
    Postgres,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreKind::Redis => "redis",
            StoreKind::Postgres => "postgres",
        })
    }
}

/// The ways to come by a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// An address was given to us.
    Given,
    /// A container was started, for this run alone.
    Container,
    /// A binary of this machine was started, for this run alone.
    Local,
    /// A binary out of a package that is not installed was started, for this run alone.
    Unpacked,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Given => "given",
            Way::Container => "container",
            Way::Local => "local",
            Way::Unpacked => "unpacked",
        })
    }
}

/// One thing a target can do or lets us see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its name in `target.toml`.
    pub name: String,
    /// What the probe found.
    pub state: CapabilityState,
    /// What the probe saw, or what would make it present. Empty when there is nothing to add.
    #[serde(default)]
    pub note: String,
}

/// What a probe found of one capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityState {
    /// It is there.
    Confirmed,
    /// It is not there, or was not declared.
    Missing,
    /// It was declared, and the probe could not tell.
    Unconfirmed,
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Its id, `<family>.<property>`; never changes.
    pub id: String,
    /// The property, true of a good gateway.
    pub title: String,
    /// What goes wrong, and for whom, where it does not hold; absent from reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Public reports of gateways that did not keep it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<String>,
    /// Who owes it: every gateway, or those that offer the feature.
    pub level: Level,
    /// How many plans were driven, shrinking aside.
    pub cases: u32,
    /// Its conclusion.
    pub verdict: Verdict,
    /// Why the verdict is neither a pass nor a fail; absent for those two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long its cases took, shrinking included.
    pub duration_ms: u64,
    /// The number of the first case that failed, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_case: Option<u32>,
    /// The smallest plan that was seen to fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Story>,
    /// What was breached, each standing on its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// What happened around the evidence, one entry per drive of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<Exchange>,
    /// The plan as commands for a shell; absent where it was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
    /// The command that shows this failure again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

/// A failing plan as a shell script, which sends the same requests with `curl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Where it is kept, relative to the folder of the run.
    pub file: String,
    /// The script itself. It holds no address and no key: both are variables.
    pub text: String,
}

/// What happened in one drive of a failing plan, as far as it lies around the evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// How the plan was driven; empty where it is driven in one way only.
    #[serde(default)]
    pub arm: String,
    /// The entries of the history, in its order.
    pub entries: Vec<EvidenceLine>,
    /// The indices of the entries that violations rest on, those of the first violation first.
    #[serde(default)]
    pub proofs: Vec<u64>,
    /// How many further entries the history has.
    #[serde(default)]
    pub left_out: u64,
}

/// Who owes a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every gateway.
    Core,
    /// Gateways that offer the feature.
    Extended,
}

/// The conclusion on a check, in the run at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The property was put to the test, and held.
    Pass,
    /// It was breached, and there is evidence.
    Fail,
    /// The run proves nothing either way.
    Inconclusive,
    /// The target lacks a capability that the check needs.
    NotApplicable,
    /// Somebody chose to leave it out.
    Skipped,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
            Verdict::NotApplicable => "not applicable",
            Verdict::Skipped => "skipped",
        })
    }
}

/// A failing plan after shrinking, told as numbered steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// What to do, in order.
    pub steps: Vec<String>,
    /// How many steps the plan had when it first failed.
    pub plan_len: u32,
    /// How many smaller plans were tried.
    pub shrink_steps: u32,
    /// How long shrinking took.
    pub shrink_ms: u64,
    /// The share of re-runs of the smallest plan that did not fail: 0.0 when all of them failed.
    pub flaky_rate: f64,
}

/// One breach of a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Who, what and where, in one sentence.
    pub summary: String,
    /// The history entries that prove it, in the order of the history.
    #[serde(default)]
    pub evidence: Vec<EvidenceLine>,
}

/// One entry of the history, as shown to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// Its index in the stored history.
    pub index: u64,
    /// When it happened, in microseconds since the run began.
    pub at_us: u64,
    /// Where it was seen.
    pub lane: Lane,
    /// What happened.
    pub text: String,
    /// The replica that was asked, or that asked, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<u8>,
    /// What kind of thing happened; absent from reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The number of the request that it begins or ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<u32>,
}

/// What kind of thing an entry of the history tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A caller sent a request.
    Asked,
    /// The gateway did as asked.
    Answered,
    /// The gateway declined.
    Refused,
    /// Nobody knows what became of the request.
    Unknown,
    /// A cache entry was read, and was there.
    Hit,
    /// A cache entry was read, and was not there.
    Miss,
    /// A cache entry was written.
    Write,
    /// A cache entry was removed.
    Delete,
    /// Any other command to the cache.
    Command,
    /// A message that the cache passed on.
    Message,
    /// A statement that reads who somebody is.
    Read,
    /// Any other statement.
    Statement,
    /// A log record below WARN.
    Line,
    /// A log record at WARN or above.
    Loud,
    /// A request arrived at the provider.
    Attempt,
    /// A store was changed behind the gateway's back.
    Edit,
    /// A fault struck.
    Strike,
    /// A fault was healed.
    Heal,
    /// Evidence is missing, or a process ended.
    Gap,
}

/// What the replicas wrote to their logs while the checks ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogNoise {
    /// Requests, as their access lines tell.
    pub requests: u64,
    /// Records of any level.
    pub records: u64,
    /// Records at WARN or above.
    pub loud: u64,
    /// Their shapes, in which ids, numbers and times are masked, and how often each was written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shapes: BTreeMap<String, u64>,
}

/// The place where an entry of the history was seen. Its text form is what stands in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Lane {
    /// A replica, by its number: `replica 0`.
    Replica(u8),
    /// The wire between a replica and Redis.
    Redis,
    /// The wire between a replica and Postgres.
    Postgres,
    /// A replica's own log.
    Log,
    /// The mock providers' ledger.
    Upstream,
    /// What a caller sent or was told.
    Caller,
    /// What the nemesis did.
    Nemesis,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lane::Replica(number) => write!(f, "replica {number}"),
            Lane::Redis => f.write_str("redis"),
            Lane::Postgres => f.write_str("postgres"),
            Lane::Log => f.write_str("log"),
            Lane::Upstream => f.write_str("upstream"),
            Lane::Caller => f.write_str("caller"),
            Lane::Nemesis => f.write_str("nemesis"),
        }
    }
}

/// A text that names no lane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a lane")]
pub struct NotALane(String);

impl FromStr for Lane {
    type Err = NotALane;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "redis" => Lane::Redis,
            "postgres" => Lane::Postgres,
            "log" => Lane::Log,
            "upstream" => Lane::Upstream,
            "caller" => Lane::Caller,
            "nemesis" => Lane::Nemesis,
            other => other
                .strip_prefix("replica ")
                .and_then(|number| number.parse().ok())
                .map(Lane::Replica)
                .ok_or_else(|| NotALane(other.to_owned()))?,
        })
    }
}

impl From<Lane> for String {
    fn from(lane: Lane) -> Self {
        lane.to_string()
    }
}

impl TryFrom<String> for Lane {
    type Error = NotALane;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// What the store proxies saw during the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Commands and statements seen.
    #[serde(default)]
    pub events: u64,
    /// Of those, the ones traced to an op by the ids they carry.
    #[serde(default)]
    pub joined: u64,
    /// Of those, the ones a gateway sends of its own accord, by kind.
    #[serde(default)]
    pub background: BTreeMap<String, u64>,
    /// Of those, the ones that could be traced to nothing.
    #[serde(default)]
    pub unjoined: u64,
    /// The shapes of those, and how often each was seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unjoined_shapes: BTreeMap<String, u64>,
    /// Seen and not recorded, because the record could not keep up.
    #[serde(default)]
    pub lost: u64,
    /// Bytes that passed without being understood, as after a parser lost its place.
    #[serde(default)]
    pub unseen_bytes: u64,
}

/// How one planted defect fared against the check that must catch it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// The defect's name.
    pub defect: String,
    /// The check that must catch it.
    pub check: String,
    /// In how many seeds the check failed, as it must.
    pub caught_seeds: u32,
    /// How many seeds were tried.
    pub seeds: u32,
    /// Steps in the smallest plan that showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<u32>,
    /// How long all its seeds took.
    #[serde(default)]
    pub duration_ms: u64,
}

/// How many checks came to each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Checks that passed.
    pub pass: u32,
    /// Checks that failed.
    pub fail: u32,
    /// Checks that proved nothing.
    pub inconclusive: u32,
    /// Checks that could not apply.
    pub not_applicable: u32,
    /// Checks that were left out.
    pub skipped: u32,
    /// Cases driven, over all checks.
    pub cases: u32,
}

impl Totals {
    /// These and others.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Totals {
            pass: self.pass + others.pass,
            fail: self.fail + others.fail,
            inconclusive: self.inconclusive + others.inconclusive,
            not_applicable: self.not_applicable + others.not_applicable,
            skipped: self.skipped + others.skipped,
            cases: self.cases + others.cases,
        }
    }

    /// Counts `checks`.
    pub fn of(checks: &[CheckReport]) -> Self {
        let mut totals = Totals::default();
        for check in checks {
            totals.cases += check.cases;
            totals.count(check.verdict);
        }
        totals
    }

    /// Counts one verdict.
    pub(crate) fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::Inconclusive => self.inconclusive += 1,
            Verdict::NotApplicable => self.not_applicable += 1,
            Verdict::Skipped => self.skipped += 1,
        }
    }
}

/// What the process told its caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The number.
    pub status: u8,
    /// What the number means.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn totals_count_every_check_once() {
        let totals = samples::mixed().totals;
        assert_eq!(
            totals,
            Totals { pass: 1, fail: 1, inconclusive: 1, not_applicable: 1, skipped: 1, cases: 92 }
        );
    }

    #[test]
    fn a_lane_is_read_as_it_is_written() {
        let lanes = [
            Lane::Replica(0),
            Lane::Replica(255),
            Lane::Redis,
            Lane::Postgres,
            Lane::Log,
            Lane::Upstream,
            Lane::Caller,
            Lane::Nemesis,
        ];
        for lane in lanes {
            assert_eq!(lane.to_string().parse(), Ok(lane));
        }
        assert_eq!("replica 256".parse::<Lane>(), Err(NotALane("replica 256".to_owned())));
    }
}
