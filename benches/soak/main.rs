//! Memory under a long mixed load: `cargo bench --bench soak`.
//!
//! Serves a snapshot of generated data with small budgets, so that all caches are soon full, and sends every
//! kind of request over 16 connections for half an hour: reads, batches, pages, audiences and hints that
//! never repeat, histories, Feast's contract, exports, refused requests, and clients that hang up. Meanwhile
//! new snapshots are built and published, and the oldest ones are removed. Each second the memory, threads
//! and open files of the server are read from `/proc`.
//!
//! The first sixth of the time warms up. Growth compares the median memory of the last sixth with that of the
//! second. The exit code is not 0 if the growth is 2 % or more, or if an answer has an unexpected status.
//!
//! `MINUTES=1 CUSTOMERS=2000 cargo bench --bench soak` is a quick run; its growth says little.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    net::SocketAddr,
    process::Command,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use larder::{
    config::{Config, Scope, digest},
    pipeline,
    publish::{Options, Publisher},
    snapshot::{SnapshotId, hex},
    telemetry::Progress,
};
use tokio::{runtime, task::LocalSet};

#[path = "../support/process.rs"]
mod process;
mod requests;
#[path = "../support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;
#[path = "../support/wire.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod wire;
#[path = "../support/wrk.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod wrk;

use process::Sample;
use requests::{Ask, End, Kind, Mix};
use shop::{Shop, quantile};
use wire::Connection;
use wrk::Server;

/// Number of connections.
const CONNECTIONS: usize = 16;
/// Threads of the clients.
const THREADS: usize = 2;
/// Transactions per customer, as in the demo.
const LINES: u64 = 25;
/// Snapshots in the lake.
const SNAPSHOTS: usize = 4;
/// Snapshots that are published in the time of the run, unless builds take longer.
const PUBLISHES: u32 = 24;
/// The growth of memory that is too much, in percent.
const MAX_GROWTH: f64 = 2.0;
/// Unexpected answers that are printed.
const PRINTED: u64 = 20;
/// Budgets in MiB: small, so that they are full when the warm-up ends.
const BUDGETS: [(&str, &str, u64); 5] = [
    ("http", "bodies", 64),
    ("serving", "memory", 8),
    ("serving", "cache", 32),
    ("serving", "audience_memory", 32),
    ("serving", "comparisons", 8),
];

/// Memory in MiB for older snapshots, which is no setting.
const OLDER_SNAPSHOTS: u64 = 64;

/// Counts of the clients.
#[derive(Default)]
struct Counts {
    answers: AtomicU64,
    unexpected: AtomicU64,
    by_kind: Mutex<BTreeMap<(Kind, u16), u64>>,
    stop: AtomicBool,
}

fn main() -> anyhow::Result<()> {
    let minutes: f64 = number("MINUTES", 30.0)?;
    let (customers, duration) = (number("CUSTOMERS", 20_000)?, Duration::from_secs_f64(minutes * 60.0));
    let runtime = runtime::Runtime::new()?;
    let shop = runtime.block_on(Shop::generate(customers, LINES))?;
    configure(&shop)?;
    let file = shop.folder.path().join("larder.toml");
    let config = Config::load(Some(&file), [])?;
    let mut days = Days { config, as_of: shop.manifest.as_of, snapshots: vec![shop.manifest.id.clone()] };
    while days.snapshots.len() < SNAPSHOTS {
        runtime.block_on(days.publish(&shop))?;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("--config").arg(file);
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("LARDER_LOG_LEVEL", "error");
    let server = Server::start("Larder", &mut command)?;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse()?;
    let counts = Arc::new(Counts::default());
    println!("\n{minutes} minutes, {customers} customers, {CONNECTIONS} connections\n");
    let clients: Vec<JoinHandle<_>> = (0..THREADS)
        .map(|thread| {
            let (mix, counts) = (Mix::new(&shop.ids, &shop.manifest), Arc::clone(&counts));
            std::thread::spawn(move || clients(address, &mix, thread, &counts))
        })
        .collect();
    let watched = Arc::clone(&counts);
    let pid = server.pid().context("no process")?;
    let watching = std::thread::spawn(move || watch(pid, &watched));
    let start = Instant::now();
    let mut published = 0;
    while start.elapsed() < duration {
        runtime.block_on(days.publish(&shop))?;
        published += 1;
        std::thread::sleep((duration / PUBLISHES * published).saturating_sub(start.elapsed()));
    }
    let elapsed = start.elapsed();
    counts.stop.store(true, Ordering::Relaxed);
    let samples = watching.join().map_err(|_| anyhow::anyhow!("the sampling panicked"))??;
    for client in clients {
        client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    println!("\n{published} snapshots were published.");
    report(&counts, &samples, elapsed)
}

/// Reads a number from the environment.
fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    name: &str,
    default: T,
) -> anyhow::Result<T> {
    std::env::var(name)
        .map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} is a number")))
}

/// Adds the keys and the budgets of the service to its configuration.
fn configure(shop: &Shop) -> anyhow::Result<()> {
    let file = shop.folder.path().join("larder.toml");
    let mut text = fs::read_to_string(&file)?;
    for section in ["http", "serving"] {
        writeln!(text, "[{section}]")?;
        for (_, name, mib) in BUDGETS.iter().filter(|(of, _, _)| *of == section) {
            writeln!(text, "{name} = \"{mib}MiB\"")?;
        }
    }
    let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    for (name, scopes, rate) in
        [("all", all, ""), ("reader", vec!["features"], ""), ("limited", vec!["features"], "rate = 20")]
    {
        let hash = hex(&digest(requests::key(name).as_bytes()));
        writeln!(text, "[[keys]]\nname = \"{name}\"\nhash = \"sha256:{hash}\"\nscopes = {scopes:?}\n{rate}")?;
    }
    fs::write(file, text)?;
    Ok(())
}

/// The snapshots in the lake, of one day each.
struct Days {
    config: Config,
    /// Instant of the newest one.
    as_of: DateTime<Utc>,
    snapshots: Vec<SnapshotId>,
}

impl Days {
    /// Builds the snapshot of the next day, publishes it, and removes the oldest one.
    async fn publish(&mut self, shop: &Shop) -> anyhow::Result<()> {
        self.as_of += TimeDelta::days(1);
        let built = pipeline::build(&shop.lake, &self.config, Some(self.as_of), &Progress::default()).await?;
        let id = built.manifest.id;
        Publisher::new(shop.lake.clone(), None, Options::default()).publish(Some(&id)).await?;
        self.snapshots.push(id);
        if self.snapshots.len() > SNAPSHOTS {
            let oldest = self.snapshots.remove(0);
            fs::remove_dir_all(shop.folder.path().join("lake/snapshots").join(oldest.to_string()))?;
        }
        Ok(())
    }
}

/// Runs the connections of one thread.
fn clients(address: SocketAddr, mix: &Mix, thread: usize, counts: &Arc<Counts>) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let connections = (thread..CONNECTIONS).step_by(THREADS).map(|number| {
            tokio::task::spawn_local(client(address, mix.of_connection(number), Arc::clone(counts)))
        });
        for client in connections.collect::<Vec<_>>() {
            client.await?;
        }
        Ok(())
    })
}

/// Sends requests one after the other until the run ends.
async fn client(address: SocketAddr, mut mix: Mix, counts: Arc<Counts>) {
    let (mut connection, mut body) = (Connection::new(address), Vec::new());
    while !counts.stop.load(Ordering::Relaxed) {
        let ask = mix.next();
        body.clear();
        match exchange(&mut connection, &ask, &mut body).await {
            Ok(status) => {
                counts.count(ask.kind, status);
                if status == Some(200) {
                    mix.take_cursor(&ask, &body);
                }
                if status.is_some_and(|status| !ask.expected.contains(&status)) {
                    counts.unexpected(&ask, &String::from_utf8_lossy(&body[..body.len().min(300)]));
                }
            }
            Err(error) => {
                counts.count(ask.kind, Some(0));
                counts.unexpected(&ask, &format!("{error:#}"));
                connection.close();
            }
        }
    }
}

/// Sends a request, and reads the answer or hangs up. Returns the status of a whole answer.
async fn exchange(connection: &mut Connection, ask: &Ask, body: &mut Vec<u8>) -> anyhow::Result<Option<u16>> {
    connection.send(&ask.request).await?;
    match ask.end {
        End::Whole => return Ok(Some(connection.answer(Some(body)).await?.status)),
        End::AfterHead => drop(connection.head().await?),
        End::AtOnce => {}
    }
    connection.close();
    Ok(None)
}

impl Counts {
    fn count(&self, kind: Kind, status: Option<u16>) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let mut by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        *by_kind.entry((kind, status.unwrap_or_default())).or_default() += 1;
    }

    fn unexpected(&self, ask: &Ask, answer: &str) {
        if self.unexpected.fetch_add(1, Ordering::Relaxed) < PRINTED {
            let request = String::from_utf8_lossy(&ask.request[..ask.request.len().min(500)]).into_owned();
            println!("unexpected answer to {:?}:\n{request}\n{answer}\n", ask.kind);
        }
    }
}

/// Takes a sample of the process each second until the run ends, and prints a line each minute.
fn watch(pid: u32, counts: &Counts) -> anyhow::Result<Vec<Sample>> {
    let (start, mut samples, mut before) = (Instant::now(), Vec::new(), 0);
    println!("| minute | requests/s | RSS MiB | threads | open files |\n|---:|---:|---:|---:|---:|");
    while !counts.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_secs(1));
        let sample = Sample::of(pid)?;
        samples.push(sample);
        if samples.len().is_multiple_of(60) {
            let answers = counts.answers.load(Ordering::Relaxed);
            let minute = start.elapsed().as_secs() / 60;
            println!(
                "| {minute} | {} | {:.1} | {} | {} |",
                (answers - before) / 60,
                sample.rss,
                sample.threads,
                sample.files
            );
            before = answers;
        }
    }
    Ok(samples)
}

/// Prints the results; fails if memory grew or an answer was unexpected.
fn report(counts: &Counts, samples: &[Sample], elapsed: Duration) -> anyhow::Result<()> {
    let by_kind = counts.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
    println!("\n| request | status | answers |\n|---|---:|---:|");
    for ((kind, status), count) in by_kind.iter() {
        let status = if *status == 0 { "none".to_owned() } else { status.to_string() };
        println!("| {kind:?} | {status} | {count} |");
    }
    let sixth = samples.len() / 6;
    ensure!(sixth > 0, "the run was too short");
    let median =
        |samples: &[Sample]| quantile(&mut samples.iter().map(|sample| sample.rss).collect::<Vec<_>>(), 0.5);
    let (warm, last) = (median(&samples[sixth..2 * sixth])?, median(&samples[samples.len() - sixth..])?);
    let growth = (last / warm - 1.0) * 100.0;
    let most = samples.iter().map(|sample| sample.rss).fold(0.0, f64::max);
    let budgets = BUDGETS.iter().map(|(_, _, mib)| mib).sum::<u64>() + OLDER_SNAPSHOTS;
    #[expect(clippy::cast_precision_loss, reason = "a number of answers and of MiB")]
    let (rate, outside) =
        (counts.answers.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64(), most - budgets as f64);
    println!("\n| figure | value |\n|---|---:|");
    println!("| requests/s | {rate:.0} |");
    println!("| RSS after the warm-up, MiB | {warm:.1} |");
    println!("| RSS in the last sixth, MiB | {last:.1} |");
    println!("| growth, % | {growth:.2} |");
    println!("| most RSS, MiB | {most:.1} |");
    println!("| budgets, and {OLDER_SNAPSHOTS} MiB for older snapshots, MiB | {budgets} |");
    println!("| most RSS beyond the budgets, MiB | {outside:.1} |");
    println!("| most threads | {} |", samples.iter().map(|sample| sample.threads).max().unwrap_or(0));
    println!("| most open files | {} |", samples.iter().map(|sample| sample.files).max().unwrap_or(0));
    let unexpected = counts.unexpected.load(Ordering::Relaxed);
    println!("| unexpected answers | {unexpected} |");
    ensure!(unexpected == 0, "{unexpected} answers have an unexpected status");
    ensure!(growth < MAX_GROWTH, "memory grew by {growth:.2} %");
    Ok(())
}
