//! The file of an export: its columns, order and format, and the answer that streams it.

use std::str::FromStr;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

use crate::{
    config::Scope,
    http::{
        Problem,
        access::Access,
        extract::SnapshotRead,
        reply::{
            MinCount,
            audit::{AuditNote, ExportedList, NO_STORE},
        },
    },
    serving::{
        Served,
        export::{
            CsvForm, Export, ExportColumns, ExportFormat, ExportList, ExportOrder, ExportRows, Formulas,
            PersonalValues, Platform, Treatment,
        },
    },
};

const SNAPSHOT: HeaderName = HeaderName::from_static("larder-snapshot");
const AS_OF: HeaderName = HeaderName::from_static("larder-as-of");
const FROM: HeaderName = HeaderName::from_static("larder-from");
const ROWS: HeaderName = HeaderName::from_static("larder-rows");

/// Parameters of a file, as the caller gave them.
pub(super) struct FileOptions<'a> {
    pub(super) format: Option<&'a str>,
    pub(super) order: Option<&'a str>,
    pub(super) columns: Option<Vec<&'a str>>,
    pub(super) formulas: Option<&'a str>,
    pub(super) bom: Option<bool>,
    pub(super) platform: Option<&'a str>,
    /// Kind of the rows, which decides about the columns.
    pub(super) rows: ExportRows,
}

/// Columns, format and order of a file.
pub(super) struct FileShape {
    columns: ExportColumns,
    format: ExportFormat,
    order: ExportOrder,
    csv: CsvForm,
}

impl FileShape {
    /// Reads the parameters of a request. `refused` makes a problem of an error, which names the parameter.
    pub(super) fn new(
        read: &SnapshotRead,
        options: FileOptions<'_>,
        refused: impl Fn(String) -> Problem,
    ) -> Result<Self, Problem> {
        let platform = named("platform", options.platform).map_err(&refused)?;
        let values = personal_values(&read.access, platform)?;
        Self::with_values(&read.served, options, values).map_err(refused)
    }

    fn with_values(
        served: &Served,
        options: FileOptions<'_>,
        values: PersonalValues,
    ) -> Result<Self, String> {
        let format = named("format", options.format)?.unwrap_or(ExportFormat::Csv);
        let order = named("order", options.order)?.unwrap_or(ExportOrder::Id);
        let formulas = named("formulas", options.formulas)?;
        if format != ExportFormat::Csv && formulas == Some(Formulas::Guard) {
            return Err(format!("`formulas` can be guard in csv only, not in {format}"));
        }
        let bom = options.bom.unwrap_or_default();
        if bom && format != ExportFormat::Csv {
            return Err(format!("`bom` can be true in csv only, not in {format}"));
        }
        let csv = CsvForm { bom, formulas: formulas.unwrap_or_default() };
        let columns = match options.columns {
            None => ExportColumns::all(&served.manifest, values, options.rows),
            Some(names) => {
                let named = ExportColumns::named(&served.manifest, names, values, options.rows);
                named.map_err(|error| error.to_string())?
            }
        };
        if columns.is_empty() {
            return Err("`columns` names no column".to_owned());
        }
        Ok(Self { columns, format, order, csv })
    }
}

/// Returns the form of personal values for the caller. A file for a platform has hashes only, which a caller
/// with the scope `pii` could compute, too.
fn personal_values(access: &Access, platform: Option<Platform>) -> Result<PersonalValues, Problem> {
    let has_pii = access.has(Scope::Pii);
    if platform.is_some() && !has_pii {
        access.check_part(Scope::Match, "`platform` asks for hashes")?;
    }
    Ok(match platform {
        None if has_pii => PersonalValues::Shown,
        None if !access.has(Scope::Match) => PersonalValues::Withheld,
        platform => PersonalValues::Hashed(platform),
    })
}

/// Reads the parameter `name`, which is one of some names. The error lists the names.
fn named<T: FromStr<Err = &'static str>>(name: &str, text: Option<&str>) -> Result<Option<T>, String> {
    text.map(str::parse).transpose().map_err(|names| format!("`{name}` must be {names}"))
}

/// Starts the export and returns its stream.
pub(super) async fn export(
    read: &SnapshotRead,
    name: &str,
    list: ExportList,
    asked_by: Vec<String>,
    file: FileShape,
) -> Result<Response, Problem> {
    let SnapshotRead { app, served, access, .. } = read;
    let FileShape { columns, format, order, csv } = file;
    let media_type = match format {
        ExportFormat::Csv => "text/csv; charset=utf-8; header=present",
        ExportFormat::Ndjson => "application/x-ndjson",
        ExportFormat::Parquet => "application/vnd.apache.parquet",
    };
    let export = Export { list, columns, format, order, csv };
    let exporting = app.serving.export(served, export.clone()).await?;
    let least = MinCount::of(app, access);
    match export.list {
        ExportList::Audience(_) => least.check_audience(exporting.total)?,
        ExportList::Segment(_) | ExportList::Churn(_) | ExportList::Changes(_) => {
            least.check_list(exporting.total)?;
        }
    }
    access.charge(exporting.rows)?;
    let note = AuditNote::Export(exported_list(name, served, exporting.rows, &export, asked_by));
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("export"));
    let (snapshot, rows) = (served.manifest.id.to_string(), exporting.rows.to_string());
    let disposition = format!("attachment; filename=\"{name}-{snapshot}.{format}\"");
    let mut response = Response::new(Body::from_stream(exporting));
    response.extensions_mut().insert(note);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_DISPOSITION, value(disposition));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(SNAPSHOT, value(snapshot));
    headers.insert(AS_OF, value(served.as_of.clone()));
    headers.insert(ROWS, value(rows));
    if let ExportList::Changes(changes) = &export.list {
        headers.insert(FROM, value(changes.from.to_string()));
    }
    Ok(response)
}

/// Describes an export for the audit log: list, number of customers, and the personal features that are shown
/// or hashed.
///
/// An expression over personal features quotes personal values, so only the names of these features are
/// written.
fn exported_list(
    list: &str,
    served: &Served,
    rows: u64,
    export: &Export,
    asked_by: Vec<String>,
) -> ExportedList {
    let personal = export.columns.personal();
    let names = |is_listed: fn(&Treatment) -> bool| {
        let names = personal.iter().filter(|(_, treatment)| is_listed(treatment));
        names.map(|(name, _)| name.clone()).collect()
    };
    let expression = match &export.list {
        ExportList::Audience(audience) if asked_by.is_empty() => Some(audience.expression.to_string()),
        _ => None,
    };
    ExportedList {
        list: list.to_owned(),
        expression,
        snapshot: served.manifest.id.to_string(),
        rows,
        features: names(|treatment| *treatment == Treatment::Shown),
        hashed: names(|treatment| treatment.is_hash()),
        asked_by,
    }
}
