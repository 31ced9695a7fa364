//! Failures and limits of exports: damaged snapshots, disconnected and idle receivers, memory.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use super::csv;
use crate::support::{
    large::large,
    shop::{Shop, eventually},
};

/// Overwrites the middle of the first part of `kind` with zeros.
fn damage(shop: &Shop, kind: &str) {
    let part = shop.snapshot_folders()[0].join(kind).join("part-00000.parquet");
    let mut content = std::fs::read(&part).unwrap();
    let middle = content.len() / 2;
    content[middle..middle + 64].fill(0);
    std::fs::write(part, content).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_snapshot_breaks_export_with_error() {
    let shop = large(4_000).await;
    let service = shop.serve().await;
    damage(&shop, "rows");
    let response =
        service.client.get(format!("{}/v1/segments/all/export", service.url)).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["larder-rows"].to_str().unwrap()),
        (200, "4000")
    );
    assert!(response.bytes().await.is_err());
    assert!(service.metric("larder_exports_total{outcome=\"failed\"}").await > 0.0);
    let out = shop.path().join("out");
    std::fs::create_dir(&out).unwrap();
    for place in [out.join("x.csv").to_str().unwrap(), "lake:exports/x.csv"] {
        let output = shop.larder(&["export", "segment", "all", "--out", place]);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("rows/part-00000.parquet"), "{output:?}");
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    assert!(!shop.path().join("lake/exports/x.csv").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_stops_when_receiver_disconnects_or_is_idle() {
    let mut shop = large(60_000).await;
    shop.config.serving.exports = 1;
    shop.config.serving.export_idle = Duration::from_millis(300);
    let service = shop.serve().await;
    let ask = || service.client.get(format!("{}/v1/segments/all/export?format=ndjson", service.url)).send();
    let open = || service.metric("larder_exports_open");
    // The receiver disconnects.
    let mut response = ask().await.unwrap();
    assert!(!response.chunk().await.unwrap().unwrap().is_empty());
    assert_eq!(open().await, 1.0);
    let busy = service.get("/v1/segments/all/export").await;
    assert_eq!((busy.status, busy.problem().as_str(), busy.header("retry-after")), (503, "busy", "1"));
    drop(response);
    eventually(open, |open| *open == 0.0).await;
    assert_eq!(service.metric("larder_exports_total{outcome=\"left\"}").await, 1.0);
    // The receiver is idle: the rest of the stream ends with an error.
    let response = ask().await.unwrap();
    eventually(|| service.metric("larder_exports_total{outcome=\"idle\"}"), |idle| *idle == 1.0).await;
    assert!(response.bytes().await.is_err());
    // The receiver takes all pieces, for longer than the deadline of other requests.
    assert_eq!(open().await, 0.0);
    let whole = ask().await.unwrap().bytes().await.unwrap();
    assert_eq!(whole.split(|byte| *byte == b'\n').count(), 60_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_receiver_gets_the_whole_export() {
    let mut shop = large(20_000).await;
    shop.config.serving.export_idle = Duration::from_secs(2);
    let service = shop.serve().await;
    let socket = TcpSocket::new_v4().unwrap();
    // The bytes wait in the service, not in the buffer of the receiver.
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let address = service.url.trim_start_matches("http://").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = "GET /v1/segments/all/export?format=ndjson HTTP/1.1\r\nhost: localhost\r\n\
        connection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        received.extend_from_slice(&buffer[..read]);
        // 400 KB/s at first: each pause is far shorter than the receiver may be idle.
        if received.len() < 2 << 20 {
            tokio::time::sleep(Duration::from_millis(160)).await;
        }
    }
    assert!(received.ends_with(b"\r\n0\r\n\r\n"), "{} bytes received", received.len());
    assert_eq!(service.metric("larder_exports_total{outcome=\"finished\"}").await, 1.0);
}

/// Runs `larder export`, and returns its peak memory in KiB.
fn peak(shop: &Shop, args: &[&str]) -> u64 {
    let measure = "import resource, subprocess, sys\n\
                   subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n\
                   print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let export = shop.command(&[&["export"], args].concat());
    let mut python = Command::new("python3");
    python.args(["-c", measure]).arg(export.get_program()).args(export.get_args());
    // Returns freed memory to the system at once, so that the peak is that of live memory.
    python.env("MIMALLOC_PURGE_DELAY", "0");
    let output = crate::support::python::run(&mut python);
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_memory_is_bounded() {
    // The small shop already fills every buffer; the large one has four times its customers.
    let (small, big) = (large(80_000).await, large(320_000).await);
    for args in [
        &["segment", "all", "--format", "csv"][..],
        &["segment", "all", "--format", "ndjson", "--order", "rank"],
        &["segment", "all", "--format", "parquet"],
        &["audience", "rfm.monetary >= 10", "--format", "csv", "--order", "rank"],
    ] {
        let [few, many] = [&small, &big].map(|shop| {
            let out = shop.path().join("out");
            let peak = peak(shop, &[args, &["--out", out.to_str().unwrap()]].concat());
            (peak, size(&out))
        });
        println!(
            "{args:?}: {} MiB for {} MiB, {} MiB for {} MiB",
            few.0 >> 10,
            few.1 >> 20,
            many.0 >> 10,
            many.1 >> 20
        );
        assert!(many.1 > 3 * few.1, "{few:?} {many:?}");
        assert!(many.0 < few.0 * 2, "{few:?} {many:?}");
    }
    let out = big.path().join("ranked.csv");
    let output = big.larder(&[
        "export",
        "segment",
        "all",
        "--order",
        "rank",
        "--columns",
        "rank,rfm.monetary",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(output.status.success());
    let rows = csv(&std::fs::read(&out).unwrap());
    assert_eq!(rows.len(), 320_000);
    let monetary = |row: &BTreeMap<String, String>| row["rfm.monetary"].parse::<f64>().unwrap();
    assert!(rows.iter().enumerate().all(|(at, row)| row["rank"] == (at + 1).to_string()));
    assert!(rows.windows(2).all(|two| monetary(&two[0]) >= monetary(&two[1])));
}
