//! `gauntlet load --gateway`: puts any gateway under load, with nothing but its address and a key.

use std::{fs, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use reports::{
    gateway_load::GatewayLoad,
    schema::{Bounds, Exit, RunReport, Target, Verdict},
};
use reqwest::Url;
use scenarios::{
    Threshold, latency,
    load_profile::Balance,
    order::{Order, Outcome, Pause, Window},
    scenario::{self, Scenario},
    threshold::{Labels, Measure},
};

use super::{LoadArgs, measurable::all_are_measurable};
use crate::{
    cli::{
        CliError, ExitStatus, Surroundings,
        checking::of_thresholds,
        conclude::conclude,
        interrupt::{interrupted, stopping_in_good_order},
        progress::Progress,
    },
    clock::{Clock, Micros},
    load::{
        descriptors,
        experiment::ExperimentError,
        gateway::{self, Asked},
        preflight::{self, Answers, NoAnswer, Question},
    },
    report::blank,
    runner::{
        join::{mark, new_run},
        steps::Steps,
    },
    store::{RunFacts, RunFolder},
    tally,
};

/// A gateway that is known by its address and a key alone, and who calls it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Any gateway")]
pub(super) struct GatewayArgs {
    /// The address of a gateway, with or without `/v1`; may be repeated for replicas, to which callers
    /// go in turn.
    #[arg(
        long,
        value_name = "URL",
        value_parser = address,
        required_unless_present = "target",
        conflicts_with_all = [
            "target", "profile", "replicas", "workers", "shared_cache", "key_class", "unscaled",
            "replica_arg",
        ],
    )]
    pub gateway: Vec<Url>,

    /// A key that the gateway takes.
    #[arg(long, env = "GAUNTLET_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<Key>,

    /// A file of keys, one on each line, with which callers take turns; instead of `--key`.
    #[arg(long, value_name = "FILE", requires = "gateway")]
    keys_file: Option<PathBuf>,

    /// What callers do.
    #[arg(
        long,
        value_name = "SCENARIO",
        default_value = "steady-chat",
        requires = "gateway",
        value_parser = scenarios(),
    )]
    scenario: Scenario,

    /// The model alias to ask for, instead of the first that the gateway lists.
    #[arg(long, value_name = "MODEL", requires = "gateway")]
    model: Option<String>,

    /// How many callers there are.
    #[arg(long, value_name = "N", default_value = "10", requires = "gateway")]
    users: NonZeroU32,

    /// How long it takes until all of them are there.
    #[arg(
        long,
        value_name = "D",
        default_value = "5s",
        requires = "gateway",
        value_parser = scenarios::duration::parse,
    )]
    ramp: Duration,

    /// How long all of them are there together: what is seen then is what is told, and what thresholds
    /// are about.
    #[arg(
        long = "for",
        value_name = "D",
        default_value = "30s",
        requires = "gateway",
        value_parser = some_time,
    )]
    lasting: Duration,

    /// How long a caller waits between an answer and its next request.
    #[arg(
        long,
        value_name = "D",
        default_value = "0s",
        requires = "gateway",
        value_parser = scenarios::duration::parse,
    )]
    pause: Duration,

    /// How long a caller waits for an answer, or for the next part of a stream.
    #[arg(
        long,
        value_name = "D",
        default_value = "30s",
        requires = "gateway",
        value_parser = some_patience,
    )]
    patience: Duration,
}

/// A key, which is never shown: not even in what is said of one that cannot be sent.
#[derive(Clone)]
struct Key(String);

impl From<String> for Key {
    fn from(text: String) -> Key {
        Key(text)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Key {
    /// The key as it is sent. What cannot stand in a header is something else, or a line too many.
    fn sendable(&self) -> Result<String, &'static str> {
        let key = self.0.trim();
        match key.chars().all(|letter| letter.is_ascii_graphic()) && !key.is_empty() {
            true => Ok(key.to_owned()),
            false => Err("a key is one word of printable ASCII letters, and this is none"),
        }
    }
}

/// The scenarios by their names, which clap completes and suggests.
fn scenarios() -> impl TypedValueParser<Value = Scenario> {
    PossibleValuesParser::new(scenario::ALL.map(|scenario| scenario.name)).try_map(|name| {
        scenario::named(&name).ok_or_else(|| format!("there is no scenario `{name}`"))
    })
}

fn address(text: &str) -> Result<Url, String> {
    let url: Url = text
        .parse()
        .map_err(|error| format!("{error}; an address begins with http:// or https://"))?;
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(_)) => Ok(url),
        _ => Err("an address begins with http:// or https://, and names a host".to_owned()),
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    match scenarios::duration::parse(text) {
        Ok(Duration::ZERO) => Err("this is no time at all".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// Time that can be told: what took longer would count as less than it was.
fn some_patience(text: &str) -> Result<Duration, String> {
    match some_time(text)? {
        time if time > latency::LONGEST => Err(format!(
            "answers are counted up to {}; nobody waits longer",
            scenarios::duration::text(latency::LONGEST)
        )),
        time => Ok(time),
    }
}

/// Refuses an address with more than a place in it: what stands there may be a key, and would be kept.
fn is_no_more_than_a_place(gateway: &Url) -> Result<(), CliError> {
    if gateway.query().is_none() && gateway.fragment().is_none() {
        return Ok(());
    }
    let mut place = gateway.clone();
    place.set_query(None);
    place.set_fragment(None);
    Err(CliError::Usage(format!(
        "an address has no `?` and no `#`; give --gateway {}, and a key with --key or GAUNTLET_KEY",
        preflight::named(&place)
    )))
}

impl GatewayArgs {
    /// Puts the gateway under load and writes the report.
    ///
    /// # Errors
    ///
    /// When it may not be reached or does not answer, or the run cannot be kept.
    pub(super) async fn run(
        &self,
        args: &LoadArgs,
        around: &mut Surroundings<'_>,
    ) -> Result<ExitStatus, CliError> {
        for gateway in &self.gateway {
            is_no_more_than_a_place(gateway)?;
            args.how.may_go_to(gateway)?;
        }
        self.can_measure(&args.threshold)?;
        descriptors::suffice_for(self.users.get())
            .map_err(|too_many| CliError::Usage(too_many.to_string()))?;
        let keys = self.keys()?;
        // A run that cannot be kept should not be driven.
        RunFolder::can_be_made(&args.out)?;
        let clock = Clock::start();
        let mut facts = self.facts();
        let mark = mark(new_run());
        let question = Question {
            gateways: &self.gateway,
            keys: &keys,
            model: self.model.as_deref(),
            act: self.scenario.act,
            mark: &format!("{mark}first"),
            patience: self.patience,
        };
        let mut progress = Progress::new(around.err, around.err_is_terminal, args.quiet, None);
        let steps = Steps::default();
        steps.begin("waiting for the answer to a first request");
        let asking = async {
            tokio::select! {
                biased;
                () = interrupted() => Err(CliError::Interrupted),
                answers = preflight::ask(&question) => answers.map_err(cannot_begin),
            }
        };
        let answers = progress.while_at(&facts.target, &steps, asking).await;
        progress.end();
        let answers = answers?;
        let order = self.order(keys, mark, &answers);
        let outcome = drive(&order, &around.program, &mut progress).await?;
        progress.end();
        let asked = Asked {
            gateways: self.gateway.iter().map(preflight::named).collect(),
            scenario: self.scenario.name,
            order: &order,
            first_asked: answers.asked,
        };
        let load = gateway::told(&asked, &outcome);
        let folder = RunFolder::create(&args.out, &mut facts)?;
        let (report, status) =
            self.report(&args.threshold, load, answers.version, &facts, clock.now());
        conclude(&report, &folder, args.json, around)?;
        Ok(status)
    }

    /// Refuses thresholds of which this scenario says nothing.
    fn can_measure(&self, thresholds: &[Threshold]) -> Result<(), CliError> {
        let measures = |scenario: &Scenario| {
            gateway::measures(scenario.act).map(|measure| (measure, Labels::default()))
        };
        let all: Vec<_> = measures(&self.scenario).collect();
        all_are_measurable(thresholds, &all, |asked: Measure| {
            let measures_it = |it: &Scenario| measures(it).any(|(measure, _)| measure == asked);
            let other = scenario::ALL.into_iter().find(measures_it)?;
            Some(format!("--scenario {} measures it", other.name))
        })
    }

    fn keys(&self) -> Result<Vec<String>, CliError> {
        let Some(file) = &self.keys_file else {
            return match &self.key {
                Some(key) => match key.sendable() {
                    Ok(key) => Ok(vec![key]),
                    Err(why) => Err(CliError::Usage(format!("--key or GAUNTLET_KEY: {why}"))),
                },
                None => Err(CliError::Usage(
                    "there is no key; give one with --key or GAUNTLET_KEY, or a file of them with \
                     --keys-file"
                        .to_owned(),
                )),
            };
        };
        let named = file.display();
        let text = fs::read_to_string(file)
            .map_err(|error| CliError::Usage(format!("cannot read {named}: {error}")))?;
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let key = Key::from(line.to_owned()).sendable();
            keys.push(key.map_err(|why| CliError::Usage(format!("{named}:{number}: {why}")))?);
        }
        match keys.is_empty() {
            true => Err(CliError::Usage(format!("{named} holds no key; write one on each line"))),
            false => Ok(keys),
        }
    }

    fn order(&self, keys: Vec<String>, mark: String, answers: &Answers) -> Order {
        Order {
            act: self.scenario.act,
            replicas: self.gateway.iter().map(|url| preflight::base(url).to_owned()).collect(),
            keys,
            model: answers.model.clone(),
            mark,
            callers: self.users.get(),
            ramp: self.ramp,
            pause: Pause { least: self.pause, most: self.pause },
            patience: self.patience,
            balance: Balance::EachRequest,
            windows: vec![Window(self.lasting)],
        }
    }

    /// The name of the gateway in the report: its first address.
    fn name(&self) -> String {
        self.gateway.first().map(preflight::named).unwrap_or_default()
    }

    fn facts(&self) -> RunFacts {
        let host = self.gateway.first().and_then(Url::host_str).unwrap_or_default();
        let host: String = host
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        RunFacts::of_now(&format!("{host}-load"), &self.name(), 0, 0)
    }

    /// The report, and what it comes to.
    fn report(
        &self,
        thresholds: &[Threshold],
        load: GatewayLoad,
        version: Option<String>,
        facts: &RunFacts,
        took: Micros,
    ) -> (RunReport, ExitStatus) {
        let measured = gateway::measured(self.scenario.act, &load);
        let thresholds = tally::told::judged(thresholds, &measured, 0);
        let of_load = match load.verdict {
            Verdict::Pass => ExitStatus::Pass,
            Verdict::Fail => ExitStatus::Fail,
            Verdict::Inconclusive | Verdict::Skipped | Verdict::NotApplicable => {
                ExitStatus::Inconclusive
            }
        };
        let status = of_load.graver(of_thresholds(&thresholds));
        let target = Target {
            name: facts.target.clone(),
            adapter: "none".to_owned(),
            wire_profile: "none".to_owned(),
            bounds: Bounds::default(),
            replicas: u8::try_from(self.gateway.len()).unwrap_or(u8::MAX),
            stores: Vec::new(),
            gateway_version: version,
        };
        let exit = Exit { status: status as u8, name: status.name().to_owned() };
        let report = RunReport {
            thresholds,
            gateway_load: Some(load),
            ..blank(facts, took.since(Micros(0)), target, exit)
        };
        (report, status)
    }
}

/// Has callers carry out an order, to its end or until somebody wants one.
async fn drive(
    order: &Order,
    program: &std::path::Path,
    progress: &mut Progress<'_>,
) -> Result<Outcome, CliError> {
    let drive = async |stop| gateway::drive(program, order, stop, progress).await;
    let (outcome, _) = stopping_in_good_order(drive).await;
    outcome.map_err(|error| CliError::Load(ExperimentError::Attacker(error)))
}

/// A gateway that does not answer: what was given is wrong, or it is.
fn cannot_begin(why: NoAnswer) -> CliError {
    match why.is_usage() {
        true => CliError::Usage(why.to_string()),
        false => CliError::Gateway(why),
    }
}
