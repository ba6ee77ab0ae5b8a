//! A key is judged alike, whichever layer its identity comes from.
//!
//! The first request with a key that nobody has used reads its identity from the database. Asked of
//! another replica, whose memory is cold, the second takes from Redis what the first one wrote, as after
//! a restart; and the third, of that replica again, finds it in the replica's own memory. Nothing else
//! sets the three apart. What stands in a key's way here always does: a model that is not allowed, a
//! budget or limit of zero, a block. So all three are decided alike, in status, meaning and error type;
//! where they are not, the decision depends on the form in which an identity came. The wire shows which
//! layer each request was answered from, and a request that cannot be placed so is not compared. A key
//! that nothing stands in the way of shows no more than that the gateway caches; unless one that the
//! database has refused was compared too, nothing is proven.

use std::{collections::BTreeMap, fmt};

use proptest::{collection::vec, prelude::*};

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    generators::{
        identities::{Identities, at_first, strangers},
        requests,
    },
    history::{Access, Event, History, Level as LogLevel, Manifest, Seen},
    op::{Admin, Alias, Chat, Field, Key, Kind, MicroUsd, Outcome, Refusal},
    plan::{Plan, Step},
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "codec.representation-independence",
    title: "A key is judged alike, whichever layer its identity comes from",
    why: "Where what comes from Redis is a raw map and what is in memory an object, a rule that reads \
          the one passes over the other: an over-budget key is served by every replica that did not \
          read it from the database itself, or fails there with a type error.",
    incidents: &[
        "https://github.com/BerriAI/litellm/pull/26202",
        "https://github.com/BerriAI/litellm/issues/6979",
        "https://github.com/BerriAI/litellm/issues/14616",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::Replicas,
        Capability::RedisWire,
        Capability::PostgresWire,
        Capability::Logs,
    ],
    plan,
    arms: one_arm,
    judge,
};

/// Keys in one plan, at most.
const KEYS: usize = 5;

/// The layers that may answer, in the order in which they are asked.
const LAYERS: [Layer; 3] = [Layer::Database, Layer::Redis, Layer::Memory];

/// Where an identity comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Database,
    Redis,
    Memory,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Database => "the database",
            Layer::Redis => "Redis",
            Layer::Memory => "memory",
        })
    }
}

/// What stands in a key's way, if anything does. Where the owner that it is about is not named, it is
/// about the key itself.
///
/// A team's budget is not among these: some gateways admit at exactly its end, so that a budget of zero
/// refuses from the second request on.
#[derive(Clone, Copy, Debug)]
enum Bar {
    Nothing,
    Model(Owner),
    Budget(Owner),
    Requests(Owner),
    Tokens(Owner),
    BlockedKey,
    BlockedTeam,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Key,
    User,
    Team,
    Member,
}

fn bar() -> impl Strategy<Value = Bar> + use<> {
    prop_oneof![1 => Just(Bar::Nothing), 9 => hindrance()]
}

/// What stands in a key's way, always.
fn hindrance() -> impl Strategy<Value = Bar> + use<> {
    let of = |owners: &'static [Owner]| prop::sample::select(owners);
    prop_oneof![
        1 => of(&[Owner::Key, Owner::Team]).prop_map(Bar::Model),
        3 => of(&[Owner::Key, Owner::Key, Owner::User, Owner::Member]).prop_map(Bar::Budget),
        1 => of(&[Owner::Key, Owner::User, Owner::Team]).prop_map(Bar::Requests),
        1 => of(&[Owner::Key, Owner::User, Owner::Team]).prop_map(Bar::Tokens),
        1 => Just(Bar::BlockedKey),
        1 => Just(Bar::BlockedTeam),
    ]
}

/// Keys that nothing or something stands in the way of, each asked of one replica and twice of another: key
/// by key, or layer by layer.
///
/// The first key is nobody's, and nothing stands in its way. Some gateways cache what they let through
/// only, or no membership without a budget; that key shows that they cache, and which layer is which.
/// Something always stands in the way of the second.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let replicas = manifest.replicas;
    let others = (hindrance(), vec(bar(), KEYS - 2));
    (strangers(2..=KEYS), others, 0..replicas, any::<bool>())
        .prop_map(move |(mut drawn, (hindrance, bars), first, by_layer)| {
            let second = (first + 1) % replicas;
            if let Some(first) = drawn.keys.first_mut() {
                (first.user, first.team) = (Field::Absent, Field::Absent);
            }
            let mut drawn = drawn.with_keys(KEYS);
            let bars = [Bar::Nothing, hindrance].into_iter().chain(bars);
            let bars: Vec<_> = drawn.key_places().zip(bars).collect();
            for (key, bar) in &bars {
                put_up(&mut drawn, *key, *bar);
            }
            let mut steps = drawn.creation();
            steps.extend(bars.iter().filter_map(|(key, bar)| block(&drawn, *key, *bar)));
            let ask = |(key, bar): &(Key, Bar), replica| {
                let alias = if matches!(bar, Bar::Model(_)) { Alias(1) } else { Alias(0) };
                Step::Call(requests::chat_of(*key, alias, replica, false))
            };
            let layers = [first, second, second];
            if by_layer {
                for replica in layers {
                    steps.extend(bars.iter().map(|asked| ask(asked, replica)));
                }
            } else {
                for asked in &bars {
                    steps.extend(layers.map(|replica| ask(asked, replica)));
                }
            }
            // Which kinds may share an id is for `codec.key-spaces-disjoint` to ask.
            Plan::new(drawn.ids, steps).apart()
        })
        .boxed()
}

/// Has the terms of a key, or of an owner of it, stand in its way.
fn put_up(drawn: &mut Identities, key: Key, bar: Bar) {
    let Some(fields) = drawn.keys.get_mut(usize::from(key.0)) else { return };
    let (team, user) = (fields.team.set().copied(), fields.user.set().copied());
    if let (Bar::Budget(Owner::Member), (Some(team), Some(user))) = (bar, (team, user)) {
        drawn.members.insert((team, user), Field::Set(MicroUsd(0)));
        return;
    }
    let owner = match bar {
        Bar::Model(owner) | Bar::Budget(owner) | Bar::Requests(owner) | Bar::Tokens(owner) => owner,
        Bar::Nothing | Bar::BlockedKey | Bar::BlockedTeam => return,
    };
    let of_owner = match owner {
        Owner::User => user.and_then(|user| drawn.users.get_mut(&user)),
        Owner::Team => team.and_then(|team| drawn.teams.get_mut(&team)),
        Owner::Key | Owner::Member => None,
    };
    let terms = of_owner.unwrap_or(&mut fields.terms);
    match bar {
        Bar::Model(_) => terms.models = Field::Set(vec![Alias(0)]),
        Bar::Budget(_) => terms.max_budget = Field::Set(MicroUsd(0)),
        Bar::Requests(_) => terms.rpm_limit = Field::Set(0),
        Bar::Tokens(_) => terms.tpm_limit = Field::Set(0),
        Bar::Nothing | Bar::BlockedKey | Bar::BlockedTeam => {}
    }
}

/// The call that blocks a key or its team, where that is what stands in its way.
fn block(drawn: &Identities, key: Key, bar: Bar) -> Option<Step> {
    let team = drawn.keys.get(usize::from(key.0)).and_then(|fields| fields.team.set().copied());
    let block = match (bar, team) {
        (Bar::BlockedTeam, Some(team)) => Admin::BlockTeam { team },
        (Bar::BlockedKey, _) | (Bar::BlockedTeam, None) => Admin::BlockKey { key },
        (Bar::Nothing | Bar::Model(_) | Bar::Budget(_) | Bar::Requests(_) | Bar::Tokens(_), _) => {
            return None;
        }
    };
    Some(at_first(block))
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let calls = history.calls();
    let mut asked: BTreeMap<Asked, Vec<&Seen<'_>>> = BTreeMap::new();
    for seen in &calls {
        if let Some(chat) = seen.chat() {
            asked.entry(Asked::of(chat)).or_default().push(seen);
        }
    }
    let mut violations = failures(&calls);
    let mut unplaced = None;
    let mut compared = 0;
    for (asked, seen) in &asked {
        let is_barred = seen.first().is_some_and(|first| is_denied(first));
        let placed: Vec<_> = LAYERS.into_iter().zip(seen).map(|it| placed(history, it)).collect();
        match placed.iter().find_map(|placed| placed.as_ref().err()) {
            // What bars a key is what its layers may disagree about.
            _ if !is_barred => {}
            Some(why) => unplaced = unplaced.or_else(|| Some(format!("{asked}: {why}"))),
            None if placed.len() < LAYERS.len() => {}
            None => compared += 1,
        }
        let placed: Vec<_> = placed.into_iter().filter_map(Result::ok).collect();
        violations.extend(another_decision(*asked, &placed));
    }
    violations.extend(type_trouble(history, &calls));
    if violations.is_empty() && compared == 0 {
        let why = unplaced.unwrap_or_else(|| {
            "no key that the database has refused was asked with three times".to_owned()
        });
        return Verdict::Inconclusive(why);
    }
    Verdict::of(violations)
}

/// Whether the gateway refused a prompt by what it knows of the key, and did not merely fail.
fn is_denied(seen: &Seen<'_>) -> bool {
    matches!(seen.outcome, Some(Outcome::Refused { status: ..500, .. }))
}

/// What is asked for three times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked(Key, Alias);

impl Asked {
    fn of(chat: &Chat) -> Asked {
        Asked(chat.key, chat.alias)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asking for {}", self.0, self.1)
    }
}

/// A decision, with what must not depend on the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    status: u16,
    refusal: Option<Refusal>,
    error_type: Option<String>,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.refusal, &self.error_type) {
            (None, _) => write!(f, "answered {}", self.status),
            (Some(refusal), None) => write!(f, "refused {} ({refusal})", self.status),
            (Some(refusal), Some(error_type)) => {
                write!(f, "refused {} ({refusal}, type {error_type:?})", self.status)
            }
        }
    }
}

fn decision(outcome: &Outcome) -> Option<Decision> {
    match outcome {
        Outcome::Answered { status, .. } | Outcome::Listed { status, .. } => {
            Some(Decision { status: *status, refusal: None, error_type: None })
        }
        Outcome::Refused { status, refusal, error_type, .. } => Some(Decision {
            status: *status,
            refusal: Some(*refusal),
            error_type: error_type.clone(),
        }),
        Outcome::Indeterminate { .. } => None,
    }
}

/// A request whose layer is proven.
struct Placed {
    layer: Layer,
    decision: Decision,
    index: usize,
    /// The entries that prove the layer.
    by: Vec<usize>,
}

/// Confirms from the wire that a layer answered a request. Requests of a plan follow each other, so what
/// a replica says to its stores during one is about that one.
fn placed(history: &History, (layer, seen): (Layer, &&Seen<'_>)) -> Result<Placed, String> {
    let replica = seen.call.replica;
    let decided = seen.outcome.and_then(decision).zip(seen.completed);
    let Some((decision, completed)) = decided else {
        return Err(format!("what {replica} decided is not known"));
    };
    let (mut reads_of_the_key, mut reads, mut hits) = (Vec::new(), Vec::new(), Vec::new());
    for (index, entry) in history.entries.iter().enumerate() {
        if entry.at < seen.invoked || entry.at > completed {
            continue;
        }
        match &entry.event {
            Event::Sql { replica: by, reads: kinds, .. } if *by == replica && !kinds.is_empty() => {
                reads.push(index);
                reads_of_the_key.extend(kinds.contains(&Kind::Key).then_some(index));
            }
            Event::Redis { replica: by, keys, .. } if *by == replica => {
                let is_hit =
                    keys.iter().any(|key| key.access == Access::Hit && key.kind == Some(Kind::Key));
                hits.extend(is_hit.then_some(index));
            }
            _ => {}
        }
    }
    let (proven, by) = match layer {
        Layer::Database => (!reads_of_the_key.is_empty(), reads_of_the_key),
        Layer::Redis => (reads.is_empty() && !hits.is_empty(), hits),
        Layer::Memory => (reads.is_empty() && hits.is_empty(), Vec::new()),
    };
    if !proven {
        return Err(format!("{replica} did not take its identity from {layer}"));
    }
    Ok(Placed { layer, decision, index: seen.last_index, by })
}

/// A request that is decided otherwise than the same request from another layer.
fn another_decision(asked: Asked, placed: &[Placed]) -> Option<Violation> {
    let first = placed.first()?;
    placed.iter().find(|other| other.decision != first.decision)?;
    let told: Vec<_> =
        placed.iter().map(|placed| format!("{} from {}", placed.decision, placed.layer)).collect();
    let evidence = placed.iter().flat_map(|placed| placed.by.iter().copied().chain([placed.index]));
    Some(Violation {
        summary: format!(
            "{asked} is decided by where its identity comes from: {}",
            told.join(", ")
        ),
        evidence: proof(0, evidence),
    })
}

/// Prompts that the gateway itself failed on.
fn failures(calls: &[Seen<'_>]) -> Vec<Violation> {
    let failed = calls.iter().filter_map(|seen| match (seen.chat(), seen.outcome) {
        (Some(chat), Some(outcome @ Outcome::Refused { status: 500.., .. })) => Some(Violation {
            summary: format!("{} fails on {}: {outcome}", seen.call.replica, Asked::of(chat)),
            evidence: proof(0, [seen.index, seen.last_index]),
        }),
        _ => None,
    });
    failed.collect()
}

/// What gateways say when a value is not of the type that a line of code expects.
const TYPE_TROUBLE: [&str; 9] = [
    "attributeerror",
    "typeerror",
    "keyerror",
    "has no attribute",
    "not subscriptable",
    "serializ",
    "validation error",
    "invalid type",
    "missing field",
];

/// Lines at WARN or above that name the case and tell of an attribute or a type.
fn type_trouble(history: &History, calls: &[Seen<'_>]) -> Option<Violation> {
    let first = calls.iter().find(|seen| seen.chat().is_some())?;
    let lines: Vec<_> = history
        .lines_at_least(LogLevel::Warn)
        .filter(|(index, _, _, text)| {
            let since = history.entries.get(*index).is_some_and(|it| it.at >= first.invoked);
            let text_in_small = text.to_lowercase();
            since
                && text.contains(&history.prefix)
                && TYPE_TROUBLE.iter().any(|trouble| text_in_small.contains(trouble))
        })
        .collect();
    let (_, _, template, _) = lines.first()?;
    Some(Violation {
        summary: format!(
            "{} lines at WARN or above tell of a type or an attribute; the first: {template}",
            lines.len()
        ),
        evidence: proof(0, lines.iter().map(|(index, ..)| *index)),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{generators::plan_tree, history::hand::Hand, op::Op};

    const CHAT: Chat = Chat { key: Key(0), alias: Alias(0), streamed: false };

    fn over_budget() -> Outcome {
        Outcome::Refused {
            status: 422,
            refusal: Refusal::OverBudget,
            error_type: Some("budget_exceeded".to_owned()),
            message: "no".to_owned(),
        }
    }

    fn served() -> Outcome {
        Outcome::Answered { status: 200, fingerprint: None }
    }

    /// A key asked of the database, then of Redis, then of memory.
    fn asked(outcomes: [Outcome; 3]) -> Hand {
        let [database, redis, memory] = outcomes;
        Hand::new()
            .asked(10, 0, Op::Chat(CHAT), database)
            .identity_read_by(10, 0, Kind::Key)
            .asked(20, 1, Op::Chat(CHAT), redis)
            .redis(20, 1, Access::Hit, "k", Some(Kind::Key))
            .asked(30, 1, Op::Chat(CHAT), memory)
    }

    #[test]
    fn a_budget_that_redis_forgets_is_told_layer_by_layer() {
        let history = asked([over_budget(), served(), served()]);
        assert_snapshot!(judge(&[history.done()]), @r#"
        fail
          key 0 asking for model 0 is decided by where its identity comes from: refused 422 (over budget, type "budget_exceeded") from the database, answered 200 from Redis, answered 200 from memory
        "#);
    }

    #[test]
    fn another_error_type_is_another_decision() {
        let untyped = Outcome::Refused {
            status: 422,
            refusal: Refusal::OverBudget,
            error_type: None,
            message: "no".to_owned(),
        };
        let history = asked([over_budget(), over_budget(), untyped]);
        assert_snapshot!(judge(&[history.done()]), @r#"
        fail
          key 0 asking for model 0 is decided by where its identity comes from: refused 422 (over budget, type "budget_exceeded") from the database, refused 422 (over budget, type "budget_exceeded") from Redis, refused 422 (over budget) from memory
        "#);
    }

    #[test]
    fn a_failure_is_a_violation_wherever_the_identity_came_from() {
        let fault = || Outcome::Refused {
            status: 500,
            refusal: Refusal::Fault,
            error_type: None,
            message: "'dict' object has no attribute 'max_budget'".to_owned(),
        };
        let history = asked([fault(), fault(), fault()]);
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 0 fails on key 0 asking for model 0: refused 500 (gateway fault): 'dict' object has no attribute 'max_budget'
          replica 1 fails on key 0 asking for model 0: refused 500 (gateway fault): 'dict' object has no attribute 'max_budget'
          replica 1 fails on key 0 asking for model 0: refused 500 (gateway fault): 'dict' object has no attribute 'max_budget'
        ");
    }

    #[test]
    fn a_line_that_tells_of_a_type_is_a_violation() {
        let history = asked([served(), served(), served()])
            .line(21, LogLevel::Error, "AttributeError in p: 'dict' object")
            .line(22, LogLevel::Error, "request of p refused");
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          1 lines at WARN or above tell of a type or an attribute; the first: AttributeError in p: 'dict' object
        ");
    }

    #[test]
    fn the_same_decision_from_every_layer_passes() {
        let history = asked([over_budget(), over_budget(), over_budget()]);
        assert_eq!(judge(&[history.done()]), Verdict::Pass);
    }

    #[test]
    fn a_replica_that_reads_the_database_itself_proves_nothing() {
        let history = asked([over_budget(), over_budget(), over_budget()]).identity_read_by(
            20,
            1,
            Kind::Team,
        );
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: key 0 asking for model 0: replica 1 did not take its identity from Redis");
    }

    #[test]
    fn a_first_request_that_reads_nothing_proves_nothing() {
        let ask = |hand: Hand, at, replica| hand.asked(at, replica, Op::Chat(CHAT), over_budget());
        let warm = ask(ask(ask(Hand::new(), 10, 0), 20, 1), 30, 1);
        assert_snapshot!(judge(&[warm.done()]), @"inconclusive: key 0 asking for model 0: replica 0 did not take its identity from the database");
    }

    #[test]
    fn a_key_that_nothing_stands_in_the_way_of_proves_nothing() {
        let history = asked([served(), served(), served()]);
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: no key that the database has refused was asked with three times");
    }

    #[test]
    fn a_barred_key_that_could_not_be_placed_is_told_though_one_without_a_bar_was() {
        let barred = || Op::Chat(Chat { key: Key(1), ..CHAT });
        let history = asked([served(), served(), served()])
            .asked(40, 0, barred(), over_budget())
            .identity_read_by(40, 0, Kind::Key)
            .asked(50, 1, barred(), over_budget())
            .identity_read_by(50, 1, Kind::Key)
            .asked(60, 1, barred(), over_budget());
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: key 1 asking for model 0: replica 1 did not take its identity from Redis");
    }

    #[test]
    fn every_key_is_asked_of_one_replica_and_twice_of_another() {
        let manifest = Hand::new().done().manifest;
        for case in 0..32 {
            let plan = plan_tree(&plan(&manifest), 7, CHECK.id, case).unwrap().current();
            let mut asked: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
            for call in plan.calls() {
                if let Op::Chat(chat) = &call.op {
                    asked.entry(chat.key).or_default().push(call.replica.0);
                }
            }
            for (key, replicas) in asked {
                let [first, second, third] = replicas[..] else { panic!("{key}: {replicas:?}") };
                assert!(first != second && second == third, "{key}: {replicas:?}");
            }
        }
    }
}
