//! A cluster whose lake is a bucket: the demo's data with all models, compared with one process.

use larder::demo::{Retail, generate};

use super::*;
use crate::support::bucket::Bucket;

/// Partitions of a small build.
const PARTITIONS: usize = 4;

/// Settings of a shop whose lake is `prefix` in `bucket`.
fn toml(bucket: &Bucket, prefix: &str, build: &str) -> String {
    let customers = "columns = { created_at = \"signed_up_at\" }\npersonal = [\"name\", \"email\"]\n";
    format!("{}[raw.customers]\n{customers}[build]\n{build}", bucket.toml(prefix))
}

/// Returns the fingerprint of the only snapshot below `prefix`.
fn fingerprint_in(bucket: &Bucket, prefix: &str) -> String {
    let snapshots = bucket.file(&format!("{prefix}/snapshots"));
    let [snapshot] = &names(&snapshots)[..] else { panic!("{:?}", names(&snapshots)) };
    let manifest = fs::read(snapshots.join(snapshot).join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    manifest["fingerprint"].as_str().unwrap().to_owned()
}

/// Returns the files of all objects below `folder`.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let found = names(folder).into_iter().map(|name| folder.join(name));
    let (folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) = found.partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| objects(folder)));
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_give_the_bytes_of_one_process_in_a_bucket() {
    let bucket = Bucket::open().await;
    let retail = Retail { customers: 500, lines: 6_000, seed: 11, compress: false };
    for prefix in ["local", "cluster"] {
        let raw = bucket.file(&format!("{prefix}/raw"));
        fs::create_dir_all(&raw).unwrap();
        generate(&retail, &raw, &|_, _| {}).unwrap();
    }
    let local = Shop::new(&toml(&bucket, "local", ""));
    let output = local.larder(&["build", "--no-publish"]);
    assert!(output.status.success(), "{}", text(&output));

    let engine = "engine = \"cluster\"\nlisten = \"127.0.0.1:0\"\nworkers = 2\n";
    let shop = Shop::new(&toml(&bucket, "cluster", engine));
    let (mut driver, address) = driver(&shop);
    let mut workers = [0, 1].map(|number| worker(&shop, &address, number, &[]));
    assert!(driver.succeeds(), "{}", driver.log());
    assert_eq!(fingerprint_in(&bucket, "cluster"), fingerprint_in(&bucket, "local"));
    let logs = workers.each_mut().map(|worker| {
        assert!(worker.succeeds(), "{}", worker.log());
        worker.log()
    });
    for step in ["tables", "view-rfm", "value", "recommendations"] {
        assert_eq!(logs.iter().map(|log| items(log, step)).sum::<usize>(), PARTITIONS, "{step}");
    }
    // The results of items are removed. The server keeps the folders of removed objects.
    let staged = bucket.file("cluster/staged");
    for folder in names(&staged).into_iter().filter(|name| name.starts_with("build-")) {
        assert_eq!(objects(&staged.join(folder)), Vec::<PathBuf>::new());
    }
}
