//! Work that the driver does itself beside workers, with the bytes or the error of one process.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use super::*;

/// Builds `shop` on a cluster of one worker, then in one process. Returns the log of the worker and whether
/// the builds succeeded. Both must have the same outcome.
fn build_both(shop: &Shop) -> (String, bool) {
    let (mut driver, address) = driver(shop);
    let mut worker = worker(shop, &address, 0, &[]);
    let succeeds = driver.succeeds();
    assert!(worker.succeeds(), "{}", worker.log());
    let staged = names(&shop.path().join("lake/staged"));
    assert!(!staged.iter().any(|name| name.starts_with("build-")), "{staged:?}");
    let mut local = shop.command(&["build", "--no-publish"]);
    let local = local.env("LARDER_BUILD_ENGINE", "local").output().unwrap();
    assert_eq!(local.status.success(), succeeds, "{}\n{}", driver.log(), text(&local));
    if succeeds {
        let folders = shop.snapshot_folders();
        let fingerprints: Vec<Value> = folders
            .iter()
            .map(|folder| {
                let manifest = fs::read(folder.join("manifest.json")).unwrap();
                serde_json::from_slice::<Value>(&manifest).unwrap()["fingerprint"].clone()
            })
            .collect();
        assert_eq!(fingerprints.len(), 2);
        assert_eq!(fingerprints[0], fingerprints[1], "{}", driver.log());
    } else {
        let error = String::from_utf8(local.stderr).unwrap();
        let error = error.lines().last().unwrap();
        assert!(driver.log().contains(error), "{error}\n{}", driver.log());
    }
    (worker.log(), succeeds)
}

fn view(shop: &Shop, name: &str, sql: &str) {
    let text = format!("-- View {name}.\n{sql}");
    fs::write(shop.path().join("views").join(format!("{name}.sql")), text).unwrap();
}

#[test]
fn views_over_parquet_files_and_the_clock() {
    let toml = cluster(1, "").replace(VIEWS_TOML, &format!("{VIEWS_TOML}parquet = {{ clv = \"clv/\" }}\n"));
    let shop = shop(&toml);
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["c1", "c2", "c300"]));
    let clv: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 2.5, 3.5]));
    let batch = RecordBatch::try_from_iter([("customer_id", ids), ("clv", clv)]).unwrap();
    fs::create_dir_all(shop.path().join("lake/clv")).unwrap();
    let file = fs::File::create(shop.path().join("lake/clv/all.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    view(
        &shop,
        "reader",
        "SELECT p.customer_id, e.clv, p.city FROM profile p LEFT JOIN clv e USING (customer_id)",
    );
    // The plans of two processes have two times.
    view(
        &shop,
        "late",
        "SELECT customer_id, max(ordered_at) < now() AS late FROM orders GROUP BY customer_id",
    );
    let (log, succeeds) = build_both(&shop);
    assert!(succeeds);
    assert_eq!(["view-clv", "view-reader", "view-both"].map(|step| items(&log, step)), [0, 4, 4], "{log}");
}

#[test]
fn views_that_fail() {
    let shop = shop(&cluster(1, ""));
    view(&shop, "twice", "SELECT customer_id, order_id FROM orders");
    assert!(!build_both(&shop).1);
}

#[test]
fn tables_of_files_that_are_not_kept() {
    let toml = cluster(1, "") + "[raw.transactions]\nfiles = \"raw/orders/\"\n";
    let shop = shop(&toml);
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/delta/orders");
    let mut copy = Command::new("cp");
    assert!(copy.arg("-r").arg(table).arg(shop.path().join("lake/raw/orders")).status().unwrap().success());
    let (log, succeeds) = build_both(&shop);
    assert!(succeeds);
    // The other tables are files that can be kept.
    assert_eq!(["raw", "tables", "view-profile"].map(|step| items(&log, step)), [2, 0, 0], "{log}");
}
