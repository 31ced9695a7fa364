//! Raw data in Parquet files, whose columns are typed.

use std::{fs::File, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryArray, Date32Array, Decimal128Array, Decimal256Array, DictionaryArray, Float64Array,
        Int64Array, NullArray, RecordBatch, StringArray, TimestampMicrosecondArray,
        TimestampMillisecondArray,
    },
    datatypes::{Int8Type, Schema, i256},
};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use crate::support::shop::NO_MODELS;
use crate::support::shop::Shop;

fn write(shop: &Shop, path: &str, columns: Vec<(&str, ArrayRef)>) {
    let file = shop.raw(path, "");
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let schema: Arc<Schema> = batch.schema();
    let mut writer = ArrowWriter::try_new(File::create(file).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Writes lines of `customers` at `micros`, with prices and quantities as doubles.
fn transactions(shop: &Shop, path: &str, customers: ArrayRef, micros: &[i64]) {
    let count = micros.len();
    let orders: Vec<String> = (0..count).map(|at| at.to_string()).collect();
    write(
        shop,
        path,
        vec![
            ("customer_id", customers),
            ("order_id", Arc::new(StringArray::from(orders))),
            ("product_id", texts(&vec!["p"; count])),
            ("quantity", Arc::new(Float64Array::from(vec![2.0; count]))),
            ("unit_price", Arc::new(Float64Array::from(vec![0.1 + 0.2; count]))),
            ("ordered_at", Arc::new(TimestampMicrosecondArray::from(micros.to_vec()))),
        ],
    );
}

const JANUARY: i64 = 1_704_412_800_000_000;

#[tokio::test]
async fn parquet_values_ignore_configured_formats() {
    let toml =
        "[raw.transactions]\ntime_format = \"%Y-%d-%mT%H:%M:%S\"\nthousands = \".\"\ndecimal = \",\"\n";
    let shop = Shop::new(&format!("{toml}{NO_MODELS}"));
    let header = "customer_id,order_id,product_id,quantity,unit_price,ordered_at";
    shop.raw("transactions/old.csv", format!("{header}\na,x,p,2,\"1.000,5\",2023-31-12T10:00:00\n"));
    // Integer ids as floats, as pandas writes a column with missing values.
    let customers = Float64Array::from(vec![Some(17_850.0), Some(f64::NAN), None]);
    transactions(&shop, "transactions/new.parquet", Arc::new(customers), &[JANUARY; 3]);
    let service = shop.open().await;
    let manifest = larder::snapshot::list(&shop.lake()).await.unwrap().remove(0);
    assert_eq!(larder::snapshot::rfc3339::format(manifest.as_of), "2024-01-05T00:00:00Z");
    let fates = &manifest.counts["transactions"].fates;
    assert_eq!((fates["purchase"], fates["no_customer"], fates["bad"]), (2, 2, 0));
    let rfm = |answer: &serde_json::Value| answer["views"]["rfm"]["monetary"].clone();
    assert_eq!(rfm(&service.get("/v1/customers/17850").await.json()), json!(0.6));
    assert_eq!(rfm(&service.get("/v1/customers/a").await.json()), json!(2001));
}

#[tokio::test]
async fn ids_rounded_by_a_double_are_bad_lines() {
    let shop = Shop::new(&format!("[raw]\nmax_bad_share = 0.9\n{NO_MODELS}"));
    let customers = Float64Array::from(vec![9_007_199_254_740_994.0, 9.000_000_001_785_7e16, 17_850.0]);
    transactions(&shop, "transactions/a.parquet", Arc::new(customers), &[JANUARY; 3]);
    let counts = shop.build().await.manifest.counts["transactions"].clone();
    assert_eq!((counts.fates["bad"], counts.fates["purchase"]), (2, 1));
    assert!(counts.bad_causes[0].cause.contains("rounded number"), "{counts:?}");
}

#[tokio::test]
async fn customer_decimals_and_dates_are_exact() {
    let shop = Shop::new(&format!(
        "[raw]\nzone = \"Asia/Shanghai\"\n[raw.customers]\npersonal = [\"phone\"]\n{NO_MODELS}"
    ));
    transactions(&shop, "transactions/a.parquet", texts(&["a", "b"]), &[JANUARY; 2]);
    let decimals =
        |values: Vec<i128>, scale| Decimal128Array::from(values).with_precision_and_scale(38, scale).unwrap();
    write(
        &shop,
        "customers/1.parquet",
        vec![
            ("customer_id", texts(&["a"])),
            ("credit", Arc::new(decimals(vec![123_456_789_012_345_678_902_345_678], 4))),
            ("birthday", Arc::new(Date32Array::from(vec![7_425]))),
            (
                "seen_at",
                Arc::new(TimestampMicrosecondArray::from(vec![JANUARY]).with_timezone("Europe/Berlin")),
            ),
            ("points", Arc::new(Int64Array::from(vec![7]))),
        ],
    );
    write(
        &shop,
        "customers/2.parquet",
        vec![
            ("customer_id", texts(&["b"])),
            ("credit", Arc::new(decimals(vec![15], 1))),
            // A column with nulls only is a feature.
            ("phone", Arc::new(StringArray::from(vec![None::<&str>]))),
        ],
    );
    let service = shop.open().await;
    let profile = service.get("/v1/customers/a?views=profile").await.text;
    assert!(profile.contains("\"credit\":12345678901234567890234.5678"), "{profile}");
    assert!(profile.contains("\"birthday\":\"1990-05-01\""), "{profile}");
    assert!(
        profile.contains("\"seen_at\":\"2024-01-05T00:00:00Z\"") && profile.contains("\"points\":7"),
        "{profile}"
    );
    let profile = service.get("/v1/customers/b?views=profile").await.json();
    assert_eq!(profile["views"]["profile"]["credit"], json!(1.5));
    assert_eq!(profile["views"]["profile"].get("phone"), Some(&serde_json::Value::Null));
}

/// Reads the column types that pandas writes for nulls and categories, and a time in the wrong unit.
#[tokio::test]
async fn unusual_parquet_types_are_read_or_bad_lines() {
    let shop = Shop::new(&format!(
        "[raw]\nmax_bad_share = 0.9\n[raw.transactions]\ndecimal = \",\"\nthousands = \".\"\n{NO_MODELS}"
    ));
    let file = shop.raw("transactions/a.parquet", "");
    let batch = |name: &str| {
        let categories: DictionaryArray<Int8Type> = (0..100)
            .map(|at| format!("{name}{at}"))
            .collect::<Vec<_>>()
            .iter()
            .map(|text| Some(text.as_str()))
            .collect();
        let prices =
            Decimal256Array::from(vec![i256::from(234_500); 100]).with_precision_and_scale(40, 3).unwrap();
        let times = (0..100).map(|at| if at == 7 { 100_000_000_000_000_000 } else { JANUARY / 1_000 });
        RecordBatch::try_from_iter([
            ("customer_id", texts(&["a"; 100])),
            ("order_id", Arc::new(categories) as ArrayRef),
            ("product_id", texts(&["p"; 100])),
            ("category", Arc::new(NullArray::new(100))),
            ("quantity", Arc::new(Int64Array::from(vec![2; 100]))),
            ("unit_price", Arc::new(prices)),
            ("ordered_at", Arc::new(TimestampMillisecondArray::from(times.collect::<Vec<i64>>()))),
        ])
        .unwrap()
    };
    let (first, second) = (batch("x"), batch("y"));
    let mut writer = ArrowWriter::try_new(File::create(file).unwrap(), first.schema(), None).unwrap();
    writer.write(&first).unwrap();
    writer.flush().unwrap();
    writer.write(&second).unwrap();
    writer.close().unwrap();
    let counts = shop.build().await.manifest.counts["transactions"].clone();
    assert_eq!((counts.fates["purchase"], counts.fates["bad"]), (198, 2), "{counts:?}");
    assert_eq!(counts.amounts["purchase"], "92862");
    assert!(counts.bad_causes[0].cause.contains("column `ordered_at`"), "{counts:?}");
}

#[tokio::test]
async fn invalid_utf8_is_a_bad_line() {
    let shop = Shop::new(&format!("[raw]\nmax_bad_share = 0.9\n{NO_MODELS}"));
    transactions(&shop, "transactions/a.parquet", texts(&["a", "b"]), &[JANUARY; 2]);
    let names = BinaryArray::from_vec(vec![b"J\xfcrgen", b"Ann"]);
    write(&shop, "customers/c.parquet", vec![("customer_id", texts(&["a", "b"])), ("name", Arc::new(names))]);
    let counts = shop.build().await.manifest.counts["customers"].clone();
    assert_eq!((counts.fates["bad"], counts.fates["kept"]), (1, 1));
    assert!(counts.bad_causes[0].cause.contains("column `name` has bytes that are not UTF-8"), "{counts:?}");
}

#[tokio::test]
async fn engine_folders_are_skipped_and_engine_tables_rejected() {
    let shop = Shop::new(NO_MODELS);
    transactions(&shop, "transactions/part-0.parquet", texts(&["a"; 4]), &[JANUARY; 4]);
    transactions(&shop, "transactions/_temporary/0/part-0.parquet", texts(&["a"; 3]), &[JANUARY; 3]);
    assert_eq!(shop.build().await.manifest.counts["transactions"].lines, 4);
    shop.raw("transactions/.hoodie/hoodie.properties", "x");
    let error = shop.try_build(None).await.unwrap_err();
    assert!(error.contains("Apache Hudi"), "{error}");
    // The same holds for the Parquet files of a view.
    let shop = Shop::new(&format!("[views]\nparquet = {{ clv = \"raw/clv/\" }}\n{NO_MODELS}"));
    transactions(&shop, "transactions/part-0.parquet", texts(&["a"]), &[JANUARY]);
    let clv = |path: &str, value: f64| {
        write(
            &shop,
            path,
            vec![("customer_id", texts(&["a"])), ("clv", Arc::new(Float64Array::from(vec![value])))],
        );
    };
    clv("clv/part-0.parquet", 1.5);
    clv("clv/.staging/part-1.parquet", 2.5);
    let service = shop.open().await;
    assert_eq!(service.get("/v1/customers/a?views=clv").await.json()["views"]["clv"]["clv"], json!(1.5));
    shop.raw("clv/_delta_log/00000000000000000000.json", "{}");
    let error = shop.try_build(None).await.unwrap_err();
    assert!(error.contains("view clv") && error.contains("Delta Lake"), "{error}");
}
