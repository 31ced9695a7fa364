//! Connections to Tair: clusters, TLS, credentials, and the errors that operators see.

use std::{path::Path, process::Stdio, sync::Arc};

use larder::{
    config::TairConfig,
    publish::{Options, Publisher},
    tair::{Tair, TairError, Writer},
};

use super::{publish, shop_with, three};
use crate::support::{
    readers::{Readers, truth},
    redis::{Redis, Refusing, free_port},
    shop::{assert_clean, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_is_published_to_and_read_from() {
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes: Vec<Redis> = (0..3).map(|_| Redis::with(&args, &[])).collect();
    let mut create = std::process::Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
    assert!(create.args(["--cluster-yes"]).stdout(Stdio::null()).status().unwrap().success());
    eventually(
        || async { nodes.iter().all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok")) },
        |ok| *ok,
    )
    .await;
    let shop = shop_with(&format!("redis-cluster://127.0.0.1:{}", nodes[0].port), "10s");
    let [fewer, plain, more] = three(&shop).await;
    for id in [&plain, &fewer, &more] {
        publish(&shop, id).await.unwrap();
        assert_clean(&shop).await;
    }
    // A client with a redis:// URL gets advice when a node redirects it.
    let mut hints = 0;
    for node in &nodes {
        let config = TairConfig { url: node.url(), ..TairConfig::default() };
        let marker = Writer::connect(&config).await.unwrap().marker().await;
        let advice = "use a URL that begins with redis-cluster://";
        hints += u32::from(marker.is_err_and(|error| error.to_string().contains(advice)));
    }
    assert_eq!(hints, 2, "one node has the key");
    let spread = nodes.iter().filter(|node| node.cli(&["dbsize"]) != "0").count();
    assert_eq!(spread, 3, "the keys lie on one node");
    let truth = Arc::new(truth(&shop, &[&more]).await);
    let service = Arc::new(shop.serve().await);
    let readers = Readers::start(&service, &truth);
    readers.until("tair", true).await;
    nodes[1].stop();
    readers.until("snapshot", false).await;
    nodes[1].resume();
    readers.until("tair", true).await;
    readers.end().await;
    move_slot(&nodes, "larder:customer:loyal");
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    assert_clean(&shop).await;
}

/// Moves the slot of `key` from its node to another node.
fn move_slot(nodes: &[Redis], key: &str) {
    let slot = nodes[0].cli(&["cluster", "keyslot", key]);
    let at = nodes.iter().position(|node| node.cli(&["exists", key]) == "1").unwrap();
    let (from, to) = (&nodes[at], &nodes[(at + 1) % nodes.len()]);
    let (from_id, to_id) = (from.cli(&["cluster", "myid"]), to.cli(&["cluster", "myid"]));
    to.cli(&["cluster", "setslot", &slot, "importing", &from_id]);
    from.cli(&["cluster", "setslot", &slot, "migrating", &to_id]);
    let keys = from.cli(&["cluster", "getkeysinslot", &slot, "100"]);
    let port = to.port.to_string();
    let mut migrate = vec!["migrate", "127.0.0.1", &port, "", "0", "5000", "keys"];
    migrate.extend(keys.lines());
    assert_eq!(from.cli(&migrate), "OK");
    for node in nodes {
        node.cli(&["cluster", "setslot", &slot, "node", &to_id]);
    }
}

/// A node that never met another does not know its own address, and reports none to clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_node_cluster_without_address_is_published_to_and_read_from() {
    let redis = Redis::with(&["--cluster-enabled", "yes"], &[]);
    redis.cli(&["cluster", "addslotsrange", "0", "16383"]);
    eventually(|| async { redis.cli(&["cluster", "info"]) }, |info| info.contains("cluster_state:ok")).await;
    assert!(
        redis.cli(&["cluster", "nodes"]).contains(&format!(" :{}@", redis.port)),
        "the node knows its address"
    );
    let shop = shop_with(&format!("redis-cluster://127.0.0.1:{}", redis.port), "10s");
    let [fewer, plain, _] = three(&shop).await;
    for id in [&plain, &fewer] {
        publish(&shop, id).await.unwrap();
        assert_clean(&shop).await;
    }
    let service = shop.serve().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let members = "/v1/segments/prospect/customers";
    eventually(|| service.get(members), |answer| answer.json()["tier"] == "tair").await;
    // The service reconnects after the node was down.
    redis.kill();
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "snapshot").await;
    redis.run_again();
    eventually(|| async { redis.cli(&["cluster", "info"]) }, |info| info.contains("cluster_state:ok")).await;
    publish(&shop, &plain).await.unwrap();
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
}

/// Creates a self-signed certificate for `localhost` in `folder`, and returns the paths of certificate and
/// key.
fn certificate(folder: &Path, name: &str) -> (String, String) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (certificate, secret) =
        (folder.join(format!("{name}-cert.pem")), folder.join(format!("{name}-key.pem")));
    std::fs::write(&certificate, key.cert.pem()).unwrap();
    std::fs::write(&secret, key.signing_key.serialize_pem()).unwrap();
    (certificate.display().to_string(), secret.display().to_string())
}

/// Starts a server that accepts only TLS, with a certificate in `folder`. Returns its certificate too.
fn tls_server(folder: &Path) -> (Redis, String) {
    let (certificate, secret) = certificate(folder, "server");
    let mut args = vec!["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no"];
    args.extend(["--tls-cert-file", &certificate, "--tls-key-file", &secret]);
    args.extend(["--tls-ca-cert-file", &certificate]);
    let redis = Redis::with(&args, &["--tls", "--cacert", &certificate, "-h", "localhost"]);
    (redis, certificate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rediss_with_read_only_user_serves() {
    let folder = tempfile::tempdir().unwrap();
    let (redis, certificate) = tls_server(folder.path());
    let rules = ["~larder:*", "&*", "+@all"];
    redis.cli(&[&["acl", "setuser", "writer", "on", ">w:rite@r"][..], &rules].concat());
    let mut reader = vec!["acl", "setuser", "reader", "on", ">r", "~larder:*", "+@read", "+@connection"];
    reader.extend(["+@fast", "-@write", "+info"]);
    redis.cli(&reader);
    redis.cli(&["acl", "setuser", "default", "nopass", "on", "+@all", "~*"]);
    let url = |user: &str| format!("rediss://{user}@localhost:{}", redis.port);
    let mut shop = shop_with(&url("writer:w%3Arite%40r"), "10s");
    shop.config.tair.as_mut().unwrap().ca_file = Some(certificate.into());
    let id = shop.build().await.manifest.id;
    publish(&shop, &id).await.unwrap();
    assert_clean(&shop).await;
    let writer = shop.config.tair.clone();
    shop.config.tair.as_mut().unwrap().url = url("reader:r");
    let service = shop.serve().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let members = "/v1/segments/prospect/customers";
    eventually(|| service.get(members), |answer| answer.json()["tier"] == "tair").await;
    // The reader may not publish.
    let error = publish(&shop, &id).await.unwrap_err().to_string();
    assert!(error.contains("NOPERM") || error.contains("permission"), "{error}");
    let wrong = TairConfig { url: url("writer:topsecret"), ..writer.unwrap() };
    let error = read_error(&wrong).await;
    assert!(error.contains("authentication failed: WRONGPASS") && !error.contains("topsecret"), "{error}");
    let error =
        Publisher::new(shop.lake(), Some(wrong), Options::default()).verify(false, false).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("authentication failed: WRONGPASS") && !error.contains("topsecret"), "{error}");
}

/// Returns why a reader cannot connect to the Tair of `config`.
async fn read_error(config: &TairConfig) -> String {
    let tair = Tair::connect(config, None).unwrap();
    let error = || async { tair.markers().await.unwrap_err().to_string() };
    eventually(error, |error| error.contains("there is no connection: ")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rediss_with_untrusted_certificate_reports_tls_handshake_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (redis, _) = tls_server(folder.path());
    let (other, _) = certificate(folder.path(), "other");
    let url = format!("rediss://localhost:{}", redis.port);
    let config = TairConfig { url, ca_file: Some(other.into()), ..TairConfig::default() };
    let error = read_error(&config).await;
    let is_named = |error: &str| {
        error.contains("TLS handshake failed: ") && error.to_lowercase().contains("certificate")
    };
    assert!(is_named(&error), "{error}");
    let error = Writer::connect(&config).await.unwrap_err().to_string();
    assert!(is_named(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rediss_reconnects_after_server_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (redis, certificate) = tls_server(folder.path());
    let mut shop = shop_with(&format!("rediss://localhost:{}", redis.port), "10s");
    shop.config.tair.as_mut().unwrap().ca_file = Some(certificate.into());
    let id = shop.build().await.manifest.id;
    publish(&shop, &id).await.unwrap();
    let truth = Arc::new(truth(&shop, &[&id]).await);
    let service = Arc::new(shop.serve().await);
    let readers = Readers::start(&service, &truth);
    readers.until("tair", true).await;
    redis.cli(&["save"]);
    redis.kill();
    readers.until("snapshot", true).await;
    redis.run_again();
    readers.until("tair", true).await;
    redis.stop();
    readers.until("snapshot", true).await;
    redis.resume();
    readers.until("tair", true).await;
    readers.end().await;
    assert_eq!(service.get("/readyz").await.json()["tiers"]["tair"]["connected"], 2);
}

/// Returns why a publisher cannot connect to `url`.
async fn connect_error(url: String) -> String {
    let config = TairConfig { url, ..TairConfig::default() };
    let error = Writer::connect(&config).await.unwrap_err();
    assert!(matches!(error, TairError::Unreachable(_)), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_error_quotes_server() {
    let locked = Redis::with(&["--requirepass", "open-sesame"], &["-a", "open-sesame", "--no-auth-warning"]);
    let answers = [
        "LOADING Redis is loading the dataset in memory",
        "MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.",
        "ERR max number of clients reached",
        "CLUSTERDOWN Hash slot not served",
        "DENIED Redis is running in protected mode because protected mode is enabled",
    ];
    let servers = futures::future::join_all(answers.map(Refusing::with)).await;
    let mut urls = vec![
        (locked.url(), "authentication failed: NOAUTH Authentication required."),
        (format!("redis://:wrong-secret@127.0.0.1:{}", locked.port), "authentication failed: WRONGPASS"),
        (format!("rediss://:wrong-secret@127.0.0.1:{}", locked.port), "the server does not answer"),
        (format!("redis://127.0.0.1:{}", free_port()), "Connection refused"),
    ];
    for (server, answer) in servers.iter().zip(answers) {
        for scheme in ["redis", "redis-cluster"] {
            urls.push((format!("{scheme}://127.0.0.1:{}", server.port), answer));
        }
    }
    // Each attempt takes as long as a publisher waits.
    let errors = futures::future::join_all(urls.iter().map(|(url, _)| connect_error(url.clone()))).await;
    for ((url, expected), error) in urls.iter().zip(errors) {
        assert!(error.contains("within 5 s: ") && error.contains(expected), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let url = format!("redis-cluster://:open-sesame@127.0.0.1:{}", locked.port);
    let error = Writer::connect(&TairConfig { url, ..TairConfig::default() }).await.unwrap_err().to_string();
    assert!(error.contains("use a URL that begins with redis://") && !error.contains("sesame"), "{error}");
}
