//! Bytes of which only so many are kept.
//!
//! A store's values can be of any size, and a history must not be. What is cut off is still told
//! apart from anything else by its length and digest.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many bytes of one value are kept.
///
/// Enough for the cached identities of the gateways we know, so that a codec can be judged on what
/// was really written.
pub const KEPT_BYTES: usize = 16 * 1024;

/// What is recorded in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The first bytes of a value, and enough about the rest to tell it from another.
///
/// Written as a plain string when it is whole and is text; otherwise as an object with `text` or
/// `hex`, `len` and, when something was cut off, `sha256`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Bounded {
    kept: Box<[u8]>,
    len: u64,
    sha256: Option<Box<str>>,
}

impl Bounded {
    /// Keeps as much of `bytes` as may be kept.
    pub fn new(bytes: &[u8]) -> Bounded {
        Bounded::keeping(bytes, KEPT_BYTES)
    }

    /// Keeps at most `limit` of `bytes`.
    pub(crate) fn keeping(bytes: &[u8], limit: usize) -> Bounded {
        if bytes.len() <= limit {
            return Bounded { kept: bytes.into(), len: bytes.len() as u64, sha256: None };
        }
        let sha256 = Some(hex(&Sha256::digest(bytes)).into());
        Bounded { kept: bytes[..limit].into(), len: bytes.len() as u64, sha256 }
    }

    /// A value of which nothing is kept but its length.
    pub(crate) fn measured(len: u64) -> Bounded {
        Bounded { kept: Box::default(), len, sha256: None }
    }

    /// What stands for a secret.
    pub(crate) fn redacted() -> Bounded {
        Bounded::new(REDACTED.as_bytes())
    }

    /// The bytes that were kept.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// All the bytes, if all were kept.
    pub fn whole(&self) -> Option<&[u8]> {
        self.is_whole().then_some(&*self.kept)
    }

    /// Whether nothing was cut off.
    pub fn is_whole(&self) -> bool {
        self.kept.len() as u64 == self.len
    }

    /// How long the value really was.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the value had no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hex SHA-256 of the whole value, where something was cut off and all of it went by.
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// What was kept, as text; bytes that are not text show as replacement characters.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.kept)
    }

    /// What was kept, as text, for good.
    pub fn into_text(self) -> String {
        match String::from_utf8(self.kept.into_vec()) {
            Ok(text) => text,
            Err(not_text) => String::from_utf8_lossy(not_text.as_bytes()).into_owned(),
        }
    }
}

impl AsRef<[u8]> for Bounded {
    fn as_ref(&self) -> &[u8] {
        &self.kept
    }
}

impl From<&str> for Bounded {
    fn from(text: &str) -> Bounded {
        Bounded::new(text.as_bytes())
    }
}

impl PartialEq<str> for Bounded {
    fn eq(&self, other: &str) -> bool {
        self.is_whole() && *self.kept == *other.as_bytes()
    }
}

impl PartialEq<&str> for Bounded {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())?;
        if !self.is_whole() {
            write!(f, "… of {} bytes", self.len)?;
        }
        Ok(())
    }
}

/// Takes a value in piece by piece.
#[derive(Debug)]
pub(crate) struct Gathering {
    kept: Vec<u8>,
    limit: usize,
    len: u64,
    digest: Option<Sha256>,
}

impl Gathering {
    /// Expects `len` bytes, to keep at most `limit` of them.
    pub(crate) fn expecting(len: u64, limit: usize) -> Gathering {
        let digest = (len > limit as u64).then(Sha256::new);
        Gathering { kept: Vec::new(), limit, len: 0, digest }
    }

    /// Takes in the next bytes.
    pub(crate) fn take_in(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        let room = self.limit - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
    }

    /// Ends the value.
    pub(crate) fn finish(self) -> Bounded {
        let sha256 = self.digest.map(|digest| hex(&digest.finalize()).into());
        Bounded { kept: self.kept.into(), len: self.len, sha256 }
    }
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|it| it as u8)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// How a value stands in an artefact.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(String),
    Part {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
        len: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Box<str>>,
    },
}

impl From<Bounded> for Written {
    fn from(value: Bounded) -> Written {
        let Bounded { kept, len, sha256 } = value;
        let whole = kept.len() as u64 == len;
        match String::from_utf8(kept.into_vec()) {
            Ok(text) if whole => Written::Whole(text),
            Ok(text) => Written::Part { text: Some(text), hex: None, len, sha256 },
            Err(not_text) => {
                Written::Part { text: None, hex: Some(hex(not_text.as_bytes())), len, sha256 }
            }
        }
    }
}

impl TryFrom<Written> for Bounded {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Bounded, &'static str> {
        match written {
            Written::Whole(text) => {
                Ok(Bounded { len: text.len() as u64, kept: text.into_bytes().into(), sha256: None })
            }
            Written::Part { text: Some(text), hex: None, len, sha256 } => {
                Ok(Bounded { kept: text.into_bytes().into(), len, sha256 })
            }
            Written::Part { text: None, hex: Some(digits), len, sha256 } => {
                let kept = unhex(&digits).ok_or("`hex` holds something else")?;
                Ok(Bounded { kept: kept.into(), len, sha256 })
            }
            Written::Part { .. } => Err("a value has either `text` or `hex`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_written_as_itself() {
        assert_eq!(serde_json::to_string(&Bounded::from("a key")).unwrap(), r#""a key""#);
    }

    #[test]
    fn what_is_cut_off_is_told_by_length_and_digest() {
        let long = Bounded::new(&vec![b'x'; KEPT_BYTES + 1]);
        assert!(!long.is_whole());
        assert_eq!(long.whole(), None);
        assert_eq!(long.len(), KEPT_BYTES as u64 + 1);
        let other = Bounded::new(&[vec![b'x'; KEPT_BYTES], vec![b'y']].concat());
        assert_ne!(long.sha256(), other.sha256());
    }

    #[test]
    fn every_value_reads_back_as_written() {
        let long = Bounded::new(&[0xff; KEPT_BYTES * 2]);
        for value in [Bounded::from(""), Bounded::from("é"), Bounded::new(&[0xc3, 0x28]), long] {
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Bounded>(&json).unwrap(), value, "{json}");
        }
    }

    #[test]
    fn pieces_make_the_same_value_as_the_whole() {
        let bytes: Vec<u8> = (0..KEPT_BYTES * 2).map(|it| it as u8).collect();
        let mut gathering = Gathering::expecting(bytes.len() as u64, KEPT_BYTES);
        for piece in bytes.chunks(1_000) {
            gathering.take_in(piece);
        }
        assert_eq!(gathering.finish(), Bounded::new(&bytes));
    }
}
