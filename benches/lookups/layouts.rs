//! Comparison of layouts of `rows`: block sizes and compressions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::SchemaRef,
};
use larder::{
    snapshot::{
        FileKind, LakeReads, Manifest, SnapshotFiles, SnapshotId,
        reader::{BlockCache, SnapshotReader},
        writer::{PART_ROWS, PartWriter, ROWS_BLOCK_BYTES, rows_properties, rows_schema},
    },
    telemetry::Metrics,
};
use parquet::{
    arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
    basic::{Compression, ZstdLevel},
};

use crate::{
    reads::{
        CACHE, COLD, Cold, KIB, LOOKUPS, MIB, Reads, Times, all_rows, far_apart, max, mean, open_rows,
        settings,
    },
    shop::{Dice, Shop},
};

/// Layout of `rows`, with its results.
struct Layout {
    kib: usize,
    compression: (&'static str, Compression),
    manifest: Arc<Manifest>,
    blocks: usize,
    footers: u64,
    warm: Times,
    cold: Cold,
}

/// Writes the `rows` of a snapshot with another block size and compression, into a new snapshot.
async fn rewrite(
    shop: &Shop,
    number: u32,
    block: usize,
    compression: Compression,
) -> anyhow::Result<Manifest> {
    let mut manifest = shop.manifest.clone();
    manifest.id = SnapshotId::new(manifest.as_of, number);
    let views: Vec<&str> = manifest.views.iter().map(|view| view.name.as_str()).collect();
    let schema: SchemaRef = rows_schema(views);
    let properties = rows_properties().into_builder().set_compression(compression).build();
    let mut written = Vec::new();
    for (entry, file) in shop
        .manifest
        .files
        .iter()
        .filter(|file| file.kind == FileKind::Rows)
        .zip(open_rows(shop, &shop.manifest)?)
    {
        let (path, schema) = (entry.path.clone(), Arc::clone(&schema));
        let mut part =
            PartWriter::new(&shop.lake, &manifest.id, path, FileKind::Rows, schema, properties.clone())?;
        let mut filled = 0;
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(PART_ROWS).build()? {
            let batch = batch?;
            let mut start = 0;
            for end in ends(&batch, block, &mut filled) {
                part.write(&batch.slice(start, end - start))?;
                part.end_block().await?;
                start = end;
            }
            if start < batch.num_rows() {
                part.write(&batch.slice(start, batch.num_rows() - start))?;
            }
        }
        written.push(part.finish().await?);
    }
    manifest.files = written;
    Ok(manifest)
}

/// Returns the row indexes of `batch` at which a block ends, when blocks are cut by size alone.
fn ends(batch: &RecordBatch, block: usize, filled: &mut usize) -> Vec<usize> {
    let texts: Vec<_> = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>()).collect();
    let mut ends = Vec::new();
    for row in 0..batch.num_rows() {
        *filled += texts.iter().map(|text| text.value(row).len() + size_of::<i32>()).sum::<usize>();
        if *filled >= block {
            ends.push(row + 1);
            *filled = 0;
        }
    }
    ends
}

/// Compares the layouts at `customers` customers.
pub(crate) async fn layouts(customers: u32) -> anyhow::Result<()> {
    let shop = Shop::open(customers).await?;
    let (reads, _) = Reads::open(&shop, &settings(0), &Arc::new(Metrics::new()?)).await?;
    let map = all_rows(&shop, &reads).await?;
    drop(reads);
    let compressions = [
        ("none", Compression::UNCOMPRESSED),
        ("LZ4", Compression::LZ4_RAW),
        ("Snappy", Compression::SNAPPY),
        ("Zstandard 1", Compression::ZSTD(ZstdLevel::try_new(1)?)),
    ];
    let mut all = Vec::new();
    for kib in [40, 80, 160, 320] {
        for compression in compressions {
            let number = u32::try_from(all.len())?;
            let manifest = Arc::new(rewrite(&shop, number, kib << 10, compression.1).await?);
            let (warm, cold) = (Times::default(), Cold::default());
            all.push(Layout { kib, compression, manifest, blocks: 0, footers: 0, warm, cold });
        }
    }
    let mut dice = Dice::new();
    while all.iter().any(|layout| layout.cold.times.0.len() < COLD) {
        for layout in &mut all {
            let metrics = Arc::new(Metrics::new()?);
            let cache = BlockCache::new(CACHE, &metrics);
            let reads = LakeReads::new(32, Duration::from_secs(5), Arc::clone(&metrics));
            let files = SnapshotFiles::new(&shop.lake, &layout.manifest, &reads);
            let reader = SnapshotReader::new(files, cache.clone());
            reader.warm_up().await;
            layout.footers = cache.bytes();
            let reads = Reads::Reader(Box::new(reader));
            let files = open_rows(&shop, &layout.manifest)?;
            let ids = far_apart(&shop, &mut dice);
            layout.cold.collect(&reads, &metrics, &ids, &map, &files, &mut dice).await?;
            for id in &shop.ids {
                reads.length(id).await?;
            }
            layout.blocks = usize::try_from(metrics.lake_reads.get())? - files.len();
            for id in dice.some(&shop.ids, LOOKUPS / 4) {
                let since = Instant::now();
                reads.length(&id).await?;
                layout.warm.note(since);
            }
        }
    }
    println!(
        "\nLayouts of `rows` at {} customers; times in µs as median / 99th percentile. \
         Larder writes blocks of {} KiB with LZ4.\n",
        shop.manifest.customers,
        ROWS_BLOCK_BYTES >> 10,
    );
    println!(
        "| block KiB | compression | `rows` MiB | blocks | footers in memory KiB \
         | KiB read per cold lookup, mean / max | cold | warm |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    for layout in &mut all {
        println!(
            "| {} | {} | {:.1} | {} | {:.0} | {:.0} / {:.0} | {:.0} / {:.0} | {:.2} / {:.2} |",
            layout.kib,
            layout.compression.0,
            layout.manifest.files.iter().map(|file| file.bytes).sum::<u64>() as f64 / MIB,
            layout.blocks,
            layout.footers as f64 / KIB,
            mean(&layout.cold.bytes) / KIB,
            max(&layout.cold.bytes) / KIB,
            layout.cold.times.median()?,
            layout.cold.times.p99()?,
            layout.warm.median()?,
            layout.warm.p99()?,
        );
    }
    Ok(())
}
