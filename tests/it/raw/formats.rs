//! One shop in every format and dialect: each gives the same snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{Cursor, Write as _},
    sync::Arc,
};

use arrow::{
    array::{
        ArrayRef, Decimal128Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
        TimestampMicrosecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields},
};
use bzip2::{Compression, write::BzEncoder};
use chrono::{DateTime, NaiveDateTime};
use encoding_rs::Encoding;
use larder::{feature::CustomerId, pipeline::raw_lines, telemetry::Progress};
use parquet::arrow::ArrowWriter;
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet};
use serde_json::json;
use zip::{ZipWriter, write::SimpleFileOptions};

#[cfg(feature = "delta")]
use super::delta::written_table;
use crate::support::shop::NO_MODELS;
use crate::support::shop::Shop;

/// A line of `transactions`. Lines of an order follow each other.
struct Line {
    customer: &'static str,
    order: i64,
    product: &'static str,
    name: &'static str,
    country: &'static str,
    quantity: i64,
    /// Unit price in cents.
    cents: i64,
    at: NaiveDateTime,
}

impl Line {
    fn price(&self) -> String {
        format!("{}.{:02}", self.cents / 100, self.cents % 100)
    }
}

const NAMES: [&str; 8] = [
    "customer_id",
    "order_id",
    "product_id",
    "product_name",
    "country",
    "quantity",
    "unit_price",
    "ordered_at",
];

fn lines() -> Vec<Line> {
    let customers = ["17850", "Müller", "c3"];
    let products = [("84029G", "Café au lait; 2 cups"), ("22423", "cake \"stand\""), ("71053", "plain")];
    let countries = ["UK", "DE"];
    let line = |number: i64| {
        let at = usize::try_from(number).unwrap();
        let order = number / 3;
        let (product, name) = products[at % 3];
        Line {
            customer: customers[usize::try_from(order).unwrap() % 3],
            order: 536_365 + order,
            product,
            name,
            country: countries[usize::try_from(order).unwrap() % 2],
            quantity: if number % 7 == 6 { -1 } else { 1 + number % 4 },
            cents: 255 + 37 * number,
            at: DateTime::from_timestamp(1_291_191_960 + order * 86_400 + 60 * order, 0).unwrap().naive_utc(),
        }
    };
    (0..48).map(line).collect()
}

/// Writes `lines` as CSV, whose fields `field` returns by column name.
fn csv(lines: &[Line], names: &[&str], delimiter: u8, field: impl Fn(&Line, &str) -> String) -> String {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(names).unwrap();
    for line in lines {
        writer.write_record(names.iter().map(|name| field(line, name))).unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

fn plain(line: &Line, name: &str) -> String {
    match name {
        "customer_id" => line.customer.to_owned(),
        "order_id" => line.order.to_string(),
        "product_id" => line.product.to_owned(),
        "product_name" => line.name.to_owned(),
        "country" => line.country.to_owned(),
        "quantity" => line.quantity.to_string(),
        "unit_price" => line.price(),
        "ordered_at" => line.at.format("%Y-%m-%d %H:%M:%S").to_string(),
        _ => String::new(),
    }
}

fn plain_csv(lines: &[Line]) -> String {
    csv(lines, &NAMES, b',', plain)
}

fn utf16(text: &str) -> Vec<u8> {
    let (mark, text) = (&[0xff, 0xfe], text.encode_utf16().flat_map(u16::to_le_bytes));
    mark.iter().copied().chain(text).collect()
}

fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Fills a sheet with typed cells.
fn fill(sheet: &mut Worksheet, lines: &[Line], first_row: u32) {
    let date = Format::new().set_num_format("dd/mm/yyyy hh:mm");
    for (column, name) in (0..).zip(NAMES) {
        sheet.write(first_row, column, name).unwrap();
    }
    for (row, line) in (first_row + 1..).zip(lines) {
        // Spreadsheets keep digits as numbers.
        match line.customer.parse::<u32>() {
            Ok(number) => sheet.write(row, 0, number).unwrap(),
            Err(_) => sheet.write(row, 0, line.customer).unwrap(),
        };
        sheet.write(row, 1, line.order).unwrap();
        match line.product.parse::<u32>() {
            Ok(number) => sheet.write(row, 2, number).unwrap(),
            Err(_) => sheet.write(row, 2, line.product).unwrap(),
        };
        sheet.write(row, 3, line.name).unwrap();
        sheet.write(row, 4, line.country).unwrap();
        sheet.write(row, 5, line.quantity).unwrap();
        sheet.write(row, 6, line.price().parse::<f64>().unwrap()).unwrap();
        let at = ExcelDateTime::from_timestamp(line.at.and_utc().timestamp()).unwrap();
        sheet.write_with_format(row, 7, &at, &date).unwrap();
    }
}

fn workbook(fill: impl FnOnce(&mut Workbook)) -> Vec<u8> {
    let mut workbook = Workbook::new();
    fill(&mut workbook);
    workbook.save_to_buffer().unwrap()
}

/// Returns the lines by order.
fn orders(lines: &[Line]) -> Vec<&[Line]> {
    lines.chunk_by(|a, b| a.order == b.order).collect()
}

/// Returns the orders as JSON objects with lists of items.
fn nested_json(lines: &[Line]) -> Vec<serde_json::Value> {
    let item = |line: &Line| {
        json!({
            "sku": line.product,
            "title": line.name,
            "count": line.quantity,
            "price": {"amount": line.price()},
        })
    };
    let order = |lines: &&[Line]| {
        let first = &lines[0];
        json!({
            "id": first.order,
            "created": first.at.and_utc().timestamp_millis(),
            "customer": {"id": first.customer, "address": {"country": first.country}},
            "items": lines.iter().map(item).collect::<Vec<_>>(),
        })
    };
    orders(lines).iter().map(order).collect()
}

const NESTED: &str = r#"
[raw.transactions.columns]
customer_id = "customer.id"
order_id = "id"
product_id = "items[].sku"
product_name = "items[].title"
country = "customer.address.country"
quantity = "items[].count"
unit_price = "items[].price.amount"
ordered_at = "created"
"#;

/// Writes the orders as Parquet with structs and a list of structs.
fn nested_parquet(lines: &[Line]) -> Vec<u8> {
    let orders = orders(lines);
    let texts = |text: &dyn Fn(&Line) -> String, lines: &mut dyn Iterator<Item = &Line>| -> ArrayRef {
        Arc::new(lines.map(|line| Some(text(line))).collect::<StringArray>())
    };
    let firsts = || orders.iter().map(|lines| &lines[0]);
    let structs = |columns: Vec<(&str, ArrayRef)>| -> StructArray {
        let fields = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let fields: Fields = columns.iter().map(fields).collect();
        StructArray::new(fields, columns.into_iter().map(|(_, column)| column).collect(), None)
    };
    let prices = Decimal128Array::from_iter_values(lines.iter().map(|line| i128::from(line.cents)))
        .with_precision_and_scale(10, 2)
        .unwrap();
    let items = structs(vec![
        ("sku", texts(&|line| line.product.to_owned(), &mut lines.iter())),
        ("title", texts(&|line| line.name.to_owned(), &mut lines.iter())),
        ("count", Arc::new(lines.iter().map(|line| Some(line.quantity)).collect::<Int64Array>())),
        ("price", Arc::new(structs(vec![("amount", Arc::new(prices))]))),
    ]);
    let element = Arc::new(Field::new("item", items_type(&items), true));
    let offsets = OffsetBuffer::from_lengths(orders.iter().map(|lines| lines.len()));
    let list = ListArray::new(element, offsets, Arc::new(items), None);
    let address = structs(vec![("country", texts(&|line| line.country.to_owned(), &mut firsts()))]);
    let customer = structs(vec![
        ("id", texts(&|line| line.customer.to_owned(), &mut firsts())),
        ("address", Arc::new(address)),
    ]);
    let times = firsts().map(|line| Some(line.at.and_utc().timestamp_micros()));
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(firsts().map(|line| Some(line.order)).collect::<Int64Array>())),
        ("created", Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))),
        ("customer", Arc::new(customer)),
        ("items", Arc::new(list)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn items_type(items: &StructArray) -> DataType {
    arrow::array::Array::data_type(items).clone()
}

/// A rendering of the shop: settings, and files by path.
struct Rendering {
    name: &'static str,
    toml: String,
    files: BTreeMap<String, Vec<u8>>,
}

fn rendering(name: &'static str, toml: &str, files: &[(&str, Vec<u8>)]) -> Rendering {
    let files = files.iter().map(|(path, content)| (format!("transactions/{path}"), content.clone()));
    Rendering { name, toml: toml.to_owned(), files: files.collect() }
}

fn transactions(settings: &str) -> String {
    format!("[raw.transactions]\n{settings}\n")
}

#[expect(clippy::too_many_lines, reason = "a table of formats")]
fn renderings(lines: &[Line]) -> Vec<Rendering> {
    let csv_bytes = plain_csv(lines).into_bytes();
    let (first, second) = lines.split_at(lines.len() / 2);
    let bzip2 = || {
        let mut encoder = BzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&csv_bytes).unwrap();
        encoder.finish().unwrap()
    };
    let european = |line: &Line, name: &str| match name {
        "unit_price" => line.price().replace('.', ","),
        "ordered_at" => line.at.format("%d.%m.%Y %H:%M").to_string(),
        _ => plain(line, name),
    };
    let semicolons = csv(lines, &NAMES, b';', european);
    let european_toml = transactions("decimal = \",\"\ntime_format = \"%d.%m.%Y %H:%M\"");
    let (windows, ..) = Encoding::for_label(b"windows-1252").unwrap().encode(&semicolons);
    let totals = [&NAMES[..6], &["amount", "ordered_at"]].concat();
    let total = |line: &Line, name: &str| match name {
        // The total has the sign of the quantity.
        "amount" => {
            let cents = line.cents * line.quantity;
            format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100)
        }
        _ => plain(line, name),
    };
    let cents = |line: &Line, name: &str| match name {
        "unit_price" => line.cents.to_string(),
        _ => plain(line, name),
    };
    let signs = |line: &Line, name: &str| match name {
        "unit_price" => format!("£ {}", line.price()),
        "quantity" if line.quantity < 0 => format!("({})", -line.quantity),
        _ => plain(line, name),
    };
    let printed = |line: &Line, name: &str| match name {
        "quantity" => line.quantity.to_string().replace('-', "−"),
        "unit_price" if line.cents >= 1_000 => {
            format!("{}\u{202f}{:03}", line.cents / 1_000, line.cents % 1_000)
        }
        "unit_price" => line.cents.to_string(),
        "ordered_at" => line.at.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        _ => plain(line, name),
    };
    let printed = csv(lines, &NAMES, b';', printed);
    let cleared = printed.replacen('\n', "\n;;;;;;;\n", 3) + ";;;;;;;\n ; ;;;;;;\n";
    let printed_toml =
        transactions("scale = 2\nthousands = \" \"\ntime_format = \"%a, %d %b %Y %H:%M:%S GMT\"");
    let serial = |line: &Line, name: &str| match name {
        "ordered_at" => {
            let days = line.at.and_utc().timestamp().div_euclid(86_400) + 25_569;
            let seconds = line.at.and_utc().timestamp().rem_euclid(86_400);
            #[expect(clippy::cast_precision_loss, reason = "a day")]
            let serial = days as f64 + seconds as f64 / 86_400.0;
            serial.to_string()
        }
        _ => plain(line, name),
    };
    let mut filled = String::new();
    for lines in orders(lines) {
        let text = csv(lines, &NAMES, b',', |line, name| {
            let is_first = std::ptr::eq(line, &raw const lines[0]);
            let is_of_order = matches!(name, "customer_id" | "country" | "ordered_at");
            if is_of_order && !is_first { String::new() } else { plain(line, name) }
        });
        let (header, rows) = text.split_once('\n').unwrap();
        if filled.is_empty() {
            let _ = writeln!(filled, "{header}");
        }
        filled.push_str(rows);
    }
    let without_country: Vec<&str> = NAMES.into_iter().filter(|name| *name != "country").collect();
    let of_country = |country: &str| {
        let text = csv(lines, &NAMES, b',', plain);
        let keep = |row: &&str| row.starts_with("customer_id") || row.contains(&format!(",{country},"));
        let kept: Vec<&str> = text.lines().filter(keep).collect();
        let kept = kept.join("\n").replace(",country", "").replace(&format!(",{country},"), ",");
        assert!(kept.starts_with(&without_country.join(",")));
        kept.into_bytes()
    };
    let orders_json = nested_json(lines);
    let json_lines = orders_json.iter().map(|order| order.to_string() + "\n").collect::<String>();
    vec![
        rendering("gzip, zstd", "", &[("a.csv.zst", zstd::encode_all(csv_bytes.as_slice(), 1).unwrap())]),
        rendering("bzip2", "", &[("a.csv.bz2", bzip2())]),
        rendering(
            "archive of CSV and a workbook",
            "",
            &[(
                "all.zip",
                archive(&[
                    ("2010/a.csv", plain_csv(first).into_bytes()),
                    ("b.xlsx", workbook(|book| fill(book.add_worksheet(), second, 0))),
                    ("__MACOSX/._a.csv", b"x".to_vec()),
                ]),
            )],
        ),
        rendering(
            "workbook of two sheets",
            "",
            &[(
                "a.xlsx",
                workbook(|book| {
                    fill(book.add_worksheet().set_name("Year 2010").unwrap(), first, 0);
                    fill(book.add_worksheet().set_name("Year 2011").unwrap(), second, 0);
                }),
            )],
        ),
        rendering(
            "workbook with a preamble",
            &transactions("skip = 2\nsheets = \"Data\""),
            &[(
                "a.xlsx",
                workbook(|book| {
                    book.add_worksheet().write(0, 0, "About this report").unwrap();
                    let sheet = book.add_worksheet().set_name("Data").unwrap();
                    sheet.write(0, 0, "Sales").unwrap();
                    fill(sheet, lines, 3);
                }),
            )],
        ),
        rendering("UTF-16 with tabs", "", &[("a.txt", utf16(&csv(lines, &NAMES, b'\t', plain)))]),
        rendering("European", &european_toml, &[("a.csv", semicolons.clone().into_bytes())]),
        rendering(
            "Windows-1252",
            &format!("{european_toml}encoding = \"windows-1252\"\n"),
            &[("a.csv", windows.into_owned())],
        ),
        rendering(
            "two dialects",
            r#"
[raw.transactions]
dialects = [{ files = "old-*", decimal = ",", time_format = "%d.%m.%Y %H:%M" }]
"#,
            &[
                ("old-1.csv", csv(first, &NAMES, b';', european).into_bytes()),
                ("new-1.csv", plain_csv(second).into_bytes()),
            ],
        ),
        rendering("amounts", "", &[("a.csv", csv(lines, &totals, b',', total).into_bytes())]),
        rendering(
            "cents",
            &transactions("scale = 2"),
            &[("a.csv", csv(lines, &NAMES, b',', cents).into_bytes())],
        ),
        rendering("currency signs", "", &[("a.csv", csv(lines, &NAMES, b',', signs).into_bytes())]),
        rendering("printed numbers and cleared rows", &printed_toml, &[("a.csv", cleared.into_bytes())]),
        rendering(
            "serial numbers",
            &transactions("time_format = \"excel\""),
            &[("a.csv", csv(lines, &NAMES, b',', serial).into_bytes())],
        ),
        rendering("filled orders", &transactions("fill = \"order\""), &[("a.csv", filled.into_bytes())]),
        rendering(
            "Hive folders",
            "",
            &[("country=UK/a.csv", of_country("UK")), ("country=DE/a.csv", of_country("DE"))],
        ),
        rendering("nested JSON lines", NESTED, &[("a.jsonl", json_lines.into_bytes())]),
        rendering(
            "nested JSON list",
            NESTED,
            &[("a.json", serde_json::to_vec_pretty(&orders_json).unwrap())],
        ),
        rendering(
            "JSON document",
            &NESTED.replace(" = \"", " = \"data.orders[]."),
            &[("a.json", serde_json::to_vec_pretty(&json!({"data": {"orders": orders_json}})).unwrap())],
        ),
        rendering("nested Parquet", NESTED, &[("a.parquet", nested_parquet(lines))]),
        #[cfg(feature = "delta")]
        Rendering {
            name: "Delta table",
            toml: String::new(),
            files: written_table()
                .into_iter()
                .map(|(path, content)| (format!("transactions/{path}"), content))
                .collect(),
        },
    ]
}

#[tokio::test]
async fn shop_is_the_same_in_every_format_and_dialect() {
    let lines = lines();
    let build = async |rendering: &Rendering| {
        let shop = Shop::new(&format!("{NO_MODELS}{}", rendering.toml));
        for (path, content) in &rendering.files {
            shop.raw(path, content);
        }
        let manifest =
            shop.try_build(None).await.unwrap_or_else(|error| panic!("{}: {error}", rendering.name));
        let counts = manifest.manifest.counts["transactions"].clone();
        (manifest.manifest.fingerprint, counts.fates, counts.amounts)
    };
    let expected = build(&rendering("CSV", "", &[("a.csv", plain_csv(&lines).into_bytes())])).await;
    assert!(expected.1["purchase"] > 30 && expected.1["return"] > 3);
    for rendering in renderings(&lines) {
        assert_eq!(build(&rendering).await, expected, "{}", rendering.name);
    }
}

#[tokio::test]
async fn lines_of_a_customer_are_found_in_every_format_and_dialect() {
    let lines = lines();
    let id = CustomerId::parse("17850").unwrap();
    let of_customer: Vec<&Line> = lines.iter().filter(|line| line.customer == "17850").collect();
    let orders: BTreeSet<i64> = of_customer.iter().map(|line| line.order).collect();
    for rendering in renderings(&lines) {
        let shop = Shop::new(&format!("{NO_MODELS}{}", rendering.toml));
        for (path, content) in &rendering.files {
            shop.raw(path, content);
        }
        let found = raw_lines(&shop.lake(), &shop.config, &id, &Progress::default()).await.unwrap();
        // An object of an order holds all its items.
        let expected = if rendering.name.contains("JSON") { orders.len() } else { of_customer.len() };
        assert_eq!(found.lines.len(), expected, "{}: {:?}", rendering.name, found.warnings);
        assert!(
            found.lines.iter().all(|line| line.line > 0 && !line.record.is_empty()),
            "{}",
            rendering.name
        );
    }
}

#[tokio::test]
async fn workbook_and_archive_errors_name_the_place() {
    let lines = lines();
    let error = async |toml: &str, path: &str, content: Vec<u8>| {
        let shop = Shop::new(&format!("{toml}{NO_MODELS}"));
        shop.raw(&format!("transactions/{path}"), content);
        shop.try_build(None).await.expect_err(path)
    };
    let book = workbook(|book| fill(book.add_worksheet().set_name("Data").unwrap(), &lines, 0));
    let sheets = error("[raw.transactions]\nsheets = \"Sales\"\n", "a.xlsx", book.clone()).await;
    assert!(sheets.contains("a.xlsx") && sheets.contains("`Sales`") && sheets.contains("Data"), "{sheets}");
    let cut = error("", "a.xlsx", book[..book.len() / 2].to_vec()).await;
    assert!(cut.contains("a.xlsx") && cut.contains("not a workbook"), "{cut}");
    let bad = error("", "a.zip", archive(&[("x/b.csv", b"customer_id\na\n".to_vec())])).await;
    assert!(bad.contains("a.zip/x/b.csv") && bad.contains("order_id"), "{bad}");
    let empty = error("", "a.zip", archive(&[("README.md", Vec::new())])).await;
    assert!(empty.contains("a.zip") && empty.contains("holds no file"), "{empty}");
    let bytes = plain_csv(&lines).replace(",1,", ",one,").into_bytes();
    let lines_of_members = error("", "a.zip", archive(&[("b.csv", bytes)])).await;
    assert!(lines_of_members.contains("a.zip/b.csv, line "), "{lines_of_members}");
}

#[tokio::test]
async fn sheets_with_other_columns_are_reported() {
    let lines = lines();
    let shop = Shop::new(NO_MODELS);
    shop.raw(
        "transactions/a.xlsx",
        workbook(|book| {
            fill(book.add_worksheet(), &lines, 0);
            book.add_worksheet().set_name("Notes").unwrap().write(0, 0, "text").unwrap();
        }),
    );
    let manifest = shop.build().await.manifest;
    let warning = manifest.warnings.iter().find(|warning| warning.kind == "skipped_sheets").unwrap();
    assert!(warning.message.contains("a.xlsx") && warning.message.contains("Notes"), "{warning:?}");
    assert_eq!(manifest.counts["transactions"].lines, 48);
}
