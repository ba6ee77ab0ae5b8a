//! The report as JUnit XML, for the page of test results that a CI server keeps.
//!
//! A family of checks is a test suite, a check is a test case. What proves nothing is an error, since
//! it blocks a release as a failure does; what was left out is skipped, and says why. Thresholds and
//! shapes of a load are suites of their own: no page may be green where the exit status is not. Where
//! no case says why it is not, as in a run that was stopped, the run itself is one.
//!
//! What a gateway said may hold characters that no XML document may, escaped or not: they are
//! written as the escapes of a string.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

use crate::{
    gateway_load::{self, GatewayLoad},
    layout::timestamp,
    load::LoadShape,
    schema::{CheckReport, Exit, RunReport, Verdict},
    terminal::{self, Style},
    threshold::{self, Threshold},
};

/// How a failure is told: a page of test results is wider than a terminal.
const STYLE: Style = Style { colour: false, width: 120 };

/// Writes `report` as JUnit XML.
///
/// # Errors
///
/// What the writer says.
pub fn render(report: &RunReport, out: &mut dyn Write) -> io::Result<()> {
    let suites = suites(report)?;
    let mut xml = Writer::new_with_indent(out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all = || suites.iter().flat_map(|suite| &suite.cases);
    xml.create_element("testsuites")
        .with_attribute(("name", "gauntlet"))
        .with_attribute(("time", seconds(report.duration_ms).as_str()))
        .with_attribute(("tests", all().count().to_string().as_str()))
        .with_attribute(("failures", count(all(), Fate::is_failure).as_str()))
        .with_attribute(("errors", count(all(), Fate::is_error).as_str()))
        .write_inner_content(|xml| {
            suites.iter().try_for_each(|suite| write_suite(report, suite, xml))
        })?;
    writeln!(xml.get_mut())
}

/// Test cases that a page shows together.
struct Suite {
    name: String,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    duration_ms: u64,
    fate: Fate,
}

/// What became of a test case, with one line that says why, and the whole of it.
enum Fate {
    Passed,
    Failed { message: String, story: String },
    Undecided { message: String },
    Skipped { kind: &'static str, message: String },
}

impl Fate {
    fn is_failure(&self) -> bool {
        matches!(self, Fate::Failed { .. })
    }

    fn is_error(&self) -> bool {
        matches!(self, Fate::Undecided { .. })
    }

    fn is_skipped(&self) -> bool {
        matches!(self, Fate::Skipped { .. })
    }
}

/// Families stand in the order of their names, and checks in that of the profile.
fn suites(report: &RunReport) -> io::Result<Vec<Suite>> {
    let mut families: BTreeMap<&str, Vec<Case>> = BTreeMap::new();
    for check in &report.checks {
        let family = check.id.split_once('.').map_or(check.id.as_str(), |(family, _)| family);
        families.entry(family).or_default().push(of_check(check)?);
    }
    let mut suites: Vec<_> =
        families.into_iter().map(|(name, cases)| Suite { name: name.to_owned(), cases }).collect();
    if let Some(load) = &report.load {
        let shapes = load.shapes.iter().map(of_shape);
        let slopes = load.slopes.iter().map(|slope| {
            let cached = shared(slope.shared_cache);
            let growth = slope.slope.map_or_else(|| "unknown".to_owned(), |it| format!("{it:.2}"));
            let most = slope.at_most.map_or_else(String::new, |it| format!(", at most {it:.2}"));
            Case {
                name: format!("growth of reads, {cached}"),
                duration_ms: 0,
                fate: fate(slope.verdict, format!("{growth} for each more process{most}"), || {
                    format!("reads by processes: {:?}", slope.points)
                }),
            }
        });
        suites.push(Suite { name: "load".to_owned(), cases: shapes.chain(slopes).collect() });
    }
    if let Some(load) = &report.gateway_load {
        suites.push(Suite { name: "load".to_owned(), cases: vec![of_gateway_load(load)] });
    }
    if !report.thresholds.is_empty() {
        let cases = report.thresholds.iter().map(of_threshold).collect();
        suites.push(Suite { name: "thresholds".to_owned(), cases });
    }
    let is_red = |case: &Case| case.fate.is_failure() || case.fate.is_error();
    if report.exit.status != 0 && !suites.iter().flat_map(|suite| &suite.cases).any(is_red) {
        suites.push(Suite { name: "run".to_owned(), cases: vec![of_exit(report)] });
    }
    Ok(suites)
}

/// The run as a case, which did not end as one in which all is well.
fn of_exit(report: &RunReport) -> Case {
    let Exit { status, name } = &report.exit;
    let left_out = report.checks.iter().find_map(|check| check.reason.as_deref());
    let why = left_out.map_or_else(String::new, |reason| format!(": {reason}"));
    Case {
        name: "exit status".to_owned(),
        duration_ms: report.duration_ms,
        fate: Fate::Undecided { message: format!("exit status {status}, {name}{why}") },
    }
}

fn of_gateway_load(load: &GatewayLoad) -> Case {
    let reason = load.reason.clone().unwrap_or_default();
    Case {
        name: load.scenario.clone(),
        duration_ms: load.whole.took_ms,
        fate: fate(load.verdict, reason, || gateway_load::seen(load)),
    }
}

fn of_check(check: &CheckReport) -> io::Result<Case> {
    let mut story = Vec::new();
    if check.verdict == Verdict::Fail {
        terminal::failure(check, STYLE, &mut story)?;
    }
    let message = match (check.verdict, check.violations.first()) {
        (Verdict::Fail, Some(first)) => first.summary.clone(),
        _ => check.reason.clone().unwrap_or_else(|| "no reason was recorded".to_owned()),
    };
    Ok(Case {
        name: check.id.clone(),
        duration_ms: check.duration_ms,
        fate: fate(check.verdict, message, || String::from_utf8_lossy(&story).into_owned()),
    })
}

fn of_shape(shape: &LoadShape) -> Case {
    let message = shape.reason.clone().unwrap_or_else(|| "reads leave their bounds".to_owned());
    Case {
        name: format!(
            "{} x {} processes, {}",
            shape.replicas,
            shape.workers,
            shared(shape.shared_cache)
        ),
        duration_ms: shape.windows.iter().map(|window| window.took_ms).max().unwrap_or(0),
        fate: fate(shape.verdict, message, || {
            let told = shape.windows.iter().map(|window| {
                format!(
                    "within {} s: {} identity reads, and {} to {} are right\n",
                    seconds(window.took_ms),
                    window.identity_query.calls,
                    window.bound.at_least,
                    window.bound.at_most
                )
            });
            told.collect()
        }),
    }
}

fn of_threshold(threshold: &Threshold) -> Case {
    let told = threshold::told(threshold);
    Case {
        name: threshold.threshold.clone(),
        duration_ms: 0,
        fate: fate(threshold.verdict, told.clone(), || told),
    }
}

fn fate(verdict: Verdict, message: String, story: impl FnOnce() -> String) -> Fate {
    match verdict {
        Verdict::Pass => Fate::Passed,
        Verdict::Fail => Fate::Failed { message, story: story() },
        Verdict::Inconclusive => Fate::Undecided { message },
        Verdict::NotApplicable => Fate::Skipped { kind: "not applicable", message },
        Verdict::Skipped => Fate::Skipped { kind: "skipped", message },
    }
}

fn shared(shared_cache: bool) -> &'static str {
    if shared_cache { "with a shared cache" } else { "without a shared cache" }
}

type Xml<'a> = Writer<&'a mut dyn Write>;

fn write_suite(report: &RunReport, suite: &Suite, xml: &mut Xml<'_>) -> io::Result<()> {
    let took = suite.cases.iter().map(|case| case.duration_ms).sum();
    xml.create_element("testsuite")
        .with_attribute(("name", legal(&suite.name).as_str()))
        .with_attribute(("tests", suite.cases.len().to_string().as_str()))
        .with_attribute(("failures", count(&suite.cases, Fate::is_failure).as_str()))
        .with_attribute(("errors", count(&suite.cases, Fate::is_error).as_str()))
        .with_attribute(("skipped", count(&suite.cases, Fate::is_skipped).as_str()))
        .with_attribute(("time", seconds(took).as_str()))
        .with_attribute(("timestamp", timestamp(report.started).as_str()))
        .write_inner_content(|xml| {
            xml.create_element("properties").write_inner_content(|xml| {
                for (name, value) in properties(report) {
                    xml.create_element("property")
                        .with_attribute(("name", name))
                        .with_attribute(("value", legal(&value).as_str()))
                        .write_empty()?;
                }
                Ok(())
            })?;
            suite.cases.iter().try_for_each(|case| write_case(&suite.name, case, xml))
        })?;
    Ok(())
}

/// What a run can be told apart by, and repeated with.
fn properties(report: &RunReport) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("run", report.run_id.clone()),
        ("seed", report.seed.to_string()),
        ("target", report.target.name.clone()),
        ("tool version", report.tool_version.clone()),
    ];
    let of_load = || report.load.as_ref().map(|load| load.profile.clone());
    if let Some(profile) = report.profile.clone().or_else(of_load) {
        properties.push(("profile", profile));
    }
    properties
}

fn write_case(suite: &str, case: &Case, xml: &mut Xml<'_>) -> io::Result<()> {
    let element = xml
        .create_element("testcase")
        .with_attribute(("classname", legal(suite).as_str()))
        .with_attribute(("name", legal(&case.name).as_str()))
        .with_attribute(("time", seconds(case.duration_ms).as_str()));
    match &case.fate {
        Fate::Passed => element.write_empty()?,
        Fate::Failed { message, story } => element.write_inner_content(|xml| {
            xml.create_element("failure")
                .with_attribute(("type", "fail"))
                .with_attribute(("message", legal(message).as_str()))
                .write_text_content(BytesText::new(&legal(story)))?;
            Ok(())
        })?,
        Fate::Undecided { message } => reason("error", "inconclusive", message, element)?,
        Fate::Skipped { kind, message } => reason("skipped", kind, message, element)?,
    };
    Ok(())
}

/// The one element of a test case that was not decided. Some servers show only its text.
fn reason<'a, 'w>(
    element: &str,
    kind: &str,
    message: &str,
    case: quick_xml::writer::ElementWriter<'a, &'w mut dyn Write>,
) -> io::Result<&'a mut Xml<'w>> {
    case.write_inner_content(|xml| {
        xml.create_element(element)
            .with_attribute(("type", kind))
            .with_attribute(("message", legal(message).as_str()))
            .write_text_content(BytesText::new(&legal(message)))?;
        Ok(())
    })
}

fn count<'a>(cases: impl IntoIterator<Item = &'a Case>, is: fn(&Fate) -> bool) -> String {
    cases.into_iter().filter(|case| is(&case.fate)).count().to_string()
}

/// Seconds, as every reader of JUnit XML takes them: `8.412`.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// `text` with its escape in place of every character that XML 1.0 forbids, and of every control
/// character that it only discourages.
fn legal(text: &str) -> String {
    let mut legal = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => legal.push(character),
            '\u{fffe}' | '\u{ffff}' => legal.extend(character.escape_unicode()),
            _ if character.is_control() => legal.extend(character.escape_default()),
            _ => legal.push(character),
        }
    }
    legal
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use quick_xml::{XmlVersion, reader::Reader};

    use super::*;
    use crate::samples;

    #[test]
    fn a_page_of_every_verdict() {
        let report = RunReport { profile: Some("release".to_owned()), ..samples::mixed() };
        assert_snapshot!(shown(&report), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="gauntlet" time="23.400" tests="5" failures="1" errors="1">
          <testsuite name="auth-cache" tests="1" failures="0" errors="1" skipped="0" time="0.820" timestamp="2026-09-21T14:13:20">
            <properties>
              <property name="run" value="reference-42"/>
              <property name="seed" value="42"/>
              <property name="target" value="reference"/>
              <property name="tool version" value="0.1.0"/>
              <property name="profile" value="release"/>
            </properties>
            <testcase classname="auth-cache" name="auth-cache.single-flight" time="0.820">
              <error type="inconclusive" message="no request missed the cache in any of 16 cases">no request missed the cache in any of 16 cases</error>
            </testcase>
          </testsuite>
          <testsuite name="budget" tests="1" failures="0" errors="0" skipped="1" time="0.000" timestamp="2026-09-21T14:13:20">
            <properties>
              <property name="run" value="reference-42"/>
              <property name="seed" value="42"/>
              <property name="target" value="reference"/>
              <property name="tool version" value="0.1.0"/>
              <property name="profile" value="release"/>
            </properties>
            <testcase classname="budget" name="budget.charge-once" time="0.000">
              <skipped type="skipped" message="--skip budget">--skip budget</skipped>
            </testcase>
          </testsuite>
          <testsuite name="codec" tests="1" failures="0" errors="0" skipped="0" time="1.204" timestamp="2026-09-21T14:13:20">
            <properties>
              <property name="run" value="reference-42"/>
              <property name="seed" value="42"/>
              <property name="target" value="reference"/>
              <property name="tool version" value="0.1.0"/>
              <property name="profile" value="release"/>
            </properties>
            <testcase classname="codec" name="codec.null-round-trip" time="1.204"/>
          </testsuite>
          <testsuite name="leak" tests="1" failures="0" errors="0" skipped="1" time="0.000" timestamp="2026-09-21T14:13:20">
            <properties>
              <property name="run" value="reference-42"/>
              <property name="seed" value="42"/>
              <property name="target" value="reference"/>
              <property name="tool version" value="0.1.0"/>
              <property name="profile" value="release"/>
            </properties>
            <testcase classname="leak" name="leak.response-cache" time="0.000">
              <skipped type="not applicable" message="needs response_cache">needs response_cache</skipped>
            </testcase>
          </testsuite>
          <testsuite name="propagation" tests="1" failures="1" errors="0" skipped="0" time="8.412" timestamp="2026-09-21T14:13:20">
            <properties>
              <property name="run" value="reference-42"/>
              <property name="seed" value="42"/>
              <property name="target" value="reference"/>
              <property name="tool version" value="0.1.0"/>
              <property name="profile" value="release"/>
            </properties>
            <testcase classname="propagation" name="propagation.revoke-bound" time="8.412">
              <failure type="fail" message="key 0 was answered by replica 1 3.76 s after its revocation was confirmed, and the bound is 2.5 s">  A revoked key is refused everywhere within the bound.

          The smallest plan that fails has 4 steps:
             1. issue key 0 to team 0
             2. ask replica 1 with key 0
             3. revoke key 0 through replica 0
             4. wait 1.5 staleness bounds, then ask replica 1 with key 0
          Shrunk from 38 steps in 17 tries (6.1 s); it failed on every re-run.

          ! key 0 was answered by replica 1 3.76 s after its revocation was confirmed, and the bound is 2.5 s
            #41  1.204118 s  caller     POST /key/delete key 0 -&gt; 200
            #42  1.204420 s  redis      DEL rg:key:5f1c
            #57  4.961002 s  caller     POST /v1/chat/completions -&gt; 200
            #58  4.961377 s  replica 1  no store read for key 0
            #59  4.963240 s  upstream   attempt 12, model mock-ok, fingerprint fp-09af31c2d4e5f607, credential 4be1c90d22aa1077

          See it again (case 3): gauntlet replay runs/reference-42
        </failure>
            </testcase>
          </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn a_broken_threshold_is_not_green() {
        let report = RunReport { thresholds: samples::thresholds(), ..samples::passing() };
        let page = shown(&report);
        let (_, suite) = page.split_once("<testsuite name=\"thresholds\"").unwrap();
        assert_snapshot!(suite, @r#"
         tests="4" failures="1" errors="2" skipped="0" time="0.000" timestamp="2026-09-21T14:13:20">
            <properties>
              <property name="run" value="reference-42"/>
              <property name="seed" value="42"/>
              <property name="target" value="reference"/>
              <property name="tool version" value="0.1.0"/>
            </properties>
            <testcase classname="thresholds" name="hit_ratio &gt;= 0.99" time="0.000">
              <failure type="fail" message="0.5000 of {class=team,replica=1} in 30 requests">0.5000 of {class=team,replica=1} in 30 requests</failure>
            </testcase>
            <testcase classname="thresholds" name="sql_per_warm_request &lt;= 1" time="0.000"/>
            <testcase classname="thresholds" name="hit_ratio{class=organisation} &gt; 0" time="0.000">
              <error type="inconclusive" message="no evidence of {class=organisation}">no evidence of {class=organisation}</error>
            </testcase>
            <testcase classname="thresholds" name="reads_slope &lt; 0.1" time="0.000">
              <error type="inconclusive" message="no evidence">no evidence</error>
            </testcase>
          </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn no_page_is_green_where_the_exit_status_is_not() {
        let exit = |status, name: &str| Exit { status, name: name.to_owned() };
        let only = |verdict| {
            let mut report = samples::mixed();
            report.checks.retain(|check| check.verdict == verdict);
            report
        };
        let nothing = RunReport { exit: exit(4, "nothing ran"), ..only(Verdict::NotApplicable) };
        let stopped = RunReport { exit: exit(3, "inconclusive"), ..only(Verdict::Skipped) };
        let empty = RunReport { checks: Vec::new(), ..stopped.clone() };
        for (report, told) in [
            (&nothing, "exit status 4, nothing ran: needs response_cache"),
            (&stopped, "exit status 3, inconclusive: --skip budget"),
            (&empty, "exit status 3, inconclusive"),
        ] {
            let told = told.to_owned();
            let all = attributes(&shown(report));
            assert!(all.contains(&("testsuites".to_owned(), "errors".to_owned(), "1".to_owned())));
            assert!(all.contains(&("error".to_owned(), "message".to_owned(), told)), "{all:?}");
        }
        // What is red already says why, and what is green is.
        for report in [samples::mixed(), samples::failing(), samples::passing()] {
            assert!(!shown(&report).contains("exit status"));
        }
    }

    #[test]
    fn what_a_gateway_said_cannot_break_the_page() {
        let mut report = samples::failing();
        let said =
            "\u{0}\u{8}\u{1b}[2J\u{7f}\u{85}\u{fffe}\u{ffff} <b a='1'>\"&amp;\" ]]> \r\n\t ü 🦀";
        report.checks[0].violations[0].summary = said.to_owned();
        report.checks[0].violations[0].evidence[0].text = said.to_owned();
        report.checks[0].id = "odd<.&\"'\u{b}".to_owned();
        report.target.name = said.to_owned();
        let page = shown(&report);
        for character in page.chars() {
            let is_legal = matches!(character, '\n' | '\t' | ' '..='\u{7e}' | '\u{a0}'..='\u{fffd}')
                || character >= '\u{10000}';
            assert!(is_legal, "{character:?} in {page}");
        }
        let told = attributes(&page);
        let shown = r#"\u{0}\u{8}\u{1b}[2J\u{7f}\u{85}\u{fffe}\u{ffff} <b a='1'>"&amp;" ]]> \r"#;
        let shown = format!("{shown}\n\t ü 🦀");
        assert!(told.contains(&("failure".to_owned(), "message".to_owned(), shown.clone())));
        assert!(told.contains(&("property".to_owned(), "value".to_owned(), shown)));
        let name = r#"odd<.&"'\u{b}"#.to_owned();
        assert!(told.contains(&("testcase".to_owned(), "name".to_owned(), name)));
    }

    /// The elements that Jenkins and GitLab read, where each may stand, and its attributes: those
    /// that must be there, and those that may.
    const SCHEMA: &[(&str, &str, &[&str], &[&str])] = &[
        ("testsuites", "", &[], &["name", "time", "tests", "failures", "errors"]),
        (
            "testsuite",
            "testsuites",
            &["name", "tests", "failures", "errors"],
            &["skipped", "time", "timestamp"],
        ),
        ("properties", "testsuite", &[], &[]),
        ("property", "properties", &["name", "value"], &[]),
        ("testcase", "testsuite", &["name"], &["classname", "time"]),
        ("failure", "testcase", &[], &["type", "message"]),
        ("error", "testcase", &[], &["type", "message"]),
        ("skipped", "testcase", &[], &["type", "message"]),
    ];

    #[test]
    fn nothing_is_written_that_ci_servers_do_not_know() {
        let report = RunReport { thresholds: samples::thresholds(), ..samples::mixed() };
        let page = shown(&report);
        let mut reader = Reader::from_str(&page);
        let mut within = vec![String::new()];
        loop {
            let (element, is_empty) = match reader.read_event().unwrap() {
                Event::Start(element) => (element, false),
                Event::Empty(element) => (element, true),
                Event::End(_) => {
                    within.pop();
                    continue;
                }
                Event::Eof => break,
                _ => continue,
            };
            let name = element.name().as_ref().to_owned();
            let (_, parent, must, may) = SCHEMA
                .iter()
                .find(|(known, ..)| *known == name)
                .unwrap_or_else(|| panic!("{name}"));
            assert_eq!(within.last().unwrap(), parent, "{name}");
            let named: Vec<_> = element
                .attributes()
                .map(|attribute| attribute.unwrap().key.as_ref().to_owned())
                .collect();
            assert!(must.iter().all(|must| named.iter().any(|name| name == must)), "{name}");
            let known = |name: &String| must.iter().chain(*may).any(|known| known == name);
            assert!(named.iter().all(known), "{name}: {named:?}");
            if !is_empty {
                within.push(name);
            }
        }
        assert_eq!(within, [""]);
    }

    #[test]
    fn counts_are_those_of_the_elements() {
        let page = shown(&samples::mixed());
        for (element, attribute) in
            [("<failure ", "failures"), ("<error ", "errors"), ("<testcase ", "tests")]
        {
            let counted = page.matches(element).count();
            let told = attributes(&page)
                .into_iter()
                .filter(|(of, name, _)| of == "testsuite" && name == attribute)
                .map(|(_, _, value)| value.parse::<usize>().unwrap())
                .sum::<usize>();
            assert_eq!(told, counted, "{attribute}");
        }
    }

    fn shown(report: &RunReport) -> String {
        let mut out = Vec::new();
        render(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Every attribute, with the name of its element, as a reader of XML understands it.
    fn attributes(page: &str) -> Vec<(String, String, String)> {
        let mut reader = Reader::from_str(page);
        let mut found = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(element) | Event::Empty(element) => {
                    for attribute in element.attributes() {
                        let attribute = attribute.unwrap();
                        found.push((
                            element.name().as_ref().to_owned(),
                            attribute.key.as_ref().to_owned(),
                            attribute
                                .normalized_value(XmlVersion::Explicit1_0)
                                .unwrap()
                                .into_owned(),
                        ));
                    }
                }
                Event::Eof => return found,
                _ => {}
            }
        }
    }
}
