//! RAM policies: enough for the processes that they are for, and no more.

use std::collections::BTreeSet;

use crate::{
    deploy::{file, read},
    support::{
        bucket::Bucket,
        ram_policy::RamPolicy,
        redis::Redis,
        shop::{CORNERS, CORNERS_TOML, PEOPLE, Shop},
    },
};

/// Reads a policy, for the bucket `lake` of the tests.
fn policy(name: &str) -> RamPolicy {
    let text = read(&format!("deploy/alibaba-cloud/oss-{name}.json"));
    assert!(text.contains("acs:oss:*:*:retail-lake/larder/CURRENT"));
    RamPolicy::parse(&text.replace("retail-lake", "lake"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_grant_each_process_what_it_needs() {
    let bucket = Bucket::open().await;
    let redis = Redis::start();
    let tair = format!("[tair]\nurl = \"{}\"\n", redis.url());
    let shop = Shop::new(&format!("{}{tair}{CORNERS_TOML}", bucket.toml("larder")));
    for (table, name, content) in [("transactions", "all.csv", CORNERS), ("customers", "p.jsonl", PEOPLE)] {
        let raw = shop.path().join(name);
        std::fs::write(&raw, content).unwrap();
        let uploaded = shop.larder(&["upload", table, raw.to_str().unwrap()]);
        assert!(uploaded.status.success(), "{}", String::from_utf8_lossy(&uploaded.stderr));
    }
    let run = |as_role: &str, args: &[&str]| {
        *bucket.faults.policy.lock().unwrap() = Some(policy(as_role));
        let output = shop.larder(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !error.contains("not recorded"), "{as_role}: {error}");
    };
    run("build", &["build"]);
    run("build", &["build"]);
    run("build", &["rollback"]);
    run("build", &["snapshots", "--keep", "1"]);
    run("build", &["verify"]);
    run("build", &["doctor"]);
    run("serve", &["doctor"]);
    run("erase", &["forget", "loyal"]);
    run("erase", &["forget", "--undo", "loyal"]);
    run("erase", &["subject", "whale"]);

    *bucket.faults.policy.lock().unwrap() = Some(policy("serve"));
    let service = shop.serve().await;
    assert_eq!(service.get("/v1/customers/whale").await.status, 200);
    assert_eq!(service.get("/v1/segments/prospect/customers").await.status, 200);
    assert_eq!(service.get("/v1/snapshots").await.status, 200);
    assert_eq!(service.get("/v1/builds").await.json()["builds"].as_array().unwrap().len(), 2);
    let audience = service.post("/v1/audiences", r#"{"where": "rfm.frequency >= 1"}"#).await;
    assert_eq!(audience.status, 200, "{}", audience.text);
    assert_eq!(service.metric("larder_current_polls_total{outcome=\"error\"}").await, 0.0);
    // Neither builds nor erasures are for the service, and erasures not for builds.
    let current = std::fs::read(bucket.file("larder/CURRENT")).unwrap();
    for (role, args) in [("serve", &["build"][..]), ("serve", &["rollback"]), ("build", &["forget", "whale"])]
    {
        *bucket.faults.policy.lock().unwrap() = Some(policy(role));
        let output = shop.larder(args);
        assert_eq!(output.status.code(), Some(1), "{role} {args:?}");
        println!("{role} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(std::fs::read(bucket.file("larder/CURRENT")).unwrap(), current);
    *bucket.faults.policy.lock().unwrap() = None;
    assert_eq!(service.get("/v1/customers/whale").await.status, 200);
}

#[test]
fn page_names_all_actions_of_the_policies() {
    let page = read("docs/alibaba-cloud.md");
    let mut policies = 0;
    for entry in std::fs::read_dir(file("deploy/alibaba-cloud")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let row = page.lines().find(|line| line.starts_with('|') && line.contains(name)).unwrap();
        let policy = RamPolicy::parse(&std::fs::read_to_string(&path).unwrap());
        let actions: BTreeSet<&str> = policy.actions().into_iter().collect();
        let named: BTreeSet<&str> = row.split('`').filter(|word| word.starts_with("oss:")).collect();
        assert_eq!(named, actions, "{row}");
        policies += 1;
    }
    assert_eq!(policies, 3);
}
