//! Compression of large responses, and the `Cache-Control` of compressed and plain ones.

use std::io::Read;

use serde_json::json;

use crate::support::shop::corners;

#[tokio::test]
async fn large_responses_are_compressed_on_request() {
    let mut shop = corners();
    shop.config.http.max_age = std::time::Duration::from_mins(1);
    let service = shop.open().await;
    let ids: Vec<&str> = std::iter::repeat_n("17850", 50).collect();
    let ask = async |encoding: Option<&str>| {
        let request =
            service.client.post(format!("{}/v1/customers/batch", service.url)).json(&json!({"ids": ids}));
        let request =
            if let Some(encoding) = encoding { request.header("accept-encoding", encoding) } else { request };
        let answer = request.send().await.unwrap();
        let encoding =
            answer.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
        (encoding, answer.bytes().await.unwrap())
    };
    let _ = ask(None).await;
    let (none, plain) = ask(None).await;
    assert!(none.is_none() && plain.len() > 8 << 10);
    let (gzip, bytes) = ask(Some("gzip")).await;
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    assert_eq!((gzip.as_deref(), &text[..]), (Some("gzip"), &plain[..]));
    let (zstd, bytes) = ask(Some("gzip;q=0.5, zstd")).await;
    assert_eq!((zstd.as_deref(), &bytes[..4]), (Some("zstd"), &[0x28, 0xb5, 0x2f, 0xfd][..]));
    let (identity, bytes) = ask(Some("identity")).await;
    assert_eq!((identity, bytes), (None, plain));
    // A small response is not compressed.
    let one =
        service.client.get(format!("{}/v1/customers/loyal", service.url)).header("accept-encoding", "gzip");
    let one = service.send(one).await;
    assert_eq!((one.header("content-encoding"), one.json()["customer_id"].clone()), ("", json!("loyal")));
    // Without keys, responses with personal data are `no-store`; others may be cached.
    assert_eq!(one.header("cache-control"), "no-store");
    let kept = service.get("/v1/customers/loyal?views=rfm").await;
    assert_eq!(kept.header("cache-control"), "private, max-age=60");
    assert_eq!(service.get("/v1/customers/nobody").await.header("cache-control"), "no-store");
}
