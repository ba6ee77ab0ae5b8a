//! Stored runs as pages in a browser: how wide, in which colours.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reports::{Format, RunReport};
use serde_json::{Value, json};
use tests::workspace;

use crate::webdriver::Browser;

/// The stored runs: one that passed, one that failed, one of load, one of planted defects, one of load
/// on a gateway of which nothing is known, and which tells its callers what no page should run.
pub(crate) const RUNS: [&str; 5] = ["passing", "failing", "load", "kill-matrix", "gateway-load"];

/// How a page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// At a desk.
    Light,
    /// At a desk, by night.
    Dark,
    /// On a phone.
    Phone,
}

impl View {
    pub(crate) const ALL: [View; 3] = [View::Light, View::Dark, View::Phone];

    pub(crate) fn name(self) -> &'static str {
        match self {
            View::Light => "light",
            View::Dark => "dark",
            View::Phone => "phone",
        }
    }
}

/// The page of a stored run, in a browser of its own.
pub(crate) async fn opened(run: &str, view: View) -> Browser {
    let page = written(run);
    let browser = Browser::start().await;
    let scheme = if view == View::Dark { "dark" } else { "light" };
    let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    browser.devtools("Emulation.setEmulatedMedia", media).await;
    let (width, height, is_phone) =
        if view == View::Phone { (390, 844, true) } else { (1280, 900, false) };
    let screen =
        json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone});
    browser.devtools("Emulation.setDeviceMetricsOverride", screen).await;
    // A window that nobody looks at has no focus, and without it there is no clipboard.
    browser.devtools("Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await;
    browser.open(&format!("file://{}", page.display())).await;
    browser
}

/// What is told of each check in a stored run.
pub(crate) fn checks(run: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(&stored(run)).expect("it is a document");
    report["checks"].as_array().cloned().unwrap_or_default()
}

fn stored(run: &str) -> String {
    workspace::text(&format!("tests/browser/runs/{run}.json"))
}

/// Writes the page of a stored run, and says where.
fn written(run: &str) -> PathBuf {
    let report: RunReport = serde_json::from_str(&stored(run)).expect("it is a report");
    let mut page = Vec::new();
    reports::render(&report, Format::Html, &mut page).expect("memory takes all");
    let file = screenshots().join(format!("{run}.html"));
    // Tests write the same page side by side: a file that is there is whole.
    let aside = file.with_extension(format!("{}.part", std::process::id()));
    fs::write(&aside, page).expect("target can be written to");
    fs::rename(&aside, &file).expect("both are in the same folder");
    file
}

/// Where pages and pictures of them are left.
pub(crate) fn screenshots() -> PathBuf {
    let folder = workspace::root().join("target/screenshots");
    fs::create_dir_all(&folder).expect("target can be written to");
    folder
}

/// The source of axe-core.
pub(crate) fn axe() -> String {
    let file = std::env::var_os("GAUNTLET_AXE").map_or_else(
        || workspace::root().join("target/axe/node_modules/axe-core/axe.min.js"),
        PathBuf::from,
    );
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}", how_to_have_axe(&file, &error)))
}

fn how_to_have_axe(file: &Path, error: &std::io::Error) -> String {
    format!(
        "{} cannot be read ({error}): run `npm install --prefix target/axe axe-core@4`, or name an \
         axe.min.js in GAUNTLET_AXE",
        file.display()
    )
}
