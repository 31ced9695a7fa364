//! Reads over HTTP against a bare axum handler that returns the same bytes: `cargo bench --bench http`.
//!
//! The load generator is [wrk](https://github.com/wg/wrk) (`apt-get install wrk`) with keep-alive connections
//! on the same machine; servers and generator share its cores. Larder is the `larder` binary with metrics,
//! request ids, deadlines and the memory tier as by default, once with the request log (`info`, text, to
//! /dev/null) and once without (`warn`). The peer is a process too: `axum::serve` with one handler per route
//! that returns constant bytes. The servers take turns; figures are medians of the rounds, and a ratio is the
//! median of the ratios per round. *CPU* is the processor time of the server process, without that of the
//! load generator.
//!
//! `SECONDS=1 ROUNDS=2 cargo bench --bench http` is a quick run.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use axum::{
    Router,
    body::Bytes,
    http::header,
    routing::{get, post},
};
use larder::feature::CustomerId;
use serde_json::Value;

#[path = "support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;
#[path = "support/wrk.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod wrk;

use shop::{Dice, Shop, quantile};
use wrk::{DONE, Load, Run, Server, batch_body, encoded, run, script};

/// Number of customers in the snapshot.
const CUSTOMERS: u32 = 20_000;
/// Number of customers that are read in turn.
const MANY: usize = 10_000;
/// Number of customers in a batch.
const BATCH: usize = 100;
/// Number of different batches.
const BATCHES: usize = 200;
/// Argument with which this program runs as the peer.
const PEER: &str = "peer";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.next() {
        Some(role) if role == PEER => {
            let folder = arguments.next().context("the peer needs the folder with its responses")?;
            runtime.block_on(peer(Path::new(&folder)))
        }
        _ => runtime.block_on(compare()),
    }
}

/// Serves constant responses, the same as those of Larder, from one handler per route.
async fn peer(folder: &Path) -> anyhow::Result<()> {
    const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    let customer = Bytes::from(std::fs::read(folder.join("customer.json"))?);
    let batch = Bytes::from(std::fs::read(folder.join("batch.json"))?);
    let router = Router::new()
        .route("/v1/customers/{id}", get(async move || (JSON, customer.clone())))
        .route("/v1/customers/batch", post(async move |_: Bytes| (JSON, batch.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

/// Checks whether `answer` has the values of the customer `id`.
fn is_of(answer: &Value, id: &CustomerId) -> bool {
    answer["customer_id"] == id.as_str()
        && answer["views"]["rfm"]["segment"].is_string()
        && answer["views"]["profile"].is_object()
}

/// Reads and checks the responses, writes those of the peer into `folder`, and returns the loads.
async fn prepare(shop: &Shop, larder: &Server, folder: &Path) -> anyhow::Result<Vec<Load>> {
    let client = reqwest::Client::new();
    let ready = format!("{}/readyz", larder.url);
    let mut tries = 0;
    while !client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
        tries += 1;
        ensure!(tries < 100, "{} is not ready", larder.name);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut dice = Dice::new();
    let many = dice.some(&shop.ids, MANY);
    // A customer with orders, who has values in all views.
    let mut one = None;
    for id in many.iter().take(100) {
        let url = format!("{}/v1/customers/{}", larder.url, encoded(id));
        client.get(&url).send().await?.error_for_status()?;
        let answer = client.get(&url).send().await?.error_for_status()?.bytes().await?;
        let value: Value = serde_json::from_slice(&answer)?;
        ensure!(is_of(&value, id), "a wrong response for {id}: {value}");
        ensure!(value["tier"] == "memory", "{id} is not in memory: {value}");
        if one.is_none() && value["views"]["behavior"].is_object() {
            one = Some((id, answer));
        }
    }
    let (one, answer) = one.context("none of a hundred customers bought anything")?;
    std::fs::write(folder.join("customer.json"), &answer)?;
    let batches: Vec<Vec<CustomerId>> = (0..BATCHES).map(|_| dice.some(&many, BATCH)).collect();
    let url = format!("{}/v1/customers/batch", larder.url);
    let mut answered = Bytes::new();
    for ids in &batches {
        let request = client.post(&url).header("content-type", "application/json").body(batch_body(ids));
        answered = request.send().await?.error_for_status()?.bytes().await?;
        let value: Value = serde_json::from_slice(&answered)?;
        let results = value["results"].as_array().context("a batch without results")?;
        ensure!(
            results.len() == BATCH && results.iter().zip(ids).all(|(result, id)| is_of(result, id)),
            "a wrong batch"
        );
    }
    std::fs::write(folder.join("batch.json"), &answered)?;
    let done = folder.join("done.lua");
    std::fs::write(&done, DONE)?;
    let paths: Vec<String> = many.iter().map(|id| format!("/v1/customers/{}", encoded(id))).collect();
    let bodies: Vec<String> = batches.iter().map(|ids| batch_body(ids)).collect();
    let path = format!("/v1/customers/{}", encoded(one));
    let many = script(folder, "many", &paths)?;
    let batches = script(folder, "batches", &bodies)?;
    let load = |name, connections, path: &str, script: &Path| Load {
        name,
        connections,
        path: path.to_owned(),
        script: script.to_path_buf(),
    };
    Ok(vec![
        load("one customer", 16, &path, &done),
        load("one customer", 64, &path, &done),
        load("10,000 customers in turn", 64, "/", &many),
        load("batches of 100", 16, "/v1/customers/batch", &batches),
    ])
}

/// Checks that both servers return the same bytes for `path`, and returns their number.
async fn check(larder: &Server, peer: &Server, path: &str) -> anyhow::Result<usize> {
    let client = reqwest::Client::new();
    let mut answers = Vec::new();
    for server in [larder, peer] {
        // The second response counts: the first may come from the snapshot, and its `tier` says so.
        for _ in 0..2 {
            let answer = client.get(format!("{}{path}", server.url)).send().await?.error_for_status()?;
            ensure!(
                answer.headers().get("content-type").is_some_and(|kind| kind == "application/json"),
                "no JSON"
            );
            answers.push(answer.bytes().await?);
        }
    }
    ensure!(answers[1] == answers[3], "{} and {} answer differently", larder.name, peer.name);
    Ok(answers[1].len())
}

/// Reads a number from the environment variable `name`.
fn setting(name: &str, default: u64) -> anyhow::Result<u64> {
    std::env::var(name)
        .map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} is a number")))
}

/// Runs all loads against all servers and prints the table.
async fn compare() -> anyhow::Result<()> {
    let (seconds, rounds) = (setting("SECONDS", 3)?, setting("ROUNDS", 5)?);
    let shop = Shop::open(CUSTOMERS).await?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let larder = |name, level: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.arg("--config").arg(shop.folder.path().join("larder.toml"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("LARDER_LOG_LEVEL", level);
        Server::start(name, &mut command)
    };
    let info = larder("Larder, access log on", "info")?;
    let warn = larder("Larder, access log off", "warn")?;
    let loads = prepare(&shop, &info, folder.path()).await?;
    let bare =
        Server::start("bare axum", Command::new(std::env::current_exe()?).arg(PEER).arg(folder.path()))?;
    let bytes = check(&info, &bare, &loads[0].path).await?;
    check(&warn, &bare, &loads[0].path).await?;
    let servers = [&bare, &info, &warn];
    println!(
        "\nReads over HTTP from memory, wrk with 2 threads and keep-alive on the same machine, {} cores, \
         {rounds} rounds of {seconds} s in turn; one customer is {bytes} bytes of JSON. The aim is at least \
         0.85 of the bare handler for one customer with everything on.\n",
        std::thread::available_parallelism()?,
    );
    println!(
        "| load | connections | server | requests/s | of bare axum | p50 µs | p99 µs | CPU µs per request |"
    );
    println!("|---|---:|---|---:|---:|---:|---:|---:|");
    for load in &loads {
        for server in servers {
            run(server, load, 1)?;
        }
        let mut runs: [Vec<Run>; 3] = Default::default();
        for _ in 0..rounds {
            for (server, runs) in servers.iter().zip(&mut runs) {
                runs.push(run(server, load, seconds)?);
            }
        }
        for (server, of_server) in servers.iter().zip(&runs) {
            let median =
                |value: fn(&Run) -> f64| quantile(&mut of_server.iter().map(value).collect::<Vec<_>>(), 0.5);
            let mut ratios: Vec<f64> =
                of_server.iter().zip(&runs[0]).map(|(run, bare)| run.rate / bare.rate).collect();
            println!(
                "| {} | {} | {} | {:.0} | {:.2} | {:.0} | {:.0} | {:.1} |",
                load.name,
                load.connections,
                server.name,
                median(|run| run.rate)?,
                quantile(&mut ratios, 0.5)?,
                median(|run| run.median)?,
                median(|run| run.p99)?,
                median(|run| run.cpu)?,
            );
        }
    }
    Ok(())
}
