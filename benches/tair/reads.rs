//! Single customers and batches over HTTP by way of Tair, over each kind of connection.

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
    client,
    redis::{Commands, Redis, free_port},
    shop::{Dice, Shop, quantile},
    wrk::{Load, Run, Server, batch_body, encoded, run, script},
};

const ROUNDS: usize = 3;
const SECONDS: u64 = 3;
/// Number of different customers that are read.
const MANY: usize = 10_000;

/// webdis, which answers `GET /HGETALL/key` from Redis. The process is killed when dropped.
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
        "threads": std::thread::available_parallelism()?.get(), "pool_size": 20, "daemonize": false,
        "websockets": false, "acl": [{"enabled": ["GET", "HGETALL", "PING"]}], "verbosity": 0,
        "logfile": folder.join("webdis.log"),
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

/// Larder in front of one kind of Redis server.
struct Contestant {
    name: &'static str,
    redis: Redis,
    larder: Server,
}

impl Contestant {
    /// Starts a service without the memory tier.
    async fn start(name: &'static str, redis: Redis, shop: &Shop) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.arg("--config").arg(shop.folder.path().join("larder.toml"));
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command
            .env("LARDER_TAIR_URL", redis.url())
            .env("LARDER_SERVING_MEMORY", "0")
            // With the default of 50 ms the snapshot would answer some reads on a busy machine.
            .env("LARDER_TAIR_TIMEOUT", "1s")
            .env("LARDER_LOG_LEVEL", "warn");
        if let Some(file) = redis.ca_file() {
            command.env("LARDER_TAIR_CA_FILE", file);
        }
        let larder = Server::start(name, &mut command)?;
        wait_for_tair(&larder.url, &shop.ids[0]).await?;
        Ok(Self { name, redis, larder })
    }
}

/// Publishes the shop into each of the `servers` under one number, which `CURRENT` has afterwards.
async fn publish_into_all(shop: &Shop, servers: impl IntoIterator<Item = &Redis>) -> anyhow::Result<()> {
    let current = shop.folder.path().join("lake/CURRENT");
    let mut before: serde_json::Value = serde_json::from_slice(&std::fs::read(&current)?)?;
    for redis in servers {
        std::fs::write(&current, before.to_string())?;
        let tair = TairConfig { url: redis.url(), ca_file: redis.ca_file(), ..TairConfig::default() };
        let options = Options { full: true, force: true, ..Options::default() };
        let publisher = Publisher::new(shop.lake.clone(), Some(tair), options);
        let published = publisher.publish(Some(&shop.manifest.id)).await?;
        before["lake"] = published.current.lake.into();
    }
    Ok(())
}

/// Customers to read, and the keys of their copies for `redis-benchmark`.
struct Reads<'a> {
    folder: &'a Path,
    many: &'a [CustomerId],
    /// Command for `redis-benchmark`.
    hmget: &'a [&'a str],
}

pub(crate) async fn compare(customers: u32) -> anyhow::Result<()> {
    let shop = Shop::open(customers).await?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let servers = [
        ("redis://", Redis::start()?),
        ("rediss://", Redis::with_tls()?),
        ("redis-cluster://", Redis::cluster()?),
    ];
    publish_into_all(&shop, servers.iter().map(|(_, redis)| redis)).await?;
    let mut contestants = Vec::new();
    for (name, redis) in servers {
        contestants.push(Contestant::start(name, redis, &shop).await?);
    }
    let mut dice = Dice::new();
    let many: Vec<CustomerId> = dice.some(&shop.ids, MANY);
    let fields: Vec<String> = shop.manifest.views.iter().map(codec::field).collect();
    copy_for_peer(&contestants[0].redis, folder.path(), &many, &Keys::new("larder"))?;
    let mut hmget: Vec<&str> = vec!["HMGET", "peer:__rand_int__"];
    hmget.extend(fields.iter().map(String::as_str).chain([codec::PUBLISH]));
    let reads = Reads { folder: folder.path(), many: &many, hmget: &hmget };
    single(&contestants, &reads).await?;
    batches(&contestants, &reads, &mut dice).await?;
    let servers: Vec<(&str, &Redis)> = contestants.iter().map(|c| (c.name, &c.redis)).collect();
    client::compare(&servers, &client::Rows { ids: &many, views: &shop.manifest.views }).await
}

/// Prints the rates of single customers.
async fn single(contestants: &[Contestant], reads: &Reads<'_>) -> anyhow::Result<()> {
    let (_webdis, webdis_url) = webdis(&contestants[0].redis, reads.folder).await?;
    let webdis_server = Server::elsewhere("webdis", webdis_url);
    let load = |name: &str, path: &dyn Fn(&CustomerId) -> String| -> anyhow::Result<Load> {
        let paths: Vec<String> = reads.many.iter().map(path).collect();
        let script = script(reads.folder, name, &paths)?;
        Ok(Load { name: "", connections: 64, path: "/".to_owned(), script })
    };
    let of_larder = load("larder", &|id| format!("/v1/customers/{}", encoded(id)))?;
    let of_webdis = load("webdis", &|id| format!("/HGETALL/larder:customer:{}", encoded(id)))?;
    let range = reads.many.len().to_string();
    println!(
        "\nOne customer, all views, over HTTP by way of Tair, memory tier off; wrk with 2 threads, \
         64 connections, 10,000 customers in turn, {ROUNDS} rounds of {SECONDS} s; {} cores in all.\n",
        std::thread::available_parallelism()?
    );
    let mut ours: Vec<Vec<Run>> = contestants.iter().map(|_| Vec::new()).collect();
    let (mut webdis, mut bare) = (Vec::new(), Vec::new());
    for contestant in contestants {
        run(&contestant.larder, &of_larder, 1)?;
    }
    run(&webdis_server, &of_webdis, 1)?;
    for _ in 0..ROUNDS {
        for (contestant, runs) in contestants.iter().zip(&mut ours) {
            runs.push(run(&contestant.larder, &of_larder, SECONDS)?);
        }
        webdis.push(run(&webdis_server, &of_webdis, SECONDS)?);
        bare.push(contestants[0].redis.benchmark(150_000, &["-c", "64", "-r", &range], reads.hmget)?);
    }
    for contestant in contestants {
        ensure_tair(&contestant.larder.url).await?;
    }
    let rates = |runs: &[Run]| runs.iter().map(|run| run.rate).collect::<Vec<f64>>();
    let (of_plain, of_webdis) = (rates(&ours[0]), rates(&webdis));
    println!(
        "| server | requests/s | of webdis | of redis-benchmark | of Larder, redis:// | p50 µs | p99 µs |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let names = contestants.iter().map(|contestant| format!("Larder, {}", contestant.name));
    for (name, runs) in names.chain(["webdis, HGETALL".to_owned()]).zip(ours.iter().chain([&webdis])) {
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
            median(runs, |run| run.rate)?,
            ratio(&rates(runs), &of_webdis)?,
            ratio(&rates(runs), &bare)?,
            ratio(&rates(runs), &of_plain)?,
            median(runs, |run| run.median)?,
            median(runs, |run| run.p99)?,
        );
    }
    println!(
        "| redis-benchmark, HMGET, no pipeline | {:.0} | {:.2} | 1.00 | {:.2} | | |",
        quantile(&mut bare.clone(), 0.5)?,
        ratio(&bare, &of_webdis)?,
        ratio(&bare, &of_plain)?,
    );
    Ok(())
}

/// Prints the rates of batches.
async fn batches(contestants: &[Contestant], reads: &Reads<'_>, dice: &mut Dice) -> anyhow::Result<()> {
    println!(
        "\nBatches over HTTP by way of Tair, memory tier off; wrk with 16 connections, against \
         redis-benchmark with HMGET in pipelines of the same size; both with 10,000 customers in turn.\n"
    );
    println!(
        "| ids of a batch | server | customers/s | of redis-benchmark | of redis:// | p50 ms | p99 ms |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|");
    let range = reads.many.len().to_string();
    for size in [100_usize, 1_000] {
        let bodies: Vec<String> = (0..50).map(|_| batch_body(&dice.some(reads.many, size))).collect();
        std::fs::create_dir_all(reads.folder.join(size.to_string()))?;
        let script = script(&reads.folder.join(size.to_string()), "batches", &bodies)?;
        let load = Load { name: "", connections: 16, path: "/v1/customers/batch".to_owned(), script };
        let mut ours: Vec<Vec<Run>> = contestants.iter().map(|_| Vec::new()).collect();
        let mut bare = Vec::new();
        for contestant in contestants {
            run(&contestant.larder, &load, 1)?;
        }
        for _ in 0..ROUNDS {
            for (contestant, runs) in contestants.iter().zip(&mut ours) {
                runs.push(run(&contestant.larder, &load, SECONDS)?);
            }
            let args = ["-c", "16", "-P", &size.to_string(), "-r", &range];
            bare.push(contestants[0].redis.benchmark(1_000_000, &args, reads.hmget)?);
        }
        let rates = |runs: &[Run]| runs.iter().map(|run| run.rate * size as f64).collect::<Vec<f64>>();
        for (contestant, runs) in contestants.iter().zip(&ours) {
            ensure_tair(&contestant.larder.url).await?;
            println!(
                "| {size} | Larder, {} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} |",
                contestant.name,
                quantile(&mut rates(runs), 0.5)?,
                ratio(&rates(runs), &bare)?,
                ratio(&rates(runs), &rates(&ours[0]))?,
                median(runs, |run| run.median)? / 1e3,
                median(runs, |run| run.p99)? / 1e3,
            );
        }
        println!("| {size} | redis-benchmark | {:.0} | 1.00 | | | |", quantile(&mut bare, 0.5)?);
    }
    Ok(())
}

/// Returns the median of the rounds' ratios.
fn ratio(ours: &[f64], theirs: &[f64]) -> anyhow::Result<f64> {
    quantile(&mut ours.iter().zip(theirs).map(|(a, b)| a / b).collect::<Vec<_>>(), 0.5)
}

/// Copies the customers of `many` to keys of the form that `redis-benchmark -r` generates.
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

/// Fails unless all customers were read from Tair, except for those of the first moments.
async fn ensure_tair(url: &str) -> anyhow::Result<()> {
    let text = reqwest::get(format!("{url}/metrics")).await?.text().await?;
    let hits = |tier: &str| {
        let line = text.lines().find_map(|line| {
            line.strip_prefix(&format!("larder_reads_total{{outcome=\"hit\",tier=\"{tier}\"}} "))
        });
        line.and_then(|count| count.parse::<f64>().ok()).context("no count of reads")
    };
    let (tair, snapshot) = (hits("tair")?, hits("snapshot")?);
    ensure!(snapshot < 0.01 * tair, "{snapshot} customers were read from the snapshot, {tair} from Tair");
    Ok(())
}

/// Waits until the service answers from Tair.
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
