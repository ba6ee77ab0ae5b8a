//! What to answer, how fast, and when to fail: the grammar of model names.
//!
//! A model name is `mock-` and one or more directives with dashes between them, as in
//! `mock-ok-chunks5-gap20ms` or `mock-429-ra7`. [`DIRECTIVES`] lists them. They may stand in any
//! order; of two that contradict each other the later holds. A name that does not begin with
//! `mock-` behaves as `mock-ok`, so that a target's own names work unchanged. A directive nobody
//! knows is an error and not ignored: a misspelt fault would be a run without the fault.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::ledger::Usage;

/// One word of the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Directive {
    /// How it is written; capitals stand for a value.
    pub form: &'static str,
    /// What the provider then does.
    pub meaning: &'static str,
}

/// The whole grammar, in the order a reader wants it.
///
/// D is a duration (`20ms`, `7s`), N a number. Chunks are server-sent events and are counted from
/// 1, the opening role chunk and the closing `[DONE]` included.
pub const DIRECTIVES: &[Directive] = &[
    Directive { form: "ok", meaning: "answer well; alone it changes nothing" },
    Directive { form: "STATUS", meaning: "answer with this error, 400 to 599" },
    Directive { form: "raD", meaning: "with an error: ask to retry after D (`ra7` is 7s)" },
    Directive { form: "nora", meaning: "with a 429: give no hint when to retry" },
    Directive { form: "quota", meaning: "an error that says the money is spent (429 by itself)" },
    Directive {
        form: "context",
        meaning: "an error that says the prompt is too long (400 by itself)",
    },
    Directive { form: "filter", meaning: "an error by the content filter (400 by itself)" },
    Directive { form: "hang", meaning: "accept, and never answer" },
    Directive { form: "delayD", meaning: "wait before the head of the answer" },
    Directive { form: "firstD", meaning: "wait between the head of a stream and its first chunk" },
    Directive {
        form: "gapD",
        meaning: "wait before each chunk with content, and the finish chunk",
    },
    Directive { form: "chunksN", meaning: "stream the text in N chunks (4)" },
    Directive { form: "sizeN", meaning: "make the text at least N bytes long" },
    Directive { form: "utf8", meaning: "fill the text with characters of two to four bytes" },
    Directive { form: "splitN", meaning: "write a stream N bytes at a time, across its events" },
    Directive {
        form: "usagePxC",
        meaning: "declare P prompt tokens and C completion tokens (19x7)",
    },
    Directive { form: "nousage", meaning: "declare no usage" },
    Directive {
        form: "cutN",
        meaning: "break the connection after chunk N; a whole answer halfway",
    },
    Directive {
        form: "endN",
        meaning: "end the body cleanly after chunk N; a whole answer halfway",
    },
    Directive { form: "stallN", meaning: "fall silent after chunk N; in a whole answer halfway" },
    Directive {
        form: "errorN",
        meaning: "send an error event after chunk N; as a whole, 200 with an error body",
    },
    Directive { form: "nofinish", meaning: "stream without a finish chunk and without `[DONE]`" },
    Directive { form: "nodone", meaning: "stream without `[DONE]`" },
    Directive { form: "tagTEXT", meaning: "do nothing: tells apart models that behave alike" },
];

/// What one model name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub(crate) act: Act,
    pub(crate) delay: Duration,
    pub(crate) first: Duration,
    pub(crate) gap: Duration,
    pub(crate) chunks: usize,
    pub(crate) size: usize,
    pub(crate) utf8: bool,
    pub(crate) split: Option<usize>,
    pub(crate) usage: Usage,
    pub(crate) declares_usage: bool,
    pub(crate) ending: Ending,
}

/// What kind of answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Answer,
    Refuse(Refusal),
    Hang,
}

/// An error, as the provider gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<Duration>,
}

/// Why the provider refuses, where the status alone does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Status,
    Quota,
    Context,
    Filter,
}

/// How a good answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Proper,
    WithoutDone,
    WithoutFinish,
    BrokenAfter(u64, Break),
}

/// What breaks an answer off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// The connection goes without the end of the body.
    Cut,
    /// The body ends as if it were whole.
    End,
    /// Nothing more comes.
    Stall,
    /// An error takes the place of the rest.
    Error,
}

/// A model name with a word that is not a directive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown directive `{word}` in model name `{model}`; known are: {}", Known)]
pub struct UnknownDirective {
    /// The word.
    pub word: String,
    /// The whole name.
    pub model: String,
}

impl Script {
    /// Reads a model name.
    pub fn parse(model: &str) -> Result<Script, UnknownDirective> {
        let mut draft = Draft::new();
        if let Some(directives) = model.strip_prefix("mock-") {
            for word in directives.split('-') {
                draft.take(word).ok_or_else(|| UnknownDirective {
                    word: word.to_owned(),
                    model: model.to_owned(),
                })?;
            }
        }
        Ok(draft.finish())
    }
}

/// A script while its words are read: an error is put together from several of them.
struct Draft {
    script: Script,
    status: Option<u16>,
    reason: Reason,
    hint: Hint,
}

/// When to retry, as far as the words say.
enum Hint {
    /// What the status calls for.
    Usual,
    Nothing,
    After(Duration),
}

impl Draft {
    fn new() -> Draft {
        Draft {
            script: Script {
                act: Act::Answer,
                delay: Duration::ZERO,
                first: Duration::ZERO,
                gap: Duration::ZERO,
                chunks: 4,
                size: 0,
                utf8: false,
                split: None,
                // Primes, so that a sum or a product of them gives itself away.
                usage: Usage { prompt_tokens: 19, completion_tokens: 7 },
                declares_usage: true,
                ending: Ending::Proper,
            },
            status: None,
            reason: Reason::Status,
            hint: Hint::Usual,
        }
    }

    /// Takes in one word, if it is a directive.
    fn take(&mut self, word: &str) -> Option<()> {
        let script = &mut self.script;
        match word {
            "ok" => (),
            "hang" => script.act = Act::Hang,
            "nora" => self.hint = Hint::Nothing,
            "quota" => self.reason = Reason::Quota,
            "context" => self.reason = Reason::Context,
            "filter" => self.reason = Reason::Filter,
            "utf8" => script.utf8 = true,
            "nousage" => script.declares_usage = false,
            "nofinish" => script.ending = Ending::WithoutFinish,
            "nodone" => script.ending = Ending::WithoutDone,
            _ if word.starts_with(|first: char| first.is_ascii_digit()) => {
                self.status = Some(number(word).filter(|status| (400..600).contains(status))?);
            }
            _ => {
                let value_at = word.find(|letter: char| letter.is_ascii_digit());
                let (name, value) = match word.strip_prefix("tag") {
                    Some(label) => ("tag", label),
                    None => word.split_at(value_at?),
                };
                match name {
                    "tag" => (!value.is_empty()).then_some(())?,
                    "ra" => {
                        let after = number(value).map(Duration::from_secs);
                        self.hint = Hint::After(after.or_else(|| duration(value))?);
                    }
                    "delay" => script.delay = duration(value)?,
                    "first" => script.first = duration(value)?,
                    "gap" => script.gap = duration(value)?,
                    "chunks" => script.chunks = between(1, 100_000, value)?,
                    "size" => script.size = between(0, 16 << 20, value)?,
                    "split" => script.split = Some(between(1, 1 << 20, value)?),
                    "usage" => {
                        let (prompt, completion) = value.split_once('x')?;
                        script.usage = Usage {
                            prompt_tokens: number(prompt)?,
                            completion_tokens: number(completion)?,
                        };
                    }
                    "cut" => script.ending = Ending::BrokenAfter(number(value)?, Break::Cut),
                    "end" => script.ending = Ending::BrokenAfter(number(value)?, Break::End),
                    "stall" => script.ending = Ending::BrokenAfter(number(value)?, Break::Stall),
                    "error" => script.ending = Ending::BrokenAfter(number(value)?, Break::Error),
                    _ => return None,
                }
            }
        }
        Some(())
    }

    fn finish(self) -> Script {
        let usual_status = match self.reason {
            Reason::Status => None,
            Reason::Quota => Some(429),
            Reason::Context | Reason::Filter => Some(400),
        };
        let mut script = self.script;
        if let Some(status) = self.status.or(usual_status) {
            let retry_after = match self.hint {
                // A spent quota does not come back by waiting, and providers give no hint.
                Hint::Usual if status == 429 && self.reason != Reason::Quota => {
                    Some(Duration::from_secs(1))
                }
                Hint::Usual | Hint::Nothing => None,
                Hint::After(after) => Some(after),
            };
            script.act = Act::Refuse(Refusal { status, reason: self.reason, retry_after });
        }
        script
    }
}

/// A plain number: digits only, so that one script has one spelling.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn between(least: usize, most: usize, text: &str) -> Option<usize> {
    number(text).filter(|value| (least..=most).contains(value))
}

/// `20ms` or `7s`, up to an hour.
fn duration(text: &str) -> Option<Duration> {
    let length = match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(number(millis)?),
        None => Duration::from_secs(number(text.strip_suffix('s')?)?),
    };
    (length <= Duration::from_secs(3_600)).then_some(length)
}

/// The forms of all directives, for a message.
struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, directive) in DIRECTIVES.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", directive.form)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_of_somebody_else_behaves_as_ok() {
        for model in ["gpt-4o-mini", "mock", "claude-mock-500", ""] {
            assert_eq!(read(model), read("mock-ok"), "{model}");
        }
    }

    #[test]
    fn pace_and_size_are_read() {
        let script = read("mock-ok-delay200ms-first1s-gap20ms-chunks5-size4096-split1");
        assert_eq!(script.act, Act::Answer);
        assert_eq!(script.delay, Duration::from_millis(200));
        assert_eq!(script.first, Duration::from_secs(1));
        assert_eq!(script.gap, Duration::from_millis(20));
        assert_eq!((script.chunks, script.size, script.split), (5, 4096, Some(1)));
    }

    #[test]
    fn usage_is_read_as_prompt_and_completion() {
        let usage = Usage { prompt_tokens: 13, completion_tokens: 7 };
        assert_eq!(read("mock-usage13x7").usage, usage);
    }

    #[test]
    fn a_rate_limit_gives_a_hint_unless_told_otherwise() {
        let hint = |model| match read(model).act {
            Act::Refuse(refusal) => refusal.retry_after,
            Act::Answer | Act::Hang => panic!("{model} does not refuse"),
        };
        assert_eq!(hint("mock-429"), Some(Duration::from_secs(1)));
        assert_eq!(hint("mock-429-ra7"), Some(Duration::from_secs(7)));
        assert_eq!(hint("mock-429-ra250ms"), Some(Duration::from_millis(250)));
        assert_eq!(hint("mock-429-nora"), None);
        assert_eq!(hint("mock-429-quota"), None);
        assert_eq!(hint("mock-500"), None);
        assert_eq!(hint("mock-503-ra2"), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_reason_brings_its_status() {
        let status = |model| match read(model).act {
            Act::Refuse(refusal) => refusal.status,
            Act::Answer | Act::Hang => panic!("{model} does not refuse"),
        };
        assert_eq!(status("mock-quota"), 429);
        assert_eq!(status("mock-quota-403"), 403);
        assert_eq!(status("mock-context"), 400);
        assert_eq!(status("mock-filter"), 400);
    }

    #[test]
    fn breaks_are_read_with_their_place() {
        let ending = |model| read(model).ending;
        assert_eq!(ending("mock-cut3"), Ending::BrokenAfter(3, Break::Cut));
        assert_eq!(ending("mock-end0"), Ending::BrokenAfter(0, Break::End));
        assert_eq!(ending("mock-stall2"), Ending::BrokenAfter(2, Break::Stall));
        assert_eq!(ending("mock-error1"), Ending::BrokenAfter(1, Break::Error));
        assert_eq!(ending("mock-nodone"), Ending::WithoutDone);
    }

    #[test]
    fn a_tag_changes_nothing() {
        assert_eq!(read("mock-ok-tagA17"), read("mock-ok"));
    }

    #[test]
    fn a_word_that_is_no_directive_is_named_with_the_known_ones() {
        for (model, word) in [
            ("mock-oops", "oops"),
            ("mock-ok-delay20", "delay20"),
            ("mock-ok-gap", "gap"),
            ("mock-", ""),
            ("mock-ok--hang", ""),
            ("mock-200", "200"),
            ("mock-600", "600"),
            ("mock-chunks0", "chunks0"),
            ("mock-cut+3", "cut+3"),
            ("mock-usage13", "usage13"),
            ("mock-delay3601s", "delay3601s"),
            ("mock-tag", "tag"),
            ("mock-\u{e9}3", "\u{e9}3"),
        ] {
            let error = Script::parse(model).unwrap_err();
            assert_eq!(error.word, word, "{model}");
            assert!(error.to_string().contains("usagePxC"), "{error}");
        }
    }

    #[test]
    fn the_read_me_lists_every_directive() {
        let read_me = include_str!("../README.md");
        for Directive { form, meaning } in DIRECTIVES {
            let line = format!("| `{form}` | {meaning} |");
            assert!(read_me.contains(&line), "README.md lacks: {line}");
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_the_reader_panic(model in "(mock-)?\\PC*") {
            let _ = Script::parse(&model);
        }

        #[test]
        fn directives_that_do_not_contradict_may_stand_in_any_order(
            words in Just(vec!["delay5ms", "gap7ms", "chunks3", "usage2x3", "cut4"]).prop_shuffle()
        ) {
            let shuffled = read(&format!("mock-{}", words.join("-")));
            prop_assert_eq!(shuffled, read("mock-delay5ms-gap7ms-chunks3-usage2x3-cut4"));
        }
    }

    fn read(model: &str) -> Script {
        Script::parse(model).unwrap()
    }
}
