//! `larder forget`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};

use super::{App, progress, publish, table};
use crate::{
    feature::CustomerId,
    lake::Lake,
    publish::{Options, PublishError, Publisher},
    snapshot::{self, Forgotten, Holding, SnapshotId, holdings, read_current, rfc3339},
    telemetry::Progress,
};

mod ids;

/// How much longer than two polls services may take to follow a publish.
const SLACK: Duration = Duration::from_secs(1);
/// Raw files that are named.
const FILES: usize = 20;

/// Forget customers for good
///
/// Puts them on a list in the lake. Services leave them out of every answer within seconds, every build and publish from then on; and
/// they are removed from Tair. Told is which snapshots still hold them, and which raw files those were built from; --rewrite writes
/// those snapshots anew. Without ids it goes through the whole list again, and so finishes what an earlier call could not.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:\n  larder forget 17850 14646\n  larder forget --file ids.txt --rewrite")]
pub(super) struct Args {
    /// The customers' ids
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// A file with one id a line, or a table (CSV) with a column `customer_id`; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show who is forgotten, and since when; nothing else
    #[arg(long, conflicts_with_all = ["ids", "file", "undo", "rewrite"])]
    list: bool,
    /// Write the snapshots that still hold any of the list anew, without them, and remove the old ones
    #[arg(long, conflicts_with = "undo")]
    rewrite: bool,
    /// Succeed also where no retained snapshot knows an id; the id goes on the list in any case
    #[arg(long)]
    unknown_ok: bool,
    /// Take them off the list again: for a wrong id, or one who came back
    #[arg(long)]
    undo: bool,
}

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let lake = app.lake()?;
    if args.list {
        return show(&Forgotten::read(&lake).await?);
    }
    let ids = ids(&args, app)?;
    let publisher = app.publisher(Options::default())?;
    if args.undo {
        return Box::pin(undo(&lake, &publisher, &ids)).await;
    }
    let before = Forgotten::read(&lake).await?;
    let forgotten = if ids.is_empty() { before.clone() } else { Forgotten::add(&lake, &ids).await? };
    table::line(&format!(
        "{} customers are forgotten, {} of them since now",
        table::count(forgotten.len() as u64),
        table::count(forgotten.len().saturating_sub(before.len()) as u64)
    ))?;
    let erased = Box::pin(progress::watch(publisher.progress(), publisher.erase(&forgotten))).await;
    match &erased {
        Ok(Some(erased)) => table::line(&format!(
            "Tair: {} customers and {} places in lists removed",
            table::count(erased.rows),
            table::count(erased.places)
        ))?,
        Ok(None) => {}
        // Whoever is there is not this lake's to forget.
        Err(error @ PublishError::OtherLake { .. }) => {
            table::line(&format!("nothing was removed from Tair: {error}"))?
        }
        Err(error) => table::line(&format!("Tair still holds them: {error}"))?,
    }
    let found = holdings(&lake, &forgotten).await?;
    let new: BTreeSet<CustomerId> = ids.iter().filter(|id| !before.contains(id.as_str())).cloned().collect();
    let unknown = tell(&lake, &found, &new).await?;
    erased.map(drop).or_else(|error| if matches!(error, PublishError::OtherLake { .. }) { Ok(()) } else { Err(error) }).context(
        "no service tells of them any more, but Tair holds them; `larder forget` without ids, or the next publish, removes them",
    )?;
    if args.rewrite {
        Box::pin(rewrite(app, &lake, &forgotten, found)).await?;
    }
    if unknown > 0 && !args.unknown_ok {
        bail!(
            "no retained snapshot knows {unknown} of the ids, named above; they are on the list all the same. Check how they are \
             written, or say --unknown-ok"
        );
    }
    Ok(())
}

/// Writes the snapshots anew that hold anybody, puts them in the place of the old ones, and removes these.
async fn rewrite(app: &App, lake: &Lake, forgotten: &Forgotten, found: Vec<Holding>) -> anyhow::Result<()> {
    let mut replaced = BTreeMap::new();
    for Holding { manifest, customers } in &found {
        let old = &manifest.id;
        let held = match customers {
            Ok(held) if held.is_empty() => continue,
            Ok(held) => held.len() as u64,
            Err(error) => {
                bail!("{old} cannot be read, and so not be written anew: {error}; nothing was removed")
            }
        };
        // What an interrupted call has left is as good.
        let left = |other: &&Holding| {
            other.manifest.rewritten_from.as_ref() == Some(old)
                && other.customers.as_ref().is_ok_and(Vec::is_empty)
        };
        let new = if let Some(left) = found.iter().find(left) {
            left.manifest.id.clone()
        } else {
            let watched = Arc::new(Progress::default());
            progress::watch(&watched, snapshot::rewrite(lake, manifest, forgotten, &watched)).await?.id
        };
        table::line(&format!("{old} is written anew as {new}, without {}", table::count(held)))?;
        replaced.insert(old.clone(), new);
    }
    if replaced.is_empty() {
        return Ok(());
    }
    let publisher = app.publisher(Options { force: true, ..Options::default() })?;
    let current = read_current(lake).await?.map(|current| current.snapshot);
    let published = current.as_ref().and_then(|current| replaced.get(current));
    if let Some(new) = published {
        publish::done(&publish::run(&publisher, Some(new)).await?)?;
    }
    publisher.replace_previous(&replaced).await?;
    if published.is_some() {
        // Until every service has followed; what one of them reads from an old part would fail.
        tokio::time::sleep(app.config.serving.poll * 2 + SLACK).await;
    }
    let in_flight = publisher.in_flight().await?;
    for old in replaced.keys() {
        if in_flight.contains(old) {
            bail!(
                "{old} is being published, or was left half published; publish again, then `larder forget --rewrite`"
            );
        }
        snapshot::remove(lake, old).await?;
        table::line(&format!("removed {old}"))?;
    }
    Ok(())
}

/// The ids of the command line and of the file.
fn ids(args: &Args, app: &App) -> anyhow::Result<BTreeSet<CustomerId>> {
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
        let raw = &app.config.raw;
        let columns = [&raw.transactions, &raw.customers, &raw.interactions];
        let columns: Vec<&str> =
            columns.iter().filter_map(|table| table.columns.get("customer_id")).map(String::as_str).collect();
        ids.extend(ids::read(file, &bytes, &columns)?);
        if ids.is_empty() {
            bail!("{shown} names nobody");
        }
    }
    if args.undo && ids.is_empty() {
        bail!("--undo needs the ids of those who are to be taken off the list");
    }
    Ok(ids)
}

fn show(forgotten: &Forgotten) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = forgotten
        .calls()
        .flat_map(|call| call.ids.iter().map(|id| vec![rfc3339::format(call.at), id.to_string()]))
        .collect();
    if !rows.is_empty() {
        table::print(&["forgotten at", "customer"], &rows)?;
    }
    Ok(table::line(&format!("{} customers are forgotten", table::count(forgotten.len() as u64)))?)
}

async fn undo(lake: &Lake, publisher: &Publisher, ids: &BTreeSet<CustomerId>) -> anyhow::Result<()> {
    let before = Forgotten::read(lake).await?;
    if let Some(id) = ids.iter().find(|id| !before.contains(id.as_str())) {
        bail!("`{id}` is not forgotten; nothing was changed");
    }
    let left = Forgotten::undo(lake, ids).await?;
    table::line(&format!(
        "{} customers are off the list, {} are on it; who is off is served again where the snapshot still has them, and built again \
         from what the raw data say of them, all of it",
        table::count(ids.len() as u64),
        table::count(left.len() as u64)
    ))?;
    match progress::watch(publisher.progress(), publisher.verify(false, true)).await {
        Ok(_) | Err(PublishError::NoTair) => Ok(()),
        Err(error) => Err(error).context(
            "Tair does not have them again; `larder verify --repair` mends it, and the snapshot answers meanwhile",
        ),
    }
}

/// Tells which snapshots hold whom, and returns how many of `ids` no snapshot knows.
async fn tell(lake: &Lake, holdings: &[Holding], ids: &BTreeSet<CustomerId>) -> anyhow::Result<usize> {
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
            Ok(held) => rows.push(vec![id.to_string(), table::count(held.len() as u64), role(id).to_owned()]),
            Err(error) => {
                rows.push(vec![id.to_string(), format!("cannot be told: {error}"), role(id).to_owned()])
            }
        }
    }
    if rows.is_empty() {
        table::line("no snapshot holds them")?;
    } else {
        table::line("\nsnapshots that still hold them")?;
        table::print(&["snapshot", "customers", ""], &rows)?;
    }
    let held =
        |id: &&CustomerId| holdings.iter().any(|h| h.customers.as_ref().is_ok_and(|held| held.contains(id)));
    let readable = holdings.iter().all(|holding| holding.customers.is_ok());
    let unknown: Vec<&CustomerId> = ids.iter().filter(|id| readable && !held(id)).collect();
    for id in &unknown {
        table::line(&format!("no snapshot knows `{id}`; is that the id?"))?;
    }
    let files: BTreeSet<(&str, &str)> = holdings
        .iter()
        .flat_map(|holding| &holding.manifest.sources)
        .map(|source| (source.table.as_str(), source.path.as_str()))
        .collect();
    if !files.is_empty() {
        table::line(
            "\nraw data are yours to clean: only the list keeps what these files say of them out of the next build",
        )?;
        let shown: Vec<Vec<String>> = files
            .iter()
            .take(FILES)
            .map(|(name, path)| vec![(*name).to_owned(), (*path).to_owned()])
            .collect();
        table::print(&["table", "file"], &shown)?;
        if files.len() > FILES {
            table::line(&format!("and {} more", table::count((files.len() - FILES) as u64)))?;
        }
    }
    Ok(unknown.len())
}
