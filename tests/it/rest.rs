//! REST responses: customers, segments, problems, conditional reads, request ids, metrics, timeouts and
//! shutdown.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::shop::{Shop, corners, eventually};

#[tokio::test]
async fn customer_is_read_by_id() {
    let service = corners().open().await;
    let answer = service.get("/v1/customers/loyal?views=rfm").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let body = answer.json();
    assert_eq!(body["customer_id"], "loyal");
    assert_eq!(body["as_of"], "2024-03-10T11:30:00Z");
    assert_eq!(body["tier"], "snapshot");
    assert_eq!(body["views"].as_object().unwrap().keys().collect::<Vec<_>>(), ["rfm"]);
    let again = service.get("/v1/customers/loyal").await.json();
    assert_eq!(again["tier"], "memory");
    assert_eq!(again["views"]["rfm"], body["views"]["rfm"]);
    assert_eq!(again["views"].as_object().unwrap().len(), 6);
    // An id may hold any percent-encoded characters, and be the name of an endpoint.
    assert_eq!(service.get("/v1/customers/a%2Fb%20c%2Bd").await.json()["customer_id"], "a/b c+d");
    assert_eq!(service.get("/v1/customers/batch").await.json()["customer_id"], "batch");
    assert_eq!(service.get("/v1/customers/%20loyal%20").await.json()["customer_id"], "loyal");
}

#[tokio::test]
async fn batch_returns_a_result_per_id() {
    let service = corners().open().await;
    let body = json!({
        "ids": ["loyal", "nobody", 17850, "loyal"],
        "views": ["rfm"],
        "features": ["behavior.items", "behavior.products", "rfm.segment"],
    });
    let answer = service.post("/v1/customers/batch", body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let results = body["results"].as_array().unwrap();
    let ids: Vec<&str> = results.iter().map(|result| result["customer_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["loyal", "nobody", "17850", "loyal"]);
    assert_eq!(results[1], json!({"customer_id": "nobody", "found": false}));
    assert_eq!(results[2]["views"]["behavior"], json!({"items": 4, "products": 2}));
    assert_eq!(results[0]["views"]["rfm"]["segment"], "champions");
    assert_eq!(results[0]["views"], results[3]["views"]);
    let none = service.post("/v1/customers/batch", r#"{"ids": []}"#).await;
    assert_eq!((none.status, none.json()["results"].clone()), (200, json!([])));
    let all = service.post("/v1/customers/batch", r#"{"ids": ["loyal"]}"#).await.json();
    assert_eq!(all["results"][0]["views"].as_object().unwrap().len(), 6);
}

#[tokio::test]
async fn errors_are_problems_with_documented_types() {
    let service = corners().open().await;
    let long = "x".repeat(257);
    for (path, status, kind) in [
        ("/v1/customers/nobody", 404, "customer-not-found"),
        ("/v1/customers/%20", 400, "bad-customer-id"),
        ("/v1/customers/a%00b", 400, "bad-customer-id"),
        ("/v1/customers/%FF", 400, "bad-customer-id"),
        (&format!("/v1/customers/{long}"), 400, "bad-customer-id"),
        ("/v1/customers/loyal?views=rfm,nope", 400, "unknown-view"),
        ("/v1/customers/loyal?view=rfm", 400, "bad-parameter"),
        ("/v1/segments/nope", 404, "segment-not-found"),
        ("/v1/segments/nope/customers", 404, "segment-not-found"),
        ("/v1/segments/champions/customers?limit=0", 400, "bad-parameter"),
        ("/v1/segments/champions/customers?limit=1001", 400, "bad-parameter"),
        ("/v1/segments/champions/customers?limit=ten", 400, "bad-parameter"),
        ("/v1/segments/champions/customers?cursor=x", 400, "bad-cursor"),
        ("/v1/snapshots/nope", 404, "snapshot-not-found"),
        ("/v1/snapshots/20111209T125000Z-5f0c2a9e", 404, "snapshot-not-found"),
        ("/v1/snapshots/..%2F..%2Fetc", 404, "snapshot-not-found"),
        ("/v2/anything", 404, "path-not-found"),
        ("/v1", 404, "path-not-found"),
    ] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{path}: {}", answer.text);
    }
    for (query, explanation) in [
        ("view=rfm", "unknown parameter `view`, expected one of `views`"),
        ("views=rfm&views=churn", "repeated parameter `views`"),
    ] {
        let problem = service.get(&format!("/v1/customers/loyal?{query}")).await.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(explanation), "{detail}");
    }
    let many: Vec<u32> = (0..1_001).collect();
    for (body, status, kind, word) in [
        (json!({"ids": many}).to_string(), 400, "too-many-ids", "1001"),
        (r#"{"ids": ["a", ""]}"#.to_owned(), 400, "bad-customer-id", "ids[1]"),
        (r#"{"ids": ["a", 1.5]}"#.to_owned(), 400, "bad-customer-id", "ids[1]"),
        (r#"{"ids": [null]}"#.to_owned(), 400, "bad-customer-id", "ids[0]"),
        (r#"{"ids": "a"}"#.to_owned(), 400, "bad-body", "sequence"),
        (r#"{"id": ["a"]}"#.to_owned(), 400, "bad-body", "id"),
        ("{".to_owned(), 400, "bad-body", "line 1"),
        (r#"{"ids": [], "views": ["nope"]}"#.to_owned(), 400, "unknown-view", "nope"),
        (r#"{"ids": [], "features": ["rfm.nope"]}"#.to_owned(), 400, "unknown-feature", "nope"),
        (r#"{"ids": [], "features": ["rfm"]}"#.to_owned(), 400, "unknown-feature", "view.feature"),
        ("x".repeat(2 << 20), 413, "body-too-large", "1048576"),
    ] {
        let answer = service.post("/v1/customers/batch", body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{}", answer.text);
        assert!(answer.text.contains(word), "{} lacks {word}", answer.text);
    }
    let delete = service.send(service.client.delete(format!("{}/v1/segments", service.url))).await;
    assert_eq!((delete.status, delete.problem().as_str()), (405, "method-not-allowed"));
    let form = service
        .client
        .post(format!("{}/v1/customers/batch", service.url))
        .header("content-type", "text/plain");
    let form = service.send(form.body("{}")).await;
    assert_eq!((form.status, form.problem().as_str()), (415, "unsupported-media-type"));
}

#[tokio::test]
async fn compressed_request_body_returns_415() {
    let service = corners().open().await;
    let feast = r#"{"entities": {"customer_id": ["loyal"]}, "features": ["rfm:segment"]}"#;
    let bodies = [
        ("/v1/customers/batch", r#"{"ids": ["loyal"]}"#),
        ("/v1/audiences", r#"{"where": "segment:champions"}"#),
        ("/v1/audiences/export", r#"{"where": "segment:champions"}"#),
        ("/get-online-features", feast),
    ];
    // All paths of the OpenAPI document that take a body.
    let contract = service.get("/openapi.json").await.json();
    let posts = contract["paths"].as_object().unwrap().iter().filter(|(_, path)| path["post"].is_object());
    let mut posts: Vec<&str> = posts.map(|(path, _)| path.as_str()).collect();
    let mut known = bodies.map(|(path, _)| path);
    posts.sort_unstable();
    known.sort_unstable();
    assert_eq!(posts, known);
    for (path, body) in bodies {
        for (encoding, status) in [("gzip", 415), ("identity, zstd", 415), ("identity", 200)] {
            let request =
                service.client.post(format!("{}{path}", service.url)).header("content-encoding", encoding);
            let answer = service.send(request.header("content-type", "application/json").body(body)).await;
            assert_eq!(answer.status, status, "{path} {encoding}: {}", answer.text);
            assert!(status == 200 || answer.problem() == "unsupported-content-encoding", "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn segments_list_their_members_in_order() {
    let service = corners().open().await;
    let all = service.get("/v1/segments").await.json();
    let segments = all["segments"].as_array().unwrap();
    assert_eq!(segments.len(), 15);
    // Every customer is in one RFM segment; churn segments hold the customers with an order.
    let of_rfm: Vec<&Value> = segments.iter().filter(|segment| segment["kind"] == "rfm").collect();
    let sizes: u64 = of_rfm.iter().map(|segment| segment["size"].as_u64().unwrap()).sum();
    assert_eq!(Some(sizes), all["customers"].as_u64());
    let shares: f64 = of_rfm.iter().map(|segment| segment["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    for segment in of_rfm {
        let name = segment["name"].as_str().unwrap();
        assert_eq!(service.get(&format!("/v1/segments/{name}")).await.json()["size"], segment["size"]);
        let list = service.get(&format!("/v1/segments/{name}/customers?views=rfm")).await.json();
        let members = list["customers"].as_array().unwrap();
        assert_eq!((members.len() as u64, &list["next"]), (segment["size"].as_u64().unwrap(), &Value::Null));
        let money: Vec<f64> =
            members.iter().map(|m| m["views"]["rfm"]["monetary"].as_f64().unwrap()).collect();
        let ids: Vec<&str> = members.iter().map(|m| m["customer_id"].as_str().unwrap()).collect();
        for at in 1..members.len() {
            assert!(
                (money[at - 1], ids[at]) > (money[at], ids[at - 1]) || money[at - 1] > money[at],
                "{name} is out of order"
            );
            assert_eq!(members[at]["rank"], at + 1);
        }
        assert!(members.iter().all(|member| member["views"]["rfm"]["segment"] == name));
        let revenue = segment["revenue"].as_f64().unwrap();
        assert!((money.iter().sum::<f64>() - revenue).abs() < 1e-6, "{name}");
    }
    let plain = service.get("/v1/segments/prospect/customers").await.json();
    assert_eq!(plain["customers"][0]["views"], json!({}));
}

/// The URL of a customer without a query is answered before the router; with an empty query, by the router.
#[tokio::test]
async fn customer_fast_path_equals_the_router() {
    let service = corners().open().await;
    let long = "x".repeat(257);
    for id in [
        "loyal",
        "17850",
        "batch",
        "nobody",
        "a%2Fb%20c%2Bd",
        "a%2fb+c+d",
        "%FF",
        "%00",
        "%20",
        "%20loyal%20",
        &long,
    ] {
        let direct = service.get(&format!("/v1/customers/{id}")).await;
        let general = service.get(&format!("/v1/customers/{id}?")).await;
        // The second read finds the row in memory.
        let plain = |answer: &crate::support::shop::Answer| {
            answer.text.replace("\"tier\":\"snapshot\"", "\"tier\":\"memory\"")
        };
        assert_eq!((direct.status, plain(&direct)), (general.status, plain(&general)), "{id}");
        assert_eq!(direct.header("etag"), general.header("etag"), "{id}");
        assert_eq!(direct.header("content-type"), general.header("content-type"), "{id}");
    }
}

#[tokio::test]
async fn every_get_with_an_etag_documents_304() {
    let shop = corners();
    let service = shop.open().await;
    let document = service.get("/openapi.json").await.json();
    for (template, methods) in document["paths"].as_object().unwrap() {
        let path = template.replace("customers/{id}", "customers/loyal").replace("{name}", "prospect");
        let answer = service.get(&path).await;
        if methods["get"].is_object() && answer.headers.contains_key("etag") {
            assert!(methods["get"]["responses"]["304"].is_object(), "{template}");
        }
    }
}

#[tokio::test]
async fn etag_unchanged_returns_304_until_the_next_publish() {
    let shop = corners();
    let service = shop.open().await;
    let paths = [
        "/v1/customers/loyal",
        "/v1/segments",
        "/v1/segments/prospect",
        "/v1/segments/prospect/customers",
        "/v1/views",
    ];
    let mut tags = Vec::new();
    for path in paths {
        let tag = service.get(path).await.header("etag").to_owned();
        assert!(tag.starts_with("W/\""), "{path}: {tag}");
        let request = service.client.get(format!("{}{path}", service.url)).header("if-none-match", &tag);
        let again = service.send(request).await;
        assert_eq!(
            (again.status, again.text.as_str(), again.header("etag")),
            (304, "", tag.as_str()),
            "{path}"
        );
        tags.push(tag);
    }
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    eventually(|| service.get(paths[0]), |answer| answer.header("etag") != tags[0]).await;
    let request =
        service.client.get(format!("{}{}", service.url, paths[0])).header("if-none-match", &tags[0]);
    assert_eq!(service.send(request).await.status, 200);
}

#[tokio::test]
async fn requests_have_request_ids_and_metrics() {
    let service = corners().open().await;
    let given =
        service.client.get(format!("{}/v1/customers/loyal", service.url)).header("x-request-id", "abc-1");
    assert_eq!(service.send(given).await.header("x-request-id"), "abc-1");
    let (a, b) = (service.get("/v1/customers/loyal").await, service.get("/v1/customers/nobody").await);
    assert!(!a.header("x-request-id").is_empty());
    assert_ne!(a.header("x-request-id"), b.header("x-request-id"));
    let requests = "larder_http_requests_total{method=\"GET\",route=\"/v1/customers/{id}\",status=";
    assert_eq!(service.metric(&format!("{requests}\"200\"}}")).await, 2.0);
    assert_eq!(service.metric(&format!("{requests}\"404\"}}")).await, 1.0);
    assert_eq!(service.metric("larder_reads_total{outcome=\"hit\",tier=\"snapshot\"}").await, 1.0);
    assert_eq!(service.metric("larder_reads_total{outcome=\"hit\",tier=\"memory\"}").await, 1.0);
    assert_eq!(service.metric("larder_reads_total{outcome=\"miss\",tier=\"snapshot\"}").await, 1.0);
    assert_eq!(service.metric("larder_snapshot_customers").await, 15.0);
    assert!(service.metric("larder_cache_bytes{cache=\"blocks\"}").await > 0.0);
    assert!(service.metric("larder_build_stage_seconds{stage=\"raw\"}").await > 0.0);
    let text = service.get("/metrics").await.text;
    assert!(text.contains(
        "larder_http_request_duration_seconds_bucket{route=\"/v1/customers/{id}\",status=\"2xx\",\
             le=\"0.00001\"}"
    ));
    assert!(text.contains("process_resident_memory_bytes"));
    assert!(!text.contains("loyal"), "a customer id is a label");
}

#[tokio::test]
async fn openapi_document_has_descriptions_and_examples() {
    let service = corners().open().await;
    let document = service.get("/openapi.json").await.json();
    for path in
        ["/v1/customers/{id}", "/v1/customers/batch", "/v1/segments/{name}/customers", "/v1/views", "/readyz"]
    {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "schema {name} has no description");
        described(name, schema);
    }
    let rfm = &document["components"]["schemas"]["Views"]["properties"]["rfm"]["properties"];
    assert_eq!(rfm["recency_days"]["format"], "int64");
    let page = service.get("/docs/").await;
    assert!(page.status == 200 && page.text.contains("swagger-ui"), "{}", page.text);
    assert!(service.get("/docs/swagger-initializer.js").await.text.contains("/openapi.json"));
}

/// Checks that each property has a description, its own or that of its schema, and each scalar property an
/// example.
fn described(name: &str, schema: &Value) {
    // The properties of `Views` come from the snapshot.
    if name == "Views" {
        return;
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    for (property, content) in properties {
        let refers =
            ["$ref", "oneOf", "items", "additionalProperties"].iter().any(|key| content.get(key).is_some());
        // A reference has the description of its schema.
        let described =
            content["description"].is_string() || content.get("$ref").or(content.get("oneOf")).is_some();
        assert!(described, "{name}.{property} has no description");
        let shown = content.get("example").is_some() || content.get("examples").is_some();
        assert!(refers || shown || name.ends_with("Tiers"), "{name}.{property} has no example");
    }
}

/// The committed document has the views of a shop without `customers` files.
#[tokio::test]
async fn committed_openapi_document_is_served() {
    let shop = Shop::new("");
    let lines = "customer_id,order_id,product_id,quantity,unit_price,ordered_at,country\n\
        a,1,p,1,2.50,2024-07-01,UK\n";
    shop.raw("transactions/x.csv", lines);
    let served = shop.open().await.get("/openapi.json").await.json();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&served).unwrap());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap();
    assert!(
        committed == text,
        "openapi/openapi.json differs from the served document; UPDATE_OPENAPI=1 cargo test updates it"
    );
}

#[tokio::test]
async fn service_without_snapshot_is_alive_but_not_ready() {
    let shop = corners();
    let service = shop.serve().await;
    assert_eq!(service.get("/healthz").await.status, 200);
    let ready = service.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["ready"].clone()), (503, json!(false)));
    let read = service.get("/v1/customers/loyal").await;
    assert_eq!((read.status, read.problem().as_str(), read.header("retry-after")), (503, "no-snapshot", "1"));
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    eventually(|| service.get("/readyz"), |answer| answer.status == 200).await;
    assert_eq!(service.get("/v1/customers/loyal").await.status, 200);
}

/// Beginning of the head of a batch.
const HEAD: &str =
    "POST /v1/customers/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn shutdown_fails_readyz_and_drains_open_requests() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut shop = corners();
    shop.config.http.drain_delay = Duration::from_millis(300);
    let mut service = shop.open().await;
    // A request is open until its whole body has arrived.
    let address = service.url.trim_start_matches("http://").to_owned();
    let mut slow = tokio::net::TcpStream::connect(&address).await.unwrap();
    let body = r#"{"ids":["loyal"]}"#;
    let head = format!("{HEAD}content-length: {}\r\n\r\n", body.len());
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&body.as_bytes()[..5]).await.unwrap();
    let stopped = service.stop();
    eventually(|| service.get("/readyz"), |answer| answer.status == 503 && answer.json()["draining"] == true)
        .await;
    eventually(|| async { tokio::net::TcpStream::connect(&address).await.is_err() }, |refused| *refused)
        .await;
    slow.write_all(&body.as_bytes()[5..]).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"found\":true"), "{answer}");
    tokio::time::timeout(crate::support::shop::PATIENCE, stopped).await.unwrap().unwrap();
}

#[tokio::test]
async fn slow_request_returns_504() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut shop = corners();
    shop.config.http.timeout = Duration::from_millis(200);
    let service = shop.open().await;
    let mut slow = tokio::net::TcpStream::connect(service.url.trim_start_matches("http://")).await.unwrap();
    slow.write_all(format!("{HEAD}content-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let read =
        tokio::time::timeout(crate::support::shop::PATIENCE, slow.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("urn:larder:problem:timeout"), "{answer}");
}
