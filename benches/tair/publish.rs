//! Publishing against `redis-cli --pipe` fed the same commands, and publishing again.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use futures::TryStreamExt;
use larder::{
    config::{Config, ServingConfig, TairConfig},
    pipeline,
    publish::{Options, Publisher, Written},
    serving::Serving,
    snapshot::{Manifest, scan},
    tair::{Keys, PAGE, codec},
    telemetry::{Metrics, Progress},
};

use crate::{
    redis::{Commands, Redis},
    shop::{Shop, quantile},
};

const ROUNDS: usize = 3;

/// Writes the commands that a first publish of `manifest` sends, and returns how many they are.
async fn commands(shop: &Shop, manifest: &Manifest, file: &Path) -> anyhow::Result<u64> {
    let mut out = Commands::create(file)?;
    let keys = Keys::new("larder");
    let fields: Vec<String> = manifest.views.iter().map(codec::field).collect();
    let mut count = 0;
    let mut blocks = scan::rows(&shop.lake, &Arc::new(manifest.clone()));
    while let Some(rows) = blocks.try_next().await? {
        for row in 0..rows.len() {
            let key = keys.customer(rows.id(row));
            let values: Vec<_> = (0..fields.len()).map(|view| codec::value(&rows.bytes(row, view))).collect();
            let mut parts: Vec<&[u8]> = vec![b"HSET", key.as_bytes()];
            for (field, value) in fields.iter().zip(&values) {
                parts.extend([field.as_bytes(), value]);
            }
            parts.extend([codec::PUBLISH.as_bytes(), b"1"]);
            out.write(&parts)?;
            count += 1;
        }
    }
    let serving = Serving::new(shop.lake.clone(), &ServingConfig::default(), Metrics::new()?.into());
    let served = serving.snapshot(&manifest.id).await?;
    for segment in &manifest.segments {
        for page in 0.. {
            let members = serving.members(&served, &segment.name, (page * PAGE) as u64, PAGE).await?;
            let members: Vec<_> = members.customers.into_iter().map(|(_, id)| id).collect();
            if members.is_empty() {
                break;
            }
            for (command, key) in
                [("SADD", keys.segment(1, &segment.name)), ("RPUSH", keys.ranking(1, &segment.name, page))]
            {
                let mut parts: Vec<&[u8]> = vec![command.as_bytes(), key.as_bytes()];
                parts.extend(members.iter().map(|id| id.as_str().as_bytes()));
                out.write(&parts)?;
                count += 1;
            }
        }
    }
    out.finish()?;
    Ok(count)
}

async fn publish(shop: &Shop, redis: &Redis, manifest: &Manifest) -> anyhow::Result<(f64, Written)> {
    let tair = TairConfig { url: redis.url(), ..TairConfig::default() };
    let options = Options { force: true, ..Options::default() };
    let publisher = Publisher::new(shop.lake.clone(), Some(tair), options);
    let begun = Instant::now();
    let published = publisher.publish(Some(&manifest.id)).await?;
    Ok((begun.elapsed().as_secs_f64(), published.written.context("nothing was written")?))
}

/// Another snapshot of the shop, after `change` has changed its raw data.
async fn build_again(shop: &Shop, change: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<Manifest> {
    let folder = shop.folder.path();
    change(&folder.join("lake/raw"))?;
    let mut config = Config::load(Some(&folder.join("larder.toml")), [])?;
    config.base = folder.to_path_buf();
    Ok(pipeline::build(&shop.lake, &config, None, &Progress::default()).await?.manifest)
}

pub(crate) async fn compare(customers: u32) -> anyhow::Result<()> {
    let shop = Shop::keep_raw(customers).await?;
    let redis = Redis::start()?;
    let file = shop.folder.path().join("commands");
    let count = commands(&shop, &shop.manifest, &file).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        redis.cli(&["flushall", "sync"])?;
        theirs.push(redis.pipe(&file)?);
        redis.cli(&["flushall", "sync"])?;
        let (seconds, written) = publish(&shop, &redis, &shop.manifest).await?;
        ensure!(written.rows == shop.manifest.customers, "not everything was written: {written:?}");
        ours.push(seconds);
    }
    let mut ratios: Vec<f64> = theirs.iter().zip(&ours).map(|(theirs, ours)| theirs / ours).collect();
    let (first, piped) = (quantile(&mut ours, 0.5)?, quantile(&mut theirs, 0.5)?);
    println!(
        "\nA first publish of {} customers into an empty server, {count} commands, {ROUNDS} rounds by turns.\n",
        shop.manifest.customers
    );
    println!("| | s | customers/s | of redis-cli --pipe |");
    println!("|---|---:|---:|---:|");
    let rate = |seconds: f64| shop.manifest.customers as f64 / seconds;
    println!(
        "| larder publish, from the lake | {first:.2} | {:.0} | {:.2} |",
        rate(first),
        quantile(&mut ratios, 0.5)?
    );
    println!("| redis-cli --pipe, from a file | {piped:.2} | {:.0} | 1.00 |", rate(piped));

    let changed = build_again(&shop, |raw| {
        // Their own lines once more, with another city.
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
    .await?;
    let later = build_again(&shop, |raw| {
        let at = shop.manifest.as_of + chrono::TimeDelta::days(1);
        let line =
            format!("customer_id,event,product_id,at\n{},view,,{}\n", shop.ids[0], at.format("%Y-%m-%dT%H:%M:%SZ"));
        Ok(std::fs::write(raw.join("interactions/zzz.csv"), line)?)
    })
    .await?;
    println!("\nPublishing again, on top of the first.\n");
    println!("| what changed | customers written | unchanged | s | of the first publish |");
    println!("|---|---:|---:|---:|---:|");
    for (name, manifest) in [("one customer in a hundred", &changed), ("a day has passed", &later)] {
        let (seconds, written) = publish(&shop, &redis, manifest).await?;
        ensure!(written.everything.is_none(), "everything was written: {written:?}");
        println!("| {name} | {} | {} | {seconds:.2} | {:.3} |", written.rows, written.unchanged, seconds / first);
    }
    Ok(())
}
