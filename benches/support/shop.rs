//! A published snapshot of generated data in a temporary folder, random choices, and quantiles of
//! measurements.

use std::time::Duration;

use anyhow::Context;
use larder::{
    config::{Config, ServingConfig},
    demo::{Retail, generate},
    feature::CustomerId,
    lake::Lake,
    pipeline,
    publish::{Options, Publisher},
    serving::Serving,
    snapshot::Manifest,
    telemetry::{Metrics, Progress},
};
use tempfile::TempDir;

/// Transactions per customer: few, since the size of the snapshot does not depend on them.
const LINES: u64 = 5;
/// Seed of the generated data and of the random choices, so that all runs send the same requests.
const SEED: u64 = 42;

/// A lake with a published snapshot.
pub(crate) struct Shop {
    /// Folder of the lake; removed when dropped.
    pub(crate) folder: TempDir,
    pub(crate) lake: Lake,
    pub(crate) manifest: Manifest,
    /// Ids of all customers, sorted.
    pub(crate) ids: Vec<CustomerId>,
}

impl Shop {
    /// Generates the data of `customers` customers, and builds and publishes a snapshot.
    pub(crate) async fn open(customers: u32) -> anyhow::Result<Self> {
        let shop = Self::keep_raw(customers).await?;
        std::fs::remove_dir_all(shop.folder.path().join("lake").join("raw"))?;
        Ok(shop)
    }

    /// Does the same as [`Self::open`] and keeps the raw data for further snapshots.
    pub(crate) async fn keep_raw(customers: u32) -> anyhow::Result<Self> {
        Self::generate(customers, LINES).await
    }

    /// Generates `lines` transactions for each of `customers` customers, builds and publishes a snapshot, and
    /// keeps the raw data.
    pub(crate) async fn generate(customers: u32, lines: u64) -> anyhow::Result<Self> {
        Self::configured(customers, lines, "").await
    }

    /// Does the same as [`Self::keep_raw`], without the churn model and recommendations.
    pub(crate) async fn without_models(customers: u32) -> anyhow::Result<Self> {
        let settings = "churn.enabled = false\nrecommendations.enabled = false\n";
        Self::configured(customers, LINES, settings).await
    }

    /// Does the same as [`Self::generate`], with the top-level `settings`.
    async fn configured(customers: u32, lines: u64, settings: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let raw = folder.path().join("lake").join("raw");
        std::fs::create_dir_all(&raw)?;
        let retail = Retail { customers, lines: u64::from(customers) * lines, seed: SEED, compress: false };
        generate(&retail, &raw, &|_, _| {})?;
        let text = format!(
            "{settings}[raw.customers]\ncolumns = {{ created_at = \"signed_up_at\" }}\n\
             personal = [\"name\", \"email\"]\n"
        );
        let mut config = Config::parse(&text, "the benchmark", [])?;
        config.base = folder.path().to_path_buf();
        let lake = Lake::open(&config.lake, &config.base)?;
        let manifest = pipeline::build(&lake, &config, None, &Progress::default()).await?.manifest;
        Publisher::new(lake.clone(), None, Options::default()).publish(Some(&manifest.id)).await?;
        std::fs::write(folder.path().join("larder.toml"), text)?;
        let ids = ids(&lake, &manifest).await?;
        Ok(Self { folder, lake, manifest, ids })
    }
}

/// Reads the ids of all customers from the segments of the snapshot; every customer is in one.
async fn ids(lake: &Lake, manifest: &Manifest) -> anyhow::Result<Vec<CustomerId>> {
    let serving = Serving::new(lake.clone(), &ServingConfig::default(), Metrics::new()?.into());
    let served = serving.snapshot(&manifest.id).await?;
    let mut ids = Vec::new();
    for segment in &manifest.segments {
        let members = serving.members(&served, &segment.name, 0, usize::try_from(segment.size)?).await?;
        ids.extend(members.customers.into_iter().map(|(_, id)| id));
    }
    ids.sort_unstable();
    ids.dedup();
    anyhow::ensure!(ids.len() as u64 == manifest.customers, "the segments do not hold every customer");
    Ok(ids)
}

/// A pseudo-random generator with a fixed seed (`SplitMix64`).
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(SEED)
    }

    /// Returns a number below `limit`, which must not be 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % (limit as u64)).unwrap_or(0)
    }

    /// Chooses an item of `all`, unless there is none.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }

    /// Chooses `count` items of `all`, with repetition.
    pub(crate) fn some<T: Clone>(&mut self, all: &[T], count: usize) -> Vec<T> {
        (0..count).map(|_| all[self.below(all.len())].clone()).collect()
    }
}

/// Sorts `values` and returns the quantile `share`.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> anyhow::Result<f64> {
    values.sort_unstable_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let at = ((values.len() as f64 - 1.0) * share).round() as usize;
    values.get(at).copied().context("nothing was measured")
}

/// Returns a duration in microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
