//! CORS: preflight requests and reads from allowed and other origins.

use larder::config::Scope;

use crate::support::callers::{key, keys, shop};

#[tokio::test]
async fn cors_allows_configured_origins_only() {
    let toml =
        format!("{}[http]\ncors_origins = [\"https://a.example\"]\n", keys(&[("page", &[Scope::Features])]));
    let service = shop(&toml).open().await;
    let ask = async |method: reqwest::Method, origin: &str, preflight: bool| {
        let mut request =
            service.client.request(method, format!("{}/v1/views", service.url)).header("origin", origin);
        if preflight {
            request = request.header("access-control-request-method", "GET");
        } else {
            request = request.bearer_auth(key("page"));
        }
        service.send(request).await
    };
    let preflight = ask(reqwest::Method::OPTIONS, "https://a.example", true).await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-origin")),
        (204, "https://a.example")
    );
    let headers = preflight.header("access-control-allow-headers");
    assert!(headers.contains("x-api-key") && headers.contains("traceparent"), "{headers}");
    let read = ask(reqwest::Method::GET, "https://a.example", false).await;
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, "https://a.example"));
    assert!(read.headers.get_all("vary").iter().any(|vary| vary == "origin"));
    // A page can read the reason of a refusal.
    let refused =
        service.client.get(format!("{}/v1/views", service.url)).header("origin", "https://a.example");
    let refused = service.send(refused).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, "https://a.example"));
    let other = ask(reqwest::Method::GET, "https://b.example", false).await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, ""));
    // Without the header, a browser does not send the request.
    let preflight = ask(reqwest::Method::OPTIONS, "https://b.example", true).await;
    assert_eq!(preflight.header("access-control-allow-origin"), "");
}
