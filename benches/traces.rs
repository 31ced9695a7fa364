//! Cost of traces for reads over HTTP: `cargo bench --bench traces`.
//!
//! The load generator is [wrk](https://github.com/wg/wrk) (`apt-get install wrk`) with keep-alive connections
//! on the same machine. It reads one customer from memory, so that the share of traces in the cost is the
//! largest. The servers take turns in the same run: without traces, with traces of which none, 1 % or all
//! are recorded, and with a `traceparent` that says not to record. The collector is an axum handler in this
//! process that takes every batch. The access log is off. Figures are medians of the rounds; the ratio is
//! that of requests per second of processor time of the server process.
//!
//! `SECONDS=1 ROUNDS=2 cargo bench --bench traces` is a quick run.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use axum::{Router, body::Bytes, routing::post};

#[path = "support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;
#[path = "support/wrk.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod wrk;

use shop::{Shop, quantile};
use wrk::{DONE, Load, Run, Server, encoded, run};

/// Number of customers in the snapshot.
const CUSTOMERS: u32 = 2_000;
/// Number of connections.
const CONNECTIONS: usize = 64;
/// Header of a caller that does not record its trace.
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// A server with settings of traces, and the script of its load.
struct Contender {
    server: Server,
    load: Load,
}

fn main() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(compare())
}

/// Starts a collector and returns its URL.
async fn collector() -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/v1/traces", post(async |_: Bytes| ""));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// Reads a number from the environment variable `name`.
fn setting(name: &str, default: u64) -> anyhow::Result<u64> {
    std::env::var(name)
        .map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} is a number")))
}

/// Starts a server that records `share` of the traces; without traces if `share` is `None`.
fn start(shop: &Shop, name: &'static str, collector: &str, share: Option<&str>) -> anyhow::Result<Server> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("--config").arg(shop.folder.path().join("larder.toml"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("LARDER_LOG_LEVEL", "warn");
    // The row stays in memory.
    command.env("LARDER_SERVING_MEMORY_TTL", "1h");
    if let Some(share) = share {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
        command.env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio").env("OTEL_TRACES_SAMPLER_ARG", share);
        // Nearly all spans are sent, so that the cost of sending counts.
        command.env("OTEL_BSP_MAX_QUEUE_SIZE", "65536").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096");
        command.env("OTEL_BSP_SCHEDULE_DELAY", "200");
    }
    Server::start(name, &mut command)
}

/// Waits until `server` answers `path` from memory.
async fn warm_up(server: &Server, path: &str) -> anyhow::Result<()> {
    for _ in 0..200 {
        let answer = reqwest::get(format!("{}{path}", server.url)).await?;
        if answer.status().is_success() && answer.text().await?.contains("\"tier\":\"memory\"") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{} does not answer from memory", server.name)
}

/// Returns the number of spans with the `outcome`.
async fn spans(server: &Server, outcome: &str) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("{}/metrics", server.url)).await?.text().await?;
    let name = format!("larder_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&*name));
    Ok(line.with_context(|| format!("no metric {name}"))?.parse()?)
}

/// Writes a script for wrk, which sends `header` with each request.
fn script(folder: &Path, name: &str, header: Option<&str>) -> anyhow::Result<std::path::PathBuf> {
    let file = folder.join(format!("{name}.lua"));
    let header = header.map(|value| format!("wrk.headers[\"traceparent\"] = \"{value}\"\n"));
    std::fs::write(&file, format!("{}{DONE}", header.unwrap_or_default()))?;
    Ok(file)
}

async fn compare() -> anyhow::Result<()> {
    let (seconds, rounds) = (setting("SECONDS", 3)?, setting("ROUNDS", 7)?);
    let (shop, collector) = (Shop::open(CUSTOMERS).await?, collector().await?);
    let folder = shop.folder.path();
    let path = format!("/v1/customers/{}", encoded(&shop.ids[0]));
    let mut contenders = Vec::new();
    for (name, share, header) in [
        ("off", None, None),
        ("on, none recorded", Some("0"), None),
        ("on, traceparent not recorded", Some("1"), Some(UNSAMPLED)),
        ("on, 1 % recorded", Some("0.01"), None),
        ("on, all recorded", Some("1"), None),
    ] {
        let server = start(&shop, name, &collector, share)?;
        warm_up(&server, &path).await?;
        let script = script(folder, &contenders.len().to_string(), header)?;
        let load = Load { name: "one customer", connections: CONNECTIONS, path: path.clone(), script };
        run(&server, &load, 1)?;
        contenders.push(Contender { server, load });
    }
    let mut runs: Vec<Vec<Run>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            runs.push(run(&contender.server, &contender.load, seconds)?);
        }
    }
    println!(
        "\n| traces | requests/s | CPU µs a request | requests per CPU second, of off | spans dropped |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (contender, of_server) in contenders.iter().zip(&runs) {
        let median =
            |value: fn(&Run) -> f64| quantile(&mut of_server.iter().map(value).collect::<Vec<_>>(), 0.5);
        // Of the same round, since the speed of the machine changes.
        let mut ratios: Vec<f64> =
            of_server.iter().zip(&runs[0]).map(|(run, off)| off.cpu / run.cpu).collect();
        let (dropped, exported) =
            (spans(&contender.server, "dropped").await?, spans(&contender.server, "exported").await?);
        ensure!(spans(&contender.server, "failed").await? == 0.0, "the collector failed");
        println!(
            "| {} | {:.0} | {:.2} | {:.3} | {:.0} % |",
            contender.server.name,
            median(|run| run.rate)?,
            median(|run| run.cpu)?,
            quantile(&mut ratios, 0.5)?,
            100.0 * dropped / (dropped + exported).max(1.0),
        );
    }
    Ok(())
}
