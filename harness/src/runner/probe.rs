//! Confirms each capability of a target before any check runs.

use std::{collections::BTreeSet, sync::Arc};

use super::drive::Driver;
use crate::{
    capability::{Capability, Probed},
    check::Arm,
    generators::{identities::at_first, requests},
    history::{Event, History, Seen},
    op::{Admin, Call, Field, Id, Key, KeyFields, Op, Outcome, Refusal, Replica, Terms},
    plan::{self, IdShape, Plan, Step},
    target::{Managed, Reach, TargetDescription, follow::Exited},
};

/// Why a target cannot be tested.
///
/// Messages are lowercase fragments, made to follow "it was probed and does not work: ".
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The admin key is not accepted.
    #[error(
        "the gateway at {base} refuses the admin key ({status}: {message}); check `admin_key` or `master_key`"
    )]
    AdminKeyRefused {
        /// Which address.
        base: String,
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// No sense can be made of an answer, or none came.
    #[error(
        "the gateway at {base} cannot be understood: {why}; check that the URL is a gateway's and that it is up"
    )]
    NotAGateway {
        /// Which address.
        base: String,
        /// What came instead.
        why: String,
    },
    /// A management call that everything else needs was refused.
    #[error("the gateway at {base} would not {call}: {status} {message}")]
    CallRefused {
        /// Which address.
        base: String,
        /// What was asked.
        call: String,
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// A plain prompt with a fresh key does not get through.
    #[error(
        "the gateway at {base} does not serve a plain prompt of the model {model:?}: {outcome}; it must offer the models in `models`"
    )]
    NotServed {
        /// Which address.
        base: String,
        /// The model.
        model: String,
        /// What became of it.
        outcome: String,
    },
}

/// Drives one plain plan and reads off its history what the target can do and lets us see.
///
/// # Errors
///
/// When the target does not do what every check needs.
pub async fn probe(
    driver: &Arc<Driver>,
    description: &TargetDescription,
) -> Result<Vec<Probed>, ProbeError> {
    if lacks_admin_key(&description.reach) {
        return Ok(Capability::ALL.map(|it| untried(it, &description.reach)).into());
    }
    // Two calls tell a gateway from everything else, before a plan is spent on it.
    let team = [
        Admin::CreateTeam { team: Id(0), terms: Terms::UNSAID },
        Admin::DeleteTeam { team: Id(0) },
    ];
    usable(driver, Plan::new(vec![IdShape::Plain], team.map(at_first).into())).await?;
    let replicas = driver.manifest.replicas;
    let mut steps = vec![
        at_first(Admin::CreateTeam { team: Id(0), terms: Terms::UNSAID }),
        at_first(Admin::CreateUser { user: Id(1), terms: Terms::UNSAID }),
        at_first(Admin::GenerateKey {
            key: Key(0),
            fields: KeyFields {
                team: Field::Set(Id(0)),
                user: Field::Set(Id(1)),
                ..KeyFields::UNSAID
            },
        }),
    ];
    steps.extend((0..replicas).map(|at| Step::Call(requests::chat(Key(0), at))));
    steps.push(Step::Call(Call { replica: Replica(0), op: Op::ListModels { key: Key(0) } }));
    let clean_up = [
        Admin::DeleteKey { key: Key(0) },
        Admin::DeleteTeam { team: Id(0) },
        Admin::DeleteUser { user: Id(1) },
    ];
    steps.extend(clean_up.map(at_first));
    let history = usable(driver, Plan::new(vec![IdShape::Plain; 2], steps)).await?;
    Ok(Capability::ALL.map(|capability| confirm(driver, description, capability, &history)).into())
}

fn managed(reach: &Reach) -> Option<&Managed> {
    match reach {
        Reach::Managed(managed) => Some(managed),
        Reach::Attached(_) => None,
    }
}

fn lacks_admin_key(reach: &Reach) -> bool {
    matches!(reach, Reach::Attached(attached) if attached.admin_key.is_none())
}

/// The history of a plan whose every call was answered.
async fn usable(driver: &Arc<Driver>, plan: Plan) -> Result<History, ProbeError> {
    let history = driver.drive(&Arm::shared("probe", plan), true).await;
    for seen in history.calls() {
        unusable(driver, &history.plan, &seen).map_or(Ok(()), Err)?;
    }
    Ok(history)
}

fn unusable(driver: &Driver, plan: &Plan, seen: &Seen<'_>) -> Option<ProbeError> {
    let base = driver.client.base(seen.call.replica).to_owned();
    match (&seen.call.op, seen.outcome?) {
        (_, Outcome::Answered { .. } | Outcome::Listed { .. }) => None,
        // A gateway need not list models.
        (Op::ListModels { .. }, _) => None,
        (_, Outcome::Indeterminate { why }) => {
            Some(ProbeError::NotAGateway { base, why: why.clone() })
        }
        (
            Op::Admin(_),
            Outcome::Refused {
                status,
                refusal: Refusal::Unauthenticated | Refusal::ModelDenied,
                message,
                ..
            },
        ) => Some(ProbeError::AdminKeyRefused { base, status: *status, message: message.clone() }),
        (Op::Admin(_), Outcome::Refused { status, message, .. }) => Some(ProbeError::CallRefused {
            base,
            call: plan::tell(plan, seen.call),
            status: *status,
            message: message.clone(),
        }),
        (Op::Chat(_), outcome) => Some(ProbeError::NotServed {
            base,
            model: driver.aliases.first().cloned().unwrap_or_default(),
            outcome: outcome.to_string(),
        }),
    }
}

fn confirm(
    driver: &Driver,
    description: &TargetDescription,
    capability: Capability,
    history: &History,
) -> Probed {
    let count = |wanted: fn(&Event) -> bool| {
        history.entries.iter().filter(|entry| wanted(&entry.event)).count()
    };
    let (seen, what) = match capability {
        Capability::VirtualKeys => (1, "a key was issued, used and deleted"),
        Capability::Teams => (1, "a team was created and deleted"),
        Capability::Users => (1, "a user was created and deleted"),
        Capability::ModelList => {
            let is_list = |event: &Event| {
                matches!(event, Event::Completed { outcome: Outcome::Listed { .. }, .. })
            };
            (count(is_list), "a key was shown its models")
        }
        Capability::Replicas => (
            usize::from(driver.manifest.replicas.saturating_sub(1)),
            "each replica served a prompt",
        ),
        Capability::RedisCommands => match commands_of_every_replica(driver, history) {
            Ok(()) => (1, "commands that name keys, of every replica"),
            Err(why) => return Probed { capability, confirmed: false, note: why },
        },
        // What is told by Redis itself is told without replies.
        Capability::RedisWire if managed(&description.reach).is_none() => (0, ""),
        Capability::RedisWire => (
            count(|event| matches!(event, Event::Redis { .. })),
            "commands that name keys, replied to",
        ),
        Capability::PostgresWire => {
            (count(|event| matches!(event, Event::Sql { .. })), "statements that name our ids")
        }
        Capability::Logs => match lines_of_every_replica(driver, history) {
            Ok(()) => (1, "lines about our requests, of every replica"),
            Err(why) => return Probed { capability, confirmed: false, note: why },
        },
        Capability::MockUpstream => (
            count(|event| matches!(event, Event::Attempt { call: Some(_), .. })),
            "our prompts in its ledger",
        ),
        Capability::OwnStacks => {
            (usize::from(managed(&description.reach).is_some()), "we start what is described")
        }
        Capability::NextBuild => {
            let next = managed(&description.reach).is_some_and(|managed| managed.next.is_some());
            (usize::from(next), "how it starts is described")
        }
    };
    if seen == 0 {
        return missing(capability);
    }
    Probed { capability, confirmed: true, note: what.to_owned() }
}

/// Whether every replica was seen to ask Redis for something, and nobody else to name our ids.
fn commands_of_every_replica(driver: &Driver, history: &History) -> Result<(), String> {
    let mut asked = BTreeSet::new();
    for entry in &history.entries {
        match &entry.event {
            Event::Redis { replica, .. } => {
                asked.insert(*replica);
            }
            Event::Gap { observer, why } if observer == "Redis commands" => {
                return Err(format!(
                    "told, and not whose: {why}; describe every replica, or only one, or run this where \
                     replicas are told apart by the addresses or processes that ask Redis"
                ));
            }
            _ => {}
        }
    }
    if driver.commands.is_none() {
        // Store proxies see whatever there is.
        let seen = !asked.is_empty();
        return if seen { Ok(()) } else { Err(missing(Capability::RedisCommands).note) };
    }
    match (0..driver.manifest.replicas).map(Replica).find(|it| !asked.contains(it)) {
        None => Ok(()),
        Some(replica) => Err(format!(
            "{replica} was not seen to ask anything of Redis; name in `redis_url` the one that it uses"
        )),
    }
}

/// Whether every replica was seen to write lines about our requests.
fn lines_of_every_replica(driver: &Driver, history: &History) -> Result<(), String> {
    if let Some(why) = driver.followers.iter().find_map(Exited::why) {
        return Err(format!("not seen; {why}"));
    }
    let heard: BTreeSet<_> = history
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Log { replica, .. } => Some(*replica),
            _ => None,
        })
        .collect();
    if heard.is_empty() {
        return Err(missing(Capability::Logs).note);
    }
    match (0..driver.manifest.replicas).map(Replica).find(|it| !heard.contains(it)) {
        None => Ok(()),
        Some(replica) => Err(format!(
            "{replica} wrote no line about our requests, as others did; name the log of each replica in \
             `logs`, in the order of `replicas`"
        )),
    }
}

/// Without an admin key nothing can be tried, whatever else is described.
fn untried(capability: Capability, reach: &Reach) -> Probed {
    let described = match (capability, reach) {
        (Capability::MockUpstream, Reach::Attached(attached)) => attached.mock_url.is_some(),
        (Capability::RedisCommands, Reach::Attached(attached)) => attached.redis.is_some(),
        (Capability::Logs, Reach::Attached(attached)) => !attached.logs.is_empty(),
        (Capability::Replicas, Reach::Attached(attached)) => attached.replicas.len() > 1,
        (Capability::ModelList, Reach::Attached(_)) => true,
        _ => false,
    };
    if !described {
        return missing(capability);
    }
    let note = "described, and not tried: it takes `admin_key`".to_owned();
    Probed { capability, confirmed: false, note }
}

fn missing(capability: Capability) -> Probed {
    let note = format!("not seen; it takes {}", capability.how_to_have_it());
    Probed { capability, confirmed: false, note }
}
