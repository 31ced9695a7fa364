//! More load than the service can take: `cargo bench --bench overload`.
//!
//! For reads of one customer, batches of 1,000 and audiences, three runs are measured:
//!
//! - the best: of some numbers of connections, each with one request at a time, the number with the highest
//!   goodput;
//! - ten times the connections: so many clients, of which each waits for its answer before it asks again. A
//!   client that gets 503 waits as long as `Retry-After` says;
//! - ten times the rate: requests are due at ten times the goodput of the best, whatever the service does,
//!   and nobody waits after a 503. A request is sent over one of 2,000 connections that is free; if none is,
//!   it is left out. `sent/s` shows how many were sent. The generator cannot reach ten times the rate of
//!   reads of one customer, since the clients take the cores from the service.
//!
//! Goodput is the number of answers with status 200 and within the deadline that arrived during the run, per
//! second. All times count from sending the first byte of the request to the last byte of the answer; `late`
//! counts answers after the deadline, also those after the end of the run, and `lost` requests whose
//! connection was closed without an answer. Meanwhile a thread of its own asks `/healthz` fifty times a
//! second, each time over a new connection, whose time counts.
//!
//! Server and clients share the machine's cores. So the goodput under more load is also given for each
//! second of processor time of the server, relative to that of the best: what the clients take from the
//! server does not count there, what the server spends on refusals does.
//!
//! The peer is a bare axum handler in a process of its own. Reads of one customer are measured against it,
//! too: it returns an answer of Larder. And it refuses batches, which shows what receiving a batch and
//! answering 503 takes at least.
//!
//! The aims under both kinds of load: goodput of at least 0.9 of the best, no answer later than the deadline,
//! 503 within 5 ms and `/healthz` within 20 ms at the 99th percentile.
//!
//! `SECONDS=2 cargo bench --bench overload` is a quick run.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{Read, Write},
    net::SocketAddr,
    process::Command,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header},
    routing::{get, post},
};
use larder::{config::HttpConfig, feature::CustomerId, open_files};
use tokio::{runtime, task::LocalSet};

#[path = "../support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;
#[path = "../support/wire.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod wire;
#[path = "../support/wrk.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod wrk;

use shop::{Dice, Shop};
use wire::Connection;
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
/// Connections over which requests at a given rate are sent: fewer than an address may have.
const RATE_CONNECTIONS: usize = 2_000;
/// The longest time that a request may be sent after it was due.
const SLACK: Duration = Duration::from_millis(10);
/// Threads of the clients.
const THREADS: usize = 2;
/// Interval between two probes.
const PROBES: Duration = Duration::from_millis(20);
/// Argument with which this program runs as the peer.
const PEER: &str = "peer";
/// Answer of the peer to a batch, about as long as that of Larder.
const REFUSAL: &str = r#"{"type":"urn:larder:problem:busy","title":"Too many concurrent requests",
"status":503,"detail":"too many requests are waiting; try again later"}"#;

/// Requests of one kind.
struct Load {
    name: &'static str,
    requests: Arc<[Vec<u8>]>,
}

/// How requests are sent.
#[derive(Debug, Clone, Copy)]
struct Pattern {
    name: &'static str,
    connections: usize,
    /// Requests per second; without, each connection sends its next request after an answer.
    rate: Option<f64>,
}

/// A request that was sent.
#[derive(Debug, Clone, Copy)]
struct Sample {
    sent: Instant,
    took: Duration,
    /// `None` if the connection was closed without an answer.
    status: Option<u16>,
}

/// Figures of one run.
struct Figures {
    pattern: Pattern,
    sent: f64,
    goodput: f64,
    /// Processor time of the server in seconds.
    cpu: f64,
    samples: Vec<Sample>,
    probes: Vec<Duration>,
    /// Number of refused requests by reason, as the server counts them, with those of the warm-up.
    refused: BTreeMap<String, u64>,
}

impl Figures {
    /// Returns the number of answers with `status`.
    fn answers(&self, status: u16) -> usize {
        self.samples.iter().filter(|sample| sample.status == Some(status)).count()
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    match arguments.next() {
        Some(role) if role == PEER => {
            let answer = arguments.next().context("the peer needs the file of its answer")?;
            runtime::Runtime::new()?.block_on(peer(Bytes::from(std::fs::read(answer)?)))
        }
        _ => compare(),
    }
}

/// Serves one answer for all customers, and refuses batches.
async fn peer(answer: Bytes) -> anyhow::Result<()> {
    const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    let refuse = async |_: Bytes| (StatusCode::SERVICE_UNAVAILABLE, JSON, REFUSAL);
    let router = Router::new()
        .route("/v1/customers/{id}", get(async move || (JSON, answer.clone())))
        .route("/v1/customers/batch", post(refuse))
        .route("/healthz", get(async || "ok"))
        .route("/metrics", get(async || ""));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

fn compare() -> anyhow::Result<()> {
    let seconds =
        std::env::var("SECONDS").map_or(Ok(10), |text| text.parse().context("SECONDS is a number"))?;
    let _ = open_files::raise_limit();
    let runtime = runtime::Runtime::new()?;
    let shop = runtime.block_on(Shop::open(CUSTOMERS))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("--config").arg(shop.folder.path().join("larder.toml"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("LARDER_LOG_LEVEL", "warn");
    let server = Server::start("Larder", &mut command)?;
    let [customer, batches, audiences] = loads(&shop);
    let answer = shop.folder.path().join("answer.json");
    std::fs::write(&answer, runtime.block_on(body(address(&server)?, &customer.requests[0]))?)?;
    let bare = Server::start("bare axum", Command::new(std::env::current_exe()?).arg(PEER).arg(&answer))?;
    println!(
        "\nBest throughput, and {FACTOR} times its connections and its rate; {} cores, {seconds} s each.\n",
        std::thread::available_parallelism()?
    );
    println!(
        "| load | server | run | connections | sent/s | goodput/s | of best | of best, per CPU s | p50 ms \
         | p99 ms | max ms | 503 | 503 p99 ms | 503 max ms | refused by | other | lost | late \
         | /healthz p99 ms |"
    );
    println!("|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|");
    measure(&server, &customer, seconds)?;
    measure(&bare, &customer, seconds)?;
    let refusing = measure(&server, &batches, seconds)?;
    measure(&server, &audiences, seconds)?;
    let least = run(&bare, &batches, refusing.faster.pattern, seconds)?;
    println!(
        "\nAt ten times the rate of batches, a refusal takes {:.1} µs of the service's processor time; bare \
         axum takes {:.1} µs for a 503 to the same batches.",
        refusing.refusal_micros(),
        micros_each(least.cpu, least.answers(503)),
    );
    Ok(())
}

/// The runs of a load that a refusal is judged by.
struct Measured {
    best: Figures,
    faster: Figures,
}

impl Measured {
    /// Returns the processor time of a refusal in microseconds: what the answers do not explain.
    fn refusal_micros(&self) -> f64 {
        let Self { best, faster } = self;
        micros_each(faster.cpu - best.cpu * faster.goodput / best.goodput, faster.answers(503))
    }
}

/// Measures a load on `server`, and prints the runs.
fn measure(server: &Server, load: &Load, seconds: u64) -> anyhow::Result<Measured> {
    let mut best: Option<Figures> = None;
    for connections in CONNECTIONS {
        let figures = run(server, load, Pattern { name: "best", connections, rate: None }, seconds)?;
        if best.as_ref().is_none_or(|best| figures.goodput > best.goodput) {
            best = Some(figures);
        }
    }
    let best = best.context("no run")?;
    print(server, load, &best, &best);
    let connections = best.pattern.connections * FACTOR;
    let more = Pattern { name: "10 × connections", connections, rate: None };
    print(server, load, &run(server, load, more, seconds)?, &best);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let rate = Some(best.goodput * FACTOR as f64);
    let faster =
        run(server, load, Pattern { name: "10 × rate", connections: RATE_CONNECTIONS, rate }, seconds)?;
    print(server, load, &faster, &best);
    Ok(Measured { best, faster })
}

/// Returns the body of the answer to `request`.
async fn body(address: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (mut connection, mut body) = (Connection::new(address), Vec::new());
    connection.send(request).await?;
    let head = connection.answer(Some(&mut body)).await?;
    ensure!(head.status == 200, "status {}", head.status);
    Ok(body)
}

fn address(server: &Server) -> anyhow::Result<SocketAddr> {
    Ok(server.url.trim_start_matches("http://").parse()?)
}

fn loads(shop: &Shop) -> [Load; 3] {
    let mut dice = Dice::new();
    let get = |id: &CustomerId| wire::get(&format!("/v1/customers/{}", encoded(id)), "");
    let singles = dice.some(&shop.ids, REQUESTS).iter().map(get).collect();
    let batches = (0..REQUESTS)
        .map(|_| wire::post("/v1/customers/batch", "", &batch_body(&dice.some(&shop.ids, BATCH))))
        .collect();
    let audience = |number: usize| {
        let expression = format!("rfm.monetary >= {number} and behavior.spend_90d >= {}", number % 7);
        let body = serde_json::json!({"where": expression, "limit": 100}).to_string();
        wire::post("/v1/audiences", "", &body)
    };
    [
        Load { name: "one customer", requests: singles },
        Load { name: "batches of 1,000", requests: batches },
        Load { name: "audiences", requests: (0..REQUESTS).map(audience).collect() },
    ]
}

/// Sends the requests of `load` for `seconds`, and a second before that is not measured.
fn run(server: &Server, load: &Load, pattern: Pattern, seconds: u64) -> anyhow::Result<Figures> {
    let address = address(server)?;
    let refused_before = refused(address)?;
    let start = Instant::now() + Duration::from_secs(1);
    let end = start + Duration::from_secs(seconds);
    let clients: Vec<JoinHandle<_>> = (0..THREADS)
        .map(|thread| {
            let requests = Arc::clone(&load.requests);
            std::thread::spawn(move || clients(address, &requests, pattern, thread, end))
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let probing = std::thread::spawn(move || probe(address, start, &stopped));
    std::thread::sleep(start.saturating_duration_since(Instant::now()));
    let before = server.cpu()?;
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    let cpu = server.cpu()? - before;
    let mut samples = Vec::new();
    for client in clients {
        samples.extend(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    stop.store(true, Ordering::Relaxed);
    let probes = probing.join().map_err(|_| anyhow::anyhow!("the probes panicked"))??;
    let deadline = HttpConfig::default().timeout;
    let good = samples.iter().filter(|sample| {
        let answered = sample.sent + sample.took;
        (start..end).contains(&answered) && sample.status == Some(200) && sample.took <= deadline
    });
    #[expect(clippy::cast_precision_loss, reason = "numbers of requests and seconds")]
    let per_second = |count: usize| count as f64 / seconds as f64;
    let goodput = per_second(good.count());
    samples.retain(|sample| sample.sent >= start);
    let mut refused = refused(address)?;
    for (reason, count) in &mut refused {
        *count -= refused_before.get(reason).copied().unwrap_or_default();
    }
    ensure!(!samples.is_empty() && !probes.is_empty(), "no answers");
    Ok(Figures { pattern, sent: per_second(samples.len()), goodput, cpu, samples, probes, refused })
}

/// Runs the connections of one thread.
fn clients(
    address: SocketAddr,
    requests: &Arc<[Vec<u8>]>,
    pattern: Pattern,
    thread: usize,
    end: Instant,
) -> anyhow::Result<Vec<Sample>> {
    let arrivals = pattern.rate.map(|rate| {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let interval = Duration::from_secs_f64(THREADS as f64 / rate);
        Rc::new(Arrivals { begin: Instant::now(), interval, next: Cell::new(0) })
    });
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let connections = (thread..pattern.connections).step_by(THREADS).map(|number| {
            tokio::task::spawn_local(client(address, Arc::clone(requests), number, arrivals.clone(), end))
        });
        let mut samples = Vec::new();
        for client in connections.collect::<Vec<_>>() {
            samples.extend(client.await?);
        }
        Ok(samples)
    })
}

/// The times at which the requests of a thread are due.
struct Arrivals {
    begin: Instant,
    interval: Duration,
    /// Number of the next request.
    next: Cell<u64>,
}

impl Arrivals {
    /// Returns when the next request is due. Leaves out those that should have been sent long ago.
    fn next(&self) -> Instant {
        let overdue = self.begin.elapsed().saturating_sub(SLACK).div_duration_f64(self.interval);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of requests")]
        let number = self.next.get().max(overdue as u64);
        self.next.set(number + 1);
        #[expect(clippy::cast_precision_loss, reason = "a number of requests")]
        let offset = self.interval.mul_f64(number as f64);
        self.begin + offset
    }
}

/// Sends requests one after the other until the end of the run.
async fn client(
    address: SocketAddr,
    requests: Arc<[Vec<u8>]>,
    number: usize,
    arrivals: Option<Rc<Arrivals>>,
    end: Instant,
) -> Vec<Sample> {
    let (mut connection, mut samples) = (Connection::new(address), Vec::new());
    for request in requests.iter().cycle().skip(number * 37 % requests.len()) {
        if let Some(arrivals) = &arrivals {
            tokio::time::sleep_until(arrivals.next().into()).await;
        }
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        let answered = async {
            connection.send(request).await?;
            connection.answer(None).await
        };
        let status = answered.await.map(|head| head.status).ok();
        samples.push(Sample { sent, took: sent.elapsed(), status });
        if status.is_none() {
            connection.close();
        }
        if status == Some(503) && arrivals.is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    samples
}

/// Returns the server's count of refused requests by reason.
fn refused(address: SocketAddr) -> anyhow::Result<BTreeMap<String, u64>> {
    let (mut stream, mut text) = (std::net::TcpStream::connect(address)?, String::new());
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    stream.read_to_string(&mut text)?;
    let lines =
        text.lines().filter_map(|line| line.strip_prefix("larder_http_requests_shed_total{reason=\""));
    lines
        .map(|line| {
            let (reason, count) = line.split_once("\"} ").context("an unexpected metric")?;
            Ok((reason.to_owned(), count.parse()?))
        })
        .filter(|reason| reason.as_ref().map_or(true, |(_, count)| *count > 0))
        .collect()
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

fn print(server: &Server, load: &Load, figures: &Figures, best: &Figures) {
    let samples = &figures.samples;
    let times = |status: u16| -> Vec<Duration> {
        samples.iter().filter(|sample| sample.status == Some(status)).map(|sample| sample.took).collect()
    };
    let lost = samples.iter().filter(|sample| sample.status.is_none()).count();
    let late = samples.iter().filter(|sample| sample.took > HttpConfig::default().timeout).count();
    let reasons = figures.refused.iter().filter(|(_, count)| **count > 0);
    let reasons: Vec<String> = reasons.map(|(reason, count)| format!("{reason} {count}")).collect();
    let (mut good, mut shed, mut probes) = (times(200), times(503), figures.probes.clone());
    println!(
        "| {} | {} | {} | {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} | {} | {:.1} | {:.1} \
         | {} | {} | {lost} | {late} | {:.1} |",
        load.name,
        server.name,
        figures.pattern.name,
        figures.pattern.connections,
        figures.sent,
        figures.goodput,
        figures.goodput / best.goodput,
        figures.goodput / figures.cpu / (best.goodput / best.cpu),
        millis(&mut good, 50),
        millis(&mut good, 99),
        millis(&mut good, 100),
        shed.len(),
        millis(&mut shed, 99),
        millis(&mut shed, 100),
        reasons.join(", "),
        samples.len() - good.len() - shed.len() - lost,
        millis(&mut probes, 99),
    );
}

/// Returns the microseconds for each of `count` requests that took `seconds` together.
#[expect(clippy::cast_precision_loss, reason = "a number of requests")]
fn micros_each(seconds: f64, count: usize) -> f64 {
    seconds / count.max(1) as f64 * 1e6
}

/// Returns a percentile in milliseconds, 0 if there are no durations.
fn millis(durations: &mut [Duration], percent: usize) -> f64 {
    durations.sort_unstable();
    let at = (durations.len() * percent / 100).min(durations.len().saturating_sub(1));
    durations.get(at).map_or(0.0, Duration::as_secs_f64) * 1e3
}
