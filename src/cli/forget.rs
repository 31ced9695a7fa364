//! `larder forget`: erases customers.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use indicatif::HumanCount;

use super::{Setup, batch, counted::counted, progress, publish, table};
use crate::{
    feature::CustomerId,
    lake::Lake,
    publish::{Options, PublishError, Publisher},
    snapshot::{self, Forgotten, Holding, SnapshotId, holdings, read_current, rfc3339, staged},
    telemetry::Progress,
};

mod ids;
mod report;

/// Time beyond two poll intervals that services may need to follow a publish.
const SLACK: Duration = Duration::from_secs(1);

/// Erase customers permanently
///
/// Adds the customers to the erasure list in the lake, removes them from Tair, and rewrites the snapshots
/// that contain them. Services omit them from every answer within seconds, and every later build and publish
/// omits them. Prints the raw files that the snapshots were built from, and the exports in the lake, which
/// may contain them. Without ids the whole erasure list is applied again, which finishes an interrupted call.
///
/// Exits with 0 only if everything was done and every id is known.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
#[command(after_help = "Examples:\n  larder forget 17850 14646\n  larder forget --file ids.txt")]
pub(super) struct Args {
    /// Customer ids
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// File with one id per line, or a CSV table with a column `customer_id`; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the erasure list and change nothing
    #[arg(long, conflicts_with_all = ["ids", "file", "undo", "rewrite", "keep_snapshots"])]
    list: bool,
    /// Rewrite the snapshots that contain erased customers, and remove the old snapshots: the default
    #[arg(long, hide = true, conflicts_with_all = ["undo", "keep_snapshots"])]
    rewrite: bool,
    /// Leave the snapshots that contain erased customers as they are; nothing serves these customers
    #[arg(long, conflicts_with = "undo")]
    keep_snapshots: bool,
    /// Succeed even if no retained snapshot contains an id; the id is added to the list in any case
    #[arg(long, alias = "unknown-ok")]
    allow_unknown: bool,
    /// Remove the customers from the erasure list, for a wrong id or a returning customer
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    pub(super) metrics: batch::MetricsArgs,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    let lake = setup.lake()?;
    if args.list {
        return show(&Forgotten::read(&lake).await?);
    }
    let ids = ids(&args, setup)?;
    let publisher = setup.publisher(Options::default())?;
    if args.undo {
        return Box::pin(undo(&lake, &publisher, &ids)).await;
    }
    let before = Forgotten::read(&lake).await?;
    let forgotten = if ids.is_empty() { before.clone() } else { Forgotten::add(&lake, &ids).await? };
    table::line(&format!(
        "erasure list: {}, {} of them new",
        counted(forgotten.len() as u64, "customer", "customers"),
        HumanCount(forgotten.len().saturating_sub(before.len()) as u64)
    ))?;
    let erased = Box::pin(progress::watch(publisher.progress(), publisher.erase(&forgotten))).await;
    match &erased {
        Ok(Some(erased)) => table::line(&format!(
            "Tair: {} and {} removed",
            counted(erased.rows, "customer", "customers"),
            counted(erased.places, "list entry", "list entries")
        ))?,
        Ok(None) => {}
        // The customers in Tair belong to another lake.
        Err(error @ PublishError::OtherLake { .. }) => {
            table::line(&format!("nothing removed from Tair: {error}"))?;
        }
        Err(error) => table::line(&format!("Tair still contains erased customers: {error}"))?,
    }
    let removed = staged::remove_holding(&lake, forgotten.ids()).await?;
    if !removed.is_empty() {
        table::line(&format!(
            "removed the staging of {} raw files; the next build reads these files again",
            HumanCount(removed.len() as u64)
        ))?;
    }
    let found = holdings(&lake, &forgotten).await?;
    let new: BTreeSet<CustomerId> = ids.iter().filter(|id| !before.contains(id.as_str())).cloned().collect();
    report::print_holdings(&lake, &found).await?;
    let unknown = report::print_unknown(&lake, &found, &new).await?;
    report::print_raw_files(&found)?;
    report::print_exports(&lake, &found).await?;
    match erased {
        Ok(_) | Err(PublishError::OtherLake { .. }) => {}
        Err(error) => {
            return Err(error).context(
                "services omit the erased customers, but Tair still contains them; \
                 run `larder forget` without ids, or publish, to remove them",
            );
        }
    }
    if args.rewrite || !args.keep_snapshots {
        let replaced = Box::pin(rewrite(&lake, &forgotten, &found)).await?;
        Box::pin(replace(setup, &lake, &replaced)).await?;
        check_snapshots(&lake, &forgotten).await?;
    }
    if unknown > 0 && !args.allow_unknown {
        bail!(
            "no retained snapshot contains {unknown} of the ids, listed above; they are on the erasure list \
             all the same. Check the spelling and take wrong ids off the list with --undo, or pass \
             --allow-unknown"
        );
    }
    Ok(())
}

/// Searches the snapshots once more, since a build or a publish may have run meanwhile.
async fn check_snapshots(lake: &Lake, forgotten: &Forgotten) -> anyhow::Result<()> {
    for Holding { manifest, customers } in holdings(lake, forgotten).await? {
        if !customers.is_ok_and(|held| held.is_empty()) {
            bail!("snapshot {} still contains erased customers; run `larder forget` again", manifest.id);
        }
    }
    Ok(())
}

/// Rewrites the snapshots that contain erased customers. Returns the new snapshot of each old snapshot.
async fn rewrite(
    lake: &Lake,
    forgotten: &Forgotten,
    holdings: &[Holding],
) -> anyhow::Result<BTreeMap<SnapshotId, SnapshotId>> {
    let mut replaced = BTreeMap::new();
    for Holding { manifest, customers } in holdings {
        let old = &manifest.id;
        let held = match customers {
            Ok(held) if held.is_empty() => continue,
            Ok(held) => held.len() as u64,
            Err(error) => {
                bail!("cannot rewrite {old}, which cannot be read: {error}; nothing was removed")
            }
        };
        // A rewritten snapshot of an interrupted call is reused.
        let is_rewritten = |other: &&Holding| {
            other.manifest.rewritten_from.as_ref() == Some(old)
                && other.customers.as_ref().is_ok_and(Vec::is_empty)
        };
        let new = if let Some(rewritten) = holdings.iter().find(is_rewritten) {
            rewritten.manifest.id.clone()
        } else {
            let watched = Arc::new(Progress::default());
            progress::watch(&watched, snapshot::rewrite(lake, manifest, forgotten, &watched)).await?.id
        };
        let without = counted(held, "customer", "customers");
        table::line(&format!("rewrote {old} as {new}, without {without}"))?;
        replaced.insert(old.clone(), new);
    }
    Ok(replaced)
}

/// Publishes the new snapshots in place of the old ones, and removes the old snapshots.
async fn replace(
    setup: &Setup,
    lake: &Lake,
    replaced: &BTreeMap<SnapshotId, SnapshotId>,
) -> anyhow::Result<()> {
    if replaced.is_empty() {
        return Ok(());
    }
    let publisher = setup.publisher(Options { force: true, ..Options::default() })?;
    let current = read_current(lake).await?.map(|current| current.snapshot);
    let published = current.as_ref().and_then(|current| replaced.get(current));
    if let Some(new) = published {
        publish::done(&publish::run(&publisher, Some(new)).await?)?;
    }
    publisher.replace_previous(replaced).await?;
    if published.is_some() {
        // Waits until every service has switched, since reads from a removed snapshot would fail.
        tokio::time::sleep(setup.config.serving.poll * 2 + SLACK).await;
    }
    let in_flight = publisher.in_flight().await?;
    for old in replaced.keys() {
        if in_flight.contains(old) {
            bail!(
                "{old} is being published, or its publish was interrupted; publish again, then run \
                 `larder forget`"
            );
        }
        if !snapshot::remove_unused(lake, old).await? {
            bail!(
                "{old} was published meanwhile and still contains erased customers; run `larder forget` again"
            );
        }
        table::line(&format!("removed {old}"))?;
    }
    // A bucket has no lock, so a publish may have made one of these the current or the previous snapshot. A
    // publish looks for its snapshot once more after it wrote `CURRENT`.
    let current = read_current(lake).await?.map(|current| current.snapshot);
    if let Some(new) = current.and_then(|current| replaced.get(&current)) {
        publish::done(&publish::run(&publisher, Some(new)).await?)?;
    }
    Ok(publisher.replace_previous(replaced).await?)
}

/// Returns the ids of the command line and of the file.
fn ids(args: &Args, setup: &Setup) -> anyhow::Result<BTreeSet<CustomerId>> {
    let named = args.ids.iter().map(|text| CustomerId::parse(text).with_context(|| format!("`{text}`")));
    let mut ids: BTreeSet<CustomerId> = named.collect::<Result<_, _>>()?;
    if let Some(file) = &args.file {
        let shown = file.display();
        let mut bytes = Vec::new();
        let read = if file.as_os_str() == "-" {
            std::io::stdin().read_to_end(&mut bytes).map(drop)
        } else {
            std::fs::read(file).map(|read| bytes = read)
        };
        read.with_context(|| format!("cannot read {shown}"))?;
        let raw = &setup.config.raw;
        let columns = [&raw.transactions, &raw.customers, &raw.interactions];
        let columns: Vec<&str> = columns
            .iter()
            .filter_map(|table| table.columns.get("customer_id"))
            .flatten()
            .map(String::as_str)
            .collect();
        ids.extend(ids::read(file, &bytes, &columns)?);
        if ids.is_empty() {
            bail!("{shown} contains no customer ids");
        }
    }
    if args.undo && ids.is_empty() {
        bail!("--undo requires customer ids");
    }
    Ok(ids)
}

/// Prints the erasure list.
fn show(forgotten: &Forgotten) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = forgotten
        .calls()
        .flat_map(|call| call.ids.iter().map(|id| vec![rfc3339::format(call.at), id.to_string()]))
        .collect();
    if !rows.is_empty() {
        table::print(&["erased at", "customer"], &rows)?;
    }
    let customers = counted(forgotten.len() as u64, "customer", "customers");
    Ok(table::line(&format!("erasure list: {customers}"))?)
}

/// Removes customers from the erasure list and publishes them to Tair again.
async fn undo(lake: &Lake, publisher: &Publisher, ids: &BTreeSet<CustomerId>) -> anyhow::Result<()> {
    let before = Forgotten::read(lake).await?;
    if let Some(id) = ids.iter().find(|id| !before.contains(id.as_str())) {
        bail!("`{id}` is not on the erasure list; nothing was changed");
    }
    let left = Forgotten::undo(lake, ids).await?;
    table::line(&format!(
        "removed {} from the erasure list, {} remain; removed customers are served again from snapshots that \
         still contain them, and later builds include all of their raw data",
        counted(ids.len() as u64, "customer", "customers"),
        HumanCount(left.len() as u64)
    ))?;
    match progress::watch(publisher.progress(), publisher.verify(false, true)).await {
        Ok(_) | Err(PublishError::NoTair) => Ok(()),
        Err(error) => Err(error).context(
            "the customers could not be written to Tair; run `larder verify --repair`, until then the \
             snapshot serves them",
        ),
    }
}
