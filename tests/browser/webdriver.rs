//! Chromium, driven through ChromeDriver: the few words of WebDriver that these tests need, over HTTP.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::{Value, json};

/// How long one command may take; axe reads a whole page.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser of its own, and the process that drives it. Both end with it.
pub(crate) struct Browser {
    driver: Child,
    http: reqwest::Client,
    /// The address of the session.
    session: String,
    /// The browser's own process, once there is one.
    chromium: Option<i32>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts ChromeDriver on a free port, and a browser without a window.
    pub(crate) async fn start() -> Browser {
        let program = named("GAUNTLET_CHROMEDRIVER", "chromedriver");
        let mut driver = Command::new(&program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{program} cannot be started ({error}): install Debian's `chromium-driver`, or \
                     name another in GAUNTLET_CHROMEDRIVER"
                )
            });
        let said = driver.stdout.take().expect("it was piped");
        let port = BufReader::new(said)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                Some(port.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver says on which port it is");
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .expect("a client without settings");
        let profile = tempfile::tempdir().expect("there is room for a profile");
        let options = json!({
            "binary": which(&named("GAUNTLET_CHROMIUM", "chromium")),
            "args": [
                "--headless=new",
                // Whoever runs this may be root, whom the sandbox refuses.
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--hide-scrollbars",
                format!("--user-data-dir={}", profile.path().display()),
            ],
        });
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": 60_000},
        }}});
        let address = format!("http://127.0.0.1:{port}/session");
        // From here on, dropping it ends the driver.
        let mut browser =
            Browser { driver, http, session: address.clone(), chromium: None, _profile: profile };
        let made = browser.post("", wanted).await;
        let process = made["capabilities"]["goog:processID"].as_i64();
        browser.chromium = process.and_then(|id| i32::try_from(id).ok());
        let id = made["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("{address}/{id}");
        browser
    }

    /// Opens an address, and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", json!({"url": url})).await;
    }

    /// Runs a script in the page; what it returns.
    pub(crate) async fn run(&self, script: &str, args: &[Value]) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": args})).await
    }

    /// Runs a script that calls its last argument when it is done; with what.
    pub(crate) async fn run_async(&self, script: &str, args: &[Value]) -> Value {
        self.post("/execute/async", json!({"script": script, "args": args})).await
    }

    /// Gives a command of the DevTools protocol.
    pub(crate) async fn devtools(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": params})).await
    }

    /// Lets the page do what a browser asks its reader about.
    pub(crate) async fn allow(&self, permissions: &[&str]) {
        self.devtools("Browser.grantPermissions", json!({"permissions": permissions})).await;
    }

    /// Everything the browser has complained about: errors and warnings of its console.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let said = self.post("/se/log", json!({"type": "browser"})).await;
        let entries = said.as_array().cloned().unwrap_or_default();
        let grave = |entry: &Value| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"));
        entries.into_iter().filter(grave).map(|entry| entry["message"].to_string()).collect()
    }

    /// What was asked for beside the page itself and what stands in it.
    pub(crate) async fn requests_beyond_the_page(&self) -> Vec<String> {
        let said = self.post("/se/log", json!({"type": "performance"})).await;
        let entries = said.as_array().expect("a log of performance");
        let sent: Vec<String> = entries
            .iter()
            .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok())
            .filter(|event| event["message"]["method"] == "Network.requestWillBeSent")
            .filter_map(|event| {
                event["message"]["params"]["request"]["url"].as_str().map(ToOwned::to_owned)
            })
            .collect();
        let is_page = |url: &String| url.starts_with("file://") && url.ends_with(".html");
        assert!(sent.iter().any(is_page), "the page itself was asked for, and seen: {sent:?}");
        // What stands in the page itself, and what the browser shows before there is one.
        let is_no_request =
            |url: &String| ["data:", "chrome:"].iter().any(|scheme| url.starts_with(scheme));
        sent.into_iter().filter(|url| !is_page(url) && !is_no_request(url)).collect()
    }

    /// Writes a picture of the whole page.
    pub(crate) async fn screenshot(&self, file: &Path) {
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.devtools("Page.captureScreenshot", whole).await;
        std::fs::write(file, decoded(&picture["data"])).expect("target can be written to");
    }

    /// The page as it would be printed.
    pub(crate) async fn pdf(&self) -> Vec<u8> {
        decoded(&self.post("/print", json!({"background": false})).await)
    }

    /// Ends the browser in good order.
    pub(crate) async fn close(mut self) {
        let ended = self.http.delete(&self.session).send().await;
        ended.expect("chromedriver ends the session");
        self.chromium = None;
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.session);
        let sent = self.http.post(&url).json(&body).send().await;
        let answer = sent.expect("chromedriver answers");
        let status = answer.status();
        let mut value: Value = answer.json().await.expect("chromedriver answers with JSON");
        let value = value["value"].take();
        assert!(status.is_success(), "{path}: {}: {}", value["error"], value["message"]);
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Where a test failed half-way, the browser would outlive its driver.
        if let Some(chromium) = self.chromium {
            let _or_it_is_gone = signal::kill(Pid::from_raw(chromium), Signal::SIGKILL);
        }
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

fn decoded(text: &Value) -> Vec<u8> {
    STANDARD.decode(text.as_str().expect("Base64 is text")).expect("it is Base64")
}

/// A program that a variable may name.
fn named(variable: &str, program: &str) -> String {
    env::var(variable).unwrap_or_else(|_| program.to_owned())
}

/// The whole path of a program, which ChromeDriver wants to know.
fn which(program: &str) -> String {
    if program.contains('/') {
        return program.to_owned();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!(
                "there is no {program} on PATH: install Debian's `chromium`, or name another in \
                 GAUNTLET_CHROMIUM"
            )
        })
        .display()
        .to_string()
}
