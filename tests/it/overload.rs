//! More load than the service can take: bounds of connections, open files, waiting requests, bodies and
//! heads.

use std::{
    num::NonZeroUsize,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use larder::{config::Config, workers::Workers};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    large::large,
    program::Program,
    shop::{Answer, PATIENCE, Service, Shop, corners, eventually},
};

/// The longest time by which a busy machine may delay an answer.
const MARGIN: Duration = Duration::from_secs(2);

fn number(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.unwrap()
}

/// Sends a request on `stream`, and reads the head of the answer.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut head)).await.unwrap().unwrap();
    String::from_utf8_lossy(&head[..read]).into_owned()
}

/// Sends a request on a connection of its own.
async fn get_anew(service: &Service, path: &str) -> Answer {
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap();
    service.send(client.get(format!("{}{path}", service.url))).await
}

/// Returns a command that serves `shop` after the shell command `limit`.
fn limited(limit: &str, shop: &Shop) -> Command {
    let program = shop.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit} && exec \"$@\""), "sh"]);
    command.arg(program.get_program()).args(program.get_args());
    command
}

#[tokio::test]
async fn connections_beyond_a_bound_answer_probes_only() {
    for (connections, per_address) in [(2, 100), (100, 2)] {
        let mut shop = corners();
        shop.config.http.connections = number(connections);
        shop.config.http.connections_per_address = number(per_address);
        let service = shop.open().await;
        let (mut first, mut second) = (connect(&service.url).await, connect(&service.url).await);
        for stream in [&mut first, &mut second] {
            assert!(ask(stream, "/v1/customers/loyal").await.starts_with("HTTP/1.1 200"));
        }
        for path in ["/healthz", "/readyz", "/health", "/metrics"] {
            let answer = get_anew(&service, path).await;
            assert_eq!((answer.status, answer.header("connection")), (200, "close"), "{path}");
        }
        let refused = get_anew(&service, "/v1/customers/loyal").await;
        assert_eq!((refused.status, refused.problem().as_str()), (503, "busy"));
        assert_eq!((refused.header("retry-after"), refused.header("connection")), ("1", "close"));
        assert!(ask(&mut first, "/v1/customers/nobody").await.starts_with("HTTP/1.1 404"));
        let text = get_anew(&service, "/metrics").await.text;
        assert!(text.contains("larder_http_requests_shed_total{reason=\"connections\"} 1"), "{text}");
        assert!(text.contains("larder_http_connections_open 3"), "{text}");
        drop(second);
        eventually(|| get_anew(&service, "/v1/customers/loyal"), |answer| answer.status == 200).await;
    }
}

#[tokio::test]
async fn idle_connections_do_not_starve_probes_and_polls() {
    let shop = corners();
    drop(shop.open().await);
    let mut command = limited("ulimit -n 256", &shop);
    command.env("LARDER_SERVING_POLL", "20ms");
    let program = Program::start(command);
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(connect(&program.url).await);
    }
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap();
    let polls = async |outcome: &str| {
        let text = client.get(format!("{}/metrics", program.url)).send().await.unwrap().text().await.unwrap();
        let start = format!("larder_current_polls_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = polls("unchanged").await;
    for _ in 0..10 {
        let answer = client.get(format!("{}/healthz", program.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    eventually(|| polls("unchanged"), |polls| *polls > before + 3).await;
    assert_eq!(polls("error").await, 0);
}

#[tokio::test]
async fn serve_raises_the_limit_of_open_files() {
    let shop = corners();
    let program = Program::start(limited("ulimit -Sn 200", &shop));
    let metrics = reqwest::get(format!("{}/metrics", program.url)).await.unwrap().text().await.unwrap();
    let limit = metrics.lines().find_map(|line| line.strip_prefix("process_max_fds ")?.parse::<u64>().ok());
    assert!(limit.unwrap() > 200, "{limit:?}");
}

#[tokio::test]
async fn requests_beyond_the_queue_get_503() {
    let mut shop = corners();
    shop.config.http.queue = number(1);
    let service = shop.open().await;
    let ids: Vec<&str> = std::iter::repeat_n("17850", 1_000).collect();
    let body = json!({ "ids": ids }).to_string();
    assert_eq!(service.post("/v1/customers/batch", body.as_str()).await.status, 200);
    let burst = async || {
        let batches = (0..64).map(|_| service.post("/v1/customers/batch", body.as_str()));
        let single = async {
            assert_eq!(service.get("/v1/customers/loyal").await.status, 200);
            assert_eq!(service.get("/healthz").await.status, 200);
        };
        tokio::join!(futures::future::join_all(batches), single).0
    };
    let full = |answers: &Vec<Answer>| answers.iter().any(|answer| answer.status == 503);
    let answers = eventually(burst, full).await;
    assert!(answers.iter().any(|answer| answer.status == 200));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.problem().as_str()), (503, "busy"));
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert!(service.metric("larder_http_requests_shed_total{reason=\"queue\"}").await >= 1.0);
}

#[tokio::test]
async fn connection_of_a_refused_batch_is_kept() {
    let mut shop = corners();
    shop.config.http.queue = number(1);
    let service = shop.open().await;
    let ids: Vec<&str> = std::iter::repeat_n("a customer id of many bytes", 1_000).collect();
    let body = json!({ "ids": ids }).to_string();
    let request = format!(
        "POST /v1/customers/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let refused = async || {
        let batches = (0..64).map(|_| async {
            let mut stream = connect(&service.url).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let head = head_of(&mut stream).await;
            if head.starts_with("HTTP/1.1 503") { Some((stream, head)) } else { None }
        });
        futures::future::join_all(batches).await.into_iter().flatten().collect::<Vec<_>>()
    };
    for (mut stream, head) in eventually(refused, |refused| !refused.is_empty()).await {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let received = head.split_once("\r\n\r\n").unwrap().1.len();
        let mut rest = vec![0; length.trim().parse::<usize>().unwrap() - received];
        stream.read_exact(&mut rest).await.unwrap();
        assert!(ask(&mut stream, "/v1/customers/loyal").await.starts_with("HTTP/1.1 200"), "{head}");
    }
}

#[tokio::test]
async fn probes_do_not_wait_for_busy_threads() {
    let shop = corners();
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let workers = Arc::new(Workers::start(2).unwrap());
    let service = shop.serve_on(Arc::clone(&workers)).await;
    let busy = (0..workers.count()).map(|number| {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        workers.handle(number).spawn(async move {
            let _ = begin.send(());
            let _ = released.recv();
        });
        async move { begun.await.map(|()| release) }
    });
    let busy = futures::future::join_all(busy).await;
    for probe in ["/healthz", "/readyz", "/health", "/metrics"] {
        assert_eq!(get_anew(&service, probe).await.status, 200, "{probe}");
    }
    // A connection that began with a probe is kept for probes, and for one other request.
    let mut stream = connect(&service.url).await;
    for _ in 0..2 {
        assert!(ask(&mut stream, "/healthz").await.starts_with("HTTP/1.1 200"));
    }
    let last = ask(&mut stream, "/v1/customers/loyal").await;
    assert!(last.starts_with("HTTP/1.1 200") && last.contains("connection: close"), "{last}");
    let read = get_anew(&service, "/v1/customers/loyal");
    let release = async {
        // The read has arrived, and waits.
        eventually(|| service.metric("larder_http_connections"), |connections| *connections >= 2.0).await;
        drop(busy);
    };
    assert_eq!(tokio::join!(read, release).0.status, 200);
}

#[tokio::test]
async fn bodies_beyond_their_memory_get_503() {
    let mut shop = corners();
    shop.config.http.bodies = 1_000;
    let service = shop.open().await;
    let ids: Vec<&str> = std::iter::repeat_n("17850", 200).collect();
    let refused = service.post("/v1/customers/batch", json!({ "ids": ids }).to_string()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "busy"));
    // The memory is free again.
    for _ in 0..100 {
        assert_eq!(service.post("/v1/customers/batch", r#"{"ids":["17850"]}"#).await.status, 200);
    }
    assert_eq!(service.metric("larder_http_requests_shed_total{reason=\"bodies\"}").await, 1.0);
}

/// Reads the head of an answer.
async fn head_of(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn deadline_counts_from_the_head_also_for_a_slow_body() {
    let mut shop = corners();
    shop.config.http.timeout = Duration::from_millis(300);
    let service = shop.open().await;
    for path in ["/v1/customers/batch", "/v1/audiences", "/v1/audiences/export", "/get-online-features"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: 100\r\n\r\n"
        );
        for start in [head.clone(), format!("{head}{{")] {
            let (mut stream, sent) = (connect(&service.url).await, Instant::now());
            stream.write_all(start.as_bytes()).await.unwrap();
            let (answer, took) = (head_of(&mut stream).await, sent.elapsed());
            assert!(answer.starts_with("HTTP/1.1 504"), "{path}: {answer}");
            assert!(answer.contains("urn:larder:problem:timeout"), "{path}: {answer}");
            assert!(took >= Duration::from_millis(300) && took < MARGIN, "{path}: {took:?}");
        }
    }
    assert_eq!(service.get("/v1/customers/loyal").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_longer_than_the_deadline_get_504_in_time() {
    let timeout = Duration::from_millis(50);
    let mut shop = large(2_000).await;
    shop.config.http.timeout = timeout;
    shop.config.http.bodies = 4 << 30;
    let service = shop.serve().await;
    let path = "/v1/segments/all/customers?limit=1000";
    // The rows are in memory afterwards.
    eventually(|| service.get(path), |answer| answer.status == 200).await;
    let mut streams = Vec::new();
    for _ in 0..300 {
        let mut stream = connect(&service.url).await;
        assert!(ask(&mut stream, "/v1/segments/all").await.starts_with("HTTP/1.1 200"));
        streams.push(stream);
    }
    // More work than fits into the deadline, all sent at once.
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let answers = streams.iter_mut().map(async |stream| {
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        (head_of(stream).await, sent.elapsed())
    });
    let answers = futures::future::join_all(answers).await;
    for (answer, took) in &answers {
        let status = answer.get(9..12).unwrap_or_default();
        assert!(["200", "504"].contains(&status), "{answer}");
        assert!(*took < timeout + MARGIN, "{status} after {took:?}");
        assert!(status == "200" || *took >= timeout, "{status} after {took:?}");
    }
    let late = answers.iter().filter(|(answer, _)| answer.starts_with("HTTP/1.1 504")).count();
    println!("{late} requests got 504, most after {:?}", answers.iter().map(|(_, took)| took).max());
    assert!(late > 0);
}

#[tokio::test]
async fn answers_that_clients_do_not_read_are_bounded() {
    let mut shop = corners();
    shop.config.http.bodies = 4 << 20;
    let service = shop.open().await;
    let ids: Vec<&str> = std::iter::repeat_n("17850", 1_000).collect();
    let body = json!({ "ids": ids }).to_string();
    for encoding in ["identity", "gzip"] {
        let request = format!(
            "POST /v1/customers/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             accept-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut unread = Vec::new();
        let batch = async || service.post("/v1/customers/batch", body.as_str()).await;
        let refused = loop {
            let mut stream = connect(&service.url).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            unread.push(stream);
            let answer = batch().await;
            // A compressed answer is small, and is taken by the kernel.
            if answer.status == 503 || unread.len() == 20 {
                break answer;
            }
            assert_eq!(answer.status, 200);
        };
        if encoding == "identity" {
            assert_eq!((refused.status, refused.problem().as_str()), (503, "busy"));
            assert!(unread.len() > 1);
        }
        assert_eq!(service.get("/v1/customers/loyal").await.status, 200);
        drop(unread);
        eventually(batch, |answer| answer.status == 200).await;
    }
    assert!(service.metric("larder_http_requests_shed_total{reason=\"bodies\"}").await >= 1.0);
}

#[tokio::test]
async fn large_head_is_refused() {
    let service = corners().open().await;
    for (kib, status) in [(24, 200), (80, 431)] {
        let mut stream = connect(&service.url).await;
        let start = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: {}", "x".repeat(kib << 10));
        // The service may answer and close before it has read everything.
        let _ = stream.write_all(format!("{start}\r\n\r\n").as_bytes()).await;
        let mut answer = vec![0; 4_096];
        // The answer is lost if the connection is reset.
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..read]);
        let is_reset = status == 431 && answer.is_empty();
        assert!(is_reset || answer.starts_with(&format!("HTTP/1.1 {status}")), "{kib} KiB: {answer}");
    }
}

#[test]
fn bounds_must_not_be_zero() {
    for setting in ["connections", "connections_per_address", "queue"] {
        assert!(Config::parse(&format!("[http]\n{setting} = 0\n"), "larder.toml", []).is_err(), "{setting}");
    }
}
