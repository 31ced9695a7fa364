//! Erasure in Tair, in builds and in existing snapshots: no trace of an erased customer is left.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use arrow::{compute::concat_batches, util::display::array_value_to_string};
use larder::{
    publish::{Options, Publisher, Report},
    snapshot::{
        FileKind, Manifest, SnapshotId, read_current,
        writer::{PartWriter, rows_properties},
    },
};
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, file::properties::WriterProperties};
use serde_json::Value;

use super::{
    assert_gone, assert_success, forget, forget_only, lists, output_text, shop_with_customers, tier, without,
};
use crate::support::{
    redis::Redis,
    shop::{Service, Shop, assert_clean, eventually},
};

/// Creates a shop with 300 customers and Tair.
fn shop_with_tair(redis: &Redis, lease: &str) -> Shop {
    shop_with_customers(
        &format!(
            "[tair]\nurl = \"{}\"\nlease = \"{lease}\"\n[serving]\nmemory = 0\npoll = \"200ms\"\n",
            redis.url()
        ),
        300,
    )
}

/// Returns the keys that contain `text` in name or value.
fn keys_with(redis: &Redis, text: &str) -> String {
    const SEARCH: &str = "\
        local found = {} \
        for _, key in ipairs(redis.call('keys', '*')) do \
            local kind, values = redis.call('type', key).ok, {} \
            if kind == 'string' then values = {redis.call('get', key)} end \
            if kind == 'hash' then values = redis.call('hgetall', key) end \
            if kind == 'list' then values = redis.call('lrange', key, 0, -1) end \
            if kind == 'set' then values = redis.call('smembers', key) end \
            table.insert(values, key) \
            for _, value in ipairs(values) do \
                if string.find(value, ARGV[1], 1, true) then table.insert(found, key) break end \
            end \
        end \
        return found";
    redis.cli(&["eval", SEARCH, "0", text])
}

/// Waits until Tair answers reads.
async fn wait_for_tair(service: &Service) {
    eventually(|| tier(service, "who-0299"), |tier| tier == "tair").await;
}

/// Verifies every customer and list in Tair.
async fn verify(shop: &Shop, repair: bool) -> Report {
    let publisher = Publisher::new(shop.lake(), shop.config.tair.clone(), Options::default());
    publisher.verify(true, repair).await.unwrap()
}

/// Adds a customer whose purchase is later than all others.
fn add_customer(shop: &Shop, name: &str) {
    let header = "customer_id,order_id,product_id,product_name,quantity,unit_price,ordered_at";
    let file = name.replace("late", "more");
    shop.raw(
        &format!("transactions/{file}.csv"),
        format!("{header}\n{name},n-{name},p1,Thing 1,1,5.00,2024-12-31\n"),
    );
}

/// Customers to erase.
const GONE: [&str; 4] = ["who-0003", "who-0004", "who-0152", "who-0298"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasure_removes_customers_from_tair() {
    let redis = Redis::start();
    let shop = shop_with_tair(&redis, "2s");
    let first = shop.build().await.manifest.id;
    shop.publish(&first).await;
    add_customer(&shop, "late-1");
    let service = shop.open().await;
    wait_for_tair(&service).await;
    let before = lists(&service, 7).await;
    assert!(
        keys_with(&redis, GONE[0]).lines().count() > 4,
        "Tair has the rows and the lists of two publishes"
    );
    let output = assert_success(&forget_only(&shop, &GONE));
    assert!(output.contains("Tair: 4 customers and ") && output.contains(first.as_str()), "{output}");
    for id in GONE {
        assert_eq!(keys_with(&redis, id), "", "{id}");
    }
    assert_clean(&shop).await;
    eventually(|| service.get("/v1/customers/who-0003"), |answer| answer.status == 404).await;
    for id in GONE {
        assert_gone(&service, id, "who-0299", &[]).await;
    }
    let misses = service.metric("larder_tair_fallbacks_total{reason=\"miss\"}").await;
    let expected = without(&before, &GONE);
    assert_eq!(lists(&service, 7).await, expected);
    assert_eq!(
        service.metric("larder_tair_fallbacks_total{reason=\"miss\"}").await,
        misses,
        "lists came from Tair"
    );
    // The snapshot gives the same lists while Tair is down.
    redis.stop();
    eventually(|| tier(&service, "who-0299"), |tier| tier == "snapshot").await;
    assert_eq!(lists(&service, 7).await, expected);
    assert_gone(&service, GONE[1], "who-0299", &[]).await;
    redis.resume();
    wait_for_tair(&service).await;

    // Verify finds and removes erased customers that are in Tair all the same.
    redis.cli(&["hset", "larder:customer:who-0003", "rfm:x", "[]"]);
    redis.cli(&["sadd", "larder:segment:2:churn", "who-0004"]);
    let report = verify(&shop, false).await;
    assert_eq!(report.differences, 2, "{report:?}");
    assert!(verify(&shop, true).await.repaired);
    assert_clean(&shop).await;
    assert_eq!(keys_with(&redis, "who-000").matches("who-0003").count(), 0);

    // Every publish omits them: incremental, full, and a rollback to a snapshot that contains them.
    add_customer(&shop, "late-2");
    let third = shop.build().await.manifest;
    assert!(third.customers + 4 == 302, "{}", third.customers);
    shop.publish(&third.id).await;
    assert_clean(&shop).await;
    let publisher =
        |full| Publisher::new(shop.lake(), shop.config.tair.clone(), Options { full, ..Options::default() });
    for full in [false, true] {
        let written = publisher(full).rollback().await.unwrap().written.unwrap();
        assert_eq!(written.full_reason.is_some(), full, "{written:?}");
        assert_clean(&shop).await;
        for id in GONE {
            assert_eq!(keys_with(&redis, id), "", "{id}");
        }
    }
    assert_gone(&service, GONE[2], "who-0299", &[]).await;

    // After an undo the customer is served from the snapshot that still contains it, then from Tair.
    publisher(false).publish(Some(&first)).await.unwrap_err();
    shop.publish(&first).await;
    eventually(|| service.get("/v1/segments"), |answer| answer.json()["snapshot"] == first.to_string()).await;
    assert_success(&forget(&shop, &["--undo", GONE[0]]));
    assert_clean(&shop).await;
    eventually(|| tier(&service, GONE[0]), |tier| tier == "tair").await;
    assert_gone(&service, GONE[1], GONE[0], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_erasure_is_finished_by_next_call_or_publish() {
    let redis = Redis::start();
    let shop = shop_with_tair(&redis, "1500ms");
    let first = shop.build().await.manifest.id;
    shop.publish(&first).await;
    add_customer(&shop, "late-1");
    let second = shop.build().await.manifest.id;
    let slow = ["publish", second.as_str(), "--full", "--max-ops", "150"];
    let publish = || shop.command(&slow).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let under_way = async || {
        let done = || async { redis.cli(&["get", "larder:publishing"]) };
        eventually(done, |record| record.contains(second.as_str())).await;
        eventually(|| async { redis.cli(&["hget", "larder:customer:who-0010", "_publish"]) }, |by| by == "2")
            .await;
    };

    // During a publish: the erasure waits and removes what the publish wrote.
    let mut child = publish();
    under_way().await;
    assert_success(&forget_only(&shop, &[GONE[0]]));
    assert!(child.wait().unwrap().success());
    assert_eq!(keys_with(&redis, GONE[0]), "");
    assert_clean(&shop).await;

    // After a killed publish.
    shop.publish(&first).await;
    redis.cli(&["config", "resetstat"]);
    let mut child = publish();
    eventually(|| async { redis.cli(&["hget", "larder:customer:who-0010", "_publish"]) }, |by| by == "4")
        .await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_success(&forget_only(&shop, &[GONE[1]]));
    assert_eq!(keys_with(&redis, GONE[1]), "");
    shop.publish(&second).await;
    assert_eq!(keys_with(&redis, GONE[1]), "");
    assert_clean(&shop).await;

    // Tair is down: the list is written, and a later publish or call removes the customers from Tair.
    let service = shop.serve().await;
    wait_for_tair(&service).await;
    for (id, finish) in [(GONE[2], &["publish"][..]), (GONE[3], &["forget", "--keep-snapshots"])] {
        redis.cli(&["save"]);
        redis.kill();
        let failed = forget(&shop, &[id]);
        assert!(
            !failed.status.success() && output_text(&failed).contains("Tair still contains erased customers"),
            "{}",
            output_text(&failed)
        );
        let path = format!("/v1/customers/{id}");
        eventually(|| service.get(&path), |answer| answer.status == 404).await;
        redis.run_again();
        wait_for_tair(&service).await;
        assert!(keys_with(&redis, id).contains("customer"), "{id}");
        assert!(verify(&shop, false).await.differences > 0);
        assert_eq!(service.get(&path).await.status, 404);
        assert_success(&shop.larder(finish));
        assert_eq!(keys_with(&redis, id), "", "{finish:?}");
        assert_clean(&shop).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn build_omits_and_counts_lines_of_erased_customers() {
    let shop = shop_with_customers("", 120);
    shop.raw(
        "customers/x.jsonl",
        "{\"customer_id\":\"who-0005\",\"town\":\"Ulm\"}\n{\"customer_id\":\"who-0006\"}\n",
    );
    shop.raw(
        "interactions/x.csv",
        "customer_id,event,at\nwho-0005,view,2025-06-01\nwho-0006,view,2024-12-20\n",
    );
    let before = shop.build().await.manifest;
    assert_eq!(before.as_of.to_rfc3339(), "2025-06-01T00:00:00+00:00");
    shop.publish(&before.id).await;
    assert_success(&forget_only(&shop, &["who-0005"]));
    let output = assert_success(&shop.larder(&["build", "--no-publish"]));
    assert!(output.lines().filter(|line| line.trim().starts_with("forgotten")).count() == 3, "{output}");
    // Their lines do not count for the as-of time either.
    assert!(output.contains("as of 2024-12-20T00:00:00Z"), "{output}");
    let id: SnapshotId = {
        let mut all = larder::snapshot::list(&shop.lake()).await.unwrap();
        all.retain(|manifest| manifest.id != before.id);
        all.remove(0).id
    };
    let manifest = Manifest::read(&shop.lake(), &id).await.unwrap();
    assert_eq!((manifest.customers, before.customers), (119, 120));
    for (table, lines) in [("transactions", 2), ("customers", 1), ("interactions", 1)] {
        assert_eq!(manifest.counts[table].fates["forgotten"], lines, "{table}");
        let counts = &manifest.counts[table];
        assert_eq!(counts.fates.values().sum::<u64>(), counts.lines, "{table}");
    }
    assert_eq!(objects_with(&shop, "who-0005", Some(&id)), Vec::<PathBuf>::new());
    assert!(!objects_with(&shop, "who-0006", Some(&id)).is_empty());
    // `larder features` omits them, too.
    let out = shop.path().join("features.parquet");
    assert_success(&shop.larder(&[
        "features",
        "--as-of",
        "2024-12-20T00:00:00Z",
        "--out",
        out.to_str().unwrap(),
    ]));
    assert!(file_holds(&out, "who-0006") && !file_holds(&out, "who-0005"));
}

/// Checks whether a file contains `text` in its bytes or in a decoded cell.
fn file_holds(file: &Path, text: &str) -> bool {
    let bytes = std::fs::read(file).unwrap();
    let mut found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
    if file.extension().is_some_and(|extension| extension == "parquet") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            for column in batch.columns() {
                found |= (0..batch.num_rows())
                    .any(|row| array_value_to_string(column, row).unwrap().contains(text));
            }
        }
    }
    found
}

/// Returns the objects that contain `text`, in one snapshot, or in the lake without raw files and the erasure
/// list.
pub(super) fn objects_with(shop: &Shop, text: &str, snapshot: Option<&SnapshotId>) -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, files) } else { files.push(path) }
        }
    }
    let lake = shop.path().join("lake");
    let mut files = Vec::new();
    match snapshot {
        Some(id) => walk(&lake.join("snapshots").join(id.as_str()), &mut files),
        None => walk(&lake, &mut files),
    }
    files.retain(|file| !file.starts_with(lake.join("raw")) && !file.starts_with(lake.join("forgotten")));
    files.retain(|file| file_holds(file, text));
    files
}

/// Asserts that the statistics of every segment match its members.
async fn assert_figures(service: &Service) {
    let segments = service.get("/v1/segments").await.json();
    for segment in segments["segments"].as_array().unwrap() {
        let path =
            format!("/v1/segments/{}/customers?limit=1000&views=rfm", segment["name"].as_str().unwrap());
        let members = service.get(&path).await.json();
        let of = |name: &str| -> Vec<f64> {
            let members = members["customers"].as_array().unwrap().iter();
            members.filter_map(|member| member["views"]["rfm"][name].as_f64()).collect()
        };
        let near = |a: f64, b: &Value| (a - b.as_f64().unwrap_or(0.0)).abs() < 1e-6;
        assert!(near(of("monetary").iter().sum(), &segment["revenue"]), "{segment}");
        for score in ["r_score", "f_score", "m_score"] {
            let all = of(score);
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            let mean = if all.is_empty() { 0.0 } else { all.iter().sum::<f64>() / all.len() as f64 };
            assert!(near(mean, &segment[format!("mean_{score}")]), "{score} of {segment}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rewrite_removes_erased_customers_from_all_snapshots() {
    let redis = Redis::start();
    let shop = shop_with_tair(&redis, "2s");
    let mut ids = Vec::new();
    for name in ["late-1", "late-2", "late-3"] {
        add_customer(&shop, name);
        ids.push(shop.build().await.manifest.id);
        shop.publish(ids.last().unwrap()).await;
    }
    add_customer(&shop, "late-4");
    let unpublished = shop.build().await.manifest.id;
    let service = Arc::new(shop.serve().await);
    wait_for_tair(&service).await;
    let before = lists(&service, 50).await;
    // Among them the first and the last customer id, which manifests contain.
    let gone = ["late-1", "who-0299", "who-0100"];
    for id in gone {
        assert!(objects_with(&shop, id, None).len() > 8, "{id}");
    }
    let constant = {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            loop {
                let answer = service.get("/v1/customers/who-0200").await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    // Killed at several points and run again: at the first part, between two snapshots, before the removal.
    let lake = shop.lake();
    let written = || larder::snapshot::list(&lake);
    let reached: [&dyn Fn(usize, usize, u64) -> bool; 4] = [
        &|folders, _, _| folders > 4,
        &|_, snapshots, _| snapshots > 4,
        &|_, snapshots, _| snapshots > 6,
        &|_, _, publish| publish > 3,
    ];
    for reached in reached {
        let args = [&["forget"], &gone[..]].concat();
        let mut child = shop.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let look = async || {
            let publish = read_current(&shop.lake()).await.unwrap().unwrap().publish;
            reached(shop.snapshot_folders().len(), written().await.unwrap().len(), publish)
        };
        eventually(look, |reached| *reached).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = assert_success(&forget(&shop, &[]));
    assert!(!constant.is_finished(), "a read failed meanwhile");
    constant.abort();
    for id in gone {
        assert_eq!(objects_with(&shop, id, None), Vec::<PathBuf>::new(), "{output}");
        assert_eq!(keys_with(&redis, id), "");
        assert_gone(&service, id, "who-0200", &[]).await;
    }
    let manifests = larder::snapshot::list(&shop.lake()).await.unwrap();
    assert!(manifests.iter().all(|manifest| !ids.contains(&manifest.id) && manifest.id != unpublished));
    let of =
        |old: &SnapshotId| manifests.iter().find(|new| new.rewritten_from.as_ref() == Some(old)).unwrap();
    let current = read_current(&shop.lake()).await.unwrap().unwrap();
    assert_eq!((&current.snapshot, current.previous.as_ref()), (&of(&ids[2]).id, Some(&of(&ids[1]).id)));
    assert_eq!(of(&ids[2]).customers, 300);
    assert_clean(&shop).await;
    let snapshot = current.snapshot.to_string();
    eventually(|| service.get("/v1/segments"), |answer| answer.json()["snapshot"] == snapshot.as_str()).await;
    // Ranks are contiguous and the order is unchanged.
    let names = |lists: &super::Lists| -> Vec<Vec<String>> {
        lists.values().map(|members| members.iter().map(|(_, id)| id.clone()).collect()).collect()
    };
    let after = lists(&service, 50).await;
    assert_eq!(names(&after), names(&without(&before, &gone)));
    assert!(
        after
            .values()
            .all(|members| members.iter().enumerate().all(|(at, (rank, _))| *rank == at as u64 + 1))
    );
    assert_figures(&service).await;
    // A second rewrite has nothing to do, and a rollback works.
    assert!(assert_success(&forget(&shop, &[])).contains("no snapshot contains erased customers"));
    assert_success(&shop.larder(&["rollback"]));
    assert_clean(&shop).await;
    let previous = of(&ids[1]).id.to_string();
    eventually(|| service.get("/v1/segments"), |answer| answer.json()["snapshot"] == previous.as_str()).await;
    assert_figures(&service).await;
}

/// Copies the snapshot `of` with its customers in parts of the given sizes. The last customers part has row
/// groups of 66 rows, so that the encoder splits it.
async fn in_parts(shop: &Shop, of: &Manifest, sizes: &[usize]) -> Manifest {
    let (lake, id) = (shop.lake(), SnapshotId::new(of.as_of, 7));
    let mut files = Vec::new();
    for file in &of.files {
        let (folder, properties) = match file.kind {
            FileKind::Rows => ("rows", rows_properties()),
            FileKind::Customers => {
                ("customers", WriterProperties::builder().set_max_row_group_row_count(Some(66)).build())
            }
            _ => {
                lake.copy(&of.id.path(&file.path), &id.path(&file.path)).await.unwrap();
                files.push(file.clone());
                continue;
            }
        };
        let whole = shop.path().join("lake").join(of.id.path(&file.path).as_ref());
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(whole).unwrap()).unwrap();
        let schema = reader.schema().clone();
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        let (all, mut start) = (concat_batches(&schema, &batches).unwrap(), 0);
        for (number, size) in sizes.iter().enumerate() {
            let path = format!("{folder}/part-{number:05}.parquet");
            let mut part =
                PartWriter::new(&lake, &id, path, file.kind, schema.clone(), properties.clone()).unwrap();
            part.write(&all.slice(start, *size)).unwrap();
            files.push(part.finish().await.unwrap());
            start += size;
        }
        assert_eq!(start, all.num_rows());
    }
    let manifest = Manifest { id, fingerprint: Manifest::fingerprint_of(&files), files, ..of.clone() };
    manifest.write(&lake).await.unwrap();
    manifest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rewrite_copies_unaffected_parts_and_drops_empty_parts() {
    let shop = shop_with_customers("[serving]\npoll = \"100ms\"\n", 120);
    let built = shop.build().await.manifest;
    let old = in_parts(&shop, &built, &[50, 3, 67]).await;
    std::fs::remove_dir_all(shop.path().join("lake/snapshots").join(built.id.as_str())).unwrap();
    shop.publish(&old.id).await;
    let service = shop.serve().await;
    let before = lists(&service, 30).await;
    let gone = ["who-0050", "who-0051", "who-0052", "who-0100"];
    let mut child =
        shop.command(&["forget", "--file", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(gone.join("\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let current = read_current(&shop.lake()).await.unwrap().unwrap();
    let new = Manifest::read(&shop.lake(), &current.snapshot).await.unwrap();
    assert_eq!((new.rewritten_from.as_ref(), new.customers, current.previous), (Some(&old.id), 116, None));
    assert_ne!(new.fingerprint, old.fingerprint);
    for folder in ["rows", "customers"] {
        let part = |of: &Manifest, number: u32| {
            let path = format!("{folder}/part-{number:05}.parquet");
            of.files.iter().find(|file| file.path == path).cloned()
        };
        assert_eq!(part(&new, 0), part(&old, 0), "{folder}");
        assert!(part(&old, 1).is_some() && part(&new, 1).is_none(), "{folder}");
        let last = part(&new, 2).unwrap();
        assert_eq!((last.rows, last.first.as_deref()), (66, Some("who-0053")), "{folder}");
    }
    for id in gone {
        assert_eq!(objects_with(&shop, id, None), Vec::<PathBuf>::new());
        assert_gone(&service, id, "who-0049", &[]).await;
    }
    eventually(|| service.get("/v1/segments"), |answer| answer.json()["snapshot"] == new.id.to_string())
        .await;
    for at in 0..120 {
        let id = format!("who-{at:04}");
        let status = if gone.contains(&id.as_str()) { 404 } else { 200 };
        assert_eq!(service.get(&format!("/v1/customers/{id}")).await.status, status, "{id}");
    }
    let sizes = |lists: &super::Lists| lists.values().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes(&lists(&service, 30).await), sizes(&without(&before, &gone)));
    assert_figures(&service).await;
}
