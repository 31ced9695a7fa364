//! `larder doctor`: grades, exit codes, and traces that it leaves.

use std::{collections::BTreeMap, fs, sync::atomic::Ordering};

use serde_json::Value;

use crate::support::{
    bucket::Bucket,
    redis::Redis,
    shop::{Shop, corners_with},
};

/// Runs `larder doctor` with the environment variables `vars`. Returns the exit code, and grade and message
/// of each check.
fn doctor(shop: &Shop, vars: &[(&str, &str)]) -> (i32, BTreeMap<String, (String, String)>) {
    let output = shop.command(&["doctor", "--json"]).envs(vars.iter().copied()).output().unwrap();
    let findings: Vec<Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    for finding in &findings {
        assert!(finding["grade"] == "ok" || finding["advice"].is_string(), "{finding}");
    }
    let all = findings.iter().map(|one| (text(one, "check"), (text(one, "grade"), text(one, "message"))));
    (output.status.code().unwrap(), all.collect())
}

/// Asserts that the check `name` has the grade `grade` and a message with `word`.
fn assert_found(found: &BTreeMap<String, (String, String)>, name: &str, grade: &str, word: &str) {
    let (is, message) = found.get(name).unwrap_or_else(|| panic!("{name} is missing in {found:?}"));
    assert!(is == grade && message.contains(word), "{name}: {is}: {message}");
}

#[tokio::test]
async fn doctor_finds_a_working_installation_healthy() {
    let redis = Redis::start();
    let shop = corners_with(&format!("[tair]\nurl = \"{}\"\n", redis.url()));
    let id = shop.build().await.manifest.id;
    shop.publish(&id).await;
    let (code, found) = doctor(&shop, &[]);
    assert_eq!(code, 0, "{found:?}");
    for (check, word) in [
        ("configuration", "larder.toml"),
        ("keys", "none"),
        ("lake list", "1 snapshot folder ("),
        ("lake read", "CURRENT"),
        ("lake write", "an object"),
        ("clock", "agrees"),
        ("raw transactions", "1 file, "),
        ("raw customers", "1 file, "),
        ("snapshot", "15 customers"),
        ("snapshot age", "minute"),
        ("Tair", "single server, version "),
        ("Tair rights", "read and write"),
        ("Tair policy", "noeviction"),
        ("Tair publish", "1, as CURRENT names"),
    ] {
        assert_found(&found, check, "ok", word);
    }
    assert!(["staging", "memory of serve", "memory of build"].iter().all(|check| found.contains_key(*check)));
    assert!(!found.contains_key("raw interactions"), "neither configured nor there: {found:?}");
    // The probes are removed.
    assert_eq!(redis.cli(&["exists", "larder:doctor"]), "0");
    let objects = fs::read_dir(shop.path().join("lake/doctor")).into_iter().flatten();
    assert_eq!(objects.count(), 0);

    let output = shop.larder(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("ok       lake read: CURRENT (")), "{text}");
}

#[tokio::test]
async fn doctor_tells_what_to_do() {
    let redis = Redis::start();
    let expired = format!(
        "[[keys]]\nname = \"old\"\nhash = \"sha256:{}\"\nscopes = [\"features\"]\nnot_after = 2020-01-01\n",
        "a".repeat(64)
    );
    let shop = corners_with(&format!(
        "{expired}[tair]\nurl = \"redis://:s3cret@127.0.0.1:{}\"\n[build]\nmemory_limit = \"999999GiB\"\n",
        redis.port
    ));
    redis.cli(&["config", "set", "requirepass", "s3cret"]);
    let (code, found) = doctor(&shop, &[]);
    assert_eq!(code, 0, "{found:?}");
    assert_found(&found, "keys", "warning", "`old` expired at 2020-01-01");
    assert_found(&found, "lake read", "warning", "nothing was published");
    assert_found(&found, "memory of build", "warning", "up to ");
    assert!(!found.contains_key("snapshot"), "{found:?}");

    let id = shop.build().await.manifest.id;
    shop.publish(&id).await;
    redis.cli(&["-a", "s3cret", "--no-auth-warning", "config", "set", "maxmemory-policy", "allkeys-lru"]);
    redis.cli(&["-a", "s3cret", "--no-auth-warning", "del", "larder:current"]);
    let part = shop.path().join(format!("lake/snapshots/{id}/rows/part-00000.parquet"));
    let mut bytes = fs::read(&part).unwrap();
    let near_end = bytes.len() - 20;
    bytes[near_end] ^= 1;
    fs::write(&part, bytes).unwrap();
    let (code, found) = doctor(&shop, &[]);
    assert_eq!(code, 1, "{found:?}");
    assert_found(&found, "Tair policy", "failed", "allkeys-lru");
    assert_found(&found, "Tair publish", "warning", "holds no publish");
    assert_found(&found, "snapshot", "failed", "damaged");

    let vars = [("LARDER_TAIR_URL", "redis://:s3cret@127.0.0.1:1"), ("LARDER_BUILD_STAGING", "/proc/none")];
    let (code, found) = doctor(&shop, &vars);
    assert_eq!(code, 1, "{found:?}");
    assert_found(&found, "Tair", "failed", "no connection");
    assert_found(&found, "staging", "failed", "cannot write to /proc/none");
    assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");

    fs::write(shop.path().join("larder.toml"), "[http]\nlisen = 1\n").unwrap();
    let (code, found) = doctor(&shop, &[]);
    assert_eq!(code, 1, "{found:?}");
    assert_found(&found, "configuration", "failed", "lisen");
}

#[tokio::test]
async fn user_of_serve_passes_the_doctor() {
    let redis = Redis::start();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for line in fs::read_to_string(root.join("deploy/tair.acl")).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        redis.cli(&[&["acl", "setuser"], &words[..]].concat());
    }
    let url = |user: &str| format!("redis://{user}@127.0.0.1:{}", redis.port);
    let shop = corners_with(&format!("[tair]\nurl = \"{}\"\n", url("larder-publish:change-me-too")));
    let id = shop.build().await.manifest.id;
    shop.publish(&id).await;
    let (code, found) = doctor(&shop, &[]);
    assert_eq!(code, 0, "{found:?}");
    assert_found(&found, "Tair rights", "ok", "read and write");
    let (code, found) = doctor(&shop, &[("LARDER_TAIR_URL", &url("larder-serve:change-me"))]);
    assert_eq!(code, 0, "{found:?}");
    assert_found(&found, "Tair rights", "ok", "enough for `serve`");
    assert_found(&found, "Tair publish", "ok", "1, as CURRENT names");
}

#[test]
fn doctor_knows_keys_that_expire_soon_and_open_services() {
    let soon = (chrono::Utc::now() + chrono::TimeDelta::days(3)).to_rfc3339();
    let shop = Shop::new(&format!(
        "[[keys]]\nname = \"next\"\nhash = \"sha256:{}\"\nscopes = [\"features\"]\nnot_after = \"{soon}\"\n",
        "b".repeat(64)
    ));
    assert_found(&doctor(&shop, &[]).1, "keys", "warning", "`next` expires at");
    let open = Shop::new("[http]\nanonymous = true\n");
    assert_found(&doctor(&open, &[]).1, "keys", "warning", "every caller may read");
    let refused = Shop::new("[http]\nlisten = \"0.0.0.0:1\"\n");
    let (code, found) = doctor(&refused, &[]);
    assert_eq!(code, 1);
    assert_found(&found, "keys", "failed", "refuses to start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_checks_a_bucket() {
    let bucket = Bucket::open().await;
    let shop = corners_with(&bucket.toml("shop"));
    let (code, found) = doctor(&shop, &[]);
    assert_eq!(code, 0, "{found:?}");
    assert_found(&found, "lake list", "ok", "s3://lake/shop");
    assert_found(&found, "lake write", "ok", "an object");
    assert_found(&found, "clock", "ok", "");
    let probes = fs::read_dir(bucket.file("shop/doctor")).into_iter().flatten();
    assert_eq!(probes.count(), 0, "the probe is removed");
    bucket.faults.forbidding.store(true, Ordering::Relaxed);
    let (code, found) = doctor(&shop, &[]);
    assert_eq!(code, 1, "{found:?}");
    assert_found(&found, "lake list", "failed", "snapshots");
}

#[test]
fn doctor_looks_for_raw_files_as_a_build_does() {
    let empty = Shop::new("");
    let (code, found) = doctor(&empty, &[]);
    assert_eq!(code, 0, "{found:?}");
    assert_found(&found, "raw transactions", "warning", "raw/transactions/");
    for (toml, check, place) in [
        ("[raw.transactions]\nfiles = \"/nonexistent/x-*.csv\"\n", "raw transactions", "/nonexistent/"),
        ("[raw.interactions]\nfiles = \"events/\"\n", "raw interactions", "events/"),
    ] {
        let (code, found) = doctor(&Shop::new(toml), &[]);
        assert_eq!(code, 1, "{found:?}");
        assert_found(&found, check, "failed", "there are no files in ");
        assert_found(&found, check, "failed", place);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["x-1.csv", "x-2.csv", "x-3.unknown", "y.csv"] {
        fs::write(elsewhere.path().join(name), "customer_id\n").unwrap();
    }
    let files = |pattern: &str| {
        let toml = format!("[raw.transactions]\nfiles = \"{}/{pattern}\"\n", elsewhere.path().display());
        doctor(&Shop::new(&toml), &[]).1
    };
    assert_found(&files("z-*.csv"), "raw transactions", "failed", "/z-*.csv");
    assert_found(&files("x-*.csv"), "raw transactions", "ok", "2 files, 24 B");
    assert_found(&files("x-*"), "raw transactions", "warning", "skipped 1 file of transactions");
}
