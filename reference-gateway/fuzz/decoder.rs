//! Nothing that is found in Redis makes the decoder panic, and what it believes was written by an
//! encoder: it says no more and no less than the entry does.

use reference_gateway::{
    cache_schema::CacheSchema,
    entries::{Entries, KINDS},
};
use serde_json::{Value, json};

#[test]
fn any_bytes() {
    bolero::check!().for_each(|bytes: &[u8]| check_all(bytes));
}

/// Bytes that come after what an entry begins with, so that more of them get past the envelope.
#[test]
fn any_fields() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let (kind, schema, rest) = chosen(bytes);
        let opening = format!(r#"{{"v":{schema},"k":"{}","d":"#, KINDS[kind]);
        check_all(&[opening.as_bytes(), rest, b"}"].concat());
    });
}

#[test]
fn damaged_entries() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let (kind, schema, edits) = chosen(bytes);
        let (_, mut entry) =
            Entries { schema }.encode(KINDS[kind], &identity(kind, schema)).unwrap();
        for edit in edits.chunks(4) {
            damage(&mut entry, edit);
        }
        check_all(&entry);
    });
}

/// Entries whose values are exchanged for others, by which they stay JSON.
#[test]
fn rewritten_entries() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let (kind, schema, edits) = chosen(bytes);
        let (_, entry) = Entries { schema }.encode(KINDS[kind], &identity(kind, schema)).unwrap();
        let mut entry: Value = serde_json::from_slice(&entry).unwrap();
        for edit in edits.chunks(3) {
            rewrite(&mut entry, edit);
        }
        check_all(&serde_json::to_vec(&entry).unwrap());
    });
}

/// A kind, a version, and what is left of the input.
fn chosen(bytes: &[u8]) -> (usize, CacheSchema, &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let schema = if first % 2 == 0 { CacheSchema::One } else { CacheSchema::Two };
    (usize::from(first / 2) % KINDS.len(), schema, rest)
}

/// An identity with most of its fields set.
fn identity(kind: usize, schema: CacheSchema) -> Value {
    let mut identity = match KINDS[kind] {
        "key" => json!({
            "token": "hash", "key_name": "sk-...wxyz", "key_id": "hash", "key_alias": null,
            "user_id": "u", "team_id": "t", "organization_id": null, "models": ["a", "*"],
            "metadata": {"tags": ["x", null, {"deep": [1, 2.5]}]}, "max_budget": 0.1,
            "budget_duration": "30d", "tpm_limit": i64::MAX, "rpm_limit": i64::MIN,
            "max_parallel_requests": null, "expires_at_ms": 1,
        }),
        "team" => json!({
            "team_id": "t", "team_alias": "\u{e9}\u{1f600}\u{0}", "organization_id": "o",
            "models": [], "metadata": null, "max_budget": 1e300, "budget_duration": null,
            "tpm_limit": 0, "rpm_limit": null, "max_parallel_requests": 3,
        }),
        "user" => json!({
            "user_id": "u", "user_email": "u@example.org", "user_alias": null,
            "user_role": "proxy_admin", "models": null, "metadata": {"n": 18_446_744_073_709_551_615_u64},
            "max_budget": 5e-324, "budget_duration": null, "tpm_limit": null, "rpm_limit": 1,
            "max_parallel_requests": null,
        }),
        "member" => json!({
            "team_id": "t", "user_id": "u", "role": "user", "tpm_limit": null, "rpm_limit": 2,
            "budget": {"max_budget": null, "budget_duration": "1mo"}, "allowed_models": ["a"],
        }),
        "organisation" => json!({
            "organization_id": "o", "organization_alias": "O", "models": ["a"], "metadata": {},
            "max_budget": 0.0, "budget_duration": null, "tpm_limit": 7, "rpm_limit": null,
        }),
        _ => json!({
            "user_id": "e", "alias": null, "blocked": true, "max_budget": 2.0,
            "budget_duration": null,
        }),
    };
    match (KINDS[kind], schema) {
        ("key" | "team", CacheSchema::One) => identity["blocked"] = json!(true),
        ("key" | "team", CacheSchema::Two) => identity["blocked_at"] = json!(1),
        _ => {}
    }
    identity
}

/// Replaces, inserts, removes or doubles a few bytes: where, how, and by what.
fn damage(entry: &mut Vec<u8>, edit: &[u8]) {
    let &[high, low, how, byte] = edit else { return };
    let place = usize::from(u16::from_be_bytes([high, low])) % (entry.len() + 1);
    match how % 5 {
        0 => entry.truncate(place),
        1 => entry.insert(place, byte),
        2 if place < entry.len() => entry[place] = byte,
        3 if place < entry.len() => drop(entry.remove(place)),
        _ => {
            let end = entry.len().min(place + usize::from(byte));
            let again = entry[place..end].to_vec();
            entry.splice(place..place, again);
        }
    }
}

/// Sets, removes or adds a field: which, how, and to what.
fn rewrite(entry: &mut Value, edit: &[u8]) {
    let &[which, how, what] = edit else { return };
    let value = match what % 12 {
        0 => Value::Null,
        1 => json!(false),
        2 => json!(what),
        3 => json!(-1.5),
        4 => json!(1e308),
        5 => json!("text"),
        6 => json!([]),
        7 => json!(["a"]),
        8 => json!({}),
        9 => json!({"max_budget": 1.0, "budget_duration": null}),
        10 => json!(u64::MAX),
        _ => json!(2),
    };
    let outer = which % 4 == 0;
    let fields = if outer { Some(&mut *entry) } else { entry.get_mut("d") };
    let Some(fields) = fields.and_then(Value::as_object_mut) else { return };
    let names: Vec<String> = fields.keys().cloned().collect();
    let Some(name) = names.get(usize::from(which / 4) % names.len().max(1)) else { return };
    match how % 4 {
        0 => drop(fields.remove(name)),
        1 => drop(fields.insert(format!("{name}_"), value)),
        _ => drop(fields.insert(name.clone(), value)),
    }
}

/// Decodes the bytes as every kind, by either release.
fn check_all(bytes: &[u8]) {
    let mut kinds_read = vec![];
    for kind in KINDS {
        let older = Entries { schema: CacheSchema::One }.decode(kind, bytes);
        let newer = Entries { schema: CacheSchema::Two }.decode(kind, bytes);
        if older.is_ok() || newer.is_ok() {
            kinds_read.push(kind);
        }
        let entry: Value = match (&older, &newer) {
            (Err(_), Err(_)) => continue,
            _ => serde_json::from_slice(bytes).expect("what is read is JSON"),
        };
        let (version, known) = match entry["v"].as_u64() {
            Some(1) => (CacheSchema::One, older.expect("the older release reads its version")),
            Some(2) => {
                assert!(older.is_err(), "the older release reads a version it does not know");
                (CacheSchema::Two, newer.clone().expect("the newer release reads its version"))
            }
            version => panic!("version {version:?} is read"),
        };
        let newer = newer.expect("the newer release reads both versions");
        assert_eq!(known.is_some(), newer.is_some());
        assert_eq!(is_blocked(known.as_ref()), is_blocked(newer.as_ref()), "{entry}");
        match known {
            Some(identity) => {
                let again = Entries { schema: version }.encode(kind, &identity);
                let (_, again) = again.expect("what was read can be written");
                let again: Value = serde_json::from_slice(&again).expect("what is written is JSON");
                assert!(same(&again, &entry), "{entry} is written as {again}");
            }
            None => {
                assert_eq!(entry["d"], Value::Null);
                assert!(entry["id"].is_string(), "{entry} is nobody's absence");
            }
        }
    }
    assert!(kinds_read.len() <= 1, "one entry is read as {kinds_read:?}");
}

fn is_blocked(identity: Option<&Value>) -> bool {
    identity.is_some_and(|it| it["blocked"] == true || it["blocked_at"].is_i64())
}

/// Equal, where a number may be written in several ways.
fn same(this: &Value, that: &Value) -> bool {
    match (this, that) {
        (Value::Object(this), Value::Object(that)) => {
            this.len() == that.len()
                && this
                    .iter()
                    .all(|(name, value)| that.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Array(this), Value::Array(that)) => {
            this.len() == that.len() && this.iter().zip(that).all(|(a, b)| same(a, b))
        }
        (Value::Number(this), Value::Number(that)) => {
            this == that || (this.is_f64() != that.is_f64() && this.as_f64() == that.as_f64())
        }
        (this, that) => this == that,
    }
}
