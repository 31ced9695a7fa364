//! The raw files: whether a build finds any.

use indicatif::HumanBytes;

use super::{Examined, Finding};
use crate::{
    causes::with_causes,
    cli::counted::counted,
    lake::LakeError,
    pipeline::raw::{RawError, Table, files},
};

/// Advice if a setting finds no files, or files that a build cannot read.
const SETTING: &str = "correct `files` of this table in [raw], or put the files there";

pub(super) async fn check(examined: &Examined<'_>) -> Vec<Finding> {
    let Some(lake) = &examined.lake else { return Vec::new() };
    let raw = &examined.setup.config.raw;
    let tables = [
        (Table::Transactions, "raw transactions", &raw.transactions),
        (Table::Customers, "raw customers", &raw.customers),
        (Table::Interactions, "raw interactions", &raw.interactions),
    ];
    let mut findings = Vec::new();
    for (table, check, config) in tables {
        match files::find(lake, table, raw).await {
            // A table that the configuration does not name may be missing.
            Ok(found) if found.files.is_empty() && found.warnings.is_empty() => {}
            Ok(found) => {
                let bytes = found.files.iter().map(|file| file.bytes).sum();
                let count = counted(found.files.len() as u64, "file", "files");
                let message = format!("{count}, {}", HumanBytes(bytes));
                findings.push(match found.warnings.first() {
                    None => Finding::ok(check, &message),
                    Some(skipped) => Finding::warning(
                        check,
                        &format!("{message}; {skipped}"),
                        "give the files a known extension, or list them in `ignore` of this table in [raw]",
                    ),
                });
            }
            Err(RawError::NoFiles { place, .. }) => {
                let message = format!("there are no files in {place}");
                findings.push(if config.files.is_empty() {
                    let advice = "upload files with `larder upload`, or set `files` in [raw.transactions]";
                    Finding::warning(check, &message, advice)
                } else {
                    Finding::failed(check, &message, SETTING)
                });
            }
            // A folder of this machine that is not there.
            Err(RawError::Lake(LakeError::Url { url, why })) => {
                let message = format!("there are no files in {url}: {why}");
                findings.push(Finding::failed(check, &message, SETTING));
            }
            Err(RawError::Lake(error)) => {
                let advice = "builds need the right to list and read raw files; `serve` does not";
                findings.push(Finding::warning(check, &with_causes(&error), advice));
            }
            Err(error) => findings.push(Finding::failed(check, &with_causes(&error), SETTING)),
        }
    }
    findings
}
