//! Report of an erasure: which snapshots, raw files and exports may contain erased customers, and which ids
//! are unknown.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::TryStreamExt;
use indicatif::{HumanBytes, HumanCount};
use object_store::path::Path;

use crate::{
    cli::{table, terminal},
    feature::CustomerId,
    lake::Lake,
    snapshot::{
        EXPORTS, Holding, SnapshotId, column_scan::text_column, read_current, reader::SnapshotReader, rfc3339,
    },
};

/// Number of raw files to print.
const SHOWN_FILES: usize = 20;
/// Number of similar ids to print for an unknown id.
const SHOWN_IDS: usize = 3;

/// Prints which snapshots contain erased customers.
pub(super) async fn print_holdings(lake: &Lake, holdings: &[Holding]) -> anyhow::Result<()> {
    let current = read_current(lake).await?;
    let role = |id: &SnapshotId| match &current {
        Some(current) if current.snapshot == *id => "current",
        Some(current) if current.previous.as_ref() == Some(id) => "previous",
        _ => "",
    };
    let mut rows = Vec::new();
    for Holding { manifest, customers } in holdings {
        let id = &manifest.id;
        let held = match customers {
            Ok(held) if held.is_empty() => continue,
            Ok(held) => HumanCount(held.len() as u64).to_string(),
            Err(error) => format!("cannot be read: {error}"),
        };
        rows.push(vec![id.to_string(), held, role(id).to_owned()]);
    }
    if rows.is_empty() {
        return Ok(table::line("no snapshot contains erased customers")?);
    }
    table::line("\nsnapshots that contain erased customers")?;
    Ok(table::print(&["snapshot", "customers", ""], &rows)?)
}

/// Prints to standard error which of `ids` no snapshot contains, with similar ids of the newest snapshot.
/// Returns their number.
pub(super) async fn print_unknown(
    lake: &Lake,
    holdings: &[Holding],
    ids: &BTreeSet<CustomerId>,
) -> anyhow::Result<usize> {
    let held =
        |id: &&CustomerId| holdings.iter().any(|h| h.customers.as_ref().is_ok_and(|held| held.contains(id)));
    let readable = holdings.iter().all(|holding| holding.customers.is_ok());
    let unknown: Vec<&CustomerId> = ids.iter().filter(|id| readable && !held(id)).collect();
    if unknown.is_empty() {
        return Ok(0);
    }
    let similar = match holdings.first() {
        Some(newest) => similar_ids(lake, newest, &unknown).await?,
        None => BTreeMap::new(),
    };
    for id in &unknown {
        let near = similar.get(&normalized(id.as_str())).map(|near| near.join("` or `"));
        let hint =
            near.map_or_else(|| "check the spelling".to_owned(), |near| format!("did you mean `{near}`?"));
        terminal::warn(&format!("no snapshot contains `{id}`; {hint}"));
    }
    Ok(unknown.len())
}

/// Returns the ids in the snapshot of `holding` that differ from one of `unknown` only in case, padding or
/// punctuation, by their common form.
async fn similar_ids(
    lake: &Lake,
    holding: &Holding,
    unknown: &[&CustomerId],
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let wanted: BTreeSet<String> = unknown.iter().map(|id| normalized(id.as_str())).collect();
    let mut similar: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let reader = SnapshotReader::offline(lake, &holding.manifest);
    let mut batches = reader.files().columns_with_id(&[]);
    while let Some(batch) = batches.try_next().await? {
        let ids = text_column(&batch, "customer_id").context("a part lacks the column of ids")?;
        for id in ids.iter().flatten() {
            let form = normalized(id);
            if wanted.contains(&form) {
                let near = similar.entry(form).or_default();
                if near.len() < SHOWN_IDS {
                    near.push(id.to_owned());
                }
            }
        }
    }
    Ok(similar)
}

/// Returns the form of an id that spellings share: lower case, without punctuation, and without leading zeros
/// of numbers.
fn normalized(id: &str) -> String {
    let mut form = String::new();
    let mut is_in_number = false;
    for letter in id.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase) {
        if letter == '0' && !is_in_number {
            continue;
        }
        is_in_number = letter.is_numeric();
        form.push(letter);
    }
    form
}

/// Checks whether a snapshot contains erased customers, or cannot be read.
fn is_any_held(holdings: &[Holding]) -> bool {
    holdings.iter().any(|holding| !holding.customers.as_ref().is_ok_and(Vec::is_empty))
}

/// Prints the exports in the lake, which Larder wrote and which may contain erased customers.
pub(super) async fn print_exports(lake: &Lake, holdings: &[Holding]) -> anyhow::Result<()> {
    let exports = lake.list(&Path::from(EXPORTS)).await?;
    if exports.is_empty() {
        return Ok(());
    }
    table::line(if is_any_held(holdings) {
        "\nexports in the lake may contain erased customers; delete these files, or export again"
    } else {
        "\nexports in the lake are not searched; delete those with erased customers, or export again"
    })?;
    let rows: Vec<Vec<String>> = exports
        .iter()
        .map(|file| {
            let written = rfc3339::format(file.last_modified);
            vec![file.location.to_string(), HumanBytes(file.size).to_string(), written]
        })
        .collect();
    Ok(table::print(&["file", "size", "written"], &rows)?)
}

/// Prints the raw files that the snapshots were built from, which may still contain erased customers.
pub(super) fn print_raw_files(holdings: &[Holding]) -> anyhow::Result<()> {
    let files: BTreeSet<(&str, &str)> = holdings
        .iter()
        .flat_map(|holding| &holding.manifest.sources)
        .map(|source| (source.table.as_str(), source.path.as_str()))
        .collect();
    if !files.is_empty() {
        table::line(if is_any_held(holdings) {
            "\nLarder does not change raw files; clean these files yourself. Until then, only the erasure \
             list keeps the customers out of builds"
        } else {
            "\nLarder does not change raw files, and these may still hold lines of the customers, whom the \
             erasure list keeps out of builds. `larder subject ID` finds the lines of a customer"
        })?;
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

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn ids_that_differ_in_case_padding_or_punctuation_have_one_form() {
        for id in ["C0077", "c77", "c-0077", " C 077"] {
            assert_eq!(normalized(id), "c77", "{id}");
        }
        for other in ["c770", "c078", "d0077", "c0707"] {
            assert_ne!(normalized(other), "c77", "{other}");
        }
    }
}
