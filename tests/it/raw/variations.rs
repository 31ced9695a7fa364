//! Property test: the same data in different formats and styles gives identical snapshots.

use std::{fmt::Write as _, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

use crate::support::shop::NO_MODELS;
use crate::support::shop::Shop;

/// A line of `transactions`.
#[derive(Debug, Clone)]
struct Line {
    customer: u32,
    order: u32,
    product: u8,
    quantity: i64,
    /// Unit price in ten-thousandths.
    price: i64,
    /// Time in seconds since 1970.
    at: i64,
    name: &'static str,
}

/// Format and style of a file.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent options")]
struct Style {
    json: bool,
    gzip: bool,
    crlf: bool,
    quote_all: bool,
    byte_order_mark: bool,
    final_break: bool,
    empty_lines: bool,
    /// Number of positions by which the columns are rotated.
    rotation: usize,
    /// Variant of ids, numbers and times.
    ids: u8,
    numbers: u8,
    times: u8,
}

const COLUMNS: [&str; 7] =
    ["customer_id", "order_id", "product_id", "quantity", "unit_price", "ordered_at", "product_name"];
const NAMES: [&str; 6] = ["Mug", "Mug, large", "5\" plate", "Tea\npot", "", "Größe 姓名"];

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (
        0..6_u32,
        0..9_u32,
        0..4_u8,
        prop_oneof![1..20_i64, -3..0_i64],
        1..2_000_000_i64,
        1_600_000_000..1_640_000_000_i64,
        select(&NAMES[..]),
    );
    let line = line.prop_map(|(customer, order, product, quantity, price, at, name)| Line {
        customer,
        order,
        product,
        quantity,
        price: price - price % 25,
        at,
        name,
    });
    vec(line, 1..25)
}

fn style() -> impl Strategy<Value = Style> {
    let flags = (any::<[bool; 7]>(), 0..COLUMNS.len(), 0..4_u8, 0..4_u8, 0..4_u8);
    flags.prop_map(|(flags, rotation, ids, numbers, times)| {
        let [json, gzip, crlf, quote_all, byte_order_mark, final_break, empty_lines] = flags;
        Style {
            json,
            gzip,
            crlf,
            quote_all,
            byte_order_mark,
            final_break,
            empty_lines,
            rotation,
            ids,
            numbers,
            times,
        }
    })
}

impl Style {
    fn id(&self, number: u32) -> String {
        match self.ids {
            0 => format!("{number}"),
            1 => format!("{number}.0"),
            2 => format!(" {number} "),
            _ => format!("\u{feff}{number}\u{200b}"),
        }
    }

    fn number(&self, ten_thousandths: i64) -> String {
        let sign = if ten_thousandths < 0 { "-" } else { "" };
        let value = ten_thousandths.abs();
        let plain = format!("{sign}{}.{:04}", value / 10_000, value % 10_000);
        match self.numbers {
            0 => plain,
            1 => plain.trim_end_matches('0').trim_end_matches('.').to_owned(),
            2 => format!("{ten_thousandths}e-4"),
            _ => format!("{plain}00"),
        }
    }

    fn time(&self, seconds: i64) -> String {
        let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        match self.times {
            0 => time.format("%Y-%m-%d %H:%M:%S").to_string(),
            1 => time.format("%Y-%m-%dT%H:%M:%S.000Z").to_string(),
            2 => (time + chrono::TimeDelta::hours(9)).format("%Y-%m-%dT%H:%M:%S+09:00").to_string(),
            _ => seconds.to_string(),
        }
    }

    fn fields(&self, line: &Line) -> Vec<(&'static str, String)> {
        let product = if line.product == 0 { self.id(22_423) } else { format!("p{}", line.product) };
        let quantity =
            if self.numbers == 0 { format!("{}.0", line.quantity) } else { line.quantity.to_string() };
        let customer = if line.customer == 0 { String::new() } else { self.id(17_850 + line.customer) };
        let values = [
            customer,
            self.id(line.order),
            product,
            quantity,
            self.number(line.price),
            self.time(line.at),
            line.name.to_owned(),
        ];
        let mut fields: Vec<_> = COLUMNS.into_iter().zip(values).collect();
        fields.rotate_left(self.rotation);
        fields
    }

    /// Returns the extension and the content of a file with `lines`.
    fn write(&self, lines: &[Line]) -> (&'static str, Vec<u8>) {
        let (end, mut text) = (if self.crlf { "\r\n" } else { "\n" }, String::new());
        if self.byte_order_mark {
            text.push('\u{feff}');
        }
        let field = |text: &str| {
            let needed = text.contains([',', '"', '\n', '\r']);
            if needed || self.quote_all {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text.to_owned()
            }
        };
        if !self.json {
            let names = self.fields(&lines[0]);
            let names: Vec<String> = names.iter().map(|(name, _)| field(name)).collect();
            write!(text, "{}{end}", names.join(",")).unwrap();
        }
        for line in lines {
            let fields = self.fields(line);
            if self.json {
                let members: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| {
                        let bare = matches!(*name, "quantity" | "unit_price") && self.ids == 1;
                        let value = if bare { value.clone() } else { serde_json::to_string(value).unwrap() };
                        format!("\"{name}\": {value}")
                    })
                    .collect();
                write!(text, "{{{}}}{end}", members.join(", ")).unwrap();
            } else {
                let fields: Vec<String> = fields.iter().map(|(_, value)| field(value)).collect();
                write!(text, "{}{end}", fields.join(",")).unwrap();
            }
            if self.empty_lines {
                text.push_str(end);
            }
        }
        if !self.final_break && !self.empty_lines {
            text.truncate(text.len() - end.len());
        }
        let bytes = if self.gzip {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(text.as_bytes()).unwrap();
            packed.finish().unwrap()
        } else {
            text.into_bytes()
        };
        let name = match (self.json, self.gzip) {
            (false, false) => "csv",
            (false, true) => "csv.gz",
            (true, false) => "jsonl",
            (true, true) => "jsonl.gz",
        };
        (name, bytes)
    }
}

/// Builds a snapshot of `lines`, with a file for each style. Returns the fingerprint, the number of lines and
/// the fates.
async fn built(lines: &[Line], styles: &[Style]) -> (String, u64, Vec<(String, u64)>) {
    let shop = Shop::new(NO_MODELS);
    let size = lines.len().div_ceil(styles.len());
    for (at, (lines, style)) in lines.chunks(size).zip(styles).enumerate() {
        let (end, bytes) = style.write(lines);
        shop.raw(&format!("transactions/{at}.{end}"), bytes);
    }
    let manifest =
        shop.try_build(None).await.unwrap_or_else(|error| panic!("{error} in {styles:?}")).manifest;
    let counts = &manifest.counts["transactions"];
    let fates =
        counts.fates.iter().filter(|(_, lines)| **lines > 0).map(|(fate, lines)| (fate.clone(), *lines));
    (manifest.fingerprint.clone(), counts.lines, fates.collect())
}

#[test]
fn equivalent_files_give_identical_snapshots() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let plain = Style {
        json: false,
        gzip: false,
        crlf: false,
        quote_all: false,
        byte_order_mark: false,
        final_break: true,
        empty_lines: false,
        rotation: 0,
        ids: 0,
        numbers: 0,
        times: 0,
    };
    let config = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(
        &(lines(), vec(style(), 1..4), any::<bool>()),
        |(lines, styles, turned)| {
            let expected = runtime.block_on(built(&lines, std::slice::from_ref(&plain)));
            let mut other = lines.clone();
            if turned {
                other.reverse();
            }
            prop_assert_eq!(runtime.block_on(built(&other, &styles)), expected);
            Ok(())
        },
    );
    checked.unwrap();
}
