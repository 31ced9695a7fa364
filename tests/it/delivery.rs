//! How answers are delivered: what is noted of those with personal data, TLS, pages of other origins, encodings, what may be kept.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use larder::config::{Scope, TlsConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use crate::{
    access::{key, keys, shop},
    shop::{PATIENCE, Service, corners, eventually},
};

/// The real binary; it is killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of JSON in a file, as many as are whole.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn the_audit_tells_who_was_shown_whose_personal_data() {
    let callers: &[(&str, &[Scope])] =
        &[("reader", &[Scope::Features, Scope::Pii]), ("masked", &[Scope::Features])];
    // The level does not silence it.
    let shop = shop(&format!(
        "{}[log]\nlevel = \"error\"\nformat = \"json\"\naudit = \"audit.log\"\n",
        keys(callers)
    ));
    drop(shop.open().await);
    let log = shop.path().join("log");
    let mut command = shop.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.stderr(fs::File::create(&log).unwrap());
    let program = Program::start(command);
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
    let found = eventually(async || lines(&file), |lines| lines.len() >= 5).await;
    let told: Vec<_> = found
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
        told,
        [
            line("/v1/customers/{id}", "profile.email,contact.phone", &["17850"]),
            line("/v1/customers/batch", "profile.email", &["17850", "prospect"]),
            line("/v1/segments/{name}/customers", "profile.email", &["prospect", "zero"]),
            line("/get-online-features", "contact.phone", &["17850"]),
            line("/v1/customers/{id}/history", "contact.phone", &["17850"]),
        ]
    );
    // Moved away, the file is made anew; and without a file the lines are in the log.
    fs::rename(&file, shop.path().join("audit.log.1")).unwrap();
    ask("reader", "/v1/customers/17850", None).await;
    eventually(async || lines(&file), |lines| lines.len() == 1).await;
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
    let mut command = shop.command(&["serve", "--listen", "127.0.0.1:0"]);
    let toml = shop.path().join("larder.toml");
    fs::write(&toml, fs::read_to_string(&toml).unwrap().replace("audit = \"audit.log\"\n", "")).unwrap();
    command.stderr(fs::File::create(&log).unwrap());
    let other = Program::start(command);
    let request = client.get(format!("{}/v1/customers/17850", other.url)).bearer_auth(key("reader"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let logged = eventually(async || lines(&log), |lines| !lines.is_empty()).await;
    assert_eq!((&logged[0]["target"], &logged[0]["customers"]), (&json!("larder::audit"), &json!(1)));
    let text = format!("{found:?}{logged:?}");
    assert!(!text.contains("example.com") && !text.contains("lrd_"), "{text}");
}

#[tokio::test]
async fn a_request_has_a_line_in_the_log_unless_it_is_filtered_out() {
    for (level, audit) in
        [("info", ""), ("info", "audit = \"audit.log\"\n"), ("info,larder::request=off", "")]
    {
        let shop = shop(&format!("[log]\nlevel = \"{level}\"\nformat = \"json\"\n{audit}"));
        drop(shop.open().await);
        let log = shop.path().join("log");
        let mut command = shop.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stderr(fs::File::create(&log).unwrap());
        let mut program = Program::start(command);
        let client = reqwest::Client::new();
        let path = format!("{}/v1/customers/nobody%20here", program.url);
        let answer = client.get(path).header("x-request-id", "\"one\"").send().await.unwrap();
        assert_eq!(answer.status(), 404);
        drop((answer, client));
        // Ended in an orderly way, it has written everything.
        assert!(Command::new("kill").arg(program.child.id().to_string()).status().unwrap().success());
        program.child.wait().unwrap();
        let told = lines(&log);
        let requests: Vec<_> = told.iter().filter(|line| line["target"] == "larder::request").collect();
        if level != "info" {
            assert!(requests.is_empty() && !told.is_empty(), "{told:?}");
            continue;
        }
        let [line] = requests[..] else { panic!("{told:?}") };
        let expected =
            [("level", json!("INFO")), ("message", json!("request")), ("request_id", json!("\"one\""))];
        let route =
            [("method", json!("GET")), ("route", json!("/v1/customers/{id}")), ("status", json!(404))];
        for (name, value) in expected.into_iter().chain(route) {
            assert_eq!(line[name], value, "{name} of {line}");
        }
        assert!(line["micros"].is_u64() && line["timestamp"].is_string(), "{line}");
    }
}

/// Writes a new certificate and its key, and gives the certificate.
fn certify(config: &TlsConfig) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&config.certificate, made.cert.pem()).unwrap();
    fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// What `service` answers over TLS to one who trusts `certificate` alone.
async fn https(service: &Service, certificate: &CertificateDer<'static>) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = tokio::net::TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = "GET /v1/customers/loyal HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn tls_serves_with_the_certificate_that_is_there() {
    let mut shop = corners();
    let config = TlsConfig { certificate: shop.path().join("tls.pem"), key: shop.path().join("tls-key.pem") };
    let first = certify(&config);
    shop.config.http.tls = Some(config.clone());
    let service = shop.open().await;
    let answer = https(&service, &first).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"customer_id\":\"loyal\""),
        "{answer}"
    );
    // Plain HTTP is not served there, and one that says nothing keeps nobody else waiting.
    let _silent = tokio::net::TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await.unwrap();
    let plain = service.client.get(format!("{}/healthz", service.url)).timeout(PATIENCE).send().await;
    assert!(plain.is_err());
    let second = certify(&config);
    assert!(eventually(async || https(&service, &second).await, Result::is_ok).await.is_ok());
    assert!(https(&service, &first).await.is_err());

    // What cannot be used is named at the start.
    for (certificate, key, word) in [
        ("nowhere.pem", "tls-key.pem", "nowhere.pem"),
        ("tls-key.pem", "tls-key.pem", "no certificate"),
        ("tls.pem", "tls.pem", "no private key"),
    ] {
        let toml = format!("[http.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
        fs::write(shop.path().join("larder.toml"), toml).unwrap();
        let refused = shop.larder(&["serve", "--listen", "127.0.0.1:0"]);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read() {
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
    assert!(preflight.header("access-control-allow-headers").contains("x-api-key"));
    let read = ask(reqwest::Method::GET, "https://a.example", false).await;
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, "https://a.example"));
    assert!(read.headers.get_all("vary").iter().any(|vary| vary == "origin"));
    // A page can read why it was refused.
    let refused =
        service.client.get(format!("{}/v1/views", service.url)).header("origin", "https://a.example");
    let refused = service.send(refused).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, "https://a.example"));
    let other = ask(reqwest::Method::GET, "https://b.example", false).await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, ""));
    assert_eq!(ask(reqwest::Method::OPTIONS, "https://b.example", true).await.status, 401);
}

#[tokio::test]
async fn large_answers_come_in_the_encoding_asked_for() {
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
    // One customer is sent as it is.
    let one =
        service.client.get(format!("{}/v1/customers/loyal", service.url)).header("accept-encoding", "gzip");
    let one = service.send(one).await;
    assert_eq!((one.header("content-encoding"), one.json()["customer_id"].clone()), ("", json!("loyal")));
    // Here anybody sees what is personal, so that nothing of it is kept; other answers are.
    assert_eq!(one.header("cache-control"), "no-store");
    let kept = service.get("/v1/customers/loyal?views=rfm").await;
    assert_eq!(kept.header("cache-control"), "private, max-age=60");
    assert_eq!(service.get("/v1/customers/nobody").await.header("cache-control"), "no-store");
}
