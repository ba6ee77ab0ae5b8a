//! `gauntlet codec`: the codec laws, over a codec in another process.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::json;

use super::{CliError, ExitStatus, Surroundings, interrupt::interrupted, progress::Progress};
use crate::{
    clock::new_seed,
    codec::{
        Codec, Decoded, Driver, DriverError, Encoded, Kind, Object,
        laws::{self, Breach, Effort, Findings, Illegal, Law},
        versions,
    },
    runner::steps::Steps,
};

/// Arguments of `gauntlet codec`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet codec --driver 'python3 tests/drivers/json_codec.py'
  gauntlet codec --driver ./driver --previous ./driver-of-last-release --seed 7")]
pub struct CodecArgs {
    /// The command that starts the driver, for `sh`.
    #[arg(long, value_name = "CMD")]
    driver: String,

    /// The command that starts a driver of the previous version, to be held to live beside this one.
    #[arg(long, value_name = "CMD")]
    previous: Option<String>,

    /// The number from which every value follows; drawn, and printed, where it is not given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// How many whole objects to draw of each kind.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,

    /// How many seconds an answer may take, the first one included.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    patience_s: u64,

    /// Say nothing while it runs.
    #[arg(long)]
    quiet: bool,

    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A driver that is asked, and whoever waits for it told of what.
struct Told {
    driver: Driver,
    steps: Steps,
}

/// The drivers that are to be stopped when somebody wants an end.
#[derive(Clone, Default)]
struct Stoppable {
    stopped: Arc<AtomicBool>,
    groups: Arc<Mutex<Vec<Pid>>>,
}

impl Stoppable {
    /// Starts a driver that can be stopped, whatever it is at. Where that was wanted before, its first
    /// answer does not come.
    fn start(&self, command: &str, patience: Duration) -> Result<Driver, DriverError> {
        Driver::start_telling(command, patience, |group| {
            self.groups().push(group);
            if self.is_stopped() {
                self.stop();
            }
        })
    }

    /// Ends them. Whoever asks them something hears that they have ended.
    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        for group in self.groups().iter() {
            // One that has ended by itself is what we want.
            let _ = killpg(*group, Signal::SIGKILL);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn groups(&self) -> MutexGuard<'_, Vec<Pid>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Codec for Told {
    type Error = DriverError;

    fn kinds(&self) -> Vec<Kind> {
        self.driver.kinds()
    }

    fn writes_json(&self) -> bool {
        self.driver.writes_json()
    }

    fn encode(&mut self, kind: &str, value: &Object) -> Result<Encoded, DriverError> {
        self.steps.begin(&format!("judging what it writes of {kind}, and reads"));
        self.driver.encode(kind, value)
    }

    fn decode(&mut self, kind: &str, payload: &[u8]) -> Result<Decoded, DriverError> {
        self.driver.decode(kind, payload)
    }
}

/// A codec that was judged.
struct Judged {
    driver: String,
    kinds: usize,
    seed: u64,
    findings: Findings,
    /// Whether somebody wanted an end before all laws were judged.
    stopped: bool,
}

impl CodecArgs {
    /// Judges the codec and writes what does not hold, smallest first.
    ///
    /// # Errors
    ///
    /// When the driver does not do its part.
    pub async fn run(self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let patience = Duration::from_secs(self.patience_s);
        let seed = self.seed.unwrap_or_else(new_seed);
        let effort = Effort { seed, cases: self.cases };
        let stoppable = Stoppable::default();
        let drivers = stoppable.clone();
        let steps = Steps::default();
        let said = steps.clone();
        let judging = tokio::task::spawn_blocking(move || {
            said.begin("starting the driver");
            let driver = drivers.start(&self.driver, patience)?;
            let mut current = Told { driver, steps: said.clone() };
            let (mut findings, mut ended) = laws::judge_so_far(&mut current, effort);
            if let (Ok(()), Some(previous)) = (&ended, &self.previous) {
                said.begin("starting the driver of the previous version");
                match drivers.start(previous, patience) {
                    Ok(driver) => {
                        let mut previous = Told { driver, steps: said };
                        let (more, so_far) =
                            versions::judge_so_far(&mut previous, &mut current, effort);
                        findings.extend(more);
                        ended = so_far;
                    }
                    Err(error) => ended = Err(error),
                }
            }
            // A driver that we ended says nothing about the codec; what it said before does.
            let stopped = ended.is_err() && drivers.is_stopped();
            if !stopped {
                ended?;
            }
            let kinds = current.kinds().len();
            let driver = current.driver.name().to_owned();
            Ok(Judged { driver, kinds, seed, findings, stopped })
        });
        let judged = async {
            tokio::pin!(judging);
            let judged: Result<Judged, DriverError> = tokio::select! {
                judged = &mut judging => judged,
                () = interrupted() => {
                    stoppable.stop();
                    judging.await
                }
            }
            .map_err(|error| CliError::Ours(error.to_string()))?;
            match judged {
                // It had not introduced itself.
                Err(_) if stoppable.is_stopped() => Err(CliError::Interrupted),
                judged => Ok(judged?),
            }
        };
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let judged = progress.while_at("codec", &steps, judged).await;
        progress.end();
        let judged = judged?;
        match self.json {
            true => writeln!(around.out, "{:#}", judged.as_json())?,
            false => judged.tell(around.out)?,
        }
        Ok(judged.status())
    }
}

impl Judged {
    fn status(&self) -> ExitStatus {
        let broken = !self.findings.breaches.is_empty();
        match (broken, self.findings.vacuous.is_empty()) {
            (true, _) => ExitStatus::Fail,
            // What was not put to the test is missing evidence, and that is never a pass.
            (false, false) => ExitStatus::Inconclusive,
            (false, true) if self.stopped => ExitStatus::Inconclusive,
            (false, true) => ExitStatus::Pass,
        }
    }

    /// For people: per law, each story once, with every field that it happens to.
    fn tell(&self, out: &mut dyn Write) -> io::Result<()> {
        let found = &self.findings;
        writeln!(out, "{}: kinds {}, seed {}", self.driver, self.kinds, self.seed)?;
        for law in Law::ALL {
            let broken: Vec<_> = found.breaches.iter().filter(|it| it.law == law).collect();
            if broken.is_empty() {
                continue;
            }
            writeln!(out, "\n{} is broken: {}", law.id(), law.title())?;
            for told in alike(&broken) {
                writeln!(out, "  {}", told.smallest.to_string().replace('\n', "\n  "))?;
                if told.times > 1 {
                    writeln!(out, "    {}, in all:", told.smallest.symptom)?;
                    let (whole, parts): (Vec<_>, Vec<_>) =
                        told.kinds.iter().partition(|(_, fields)| fields.is_empty());
                    let whole: Vec<_> = whole.into_iter().map(|(kind, _)| *kind).collect();
                    if !whole.is_empty() {
                        writeln!(out, "      {}", whole.join(", "))?;
                    }
                    for (kind, fields) in parts {
                        writeln!(out, "      {kind}{}", listed(fields))?;
                    }
                }
            }
        }
        writeln!(out)?;
        if self.stopped {
            writeln!(out, "stopped before all laws were judged; this is what was found by then")?;
        }
        for (kind, why) in &found.vacuous {
            writeln!(out, "not put to the test: {kind}: {why}")?;
        }
        let held = Law::ALL.into_iter().filter(|law| {
            found.tried.contains_key(law) && !found.breaches.iter().any(|it| it.law == *law)
        });
        let held: Vec<_> = held.map(Law::id).collect();
        let kinds: BTreeSet<_> = found.breaches.iter().map(|it| &it.kind).collect();
        writeln!(
            out,
            "{} breaches in {} of {} kinds; held: {}",
            found.breaches.len(),
            kinds.len(),
            self.kinds,
            if held.is_empty() { "none".to_owned() } else { held.join(", ") },
        )?;
        let tried: Vec<_> =
            found.tried.iter().map(|(law, times)| format!("{} {times}", law.id())).collect();
        writeln!(out, "tried: {}", tried.join(", "))?;
        for (kind, illegal) in &found.illegal {
            let Illegal { objects, example } = illegal;
            writeln!(
                out,
                "not of its own type: {objects} objects of {kind}, one because {example}"
            )?;
        }
        Ok(())
    }

    fn as_json(&self) -> serde_json::Value {
        let found = &self.findings;
        let breaches: Vec<_> = found
            .breaches
            .iter()
            .map(|it| {
                json!({
                    "law": it.law.id(), "kind": it.kind, "field": it.field,
                    "symptom": it.symptom, "story": it.story, "written": it.written,
                })
            })
            .collect();
        let tried: serde_json::Map<_, _> =
            found.tried.iter().map(|(law, times)| (law.id().to_owned(), json!(times))).collect();
        let illegal: serde_json::Map<_, _> = found
            .illegal
            .iter()
            .map(|(kind, it)| (kind.clone(), json!({"objects": it.objects, "example": it.example})))
            .collect();
        json!({
            "version": 1,
            "driver": self.driver,
            "seed": self.seed,
            "kinds": self.kinds,
            "breaches": breaches,
            "tried": tried,
            "not_of_its_own_type": illegal,
            "not_put_to_the_test": found.vacuous,
            "stopped": self.stopped,
        })
    }
}

/// Breaches with the same symptom.
struct Alike<'a> {
    smallest: &'a Breach,
    kinds: BTreeMap<&'a str, Vec<&'a str>>,
    times: usize,
}

/// Breaches by symptom, in the order of the smallest of each.
fn alike<'a>(broken: &[&'a Breach]) -> Vec<Alike<'a>> {
    let mut all: Vec<Alike<'a>> = Vec::new();
    for breach in broken {
        let place = all.iter().position(|it| it.smallest.symptom == breach.symptom);
        let place = place.unwrap_or_else(|| {
            all.push(Alike { smallest: breach, kinds: BTreeMap::new(), times: 0 });
            all.len() - 1
        });
        let same = &mut all[place];
        same.times += 1;
        same.kinds.entry(&breach.kind).or_default().extend(breach.field.as_deref());
    }
    all
}

/// Fields after a colon, those inside one object together: `: models, members[].{budget, role}`.
fn listed(fields: &[&str]) -> String {
    let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
    for field in fields {
        let (outer, name) = field.rsplit_once('.').unwrap_or(("", field));
        match told.iter_mut().find(|(it, _)| *it == outer) {
            Some((_, names)) => names.push(name),
            None => told.push((outer, vec![name])),
        }
    }
    let told: Vec<_> = told
        .iter()
        .map(|(outer, names)| match (*outer, names.as_slice()) {
            ("", names) => names.join(", "),
            (outer, [name]) => format!("{outer}.{name}"),
            (outer, names) => format!("{outer}.{{{}}}", names.join(", ")),
        })
        .collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_one_object_are_told_together() {
        assert_eq!(listed(&["a", "m[].x", "b", "m[].y", "n.z"]), ": a, b, m[].{x, y}, n.z");
        assert_eq!(listed(&[]), "");
    }
}
