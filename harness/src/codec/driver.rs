//! A codec in another process, of any language: one question and one answer per line of JSON.
//!
//! The driver is started through `sh`, leads a process group of its own, and is killed with it when
//! the [`Driver`] is dropped. Whatever goes wrong with the process, and not with the codec, is a
//! [`DriverError`]: it ended, it kept silent for too long, it said what the protocol has no place
//! for. Two threads own its pipes, so that a driver which neither reads nor writes cannot hold us.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, BufRead, BufReader, Read, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{
    Codec, Decoded, Encoded,
    declaration::{Field, Kind, PreviousEntry, UnknownFields},
    schema,
    value::{Object, Value, as_map, as_object},
};
use crate::target::supervisor::{self, Ward};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// How long an answer may be, in bytes.
const LONGEST_ANSWER: u64 = 256 << 20;

/// How many lines of a driver's standard error are kept.
const LAST_WORDS: usize = 12;

/// How much of a bad answer is shown.
const SHOWN: usize = 160;

/// How long a driver may take to end, and to close its standard error, once its answers have ended.
const ENDING: Duration = Duration::from_millis(500);

/// A running driver.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    group: Pid,
    ward: Option<Ward>,
    questions: Sender<String>,
    answers: Receiver<io::Result<String>>,
    said: Arc<Mutex<VecDeque<String>>>,
    silence: Receiver<()>,
    patience: Duration,
    asked: u64,
    hello: Hello,
}

/// Why a driver gave no answer.
///
/// Messages are lowercase fragments, made to follow "cannot use the driver: ".
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// It could not be started.
    #[error("cannot start a shell for it")]
    Start(#[source] io::Error),
    /// It ended while an answer was due.
    #[error("it ended ({how}) instead of answering {question}{said}")]
    Ended {
        /// What was asked.
        question: String,
        /// How it ended.
        how: String,
        /// The last it said on standard error.
        said: String,
    },
    /// It kept silent.
    #[error("it did not answer {question} within {} ms{said}", waited.as_millis())]
    Silent {
        /// What was asked.
        question: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last it said on standard error.
        said: String,
    },
    /// It answered something else.
    #[error("its answer to {question} is not of the protocol: {why}: {answer}{said}")]
    Garbled {
        /// What was asked.
        question: String,
        /// What is wrong with the answer.
        why: String,
        /// How the answer begins.
        answer: String,
        /// The last it said on standard error.
        said: String,
    },
}

/// What a driver says of itself and of its codec.
#[derive(Debug, Default)]
struct Hello {
    name: String,
    kinds: Vec<Kind>,
    json: bool,
}

/// The wire form of [`Hello`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HelloAnswer {
    #[serde(rename = "id")]
    _id: u64,
    protocol: u32,
    name: String,
    #[serde(default)]
    payloads: Payloads,
    kinds: Vec<KindAnswer>,
}

/// What payloads are.
#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Payloads {
    /// JSON text.
    #[default]
    Json,
    /// Text or bytes of another format.
    Other,
}

/// The wire form of [`Kind`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindAnswer {
    name: String,
    schema: Json,
    unknown: UnknownFields,
    #[serde(default)]
    narrows_rights: Vec<String>,
    #[serde(default)]
    null_is_absent: Vec<String>,
    #[serde(default)]
    previously: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    previous: Vec<PreviousAnswer>,
}

/// The wire form of [`PreviousEntry`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviousAnswer {
    payload: Json,
    value: Option<Json>,
}

impl Driver {
    /// Starts a driver and has it introduce itself.
    ///
    /// # Errors
    ///
    /// When it does not, within `patience`, which then bounds every answer.
    pub fn start(command: &str, patience: Duration) -> Result<Driver, DriverError> {
        Driver::start_telling(command, patience, |_| ())
    }

    /// Starts a driver, tells which process group it leads, and has it introduce itself. To kill the
    /// group is to stop it, whatever it is at.
    ///
    /// # Errors
    ///
    /// When it does not, within `patience`, which then bounds every answer.
    pub fn start_telling(
        command: &str,
        patience: Duration,
        tell: impl FnOnce(Pid),
    ) -> Result<Driver, DriverError> {
        use std::os::unix::process::CommandExt as _;
        let (mark, value) = supervisor::mark();
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env(mark, value)
            .process_group(0)
            .spawn()
            .map_err(DriverError::Start)?;
        let group = Pid::from_raw(child.id().cast_signed());
        let (questions, to_ask) = mpsc::channel::<String>();
        let (heard, answers) = mpsc::channel();
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (speaking, silence) = mpsc::channel();
        if let (Some(mut input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        {
            thread::spawn(move || {
                for question in to_ask {
                    // A driver that no longer reads is found out by its silence.
                    if input.write_all(question.as_bytes()).is_err() {
                        return;
                    }
                }
            });
            thread::spawn(move || hear(output, &heard));
            let said = Arc::clone(&said);
            thread::spawn(move || {
                let _speaking: Sender<()> = speaking;
                for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
                    let Ok(mut said) = said.lock() else { return };
                    said.push_back(shown(&line));
                    if said.len() > LAST_WORDS {
                        said.pop_front();
                    }
                }
            });
        }
        let hello = Hello::default();
        let mut driver = Driver {
            child,
            group,
            ward: None,
            questions,
            answers,
            said,
            silence,
            patience,
            asked: 0,
            hello,
        };
        let ward = supervisor::over_group(group, Signal::SIGKILL).map_err(DriverError::Start)?;
        driver.ward = Some(ward);
        tell(group);
        let answer = driver.ask("hello", json!({"protocol": PROTOCOL}))?;
        driver.hello = Hello::read(&answer).map_err(|why| driver.garbled("hello", why, &answer))?;
        Ok(driver)
    }

    /// What it calls itself.
    pub fn name(&self) -> &str {
        &self.hello.name
    }

    /// Asks one thing and waits for its answer.
    fn ask(&mut self, op: &str, mut question: Json) -> Result<Json, DriverError> {
        self.asked += 1;
        question["id"] = self.asked.into();
        question["op"] = op.into();
        let line = format!("{question}\n");
        // A writer that has gone left its reason with the answers.
        drop(self.questions.send(line));
        let question = match question["kind"].as_str() {
            Some(kind) => format!("{op} of {kind}"),
            None => op.to_owned(),
        };
        let line = match self.answers.recv_timeout(self.patience) {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => {
                let why = "it cannot be read".to_owned();
                return Err(self.garbled(&question, why, &error.to_string().into()));
            }
            Err(RecvTimeoutError::Timeout) => {
                let waited = self.patience;
                return Err(DriverError::Silent { question, waited, said: self.last_words() });
            }
            Err(RecvTimeoutError::Disconnected) => {
                let how = self.how_it_ended();
                return Err(DriverError::Ended { question, how, said: self.last_words() });
            }
        };
        let raw = || Json::String(shown(line.as_bytes()));
        let answer: Json = serde_json::from_str(&line)
            .map_err(|error| self.garbled(&question, format!("no JSON ({error})"), &raw()))?;
        match answer["id"].as_u64() == Some(self.asked) {
            true => Ok(answer),
            false => {
                let why = format!("its id is not {}", self.asked);
                Err(self.garbled(&question, why, &raw()))
            }
        }
    }

    fn garbled(&self, question: &str, why: String, answer: &Json) -> DriverError {
        let answer = match answer {
            Json::String(text) => shown(text.as_bytes()),
            other => shown(other.to_string().as_bytes()),
        };
        DriverError::Garbled { question: question.to_owned(), why, answer, said: self.last_words() }
    }

    fn last_words(&self) -> String {
        let said = match self.said.lock() {
            Ok(said) => said.iter().filter(|line| !line.is_empty()).cloned().collect::<Vec<_>>(),
            Err(_) => Vec::new(),
        };
        if said.is_empty() { String::new() } else { format!("; it said: {}", said.join(" | ")) }
    }

    /// How it ended, where it has within a moment of closing its output. By then it has said its last.
    fn how_it_ended(&mut self) -> String {
        // Nobody sends: the channel closes when standard error does.
        let _ = self.silence.recv_timeout(ENDING);
        for _ in 0..10 {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) | Err(_) => thread::sleep(ENDING / 10),
            }
        }
        "it closed its standard output".to_owned()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may be gone already, and its group with it.
        let _ = killpg(self.group, Signal::SIGKILL);
        drop(self.child.wait());
        self.ward = None;
    }
}

impl Codec for Driver {
    type Error = DriverError;

    fn kinds(&self) -> Vec<Kind> {
        self.hello.kinds.clone()
    }

    fn writes_json(&self) -> bool {
        self.hello.json
    }

    fn encode(&mut self, kind: &str, value: &Object) -> Result<Encoded, DriverError> {
        let question = json!({"kind": kind, "value": as_map(value).to_tagged()});
        let answer = self.ask("encode", question)?;
        let read = || -> Result<Encoded, String> {
            if let Some(why) = answer["refused"].as_str() {
                return Ok(Encoded::Refused(why.to_owned()));
            }
            if let Some(why) = answer["illegal"].as_str() {
                return Ok(Encoded::Illegal(why.to_owned()));
            }
            let held = match answer.get("held") {
                Some(held) => as_object(Value::from_tagged(held)?)?,
                None => value.clone(),
            };
            Ok(Encoded::Written { payload: payload(&answer["ok"])?, held })
        };
        read().map_err(|why| self.garbled(&format!("encode of {kind}"), why, &answer))
    }

    fn decode(&mut self, kind: &str, payload: &[u8]) -> Result<Decoded, DriverError> {
        let sent = match std::str::from_utf8(payload) {
            Ok(text) => json!(text),
            Err(_) => json!({ "$bytes": hex(payload) }),
        };
        let answer = self.ask("decode", json!({"kind": kind, "payload": sent}))?;
        let read = || -> Result<Decoded, String> {
            if let Some(why) = answer["refused"].as_str() {
                return Ok(Decoded::Refused(why.to_owned()));
            }
            if answer.get("miss").is_some() {
                return Ok(Decoded::Miss);
            }
            let value = answer.get("ok").ok_or("it has none of ok, refused, miss")?;
            Ok(Decoded::Object(as_object(Value::from_tagged(value)?)?))
        };
        read().map_err(|why| self.garbled(&format!("decode of {kind}"), why, &answer))
    }
}

impl Hello {
    fn read(answer: &Json) -> Result<Hello, String> {
        let hello = HelloAnswer::deserialize(answer).map_err(|error| error.to_string())?;
        if hello.protocol != PROTOCOL {
            return Err(format!("it speaks protocol {}, not {PROTOCOL}", hello.protocol));
        }
        let kinds: Vec<_> =
            hello.kinds.into_iter().map(KindAnswer::read).collect::<Result<_, _>>()?;
        if kinds.is_empty() {
            return Err("it has no kinds".to_owned());
        }
        Ok(Hello { name: hello.name, kinds, json: hello.payloads == Payloads::Json })
    }
}

impl KindAnswer {
    fn read(self) -> Result<Kind, String> {
        let in_kind = |why: String| format!("kind {}: {why}", self.name);
        let mut fields = schema::fields(&self.schema).map_err(in_kind)?;
        let mut named = |name: &str, then: &dyn Fn(&mut Field)| {
            let field = fields.iter_mut().find(|field| field.name == name);
            field.map(then).ok_or(in_kind(format!(
                "it declares something of {name}, which its schema does not have"
            )))
        };
        for name in &self.narrows_rights {
            named(name, &|field| field.narrows_rights = true)?;
        }
        for name in &self.null_is_absent {
            named(name, &|field| field.null_is_absent = true)?;
        }
        for (name, earlier) in &self.previously {
            named(name, &|field| field.previously.clone_from(earlier))?;
        }
        let entry = |entry: &PreviousAnswer| {
            let value = entry.value.as_ref().map(|value| as_object(Value::from_tagged(value)?));
            Ok(PreviousEntry { payload: payload(&entry.payload)?, value: value.transpose()? })
        };
        let previous =
            self.previous.iter().map(entry).collect::<Result<_, _>>().map_err(in_kind)?;
        Ok(Kind { name: self.name, fields, unknown: self.unknown, previous })
    }
}

/// Passes on each line, until there are no more.
fn hear(output: ChildStdout, heard: &Sender<io::Result<String>>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let answer = match output.by_ref().take(LONGEST_ANSWER).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => String::from_utf8(line).map_err(io::Error::other),
            Err(error) => Err(error),
        };
        let last = answer.is_err();
        if heard.send(answer).is_err() || last {
            return;
        }
    }
}

/// The bytes of a payload: text, or `{"$bytes": hex}`.
fn payload(json: &Json) -> Result<Vec<u8>, String> {
    match (json.as_str(), json["$bytes"].as_str()) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(digits)) => unhex(digits).ok_or("$bytes holds hex digits".to_owned()),
        (None, None) => Err("a payload is text or {\"$bytes\": hex}".to_owned()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
            _ => None,
        })
        .collect()
}

/// How a line begins.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
