//! Payloads that nobody wrote.

use proptest::{prelude::*, sample::Index};

/// A payload that no codec writes, and what it is.
pub(super) struct Poison {
    /// What it is, for reports.
    pub(super) name: &'static str,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

/// How an entry was damaged.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    /// Its end is missing.
    Cut(Index),
    /// One byte is another.
    Flip {
        /// Which one.
        at: Index,
        /// What was added to it, without carry. It never leaves ASCII.
        mask: u8,
    },
}

/// The length of the long text.
const LONG: usize = 10 << 20;

/// The depth of the deep nesting: past every reader's limit, and past many a stack.
const DEEP: usize = 5_000;

/// What may be found under the name of an entry, whatever the kind.
pub(super) fn all() -> Vec<Poison> {
    let deep = |open: &str, close: &str| [open.repeat(DEEP), close.repeat(DEEP)].concat();
    let text = |name, text: &str| Poison { name, bytes: text.as_bytes().to_vec() };
    vec![
        text("nothing", ""),
        text("a space", " "),
        text("null", "null"),
        text("true", "true"),
        text("0", "0"),
        text("1e999", "1e999"),
        text("NaN", "NaN"),
        text("empty text", "\"\""),
        text("text", "\"a\""),
        text("an empty list", "[]"),
        text("a list of an empty object", "[{}]"),
        text("an empty object", "{}"),
        text("an open brace", "{"),
        text("half a surrogate", "\"\\ud800\""),
        text("JSON inside text", "\"{}\""),
        text("lists nested 5,000 deep", &deep("[", "]")),
        text("objects nested 5,000 deep", &deep("{\"a\":", "}")),
        text("5,000 open brackets", &"[".repeat(DEEP)),
        text("10 MiB of text", &format!("\"{}\"", "a".repeat(LONG))),
        Poison { name: "bytes that are no UTF-8", bytes: vec![0xff, 0xfe, 0x00, 0x80] },
    ]
}

/// Damage to an entry: half of it cuts, half flips.
pub(super) fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), 1..128_u8).prop_map(|(at, mask)| Damage::Flip { at, mask }),
    ]
}

impl Damage {
    /// The entry after it. An empty one stays empty.
    pub(super) fn done_to(&self, entry: &[u8]) -> Vec<u8> {
        if entry.is_empty() {
            return Vec::new();
        }
        match self {
            Damage::Cut(at) => entry[..at.index(entry.len())].to_vec(),
            Damage::Flip { at, mask } => {
                let mut entry = entry.to_vec();
                let at = at.index(entry.len());
                entry[at] ^= mask;
                entry
            }
        }
    }
}
