//! Protection against pages in a browser: names and origins that a service without keys accepts, the content
//! type of bodies, and headers that restrict what a page may do with an answer.

use std::fs;

use larder::config::{Config, Scope};

use crate::support::{
    callers::{key, keys, shop},
    shop::{Answer, Service, corners, corners_with},
};

async fn get(service: &Service, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = service.client.get(format!("{}{path}", service.url));
    service.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn service_without_keys_accepts_loopback_names_only() {
    let service = corners_with("[http]\ncors_origins = [\"https://a.example\"]\n").open().await;
    for path in ["/v1/customers/17850", "/v1/views", "/openapi.json", "/readyz"] {
        for host in ["localhost", "localhost:8080", "127.0.0.1", "[::1]:8080"] {
            assert_eq!(get(&service, path, &[("host", host)]).await.status, 200, "{path} {host}");
        }
        for host in ["evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1"] {
            let refused = get(&service, path, &[("host", host)]).await;
            assert_eq!((refused.status, refused.problem().as_str()), (421, "misdirected"), "{path} {host}");
        }
        for origin in ["http://localhost:3000", "http://127.0.0.1:8080", "https://a.example"] {
            assert_eq!(get(&service, path, &[("origin", origin)]).await.status, 200, "{path} {origin}");
        }
        for origin in ["https://evil.example", "null", "https://b.example"] {
            let refused = get(&service, path, &[("origin", origin)]).await;
            assert_eq!((refused.status, refused.problem().as_str()), (403, "forbidden"), "{path} {origin}");
        }
        let fetch = |site, mode, target| {
            [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", target)]
        };
        for (headers, status) in [
            (fetch("same-origin", "cors", "empty"), 200),
            (fetch("none", "navigate", "document"), 200),
            // A link in a page of another site opens a tab; all else is part of that page.
            (fetch("cross-site", "navigate", "document"), 200),
            (fetch("cross-site", "navigate", "iframe"), 403),
            (fetch("cross-site", "no-cors", "image"), 403),
            (fetch("same-site", "no-cors", "script"), 403),
        ] {
            assert_eq!(get(&service, path, &headers).await.status, status, "{path} {headers:?}");
        }
        let mut allowed = fetch("cross-site", "cors", "empty").to_vec();
        allowed.push(("origin", "https://a.example"));
        assert_eq!(get(&service, path, &allowed).await.status, 200, "{path}");
        for name in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
            let refused = get(&service, path, &[(name, "192.0.2.7")]).await;
            assert_eq!(refused.status, 403, "{path} {name}");
            assert!(refused.text.contains(name) && refused.text.contains("larder key"), "{}", refused.text);
        }
    }
}

#[tokio::test]
async fn service_with_keys_accepts_every_name_and_proxy() {
    let service = shop(&keys(&[("all", &Scope::ALL)])).open().await;
    let bearer = format!("Bearer {}", key("all"));
    for header in [
        ("host", "features.example"),
        ("origin", "https://evil.example"),
        ("x-forwarded-for", "192.0.2.7"),
        ("via", "1.1 proxy"),
    ] {
        let answer = get(&service, "/v1/views", &[("authorization", &bearer), header]).await;
        assert_eq!(answer.status, 200, "{header:?}");
    }
}

#[test]
fn every_origin_is_refused_without_keys() {
    let toml = "[http]\ncors_origins = [\"*\"]\n";
    let error = Config::parse(toml, "larder.toml", []).expect_err("no keys").to_string();
    assert!(error.contains("larder.toml: `cors_origins`") && error.contains("[[keys]]"), "{error}");
    let with_keys = format!("{}{toml}", keys(&[("all", &Scope::ALL)]));
    assert!(Config::parse(&with_keys, "larder.toml", []).is_ok());
    let shop = corners();
    fs::write(shop.path().join("larder.toml"), toml).unwrap();
    let output = shop.larder(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cors_origins"), "{output:?}");
}

#[tokio::test]
async fn bodies_need_a_json_content_type() {
    let service = corners().open().await;
    for (path, body) in [
        ("/v1/customers/batch", r#"{"ids":["loyal"]}"#),
        ("/v1/audiences", r#"{"where":"rfm.frequency >= 0"}"#),
        ("/v1/audiences/export", r#"{"where":"rfm.frequency >= 0"}"#),
        ("/get-online-features", r#"{"features":["rfm:segment"],"entities":{"customer_id":["loyal"]}}"#),
    ] {
        for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("")] {
            let request = service.client.post(format!("{}{path}", service.url)).body(body);
            let request = match content_type {
                Some(content_type) => request.header("content-type", content_type),
                None => request,
            };
            assert_eq!(service.send(request).await.status, 415, "{path} {content_type:?}");
        }
        for content_type in ["application/json", "Application/JSON; charset=utf-8", "application/ld+json"] {
            let request = service.client.post(format!("{}{path}", service.url)).body(body);
            let answer = service.send(request.header("content-type", content_type)).await;
            assert_eq!(answer.status, 200, "{path} {content_type}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn answers_restrict_what_a_page_may_do_with_them() {
    let service = shop(&keys(&[("all", &Scope::ALL)])).open().await;
    let bearer = format!("Bearer {}", key("all"));
    for path in
        ["/v1/customers/loyal", "/v1/views", "/healthz", "/docs/", "/openapi.json", "/nothing", "/metrics"]
    {
        let answer = get(&service, path, &[("authorization", &bearer)]).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("strict-transport-security"), "", "{path}");
    }
    assert_eq!(get(&service, "/v1/views", &[]).await.header("x-content-type-options"), "nosniff");
    for path in ["/docs/", "/docs/swagger-ui.css"] {
        let policy = get(&service, path, &[]).await.header("content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}
