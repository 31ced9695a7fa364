//! The configuration that loads the files, as commented TOML.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{figures::NumberStyle, mapping::TableMapping, sample::TextSettings};
use crate::pipeline::raw::Table;

/// The findings about a file that its settings depend on.
#[derive(Debug)]
pub(super) struct FileFindings {
    /// Absolute path.
    pub(super) path: String,
    pub(super) text: TextSettings,
    pub(super) style: NumberStyle,
    pub(super) mapping: TableMapping,
}

/// Settings that may differ between the files of a table, as lines of TOML.
#[derive(Debug, PartialEq, Eq)]
struct FileSettings {
    scalars: Vec<String>,
    columns: Vec<String>,
}

/// Returns the text `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let reverses = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() || reverses => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| quoted(text)).collect();
    if let [only] = texts.as_slice() { only.clone() } else { format!("[{}]", texts.join(", ")) }
}

impl FileSettings {
    fn of(file: &FileFindings) -> Self {
        let (text, mapping) = (&file.text, &file.mapping);
        let mut scalars = Vec::new();
        if !mapping.time_format.is_empty() {
            scalars.push(format!("time_format = {}", list(&mapping.time_format)));
        }
        let mark = |c: char| quoted(&c.to_string());
        scalars.extend(text.delimiter.map(|delimiter| format!("delimiter = {}", mark(delimiter))));
        scalars.extend(text.quote.map(|quote| format!("quote = {quote}")));
        scalars.extend(text.encoding.as_ref().map(|encoding| format!("encoding = {}", quoted(encoding))));
        scalars.extend(text.skip.map(|skip| format!("skip = {skip}")));
        scalars.extend(file.style.decimal.map(|decimal| format!("decimal = {}", mark(decimal))));
        scalars.extend(file.style.thousands.map(|thousands| format!("thousands = {}", mark(thousands))));
        scalars.extend(mapping.scale.map(|scale| format!("scale = {scale}")));
        let defaults =
            mapping.defaults.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value)));
        let defaults: Vec<String> = defaults.collect();
        if !defaults.is_empty() {
            scalars.push(format!("defaults = {{ {} }}", defaults.join(", ")));
        }
        let width = mapping.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
        let column = |column: &super::mapping::MappedColumn| {
            let (name, source) = (key(&column.name), quoted(&column.source));
            let text = format!("{name:<width$} = {source}");
            format!("{text:<48}  # {}", comment(&column.reason))
        };
        Self { scalars, columns: mapping.columns.iter().map(column).collect() }
    }
}

/// Returns `name` as a key of TOML.
fn key(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_bare && !name.is_empty() { name.to_owned() } else { quoted(name) }
}

/// Returns `text` as one line without control characters.
pub(super) fn comment(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(plain).collect()
}

/// Returns the configuration that loads `files`.
pub(super) fn toml(files: &[FileFindings]) -> String {
    let mut out = String::new();
    let _ =
        writeln!(out, "[lake]\nurl = \"lake\"  # the folder for snapshots, or a bucket: s3://bucket/path");
    let currencies: BTreeSet<&String> = files.iter().flat_map(|file| &file.mapping.currencies).collect();
    if let Some(base) = currencies.first() {
        let rates: Vec<String> = currencies.iter().skip(1).map(|name| format!("{name} = 1.0")).collect();
        let _ = write!(
            out,
            "\n# Several currencies: choose the base, fill in the rates, and remove the leading #.\n\
             #[raw.currency]\n#base = {}\n#rates = {{ {} }}\n",
            quoted(base),
            rates.join(", ")
        );
    }
    for table in Table::ALL {
        let of_table: Vec<&FileFindings> = files.iter().filter(|file| file.mapping.table == table).collect();
        if !of_table.is_empty() {
            section(&mut out, table, &of_table);
        }
    }
    out
}

/// Writes the section of `table`.
fn section(out: &mut String, table: Table, files: &[&FileFindings]) {
    let name = table.name();
    let pattern = |file: &FileFindings| glob::Pattern::escape(&file.path);
    let paths: Vec<String> = files.iter().map(|file| pattern(file)).collect();
    let _ = write!(out, "\n[raw.{name}]\nfiles = ");
    match paths.as_slice() {
        [only] => {
            let _ = writeln!(out, "{}", quoted(only));
        }
        several => {
            let lines: Vec<String> = several.iter().map(|path| format!("    {},\n", quoted(path))).collect();
            let _ = writeln!(out, "[\n{}]", lines.concat());
        }
    }
    if files.iter().any(|file| file.mapping.fills_orders) {
        let _ =
            writeln!(out, "fill = \"order\"  # only the first line of an order has its customer and time");
    }
    if files.iter().any(|file| file.mapping.has_decimal_quantities) {
        let _ = writeln!(out, "decimal_quantities = true");
    }
    let personal: BTreeSet<&String> = files.iter().flat_map(|file| &file.mapping.personal).collect();
    if !personal.is_empty() {
        let names: Vec<String> = personal.iter().map(|name| quoted(name)).collect();
        let _ = writeln!(out, "personal = [{}]", names.join(", "));
    }
    let settings: Vec<(FileSettings, &FileFindings)> =
        files.iter().map(|file| (FileSettings::of(file), *file)).collect();
    let (first, _) = &settings[0];
    let is_uniform = settings.iter().all(|(other, _)| other == first);
    if is_uniform {
        for line in &first.scalars {
            let _ = writeln!(out, "{line}");
        }
    }
    let types: BTreeMap<&String, &str> =
        files.iter().flat_map(|file| &file.mapping.types).map(|(name, kind)| (name, *kind)).collect();
    if !types.is_empty() {
        let types: Vec<String> =
            types.iter().map(|(name, kind)| format!("{} = \"{kind}\"", key(name))).collect();
        let _ = writeln!(out, "types = {{ {} }}", types.join(", "));
    }
    if is_uniform {
        if !first.columns.is_empty() {
            let _ = writeln!(out, "\n[raw.{name}.columns]\n{}", first.columns.join("\n"));
        }
        return;
    }
    let mut written: Vec<&FileSettings> = Vec::new();
    for (own, _) in &settings {
        if written.contains(&own) {
            continue;
        }
        let same: Vec<String> =
            settings.iter().filter(|(other, _)| other == own).map(|(_, file)| pattern(file)).collect();
        let _ = writeln!(out, "\n[[raw.{name}.dialects]]\nfiles = {}", list(&same));
        for line in &own.scalars {
            let _ = writeln!(out, "{line}");
        }
        if !own.columns.is_empty() {
            let _ = writeln!(out, "[raw.{name}.dialects.columns]\n{}", own.columns.join("\n"));
        }
        written.push(own);
    }
}

/// The configuration without any file.
pub(super) const MINIMAL: &str = "\
# The settings of Larder. larder.example.toml lists all of them; docs/configuration.md describes them.

[lake]
url = \"lake\"  # the folder for raw files and snapshots, or a bucket: s3://bucket/path

# Order lines are required. `larder inspect FILE` tells these settings for your files.
[raw.transactions]
#files = \"/data/exports/*.csv\"  # without it: raw/transactions/ in the lake
#time_format = \"%d/%m/%Y %H:%M\"  # not needed for ISO 8601

#[raw.transactions.columns]
#customer_id = \"CustomerID\"
#order_id = \"InvoiceNo\"
#product_id = \"StockCode\"
#quantity = \"Quantity\"
#unit_price = \"UnitPrice\"       # or amount: the total of a line
#ordered_at = \"InvoiceDate\"

# Attributes of customers are optional, and so are views, carts and other events in [raw.interactions].
#[raw.customers]
#files = \"/data/customers.csv\"
#personal = [\"name\", \"email\"]
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_toml() {
        for text in ["a \"b\" \\ c", "tab\tline\nend\u{1}\u{202e}", "姓名", ""] {
            let table: toml::Table =
                format!("a = {}\n{} = 1", quoted(text), quoted(&format!("k{text}"))).parse().expect("TOML");
            assert_eq!(table["a"].as_str(), Some(text));
        }
        let minimal: toml::Table = MINIMAL.parse().expect("TOML");
        assert!(minimal.contains_key("lake"));
        let uncommented = MINIMAL.replace("\n#", "\n").replace("\n ", "\n# ");
        assert!(uncommented.contains("[raw.transactions.columns]"));
    }
}
