//! The report as one page for a browser: verdicts first, the evidence one step away.
//!
//! The page is one file that loads nothing: style sheet and script stand in it, its policy names both
//! by their hashes and forbids all else, so that not even a hole in our escaping could run or fetch
//! anything. All of it can be read without the script, which only filters, copies and unfolds.
//!
//! It is written with plain functions over `Markup`, which escapes whatever enters it and
//! closes whatever it opens: a template engine would add its own language for the same, and leave the
//! drawings to us.

use std::io::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::{
    layout::{moment, span},
    schema::{RunReport, Verdict},
    words::{counts, driven, exit_verdict},
};

mod verdicts;
mod failures;
mod lanes;
mod thresholds;
mod cache;
mod log;
mod load;
mod chart;
mod defects;
mod surroundings;
mod table;
mod markup;

use markup::Markup;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// Writes `report` as one page that loads nothing.
///
/// # Errors
///
/// What the writer says.
pub fn render(report: &RunReport, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Markup::default();
    page.verbatim("<!doctype html>\n");
    page.element("html", &[("lang", "en")], |html| {
        html.element("head", &[], |head| self::head(report, head));
        html.element("body", &[], |body| self::body(report, body));
    });
    out.write_all(page.into_text().as_bytes())
}

fn head(report: &RunReport, head: &mut Markup) {
    head.void("meta", &[("charset", "utf-8")]);
    head.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy())]);
    head.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    head.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    head.void("meta", &[("name", "generator"), ("content", &tool(report))]);
    // Without an icon of its own, a page that is served makes the browser ask for one.
    head.void("link", &[("rel", "icon"), ("href", "data:,")]);
    head.words("title", &[], &format!("{}: run {}", report.exit.name, report.run_id));
    head.element("style", &[], |style| style.verbatim(STYLE));
}

/// What the page may do: be styled by this sheet, be run by this script, and nothing else.
fn policy() -> String {
    format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; base-uri 'none'; \
         form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// A source as a policy names it.
fn hash(source: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(source)))
}

fn tool(report: &RunReport) -> String {
    format!("gauntlet {}", report.tool_version)
}

/// The parts of the page: anchor, heading, and what writes it. What a run does not have is left out.
fn parts(report: &RunReport) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    if !report.checks.is_empty() {
        parts.push(Part::new("verdicts", "Verdicts", |page| {
            verdicts::write(&report.checks, page);
        }));
    }
    if report.checks.iter().any(|check| check.verdict == Verdict::Fail) {
        parts.push(Part::new("failures", "Failures", |page| {
            failures::write(&report.checks, page);
        }));
    }
    if !report.thresholds.is_empty() {
        parts.push(Part::new("thresholds", "Thresholds", |page| {
            thresholds::write(&report.thresholds, page);
        }));
    }
    if let Some(load) = &report.load {
        parts.push(Part::new("load", "Load", |page| load::write(load, page)));
    }
    if let Some(load) = &report.gateway_load {
        parts.push(Part::new("load", "Load", |page| load::write_gateway(load, page)));
    }
    if let Some(cache) = report.cache.as_ref().filter(|cache| !cache.classes.is_empty()) {
        parts.push(Part::new("cache", "Cache", |page| cache::write(cache, page)));
    }
    if let Some(log) = &report.log {
        parts.push(Part::new("log", "Log", |page| log::write(log, page)));
    }
    if !report.kill_matrix.is_empty() {
        parts.push(Part::new("defects", "Planted defects", |page| {
            defects::write(&report.kill_matrix, page);
        }));
    }
    parts.push(Part::new("run", "The run", |page| surroundings::write(report, page)));
    parts
}

/// One part of the page.
struct Part<'a> {
    anchor: &'static str,
    heading: &'static str,
    write: Box<dyn FnOnce(&mut Markup) + 'a>,
}

impl<'a> Part<'a> {
    fn new(
        anchor: &'static str,
        heading: &'static str,
        write: impl FnOnce(&mut Markup) + 'a,
    ) -> Self {
        Part { anchor, heading, write: Box::new(write) }
    }
}

fn body(report: &RunReport, body: &mut Markup) {
    let parts = parts(report);
    body.words("a", &[("class", "skip"), ("href", "#main")], "Skip to the report");
    body.element("header", &[], |header| {
        header.words("p", &[("class", "tool")], &tool(report));
        header.element("h1", &[], |h1| {
            h1.text(&report.target.name);
            h1.text(" ");
            badge(exit_verdict(report), &report.exit.name, h1);
        });
        header.words(
            "p",
            &[("class", "conclusion")],
            &format!(
                "{}; {} in {}; exit status {}",
                counts(report),
                driven(report),
                span(report.duration_ms),
                report.exit.status
            ),
        );
        header.element("p", &[("class", "faint")], |line| {
            line.text("run ");
            line.words("code", &[], &report.run_id);
            line.text(&format!(" · seed {} · {}", report.seed, moment(report.started)));
        });
        header.element("nav", &[("aria-label", "Parts of the report")], |nav| {
            nav.element("ul", &[], |list| {
                for part in &parts {
                    list.element("li", &[], |item| {
                        item.words("a", &[("href", &format!("#{}", part.anchor))], part.heading);
                    });
                }
            });
        });
    });
    body.element("main", &[("id", "main")], |main| {
        for part in parts {
            let name = format!("{}-heading", part.anchor);
            main.element(
                "section",
                &[("id", part.anchor), ("aria-labelledby", &name)],
                |section| {
                    section.words("h2", &[("id", &name)], part.heading);
                    (part.write)(section);
                },
            );
        }
    });
    body.element("footer", &[], |footer| {
        footer.words(
            "p",
            &[("class", "faint")],
            &format!(
                "Written by {} from the stored report (version {}); its JSON has every number.",
                tool(report),
                report.schema_version
            ),
        );
    });
    body.element("script", &[], |script| script.verbatim(SCRIPT));
}

/// A word with the sign and the colour of `verdict`.
fn badge(verdict: Verdict, word: &str, page: &mut Markup) {
    let (class, sign) = match verdict {
        Verdict::Pass => ("verdict pass", "✓"),
        Verdict::Fail => ("verdict fail", "✗"),
        Verdict::Inconclusive => ("verdict inconclusive", "?"),
        Verdict::NotApplicable => ("verdict other", "–"),
        Verdict::Skipped => ("verdict other", "»"),
    };
    page.element("span", &[("class", class)], |badge| {
        badge.words("span", &[("aria-hidden", "true")], sign);
        badge.text(" ");
        badge.text(word);
    });
}

#[cfg(test)]
mod reading;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use insta::assert_snapshot;
    use serde_json::Value;

    use super::{
        reading::{Part, parts, told},
        *,
    };
    use crate::samples;

    fn shown(report: &RunReport) -> String {
        let mut out = Vec::new();
        render(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// A report with everything a report can have.
    fn everything() -> RunReport {
        let mut report = samples::mixed();
        report.checks[1] = samples::pictured().checks.remove(0);
        report.cache = Some(samples::cache());
        report.thresholds = samples::thresholds();
        report.kill_matrix = samples::kills();
        report.load = Some(samples::load());
        report.log = Some(samples::log());
        report.wire.unjoined_shapes = BTreeMap::from([("GET ?".to_owned(), 2)]);
        let long = "SELECT ".repeat(100);
        report.checks[1].violations[0].evidence[1].text = long;
        let breach = report.checks[1].violations[0].clone();
        report.checks[1].violations = vec![breach; 5];
        report.checks[1].exchanges[0].arm = "ids shared".to_owned();
        report
    }

    /// A report of two gateways under load, as callers saw them.
    fn called() -> RunReport {
        let mut load = samples::gateway_load();
        load.gateways.push("http://127.0.0.1:4001".to_owned());
        load.whole.by_gateway = vec![6_511, 6_511];
        load.verdict = Verdict::Inconclusive;
        load.reason = Some("it was stopped".to_owned());
        RunReport { checks: Vec::new(), gateway_load: Some(load), ..samples::inconclusive() }
    }

    /// The page from the heading of one part to that of the next.
    fn part(report: &RunReport, heading: &str) -> String {
        let told = told(&shown(report));
        let from = told.find(&format!("\n## {heading}\n")).unwrap() + 1;
        let rest = &told[from..];
        let to = rest[3..].find("\n## ").map_or(rest.len(), |at| at + 3);
        rest[..to].to_owned()
    }

    #[test]
    fn every_verdict_is_shown() {
        let report = samples::mixed();
        assert_snapshot!(part(&report, "Verdicts"), @r"
        ## Verdicts
        Verdict all fail inconclusive pass not applicable skipped
        Family all auth-cache budget codec leak propagation
        Every check of the run, those first that ask for something to be done
        check | verdict
        propagation.revoke-bound; A revoked key is refused everywhere within the bound | ✗ fail; 12 cases, 8.4 s
        auth-cache.single-flight; Concurrent misses of one key cost one read; Why: no request missed the cache in any of 16 cases | ? inconclusive; 16 cases, 820 ms
        codec.null-round-trip; What was cached reads back the same | ✓ pass; 64 cases, 1.2 s
        leak.response-cache; A cached answer never crosses a team boundary; Extended: owed where the feature is offered; Why: needs response_cache | – not applicable
        budget.charge-once; A request is charged once; Why: --skip budget | » skipped
        ");
        let rows = part(&report, "Verdicts");
        for check in &report.checks {
            let row = rows.lines().find(|line| line.starts_with(&check.id)).unwrap();
            assert!(row.contains(&check.verdict.to_string()), "{row}");
        }
    }

    #[test]
    fn a_failure_is_a_story_with_its_evidence() {
        assert_snapshot!(part(&samples::pictured(), "Failures"), @r#"
        ## Failures
        What the words below mean
        gateway what was tested: one API in front of many providers of language models
        replica one address of the gateway; several share a cache and a database
        Redis, Postgres the shared cache, and the database of record
        provider what answers prompts; here a mock that remembers whatever reaches it
        virtual key what a caller of the gateway holds; a team, a user or both may own it
        key 0, model 0, user "i2" the first key and model of a plan, and an id made up for it; each drive has ids of its own
        identity who a key is: its own row and those of its owners, cached or read from the database
        hit, miss a cache entry that was there when it was looked up, and one that was not
        plan the steps that were driven, drawn at random from the seed of the run
        case one plan, driven once; a check has many
        shrunk made smaller, step by step, as long as it still fails
        evidence what was recorded on the wire, in logs and at the provider, by number (#)
        ### Failure 1: propagation.revoke-bound
        Expected: A revoked key is refused everywhere within the bound.
        Why it matters: Whoever was shut out goes on spending.
        #### What was found
        - ✗ key 0 was answered by replica 1 3.76 s after its revocation was confirmed, and the bound is 2.5 s
        #### The smallest plan that fails has 4 steps
        - issue key 0 to team 0
        - ask replica 1 with key 0
        - revoke key 0 through replica 0
        - wait 1.5 staleness bounds, then ask replica 1 with key 0
        Shrunk from 38 steps in 17 tries (6.1 s); it failed on every re-run.
        #### What happened, around the evidence
        - a request is sent
        - it is answered
        - it is refused
        - cache hit
        - cache miss
        - cache entry written
        - SQL that reads who somebody is
        - log line at WARN or above
        - request at the provider
        - a fault strikes
        - it is healed
        faults replica 0 replica 1 Redis Postgres provider
        - #40 +0.0 ms fault from now on each read of Postgres takes 200 ms longer
        - #41 +1.3 ms caller → replica 0 call 3: chat with key 0, model 0
        - #42 +2.6 ms replica 0 → Redis GET "rg:key:5f1c" miss (key)
        - #43 +3.9 ms caller → replica 1 call 4: chat with key 0, model 0
        - #44 +5.2 ms replica 0 → Postgres SELECT … FROM virtual_keys
        - #45 +6.5 ms replica 1 → Redis GET "rg:key:5f1c" hit (key)
        - #46 +7.8 ms replica 1 logs evidence WARN cache entry of key 0 could not be read
        - #47 +9.1 ms replica 0 → provider call 3 arrives, is answered 200
        - #48 +10.4 ms replica 0 → Redis SET "rg:key:5f1c" write (key)
        - #49 +11.7 ms replica 0 → caller call 3 answered 200
        - #50 +13.0 ms replica 1 → caller evidence call 4 refused 401: no such key
        - #51 +14.3 ms fault healed after 2 hits
        Times count from #40, 5.052000 s into the run.
        212 further entries of this history lie further away, in the folder of the run.
        #### What proves it
        ##### ✗ key 0 was answered by replica 1 3.76 s after its revocation was confirmed, and the bound is 2.5 s
        callers replica 1 Redis provider
        - #41 +0.0 ms callers POST /key/delete key 0 -> 200
        - #42 +0.3 ms Redis DEL rg:key:5f1c
        - 3.7 s later
        - #57 +3.756 s callers POST /v1/chat/completions -> 200
        - #58 +3.757 s replica 1 no store read for key 0
        - #59 +3.759 s provider attempt 12, model mock-ok, fingerprint fp-09af31c2d4e5f607, credential 4be1c90d22aa1077
        Times count from #41, 1.204118 s into the run.
        #### See it again (case 3)
        This judges what was recorded once more, without the gateway. With --live it drives the plan against a target again.
        gauntlet replay runs/reference-42 Copy
        #### Send the same requests yourself
        Needs bash and curl, and nothing of ours. It stands in the folder of the run as shrunk/propagation.revoke-bound.sh; what it needs to be told is GATEWAY and ADMIN_KEY.
        Show the script
        #!/usr/bin/env bash set -u call 0 "$GATEWAY_0" Copy
        #### Seen before
        - https://example.org/incidents/1
        "#);
    }

    #[test]
    fn a_pass_is_short() {
        assert_snapshot!(told(&shown(&samples::passing())), @r"
        Skip to the reportgauntlet 0.1.0
        # reference ✓ pass
        1 passed; 64 cases in 23.4 s; exit status 0
        run reference-42 · seed 42 · 2026-09-21 14:13:20 UTC
        - Verdicts
        - The run
        ## Verdicts
        Verdict all pass
        Family all codec
        Every check of the run, those first that ask for something to be done
        check | verdict
        codec.null-round-trip; What was cached reads back the same | ✓ pass; 64 cases, 1.2 s
        ## The run
        ### Target
        name reference
        version 0.1.0
        replicas 2
        adapter reference
        wire profile litellm-1.100
        an identity is cached for 2 s
        a change is everywhere within 2.5 s
        run reference-42
        seed 42
        took 23.4 s
        ### Stores
        The stores behind the target
        store | version | found | why so
        redis | 7.0.15 | local | no GAUNTLET_REDIS_URL
        postgres | 15.14 | given | --postgres-url
        ### What the target can do and lets us see
        What the probes found before any check ran
        capability | probe | note
        virtual_keys | ✓ confirmed |
        teams | ✓ confirmed |
        response_cache | – missing | no second answer was reused
        metrics | ? unconfirmed | the page answered 503
        ### What the wire showed
        What passed between the replicas and their stores
        commands and statements | count
        seen | 12,480
        joined to a request by the ids they carry | 12,102
        background: health | 310
        background: pool | 66
        joined to nothing | 2
        lost before they could be recorded | 0
        bytes that were not understood | 0
        Written by gauntlet 0.1.0 from the stored report (version 1); its JSON has every number.
        ");
    }

    #[test]
    fn numbers_stand_in_tables() {
        let report = everything();
        assert_snapshot!(part(&report, "Thresholds"), @r"
        ## Thresholds
        Bounds that were asked for, and the worst that was measured
        threshold | verdict | measured
        hit_ratio >= 0.99 | ✗ fail | 0.5000 of {class=team,replica=1} in 30 requests
        sql_per_warm_request <= 1 | ✓ pass | 0.50 of {class=team,replica=1} in 30 requests
        hit_ratio{class=organisation} > 0 | ? inconclusive | no evidence of {class=organisation}
        reads_slope < 0.1 | ? inconclusive | no evidence
        ");
        assert_snapshot!(part(&report, "Cache"), @r"
        ## Cache
        Only requests count whose identities must be cached: used before on that replica (memory) or on another (Redis), within a lifetime, and not changed since. The worst class stands first, and there is no mean.
        Hits by class of key and by replica
        class of key | requests | hits | in memory | in Redis | database reads | SQL each | Redis each
        team | 60 | 75.00 % | 75.00 % | - | 30 | 0.50 | 2.00
        team, replica 0 | 30 | 100.00 % | 100.00 % | 100.00 % | 0 | 0.00 | 2.00
        team, replica 1 | 30 | 50.00 % | 75.00 % | - | 30 | 0.50 | 2.00
        plain | 1,204 | 100.00 % | 100.00 % | 100.00 % | 0 | 0.00 | 2.00
        organisation | no evidence in 1 prompt
        Not counted: 81 may have met cold entries.
        What each process asked of the stores, over the whole run
        process | Redis commands | hits | misses | statements | identity reads | time of those
        replica 1, worker 0 | 2,408 | 28 | 4 | 61 | 30 | 13 ms
        replica 1, worker unknown | 2,408 | 28 | 4 | 61 | 1 | 13 ms
        ");
        assert_snapshot!(part(&report, "Planted defects"), @r"
        ## Planted defects
        1 of 3 planted defects caught with every seed.
        Planted defects, and whether they were caught
        defect | check that must catch it | caught | shrunk to | time
        null-becomes-empty | codec.null-round-trip | ✓ yes 10/10 | 3 steps | 41.2 s
        revoke-forgets-memory-tier | propagation.revoke-bound | ? some 9/10 | 4 steps | 2 min 8 s
        spend-lost | budget.charge-once | ✗ NO 0/10 | - | 9 s
        ");
        assert_snapshot!(part(&report, "Load"), @r"
        ## Load
        seed_001: identity reads as replicas are added.
        200 callers over 10 s, each pausing 500 ms to 1 s, each to a replica of its own; 15 plain keys.
        A cached identity lives 5 s, and stands for 1 min 0 s.
        ### With a cache that all share
        Shapes of the target
        replicas × workers | verdict | why
        1 × 1 | ✓ pass | reads stay within their bounds
        8 × 1 | ✓ pass | reads stay within their bounds
        The query that reads keys, beside its bounds
        replicas × workers | window | calls | total ms | mean ms | rows | bound | stands
        1 × 1 | 25 s | 75 | 23.25 | 0.31 | 75 | 37..1,125 | ✓ within
        1 × 1 | 50 s | 1,249 | 387.19 | 0.31 | 1,249 | 37..1,125 | ✗ OVER
        8 × 1 | 25 s | 75 | 23.25 | 0.31 | 75 | 37..1,125 | ✓ within
        8 × 1 | 50 s | 1,249 | 387.19 | 0.31 | 1,249 | 37..1,125 | ✗ OVER
        What callers saw; loud lines are log records at WARN or above
        replicas × workers | window | answers | per s | errors | p50 ms | p95 ms | p99 ms | max ms | loud lines per 1,000
        1 × 1 | 25 s | 6,650 | 266 | 7 | 0.8 | 2.0 | 9.1 | 1024.0 | 0.6
        1 × 1 | 50 s | 6,650 | 133 | 7 | 0.8 | 2.0 | 9.1 | 1024.0 | 0.6
        8 × 1 | 25 s | 6,650 | 266 | 7 | 0.8 | 2.0 | 9.1 | 1024.0 | 0.6
        8 × 1 | 50 s | 6,650 | 133 | 7 | 0.8 | 2.0 | 9.1 | 1024.0 | 0.6
        Growth of reads, in those of one process: ✓ 0.00 for each more process, at most 0.10: pass
        Reads of keys in the longest window, with their bounds
        Latency in the longest window, in milliseconds
        ### Without a shared cache
        Shapes of the target
        replicas × workers | verdict | why
        1 × 1 | – not available | its configuration needs {redis_url}
        ### From the first request to the last
        The same requests, counted by everybody who sees them
        replicas × workers | sent | answered | in the provider's ledger | access lines | commands and statements
        1 × 1 | 14,002 | 13,995 | 13,995 | 14,002 | 88,123
        8 × 1 | 14,002 | 13,995 | 13,995 | 14,002 | 88,123
        ### Requests that failed
        Requests that failed, by how
        replicas × workers | requests | how | what the first was told
        1 × 1 | 7 | 503 | no\u{1b}[2J room
        8 × 1 | 7 | 503 | no\u{1b}[2J room
        ### Log records at WARN or above
        1 shape of log records, the most frequent first
        line | times
        WARN queue is full | 8
        ");
    }

    #[test]
    fn log_lines_are_told_by_their_shapes() {
        assert_snapshot!(part(&everything(), "Log"), @r"
        ## Log
        1,310 log records in 1,204 requests; 25 at WARN or above, which is 20.8 in 1,000 requests.
        Ids, numbers and times are masked with #; the most frequent first
        line | times | per 1,000
        WARN cache entry of key # could not be read | 21 | 17.4
        ERROR pool is empty | 4 | 3.3
        ");
    }

    #[test]
    fn callers_of_any_gateway_tell_what_they_saw() {
        assert_snapshot!(part(&called(), "Load"), @r"
        ## Load
        streamed-chat: 50 callers over 5 s, none pausing between requests, each to one of 2 gateways; 1 key; model alias gpt-4o-mini.
        ? inconclusive it was stopped
        30 s with all callers: 12,340 answered (411/s), 20 failed (0.16 %); 98,720 tokens (3291/s); 22.4 MB received.
        What callers waited for
        what | p50 ms | p90 ms | p95 ms | p99 ms | max ms
        latency | 24.1 | 48.2 | 72.3 | 241.1 | 2411.3
        TTFT | 8.25 | 16.5 | 24.8 | 82.5 | 825.0
        token gap | 0.99 | 1.98 | 2.97 | 9.90 | 99.0
        What callers waited for, in milliseconds
        all in all, from the first request to the last: 13,022 sent, 13,000 answered, 22 failed; and 2 more requests before the load, to see whether there are answers.
        Requests, by gateway
        gateway | requests
        http://127.0.0.1:4000 | 6,511
        http://127.0.0.1:4001 | 6,511
        ### Requests that failed
        Requests that failed, by how
        how | requests | what the first was told
        200 with a stream that ended early | 1 | no [DONE] after 3 tokens
        429 | 21 | slow\u{1b}[2J down
        ");
        assert_eq!(shown(&called()).matches("<polyline").count(), 3);
    }

    #[test]
    fn charts_are_drawn_where_shapes_can_be_compared() {
        let page = shown(&everything());
        assert_eq!(page.matches("<figure>").count(), 2);
        assert_eq!(page.matches("<polyline").count(), 4);
        assert!(!shown(&samples::mixed()).contains("<svg"));
    }

    /// Puts `hostile` into every string of `report` that may hold any text, keys of maps included.
    fn poisoned(report: &RunReport, hostile: &str) -> RunReport {
        let mut document = serde_json::to_value(report).unwrap();
        let mut paths = Vec::new();
        strings(&document, String::new(), &mut paths);
        for path in paths {
            let before = document.pointer(&path).unwrap().clone();
            let Value::String(text) = &before else { unreachable!("only strings were asked for") };
            let poison = Value::String(format!("{text}{hostile}"));
            *document.pointer_mut(&path).unwrap() = poison;
            if serde_json::from_value::<RunReport>(document.clone()).is_err() {
                // The words of verdicts, lanes and the like are not free.
                *document.pointer_mut(&path).unwrap() = before;
            }
        }
        let mut report: RunReport = serde_json::from_value(document).unwrap();
        let poison = |map: &mut BTreeMap<String, u64>| {
            *map = map.iter().map(|(key, count)| (format!("{key}{hostile}"), *count)).collect();
        };
        poison(&mut report.wire.background);
        poison(&mut report.wire.unjoined_shapes);
        if let Some(log) = &mut report.log {
            poison(&mut log.shapes);
        }
        if let Some(cache) = &mut report.cache {
            poison(&mut cache.left_out);
        }
        for whole in
            report.load.iter_mut().flat_map(|it| &mut it.shapes).flat_map(|it| &mut it.whole)
        {
            poison(&mut whole.loud_lines);
        }
        report
    }

    fn strings(value: &Value, path: String, paths: &mut Vec<String>) {
        match value {
            Value::String(_) => paths.push(path),
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    strings(item, format!("{path}/{place}"), paths);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    strings(field, format!("{path}/{name}"), paths);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => (),
        }
    }

    /// Elements and attributes of a page, and how often each is there.
    fn made_of(page: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for part in parts(page) {
            if let Part::Start(name, attributes) = part {
                *counts.entry(name.to_owned()).or_default() += 1;
                for (attribute, _) in attributes {
                    *counts.entry(format!("{name} {attribute}")).or_default() += 1;
                }
            }
        }
        counts
    }

    #[test]
    fn hostile_text_adds_nothing_to_the_page_but_text() {
        let (clean, called) = (everything(), called());
        for hostile in [
            "</script><script>alert(1)</script>",
            "\"'><img src=x onerror=alert(1)>",
            "\" onmouseover=\"alert(1)",
            "--></style></title><svg onload=alert(1)>",
            "&lt;script&gt;<!--<![CDATA[",
        ] {
            let report = poisoned(&clean, hostile);
            assert_ne!(report.target.name, clean.target.name);
            assert_ne!(report.checks[1].violations[0].evidence[0].text, "");
            let page = shown(&report);
            assert_eq!(made_of(&page), made_of(&shown(&clean)), "{hostile}");
            // Every field that was poisoned and is shown is shown as it is.
            assert!(told(&page).matches("alert(1)").count() > 100 || !hostile.contains("alert"));
            let page = shown(&poisoned(&called, hostile));
            assert_eq!(made_of(&page), made_of(&shown(&called)), "{hostile}");
            let said = &called.gateway_load.as_ref().unwrap().whole.failed[0].said;
            assert!(told(&page).contains(&format!("{said}{hostile}")), "{hostile}");
        }
    }

    #[test]
    fn the_page_loads_nothing() {
        let pages = [shown(&everything()), shown(&called())];
        for part in pages.iter().flat_map(|page| parts(page)) {
            let Part::Start(name, attributes) = part else { continue };
            assert!(!["img", "iframe", "object", "embed", "base"].contains(&name), "{name}");
            for (attribute, value) in attributes {
                match attribute {
                    // What a reader may follow is not loaded.
                    "href" if name == "a" => {
                        assert!(value.starts_with('#') || value.starts_with("https://"), "{value}");
                    }
                    "href" => assert_eq!(value, "data:,"),
                    "src" | "srcset" | "action" | "style" | "ping" => panic!("{name} {attribute}"),
                    handler => assert!(!handler.starts_with("on"), "{handler}"),
                }
            }
        }
        for loads in ["url(", "@import", "image-set", "http"] {
            assert!(!STYLE.contains(loads), "{loads}");
        }
        for loads in ["fetch", "XMLHttpRequest", "import", "WebSocket", "http", "innerHTML"] {
            assert!(!SCRIPT.contains(loads), "{loads}");
        }
    }

    #[test]
    fn the_policy_names_what_stands_in_the_page() {
        let page = shown(&samples::mixed());
        for name in ["style", "script"] {
            let (_, after) = page.split_once(&format!("<{name}>")).unwrap();
            let (source, _) = after.split_once(&format!("</{name}>")).unwrap();
            let named = format!("{name}-src {}", hash(source)).replace('\'', "&#39;");
            assert!(page.contains(&named), "{name}");
        }
        // What an empty source is known to hash to.
        assert_eq!(hash(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }

    #[test]
    fn whoever_cannot_see_the_page_finds_their_way() {
        let reports =
            [samples::passing(), samples::failing(), samples::pictured(), everything(), called()];
        for report in reports {
            let page = shown(&report);
            let (mut ids, mut named) = (BTreeSet::new(), Vec::new());
            let mut level = 0;
            for part in parts(&page) {
                let Part::Start(name, attributes) = part else { continue };
                let value = |wanted: &str| {
                    attributes.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
                };
                if let Some(next) = name.strip_prefix('h').and_then(|it| it.parse::<u8>().ok()) {
                    assert!(next <= level + 1, "h{next} follows h{level}");
                    level = next;
                }
                match name {
                    "html" => assert_eq!(value("lang"), Some("en")),
                    "th" => assert!(matches!(value("scope"), Some("col" | "row"))),
                    "svg" => assert!(value("aria-label").is_some()),
                    _ => (),
                }
                if let Some(id) = value("id") {
                    assert!(ids.insert(id), "{id} is there twice");
                }
                named.extend(value("href").and_then(|href| href.strip_prefix('#')));
                named.extend(
                    ["for", "aria-labelledby", "data-copies"].into_iter().filter_map(value),
                );
            }
            for name in named {
                assert!(ids.contains(name), "{name} is nowhere");
            }
            for landmark in ["header", "nav", "main", "footer"] {
                assert_eq!(made_of(&page).get(landmark), Some(&1), "{landmark}");
            }
            assert_eq!(made_of(&page).get("h1"), Some(&1));
        }
    }

    #[test]
    fn every_colour_of_text_stands_out_from_what_is_behind_it() {
        let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").unwrap();
        for scheme in [light, dark] {
            let colours = colours(scheme.split_once('}').unwrap().0);
            assert_eq!(colours.len(), 18);
            for (name, colour) in &colours {
                if ["page", "panel", "rule", "bar", "shade"].contains(name) {
                    continue;
                }
                for behind in ["page", "panel"] {
                    let (one, other) = (luminance(*colour), luminance(colours[behind]));
                    let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                    assert!(contrast >= 4.5, "{name} on {behind}: {contrast:.2}");
                }
            }
        }
    }

    fn colours(block: &str) -> BTreeMap<&str, u32> {
        block
            .lines()
            .filter_map(|line| line.trim().strip_prefix("--")?.strip_suffix(';')?.split_once(": #"))
            .map(|(name, hex)| (name, u32::from_str_radix(hex, 16).unwrap()))
            .collect()
    }

    /// Relative luminance, as WCAG 2 defines it.
    fn luminance(colour: u32) -> f64 {
        let [_, red, green, blue] = colour.to_be_bytes().map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}
