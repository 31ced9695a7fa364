//! Chromium, driven by Debian's `chromium-driver` over the protocol that the W3C defines for browsers.
//!
//! The protocol is JSON over HTTP. The tests need few commands of it, so no library is used.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::shop::{PATIENCE, eventually};

/// A browser with one tab and a profile of its own; it ends when dropped.
pub(crate) struct Chromium {
    driver: Child,
    client: reqwest::Client,
    /// Address of the session.
    session: String,
    /// Profile and downloads.
    folder: TempDir,
}

impl Chromium {
    /// Starts a browser in `language` (`en-US`).
    pub(crate) async fn start(language: &str) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: install Debian's packages chromium and chromium-driver");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok()
        });
        let port: u16 = port.expect("chromedriver prints its port");
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--window-size=1280,900", format!("--lang={language}"),
                format!("--user-data-dir={}", folder.path().join("profile").display()),
            ],
            "prefs": {"intl.accept_languages": language},
        });
        let capabilities = json!({
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
        });
        let url = format!("http://127.0.0.1:{port}/session");
        let body = json!({"capabilities": {"alwaysMatch": capabilities}});
        let answer: Value = client.post(&url).json(&body).send().await.unwrap().json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let chromium = Self { driver, session: format!("{url}/{id}"), client, folder };
        let downloads =
            json!({"behavior": "allow", "downloadPath": chromium.folder.path().join("downloads")});
        chromium.devtools("Browser.setDownloadBehavior", downloads).await;
        chromium
    }

    /// Sends a command of the protocol, which must succeed.
    async fn send(&self, path: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}/{path}", self.session)).json(&body);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{path} {body}: {answer}");
        answer["value"].take()
    }

    /// Opens an address as a new document, also if only the fragment differs.
    pub(crate) async fn open(&self, url: &str) {
        self.send("url", json!({"url": "about:blank"})).await;
        self.send("url", json!({"url": url})).await;
    }

    /// Runs a script in every document that is opened from now on, before the scripts of the document.
    pub(crate) async fn prepare(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": script})).await;
    }

    /// Runs the body of an asynchronous function in the page and returns its result.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             (async () => {{ {script} }})().then(done, (error) => done(`failed: ${{error.stack}}`));"
        );
        let value = self.send("execute/async", json!({"script": script, "args": []})).await;
        assert!(!value.as_str().is_some_and(|text| text.starts_with("failed: ")), "{script}: {value}");
        value
    }

    /// Waits until an expression is true in the page, and returns its value.
    pub(crate) async fn wait(&self, expression: &str) -> Value {
        let begun = Instant::now();
        loop {
            let value = self.run(&format!("return {expression};")).await;
            if !matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != 0 {
                return value;
            }
            if begun.elapsed() > PATIENCE {
                let text = self.run("return document.body.innerText;").await;
                panic!("never true: {expression}\n{}", text.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until no panel is loading.
    pub(crate) async fn settled(&self) {
        let loading = "document.querySelector('[aria-busy=true], .skeleton')";
        self.wait(&format!("document.querySelector('main h1') && !{loading}")).await;
    }

    /// Clicks the first element that a selector matches, as soon as there is one.
    pub(crate) async fn click(&self, selector: &str) {
        self.wait(&format!("document.querySelector({selector:?}) !== null")).await;
        self.run(&format!("document.querySelector({selector:?}).click();")).await;
    }

    /// Types a text into the first field that a selector matches.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        self.wait(&format!("document.querySelector({selector:?}) !== null")).await;
        self.run(&format!(
            "const field = document.querySelector({selector:?}); field.focus(); field.value = {text:?}; \
             for (const kind of ['input', 'change']) \
             field.dispatchEvent(new Event(kind, {{ bubbles: true }}));"
        ))
        .await;
    }

    /// Returns the text that a reader sees in the first element that a selector matches.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let text = self.wait(&format!("document.querySelector({selector:?})?.innerText")).await;
        text.as_str().unwrap().to_owned()
    }

    /// Returns what the page wrote to the console since the last call, without failed requests.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let lines = self.send("se/log", json!({"type": "browser"})).await;
        let texts = lines.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned());
        texts.filter(|text| !text.contains("Failed to load resource")).collect()
    }

    /// Waits for a downloaded file whose name has this ending, and returns its content.
    pub(crate) async fn downloaded(&self, ending: &str) -> Vec<u8> {
        let folder = self.folder.path().join("downloads");
        let find = async || {
            let files = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
            files.into_iter().find(|path| path.to_str().unwrap().ends_with(ending))
        };
        std::fs::read(eventually(find, Option::is_some).await.unwrap()).unwrap()
    }

    /// Changes the size of the window and the color scheme of the system, `light` or `dark`, and hides scroll
    /// bars.
    pub(crate) async fn show_as(&self, width: u32, height: u32, scheme: &str) {
        self.devtools("Emulation.setScrollbarsHidden", json!({"hidden": true})).await;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.send("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// Writes a picture of the window.
    pub(crate) async fn picture(&self, file: &Path) {
        let picture = self.devtools("Page.captureScreenshot", json!({"format": "png"})).await;
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser ends with its driver only if the driver is asked; a test may have failed at any point.
        let session = self.session.clone();
        let client = self.client.clone();
        let ask = async move { client.delete(session).timeout(Duration::from_secs(5)).send().await };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(ask);
        })
        .join()
        .unwrap();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
