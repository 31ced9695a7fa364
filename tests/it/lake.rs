//! The lake on a bucket: the contract of object stores, deviations of OSS, and all commands.

use std::sync::atomic::Ordering;

use larder::{
    config::LakeConfig,
    lake::{Lake, LakeError},
};
use object_store::{
    DynObjectStore, ObjectStoreExt, PutMode, PutOptions, integration, path::Path as ObjectPath,
};

use crate::support::{
    bucket::Bucket,
    shop::{CORNERS, CORNERS_TOML, PEOPLE, Shop, corners},
};

fn open(bucket: &Bucket, prefix: &str) -> Lake {
    Lake::open(&bucket.config(prefix), std::path::Path::new("")).unwrap()
}

/// Runs the contract tests of `object_store`.
async fn contract(store: &DynObjectStore) {
    integration::put_get_delete_list(store).await;
    integration::get_opts(store).await;
    integration::list_uses_directories_correctly(store).await;
    integration::list_with_delimiter(store).await;
    integration::rename_and_copy(store).await;
    integration::list_with_offset_exclusivity(store).await;
    integration::put_get_attributes(store).await;
    integration::multipart_out_of_order(store).await;
    integration::multipart_race_condition(store, true).await;
    assert!(integration::get_nonexistent_object(store, None).await.is_err());
    for path in ["test_multipart_out_of_order", "test_multipart_race_condition", "attributes", "test"] {
        let _ = store.delete(&path.into()).await;
    }
    for file in ["a", "b", "c", "d", "e"] {
        let _ = store.delete(&format!("test_offset/file_{file}.txt").into()).await;
    }
    integration::stream_get(store).await;
}

#[tokio::test]
async fn bucket_passes_object_store_contract() {
    let bucket = Bucket::open().await;
    contract(open(&bucket, "").store().as_ref()).await;
}

#[tokio::test]
async fn bucket_prefix_passes_object_store_contract() {
    let bucket = Bucket::open().await;
    contract(open(&bucket, "deep/larder").store().as_ref()).await;
    assert!(bucket.file("deep/larder").exists());
}

#[tokio::test]
async fn local_folder_passes_object_store_contract() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        LakeConfig { url: folder.path().join("lake").display().to_string(), ..LakeConfig::default() };
    let lake = Lake::open(&config, folder.path()).unwrap();
    contract(lake.store().as_ref()).await;
    integration::copy_if_not_exists(lake.store().as_ref()).await;
    integration::copy_rename_nonexistent_object(lake.store().as_ref()).await;
}

#[tokio::test]
async fn files_with_invalid_names_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("lake/raw");
    std::fs::create_dir_all(&files).unwrap();
    for name in ["a.csv", "b\u{1}.csv", "c\nd.csv", "e.csv"] {
        std::fs::write(files.join(name), "x").unwrap();
    }
    let config =
        LakeConfig { url: folder.path().join("lake").display().to_string(), ..LakeConfig::default() };
    let listed = Lake::open(&config, folder.path()).unwrap().list(&"raw".into()).await.unwrap();
    let names: Vec<_> = listed.iter().map(|object| object.location.as_ref()).collect();
    assert_eq!(names, ["raw/a.csv", "raw/e.csv"]);
}

#[tokio::test]
async fn conditional_put_is_refused_without_request() {
    let bucket = Bucket::open().await;
    let lake = open(&bucket, "x");
    let options = PutOptions::from(PutMode::Create);
    let error = lake.store().put_opts(&"a".into(), "b".into(), options).await.unwrap_err();
    assert!(matches!(error, object_store::Error::NotImplemented { .. }), "{error}");
    assert_eq!(bucket.faults.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn rejected_path_style_is_reported() {
    let bucket = Bucket::open().await;
    let config = LakeConfig { path_style: true, ..bucket.config("x") };
    let lake = Lake::open(&config, std::path::Path::new("")).unwrap();
    let error = format!("{:?}", lake.put(&"a".into(), "b".into()).await.unwrap_err());
    assert!(error.contains("403") && error.contains("SecondLevelDomainForbidden"), "{error}");
    assert!(!error.contains("verysecret"), "{error}");
}

#[tokio::test]
async fn range_past_end_is_length_error() {
    let bucket = Bucket::open().await;
    let lake = open(&bucket, "x");
    let path = ObjectPath::from("object");
    lake.put(&path, "0123456789".into()).await.unwrap();
    assert_eq!(lake.get_range(&path, 2..5).await.unwrap(), "234");
    assert_eq!(lake.get_range(&path, 0..10).await.unwrap(), "0123456789");
    // OSS answers this range with the whole object and status 200.
    let error = lake.get_range(&path, 5..20).await.unwrap_err();
    assert!(matches!(error, LakeError::Length { expected: 15, got: 5, .. }), "{error:?}");
    let error = lake.get_range(&path, 12..20).await.unwrap_err();
    assert!(matches!(error, LakeError::Length { expected: 8, got: 0, .. }), "{error:?}");
    let missing = lake.get_range(&"nothing".into(), 0..1).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing:?}");
}

#[tokio::test]
async fn busy_store_is_retried_and_broken_body_is_resumed() {
    let bucket = Bucket::open().await;
    let lake = open(&bucket, "x");
    let path = ObjectPath::from("object");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    bucket.faults.busy.store(2, Ordering::Relaxed);
    lake.put(&path, content.clone().into()).await.unwrap();
    bucket.faults.busy.store(2, Ordering::Relaxed);
    bucket.faults.cutting.store(2, Ordering::Relaxed);
    assert!(lake.get(&path).await.unwrap() == content, "the object differs");
    bucket.faults.cutting.store(1, Ordering::Relaxed);
    assert!(
        lake.get_range(&path, 100..2_000_000).await.unwrap() == content[100..2_000_000],
        "the range differs"
    );
    // The number of resumes is limited.
    bucket.faults.cutting.store(u64::MAX, Ordering::Relaxed);
    assert!(lake.get(&path).await.is_err());
}

#[tokio::test]
async fn access_denied_is_reported_without_secrets() {
    let bucket = Bucket::open().await;
    let lake = open(&bucket, "x");
    bucket.faults.forbidding.store(true, Ordering::Relaxed);
    let error = format!("{:?}", lake.get(&"object".into()).await.unwrap_err());
    assert!(error.contains("403") && error.contains("AccessDenied"), "{error}");
    assert!(!error.contains("verysecret"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn build_in_bucket_equals_build_in_folder() {
    let local = corners();
    let expected = local.build().await.manifest;
    let bucket = Bucket::open().await;
    let shop = Shop::new(&format!("{}{CORNERS_TOML}", bucket.toml("shop")));
    let lake = shop.lake();
    lake.put(&"raw/transactions/all.csv".into(), CORNERS.into()).await.unwrap();
    lake.put(&"raw/customers/people.jsonl".into(), PEOPLE.into()).await.unwrap();
    let service = shop.open().await;
    let built = larder::snapshot::list(&lake).await.unwrap().remove(0);
    assert_eq!(built.fingerprint, expected.fingerprint, "the same parts, byte for byte");
    let answer = service.get("/v1/customers/loyal").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["tier"], "snapshot");
    // Rows in memory are served while the store fails.
    bucket.faults.forbidding.store(true, Ordering::Relaxed);
    assert_eq!(service.get("/v1/customers/loyal").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_commands_work_on_bucket() {
    let bucket = Bucket::open().await;
    let shop = Shop::new(&format!("{}{CORNERS_TOML}", bucket.toml("shop")));
    let file = shop.path().join("all.csv");
    std::fs::write(&file, CORNERS).unwrap();
    let run = |args: Vec<String>| {
        let mut command = shop.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        async move {
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
            text
        }
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    run(vec!["upload".into(), "transactions".into(), file.display().to_string()]).await;
    assert!(bucket.file("shop/raw/transactions/all.csv").exists());
    run(words("build")).await;
    run(words("build")).await;
    let listed = run(words("snapshots --keep 1")).await;
    assert!(listed.contains("current") && listed.contains("previous"), "{listed}");
    run(words("rollback")).await;
}

#[tokio::test]
async fn symbolic_links_out_of_a_folder_lake_are_refused_by_name() {
    let shop = corners();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.csv");
    std::fs::write(&secret, "root:x:0:0\n").unwrap();
    let raw = shop.path().join("lake/raw/transactions");
    // A link within the lake is as good as the file.
    std::fs::create_dir_all(shop.path().join("lake/more")).unwrap();
    std::fs::rename(raw.join("all.csv"), shop.path().join("lake/more/all.csv")).unwrap();
    std::os::unix::fs::symlink(shop.path().join("lake/more/all.csv"), raw.join("all.csv")).unwrap();
    assert!(shop.build().await.manifest.customers > 5);
    for (link, target, named) in
        [("zz.csv", secret.as_path(), "zz.csv"), ("zz", outside.path(), "zz/secret.csv")]
    {
        std::os::unix::fs::symlink(target, raw.join(link)).unwrap();
        let error = shop.try_build(None).await.expect_err(link);
        let expected = format!("raw/transactions/{named} is a symbolic link that leads out of the lake");
        assert!(error.contains(&expected) && !error.contains("root"), "{error}");
        let path = format!("raw/transactions/{named}").into();
        assert!(shop.lake().get(&path).await.is_err() && shop.lake().content(&path).await.is_err());
        std::fs::remove_file(raw.join(link)).unwrap();
    }
    // The place of a table may be anywhere, if the configuration says so.
    let mut shop = corners();
    std::fs::write(&secret, CORNERS).unwrap();
    shop.config.raw.transactions.files = vec![outside.path().display().to_string()];
    assert!(shop.build().await.manifest.customers > 5);
}
