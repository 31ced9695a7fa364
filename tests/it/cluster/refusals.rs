//! Workers and drivers that must not work together, or cannot work at all.

use ballista_core::serde::protobuf::{ExecuteQueryParams, scheduler_grpc_client::SchedulerGrpcClient};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

#[test]
fn worker_with_other_raw_settings_is_refused() {
    let shop = shop(&cluster(1, "worker_timeout = \"3s\"\n"));
    let (mut driver, address) = driver(&shop);
    let other = self::shop(&(cluster(1, "") + "[raw]\nzone = \"Asia/Shanghai\"\n"));
    let mut refused = worker(&other, &address, 0, &[]);
    assert!(!refused.succeeds());
    let log = refused.log();
    assert!(log.contains("refused this worker: settings in [raw] differ"), "{log}");
    assert!(!driver.succeeds());
    let log = driver.log();
    assert!(log.contains("0 of 1 workers came to 127.0.0.1:"), "{log}");
    assert!(log.contains("was refused: settings in [raw]"), "{log}");
}

#[test]
fn worker_with_other_views_is_refused() {
    let shop = shop(&cluster(1, "worker_timeout = \"3s\"\n"));
    let (mut driver, address) = driver(&shop);
    let other = Shop::new(&cluster(1, "").replace("[views]\nfolder = \"views\"\n", ""));
    let mut refused = worker(&other, &address, 0, &[]);
    assert!(!refused.succeeds());
    let log = refused.log();
    assert!(log.contains("refused this worker: views, or exclude in [recommendations], differ"), "{log}");
    assert!(!driver.succeeds());
}

#[test]
fn worker_without_rights_or_memory_or_build_says_so() {
    let shop = shop(&cluster(1, "worker_timeout = \"1s\"\n"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut alone = worker(&shop, &address, 0, &[]);
    assert!(!alone.succeeds());
    assert!(alone.log().contains(&format!("no build listened on {address} for 1 s")), "{}", alone.log());
    let mut small = Process::start(
        shop.command(&["worker", "--build", &address, "--memory", "1MiB"]),
        shop.path().join("small.log"),
    );
    assert!(!small.succeeds());
    assert!(small.log().contains("more than --memory (1 MiB)"), "{}", small.log());
    // A file in place of the folder: nobody may write there.
    fs::write(shop.path().join("lake/staged"), "").unwrap();
    let mut powerless = worker(&shop, &address, 1, &[]);
    assert!(!powerless.succeeds());
    assert!(powerless.log().contains("cannot write to `staged/` of the lake"), "{}", powerless.log());
}

#[test]
fn addresses_beyond_loopback_need_tls() {
    let shop = shop(&cluster(1, "").replace("127.0.0.1:0", "0.0.0.0:0"));
    for arguments in [&["build", "--no-publish"][..], &["worker", "--build", "shop.example:7070"]] {
        let output = shop.larder(arguments);
        assert!(!output.status.success());
        assert!(text(&output).contains("is beyond loopback and needs the section [build.tls]"), "{output:?}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let without_listen = cluster(1, "").replace("listen = \"127.0.0.1:0\"\n", "");
    let cases = [
        (without_listen.as_str(), "[build] listen: engine = \"cluster\" needs an address"),
        (&cluster(1, "keep_staging = false\n"), "needs keep_staging = true"),
        (&cluster(1, "").replace("127.0.0.1:0", "7070"), "`7070` is not of the form host:port"),
    ];
    for (toml, expected) in cases {
        let shop = shop(toml);
        let output = shop.larder(&["build", "--no-publish"]);
        assert!(!output.status.success() && text(&output).contains(expected), "{}", text(&output));
    }
}

/// Writes a certificate of `issuer` for localhost, and its key, to `folder` under `name`.
fn certify(folder: &Path, name: &str, issuer: &Issuer<'_, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, issuer).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
}

/// Creates a certificate authority and writes its certificate to `file`.
fn authority(file: &Path) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(file, params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

#[test]
fn workers_need_a_certificate_of_the_authority() {
    let tls = |name: &str| {
        format!("[build.tls]\ncertificate = \"{name}.pem\"\nkey = \"{name}-key.pem\"\nca = \"ca.pem\"\n")
    };
    let shop = shop(&(cluster(1, "worker_timeout = \"20s\"\n") + &tls("driver")));
    let issuer = authority(&shop.path().join("ca.pem"));
    let stranger = authority(&shop.path().join("other-ca.pem"));
    certify(shop.path(), "driver", &issuer);
    certify(shop.path(), "good", &issuer);
    certify(shop.path(), "bad", &stranger);
    let (mut driver, address) = driver(&shop);
    // Workers of the same lake with their own certificates.
    let with = |name: &str, toml: &str| {
        let file = shop.path().join(format!("{name}.toml"));
        fs::write(&file, cluster(1, "worker_timeout = \"2s\"\n") + toml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.arg("--config").arg(file).args(["worker", "--build", &address]);
        command.env("LARDER_BUILD_STAGING", shop.path().join("staging"));
        Process::start(command, shop.path().join(format!("{name}.log")))
    };
    let mut plain = with("plain", "");
    plain.waits_for(|log| log.contains("the connection to the build was lost").then_some(()));
    drop(plain);
    let mut bad = with("bad", &tls("bad"));
    bad.waits_for(|log| log.contains("the connection to the build was lost").then_some(()));
    drop(bad);
    let mut good = with("good", &tls("good"));
    assert!(driver.succeeds(), "{}", driver.log());
    assert!(good.succeeds(), "{}", good.log());
    assert_eq!(fingerprint(&shop), local_fingerprint());
}

#[tokio::test]
async fn clients_cannot_submit_plans() {
    let shop = shop(&cluster(1, ""));
    let (mut driver, address) = driver(&shop);
    let mut client = SchedulerGrpcClient::connect(format!("http://{address}")).await.unwrap();
    let refused = client.execute_query(ExecuteQueryParams::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    driver.kill();
}

#[test]
fn damaged_file_gives_the_error_of_one_process() {
    let shop = shop(&cluster(1, ""));
    shop.raw("transactions/part-99.csv.gz", b"\x1f\x8b\x08\x00 damaged");
    let (mut driver, address) = driver(&shop);
    let mut worker = worker(&shop, &address, 0, &[]);
    assert!(!driver.succeeds());
    assert!(worker.succeeds(), "{}", worker.log());
    let local =
        shop.command(&["build", "--no-publish"]).env("LARDER_BUILD_ENGINE", "local").output().unwrap();
    let error = String::from_utf8(local.stderr).unwrap();
    let error = error.lines().last().unwrap();
    assert!(error.contains("part-99.csv.gz") && driver.log().contains(error), "{error}\n{}", driver.log());
}
