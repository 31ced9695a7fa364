//! More load than the service can take: `cargo bench --bench overload`.
//!
//! For reads of one customer, batches of 1,000 and audiences: finds the number of connections with the best
//! throughput, then measures at ten times as many. Goodput is the number of answers with status 200 and
//! within the deadline per second. A client that gets 503 waits as long as `Retry-After` says. Meanwhile a
//! thread of its own asks `/healthz` fifty times a second, each time over a new connection. Servers and
//! clients share the machine's cores.
//!
//! The aims at ten times the load: goodput of at least 0.9 of the best, no answer later than the deadline,
//! and `/healthz` within 20 ms at the 99th percentile.
//!
//! `SECONDS=2 cargo bench --bench overload` is a quick run.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use larder::{config::HttpConfig, feature::CustomerId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[path = "../support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;
#[path = "../support/wrk.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod wrk;

use shop::{Dice, Shop};
use wrk::{Server, batch_body, encoded};

/// Number of customers in the snapshot.
const CUSTOMERS: u32 = 20_000;
/// Number of customers in a batch.
const BATCH: usize = 1_000;
/// Number of different requests of a load.
const REQUESTS: usize = 200;
/// Numbers of connections among which the best is sought.
const CONNECTIONS: [usize; 4] = [4, 16, 32, 64];
/// Factor of the overload.
const FACTOR: usize = 10;
/// Interval between two probes.
const PROBES: Duration = Duration::from_millis(20);

/// Requests of one kind.
struct Load {
    name: &'static str,
    requests: Arc<[Vec<u8>]>,
}

/// The status and the duration of an answer.
#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    took: Duration,
}

/// Figures of one run.
struct Figures {
    connections: usize,
    goodput: f64,
    answers: Vec<Answer>,
    probes: Vec<Duration>,
}

fn main() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(measure())
}

/// Runs all loads and prints the table.
async fn measure() -> anyhow::Result<()> {
    let seconds =
        std::env::var("SECONDS").map_or(Ok(10), |text| text.parse().context("SECONDS is a number"))?;
    let shop = Shop::open(CUSTOMERS).await?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("--config").arg(shop.folder.path().join("larder.toml"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("LARDER_LOG_LEVEL", "warn");
    let server = Server::start("Larder", &mut command)?;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse()?;
    println!(
        "\nLoad of best throughput and {FACTOR} times as many connections, {} cores, runs of {seconds} s.\n",
        std::thread::available_parallelism()?
    );
    println!(
        "| load | connections | goodput/s | of best | p50 ms | p99 ms | max ms | 503 | other | late | \
         /healthz p99 ms |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for load in loads(&shop) {
        let mut best: Option<Figures> = None;
        for connections in CONNECTIONS {
            let figures = run(address, &load, connections, seconds).await?;
            if best.as_ref().is_none_or(|best| figures.goodput > best.goodput) {
                best = Some(figures);
            }
        }
        let best = best.context("no run")?;
        print(&load, &best, best.goodput);
        print(&load, &run(address, &load, best.connections * FACTOR, seconds).await?, best.goodput);
    }
    Ok(())
}

fn loads(shop: &Shop) -> [Load; 3] {
    let mut dice = Dice::new();
    let get = |id: &CustomerId| {
        format!("GET /v1/customers/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", encoded(id)).into_bytes()
    };
    let post = |path: &str, body: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        format!("{head}{body}").into_bytes()
    };
    let singles = dice.some(&shop.ids, REQUESTS).iter().map(get).collect();
    let batches = (0..REQUESTS)
        .map(|_| post("/v1/customers/batch", &batch_body(&dice.some(&shop.ids, BATCH))))
        .collect();
    let audience = |number: usize| {
        let expression = format!("rfm.monetary >= {number} and behavior.spend_90d >= {}", number % 7);
        post("/v1/audiences", &serde_json::json!({"where": expression, "limit": 100}).to_string())
    };
    [
        Load { name: "one customer", requests: singles },
        Load { name: "batches of 1,000", requests: batches },
        Load { name: "audiences", requests: (0..REQUESTS).map(audience).collect() },
    ]
}

/// Sends the requests of `load` over `connections` connections for `seconds`, after a second to warm up.
async fn run(address: SocketAddr, load: &Load, connections: usize, seconds: u64) -> anyhow::Result<Figures> {
    let start = Instant::now() + Duration::from_secs(1);
    let end = start + Duration::from_secs(seconds);
    let clients = (0..connections)
        .map(|number| tokio::spawn(client(address, Arc::clone(&load.requests), number, start, end)))
        .collect::<Vec<_>>();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let probing = std::thread::spawn(move || probe(address, start, &stopped));
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await??);
    }
    stop.store(true, Ordering::Relaxed);
    let probes = probing.join().map_err(|_| anyhow::anyhow!("the probes panicked"))??;
    ensure!(!answers.is_empty() && !probes.is_empty(), "no answers");
    let deadline = HttpConfig::default().timeout;
    let good = answers.iter().filter(|answer| answer.status == 200 && answer.took <= deadline).count();
    #[expect(clippy::cast_precision_loss, reason = "a number of answers")]
    let goodput = good as f64 / start.elapsed().as_secs_f64();
    Ok(Figures { connections, goodput, answers, probes })
}

/// Sends requests one after the other until `end`, and returns the answers to those sent after `start`.
async fn client(
    address: SocketAddr,
    requests: Arc<[Vec<u8>]>,
    number: usize,
    start: Instant,
    end: Instant,
) -> anyhow::Result<Vec<Answer>> {
    let (mut stream, mut answers) = (TcpStream::connect(address).await?, Vec::new());
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(1 << 16);
    for request in requests.iter().cycle().skip(number * 37 % requests.len()) {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        stream.write_all(request).await?;
        let Some((status, closes)) = read(&mut stream, &mut buffer).await? else {
            stream = TcpStream::connect(address).await?;
            continue;
        };
        if sent >= start {
            answers.push(Answer { status, took: sent.elapsed() });
        }
        if closes {
            stream = TcpStream::connect(address).await?;
        }
        if status == 503 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(answers)
}

/// Reads an answer; returns its status and whether the connection closes, or `None` if it closed before.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Option<(u16, bool)>> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
        let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
        let status = head.get(9..12).context("no status")?.parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no length")?.parse()?;
        let closes = head.contains("connection: close");
        while buffer.len() < end + 4 + length {
            ensure!(stream.read_buf(buffer).await? > 0, "an answer ended early");
        }
        return Ok(Some((status, closes)));
    }
}

/// Asks `/healthz` until `stopped`, and returns the durations after `start`, with those of connecting.
fn probe(address: SocketAddr, start: Instant, stopped: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let mut probes = Vec::new();
    while !stopped.load(Ordering::Relaxed) {
        let (sent, mut answer) = (Instant::now(), String::new());
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "/healthz: {answer}");
        if sent >= start {
            probes.push(sent.elapsed());
        }
        std::thread::sleep(PROBES);
    }
    Ok(probes)
}

fn print(load: &Load, figures: &Figures, best: f64) {
    let answers = &figures.answers;
    let of = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    let deadline = HttpConfig::default().timeout;
    let late = answers.iter().filter(|answer| answer.took > deadline).count();
    let mut good: Vec<Duration> =
        answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.took).collect();
    let mut probes = figures.probes.clone();
    println!(
        "| {} | {} | {:.0} | {:.2} | {:.1} | {:.1} | {:.1} | {} | {} | {late} | {:.1} |",
        load.name,
        figures.connections,
        figures.goodput,
        figures.goodput / best,
        millis(&mut good, 50),
        millis(&mut good, 99),
        millis(&mut good, 100),
        of(503),
        answers.len() - of(200) - of(503),
        millis(&mut probes, 99),
    );
}

/// Returns a percentile in milliseconds, 0 if there are no durations.
fn millis(durations: &mut [Duration], percent: usize) -> f64 {
    durations.sort_unstable();
    let at = (durations.len() * percent / 100).min(durations.len().saturating_sub(1));
    durations.get(at).map_or(0.0, Duration::as_secs_f64) * 1e3
}
