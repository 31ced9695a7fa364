//! `larder export`

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, bail};
use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use tokio::io::AsyncWriteExt;

use super::{App, progress, table};
use crate::{
    audience::{Expression, FeatureName, order},
    feature::near,
    lake::Lake,
    serving::{
        Ranked, Serving,
        export::{Export, ExportColumns, ExportFormat, ExportList, ExportOrder, Exporting, Treatment},
    },
    snapshot::{SnapshotError, SnapshotId, is_own, read_current, reader::ChurnFilter},
    telemetry::{Metrics, Progress},
};

/// Write every member of a list into a file or into the lake
///
/// The file appears when it is whole and not before. Mail addresses and phone numbers become SHA-256 hashes of their normalised
/// forms, and other personal values are left out, unless --pii is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder export segment champions --out champions.csv
  larder export churn --risk high --order rank --columns customer_id,rank,churn --format parquet --out high.parquet
  larder export segment loyal --columns profile.email --out lake:exports/loyal.csv
  larder export audience 'churn.risk:high and rfm.monetary >= 1000' --limit 5000 --out call.csv")]
pub(super) struct Args {
    #[command(subcommand)]
    list: Which,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// The members of a segment
    Segment {
        /// The segment
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// The customers by value at risk
    Churn {
        /// Only this level of risk
        #[arg(long, value_parser = ["high", "medium", "low"])]
        risk: Option<String>,
        /// Only members of this segment, by `rfm.segment`
        #[arg(long, value_name = "NAME")]
        segment: Option<String>,
        /// Only those whose probability of churn is so great at least
        #[arg(long, value_name = "NUMBER", value_parser = |text: &str| parse_least(text, 1.0))]
        min_probability: Option<f64>,
        /// Only those whose value at risk is so great at least
        #[arg(long, value_name = "NUMBER", value_parser = |text: &str| parse_least(text, 1e15))]
        min_value: Option<f64>,
        #[command(flatten)]
        how: How,
    },
    /// The members of an audience
    Audience {
        /// The expression, such as `segment:loyal and rfm.monetary >= 1000`
        #[arg(allow_hyphen_values = true)]
        expression: String,
        /// A number or time that the ranks go by, then asc or desc [default: rfm.monetary desc]
        #[arg(long, value_name = "FEATURE", value_parser = parse_order_by)]
        order_by: Option<(FeatureName, bool)>,
        /// Only so many, the first by rank
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    /// csv, ndjson or parquet [default: as the name of --out ends, else csv]
    #[arg(long, value_parser = parse_format)]
    format: Option<ExportFormat>,
    /// `customer_id`, rank, features as view.feature and whole views [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    columns: Vec<String>,
    /// id, which reads the snapshot once, or rank, which reads it once for every 65,536 members [default: id, but rank where an
    /// audience has --order-by]
    #[arg(long, value_parser = parse_order)]
    order: Option<ExportOrder>,
    /// The snapshot [default: the current one]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<SnapshotId>,
    /// Write personal values as they are
    #[arg(long)]
    pii: bool,
    /// A file, or lake:PATH for a place in the lake; what is there is replaced
    #[arg(long, value_name = "FILE")]
    out: String,
}

impl How {
    fn format(&self) -> ExportFormat {
        let ending = Path::new(&self.out)
            .extension()
            .and_then(|ending| parse_format(&ending.to_str()?.to_lowercase()).ok());
        self.format.or(ending).unwrap_or(ExportFormat::Csv)
    }
}

fn parse_format(name: &str) -> Result<ExportFormat, String> {
    match name {
        "csv" => Ok(ExportFormat::Csv),
        "ndjson" => Ok(ExportFormat::Ndjson),
        "parquet" => Ok(ExportFormat::Parquet),
        _ => Err("expected csv, ndjson or parquet".to_owned()),
    }
}

fn parse_least(text: &str, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=most).contains(number));
    number.ok_or_else(|| format!("expected a number from 0 to {most}"))
}

fn parse_order(name: &str) -> Result<ExportOrder, String> {
    match name {
        "id" => Ok(ExportOrder::Id),
        "rank" => Ok(ExportOrder::Rank),
        _ => Err("expected id or rank".to_owned()),
    }
}

fn parse_order_by(text: &str) -> Result<(FeatureName, bool), String> {
    let parsed =
        order::parse(text).and_then(|(name, descending)| Some((FeatureName::parse(name)?, descending)));
    parsed.ok_or_else(|| "expected a feature as view.feature, then asc or desc or nothing".to_owned())
}

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&app.config.log))?;
    let (list, how) = match args.list {
        Which::Segment { name, how } => (ExportList::Segment(name), how),
        Which::Churn { risk, segment, min_probability, min_value, how } => {
            let [min_probability, min_value] =
                [min_probability, min_value].map(|least| least.map(ChurnFilter::at_least));
            (ExportList::Churn(ChurnFilter { risk, segment, min_probability, min_value }), how)
        }
        Which::Audience { expression, order_by, limit, mut how } => {
            let expression = Expression::parse(&expression).context("the expression cannot be read")?;
            how.order = how.order.or(order_by.as_ref().map(|_| ExportOrder::Rank));
            let order_by =
                order_by.map_or_else(|| parse_order_by(order::DEFAULT), Ok).map_err(anyhow::Error::msg)?;
            (ExportList::Audience(Ranked { expression, order_by, limit }), how)
        }
    };
    let lake = app.lake()?;
    let format = how.format();
    let id = match how.snapshot {
        Some(id) => id,
        None => read_current(&lake).await?.ok_or(SnapshotError::NoCurrent)?.snapshot,
    };
    let serving = Serving::new(lake.clone(), &app.config.serving, Arc::new(Metrics::new()?));
    let serving = serving.declaring(app.config.personal());
    let served = serving.snapshot(&id).await?;
    let manifest = &served.manifest;
    match &list {
        ExportList::Segment(name) | ExportList::Churn(ChurnFilter { segment: Some(name), .. })
            if manifest.segment(name).is_none() =>
        {
            let known: Vec<&str> = manifest.segments.iter().map(|segment| segment.name.as_str()).collect();
            let near = near::hint(name, known.iter().copied());
            let hint = if near.is_empty() { format!("; there are {}", known.join(", ")) } else { near };
            bail!("there is no segment `{name}`{hint}");
        }
        ExportList::Churn(_) if manifest.models.churn.is_none() => bail!("snapshot {id} has no churn model"),
        ExportList::Audience(audience) if !how.pii => {
            let asked = audience.expression.features().into_iter().chain([&audience.order_by.0]);
            if let Some(name) = asked.into_iter().find(|name| manifest.is_personal(&name.view, &name.feature))
            {
                bail!("{name} is personal, and may be asked by with --pii only");
            }
        }
        _ => {}
    }
    let columns = if how.columns.is_empty() {
        ExportColumns::all(manifest, how.pii)
    } else {
        ExportColumns::named(manifest, how.columns.iter().map(String::as_str), how.pii)?
    };
    let export =
        Export { list, columns: columns.clone(), format, order: how.order.unwrap_or(ExportOrder::Id) };
    let exporting = serving.export(&served, export).await?;
    for (position, hint) in &exporting.hints {
        table::line(&format!("at character {position}: {hint}"))?;
    }
    let (rows, progress) = (exporting.rows, Arc::new(Progress::default()));
    progress.enter("export", 0);
    let bytes = match how.out.strip_prefix("lake:") {
        Some(path) => {
            let path = ObjectPath::parse(path).with_context(|| format!("{path} is no place in the lake"))?;
            if is_own(&path) {
                bail!(
                    "{} is Larder's own place; choose another, such as lake:exports/{}",
                    how.out,
                    file_name(&path)
                );
            }
            progress::watch(&progress, into_lake(exporting, &lake, &path, &progress)).await?
        }
        None => progress::watch(&progress, into_file(exporting, Path::new(&how.out), &progress)).await?,
    };
    let (customers, of) = (table::count(rows), columns.names().len());
    table::line(&format!(
        "{}: {customers} customers, {of} columns, {}, of {id}",
        how.out,
        table::bytes(bytes)
    ))?;
    for (what, hashed) in [("hashed", true), ("left out", false)] {
        let personal = columns.personal().into_iter().filter(|(_, treatment)| match treatment {
            Treatment::Shown => false,
            Treatment::Withheld => !hashed,
            Treatment::HashedEmail | Treatment::HashedPhone => hashed,
        });
        let names: Vec<String> = personal.map(|(name, _)| name).collect();
        if !names.is_empty() {
            table::line(&format!("{what}, being personal: {}", names.join(", ")))?;
        }
    }
    Ok(())
}

/// What a file at `path` may be called elsewhere.
fn file_name(path: &ObjectPath) -> &str {
    path.filename().filter(|name| name.contains('.')).unwrap_or("members.csv")
}

/// Writes beside the place of `file` and renames.
async fn into_file(exporting: Exporting, file: &Path, progress: &Progress) -> anyhow::Result<u64> {
    let name = file.file_name().with_context(|| format!("{} is no file", file.display()))?.to_string_lossy();
    let part: PathBuf = file.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = write_file(exporting, &part, progress).await;
    let moved = match written {
        Ok(bytes) => tokio::fs::rename(&part, file).await.map(|()| bytes).map_err(Into::into),
        Err(error) => Err(error),
    };
    if moved.is_err() {
        let _ = tokio::fs::remove_file(&part).await;
    }
    moved.with_context(|| format!("cannot write {}", file.display()))
}

async fn write_file(mut exporting: Exporting, part: &Path, progress: &Progress) -> anyhow::Result<u64> {
    let mut out = tokio::fs::File::create(part).await?;
    let mut bytes = 0;
    while let Some(piece) = exporting.next().await {
        let piece = piece?;
        out.write_all(&piece).await?;
        bytes += piece.len() as u64;
        progress.done.store(bytes, Ordering::Relaxed);
    }
    out.sync_all().await?;
    Ok(bytes)
}

/// Writes an object, which appears when it is whole.
async fn into_lake(
    mut exporting: Exporting,
    lake: &Lake,
    path: &ObjectPath,
    progress: &Progress,
) -> anyhow::Result<u64> {
    let (mut out, mut bytes) = (lake.writer(path), 0);
    let writing = async {
        while let Some(piece) = exporting.next().await {
            let piece = piece?;
            bytes += piece.len() as u64;
            out.put(piece).await?;
            progress.done.store(bytes, Ordering::Relaxed);
        }
        Ok::<_, anyhow::Error>(())
    };
    let written = match writing.await {
        Ok(()) => out.shutdown().await.map_err(Into::into),
        Err(error) => {
            let _ = out.abort().await;
            Err(error)
        }
    };
    written.map(|()| bytes).with_context(|| format!("cannot write {path} into the lake"))
}
