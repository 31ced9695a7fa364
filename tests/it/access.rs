//! Authorization: every route of the OpenAPI document with every scope, with an unknown API key and without
//! one.

use std::fs;

use larder::config::{Scope, digest};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys, shop},
    shop::{Answer, CORNERS_TOML, Service, Shop, eventually},
};

mod audit_lines;
mod declarations;
mod key_changes;
mod personal_data;

/// Texts of which every personal value of the shop contains one.
const PERSONAL: [&str; 2] = ["@example.com", "phone-"];

/// Callers with each scope alone, with `features` and `pii`, and with all scopes.
const CALLERS: &[Caller<'_>] = &[
    ("features", &[Scope::Features]),
    ("pii", &[Scope::Pii]),
    ("export", &[Scope::Export]),
    ("metrics", &[Scope::Metrics]),
    ("admin", &[Scope::Admin]),
    ("reader", &[Scope::Features, Scope::Pii]),
    ("all", &Scope::ALL),
];

/// Sends a request, with a body and an API key if given.
async fn ask(
    service: &Service,
    method: &Method,
    path: &str,
    body: Option<&Value>,
    key: Option<&str>,
) -> Answer {
    let mut request = service.client.request(method.clone(), format!("{}{path}", service.url));
    if let Some(body) = body {
        request = request.json(body);
    }
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    service.send(request).await
}

/// Sends a `GET` as the caller `name`.
async fn get(service: &Service, path: &str, name: &str) -> Answer {
    ask(service, &Method::GET, path, None, Some(&key(name))).await
}

/// Returns the scope that a route must need; `None` if the route is public.
fn rule(path: &str) -> Option<Scope> {
    match path {
        "/healthz" | "/readyz" | "/health" | "/openapi.json" => None,
        "/metrics" => Some(Scope::Metrics),
        "/v1/snapshots/{id}" | "/v1/builds" => Some(Scope::Admin),
        _ if path.ends_with("/export") => Some(Scope::Export),
        _ => Some(Scope::Features),
    }
}

#[tokio::test]
async fn caller_is_told_name_and_scopes_of_the_key() {
    let service = shop(&keys(CALLERS)).open().await;
    let reader = get(&service, "/v1/access", "reader").await.json();
    assert_eq!(reader, json!({"key": "reader", "scopes": ["features", "pii"]}));
    let open = shop("").open().await;
    let anyone = ask(&open, &Method::GET, "/v1/access", None, None).await.json();
    let scopes = Scope::ALL.map(Scope::as_str);
    assert_eq!(anyone, json!({"key": null, "scopes": scopes}));
}

/// A request that succeeds and reads all features that the route can return.
struct Request {
    method: Method,
    template: String,
    path: String,
    body: Option<Value>,
}

/// Makes a request for each operation of the OpenAPI document. A new operation with a body has to be added
/// here.
fn requests(document: &Value, snapshot: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    for (template, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let mut path = template.clone();
            let mut query = Vec::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let example = match (name, template.as_str()) {
                    ("id", path) if path.starts_with("/v1/snapshots") => snapshot.to_owned(),
                    ("id", path) if path.starts_with("/v1/products") => "p1".to_owned(),
                    ("name", path) if path.starts_with("/v1/segments") => "loyal".to_owned(),
                    ("views", _) => "contact,profile".to_owned(),
                    ("view", _) => "contact".to_owned(),
                    ("where", _) => "segment:loyal or rfm.monetary > 0".to_owned(),
                    _ if parameter["required"] == true => parameter["example"].as_str().unwrap().to_owned(),
                    _ => continue,
                };
                match parameter["in"].as_str().unwrap() {
                    "path" => path = path.replace(&format!("{{{name}}}"), &example),
                    _ => query.push(format!("{name}={example}")),
                }
            }
            if !query.is_empty() {
                path = format!("{path}?{}", query.join("&"));
            }
            let body = operation.get("requestBody").map(|_| match template.as_str() {
                "/v1/customers/batch" => json!({"ids": ["17850", "prospect", "nobody"]}),
                "/get-online-features" => json!({
                    "entities": {"customer_id": ["17850", "prospect"]},
                    "features": ["profile:email", "profile:age", "contact:phone", "contact:orders"],
                }),
                "/v1/audiences" => {
                    json!({"where": "segment:loyal or rfm.monetary > 0", "views": ["profile", "contact"]})
                }
                "/v1/audiences/export" => json!({"where": "segment:loyal or rfm.monetary > 0"}),
                other => panic!("add a body for {other} that reads all personal values"),
            });
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            requests.push(Request { method, template: template.clone(), path, body });
        }
    }
    requests
}

/// Checks whether a response contains a personal value, its headers included.
fn shows(answer: &Answer) -> bool {
    let headers = format!("{:?}", answer.headers);
    PERSONAL.iter().any(|value| answer.text.contains(value) || headers.contains(value))
}

/// Sends every request as every caller; `keyless` are the scopes of callers without an API key.
async fn check_scopes(toml: &str, keyless: &[Scope]) {
    let shop = shop(&format!("{toml}{}", keys(CALLERS)));
    // An older snapshot, for the routes that compare snapshots.
    shop.try_build(Some("2024-02-25T00:00:00Z")).await.unwrap();
    let service = shop.open().await;
    let document = service.get("/openapi.json").await.json();
    let snapshot = get(&service, "/v1/views", "all").await.json()["snapshot"].as_str().unwrap().to_owned();
    let requests = requests(&document, &snapshot);
    assert!(requests.len() >= 18, "{}", requests.len());
    let mut shown = Vec::new();
    for Request { method, template, path, body } in &requests {
        let need = rule(template);
        let operation = &document["paths"][template][method.as_str().to_lowercase()];
        let named = operation["security"][0]["bearer"][0].as_str();
        assert_eq!(named, need.map(Scope::as_str), "scope of {template} in the OpenAPI document");
        for status in ["401", "403", "429"] {
            assert_eq!(operation["responses"].get(status).is_some(), need.is_some(), "{template} {status}");
        }
        let callers = CALLERS.iter().map(|(name, scopes)| (Some(key(name)), *scopes, *name));
        for (key, scopes, name) in
            callers.chain([(None, keyless, "no key"), (Some(key("stranger")), &[][..], "stranger")])
        {
            let answer = ask(&service, method, path, body.as_ref(), key.as_deref()).await;
            let expected = match need {
                Some(_) if name == "stranger" => 401,
                Some(scope) if !scopes.contains(&scope) => {
                    if key.is_none() {
                        401
                    } else {
                        403
                    }
                }
                _ => 200,
            };
            assert_eq!(answer.status, expected, "{method} {path} as {name}: {}", answer.text);
            match expected {
                401 => {
                    assert_eq!(answer.problem(), "unauthorized", "{path} as {name}");
                    let ways = answer.headers.get_all("www-authenticate").iter();
                    let ways: Vec<&str> = ways.map(|way| way.to_str().unwrap()).collect();
                    assert_eq!(ways, ["Bearer", "Basic realm=\"larder\", charset=\"UTF-8\""]);
                }
                403 => {
                    assert_eq!(answer.problem(), "forbidden", "{path} as {name}");
                    assert!(answer.text.contains(need.unwrap().as_str()), "{}", answer.text);
                }
                _ => {}
            }
            assert!(!answer.text.contains("the-key-of"), "{path} as {name} shows a key: {}", answer.text);
            if shows(&answer) {
                assert!(
                    scopes.contains(&Scope::Pii),
                    "{path} as {name} shows personal values: {}",
                    answer.text
                );
                shown.push(template.as_str());
            }
        }
        // Methods that a route does not have need the same scope.
        for method in [Method::HEAD, Method::DELETE, Method::PUT] {
            let status = ask(&service, &method, path, None, None).await.status;
            let free = need.is_none_or(|scope| keyless.contains(&scope));
            assert_eq!(status == 401, !free, "{method} {path}: {status}");
        }
    }
    // Without personal values in these responses, the checks above would pass for any service.
    shown.dedup();
    let writing = [
        "/get-online-features",
        "/v1/audiences",
        "/v1/audiences/export",
        "/v1/changes",
        "/v1/churn",
        "/v1/churn/export",
        "/v1/customers/batch",
        "/v1/customers/{id}",
        "/v1/customers/{id}/history",
        "/v1/segments/{name}/customers",
        "/v1/segments/{name}/export",
        "/v1/views/{view}/statistics",
    ];
    for template in writing {
        assert!(shown.contains(&template), "{template} never showed a personal value: {shown:?}");
    }
}

#[tokio::test]
async fn scopes_of_all_routes_with_keys() {
    check_scopes("", &[]).await;
}

#[tokio::test]
async fn scopes_of_all_routes_with_anonymous_reads() {
    check_scopes("[http]\nanonymous = true\n", &[Scope::Features, Scope::Metrics]).await;
}

#[tokio::test]
async fn without_keys_loopback_has_all_scopes_and_anonymous_has_not() {
    let service = shop("").open().await;
    let customer = service.get("/v1/customers/17850").await;
    assert!(
        customer.text.contains("new@example.com") && customer.json().get("masked").is_none(),
        "{}",
        customer.text
    );
    let snapshot = customer.json()["snapshot"].as_str().unwrap().to_owned();
    assert_eq!(service.get(&format!("/v1/snapshots/{snapshot}")).await.status, 200);
    // A client that sends a key to a service without keys is not refused.
    assert_eq!(get(&service, "/v1/customers/17850", "any").await.status, 200);

    let service = shop("[http]\nanonymous = true\n").open().await;
    let customer = service.get("/v1/customers/17850").await;
    assert!(customer.status == 200 && !shows(&customer), "{}", customer.text);
    let snapshot = customer.json()["snapshot"].as_str().unwrap().to_owned();
    let manifest = service.get(&format!("/v1/snapshots/{snapshot}")).await;
    assert_eq!((manifest.status, manifest.problem().as_str()), (403, "forbidden"));

    // On a public address without keys, which `serve` refuses to start with, all scoped routes are closed.
    let mut closed = shop("");
    closed.config.http.listen = "0.0.0.0:0".parse().unwrap();
    let service = closed.open().await;
    assert_eq!(service.get("/v1/customers/17850").await.status, 401);
    assert_eq!(service.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn key_is_the_password_of_basic_with_any_user() {
    let service = shop(&format!(
        "{}[[keys]]\nname = \"slow\"\nhash = \"sha256:{}\"\nscopes = [\"features\"]\nrate = 1\n",
        keys(CALLERS),
        larder::snapshot::hex(&digest(key("slow").as_bytes()))
    ))
    .open()
    .await;
    let basic = async |user: &str, name: &str, path: &str| {
        let request = service.client.get(format!("{}{path}", service.url));
        service.send(request.basic_auth(user, Some(key(name)))).await
    };
    for user in ["", "excel", "a b"] {
        let masked = basic(user, "features", "/v1/customers/17850").await;
        assert!(masked.status == 200 && !shows(&masked), "{}", masked.text);
        assert!(shows(&basic(user, "reader", "/v1/customers/17850").await));
        assert_eq!(basic(user, "features", "/metrics").await.problem(), "forbidden");
        assert_eq!(basic(user, "stranger", "/v1/views").await.status, 401);
    }
    assert_eq!(basic("x", "features", "/v1/segments/loyal/customers?views=rfm").await.status, 200);
    // The rate is that of the key, however the key is sent.
    let limited = eventually(|| basic("x", "slow", "/v1/views"), |answer| answer.status == 429).await;
    assert!(limited.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(get(&service, "/v1/views", "slow").await.status, 429);
    // A proxy's own password does not hide the key in `X-API-Key`; without one, it is no key.
    let request = service.client.get(format!("{}/v1/views", service.url)).basic_auth("proxy", Some("secret"));
    assert_eq!(service.send(request.try_clone().unwrap()).await.status, 401);
    assert_eq!(service.send(request.header("x-api-key", key("features"))).await.status, 200);
    let malformed = service.client.get(format!("{}/v1/views", service.url));
    assert_eq!(service.send(malformed.header("authorization", "Basic %%%")).await.status, 401);
}

#[tokio::test]
async fn masked_features_are_null_and_listed() {
    let service = shop(&keys(CALLERS)).open().await;
    // The first read comes from the snapshot, later reads from memory.
    for tier in ["snapshot", "memory", "memory"] {
        let masked = get(&service, "/v1/customers/17850", "features").await.json();
        assert_eq!(masked["tier"], tier);
        assert_eq!(masked["masked"], json!(["profile.email", "contact.phone"]), "{masked}");
        assert_eq!(
            (&masked["views"]["profile"]["email"], &masked["views"]["profile"]["age"]),
            (&Value::Null, &json!(31))
        );
        assert_eq!(masked["views"]["contact"], json!({"phone": null, "orders": 2}));
    }
    let whole = get(&service, "/v1/customers/17850", "reader").await.json();
    assert_eq!(whole.get("masked"), None);
    assert_eq!(whole["views"]["profile"]["email"], "new@example.com");
    assert_eq!(whole["views"]["contact"], json!({"phone": "phone-17850", "orders": 2}));
    // Only requested features are listed.
    let some = get(&service, "/v1/customers/17850?views=profile,rfm", "features").await.json();
    assert_eq!(some["masked"], json!(["profile.email"]));
    let none = get(&service, "/v1/customers/17850?views=rfm", "features").await.json();
    assert_eq!(none.get("masked"), None);
    let absent = get(&service, "/v1/customers/prospect?views=profile,contact", "features").await.json();
    assert_eq!((&absent["views"]["contact"], &absent["masked"][0]), (&Value::Null, &json!("profile.email")));
    let batch =
        json!({"ids": ["17850", "nobody"], "views": ["rfm"], "features": ["contact.phone", "profile.age"]});
    let batch = ask(&service, &Method::POST, "/v1/customers/batch", Some(&batch), Some(&key("features")))
        .await
        .json();
    assert_eq!(batch["masked"], json!(["contact.phone"]), "{batch}");
    assert_eq!(batch["results"][0]["views"]["contact"], json!({"phone": null}));
    let list = get(&service, "/v1/segments/loyal/customers?views=contact", "features").await.json();
    assert_eq!(
        (&list["masked"], &list["customers"][0]["views"]["contact"]["phone"]),
        (&json!(["contact.phone"]), &Value::Null)
    );
    let plain = get(&service, "/v1/segments/loyal/customers", "features").await.json();
    assert_eq!(plain.get("masked"), None);
    let features = json!({
        "entities": {"customer_id": ["17850", "whale", "nobody"]},
        "features": ["profile:email", "profile:age", "contact:phone"],
    });
    for (name, values, statuses) in [
        ("features", json!([null, null, null]), json!(["NULL_VALUE", "NULL_VALUE", "NOT_FOUND"])),
        ("reader", json!(["new@example.com", null, null]), json!(["PRESENT", "NULL_VALUE", "NOT_FOUND"])),
    ] {
        let answer = ask(&service, &Method::POST, "/get-online-features", Some(&features), Some(&key(name)))
            .await
            .json();
        let email = &answer["results"][1];
        assert_eq!((&email["values"], &email["statuses"]), (&values, &statuses), "{answer}");
        assert_eq!(answer["results"][2]["values"][0], 31);
    }
    // Callers without a key cannot learn which features are personal; those with one ask for the views.
    let document = service.get("/openapi.json").await.json();
    let profile = &document["components"]["schemas"]["Views"]["properties"]["profile"];
    assert!(profile["properties"]["email"].is_object() && !profile.to_string().contains("pii"), "{profile}");
}

#[tokio::test]
async fn audience_by_personal_feature_needs_scope_pii() {
    let service = shop(&keys(CALLERS)).open().await;
    let query = async |body: Value, name: &str| {
        ask(&service, &Method::POST, "/v1/audiences", Some(&body), Some(&key(name))).await
    };
    for body in [
        json!({"where": "profile.email:\"new@example.com\""}),
        json!({"where": "segment:loyal or not (contact.phone is null)", "limit": 0}),
        json!({"where": "contact.orders > 0", "breakdown": {"feature": "contact.phone"}}),
        json!({"where": "contact.orders > 0", "order_by": "contact.phone"}),
    ] {
        let answer = query(body.clone(), "features").await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "forbidden"), "{body}: {}", answer.text);
        assert!(answer.text.contains("is personal") && !shows(&answer), "{}", answer.text);
        // Audiences are ordered by numbers and times only, not by a telephone number.
        let expected = if body.get("order_by").is_some() { 400 } else { 200 };
        assert_eq!(query(body.clone(), "reader").await.status, expected, "{body}");
    }
    let found =
        query(json!({"where": "profile.email:\"new@example.com\"", "limit": 1}), "reader").await.json();
    assert_eq!(
        (&found["total"], &found["customers"][0]["customer_id"]),
        (&json!(1), &json!("17850")),
        "{found}"
    );
}

#[tokio::test]
async fn etag_differs_by_visible_features() {
    let service = shop(&keys(CALLERS)).open().await;
    let tag = get(&service, "/v1/customers/17850", "features").await.header("etag").to_owned();
    for (name, status) in
        [("features", 304), ("reader", 200), ("all", 200), ("metrics", 403), ("stranger", 401)]
    {
        let request = service.client.get(format!("{}/v1/customers/17850", service.url));
        let answer = service.send(request.bearer_auth(key(name)).header("if-none-match", &tag)).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        assert_eq!(answer.header("vary"), "authorization, x-api-key", "{name}");
    }
    assert_eq!(service.get("/healthz").await.header("vary"), "");
}

/// A feature declared personal after a build is masked in the snapshot of that build too, for cursors that
/// point to the snapshot.
#[tokio::test]
async fn features_declared_personal_are_masked_in_older_snapshots() {
    let mut shop = shop(&keys(CALLERS));
    shop.config.raw.customers.personal.clear();
    let service = shop.open().await;
    let path = "/v1/segments/prospect/customers?views=profile";
    let before = get(&service, path, "features").await;
    assert!(before.text.contains("p@example.com"), "{}", before.text);
    let cursor = prospect_cursor(before.json()["snapshot"].as_str().unwrap());
    let path = format!("{path}&cursor={cursor}");
    assert!(get(&service, &path, "features").await.text.contains("p@example.com"));
    shop.config.raw.customers.personal.push("email".to_owned());
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let again = eventually(|| get(&service, &path, "features"), |answer| !shows(answer)).await;
    assert_eq!((again.status, &again.json()["masked"]), (200, &json!(["profile.email"])), "{}", again.text);
    assert_eq!(again.json()["snapshot"], before.json()["snapshot"]);
}

/// Returns a cursor at the start of the segment `prospect` of `snapshot`.
fn prospect_cursor(snapshot: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(format!("2 {snapshot} segment:prospect 0 0"))
}

#[tokio::test]
async fn keys_are_read_from_two_headers_rate_limited_and_counted() {
    let limited =
        format!("{}rate = 2\n", keys(&[("slow", &[Scope::Features]), ("slower", &[Scope::Features])]));
    let service = shop(&format!("{limited}{}", keys(CALLERS))).open().await;
    let request = service.client.get(format!("{}/v1/views", service.url)).header("x-api-key", key("slow"));
    assert_eq!(service.send(request).await.status, 200);
    let answers = [get(&service, "/v1/views", "slower").await, get(&service, "/v1/views", "slower").await];
    assert!(answers.iter().all(|answer| answer.status == 200));
    let third = get(&service, "/v1/views", "slower").await;
    assert_eq!(
        (third.status, third.problem().as_str(), third.header("retry-after")),
        (429, "too-many-requests", "1")
    );
    let again = eventually(|| get(&service, "/v1/views", "slower"), |answer| answer.status == 200).await;
    assert_eq!(again.status, 200);
    assert_eq!(get(&service, "/v1/views", "export").await.status, 403);
    let metrics = get(&service, "/metrics", "metrics").await.text;
    for line in [
        "larder_key_requests_total{key=\"slow\",outcome=\"passed\"} 1",
        "larder_key_requests_total{key=\"slower\",outcome=\"passed\"} 3",
        "larder_key_requests_total{key=\"export\",outcome=\"forbidden\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains("the-key-of"));
}

#[test]
fn key_command_prints_key_and_settings() {
    let shop = Shop::new(CORNERS_TOML);
    let output = shop.larder(&["key", "dashboard", "--scope", "pii", "--scope", "features", "--rate", "100"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{out}");
    let key = out.lines().find(|line| line.starts_with("lrd_")).unwrap();
    assert_eq!(key.len(), 47, "{out}");
    let toml = &out[out.find("[[keys]]").unwrap()..];
    assert!(!toml.contains(key));
    let config = larder::config::Config::parse(toml, "it", []).unwrap();
    assert_eq!(config.keys[0].name, "dashboard");
    assert_eq!(config.keys[0].scopes, [Scope::Features, Scope::Pii]);
    assert_eq!(config.keys[0].rate.map(std::num::NonZero::get), Some(100));
    assert_eq!(config.keys[0].digest(), Some(digest(key.as_bytes())));
    let other = shop.larder(&["key", "dashboard"]);
    assert_ne!(
        String::from_utf8(other.stdout).unwrap().lines().find(|line| line.starts_with("lrd_")),
        Some(key)
    );
    // A key in place of its hash is refused and not printed.
    for wrong in [
        toml.replace("sha256:", "sha512:"),
        format!("{toml}\nkey = \"{key}\"\n"),
        toml.replace("[[keys]]", "[[keys]]\nscopes = 1"),
    ] {
        fs::write(shop.path().join("larder.toml"), wrong).unwrap();
        let output = shop.larder(&["serve"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("larder.toml") && !error.contains(key), "{error}");
    }
    fs::write(shop.path().join("larder.toml"), toml).unwrap();
    let taken = shop.larder(&["key", "dashboard"]);
    assert!(String::from_utf8(taken.stderr).unwrap().contains("already"));
    let bad = shop.larder(&["key", "Dash board"]);
    assert!(String::from_utf8(bad.stderr).unwrap().contains("a-z"));
}
