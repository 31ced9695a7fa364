//! Delta tables as raw data: the current version, deletion vectors, column mapping, and tables that cannot be
//! read.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use larder::{feature::CustomerId, pipeline::raw_lines, telemetry::Progress};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::support::shop::NO_MODELS;
use crate::support::{bucket::Bucket, shop::Shop};

/// Returns the files of a table that the `deltalake` package wrote, by path in the folder of the table. See
/// `tests/delta/make.py`.
pub(super) fn written_table() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/delta/orders");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.push((inside, fs::read(&path).unwrap()));
            }
        }
    }
    files
}

const COLUMNS: [(&str, &str); 6] = [
    ("customer_id", "string"),
    ("order_id", "string"),
    ("product_id", "string"),
    ("quantity", "long"),
    ("unit_price", "double"),
    ("ordered_at", "string"),
];

/// Writes a data file with one purchase of each of `customers`. `physical` returns the name of a column.
fn data(shop: &Shop, name: &str, customers: &[&str], physical: impl Fn(&str) -> String) -> u64 {
    let texts = |text: &dyn Fn(&str) -> String| -> ArrayRef {
        Arc::new(customers.iter().map(|customer| Some(text(customer))).collect::<StringArray>())
    };
    let columns: Vec<(String, ArrayRef)> = vec![
        (physical("customer_id"), texts(&str::to_owned)),
        (physical("order_id"), texts(&|customer| format!("order of {customer}"))),
        (physical("product_id"), texts(&|_| "p".to_owned())),
        (physical("quantity"), Arc::new(Int64Array::from(vec![1; customers.len()]))),
        (physical("unit_price"), Arc::new(Float64Array::from(vec![2.5; customers.len()]))),
        (physical("ordered_at"), texts(&|_| "2024-01-01 00:00:00".to_owned())),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let content = writer.into_inner().unwrap();
    shop.raw(&format!("transactions/{name}"), &content);
    content.len() as u64
}

/// Writes a version of the log.
fn version(shop: &Shop, number: u64, actions: &[Value]) {
    let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
    let lines = lines.join("\n");
    shop.raw(&format!("transactions/_delta_log/{number:020}.json"), &lines);
}

/// Returns the actions that begin a table: the reader features that it needs, and the schema.
fn table(features: &[&str], physical: Option<&dyn Fn(&str) -> String>) -> [Value; 2] {
    let field = |(number, (name, kind)): (usize, &(&str, &str))| {
        let metadata = physical.map_or(json!({}), |physical| {
            json!({"delta.columnMapping.id": number + 1, "delta.columnMapping.physicalName": physical(name)})
        });
        json!({"name": name, "type": kind, "nullable": true, "metadata": metadata})
    };
    let fields: Vec<Value> = COLUMNS.iter().enumerate().map(field).collect();
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    let configuration = match physical {
        Some(_) => json!({"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "6"}),
        None => json!({}),
    };
    let protocol = if features.is_empty() {
        json!({"minReaderVersion": 1, "minWriterVersion": 2})
    } else {
        let (reader, writer) = (features, features);
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": reader,
            "writerFeatures": writer})
    };
    let metadata = json!({"id": "table", "format": {"provider": "parquet", "options": {}},
        "schemaString": schema, "partitionColumns": [], "configuration": configuration});
    [json!({"protocol": protocol}), json!({"metaData": metadata})]
}

fn add(name: &str, bytes: u64) -> Value {
    json!({"add": {"path": name, "partitionValues": {}, "size": bytes, "modificationTime": 0,
        "dataChange": true}})
}

async fn customers(shop: &Shop) -> Vec<String> {
    let service = shop.open().await;
    let everybody = r#"{"where": "rfm.frequency >= 1", "limit": 100}"#;
    let page = service.post("/v1/audiences", everybody).await.json();
    let members = page["customers"].as_array().unwrap_or_else(|| panic!("{page}"));
    let mut ids: Vec<String> =
        members.iter().map(|member| member["customer_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn only_files_of_the_current_version_are_read() {
    let shop = Shop::new(NO_MODELS);
    let plain = str::to_owned;
    let old = data(&shop, "old.parquet", &["a", "gone"], plain);
    // Files of the same content both count, also one of another name.
    let (first, second) =
        (data(&shop, "x=1 2/a.parquet", &["a"], plain), data(&shop, "b.parquet", &["a"], plain));
    data(&shop, "uncommitted.parquet", &["never"], plain);
    let [protocol, metadata] = table(&[], None);
    version(&shop, 0, &[protocol, metadata, add("old.parquet", old)]);
    let remove = json!({"remove": {"path": "old.parquet", "deletionTimestamp": 1, "dataChange": true}});
    version(&shop, 1, &[remove, add("x=1%202/a.parquet", first), add("b.parquet", second)]);
    let manifest = shop.build().await.manifest;
    assert_eq!(manifest.counts["transactions"].fates["purchase"], 2);
    assert_eq!(manifest.customers, 1);
    let read: Vec<&str> = manifest.sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(read, ["raw/transactions/b.parquet", "raw/transactions/x=1 2/a.parquet"]);
}

#[tokio::test]
async fn deletion_vectors_and_column_mapping_apply() {
    let shop = Shop::new(NO_MODELS);
    let physical = |name: &str| format!("col-{name}");
    let bytes = data(&shop, "a.parquet", &["a", "b", "c", "d", "e"], physical);
    let vector = json!({"storageType": "i", "pathOrInlineDv": VECTOR, "sizeInBytes": 36, "cardinality": 2});
    let mut file = add("a.parquet", bytes);
    file["add"]["deletionVector"] = vector;
    let [protocol, metadata] = table(&["deletionVectors", "columnMapping"], Some(&physical));
    version(&shop, 0, &[protocol, metadata, file]);
    assert_eq!(shop.build().await.manifest.counts["transactions"].fates["purchase"], 3);
    assert_eq!(customers(&shop).await, ["a", "c", "e"]);
    let lines = async |id: &str| {
        let id = CustomerId::parse(id).unwrap();
        raw_lines(&shop.lake(), &shop.config, &id, &Progress::default()).await.unwrap().lines
    };
    assert_eq!(lines("b").await.len(), 0);
    let [line] = &lines("c").await[..] else { panic!("one line") };
    assert_eq!(line.record["order_id"], "order of c");
}

/// Deletion vector of the rows 1 and 3: a Roaring bitmap in its portable form, as text in Z85.
const VECTOR: &str = "^Bg9^0rr910000000000iXQKl0rr91000315c8Xg0rri4";

#[tokio::test]
async fn tables_that_cannot_be_read_are_refused_with_the_reason() {
    let plain = str::to_owned;
    let error = async |actions: &[Value], write: bool| {
        let shop = Shop::new(NO_MODELS);
        if write {
            data(&shop, "a.parquet", &["a"], plain);
        }
        version(&shop, 0, actions);
        shop.try_build(None).await.unwrap_err()
    };
    let [_, metadata] = table(&[], None);
    let [future, _] = table(&["teleportation"], None);
    let unknown = error(&[future, metadata.clone(), add("a.parquet", 1)], true).await;
    assert!(
        unknown.contains("raw/transactions is a Delta table") && unknown.contains("teleportation"),
        "{unknown}"
    );
    let [protocol, _] = table(&[], None);
    let missing = error(&[protocol.clone(), metadata.clone(), add("a.parquet", 1)], false).await;
    assert!(missing.contains("raw/transactions/a.parquet"), "{missing}");
    let elsewhere = add("s3://other/a.parquet", 1);
    let outside = error(&[protocol.clone(), metadata.clone(), elsewhere], true).await;
    assert!(outside.contains("s3://other/a.parquet is not in the table's folder"), "{outside}");
    let broken = error(&[json!({"commitInfo": {}})], true).await;
    assert!(broken.contains("Delta table that cannot be read"), "{broken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_in_a_bucket_is_the_same() {
    let bucket = Bucket::open().await;
    let mut in_bucket = Shop::new(NO_MODELS);
    in_bucket.config.lake = bucket.config("some/prefix");
    let in_folder = Shop::new(NO_MODELS);
    let lake = in_bucket.lake();
    for (path, content) in written_table() {
        in_folder.raw(&format!("transactions/{path}"), &content);
        lake.put(&format!("raw/transactions/{path}").into(), content.into()).await.unwrap();
    }
    let (there, here) = (in_bucket.build().await, in_folder.build().await);
    assert_eq!(there.manifest.fingerprint, here.manifest.fingerprint);
    assert_eq!(there.manifest.sources.len(), here.manifest.sources.len());
}
