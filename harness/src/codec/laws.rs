//! The laws, and the judgement of a codec by them.
//!
//! The argument needs nothing of a codec's inside. An object goes in, bytes come out, and reading
//! them must give the object back; whatever else reads as an object was either written by the codec,
//! or authorises somebody whom nobody wrote down. A law that fails for one field is told once for
//! that field, with the smallest object that shows it; states that fail alone are then left out of
//! what is tried together.

use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::{
    Codec, Decoded, Encoded,
    declaration::{Kind, UnknownFields, smallest},
    poison::{self, damages},
    value::{Object, Value, as_map, same_payload},
    values::{Class, Place, lattice},
};

/// What a codec owes its readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// Nothing makes it panic.
    NoPanic,
    /// Every object of a kind can be written.
    EveryValueIsWritten,
    /// What was written reads back as it was.
    ReadsBack,
    /// Null, the default and what is set stay what they are.
    NullIsNotDefault,
    /// What was read is written as it was.
    RewritesTheSame,
    /// What is written is JSON that every reader takes.
    PayloadIsJson,
    /// No kind reads what another one wrote.
    KindsStayApart,
    /// A field that a reader does not know survives or is refused, and never widens rights by going.
    UnknownFields,
    /// What the previous schema version wrote is read.
    PreviousVersion,
    /// What the next schema version writes is refused, or read with no wider rights.
    NextVersion,
    /// What nobody wrote never reads as an object.
    PoisonIsRefused,
}

/// How hard to try.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Everything random follows from it.
    pub seed: u64,
    /// How many whole objects are drawn of each kind.
    pub cases: u32,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The laws that do not hold, smallest first, each breach once.
    pub breaches: Vec<Breach>,
    /// How often each law was put to the test.
    pub tried: BTreeMap<Law, u64>,
    /// By kind, what was drawn that the codec's own types do not admit.
    pub illegal: BTreeMap<String, Illegal>,
    /// Kinds of which no object could be made, and why. Nothing is known of them.
    pub vacuous: BTreeMap<String, String>,
}

/// Objects of a kind that the declaration admits and the codec's own types do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Illegal {
    /// How many there were.
    pub objects: u64,
    /// Why the first of them is none.
    pub example: String,
}

/// One field of one kind that breaks one law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The law.
    pub law: Law,
    /// The kind.
    pub kind: String,
    /// The field, as in `members[].role`; none where it is about the kind as a whole.
    pub field: Option<String>,
    /// What went wrong, in a few words that are the same for every field it happens to.
    pub symptom: String,
    /// What was done, and what came of it.
    pub story: String,
    /// What was written.
    pub written: String,
    /// How large the object is that shows it.
    size: usize,
}

impl Findings {
    /// Takes in what was found otherwise.
    pub fn extend(&mut self, others: Findings) {
        self.breaches.extend(others.breaches);
        for (law, times) in others.tried {
            *self.tried.entry(law).or_default() += times;
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.breaches.sort_by(|a, b| {
            (a.law, a.size, &a.kind, &a.field).cmp(&(b.law, b.size, &b.kind, &b.field))
        });
    }
}

/// How many letters of a payload or an answer are shown.
const SHOWN: usize = 240;

/// How many objects are tried for each class of states of a field.
pub(super) const PER_CLASS: u32 = 4;

/// More steps than a small object needs to shrink.
const SHRINK_STEPS: u32 = 20_000;

/// The name of a field that no gateway has.
const UNKNOWN: &str = "gauntlet_unknown";

impl Law {
    /// All of them.
    pub const ALL: [Law; 11] = [
        Law::NoPanic,
        Law::EveryValueIsWritten,
        Law::ReadsBack,
        Law::NullIsNotDefault,
        Law::RewritesTheSame,
        Law::PayloadIsJson,
        Law::KindsStayApart,
        Law::UnknownFields,
        Law::PreviousVersion,
        Law::NextVersion,
        Law::PoisonIsRefused,
    ];

    /// What it is called in reports. It never changes.
    pub fn id(self) -> &'static str {
        match self {
            Law::NoPanic => "no-panic",
            Law::EveryValueIsWritten => "every-value-is-written",
            Law::ReadsBack => "reads-back",
            Law::NullIsNotDefault => "null-is-not-default",
            Law::RewritesTheSame => "rewrites-the-same",
            Law::PayloadIsJson => "payload-is-json",
            Law::KindsStayApart => "kinds-stay-apart",
            Law::UnknownFields => "unknown-fields",
            Law::PreviousVersion => "previous-version",
            Law::NextVersion => "next-version",
            Law::PoisonIsRefused => "poison-is-refused",
        }
    }

    /// What it says of a good codec.
    pub fn title(self) -> &'static str {
        match self {
            Law::NoPanic => "nothing makes the codec panic",
            Law::EveryValueIsWritten => "every object of a kind can be written",
            Law::ReadsBack => "what was written reads back as it was",
            Law::NullIsNotDefault => "null, the default and what is set stay what they are",
            Law::RewritesTheSame => "what was read is written as it was",
            Law::PayloadIsJson => "what is written is JSON that every reader takes",
            Law::KindsStayApart => "no kind reads what another one wrote",
            Law::UnknownFields => {
                "an unknown field survives or is refused, and never widens rights by going"
            }
            Law::PreviousVersion => "what the previous schema version wrote is read",
            Law::NextVersion => {
                "what the next schema version writes is refused, or read with no wider rights"
            }
            Law::PoisonIsRefused => "what nobody wrote never reads as an object",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}\n  written: {}", self.kind, self.story, self.written)
    }
}

/// Holds a codec to every law, at a fixed seed.
///
/// # Panics
///
/// When one does not hold, with every breach; or when a kind could not be put to the test.
pub fn assert_hold<C: Codec>(codec: &mut C) {
    let found = judge(codec, Effort { seed: 0, cases: 64 });
    let found = found.unwrap_or_else(|error| panic!("the codec gave no answer: {error}"));
    let told: Vec<_> = found.breaches.iter().map(|it| format!("{}: {it}", it.law.id())).collect();
    assert!(told.is_empty(), "{} breaches of the codec laws\n{}", told.len(), told.join("\n"));
    assert!(found.vacuous.is_empty(), "not put to the test: {:?}", found.vacuous);
}

/// Holds a codec to every law.
///
/// # Errors
///
/// When the codec gives no answer.
pub fn judge<C: Codec>(codec: &mut C, effort: Effort) -> Result<Findings, C::Error> {
    let (findings, ended) = judge_so_far(codec, effort);
    ended.map(|()| findings)
}

/// Holds a codec to the laws until it can no longer be asked: what was found by then, and why it ended
/// early, if it did.
pub fn judge_so_far<C: Codec>(codec: &mut C, effort: Effort) -> (Findings, Result<(), C::Error>) {
    let court = Court::new(codec, effort);
    let ended = court.in_session();
    (court.findings(), ended)
}

/// What went wrong with one object.
pub(super) struct Wrong {
    pub(super) law: Law,
    /// The field that differs, where one is known to.
    pub(super) field: Option<String>,
    pub(super) symptom: String,
    pub(super) story: String,
    pub(super) written: Vec<u8>,
}

/// A codec under judgement.
pub(super) struct Court<'a, C> {
    codec: RefCell<&'a mut C>,
    effort: Effort,
    json: bool,
    findings: RefCell<Findings>,
}

impl<'a, C: Codec> Court<'a, C> {
    pub(super) fn new(codec: &'a mut C, effort: Effort) -> Court<'a, C> {
        let json = codec.writes_json();
        Court { codec: RefCell::new(codec), effort, json, findings: RefCell::default() }
    }

    pub(super) fn kinds(&self) -> Vec<Kind> {
        self.codec.borrow().kinds()
    }

    fn in_session(&self) -> Result<(), C::Error> {
        let kinds = self.kinds();
        for kind in &kinds {
            if !self.has_an_object(kind)? {
                continue;
            }
            let known = self.every_place(kind)?;
            self.whole_objects(kind, &known)?;
            self.unknown_fields(kind)?;
            self.previous_names(kind)?;
            self.previous_entries(kind)?;
            self.poison(kind)?;
            self.damage(kind, &known)?;
            for reader in kinds.iter().filter(|reader| reader.name != kind.name) {
                self.apart(kind, reader, &known)?;
            }
        }
        Ok(())
    }

    /// What was found, smallest first.
    pub(super) fn findings(self) -> Findings {
        let mut findings = self.findings.into_inner();
        findings.sort();
        findings
    }

    /// Whether the smallest object of a kind can be made at all.
    fn has_an_object(&self, kind: &Kind) -> Result<bool, C::Error> {
        let why = match smallest(&kind.fields) {
            None => "no object has the shape that was declared".to_owned(),
            Some(base) => match self.encode(kind, &base)? {
                Ok(Encoded::Illegal(why)) => why,
                Ok(Encoded::Written { .. } | Encoded::Refused(_)) | Err(_) => return Ok(true),
            },
        };
        self.findings.borrow_mut().vacuous.insert(kind.name.clone(), shown(&why));
        Ok(false)
    }

    /// Varies each field alone. Returns the states that fail.
    fn every_place(&self, kind: &Kind) -> Result<BTreeSet<(String, Class)>, C::Error> {
        let mut known = BTreeSet::new();
        let mut broken: BTreeMap<String, BTreeSet<Law>> = BTreeMap::new();
        let base = smallest(&kind.fields).unwrap_or_default();
        let mut by_base = BTreeSet::new();
        while let Some(wrong) = self.round_trip(kind, &base)?.filter(|it| by_base.insert(it.law)) {
            self.record(kind, None, &wrong, &base);
        }
        for place in Place::all(kind) {
            // What already fails around it says nothing about this field.
            let outer =
                place.within.as_deref().map(|path| path.trim_end_matches(['[', ']', '{', '}']));
            let around = outer.and_then(|path| broken.get(path)).unwrap_or(&by_base).clone();
            for class in place.classes() {
                let Some(objects) = place.objects(class) else { continue };
                let name = format!("{} {} {class:?}", kind.name, place.path);
                let mut left_out = around.clone();
                let probe = |object: &Object| self.round_trip(kind, object);
                while let Some((object, wrong)) =
                    self.search(&name, PER_CLASS, &objects, &left_out, &probe)?
                {
                    left_out.insert(wrong.law);
                    known.insert((place.path.clone(), class));
                    if class != Class::Null {
                        let laws =
                            broken.entry(place.path.clone()).or_insert_with(|| around.clone());
                        laws.insert(wrong.law);
                    }
                    self.record(kind, Some(&place.path), &wrong, &object);
                }
            }
        }
        Ok(known)
    }

    /// Varies all fields together.
    fn whole_objects(
        &self,
        kind: &Kind,
        known: &BTreeSet<(String, Class)>,
    ) -> Result<(), C::Error> {
        let Some(objects) = lattice(kind, known) else { return Ok(()) };
        let mut left_out: BTreeSet<_> = {
            let findings = self.findings.borrow();
            let of_kind = findings.breaches.iter().filter(|it| it.kind == kind.name);
            of_kind.filter(|it| it.field.is_none()).map(|it| it.law).collect()
        };
        let probe = |object: &Object| self.round_trip(kind, object);
        let name = format!("{} whole", kind.name);
        while let Some((object, wrong)) =
            self.search(&name, self.effort.cases, &objects, &left_out, &probe)?
        {
            left_out.insert(wrong.law);
            self.record(kind, wrong.field.as_deref(), &wrong, &object);
        }
        Ok(())
    }

    /// Writes an object, reads it, writes it again.
    fn round_trip(&self, kind: &Kind, object: &Object) -> Result<Option<Wrong>, C::Error> {
        let wrong = |law, field, symptom: &str, story, written: &[u8]| {
            let symptom = symptom.to_owned();
            Ok(Some(Wrong { law, field, symptom, story, written: written.to_vec() }))
        };
        let given = as_map(object);
        self.tried(Law::EveryValueIsWritten);
        let (payload, held) = match self.encode(kind, object)? {
            Ok(Encoded::Written { payload, held }) => (payload, kind.understood(&held)),
            Ok(Encoded::Refused(why)) => {
                let story = format!("encode({given}) refuses: {}", shown(&why));
                return wrong(Law::EveryValueIsWritten, None, "refuses", story, b"");
            }
            Ok(Encoded::Illegal(why)) => {
                let illegal = &mut self.findings.borrow_mut().illegal;
                let first = Illegal { objects: 0, example: shown(&why) };
                illegal.entry(kind.name.clone()).or_insert(first).objects += 1;
                return Ok(None);
            }
            Err(panic) => {
                let story = format!("encode({given}) panics: {panic}");
                return wrong(Law::NoPanic, None, "panics", story, b"");
            }
        };
        self.tried(Law::ReadsBack);
        let read = match self.decode(kind, &payload)? {
            Ok(Decoded::Object(read)) => kind.understood(&read),
            Ok(Decoded::Refused(why)) => {
                let story = format!("decode(encode({given})) refuses: {}", shown(&why));
                return wrong(Law::ReadsBack, None, "is never read", story, &payload);
            }
            Ok(Decoded::Miss) => {
                let story = format!("decode(encode({given})) is a miss");
                return wrong(Law::ReadsBack, None, "is never read", story, &payload);
            }
            Err(panic) => {
                let story = format!("decode(encode({given})) panics: {panic}");
                return wrong(Law::NoPanic, None, "panics", story, &payload);
            }
        };
        self.tried(Law::NullIsNotDefault);
        if let Some((field, before, after)) = difference(&held, &read) {
            let told = |value: &Option<Value>| value.as_ref().map_or("absent", Value::described);
            let symptom = format!("{} becomes {}", told(&before), told(&after));
            let after_all = after.map_or("nothing".to_owned(), |value| value.to_string());
            let story = format!("decode(encode({given})) gives {field}: {after_all}");
            let law = match before {
                None | Some(Value::Null) => Law::NullIsNotDefault,
                Some(_) => Law::ReadsBack,
            };
            return wrong(law, Some(field), &symptom, story, &payload);
        }
        if self.json {
            self.tried(Law::PayloadIsJson);
            if let Err(error) = serde_json::from_slice::<Json>(&payload) {
                let story = format!("encode({given}) is no JSON: {error}");
                return wrong(Law::PayloadIsJson, None, "is written as no JSON", story, &payload);
            }
        }
        self.tried(Law::RewritesTheSame);
        let symptom = "is written differently once read";
        match self.encode(kind, &read)? {
            Ok(Encoded::Written { payload: again, .. }) if same_payload(&again, &payload) => {
                Ok(None)
            }
            Ok(Encoded::Written { payload: again, .. }) => {
                let story = format!(
                    "encode(decode(encode({given}))) writes {}",
                    shown(&String::from_utf8_lossy(&again))
                );
                wrong(Law::RewritesTheSame, None, symptom, story, &payload)
            }
            Ok(Encoded::Refused(why) | Encoded::Illegal(why)) => {
                let story = format!("encode(decode(encode({given}))) refuses: {}", shown(&why));
                wrong(Law::RewritesTheSame, None, symptom, story, &payload)
            }
            Err(panic) => {
                let story = format!("encode(decode(encode({given}))) panics: {panic}");
                wrong(Law::NoPanic, None, "panics", story, &payload)
            }
        }
    }

    /// Has one kind read what another wrote.
    fn apart(
        &self,
        writer: &Kind,
        reader: &Kind,
        known: &BTreeSet<(String, Class)>,
    ) -> Result<(), C::Error> {
        let Some(objects) = lattice(writer, known) else { return Ok(()) };
        let probe = |object: &Object| {
            let Some(payload) = self.written(writer, object)? else { return Ok(None) };
            self.tried(Law::KindsStayApart);
            let given = as_map(object);
            Ok(self.accepted(reader, &payload)?.map(|read| Wrong {
                law: read.law(Law::KindsStayApart),
                field: None,
                symptom: format!("is read as a {}", reader.name),
                story: format!(
                    "decode as {}(encode({given})) {}",
                    reader.name,
                    read.told(&reader.name)
                ),
                written: payload,
            }))
        };
        let name = format!("{} as {}", writer.name, reader.name);
        let cases = self.effort.cases.min(32);
        if let Some((object, wrong)) = self.search(&name, cases, &objects, &[].into(), &probe)? {
            self.record(writer, None, &wrong, &object);
        }
        Ok(())
    }

    /// Adds a field to an entry, as a newer version would.
    fn unknown_fields(&self, kind: &Kind) -> Result<(), C::Error> {
        let base = smallest(&kind.fields).unwrap_or_default();
        let Some(payload) = self.written(kind, &base)?.filter(|_| self.json) else { return Ok(()) };
        let Some(body) = body_of(&payload, kind) else { return Ok(()) };
        let added = edited(&payload, &body, |fields| {
            fields.insert(UNKNOWN.to_owned(), true.into());
        });
        let Some(added) = added else { return Ok(()) };
        self.tried(Law::UnknownFields);
        let read = match self.accepted(kind, &added)? {
            None => return Ok(()),
            Some(Accepted::Panic(panic)) => {
                let wrong = Wrong::panic(&added, panic);
                self.record(kind, None, &wrong, &base);
                return Ok(());
            }
            Some(Accepted::Object(read)) => read,
        };
        let survives = match self.encode(kind, &read)? {
            Ok(Encoded::Written { payload, .. }) => same_payload(&payload, &added),
            Ok(Encoded::Refused(_) | Encoded::Illegal(_)) | Err(_) => false,
        };
        let (symptom, story) = match kind.unknown {
            UnknownFields::Refused => (
                "reads a field it does not know",
                "an unknown field is declared to be refused, and is read over",
            ),
            UnknownFields::Kept if !survives => (
                "loses a field it does not know",
                "an unknown field is declared to be kept, and is gone once read and written",
            ),
            UnknownFields::Ignored if kind.narrows_rights() && !survives => (
                "drops a field that may narrow rights",
                "a restriction that a newer version wrote would be dropped, and rights be wider",
            ),
            UnknownFields::Kept | UnknownFields::Ignored => return Ok(()),
        };
        let wrong = Wrong {
            law: Law::UnknownFields,
            field: None,
            symptom: symptom.to_owned(),
            story: format!("decode({{…, {UNKNOWN}: true}}) gives an object: {story}"),
            written: added,
        };
        self.record(kind, None, &wrong, &base);
        Ok(())
    }

    /// Calls each field by its earlier names.
    fn previous_names(&self, kind: &Kind) -> Result<(), C::Error> {
        let mut places = Place::all(kind);
        places.retain(|place| place.within.is_none() && !place.field.previously.is_empty());
        for place in places.iter().filter(|_| self.json) {
            let (name, class) = (&place.field.name, Class::Plain);
            let class = if place.classes().contains(&class) { class } else { Class::Date };
            let Some(objects) = place.objects(class) else { continue };
            for earlier in &place.field.previously {
                let probe = |object: &Object| {
                    let Ok(Encoded::Written { payload, held }) = self.encode(kind, object)? else {
                        return Ok(None);
                    };
                    let old = body_of(&payload, kind).and_then(|body| {
                        edited(&payload, &body, |fields| {
                            if let Some(value) = fields.remove(name) {
                                fields.insert(earlier.clone(), value);
                            }
                        })
                    });
                    let Some(old) = old else { return Ok(None) };
                    self.reads_as(kind, &old, Some(&held), &format!("{name} as {earlier}"))
                };
                let search = format!("{} {name} was {earlier}", kind.name);
                let found = self.search(&search, PER_CLASS, &objects, &[].into(), &probe)?;
                if let Some((object, wrong)) = found {
                    self.record(kind, Some(name), &wrong, &object);
                }
            }
        }
        Ok(())
    }

    /// Reads the entries that the previous version is declared to have written.
    fn previous_entries(&self, kind: &Kind) -> Result<(), C::Error> {
        for entry in &kind.previous {
            let wrong = self.reads_as(kind, &entry.payload, entry.value.as_ref(), "entry")?;
            if let Some(wrong) = wrong {
                let size = entry.value.clone().unwrap_or_default();
                self.record(kind, None, &wrong, &size);
            }
        }
        Ok(())
    }

    /// Reads an entry of the previous version.
    fn reads_as(
        &self,
        kind: &Kind,
        payload: &[u8],
        wanted: Option<&Object>,
        what: &str,
    ) -> Result<Option<Wrong>, C::Error> {
        self.tried(Law::PreviousVersion);
        let wrong = |symptom: &str, how: String| Wrong {
            law: Law::PreviousVersion,
            field: None,
            symptom: symptom.to_owned(),
            story: format!("decode(the previous version's {what}) {how}"),
            written: payload.to_vec(),
        };
        Ok(match self.decode(kind, payload)? {
            Err(panic) => Some(Wrong::panic(payload, panic)),
            Ok(Decoded::Miss) => {
                Some(wrong("of the previous version is lost", "is a miss".to_owned()))
            }
            Ok(Decoded::Refused(why)) => {
                Some(wrong("of the previous version is lost", format!("refuses: {}", shown(&why))))
            }
            Ok(Decoded::Object(read)) => wanted
                .and_then(|wanted| difference(&kind.understood(wanted), &kind.understood(&read)))
                .map(|(field, _, after)| {
                    let after = after.map_or("nothing".to_owned(), |value| value.to_string());
                    wrong("of the previous version changes", format!("gives {field}: {after}"))
                }),
        })
    }

    /// Reads what no codec writes.
    fn poison(&self, kind: &Kind) -> Result<(), C::Error> {
        let mut read_all = Vec::new();
        for poison in poison::all() {
            self.tried(Law::PoisonIsRefused);
            match self.accepted(kind, &poison.bytes)? {
                None => (),
                Some(Accepted::Panic(panic)) => {
                    let wrong = Wrong::panic(&poison.bytes, panic);
                    self.record(kind, None, &wrong, &Object::new());
                }
                Some(Accepted::Object(read)) => {
                    let legitimate = self.is_written_so(kind, &read, &poison.bytes)?;
                    read_all.extend((!legitimate).then_some(poison));
                }
            }
        }
        let Some(poison) = read_all.first() else { return Ok(()) };
        let names: Vec<_> = read_all.iter().map(|poison| poison.name).collect();
        let wrong = Wrong {
            law: Law::PoisonIsRefused,
            field: None,
            symptom: format!("is read from {}", names.join(", ")),
            story: format!("decode({}) gives an object, which no encoder wrote", poison.name),
            written: poison.bytes.clone(),
        };
        self.record(kind, None, &wrong, &Object::new());
        Ok(())
    }

    /// Reads what was written and then damaged.
    ///
    /// A flip may turn one entry into another that the codec could have written; without a checksum
    /// nobody can tell, so that is no breach. Nor is any flip one where the kind ignores unknown fields,
    /// since a flip makes a field unknown: that is told once, by the law of unknown fields.
    fn damage(&self, kind: &Kind, known: &BTreeSet<(String, Class)>) -> Result<(), C::Error> {
        let Some(objects) = lattice(kind, known) else { return Ok(()) };
        let probe = |(object, damage): &(Object, poison::Damage)| {
            let Ok(Encoded::Written { payload, held }) = self.encode(kind, object)? else {
                return Ok(None);
            };
            let damaged = damage.done_to(&payload);
            self.tried(Law::PoisonIsRefused);
            let read = match self.accepted(kind, &damaged)? {
                None => return Ok(None),
                Some(Accepted::Panic(panic)) => return Ok(Some(Wrong::panic(&damaged, panic))),
                Some(Accepted::Object(read)) => read,
            };
            let forgiven = kind.unknown == UnknownFields::Ignored
                && matches!(damage, poison::Damage::Flip { .. });
            let unharmed = difference(&kind.understood(&held), &kind.understood(&read)).is_none();
            if forgiven || unharmed || self.is_written_so(kind, &read, &damaged)? {
                return Ok(None);
            }
            let how = match damage {
                poison::Damage::Cut(_) => "cut short",
                poison::Damage::Flip { .. } => "with one byte changed",
            };
            Ok(Some(Wrong {
                law: Law::PoisonIsRefused,
                field: None,
                symptom: format!("is read from an entry {how}"),
                story: format!("decode(encode({}) {how}) gives an object", as_map(object)),
                written: damaged,
            }))
        };
        let name = format!("{} damaged", kind.name);
        let both = (objects, damages());
        if let Some(((object, _), wrong)) =
            self.search(&name, self.effort.cases, &both, &[].into(), &probe)?
        {
            self.record(kind, None, &wrong, &object);
        }
        Ok(())
    }

    /// Looks for an input that goes wrong, and for the smallest that does so in the same way.
    pub(super) fn search<S: Strategy>(
        &self,
        name: &str,
        cases: u32,
        strategy: &S,
        left_out: &BTreeSet<Law>,
        probe: &impl Fn(&S::Value) -> Result<Option<Wrong>, C::Error>,
    ) -> Result<Option<(S::Value, Wrong)>, C::Error>
    where
        S::Value: Clone,
    {
        let no_answer = RefCell::new(None);
        let first: RefCell<Option<(Law, String)>> = RefCell::new(None);
        let smallest: RefCell<Option<(S::Value, Wrong)>> = RefCell::new(None);
        let mut runner = self.runner(name, cases);
        let ended = runner.run(strategy, |input| {
            if no_answer.borrow().is_some() {
                return Ok(());
            }
            match probe(&input) {
                Err(error) => *no_answer.borrow_mut() = Some(error),
                Ok(Some(wrong)) if !left_out.contains(&wrong.law) => {
                    let same = (wrong.law, wrong.symptom.clone());
                    if *first.borrow_mut().get_or_insert_with(|| same.clone()) == same {
                        *smallest.borrow_mut() = Some((input, wrong));
                        return Err(TestCaseError::fail("wrong"));
                    }
                }
                Ok(_) => (),
            }
            Ok(())
        });
        if let Some(error) = no_answer.into_inner() {
            return Err(error);
        }
        match ended {
            Ok(()) => Ok(None),
            Err(TestError::Fail(..) | TestError::Abort(_)) => Ok(smallest.into_inner()),
        }
    }

    fn runner(&self, name: &str, cases: u32) -> TestRunner {
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: SHRINK_STEPS,
            ..Config::default()
        };
        let digest = Sha256::new()
            .chain_update(self.effort.seed.to_be_bytes())
            .chain_update(name.as_bytes())
            .finalize();
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &digest))
    }

    /// What a payload was read as, where anything came of it.
    fn accepted(&self, kind: &Kind, payload: &[u8]) -> Result<Option<Accepted>, C::Error> {
        Ok(match self.decode(kind, payload)? {
            Ok(Decoded::Object(read)) => Some(Accepted::Object(read)),
            Ok(Decoded::Refused(_) | Decoded::Miss) => None,
            Err(panic) => Some(Accepted::Panic(panic)),
        })
    }

    /// Whether the codec would have written this payload for this object.
    fn is_written_so(&self, kind: &Kind, read: &Object, payload: &[u8]) -> Result<bool, C::Error> {
        Ok(self.written(kind, read)?.is_some_and(|again| same_payload(&again, payload)))
    }

    fn written(&self, kind: &Kind, object: &Object) -> Result<Option<Vec<u8>>, C::Error> {
        Ok(match self.encode(kind, object)? {
            Ok(Encoded::Written { payload, .. }) => Some(payload),
            Ok(Encoded::Refused(_) | Encoded::Illegal(_)) | Err(_) => None,
        })
    }

    pub(super) fn encode(
        &self,
        kind: &Kind,
        object: &Object,
    ) -> Result<Result<Encoded, String>, C::Error> {
        let mut codec = self.codec.borrow_mut();
        without_panic(|| codec.encode(&kind.name, object))
    }

    pub(super) fn decode(
        &self,
        kind: &Kind,
        payload: &[u8],
    ) -> Result<Result<Decoded, String>, C::Error> {
        let mut codec = self.codec.borrow_mut();
        without_panic(|| codec.decode(&kind.name, payload))
    }

    pub(super) fn tried(&self, law: Law) {
        *self.findings.borrow_mut().tried.entry(law).or_default() += 1;
    }

    /// Keeps a breach, unless the same one is kept already.
    pub(super) fn record(&self, kind: &Kind, field: Option<&str>, wrong: &Wrong, object: &Object) {
        let breach = Breach {
            law: wrong.law,
            kind: kind.name.clone(),
            field: field.or(wrong.field.as_deref()).map(str::to_owned),
            symptom: wrong.symptom.clone(),
            story: wrong.story.clone(),
            written: shown(&String::from_utf8_lossy(&wrong.written)),
            size: as_map(object).to_string().len(),
        };
        let same = |it: &Breach| {
            it.law == breach.law
                && it.kind == breach.kind
                && it.field == breach.field
                && it.symptom == breach.symptom
        };
        let breaches = &mut self.findings.borrow_mut().breaches;
        if !breaches.iter().any(same) {
            breaches.push(breach);
        }
    }
}

/// What came of a payload that should not have been read.
enum Accepted {
    Object(Object),
    Panic(String),
}

impl Accepted {
    fn law(&self, law: Law) -> Law {
        match self {
            Accepted::Object(_) => law,
            Accepted::Panic(_) => Law::NoPanic,
        }
    }

    fn told(&self, reader: &str) -> String {
        match self {
            Accepted::Object(_) => format!("gives a {reader}"),
            Accepted::Panic(panic) => format!("panics: {panic}"),
        }
    }
}

impl Wrong {
    fn panic(payload: &[u8], panic: String) -> Wrong {
        Wrong {
            law: Law::NoPanic,
            field: None,
            symptom: "panics".to_owned(),
            story: format!("decode panics: {panic}"),
            written: payload.to_vec(),
        }
    }
}

/// The first field in which two objects differ, as deep as can be named, and its two states.
pub(super) fn difference(
    held: &Object,
    read: &Object,
) -> Option<(String, Option<Value>, Option<Value>)> {
    let names: BTreeSet<_> = held.keys().chain(read.keys()).collect();
    names.into_iter().find_map(|name| match (held.get(name), read.get(name)) {
        (Some(before), Some(after)) => difference_within(name, before, after),
        (None, None) => None,
        (before, after) => Some((name.clone(), before.cloned(), after.cloned())),
    })
}

fn difference_within(
    path: &str,
    before: &Value,
    after: &Value,
) -> Option<(String, Option<Value>, Option<Value>)> {
    if before.same(after) {
        return None;
    }
    let here = || Some((path.to_owned(), Some(before.clone()), Some(after.clone())));
    match (before, after) {
        (Value::List(these), Value::List(those)) if these.len() == those.len() => these
            .iter()
            .zip(those)
            .find_map(|(a, b)| difference_within(&format!("{path}[]"), a, b))
            .or_else(here),
        (Value::Map(these), Value::Map(those)) => {
            let keys: BTreeSet<_> = these.keys().chain(those.keys()).collect();
            if keys.len() > these.len().min(those.len()) {
                return here();
            }
            keys.into_iter()
                .find_map(|key| {
                    difference_within(&format!("{path}.{key}"), these.get(key)?, those.get(key)?)
                })
                .or_else(here)
        }
        _ => here(),
    }
}

/// Where in a payload the fields of a kind stand: the object that has most of their names.
fn body_of(payload: &[u8], kind: &Kind) -> Option<Vec<String>> {
    fn look(
        json: &Json,
        names: &BTreeSet<&str>,
        path: &mut Vec<String>,
        best: &mut (usize, Vec<String>),
    ) {
        let Json::Object(fields) = json else { return };
        let known = fields.keys().filter(|name| names.contains(name.as_str())).count();
        if known > best.0 {
            *best = (known, path.clone());
        }
        for (name, value) in fields {
            path.push(name.clone());
            look(value, names, path, best);
            path.pop();
        }
    }
    let json: Json = serde_json::from_slice(payload).ok()?;
    let mut best = (0, Vec::new());
    look(&json, &kind.names(), &mut Vec::new(), &mut best);
    let bare = json.as_object().is_some_and(serde_json::Map::is_empty);
    (best.0 > 0 || bare).then_some(best.1)
}

/// A payload after a change to the object at `body`.
fn edited(
    payload: &[u8],
    body: &[String],
    edit: impl Fn(&mut serde_json::Map<String, Json>),
) -> Option<Vec<u8>> {
    let mut json: Json = serde_json::from_slice(payload).ok()?;
    let fields = body.iter().try_fold(&mut json, |json, name| json.get_mut(name))?;
    edit(fields.as_object_mut()?);
    serde_json::to_vec(&json).ok()
}

/// The answer, or what it panicked with.
fn without_panic<T, E>(ask: impl FnOnce() -> Result<T, E>) -> Result<Result<T, String>, E> {
    match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(answer) => answer.map(Ok),
        Err(panic) => Ok(Err(panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "…".to_owned())
}

/// The first of a text, on one line.
pub(super) fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &line[..end], text.len()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::codec::{Field, PreviousEntry, Shape};

    /// A codec of teams and users, given as what it writes for an object and reads from JSON. A
    /// healthy one writes `{"k": kind, "d": object}`.
    struct Small {
        kinds: Vec<Kind>,
        write: fn(&str, Json) -> Json,
        read: fn(&str, Json) -> Result<Json, String>,
    }

    impl Default for Small {
        fn default() -> Small {
            let team = [
                Field::required("team_id", Shape::Text),
                Field::nullable("models", Shape::texts()).narrowing(),
                Field::nullable("tpm", Shape::INT64),
            ];
            let user = [Field::required("user_id", Shape::Text)];
            Small {
                kinds: vec![Kind::new("team", team), Kind::new("user", user)],
                write: |kind, fields| json!({"k": kind, "d": fields}),
                read: strict,
            }
        }
    }

    fn names(kind: &str) -> &'static [&'static str] {
        if kind == "team" { &["team_id", "models", "tpm"] } else { &["user_id"] }
    }

    /// Reads what a healthy codec wrote.
    fn strict(kind: &str, entry: Json) -> Result<Json, String> {
        let fields = &entry["d"];
        let wrapped = entry["k"] == kind && entry.as_object().is_some_and(|it| it.len() == 2);
        let found = fields.as_object().map_or(0, serde_json::Map::len);
        match names(kind).iter().find(|name| fields.get(**name).is_none()) {
            Some(name) => Err(format!("{name} is missing")),
            None if !wrapped || found != names(kind).len() => Err("what is this".to_owned()),
            None => typed(fields),
        }
    }

    fn typed(fields: &Json) -> Result<Json, String> {
        let texts = |it: &Json| it.as_array().is_some_and(|all| all.iter().all(Json::is_string));
        for (name, value) in fields.as_object().into_iter().flatten() {
            let right = match name.as_str() {
                "models" => value.is_null() || texts(value),
                "tpm" => value.is_null() || value.is_i64(),
                _ => value.is_string(),
            };
            if !right {
                return Err(format!("{name} is mistyped"));
            }
        }
        Ok(fields.clone())
    }

    impl Codec for Small {
        type Error = Infallible;

        fn kinds(&self) -> Vec<Kind> {
            self.kinds.clone()
        }

        fn writes_json(&self) -> bool {
            true
        }

        fn encode(&mut self, kind: &str, value: &Object) -> Result<Encoded, Infallible> {
            let fields = as_map(value).to_json().unwrap();
            let payload = (self.write)(kind, fields).to_string().into_bytes();
            Ok(Encoded::Written { payload, held: value.clone() })
        }

        fn decode(&mut self, kind: &str, payload: &[u8]) -> Result<Decoded, Infallible> {
            let json = serde_json::from_slice(payload).map_err(|error| error.to_string());
            Ok(match json.and_then(|json| (self.read)(kind, json)) {
                Ok(fields) => Decoded::Object(
                    crate::codec::value::as_object(Value::from_json(&fields)).unwrap(),
                ),
                Err(why) => Decoded::Refused(why),
            })
        }
    }

    fn judged(mut codec: Small) -> Findings {
        judge(&mut codec, Effort { seed: 7, cases: 64 }).unwrap()
    }

    /// The breaches, one per line and a half.
    fn told(codec: Small) -> String {
        let breaches = judged(codec).breaches;
        let told = breaches.iter().map(|it| format!("{}: {it}", it.law.id()));
        told.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_healthy_codec_breaks_no_law() {
        assert_eq!(told(Small::default()), "");
        assert_hold(&mut Small::default());
    }

    #[test]
    fn a_writer_that_drops_nulls_before_a_strict_reader_is_told() {
        let write = |kind: &str, mut fields: Json| {
            fields.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            json!({"k": kind, "d": fields})
        };
        assert_snapshot!(told(Small { write, ..Small::default() }), @r#"
        reads-back: team: decode(encode({models: null, team_id: "a", tpm: 0})) refuses: models is missing
          written: {"k":"team","d":{"team_id":"a","tpm":0}}
        reads-back: team: decode(encode({models: [], team_id: "a", tpm: null})) refuses: tpm is missing
          written: {"k":"team","d":{"models":[],"team_id":"a"}}
        "#);
    }

    #[test]
    fn a_reader_that_turns_null_into_the_default_is_told() {
        let read = |kind: &str, entry: Json| {
            let mut fields = strict(kind, entry)?;
            if fields["models"].is_null() && kind == "team" {
                fields["models"] = json!([]);
            }
            Ok(fields)
        };
        assert_snapshot!(told(Small { read, ..Small::default() }), @r#"
        null-is-not-default: team: decode(encode({models: null, team_id: "a", tpm: 0})) gives models: []
          written: {"k":"team","d":{"models":null,"team_id":"a","tpm":0}}
        "#);
    }

    #[test]
    fn integers_that_went_through_a_double_are_told() {
        let read = |kind: &str, entry: Json| {
            let mut fields = strict(kind, entry)?;
            if let Some(tpm) = fields["tpm"].as_f64() {
                #[expect(clippy::cast_possible_truncation, reason = "this is the defect")]
                let through_a_double = tpm as i64;
                fields["tpm"] = json!(through_a_double);
            }
            Ok(fields)
        };
        assert_snapshot!(told(Small { read, ..Small::default() }), @r#"
        reads-back: team: decode(encode({models: [], team_id: "a", tpm: 9007199254740993})) gives tpm: 9007199254740992
          written: {"k":"team","d":{"models":[],"team_id":"a","tpm":9007199254740993}}
        "#);
    }

    /// A codec whose answers another layer changes on their way out, and payloads on their way in.
    struct Layered {
        inner: Small,
        out: fn(&Object, Encoded) -> Encoded,
        back: fn(&[u8]) -> Vec<u8>,
    }

    impl Codec for Layered {
        type Error = Infallible;

        fn kinds(&self) -> Vec<Kind> {
            self.inner.kinds()
        }

        fn writes_json(&self) -> bool {
            true
        }

        fn encode(&mut self, kind: &str, value: &Object) -> Result<Encoded, Infallible> {
            self.inner.encode(kind, value).map(|encoded| (self.out)(value, encoded))
        }

        fn decode(&mut self, kind: &str, payload: &[u8]) -> Result<Decoded, Infallible> {
            self.inner.decode(kind, &(self.back)(payload))
        }
    }

    fn told_of_layers(mut codec: Layered) -> String {
        let found = judge(&mut codec, Effort { seed: 7, cases: 64 }).unwrap();
        let told = found.breaches.iter().map(|it| format!("{}: {it}", it.law.id()));
        told.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn an_object_that_cannot_be_written_is_told() {
        let refuses_large_limits = |object: &Object, encoded: Encoded| match object.get("tpm") {
            Some(Value::Int(tpm)) if *tpm > i128::from(u32::MAX) => {
                Encoded::Refused("tpm is out of range".to_owned())
            }
            _ => encoded,
        };
        let codec =
            Layered { inner: Small::default(), out: refuses_large_limits, back: <[u8]>::to_vec };
        assert_snapshot!(told_of_layers(codec), @r#"
        every-value-is-written: team: encode({models: [], team_id: "a", tpm: 9007199254740993}) refuses: tpm is out of range
          written:
        "#);
    }

    /// What is read has every field, what is given may leave one out, and the writer tells the two
    /// apart: the entry changes each time it is read and written.
    #[test]
    fn an_entry_that_changes_when_it_is_written_again_is_told() {
        let hold_what_is_not_said = |_: &Object, encoded: Encoded| match encoded {
            Encoded::Written { payload, mut held } => {
                if held.contains_key("team_id") {
                    held.entry("tpm".to_owned()).or_insert(Value::Int(0));
                }
                Encoded::Written { payload, held }
            }
            other => other,
        };
        let make_up_what_is_not = |payload: &[u8]| {
            let mut entry: Json = serde_json::from_slice(payload).unwrap_or_default();
            if let Some(fields) = entry.get_mut("d").and_then(Json::as_object_mut)
                && fields.contains_key("team_id")
                && !fields.contains_key("tpm")
            {
                fields.insert("tpm".to_owned(), json!(0));
            }
            entry.to_string().into_bytes()
        };
        let mut inner = Small::default();
        inner.kinds[0].fields[2] = Field {
            required: false,
            default: Some(Value::Int(0)),
            ..Field::nullable("tpm", Shape::INT64)
        };
        let codec = Layered { inner, out: hold_what_is_not_said, back: make_up_what_is_not };
        assert_snapshot!(told_of_layers(codec), @r#"
        rewrites-the-same: team: encode(decode(encode({models: [], team_id: "a"}))) writes {"k":"team","d":{"models":[],"team_id":"a","tpm":0}}
          written: {"k":"team","d":{"models":[],"team_id":"a"}}
        "#);
    }

    #[test]
    fn an_entry_that_only_its_own_reader_takes_for_json_is_told() {
        let as_python_says_it = |_: &Object, encoded: Encoded| match encoded {
            Encoded::Written { payload, held } => {
                let text = String::from_utf8(payload).unwrap().replace(":null", ":None");
                Encoded::Written { payload: text.into_bytes(), held }
            }
            other => other,
        };
        let back = |payload: &[u8]| match std::str::from_utf8(payload) {
            Ok(text) => text.replace(":None", ":null").into_bytes(),
            Err(_) => payload.to_vec(),
        };
        let codec = Layered { inner: Small::default(), out: as_python_says_it, back };
        assert_snapshot!(told_of_layers(codec), @r#"
        payload-is-json: team: encode({models: null, team_id: "a", tpm: 0}) is no JSON: expected value at line 1 column 27
          written: {"k":"team","d":{"models":None,"team_id":"a","tpm":0}}
        payload-is-json: team: encode({models: [], team_id: "a", tpm: null}) is no JSON: expected value at line 1 column 50
          written: {"k":"team","d":{"models":[],"team_id":"a","tpm":None}}
        "#);
    }

    #[test]
    fn entries_without_a_kind_are_told() {
        let write = |_: &str, fields: Json| json!({ "d": fields });
        let read = |kind: &str, entry: Json| {
            let mut fields = entry["d"].clone();
            let found = fields.as_object_mut().ok_or("no entry")?;
            found.retain(|name, _| names(kind).contains(&name.as_str()));
            if kind == "user" {
                return Ok(json!({"user_id": found.get("user_id").cloned().unwrap_or("".into())}));
            }
            strict(kind, json!({"k": kind, "d": fields}))
        };
        let told = told(Small { write, read, ..Small::default() });
        assert!(told.contains("kinds-stay-apart: team: decode as user("), "{told}");
        assert!(told.contains("unknown-fields: team: "), "{told}");
    }

    #[test]
    fn an_unknown_field_may_be_ignored_only_where_nothing_narrows_rights() {
        let read = |kind: &str, mut entry: Json| {
            if let Some(fields) = entry.get_mut("d").and_then(Json::as_object_mut) {
                fields.retain(|name, _| names(kind).contains(&name.as_str()));
            }
            strict(kind, entry)
        };
        let mut codec = Small { read, ..Small::default() };
        codec.kinds.iter_mut().for_each(|kind| kind.unknown = UnknownFields::Ignored);
        assert_snapshot!(told(codec), @r#"
        unknown-fields: team: decode({…, gauntlet_unknown: true}) gives an object: a restriction that a newer version wrote would be dropped, and rights be wider
          written: {"k":"team","d":{"models":[],"team_id":"a","tpm":0,"gauntlet_unknown":true}}
        "#);
    }

    #[test]
    fn the_previous_version_must_read() {
        let mut codec = Small::default();
        codec.kinds[0].fields[2].previously = vec!["tpm_limit".to_owned()];
        let payload = br#"{"k":"user","d":{"id":"u"}}"#.to_vec();
        codec.kinds[1].previous = vec![PreviousEntry { payload, value: None }];
        assert_snapshot!(told(codec), @r#"
        previous-version: user: decode(the previous version's entry) refuses: user_id is missing
          written: {"k":"user","d":{"id":"u"}}
        previous-version: team: decode(the previous version's tpm as tpm_limit) refuses: tpm is missing
          written: {"k":"team","d":{"models":[],"team_id":"a","tpm_limit":1}}
        "#);
    }

    #[test]
    fn a_reader_that_makes_objects_of_anything_is_told() {
        let read = |kind: &str, entry: Json| {
            let nobody = if kind == "team" {
                json!({"team_id": "", "models": null, "tpm": null})
            } else {
                json!({"user_id": ""})
            };
            strict(kind, entry).or(Ok(nobody))
        };
        let told = told(Small { read, ..Small::default() });
        assert!(told.contains("poison-is-refused: team: decode(null) gives an object"), "{told}");
        assert!(told.contains("kinds-stay-apart: team: "), "{told}");
    }

    #[test]
    fn a_panic_is_a_breach_and_not_our_end() {
        let read = |kind: &str, entry: Json| {
            assert!(entry != json!([]), "a list");
            strict(kind, entry)
        };
        let told = told(Small { read, ..Small::default() });
        assert!(told.contains("no-panic: team: decode panics: a list"), "{told}");
    }

    #[test]
    fn a_kind_without_objects_is_vacuous() {
        let never = Field::required("it", Shape::OneOf(Vec::new()));
        let findings =
            judged(Small { kinds: vec![Kind::new("team", [never])], ..Small::default() });
        assert!(findings.vacuous.contains_key("team"));
    }

    #[test]
    fn states_that_fail_only_together_are_found() {
        let read = |kind: &str, entry: Json| {
            let fields = strict(kind, entry)?;
            let both = kind == "team" && fields["models"].is_null() && fields["tpm"].is_null();
            if both { Err("models and tpm".to_owned()) } else { Ok(fields) }
        };
        assert_snapshot!(told(Small { read, ..Small::default() }), @r#"
        reads-back: team: decode(encode({models: null, team_id: "", tpm: null})) refuses: models and tpm
          written: {"k":"team","d":{"models":null,"team_id":"","tpm":null}}
        "#);
    }
}
