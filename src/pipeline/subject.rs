//! Search of the raw data for one customer, for the customer's right of access.

use std::sync::{Arc, atomic::Ordering};

use super::{
    error::BuildError,
    raw::{RawError, Table, TableSpec, files, subject::lines_of},
    staging::Scratch,
};
use crate::{config::Config, feature::CustomerId, lake::Lake, telemetry::Progress};

pub use super::raw::subject::SubjectLine;

/// The raw lines of a customer.
#[derive(Debug, Default)]
pub struct SubjectLines {
    /// Lines by table, file and line.
    pub lines: Vec<SubjectLine>,
    /// Warnings about tables and files that were not searched.
    pub warnings: Vec<String>,
}

/// Returns all raw lines of the customer `id`.
///
/// # Errors
/// Fails for an invalid setting of `[raw]`, and if a file cannot be read: a part of the lines is not enough.
pub async fn raw_lines(
    lake: &Lake,
    config: &Config,
    id: &CustomerId,
    progress: &Progress,
) -> Result<SubjectLines, BuildError> {
    let specs = Arc::new(TableSpec::all(&config.raw)?);
    let scratch = Scratch::configured(config)?;
    let (mut files, mut found) = (Vec::new(), SubjectLines::default());
    for table in Table::ALL {
        match files::find(lake, table, &config.raw).await {
            Ok(of_table) => {
                files.extend(of_table.files);
                found.warnings.extend(of_table.warnings.iter().map(ToString::to_string));
            }
            Err(error @ RawError::NoFiles { .. }) => found.warnings.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    progress.enter("raw files", files.iter().map(|file| file.bytes).sum());
    for file in files {
        let (specs, id, folder) = (Arc::clone(&specs), id.clone(), scratch.path().to_path_buf());
        let bytes = file.bytes;
        let lines = tokio::task::spawn_blocking(move || match specs.get(&file.table) {
            Some(spec) => lines_of(&file, spec, &id, &folder),
            None => Ok(Vec::new()),
        });
        found.lines.extend(lines.await??);
        progress.done.fetch_add(bytes, Ordering::Relaxed);
    }
    Ok(found)
}
