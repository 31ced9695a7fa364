//! Reads the ids of customers from a file as people have it: one id a line, or a table saved by a
//! spreadsheet or pandas.

use std::path::Path;

use anyhow::{Context, bail};

use crate::feature::{CustomerId, feature_name, is_null_word};

/// The delimiters that are tried.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// Reads the ids in `bytes`, the content of `file`, of a table those in the column `customer_id` or of one
/// of the names `columns`.
///
/// # Errors
/// Names the line of what is no id.
pub(super) fn read(file: &Path, bytes: &[u8], columns: &[&str]) -> anyhow::Result<Vec<CustomerId>> {
    let shown = file.display();
    let Ok(text) = std::str::from_utf8(bytes) else { bail!("{shown} is no UTF-8 text; save it as UTF-8") };
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
                bail!("{shown}, line {line}: it has no field for the customer id")
            };
            add(line, id)?;
        }
        return Ok(ids);
    }
    if let Some(delimiter) = columns_of(text) {
        bail!(
            "{shown} has several columns, separated by `{}`, and none is called customer_id; name that of the ids so",
            char::from(delimiter).escape_default()
        );
    }
    for (line, text) in (1..).zip(text.lines()) {
        add(line, &unquoted(text.trim()))?;
    }
    Ok(ids)
}

fn records(text: &str, delimiter: u8) -> csv::StringRecordsIntoIter<&[u8]> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    reader.into_records()
}

/// Returns the delimiter of a text of several lines that has one in every line.
fn columns_of(text: &str) -> Option<u8> {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let divides = |delimiter: &u8| lines().all(|line| line.contains(char::from(*delimiter)));
    DELIMITERS.into_iter().find(|delimiter| lines().count() > 1 && divides(delimiter))
}

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
    fn files_of_spreadsheets_and_pandas_are_read() {
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
        // Without a header a comma belongs to the id.
        assert_eq!(ids(b"a,b\n"), Ok(vec!["a,b".to_owned()]));
    }

    #[test]
    fn what_is_no_id_is_named_by_its_line() {
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
