//! A codec in this process, given as functions over its own types.

use std::convert::Infallible;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Codec, Decoded, Encoded,
    declaration::Kind,
    value::{Object, Value, as_map, as_object},
};

/// A codec whose types serde can make from values.
#[derive(Default)]
pub struct Typed {
    kinds: Vec<TypedKind>,
    binary: bool,
}

struct TypedKind {
    kind: Kind,
    encode: Box<Write>,
    decode: Box<Read>,
}

type Write = dyn Fn(&Object) -> Encoded;
type Read = dyn Fn(&[u8]) -> Decoded;

impl Typed {
    /// A codec of no kinds yet, whose payloads are JSON.
    pub fn new() -> Typed {
        Typed::default()
    }

    /// The same codec, whose payloads are not JSON.
    #[must_use]
    pub fn binary(self) -> Typed {
        Typed { binary: true, ..self }
    }

    /// The same codec with one more kind, and how it is written and read.
    #[must_use]
    pub fn with<T: Serialize + DeserializeOwned + 'static>(
        mut self,
        kind: Kind,
        encode: impl Fn(&T) -> Result<Vec<u8>, String> + 'static,
        decode: impl Fn(&[u8]) -> Result<T, String> + 'static,
    ) -> Typed {
        let encode = move |value: &Object| {
            let typed = as_map(value).to_json().and_then(|json| {
                serde_json::from_value::<T>(json).map_err(|error| error.to_string())
            });
            let held = typed.and_then(|typed| Ok((object_of(&typed)?, typed)));
            match held {
                Err(why) => Encoded::Illegal(why),
                Ok((held, typed)) => match encode(&typed) {
                    Ok(payload) => Encoded::Written { payload, held },
                    Err(why) => Encoded::Refused(why),
                },
            }
        };
        let decode = move |payload: &[u8]| match decode(payload).and_then(|it| object_of(&it)) {
            Ok(object) => Decoded::Object(object),
            Err(why) => Decoded::Refused(why),
        };
        self.kinds.push(TypedKind { kind, encode: Box::new(encode), decode: Box::new(decode) });
        self
    }

    fn kind(&self, name: &str) -> Option<&TypedKind> {
        self.kinds.iter().find(|it| it.kind.name == name)
    }
}

impl Codec for Typed {
    type Error = Infallible;

    fn kinds(&self) -> Vec<Kind> {
        self.kinds.iter().map(|it| it.kind.clone()).collect()
    }

    fn writes_json(&self) -> bool {
        !self.binary
    }

    fn encode(&mut self, kind: &str, value: &Object) -> Result<Encoded, Infallible> {
        Ok(match self.kind(kind) {
            Some(it) => (it.encode)(value),
            None => Encoded::Illegal(format!("there is no kind {kind}")),
        })
    }

    fn decode(&mut self, kind: &str, payload: &[u8]) -> Result<Decoded, Infallible> {
        Ok(match self.kind(kind) {
            Some(it) => (it.decode)(payload),
            None => Decoded::Refused(format!("there is no kind {kind}")),
        })
    }
}

fn object_of<T: Serialize>(typed: &T) -> Result<Object, String> {
    let json = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    as_object(Value::from_json(&json))
}
