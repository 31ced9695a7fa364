//! The audit log: which caller was shown the personal data of which customers.

use std::fs;

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers::{key, keys, shop},
    program::{Program, json_lines},
    shop::eventually,
};

#[tokio::test]
async fn audit_log_names_callers_features_and_customers() {
    let callers: &[(&str, &[Scope])] =
        &[("reader", &[Scope::Features, Scope::Pii]), ("masked", &[Scope::Features])];
    // The audit log does not depend on the log level.
    let shop = shop(&format!(
        "{}[log]\nlevel = \"error\"\nformat = \"json\"\naudit = \"audit.log\"\n",
        keys(callers)
    ));
    drop(shop.open().await);
    let log = shop.path().join("log");
    let program = Program::serve(&shop, &log);
    let client = reqwest::Client::new();
    let ask = async |name: &str, path: &str, body: Option<Value>| {
        let url = format!("{}{path}", program.url);
        let request = if let Some(body) = body { client.post(url).json(&body) } else { client.get(url) };
        let answer = request
            .bearer_auth(key(name))
            .header("x-request-id", format!("{name}{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.headers()["cache-control"].to_str().unwrap().to_owned()
    };
    let batch = json!({"ids": ["17850", "nobody", "prospect"], "features": ["profile.email"]});
    let feast =
        json!({"entities": {"customer_id": [17850]}, "features": ["contact:phone", "contact:orders"]});
    for (name, path, body, control) in [
        ("reader", "/v1/customers/17850", None, "no-store"),
        ("masked", "/v1/customers/17850", None, "private, no-cache"),
        ("reader", "/v1/customers/17850?views=rfm", None, "private, no-cache"),
        ("reader", "/v1/customers/batch", Some(batch), "no-store"),
        ("reader", "/v1/segments/prospect/customers?views=profile", None, "no-store"),
        ("reader", "/get-online-features", Some(feast), "no-store"),
        ("reader", "/v1/customers/17850/history?views=contact", None, "no-store"),
    ] {
        assert_eq!(ask(name, path, body).await, control, "{name} {path}");
    }
    let file = shop.path().join("audit.log");
    let found = eventually(async || json_lines(&file), |lines| lines.len() >= 5).await;
    let logged: Vec<_> = found
        .iter()
        .map(|line| {
            assert_eq!((&line["key"], &line["level"]), (&json!("reader"), &json!("INFO")), "{line}");
            assert!(line["request_id"].as_str().unwrap().starts_with("reader/"), "{line}");
            let ids: Value = serde_json::from_str(line["ids"].as_str().unwrap()).unwrap();
            (line["route"].clone(), line["features"].clone(), line["customers"].clone(), ids)
        })
        .collect();
    let line = |route: &str, features: &str, ids: &[&str]| {
        (json!(route), json!(features), json!(ids.len()), json!(ids))
    };
    assert_eq!(
        logged,
        [
            line("/v1/customers/{id}", "profile.email,contact.phone", &["17850"]),
            line("/v1/customers/batch", "profile.email", &["17850", "prospect"]),
            line("/v1/segments/{name}/customers", "profile.email", &["prospect", "zero"]),
            line("/get-online-features", "contact.phone", &["17850"]),
            line("/v1/customers/{id}/history", "contact.phone", &["17850"]),
        ]
    );
    // A renamed file is created again. Without a file, the lines are in the log.
    fs::rename(&file, shop.path().join("audit.log.1")).unwrap();
    ask("reader", "/v1/customers/17850", None).await;
    eventually(async || json_lines(&file), |lines| lines.len() == 1).await;
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
    let mut command = shop.command(&["serve", "--listen", "127.0.0.1:0"]);
    let toml = shop.path().join("larder.toml");
    fs::write(&toml, fs::read_to_string(&toml).unwrap().replace("audit = \"audit.log\"\n", "")).unwrap();
    command.stderr(fs::File::create(&log).unwrap());
    let other = Program::start(command);
    let request = client.get(format!("{}/v1/customers/17850", other.url)).bearer_auth(key("reader"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let logged = eventually(async || json_lines(&log), |lines| !lines.is_empty()).await;
    assert_eq!((&logged[0]["target"], &logged[0]["customers"]), (&json!("larder::audit"), &json!(1)));
    let text = format!("{found:?}{logged:?}");
    assert!(!text.contains("example.com") && !text.contains("lrd_"), "{text}");
}
