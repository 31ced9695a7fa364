//! Timed lookups, and the baselines they are compared with.

use std::{
    collections::HashMap,
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use larder::{
    config::ServingConfig,
    feature::{CustomerId, Row},
    serving::{Served, Serving},
    snapshot::{FileKind, Manifest, reader::SnapshotReader},
    telemetry::Metrics,
};

use crate::shop::{Dice, Shop, micros, quantile};

/// Number of lookups per variant and round.
pub(crate) const LOOKUPS: usize = 20_000;
/// Least number of cold lookups to collect.
pub(crate) const COLD: usize = 3_000;
/// Number of bytes that the baseline of a cold lookup reads, and limit for a cold lookup.
pub(crate) const PREAD: usize = 256 << 10;
/// Memory budget that holds all data.
pub(crate) const CACHE: u64 = 8 << 30;

/// Times in microseconds.
#[derive(Default)]
pub(crate) struct Times(pub(crate) Vec<f64>);

impl Times {
    pub(crate) fn note(&mut self, since: Instant) {
        self.0.push(micros(since.elapsed()));
    }

    pub(crate) fn median(&mut self) -> anyhow::Result<f64> {
        quantile(&mut self.0, 0.5)
    }

    pub(crate) fn p99(&mut self) -> anyhow::Result<f64> {
        quantile(&mut self.0, 0.99)
    }
}

/// Reader of a snapshot.
pub(crate) enum Reads {
    Serving(Box<Serving>, Arc<Served>),
    Reader(Box<SnapshotReader>),
}

impl Reads {
    /// Opens the published snapshot.
    pub(crate) async fn open(
        shop: &Shop,
        config: &ServingConfig,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<(Self, Duration)> {
        let since = Instant::now();
        let serving = Box::new(Serving::new(shop.lake.clone(), config, Arc::clone(metrics)));
        serving.refresh().await?;
        let served = serving.current()?;
        let ready = since.elapsed();
        Ok((Self::Serving(serving, served), ready))
    }

    /// Reads a known customer, and returns the size of the features in bytes.
    pub(crate) async fn length(&self, id: &CustomerId) -> anyhow::Result<usize> {
        match self {
            Self::Serving(serving, served) => {
                let row = serving.customer(served, id).await?.row;
                Ok(length(row.as_deref().with_context(|| format!("{id} is not found"))?))
            }
            Self::Reader(reader) => {
                let row = reader.row(id).await?;
                Ok(length(row.as_ref().with_context(|| format!("{id} is not found"))?))
            }
        }
    }
}

pub(crate) fn length(row: &Row) -> usize {
    black_box(row).views.bytes()
}

/// Returns the content of a row as one buffer.
pub(crate) fn content(row: &Row) -> Bytes {
    row.views.iter().flatten().flatten().copied().collect()
}

/// Returns settings with a block cache that holds all data, and a memory tier of `memory` bytes.
pub(crate) fn settings(memory: u64) -> ServingConfig {
    ServingConfig { cache: CACHE, memory, memory_ttl: Duration::from_hours(1), ..ServingConfig::default() }
}

/// Results of cold lookups: times, bytes read per lookup, and times of the baseline.
#[derive(Default)]
pub(crate) struct Cold {
    pub(crate) times: Times,
    pub(crate) bytes: Vec<f64>,
    pub(crate) pread: Times,
}

impl Cold {
    /// Reads `ids` and records the cold lookups: those with exactly one read from the lake. A lookup without
    /// a read found a block of an earlier lookup and is skipped. More than one read is an error.
    pub(crate) async fn collect(
        &mut self,
        reads: &Reads,
        metrics: &Metrics,
        ids: &[CustomerId],
        expected: &HashMap<String, Bytes>,
        files: &[File],
        dice: &mut Dice,
    ) -> anyhow::Result<()> {
        for id in ids {
            let before = (metrics.lake_reads.get(), metrics.lake_read_bytes.get());
            let since = Instant::now();
            let found = reads.length(id).await?;
            let time = micros(since.elapsed());
            let after = (metrics.lake_reads.get(), metrics.lake_read_bytes.get());
            ensure!(
                expected.get(id.as_str()).map(Bytes::len) == Some(found),
                "features of {id} differ between tiers"
            );
            match after.0 - before.0 {
                0 => continue,
                1 => self.times.0.push(time),
                more => anyhow::bail!("a cold lookup made {more} reads"),
            }
            self.bytes.push((after.1 - before.1) as f64);
            let file = &files[dice.below(files.len())];
            let last_offset = usize::try_from(file.metadata()?.len())?.saturating_sub(PREAD);
            let offset = dice.below(last_offset.max(1)) as u64;
            let since = Instant::now();
            let mut buffer = vec![0; PREAD];
            let read = file.read_at(&mut buffer, offset)?;
            black_box((&buffer, read));
            self.pread.note(since);
        }
        Ok(())
    }
}

/// Picks ids that are most likely in different blocks, in random order.
pub(crate) fn far_apart(shop: &Shop, dice: &mut Dice) -> Vec<CustomerId> {
    const APART: usize = 500;
    let mut ids: Vec<CustomerId> = shop.ids.iter().skip(dice.below(APART)).step_by(APART).cloned().collect();
    for at in (1..ids.len()).rev() {
        ids.swap(at, dice.below(at + 1));
    }
    ids.truncate(COLD);
    ids
}

/// Opens the files of the kind `rows` of a snapshot.
pub(crate) fn open_rows(shop: &Shop, manifest: &Manifest) -> anyhow::Result<Vec<File>> {
    let rows = manifest.files.iter().filter(|file| file.kind == FileKind::Rows);
    let folder = shop.folder.path().join("lake");
    let open =
        |path: &str| File::open(folder.join(manifest.id.path(path).as_ref())).context("cannot open a part");
    rows.map(|file| open(&file.path)).collect()
}

/// Reads the content of all rows, by customer id.
pub(crate) async fn all_rows(shop: &Shop, reads: &Reads) -> anyhow::Result<HashMap<String, Bytes>> {
    let Reads::Serving(serving, served) = reads else { anyhow::bail!("expected a `Serving`") };
    let mut all = HashMap::with_capacity(shop.ids.len());
    for id in &shop.ids {
        let row = serving.customer(served, id).await?.row.with_context(|| format!("{id} is not found"))?;
        all.insert(id.to_string(), content(&row));
    }
    Ok(all)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub(crate) fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

pub(crate) const KIB: f64 = 1024.0;
pub(crate) const MIB: f64 = 1024.0 * 1024.0;
