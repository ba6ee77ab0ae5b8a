//! What the gateway counts, as Prometheus text. No label takes a value that a caller chooses.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

/// Where an identity was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    Memory,
    Redis,
}

/// What looking there gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    Hit,
    Miss,
    /// An entry that could not be read as what it should be; counted as a miss besides.
    Unreadable,
}

type Counts<K> = Mutex<BTreeMap<K, u64>>;

/// The counters of one process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Counts<(String, u16)>,
    lookups: Counts<(&'static str, Tier, Found)>,
    statements: Counts<&'static str>,
    dropped_spend: Counts<()>,
}

impl Metrics {
    /// One answered request; `route` is the template that matched, never the caller's path.
    pub(crate) fn request(&self, route: &str, status: u16) {
        bump(&self.requests, (route.to_owned(), status));
    }

    /// One lookup of an identity of this kind in one tier.
    pub(crate) fn lookup(&self, kind: &'static str, tier: Tier, found: Found) {
        bump(&self.lookups, (kind, tier, found));
    }

    /// One statement sent to Postgres.
    pub(crate) fn statement(&self, kind: &'static str) {
        bump(&self.statements, kind);
    }

    /// One request whose spend did not fit into the queue.
    pub(crate) fn spend_dropped(&self) {
        bump(&self.dropped_spend, ());
    }

    /// All counters in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        family(&mut out, "gateway_requests_total", &self.requests, |(route, status)| {
            format!("{{route=\"{route}\",status=\"{status}\"}}")
        });
        family(&mut out, "gateway_identity_lookups_total", &self.lookups, |(kind, tier, found)| {
            let tier = match tier {
                Tier::Memory => "memory",
                Tier::Redis => "redis",
            };
            let found = match found {
                Found::Hit => "hit",
                Found::Miss => "miss",
                Found::Unreadable => "unreadable",
            };
            format!("{{kind=\"{kind}\",tier=\"{tier}\",result=\"{found}\"}}")
        });
        family(&mut out, "gateway_sql_statements_total", &self.statements, |kind| {
            format!("{{kind=\"{kind}\"}}")
        });
        family(&mut out, "gateway_spend_dropped_total", &self.dropped_spend, |()| String::new());
        out
    }
}

fn bump<K: Ord>(counts: &Counts<K>, key: K) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
}

fn family<K>(out: &mut String, name: &str, counts: &Counts<K>, labels: impl Fn(&K) -> String) {
    let _ = writeln!(out, "# TYPE {name} counter");
    for (key, count) in counts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = writeln!(out, "{name}{} {count}", labels(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_rendered_with_their_labels() {
        let metrics = Metrics::default();
        metrics.request("/v1/models", 200);
        metrics.request("/v1/models", 200);
        metrics.lookup("team", Tier::Redis, Found::Hit);
        metrics.statement("key.select");
        insta::assert_snapshot!(metrics.render(), @r#"
        # TYPE gateway_requests_total counter
        gateway_requests_total{route="/v1/models",status="200"} 2
        # TYPE gateway_identity_lookups_total counter
        gateway_identity_lookups_total{kind="team",tier="redis",result="hit"} 1
        # TYPE gateway_sql_statements_total counter
        gateway_sql_statements_total{kind="key.select"} 1
        # TYPE gateway_spend_dropped_total counter
        "#);
    }
}
