//! The steps of one case: ops, groups of ops released together, traffic in the background, waits.
//!
//! A plan is data. Everything in it follows from the run's seed, it shrinks, it is stored with the
//! history it led to, and it can be driven again. Time in a plan is told in the target's own
//! declared bounds, so that the same plan means the same for a TTL of one second and of sixty.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    op::{Admin, Call, Chat, Field, Id, KeyFields, Kind, MicroUsd, Op, Terms},
    store_step::{Edit, Poison, Strike, edit_told},
};

/// The version of the stored form of a plan.
pub const PLAN_VERSION: u32 = 1;

/// The steps of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// How ids are turned into text.
    pub naming: Naming,
    /// The look of each id in the pool, by its place.
    pub ids: Vec<IdShape>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// A plan of these steps, whose kinds share one pool of ids.
    pub fn new(ids: Vec<IdShape>, steps: Vec<Step>) -> Plan {
        Plan { version: PLAN_VERSION, naming: Naming::Shared, ids, steps }
    }

    /// The same plan, with no two kinds sharing an id.
    pub fn apart(&self) -> Plan {
        Plan { naming: Naming::Apart, ..self.clone() }
    }

    /// Every call that the plan makes, in order; those of background traffic once.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.steps.iter().flat_map(|step| match step {
            Step::Call(call) => std::slice::from_ref(call),
            Step::Together(calls) | Step::StartTraffic { calls, .. } => calls,
            Step::StopTraffic | Step::Wait(_) | Step::Store(_) | Step::Strike(_) | Step::Heal => {
                &[]
            }
        })
    }

    /// Whether every other case on the stack would feel it: a fault strikes, or an entry is written that
    /// takes as long to read as many others.
    pub fn disturbs(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Strike(_) | Step::Store(Edit::Poison { poison: Poison::LongText, .. }) => true,
            Step::Call(_)
            | Step::Together(_)
            | Step::StartTraffic { .. }
            | Step::StopTraffic
            | Step::Wait(_)
            | Step::Store(_)
            | Step::Heal => false,
        })
    }

    /// The text of an id, under the run-unique `prefix` of the case.
    pub fn id_text(&self, prefix: &str, kind: Kind, id: Id) -> String {
        let shape = self.ids.get(usize::from(id.0)).copied().unwrap_or(IdShape::Plain);
        let letter = match self.naming {
            Naming::Shared => 'i',
            Naming::Apart if kind == Kind::User => 'u',
            Naming::Apart if kind == Kind::Team => 't',
            Naming::Apart => 'o',
        };
        format!("{prefix}{letter}{}{}", id.0, shape.suffix())
    }
}

/// Whether kinds draw their ids from one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// A user and a team at one place of the pool have the same id.
    Shared,
    /// Every kind has ids of its own: the control to which `Shared` is compared.
    Apart,
}

/// The look of an id. Gateways build cache keys by joining ids with separators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdShape {
    /// Letters and digits.
    Plain,
    /// Holds a colon.
    Colon,
    /// Holds an underscore.
    Underscore,
    /// Holds a slash.
    Slash,
    /// Holds a space.
    Space,
    /// Holds braces, which Redis Cluster reads as a hash tag.
    Braces,
}

impl IdShape {
    fn suffix(self) -> &'static str {
        match self {
            IdShape::Plain => "",
            IdShape::Colon => ":a",
            IdShape::Underscore => "_a",
            IdShape::Slash => "/a",
            IdShape::Space => " a",
            IdShape::Braces => "{a}",
        }
    }
}

/// One thing that happens in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A call, waited for.
    Call(Call),
    /// Calls released together; the step ends when the last is complete.
    Together(Vec<Call>),
    /// Starts one caller per call, who repeats it in the background.
    StartTraffic {
        /// What each caller asks.
        calls: Vec<Call>,
        /// Pause of each caller between an answer and the next request, in milliseconds.
        pause_ms: u32,
    },
    /// Stops the background callers after their current request.
    StopTraffic,
    /// Lets time pass: the time itself is the subject.
    Wait(Wait),
    /// Changes something in a store, behind the gateway's back.
    Store(Edit),
    /// Strikes the stores of every replica with a fault.
    Strike(Strike),
    /// Heals every fault that has struck.
    Heal,
}

/// A time, in the target's declared bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The staleness bound D and this many milliseconds.
    StalenessAnd {
        /// Milliseconds more.
        more_ms: u32,
    },
    /// This many milliseconds.
    Milliseconds(u32),
    /// This many lifetimes of a cached identity.
    Lifetimes(u32),
}

impl Wait {
    /// How long that is on a target with this lifetime and this staleness bound.
    pub fn length(self, lifetime: Duration, staleness: Duration) -> Duration {
        match self {
            Wait::Lifetimes(number) => lifetime.saturating_mul(number),
            Wait::StalenessAnd { more_ms } => staleness + Duration::from_millis(more_ms.into()),
            Wait::Milliseconds(ms) => Duration::from_millis(ms.into()),
        }
    }
}

/// The plan as a story, one line per step; steps that repeat are told once.
pub fn story(plan: &Plan) -> Vec<String> {
    let lines: Vec<_> = plan.steps.iter().map(|step| tell_step(plan, step)).collect();
    let mut told = Vec::new();
    let mut rest = &lines[..];
    while let Some(first) = rest.first() {
        match longest_repetition(rest) {
            Some((period, times)) => {
                let (cycle, after) = (&rest[..period], &rest[period * times..]);
                told.push(format!("{times} times over: {}", cycle.join("; ")));
                rest = after;
            }
            None => {
                told.push(first.clone());
                rest = &rest[1..];
            }
        }
    }
    told
}

/// The longest cycle that a story names.
const LONGEST_CYCLE: usize = 8;

/// The cycle of lines that `lines` begins with, and how often it comes: the one that covers most.
fn longest_repetition(lines: &[String]) -> Option<(usize, usize)> {
    (1..=LONGEST_CYCLE.min(lines.len() / 2))
        .filter_map(|period| {
            let cycle = &lines[..period];
            let times = lines.chunks_exact(period).take_while(|chunk| *chunk == cycle).count();
            (times > 2).then_some((period, times))
        })
        .max_by_key(|(period, times)| (period * times, std::cmp::Reverse(*period)))
}

fn tell_step(plan: &Plan, step: &Step) -> String {
    match step {
        Step::Call(call) => tell(plan, call),
        Step::Together(calls) => format!("together: {}", tell_each(plan, calls)),
        Step::StartTraffic { calls, pause_ms } => {
            format!("in the background, every {pause_ms} ms: {}", tell_each(plan, calls))
        }
        Step::StopTraffic => "stop the background traffic".to_owned(),
        Step::Wait(Wait::StalenessAnd { more_ms: 0 }) => "wait the staleness bound".to_owned(),
        Step::Wait(Wait::StalenessAnd { more_ms }) => {
            format!("wait the staleness bound and {more_ms} ms")
        }
        Step::Wait(Wait::Milliseconds(ms)) => format!("wait {ms} ms"),
        Step::Wait(Wait::Lifetimes(1)) => "wait a lifetime".to_owned(),
        Step::Wait(Wait::Lifetimes(number)) => format!("wait {number} lifetimes"),
        Step::Store(edit) => edit_told(plan, edit),
        Step::Strike(strike) => strike.to_string(),
        Step::Heal => "heal the faults".to_owned(),
    }
}

/// Calls in words, in the order in which each first comes; those that repeat are told once.
fn tell_each(plan: &Plan, calls: &[Call]) -> String {
    let mut told: Vec<(String, usize)> = Vec::new();
    for call in calls {
        let call = tell(plan, call);
        match told.iter_mut().find(|(known, _)| *known == call) {
            Some((_, times)) => *times += 1,
            None => told.push((call, 1)),
        }
    }
    let told = told.into_iter().map(|(call, times)| match times {
        1 => call,
        times => format!("{times} × {call}"),
    });
    told.collect::<Vec<_>>().join("; ")
}

/// A call in words, and where it is sent.
pub fn tell(plan: &Plan, call: &Call) -> String {
    let what = match &call.op {
        Op::Chat(Chat { key, alias, streamed }) => {
            let streamed = if *streamed { ", streamed" } else { "" };
            format!("chat with {key}, {alias}{streamed}")
        }
        Op::ListModels { key } => format!("list the models of {key}"),
        Op::Admin(admin) => tell_admin(plan, admin),
    };
    format!("{what} ({})", call.replica)
}

/// The id of an object in a story: `user "i0"`.
pub(crate) struct Told<'a>(pub(crate) &'a Plan, pub(crate) Kind, pub(crate) Id);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.1, self.0.id_text("", self.1, self.2))
    }
}

fn tell_admin(plan: &Plan, admin: &Admin) -> String {
    let user = |id: &Id| Told(plan, Kind::User, *id);
    let team = |id: &Id| Told(plan, Kind::Team, *id);
    match admin {
        Admin::CreateOrganisation { organisation: id, terms } => {
            let organisation = Told(plan, Kind::Organisation, *id);
            format!("create {organisation}{}", listed(terms_told(terms)))
        }
        Admin::CreateUser { user: id, terms } => {
            format!("create {}{}", user(id), listed(terms_told(terms)))
        }
        Admin::UpdateUser { user: id, terms } => {
            format!("update {}{}", user(id), listed(terms_told(terms)))
        }
        Admin::DeleteUser { user: id } => format!("delete {}", user(id)),
        Admin::CreateTeam { team: id, terms } => {
            format!("create {}{}", team(id), listed(terms_told(terms)))
        }
        Admin::UpdateTeam { team: id, terms } => {
            format!("update {}{}", team(id), listed(terms_told(terms)))
        }
        Admin::DeleteTeam { team: id } => format!("delete {}", team(id)),
        Admin::BlockTeam { team: id } => format!("block {}", team(id)),
        Admin::UnblockTeam { team: id } => format!("unblock {}", team(id)),
        Admin::AddMember { team: t, user: u, max_budget } => {
            format!("add {} to {}{}", user(u), team(t), budget_told(max_budget))
        }
        Admin::UpdateMember { team: t, user: u, max_budget } => {
            format!("update member {} of {}{}", user(u), team(t), budget_told(max_budget))
        }
        Admin::RemoveMember { team: t, user: u } => {
            format!("remove {} from {}", user(u), team(t))
        }
        Admin::GenerateKey { key, fields } => {
            format!("generate {key}{}", key_told(plan, fields))
        }
        Admin::UpdateKey { key, terms } => {
            format!("update {key}{}", listed(terms_told(terms)))
        }
        Admin::DeleteKey { key } => format!("delete {key}"),
        Admin::BlockKey { key } => format!("block {key}"),
        Admin::UnblockKey { key } => format!("unblock {key}"),
    }
}

fn budget_told(field: &Field<MicroUsd>) -> String {
    listed([field_told("max_budget", field, |money| format!("{} µ$", money.0))])
}

fn terms_told(terms: &Terms) -> [Option<String>; 6] {
    [
        field_told("alias", &terms.alias, |()| "set".to_owned()),
        field_told("models", &terms.models, |models| {
            let told: Vec<_> = models.iter().map(ToString::to_string).collect();
            format!("[{}]", told.join(", "))
        }),
        field_told("metadata", &terms.metadata, |()| "set".to_owned()),
        field_told("max_budget", &terms.max_budget, |money| format!("{} µ$", money.0)),
        field_told("rpm_limit", &terms.rpm_limit, ToString::to_string),
        field_told("tpm_limit", &terms.tpm_limit, ToString::to_string),
    ]
}

fn key_told(plan: &Plan, fields: &KeyFields) -> String {
    let id = |kind| move |id: &Id| format!("{:?}", plan.id_text("", kind, *id));
    let owners = [
        field_told("user_id", &fields.user, id(Kind::User)),
        field_told("team_id", &fields.team, id(Kind::Team)),
        field_told("organization_id", &fields.organisation, id(Kind::Organisation)),
        fields.chosen_secret.then(|| "a secret of our own".to_owned()),
    ];
    listed(owners.into_iter().chain(terms_told(&fields.terms)))
}

fn field_told<T>(name: &str, field: &Field<T>, set: impl Fn(&T) -> String) -> Option<String> {
    match field {
        Field::Absent => None,
        Field::Null => Some(format!("{name} = null")),
        Field::Empty => Some(format!("{name} empty")),
        Field::Set(value) => Some(format!("{name} = {}", set(value))),
    }
}

fn listed(fields: impl IntoIterator<Item = Option<String>>) -> String {
    let told: Vec<_> = fields.into_iter().flatten().collect();
    if told.is_empty() { String::new() } else { format!(" with {}", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::op::{Alias, Key, Replica};

    #[test]
    fn calls_that_repeat_within_a_step_are_told_once() {
        let chat = Chat { key: Key(0), alias: Alias(0), streamed: false };
        let at = |replica| Call { replica: Replica(replica), op: Op::Chat(chat) };
        let plan = Plan::new(Vec::new(), vec![Step::Together(vec![at(0), at(1), at(0)])]);
        assert_snapshot!(
            story(&plan).join("\n"),
            @"together: 2 × chat with key 0, model 0 (replica 0); chat with key 0, model 0 (replica 1)"
        );
    }

    #[test]
    fn a_plan_reads_as_a_story() {
        let plan = Plan::new(
            vec![IdShape::Plain, IdShape::Colon],
            vec![
                Step::Call(Call {
                    replica: Replica(0),
                    op: Op::Admin(Admin::GenerateKey {
                        key: Key(0),
                        fields: KeyFields {
                            user: Field::Set(Id(0)),
                            team: Field::Set(Id(1)),
                            terms: Terms {
                                alias: Field::Null,
                                models: Field::Set(vec![Alias(0)]),
                                metadata: Field::Empty,
                                ..Terms::UNSAID
                            },
                            ..KeyFields::UNSAID
                        },
                    }),
                }),
                Step::Wait(Wait::StalenessAnd { more_ms: 500 }),
                Step::Call(Call {
                    replica: Replica(1),
                    op: Op::Chat(Chat { key: Key(0), alias: Alias(0), streamed: true }),
                }),
            ],
        );
        assert_snapshot!(story(&plan).join("\n"), @r#"
        generate key 0 with user_id = "i0", team_id = "i1:a", alias = null, models = [model 0], metadata empty (replica 0)
        wait the staleness bound and 500 ms
        chat with key 0, model 0, streamed (replica 1)
        "#);
    }

    #[test]
    fn steps_that_repeat_are_told_once() {
        let chat = |at| {
            let op = Op::Chat(Chat { key: Key(0), alias: Alias(0), streamed: false });
            Step::Call(Call { replica: Replica(at), op })
        };
        let steps = [0, 1, 0, 1, 0, 1, 0].map(chat).to_vec();
        assert_snapshot!(story(&Plan::new(vec![IdShape::Plain], steps)).join("\n"), @r"
        3 times over: chat with key 0, model 0 (replica 0); chat with key 0, model 0 (replica 1)
        chat with key 0, model 0 (replica 0)
        ");
    }

    #[test]
    fn apart_no_two_kinds_share_an_id() {
        let plan = Plan::new(vec![IdShape::Plain], Vec::new());
        let text = |plan: &Plan, kind| plan.id_text("p", kind, Id(0));
        assert_eq!(text(&plan, Kind::User), text(&plan, Kind::Team));
        assert_ne!(text(&plan.apart(), Kind::User), text(&plan.apart(), Kind::Team));
    }
}
