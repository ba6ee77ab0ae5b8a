//! The driver of `json_codec.py` in Rust: one kind, written as JSON.
//!
//! It is what tests drive who may rely on nothing but this workspace. `--defect drop-null` leaves nulls
//! out, as a writer does that meets a strict reader.

use std::{
    env,
    io::{self, BufRead, Write},
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What is cached. Every field must be there, null or not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Team {
    team_id: String,
    #[serde(deserialize_with = "Option::deserialize")]
    models: Option<Vec<String>>,
    #[serde(deserialize_with = "Option::deserialize")]
    tpm_limit: Option<i64>,
}

/// What is written for a team.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    k: String,
    d: Team,
}

fn main() -> io::Result<()> {
    let drops_null = env::args().skip(1).eq(["--defect", "drop-null"]);
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let ask: Value = serde_json::from_str(&line?)?;
        let mut answer = match ask["op"].as_str() {
            Some("hello") => hello(),
            Some("encode") => encode(&ask["value"], drops_null),
            _ => decode(&ask["payload"]),
        };
        answer["id"] = ask["id"].clone();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn hello() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "team_id": {"type": "string"},
            "models": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
            "tpm_limit": {"anyOf": [
                {"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX},
                {"type": "null"},
            ]},
        },
        "required": ["team_id", "models", "tpm_limit"],
    });
    let team = json!({
        "name": "team",
        "schema": schema,
        "unknown": "refused",
        "narrows_rights": ["models", "tpm_limit"],
    });
    json!({"protocol": 1, "name": "json_codec", "kinds": [team]})
}

fn encode(value: &Value, drops_null: bool) -> Value {
    let fields = value.as_object().into_iter().flatten();
    let team: Map<_, _> = fields
        .map(|(name, value)| (name.clone(), untagged(value)))
        .filter(|(_, value)| !(drops_null && value.is_null()))
        .collect();
    json!({"ok": json!({"k": "team", "d": team}).to_string()})
}

fn decode(payload: &Value) -> Value {
    let Some(payload) = payload.as_str() else {
        return json!({"refused": "no UTF-8"});
    };
    match serde_json::from_str::<Entry>(payload) {
        Ok(Entry { k, d }) if k == "team" => json!({"ok": {
            "team_id": d.team_id,
            "models": d.models,
            "tpm_limit": d.tpm_limit.map(tagged),
        }}),
        Ok(Entry { k, .. }) => json!({"refused": format!("an entry of {k:?}")}),
        Err(error) => json!({"refused": error.to_string()}),
    }
}

/// Integers beyond 2^53 are asked as `{"$int": text}`; this kind has no dates, floats or odd keys.
fn untagged(value: &Value) -> Value {
    let integer = value["$int"].as_str().and_then(|text| text.parse::<i64>().ok());
    integer.map_or_else(|| value.clone(), Value::from)
}

fn tagged(integer: i64) -> Value {
    match integer.unsigned_abs() > 1 << 53 {
        true => json!({"$int": integer.to_string()}),
        false => json!(integer),
    }
}
