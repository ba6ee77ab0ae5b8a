//! The reference gateway of this repository, reached as any other gateway is.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{
    Adapter, Line, Names, Request, Statement, admin_calls,
    row_changes::{self, Row},
};
use crate::{
    history::{Level, Manifest},
    op::{Admin, Kind, Refusal},
    store_step::{Change, Object},
    target::{Binary, MissingBinary},
    wire::record::{WireBody, WireEvent},
};

/// What the reference gateway promises beyond the lifetime of an entry: the time a request may be
/// under way when the entry that it was admitted by ends.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// The lifetime of an entry that the built-in target configures.
const TTL: Duration = Duration::from_secs(2);

/// The reference gateway.
pub struct Reference;

/// The description of two replicas of the binary `gateway`.
fn described(gateway: &Path) -> String {
    let ttl_ms = TTL.as_millis();
    let gateway = Value::from(gateway.display().to_string());
    let model = |name: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params:\n      model: openai/mock-ok\n      \
             api_base: {{upstream_url}}/v1\n      api_key: sk-provider-of-the-mock\n"
        )
    };
    let config = format!(
        "model_list:\n{}{}general_settings:\n  master_key: {{master_key}}\n  \
         database_url: {{postgres_url}}\n  redis_url: {{redis_url}} # {{redis_only}}\n  \
         auth_cache_ttl_ms: {{auth_cache_ttl_ms}}\n  negative_ttl_ms: 500\n",
        model("gauntlet-a"),
        model("gauntlet-b"),
    );
    format!(
        "name = \"reference\"\nadapter = \"reference\"\n\n[managed]\n\
         command = [{gateway}, \"--config\", \"{{config}}\", \"--port\", \"{{port}}\", \
         \"--workers\", \"{{workers}}\"]\n\
         config = \"\"\"\n{config}\"\"\"\n\n[managed.next]\n\
         args = [\"--cache-schema\", \"2\"]\n\n[bounds]\nauth_cache_ttl = \"{ttl_ms}ms\"\n"
    )
}

impl Adapter for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn default_ttl(&self) -> Duration {
        TTL
    }

    fn built_in_target(&self, program: &Path) -> Option<Result<String, MissingBinary>> {
        Some(Binary::ReferenceGateway.beside(program).map(|gateway| described(&gateway)))
    }

    fn how_to_describe(&self) -> &'static str {
        "the target `reference` needs no description"
    }

    fn manifest(&self, ttl: Duration, replicas: u8, workers: u8) -> Manifest {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Manifest {
            gateway: self.name().to_owned(),
            wire_profile: "litellm-1.10x".to_owned(),
            auth_cache_ttl_ms: millis(ttl),
            staleness_ms: millis(ttl + IN_FLIGHT),
            shared_cache: true,
            replicas,
            workers,
        }
    }

    fn admin(&self, admin: &Admin, names: &Names) -> Request {
        admin_calls::request(admin, names)
    }

    fn issued_key(&self, body: &Value) -> Option<String> {
        body.get("key")?.as_str().map(ToOwned::to_owned)
    }

    fn stored_form(&self, secret: &str) -> String {
        admin_calls::sha256_hex(secret)
    }

    fn row_change(&self, object: Object, change: &Change, names: &Names) -> Option<Statement> {
        let (table, columns): (_, &[_]) = match (object, change) {
            (Object::User(_) | Object::Member { .. }, Change::Blocked(_)) => return None,
            (Object::Member { .. }, Change::Models(_)) => return None,
            (Object::Key(_), _) => ("virtual_keys", &["token"]),
            (Object::User(_), _) => ("users", &["user_id"]),
            (Object::Team(_), _) => ("teams", &["team_id"]),
            (Object::Member { .. }, _) => ("team_members", &["team_id", "user_id"]),
        };
        let row = Row { table, columns, values: self.identifying(object, names) };
        let mut statement = row_changes::update(row, change, names);
        if matches!(object, Object::Member { .. }) {
            statement.sql = statement.sql.replacen(" SET ", " SET has_budget = true, ", 1);
        }
        Some(statement)
    }

    fn refusal(&self, status: u16, body: &Value) -> Refusal {
        let error = &body["error"];
        let text = |field: &str| error[field].as_str().unwrap_or_default();
        match (status, text("type")) {
            (401, "expired_key") => Refusal::Expired,
            (401, _) if text("message").contains("blocked") => Refusal::Blocked,
            (401, _) => Refusal::Unauthenticated,
            (403, _) => Refusal::ModelDenied,
            (404, _) => Refusal::NotFound,
            (422, "budget_exceeded") => Refusal::OverBudget,
            (429, _) => Refusal::RateLimited,
            (503, _) => Refusal::Unavailable,
            (500.., _) => Refusal::Fault,
            _ => Refusal::Invalid,
        }
    }

    fn identity_reads(&self, sql: &str, _params: &[Option<String>]) -> Vec<Kind> {
        let Some(statement) = sql.trim_start().get(..6) else { return Vec::new() };
        if !statement.eq_ignore_ascii_case("select") {
            return Vec::new();
        }
        // What was spent is read for budgets, and is no part of who somebody is.
        if sql.contains("spend_pico") {
            return Vec::new();
        }
        // One table per statement, named after FROM.
        let mut words =
            sql.split_whitespace().skip_while(|word| !word.eq_ignore_ascii_case("from"));
        match words
            .nth(1)
            .map(|table| table.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'))
        {
            Some("virtual_keys") => vec![Kind::Key],
            Some("users") => vec![Kind::User],
            Some("teams") => vec![Kind::Team],
            Some("team_members") => vec![Kind::Member],
            Some("organisations") => vec![Kind::Organisation],
            Some("end_users") => vec![Kind::EndUser],
            _ => Vec::new(),
        }
    }

    fn payload_kind(&self, _key: &str, payload: &str) -> Option<Kind> {
        // The payload says what it is; one without a tag is told by its fields.
        let value: Value = serde_json::from_str(payload).ok()?;
        match value.get("k").and_then(Value::as_str) {
            Some("key") => Some(Kind::Key),
            Some("user") => Some(Kind::User),
            Some("team") => Some(Kind::Team),
            Some("member") => Some(Kind::Member),
            Some("organisation") => Some(Kind::Organisation),
            Some("end_user") => Some(Kind::EndUser),
            _ => None,
        }
    }

    fn housekeeping(&self, event: &WireEvent) -> Option<&'static str> {
        match &event.body {
            WireBody::Connected
            | WireBody::Closed { .. }
            | WireBody::Startup { .. }
            | WireBody::Cancel => Some("connection set-up"),
            WireBody::RedisCommand(command) => match command.name.as_ref() {
                "HELLO" | "AUTH" | "SELECT" | "CLIENT" | "PING" | "QUIT" => {
                    Some("connection set-up")
                }
                "SUBSCRIBE" | "UNSUBSCRIBE" | "SCRIPT" | "INFO" => Some("start"),
                _ => None,
            },
            WireBody::PgStatement(statement) => {
                let sql = statement.sql.text();
                let sql = sql.trim_start();
                let begins = |word: &str| {
                    sql.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
                };
                // A migration is sent as its file stands, comments first.
                if sql.starts_with("--")
                    || sql.contains("current_database()")
                    || sql.contains("_sqlx_migrations")
                    || sql.contains("pg_advisory")
                    || begins("create ")
                    || begins("alter ")
                {
                    Some("migration")
                } else if begins("set ")
                    || begins("select 1")
                    || sql.contains("pg_catalog")
                    || sql.is_empty()
                {
                    Some("connection set-up")
                } else {
                    None
                }
            }
            _ => None,
        }
    }

    fn line(&self, text: &str) -> Line {
        let Ok(record) = serde_json::from_str::<Value>(text) else { return Line::More };
        let level = match record["level"].as_str() {
            Some("ERROR") => Level::Error,
            Some("WARN") => Level::Warn,
            Some("INFO") => Level::Info,
            _ => Level::Debug,
        };
        Line::Record { level, access: level == Level::Info && record.get("call_id").is_some() }
    }

    fn lines_can_be_joined(&self) -> bool {
        true
    }

    fn side_by_side(&self) -> usize {
        20
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let refusal = |status, kind: &str, message: &str| {
            Reference.refusal(status, &json!({"error": {"type": kind, "message": message}}))
        };
        assert_eq!(refusal(401, "auth_error", "Key is blocked."), Refusal::Blocked);
        assert_eq!(refusal(401, "auth_error", "Invalid API key"), Refusal::Unauthenticated);
        assert_eq!(refusal(403, "key_model_access_denied", ""), Refusal::ModelDenied);
        assert_eq!(refusal(500, "internal_server_error", ""), Refusal::Fault);
    }

    #[test]
    fn reading_what_was_spent_is_no_identity_read() {
        let reads = |sql| Reference.identity_reads(sql, &[]);
        assert_eq!(reads("SELECT team_id, models FROM teams WHERE team_id = $1"), [Kind::Team]);
        assert_eq!(reads("SELECT spend_pico FROM teams WHERE team_id = $1"), []);
        let organisation = "SELECT models FROM organisations WHERE organization_id = $1";
        assert_eq!(reads(organisation), [Kind::Organisation]);
        assert_eq!(reads("SELECT blocked FROM end_users WHERE user_id = $1"), [Kind::EndUser]);
    }

    #[test]
    fn a_payload_says_what_it_is() {
        assert_eq!(
            Reference.payload_kind("rg:team:t", r#"{"v":1,"k":"team","d":{}}"#),
            Some(Kind::Team)
        );
        assert_eq!(
            Reference.payload_kind("rg:end_user:u", r#"{"v":2,"k":"end_user","d":{}}"#),
            Some(Kind::EndUser)
        );
        assert_eq!(Reference.payload_kind("rg:x", "not json"), None);
    }
}
