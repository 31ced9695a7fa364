//! Parser for files of customer ids: one id per line, or a table saved by a spreadsheet or pandas.

use std::path::Path;

use anyhow::{Context, bail};

use crate::feature::{CustomerId, feature_name, is_null_word};

/// Delimiters to try.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// Reads the customer ids in `bytes`, the content of `file`. In a table the ids are in the column
/// `customer_id`, or in a column with one of the names in `columns`.
///
/// # Errors
/// A message with the line of an invalid id.
pub(super) fn read(file: &Path, bytes: &[u8], columns: &[&str]) -> anyhow::Result<Vec<CustomerId>> {
    let shown = file.display();
    let Ok(text) = std::str::from_utf8(bytes) else { bail!("{shown} is not UTF-8; save it as UTF-8") };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_id = |name: &str| feature_name(name) == "customer_id" || columns.contains(&name.trim());
    let table = DELIMITERS.into_iter().find_map(|delimiter| {
        let header = records(text, delimiter).next()?.ok()?;
        header.iter().position(is_id).map(|place| (delimiter, place))
    });
    let mut ids = Vec::new();
    let mut add = |line: u64, id: &str| {
        if !is_null_word(id.trim()) {
            ids.push(CustomerId::parse(id).with_context(|| format!("{shown}, line {line}"))?);
        }
        anyhow::Ok(())
    };
    if let Some((delimiter, place)) = table {
        for record in records(text, delimiter).skip(1) {
            let record = record.with_context(|| format!("cannot read {shown}"))?;
            let line = record.position().map_or(0, csv::Position::line);
            let Some(id) = record.get(place) else {
                bail!("{shown}, line {line}: no field for the customer id")
            };
            add(line, id)?;
        }
        return Ok(ids);
    }
    if let Some(delimiter) = delimiter_of(text) {
        bail!(
            "{shown} has several columns, separated by `{}`, but none named customer_id; rename the column \
             with the ids",
            char::from(delimiter).escape_default()
        );
    }
    for (line, text) in (1..).zip(text.lines()) {
        add(line, &unquoted(text.trim()))?;
    }
    Ok(ids)
}

/// Parses the records of a delimited text.
fn records(text: &str, delimiter: u8) -> csv::StringRecordsIntoIter<&[u8]> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    reader.into_records()
}

/// Returns the delimiter that occurs in every line of a text with several lines.
fn delimiter_of(text: &str) -> Option<u8> {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let divides = |delimiter: &u8| lines().all(|line| line.contains(char::from(*delimiter)));
    DELIMITERS.into_iter().find(|delimiter| lines().count() > 1 && divides(delimiter))
}

/// Removes the quotes around a field.
fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &[u8]) -> Result<Vec<String>, String> {
        let read = read(Path::new("ids.csv"), text, &["CustomerID"]);
        read.map(|ids| ids.iter().map(ToString::to_string).collect()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn ids_are_read_from_spreadsheets_and_pandas() {
        for text in [
            "17850\n14646\n",
            "17850.0\r\n14646\r\n",
            "\u{feff}17850\n\"14646\"",
            "\u{feff}customer_id\r\n17850.0\r\n\"14646\"\r\n",
            "Customer ID\n17850\n\n14646\n",
            "CustomerID\n17850\n14646\n",
            ",customer_id\n0,17850.0\n1,14646.0\n2,\n",
            "name;customer_id\n\"a;b\";17850\n\"c\nd\";14646\n",
            "customer_id\tname\n17850\ta\n14646\tb\n",
        ] {
            assert_eq!(ids(text.as_bytes()), Ok(vec!["17850".to_owned(), "14646".to_owned()]), "{text:?}");
        }
        // Without a header a comma is part of the id.
        assert_eq!(ids(b"a,b\n"), Ok(vec!["a,b".to_owned()]));
    }

    #[test]
    fn invalid_id_is_reported_with_its_line() {
        for (text, words) in [
            ("17850\n1.79E+04\n".as_bytes(), ["line 2", "rounded"]),
            (b"customer_id\n17850\n1.79E+04\n", ["line 3", "rounded"]),
            (b"name,customer_id\na\n", ["line 2", "no field"]),
            (b"id,name\n17850,Ada\n", ["several columns", "customer_id"]),
            (b"\xff\xfe1\0", ["ids.csv", "UTF-8"]),
        ] {
            let error = ids(text).expect_err("no ids");
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
