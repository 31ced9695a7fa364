//! The made-up year as files: CSV and JSON lines, plain or gzipped, with the dirt that comes from exporting.
//!
//! Nothing here decides what anybody buys.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde::Serialize;

use super::RawFile;
use super::customers::{COUNTRIES, Customer};
use super::dice::Dice;
use super::ledger::{Event, Kind, Line, Order, Shard, count_lines};
use super::products::word;
use super::shop::Shop;
use super::year::{DAY, dates, month, month_start, rfc3339};

/// Bytes that are written at once.
const PAGE: usize = 1 << 16;
/// The bad lines' stream of dice in January; the other months follow.
const BAD_LINE_DICE: u64 = u64::MAX - 100;
const TRANSACTIONS: &str =
    "customer_id,order_id,product_id,product_name,category,quantity,unit_price,ordered_at,country";

/// The year's shards, counted and ready to be written.
pub(super) struct Books<'a> {
    shop: &'a Shop<'a>,
    shards: Vec<Shard>,
    /// The number of each month's first order.
    numbers: [usize; 12],
    /// Events with lower marks are kept.
    keep: u16,
    /// Each day's date.
    dates: Vec<String>,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    done: Mutex<u64>,
    expected: u64,
}

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

impl<'a> Books<'a> {
    pub(super) fn close(
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
        let events = || shards.iter().flat_map(|shard| &shard.events);
        let share = lines as f64 / 10.0 / events().count().max(1) as f64;
        let keep = (share * 65_536.0).min(65_535.0) as u16;
        let kept = events().filter(|event| event.mark < keep).count();
        let expected = (lines + kept) as u64 + u64::from(shop.retail.customers);
        progress(0, expected);
        Self { shop, shards, numbers, keep, dates: dates(), progress, done: Mutex::new(0), expected }
    }

    /// Writes a month's orders, the month counted from 0.
    pub(super) fn write_transactions(&self, of_month: usize, dir: &Path) -> Result<RawFile> {
        let orders = self.in_order(of_month, |shard| &shard.orders, |order| Some(order.at));
        self.write("transactions", &self.name(of_month), dir, |page| {
            writeln!(page, "{TRANSACTIONS}")?;
            let mut dice = Dice::new(self.shop.retail.seed, BAD_LINE_DICE + of_month as u64);
            let (mut lines, mut bad, mut until_bad) = (0, of_month, dice.below(1_000));
            for ((shard, order), number) in orders.into_iter().zip(self.numbers[of_month]..) {
                let head = self.head(order, number);
                let (at, country) = (self.date(order.at), COUNTRIES[usize::from(order.country)].0);
                for &Line { product, quantity, cents } in shard.lines(order) {
                    let product = self.shop.catalogue.csv(product);
                    let price = format_args!("{}.{:02}", cents / 100, cents % 100);
                    writeln!(page, "{head},{product},{quantity},{price},{at},{country}")?;
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
                        0 => writeln!(page, "{head},{product}")?,
                        1 => writeln!(page, "{head},{product},{quantity},n/a,{at},{country}")?,
                        2 => writeln!(page, "{head},{product},{quantity},{price},{never},{country}")?,
                        _ => writeln!(page, "{head},{product},{quantity},{price},{at},{country},,x")?,
                    }
                }
                page.turn(shard.lines(order).len())?;
            }
            Ok(lines)
        })
    }

    /// Writes a month's interactions, the month counted from 0.
    pub(super) fn write_interactions(&self, of_month: usize, dir: &Path) -> Result<RawFile> {
        let time = |event: &Event| (event.mark < self.keep).then_some(event.at);
        let events = self.in_order(of_month, |shard| &shard.events, time);
        self.write("interactions", &self.name(of_month), dir, |page| {
            writeln!(page, "customer_id,event,product_id,at")?;
            for (_, event) in &events {
                let (id, at) = (Customer::id(event.customer), self.date(event.at));
                let product = &self.shop.catalogue.id(event.product);
                writeln!(page, "{id},{},{product},{at}", event.act.name())?;
                page.turn(1)?;
            }
            Ok(events.len() as u64)
        })
    }

    /// Writes the customers, but not those whom the table does not have.
    pub(super) fn write_customers(&self, dir: &Path) -> Result<RawFile> {
        self.write("customers", "customers.jsonl", dir, |page| {
            let mut lines = 0;
            for index in 0..self.shop.retail.customers {
                let (customer, mut dice) = self.shop.customer(index);
                page.turn(1)?;
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
                serde_json::to_writer(&mut *page, &row)?;
                writeln!(page)?;
                lines += 1;
            }
            Ok(lines)
        })
    }

    /// A month's orders or events by time, each with its shard; those without a time are left out.
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
        // Stable, so that equal times stay in the order of the shards.
        found.sort_by_key(|(at, _, _)| *at);
        found.into_iter().map(|(_, shard, item)| (shard, item)).collect()
    }

    /// The ids with which a line begins.
    fn head(&self, order: &Order, number: usize) -> String {
        let known = order.customer < self.shop.retail.customers;
        let id = if known { Customer::id(order.customer) } else { String::new() };
        let (before, behind) = [("", ""), (" ", ""), ("", " "), ("  ", " ")][usize::from(order.blanks)];
        let letter = match order.kind {
            Kind::Purchase => "",
            Kind::Return => "R",
            Kind::Cancellation => "C",
        };
        format!("{before}{id}{behind},{letter}{number}")
    }

    fn date(&self, at: u32) -> String {
        let (date, at) = (&self.dates[(at / DAY) as usize], at % DAY);
        format!("{date} {:02}:{:02}:{:02}", at / 3_600, at / 60 % 60, at % 60)
    }

    /// A month's file, like `2025-03.csv`.
    fn name(&self, of_month: usize) -> String {
        format!("{}.csv", &self.dates[(month_start(of_month) / DAY) as usize][..7])
    }

    /// Writes one file; `fill` returns its lines.
    fn write(
        &self,
        table: &'static str,
        name: &str,
        dir: &Path,
        fill: impl FnOnce(&mut Page) -> Result<u64>,
    ) -> Result<RawFile> {
        let compress = self.shop.retail.compress;
        let path = dir.join(table).join(file_name(name, compress));
        let written = || -> Result<u64> {
            let mut file = BufWriter::with_capacity(PAGE, File::create(&path)?);
            let lines = if compress {
                let mut gzip = GzBuilder::new().mtime(0).write(&mut file, Compression::new(5));
                let lines = Page::fill(self, &mut gzip, fill)?;
                gzip.finish()?;
                lines
            } else {
                Page::fill(self, &mut file, fill)?
            };
            file.flush()?;
            Ok(lines)
        };
        let lines = written().with_context(|| format!("cannot write {}", path.display()))?;
        let bytes = fs::metadata(&path)?.len();
        Ok(RawFile { table, path, lines, bytes })
    }

    fn advance(&self, lines: u64) {
        // Reported with the lock held, so that what is reported only grows.
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += lines;
        (self.progress)(*done, self.expected);
    }
}

/// A file's name on disk.
pub(super) fn file_name(name: &str, compress: bool) -> String {
    format!("{name}{}", if compress { ".gz" } else { "" })
}

/// Text on its way into a file.
struct Page<'a> {
    text: Vec<u8>,
    /// Lines since the last report of progress.
    lines: usize,
    books: &'a Books<'a>,
    file: &'a mut dyn Write,
}

impl<'a> Page<'a> {
    fn fill(
        books: &'a Books<'a>,
        file: &'a mut dyn Write,
        fill: impl FnOnce(&mut Page) -> Result<u64>,
    ) -> Result<u64> {
        let mut page = Page { text: Vec::with_capacity(PAGE * 2), lines: 0, books, file };
        let lines = fill(&mut page)?;
        page.flush()?;
        Ok(lines)
    }

    /// Counts lines as done, and writes a full page.
    fn turn(&mut self, lines: usize) -> io::Result<()> {
        self.lines += lines;
        if self.text.len() < PAGE { Ok(()) } else { self.flush() }
    }
}

impl Write for Page<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.text)?;
        self.text.clear();
        self.books.advance(std::mem::take(&mut self.lines) as u64);
        Ok(())
    }
}
