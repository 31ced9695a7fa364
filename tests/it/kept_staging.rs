//! Kept staging: a build that reads only new raw files writes the same snapshot as a build from nothing.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, SystemTime},
};

use larder::{
    feature::CustomerId,
    pipeline::Built,
    snapshot::{Forgotten, Manifest, staged},
};
use serde_json::Value;

use crate::support::{
    dice::Dice,
    shop::{NO_MODELS, Shop},
};

/// Settings of `[raw]` under which the files of [`World`] are read.
const SETTINGS: [&str; 4] = [
    "",
    "zone = \"Asia/Shanghai\"",
    "transactions = { order_scope = [\"till\"], order_span = \"1d\" }",
    "max_quantity = 3\ncustomers = { types = { age = \"text\" } }",
];

/// Raw files, by path, and the state that a build depends on.
struct World {
    dice: Dice,
    files: BTreeMap<String, String>,
    settings: usize,
    as_of: Option<&'static str>,
    erased: Vec<String>,
    next: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let (files, erased) = (BTreeMap::new(), Vec::new());
        let mut world = Self { dice: Dice(seed), files, settings: 0, as_of: None, erased, next: 0 };
        for _ in 0..3 {
            world.add_file();
        }
        world
    }

    fn below(&mut self, limit: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
        let number = (self.dice.next() * limit as f64) as usize;
        number.min(limit - 1)
    }

    /// Returns the id of a random customer; empty for a guest.
    fn customer(&mut self) -> String {
        match self.below(40) {
            0..4 => String::new(),
            at => format!("c{at}"),
        }
    }

    fn transactions(&mut self) -> String {
        let mut text =
            String::from("customer_id,order_id,product_id,quantity,unit_price,ordered_at,till,country\n");
        for _ in 0..=self.below(60) {
            let (customer, order, till) = (self.customer(), self.below(30), self.below(2));
            let (quantity, price) = (self.below(7), self.below(9));
            let (month, day, bad) = (1 + self.below(12), 1 + self.below(28), self.below(50));
            let quantity = ["-1", "0", "1", "2", "3", "4", "5"][quantity];
            let quantity = if bad == 0 { "many" } else { quantity };
            let country = ["UK", "", "France"][self.below(3)];
            let at = format!("2024-{month:02}-{day:02} 23:30:00");
            writeln!(text, "{customer},o{order},p{price},{quantity},{price}.5,{at},t{till},{country}")
                .unwrap();
        }
        text
    }

    fn customers(&mut self) -> String {
        let columns =
            ["customer_id,signed_up_at,age,city", "city,customer_id,signed_up_at,plan"][self.below(2)];
        let mut text = format!("{columns}\n");
        for at in 0..=self.below(20) {
            let customer = self.customer();
            let values =
                [format!("{customer},,{at},Bonn"), format!("Rome,{customer},2024-01-0{},gold", 1 + at % 9)];
            text += &values[usize::from(columns.starts_with("city"))];
            text.push('\n');
        }
        text
    }

    fn interactions(&mut self) -> String {
        let mut text = String::from("customer_id,event,product_id,at\n");
        for _ in 0..=self.below(20) {
            let (customer, product, month) = (self.customer(), self.below(5), 1 + self.below(12));
            writeln!(text, "{customer},view,p{product},2024-{month:02}-03").unwrap();
        }
        text
    }

    fn add_file(&mut self) {
        let table = ["transactions", "transactions", "customers", "interactions"][self.next % 4];
        let path = format!("{table}/{:02}.csv", self.below(90));
        self.next += 1;
        self.set_file(path);
    }

    fn set_file(&mut self, path: String) {
        let content = match path.split('/').next() {
            Some("transactions") => self.transactions(),
            Some("customers") => self.customers(),
            _ => self.interactions(),
        };
        self.files.insert(path, content);
    }

    fn any_file(&mut self) -> Option<String> {
        let at = self.below(self.files.len());
        self.files.keys().nth(at).cloned()
    }

    /// Changes the world at random.
    fn step(&mut self) {
        match self.below(8) {
            0 | 1 => self.add_file(),
            2 => {
                let path = self.any_file().unwrap();
                self.set_file(path);
            }
            3 => {
                let path = self.any_file().unwrap();
                let others =
                    self.files.keys().any(|other| *other != path && other.starts_with("transactions"));
                if others {
                    self.files.remove(&path);
                }
            }
            4 => {
                // A copy of the same content under another name is not read twice.
                let path = self.any_file().unwrap();
                let content = self.files[&path].clone();
                let folder = path.split('/').next().unwrap().to_owned();
                let name = format!("{folder}/copy-{}.csv", self.below(5));
                self.files.insert(name, content);
            }
            5 => self.settings = self.below(SETTINGS.len()),
            6 => {
                self.as_of =
                    [None, Some("2024-05-01T00:00:00Z"), Some("2024-11-30T00:00:00Z")][self.below(3)];
            }
            _ => {
                let customer = format!("c{}", 4 + self.below(36));
                match self.erased.iter().position(|erased| *erased == customer) {
                    Some(at) => drop(self.erased.remove(at)),
                    None => self.erased.push(customer),
                }
            }
        }
    }

    fn toml(&self) -> String {
        format!("[raw]\nmax_bad_share = 1\n{}\n{NO_MODELS}", SETTINGS[self.settings])
    }

    /// Gives `shop` the files, the settings and the erasure list of this world.
    async fn apply(&self, shop: &mut Shop) {
        let fresh = Shop::new(&self.toml());
        fs::copy(fresh.path().join("larder.toml"), shop.path().join("larder.toml")).unwrap();
        let staging = shop.config.build.staging.clone();
        shop.config = larder::config::Config::load(Some(&shop.path().join("larder.toml")), []).unwrap();
        shop.config.build.staging = staging;
        let raw = shop.path().join("lake/raw");
        for table in ["transactions", "customers", "interactions"] {
            for file in fs::read_dir(raw.join(table)).into_iter().flatten() {
                let file = file.unwrap().path();
                let name = format!("{table}/{}", file.file_name().unwrap().display());
                let known = self.files.get(&name);
                if known.is_none_or(|content| fs::read_to_string(&file).unwrap() != *content) {
                    fs::remove_file(&file).unwrap();
                }
            }
        }
        for (path, content) in &self.files {
            if !raw.join(path).exists() {
                shop.raw(path, content);
            }
        }
        let lake = shop.lake();
        let ids = |ids: &[String]| ids.iter().map(|id| CustomerId::parse(id).unwrap()).collect();
        let listed = Forgotten::read(&lake).await.unwrap();
        let over = listed.ids().filter(|id| !self.erased.iter().any(|erased| erased == id.as_str()));
        let over: Vec<String> = over.map(ToString::to_string).collect();
        if !over.is_empty() {
            Forgotten::undo(&lake, &ids(&over)).await.unwrap();
        }
        Forgotten::add(&lake, &ids(&self.erased)).await.unwrap();
    }

    /// Builds from nothing.
    async fn build_anew(&self) -> Result<Built, String> {
        let mut shop = Shop::new("");
        self.apply(&mut shop).await;
        shop.config.build.keep_staging = false;
        let built = shop.try_build(self.as_of).await;
        assert!(!shop.path().join("lake/staged").exists());
        built
    }
}

/// Returns all that a manifest says of the data.
fn facts(manifest: &Manifest) -> Value {
    let mut facts = serde_json::to_value(manifest).unwrap();
    for name in ["id", "created_at", "stages"] {
        facts.as_object_mut().unwrap().remove(name);
    }
    facts
}

fn assert_same(kept: Result<Built, String>, anew: Result<Built, String>) {
    match (kept, anew) {
        (Ok(kept), Ok(anew)) => assert_eq!(facts(&kept.manifest), facts(&anew.manifest)),
        (kept, anew) => assert_eq!(kept.map(drop), anew.map(drop)),
    }
}

/// Returns the files of the kept staging.
fn kept_files(shop: &Shop) -> Vec<PathBuf> {
    let folders = fs::read_dir(shop.path().join("lake/staged")).into_iter().flatten();
    let folders = folders.map(|folder| folder.unwrap().path()).filter(|folder| folder.is_dir());
    let mut files: Vec<PathBuf> =
        folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn builds_after_any_history_equal_builds_from_nothing() {
    for seed in 1..=4 {
        let mut world = World::new(seed);
        let mut shop = Shop::new("");
        for _ in 0..10 {
            world.apply(&mut shop).await;
            assert_same(shop.try_build(world.as_of).await, world.build_anew().await);
            // Some of the kept files are lost or damaged.
            let files = kept_files(&shop);
            if !files.is_empty() && world.below(3) == 0 {
                let file = &files[world.below(files.len())];
                let content = fs::read(file).unwrap();
                fs::remove_file(file).unwrap();
                if world.below(2) == 0 {
                    fs::write(file, &content[..content.len() - 1]).unwrap();
                }
            }
            world.step();
            if world.below(2) == 0 {
                world.step();
            }
        }
    }
}

#[tokio::test]
async fn builds_after_killed_builds_equal_builds_from_nothing() {
    let mut world = World::new(99);
    let mut shop = Shop::new("");
    for round in 0..12 {
        world.add_file();
        world.apply(&mut shop).await;
        let mut build = shop.command(&["build", "--no-publish"]);
        let mut build = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A build of these files takes some hundred milliseconds.
        let (end, wait) = (SystemTime::now() + Duration::from_millis(40 * round), Duration::from_millis(5));
        while SystemTime::now() < end && build.try_wait().unwrap().is_none() {
            std::thread::sleep(wait);
        }
        let _ = build.kill();
        build.wait().unwrap();
    }
    assert_same(shop.try_build(None).await, world.build_anew().await);
}

/// Overwrites `file` with content of the same length, and restores the modification time.
fn overwrite_unnoticed(file: &PathBuf, content: &str) {
    let modified = fs::metadata(file).unwrap().modified().unwrap();
    assert_eq!(fs::metadata(file).unwrap().len(), content.len() as u64);
    fs::write(file, content).unwrap();
    fs::File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
}

#[tokio::test]
async fn known_files_are_not_read_unless_asked() {
    let head = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n";
    let shop = Shop::new(NO_MODELS);
    let file = shop.raw("transactions/a.csv", format!("{head}ann,o1,p,1,5.00,2024-01-01\n"));
    let first = shop.build().await.manifest;
    overwrite_unnoticed(&file, &format!("{head}bob,o1,p,1,5.00,2024-01-01\n"));
    let second = shop.build().await.manifest;
    assert_eq!(facts(&second), facts(&first));
    let output = shop.larder(&["build", "--no-publish", "--verify-raw"]);
    assert!(output.status.success(), "{output:?}");
    let newest = larder::snapshot::list(&shop.lake()).await.unwrap().remove(0);
    assert_ne!(newest.fingerprint, first.fingerprint);
    assert_ne!(newest.sources[0].sha256, first.sources[0].sha256);
    // The next build takes the new lines.
    assert_eq!(shop.build().await.manifest.fingerprint, newest.fingerprint);
}

#[tokio::test]
async fn erasure_removes_the_lines_of_the_customer_from_the_kept_staging() {
    let head = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n";
    let shop = Shop::new(NO_MODELS);
    shop.raw("transactions/a.csv", format!("{head}ann,o1,p,1,5.00,2024-01-01\nbob,o2,p,1,5.00,2024-01-02\n"));
    shop.raw("transactions/b.csv", format!("{head}cid,o3,p,1,5.00,2024-01-03\n"));
    shop.build().await;
    let holding = |id: &str| {
        let held = |file: &&PathBuf| {
            let content = fs::read(file).unwrap();
            content.windows(id.len()).any(|part| part == id.as_bytes())
        };
        kept_files(&shop).iter().filter(held).count()
    };
    assert_eq!((holding("ann"), holding("cid")), (1, 1));
    let output = shop.larder(&["forget", "ann"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("removed the staging of 1 raw files"), "{text}");
    assert_eq!((holding("ann"), holding("cid")), (0, 1));
    let built = shop.build().await.manifest;
    assert_eq!(built.counts["transactions"].fates["forgotten"], 1);
    assert_eq!((holding("ann"), holding("bob"), holding("cid")), (0, 1, 1));
}

#[tokio::test]
async fn staging_that_no_raw_file_needs_is_removed_with_old_snapshots() {
    let mut world = World::new(7);
    let mut shop = Shop::new("");
    world.apply(&mut shop).await;
    shop.build().await;
    let before = staged::size(&shop.lake()).await.unwrap();
    assert_eq!(before.files, 3);
    let path = world.files.keys().find(|path| path.starts_with("transactions")).unwrap().clone();
    world.set_file(path);
    world.apply(&mut shop).await;
    shop.build().await;
    assert_eq!(staged::size(&shop.lake()).await.unwrap().files, 4);
    // A build may be writing a folder that is younger than a day.
    let metrics = shop.path().join("snapshots.prom");
    let prune = ["snapshots", "--keep", "1", "--metrics-file", metrics.to_str().unwrap()];
    assert!(shop.larder(&prune).status.success());
    assert_eq!(staged::size(&shop.lake()).await.unwrap().files, 4);
    for file in kept_files(&shop) {
        let old = SystemTime::now() - Duration::from_hours(25);
        fs::File::options().write(true).open(file).unwrap().set_modified(old).unwrap();
    }
    let output = shop.larder(&prune);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("removed the staging ") && text.contains("kept staging: 3 raw files"), "{text}");
    let after = staged::size(&shop.lake()).await.unwrap();
    assert_eq!(after.files, 3);
    let written = fs::read_to_string(&metrics).unwrap();
    assert!(written.contains(&format!("larder_staged_bytes {}\n", after.bytes)), "{written}");
    assert_same(shop.try_build(None).await, world.build_anew().await);
}
