//! Build tests: features match their definitions, invalid raw data and views are rejected, parts are
//! reproducible.

use std::collections::{BTreeMap, BTreeSet};

use larder::{
    demo::{Retail, generate},
    snapshot::{FileKind, writer::PART_ROWS},
};
use serde_json::{Value, json};

use crate::support::{
    rfm,
    shop::{CORNERS, CORNERS_TOML, NO_MODELS, Shop, corners},
};

mod stages;

#[tokio::test]
async fn rfm_matches_definition_on_corner_cases() {
    let shop = corners();
    let service = shop.open().await;
    let manifest = larder::snapshot::list(&shop.lake()).await.unwrap().remove(0);
    assert_eq!(manifest.as_of.to_rfc3339(), "2024-03-10T11:30:00+00:00");
    let expected = rfm::by_definition(&rfm::lines(CORNERS.as_bytes()), manifest.as_of, &["prospect"]);
    rfm::compare(&service, &manifest, &expected).await;
    let segments: BTreeSet<&str> = expected.customers.values().map(|customer| customer.segment).collect();
    assert!(segments.contains("returns_only") && segments.contains("prospect"));
}

#[tokio::test]
async fn rfm_matches_definition_on_generated_data() {
    let shop = Shop::new(NO_MODELS);
    let made = tempfile::tempdir().unwrap();
    let retail = Retail { customers: 2_000, lines: 20_000, seed: 9, compress: false };
    let mut lines = Vec::new();
    for file in generate(&retail, made.path(), &|_, _| {}).unwrap() {
        let path = file.path.strip_prefix(made.path()).unwrap().display().to_string();
        if path.starts_with("transactions") {
            let text = std::fs::read(&file.path).unwrap();
            // The copy of a file is read once.
            if !path.contains("(copy)") {
                lines.extend(rfm::generated_lines(text.as_slice()));
            }
            shop.raw(&path, text);
        }
    }
    let service = shop.open().await;
    let manifest = larder::snapshot::list(&shop.lake()).await.unwrap().remove(0);
    let counts = &manifest.counts["transactions"];
    assert!(lines.len() > 15_000 && counts.lines > lines.len() as u64, "{} lines, {counts:?}", lines.len());
    let expected = rfm::by_definition(&lines, manifest.as_of, &[]);
    rfm::compare(&service, &manifest, &expected).await;
}

#[tokio::test]
async fn every_line_has_a_fate_and_duplicates_are_counted() {
    let shop = corners();
    shop.raw("transactions/copy.csv", CORNERS);
    let built = shop.build().await;
    let counts = &built.manifest.counts["transactions"];
    let fates: BTreeMap<&str, u64> =
        counts.fates.iter().map(|(fate, lines)| (fate.as_str(), *lines)).collect();
    assert_eq!(counts.lines, 23);
    assert_eq!((fates["purchase"], fates["return"], fates["neither"], fates["no_customer"]), (18, 2, 1, 2));
    assert_eq!(fates.values().sum::<u64>(), counts.lines);
    // One pair of equal lines with a customer, and one pair of guest lines.
    assert_eq!(counts.duplicates, 2);
    let copies: Vec<_> =
        built.manifest.sources.iter().filter_map(|source| source.same_as.as_deref()).collect();
    assert_eq!(copies, ["raw/transactions/all.csv"]);
    let customers = &built.manifest.counts["customers"];
    assert_eq!((customers.lines, customers.fates["kept"], customers.fates["replaced"]), (4, 3, 1));
}

#[tokio::test]
async fn customer_attributes_come_from_the_last_line_and_types_from_all_values() {
    let service = corners().open().await;
    let profile = service.get("/v1/customers/17850?views=profile").await.json()["views"]["profile"].clone();
    assert_eq!(profile["email"], "new@example.com");
    assert_eq!(profile["age"], 31);
    assert_eq!(profile["vip"], true);
    assert_eq!(profile["country"], "France");
    assert_eq!(profile["first_seen_at"], "2024-01-01T10:00:00Z");
    let views = service.get("/v1/views").await.json();
    let email = views["views"][0]["features"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["name"] == "email")
        .unwrap()
        .clone();
    assert_eq!(email["personal"], true);
    let prospect = service.get("/v1/customers/prospect").await.json();
    assert_eq!(prospect["views"]["behavior"], Value::Null);
    assert_eq!(prospect["views"]["profile"]["first_seen_at"], Value::Null);
}

#[tokio::test]
async fn earlier_as_of_ignores_later_lines() {
    let shop = corners();
    let built = shop.try_build(Some("2024-02-15T12:00:00Z")).await.unwrap();
    let counts = &built.manifest.counts["transactions"];
    assert_eq!(counts.fates["after_as_of"], 9);
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    // `as_of` is inclusive: the ties are known, later customers are not, the prospect has no date at all.
    assert_eq!(service.get("/v1/customers/tie-a").await.json()["views"]["rfm"]["recency_days"], 0);
    assert_eq!(service.get("/v1/customers/whale").await.status, 404);
    assert_eq!(service.get("/v1/customers/prospect").await.status, 200);
    assert_eq!(service.get("/v1/customers/17850").await.json()["views"]["rfm"]["frequency"], 1);
}

/// Builds a snapshot and returns the content of its files by path.
async fn bytes_of_build(shop: &Shop, threads: usize) -> BTreeMap<String, Vec<u8>> {
    let mut config = shop.config.clone();
    config.build.threads = Some(threads);
    let shop_lake = shop.lake();
    let built = larder::pipeline::build(&shop_lake, &config, None, &larder::telemetry::Progress::default())
        .await
        .unwrap();
    let folder = shop.path().join("lake/snapshots").join(built.manifest.id.as_str());
    built
        .manifest
        .files
        .iter()
        .map(|file| (file.path.clone(), std::fs::read(folder.join(&file.path)).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn parts_are_identical_for_any_threads_and_file_names() {
    let shop = Shop::new("");
    let made = tempfile::tempdir().unwrap();
    let retail = larder::demo::Retail { customers: 400, lines: 4_000, seed: 7, compress: false };
    let files = larder::demo::generate(&retail, made.path(), &|_, _| {}).unwrap();
    for file in &files {
        let inside = file.path.strip_prefix(made.path()).unwrap().display().to_string();
        shop.raw(&inside, std::fs::read(&file.path).unwrap());
    }
    let first = bytes_of_build(&shop, 1).await;
    let second = bytes_of_build(&shop, 3).await;
    // The same lines of transactions in reverse order and in other files.
    let folder = shop.path().join("lake/raw/transactions");
    let mut all: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all.retain(|path| !path.to_string_lossy().contains("copy"));
    let texts: Vec<String> = all.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let header = texts[0].lines().next().unwrap().to_owned();
    let mut lines: Vec<&str> = texts.iter().flat_map(|text| text.lines().skip(1)).collect();
    lines.reverse();
    std::fs::remove_dir_all(&folder).unwrap();
    for (at, part) in lines.chunks(1_500).enumerate() {
        shop.raw(&format!("transactions/part-{at}.csv"), format!("{header}\n{}\n", part.join("\n")));
    }
    let third = bytes_of_build(&shop, 2).await;
    assert!(first.len() > 10 && first.keys().any(|path| path.starts_with("rows/")));
    for (path, bytes) in &first {
        assert!(second[path] == *bytes, "{path} differs with other threads");
        assert!(third[path] == *bytes, "{path} differs with other files");
    }
}

#[tokio::test]
async fn csv_json_and_gzip_files_mix_in_one_table() {
    let shop = Shop::new("[raw]\nzone = \"Europe/Berlin\"\n");
    let header = "customer_id,order_id,product_id,quantity,unit_price,ordered_at,color\n";
    shop.raw("transactions/a.csv", format!("\u{feff}{header}x,1,p,1,2.50,2024-07-01 12:00,red\n"));
    let json = concat!(
        r#"{"customer_id": 7, "order_id": 2, "product_id": "p", "quantity": 2, "unit_price": 2.5, "#,
        r#""ordered_at": "2024-07-01T10:00:00Z", "more": [1]}"#
    );
    shop.raw("transactions/b.jsonl", format!("{json}\n\n"));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, format!("{header}x,3,p,1,2.5,1719828000,\n").as_bytes()).unwrap();
    shop.raw("transactions/c.csv.gz", packed.finish().unwrap());
    shop.raw("transactions/_SUCCESS", "");
    let built = shop.build().await;
    assert_eq!(built.manifest.as_of.to_rfc3339(), "2024-07-01T10:00:00+00:00");
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let x = service.get("/v1/customers/x").await.json();
    assert_eq!(
        (x["views"]["rfm"]["frequency"].as_i64(), x["views"]["rfm"]["monetary"].as_f64()),
        (Some(2), Some(5.0))
    );
    // In the configured zone, the time is noon on a Monday.
    assert_eq!(x["views"]["behavior"]["favourite_hour"], 12);
    assert_eq!(x["views"]["behavior"]["favourite_weekday"], 1);
    assert_eq!(service.get("/v1/customers/7").await.json()["views"]["rfm"]["monetary"], 5);
}

#[tokio::test]
async fn parquet_types_are_read_and_wrong_types_rejected() {
    use arrow::{
        array::{
            ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
            TimestampMicrosecondArray,
        },
        datatypes::DataType,
    };
    use std::sync::Arc;
    let shop = Shop::new("");
    let write = |name: &str, price: ArrayRef| {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("customer_id", Arc::new(Float64Array::from(vec![17_850.0]))),
            ("order_id", Arc::new(Int64Array::from(vec![1]))),
            ("product_id", Arc::new(StringArray::from(vec!["p"]))),
            ("quantity", Arc::new(Int64Array::from(vec![2]))),
            ("unit_price", price),
            ("ordered_at", Arc::new(TimestampMicrosecondArray::from(vec![1_719_828_000_000_000]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut out = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        shop.raw(name, out)
    };
    let decimal = Decimal128Array::from(vec![12_345]).with_data_type(DataType::Decimal128(10, 2));
    write("transactions/a.parquet", Arc::new(decimal));
    let service = shop.open().await;
    assert_eq!(service.get("/v1/customers/17850").await.json()["views"]["rfm"]["monetary"], 246.9);
    let flag: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
    write("transactions/b.parquet", flag);
    let error = shop.try_build(None).await.unwrap_err();
    assert!(
        error.contains("b.parquet") && error.contains("unit_price") && error.contains("Boolean"),
        "{error}"
    );
}

#[tokio::test]
async fn invalid_raw_files_fail_the_build_and_write_nothing() {
    let header = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n";
    let good = "a,1,p,1,2.50,2024-07-01\n";
    let cases: Vec<(&str, String, &[&str])> = vec![
        (
            "x.csv",
            format!("{}{good}", header.replace("unit_price", "price")),
            &["x.csv", "unit_price", "price"],
        ),
        (
            "x.csv",
            format!("{header}a,1,p,1,abc,2024-07-01\n{good}"),
            &["x.csv, line 2", "unit_price", "found a value like `aaa`", "1 of 2 lines"],
        ),
        (
            "x.csv",
            format!("{header}a,1,p,1.5,2.5,2024-07-01\n{good}"),
            &["quantity", "a whole number", "found a value like `9.9`"],
        ),
        (
            "x.csv",
            format!("{header}a,1,p,1,2.5,31/12/2024\n{good}"),
            &["ordered_at", "found a value like `99/99/9999`"],
        ),
        ("x.csv", format!("{header}a,1,p,1,2.5\n{good}"), &["it has 5 fields, the header 6"]),
        ("x.csv", String::new(), &["no transactions"]),
        ("x.csv.gz", good.to_owned(), &["x.csv.gz", "cannot be read"]),
        ("x.jsonl", "[{}]".to_owned(), &["x.jsonl", "there is no column `customer_id`"]),
        ("x.parquet", "PAR1".to_owned(), &["x.parquet", "not a Parquet file"]),
        ("x.xlsx", "?".to_owned(), &["x.xlsx", "not a workbook"]),
        ("x.docx", "?".to_owned(), &["x.docx", "unknown formats"]),
    ];
    for (name, content, expected) in cases {
        let shop = Shop::new("");
        shop.raw(&format!("transactions/{name}"), &content);
        let error = shop.try_build(None).await.expect_err(name);
        for word in expected {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
        assert!(shop.snapshot_folders().is_empty(), "{name} left a snapshot");
        assert_eq!(
            std::fs::read_dir(shop.path().join("staging")).unwrap().count(),
            0,
            "{name} left its staging"
        );
    }
}

#[tokio::test]
async fn bad_lines_within_the_limit_are_counted_with_examples() {
    let shop = Shop::new("[raw]\nmax_bad_share = 0.5\n");
    let lines = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n\
        a,1,p,1,2.50,2024-07-01\nb,2,p,1,NaN,2024-07-01\nc,3,p,1,1.00001,2024-07-01\na,4,p,1,1,2024-07-01\n";
    shop.raw("transactions/x.csv", lines);
    let built = shop.build().await;
    let counts = &built.manifest.counts["transactions"];
    assert_eq!((counts.lines, counts.fates["bad"], counts.fates["purchase"]), (4, 2, 2));
    let cause = &counts.bad_causes[0];
    assert_eq!((counts.bad_causes.len(), cause.lines, counts.physical_lines), (1, 2, 5), "{counts:?}");
    assert!(cause.examples[0].contains("x.csv, line 3") && cause.examples[1].contains("line 4"), "{cause:?}");
    assert_eq!(built.manifest.customers, 1);
}

#[tokio::test]
async fn sql_file_adds_a_feature() {
    let shop = Shop::new(&format!("{CORNERS_TOML}[views]\nfolder = \"views\"\n"));
    shop.raw("transactions/all.csv", CORNERS);
    let folder = shop.path().join("views");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join("big_orders.sql"),
        "-- step\nSELECT customer_id, order_id FROM orders WHERE revenue > 25",
    )
    .unwrap();
    let sql = "-- Customers with large orders.\n--\n-- big_orders: Orders over 25.\n\
        SELECT b.customer_id, count(*) AS big_orders, max(r.segment) AS segment, max($as_of) AS seen_at,\n\
        max(CASE WHEN o.ordered_at > $as_of - INTERVAL '7 days' THEN 1 ELSE 0 END) = 1 AS lately\n\
        FROM big_orders b JOIN rfm r ON r.customer_id = b.customer_id\n\
        JOIN orders o ON o.order_id = b.order_id AND o.customer_id = b.customer_id\n\
        GROUP BY b.customer_id";
    std::fs::write(folder.join("vip.sql"), sql).unwrap();
    let service = shop.open().await;
    let loyal = service.get("/v1/customers/loyal?views=vip").await.json();
    assert_eq!(
        loyal["views"]["vip"],
        json!({"big_orders": 2, "segment": "champions", "seen_at": "2024-03-10T11:30:00Z", "lately": true})
    );
    assert_eq!(service.get("/v1/customers/edge-1?views=vip").await.json()["views"]["vip"], Value::Null);
    let openapi = service.get("/openapi.json").await.json();
    let schema = &openapi["components"]["schemas"]["Views"]["properties"]["vip"];
    assert_eq!(schema["properties"]["big_orders"]["description"], "Orders over 25.");
    assert_eq!(schema["properties"]["big_orders"]["format"], "int64");
}

/// Builds more customers than fit into a part, with a view that has rows of a part of them, and of unknown
/// ones before, between and after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn customers_of_several_parts_have_their_own_rows() {
    const CUSTOMERS: usize = PART_ROWS + 9_001;
    let shop = Shop::new(&format!("{NO_MODELS}[views]\nfolder = \"views\"\n"));
    let people: Vec<String> = (0..CUSTOMERS).map(|n| format!("C{n:06},2024-01-01T00:00:00Z\n")).collect();
    shop.raw("customers/all.csv", format!("customer_id,created_at\n{}", people.concat()));
    shop.raw(
        "transactions/all.csv",
        "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n\
         C000007,1,P,1,2.50,2024-02-01T10:00:00Z\n",
    );
    let folder = shop.path().join("views");
    std::fs::create_dir(&folder).unwrap();
    let sql = "SELECT customer_id, n FROM (SELECT customer_id, CAST(substr(customer_id, 2) AS INT) AS n \
        FROM customers) WHERE n % 3 <> 0 \
        UNION ALL SELECT column1, 0 FROM (VALUES ('A'), ('C000000-'), ('C131071-'), ('Z'))";
    std::fs::write(folder.join("numbers.sql"), sql).unwrap();
    let first = bytes_of_build(&shop, 1).await;
    let second = bytes_of_build(&shop, 5).await;
    for (path, bytes) in &first {
        assert!(second[path] == *bytes, "{path} differs with other threads");
    }
    let mut manifests = larder::snapshot::list(&shop.lake()).await.unwrap();
    let manifest = manifests.remove(0);
    let parts: Vec<_> = manifest
        .parts(FileKind::Rows)
        .into_iter()
        .map(|part| (manifest.files[part].rows, manifest.files[part].last.clone().unwrap()))
        .collect();
    assert_eq!(parts, [(PART_ROWS as u64, "C131071".to_owned()), (9_001, "C140072".to_owned())]);
    let unknown = manifest.warnings.iter().find(|warning| warning.kind == "unknown_customers").unwrap();
    assert!(unknown.message.contains("view numbers: 4 rows"), "{unknown:?}");
    assert_eq!(unknown.customer_id.as_deref(), Some("A"));
    assert_eq!(manifest.quality.null_shares["numbers.n"], 0.333_333);
    shop.publish(&manifest.id).await;
    let service = shop.serve().await;
    for n in [0, 1, 7, 8_191, 8_192, 131_070, 131_071, 131_072, 131_073, 140_071, 140_072] {
        let views =
            service.get(&format!("/v1/customers/C{n:06}?views=numbers,rfm")).await.json()["views"].clone();
        let expected = if n % 3 == 0 { Value::Null } else { json!({ "n": n }) };
        assert_eq!(views["numbers"], expected, "customer {n}");
        assert_eq!(views["rfm"]["frequency"], i32::from(n == 7), "customer {n}");
    }
}

#[tokio::test]
async fn parquet_files_of_another_engine_are_a_view() {
    use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};
    use std::sync::Arc;
    let shop = Shop::new(&format!("{CORNERS_TOML}[views]\nparquet = {{ clv = \"clv/\" }}\n"));
    shop.raw("transactions/all.csv", CORNERS);
    let folder = shop.path().join("lake/clv");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = std::fs::File::create(folder.join(name)).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    let texts = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
    write(
        "part-1.parquet",
        vec![
            ("clv", Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)]))),
            ("customer_id", texts(vec!["loyal", "whale", "stranger"])),
        ],
    );
    // The second file has another column, and another column order.
    write("part-2.parquet", vec![("customer_id", texts(vec!["edge-1"])), ("band", texts(vec!["gold"]))]);
    let built = shop.build().await;
    let unknown: Vec<_> =
        built.manifest.warnings.iter().filter(|warning| warning.kind == "unknown_customers").collect();
    assert!(unknown.len() == 1 && unknown[0].message.contains("view clv: 1 rows"), "{unknown:?}");
    assert_eq!(unknown[0].customer_id.as_deref(), Some("stranger"));
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    assert_eq!(
        service.get("/v1/customers/loyal?views=clv").await.json()["views"]["clv"],
        json!({"clv": 1.5, "band": null})
    );
    assert_eq!(
        service.get("/v1/customers/whale?views=clv").await.json()["views"]["clv"],
        json!({"clv": null, "band": null})
    );
    assert_eq!(
        service.get("/v1/customers/edge-1?views=clv").await.json()["views"]["clv"],
        json!({"clv": null, "band": "gold"})
    );
    assert_eq!(service.get("/v1/customers/zero?views=clv").await.json()["views"]["clv"], Value::Null);

    // Files with conflicting types and invalid files are named in the error.
    write("part-3.parquet", vec![("customer_id", texts(vec!["zero"])), ("clv", texts(vec!["much"]))]);
    let error = shop.try_build(None).await.unwrap_err();
    assert!(
        error.contains("view clv") && error.contains("clv/part-3.parquet") && error.contains("Utf8"),
        "{error}"
    );
    std::fs::write(folder.join("part-3.parquet"), "customer_id,clv\n").unwrap();
    let error = shop.try_build(None).await.unwrap_err();
    assert!(error.contains("view clv") && error.contains("clv/part-3.parquet"), "{error}");
}

#[tokio::test]
async fn parquet_files_of_several_types_are_one_view_with_its_own_sql() {
    use arrow::array::{
        ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, NullArray, RecordBatch,
    };
    use std::sync::Arc;
    let views = "[views]\nfolder = \"views\"\nparquet = { clv = \"clv/\", plain = \"clv/\" }\n";
    let shop = Shop::new(&format!("{NO_MODELS}{views}"));
    let header = "customer_id,order_id,product_id,quantity,unit_price,ordered_at";
    shop.raw(
        "transactions/all.csv",
        format!("{header}\n17850,1,p,1,2,2024-01-01\n17851,2,p,1,2,2024-01-01\n17852,3,p,1,2,2024-01-01\n"),
    );
    std::fs::create_dir_all(shop.path().join("views")).unwrap();
    let sql = "-- Value of a customer.\nSELECT customer_id, amount * 2 AS twice, country FROM parquet_clv";
    std::fs::write(shop.path().join("views/clv.sql"), sql).unwrap();
    let write = |path: &str, columns: Vec<(&str, ArrayRef)>| {
        let file = shop.path().join("lake/clv").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = std::fs::File::create(file).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    let money = Decimal128Array::from(vec![150]).with_precision_and_scale(10, 2).unwrap();
    write(
        "country=UK/a.parquet",
        vec![
            ("customer_id", Arc::new(Int64Array::from(vec![17_850]))),
            ("amount", Arc::new(Int32Array::from(vec![3]))),
            ("note", Arc::new(NullArray::new(1))),
        ],
    );
    write(
        "country=DE/b.parquet",
        vec![
            ("customer_id", Arc::new(Float64Array::from(vec![17_851.0]))),
            ("amount", Arc::new(money)),
            ("note", Arc::new(Int32Array::from(vec![7]))),
        ],
    );
    write(
        "c.parquet",
        vec![
            ("customer_id", Arc::new(Int32Array::from(vec![17_852]))),
            ("amount", Arc::new(Int64Array::from(vec![4]))),
        ],
    );
    let service = shop.open().await;
    let views = async |id: &str| {
        service.get(&format!("/v1/customers/{id}?views=clv,plain")).await.json()["views"].clone()
    };
    let first = json!({"twice": 6, "country": "UK"});
    let second = json!({"twice": 3, "country": "DE"});
    assert_eq!((views("17850").await["clv"].clone(), views("17851").await["clv"].clone()), (first, second));
    assert_eq!(views("17851").await["plain"], json!({"amount": 1.5, "note": 7, "country": "DE"}));
    assert_eq!(views("17852").await["plain"], json!({"amount": 4, "note": null, "country": null}));
    write(
        "d.parquet",
        vec![
            ("customer_id", Arc::new(Float64Array::from(vec![1.5e300]))),
            ("amount", Arc::new(Int64Array::from(vec![4]))),
        ],
    );
    let error = shop.try_build(None).await.unwrap_err();
    assert!(error.contains("clv/d.parquet") && error.contains("customer_id"), "{error}");
}

#[tokio::test]
async fn invalid_views_fail_the_build_by_name() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("v", "SELEC customer_id FROM orders", &["view v", "SELEC"]),
        ("v", "SELECT order_id FROM orders", &["view v", "customer_id"]),
        ("v", "SELECT customer_id, hour FROM orders", &["view v", "more than one row", "17850"]),
        ("v", "SELECT customer_id, nope FROM customers", &["view v", "nope"]),
        ("v", "SELECT customer_id, 1 AS a FROM nowhere", &["view v", "nowhere"]),
        ("v", "SELECT customer_id, INTERVAL '1 day' AS gap FROM customers", &["view v", "gap", "Interval"]),
        ("v", "SELECT customer_id, count(*) FROM customers GROUP BY customer_id", &["view v", "AS"]),
        ("v", "SELECT customer_id, $today AS t FROM customers", &["view v", "$today", "$as_of"]),
        ("v", "DROP TABLE orders", &["view v", "SELECT"]),
        ("v", "SELECT customer_id FROM v", &["v", "cycle"]),
        ("orders", "SELECT customer_id FROM customers", &["orders", "taken"]),
        ("Bad-Name", "SELECT customer_id FROM customers", &["Bad-Name"]),
        ("rfm", "SELECT customer_id, 'x' AS segment FROM customers", &["view rfm", "monetary"]),
        ("rfm_edges", "-- step\nSELECT 1 AS k", &["rfm_edges", "measure"]),
    ];
    for (name, sql, expected) in cases {
        let shop = Shop::new(&format!("{CORNERS_TOML}[views]\nfolder = \"views\"\n"));
        shop.raw("transactions/all.csv", CORNERS);
        let folder = shop.path().join("views");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.sql")), sql).unwrap();
        let error = shop.try_build(None).await.expect_err(sql);
        for word in *expected {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
        assert!(shop.snapshot_folders().is_empty(), "{sql} left a snapshot");
    }
}

#[test]
fn view_over_the_memory_limit_is_stopped() {
    let limits = "[build]\nmemory = \"64MiB\"\nmemory_limit = \"400MiB\"\n";
    let shop = Shop::new(&format!("{CORNERS_TOML}[views]\nfolder = \"views\"\n{limits}"));
    shop.raw("transactions/all.csv", CORNERS);
    let folder = shop.path().join("views");
    std::fs::create_dir(&folder).unwrap();
    // Millions of long texts, which DataFusion's memory pool hardly tracks.
    let sql = "SELECT a.customer_id, count(DISTINCT concat(repeat('x', 1000), a.order_id, b.order_id, \
        c.order_id, d.order_id, e.order_id, f.order_id)) AS n \
        FROM orders a, orders b, orders c, orders d, orders e, orders f GROUP BY a.customer_id";
    std::fs::write(folder.join("greedy.sql"), sql).unwrap();
    // A process of its own: the limit is that of a process, and other tests use memory in this one.
    let output = shop.larder(&["build"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{error}");
    assert!(error.contains("view greedy: the process used"), "{error}");
    assert!(error.contains("memory_limit in [build] (400 MiB)") && error.contains("group twice"), "{error}");
}
