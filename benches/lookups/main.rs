//! Lookups of single customers in a snapshot, in process, by the size of the snapshot:
//! `cargo bench --bench lookups [-- CUSTOMERS…]`, 10,000, 100,000 and 1,000,000 customers unless given.
//!
//! The load is this program's: one task that asks for random known ids, one after the other. *Warm* finds the block decoded in
//! memory, with the memory tier off; *memory tier* finds the row itself; the peer of both is a `HashMap` with every customer's bytes.
//! *Cold* has the footers in memory and not the block; the file is in the page cache, and the peer is a bare `pread` of
//! 256 KiB from the same files. All contestants take turns. With `LAYOUTS=1` it compares block sizes and compressions instead, at
//! 100,000 customers unless given.

#![expect(clippy::print_stdout, reason = "the table is what a benchmark is for")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::{hint::black_box, sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use larder::{snapshot::FileKind, telemetry::Metrics};

mod layouts;
mod reads;
#[path = "../support/shop.rs"]
mod shop;

use reads::{
    CACHE, COLD, Cold, KIB, LOOKUPS, MIB, PREAD, Reads, Times, content, everybody, far_apart, length, mean,
    most, open_rows, settings,
};
use shop::{Dice, Shop, micros};

/// Rounds in which the warm contestants take turns.
const ROUNDS: usize = 9;
/// Times that a snapshot is opened, at least.
const OPENED: usize = 9;

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench` to what it was given.
    let sizes = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let sizes: Vec<u32> =
        sizes.map(|size| size.parse()).collect::<Result<_, _>>().context("sizes are customers")?;
    let layouts_wanted = std::env::var_os("LAYOUTS").is_some();
    tokio::runtime::Runtime::new()?.block_on(async {
        // In a task, as a server would.
        let work = async move {
            if layouts_wanted {
                return layouts::layouts(sizes.first().copied().unwrap_or(100_000)).await;
            }
            by_size(if sizes.is_empty() { &[10_000, 100_000, 1_000_000] } else { &sizes }).await
        };
        tokio::spawn(work).await?
    })
}

/// What one size gave.
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
    let map = everybody(&shop, &warm).await?;
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
        let asked = dice.some(&shop.ids, LOOKUPS);
        // The rows come into the memory tier, and what it gives is what the snapshot gave.
        let mut expected = 0;
        for id in &asked {
            let Reads::Serving(serving, served) = &memory else { anyhow::bail!("opened otherwise") };
            let row = serving.customer(served, id).await?.row.context("a known id")?;
            ensure!(map.get(id.as_str()) == Some(&content(&row)), "{id} has other features than before");
            expected += length(&row);
        }
        let mut found = [0; 3];
        for id in &asked {
            let since = Instant::now();
            let bytes = map.get(id.as_str()).cloned();
            found[0] += black_box(bytes).map_or(0, |bytes| bytes.len());
            figures.map.note(since);
        }
        for id in &asked {
            let since = Instant::now();
            found[1] += memory.length(id).await?;
            figures.memory.note(since);
        }
        let before = metrics.lake_reads.get();
        for id in &asked {
            let since = Instant::now();
            found[2] += warm.length(id).await?;
            figures.warm.note(since);
        }
        ensure!(metrics.lake_reads.get() == before, "a warm lookup read from the lake");
        ensure!(found == [expected; 3], "the contestants found {found:?} bytes, not {expected}");
    }
    drop((warm, memory));
    let files = open_rows(&shop, &shop.manifest)?;
    while figures.cold.times.0.len() < COLD || figures.ready.0.len() < OPENED {
        let metrics = Arc::new(Metrics::new()?);
        let (reads, ready) = Reads::open(&shop, &settings(0), &metrics).await?;
        figures.ready.0.push(micros(ready));
        if let Reads::Serving(serving, _) = &reads {
            serving.observe();
            figures.footers = metrics.cache_bytes.get();
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
        "\nLookups of one customer in process, one after the other, random known ids; µs as median / 99th percentile.\n"
    );
    println!(
        "| customers | warm | memory tier | HashMap | cold | pread of 256 KiB | cold / pread | KiB a cold lookup reads, mean / most |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for figures in &mut all {
        let (cold, pread) = (figures.cold.times.median()?, figures.cold.pread.median()?);
        println!(
            "| {} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {cold:.0} / {:.0} | {pread:.0} / {:.0} | {:.1} | {:.0} / {:.0} |",
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
            most(&figures.cold.bytes) / KIB,
        );
    }
    println!(
        "\nThe same snapshots: ready is the time from nothing to the first lookup, manifest and all footers read.\n"
    );
    println!(
        "| customers | snapshot MiB | of it `rows` MiB | blocks | footers in memory KiB | ready ms, median / most |"
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
            most(&figures.ready.0) / 1e3,
        );
    }
    println!();
    let aims = [
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
        ("cold reads at most 256 KiB", all.iter().map(|f| most(&f.cold.bytes)).collect(), PREAD as f64),
        ("ready within 1 s", all.iter().map(|f| most(&f.ready.0)).collect(), 1e6),
    ];
    for (aim, found, limit) in aims {
        println!("- {aim}: {}", if most(&found) <= limit { "met" } else { "missed" });
    }
    println!("- one range read a cold lookup: met, or this would have stopped");
    Ok(())
}
