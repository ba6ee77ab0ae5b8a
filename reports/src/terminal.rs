//! The report for a person at a terminal: verdicts first, then what proves them.
//!
//! The order is that of the reader's questions: what held, what broke and how to see it again, what
//! the run could not tell, and what it was run against. Colour repeats what the words already say.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Ink};

use crate::{
    cache, gateway_load,
    layout::{counted, cut, grouped, moment, span, wrap},
    load,
    schema::{
        CapabilityState, CheckReport, Kill, RunReport, Story, Target, Verdict, Violation, Wire,
    },
    threshold,
    words::{caught, counts, driven, exit_verdict, fate, origin, seconds},
};

/// Violations shown per failure. The stored report has them all.
const MOST_VIOLATIONS: usize = 3;
/// Evidence lines shown per violation. The stored report has them all.
const MOST_EVIDENCE: usize = 24;
/// A column of titles narrower than this says too little.
const LEAST_TITLE: usize = 30;

/// How to write for one terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether the terminal shows colours.
    pub colour: bool,
    /// How many characters fit on a line; below 72 is taken as 72, above 120 as 120.
    pub width: u16,
}

impl Style {
    /// No colours, 80 characters: what suits a file or a pipe.
    pub const PLAIN: Style = Style { colour: false, width: 80 };

    fn columns(self) -> usize {
        usize::from(self.width.clamp(72, 120))
    }

    fn ink(self, ink: Ink) -> Ink {
        if self.colour { ink } else { Ink::new() }
    }

    pub(crate) fn bold(self) -> Ink {
        self.ink(Ink::new().bold())
    }

    pub(crate) fn faint(self) -> Ink {
        self.ink(Ink::new().dimmed())
    }

    pub(crate) fn verdict(self, verdict: Verdict) -> Ink {
        self.ink(match verdict {
            Verdict::Pass => AnsiColor::Green.on_default(),
            Verdict::Fail => AnsiColor::Red.on_default().bold(),
            Verdict::Inconclusive => AnsiColor::Yellow.on_default().bold(),
            Verdict::NotApplicable | Verdict::Skipped => Ink::new().dimmed(),
        })
    }
}

/// Writes `report` for a person.
///
/// # Errors
///
/// What the writer says.
pub fn render(report: &RunReport, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let bold = style.bold();
    writeln!(
        out,
        "{bold}gauntlet {}{bold:#}  run {}  seed {}  {}",
        report.tool_version,
        report.run_id,
        report.seed,
        moment(report.started)
    )?;
    if !report.checks.is_empty() {
        writeln!(out)?;
        verdicts(&report.checks, style, out)?;
    }
    failures(&report.checks, style, out)?;
    reasons(&report.checks, Verdict::Inconclusive, style, out)?;
    reasons(&report.checks, Verdict::NotApplicable, style, out)?;
    if let Some(load) = &report.load {
        heading(&format!("{}: {}", load.profile, load.title), style, out)?;
        load::render(load, style, out)?;
    }
    if let Some(load) = &report.gateway_load {
        heading(&format!("{} on {}", load.scenario, report.target.name), style, out)?;
        gateway_load::render(load, style, out)?;
    }
    if let Some(told) = report.cache.as_ref().filter(|told| !told.classes.is_empty()) {
        cache::render(told, style, out)?;
    }
    if !report.thresholds.is_empty() {
        threshold::render(&report.thresholds, style, out)?;
    }
    if !report.kill_matrix.is_empty() {
        heading("planted defects", style, out)?;
        kill_matrix(&report.kill_matrix, style, out)?;
    }
    heading("the run", style, out)?;
    surroundings(report, style, out)?;
    writeln!(out)?;
    summary(report, style, out)
}

/// Writes one line per planted defect, and a last one that counts them. The names set the width.
///
/// # Errors
///
/// What the writer says.
pub fn kill_matrix(kills: &[Kill], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let defect_width = column("defect", kills.iter().map(|kill| kill.defect.as_str()));
    let check_width = column("check", kills.iter().map(|kill| kill.check.as_str()));
    let faint = style.faint();
    writeln!(
        out,
        "  {faint}{:<defect_width$}  {:<check_width$}  {:>9}  {:>8}  {:>11}{faint:#}",
        "defect", "check", "caught", "shrunk", "time"
    )?;
    for kill in kills {
        let (verdict, word) = fate(kill);
        let ink = style.verdict(verdict);
        let caught = format!("{word} {}/{}", kill.caught_seeds, kill.seeds);
        let shrunk = kill
            .shrunk
            .map_or_else(|| "-".to_owned(), |steps| counted(u64::from(steps), "step", "steps"));
        writeln!(
            out,
            "  {:<defect_width$}  {:<check_width$}  {ink}{caught:>9}{ink:#}  {shrunk:>8}  {:>11}",
            kill.defect,
            kill.check,
            span(kill.duration_ms)
        )?;
    }
    let bold = style.bold();
    writeln!(out, "\n{bold}{}{bold:#}", caught(kills))
}

/// The table of verdicts. Titles are left out where the line is too short for them.
fn verdicts(checks: &[CheckReport], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let id_width = column("check", checks.iter().map(|check| check.id.as_str()));
    let taken = "  ".len() + id_width + "  not applicable   cases         time  ".len();
    let title_width =
        style.columns().checked_sub(taken).filter(|width| *width >= LEAST_TITLE).unwrap_or(0);
    let faint = style.faint();
    let title = if title_width > 0 { "  property" } else { "" };
    writeln!(
        out,
        "  {faint}{:<id_width$}  {:<14}  {:>6}  {:>11}{title}{faint:#}",
        "check", "verdict", "cases", "time"
    )?;
    for check in checks {
        let ink = style.verdict(check.verdict);
        let (cases, time) = match check.verdict {
            Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => {
                (grouped(u64::from(check.cases)), span(check.duration_ms))
            }
            Verdict::NotApplicable | Verdict::Skipped => ("-".to_owned(), "-".to_owned()),
        };
        let title = match title_width {
            0 => String::new(),
            width => format!("  {}", cut(&check.title, width)),
        };
        writeln!(
            out,
            "  {:<id_width$}  {ink}{:<14}{ink:#}  {cases:>6}  {time:>11}{title}",
            check.id,
            word(check.verdict)
        )?;
    }
    Ok(())
}

/// A failure must stand out where there is no colour.
pub(crate) fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Fail => "FAIL".to_owned(),
        Verdict::Pass | Verdict::Inconclusive | Verdict::NotApplicable | Verdict::Skipped => {
            verdict.to_string()
        }
    }
}

/// Every failure: the property, the smallest plan, what proves it, and how to see it again.
fn failures(checks: &[CheckReport], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let failed: Vec<_> = checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
    for (number, check) in (1..).zip(&failed) {
        heading(&format!("failure {number} of {}: {}", failed.len(), check.id), style, out)?;
        failure(check, style, out)?;
    }
    Ok(())
}

/// One failure, without its heading.
pub(crate) fn failure(check: &CheckReport, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let bold = style.bold();
    paragraph("  ", "  ", &format!("{}.", check.title), bold, style, out)?;
    if let Some(story) = &check.shrunk {
        writeln!(out)?;
        told(story, style, out)?;
    }
    for violation in check.violations.iter().take(MOST_VIOLATIONS) {
        writeln!(out)?;
        breach(violation, style, out)?;
    }
    more(check.violations.len(), MOST_VIOLATIONS, ("violation", "violations"), style, out)?;
    if let Some(command) = &check.replay {
        let case = check.failing_case.map_or_else(String::new, |case| format!(" (case {case})"));
        writeln!(out, "\n  See it again{case}: {bold}{command}{bold:#}")?;
    }
    Ok(())
}

/// The smallest failing plan, step by step.
fn told(story: &Story, style: Style, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "  The smallest plan that fails has {}:",
        counted(story.steps.len() as u64, "step", "steps")
    )?;
    for (number, step) in (1..).zip(&story.steps) {
        paragraph(&format!("  {number:>4}. "), "        ", step, Ink::new(), style, out)?;
    }
    paragraph("  ", "  ", &origin(story), style.faint(), style, out)
}

/// One violation, with its evidence. A lane is named where it begins.
fn breach(violation: &Violation, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let ink = style.verdict(Verdict::Fail);
    paragraph("  ! ", "    ", &violation.summary, ink, style, out)?;
    let shown = &violation.evidence[..violation.evidence.len().min(MOST_EVIDENCE)];
    let index_width = shown.iter().map(|line| line.index.to_string().len()).max().unwrap_or(0);
    let time_width = shown.iter().map(|line| seconds(line).len()).max().unwrap_or(0);
    let lane_width = column("", shown.iter().map(|line| line.lane.to_string()));
    let mut lane_before = None;
    for line in shown {
        let lane = match lane_before {
            Some(before) if before == line.lane => String::new(),
            _ => line.lane.to_string(),
        };
        lane_before = Some(line.lane);
        let lead = format!(
            "    #{:<index_width$}  {:>time_width$}  {lane:<lane_width$}  ",
            line.index,
            seconds(line)
        );
        paragraph(&lead, &" ".repeat(lead.len()), &line.text, Ink::new(), style, out)?;
    }
    more(violation.evidence.len(), MOST_EVIDENCE, ("entry", "entries"), style, out)
}

/// Says how many were left out, if any were.
fn more(
    all: usize,
    shown: usize,
    (one, many): (&str, &str),
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(left_out @ 1..) = all.checked_sub(shown) else { return Ok(()) };
    let faint = style.faint();
    let noun = if left_out == 1 { one } else { many };
    writeln!(out, "    {faint}and {left_out} more {noun}, in the stored report{faint:#}")
}

/// Why the checks of one verdict neither passed nor failed.
fn reasons(
    checks: &[CheckReport],
    verdict: Verdict,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let those = || checks.iter().filter(|check| check.verdict == verdict);
    if those().next().is_none() {
        return Ok(());
    }
    heading(&verdict.to_string(), style, out)?;
    let id_width = column("", those().map(|check| check.id.as_str()));
    for check in those() {
        let reason = check.reason.as_deref().unwrap_or("no reason was recorded");
        let lead = format!("  {:<id_width$}  ", check.id);
        paragraph(&lead, &" ".repeat(lead.len()), reason, Ink::new(), style, out)?;
    }
    Ok(())
}

/// What the run was made against, and what could be seen of it.
fn surroundings(report: &RunReport, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if let Some(load) = &report.gateway_load {
        let sight = "of which only what callers see is known";
        let replicas = counted(load.gateways.len() as u64, "replica", "replicas");
        return fact("target", &format!("{}: {replicas}, {sight}", report.target.name), style, out);
    }
    fact("target", &target(&report.target), style, out)?;
    for store in &report.target.stores {
        let text = format!("{}, {}: {}", store.version, store.way, store.why);
        fact(&store.kind.to_string(), &text, style, out)?;
    }
    let found = |state| report.capabilities.iter().filter(move |it| it.state == state);
    let confirmed = found(CapabilityState::Confirmed).count() as u64;
    let mut sight = vec![format!("{} confirmed", counted(confirmed, "capability", "capabilities"))];
    for (state, word) in
        [(CapabilityState::Missing, "missing"), (CapabilityState::Unconfirmed, "unconfirmed")]
    {
        let names: Vec<_> = found(state).map(|it| it.name.as_str()).collect();
        if !names.is_empty() {
            sight.push(format!("{word}: {}", names.join(", ")));
        }
    }
    fact("probes", &sight.join("; "), style, out)?;
    // Under load, events are counted and joined to nothing.
    let is_only_load = report.load.is_some() && report.checks.is_empty();
    if is_only_load { Ok(()) } else { fact("wire", &wire(&report.wire), style, out) }
}

fn target(target: &Target) -> String {
    let version = match &target.gateway_version {
        Some(version) => format!("version {version}"),
        None => "version unknown".to_owned(),
    };
    format!(
        "{}, {version}, {}; adapter {}, wire profile {}; TTL {}, staleness bound {}",
        target.name,
        counted(u64::from(target.replicas), "replica", "replicas"),
        target.adapter,
        target.wire_profile,
        span(target.bounds.ttl_ms),
        span(target.bounds.staleness_ms)
    )
}

fn wire(wire: &Wire) -> String {
    let background: u64 = wire.background.values().sum();
    let kinds: Vec<_> =
        wire.background.iter().map(|(kind, count)| format!("{kind} {}", grouped(*count))).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    format!(
        "{}: {} joined, {} background{kinds}, {} unjoined; {} lost, {} unseen",
        counted(wire.events, "event", "events"),
        grouped(wire.joined),
        grouped(background),
        grouped(wire.unjoined),
        grouped(wire.lost),
        counted(wire.unseen_bytes, "byte", "bytes")
    )
}

/// One fact about the run, behind its name.
fn fact(name: &str, text: &str, style: Style, out: &mut dyn Write) -> io::Result<()> {
    paragraph(&format!("  {name:<10}"), "            ", text, Ink::new(), style, out)
}

/// The last line: what the process tells its caller, and why.
fn summary(report: &RunReport, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let ink = style.verdict(exit_verdict(report));
    writeln!(
        out,
        "{ink}{}{ink:#} (exit {}): {}; {} in {}",
        report.exit.name,
        report.exit.status,
        counts(report),
        driven(report),
        span(report.duration_ms)
    )
}

/// A rule across the page, with what follows written into it.
pub(crate) fn heading(text: &str, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let bold = style.bold();
    let rest = style.columns().saturating_sub("── ".chars().count() + text.chars().count() + 1);
    writeln!(out, "\n── {bold}{text}{bold:#} {}\n", "─".repeat(rest))
}

/// `text`, wrapped behind `lead`; further lines stand behind `indent`.
pub(crate) fn paragraph(
    lead: &str,
    indent: &str,
    text: &str,
    ink: Ink,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut before = lead;
    for line in wrap(text, style.columns().saturating_sub(indent.chars().count())) {
        writeln!(out, "{before}{ink}{line}{ink:#}")?;
        before = indent;
    }
    Ok(())
}

/// The width of a column with this head and these cells.
pub(crate) fn column<T: AsRef<str>>(head: &str, cells: impl Iterator<Item = T>) -> usize {
    cells.map(|cell| cell.as_ref().chars().count()).max().unwrap_or(0).max(head.chars().count())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{samples, schema::Exit};

    #[test]
    fn the_last_line_counts_checks_and_shapes_where_there_are_both() {
        let both = RunReport { load: Some(samples::load()), ..samples::passing() };
        let shown = shown(&both, Style::PLAIN);
        let last = shown.lines().last().unwrap();
        assert!(shown.contains("\n  wire "), "{shown}");
        assert_snapshot!(last, @"pass (exit 0): 3 passed, 1 not applicable; 64 cases, 3 shapes in 23.4 s");
    }

    #[test]
    fn a_pass_is_short() {
        assert_snapshot!(shown(&samples::passing(), Style::PLAIN), @r"
        gauntlet 0.1.0  run reference-42  seed 42  2026-09-21 14:13:20 UTC

          check                  verdict          cases         time
          codec.null-round-trip  pass                64        1.2 s

        ── the run ─────────────────────────────────────────────────────────────────────

          target    reference, version 0.1.0, 2 replicas; adapter reference, wire
                    profile litellm-1.100; TTL 2 s, staleness bound 2.5 s
          redis     7.0.15, local: no GAUNTLET_REDIS_URL
          postgres  15.14, given: --postgres-url
          probes    2 capabilities confirmed; missing: response_cache; unconfirmed:
                    metrics
          wire      12,480 events: 12,102 joined, 376 background (health 310, pool 66),
                    2 unjoined; 0 lost, 0 bytes unseen

        pass (exit 0): 1 passed; 64 cases in 23.4 s
        ");
    }

    #[test]
    fn a_failure_is_a_story_with_its_evidence() {
        assert_snapshot!(shown(&samples::failing(), Style::PLAIN), @r"
        gauntlet 0.1.0  run reference-42  seed 42  2026-09-21 14:13:20 UTC

          check                     verdict          cases         time
          propagation.revoke-bound  FAIL                12        8.4 s

        ── failure 1 of 1: propagation.revoke-bound ────────────────────────────────────

          A revoked key is refused everywhere within the bound.

          The smallest plan that fails has 4 steps:
             1. issue key 0 to team 0
             2. ask replica 1 with key 0
             3. revoke key 0 through replica 0
             4. wait 1.5 staleness bounds, then ask replica 1 with key 0
          Shrunk from 38 steps in 17 tries (6.1 s); it failed on every re-run.

          ! key 0 was answered by replica 1 3.76 s after its revocation was confirmed,
            and the bound is 2.5 s
            #41  1.204118 s  caller     POST /key/delete key 0 -> 200
            #42  1.204420 s  redis      DEL rg:key:5f1c
            #57  4.961002 s  caller     POST /v1/chat/completions -> 200
            #58  4.961377 s  replica 1  no store read for key 0
            #59  4.963240 s  upstream   attempt 12, model mock-ok, fingerprint
                                        fp-09af31c2d4e5f607, credential 4be1c90d22aa1077

          See it again (case 3): gauntlet replay runs/reference-42

        ── the run ─────────────────────────────────────────────────────────────────────

          target    reference, version 0.1.0, 2 replicas; adapter reference, wire
                    profile litellm-1.100; TTL 2 s, staleness bound 2.5 s
          redis     7.0.15, local: no GAUNTLET_REDIS_URL
          postgres  15.14, given: --postgres-url
          probes    2 capabilities confirmed; missing: response_cache; unconfirmed:
                    metrics
          wire      12,480 events: 12,102 joined, 376 background (health 310, pool 66),
                    2 unjoined; 0 lost, 0 bytes unseen

        fail (exit 1): 1 failed; 12 cases in 23.4 s
        ");
    }

    #[test]
    fn an_inconclusive_check_says_why() {
        assert_snapshot!(shown(&samples::inconclusive(), Style::PLAIN), @r"
        gauntlet 0.1.0  run reference-42  seed 42  2026-09-21 14:13:20 UTC

          check                     verdict          cases         time
          auth-cache.single-flight  inconclusive        16       820 ms

        ── inconclusive ────────────────────────────────────────────────────────────────

          auth-cache.single-flight  no request missed the cache in any of 16 cases

        ── the run ─────────────────────────────────────────────────────────────────────

          target    reference, version 0.1.0, 2 replicas; adapter reference, wire
                    profile litellm-1.100; TTL 2 s, staleness bound 2.5 s
          redis     7.0.15, local: no GAUNTLET_REDIS_URL
          postgres  15.14, given: --postgres-url
          probes    2 capabilities confirmed; missing: response_cache; unconfirmed:
                    metrics
          wire      12,480 events: 12,102 joined, 376 background (health 310, pool 66),
                    2 unjoined; 0 lost, 0 bytes unseen

        inconclusive (exit 3): 1 inconclusive; 16 cases in 23.4 s
        ");
    }

    #[test]
    fn a_wide_terminal_shows_the_properties() {
        let wide = Style { colour: false, width: 120 };
        assert_snapshot!(shown(&samples::mixed(), wide), @r"
        gauntlet 0.1.0  run reference-42  seed 42  2026-09-21 14:13:20 UTC

          check                     verdict          cases         time  property
          codec.null-round-trip     pass                64        1.2 s  What was cached reads back the same
          propagation.revoke-bound  FAIL                12        8.4 s  A revoked key is refused everywhere within the bound
          auth-cache.single-flight  inconclusive        16       820 ms  Concurrent misses of one key cost one read
          leak.response-cache       not applicable       -            -  A cached answer never crosses a team boundary
          budget.charge-once        skipped              -            -  A request is charged once

        ── failure 1 of 1: propagation.revoke-bound ────────────────────────────────────────────────────────────────────────────

          A revoked key is refused everywhere within the bound.

          The smallest plan that fails has 4 steps:
             1. issue key 0 to team 0
             2. ask replica 1 with key 0
             3. revoke key 0 through replica 0
             4. wait 1.5 staleness bounds, then ask replica 1 with key 0
          Shrunk from 38 steps in 17 tries (6.1 s); it failed on every re-run.

          ! key 0 was answered by replica 1 3.76 s after its revocation was confirmed, and the bound is 2.5 s
            #41  1.204118 s  caller     POST /key/delete key 0 -> 200
            #42  1.204420 s  redis      DEL rg:key:5f1c
            #57  4.961002 s  caller     POST /v1/chat/completions -> 200
            #58  4.961377 s  replica 1  no store read for key 0
            #59  4.963240 s  upstream   attempt 12, model mock-ok, fingerprint fp-09af31c2d4e5f607, credential 4be1c90d22aa1077

          See it again (case 3): gauntlet replay runs/reference-42

        ── inconclusive ────────────────────────────────────────────────────────────────────────────────────────────────────────

          auth-cache.single-flight  no request missed the cache in any of 16 cases

        ── not applicable ──────────────────────────────────────────────────────────────────────────────────────────────────────

          leak.response-cache  needs response_cache

        ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

          target    reference, version 0.1.0, 2 replicas; adapter reference, wire profile litellm-1.100; TTL 2 s, staleness
                    bound 2.5 s
          redis     7.0.15, local: no GAUNTLET_REDIS_URL
          postgres  15.14, given: --postgres-url
          probes    2 capabilities confirmed; missing: response_cache; unconfirmed: metrics
          wire      12,480 events: 12,102 joined, 376 background (health 310, pool 66), 2 unjoined; 0 lost, 0 bytes unseen

        fail (exit 1): 1 passed, 1 failed, 1 inconclusive, 1 not applicable, 1 skipped; 92 cases in 23.4 s
        ");
    }

    #[test]
    fn a_defect_that_slips_through_stands_out() {
        let mut out = Vec::new();
        kill_matrix(&samples::kills(), Style::PLAIN, &mut out).unwrap();
        assert_snapshot!(String::from_utf8(out).unwrap(), @r"
          defect                      check                        caught    shrunk         time
          null-becomes-empty          codec.null-round-trip     yes 10/10   3 steps       41.2 s
          revoke-forgets-memory-tier  propagation.revoke-bound  some 9/10   4 steps    2 min 8 s
          spend-lost                  budget.charge-once          NO 0/10         -          9 s

        1 of 3 planted defects caught with every seed
        ");
    }

    #[test]
    fn colour_says_nothing_that_the_words_do_not() {
        let coloured = shown(&samples::mixed(), Style { colour: true, width: 80 });
        assert!(coloured.contains("\u{1b}[31m"));
        let mut bare = String::new();
        let mut escape = false;
        for character in coloured.chars() {
            match (escape, character) {
                (false, '\u{1b}') => escape = true,
                (false, _) => bare.push(character),
                (true, 'm') => escape = false,
                (true, _) => (),
            }
        }
        assert_eq!(bare, shown(&samples::mixed(), Style::PLAIN));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [72, 80, 120] {
            let mut report = samples::mixed();
            report.checks[1].violations[0].evidence[0].text = "x".repeat(400);
            let text = shown(&report, Style { colour: false, width });
            // The summary stays on one line, for whoever searches a log for it.
            let (page, _summary) = text.trim_end().rsplit_once('\n').unwrap();
            for line in page.lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_flood_of_violations_is_counted() {
        let mut report = samples::failing();
        let violation = report.checks[0].violations[0].clone();
        report.checks[0].violations = vec![violation; MOST_VIOLATIONS + 2];
        assert!(shown(&report, Style::PLAIN).contains("and 2 more violations"));
    }

    #[test]
    fn a_broken_threshold_is_counted_in_the_last_line() {
        let mut report = samples::passing();
        report.thresholds = samples::thresholds();
        report.exit = Exit { status: 1, name: "fail".to_owned() };
        let shown = shown(&report, Style::PLAIN);
        assert_snapshot!(shown.lines().next_back().unwrap(), @"fail (exit 1): 1 passed, 1 threshold broken, 2 thresholds undecided; 64 cases in 23.4 s");
    }

    fn shown(report: &RunReport, style: Style) -> String {
        let mut out = Vec::new();
        render(report, style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
}
