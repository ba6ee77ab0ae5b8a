//! The proxy of LiteLLM.
//!
//! Read off the wire of 1.84.0rc1 and 1.102.4, run side by side. What differs between them is told by
//! each answer itself, so one adapter serves every release from 1.84 on: a budget that is used up is a
//! 400 in the one and a 429 in the other, and both say `budget_exceeded`.
//!
//! Three habits of the product shape this file. It reaches Postgres through Prisma, which gives an admin
//! call and a prompt the same text for the same row. It caches by bare ids, so a kind is told by a
//! payload's fields and never by its key. And its log lines name no request, so cases whose check reads
//! logs are driven one at a time.

use std::{path::Path, time::Duration};

use serde_json::Value;

use super::{
    Adapter, Line, Names, Request, Statement, admin_calls, default_staleness,
    row_changes::{self, Row},
};
use crate::{
    history::{Level, Manifest},
    op::{Admin, Kind, Refusal},
    store_step::{Change, Object},
    target::MissingBinary,
    wire::record::{PgStatement, RedisCommand, RedisReply, WireBody, WireEvent},
};

/// The lifetime that the product gives to a cached identity unless it is configured.
const TTL: Duration = Duration::from_secs(60);

/// What the product's own admin calls act as, in every cache and table.
const ADMIN_USER: &str = "default_user_id";

/// What stands in the cached identity of the admin key instead of its hash.
const ADMIN_TOKEN: &str = "litellm_proxy_master_key";

/// Tables of which a read by primary key reads an identity: table, column, kind.
const READ_BY_ID: [(&str, &str, Kind); 2] =
    [("LiteLLM_UserTable", "user_id", Kind::User), ("LiteLLM_TeamTable", "team_id", Kind::Team)];

/// Tables of which no statement names an entity of ours, and what they are for.
const BACKGROUND_TABLES: [(&str, &str); 13] = [
    ("LiteLLM_BudgetTable", "budgets, which have ids of their own"),
    ("LiteLLM_Config", "reload of settings"),
    ("LiteLLM_CronJob", "leases of background jobs"),
    ("LiteLLM_DailyGatewayRequests", "counts of requests"),
    ("LiteLLM_MCPServerTable", "reload of settings"),
    ("LiteLLM_ManagedObjectTable", "reload of settings"),
    ("LiteLLM_ModelAccessGroupBudgetTable", "reload of settings"),
    ("LiteLLM_ProxyModelTable", "reload of settings"),
    ("LiteLLM_ProxyWorkerHeartbeat", "heartbeat"),
    ("LiteLLM_SearchToolsTable", "reload of settings"),
    ("LiteLLM_ShadowEvalJob", "reload of settings"),
    ("LiteLLM_TagTable", "spend of tags"),
    ("LiteLLM_UISettings", "reload of settings"),
];

/// Pieces of statements that belong to no request, and what they are for.
const BACKGROUND_SQL: [(&str, &str); 10] = [
    (" VIEW \"", "start"),
    ("pg_views", "start"),
    ("pg_class", "start"),
    ("pg_catalog", "start"),
    ("transaction_read_only", "health"),
    ("\"password\" IS NOT NULL", "start"),
    ("budget_reset_at\" <", "reset of budgets"),
    ("budget_limits IS NOT NULL", "reset of budgets"),
    ("SELECT COUNT(*) FROM (SELECT", "size of the installation"),
    ("scim_active", "size of the installation"),
];

/// Beginnings of Redis keys that name no entity of ours, and what they are for.
const BACKGROUND_KEYS: [(&str, &str); 9] = [
    ("daily_metrics_report_sent", "metrics report"),
    ("default_user_id", "the admin's own identity"),
    ("deployment:", "cooldown of deployments"),
    ("end_user_restricted_registry", "registries"),
    ("litellm_", "buffers of spend"),
    ("cronjob_lock:", "leases of background jobs"),
    ("model_access_group_registry", "registries"),
    ("spend:tag:", "spend of tags"),
    ("tag", "registries and tags"),
];

/// The proxy of LiteLLM.
pub struct LiteLlm;

impl Adapter for LiteLlm {
    fn name(&self) -> &'static str {
        "litellm"
    }

    fn default_ttl(&self) -> Duration {
        TTL
    }

    /// None: it takes a Python environment, which only a description can name.
    fn built_in_target(&self, _program: &Path) -> Option<Result<String, MissingBinary>> {
        None
    }

    fn how_to_describe(&self) -> &'static str {
        "LiteLLM is yours to name, by its command, its virtual environment or its image: copy \
         scenarios/targets/litellm.toml, write into it where `litellm` is installed or the `image` that \
         holds it, and give the copy to --target; a proxy that runs already is described there by \
         [attached] with its `replicas` and `admin_key`"
    }

    fn manifest(&self, ttl: Duration, replicas: u8, workers: u8) -> Manifest {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Manifest {
            gateway: self.name().to_owned(),
            wire_profile: "litellm".to_owned(),
            auth_cache_ttl_ms: millis(ttl),
            // It declares none.
            staleness_ms: millis(default_staleness(ttl)),
            shared_cache: true,
            replicas,
            workers,
        }
    }

    fn admin(&self, admin: &Admin, names: &Names) -> Request {
        in_its_words(admin_calls::request(admin, names))
    }

    fn issued_key(&self, body: &Value) -> Option<String> {
        // A new user has the field too, empty where no key was asked for.
        body.get("key")?.as_str().filter(|key| !key.is_empty()).map(ToOwned::to_owned)
    }

    fn stored_form(&self, secret: &str) -> String {
        admin_calls::sha256_hex(secret)
    }

    fn row_change(&self, object: Object, change: &Change, names: &Names) -> Option<Statement> {
        let (table, columns): (_, &[_]) = match (object, change) {
            (Object::User(_), Change::Blocked(_)) => return None,
            (Object::Member { .. }, Change::Models(_) | Change::Blocked(_)) => return None,
            (Object::Key(_), _) => ("\"LiteLLM_VerificationToken\"", &["token"]),
            (Object::User(_), _) => ("\"LiteLLM_UserTable\"", &["user_id"]),
            (Object::Team(_), _) => ("\"LiteLLM_TeamTable\"", &["team_id"]),
            (Object::Member { .. }, _) => ("\"LiteLLM_BudgetTable\"", &["team_id", "user_id"]),
        };
        let row = Row { table, columns, values: self.identifying(object, names) };
        let mut statement = row_changes::update(row, change, names);
        if matches!(object, Object::Member { .. }) {
            // A membership's budget is a row of its own, where it was given one when it was made.
            let member =
                "WHERE budget_id = (SELECT budget_id FROM \"LiteLLM_TeamMembership\" WHERE";
            statement.sql = statement.sql.replacen("WHERE", member, 1) + ")";
        }
        Some(statement)
    }

    fn refusal(&self, status: u16, body: &Value) -> Refusal {
        let error = &body["error"];
        let text = |field: &str| error[field].as_str().unwrap_or_default();
        let says = |words: &str| text("message").contains(words);
        match (status, text("type")) {
            (_, "budget_exceeded") => Refusal::OverBudget,
            (_, "expired_key") => Refusal::Expired,
            (_, "no_db_connection") => Refusal::Unavailable,
            (_, kind) if kind.ends_with("_model_access_denied") => Refusal::ModelDenied,
            (401, _) if says(" is blocked.") => Refusal::Blocked,
            (401, _) => Refusal::Unauthenticated,
            (404, _) => Refusal::NotFound,
            // It says this of a model whose every deployment is being rested.
            (429, _) if says("No deployments available") => Refusal::Unavailable,
            (429, _) => Refusal::RateLimited,
            (503, _) => Refusal::Unavailable,
            (500.., _) => Refusal::Fault,
            _ => Refusal::Invalid,
        }
    }

    /// Which identity a statement reads.
    ///
    /// The counters of spend are read back by primary key, too, once their Redis entry is gone. For
    /// keys that read differs from the one that admits a caller; for users and teams it does not, and
    /// is counted.
    fn identity_reads(&self, sql: &str, params: &[Option<String>]) -> Vec<Kind> {
        if sql.contains("FROM \"LiteLLM_VerificationToken\" AS v") {
            return vec![Kind::Key];
        }
        // One statement for whatever of these was not in the cache; what was is bound as NULL.
        if sql.contains(") AS user_row") && sql.contains(") AS membership_row") {
            let asked = [(0, Kind::User), (1, Kind::Team), (2, Kind::Member)];
            let bound = |place: usize| params.get(place).is_some_and(Option::is_some);
            return asked
                .into_iter()
                .filter(|(place, _)| bound(*place))
                .map(|(_, kind)| kind)
                .collect();
        }
        if !sql.starts_with("SELECT ") {
            return Vec::new();
        }
        let by_id = |table: &str, column: &str| {
            sql.contains(&format!("\"{table}\".\"{column}\" = $1 AND 1=1) LIMIT"))
        };
        if let Some((_, _, kind)) =
            READ_BY_ID.iter().find(|(table, column, _)| by_id(table, column))
        {
            return vec![*kind];
        }
        let membership = "\"LiteLLM_TeamMembership\".\"team_id\" = $2) ";
        match sql.split_once(membership) {
            Some((_, rest)) if rest.starts_with("LIMIT") || rest.starts_with("AND 1=1) LIMIT") => {
                vec![Kind::Member]
            }
            _ => Vec::new(),
        }
    }

    /// The kind of a cached identity, told by the fields that its kind alone has.
    ///
    /// Releases before 1.93 leave out what is null, later ones write every field, so a field counts
    /// only where both write it. A membership is asked for before a user: it has all that makes one.
    fn payload_kind(&self, _key: &str, payload: &str) -> Option<Kind> {
        let value: Value = serde_json::from_str(payload).ok()?;
        let fields = value.as_object()?;
        let has = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
        if has("token") && has("permissions") {
            Some(Kind::Key)
        } else if has("team_id") && has("members_with_roles") {
            Some(Kind::Team)
        } else if has("team_id") && has("user_id") && has("total_spend") {
            Some(Kind::Member)
        } else if has("user_id") && has("teams") {
            Some(Kind::User)
        } else if has("user_id") && has("blocked") {
            Some(Kind::EndUser)
        } else if has("organization_id") && has("budget_id") {
            Some(Kind::Organisation)
        } else if has("project_id") {
            Some(Kind::Project)
        } else {
            None
        }
    }

    fn housekeeping(&self, event: &WireEvent) -> Option<&'static str> {
        match &event.body {
            WireBody::Connected
            | WireBody::Closed { .. }
            | WireBody::Startup { .. }
            | WireBody::Cancel => Some("connection set-up"),
            WireBody::RedisCommand(command) => of_a_command(command),
            WireBody::PgStatement(statement) => of_a_statement(statement),
            _ => None,
        }
    }

    fn line(&self, text: &str) -> Line {
        let plain = without_colours(text);
        if let Some(level) = level_of_a_logger(&plain).or_else(|| level_of_json(&plain)) {
            return Line::Record { level, access: false };
        }
        match level_of_the_server(&plain) {
            Some(level) => Line::Record { level, access: tells_of_a_request(&plain) },
            None => Line::More,
        }
    }

    fn lines_can_be_joined(&self) -> bool {
        false
    }

    fn side_by_side(&self) -> usize {
        // One worker serves some forty requests a second, and a case may have four callers.
        2
    }
}

/// The same call in words that the product takes.
///
/// It fails where a list of models is to be null, though not on every path, and it takes an empty key
/// alias for an alias, which one key alone can have. No right depends on either word, and a call that is
/// refused for it would leave the rest of a plan without its object.
fn in_its_words(mut request: Request) -> Request {
    let fails_on_null =
        matches!(request.path, "/user/new" | "/team/new" | "/team/update" | "/key/update");
    if let Some(models) = request.body.get_mut("models").filter(|_| fails_on_null)
        && models.is_null()
    {
        *models = Value::Array(Vec::new());
    }
    if let Some(alias) = request.body.get_mut("key_alias")
        && alias.as_str() == Some("")
    {
        *alias = Value::Null;
    }
    request
}

fn of_a_command(command: &RedisCommand) -> Option<&'static str> {
    match command.name.as_ref() {
        "HELLO" | "AUTH" | "SELECT" | "CLIENT" | "PING" | "QUIT" => {
            return Some("connection set-up");
        }
        "SUBSCRIBE" | "UNSUBSCRIBE" | "SCRIPT" | "INFO" => return Some("start"),
        _ => {}
    }
    let tells_of_the_admin = |text: &str| text.contains(ADMIN_TOKEN);
    let written = command.args.first().is_some_and(|value| tells_of_the_admin(&value.text()));
    let read = matches!(&command.reply, Some(RedisReply::Bulk { value })
        if tells_of_the_admin(&value.text()));
    if written || read {
        return Some("the admin's own identity");
    }
    // A command is housekeeping only if all its keys are.
    let of_a_key = |key: &String| {
        BACKGROUND_KEYS.iter().find(|(start, _)| key.starts_with(start)).map(|(_, what)| *what)
    };
    let mut kinds = command.keys.iter().map(of_a_key);
    let first = kinds.next()??;
    kinds.all(|kind| kind.is_some()).then_some(first)
}

fn of_a_statement(statement: &PgStatement) -> Option<&'static str> {
    let sql = statement.sql.text();
    let sql = sql.trim();
    if sql.is_empty() || sql == "SELECT 1" || sql.starts_with("SET ") {
        return Some("connection set-up");
    }
    let named = BACKGROUND_SQL.iter().find(|(piece, _)| sql.contains(piece));
    let tabled = || {
        BACKGROUND_TABLES.iter().find(|(table, _)| {
            ["FROM", "INTO", "UPDATE"].iter().any(|verb| {
                sql.contains(&format!("{verb} \"public\".\"{table}\""))
                    || sql.contains(&format!("{verb} \"{table}\""))
            })
        })
    };
    if let Some((_, what)) = named.or_else(tabled) {
        return Some(what);
    }
    let of_the_admin =
        statement.params.iter().flatten().any(|param| param.text().as_ref() == ADMIN_USER);
    of_the_admin.then_some("the admin's own identity")
}

/// `08:40:39 - LiteLLM Proxy:WARNING: utils.py:5321 - …`.
fn level_of_a_logger(line: &str) -> Option<Level> {
    let (time, rest) = line.split_once(" - LiteLLM")?;
    let is_a_time =
        time.len() == 8 && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let (_, rest) = rest.split_once(':').filter(|_| is_a_time)?;
    level(rest.split_once(':')?.0)
}

/// `{"message": "…", "level": "WARNING", …}`, as with `JSON_LOGS=true`.
fn level_of_json(line: &str) -> Option<Level> {
    let record: Value = line.starts_with('{').then(|| serde_json::from_str(line).ok())??;
    level(record["level"].as_str()?)
}

/// `INFO:     Application startup complete.`, as the HTTP server pads it.
fn level_of_the_server(line: &str) -> Option<Level> {
    let (word, rest) = line.split_once(':')?;
    level(word).filter(|_| rest.starts_with(' '))
}

/// `INFO:     127.0.0.1:40372 - "POST /v1/chat/completions HTTP/1.1" 200 OK`.
fn tells_of_a_request(line: &str) -> bool {
    line.starts_with("INFO:") && line.contains(" - \"") && line.contains(" HTTP/1.1\" ")
}

fn level(word: &str) -> Option<Level> {
    match word {
        "DEBUG" => Some(Level::Debug),
        "INFO" => Some(Level::Info),
        "WARNING" => Some(Level::Warn),
        "ERROR" | "CRITICAL" => Some(Level::Error),
        _ => None,
    }
}

/// The text without terminal colours, which 1.84 writes to files as well.
fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        plain.push_str(piece.split_once('m').map_or(piece, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap};

    use serde_json::json;

    use super::*;
    use crate::{
        clock::Micros,
        op::{Id, MicroUsd},
        plan::{IdShape, Plan},
        target::{Surroundings, TargetDescription},
        wire::record::{Bounded, StoreKind, TransactionState},
    };

    /// An answer as it came, with its status.
    fn refusal(status: u16, body: &str) -> Refusal {
        LiteLlm.refusal(status, &serde_json::from_str(body).unwrap())
    }

    #[test]
    fn refusals_of_1_84_are_told_apart() {
        assert_eq!(
            refusal(
                401,
                r#"{"error":{"message":"Authentication Error, Invalid proxy server token passed. Received API Key = sk-...xist, Key Hash (Token) =b318b10f. Unable to find token in cache or `LiteLLM_VerificationTokenTable`","type":"token_not_found_in_db","param":"key","code":"401"}}"#
            ),
            Refusal::Unauthenticated
        );
        assert_eq!(
            refusal(
                401,
                r#"{"error":{"message":"Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin.","type":"auth_error","param":"None","code":"401"}}"#
            ),
            Refusal::Blocked
        );
        assert_eq!(
            refusal(
                401,
                r#"{"error":{"message":"Authentication Error, Team=d1 is blocked. Update via `/team/unblock` if you're an admin.","type":"auth_error","param":"None","code":"401"}}"#
            ),
            Refusal::Blocked
        );
        assert_eq!(
            refusal(
                401,
                r#"{"error":{"message":"team not allowed to access model. This team can only access models=['b']. Tried to access a","type":"team_model_access_denied","param":"model","code":"401"}}"#
            ),
            Refusal::ModelDenied
        );
        assert_eq!(
            refusal(
                400,
                r#"{"error":{"message":"Budget has been exceeded! Current cost: 0.0, Max budget: 0.0","type":"budget_exceeded","param":null,"code":"400"}}"#
            ),
            Refusal::OverBudget
        );
        assert_eq!(
            refusal(
                400,
                r#"{"error":{"message":"Authentication Error - Expired Key. Key Expiry time 2026-11-20 08:47:37.198000+00:00","type":"expired_key","param":"sk-...QH9w","code":"400"}}"#
            ),
            Refusal::Expired
        );
        assert_eq!(
            refusal(
                429,
                r#"{"error":{"message":"Rate limit exceeded for team: d1. Limit type: tokens. Current limit: 0, Remaining: 0.","type":"None","param":"None","code":"429"}}"#
            ),
            Refusal::RateLimited
        );
    }

    #[test]
    fn refusals_of_1_102_are_told_apart() {
        assert_eq!(
            refusal(
                403,
                r#"{"error":{"message":"User not allowed to access model. No default model access, only team models allowed.","type":"key_model_access_denied","param":"model","code":"403"}}"#
            ),
            Refusal::ModelDenied
        );
        assert_eq!(
            refusal(
                429,
                r#"{"error":{"message":"ExceededBudget: User=d1 over budget. Spend=0.0, Budget=0.0","type":"budget_exceeded","param":null,"code":"429"}}"#
            ),
            Refusal::OverBudget
        );
        assert_eq!(
            refusal(
                404,
                r#"{"error":{"message":"{'error': \"Team doesn't exist in db. Team=gt24. Create team via `/team/new` call.\"}","type":"auth_error","param":"None","code":"404"}}"#
            ),
            Refusal::NotFound
        );
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_an_unauthenticated_caller() {
        // Both releases, after /key/update had accepted a metadata of null.
        let body = r#"{"error":{"message":"Authentication Error, 1 validation error for LiteLLM_VerificationTokenView\nmetadata\n  Input should be a valid dictionary","type":"auth_error","param":"None","code":"401"}}"#;
        assert_eq!(refusal(401, body), Refusal::Unauthenticated);
    }

    #[test]
    fn refused_management_calls_are_told_apart() {
        assert_eq!(
            refusal(404, r#"{"detail":{"error":"Team not found, passed team_id=p1"}}"#),
            Refusal::NotFound
        );
        assert_eq!(
            refusal(
                422,
                r#"{"detail":[{"type":"list_type","loc":["body","models"],"msg":"Input should be a valid list","input":null}]}"#
            ),
            Refusal::Invalid
        );
        assert_eq!(
            refusal(
                500,
                r#"{"error":{"message":"{'error': 'Internal Server Error.'}","type":"internal_server_error","param":"None","code":"500"}}"#
            ),
            Refusal::Fault
        );
    }

    #[test]
    fn the_worked_example_is_understood() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/targets/litellm.toml");
        let surroundings = Surroundings { adapters: &[LiteLlm.name()], variable: &|_| None };
        let described = TargetDescription::load(&path, surroundings).unwrap();
        assert_eq!(described.adapter, LiteLlm.name());
        assert_eq!(described.bounds.auth_cache_ttl, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_call_is_put_in_words_that_are_taken() {
        let worded = |path, body| in_its_words(Request { path, body }).body;
        assert_eq!(worded("/team/new", json!({"models": null})), json!({"models": []}));
        assert_eq!(worded("/key/generate", json!({"models": null})), json!({"models": null}));
        assert_eq!(worded("/key/generate", json!({"key_alias": ""})), json!({"key_alias": null}));
        assert_eq!(worded("/key/generate", json!({"key_alias": "a"})), json!({"key_alias": "a"}));
    }

    #[test]
    fn a_user_that_is_issued_no_key_is_issued_no_key() {
        assert_eq!(LiteLlm.issued_key(&json!({"user_id": "u", "key": "", "token": null})), None);
        assert_eq!(LiteLlm.issued_key(&json!({"key": "sk-a"})), Some("sk-a".to_owned()));
    }

    #[test]
    fn a_payload_is_of_the_kind_that_its_fields_say() {
        // As 1.84 writes them: what is null is left out.
        let key = r#"{"token": "3c2f", "key_name": "sk-...FXPw", "spend": 0.0, "models": [], "user_id": "u", "team_id": "t", "metadata": {}, "permissions": {}, "team_models": [], "team_blocked": false, "team_member": {"user_id": "u", "role": "user"}}"#;
        let user = r#"{"user_id": "u", "spend": 0.0, "model_max_budget": {}, "model_spend": {}, "models": [], "organization_memberships": [], "teams": ["t"], "metadata": {}}"#;
        let team = r#"{"team_id": "t", "admins": [], "members": [], "members_with_roles": [{"user_id": "u", "role": "user"}], "models": [], "blocked": false, "spend": 0.0}"#;
        let member = r#"{"user_id": "u", "team_id": "t", "budget_id": "d05a", "spend": 0.0, "total_spend": 0.0, "litellm_budget_table": {"budget_id": "d05a", "max_budget": 50.0}}"#;
        // As 1.102 writes a user: the fields of other kinds are there, and null.
        let later = r#"{"user_id": "u", "user_alias": null, "team_id": null, "organization_id": null, "teams": [], "max_budget": null, "spend": 0.0, "object_permission": null}"#;
        let kind = |payload| LiteLlm.payload_kind("whatever", payload);
        assert_eq!(kind(key), Some(Kind::Key));
        assert_eq!(kind(user), Some(Kind::User));
        assert_eq!(kind(later), Some(Kind::User));
        assert_eq!(kind(team), Some(Kind::Team));
        assert_eq!(kind(member), Some(Kind::Member));
        assert_eq!(kind("0.00981"), None);
        assert_eq!(kind("[]"), None);
    }

    #[test]
    fn a_members_budget_is_found_through_the_membership() {
        let names = Names {
            prefix: "p".to_owned(),
            plan: Plan::new(vec![IdShape::Plain; 2], Vec::new()),
            aliases: Vec::new(),
            keys: BTreeMap::new(),
        };
        let member = Object::Member { team: Id(0), user: Id(1) };
        let statement = LiteLlm.row_change(member, &Change::MaxBudget(MicroUsd(0)), &names);
        assert_eq!(
            statement.unwrap().sql,
            "UPDATE \"LiteLLM_BudgetTable\" SET max_budget = $1::double precision WHERE budget_id = \
             (SELECT budget_id FROM \"LiteLLM_TeamMembership\" WHERE team_id = $2 AND user_id = $3)"
        );
    }

    #[test]
    fn the_statement_that_admits_a_key_reads_a_key() {
        let sql = "\n    SELECT\n  v.*,\n  t.spend AS team_spend\n  FROM \"LiteLLM_VerificationToken\" AS v\n  LEFT JOIN \"LiteLLM_TeamTable\" AS t ON v.team_id = t.team_id\n  WHERE v.token = $1\n";
        assert_eq!(LiteLlm.identity_reads(sql, &[]), [Kind::Key]);
    }

    #[test]
    fn the_statement_that_reads_what_was_not_cached_reads_three_kinds() {
        let sql = "SELECT\n  (\n SELECT to_jsonb(u) FROM \"LiteLLM_UserTable\" u WHERE u.user_id = $1\n  ) AS user_row,\n  ( SELECT to_jsonb(t) FROM \"LiteLLM_TeamTable\" t WHERE t.team_id = $2\n  ) AS team_row,\n  ( SELECT to_jsonb(tm) FROM \"LiteLLM_TeamMembership\" tm WHERE tm.user_id = $3 AND tm.team_id = $2\n  ) AS membership_row";
        let bound = |there: [bool; 3]| there.map(|it| it.then(|| "id".to_owned()));
        let reads = |there| LiteLlm.identity_reads(sql, &bound(there));
        assert_eq!(reads([true, true, true]), [Kind::User, Kind::Team, Kind::Member]);
        // What was found in a cache is bound as NULL.
        assert_eq!(reads([false, true, false]), [Kind::Team]);
    }

    #[test]
    fn reads_by_primary_key_are_told_from_what_looks_like_them() {
        let reads = |sql: &str| LiteLlm.identity_reads(sql, &[]);
        let user = r#"SELECT "public"."LiteLLM_UserTable"."user_id", "public"."LiteLLM_UserTable"."updated_at" FROM "public"."LiteLLM_UserTable" WHERE ("public"."LiteLLM_UserTable"."user_id" = $1 AND 1=1) LIMIT $2 OFFSET $3"#;
        assert_eq!(reads(user), [Kind::User]);
        let member = r#"SELECT "public"."LiteLLM_TeamMembership"."user_id" FROM "public"."LiteLLM_TeamMembership" WHERE ("public"."LiteLLM_TeamMembership"."user_id" = $1 AND "public"."LiteLLM_TeamMembership"."team_id" = $2) LIMIT $3 OFFSET $4"#;
        assert_eq!(reads(member), [Kind::Member]);
        let reservation = r#"SELECT "public"."LiteLLM_TeamMembership"."user_id" FROM "public"."LiteLLM_TeamMembership" WHERE (("public"."LiteLLM_TeamMembership"."user_id" = $1 AND "public"."LiteLLM_TeamMembership"."team_id" = $2) AND 1=1) LIMIT $3 OFFSET $4"#;
        assert_eq!(reads(reservation), [Kind::Member]);
        // Read back by the management call that wrote it.
        let written = r#"SELECT "public"."LiteLLM_UserTable"."user_id" FROM "public"."LiteLLM_UserTable" WHERE "public"."LiteLLM_UserTable"."user_id" = $1 LIMIT $2 OFFSET $3"#;
        assert_eq!(reads(written), []);
        // Read back to set the counter of what the key has spent.
        let counter = r#"SELECT "public"."LiteLLM_VerificationToken"."token" FROM "public"."LiteLLM_VerificationToken" WHERE ("public"."LiteLLM_VerificationToken"."token" = $1 AND 1=1) LIMIT $2 OFFSET $3"#;
        assert_eq!(reads(counter), []);
        let spend = r#"UPDATE "public"."LiteLLM_UserTable" SET "spend" = ("public"."LiteLLM_UserTable"."spend" + $1) WHERE "public"."LiteLLM_UserTable"."user_id" = $3"#;
        assert_eq!(reads(spend), []);
    }

    fn record(level: Level) -> Line {
        Line::Record { level, access: false }
    }

    #[test]
    fn both_shapes_of_a_log_record_are_known() {
        let coloured = "\u{1b}[92m08:47:51 - LiteLLM Proxy:WARNING\u{1b}[0m: cache_pydantic_utils.py:87 - CacheCodec.deserialize: validation failed for LiteLLM_UserTable (1 validation error for LiteLLM_UserTable";
        assert_eq!(LiteLlm.line(coloured), record(Level::Warn));
        let plain = "08:58:50 - LiteLLM:WARNING: utils.py:3216 - register_model: model=openai/* has custom pricing";
        assert_eq!(LiteLlm.line(plain), record(Level::Warn));
        let json = r#"{"message": "UserApiKeyCache.async_get_cache failed to deserialize cached value for key='same65191' model_type=LiteLLM_UserTable", "level": "ERROR", "timestamp": "2026-11-20T08:59:51.167490", "component": "LiteLLM Proxy", "logger": "user_api_key_cache.py:126"}"#;
        assert_eq!(LiteLlm.line(json), record(Level::Error));
    }

    #[test]
    fn the_rest_of_a_record_is_more_of_it() {
        for line in [
            "user_id",
            "  Field required [type=missing, input_value={'team_id': 'd64435same29...471.806712, 'teams': []}, input_type=dict]",
            "    For further information visit https://errors.pydantic.dev/2.12/v/missing)",
            "Traceback (most recent call last):",
            "litellm.exceptions.BudgetExceededError: Budget has been exceeded! Current cost: 0.0, Max budget: 0.0",
            "Requester IP Address:127.0.0.1",
            "",
        ] {
            assert_eq!(LiteLlm.line(line), Line::More, "{line}");
        }
    }

    #[test]
    fn one_line_tells_of_a_requests_end() {
        let access = r#"INFO:     127.0.0.1:40372 - "POST /v1/chat/completions HTTP/1.1" 200 OK"#;
        assert_eq!(LiteLlm.line(access), Line::Record { level: Level::Info, access: true });
        let started = "INFO:     Uvicorn running on http://127.0.0.1:14101 (Press CTRL+C to quit)";
        assert_eq!(LiteLlm.line(started), record(Level::Info));
    }

    fn event(store: StoreKind, body: WireBody) -> WireEvent {
        let (asked, answered) = (Micros(1), Some(Micros(2)));
        WireEvent { replica: 0, store, connection: 1, asked, answered, fault: None, body }
    }

    fn of_redis(name: &'static str, keys: &[&str], args: &[&str]) -> Option<&'static str> {
        let command = RedisCommand {
            name: Cow::Borrowed(name),
            keys: keys.iter().map(ToString::to_string).collect(),
            args: args.iter().map(|arg| Bounded::new(arg.as_bytes())).collect(),
            left_out: 0,
            reply: None,
            transaction: false,
            db: 0,
        };
        LiteLlm.housekeeping(&event(StoreKind::Redis, WireBody::RedisCommand(command)))
    }

    #[test]
    fn commands_that_name_nobody_are_housekeeping() {
        assert_eq!(
            of_redis("SUBSCRIBE", &[], &["litellm_proxy.auth_cache_invalidation"]),
            Some("start")
        );
        assert_eq!(of_redis("GET", &["daily_metrics_report_sent"], &[]), Some("metrics report"));
        let cooldowns = ["deployment:7ab9:cooldown", "deployment:6b57:cooldown"];
        assert_eq!(of_redis("MGET", &cooldowns, &[]), Some("cooldown of deployments"));
        let admin = r#"{"token": "litellm_proxy_master_key", "spend": 0.0}"#;
        assert_eq!(of_redis("SET", &["55dd"], &[admin]), Some("the admin's own identity"));
    }

    #[test]
    fn commands_that_may_name_a_key_of_ours_are_not() {
        assert_eq!(of_redis("GET", &["spend:key:3c2f"], &[]), None);
        assert_eq!(of_redis("MGET", &["spend:tag:User-Agent: x", "spend:key:3c2f"], &[]), None);
        assert_eq!(of_redis("EVALSHA", &["{api_key:3c2f}:tokens"], &["28", "60"]), None);
    }

    fn of_postgres(sql: &str, params: &[&str]) -> Option<&'static str> {
        let statement = PgStatement {
            sql: Bounded::new(sql.as_bytes()),
            part: 0,
            params: params.iter().map(|param| Some(Bounded::new(param.as_bytes()))).collect(),
            tag: "SELECT 1".to_owned(),
            rows: 1,
            copied_bytes: 0,
            error: None,
            transaction: TransactionState::Idle,
        };
        LiteLlm.housekeeping(&event(StoreKind::Postgres, WireBody::PgStatement(statement)))
    }

    #[test]
    fn statements_that_name_nobody_are_housekeeping() {
        assert_eq!(of_postgres("SELECT 1", &[]), Some("connection set-up"));
        assert_eq!(
            of_postgres(
                "SELECT current_setting('transaction_read_only') AS transaction_read_only",
                &[]
            ),
            Some("health")
        );
        let config = r#"SELECT "public"."LiteLLM_Config"."param_name" FROM "public"."LiteLLM_Config" WHERE ("public"."LiteLLM_Config"."param_name" = $1 AND 1=1) LIMIT $2 OFFSET $3"#;
        assert_eq!(
            of_postgres(config, &["model_cost_map_reload_config", "1", "0"]),
            Some("reload of settings")
        );
        let due = r#"SELECT "public"."LiteLLM_UserTable"."user_id" FROM "public"."LiteLLM_UserTable" WHERE "public"."LiteLLM_UserTable"."budget_reset_at" < $1 OFFSET $2"#;
        assert_eq!(of_postgres(due, &["2026-11-20 08:48:28.519", "0"]), Some("reset of budgets"));
        let admin = r#"SELECT "public"."LiteLLM_UserTable"."user_id" FROM "public"."LiteLLM_UserTable" WHERE ("public"."LiteLLM_UserTable"."user_id" = $1 AND 1=1) LIMIT $2 OFFSET $3"#;
        assert_eq!(
            of_postgres(admin, &["default_user_id", "1", "0"]),
            Some("the admin's own identity")
        );
    }

    #[test]
    fn statements_that_may_name_a_key_of_ours_are_not() {
        let admits = "SELECT v.* FROM \"LiteLLM_VerificationToken\" AS v LEFT JOIN \"LiteLLM_BudgetTable\" AS b ON v.budget_id = b.budget_id WHERE v.token = $1";
        assert_eq!(of_postgres(admits, &["3c2f"]), None);
        let spend = r#"UPDATE "public"."LiteLLM_VerificationToken" SET "spend" = ("public"."LiteLLM_VerificationToken"."spend" + $1) WHERE "public"."LiteLLM_VerificationToken"."token" = $4"#;
        assert_eq!(of_postgres(spend, &["2.7e-05", "3c2f"]), None);
    }
}
