//! `larder upload`

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, bail};
use object_store::path::Path as ObjectPath;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::{App, progress, table};
use crate::{
    lake::Lake,
    pipeline::{
        self,
        raw::{Table, files::RawFile},
    },
    telemetry::Progress,
};

/// Check raw files and put them into the lake
///
/// Every line is checked as a build checks it; a file that a build would refuse is not uploaded. A file of the same name
/// and content is left alone, one of the same name and other content is overwritten with --force only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder upload transactions 2010-12.csv.gz 2011-01.csv.gz")]
pub(super) struct Args {
    /// transactions, customers or interactions
    #[arg(value_parser = parse_table)]
    table: Table,
    /// CSV, JSON lines (both also .gz) or Parquet
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Overwrite files of the same name
    #[arg(long)]
    force: bool,
}

fn parse_table(name: &str) -> Result<Table, String> {
    Table::parse(name).ok_or_else(|| "expected transactions, customers or interactions".to_owned())
}

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let lake = app.lake()?;
    // All are checked before the first is written.
    let mut checked: Vec<(&PathBuf, ObjectPath, _, _)> = Vec::new();
    let mut rows = Vec::new();
    for path in &args.files {
        let (file, target) = prepare(&lake, args.table, path, app)?;
        if let Some((other, ..)) = checked.iter().find(|(_, taken, ..)| *taken == target) {
            if other.canonicalize()? == path.canonicalize()? {
                continue;
            }
            bail!("{} and {} would both be {target}; rename one", other.display(), path.display());
        }
        let fate = fate(&lake, &target, path, args.force).await?;
        let progress = Arc::new(Progress::default());
        let counts = progress::watch(&progress, pipeline::check_file(&file, &app.config, &progress)).await?;
        let bad = counts.fates.get("bad").copied().unwrap_or(0);
        super::build::bad_lines(&counts)?;
        rows.push(vec![
            target.to_string(),
            table::bytes(file.bytes),
            table::count(counts.lines),
            table::count(bad),
            fate.to_owned(),
        ]);
        checked.push((path, target, fate, file.bytes));
    }
    for (path, target, fate, bytes) in checked {
        if fate != UNCHANGED {
            copy(&lake, path, &target, bytes).await?;
        }
    }
    table::print(&["file", "size", "lines", "bad", ""], &rows)?;
    Ok(())
}

const UNCHANGED: &str = "there already";

fn prepare(lake: &Lake, table: Table, path: &Path, app: &App) -> anyhow::Result<(RawFile, ObjectPath)> {
    let shown = path.display().to_string();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    if !size.is_file() {
        bail!("{shown} is no file");
    }
    let absolute = path.canonicalize().with_context(|| format!("cannot read {shown}"))?;
    let (store, inside) = lake.locate(&absolute.display().to_string())?;
    let file = RawFile::new(table, store, inside, shown.clone(), size.len())?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("{shown} has no name in UTF-8"))?;
    if name.starts_with(['_', '.']) {
        bail!(
            "{shown}: names that begin with _ or . are those of temporary files, which a build does not read; rename it"
        );
    }
    let raw = &app.config.raw;
    let configured = match table {
        Table::Transactions => &raw.transactions,
        Table::Customers => &raw.customers,
        Table::Interactions => &raw.interactions,
    };
    let folder = configured.files.clone().unwrap_or_else(|| format!("raw/{}/", table.name()));
    if folder.contains("://") || folder.starts_with('/') || !folder.ends_with('/') {
        bail!(
            "[raw.{}] files is `{folder}`, no folder in the lake that files could be uploaded to",
            table.name()
        );
    }
    Ok((file, ObjectPath::from(format!("{}/{name}", folder.trim_matches('/')))))
}

/// What is to become of the file; an error where another one is in its place.
async fn fate(lake: &Lake, target: &ObjectPath, path: &Path, force: bool) -> anyhow::Result<&'static str> {
    let Some(there) = lake.head(target).await? else { return Ok("uploaded") };
    let same = there.size == std::fs::metadata(path)?.len()
        && hash_there(lake, target).await? == hash_here(path).await?;
    match (same, force) {
        (true, _) => Ok(UNCHANGED),
        (false, true) => Ok("overwritten"),
        (false, false) => {
            bail!("{target} is in the lake already with another content; --force overwrites it")
        }
    }
}

async fn hash_here(path: &Path) -> anyhow::Result<String> {
    let mut file = tokio::fs::File::open(path).await?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

async fn hash_there(lake: &Lake, target: &ObjectPath) -> anyhow::Result<String> {
    use futures::TryStreamExt;
    let mut hash = Sha256::new();
    let mut chunks = lake.stream(target).await?;
    while let Some(chunk) = chunks.try_next().await? {
        hash.update(&chunk);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// The file appears in the lake when all of it has arrived.
pub(super) async fn copy(lake: &Lake, path: &Path, target: &ObjectPath, bytes: u64) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::default());
    progress.enter("upload", bytes);
    let copying = async {
        let mut file = tokio::fs::File::open(path).await?;
        let mut out = lake.writer(target);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).await? {
                0 => break,
                read => out.put(bytes::Bytes::copy_from_slice(&buffer[..read])).await?,
            }
            progress.done.fetch_add(1 << 20, Ordering::Relaxed);
        }
        tokio::io::AsyncWriteExt::shutdown(&mut out).await?;
        anyhow::Ok(())
    };
    progress::watch(&progress, copying)
        .await
        .with_context(|| format!("cannot upload {} to {target}", path.display()))
}
