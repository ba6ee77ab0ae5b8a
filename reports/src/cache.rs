//! What the identity cache did for whom: its part of the document, and its table for a terminal.
//!
//! Classes of keys stand worst first and are never summed up: a mean would hide the one class whose
//! keys are not cached. A class without evidence says so, and has neither 0 nor 1.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    io::{self, Write},
};

use serde::{Deserialize, Serialize};

use crate::{
    layout::{counted, grouped, span},
    terminal::{Style, column, heading, paragraph},
};

/// What the identity cache did, as seen on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// One entry per class of keys of which a prompt was answered, the worst first.
    #[serde(default)]
    pub classes: Vec<CacheClass>,
    /// Answered prompts that say nothing of the cache, by why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, u64>,
    /// What each process asked of the stores, over the whole run.
    #[serde(default)]
    pub workers: Vec<CacheWorker>,
    /// Looked-up names that were too many to remember: so many misses of workers may not be told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten: u64,
}

/// What the cache did for keys of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheClass {
    /// Its name in thresholds.
    pub class: String,
    /// Prompts that were answered.
    pub answered: u64,
    /// Over all replicas.
    #[serde(flatten)]
    pub all: CacheNumbers,
    /// The same of each replica that served a warm request.
    #[serde(default)]
    pub replicas: Vec<CacheReplica>,
}

/// What the cache did for keys of one class on one replica.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheReplica {
    /// Which replica.
    pub replica: u8,
    /// Its numbers.
    #[serde(flatten)]
    pub numbers: CacheNumbers,
}

/// What requests cost whose identities must be cached. What is absent has no evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheNumbers {
    /// Requests whose identities must be in some tier.
    pub requests: u64,
    /// Those of them whose identities must be in the memory of the replica that served them.
    pub requests_in_memory: u64,
    /// The share of lookups that no database answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_ratio: Option<f64>,
    /// The share of lookups that no store answered, of requests whose identities must be in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_hit_ratio: Option<f64>,
    /// The share that Redis answered of what memory did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_hit_ratio: Option<f64>,
    /// Identities read from the database.
    pub identity_reads: u64,
    /// Queries per request whose identities must be in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_per_request: Option<f64>,
    /// Statements that write, per such request: mostly spend, recorded in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_writes_per_request: Option<f64>,
    /// Redis commands per such request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_per_request: Option<f64>,
}

impl CacheNumbers {
    /// The worse of two comes first; what has no evidence comes last.
    pub fn worse_first(&self, other: &CacheNumbers) -> Ordering {
        let ratio = |numbers: &CacheNumbers| numbers.hit_ratio.unwrap_or(f64::INFINITY);
        let cost = |numbers: &CacheNumbers| numbers.sql_per_request.unwrap_or(0.0);
        ratio(self).total_cmp(&ratio(other)).then(cost(other).total_cmp(&cost(self)))
    }

    /// Whether these stand apart from `all` by more than noise.
    pub(crate) fn stand_apart_from(&self, all: &CacheNumbers) -> bool {
        let apart = |own: Option<f64>, all: Option<f64>, noise: f64| match (own, all) {
            (Some(own), Some(all)) => (own - all).abs() > noise,
            _ => false,
        };
        apart(self.hit_ratio, all.hit_ratio, 0.01)
            || apart(self.sql_per_request, all.sql_per_request, 0.1)
            || apart(self.redis_per_request, all.redis_per_request, 0.5)
    }
}

/// What one process of the gateway asked of the stores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheWorker {
    /// Of which replica.
    pub replica: u8,
    /// Which of its processes; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u8>,
    /// Redis commands.
    pub commands: u64,
    /// Identities found in Redis.
    pub redis_hits: u64,
    /// Identities looked for in Redis in vain.
    pub redis_misses: u64,
    /// Statements.
    pub statements: u64,
    /// Statements that read identities.
    pub identity_reads: u64,
    /// What those took, in microseconds.
    pub identity_read_us: u64,
}

/// Writes the table of classes, and what it rests on.
///
/// # Errors
///
/// What the writer says.
pub fn render(cache: &Cache, style: Style, out: &mut dyn Write) -> io::Result<()> {
    heading("cache", style, out)?;
    let faint = style.faint();
    let width = column("", cache.classes.iter().map(|class| class.class.as_str())).max(9);
    writeln!(
        out,
        "  {faint}{:<width$}  {:>8}  {:>8}  {:>8}  {:>8}  {:>5}  {:>7}  {:>9}{faint:#}",
        "key class", "requests", "hits", "memory", "Redis", "reads", "SQL/req", "Redis/req"
    )?;
    for class in &cache.classes {
        if class.all.hit_ratio.is_none() {
            let answered = counted(class.answered, "prompt", "prompts");
            writeln!(
                out,
                "  {:<width$}  {:>8}  {faint}no evidence in {answered}{faint:#}",
                class.class, "-"
            )?;
            continue;
        }
        row(&class.class, &class.all, width, out)?;
        let apart = class.replicas.iter().any(|it| it.numbers.stand_apart_from(&class.all));
        for replica in class.replicas.iter().filter(|_| apart) {
            row(&format!(" replica {}", replica.replica), &replica.numbers, width, out)?;
        }
    }
    writeln!(out)?;
    let mut rests = String::from(
        "Requests whose identities must be cached: used before on that replica (memory) or on \
         another (Redis), within a lifetime, and not changed since.",
    );
    if cache.classes.iter().any(|class| class.all.requests > 0 && class.all.requests_in_memory == 0)
    {
        rests
            .push_str(" Where a replica has several workers, nobody knows whose memory was asked.");
    }
    if !cache.left_out.is_empty() {
        let told: Vec<_> = cache
            .left_out
            .iter()
            .map(|(why, count)| format!("{} {why}", grouped(*count)))
            .collect();
        rests.push_str(&format!(" Not counted: {}.", told.join("; ")));
    }
    paragraph("  ", "  ", &rests, faint, style, out)?;
    workers(&cache.workers, style, out)
}

fn row(name: &str, numbers: &CacheNumbers, width: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "  {name:<width$}  {:>8}  {:>8}  {:>8}  {:>8}  {:>5}  {:>7}  {:>9}",
        grouped(numbers.requests),
        percent(numbers.hit_ratio),
        percent(numbers.memory_hit_ratio),
        percent(numbers.redis_hit_ratio),
        grouped(numbers.identity_reads),
        each(numbers.sql_per_request),
        each(numbers.redis_per_request)
    )
}

/// Processes are told apart where a replica has several.
fn workers(workers: &[CacheWorker], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let of = |replica| workers.iter().filter(move |worker| worker.replica == replica);
    for worker in workers.iter().filter(|worker| of(worker.replica).count() > 1) {
        let name = worker
            .worker
            .map_or_else(|| "worker unknown".to_owned(), |number| format!("worker {number}"));
        let text = format!(
            "replica {}, {name}: {} and {}; {} hits and {} misses in Redis; {} ({})",
            worker.replica,
            counted(worker.statements, "statement", "statements"),
            counted(worker.commands, "Redis command", "Redis commands"),
            grouped(worker.redis_hits),
            grouped(worker.redis_misses),
            counted(worker.identity_reads, "identity read", "identity reads"),
            span(worker.identity_read_us / 1_000),
        );
        paragraph("  ", "    ", &text, anstyle::Style::new(), style, out)?;
    }
    Ok(())
}

/// A share in percent, rounded down: what is not whole is never shown as 100 %.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || "-".to_owned(),
        |share| format!("{:.2} %", (share * 10_000.0).floor() / 100.0),
    )
}

pub(crate) fn each(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2}"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::samples;

    fn shown(cache: &Cache) -> String {
        let mut out = Vec::new();
        render(cache, Style::PLAIN, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_worst_class_comes_first_and_what_is_not_known_is_said() {
        assert_snapshot!(shown(&samples::cache()), @r"
        ── cache ───────────────────────────────────────────────────────────────────────

          key class     requests      hits    memory     Redis  reads  SQL/req  Redis/req
          team                60   75.00 %   75.00 %         -     30     0.50       2.00
           replica 0          30  100.00 %  100.00 %  100.00 %      0     0.00       2.00
           replica 1          30   50.00 %   75.00 %         -     30     0.50       2.00
          plain            1,204  100.00 %  100.00 %  100.00 %      0     0.00       2.00
          organisation         -  no evidence in 1 prompt

          Requests whose identities must be cached: used before on that replica (memory)
          or on another (Redis), within a lifetime, and not changed since. Not counted:
          81 may have met cold entries.
          replica 1, worker 0: 61 statements and 2,408 Redis commands; 28 hits and 4
            misses in Redis; 30 identity reads (13 ms)
          replica 1, worker unknown: 61 statements and 2,408 Redis commands; 28 hits
            and 4 misses in Redis; 1 identity read (13 ms)
        ");
    }

    #[test]
    fn what_is_not_whole_is_never_shown_as_whole() {
        assert_eq!(percent(Some(0.999_999)), "99.99 %");
        assert_eq!(percent(Some(1.0)), "100.00 %");
        assert_eq!(percent(None), "-");
    }

    #[test]
    fn a_low_ratio_is_worse_than_a_high_cost_and_no_evidence_comes_last() {
        let numbers = |hit_ratio, sql_per_request| CacheNumbers {
            hit_ratio,
            sql_per_request,
            ..CacheNumbers::default()
        };
        let mut all = [
            numbers(None, None),
            numbers(Some(1.0), Some(0.0)),
            numbers(Some(1.0), Some(2.0)),
            numbers(Some(0.5), Some(1.0)),
        ];
        all.sort_by(CacheNumbers::worse_first);
        let order: Vec<_> = all.iter().map(|it| (it.hit_ratio, it.sql_per_request)).collect();
        let expected =
            [(Some(0.5), Some(1.0)), (Some(1.0), Some(2.0)), (Some(1.0), Some(0.0)), (None, None)];
        assert_eq!(order, expected);
    }
}
