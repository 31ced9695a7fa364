//! `larder subject`: writes all that is held of one customer.

use std::{collections::BTreeSet, io::Write, path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Setup, counted::counted, progress, table, terminal};
use crate::{
    feature::{CustomerId, ViewKeys, money},
    lake::Lake,
    pipeline::{self, SubjectLine},
    private_file,
    snapshot::{
        CHURN_LIST, EXPORTS, FileKind, Forgotten, Manifest, SnapshotError, list, read_current,
        reader::SnapshotReader, rfc3339,
    },
    telemetry::{self, Progress},
};

/// Write all that is held of one customer as JSON
///
/// Contains the customer's features, recommendations, segments, ranks and purchases in every snapshot, the
/// raw lines of the customer with file and line, and whether the customer is on the erasure list. Lists the
/// exports in the lake, which may contain the customer and are not searched. Exits with 1 if nothing is held,
/// or if a part cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder subject 17850 --out 17850.json")]
pub(super) struct Args {
    /// Customer id
    #[arg(value_name = "ID")]
    id: String,
    /// Output file, which only its owner may read [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// All that is held of one customer.
#[derive(Serialize)]
struct Subject {
    customer_id: CustomerId,
    /// Time of the search.
    at: String,
    lake: String,
    /// Time at which the customer was put on the erasure list.
    erased_at: Option<String>,
    snapshots: Vec<HeldRow>,
    raw: Vec<SubjectLine>,
    /// Raw tables and files that were not searched.
    warnings: Vec<String>,
    /// Exports in the lake, which are not searched.
    exports_not_searched: Vec<String>,
}

/// A customer in a snapshot.
#[derive(Serialize)]
struct HeldRow {
    snapshot: String,
    as_of: String,
    is_current: bool,
    /// View → feature → value, recommendations included.
    views: Box<RawValue>,
    lists: Vec<HeldPlace>,
    /// Purchase lines, newest first.
    purchases: Vec<HeldPurchase>,
}

/// A purchase line in a snapshot.
#[derive(Serialize)]
struct HeldPurchase {
    at: String,
    order_id: String,
    product_id: String,
    product: Option<String>,
    quantity: Box<RawValue>,
    amount: Box<RawValue>,
}

/// A customer's place in a segment or in the churn list.
#[derive(Serialize)]
struct HeldPlace {
    name: String,
    /// Definition of a segment.
    definition: Option<String>,
    /// Rank from 1.
    rank: u64,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    let id = CustomerId::parse(&args.id).with_context(|| format!("`{}`", args.id))?;
    let lake = setup.lake()?;
    let forgotten = Forgotten::read(&lake).await?;
    let watched = Arc::new(Progress::default());
    let raw = pipeline::raw_lines(&lake, &setup.config, &id, &watched);
    let raw = progress::watch(&watched, raw).await?;
    let snapshots = Box::pin(held_rows(&lake, &id)).await?;
    let exports = lake.list(&EXPORTS.into()).await?;
    let subject = Subject {
        at: rfc3339::format(rfc3339::now()),
        lake: lake.url().to_owned(),
        erased_at: forgotten.calls().find(|call| call.ids.contains(&id)).map(|call| rfc3339::format(call.at)),
        snapshots,
        raw: raw.lines,
        warnings: raw.warnings,
        exports_not_searched: exports.iter().map(|file| file.location.to_string()).collect(),
        customer_id: id,
    };
    tracing::info!(
        target: telemetry::AUDIT,
        command = "subject",
        customers = 1,
        ids = serde_json::to_string(&[&subject.customer_id])?,
        "personal data read"
    );
    write(&subject, args.out.as_ref())?;
    if subject.snapshots.is_empty() && subject.raw.is_empty() {
        bail!("nothing is held of `{}`; check the spelling", subject.customer_id);
    }
    Ok(())
}

/// Writes `subject` to the file `out` or to standard output.
fn write(subject: &Subject, out: Option<&PathBuf>) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(subject)?;
    text.push('\n');
    match out {
        Some(file) => {
            let written = private_file::create(file).and_then(|mut out| out.write_all(text.as_bytes()));
            written.with_context(|| format!("cannot write {}", file.display()))?;
            table::line(&format!(
                "{}: {}, {}",
                file.display(),
                counted(subject.snapshots.len() as u64, "snapshot", "snapshots"),
                counted(subject.raw.len() as u64, "raw line", "raw lines")
            ))?;
        }
        None => std::io::stdout().lock().write_all(terminal::plain_json(&text).as_bytes())?,
    }
    Ok(())
}

/// Returns the rows of the customer `id` in all snapshots, newest build first.
async fn held_rows(lake: &Lake, id: &CustomerId) -> anyhow::Result<Vec<HeldRow>> {
    let current = read_current(lake).await?.map(|current| current.snapshot);
    let mut rows = Vec::new();
    for manifest in list(lake).await? {
        let manifest = Arc::new(manifest);
        let reader = SnapshotReader::offline(lake, &manifest);
        let unreadable = || format!("cannot search snapshot {}", manifest.id);
        let row = reader.row(id).await.map_err(SnapshotError::shared).with_context(unreadable)?;
        let Some(row) = row else { continue };
        let keys: Vec<ViewKeys> = manifest.views.iter().map(ViewKeys::new).collect();
        let mut views = Vec::new();
        row.write(&keys, false, &mut views);
        let gaps = reader.gaps(&Forgotten::of(BTreeSet::from([id.clone()]))).await;
        let gaps = gaps.map_err(SnapshotError::shared).with_context(unreadable)?;
        rows.push(HeldRow {
            snapshot: manifest.id.to_string(),
            as_of: rfc3339::format(manifest.as_of),
            is_current: current.as_ref() == Some(&manifest.id),
            views: RawValue::from_string(String::from_utf8(views)?)?,
            lists: places(&manifest, |list| gaps.of(list)),
            purchases: purchases(&reader, id).await.with_context(unreadable)?,
        });
    }
    Ok(rows)
}

/// Returns the purchase lines of a snapshot.
async fn purchases(reader: &SnapshotReader, id: &CustomerId) -> anyhow::Result<Vec<HeldPurchase>> {
    let page = reader.purchases(id, 0, usize::MAX).await.map_err(SnapshotError::shared)?;
    let held = page.lines.into_iter().map(|line| {
        Ok(HeldPurchase {
            at: rfc3339::format(line.at),
            order_id: line.order_id,
            product_id: line.product_id,
            product: line.product,
            quantity: RawValue::from_string(money(line.quantity))?,
            amount: RawValue::from_string(money(line.amount))?,
        })
    });
    held.collect()
}

/// Returns the places in all lists of a snapshot. `ranks` returns the ranks in a list, from 0.
fn places<'a>(manifest: &Manifest, ranks: impl Fn(&str) -> &'a [u64]) -> Vec<HeldPlace> {
    let rankings = manifest.files.iter().filter(|file| file.kind == FileKind::Ranking);
    let names = rankings.map(|file| file.segment.as_deref().unwrap_or(CHURN_LIST));
    let place = |name: &str| {
        let segment = manifest.segments.iter().find(|segment| segment.name == name);
        let rank = ranks(name).first()? + 1;
        let definition = segment.map(|segment| segment.definition.clone());
        Some(HeldPlace { name: name.to_owned(), definition, rank })
    };
    names.filter_map(place).collect()
}
