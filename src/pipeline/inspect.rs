//! Inspection of files without a configuration: their format, their columns, and the configuration that loads
//! them.
//!
//! A bounded sample of each file is read. The report has names of columns and the form of values, but no
//! values, which may be personal.

use std::{
    fmt::Write,
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::raw::format::FileKind;
use mapping::TableMapping;
use profile::{FileProfile, profile, settle_dates};
use sample::FileSample;
use settings::{FileFindings, comment};

mod decision;
mod delimited;
mod dictionary;
mod encoding;
mod figures;
mod finder;
mod mapping;
mod nested;
mod orders;
mod people;
mod prices;
mod profile;
mod sample;
mod settings;
mod times;

/// Configuration without any file, with comments.
pub const MINIMAL_CONFIGURATION: &str = settings::MINIMAL;

/// Reason why a file cannot be inspected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The name of the file tells no known format.
    #[error("{file}: cannot tell its format from its name, which must end in {}", FileKind::NAMES)]
    Format {
        /// Path of the file.
        file: String,
    },
    /// The path is that of a folder.
    #[error("{folder}: is a folder; name its files, as in `larder inspect FOLDER/*.csv`")]
    Folder {
        /// Path of the folder.
        folder: String,
    },
    /// The file cannot be read.
    #[error("{file}: cannot be read")]
    Read {
        /// Path of the file.
        file: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The first line of the file is not a header.
    #[error(
        "{file}: its first line has {fields} fields, which look like values or have no usual name of a \
         column, and are not shown; a header must name the columns"
    )]
    Header {
        /// Path of the file.
        file: String,
        /// Number of fields.
        fields: usize,
    },
}

/// The findings about some files.
#[derive(Debug)]
pub struct Inspection {
    /// The configuration that loads the files, with the report as comments.
    pub toml: String,
    /// Doubts and missing columns, in words.
    pub doubts: Vec<String>,
    /// Whether a table lacks a required column, or the files have no order lines.
    pub is_incomplete: bool,
}

/// Looks at `files`. Blocks on files.
///
/// # Errors
/// Fails for a file that cannot be read, or that has no header.
pub fn inspect(files: &[PathBuf]) -> Result<Inspection, InspectError> {
    let mut report = String::new();
    let mut all: Vec<FileFindings> = Vec::new();
    let mut doubts = Vec::new();
    let (mut samples, mut profiles) = (Vec::new(), Vec::new());
    for path in files {
        let (sample, columns) = look(path, &path.display().to_string())?;
        samples.push(sample);
        profiles.push(columns);
    }
    settle_dates(&mut profiles);
    for ((path, sample), columns) in files.iter().zip(samples).zip(profiles) {
        let shown = path.display().to_string();
        let mapping = decision::map(&columns);
        let absolute =
            path.canonicalize().map_err(|source| InspectError::Read { file: shown.clone(), source })?;
        let mut own = sample.doubts.clone();
        own.extend(mapping.doubts.iter().cloned());
        own.extend(mapping.missing.iter().map(|name| {
            format!("there is no column for `{name}`: name it in `columns` of [raw.{}]", mapping.table.name())
        }));
        describe(&mut report, &shown, &sample, &columns, &mapping, &own);
        doubts.extend(own.iter().map(|doubt| format!("{shown}: {doubt}")));
        let path = absolute.display().to_string();
        all.push(FileFindings { path, text: sample.settings, style: columns.style, mapping });
    }
    let has_orders = all.iter().any(|file| file.mapping.table == super::raw::Table::Transactions);
    if !has_orders {
        doubts.push("no file has order lines, which a build needs".to_owned());
        let _ = writeln!(report, "#\n# No file has order lines, which a build needs.");
    }
    let is_incomplete = !has_orders || all.iter().any(|file| !file.mapping.missing.is_empty());
    Ok(Inspection { toml: format!("{report}\n{}", settings::toml(&all)), doubts, is_incomplete })
}

/// Reads a sample of the file at `path`, and the profile of its columns.
fn look(path: &Path, shown: &str) -> Result<(FileSample, FileProfile), InspectError> {
    let file = || shown.to_owned();
    if path.is_dir() {
        return Err(InspectError::Folder { folder: shown.to_owned() });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kind = FileKind::of(&name).ok_or_else(|| InspectError::Format { file: file() })?;
    let read = sample::read(path, kind);
    let mut sample = read.map_err(|source| InspectError::Read { file: file(), source })?;
    let is_value = |name: &&String| dictionary::looks_like_value(name);
    let values = sample.columns.iter().filter(is_value).count();
    let has_mail = sample.columns.iter().any(|name| name.contains('@'));
    let is_unknown = !sample.has_keys && !sample.columns.iter().any(|name| dictionary::is_usual(name));
    if has_mail || is_unknown || values * 3 > sample.columns.len() {
        return Err(InspectError::Header { file: file(), fields: sample.columns.len() });
    }
    let columns = profile(&sample.columns, std::mem::take(&mut sample.rows));
    Ok((sample, columns))
}

/// Writes the report about a file, as comments.
fn describe(
    out: &mut String,
    shown: &str,
    sample: &FileSample,
    profile: &FileProfile,
    mapping: &TableMapping,
    doubts: &[String],
) {
    let mut line = |text: &str| {
        let _ = writeln!(out, "{}", format!("# {}", comment(text)).trim_end());
    };
    line(shown);
    line(&format!("  {}; {}", sample.facts.join(", "), sample.seen));
    let decimal = match (profile.style.decimal, profile.style.thousands) {
        (None, None) => None,
        (decimal, None) => Some(format!("  numbers with the decimal mark `{}`", decimal.unwrap_or('.'))),
        (decimal, Some(thousands)) => Some(format!(
            "  numbers with the decimal mark `{}` and the thousands separator `{thousands}`",
            decimal.unwrap_or('.')
        )),
    };
    if let Some(decimal) = decimal {
        line(&decimal);
    }
    line(&format!("  table {}: {}", mapping.table.name(), mapping.reason));
    line("");
    let width =
        profile.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0).clamp(6, 40);
    line(&format!(
        "  {:<width$}  {:<8}  {:>6}  {:<28}  read as",
        "column", "type", "empty", "form of values"
    ));
    for column in &profile.columns {
        let used: Vec<&str> = mapping
            .columns
            .iter()
            .filter(|mapped| mapped.source == column.name)
            .map(|mapped| mapped.name.as_str())
            .collect();
        let empty = format!("{:.1} %", column.null_share() * 100.0);
        let forms = column.forms.join(" | ");
        let (name, kind) = (&column.name, column.value_type.name());
        let text = format!("  {name:<width$}  {kind:<8}  {empty:>6}  {forms:<28}  {}", used.join(", "));
        line(text.trim_end());
    }
    if !doubts.is_empty() {
        line("");
        line("  Doubts:");
        for doubt in doubts {
            line(&format!("  - {doubt}"));
        }
    }
    line("");
}
