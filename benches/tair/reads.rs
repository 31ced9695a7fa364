//! One customer and batches over HTTP by way of Tair.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use larder::{
    config::TairConfig,
    feature::CustomerId,
    publish::{Options, Publisher},
    tair::{Keys, codec},
};

use crate::{
    redis::{Commands, Redis, free_port},
    shop::{Dice, Shop, quantile},
    wrk::{Load, Run, Server, batch_body, encoded, run, script},
};

const ROUNDS: usize = 3;
const SECONDS: u64 = 3;
/// Different customers that are asked for by turns.
const MANY: usize = 10_000;

/// webdis, which answers `GET /HGETALL/key` from Redis; killed when dropped.
struct Webdis(Child);

impl Drop for Webdis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn webdis(redis: &Redis, folder: &Path) -> anyhow::Result<(Webdis, String)> {
    let port = free_port()?;
    let config = serde_json::json!({
        "redis_host": "127.0.0.1", "redis_port": redis.port, "http_host": "127.0.0.1", "http_port": port,
        "threads": std::thread::available_parallelism()?.get(), "pool_size": 20, "daemonize": false, "websockets": false,
        "acl": [{"enabled": ["GET", "HGETALL", "PING"]}], "verbosity": 0, "logfile": folder.join("webdis.log"),
    });
    let file = folder.join("webdis.json");
    std::fs::write(&file, config.to_string())?;
    let mut command = Command::new("webdis");
    let child = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = Webdis(child.context("cannot run webdis; `apt-get install webdis` puts it on Debian")?);
    let url = format!("http://127.0.0.1:{port}");
    for _ in 0..100 {
        if reqwest::get(format!("{url}/PING")).await.is_ok() {
            return Ok((child, url));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("webdis does not start")
}

fn median(runs: &[Run], value: fn(&Run) -> f64) -> anyhow::Result<f64> {
    quantile(&mut runs.iter().map(value).collect::<Vec<_>>(), 0.5)
}

#[expect(clippy::too_many_lines, reason = "one comparison, step by step")]
pub(crate) async fn compare(customers: u32) -> anyhow::Result<()> {
    let shop = Shop::open(customers).await?;
    let redis = Redis::start()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let tair = TairConfig { url: redis.url(), ..TairConfig::default() };
    Publisher::new(shop.lake.clone(), Some(tair), Options { full: true, ..Options::default() })
        .publish(Some(&shop.manifest.id))
        .await?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("--config").arg(shop.folder.path().join("larder.toml"));
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("LARDER_TAIR_URL", redis.url())
        .env("LARDER_SERVING_MEMORY", "0")
        .env("LARDER_LOG_LEVEL", "warn");
    let larder = Server::start("Larder", &mut command)?;
    let (_webdis, webdis_url) = webdis(&redis, folder.path()).await?;
    let mut dice = Dice::new();
    let many: Vec<CustomerId> = dice.some(&shop.ids, MANY);
    wait_for_tair(&larder.url, &many[0]).await?;

    let list = |name: &str, path: &dyn Fn(&CustomerId) -> String| {
        script(folder.path(), name, &many.iter().map(path).collect::<Vec<_>>())
    };
    let of_larder = list("larder", &|id| format!("/v1/customers/{}", encoded(id)))?;
    let of_webdis = list("webdis", &|id| format!("/HGETALL/larder:customer:{}", encoded(id)))?;
    let keys = Keys::new("larder");
    let fields: Vec<String> = shop.manifest.views.iter().map(codec::field).collect();
    copy_for_peer(&redis, folder.path(), &many, &keys)?;
    let range = many.len().to_string();
    let mut hmget: Vec<&str> = vec!["HMGET", "peer:__rand_int__"];
    hmget.extend(fields.iter().map(String::as_str).chain([codec::PUBLISH]));

    println!(
        "\nOne customer, all views, over HTTP by way of Tair, memory tier off; wrk with 2 threads, 64 connections, 10,000 customers by turns, \
         {ROUNDS} rounds of {SECONDS} s; {} cores for everything.\n",
        std::thread::available_parallelism()?
    );
    println!("| server | requests/s | of webdis | p50 µs | p99 µs |");
    println!("|---|---:|---:|---:|---:|");
    let load = |script: &Path| Load {
        name: "",
        connections: 64,
        path: "/".to_owned(),
        script: script.to_path_buf(),
    };
    let webdis_server = Server::elsewhere("webdis", webdis_url);
    let (mut ours, mut theirs, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    run(&larder, &load(&of_larder), 1)?;
    run(&webdis_server, &load(&of_webdis), 1)?;
    for _ in 0..ROUNDS {
        ours.push(run(&larder, &load(&of_larder), SECONDS)?);
        theirs.push(run(&webdis_server, &load(&of_webdis), SECONDS)?);
        bare.push(redis.benchmark(150_000, &["-c", "64", "-r", &range], &hmget)?);
    }
    ensure_tair(&larder.url).await?;
    let rate = |run: &Run| run.rate;
    let ratio = |theirs: &[f64]| {
        quantile(&mut ours.iter().zip(theirs).map(|(a, b)| a.rate / b).collect::<Vec<_>>(), 0.5)
    };
    let of_webdis: Vec<f64> = theirs.iter().map(rate).collect();
    let (p50, p99) = (|run: &Run| run.median, |run: &Run| run.p99);
    println!(
        "| Larder | {:.0} | {:.2} | {:.0} | {:.0} |",
        median(&ours, rate)?,
        ratio(&of_webdis)?,
        median(&ours, p50)?,
        median(&ours, p99)?
    );
    println!(
        "| webdis, HGETALL | {:.0} | 1.00 | {:.0} | {:.0} |",
        median(&theirs, rate)?,
        median(&theirs, p50)?,
        median(&theirs, p99)?
    );
    println!(
        "| redis-benchmark, HMGET, no pipeline | {:.0} | Larder is {:.2} of it | | |",
        quantile(&mut bare.clone(), 0.5)?,
        ratio(&bare)?
    );

    println!(
        "\nBatches over HTTP by way of Tair, memory tier off; wrk with 16 connections, against redis-benchmark with HMGET in pipelines of as many; \
         both with 10,000 customers by turns.\n"
    );
    println!(
        "| ids of a batch | Larder, customers/s | redis-benchmark, customers/s | ratio | p50 ms | p99 ms |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for size in [100_usize, 1_000] {
        let bodies: Vec<String> = (0..50).map(|_| batch_body(&dice.some(&many, size))).collect();
        std::fs::create_dir_all(folder.path().join(size.to_string()))?;
        let script = script(&folder.path().join(size.to_string()), "batches", &bodies)?;
        let load = Load {
            name: "",
            connections: 16,
            path: "/v1/customers/batch".to_owned(),
            script: script.clone(),
        };
        run(&larder, &load, 1)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(run(&larder, &load, SECONDS)?);
            theirs.push(redis.benchmark(
                1_000_000,
                &["-c", "16", "-P", &size.to_string(), "-r", &range],
                &hmget,
            )?);
        }
        ensure_tair(&larder.url).await?;
        let rates: Vec<f64> = ours.iter().map(|run| run.rate * size as f64).collect();
        let mut ratios: Vec<f64> = rates.iter().zip(&theirs).map(|(a, b)| a / b).collect();
        println!(
            "| {size} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} |",
            quantile(&mut rates.clone(), 0.5)?,
            quantile(&mut theirs.clone(), 0.5)?,
            quantile(&mut ratios, 0.5)?,
            median(&ours, p50)? / 1e3,
            median(&ours, p99)? / 1e3
        );
    }
    Ok(())
}

/// Gives the customers of `many` a second key each, of the form that `redis-benchmark -r` draws from.
fn copy_for_peer(redis: &Redis, folder: &Path, many: &[CustomerId], keys: &Keys) -> anyhow::Result<()> {
    let file = folder.join("copies");
    let mut copies = Commands::create(&file)?;
    for (number, id) in many.iter().enumerate() {
        copies.write(&[
            b"COPY",
            keys.customer(id.as_str()).as_bytes(),
            format!("peer:{number:012}").as_bytes(),
        ])?;
    }
    copies.finish()?;
    redis.pipe(&file)?;
    Ok(())
}

/// Fails unless all customers so far were read from Tair, but for those of the first moment.
async fn ensure_tair(url: &str) -> anyhow::Result<()> {
    let text = reqwest::get(format!("{url}/metrics")).await?.text().await?;
    let hits = |tier: &str| {
        let line = text.lines().find_map(|line| {
            line.strip_prefix(&format!("larder_reads_total{{outcome=\"hit\",tier=\"{tier}\"}} "))
        });
        line.and_then(|count| count.parse::<f64>().ok()).context("no count of reads")
    };
    let (tair, snapshot) = (hits("tair")?, hits("snapshot")?);
    ensure!(snapshot < 0.001 * tair, "{snapshot} customers were read from the snapshot, {tair} from Tair");
    Ok(())
}

/// Until the service answers from Tair.
async fn wait_for_tair(url: &str, id: &CustomerId) -> anyhow::Result<()> {
    for _ in 0..200 {
        let answer = reqwest::get(format!("{url}/v1/customers/{}", encoded(id))).await?;
        if answer.json::<serde_json::Value>().await?["tier"] == "tair" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(false, "Tair is not used");
    Ok(())
}
