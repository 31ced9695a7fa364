//! Compares audiences with Redis Sets of the same members: `cargo bench --bench audiences -- 100000 1000000
//! 5000000`.
//!
//! Arguments are numbers of customers. *A and B and not C* combines three segments. Redis computes the count
//! with `SINTERSTORE` and `SDIFFSTORE` over its own connection. Larder counts in process (bitmaps only; then
//! with revenue, mean scores and the first 100 members) and over HTTP. The second table has an expression
//! over features: with all sets in memory, with uncached predicates, and with nothing in memory. Requires
//! Debian's packages `redis-server` and `redis-tools`.

#![expect(clippy::print_stdout, reason = "benchmarks print tables")]
#![expect(clippy::cast_precision_loss, reason = "rounded figures")]

#[path = "../tair/redis.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod redis;
#[path = "../support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;
#[path = "../support/snapshot.rs"]
#[allow(dead_code, reason = "tests use the other parts")]
mod snapshot;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, ensure};
use larder::{
    audience::{Bitmap, Expression, FeatureName, Leaf, catalog::Catalog},
    config::{Config, ServingConfig},
    http::{self, App},
    lake::Lake,
    serving::{AudienceRequest, Serving},
    snapshot::{SnapshotFiles, audience_loader::AudienceLoader},
    telemetry::{CacheName, Metrics},
    workers::Workers,
};

use redis::{Commands, Redis};
use shop::{Dice, micros, quantile};
use snapshot::{Extent, Made};

const SETS: &str = "segment:active and segment:churn_high and not segment:british";
const ROUNDS: usize = 200;

fn main() -> anyhow::Result<()> {
    let arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let sizes: Vec<u32> = arguments.map(|number| number.parse()).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async move {
        let mut tables = [
            "| customers | members | Redis ms | bitmaps µs | Redis / bitmaps | with figures and page µs \
             | HTTP µs | Redis / HTTP |\n\
             |---:|---:|---:|---:|---:|---:|---:|---:|\n"
                .to_owned(),
            "| customers | features in memory µs | predicates uncached µs | nothing in memory ms \
             | memory MiB | of it the three sets KiB | Redis MiB |\n\
             |---:|---:|---:|---:|---:|---:|---:|\n"
                .to_owned(),
        ];
        for size in if sizes.is_empty() { vec![100_000, 1_000_000] } else { sizes } {
            let [sets, features] = compare(size).await?;
            tables[0].push_str(&sets);
            tables[1].push_str(&features);
        }
        let [sets, features] = tables;
        println!(
            "A and B and not C, medians:\n\n{sets}\nAn expression over features, and memory:\n\n{features}"
        );
        Ok(())
    })
}

fn request(text: &str, limit: usize) -> anyhow::Result<AudienceRequest> {
    Ok(AudienceRequest {
        expression: Expression::parse(text)?,
        order_by: (FeatureName::new("rfm", "monetary"), true),
        offset: 0,
        limit,
        breakdown: None,
        compare: None,
    })
}

/// Returns the median duration of `work` in microseconds.
fn median(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        work()?;
        times.push(micros(begun.elapsed()));
    }
    quantile(&mut times, 0.5)
}

async fn compare(customers: u32) -> anyhow::Result<[String; 2]> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut config = Config::parse("", "the benchmark", [])?;
    config.base = folder.path().to_path_buf();
    let lake = Lake::open(&config.lake, &config.base)?;
    let mut dice = Dice::new();
    let made = Made::write(&lake, customers, Extent::Columns, |limit| dice.below(limit)).await?;
    let server = Redis::start()?;
    let (redis_ms, redis_count, redis_bytes) = in_redis(&made, &server)?;
    drop(server);

    // The bitmaps alone.
    let sets = AudienceLoader::new(SnapshotFiles::offline(&made.lake, &made.manifest));
    let names: Vec<&str> = made.segments.iter().map(|(name, _)| *name).collect();
    let plan = Catalog {
        views: &made.manifest.views,
        segments: &names,
        as_of: made.manifest.as_of,
        has_events: true,
    }
    .plan(&Expression::parse(SETS)?)?;
    let ids = Arc::new(sets.ids().await?);
    let mut leaves = Vec::new();
    for leaf in &plan.leaves {
        let Leaf::Segment(name) = leaf else { continue };
        leaves.push(sets.segment(name, &ids).await?);
    }
    let leaves: Vec<&Bitmap> = leaves.iter().collect();
    let bitmaps = median(|| {
        let count = plan.members(&leaves, sets.customers()).count();
        ensure!(count == redis_count, "Larder counts {count}, Redis {redis_count}");
        Ok(())
    })?;

    // The whole query, in process.
    let metrics = Arc::new(Metrics::new()?);
    let serving = Arc::new(Serving::new(made.lake.clone(), &ServingConfig::default(), Arc::clone(&metrics)));
    serving.refresh().await?;
    let served = serving.current()?;
    let timed = async |asked: &AudienceRequest| -> anyhow::Result<(f64, usize)> {
        let begun = Instant::now();
        let audience = serving.audience(&served, asked).await?;
        Ok((micros(begun.elapsed()), audience.figures.size))
    };
    let features = |least: usize| {
        format!("rfm.monetary >= {least} and churn.risk:high and not profile.country:\"United Kingdom\"")
    };
    let (cold, _) = timed(&request(&features(1_000), 100)?).await?;
    let (mut warm, mut anew, mut page) = (Vec::new(), Vec::new(), Vec::new());
    timed(&request(SETS, 100)?).await?;
    for round in 0..ROUNDS {
        warm.push(timed(&request(&features(1_000), 100)?).await?.0);
        let other =
            features(2_000 + round).replace("churn.risk:high", &format!("churn.risk in (high, a{round})"));
        anew.push(timed(&request(&other, 100)?).await?.0);
        let (time, count) = timed(&request(SETS, 100)?).await?;
        ensure!(count == redis_count, "Larder counts {count}, Redis {redis_count}");
        page.push(time);
    }
    let [warm, anew, page] =
        [quantile(&mut warm, 0.5)?, quantile(&mut anew, 0.5)?, quantile(&mut page, 0.5)?];
    serving.observe();
    let memory = metrics.cache_bytes.of(CacheName::Audiences).get() as f64;

    // Over HTTP.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1/audiences", listener.local_addr()?);
    let app = App::new(Arc::clone(&serving), metrics, &Config::default());
    let workers = Workers::start(std::thread::available_parallelism()?.get())?;
    let running =
        tokio::spawn(async move { http::serve(listener, None, app, &workers, std::future::pending()).await });
    let client = reqwest::Client::new();
    let body = serde_json::json!({"where": SETS, "limit": 100}).to_string();
    let mut over_http = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let sent =
            client.post(&url).header("content-type", "application/json").body(body.clone()).send().await?;
        let text = sent.text().await?;
        over_http.push(micros(begun.elapsed()));
        ensure!(text.contains(&format!("\"total\":{redis_count},")), "Larder says {text}");
    }
    running.abort();
    let over_http = quantile(&mut over_http, 0.5)?;
    let set_kib = f64::from(3 * customers.div_ceil(64) * 8) / 1024.0;
    Ok([
        format!(
            "| {customers} | {redis_count} | {redis_ms:.1} | {bitmaps:.1} | {:.0} | {page:.0} \
             | {over_http:.0} | {:.0} |\n",
            redis_ms * 1e3 / bitmaps,
            redis_ms * 1e3 / over_http
        ),
        format!(
            "| {customers} | {warm:.0} | {anew:.0} | {:.0} | {:.1} | {set_kib:.0} | {:.1} |\n",
            cold / 1e3,
            memory / f64::from(1 << 20),
            redis_bytes / f64::from(1 << 20)
        ),
    ])
}

/// Returns median milliseconds, count and memory in bytes of the same query in Redis.
fn in_redis(made: &Made, server: &Redis) -> anyhow::Result<(f64, usize, f64)> {
    let before = server.memory()?;
    let file = tempfile::NamedTempFile::new()?;
    let mut commands = Commands::create(file.path())?;
    for (name, members) in &made.segments {
        for some in members.chunks(1_000) {
            let ids: Vec<String> = some.iter().map(|customer| snapshot::id(*customer)).collect();
            let mut parts: Vec<&[u8]> = vec![b"SADD", name.as_bytes()];
            parts.extend(ids.iter().map(String::as_bytes));
            commands.write(&parts)?;
        }
    }
    commands.finish()?;
    server.pipe(file.path())?;
    let bytes = server.memory()? - before;
    let stream = TcpStream::connect(("127.0.0.1", server.port))?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    let mut ask = |command: &str| -> anyhow::Result<usize> {
        let mut line = String::new();
        writer.write_all(command.as_bytes())?;
        reader.read_line(&mut line)?;
        line.trim()
            .strip_prefix(':')
            .with_context(|| format!("Redis said {line}"))?
            .parse()
            .context("no count")
    };
    let mut count = 0;
    let mut times = Vec::new();
    for _ in 0..11 {
        let begun = Instant::now();
        ask("SINTERSTORE both active churn_high\r\n")?;
        count = ask("SDIFFSTORE left both british\r\n")?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    ensure!(!made.members("active")?.is_empty(), "no customer is active");
    Ok((quantile(&mut times, 0.5)?, count, bytes))
}
