//! A failing plan as a shell script: the same requests, sent with `curl`.
//!
//! The calls are the adapter's own, with variables of the shell where a drive has texts of its own:
//! the beginning of every id, the names of models, the secrets of keys. A key is learned from the
//! answer that issues it. The script holds no address and no secret, so it can stand in a public
//! report. What no request can do (a fault on the way to a store, a change behind the gateway's back)
//! it asks the person who runs it to do.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    adapters::{Adapter, Names},
    client::{mark, wire::ChatRequest},
    history::{CallId, History, Manifest},
    op::{Admin, Call, Chat, Key, Op},
    plan::{self, Plan, Step},
    store_step::edit_told,
};

/// What stands for the beginning of ids until the script is written. No gateway text holds it.
const PREFIX: &str = "@prefix@";

/// Functions that every script has.
const PRELUDE: &str = include_str!("script.sh");

/// The script that sends the plans of `histories`, one after the other.
pub(super) fn script(
    check: &str,
    title: &str,
    histories: &[History],
    adapter: &dyn Adapter,
) -> Option<String> {
    let replicas = histories.iter().map(|history| history.manifest.replicas).max()?;
    let mut text = format!("#!/usr/bin/env bash\n# {check}: {title}.\n");
    text.push_str(PRELUDE);
    settings(&mut text, replicas);
    let mut told: Vec<&Plan> = Vec::new();
    for (number, history) in histories.iter().enumerate() {
        if histories.len() > 1 {
            say(&mut text, &format!("== {} ==", history.arm));
        }
        if told.contains(&&history.plan) {
            // A target of another shape, or without its cache, is not for a script to start.
            say(&mut text, "the same requests, to a gateway that is set up differently");
            continue;
        }
        told.push(&history.plan);
        let mut writer = Writer::new(&mut text, history, adapter, number);
        for step in &history.plan.steps {
            writer.step(step);
        }
        writer.end();
    }
    Some(text)
}

/// Variables: an address for each replica, a name for each model.
fn settings(text: &mut String, replicas: u8) {
    for replica in 0..replicas {
        line(
            text,
            &format!("GATEWAY_{replica}=\"${{GATEWAY_{replica}:-${{GATEWAY:?{WANTED}}}}}\""),
        );
    }
    line(text, "ADMIN_KEY=\"${ADMIN_KEY:?the key for management calls}\"");
    for (model, name) in ["gauntlet-a", "gauntlet-b"].iter().enumerate() {
        line(text, &format!("MODEL_{model}=\"${{MODEL_{model}:-{name}}}\""));
    }
    line(text, "");
}

/// What is said where no address was given.
const WANTED: &str = "the address of the gateway, as in http://127.0.0.1:4000";

fn line(text: &mut String, more: &str) {
    text.push_str(more);
    text.push('\n');
}

fn say(text: &mut String, what: &str) {
    line(text, &format!("say {}", quoted(what)));
}

/// Writes the steps of one plan.
struct Writer<'a> {
    text: &'a mut String,
    manifest: &'a Manifest,
    adapter: &'a dyn Adapter,
    names: Names,
    arm: usize,
    calls: u32,
    traffic: bool,
    struck: Vec<String>,
}

impl<'a> Writer<'a> {
    fn new(
        text: &'a mut String,
        history: &'a History,
        adapter: &'a dyn Adapter,
        arm: usize,
    ) -> Writer<'a> {
        let names = Names {
            prefix: format!("{PREFIX}{arm}x"),
            plan: history.plan.clone(),
            aliases: vec!["@model_0@".to_owned(), "@model_1@".to_owned()],
            keys: BTreeMap::new(),
        };
        let manifest = &history.manifest;
        Writer { text, manifest, adapter, names, arm, calls: 0, traffic: false, struck: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Call(call) => self.together(std::slice::from_ref(call)),
            Step::Together(calls) => self.together(calls),
            Step::StartTraffic { calls, pause_ms } => self.start_traffic(calls, *pause_ms),
            Step::StopTraffic => self.stop_traffic(),
            Step::Wait(wait) => {
                let length = wait.length(self.manifest.auth_cache_ttl(), self.manifest.staleness());
                line(self.text, &format!("sleep {}", seconds(length)));
            }
            Step::Store(edit) => {
                let told = edit_told(&self.names.plan, edit);
                line(self.text, &format!("by_hand {}", quoted(&told)));
            }
            Step::Strike(strike) => {
                self.struck.push(strike.to_string());
                line(self.text, &format!("by_hand {}", quoted(&strike.to_string())));
            }
            Step::Heal => self.heal(),
        }
    }

    fn end(&mut self) {
        self.stop_traffic();
        self.heal();
    }

    fn heal(&mut self) {
        for struck in std::mem::take(&mut self.struck) {
            line(self.text, &format!("by_hand {}", quoted(&format!("no longer: {struck}"))));
        }
    }

    /// Calls that are released at once, where there are several.
    fn together(&mut self, calls: &[Call]) {
        let mut learned = Vec::new();
        let several = calls.len() > 1;
        if several {
            line(self.text, "together=()");
        }
        for call in calls {
            let number = self.calls;
            let command = self.command(call);
            let at_once = if several { " & together+=($!)" } else { "" };
            line(self.text, &format!("{command}{at_once}"));
            if let Op::Admin(Admin::GenerateKey { key, .. }) = &call.op {
                learned.push((*key, number));
            }
        }
        // Callers in the background go on.
        if several {
            line(self.text, "wait \"${together[@]}\"");
        }
        for (key, number) in learned {
            let variable = variable(key);
            let of = self.name_of(number);
            line(self.text, &format!("{variable}=\"$(issued_key {of})\""));
            self.names.keys.insert(key, format!("@{variable}@"));
        }
    }

    fn start_traffic(&mut self, calls: &[Call], pause_ms: u32) {
        let pause = seconds(Duration::from_millis(pause_ms.into()));
        line(self.text, "touch \"$answers/traffic\"");
        for call in calls {
            let command = self.command(call);
            line(
                self.text,
                &format!("while [ -e \"$answers/traffic\" ]; do {command}; sleep {pause}; done &"),
            );
        }
        self.traffic = true;
    }

    fn stop_traffic(&mut self) {
        if std::mem::take(&mut self.traffic) {
            line(self.text, "rm -f \"$answers/traffic\"; wait");
        }
    }

    /// What an answer is kept under.
    fn name_of(&self, number: u32) -> String {
        format!("{}-{number}", self.arm)
    }

    /// One request: `call NAME REPLICA KEY METHOD PATH BODY WORDS`.
    fn command(&mut self, call: &Call) -> String {
        let number = self.calls;
        self.calls += 1;
        let (key, method, path, body) = match &call.op {
            Op::Admin(admin) => {
                let request = self.adapter.admin(admin, &self.names);
                let key = "\"$ADMIN_KEY\"".to_owned();
                (key, "POST", request.path.to_owned(), request.body.to_string())
            }
            Op::Chat(Chat { key, alias, streamed }) => {
                let model = self.names.alias(*alias);
                let mark = mark(&self.names.prefix, CallId(number));
                let body = serde_json::to_string(&ChatRequest::asking(&model, &mark, *streamed))
                    .unwrap_or_default();
                let key = quoted(&self.names.key(*key));
                (key, "POST", "/v1/chat/completions".to_owned(), body)
            }
            Op::ListModels { key } => {
                let key = quoted(&self.names.key(*key));
                (key, "GET", self.adapter.models_path().to_owned(), String::new())
            }
        };
        let told = plan::tell(&self.names.plan, call);
        format!(
            "call {} \"$GATEWAY_{}\" {key} {method} {path} {} {}",
            self.name_of(number),
            call.replica.0,
            quoted(&body),
            quoted(&told)
        )
    }
}

fn variable(key: Key) -> String {
    format!("KEY_{}", key.0)
}

/// A duration as `sleep` takes it.
fn seconds(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_secs(), duration.subsec_millis())
}

/// Text as one word of the shell, with variables where names stand for them.
fn quoted(text: &str) -> String {
    let mut word = String::new();
    let mut rest = text;
    while let Some((before, variable, after)) = next_variable(rest) {
        word.push_str(&literal(before));
        word.push_str(&format!("\"${variable}\""));
        rest = after;
    }
    word.push_str(&literal(rest));
    if word.is_empty() { "''".to_owned() } else { word }
}

fn literal(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The first variable that a text names, with what stands before and after it.
fn next_variable(text: &str) -> Option<(&str, String, &str)> {
    text.match_indices('@').find_map(|(at, _)| {
        let (name, after) = text[at + 1..].split_once('@')?;
        is_variable(name).then(|| (&text[..at], name.to_uppercase(), after))
    })
}

fn is_variable(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let numbered = ["KEY_", "model_"].iter().filter_map(|kind| name.strip_prefix(kind));
    name == "prefix" || numbered.into_iter().any(is_number)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        adapters::reference::Reference,
        history::hand::Hand,
        op::{Alias, Field, Id, KeyFields, Replica, Terms},
        plan::{IdShape, Wait},
        runner::redact::unassigned,
        store_step::Strike,
    };

    fn at(replica: u8, op: Op) -> Call {
        Call { replica: Replica(replica), op }
    }

    fn chat(replica: u8) -> Call {
        at(replica, Op::Chat(Chat { key: Key(0), alias: Alias(0), streamed: false }))
    }

    /// The script of these steps, without what every script has.
    fn steps(steps: Vec<Step>) -> String {
        let mut history = Hand::new().done();
        history.plan = Plan::new(vec![IdShape::Plain], steps);
        let script = script("family.property", "It holds", &[history], &Reference).unwrap();
        assert_eq!(unassigned(&script), script, "a bundle would break it");
        let (head, rest) = script.split_once(PRELUDE).unwrap();
        assert_eq!(head, "#!/usr/bin/env bash\n# family.property: It holds.\n");
        let (settings, steps) = rest.split_once("\n\n").unwrap();
        let names: Vec<_> = settings
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["GATEWAY_0", "GATEWAY_1", "ADMIN_KEY", "MODEL_0", "MODEL_1"]);
        steps.to_owned()
    }

    #[test]
    fn a_plan_is_sent_with_variables_for_what_a_drive_makes_up() {
        let fields = KeyFields {
            team: Field::Set(Id(0)),
            terms: Terms { models: Field::Set(vec![Alias(1)]), ..Terms::UNSAID },
            ..KeyFields::UNSAID
        };
        let generate = Op::Admin(Admin::GenerateKey { key: Key(0), fields });
        let told = steps(vec![
            Step::Call(chat(0)),
            Step::Call(at(1, generate)),
            Step::Together(vec![chat(0), chat(1)]),
            Step::Wait(Wait::StalenessAnd { more_ms: 500 }),
            Step::Call(at(0, Op::ListModels { key: Key(0) })),
        ]);
        assert_snapshot!(told, @r#"
        call 0-0 "$GATEWAY_0" 'sk-'"$PREFIX"'0xnever-issued-0' POST /v1/chat/completions '{"model":"'"$MODEL_0"'","messages":[{"role":"user","content":"[[nonce:'"$PREFIX"'0xn0]] Say something."}],"max_tokens":16,"stream":false}' 'chat with key 0, model 0 (replica 0)'
        call 0-1 "$GATEWAY_1" "$ADMIN_KEY" POST /key/generate '{"team_id":"'"$PREFIX"'0xi0","models":["'"$MODEL_1"'"]}' 'generate key 0 with team_id = "i0", models = [model 1] (replica 1)'
        KEY_0="$(issued_key 0-1)"
        together=()
        call 0-2 "$GATEWAY_0" "$KEY_0" POST /v1/chat/completions '{"model":"'"$MODEL_0"'","messages":[{"role":"user","content":"[[nonce:'"$PREFIX"'0xn2]] Say something."}],"max_tokens":16,"stream":false}' 'chat with key 0, model 0 (replica 0)' & together+=($!)
        call 0-3 "$GATEWAY_1" "$KEY_0" POST /v1/chat/completions '{"model":"'"$MODEL_0"'","messages":[{"role":"user","content":"[[nonce:'"$PREFIX"'0xn3]] Say something."}],"max_tokens":16,"stream":false}' 'chat with key 0, model 0 (replica 1)' & together+=($!)
        wait "${together[@]}"
        sleep 1.500
        call 0-4 "$GATEWAY_0" "$KEY_0" GET /v1/models '' 'list the models of key 0 (replica 0)'
        "#);
    }

    #[test]
    fn what_no_request_can_do_is_asked_of_the_person() {
        let told = steps(vec![
            Step::Strike(Strike::SlowReads { by_ms: 200 }),
            Step::StartTraffic { calls: vec![chat(0)], pause_ms: 20 },
        ]);
        assert_snapshot!(told, @r#"
        by_hand 'from now on each read of Postgres takes 200 ms longer'
        touch "$answers/traffic"
        while [ -e "$answers/traffic" ]; do call 0-0 "$GATEWAY_0" 'sk-'"$PREFIX"'0xnever-issued-0' POST /v1/chat/completions '{"model":"'"$MODEL_0"'","messages":[{"role":"user","content":"[[nonce:'"$PREFIX"'0xn0]] Say something."}],"max_tokens":16,"stream":false}' 'chat with key 0, model 0 (replica 0)'; sleep 0.020; done &
        rm -f "$answers/traffic"; wait
        by_hand 'no longer: from now on each read of Postgres takes 200 ms longer'
        "#);
    }

    #[test]
    fn a_word_of_the_shell_says_what_the_text_said() {
        assert_eq!(quoted("it's 5 $ & `ls`"), r"'it'\''s 5 $ & `ls`'");
        assert_eq!(quoted("@KEY_12@"), "\"$KEY_12\"");
        assert_eq!(
            quoted("a@prefix@0xi1, me@here, @KEY_@"),
            "'a'\"$PREFIX\"'0xi1, me@here, @KEY_@'"
        );
        assert_eq!(quoted(""), "''");
    }
}
