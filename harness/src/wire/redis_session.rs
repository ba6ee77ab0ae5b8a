//! Joins Redis replies to commands: pipelines, transactions, subscriptions.
//!
//! Redis answers in the order it was asked, so a queue is nearly enough. The exceptions are what
//! this file is about: what is sent out of band, commands that get several answers or none, and
//! commands whose real answer comes inside that of `EXEC`.

use std::collections::VecDeque;

use super::{
    Refusal,
    bounded::Bounded,
    fault::{Board, FaultId, Harm, Moment, Request},
    record::{RedisCommand, RedisReply, Several, WireBody},
    resp::{Command, CommandParser, ReplyParser},
    session::{Reached, ReplyFate, ReplyHarm, RequestFate, Seen},
};
use crate::clock::Micros;

/// How many commands may wait for their replies.
const PENDING: usize = 100_000;

/// A command that no Redis knows: it changes nothing, is answered in its turn, and makes a
/// transaction fail as a refused command should.
const REFUSED_COMMAND: &[u8] = b"*1\r\n$16\r\nGAUNTLET.REFUSED\r\n";

/// One connection to a Redis.
#[derive(Debug, Default)]
pub(crate) struct RedisSession {
    commands: CommandParser,
    replies: ReplyParser,
    pending: VecDeque<Pending>,
    /// Commands that were answered with `QUEUED`.
    queued: Vec<Pending>,
    in_transaction: bool,
    db: u32,
    silence: Silence,
    subscribed: Subscriptions,
    /// How many pending commands have a reply that must be changed.
    harmed: usize,
}

#[derive(Debug)]
struct Pending {
    asked: Micros,
    fault: Option<FaultId>,
    harm: Option<ReplyHarm>,
    meaning: Meaning,
    command: RedisCommand,
}

/// What a command means for the connection, once it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Plain,
    Select,
    Multi,
    Exec,
    Discard,
    Reset,
    Monitor,
    /// Answered once per channel; `None` until we know how often.
    Subscription {
        kind: SubscriptionKind,
        left: Option<u64>,
    },
}

/// What the gateway asked for with `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Silence {
    #[default]
    Answering,
    SkipNext,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubscriptionKind {
    Channels,
    Patterns,
    Shards,
}

#[derive(Clone, Copy, Debug, Default)]
struct Subscriptions {
    channels: u64,
    patterns: u64,
    shards: u64,
}

impl RedisSession {
    pub(crate) fn ask(
        &mut self,
        bytes: &[u8],
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Result<Reached<RequestFate>, Refusal> {
        let step = self.commands.next(bytes)?;
        let Some(command) = step.message else {
            return Ok(Reached { used: step.used, fate: None });
        };
        let fate = self.enqueue(command, at, board, seen)?;
        Ok(Reached { used: step.used, fate: Some(fate) })
    }

    fn enqueue(
        &mut self,
        mut command: Command,
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Result<RequestFate, Refusal> {
        if matches!(&*command.name, "PSYNC" | "SYNC") {
            return Err(Refusal("a replication stream"));
        }
        if self.pending.len() + self.queued.len() >= PENDING {
            return Err(Refusal("too many commands wait for their replies"));
        }
        redact(&mut command);
        let mut meaning = meaning_of(&command);
        let answered = self.will_be_answered(&command);
        let command = split(command);

        let order = board.and_then(|board| {
            let (name, keys) = (&command.name, &command.keys);
            board.judge(Request { command: name, keys, answerable: answered, sql: b"" })
        });
        let fault = order.as_ref().map(|order| order.fault);
        let (fate, harm) = match order.map(|order| order.harm) {
            None => (RequestFate::Forward, None),
            Some(Harm::Delay(by)) => (RequestFate::Delay(by), None),
            Some(Harm::Cut(Moment::BeforeRequest)) => (RequestFate::Cut, None),
            Some(harm @ Harm::Cut(Moment::BeforeReply | Moment::MidReply)) => {
                (RequestFate::Forward, ReplyHarm::left_of(harm))
            }
            Some(harm @ Harm::Answer { .. }) => {
                meaning = Meaning::Plain;
                (RequestFate::Swap(REFUSED_COMMAND.to_vec()), ReplyHarm::left_of(harm))
            }
        };
        if answered {
            self.harmed += usize::from(harm.is_some());
            self.pending.push_back(Pending { asked: at, fault, harm, meaning, command });
        } else {
            let pending = Pending { asked: at, fault, harm: None, meaning, command };
            seen.push(pending.with(self.db, Some(RedisReply::Suppressed), None));
        }
        Ok(fate)
    }

    /// Follows `CLIENT REPLY`, which Redis obeys at once and in order.
    fn will_be_answered(&mut self, command: &Command) -> bool {
        if command.name == "CLIENT" && command.says(0, "REPLY") {
            if command.says(1, "ON") {
                self.silence = Silence::Answering;
                return true;
            }
            if command.says(1, "OFF") {
                self.silence = Silence::Off;
                return false;
            }
            if command.says(1, "SKIP") {
                if self.silence == Silence::Answering {
                    self.silence = Silence::SkipNext;
                }
                return false;
            }
        }
        match self.silence {
            Silence::Answering => true,
            Silence::SkipNext => {
                self.silence = Silence::Answering;
                false
            }
            Silence::Off => {
                if command.name == "RESET" {
                    self.silence = Silence::Answering;
                    return true;
                }
                false
            }
        }
    }

    pub(crate) fn answer(
        &mut self,
        bytes: &[u8],
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Result<Reached<ReplyFate>, Refusal> {
        let step = self.replies.next(bytes)?;
        let Some(reply) = step.message else {
            return Ok(Reached { used: step.used, fate: None });
        };
        let fate = self.settle(reply, at, board, seen)?;
        Ok(Reached { used: step.used, fate: Some(fate) })
    }

    fn settle(
        &mut self,
        reply: RedisReply,
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> Result<ReplyFate, Refusal> {
        if let RedisReply::Push(several) | RedisReply::Array(several) = &reply {
            let out_of_band = matches!(reply, RedisReply::Push(_));
            if let Some(confirmation) = Confirmation::read(several)
                && self.confirm(&confirmation, &reply, at, seen)
            {
                return Ok(ReplyFate::Forward);
            }
            if out_of_band || (self.subscribed.any() && is_message(several)) {
                return Ok(self.pushed(several, at, board, seen));
            }
        }
        let Some(pending) = self.pending.pop_front() else {
            return match reply {
                RedisReply::Error { text } => {
                    seen.push(complaint(&text, at));
                    Ok(ReplyFate::Forward)
                }
                _ => Err(Refusal("a reply to nothing")),
            };
        };
        self.harmed -= usize::from(pending.harm.is_some());
        let (reply, fate) = match &pending.harm {
            None => (reply, ReplyFate::Forward),
            Some(ReplyHarm::Cut) => (reply, ReplyFate::Cut),
            Some(ReplyHarm::CutMidway) => (reply, ReplyFate::CutMidway),
            Some(ReplyHarm::Answer { code, message }) => {
                let text = format!("{code} {message}").replace(['\r', '\n'], " ");
                let line = format!("-{text}\r\n").into_bytes();
                (RedisReply::Error { text: Bounded::from(&*text) }, ReplyFate::Swap(line))
            }
        };
        self.conclude(pending, reply, at, seen)?;
        Ok(fate)
    }

    /// Does what an answered command means for the connection, and tells it.
    fn conclude(
        &mut self,
        pending: Pending,
        reply: RedisReply,
        at: Micros,
        seen: &mut Vec<Seen>,
    ) -> Result<(), Refusal> {
        if self.in_transaction && is_queued(&reply) {
            self.queued.push(pending);
            return Ok(());
        }
        let ok = reply == RedisReply::Ok;
        match pending.meaning {
            Meaning::Plain | Meaning::Subscription { .. } => (),
            Meaning::Select if ok => self.db = selected(&pending.command).unwrap_or(self.db),
            Meaning::Multi if ok => self.in_transaction = true,
            Meaning::Exec => {
                self.conclude_transaction(Some(&reply), at, seen);
            }
            Meaning::Discard if ok => self.conclude_transaction(None, at, seen),
            Meaning::Reset if !matches!(reply, RedisReply::Error { .. }) => {
                self.conclude_transaction(None, at, seen);
                self.subscribed = Subscriptions::default();
                self.db = 0;
            }
            Meaning::Select
            | Meaning::Multi
            | Meaning::Discard
            | Meaning::Reset
            | Meaning::Monitor => (),
        }
        let monitoring = pending.meaning == Meaning::Monitor && ok;
        seen.push(pending.with(self.db, Some(reply), Some(at)));
        if monitoring { Err(Refusal("a monitoring stream")) } else { Ok(()) }
    }

    /// Gives each queued command its part of what `EXEC` returned.
    fn conclude_transaction(
        &mut self,
        reply: Option<&RedisReply>,
        at: Micros,
        seen: &mut Vec<Seen>,
    ) {
        self.in_transaction = false;
        let mut parts = match reply {
            Some(RedisReply::Array(several)) => Some(several.items.iter()),
            _ => None,
        };
        for pending in self.queued.drain(..) {
            // A part beyond those kept stays absent.
            let part = match &mut parts {
                Some(parts) => parts.next().cloned(),
                None => Some(RedisReply::Discarded),
            };
            if pending.meaning == Meaning::Select && part == Some(RedisReply::Ok) {
                self.db = selected(&pending.command).unwrap_or(self.db);
            }
            let mut told = pending.with(self.db, part, Some(at));
            if let WireBody::RedisCommand(command) = &mut told.body {
                command.transaction = true;
            }
            seen.push(told);
        }
    }

    /// Counts a confirmation towards the subscription at the head of the queue.
    fn confirm(
        &mut self,
        confirmation: &Confirmation,
        reply: &RedisReply,
        at: Micros,
        seen: &mut Vec<Seen>,
    ) -> bool {
        let held = self.subscribed.held(confirmation.kind);
        let Some(front) = self.pending.front_mut() else { return false };
        let Meaning::Subscription { kind, left } = &mut front.meaning else { return false };
        if *kind != confirmation.kind {
            return false;
        }
        let named = front.command.args.len() as u64 + front.command.left_out;
        // Without channels, it is confirmed for each one held, or once.
        let due = left.unwrap_or(if named > 0 { named } else { held.max(1) });
        *left = Some(due - 1);
        self.subscribed.note(confirmation);
        if due == 1
            && let Some(pending) = self.pending.pop_front()
        {
            self.harmed -= usize::from(pending.harm.is_some());
            seen.push(pending.with(self.db, Some(reply.clone()), Some(at)));
        }
        true
    }

    fn pushed(
        &mut self,
        several: &Several,
        at: Micros,
        board: Option<&Board>,
        seen: &mut Vec<Seen>,
    ) -> ReplyFate {
        let text = |index: usize| match several.items.get(index) {
            Some(RedisReply::Bulk { value }) => value.clone(),
            _ => Bounded::from(""),
        };
        let what = text(0).into_text();
        let (channel, payload) = match &*what {
            "message" | "smessage" => (text(1).into_text(), text(2)),
            "pmessage" => (text(2).into_text(), text(3)),
            // The invalidated keys, one to a line.
            _ => {
                let keys: Vec<String> = match several.items.get(1) {
                    Some(RedisReply::Array(keys)) => {
                        keys.items.iter().filter_map(bulk_text).collect()
                    }
                    _ => Vec::new(),
                };
                (what.clone(), Bounded::from(&*keys.join("\n")))
            }
        };
        let fault = board.and_then(|board| board.judge_push(&channel));
        let body = WireBody::RedisPush { what, channel, payload };
        seen.push(Seen { asked: at, answered: Some(at), fault, body });
        if fault.is_some() { ReplyFate::Lose } else { ReplyFate::Forward }
    }

    pub(crate) fn harms_replies(&self) -> bool {
        self.harmed > 0
    }

    pub(crate) fn abandon(&mut self, seen: &mut Vec<Seen>) {
        for pending in self.queued.drain(..) {
            let mut told = pending.with(self.db, None, None);
            if let WireBody::RedisCommand(command) = &mut told.body {
                command.transaction = true;
            }
            seen.push(told);
        }
        for pending in self.pending.drain(..) {
            seen.push(pending.with(self.db, None, None));
        }
    }
}

impl Pending {
    fn with(self, db: u32, reply: Option<RedisReply>, answered: Option<Micros>) -> Seen {
        let command = RedisCommand { reply, db, ..self.command };
        let body = WireBody::RedisCommand(command);
        Seen { asked: self.asked, answered, fault: self.fault, body }
    }
}

fn meaning_of(command: &Command) -> Meaning {
    let subscription = |kind| Meaning::Subscription { kind, left: None };
    match &*command.name {
        "SELECT" => Meaning::Select,
        "MULTI" => Meaning::Multi,
        "EXEC" => Meaning::Exec,
        "DISCARD" => Meaning::Discard,
        "RESET" => Meaning::Reset,
        "MONITOR" => Meaning::Monitor,
        "SUBSCRIBE" | "UNSUBSCRIBE" => subscription(SubscriptionKind::Channels),
        "PSUBSCRIBE" | "PUNSUBSCRIBE" => subscription(SubscriptionKind::Patterns),
        "SSUBSCRIBE" | "SUNSUBSCRIBE" => subscription(SubscriptionKind::Shards),
        _ => Meaning::Plain,
    }
}

/// Replaces what must not be recorded.
fn redact(command: &mut Command) {
    let from = match &*command.name {
        "AUTH" => Some(0),
        "HELLO" | "MIGRATE" => command
            .args
            .iter()
            .position(|arg| {
                let word = arg.kept();
                word.eq_ignore_ascii_case(b"AUTH") || word.eq_ignore_ascii_case(b"AUTH2")
            })
            .map(|at| at + 1),
        "ACL" if command.says(0, "SETUSER") => Some(2),
        "CONFIG" if command.says(0, "SET") => Some(1),
        _ => None,
    };
    let Some(from) = from else { return };
    let until = match &*command.name {
        // User and password; what follows is a connection's name.
        "HELLO" => from + 2,
        _ => command.args.len(),
    };
    for arg in command.args.iter_mut().take(until).skip(from) {
        *arg = Bounded::redacted();
    }
}

/// Tells keys from other arguments.
fn split(command: Command) -> RedisCommand {
    let Command { name, keys, args, left_out } = command;
    let at = keys.among(&args);
    let mut named = Vec::with_capacity(at.at_most());
    let mut others = Vec::with_capacity(args.len() - at.at_most().min(args.len()));
    for (index, arg) in args.into_iter().enumerate() {
        if at.holds(index) {
            named.push(arg.into_text());
        } else {
            others.push(arg);
        }
    }
    RedisCommand {
        name,
        keys: named,
        args: others,
        left_out,
        reply: None,
        transaction: false,
        db: 0,
    }
}

fn selected(command: &RedisCommand) -> Option<u32> {
    command.args.first()?.text().parse().ok()
}

fn is_queued(reply: &RedisReply) -> bool {
    matches!(reply, RedisReply::Simple { text } if *text == "QUEUED")
}

fn is_message(several: &Several) -> bool {
    let first = several.items.first().and_then(bulk_text);
    match first.as_deref() {
        Some("message" | "smessage") => several.len == 3,
        Some("pmessage") => several.len == 4,
        _ => false,
    }
}

fn bulk_text(reply: &RedisReply) -> Option<String> {
    match reply {
        RedisReply::Bulk { value } => Some(value.text().into_owned()),
        _ => None,
    }
}

fn complaint(text: &Bounded, at: Micros) -> Seen {
    let text = text.text();
    let (code, message) = text.split_once(' ').unwrap_or((&*text, ""));
    let body = WireBody::StoreError { code: code.to_owned(), message: message.to_owned() };
    Seen { asked: at, answered: Some(at), fault: None, body }
}

/// What Redis says once per channel.
struct Confirmation {
    kind: SubscriptionKind,
    begins: bool,
    total: u64,
}

impl Confirmation {
    fn read(several: &Several) -> Option<Confirmation> {
        let [RedisReply::Bulk { value }, _, RedisReply::Int { value: total }] = &*several.items
        else {
            return None;
        };
        let (kind, begins) = match value.whole()? {
            b"subscribe" => (SubscriptionKind::Channels, true),
            b"unsubscribe" => (SubscriptionKind::Channels, false),
            b"psubscribe" => (SubscriptionKind::Patterns, true),
            b"punsubscribe" => (SubscriptionKind::Patterns, false),
            b"ssubscribe" => (SubscriptionKind::Shards, true),
            b"sunsubscribe" => (SubscriptionKind::Shards, false),
            _ => return None,
        };
        Some(Confirmation { kind, begins, total: u64::try_from(*total).ok()? })
    }
}

impl Subscriptions {
    fn any(self) -> bool {
        self.channels > 0 || self.patterns > 0 || self.shards > 0
    }

    fn held(self, kind: SubscriptionKind) -> u64 {
        match kind {
            SubscriptionKind::Channels => self.channels,
            SubscriptionKind::Patterns => self.patterns,
            SubscriptionKind::Shards => self.shards,
        }
    }

    /// Redis says how many channels and patterns, or how many shard channels, are now held; one
    /// subscribed to twice counts once.
    fn note(&mut self, confirmation: &Confirmation) {
        let (count, others) = match confirmation.kind {
            SubscriptionKind::Channels => (&mut self.channels, self.patterns),
            SubscriptionKind::Patterns => (&mut self.patterns, self.channels),
            SubscriptionKind::Shards => (&mut self.shards, 0),
        };
        let now = confirmation.total.saturating_sub(others);
        if confirmation.begins {
            *count = now.max(*count);
        } else {
            *count = now.min(*count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{record::StoreKind, session::Session};

    #[test]
    fn a_pipeline_is_answered_in_order() {
        assert_eq!(
            told(&[Asks("SET k v\nGET k\nGET l\n"), Answers("+OK\r\n$1\r\nv\r\n$-1\r\n")]),
            ["SET k [v] Ok", "GET k [] \"v\"", "GET l [] Nil"]
        );
    }

    #[test]
    fn a_transaction_gives_each_command_its_part() {
        let asked = "MULTI\nSET k v\nINCR n\nEXEC\n";
        let answered = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:5\r\n";
        assert_eq!(
            told(&[Asks(asked), Answers(answered)]),
            [
                "MULTI [] Ok",
                "SET k [v] Ok, in transaction",
                "INCR n [] 5, in transaction",
                "EXEC [] 2 items"
            ]
        );
    }

    #[test]
    fn a_transaction_that_did_not_run_gives_none() {
        let asked = "MULTI\nSET k v\nEXEC\nGET k\n";
        assert_eq!(
            told(&[Asks(asked), Answers("+OK\r\n+QUEUED\r\n*-1\r\n$-1\r\n")]),
            ["MULTI [] Ok", "SET k [v] Discarded, in transaction", "EXEC [] Nil", "GET k [] Nil"]
        );
    }

    #[test]
    fn the_database_is_the_one_selected_when_it_ran() {
        let seen = seen(&[
            Asks("GET k\nSELECT 3\nGET k\nSELECT 99\nGET k\n"),
            Answers("$-1\r\n+OK\r\n$-1\r\n-ERR out of range\r\n$-1\r\n"),
        ]);
        let databases: Vec<_> = seen
            .iter()
            .map(|seen| match &seen.body {
                WireBody::RedisCommand(command) => command.db,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(databases, [0, 3, 3, 3, 3]);
    }

    #[test]
    fn messages_come_between_the_replies() {
        let subscribed =
            "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n";
        let message = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n";
        let left = "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n";
        assert_eq!(
            told(&[
                Asks("SUBSCRIBE a b\n"),
                Answers(subscribed),
                Asks("PING\n"),
                Answers(message),
                Answers("*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
                Asks("UNSUBSCRIBE\nGET k\n"),
                Answers(left),
                Answers("$-1\r\n")
            ]),
            [
                "SUBSCRIBE [a b] 3 items",
                "push message on a: hi",
                "PING [] 2 items",
                "UNSUBSCRIBE [] 3 items",
                "GET k [] Nil"
            ]
        );
    }

    #[test]
    fn resp3_pushes_are_out_of_band() {
        let pushes = ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
        assert_eq!(
            told(&[Asks("SUBSCRIBE a\nGET k\n"), Answers(pushes), Answers("_\r\n")]),
            [
                "SUBSCRIBE [a] 3 items",
                "push message on a: hi",
                "push invalidate on invalidate: k",
                "GET k [] Nil"
            ]
        );
    }

    #[test]
    fn who_asks_for_no_reply_gets_none() {
        let asked = "CLIENT REPLY SKIP\nSET a 1\nGET a\nCLIENT REPLY OFF\nSET a 2\nCLIENT REPLY ON\nGET a\n";
        assert_eq!(
            told(&[Asks(asked), Answers("$1\r\n1\r\n+OK\r\n$1\r\n2\r\n")]),
            [
                "CLIENT [REPLY SKIP] Suppressed",
                "SET a [1] Suppressed",
                "CLIENT [REPLY OFF] Suppressed",
                "SET a [2] Suppressed",
                "GET a [] \"1\"",
                "CLIENT [REPLY ON] Ok",
                "GET a [] \"2\""
            ]
        );
    }

    #[test]
    fn secrets_are_never_told() {
        let asked = "AUTH user secret\nHELLO 3 AUTH user secret SETNAME me\nCONFIG SET requirepass secret\nACL SETUSER me on >secret\nMIGRATE h 1 k 0 5 AUTH secret\n";
        let answers = "+OK\r\n".repeat(5);
        let told = told(&[Asks(asked), Answers(&answers)]);
        assert!(!told.concat().contains("secret"), "{told:?}");
        assert!(told[1].ends_with("SETNAME me] Ok"), "{told:?}");
    }

    #[test]
    fn an_error_that_nobody_asked_for_is_the_store_s() {
        assert_eq!(
            told(&[Answers("-ERR max number of clients reached\r\n")]),
            ["store says ERR: max number of clients reached"]
        );
    }

    #[test]
    fn what_we_cannot_follow_is_unseen() {
        assert_eq!(
            told(&[Asks("MONITOR\n"), Answers("+OK\r\n+1.5 [0 x] \"GET\" \"k\"\r\n")]),
            ["MONITOR [] Ok", "unseen: a monitoring stream"]
        );
        assert_eq!(told(&[Answers("+OK\r\n")]), ["unseen: a reply to nothing"]);
    }

    enum Turn<'a> {
        Asks(&'a str),
        Answers(&'a str),
    }
    use Turn::{Answers, Asks};

    fn seen(turns: &[Turn<'_>]) -> Vec<Seen> {
        let mut session = Session::new(StoreKind::Redis);
        let mut seen = Vec::new();
        for turn in turns {
            match turn {
                Asks(text) => session.take_requests(text.as_bytes(), Micros(1), &mut seen),
                Answers(text) => session.take_replies(text.as_bytes(), Micros(2), &mut seen),
            };
        }
        seen
    }

    /// What was seen, one line each.
    fn told(turns: &[Turn<'_>]) -> Vec<String> {
        let line = |seen: Seen| match seen.body {
            WireBody::RedisCommand(it) => {
                let args: Vec<_> = it.args.iter().map(Bounded::text).collect();
                let keys: String = it.keys.iter().map(|key| format!("{key} ")).collect();
                let reply = match it.reply {
                    Some(RedisReply::Int { value }) => value.to_string(),
                    Some(RedisReply::Bulk { value }) => format!("{value:?}"),
                    Some(RedisReply::Array(several) | RedisReply::Push(several)) => {
                        format!("{} items", several.len)
                    }
                    Some(other) => format!("{other:?}"),
                    None => "unanswered".to_owned(),
                };
                let queued = if it.transaction { ", in transaction" } else { "" };
                format!("{} {keys}[{}] {reply}{queued}", it.name, args.join(" "))
            }
            WireBody::RedisPush { what, channel, payload } => {
                format!("push {what} on {channel}: {}", payload.text())
            }
            WireBody::StoreError { code, message } => format!("store says {code}: {message}"),
            WireBody::Unseen { why, .. } => format!("unseen: {why}"),
            other => format!("{other:?}"),
        };
        seen(turns).into_iter().map(line).collect()
    }
}
