//! Builds on a cluster: a driver and workers as processes. The same raw files give the same bytes as in one
//! process, whoever is killed meanwhile, or a clear error.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    dice::Dice,
    shop::{PATIENCE, Shop},
};

mod bucket;
mod own_work;
mod refusals;

/// Settings of the models: those whose rows workers make are on.
const MODELS: &str = "[churn]\nenabled = false\n";
/// Settings of the views of the shop.
const VIEWS_TOML: &str = "[views]\nfolder = \"views\"\n";
/// Views of the shop: one by customer, one that needs all customers at once, and one that needs the rows of
/// both.
const VIEWS: [(&str, &str); 3] = [
    (
        "visits.sql",
        "-- Visits.\n--\n-- visits: Number of visits.\n\
         SELECT customer_id, count(*) AS visits FROM interactions GROUP BY customer_id",
    ),
    (
        "place.sql",
        "-- Place.\n--\n-- place: Place of the customer by lines.\n\
         SELECT customer_id, row_number() OVER (ORDER BY lines DESC, customer_id) AS place FROM \
         (SELECT customer_id, count(*) AS lines FROM transactions GROUP BY customer_id)",
    ),
    (
        "both.sql",
        "-- Both.\n--\n-- visits: Number of visits.\n-- place: Place of the customer by lines.\n\
         SELECT p.customer_id, v.visits, p.place FROM place p LEFT JOIN visits v USING (customer_id)",
    ),
];
/// Number of raw files.
const FILES: usize = 60;

/// Settings of a build on `workers` workers.
fn cluster(workers: usize, more: &str) -> String {
    let engine = format!("engine = \"cluster\"\nlisten = \"127.0.0.1:0\"\nworkers = {workers}\n");
    format!("{MODELS}{VIEWS_TOML}[build]\n{engine}{more}")
}

/// Creates a shop with the settings `toml`, many raw files of transactions, and one of each other table.
fn shop(toml: &str) -> Shop {
    let shop = Shop::new(toml);
    for number in 0..FILES {
        shop.raw(&format!("transactions/part-{number:02}.csv"), raw_file(number));
    }
    let mut customers = "customer_id,city,age\n".to_owned();
    let mut interactions = "customer_id,event,at,product_id\n".to_owned();
    for number in 0..400 {
        writeln!(customers, "c{number},City {},{}", number % 7, 20 + number % 50).unwrap();
        for visit in 0..number % 5 {
            writeln!(interactions, "c{number},view,2024-02-0{}T10:00:00Z,p{visit}", visit + 1).unwrap();
        }
    }
    shop.raw("customers/all.csv", customers);
    shop.raw("interactions/all.csv", interactions);
    let folder = shop.path().join("views");
    fs::create_dir(&folder).unwrap();
    for (name, sql) in VIEWS {
        fs::write(folder.join(name), sql).unwrap();
    }
    shop
}

/// Returns the lines of one raw file. The largest has ten times the lines of the smallest.
fn raw_file(number: usize) -> String {
    let mut dice = Dice(number as u64);
    let mut text = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n".to_owned();
    for order in 0..100 * (1 + number % 10) {
        let (customer, product) = (dice.below(500), dice.below(50));
        let (day, price) = (1 + dice.below(28), dice.below(900));
        let month = 1 + number % 12;
        writeln!(text, "c{customer},{number}-{order},p{product},1,{price}.50,2024-{month:02}-{day:02}")
            .unwrap();
    }
    text
}

/// Returns the fingerprint of a snapshot that one process builds of the same raw files.
fn local_fingerprint() -> &'static str {
    static FINGERPRINT: OnceLock<String> = OnceLock::new();
    FINGERPRINT.get_or_init(|| {
        let shop = shop(&format!("{MODELS}{VIEWS_TOML}"));
        let output = shop.larder(&["build", "--no-publish"]);
        assert!(output.status.success(), "{}", text(&output));
        fingerprint(&shop)
    })
}

/// Returns the fingerprint of the only snapshot of `shop`.
fn fingerprint(shop: &Shop) -> String {
    let folders = shop.snapshot_folders();
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    manifest["fingerprint"].as_str().unwrap().to_owned()
}

/// Returns all that a process has printed.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A process whose log goes to a file. It is killed when dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(mut command: Command, log: PathBuf) -> Self {
        command.env("LARDER_LOG_LEVEL", "larder=debug").stdout(Stdio::null());
        let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal.
    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process has ended, and returns whether it succeeded.
    fn succeeds(&mut self) -> bool {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(since.elapsed() < 2 * PATIENCE, "still running: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until `found` finds something in the log.
    fn waits_for<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap();
            if let Some(found) = found(&self.log()) {
                return found;
            }
            assert!(ended.is_none() && since.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a build of `shop`, and returns it with the address that it listens on.
fn driver(shop: &Shop) -> (Process, String) {
    let command = shop.command(&["build", "--no-publish"]);
    let mut driver = Process::start(command, shop.path().join("driver.log"));
    let address = driver.waits_for(|log| {
        let line = log.lines().find(|line| line.contains("waiting for workers"))?;
        let address = line.split("address=").nth(1)?.split_whitespace().next()?;
        Some(address.trim_matches('"').to_owned())
    });
    (driver, address)
}

/// Starts worker `number` of `shop` for the build at `address`.
fn worker(shop: &Shop, address: &str, number: usize, more: &[&str]) -> Process {
    let mut arguments = vec!["worker", "--build", address, "--slots", "2", "--memory", "1GiB"];
    arguments.extend(more);
    Process::start(shop.command(&arguments), shop.path().join(format!("worker-{number}.log")))
}

/// Returns the number of raw files that the log of a worker has.
fn read(log: &str) -> usize {
    log.lines().filter(|line| line.contains("raw file read")).count()
}

/// Returns the number of items of `step` that the log of a worker has.
fn items(log: &str, step: &str) -> usize {
    let step = format!("step=\"{step}\"");
    log.lines().filter(|line| line.contains("item done") && line.contains(&step)).count()
}

/// Returns the names in a folder of the lake, which need not exist.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn any_number_of_workers_gives_the_bytes_of_one_process() {
    for workers in [1, 2, 3] {
        let shop = shop(&cluster(workers, ""));
        let (mut driver, address) = driver(&shop);
        let mut all: Vec<Process> = (0..workers).map(|number| worker(&shop, &address, number, &[])).collect();
        assert!(driver.succeeds(), "{}", driver.log());
        assert_eq!(fingerprint(&shop), local_fingerprint(), "{workers} workers");
        let logs: Vec<String> = all
            .iter_mut()
            .map(|worker| {
                assert!(worker.succeeds(), "{}", worker.log());
                worker.log()
            })
            .collect();
        let sum = |step: &str| logs.iter().map(|log| items(log, step)).sum::<usize>();
        // One raw file of each other table, and four partitions.
        assert_eq!(sum("raw"), FILES + 2, "{workers} workers");
        for step in ["tables", "view-profile", "view-behavior", "view-rfm_values", "view-rfm"] {
            assert_eq!(sum(step), 4, "{workers} workers, {step}");
        }
        assert_eq!([sum("value"), sum("recommendations")], [4, 4], "{workers} workers");
        assert_eq!([sum("view-visits"), sum("view-both")], [4, 4], "{workers} workers");
        // These need the rows of all customers at once.
        assert_eq!([sum("view-place"), sum("view-rfm_edges")], [0, 0], "{workers} workers");
        // The results of items are removed, and so is what processes have stored on disk.
        let staged = names(&shop.path().join("lake/staged"));
        assert!(!staged.iter().any(|name| name.starts_with("build-")), "{staged:?}");
        assert_eq!(names(&shop.path().join("staging")), Vec::<String>::new());
    }
}

/// Kills or stops a worker at random points; `CLUSTER_KILLS=1..20` runs other and more rounds.
#[test]
fn lost_workers_do_not_change_a_byte() {
    let rounds = std::env::var("CLUSTER_KILLS").unwrap_or_else(|_| "1..5".to_owned());
    let (first, end) = rounds.split_once("..").unwrap();
    for round in first.parse::<u64>().unwrap()..end.parse().unwrap() {
        let mut dice = Dice(round);
        let shop = shop(&cluster(2, ""));
        let (mut driver, address) = driver(&shop);
        let mut lost = worker(&shop, &address, 0, &[]);
        let mut other = worker(&shop, &address, 1, &[]);
        // While raw files are read, or at the first item of a later step. A worker may get none of these.
        let steps = ["raw", "raw", "tables", "view-profile", "view-rfm", "value", "recommendations"];
        let step = steps[usize::try_from(dice.below(steps.len() as u64)).unwrap()];
        let least = if step == "raw" { usize::try_from(dice.below(FILES as u64 / 2)).unwrap() } else { 1 };
        let since = Instant::now();
        while items(&lost.log(), step) < least && driver.child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < PATIENCE, "round {round}: {}", driver.log());
            std::thread::sleep(Duration::from_millis(1));
        }
        let is_stopped = dice.below(2) == 0;
        if is_stopped {
            lost.signal("STOP");
        } else {
            lost.kill();
        }
        let joins = dice.below(2) == 0;
        let new = joins.then(|| worker(&shop, &address, 2, &[]));
        assert!(driver.succeeds(), "round {round}: {}", driver.log());
        assert_eq!(fingerprint(&shop), local_fingerprint(), "round {round}");
        assert!(other.succeeds(), "round {round}: {}", other.log());
        if is_stopped {
            // A late worker writes again the bytes that the lake has.
            lost.signal("CONT");
            let since = Instant::now();
            while !lost.log().contains("the connection to the build was lost")
                && lost.child.try_wait().unwrap().is_none()
            {
                assert!(since.elapsed() < PATIENCE, "round {round}: {}", lost.log());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        drop(new);
        let again = shop.command(&["build", "--no-publish"]).env("LARDER_BUILD_ENGINE", "local").output();
        assert!(again.as_ref().unwrap().status.success(), "{}", text(&again.unwrap()));
        for folder in shop.snapshot_folders() {
            let manifest: Value =
                serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
            assert_eq!(manifest["fingerprint"], local_fingerprint(), "round {round}");
        }
    }
}

#[test]
fn build_fails_by_name_when_all_workers_are_lost() {
    let shop = shop(&cluster(2, "worker_timeout = \"1s\"\n"));
    let (mut driver, address) = driver(&shop);
    let mut workers = [0, 1].map(|number| worker(&shop, &address, number, &[]));
    workers[0].waits_for(|log| (read(log) >= 2).then_some(()));
    for worker in &mut workers {
        worker.kill();
    }
    assert!(!driver.succeeds());
    let log = driver.log();
    assert!(log.contains("step raw: no worker is left, and none came within 1 s (worker_timeout"), "{log}");
    assert_eq!(shop.snapshot_folders(), Vec::<PathBuf>::new());
}

#[test]
fn workers_end_after_their_driver_and_the_next_build_goes_on() {
    let shop = shop(&cluster(1, ""));
    let (mut killed, address) = driver(&shop);
    let mut stays = worker(&shop, &address, 0, &["--stay"]);
    stays.waits_for(|log| (read(log) >= 2).then_some(()));
    killed.kill();
    assert_eq!(shop.snapshot_folders(), Vec::<PathBuf>::new());
    stays.waits_for(|log| log.contains("the connection to the build was lost").then_some(()));
    // The next build listens on the same port, so that the worker finds it.
    let toml = cluster(1, "").replace("127.0.0.1:0", &address);
    fs::write(shop.path().join("larder.toml"), toml).unwrap();
    let (mut next, _) = driver(&shop);
    assert!(next.succeeds(), "{}", next.log());
    assert_eq!(fingerprint(&shop), local_fingerprint());
    stays.waits_for(|log| log.contains("the build has ended; waiting for the next").then_some(()));
}
