//! `larder export`: writes all members of a list to a file or to the lake.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, bail};
use futures::StreamExt;
use indicatif::HumanBytes;
use object_store::path::Path as ObjectPath;
use tokio::io::AsyncWriteExt;

use super::{Setup, counted::counted, progress, table};
use crate::{
    audience::{Expression, FeatureName, order},
    feature::near,
    lake::Lake,
    private_file,
    serving::{
        Ranked, Serving,
        export::{
            CsvForm, Export, ExportColumns, ExportFormat, ExportList, ExportOrder, ExportRows, Exporting,
            Formulas, PersonalValues, Platform, Treatment,
        },
    },
    snapshot::{EXPORTS, Manifest, SnapshotError, SnapshotId, is_export, read_current, reader::ChurnFilter},
    telemetry::{self, Metrics, Progress},
};

/// Export all members of a list to a file or to the lake
///
/// The file appears only when it is complete. Personal values are left out without --pii. With --match, email
/// addresses and phone numbers are replaced by SHA-256 hashes of their normalized forms.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  larder export segment champions --out champions.csv
  larder export churn --risk high --order rank --columns customer_id,rank,churn --out high.parquet
  larder export segment loyal --columns profile.email --match --platform google --out lake:exports/loyal.csv
  larder export audience 'churn.risk:high and rfm.monetary >= 1000' --limit 5000 --out call.csv")]
pub(super) struct Args {
    #[command(subcommand)]
    list: ListArgs,
}

/// The list to export.
#[derive(Debug, clap::Subcommand)]
enum ListArgs {
    /// Export the members of a segment
    Segment {
        /// Name of the segment
        name: String,
        #[command(flatten)]
        options: ExportOptions,
    },
    /// Export the customers at risk of churn, ranked by value at risk
    Churn {
        /// Only customers at this risk level
        #[arg(long, value_parser = ["high", "medium", "low"])]
        risk: Option<String>,
        /// Only members of this RFM segment
        #[arg(long, value_name = "NAME")]
        segment: Option<String>,
        /// Only customers with at least this churn probability, 0 to 1
        #[arg(long, value_name = "NUMBER", value_parser = |text: &str| parse_least(text, 1.0))]
        min_probability: Option<f64>,
        /// Only customers with at least this value at risk, in the currency of the raw data
        #[arg(long, value_name = "NUMBER", value_parser = |text: &str| parse_least(text, 1e15))]
        min_value: Option<f64>,
        #[command(flatten)]
        options: ExportOptions,
    },
    /// Export the members of an audience expression
    Audience {
        /// Audience expression, such as `segment:loyal and rfm.monetary >= 1000`
        #[arg(allow_hyphen_values = true)]
        expression: String,
        /// Feature to rank by, a number or a time, then asc or desc [default: rfm.monetary desc]
        #[arg(long, value_name = "FEATURE", value_parser = parse_order_by)]
        order_by: Option<(FeatureName, bool)>,
        /// Only the first N members by rank
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        #[command(flatten)]
        options: ExportOptions,
    },
}

/// Options of every export.
#[derive(Debug, clap::Args)]
struct ExportOptions {
    /// File format: csv, ndjson or parquet [default: by the extension of --out, else csv]
    #[arg(long, value_parser = parse_name::<ExportFormat>)]
    format: Option<ExportFormat>,
    /// Columns: `customer_id`, rank, features as view.feature, or whole views [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    columns: Vec<String>,
    /// Order of rows: id, which reads the snapshot once, or rank, which reads it once for every 65,536
    /// members [default: id; rank for an audience with --order-by]
    #[arg(long, value_parser = parse_name::<ExportOrder>)]
    order: Option<ExportOrder>,
    /// Texts in CSV that a spreadsheet would evaluate as formulas: guard them with a leading ', or keep them
    /// unchanged for programs [default: guard]
    #[arg(long, value_name = "guard|keep", value_parser = parse_name::<Formulas>)]
    formulas: Option<Formulas>,
    /// Begin CSV with a UTF-8 byte order mark, for Excel
    #[arg(long)]
    bom: bool,
    /// Snapshot id [default: the current snapshot]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<SnapshotId>,
    /// Include personal values in clear text
    #[arg(long)]
    pii: bool,
    /// Include email addresses and phone numbers as SHA-256 hashes, for matching
    #[arg(long, conflicts_with = "pii")]
    r#match: bool,
    /// Advertising platform that the hashes are made for [default: trimmed addresses in lower case, numbers
    /// as + and digits]
    #[arg(long, value_name = "google|meta", requires = "match", value_parser = parse_name::<Platform>)]
    platform: Option<Platform>,
    /// Output file, or lake:exports/PATH for an object in the lake; an existing file is replaced
    #[arg(long, value_name = "FILE")]
    out: String,
}

impl ExportOptions {
    /// Returns the format of `--format`, else of the extension of `--out`, else CSV.
    fn format(&self) -> ExportFormat {
        let ending =
            Path::new(&self.out).extension().and_then(|ending| ending.to_str()?.to_lowercase().parse().ok());
        self.format.or(ending).unwrap_or(ExportFormat::Csv)
    }

    /// Checks that the options fit the format.
    fn check(&self) -> anyhow::Result<()> {
        let format = self.format();
        if format != ExportFormat::Csv && self.formulas == Some(Formulas::Guard) {
            bail!("--formulas guard is for csv, not for {format}");
        }
        if format != ExportFormat::Csv && self.bom {
            bail!("--bom is for csv, not for {format}");
        }
        Ok(())
    }
}

/// Parses the name of a format or of an order.
fn parse_name<T: FromStr<Err = &'static str>>(name: &str) -> Result<T, String> {
    name.parse().map_err(|names| format!("expected {names}"))
}

/// Parses a number from 0 to `most`.
fn parse_least(text: &str, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=most).contains(number));
    number.ok_or_else(|| format!("expected a number from 0 to {most}"))
}

fn parse_order_by(text: &str) -> Result<(FeatureName, bool), String> {
    let parsed =
        order::parse(text).and_then(|(name, descending)| Some((FeatureName::parse(name)?, descending)));
    parsed.ok_or_else(|| "expected a feature as view.feature, then asc or desc or nothing".to_owned())
}

impl ListArgs {
    /// Returns the list and the options of the export.
    fn into_parts(self) -> anyhow::Result<(ExportList, ExportOptions)> {
        match self {
            Self::Segment { name, options } => Ok((ExportList::Segment(name), options)),
            Self::Churn { risk, segment, min_probability, min_value, options } => {
                let [min_probability, min_value] =
                    [min_probability, min_value].map(|least| least.map(ChurnFilter::at_least));
                let filter = ChurnFilter { risk, segment, min_probability, min_value };
                Ok((ExportList::Churn(filter), options))
            }
            Self::Audience { expression, order_by, limit, mut options } => {
                let expression = Expression::parse(&expression).context("cannot parse the expression")?;
                options.order = options.order.or(order_by.as_ref().map(|_| ExportOrder::Rank));
                let order_by = match order_by {
                    Some(order_by) => order_by,
                    None => parse_order_by(order::DEFAULT).map_err(anyhow::Error::msg)?,
                };
                Ok((ExportList::Audience(Ranked { expression, order_by, limit }), options))
            }
        }
    }
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&super::quiet(&setup.config.log))?;
    let (list, options) = args.list.into_parts()?;
    options.check()?;
    let format = options.format();
    let lake = setup.lake()?;
    let id = match options.snapshot {
        Some(id) => id,
        None => read_current(&lake).await?.ok_or(SnapshotError::NoCurrent)?.snapshot,
    };
    let serving = Serving::new(lake.clone(), &setup.config.serving, Arc::new(Metrics::new()?))
        .declaring(setup.config.personal());
    let served = serving.snapshot(&id).await?;
    serving.check_declared(&served.manifest).await?;
    check_list(&list, &served.manifest, options.pii)?;
    let values = match (options.pii, options.r#match) {
        (true, _) => PersonalValues::Shown,
        (false, true) => PersonalValues::Hashed(options.platform),
        (false, false) => PersonalValues::Withheld,
    };
    let columns = if options.columns.is_empty() {
        ExportColumns::all(&served.manifest, values, ExportRows::Members)
    } else {
        let names = options.columns.iter().map(String::as_str);
        ExportColumns::named(&served.manifest, names, values, ExportRows::Members)?
    };
    let listed = ListInWords::of(&list, &served.manifest);
    let export = Export {
        list,
        columns: columns.clone(),
        format,
        order: options.order.unwrap_or(ExportOrder::Id),
        csv: CsvForm { bom: options.bom, formulas: options.formulas.unwrap_or_default() },
    };
    let exporting = serving.export(&served, export).await?;
    for (position, hint) in &exporting.hints {
        table::line(&format!("at character {position}: {hint}"))?;
    }
    let rows = exporting.rows;
    listed.audit(&columns, rows, &options.out, &id);
    let bytes = write(exporting, &options.out, &lake).await?;
    table::line(&format!(
        "{}: {}, {}, {}, from snapshot {id}",
        options.out,
        counted(rows, "customer", "customers"),
        counted(columns.names().len() as u64, "column", "columns"),
        HumanBytes(bytes)
    ))?;
    print_personal(&columns)
}

/// The exported list, as the audit log names it.
struct ListInWords {
    list: String,
    /// Personal features that the expression of an audience asks by. The expression would quote their values.
    asked_by: Vec<String>,
}

impl ListInWords {
    fn of(list: &ExportList, manifest: &Manifest) -> Self {
        let (list, features) = match list {
            ExportList::Segment(name) => (format!("segment {name}"), Vec::new()),
            ExportList::Churn(_) => ("churn".to_owned(), Vec::new()),
            ExportList::Changes(changes) => (format!("changes of segment {}", changes.segment), Vec::new()),
            ExportList::Audience(ranked) => {
                let features = ranked.expression.features().into_iter().chain([&ranked.order_by.0]);
                ("audience".to_owned(), features.cloned().collect())
            }
        };
        let personal =
            features.iter().filter(|name: &&FeatureName| manifest.is_personal(&name.view, &name.feature));
        Self { list, asked_by: personal.map(ToString::to_string).collect() }
    }

    /// Writes an audit line if the export shows, hashes or asks by personal data.
    fn audit(&self, columns: &ExportColumns, customers: u64, out: &str, snapshot: &SnapshotId) {
        let personal = columns.personal();
        let names = |is_listed: fn(&Treatment) -> bool| {
            let names = personal.iter().filter(|(_, treatment)| is_listed(treatment));
            names.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",")
        };
        let shown = names(|treatment| *treatment == Treatment::Shown);
        let hashed = names(|treatment| treatment.is_hash());
        if shown.is_empty() && hashed.is_empty() && self.asked_by.is_empty() {
            return;
        }
        tracing::info!(
            target: telemetry::AUDIT,
            command = "export",
            list = self.list,
            asked_by = self.asked_by.join(","),
            customers,
            snapshot = snapshot.as_str(),
            shown,
            hashed,
            out,
            "export"
        );
    }
}

/// Checks that the snapshot has the list, and that an expression uses personal data only with `--pii`.
fn check_list(list: &ExportList, manifest: &Manifest, pii: bool) -> anyhow::Result<()> {
    match list {
        ExportList::Segment(name) | ExportList::Churn(ChurnFilter { segment: Some(name), .. })
            if manifest.segment(name).is_none() =>
        {
            let known: Vec<&str> = manifest.segments.iter().map(|segment| segment.name.as_str()).collect();
            let near = near::hint(name, known.iter().copied());
            let hint = if near.is_empty() { format!("; there are {}", known.join(", ")) } else { near };
            bail!("there is no segment `{name}`{hint}");
        }
        ExportList::Churn(_) if manifest.models.churn.is_none() => {
            bail!("snapshot {} has no churn model", manifest.id)
        }
        ExportList::Segment(name) if !pii && is_personal(manifest, name) => {
            bail!("the audience `{name}` depends on personal data; export it with --pii");
        }
        ExportList::Audience(audience) if !pii => {
            let mut segments = audience.expression.segments().into_iter();
            if let Some(name) = segments.find(|name| is_personal(manifest, name)) {
                bail!("the audience `{name}` depends on personal data; use it with --pii");
            }
            let mut used = audience.expression.features().into_iter().chain([&audience.order_by.0]);
            if let Some(name) = used.find(|name| manifest.is_personal(&name.view, &name.feature)) {
                bail!("{name} is personal data, which an expression may use only with --pii");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Checks whether personal features decide about the members of the segment `name`.
fn is_personal(manifest: &Manifest, name: &str) -> bool {
    manifest.segment(name).is_some_and(|segment| !manifest.personal_behind(segment).is_empty())
}

/// Writes the export to a file or, for `lake:PATH`, to the lake, behind a progress bar. Returns the bytes.
async fn write(exporting: Exporting, out: &str, lake: &Lake) -> anyhow::Result<u64> {
    let progress = Arc::new(Progress::default());
    progress.enter("export", 0);
    let Some(path) = out.strip_prefix("lake:") else {
        return progress::watch(&progress, write_file(exporting, Path::new(out), &progress)).await;
    };
    let path = ObjectPath::parse(path).with_context(|| format!("{path} is not a valid path in the lake"))?;
    if !is_export(&path) {
        let name = suggested_name(&path);
        bail!(
            "{out} is not a path for exports; choose one below lake:{EXPORTS}/, such as lake:{EXPORTS}/{name}"
        );
    }
    progress::watch(&progress, write_object(exporting, lake, &path, &progress)).await
}

/// Prints which personal columns are hashed or left out.
fn print_personal(columns: &ExportColumns) -> anyhow::Result<()> {
    for (label, hashed) in [("hashed", true), ("left out", false)] {
        let personal = columns.personal().into_iter();
        let personal =
            personal.filter(|(_, treatment)| *treatment != Treatment::Shown && treatment.is_hash() == hashed);
        let names: Vec<String> = personal.map(|(name, _)| name).collect();
        if !names.is_empty() {
            table::line(&format!("{label}, as personal data: {}", names.join(", ")))?;
        }
    }
    Ok(())
}

/// Returns a file name for an export that was meant for `path`.
fn suggested_name(path: &ObjectPath) -> &str {
    match path.filename() {
        Some(name) if name.contains('.') && !name.starts_with('.') => name,
        _ => "members.csv",
    }
}

/// Writes the export to a temporary file in the folder of `file`, which is renamed when complete.
async fn write_file(exporting: Exporting, file: &Path, progress: &Progress) -> anyhow::Result<u64> {
    let name =
        file.file_name().with_context(|| format!("{} is not a file path", file.display()))?.to_string_lossy();
    let part: PathBuf = file.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = write_part(exporting, &part, progress).await;
    let moved = match written {
        Ok(bytes) => tokio::fs::rename(&part, file).await.map(|()| bytes).map_err(Into::into),
        Err(error) => Err(error),
    };
    if moved.is_err() {
        let _ = tokio::fs::remove_file(&part).await;
    }
    moved.with_context(|| format!("cannot write {}", file.display()))
}

/// Writes the export to the temporary file.
async fn write_part(mut exporting: Exporting, part: &Path, progress: &Progress) -> anyhow::Result<u64> {
    let mut out = tokio::fs::File::from_std(private_file::create(part)?);
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

/// Writes the export as an object, which appears only when it is complete.
async fn write_object(
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
    written.map(|()| bytes).with_context(|| format!("cannot write {path} to the lake"))
}
