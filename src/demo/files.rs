//! Output of the generated year as files: CSV and JSON lines, plain or gzipped, with export defects.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde::Serialize;

use super::GeneratedFile;
use super::customers::{COUNTRIES, Customer};
use super::dice::Dice;
use super::ledger::{Interaction, OrderKind, OrderLine, PackedOrder, Shard, count_lines};
use super::products::word;
use super::shop::Shop;
use super::year::{DAY, dates, month, month_start, rfc3339};

/// Buffer size in bytes after which text is written.
const BUFFER: usize = 1 << 16;
/// Random stream of the bad lines in January; the other months follow.
const BAD_LINE_DICE: u64 = u64::MAX - 100;
/// Header of the transactions files.
const TRANSACTIONS: &str =
    "customer_id,order_id,product_id,product_name,category,quantity,unit_price,ordered_at,country";

/// Writer of the generated year.
pub(super) struct YearWriter<'a> {
    shop: &'a Shop<'a>,
    shards: Vec<Shard>,
    /// Number of the first order of each month.
    numbers: [usize; 12],
    /// Interactions with a lower mark are written.
    keep: u16,
    /// Date of each day.
    dates: Vec<String>,
    /// Callback with the written and the expected lines.
    progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Lines written so far.
    done: Mutex<u64>,
    /// Lines to write.
    expected: u64,
}

/// A line of the customers file.
#[derive(Serialize)]
struct CustomerRow<'a> {
    customer_id: &'a str,
    name: &'a str,
    email: &'a str,
    country: &'a str,
    city: &'a str,
    signed_up_at: &'a str,
    marketing_opt_in: bool,
    birth_year: Option<usize>,
}

impl<'a> YearWriter<'a> {
    /// Numbers the orders and chooses the interactions to write.
    pub(super) fn new(
        shop: &'a Shop<'a>,
        shards: Vec<Shard>,
        progress: &'a (dyn Fn(u64, u64) + Sync),
    ) -> Self {
        let mut numbers = [500_000; 12];
        for order in shards.iter().flat_map(|shard| &shard.orders) {
            let following = &mut numbers[month(order.at) + 1..];
            for number in following {
                *number += 1;
            }
        }
        let lines = count_lines(&shards);
        let interactions = || shards.iter().flat_map(|shard| &shard.interactions);
        let share = lines as f64 / 10.0 / interactions().count().max(1) as f64;
        let keep = (share * 65_536.0).min(65_535.0) as u16;
        let kept = interactions().filter(|event| event.mark < keep).count();
        let expected = (lines + kept) as u64 + u64::from(shop.retail.customers);
        progress(0, expected);
        Self { shop, shards, numbers, keep, dates: dates(), progress, done: Mutex::new(0), expected }
    }

    /// Writes the orders of a month, counted from 0.
    pub(super) fn write_transactions(&self, of_month: usize, dir: &Path) -> Result<GeneratedFile> {
        let orders = self.in_order(of_month, |shard| &shard.orders, |order| Some(order.at));
        self.write("transactions", &self.name(of_month), dir, |buffer| {
            writeln!(buffer, "{TRANSACTIONS}")?;
            let mut dice = Dice::new(self.shop.retail.seed, BAD_LINE_DICE + of_month as u64);
            let (mut lines, mut bad, mut until_bad) = (0, of_month, dice.below(1_000));
            for ((shard, order), number) in orders.into_iter().zip(self.numbers[of_month]..) {
                let head = self.head(order, number);
                let (at, country) = (self.date(order.at), COUNTRIES[usize::from(order.country)].0);
                for &OrderLine { product, quantity, cents } in shard.lines(order) {
                    let product = self.shop.catalog.csv(product);
                    let price = format_args!("{}.{:02}", cents / 100, cents % 100);
                    writeln!(buffer, "{head},{product},{quantity},{price},{at},{country}")?;
                    lines += 1;
                    if until_bad > 0 {
                        until_bad -= 1;
                        continue;
                    }
                    until_bad = 1_000 + dice.below(2_000);
                    lines += 1;
                    bad += 1;
                    let never = "2025-02-30 25:61:00";
                    match bad % 4 {
                        0 => writeln!(buffer, "{head},{product}")?,
                        1 => writeln!(buffer, "{head},{product},{quantity},n/a,{at},{country}")?,
                        2 => writeln!(buffer, "{head},{product},{quantity},{price},{never},{country}")?,
                        _ => writeln!(buffer, "{head},{product},{quantity},{price},{at},{country},,x")?,
                    }
                }
                buffer.count_lines(shard.lines(order).len())?;
            }
            Ok(lines)
        })
    }

    /// Writes the interactions of a month, counted from 0.
    pub(super) fn write_interactions(&self, of_month: usize, dir: &Path) -> Result<GeneratedFile> {
        let time = |event: &Interaction| (event.mark < self.keep).then_some(event.at);
        let events = self.in_order(of_month, |shard| &shard.interactions, time);
        self.write("interactions", &self.name(of_month), dir, |buffer| {
            writeln!(buffer, "customer_id,event,product_id,at")?;
            for (_, event) in &events {
                let (id, at) = (Customer::id(event.customer), self.date(event.at));
                let product = &self.shop.catalog.id(event.product);
                writeln!(buffer, "{id},{},{product},{at}", event.kind.name())?;
                buffer.count_lines(1)?;
            }
            Ok(events.len() as u64)
        })
    }

    /// Writes the customers, except the unlisted ones.
    pub(super) fn write_customers(&self, dir: &Path) -> Result<GeneratedFile> {
        self.write("customers", "customers.jsonl", dir, |buffer| {
            let mut lines = 0;
            for index in 0..self.shop.retail.customers {
                let (customer, mut dice) = self.shop.customer(index);
                buffer.count_lines(1)?;
                if customer.unlisted {
                    continue;
                }
                let id = Customer::id(index);
                let (name, email) = customer.name(&mut dice);
                let (country, _, _, cities) = COUNTRIES[customer.countries[0]];
                let row = CustomerRow {
                    customer_id: &if dice.chance(0.02) { format!(" {id} ") } else { id },
                    name: &name,
                    email: &email,
                    country,
                    city: word(cities, (dice.unit() * dice.unit() * 6.0) as usize),
                    signed_up_at: &rfc3339(customer.joined),
                    marketing_opt_in: customer.opted_in,
                    birth_year: (!dice.chance(0.12)).then(|| 1_942 + dice.below(33) + dice.below(33)),
                };
                serde_json::to_writer(&mut *buffer, &row)?;
                writeln!(buffer)?;
                lines += 1;
            }
            Ok(lines)
        })
    }

    /// Returns the orders or interactions of a month sorted by time, each with its shard. Items without a
    /// time are omitted.
    fn in_order<T>(
        &self,
        of_month: usize,
        all: impl Fn(&Shard) -> &[T],
        time: impl Fn(&T) -> Option<u32>,
    ) -> Vec<(&Shard, &T)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let timed = all(shard).iter().filter_map(|item| Some((time(item)?, shard, item)));
            found.extend(timed.filter(|(at, _, _)| month(*at) == of_month));
        }
        // The sort is stable, so that items of equal times stay in the order of the shards.
        found.sort_by_key(|(at, _, _)| *at);
        found.into_iter().map(|(_, shard, item)| (shard, item)).collect()
    }

    /// Returns customer id and order id, the first two fields of a line.
    fn head(&self, order: &PackedOrder, number: usize) -> String {
        let known = order.customer < self.shop.retail.customers;
        let id = if known { Customer::id(order.customer) } else { String::new() };
        let (before, behind) = [("", ""), (" ", ""), ("", " "), ("  ", " ")][usize::from(order.blanks)];
        let letter = match order.kind {
            OrderKind::Purchase => "",
            OrderKind::Return => "R",
            OrderKind::Cancellation => "C",
        };
        format!("{before}{id}{behind},{letter}{number}")
    }

    /// Formats a time.
    fn date(&self, at: u32) -> String {
        let (date, at) = (&self.dates[(at / DAY) as usize], at % DAY);
        format!("{date} {:02}:{:02}:{:02}", at / 3_600, at / 60 % 60, at % 60)
    }

    /// Returns the file name of a month, such as `2025-03.csv`.
    fn name(&self, of_month: usize) -> String {
        format!("{}.csv", &self.dates[(month_start(of_month) / DAY) as usize][..7])
    }

    /// Writes one file with the content of `fill`, which returns the number of lines.
    fn write(
        &self,
        table: &'static str,
        name: &str,
        dir: &Path,
        fill: impl FnOnce(&mut TextBuffer) -> Result<u64>,
    ) -> Result<GeneratedFile> {
        let compress = self.shop.retail.compress;
        let path = dir.join(table).join(file_name(name, compress));
        let written = || -> Result<u64> {
            let mut file = BufWriter::with_capacity(BUFFER, File::create(&path)?);
            let lines = if compress {
                let mut gzip = GzBuilder::new().mtime(0).write(&mut file, Compression::new(5));
                let lines = TextBuffer::fill(self, &mut gzip, fill)?;
                gzip.finish()?;
                lines
            } else {
                TextBuffer::fill(self, &mut file, fill)?
            };
            file.flush()?;
            Ok(lines)
        };
        let lines = written().with_context(|| format!("cannot write {}", path.display()))?;
        let bytes = fs::metadata(&path)?.len();
        Ok(GeneratedFile { table, path, lines, bytes })
    }

    /// Adds `lines` to the progress.
    fn advance(&self, lines: u64) {
        // The callback runs under the lock, so that reported progress is monotonic.
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += lines;
        (self.progress)(*done, self.expected);
    }
}

/// Returns the file name with the extension for compression.
pub(super) fn file_name(name: &str, compress: bool) -> String {
    format!("{name}{}", if compress { ".gz" } else { "" })
}

/// A buffer of text for a file.
struct TextBuffer<'a> {
    text: Vec<u8>,
    /// Lines since the last progress report.
    lines: usize,
    year: &'a YearWriter<'a>,
    file: &'a mut dyn Write,
}

impl<'a> TextBuffer<'a> {
    /// Writes the content of `fill` to `file`.
    fn fill(
        year: &'a YearWriter<'a>,
        file: &'a mut dyn Write,
        fill: impl FnOnce(&mut TextBuffer) -> Result<u64>,
    ) -> Result<u64> {
        let mut buffer = TextBuffer { text: Vec::with_capacity(BUFFER * 2), lines: 0, year, file };
        let lines = fill(&mut buffer)?;
        buffer.flush()?;
        Ok(lines)
    }

    /// Counts lines as done and writes a full buffer.
    fn count_lines(&mut self, lines: usize) -> io::Result<()> {
        self.lines += lines;
        if self.text.len() < BUFFER { Ok(()) } else { self.flush() }
    }
}

impl Write for TextBuffer<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.text)?;
        self.text.clear();
        self.year.advance(std::mem::take(&mut self.lines) as u64);
        Ok(())
    }
}
