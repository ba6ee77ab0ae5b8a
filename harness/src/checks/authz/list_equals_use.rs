//! A key is shown exactly the models that it can call.
//!
//! Lists of models sit on keys, users, teams and organisations. They are absent, null, empty or set, and
//! some name a model that nobody configured; users are members of several teams; lists are changed later
//! and owners deleted, and then the staleness bound is waited for. Each key asks a replica for its models
//! and after that, of the same replica, for a prompt of every model and of one that nobody configured. A
//! model can be called when the prompt reached the provider, which its own ledger tells. How the lists
//! add up is for the gateway to say, but it must come to the same in both places: what is shown can be
//! called, what can be called is shown, and nothing else is shown, nor anything twice. Where the list
//! itself is refused, nothing can be called. And a model that is not shown is denied as such: with 401,
//! 403 or 404, or with 400 where there is no such model. A rate limit, or a gateway that is not available
//! just now, says nothing of rights: such a list or prompt is left out of the comparison.
//!
//! A target may offer more models than its description names. So one more key, which nothing restricts and
//! nobody owns, asks for its models too: a name that we do not know and that it is not shown either is
//! nobody's. Whether a further model that it is shown can be called is not judged, and a made-up name that
//! every key is shown is taken for one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, option, prelude::*};

use crate::{
    capability::Capability,
    check::{Check, Level, one_arm, whole},
    generators::{fewer::at_most, identities::at_first, requests},
    history::{CallId, Event, History, Manifest, Seen},
    op::{
        Admin, Alias, Call, Field, Id, Key, KeyFields, Listed, Op, Outcome, Refusal, Replica, Terms,
    },
    plan::{IdShape, Plan, Step, Wait},
    verdict::{Proof, Verdict, Violation},
};

/// The check.
pub static CHECK: Check = Check {
    id: "authz.list-equals-use",
    title: "A key is shown exactly the models that it can call",
    why: "Callers pick their models from the list. One that is shown and refused looks like an outage, \
          one that is left out is never found, and names from elsewhere tell tenants of each other.",
    incidents: &[
        "https://github.com/BerriAI/litellm/issues/26420",
        "https://github.com/BerriAI/litellm/issues/31966",
        "https://github.com/BerriAI/litellm/issues/25550",
        "https://github.com/BerriAI/litellm/issues/8113",
    ],
    level: Level::Core,
    needs: &[
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::ModelList,
        Capability::MockUpstream,
    ],
    plan,
    arms: one_arm,
    judge,
};

/// Models that every target of ours offers.
const OFFERED: [Alias; 2] = [Alias(0), Alias(1)];

/// A key that nothing restricts: what it is shown is offered.
const UNRESTRICTED: Key = Key(2);

/// A model that nobody configured.
const NOBODYS: Alias = Alias(u8::MAX);

const USER: Id = Id(0);
const TEAM: Id = Id(1);
const OTHER_TEAM: Id = Id(2);
const ORGANISATION: Id = Id(3);

/// Whose list binds a key, besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owners {
    Nobody,
    User,
    Team,
    Organisation,
    UserAndTeam,
    UserAndOrganisation,
}

impl Owners {
    fn user(self) -> bool {
        matches!(self, Owners::User | Owners::UserAndTeam | Owners::UserAndOrganisation)
    }

    fn team(self) -> bool {
        matches!(self, Owners::Team | Owners::UserAndTeam)
    }

    fn organisation(self) -> bool {
        matches!(self, Owners::Organisation | Owners::UserAndOrganisation)
    }
}

type Models = Field<Vec<Alias>>;

/// The lists of the entities that keys may name.
#[derive(Clone, Debug)]
struct Lists {
    user: Models,
    team: Models,
    organisation: Models,
    /// Of another team that the user is a member of.
    other_team: Option<Models>,
}

/// What becomes of a list after it was asked for.
#[derive(Clone, Debug)]
enum Change {
    Key(Models),
    User(Models),
    Team(Models),
    LeaveOtherTeam,
    DeleteOtherTeam,
    DeleteTeam,
}

/// One or two keys whose lists and owners' lists differ; after the first round something may change. In the
/// end a key that nothing restricts is shown what there is.
/// Shrinks towards one key without owners, lists that are left out, no change, and one round on one
/// replica.
fn plan(manifest: &Manifest) -> BoxedStrategy<Plan> {
    let keys = vec((owners(), models()), 1..=2);
    let replicas = at_most(manifest.replicas.into());
    let cold = prop_oneof![1 => Just(true), 3 => Just(false)];
    (lists(), keys, option::of(change()), cold, replicas)
        .prop_map(|(lists, keys, change, cold, replicas)| {
            let places: Vec<_> = (0..).map(Key).take(keys.len()).collect();
            let replicas = u8::try_from(replicas).unwrap_or(u8::MAX);
            let change = change.and_then(|change| applied(change, &lists, &keys));
            let mut steps = creation(&lists, &keys);
            if change.is_none() || !cold {
                steps.extend(round(&places, replicas));
            }
            if let Some(admin) = change {
                steps.push(at_first(admin));
                steps.push(Step::Wait(Wait::StalenessAnd { more_ms: 100 }));
                steps.extend(round(&places, replicas));
            }
            steps.push(list(UNRESTRICTED, 0));
            Plan::new(vec![IdShape::Plain; 4], steps)
        })
        .boxed()
}

fn lists() -> impl Strategy<Value = Lists> + use<> {
    (models(), models(), models(), option::of(models())).prop_map(
        |(user, team, organisation, other_team)| Lists { user, team, organisation, other_team },
    )
}

fn owners() -> impl Strategy<Value = Owners> + use<> {
    prop_oneof![
        1 => Just(Owners::Nobody),
        3 => Just(Owners::User),
        2 => Just(Owners::Team),
        1 => Just(Owners::Organisation),
        2 => Just(Owners::UserAndTeam),
        1 => Just(Owners::UserAndOrganisation),
    ]
}

/// A list that restricts nothing, in three ways, or leaves out some of what is offered.
fn models() -> BoxedStrategy<Models> {
    let set = prop_oneof![
        Just(vec![Alias(0)]),
        Just(vec![Alias(1)]),
        Just(OFFERED.to_vec()),
        Just(vec![Alias(0), NOBODYS]),
        Just(vec![NOBODYS]),
    ];
    prop_oneof![
        2 => Just(Field::Absent),
        1 => Just(Field::Null),
        1 => Just(Field::Empty),
        4 => set.prop_map(Field::Set),
    ]
    .boxed()
}

fn change() -> impl Strategy<Value = Change> + use<> {
    prop_oneof![
        models().prop_map(Change::Key),
        models().prop_map(Change::User),
        models().prop_map(Change::Team),
        Just(Change::LeaveOtherTeam),
        Just(Change::DeleteOtherTeam),
        Just(Change::DeleteTeam),
    ]
}

fn only(models: &Models) -> Terms {
    Terms { models: models.clone(), ..Terms::UNSAID }
}

/// Everything that a key names, and then the keys.
fn creation(lists: &Lists, keys: &[(Owners, Models)]) -> Vec<Step> {
    let named = |by: fn(Owners) -> bool| keys.iter().any(|(owners, _)| by(*owners));
    let both = keys.iter().any(|(owners, _)| *owners == Owners::UserAndTeam);
    let mut admins = Vec::new();
    if named(Owners::organisation) {
        let terms = only(&lists.organisation);
        admins.push(Admin::CreateOrganisation { organisation: ORGANISATION, terms });
    }
    if named(Owners::team) {
        admins.push(Admin::CreateTeam { team: TEAM, terms: only(&lists.team) });
    }
    if named(Owners::user) {
        admins.push(Admin::CreateUser { user: USER, terms: only(&lists.user) });
        if let Some(models) = &lists.other_team {
            admins.push(Admin::CreateTeam { team: OTHER_TEAM, terms: only(models) });
            admins.push(member_of(OTHER_TEAM));
        }
    }
    if both {
        admins.push(member_of(TEAM));
    }
    admins.extend((0..).map(Key).zip(keys).map(|(key, (owners, models))| {
        let owned = |by: bool, id| if by { Field::Set(id) } else { Field::Absent };
        let fields = KeyFields {
            user: owned(owners.user(), USER),
            team: owned(owners.team(), TEAM),
            organisation: owned(owners.organisation(), ORGANISATION),
            terms: only(models),
            ..KeyFields::UNSAID
        };
        Admin::GenerateKey { key, fields }
    }));
    admins.push(Admin::GenerateKey { key: UNRESTRICTED, fields: KeyFields::UNSAID });
    admins.into_iter().map(at_first).collect()
}

fn member_of(team: Id) -> Admin {
    Admin::AddMember { team, user: USER, max_budget: Field::Absent }
}

/// The call that makes a change; none where nobody is there to be changed.
fn applied(change: Change, lists: &Lists, keys: &[(Owners, Models)]) -> Option<Admin> {
    let named = |by: fn(Owners) -> bool| keys.iter().any(|(owners, _)| by(*owners));
    let in_other_team = named(Owners::user) && lists.other_team.is_some();
    match change {
        Change::Key(models) => Some(Admin::UpdateKey { key: Key(0), terms: only(&models) }),
        Change::User(models) => {
            named(Owners::user).then(|| Admin::UpdateUser { user: USER, terms: only(&models) })
        }
        Change::Team(models) => {
            named(Owners::team).then(|| Admin::UpdateTeam { team: TEAM, terms: only(&models) })
        }
        Change::LeaveOtherTeam => {
            in_other_team.then_some(Admin::RemoveMember { team: OTHER_TEAM, user: USER })
        }
        Change::DeleteOtherTeam => in_other_team.then_some(Admin::DeleteTeam { team: OTHER_TEAM }),
        Change::DeleteTeam => named(Owners::team).then_some(Admin::DeleteTeam { team: TEAM }),
    }
}

/// Each key asks each replica for its models, and there for a prompt of each one.
fn round(keys: &[Key], replicas: u8) -> Vec<Step> {
    let asked = |key: Key, at: u8| {
        let models = OFFERED.into_iter().chain([NOBODYS]);
        let prompts = models.map(move |alias| requests::chat_of(key, alias, at, false));
        std::iter::once(list(key, at)).chain(prompts.map(Step::Call))
    };
    (0..replicas).flat_map(|at| keys.iter().flat_map(move |key| asked(*key, at))).collect()
}

fn list(key: Key, at: u8) -> Step {
    Step::Call(Call { replica: Replica(at), op: Op::ListModels { key } })
}

fn judge(histories: &[History]) -> Verdict {
    let history = match whole(histories) {
        Ok(history) => history,
        Err(inconclusive) => return inconclusive,
    };
    let calls = history.calls();
    let arrived = arrived(history);
    let rounds = rounds(&calls);
    let offered = offered(&rounds);
    let mut compared = 0;
    let mut unknown = None;
    let mut breaches: BTreeMap<String, Vec<Vec<&Seen<'_>>>> = BTreeMap::new();
    for round in &rounds {
        let Some(shown) = shown(round.list) else { continue };
        let mut told = surplus(round.list, &shown);
        for stranger in strangers(&shown) {
            match &offered {
                Some(offered) if offered.contains(stranger) => {}
                Some(_) => told.push((nobodys(round.list, stranger), None)),
                None => unknown = Some(stranger.clone()),
            }
        }
        for prompt in &round.prompts {
            let Some(callable) = callable(prompt, &arrived) else { continue };
            compared += 1;
            if let Some(breach) = mismatch(round.list, &shown, prompt, callable) {
                told.push((breach, Some(prompt)));
            }
        }
        for (breach, prompt) in told {
            let seen = std::iter::once(round.list).chain(prompt.copied()).collect();
            breaches.entry(breach).or_default().push(seen);
        }
    }
    if breaches.is_empty() && compared == 0 {
        let why = "no list and no prompt of one key and replica could be compared";
        return Verdict::Inconclusive(why.to_owned());
    }
    if let Some(stranger) = unknown.filter(|_| breaches.is_empty()) {
        return Verdict::Inconclusive(format!(
            "{stranger} was listed, and no key that nothing restricts was shown what there is"
        ));
    }
    let violations = breaches.into_iter().map(|(breach, seen)| violation(&calls, breach, &seen));
    Verdict::of(violations.collect())
}

/// Everything that the key which nothing restricts was shown. `None` where it was shown no list.
fn offered(rounds: &[Round<'_>]) -> Option<BTreeSet<Listed>> {
    let of_it = rounds.iter().filter(|round| asker(round.list) == UNRESTRICTED);
    let mut lists = of_it.filter_map(|round| match round.list.outcome? {
        Outcome::Listed { models, .. } => Some(models.iter().cloned()),
        Outcome::Refused { .. } | Outcome::Answered { .. } | Outcome::Indeterminate { .. } => None,
    });
    let first = lists.next()?;
    Some(first.chain(lists.flatten()).collect())
}

/// The names in a list that we do not know, each once.
fn strangers(shown: &[Listed]) -> BTreeSet<&Listed> {
    shown.iter().filter(|model| matches!(model, Listed::Stranger(_))).collect()
}

fn nobodys(list: &Seen<'_>, stranger: &Listed) -> String {
    let (replica, key) = (list.call.replica, asker(list));
    format!("{replica} lists {stranger} for {key}, and not for a key that nothing restricts")
}

/// A list that a key asked for, and the prompts of this key to this replica that came after it.
struct Round<'a> {
    list: &'a Seen<'a>,
    prompts: Vec<&'a Seen<'a>>,
}

fn rounds<'a>(calls: &'a [Seen<'a>]) -> Vec<Round<'a>> {
    let mut rounds = Vec::new();
    let mut open: BTreeMap<(Replica, Key), usize> = BTreeMap::new();
    for seen in calls {
        match &seen.call.op {
            Op::ListModels { key } => {
                open.insert((seen.call.replica, *key), rounds.len());
                rounds.push(Round { list: seen, prompts: Vec::new() });
            }
            Op::Chat(chat) => {
                let place = open.get(&(seen.call.replica, chat.key));
                if let Some(round) = place.and_then(|place| rounds.get_mut(*place)) {
                    round.prompts.push(seen);
                }
            }
            Op::Admin(_) => open.clear(),
        }
    }
    rounds
}

/// The calls whose prompt reached the provider.
fn arrived(history: &History) -> BTreeSet<CallId> {
    let call = |event: &Event| match event {
        Event::Attempt { call, .. } => *call,
        _ => None,
    };
    history.entries.iter().filter_map(|entry| call(&entry.event)).collect()
}

/// The models that a key was shown: none where the list was refused. `None` where nobody knows.
fn shown(list: &Seen<'_>) -> Option<Vec<Listed>> {
    match list.outcome? {
        Outcome::Listed { models, .. } => Some(models.clone()),
        Outcome::Refused { refusal, .. } => says_of_rights(*refusal).then(Vec::new),
        Outcome::Answered { .. } | Outcome::Indeterminate { .. } => None,
    }
}

/// Whether a prompt got through to a model. `None` where nobody knows.
fn callable(prompt: &Seen<'_>, arrived: &BTreeSet<CallId>) -> Option<bool> {
    if arrived.contains(&prompt.id) {
        return Some(true);
    }
    match prompt.outcome? {
        Outcome::Refused { refusal, .. } => says_of_rights(*refusal).then_some(false),
        Outcome::Answered { .. } => Some(true),
        Outcome::Listed { .. } | Outcome::Indeterminate { .. } => None,
    }
}

/// Whether a refusal may be for want of a right, and not for want of means.
fn says_of_rights(refusal: Refusal) -> bool {
    match refusal {
        Refusal::RateLimited | Refusal::Unavailable => false,
        Refusal::Unauthenticated
        | Refusal::Blocked
        | Refusal::Expired
        | Refusal::ModelDenied
        | Refusal::OverBudget
        | Refusal::NotFound
        | Refusal::Invalid
        | Refusal::Fault => true,
    }
}

type Breach<'a> = (String, Option<&'a &'a Seen<'a>>);

/// What is wrong with a list whatever can be called.
fn surplus<'a>(list: &Seen<'_>, shown: &[Listed]) -> Vec<Breach<'a>> {
    let (replica, key) = (list.call.replica, asker(list));
    let mut told = Vec::new();
    if let Some(Outcome::Refused { status: status @ 500.., message, .. }) = list.outcome {
        told.push(format!("{replica} fails to list the models of {key}: {status} {message}"));
    }
    let mut times: BTreeMap<&Listed, usize> = BTreeMap::new();
    for model in shown {
        *times.entry(model).or_default() += 1;
    }
    for (model, times) in times {
        if times > 1 {
            told.push(format!("{replica} lists {model} for {key} {times} times over"));
        }
    }
    told.into_iter().map(|told| (told, None)).collect()
}

/// What is wrong between a list and a prompt.
fn mismatch(
    list: &Seen<'_>,
    shown: &[Listed],
    prompt: &Seen<'_>,
    callable: bool,
) -> Option<String> {
    let (replica, key) = (list.call.replica, asker(list));
    let alias = prompt.chat()?.alias;
    let listed = shown.contains(&Listed::Alias(alias));
    let named = Named(alias);
    let ended = || prompt.outcome.map_or_else(String::new, ToString::to_string);
    match (listed, callable) {
        (true, false) => {
            Some(format!("{replica} lists {named} for {key}, which cannot call it: {}", ended()))
        }
        (false, true) => Some(match list.outcome {
            Some(Outcome::Refused { status, .. }) => format!(
                "{replica} refuses {key} its list of models with {status}, and lets it call {named}"
            ),
            _ => format!("{replica} leaves {named} out of the list of {key}, which can call it"),
        }),
        (false, false) => {
            let Some(Outcome::Refused { status, .. }) = prompt.outcome else { return None };
            let denied = matches!(status, 401 | 403 | 404) || (*status == 400 && alias == NOBODYS);
            (!denied).then(|| {
                format!("{replica} does not deny {named} to {key} as it should: {}", ended())
            })
        }
        (true, true) => None,
    }
}

/// A model in words.
struct Named(Alias);

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            NOBODYS => f.write_str("a model that nobody configured"),
            alias => write!(f, "{alias}"),
        }
    }
}

fn asker(list: &Seen<'_>) -> Key {
    match &list.call.op {
        Op::ListModels { key } => *key,
        Op::Chat(chat) => chat.key,
        Op::Admin(_) => Key(0),
    }
}

/// The same breach may come again after a change; it is told once, with what led to the first.
fn violation(calls: &[Seen<'_>], breach: String, seen: &[Vec<&Seen<'_>>]) -> Violation {
    let times = if seen.len() > 1 { format!(" ({} times)", seen.len()) } else { String::new() };
    let first = seen.first().map_or(&[][..], Vec::as_slice);
    let list = first.first().map_or(0, |list| list.index);
    let before = calls
        .iter()
        .filter(|call| matches!(call.call.op, Op::Admin(_)) && call.answered())
        .filter(|call| call.index < list)
        .map(|call| call.index);
    let asked = first.iter().flat_map(|seen| [seen.index, seen.last_index]);
    let evidence = before.chain(asked).map(|index| Proof { arm: 0, index }).collect();
    Violation { summary: format!("{breach}{times}"), evidence }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{history::hand::Hand, op::Chat};

    const KEY: Key = Key(0);

    /// A key that is shown these models, then asks for each of the two and for nobody's, and can call
    /// these.
    fn asked(shown: &[Listed], callable: &[Alias]) -> Hand {
        let list = Outcome::Listed { status: 200, models: shown.to_vec() };
        let hand = Hand::new()
            .admin(1, Admin::GenerateKey { key: KEY, fields: KeyFields::UNSAID })
            .asked(10, 0, Op::ListModels { key: KEY }, list);
        (20..).step_by(10).zip([Alias(0), Alias(1), NOBODYS]).fold(hand, |hand, (at, alias)| {
            let chat = Chat { key: KEY, alias, streamed: false };
            if callable.contains(&alias) {
                hand.serves(at, 0, chat)
            } else {
                hand.asked(at, 0, Op::Chat(chat), denied(403))
            }
        })
    }

    fn denied(status: u16) -> Outcome {
        Outcome::Refused {
            status,
            refusal: Refusal::ModelDenied,
            error_type: None,
            message: "no".to_owned(),
        }
    }

    const FIRST: Listed = Listed::Alias(Alias(0));
    const SECOND: Listed = Listed::Alias(Alias(1));

    #[test]
    fn what_is_shown_and_what_can_be_called_are_the_same() {
        assert_eq!(judge(&[asked(&[FIRST], &[Alias(0)]).done()]), Verdict::Pass);
        assert_eq!(judge(&[asked(&[], &[]).done()]), Verdict::Pass);
    }

    #[test]
    fn a_model_that_is_shown_and_refused_is_a_violation() {
        assert_snapshot!(judge(&[asked(&[FIRST, SECOND], &[Alias(0)]).done()]), @"
        fail
          replica 0 lists model 1 for key 0, which cannot call it: refused 403 (model denied): no
        ");
    }

    #[test]
    fn a_model_that_is_left_out_and_can_be_called_is_a_violation() {
        assert_snapshot!(judge(&[asked(&[FIRST], &OFFERED).done()]), @"
        fail
          replica 0 leaves model 1 out of the list of key 0, which can call it
        ");
    }

    #[test]
    fn strangers_and_repetitions_are_violations() {
        let history = asked(&[FIRST, stranger("no-default-models"), FIRST], &[Alias(0)]);
        assert_snapshot!(judge(&[offering(history, &[FIRST, SECOND]).done()]), @r#"
        fail
          replica 0 lists "no-default-models" for key 0, and not for a key that nothing restricts
          replica 0 lists model 0 for key 0 2 times over
        "#);
    }

    fn stranger(name: &str) -> Listed {
        Listed::Stranger(name.to_owned())
    }

    /// The key that nothing restricts is shown these models.
    fn offering(hand: Hand, models: &[Listed]) -> Hand {
        let list = Outcome::Listed { status: 200, models: models.to_vec() };
        hand.asked(90, 0, Op::ListModels { key: UNRESTRICTED }, list)
    }

    #[test]
    fn a_model_that_the_description_does_not_name_is_no_stranger() {
        let third = || stranger("a-third");
        let history = asked(&[FIRST, third()], &[Alias(0)]);
        assert_eq!(judge(&[offering(history, &[FIRST, SECOND, third()]).done()]), Verdict::Pass);
    }

    #[test]
    fn a_name_that_cannot_be_compared_with_what_there_is_proves_nothing() {
        let history = asked(&[FIRST, stranger("a-third")], &[Alias(0)]);
        assert_snapshot!(judge(&[history.done()]), @r#"inconclusive: "a-third" was listed, and no key that nothing restricts was shown what there is"#);
    }

    /// Turned away for want of means.
    fn turned_away(refusal: Refusal) -> Outcome {
        let message = "no".to_owned();
        Outcome::Refused { status: 429, refusal, error_type: None, message }
    }

    #[test]
    fn a_request_that_is_turned_away_for_want_of_means_says_nothing() {
        let chat = |alias| Op::Chat(Chat { key: KEY, alias, streamed: false });
        let list = Op::ListModels { key: KEY };
        for refusal in [Refusal::RateLimited, Refusal::Unavailable] {
            let shown = Outcome::Listed { status: 200, models: vec![FIRST] };
            let prompts = Hand::new()
                .asked(10, 0, list.clone(), shown)
                .asked(20, 0, chat(Alias(0)), turned_away(refusal))
                .asked(30, 0, chat(Alias(1)), turned_away(refusal));
            assert!(matches!(judge(&[prompts.done()]), Verdict::Inconclusive(_)));
            let lists = Hand::new().asked(10, 0, list.clone(), turned_away(refusal)).serves(
                20,
                0,
                Chat { key: KEY, alias: Alias(0), streamed: false },
            );
            assert!(matches!(judge(&[lists.done()]), Verdict::Inconclusive(_)));
        }
    }

    #[test]
    fn a_list_that_is_refused_is_an_empty_one() {
        let refused = Hand::new().asked(10, 0, Op::ListModels { key: KEY }, denied(401));
        let chat = |alias| Chat { key: KEY, alias, streamed: false };
        let all = refused.asked(20, 0, Op::Chat(chat(Alias(0))), denied(401));
        assert_eq!(judge(&[all.done()]), Verdict::Pass);
        let refused = Hand::new().asked(10, 0, Op::ListModels { key: KEY }, denied(401));
        assert_snapshot!(judge(&[refused.serves(20, 0, chat(Alias(1))).done()]), @"
        fail
          replica 0 refuses key 0 its list of models with 401, and lets it call model 1
        ");
    }

    #[test]
    fn a_model_that_is_not_shown_is_denied_and_not_failed_on() {
        let chat = |alias| Op::Chat(Chat { key: KEY, alias, streamed: false });
        let shown = Outcome::Listed { status: 200, models: Vec::new() };
        let history = Hand::new()
            .asked(10, 0, Op::ListModels { key: KEY }, shown)
            .asked(20, 0, chat(Alias(0)), denied(500))
            .asked(30, 0, chat(Alias(1)), denied(400))
            .asked(40, 0, chat(NOBODYS), denied(400));
        assert_snapshot!(judge(&[history.done()]), @"
        fail
          replica 0 does not deny model 0 to key 0 as it should: refused 500 (model denied): no
          replica 0 does not deny model 1 to key 0 as it should: refused 400 (model denied): no
        ");
    }

    #[test]
    fn a_list_alone_proves_nothing() {
        let list = Outcome::Listed { status: 200, models: vec![FIRST] };
        let history = Hand::new().asked(10, 0, Op::ListModels { key: KEY }, list);
        assert_snapshot!(judge(&[history.done()]), @"inconclusive: no list and no prompt of one key and replica could be compared");
    }
}
