//! Keys that expire, keys that change while a service runs, and rates in customers.

use std::fs;

use larder::config::Scope;
use reqwest::Method;
use serde_json::json;

use super::{CALLERS, ask, get, key, keys, shop};
use crate::support::{program::Program, shop::eventually};

const READER: &[(&str, &[Scope])] = &[("old", &[Scope::Features])];

#[tokio::test]
async fn expired_key_is_refused() {
    let keys = format!(
        "{}not_after = 2024-01-01\n{}not_after = \"2999-01-31T18:00:00Z\"\n{}",
        keys(&[("expired", &[Scope::Features])]),
        keys(&[("lasting", &[Scope::Features])]),
        keys(CALLERS)
    );
    let service = shop(&keys).open().await;
    let answer = get(&service, "/v1/views", "expired").await;
    assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"));
    assert!(answer.text.contains("the API key `expired` expired at 2024-01-01T00:00:00Z"), "{}", answer.text);
    assert_eq!(get(&service, "/v1/views", "lasting").await.status, 200);
    let metrics = get(&service, "/metrics", "metrics").await.text;
    assert!(
        metrics.contains("larder_key_requests_total{key=\"expired\",outcome=\"expired\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn changed_keys_apply_without_a_restart() {
    let shop = shop(&keys(READER));
    drop(shop.open().await);
    // The keys are in a file that the configuration includes.
    let (main, toml, log) =
        (shop.path().join("larder.toml"), shop.path().join("keys.toml"), shop.path().join("log"));
    let settings = fs::read_to_string(&main).unwrap().replace(&keys(READER), "");
    fs::write(&main, format!("include = [\"keys.toml\"]\n{settings}")).unwrap();
    let text = keys(READER);
    fs::write(&toml, &text).unwrap();
    let program = Program::serve(&shop, &log);
    let client = reqwest::Client::new();
    let status = async |name: &str| {
        let request = client.get(format!("{}/v1/views", program.url)).bearer_auth(key(name));
        request.send().await.unwrap().status().as_u16()
    };
    let logged = |words: &'static str| {
        let read = || async { fs::read_to_string(&log).unwrap_or_default() };
        async move { eventually(read, |log| log.contains(words)).await }
    };
    assert_eq!((status("old").await, status("new").await), (200, 401));
    fs::write(&toml, text.replace(&keys(READER), &keys(&[("new", &[Scope::Features])]))).unwrap();
    eventually(|| status("new"), |status| *status == 200).await;
    assert_eq!(status("old").await, 401);
    // Neither a mistake nor the removal of all keys changes the keys.
    fs::write(&toml, format!("{text}[[keys]]\nname = 1\n")).unwrap();
    logged("the old ones stay in use").await;
    fs::write(&toml, text.replace(&keys(READER), "")).unwrap();
    logged("take effect at the next start").await;
    assert_eq!((status("new").await, status("old").await), (200, 401));
}

#[tokio::test]
async fn rate_counts_customers() {
    let ids: Vec<String> = (0..100).map(|id| id.to_string()).collect();
    let batch = json!({"ids": ids, "views": ["rfm"]});
    let limited = format!("{}rate = 1\n", keys(&[("slow", &[Scope::Features])]));
    let service = shop(&limited).open().await;
    let post = async |name: &str| {
        ask(&service, &Method::POST, "/v1/customers/batch", Some(&batch), Some(&key(name))).await
    };
    assert_eq!(post("slow").await.status, 200);
    let refused = get(&service, "/v1/views", "slow").await;
    assert_eq!(refused.problem(), "too-many-requests", "a batch of 100 costs 100");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((30..=100).contains(&wait), "{wait}");

    // A page and an export count their customers, too.
    for (path, scope) in [("/v1/churn", Scope::Features), ("/v1/churn/export", Scope::Export)] {
        let limited = format!("{}rate = 1\n", keys(&[("slow", &[scope])]));
        let service = shop(&limited).open().await;
        assert_eq!(get(&service, path, "slow").await.status, 200);
        let refused = get(&service, path, "slow").await;
        assert_eq!(refused.problem(), "too-many-requests", "{path}");
    }

    let service = shop("[http]\nanonymous = true\nanonymous_rate = 1\n").open().await;
    let post = async || ask(&service, &Method::POST, "/v1/customers/batch", Some(&batch), None).await;
    assert_eq!(post().await.status, 200);
    let refused = service.get("/v1/views").await;
    assert_eq!(refused.problem(), "too-many-requests");
    assert!(refused.text.contains("anonymous"), "{}", refused.text);
}
