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

use super::{Setup, progress, publish, table};
use crate::{
    feature::CustomerId,
    lake::Lake,
    publish::{Options, PublishError, Publisher},
    snapshot::{self, Forgotten, Holding, SnapshotId, holdings, read_current, rfc3339},
    telemetry::Progress,
};

mod ids;

/// Time beyond two poll intervals that services may need to follow a publish.
const SLACK: Duration = Duration::from_secs(1);
/// Number of raw files to print.
const SHOWN_FILES: usize = 20;

/// Erase customers permanently
///
/// Adds the customers to the erasure list in the lake and removes them from Tair. Services omit them from
/// every answer within seconds, and every later build and publish omits them. Prints which snapshots still
/// contain them, and which raw files these snapshots were built from; --rewrite rewrites the snapshots.
/// Without ids the whole erasure list is applied again, which finishes an interrupted call.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
#[command(after_help = "Examples:\n  larder forget 17850 14646\n  larder forget --file ids.txt --rewrite")]
pub(super) struct Args {
    /// Customer ids
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// File with one id per line, or a CSV table with a column `customer_id`; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the erasure list and change nothing
    #[arg(long, conflicts_with_all = ["ids", "file", "undo", "rewrite"])]
    list: bool,
    /// Rewrite the snapshots that still contain erased customers, and remove the old snapshots
    #[arg(long, conflicts_with = "undo")]
    rewrite: bool,
    /// Succeed even if no retained snapshot contains an id; the id is added to the list in any case
    #[arg(long)]
    unknown_ok: bool,
    /// Remove the customers from the erasure list, for a wrong id or a returning customer
    #[arg(long)]
    undo: bool,
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
        "erasure list: {} customers, {} of them new",
        HumanCount(forgotten.len() as u64),
        HumanCount(forgotten.len().saturating_sub(before.len()) as u64)
    ))?;
    let erased = Box::pin(progress::watch(publisher.progress(), publisher.erase(&forgotten))).await;
    match &erased {
        Ok(Some(erased)) => table::line(&format!(
            "Tair: {} customers and {} list entries removed",
            HumanCount(erased.rows),
            HumanCount(erased.places)
        ))?,
        Ok(None) => {}
        // The customers in Tair belong to another lake.
        Err(error @ PublishError::OtherLake { .. }) => {
            table::line(&format!("nothing removed from Tair: {error}"))?;
        }
        Err(error) => table::line(&format!("Tair still contains erased customers: {error}"))?,
    }
    let found = holdings(&lake, &forgotten).await?;
    let new: BTreeSet<CustomerId> = ids.iter().filter(|id| !before.contains(id.as_str())).cloned().collect();
    let unknown = print_holdings(&lake, &found, &new).await?;
    match erased {
        Ok(_) | Err(PublishError::OtherLake { .. }) => {}
        Err(error) => {
            return Err(error).context(
                "services omit the erased customers, but Tair still contains them; \
                 run `larder forget` without ids, or publish, to remove them",
            );
        }
    }
    if args.rewrite {
        let replaced = Box::pin(rewrite(&lake, &forgotten, &found)).await?;
        Box::pin(replace(setup, &lake, &replaced)).await?;
    }
    if unknown > 0 && !args.unknown_ok {
        bail!(
            "no retained snapshot contains {unknown} of the ids, listed above; they are on the erasure list \
             all the same. Check the spelling, or pass --unknown-ok"
        );
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
        table::line(&format!("rewrote {old} as {new}, without {} customers", HumanCount(held)))?;
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
                 `larder forget --rewrite`"
            );
        }
        snapshot::remove(lake, old).await?;
        table::line(&format!("removed {old}"))?;
    }
    Ok(())
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
        let columns: Vec<&str> =
            columns.iter().filter_map(|table| table.columns.get("customer_id")).map(String::as_str).collect();
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
    Ok(table::line(&format!("erasure list: {} customers", HumanCount(forgotten.len() as u64)))?)
}

/// Removes customers from the erasure list and publishes them to Tair again.
async fn undo(lake: &Lake, publisher: &Publisher, ids: &BTreeSet<CustomerId>) -> anyhow::Result<()> {
    let before = Forgotten::read(lake).await?;
    if let Some(id) = ids.iter().find(|id| !before.contains(id.as_str())) {
        bail!("`{id}` is not on the erasure list; nothing was changed");
    }
    let left = Forgotten::undo(lake, ids).await?;
    table::line(&format!(
        "removed {} customers from the erasure list, {} remain; the removed customers are served again from \
         snapshots that still contain them, and later builds include all of their raw data",
        HumanCount(ids.len() as u64),
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

/// Prints which snapshots contain erased customers, and returns the number of `ids` that no snapshot
/// contains.
async fn print_holdings(
    lake: &Lake,
    holdings: &[Holding],
    ids: &BTreeSet<CustomerId>,
) -> anyhow::Result<usize> {
    let current = read_current(lake).await?;
    let role = |id: &SnapshotId| match &current {
        Some(current) if current.snapshot == *id => "current",
        Some(current) if current.previous.as_ref() == Some(id) => "previous",
        _ => "",
    };
    let mut rows = Vec::new();
    for Holding { manifest, customers } in holdings {
        let id = &manifest.id;
        match customers {
            Ok(held) if held.is_empty() => {}
            Ok(held) => rows.push(vec![
                id.to_string(),
                HumanCount(held.len() as u64).to_string(),
                role(id).to_owned(),
            ]),
            Err(error) => {
                rows.push(vec![id.to_string(), format!("cannot be read: {error}"), role(id).to_owned()]);
            }
        }
    }
    if rows.is_empty() {
        table::line("no snapshot contains erased customers")?;
    } else {
        table::line("\nsnapshots that still contain erased customers")?;
        table::print(&["snapshot", "customers", ""], &rows)?;
    }
    let held =
        |id: &&CustomerId| holdings.iter().any(|h| h.customers.as_ref().is_ok_and(|held| held.contains(id)));
    let readable = holdings.iter().all(|holding| holding.customers.is_ok());
    let unknown: Vec<&CustomerId> = ids.iter().filter(|id| readable && !held(id)).collect();
    for id in &unknown {
        table::line(&format!("no snapshot contains `{id}`; check the spelling"))?;
    }
    print_raw_files(holdings)?;
    Ok(unknown.len())
}

/// Prints the raw files that the snapshots were built from, which may still contain erased customers.
fn print_raw_files(holdings: &[Holding]) -> anyhow::Result<()> {
    let files: BTreeSet<(&str, &str)> = holdings
        .iter()
        .flat_map(|holding| &holding.manifest.sources)
        .map(|source| (source.table.as_str(), source.path.as_str()))
        .collect();
    if !files.is_empty() {
        table::line(
            "\nLarder does not change raw files; clean these files yourself. Until then, only the erasure \
             list keeps the customers out of builds",
        )?;
        let shown: Vec<Vec<String>> = files
            .iter()
            .take(SHOWN_FILES)
            .map(|(name, path)| vec![(*name).to_owned(), (*path).to_owned()])
            .collect();
        table::print(&["table", "file"], &shown)?;
        if files.len() > SHOWN_FILES {
            table::line(&format!("and {} more", HumanCount((files.len() - SHOWN_FILES) as u64)))?;
        }
    }
    Ok(())
}
