//! Secrets and personal values in what the binary prints and writes: messages without passwords, files that
//! only their owner may read, and audit lines of commands.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use arrow::{array::Array, util::display::array_value_to_string};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{
    callers::shop,
    program::json_lines,
    redis::Redis,
    shop::{Shop, corners_with},
};

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn assert_success(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    text(output)
}

#[test]
fn no_message_shows_a_password() {
    let shop = Shop::new("");
    let run = |args: &[&str], vars: &[(&str, &str)]| {
        shop.command(args).envs(vars.iter().copied()).output().unwrap()
    };
    for (args, vars, word) in [
        (&["--lake", "s3://key:S3cretPw@bucket", "snapshots"][..], &[][..], "s3://***@bucket"),
        (&["--lake", "gopher://key:S3cretPw@bucket", "snapshots"], &[], "***@bucket"),
        (&["--tair", "redis://:S3cretPw@127.0.0.1:1", "publish"], &[], "LARDER_TAIR_URL"),
        (&["snapshots", "redis://:S3cretPw@127.0.0.1:1"], &[], "redis://***@127.0.0.1:1"),
        (&["snapshots", "--tiar=redis://:S3cretPw@127.0.0.1:1"], &[], "--tiar"),
        (&["snapshots"], &[("LARDER_LAKE_URL", "s3://AKIA:S3cretPw@bucket")], "s3://***@bucket"),
        (
            &["snapshots", "--keep", "1"],
            &[("LARDER_TAIR_URL", "http://u:S3cretPw@host")],
            "must begin with redis://",
        ),
        (&["snapshots", "--keep", "1"], &[("LARDER_TAIR_URL", "redis:/u:S3cretPw@host")], "`url`"),
        (&["verify"], &[("LARDER_TAIR_TIMEOUT", "redis://u:S3cretPw@host")], "`timeout`"),
    ] {
        let output = run(args, vars);
        let message = text(&output);
        assert!(!output.status.success(), "{args:?}");
        assert!(message.contains(word) && !message.contains("S3cretPw"), "{args:?} {vars:?}: {message}");
    }
    let config = larder::config::Config::parse(
        "[tair]\nurl = \"redis://u:S3cretPw@host\"\n[lake]\nurl = \"s3://k:S3cretPw@b\"\n\
         endpoint = \"https://k:S3cretPw@b\"\n",
        "larder.toml",
        [],
    );
    let shown = format!("{:?}", config.unwrap());
    assert!(!shown.contains("S3cretPw") && shown.contains("redis://***@host"), "{shown}");
}

#[test]
fn header_error_of_customers_shows_no_record() {
    let shop = corners_with("");
    shop.raw("customers/people.jsonl", "");
    shop.raw("customers/more.csv", "c0001,2022-12-01T00:00:00Z,Anna Secretname,anna.secret@example.com\n");
    let output = shop.larder(&["build"]);
    let message = text(&output);
    assert!(!output.status.success() && message.contains("has 4 fields that look like values"), "{message}");
    assert!(!message.contains("Secretname") && !message.contains("example.com"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tair_password_is_read_from_a_file() {
    let redis = Redis::start();
    let mut shop = corners_with(&format!("[tair]\nurl = \"{}\"\npassword_file = \"tair\"\n", redis.url()));
    assert_eq!(redis.cli(&["config", "set", "requirepass", "filed-s3cret"]), "OK");
    let id = shop.build().await.manifest.id;
    let published = |id: &str| shop.larder(&["publish", id]);
    assert!(text(&published(id.as_str())).contains("password_file"));
    fs::write(shop.path().join("tair"), "filed-s3cret\n").unwrap();
    assert_success(&published(id.as_str()));
    fs::write(shop.path().join("tair"), "wrong-s3cret\n").unwrap();
    let refused = shop.larder(&["verify"]);
    assert!(!refused.status.success() && !text(&refused).contains("s3cret"), "{}", text(&refused));
    fs::write(shop.path().join("tair"), "filed-s3cret\n").unwrap();
    shop.config.serving.poll = Duration::from_millis(20);
    let service = shop.serve().await;
    crate::support::shop::eventually(
        || service.get("/v1/customers/loyal"),
        |answer| answer.json()["tier"] == "tair",
    )
    .await;
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns the values of `feature` in the struct column `view` of a Parquet file; `None` for null.
fn values(file: &Path, view: &str, feature: &str) -> Vec<Option<String>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap()).unwrap();
    let mut all = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let column = batch.column_by_name(view).unwrap();
        let view = column.as_any().downcast_ref::<arrow::array::StructArray>().unwrap();
        let column = view.column_by_name(feature).unwrap();
        all.extend((0..batch.num_rows()).map(|row| {
            let value = || array_value_to_string(column, row).unwrap();
            if column.is_null(row) { None } else { Some(value()) }
        }));
    }
    all
}

#[tokio::test]
async fn files_with_personal_data_are_private_and_audited() {
    let shop = shop("[log]\nlevel = \"error\"\nformat = \"json\"\naudit = \"audit.log\"\n");
    let built = shop.build().await.manifest;
    shop.publish(&built.id).await;
    let file = |name: &str| -> PathBuf { shop.path().join(name) };
    let audit = || json_lines(&file("audit.log"));
    let run = |args: &[&str], out: &str| {
        let path = file(out).display().to_string();
        assert_success(&shop.larder(&[args, &["--out", &path]].concat()))
    };
    let as_of = larder::snapshot::rfc3339::format(built.as_of);
    let features = ["features", "--as-of", &as_of];

    let said = run(&features, "masked.parquet");
    assert!(said.contains("left out, as personal data: profile.email"), "{said}");
    assert!(values(&file("masked.parquet"), "profile", "email").iter().all(Option::is_none));
    assert!(values(&file("masked.parquet"), "profile", "first_seen_at").iter().any(Option::is_some));
    assert_eq!(audit(), Vec::<Value>::new());

    run(&[&features[..], &["--pii"]].concat(), "features.parquet");
    let emails = values(&file("features.parquet"), "profile", "email");
    assert!(emails.contains(&Some("new@example.com".to_owned())), "{emails:?}");
    run(&["export", "segment", "prospect", "--pii"], "all.csv");
    run(&["export", "segment", "prospect", "--columns", "customer_id,rfm"], "plain.csv");
    let logged = audit();
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert_eq!(
        [&logged[0]["command"], &logged[1]["command"], &logged[1]["list"]],
        [&json!("features"), &json!("export"), &json!("segment prospect")]
    );
    for line in &logged {
        assert!(line["shown"].as_str().unwrap().contains("profile.email"), "{line}");
        assert!(line["customers"].as_u64().unwrap() > 0 && line["out"].is_string(), "{line}");
    }
    for name in ["masked.parquet", "features.parquet", "all.csv", "plain.csv", "audit.log"] {
        assert_eq!(mode(&file(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn subject_has_all_that_is_held_of_a_customer() {
    let shop = shop("");
    shop.raw(
        "interactions/looks.csv",
        "customer_id,event,at,page\n17850.0,view,2024-01-02,p1\nloyal,view,2024-01-02,p2\n",
    );
    let first = shop.build().await.manifest.id;
    let second = shop.build().await.manifest.id;
    shop.publish(&first).await;
    let out = shop.path().join("17850.json");
    let path = out.to_str().unwrap();
    assert_success(&shop.larder(&["subject", " 17850 ", "--out", path]));
    assert_eq!(mode(&out), 0o600);
    let held: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!((&held["customer_id"], &held["erased_at"]), (&json!("17850"), &Value::Null));
    let snapshots = held["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 2, "{held}");
    for snapshot in snapshots {
        let is_first = snapshot["snapshot"] == first.to_string();
        assert!(is_first || snapshot["snapshot"] == second.to_string());
        assert_eq!(snapshot["is_current"], is_first);
        assert_eq!(snapshot["views"]["profile"]["email"], "new@example.com");
        assert!(snapshot["views"]["recommendations"].is_object(), "{snapshot}");
        let lists = snapshot["lists"].as_array().unwrap();
        let segment = lists.iter().find(|list| list["name"] == snapshot["views"]["rfm"]["segment"]).unwrap();
        assert!(segment["rank"].as_u64().unwrap() > 0 && segment["definition"].is_string(), "{segment}");
        assert!(lists.iter().any(|list| list["name"] == "churn"), "{snapshot}");
    }
    let raw: Vec<(&str, &str, u64)> = held["raw"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap();
            (text("table"), text("file"), line["line"].as_u64().unwrap())
        })
        .collect();
    let transactions = |line| ("transactions", "raw/transactions/all.csv", line);
    assert_eq!(
        raw,
        [
            transactions(2),
            transactions(3),
            transactions(4),
            ("customers", "raw/customers/people.jsonl", 2),
            ("customers", "raw/customers/people.jsonl", 3),
            ("interactions", "raw/interactions/looks.csv", 2),
        ]
    );
    // Columns that no feature uses are part of the lines.
    assert_eq!(held["raw"][0]["record"]["Name"], "Lamp");
    assert_eq!(held["raw"][5]["record"]["page"], "p1");
    assert_eq!(held["raw"][3]["record"]["email"], "old@example.com");

    // After an erasure only the raw lines are left. They are the operator's.
    assert_success(&shop.larder(&["forget", "17850"]));
    let printed = assert_success(&shop.larder(&["subject", "17850"]));
    let held: Value = serde_json::from_str(&printed[..=printed.rfind('}').unwrap()]).unwrap();
    assert!(held["erased_at"].is_string() && held["snapshots"] == json!([]), "{held}");
    assert_eq!(held["raw"].as_array().unwrap().len(), 6);
    let nobody = shop.larder(&["subject", "nobody"]);
    assert!(!nobody.status.success() && text(&nobody).contains("nothing is held of `nobody`"));
}
