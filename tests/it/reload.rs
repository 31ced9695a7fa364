//! SIGHUP: settings that follow the configuration files of a running service.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use serde_json::Value;

use crate::support::{
    callers::shop,
    program::{Program, json_lines},
    shop::{PATIENCE, Shop, eventually},
};

/// A running service whose configuration file is rewritten.
struct Scene {
    shop: Shop,
    /// Settings that stay.
    fixed: String,
    program: Program,
    client: reqwest::Client,
}

impl Scene {
    async fn start(toml: &str) -> Self {
        let shop = shop("");
        let file = shop.path().join("larder.toml");
        let fixed = fs::read_to_string(&file).unwrap();
        drop(shop.open().await);
        fs::write(&file, format!("{fixed}{toml}")).unwrap();
        let program = Program::serve(&shop, &shop.path().join("log"));
        Self { shop, fixed, program, client: reqwest::Client::new() }
    }

    /// Writes the settings, sends SIGHUP, and waits until `word` is the message of one more line. Returns the
    /// lines since the last reload.
    async fn reload(&self, toml: &str, word: &str) -> Vec<Value> {
        let before = self.log().len();
        fs::write(self.shop.path().join("larder.toml"), format!("{}{toml}", self.fixed)).unwrap();
        self.program.signal("HUP");
        let since = || async { self.log().split_off(before) };
        eventually(since, |lines| lines.iter().any(|line| line["message"] == word)).await
    }

    fn log(&self) -> Vec<Value> {
        json_lines(&self.shop.path().join("log"))
    }

    /// Asks for a batch whose body has a little more than `bytes`.
    async fn batch(&self, bytes: usize) -> u16 {
        let body = format!("{{\"ids\": [\"loyal\"]{}}}", " ".repeat(bytes));
        let request = self.client.post(format!("{}/v1/customers/batch", self.program.url)).body(body);
        request.header("content-type", "application/json").send().await.unwrap().status().as_u16()
    }

    /// Sends the head of a request whose body never comes, and returns the first line of the answer.
    fn unfinished(&self) -> String {
        let address = self.program.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /v1/customers/batch HTTP/1.1\r\nhost: {address}\r\ncontent-length: 9\r\n\
             content-type: application/json\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    }

    /// Sends a request that is answered with 200, and returns whether the log has its line.
    async fn is_logged(&self) -> bool {
        let before = self.log().len();
        let answer = self.client.get(format!("{}/v1/segments", self.program.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        // The line of a failure is written later than that of the request.
        let lost = format!("{}/v1/segments/none", self.program.url);
        self.client.get(lost).send().await.unwrap();
        let since = || async { self.log().split_off(before) };
        let lines = eventually(since, |lines| lines.iter().any(|line| line["status"] == 404)).await;
        lines.iter().any(|line| line["status"] == 200)
    }
}

#[tokio::test]
async fn hangup_applies_settings_that_may_change_and_names_the_others() {
    let mut scene = Scene::start(
        "[log]\nformat = \"json\"\n[http]\ndrain_delay = \"1h\"\n[serving]\ncache = \"64MiB\"\n",
    )
    .await;
    assert!(scene.is_logged().await);
    assert_eq!(scene.batch(2_000).await, 200);

    let changed = "[log]\nformat = \"json\"\nrequests = 0\n[http]\nbody_limit = 1000\nqueue = 7\n\
        [serving]\ncache = \"77MiB\"\n";
    let lines = scene.reload(changed, "setting changed; restart to apply").await;
    let reloaded = lines.iter().find(|line| line["message"] == "configuration reloaded").unwrap();
    assert_eq!(reloaded["changed"], "http.body_limit, http.drain_delay, log.requests", "{reloaded}");
    let waits = |lines: &[Value]| {
        let waiting = lines.iter().filter(|line| line["message"] == "setting changed; restart to apply");
        waiting.map(|line| line["setting"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut last = lines;
    while waits(&last).len() < 2 {
        tokio::task::yield_now().await;
        last = scene.log();
    }
    assert_eq!(waits(&last), ["http.queue", "serving.cache"]);
    assert!(!last.iter().any(|line| line.to_string().contains("77MiB")), "{last:?}");
    assert!(!scene.is_logged().await);
    assert_eq!((scene.batch(2_000).await, scene.batch(100).await), (413, 200));

    // Settings that are as at the start again are not named, and settings without a value have their default.
    let deadline = "[log]\nformat = \"json\"\n[http]\ntimeout = \"50ms\"\n[serving]\ncache = \"64MiB\"\n";
    let lines = scene.reload(deadline, "configuration reloaded").await;
    let reloaded = lines.iter().find(|line| line["message"] == "configuration reloaded").unwrap();
    assert_eq!(reloaded["changed"], "http.body_limit, http.timeout, log.requests", "{reloaded}");
    assert_eq!(scene.unfinished(), "HTTP/1.1 504");

    // Rate limits and the level.
    let limits = "[log]\nformat = \"json\"\nlevel = \"info,larder::request=off\"\n\
        [http]\nanonymous_rate = 1\n[serving]\ncache = \"64MiB\"\n";
    scene.reload(limits, "configuration reloaded").await;
    let before = scene.log().len();
    assert_eq!((scene.batch(100).await, scene.batch(100).await), (200, 429));
    let lines = scene.reload(limits, "configuration reloaded").await;
    assert!(waits(&lines).is_empty(), "{lines:?}");
    assert!(!scene.log()[before..].iter().any(|line| line["message"] == "request"), "{lines:?}");

    // The delay of the first settings would take an hour.
    let begun = Instant::now();
    scene.program.stop();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn invalid_configuration_changes_nothing_and_is_named() {
    let scene = Scene::start("[log]\nformat = \"json\"\n").await;
    for (wrong, reason) in [
        ("[http]\nbody_limit = \"many\"\n", "many"),
        ("[http]\nbody_limit = 1000\nlimit = 1\n", "limit"),
        ("[http]\nbody_limit = 1000\n[log]\nlevel = \"larder=loud\"\n", "larder=loud"),
        ("[http]\nbody_limit = 1000\n[[keys]]\nname = \"a\"\nhash = \"x\"\nscopes = []\n", "key a"),
    ] {
        let lines = scene.reload(wrong, "configuration not reloaded; the old one stays in use").await;
        let refused =
            |line: &&Value| line["message"] == "configuration not reloaded; the old one stays in use";
        let line = lines.iter().find(refused).unwrap();
        let error = line["error"].as_str().unwrap();
        assert!(line["level"] == "ERROR" && error.contains(reason), "{line}");
        assert_eq!(scene.batch(2_000).await, 200, "{wrong}");
    }
    scene.reload("[http]\nbody_limit = 1000\n[log]\nformat = \"json\"\n", "configuration reloaded").await;
    assert_eq!(scene.batch(2_000).await, 413);
}
