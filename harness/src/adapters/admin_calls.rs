//! The management calls of LiteLLM and of gateways that follow it.
//!
//! Shapes as of LiteLLM 1.84 and 1.10x, which agree in all that is used here.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Names, Request};
use crate::op::{Admin, Alias, Field, Key, KeyFields, Kind, MicroUsd, Terms};

/// The call that carries out `admin`.
pub fn request(admin: &Admin, names: &Names) -> Request {
    let user = |id| json!(names.id(Kind::User, id));
    let team = |id| json!(names.id(Kind::Team, id));
    let key = |key: &Key| json!(names.key(*key));
    match admin {
        Admin::CreateOrganisation { organisation: id, terms } => {
            let alias = alias_text(names, "organization");
            let mut body = terms_body(terms, names, "organization_alias", &alias);
            body.insert("organization_id".to_owned(), json!(names.id(Kind::Organisation, *id)));
            // The one field without which LiteLLM makes no organisation.
            body.entry("organization_alias").or_insert(alias);
            post("/organization/new", body)
        }
        Admin::CreateUser { user: id, terms } => {
            let mut body = terms_body(terms, names, "user_alias", &alias_text(names, "user"));
            body.insert("user_id".to_owned(), user(*id));
            // Keys are the plan's to issue.
            body.insert("auto_create_key".to_owned(), json!(false));
            post("/user/new", body)
        }
        Admin::UpdateUser { user: id, terms } => {
            let mut body = terms_body(terms, names, "user_alias", &alias_text(names, "user"));
            body.insert("user_id".to_owned(), user(*id));
            post("/user/update", body)
        }
        Admin::DeleteUser { user: id } => {
            post_json("/user/delete", json!({"user_ids": [user(*id)]}))
        }
        Admin::CreateTeam { team: id, terms } => {
            let mut body = terms_body(terms, names, "team_alias", &alias_text(names, "team"));
            body.insert("team_id".to_owned(), team(*id));
            post("/team/new", body)
        }
        Admin::UpdateTeam { team: id, terms } => {
            let mut body = terms_body(terms, names, "team_alias", &alias_text(names, "team"));
            body.insert("team_id".to_owned(), team(*id));
            post("/team/update", body)
        }
        Admin::DeleteTeam { team: id } => {
            post_json("/team/delete", json!({"team_ids": [team(*id)]}))
        }
        Admin::BlockTeam { team: id } => post_json("/team/block", json!({"team_id": team(*id)})),
        Admin::UnblockTeam { team: id } => {
            post_json("/team/unblock", json!({"team_id": team(*id)}))
        }
        Admin::AddMember { team: t, user: u, max_budget } => {
            let mut body = Map::new();
            body.insert("team_id".to_owned(), team(*t));
            body.insert("member".to_owned(), json!({"role": "user", "user_id": user(*u)}));
            put(&mut body, "max_budget_in_team", max_budget, &Value::Null, dollars);
            post("/team/member_add", body)
        }
        Admin::UpdateMember { team: t, user: u, max_budget } => {
            let mut body = Map::new();
            body.insert("team_id".to_owned(), team(*t));
            body.insert("user_id".to_owned(), user(*u));
            put(&mut body, "max_budget_in_team", max_budget, &Value::Null, dollars);
            post("/team/member_update", body)
        }
        Admin::RemoveMember { team: t, user: u } => {
            post_json("/team/member_delete", json!({"team_id": team(*t), "user_id": user(*u)}))
        }
        Admin::GenerateKey { key: place, fields } => {
            post("/key/generate", key_body(fields, names, *place))
        }
        Admin::UpdateKey { key: place, terms } => {
            let mut body = terms_body(terms, names, "key_alias", &key_alias(names, *place));
            body.insert("key".to_owned(), key(place));
            post("/key/update", body)
        }
        Admin::DeleteKey { key: place } => post_json("/key/delete", json!({"keys": [key(place)]})),
        Admin::BlockKey { key: place } => post_json("/key/block", json!({"key": key(place)})),
        Admin::UnblockKey { key: place } => post_json("/key/unblock", json!({"key": key(place)})),
    }
}

/// The form in which keys are stored: the SHA-256 of the secret, in lower-case hex.
pub fn sha256_hex(secret: &str) -> String {
    Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn post(path: &'static str, body: Map<String, Value>) -> Request {
    post_json(path, Value::Object(body))
}

fn post_json(path: &'static str, body: Value) -> Request {
    Request { path, body }
}

fn terms_body(
    terms: &Terms,
    names: &Names,
    alias_field: &str,
    alias: &Value,
) -> Map<String, Value> {
    let mut body = Map::new();
    put(&mut body, alias_field, &terms.alias, &json!(""), |()| alias.clone());
    put(&mut body, "models", &terms.models, &json!([]), |models| models_json(models, names));
    put(&mut body, "metadata", &terms.metadata, &json!({}), |()| metadata(names));
    put(&mut body, "max_budget", &terms.max_budget, &Value::Null, dollars);
    put(&mut body, "rpm_limit", &terms.rpm_limit, &Value::Null, |limit| json!(limit));
    put(&mut body, "tpm_limit", &terms.tpm_limit, &Value::Null, |limit| json!(limit));
    body
}

fn key_body(fields: &KeyFields, names: &Names, place: Key) -> Map<String, Value> {
    let mut body = Map::new();
    put(&mut body, "user_id", &fields.user, &json!(""), |id| json!(names.id(Kind::User, *id)));
    put(&mut body, "team_id", &fields.team, &json!(""), |id| json!(names.id(Kind::Team, *id)));
    put(&mut body, "organization_id", &fields.organisation, &json!(""), |id| {
        json!(names.id(Kind::Organisation, *id))
    });
    if fields.chosen_secret {
        body.insert("key".to_owned(), json!(names.key(place)));
    }
    body.extend(terms_body(&fields.terms, names, "key_alias", &key_alias(names, place)));
    body
}

fn put<T>(
    body: &mut Map<String, Value>,
    name: &str,
    field: &Field<T>,
    empty: &Value,
    set: impl Fn(&T) -> Value,
) {
    let value = match field {
        Field::Absent => return,
        Field::Null => Value::Null,
        Field::Empty => empty.clone(),
        Field::Set(value) => set(value),
    };
    body.insert(name.to_owned(), value);
}

fn alias_text(names: &Names, kind: &str) -> Value {
    json!(format!("{}{kind}-alias", names.prefix))
}

/// Gateways refuse a key alias that is taken, so each key has its own; a key that is issued again does
/// not meet the alias of the one before it.
fn key_alias(names: &Names, place: Key) -> Value {
    json!(format!("{}key-alias-{}-{}", names.prefix, place.0, names.keys.len()))
}

fn models_json(models: &[Alias], names: &Names) -> Value {
    models.iter().map(|alias| names.alias(*alias)).collect()
}

fn metadata(names: &Names) -> Value {
    json!({"case": names.prefix, "nested": {"none": null, "list": []}})
}

fn dollars(money: &MicroUsd) -> Value {
    let whole = money.0 / 1_000_000;
    let rest = money.0 % 1_000_000;
    // Written as text first: a division would not be exact for every amount.
    format!("{whole}.{rest:06}").parse::<f64>().map_or(Value::Null, |amount| json!(amount))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use insta::assert_snapshot;

    use super::*;
    use crate::{
        op::{Id, MicroUsd},
        plan::{IdShape, Plan},
    };

    fn names() -> Names {
        Names {
            prefix: "g1c2x".to_owned(),
            plan: Plan::new(vec![IdShape::Plain], Vec::new()),
            aliases: vec!["mock-ok".to_owned()],
            keys: BTreeMap::new(),
        }
    }

    #[test]
    fn absent_null_empty_and_set_are_four_bodies() {
        let fields = KeyFields {
            user: Field::Set(Id(0)),
            team: Field::Null,
            terms: Terms {
                models: Field::Empty,
                max_budget: Field::Set(MicroUsd(1_500_000)),
                ..Terms::UNSAID
            },
            ..KeyFields::UNSAID
        };
        let request = request(&Admin::GenerateKey { key: Key(0), fields }, &names());
        assert_snapshot!(request.body, @r#"{"user_id":"g1c2xi0","team_id":null,"models":[],"max_budget":1.5}"#);
    }
}
