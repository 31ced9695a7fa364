//! Full publish against `redis-cli --pipe` with the same commands, and incremental publishes.

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use larder::{
    config::{Config, TairConfig},
    pipeline,
    publish::{Options, Publisher, WriteSummary},
    snapshot::Manifest,
    telemetry::Progress,
};

use crate::{
    redis::{Recorder, Redis},
    shop::{Shop, quantile},
};

const ROUNDS: usize = 3;

/// Time after which a publish may use up an older index.
const RETENTION: Duration = Duration::from_mins(1);

async fn publish(shop: &Shop, port: u16, manifest: &Manifest) -> anyhow::Result<(f64, WriteSummary)> {
    let tair = TairConfig { url: format!("redis://127.0.0.1:{port}"), ..TairConfig::default() };
    let options = Options { force: true, ..Options::default() };
    let publisher = Publisher::new(shop.lake.clone(), Some(tair), options);
    let begun = Instant::now();
    let published = publisher.publish(Some(&manifest.id)).await?;
    Ok((begun.elapsed().as_secs_f64(), published.written.context("nothing was written")?))
}

/// Changes the raw data of the shop with `change` and builds another snapshot.
async fn build_again(
    shop: &Shop,
    change: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<Manifest> {
    let folder = shop.folder.path();
    change(&folder.join("lake/raw"))?;
    let mut config = Config::load(Some(&folder.join("larder.toml")), [])?;
    config.base = folder.to_path_buf();
    Ok(pipeline::build(&shop.lake, &config, None, &Progress::default()).await?.manifest)
}

/// Builds a snapshot in which the city of one customer in a hundred has changed.
async fn other_cities(shop: &Shop) -> anyhow::Result<Manifest> {
    build_again(shop, |raw| {
        // The customers' own lines, with another city.
        let mut lines = String::new();
        for file in std::fs::read_dir(raw.join("customers"))? {
            for line in std::fs::read_to_string(file?.path())?.lines().step_by(100) {
                if let Ok(serde_json::Value::Object(mut customer)) = serde_json::from_str(line) {
                    customer.insert("city".to_owned(), "Elsewhere".into());
                    writeln!(lines, "{}", serde_json::Value::Object(customer))?;
                }
            }
        }
        Ok(std::fs::write(raw.join("customers/zzz.jsonl"), lines)?)
    })
    .await
}

/// Builds a snapshot of a day later without new orders.
async fn a_day_later(shop: &Shop) -> anyhow::Result<Manifest> {
    build_again(shop, |raw| {
        let at = shop.manifest.as_of + chrono::TimeDelta::days(1);
        let line = format!(
            "customer_id,event,product_id,at\n{},view,,{}\n",
            shop.ids[0],
            at.format("%Y-%m-%dT%H:%M:%SZ")
        );
        Ok(std::fs::write(raw.join("interactions/zzz.csv"), line)?)
    })
    .await
}

pub(crate) async fn compare(customers: u32) -> anyhow::Result<()> {
    let shop = Shop::keep_raw(customers).await?;
    let (changed, later) = (other_cities(&shop).await?, a_day_later(&shop).await?);
    let redis = Redis::start()?;
    // The commands are recorded, so that both contestants send the same.
    let recorder = Recorder::before(redis.port, shop.folder.path())?;
    publish(&shop, recorder.port, &shop.manifest).await?;
    let file = shop.folder.path().join("commands");
    recorder.write(&file)?;
    let (mut firsts, mut seconds, mut pipes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut count, mut second) = (0, WriteSummary::default());
    for _ in 0..ROUNDS {
        redis.cli(&["flushall", "sync"])?;
        redis.cli(&["config", "resetstat"])?;
        pipes.push(redis.pipe(&file)?);
        count = redis.commands()?;
        redis.cli(&["flushall", "sync"])?;
        let (time, written) = publish(&shop, redis.port, &shop.manifest).await?;
        ensure!(written.rows == shop.manifest.customers, "rows are missing: {written:?}");
        firsts.push(time);
        let (time, written) = publish(&shop, redis.port, &changed).await?;
        ensure!(written.full_reason.is_none(), "a full publish instead of an incremental one: {written:?}");
        seconds.push(time);
        second = written;
    }
    let of = |times: &[f64], others: &[f64]| {
        let mut ratios: Vec<f64> = times.iter().zip(others).map(|(time, other)| time / other).collect();
        quantile(&mut ratios, 0.5)
    };
    let (as_fast, part) = (of(&pipes, &firsts)?, of(&seconds, &firsts)?);
    let (first, piped) = (quantile(&mut firsts, 0.5)?, quantile(&mut pipes, 0.5)?);
    println!(
        "\nFull publish of {} customers into an empty server, {count} commands, \
         {ROUNDS} alternating rounds.\n",
        shop.manifest.customers
    );
    println!("| | s | customers/s | of redis-cli --pipe |");
    println!("|---|---:|---:|---:|");
    let rate = |seconds: f64| shop.manifest.customers as f64 / seconds;
    println!("| larder publish, from the lake | {first:.2} | {:.0} | {as_fast:.2} |", rate(first));
    println!("| redis-cli --pipe, from a file | {piped:.2} | {:.0} | 1.00 |", rate(piped));

    println!("\nIncremental publishes. Each one reuses the lists of an older publish.\n");
    println!("| change | customers written | unchanged | s | of the full publish |");
    println!("|---|---:|---:|---:|---:|");
    let row = |name: &str, written: &WriteSummary, seconds: f64, part: f64| {
        println!("| {name} | {} | {} | {seconds:.2} | {part:.3} |", written.rows, written.unchanged);
    };
    let name = "city of one customer in a hundred, second publish of each round";
    row(name, &second, quantile(&mut seconds, 0.5)?, part);
    for (name, manifest) in [
        ("the same cities changed back, third publish", &shop.manifest),
        ("one day later, fourth publish", &later),
    ] {
        tokio::time::sleep(RETENTION).await;
        let (seconds, written) = publish(&shop, redis.port, manifest).await?;
        ensure!(written.full_reason.is_none(), "a full publish instead of an incremental one: {written:?}");
        row(name, &written, seconds, seconds / first);
    }
    Box::pin(compare_a_day_later(customers)).await
}

/// Compares full publishes of a shop without models with publishes of a day later. Without new orders, only
/// windows such as `behavior.spend_30d` change the rows.
async fn compare_a_day_later(customers: u32) -> anyhow::Result<()> {
    let shop = Shop::without_models(customers).await?;
    let later = a_day_later(&shop).await?;
    let redis = Redis::start()?;
    let (mut full, mut ratios, mut last) = (Vec::new(), Vec::new(), WriteSummary::default());
    for _ in 0..ROUNDS {
        redis.cli(&["flushall", "sync"])?;
        let (first, written) = publish(&shop, redis.port, &shop.manifest).await?;
        ensure!(written.rows == shop.manifest.customers, "rows are missing: {written:?}");
        let (second, written) = publish(&shop, redis.port, &later).await?;
        ensure!(written.full_reason.is_none(), "a full publish instead of an incremental one: {written:?}");
        full.push(first);
        ratios.push(second / first);
        last = written;
    }
    let (first, ratio) = (quantile(&mut full, 0.5)?, quantile(&mut ratios, 0.5)?);
    println!("\nWithout models, full publishes ({first:.2} s), each followed by a publish of a day later.\n");
    println!("| change | customers written | unchanged | s | of the full publish |");
    println!("|---|---:|---:|---:|---:|");
    let WriteSummary { rows, unchanged, .. } = last;
    println!("| a day later | {rows} | {unchanged} | {:.2} | {ratio:.3} |", first * ratio);
    Ok(())
}
