//! `larder upload`: validates raw files and copies them to the lake.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, bail};
use indicatif::{HumanBytes, HumanCount};
use object_store::path::Path as ObjectPath;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::{Setup, progress, table};
use crate::{
    lake::Lake,
    pipeline::{
        self,
        raw::{Table, files::RawFile},
    },
    telemetry::Progress,
};

/// Validate raw files and copy them to the lake
///
/// Checks every line as a build does, and rejects a file that a build would reject. A file that is already in
/// the lake with the same content is skipped; a file with different content is overwritten only with --force.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder upload transactions 2010-12.csv.gz 2011-01.csv.gz")]
pub(super) struct Args {
    /// Raw table: transactions, customers or interactions
    #[arg(value_parser = parse_table)]
    table: Table,
    /// Files in any format that a build reads, such as CSV, JSON, Parquet, XLSX or ZIP
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Overwrite files of the same name in the lake
    #[arg(long)]
    force: bool,
}

fn parse_table(name: &str) -> Result<Table, String> {
    Table::parse(name).ok_or_else(|| "expected transactions, customers or interactions".to_owned())
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    let lake = setup.lake()?;
    // All files are validated before the first one is written.
    let mut checked: Vec<(&PathBuf, ObjectPath, _, _)> = Vec::new();
    let mut rows = Vec::new();
    for path in &args.files {
        let (file, target) = prepare(&lake, args.table, path, setup)?;
        if let Some((other, ..)) = checked.iter().find(|(_, taken, ..)| *taken == target) {
            if other.canonicalize()? == path.canonicalize()? {
                continue;
            }
            bail!(
                "{} and {} would both become {target}; rename one of them",
                other.display(),
                path.display()
            );
        }
        let action = action(&lake, &target, path, args.force).await?;
        let progress = Arc::new(Progress::default());
        let counts =
            progress::watch(&progress, pipeline::check_file(&file, &setup.config, &progress)).await?;
        let bad = counts.fates.get("bad").copied().unwrap_or(0);
        super::build::bad_lines(&counts)?;
        rows.push(vec![
            target.to_string(),
            HumanBytes(file.bytes).to_string(),
            HumanCount(counts.lines).to_string(),
            HumanCount(bad).to_string(),
            action.to_owned(),
        ]);
        checked.push((path, target, action, file.bytes));
    }
    for (path, target, action, bytes) in checked {
        if action != UNCHANGED {
            copy(&lake, path, &target, bytes).await?;
        }
    }
    table::print(&["file", "size", "lines", "bad", ""], &rows)?;
    Ok(())
}

/// Result of an upload that skips a file with the same content.
const UNCHANGED: &str = "unchanged";

/// Opens a local file as a raw file, and returns it with its path in the lake.
fn prepare(lake: &Lake, table: Table, path: &Path, setup: &Setup) -> anyhow::Result<(RawFile, ObjectPath)> {
    let shown = path.display().to_string();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    if !size.is_file() {
        bail!("{shown} is not a file");
    }
    let absolute = path.canonicalize().with_context(|| format!("cannot read {shown}"))?;
    let (store, inside) = lake.locate(&absolute.display().to_string())?;
    let file = RawFile::new(table, store, inside, shown.clone(), size.len())?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("{shown} has a name that is not UTF-8"))?;
    if name.starts_with(['_', '.']) {
        bail!(
            "{shown}: a build ignores files whose names begin with _ or . as temporary files; rename the file"
        );
    }
    let raw = &setup.config.raw;
    let configured = match table {
        Table::Transactions => &raw.transactions,
        Table::Customers => &raw.customers,
        Table::Interactions => &raw.interactions,
    };
    let default = format!("raw/{}/", table.name());
    let folder = configured.files.first().unwrap_or(&default);
    if folder.contains("://") || folder.starts_with('/') || !folder.ends_with('/') {
        bail!(
            "`files` in [raw.{}] is `{folder}`, which is not a folder in the lake to upload to",
            table.name()
        );
    }
    Ok((file, ObjectPath::from(format!("{}/{name}", folder.trim_matches('/')))))
}

/// Returns the action of an upload for the table of results. A file with other content in its place is an
/// error without `force`.
async fn action(lake: &Lake, target: &ObjectPath, path: &Path, force: bool) -> anyhow::Result<&'static str> {
    let Some(there) = lake.head(target).await? else { return Ok("uploaded") };
    let same = there.size == std::fs::metadata(path)?.len()
        && hash_in_lake(lake, target).await? == hash_of_file(path).await?;
    match (same, force) {
        (true, _) => Ok(UNCHANGED),
        (false, true) => Ok("overwritten"),
        (false, false) => {
            bail!("{target} is already in the lake with different content; --force overwrites it")
        }
    }
}

/// Returns the SHA-256 of a local file in hex.
async fn hash_of_file(path: &Path) -> anyhow::Result<String> {
    let mut file = tokio::fs::File::open(path).await?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Returns the SHA-256 of an object in hex.
async fn hash_in_lake(lake: &Lake, target: &ObjectPath) -> anyhow::Result<String> {
    use futures::TryStreamExt;
    let mut hash = Sha256::new();
    let mut chunks = lake.stream(target).await?;
    while let Some(chunk) = chunks.try_next().await? {
        hash.update(&chunk);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// Copies a local file to the lake. The object appears only when it is complete.
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
