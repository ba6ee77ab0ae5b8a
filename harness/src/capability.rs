//! What a target can do, and what it lets us see.
//!
//! A capability is declared by the adapter and the target's description, then confirmed by a probe.
//! A check names those it needs; the runner calls it *not applicable* where one is missing, and
//! nobody else may.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something a target can do or lets us see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Keys can be issued, changed, blocked and deleted through an admin API.
    VirtualKeys,
    /// Teams and memberships can be managed.
    Teams,
    /// Users can be managed.
    Users,
    /// A key can ask which models it may call.
    ModelList,
    /// Each replica can be addressed by itself, and there are at least two.
    Replicas,
    /// What the gateway asks of Redis is seen: commands with their keys and values.
    RedisCommands,
    /// What the gateway says to Redis is seen on the wire, and what Redis replies.
    RedisWire,
    /// What the gateway says to Postgres is seen on the wire.
    PostgresWire,
    /// The gateway's log lines are seen.
    Logs,
    /// Prompts end at the mock provider, whose ledger we read.
    MockUpstream,
    /// Stacks of other shapes can be started beside the shared one.
    OwnStacks,
    /// The adjacent release can be started too.
    NextBuild,
}

impl Capability {
    /// Every capability there is.
    pub const ALL: [Capability; 12] = [
        Capability::VirtualKeys,
        Capability::Teams,
        Capability::Users,
        Capability::ModelList,
        Capability::Replicas,
        Capability::RedisCommands,
        Capability::RedisWire,
        Capability::PostgresWire,
        Capability::Logs,
        Capability::MockUpstream,
        Capability::OwnStacks,
        Capability::NextBuild,
    ];

    /// What would have to be in `target.toml` for the target to have it.
    pub fn how_to_have_it(self) -> &'static str {
        match self {
            Capability::VirtualKeys | Capability::Teams | Capability::Users => {
                "an adapter with an admin API, and its admin key: `adapter` and `admin_key`"
            }
            Capability::ModelList => {
                "a gateway that lists models, at the path that the adapter knows"
            }
            Capability::Replicas => "two addresses or more: `replicas`",
            Capability::RedisCommands => {
                "the Redis that replicas share, which we may MONITOR: `redis_url`"
            }
            Capability::RedisWire | Capability::PostgresWire => {
                "a [managed] target, whose stores are reached through our store proxies"
            }
            Capability::Logs => {
                "the log of each replica, with a line for each request's end: `logs`"
            }
            Capability::MockUpstream => "models that end at a mock provider of ours: `mock_url`",
            Capability::OwnStacks => "a [managed] target, which we start in any shape",
            Capability::NextBuild => {
                "a [managed.next] that says how the adjacent release starts: `command`, `image` or `args`"
            }
        }
    }

    /// The line of `target.toml` that makes the difference, with values to be replaced.
    pub fn line(self) -> &'static str {
        match self {
            Capability::VirtualKeys | Capability::Teams | Capability::Users => {
                "admin_key = \"os.environ/GAUNTLET_ADMIN_KEY\""
            }
            Capability::ModelList => "adapter = \"litellm\"",
            Capability::Replicas => {
                "replicas = [\"http://127.0.0.1:4000\", \"http://127.0.0.1:4001\"]"
            }
            Capability::RedisCommands => "redis_url = \"os.environ/GATEWAY_REDIS_URL\"",
            Capability::Logs => "logs = [\"gateway-0.log\", \"gateway-1.log\"]",
            Capability::MockUpstream => "mock_url = \"http://127.0.0.1:9100\"",
            Capability::RedisWire | Capability::PostgresWire | Capability::OwnStacks => {
                "[managed] command = [\"gateway\", \"--config\", \"{config}\", \"--port\", \"{port}\"]"
            }
            Capability::NextBuild => "[managed.next] command = [\"next/gateway\", …]",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::VirtualKeys => "virtual keys",
            Capability::Teams => "teams",
            Capability::Users => "users",
            Capability::ModelList => "lists of models",
            Capability::Replicas => "addressable replicas",
            Capability::RedisCommands => "Redis commands",
            Capability::RedisWire => "Redis on the wire",
            Capability::PostgresWire => "Postgres on the wire",
            Capability::Logs => "logs",
            Capability::MockUpstream => "mock upstream",
            Capability::OwnStacks => "stacks of its own",
            Capability::NextBuild => "an adjacent release",
        })
    }
}

/// What the probe found of one capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probed {
    /// Which.
    pub capability: Capability,
    /// Whether it was confirmed.
    pub confirmed: bool,
    /// What was seen, or what is missing and which line of `target.toml` would change it.
    pub note: String,
}
