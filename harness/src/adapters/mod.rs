//! What we know about each gateway product, one file each.
//!
//! An adapter knows a product's admin calls, its error shapes, which SQL reads an identity, which
//! Redis payload is of which kind, and its log format. Its manifest states the bounds that the
//! product declares. An adapter holds no property: what a gateway owes is for the checks to say.

pub mod admin_calls;
pub mod litellm;
pub mod reference;
mod row_changes;

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    history::{Level, Manifest},
    op::{Admin, Alias, Id, Key, Kind, Refusal},
    plan::Plan,
    store_step::{Change, Object},
    target::MissingBinary,
    wire::record::WireEvent,
};

/// A management call, ready to be sent with the admin key.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Path and query.
    pub path: &'static str,
    /// The JSON body of the POST.
    pub body: Value,
}

/// A statement for Postgres, whose parameters are text; it casts them itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What to do.
    pub sql: String,
    /// `$1` and so on.
    pub params: Vec<String>,
}

/// The texts that stand for a plan's entities in one drive of it.
#[derive(Clone, Debug)]
pub struct Names {
    /// The run-unique beginning of every id.
    pub prefix: String,
    /// Where the ids come from.
    pub plan: Plan,
    /// The model aliases that the target offers.
    pub aliases: Vec<String>,
    /// The secret of every key that was issued, by its place in the plan.
    pub keys: BTreeMap<Key, String>,
}

impl Names {
    /// The text of an id.
    pub fn id(&self, kind: Kind, id: Id) -> String {
        self.plan.id_text(&self.prefix, kind, id)
    }

    /// The name of a model alias; one the target does not know where the plan asks for too many.
    pub fn alias(&self, alias: Alias) -> String {
        let known = self.aliases.get(usize::from(alias.0));
        known.cloned().unwrap_or_else(|| format!("no-such-model-{}", alias.0))
    }

    /// The alias that has this name.
    pub fn alias_of(&self, name: &str) -> Option<Alias> {
        let at = self.aliases.iter().position(|known| known == name)?;
        u8::try_from(at).ok().map(Alias)
    }

    /// The secret of a key; one that was never issued where the key was not.
    pub fn key(&self, key: Key) -> String {
        let issued = self.keys.get(&key);
        issued.cloned().unwrap_or_else(|| format!("sk-{}never-issued-{}", self.prefix, key.0))
    }
}

/// What one line of output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The beginning of a log record.
    Record {
        /// How severe.
        level: Level,
        /// Whether it is the one line that tells of a request's end.
        access: bool,
    },
    /// More of the record before it.
    More,
}

/// What we know about one gateway product.
pub trait Adapter: Sync {
    /// Its name, as `--target` and `target.toml` have it.
    fn name(&self) -> &'static str;

    /// The lifetime of a cached identity that a target of this product has unless it says otherwise.
    fn default_ttl(&self) -> Duration;

    /// The `target.toml` of `--target NAME`, for products that need nothing but our own binaries.
    fn built_in_target(&self, program: &Path) -> Option<Result<String, MissingBinary>>;

    /// What to do where `--target NAME` is not enough.
    fn how_to_describe(&self) -> &'static str;

    /// What the product declares of itself, for this configured lifetime and topology.
    fn manifest(&self, ttl: Duration, replicas: u8, workers: u8) -> Manifest;

    /// The management call that carries out `admin`.
    fn admin(&self, admin: &Admin, names: &Names) -> Request;

    /// The path under which a key may ask for the models that it may call.
    fn models_path(&self) -> &'static str {
        "/v1/models"
    }

    /// The secret of the key that a successful call issued.
    fn issued_key(&self, body: &Value) -> Option<String>;

    /// The form in which a key's secret is found in the stores and in log lines.
    fn stored_form(&self, secret: &str) -> String;

    /// What identifies an object in the stores: the stored form of a key, or the ids of anything else,
    /// team before user.
    fn identifying(&self, object: Object, names: &Names) -> Vec<String> {
        match object {
            Object::Key(key) => vec![self.stored_form(&names.key(key))],
            Object::User(user) => vec![names.id(Kind::User, user)],
            Object::Team(team) => vec![names.id(Kind::Team, team)],
            Object::Member { team, user } => {
                vec![names.id(Kind::Team, team), names.id(Kind::User, user)]
            }
        }
    }

    /// What an answer that is not a success means.
    fn refusal(&self, status: u16, body: &Value) -> Refusal;

    /// The statement that changes the row of an object, behind the gateway's back. None where the
    /// product has no such row or no such column.
    fn row_change(&self, object: Object, change: &Change, names: &Names) -> Option<Statement>;

    /// The kinds of identity that a statement reads, with these parameters; empty for any other.
    fn identity_reads(&self, sql: &str, params: &[Option<String>]) -> Vec<Kind>;

    /// The kind of identity that a Redis payload holds.
    fn payload_kind(&self, key: &str, payload: &str) -> Option<Kind>;

    /// What a wire event is that belongs to no request: connection set-up, background jobs.
    fn housekeeping(&self, event: &WireEvent) -> Option<&'static str>;

    /// What one line of output is.
    fn line(&self, text: &str) -> Line;

    /// Whether every log line names the request or the entity it is about. Where it does not, cases
    /// whose check reads logs are driven one at a time.
    fn lines_can_be_joined(&self) -> bool;

    /// How many cases a stack of it can serve side by side without becoming the bottleneck.
    fn side_by_side(&self) -> usize;
}

/// Every adapter there is.
pub static ALL: &[&dyn Adapter] = &[&reference::Reference, &litellm::LiteLlm];

/// The adapter of this name.
pub fn named(name: &str) -> Option<&'static dyn Adapter> {
    ALL.iter().find(|adapter| adapter.name() == name).copied()
}

/// The staleness bound where none is declared: the lifetime, and two seconds for scheduling.
pub fn default_staleness(ttl: Duration) -> Duration {
    ttl + Duration::from_secs(2)
}
