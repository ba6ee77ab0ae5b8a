//! Two adjacent releases share one cache, and nothing gets lost between them.
//!
//! The same plan is driven twice: on two replicas of one release, and on a replica of that release beside
//! one of the next. Two keys with owners of their own are in use on both replicas while something is
//! taken from each: one change goes through the older release, the other through the newer. Once the
//! staleness bound has passed, no entry from before can be left; then one key is first asked of the older
//! release and read after it by the newer, and the other key the other way round. So each release writes
//! what the other one reads, with the restriction in it, and the wire must show that it did. A request
//! that still reaches the provider was let through by a reader that lost the restriction. And what the
//! mixture does that one release does not do is its price: failures, loud lines, reads of the database
//! that one release saves. What one release does alone, in the other drive, is not the mixture's doing and
//! says nothing about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU8,
    time::Duration,
};

use proptest::{collection::vec, prelude::*};

use crate::{
    capability::Capability,
    check::{Arm, Builds, Check, Level, Shape, Stack},
    clock::Micros,
    generators::{
        fewer::at_most,
        identities::{Identities, strangers},
        requests,
    },
    history::{Access, Arrival, Event, History, Level as LogLevel, Manifest, Seen},
    model::{cache, staleness::Timeline},
    op::{Admin, Alias, Call, Field, Key, Op, Outcome, Replica, Terms},
    plan::{Plan, Step, Wait},
    verdict::{Verdict, Violation, proof},
};

/// The check.
pub static CHECK: Check = Check {
    id: "codec.mixed-version",
    title: "Two adjacent releases share one cache, and nothing gets lost between them",
    why: "Every rolling deploy puts two releases on one cache. A reader that passes over the field in \
          which the newer release says that a key is blocked lets it in; one that cannot read what the \
          other wrote asks the database for ever.",
    incidents: &[
        "https://github.com/BerriAI/litellm/pull/26202",
        "https://github.com/BerriAI/litellm/issues/27874",
        "https://github.com/BerriAI/litellm/issues/30154",
    ],
    level: Level::Extended,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::RedisWire,
        Capability::PostgresWire,
        Capability::Logs,
        Capability::MockUpstream,
        Capability::OwnStacks,
        Capability::NextBuild,
    ],
    plan,
    arms,
    judge,
};

/// Replicas of each of our stacks: one for each release.
const REPLICAS: NonZeroU8 = NonZeroU8::MIN.saturating_add(1);

/// Keys in a plan, at most: one for each order of writer and reader.
const KEYS: u32 = 2;

/// Pause of a background caller between two requests.
const PAUSE_MS: u32 = 40;

/// How long the keys are in use before anything is taken from them.
const IN_USE_MS: u32 = 500;

/// The model that is asked for: the one that a restriction of models takes away.
const ASKED_FOR: Alias = Alias(1);

/// What is taken from a key. Where there is no team, the key itself is meant.
#[derive(Clone, Copy, Debug)]
enum Restriction {
    BlockKey,
    BlockTeam,
    ModelsOfKey,
    ModelsOfTeam,
}

impl Restriction {
    /// The call that restricts, and the call that lifts the restriction again.
    fn calls(self, drawn: &Identities, key: Key) -> [Admin; 2] {
        let fields = drawn.keys.get(usize::from(key.0));
        let team = fields.and_then(|fields| fields.team.set().copied());
        let only = |models| Terms { models: Field::Set(models), ..Terms::UNSAID };
        let (fewer, all) = (only(vec![Alias(0)]), only(vec![Alias(0), ASKED_FOR]));
        match (self, team) {
            (Restriction::BlockTeam, Some(team)) => {
                [Admin::BlockTeam { team }, Admin::UnblockTeam { team }]
            }
            (Restriction::ModelsOfTeam, Some(team)) => {
                [fewer, all].map(|terms| Admin::UpdateTeam { team, terms })
            }
            (Restriction::BlockKey, _) | (Restriction::BlockTeam, None) => {
                [Admin::BlockKey { key }, Admin::UnblockKey { key }]
            }
            (Restriction::ModelsOfKey, _) | (Restriction::ModelsOfTeam, None) => {
                [fewer, all].map(|terms| Admin::UpdateKey { key, terms })
            }
        }
    }
}

fn restriction() -> impl Strategy<Value = Restriction> + use<> {
    prop_oneof![
        Just(Restriction::BlockKey),
        Just(Restriction::BlockTeam),
        Just(Restriction::ModelsOfKey),
        Just(Restriction::ModelsOfTeam),
    ]
}

/// Two keys in use on both replicas, restricted through one replica each, and in half of the plans
/// released again. What takes time is drawn first, so that it goes first when a plan is shrunk.
fn plan(_: &Manifest) -> BoxedStrategy<Plan> {
    let keys = usize::try_from(KEYS).unwrap_or(usize::MAX);
    (
        any::<bool>(),
        at_most(KEYS),
        vec(restriction(), keys),
        0..REPLICAS.get(),
        0..REPLICAS.get(),
        strangers(keys),
    )
        .prop_map(|(is_lifted, keys, restrictions, through, asked_first, drawn)| {
            let drawn = drawn.with_keys(usize::try_from(keys).unwrap_or(usize::MAX));
            let drawn = with_all_models(drawn);
            let changes: Vec<_> = drawn
                .key_places()
                .zip(restrictions)
                .map(|(key, restriction)| (key, restriction.calls(&drawn, key)))
                .collect();
            // The first key's part in everything is the second one's with the replicas swapped.
            let at = |replica: u8, key: Key| u8::try_from(key.0 % 2).unwrap_or(0) ^ replica;
            let ask = |key, replica| requests::chat_of(key, ASKED_FOR, replica, false);
            let mut steps = drawn.creation();
            let everywhere = (0..REPLICAS.get())
                .flat_map(|replica| drawn.key_places().map(move |key| ask(key, replica)))
                .collect();
            steps.push(Step::StartTraffic { calls: everywhere, pause_ms: PAUSE_MS });
            steps.push(Step::Wait(Wait::Milliseconds(IN_USE_MS)));
            for part in 0..(1 + usize::from(is_lifted)) {
                for (key, calls) in &changes {
                    steps.extend(calls.get(part).map(|admin| {
                        let replica = Replica(at(through, *key));
                        Step::Call(Call { replica, op: Op::Admin(admin.clone()) })
                    }));
                }
                if part == 0 {
                    steps.push(Step::Wait(Wait::Milliseconds(IN_USE_MS)));
                    steps.push(Step::StopTraffic);
                }
                steps.push(Step::Wait(Wait::StalenessAnd { more_ms: 100 }));
                for key in drawn.key_places() {
                    let first = at(asked_first, key);
                    steps.extend([first, 1 - first].map(|at| Step::Call(ask(key, at))));
                }
            }
            Plan::new(drawn.ids, steps).apart()
        })
        .boxed()
}

/// The same, with nobody kept from any model: it is a restriction that does so.
fn with_all_models(mut drawn: Identities) -> Identities {
    let of_owners = drawn.users.values_mut().chain(drawn.teams.values_mut());
    let of_keys = drawn.keys.iter_mut().map(|fields| &mut fields.terms);
    for terms in of_owners.chain(of_keys) {
        terms.models = Field::Absent;
    }
    drawn
}

fn arms(plan: &Plan) -> Vec<Arm> {
    let own = |name, builds| {
        let shape = Shape::of(REPLICAS, NonZeroU8::MIN, builds);
        Arm { name, stack: Stack::Own(shape), plan: plan.clone() }
    };
    vec![own("one release", Builds::Current), own("two releases", Builds::Mixed)]
}

/// One drive of the plan, and what was legal in it.
struct Drive<'a> {
    history: &'a History,
    timeline: Timeline,
    builds: Builds,
}

impl Drive<'_> {
    fn of(history: &History, builds: Builds) -> Drive<'_> {
        Drive { history, timeline: Timeline::of(history), builds }
    }

    fn released(&self, replica: Replica) -> Released {
        Released { replica, is_next: self.builds.is_next(replica) }
    }

    /// Whether every state that was legal during a prompt forbids it.
    fn is_forbidden(&self, seen: &Seen<'_>) -> bool {
        let decided = seen.chat().zip(seen.completed).map(|(chat, completed)| {
            self.timeline.decisions(chat, seen.invoked, completed).may_admit
        });
        decided == Some(false)
    }
}

/// A replica, and which release it is of.
struct Released {
    replica: Replica,
    is_next: bool,
}

impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = if self.is_next { "next" } else { "described" };
        write!(f, "{} (of the {release} release)", self.replica)
    }
}

/// A property that one release must have for its loss to be the mixture's doing.
type Rule = fn(&Drive<'_>) -> Vec<Violation>;

const RULES: [Rule; 3] = [failures, late_arrivals, shut_out];

fn judge(histories: &[History]) -> Verdict {
    let [one, mixed] = histories else {
        return Verdict::Inconclusive("the two drives to compare are not both there".to_owned());
    };
    if let Some(why) = one.gap().or_else(|| mixed.gap()) {
        return Verdict::Inconclusive(why);
    }
    let one = Drive::of(one, Builds::Current);
    let mixed = Drive::of(mixed, Builds::Mixed);
    let (mut violations, mut alone) = (Vec::new(), None);
    for rule in RULES {
        let together = rule(&mixed);
        match (together.first(), rule(&one).first()) {
            (Some(together), Some(one)) => {
                alone = alone.or_else(|| {
                    Some(format!(
                        "with two releases, {}; but one release alone does so: {}",
                        together.summary, one.summary
                    ))
                });
            }
            (Some(_), None) | (None, _) => violations.extend(together),
        }
    }
    violations.extend(more_reads(one.history, mixed.history));
    violations.extend(new_lines(one.history, mixed.history));
    if !violations.is_empty() {
        return Verdict::Fail(violations);
    }
    alone.or_else(|| not_put_to_the_test(&one, &mixed)).map_or(Verdict::Pass, Verdict::Inconclusive)
}

/// Each release must have served, must have been asked for what every legal state forbids, and must have
/// read what the other wrote.
fn not_put_to_the_test(one: &Drive<'_>, mixed: &Drive<'_>) -> Option<String> {
    if one.history.identity_reads().next().is_none() {
        return Some("no identity was ever read from the database".to_owned());
    }
    let calls = mixed.history.calls();
    let untested = (0..mixed.history.manifest.replicas).map(Replica).find_map(|replica| {
        let here = || calls.iter().filter(move |seen| seen.call.replica == replica);
        if !here().any(|seen| seen.chat().is_some() && seen.answered()) {
            return Some(format!("{} served nothing", mixed.released(replica)));
        }
        let was_asked = here().any(|seen| {
            mixed.is_forbidden(seen) && matches!(seen.outcome, Some(Outcome::Refused { .. }))
        });
        (!was_asked).then(|| {
            format!("{} was asked for nothing that it had to refuse", mixed.released(replica))
        })
    });
    untested.or_else(|| never_met(mixed, &calls))
}

/// A release that was to read what the other wrote, with the restriction in it, and that did not.
///
/// A reader to which an entry of the other release is none finds it all the same, as the wire has it.
fn never_met(mixed: &Drive<'_>, calls: &[Seen<'_>]) -> Option<String> {
    let mut met: BTreeMap<(Replica, Replica), bool> = BTreeMap::new();
    for [writing, reading] in one_after_the_other(&mixed.history.plan) {
        let (writer, reader) = (writing.1.replica, reading.1.replica);
        let is_met = calls
            .iter()
            .filter(|seen| seen.step == reading.0 && mixed.is_forbidden(seen))
            .any(|seen| finds_what_was_written_by(mixed.history, writer, seen));
        *met.entry((writer, reader)).or_default() |= is_met;
    }
    if met.is_empty() {
        return Some("neither release was asked right after the other".to_owned());
    }
    let ((writer, reader), _) = met.into_iter().find(|(_, is_met)| !is_met)?;
    Some(format!(
        "no entry with a restriction in it went from {} to {} through Redis",
        mixed.released(writer),
        mixed.released(reader)
    ))
}

/// Prompts with one key of which the second goes to another replica, right after the first: the places of
/// their steps, and the calls.
fn one_after_the_other(plan: &Plan) -> Vec<[(u32, &Call); 2]> {
    let prompt = |step| match step {
        &Step::Call(ref call @ Call { op: Op::Chat(ref chat), .. }) => Some((call, chat.key)),
        _ => None,
    };
    let pairs = (0..).zip(plan.steps.windows(2)).filter_map(|(place, pair)| {
        let [first, second] = pair else { return None };
        let ((first, key), (second, same_key)) = (prompt(first)?, prompt(second)?);
        (key == same_key && first.replica != second.replica)
            .then_some([(place, first), (place + 1, second)])
    });
    pairs.collect()
}

/// Whether the replica of a prompt found in Redis, meanwhile, an identity that `writer` wrote last.
fn finds_what_was_written_by(history: &History, writer: Replica, seen: &Seen<'_>) -> bool {
    let mut written: BTreeMap<&str, Replica> = BTreeMap::new();
    for entry in &history.entries {
        let Event::Redis { replica, keys, .. } = &entry.event else { continue };
        let is_meanwhile = entry.at >= seen.invoked
            && seen.completed.is_some_and(|completed| entry.at <= completed);
        for key in keys {
            match key.access {
                Access::Write => {
                    written.insert(&key.name, *replica);
                }
                Access::Delete => {
                    written.remove(key.name.as_str());
                }
                Access::Hit if is_meanwhile && *replica == seen.call.replica => {
                    let is_of_writer = written.get(key.name.as_str()) == Some(&writer);
                    if is_of_writer && key.kind.is_some() {
                        return true;
                    }
                }
                Access::Hit | Access::Miss | Access::Other => {}
            }
        }
    }
    false
}

/// Calls that a replica failed on, each replica's told once.
fn failures(drive: &Drive<'_>) -> Vec<Violation> {
    let mut failed: BTreeMap<Replica, Vec<Seen<'_>>> = BTreeMap::new();
    for seen in drive.history.calls() {
        if matches!(seen.outcome, Some(Outcome::Refused { status: 500.., .. })) {
            failed.entry(seen.call.replica).or_default().push(seen);
        }
    }
    let told = failed.into_iter().filter_map(|(replica, seen)| {
        let outcome = seen.first()?.outcome?;
        Some(Violation {
            summary: format!(
                "{} fails on {} calls; the first is {outcome}",
                drive.released(replica),
                seen.len()
            ),
            evidence: proof(1, seen.iter().map(|seen| seen.last_index)),
        })
    });
    told.collect()
}

/// Requests that reached the provider though no state that was still legal allows them.
fn late_arrivals(drive: &Drive<'_>) -> Vec<Violation> {
    let mut late: BTreeMap<(Replica, Key), Vec<Arrival<'_>>> = BTreeMap::new();
    for arrival in drive.history.arrivals() {
        let Some(chat) = arrival.seen.chat() else { continue };
        // The older the moment, the more states are legal.
        let latest = arrival.at.plus(arrival.clock_error);
        let earliest = Micros(arrival.at.0.saturating_sub(micros(arrival.clock_error)));
        if !drive.timeline.decisions(chat, earliest, latest).may_admit {
            late.entry((arrival.seen.call.replica, chat.key)).or_default().push(arrival);
        }
    }
    let told = late.into_iter().filter_map(|((replica, key), arrivals)| {
        let first = arrivals.first()?;
        let changes = changes_before(drive.history, first.at);
        let acknowledged = changes.last().and_then(|change| change.completed)?;
        let of_changes = changes.iter().flat_map(|change| [change.index, change.last_index]);
        Some(Violation {
            summary: format!(
                "{} let {} requests of {key} through to the provider that no legal state allows; the \
                 first arrived {} ms after the last restriction was acknowledged, and older states \
                 are legal for {} ms",
                drive.released(replica),
                arrivals.len(),
                first.at.since(acknowledged).as_millis(),
                drive.history.manifest.staleness_ms
            ),
            evidence: proof(1, of_changes.chain(arrivals.iter().map(|arrival| arrival.index))),
        })
    });
    told.collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The management calls that were acknowledged before `moment` and came after the first prompt.
fn changes_before(history: &History, moment: Micros) -> Vec<Seen<'_>> {
    let calls = history.calls();
    let prompted = calls.iter().find(|seen| seen.chat().is_some()).map(|seen| seen.invoked);
    let is_change = |seen: &Seen<'_>| {
        let is_acknowledged = seen.answered() && seen.completed.is_some_and(|it| it <= moment);
        matches!(seen.call.op, Op::Admin(_)) && is_acknowledged && Some(seen.invoked) >= prompted
    };
    calls.into_iter().filter(is_change).collect()
}

/// Requests that were refused though every legal state allows them, each key's told once.
fn shut_out(drive: &Drive<'_>) -> Vec<Violation> {
    let mut refused: BTreeMap<(Replica, Key), Vec<Seen<'_>>> = BTreeMap::new();
    for seen in drive.history.calls() {
        let (Some(chat), Some(completed)) = (seen.chat(), seen.completed) else { continue };
        let may_refuse = drive.timeline.decisions(chat, seen.invoked, completed).may_refuse;
        if !may_refuse && matches!(seen.outcome, Some(Outcome::Refused { status: ..500, .. })) {
            refused.entry((seen.call.replica, chat.key)).or_default().push(seen);
        }
    }
    let told = refused.into_iter().filter_map(|((replica, key), seen)| {
        let outcome = seen.first()?.outcome?;
        Some(Violation {
            summary: format!(
                "{} refuses {} requests of {key} that every legal state allows; the first: {outcome}",
                drive.released(replica),
                seen.len()
            ),
            evidence: proof(1, seen.iter().map(|seen| seen.last_index)),
        })
    });
    told.collect()
}

/// Identity reads beyond twice those of one release: each release may read an object for itself where
/// what the other wrote is no entry to it, and two that undo each other's entries read far more. The two
/// drives do not meet their expiries at the same requests, so each object may be read once more on each
/// replica.
fn more_reads(one: &History, mixed: &History) -> Option<Violation> {
    let (alone, together) = (request_reads(one), request_reads(mixed));
    let objects: usize = cache::objects(mixed).values().sum();
    let most = 2 * alone.len() + objects * usize::from(mixed.manifest.replicas);
    (together.len() > most).then(|| Violation {
        summary: format!(
            "{} identity reads with two releases, {} with one (at most {most} can be explained)",
            together.len(),
            alone.len()
        ),
        evidence: proof(1, together),
    })
}

/// The statements that read an identity once the first prompt was sent.
fn request_reads(history: &History) -> Vec<usize> {
    let first = history.calls().into_iter().find(|seen| seen.chat().is_some());
    let from = first.map_or(history.ended(), |seen| seen.invoked);
    let reads = history.identity_reads().filter(|(_, entry, _)| entry.at >= from);
    reads.map(|(index, ..)| index).collect()
}

/// Lines at WARN or above that name the case and that one release does not write.
fn new_lines(one: &History, mixed: &History) -> Option<Violation> {
    let known: BTreeSet<_> =
        one.lines_at_least(LogLevel::Warn).map(|(_, _, template, _)| template).collect();
    let new: Vec<_> = mixed
        .lines_at_least(LogLevel::Warn)
        .filter(|(_, _, template, text)| text.contains(&mixed.prefix) && !known.contains(template))
        .collect();
    let (_, _, template, _) = new.first()?;
    Some(Violation {
        summary: format!(
            "{} lines at WARN or above that one release does not write; the first: {template}",
            new.len()
        ),
        evidence: proof(1, new.iter().map(|(index, ..)| *index)),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        generators::plan_tree,
        history::hand::Hand,
        op::{Chat, KeyFields, Kind, Refusal},
        plan::story,
    };

    const CHAT: Chat = Chat { key: Key(0), alias: ASKED_FOR, streamed: false };

    /// A key that both replicas have served, blocked at 2,000 ms. D is one second.
    fn blocked() -> Hand {
        Hand::new()
            .admin(1, Admin::GenerateKey { key: Key(0), fields: KeyFields::UNSAID })
            .serves(1_500, 0, CHAT)
            .identity_read(1_500, Kind::Key)
            .serves(1_510, 1, CHAT)
            .admin(2_000, Admin::BlockKey { key: Key(0) })
    }

    fn refused(hand: Hand, at_ms: u64, replica: u8, status: u16, refusal: Refusal) -> Hand {
        let message = "no".to_owned();
        let outcome = Outcome::Refused { status, refusal, error_type: None, message };
        hand.asked(at_ms, replica, Op::Chat(CHAT), outcome)
    }

    /// Both replicas refuse once the bound has passed, the second by what the first one wrote.
    fn held(hand: Hand) -> Hand {
        refused_by_both(hand).redis(3_210, 1, Access::Hit, "key:p0", Some(Kind::Key))
    }

    fn refused_by_both(hand: Hand) -> Hand {
        let hand = refused(hand, 3_200, 0, 401, Refusal::Blocked).redis(
            3_200,
            0,
            Access::Write,
            "key:p0",
            Some(Kind::Key),
        );
        refused(hand, 3_210, 1, 401, Refusal::Blocked)
    }

    fn judged(mixed: Hand) -> Verdict {
        judged_beside(held(blocked()), mixed)
    }

    fn judged_beside(one: Hand, mixed: Hand) -> Verdict {
        judge(&[one, mixed].map(planned))
    }

    /// A history whose plan asked for each of its calls alone.
    fn planned(hand: Hand) -> History {
        let mut history = hand.done();
        let calls: Vec<_> = history.calls().into_iter().map(|seen| seen.call.clone()).collect();
        history.plan.steps = calls.into_iter().map(Step::Call).collect();
        history
    }

    #[test]
    fn a_block_that_the_other_release_loses_is_a_violation() {
        let mixed = refused(blocked(), 3_200, 1, 401, Refusal::Blocked).serves(3_210, 0, CHAT);
        assert_snapshot!(judged(mixed), @"
        fail
          replica 0 (of the described release) let 1 requests of key 0 through to the provider that no legal state allows; the first arrived 1209 ms after the last restriction was acknowledged, and older states are legal for 1000 ms
        ");
    }

    #[test]
    fn a_failure_of_either_release_is_a_violation() {
        let mixed = refused(held(blocked()), 3_300, 0, 500, Refusal::Fault);
        assert_snapshot!(judged(mixed), @"
        fail
          replica 0 (of the described release) fails on 1 calls; the first is refused 500 (gateway fault): no
        ");
    }

    #[test]
    fn a_refusal_of_what_is_allowed_is_a_violation() {
        let mixed = Hand::new()
            .admin(1, Admin::GenerateKey { key: Key(0), fields: KeyFields::UNSAID })
            .serves(1_100, 0, CHAT);
        let mixed = refused(mixed, 1_200, 1, 401, Refusal::Unauthenticated);
        assert_snapshot!(judged(mixed), @"
        fail
          replica 1 (of the next release) refuses 1 requests of key 0 that every legal state allows; the first: refused 401 (unauthenticated): no
        ");
    }

    #[test]
    fn a_storm_of_reads_is_a_violation() {
        let mixed = (0..6)
            .fold(held(blocked()), |hand, more| hand.identity_read_by(1_600 + more, 1, Kind::Key));
        assert_snapshot!(judged(mixed), @"
        fail
          7 identity reads with two releases, 1 with one (at most 4 can be explained)
        ");
    }

    #[test]
    fn a_line_that_one_release_does_not_write_is_a_violation() {
        let mixed = held(blocked()).line(3_200, LogLevel::Warn, "unknown field in p");
        assert_snapshot!(judged(mixed), @"
        fail
          1 lines at WARN or above that one release does not write; the first: unknown field in p
        ");
    }

    #[test]
    fn what_one_release_does_alone_says_nothing_about_two() {
        let failing = || refused(held(blocked()), 3_300, 0, 500, Refusal::Fault);
        assert_snapshot!(judged_beside(failing(), failing()), @"inconclusive: with two releases, replica 0 (of the described release) fails on 1 calls; the first is refused 500 (gateway fault): no; but one release alone does so: replica 0 (of the described release) fails on 1 calls; the first is refused 500 (gateway fault): no");
        let late = || held(blocked()).serves(3_400, 1, CHAT);
        assert_snapshot!(judged_beside(late(), late()), @"inconclusive: with two releases, replica 1 (of the next release) let 1 requests of key 0 through to the provider that no legal state allows; the first arrived 1399 ms after the last restriction was acknowledged, and older states are legal for 1000 ms; but one release alone does so: replica 1 (of the described release) let 1 requests of key 0 through to the provider that no legal state allows; the first arrived 1399 ms after the last restriction was acknowledged, and older states are legal for 1000 ms");
        let shutting_out = || {
            let issued = Admin::GenerateKey { key: Key(0), fields: KeyFields::UNSAID };
            refused(Hand::new().admin(1, issued), 1_200, 1, 401, Refusal::Unauthenticated)
        };
        assert_snapshot!(judged_beside(shutting_out(), shutting_out()), @"inconclusive: with two releases, replica 1 (of the next release) refuses 1 requests of key 0 that every legal state allows; the first: refused 401 (unauthenticated): no; but one release alone does so: replica 1 (of the described release) refuses 1 requests of key 0 that every legal state allows; the first: refused 401 (unauthenticated): no");
    }

    #[test]
    fn what_only_two_releases_do_is_a_violation_beside_what_one_does_alone() {
        let failing = refused(held(blocked()), 3_300, 0, 500, Refusal::Fault);
        let both = refused(held(blocked()), 3_300, 0, 500, Refusal::Fault).serves(3_400, 1, CHAT);
        assert_snapshot!(judged_beside(failing, both), @"
        fail
          replica 1 (of the next release) let 1 requests of key 0 through to the provider that no legal state allows; the first arrived 1399 ms after the last restriction was acknowledged, and older states are legal for 1000 ms
        ");
    }

    #[test]
    fn a_release_that_reads_nothing_of_the_other_proves_nothing() {
        let missed = refused_by_both(blocked()).redis(3_210, 1, Access::Miss, "key:p0", None);
        assert_snapshot!(judged(missed), @"inconclusive: no entry with a restriction in it went from replica 0 (of the described release) to replica 1 (of the next release) through Redis");
        let its_own = refused_by_both(blocked())
            .redis(3_205, 1, Access::Write, "key:p0", Some(Kind::Key))
            .redis(3_210, 1, Access::Hit, "key:p0", Some(Kind::Key));
        assert_snapshot!(judged(its_own), @"inconclusive: no entry with a restriction in it went from replica 0 (of the described release) to replica 1 (of the next release) through Redis");
        let no_identity = refused_by_both(blocked()).redis(3_210, 1, Access::Hit, "key:p0", None);
        assert_snapshot!(judged(no_identity), @"inconclusive: no entry with a restriction in it went from replica 0 (of the described release) to replica 1 (of the next release) through Redis");
    }

    #[test]
    fn each_direction_that_was_asked_for_must_be_met() {
        let back = refused(held(blocked()), 3_220, 0, 401, Refusal::Blocked);
        assert_snapshot!(judged(back), @"inconclusive: no entry with a restriction in it went from replica 1 (of the next release) to replica 0 (of the described release) through Redis");
        let both_ways = refused(
            held(blocked()).redis(3_211, 1, Access::Write, "key:p0", Some(Kind::Key)),
            3_220,
            0,
            401,
            Refusal::Blocked,
        )
        .redis(3_220, 0, Access::Hit, "key:p0", Some(Kind::Key));
        assert_eq!(judged(both_ways), Verdict::Pass);
    }

    #[test]
    fn releases_that_are_not_asked_after_each_other_prove_nothing() {
        let [one, mixed] = [held(blocked()), held(blocked())].map(planned);
        let unplanned = History { plan: Plan::new(Vec::new(), Vec::new()), ..mixed };
        assert_snapshot!(judge(&[one, unplanned]), @"inconclusive: neither release was asked right after the other");
    }

    #[test]
    fn what_arrives_within_the_bound_is_fine() {
        assert_eq!(judged(held(blocked().serves(2_900, 0, CHAT))), Verdict::Pass);
    }

    #[test]
    fn a_release_that_was_never_asked_after_the_bound_proves_nothing() {
        let mixed = refused(blocked(), 3_200, 0, 401, Refusal::Blocked);
        assert_snapshot!(judged(mixed), @"inconclusive: replica 1 (of the next release) was asked for nothing that it had to refuse");
    }

    #[test]
    fn one_drive_alone_proves_nothing() {
        assert_snapshot!(judge(&[held(blocked()).done()]), @"inconclusive: the two drives to compare are not both there");
    }

    #[test]
    fn each_release_writes_what_the_other_reads() {
        let manifest = Hand::new().done().manifest;
        let tree = plan_tree(&plan(&manifest), 7, CHECK.id, 0).unwrap();
        assert_snapshot!(story(&tree.current()).join("\n"), @r#"
        create team "t0" with alias = null, rpm_limit = 1000000 (replica 0)
        create user "u0" with alias = set, metadata = set, rpm_limit = 1000000 (replica 0)
        create user "u1" with alias empty, metadata = set (replica 0)
        add user "u0" to team "t0" (replica 0)
        generate key 0 with user_id = "u0", team_id = "t0", alias = null, metadata empty, rpm_limit = 1000000 (replica 0)
        generate key 1 with user_id = "u1", metadata = null, max_budget = 1000000000 µ$, rpm_limit = null (replica 0)
        in the background, every 40 ms: chat with key 0, model 1 (replica 0); chat with key 1, model 1 (replica 0); chat with key 0, model 1 (replica 1); chat with key 1, model 1 (replica 1)
        wait 500 ms
        block team "t0" (replica 1)
        block key 1 (replica 0)
        wait 500 ms
        stop the background traffic
        wait the staleness bound and 100 ms
        chat with key 0, model 1 (replica 1)
        chat with key 0, model 1 (replica 0)
        chat with key 1, model 1 (replica 0)
        chat with key 1, model 1 (replica 1)
        unblock team "t0" (replica 1)
        unblock key 1 (replica 0)
        wait the staleness bound and 100 ms
        chat with key 0, model 1 (replica 1)
        chat with key 0, model 1 (replica 0)
        chat with key 1, model 1 (replica 0)
        chat with key 1, model 1 (replica 1)
        "#);
    }
}
