//! Benchmark of in-process lookups of single customers, by size of the snapshot.
//!
//! Run with `cargo bench --bench lookups [-- CUSTOMERS…]`. The default sizes are 10,000, 100,000 and
//! 1,000,000 customers.
//!
//! One task reads random known ids, one after the other. *Warm* lookups find the decoded block in memory,
//! with the memory tier disabled. *Memory tier* lookups find the row itself. The baseline of both is a
//! `HashMap` with the bytes of every customer. *Cold* lookups find the footers in memory and read the block
//! from a file in the page cache. Their baseline is a `pread` of 256 KiB from the same files. All variants
//! take turns. With `LAYOUTS=1` the benchmark compares block sizes and compressions instead, by default at
//! 100,000 customers.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::cast_precision_loss, reason = "figures for display")]

use std::{hint::black_box, sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use larder::{
    snapshot::FileKind,
    telemetry::{CacheName, Metrics},
};

mod layouts;
mod reads;
#[path = "../support/shop.rs"]
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod shop;

use reads::{
    CACHE, COLD, Cold, KIB, LOOKUPS, MIB, PREAD, Reads, Times, all_rows, content, far_apart, length, max,
    mean, open_rows, settings,
};
use shop::{Dice, Shop, micros};

/// Number of rounds of the warm variants.
const ROUNDS: usize = 9;
/// Least number of times that a snapshot is opened.
const OPENS: usize = 9;

fn main() -> anyhow::Result<()> {
    // Cargo adds the argument `--bench`.
    let sizes = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let sizes: Vec<u32> =
        sizes.map(|size| size.parse()).collect::<Result<_, _>>().context("sizes are customers")?;
    let compares_layouts = std::env::var_os("LAYOUTS").is_some();
    tokio::runtime::Runtime::new()?.block_on(async {
        // Runs on a worker thread of the runtime, as a server does.
        let work = async move {
            if compares_layouts {
                return layouts::layouts(sizes.first().copied().unwrap_or(100_000)).await;
            }
            by_size(if sizes.is_empty() { &[10_000, 100_000, 1_000_000] } else { &sizes }).await
        };
        tokio::spawn(work).await?
    })
}

/// Results for one size.
struct Figures {
    customers: u64,
    snapshot: u64,
    rows: u64,
    blocks: usize,
    ready: Times,
    footers: i64,
    map: Times,
    memory: Times,
    warm: Times,
    cold: Cold,
}

async fn measure(customers: u32) -> anyhow::Result<Figures> {
    let shop = Shop::open(customers).await?;
    let mut dice = Dice::new();
    let metrics = Arc::new(Metrics::new()?);
    let (warm, _) = Reads::open(&shop, &settings(0), &metrics).await?;
    let footers_read = metrics.lake_reads.get();
    let map = all_rows(&shop, &warm).await?;
    let blocks = usize::try_from(metrics.lake_reads.get() - footers_read)?;
    let (memory, _) = Reads::open(&shop, &settings(CACHE), &Arc::new(Metrics::new()?)).await?;
    let bytes = |kind: Option<FileKind>| -> u64 {
        let files = shop.manifest.files.iter().filter(|file| kind.is_none_or(|kind| kind == file.kind));
        files.map(|file| file.bytes).sum()
    };
    let mut figures = Figures {
        customers: shop.manifest.customers,
        snapshot: bytes(None),
        rows: bytes(Some(FileKind::Rows)),
        blocks,
        ready: Times::default(),
        footers: 0,
        map: Times::default(),
        memory: Times::default(),
        warm: Times::default(),
        cold: Cold::default(),
    };
    for _ in 0..ROUNDS {
        let ids = dice.some(&shop.ids, LOOKUPS);
        // Fills the memory tier, and checks its rows against those of the snapshot.
        let mut expected = 0;
        for id in &ids {
            let Reads::Serving(serving, served) = &memory else { anyhow::bail!("expected a `Serving`") };
            let row = serving.customer(served, id).await?.row.context("a known id")?;
            ensure!(map.get(id.as_str()) == Some(&content(&row)), "features of {id} differ between tiers");
            expected += length(&row);
        }
        let mut found = [0; 3];
        for id in &ids {
            let since = Instant::now();
            let bytes = map.get(id.as_str()).cloned();
            found[0] += black_box(bytes).map_or(0, |bytes| bytes.len());
            figures.map.note(since);
        }
        for id in &ids {
            let since = Instant::now();
            found[1] += memory.length(id).await?;
            figures.memory.note(since);
        }
        let before = metrics.lake_reads.get();
        for id in &ids {
            let since = Instant::now();
            found[2] += warm.length(id).await?;
            figures.warm.note(since);
        }
        ensure!(metrics.lake_reads.get() == before, "a warm lookup read from the lake");
        ensure!(found == [expected; 3], "the variants found {found:?} bytes, not {expected}");
    }
    drop((warm, memory));
    let files = open_rows(&shop, &shop.manifest)?;
    while figures.cold.times.0.len() < COLD || figures.ready.0.len() < OPENS {
        let metrics = Arc::new(Metrics::new()?);
        let (reads, ready) = Reads::open(&shop, &settings(0), &metrics).await?;
        figures.ready.0.push(micros(ready));
        if let Reads::Serving(serving, _) = &reads {
            serving.observe();
            figures.footers = metrics.cache_bytes.of(CacheName::Blocks).get();
        }
        let ids = far_apart(&shop, &mut dice);
        figures.cold.collect(&reads, &metrics, &ids, &map, &files, &mut dice).await?;
    }
    Ok(figures)
}

async fn by_size(sizes: &[u32]) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for size in sizes {
        all.push(measure(*size).await?);
    }
    println!(
        "\nIn-process lookups of one customer, sequential, random known ids; \
         µs as median / 99th percentile.\n"
    );
    println!(
        "| customers | warm | memory tier | HashMap | cold | pread of 256 KiB | cold / pread \
         | KiB read per cold lookup, mean / max |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for figures in &mut all {
        let (cold, pread) = (figures.cold.times.median()?, figures.cold.pread.median()?);
        println!(
            "| {} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {cold:.0} / {:.0} | {pread:.0} / {:.0} \
             | {:.1} | {:.0} / {:.0} |",
            figures.customers,
            figures.warm.median()?,
            figures.warm.p99()?,
            figures.memory.median()?,
            figures.memory.p99()?,
            figures.map.median()?,
            figures.map.p99()?,
            figures.cold.times.p99()?,
            figures.cold.pread.p99()?,
            cold / pread,
            mean(&figures.cold.bytes) / KIB,
            max(&figures.cold.bytes) / KIB,
        );
    }
    println!(
        "\nThe same snapshots; \"ready\" is the time until the first lookup, \
         with the manifest and all footers read.\n"
    );
    println!(
        "| customers | snapshot MiB | `rows` MiB | blocks | footers in memory KiB | ready ms, median / max |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for figures in &mut all {
        println!(
            "| {} | {:.1} | {:.1} | {} | {:.0} | {:.1} / {:.1} |",
            figures.customers,
            figures.snapshot as f64 / MIB,
            figures.rows as f64 / MIB,
            figures.blocks,
            figures.footers as f64 / KIB,
            figures.ready.median()? / 1e3,
            max(&figures.ready.0) / 1e3,
        );
    }
    println!();
    let targets = [
        (
            "warm median at most 5 µs",
            all.iter_mut().map(|f| f.warm.median()).collect::<Result<Vec<_>, _>>()?,
            5.0,
        ),
        (
            "cold median at most 1 ms",
            all.iter_mut().map(|f| f.cold.times.median()).collect::<Result<_, _>>()?,
            1e3,
        ),
        ("cold reads at most 256 KiB", all.iter().map(|f| max(&f.cold.bytes)).collect(), PREAD as f64),
        ("ready within 1 s", all.iter().map(|f| max(&f.ready.0)).collect(), 1e6),
    ];
    for (target, found, limit) in targets {
        println!("- {target}: {}", if max(&found) <= limit { "met" } else { "missed" });
    }
    println!("- one range read per cold lookup: met (the benchmark stops otherwise)");
    Ok(())
}
