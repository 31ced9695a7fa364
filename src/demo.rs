//! Generator of reproducible retail data: a year of a shop's exports with patterns that models can learn
//! (loyalty, churn, taste, season, products bought together or again) and the defects of real exports.
//!
//! ```text
//! customer_id,order_id,product_id,product_name,category,quantity,unit_price,ordered_at,country
//! C0012345,517204,KIT-0042,"Walnut Serving Board, large",Kitchen & Dining,1,24.99,2025-03-04 17:22:10,Italy
//! ```
//!
//! The generator writes files to a local folder; it must not know the lake, views or snapshots. The number of
//! threads and the machine do not change a byte of the output; for gzipped files this holds for one version
//! of flate2 and its backend.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "generated numbers are small"
)]

mod customers;
mod dice;
mod files;
mod ledger;
mod products;
mod shop;
mod year;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use files::{YearWriter, file_name};
use shop::Shop;

/// Size and seed of the generated data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retail {
    /// Number of known customers, including prospects.
    pub customers: u32,
    /// Approximate number of transaction lines, without the copied month.
    pub lines: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Whether the files are gzipped.
    pub compress: bool,
}

impl Default for Retail {
    fn default() -> Self {
        Self { customers: 20_000, lines: 500_000, seed: 42, compress: true }
    }
}

/// A generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Raw table of the file: `transactions`, `customers` or `interactions`.
    pub table: &'static str,
    /// Path of the file.
    pub path: PathBuf,
    /// Number of lines without the header.
    pub lines: u64,
    /// Size on disk in bytes.
    pub bytes: u64,
}

/// Writes the files of `retail` to `dir`, which must exist. Calls `progress(done_lines, expected_lines)` from
/// time to time, from any thread, but never concurrently. Existing files of the same names are overwritten.
///
/// The files are `transactions/2025-01.csv` to `2025-12.csv`, `customers/customers.jsonl` and
/// `interactions/2025-10.csv` to `2025-12.csv`; for up to 100,000 customers, one month exists a second time
/// as a copy. The data contains what real exports contain: guest lines, returns (orders `R…`), cancellations
/// (orders `C…`), gifts at price zero, services among the products, repeated lines, bad lines, ids with
/// surrounding blanks or special characters, customers with returns only, prospects without purchases, and
/// buyers who are missing in the customers table.
///
/// # Errors
/// Fewer than 10 customers or 100 lines, or a file that cannot be written.
pub fn generate(
    retail: &Retail,
    dir: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<GeneratedFile>> {
    make(retail, dir, progress, thread::available_parallelism().map_or(1, NonZero::get))
}

/// Generates the files on `threads` threads.
fn make(
    retail: &Retail,
    dir: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
    threads: usize,
) -> Result<Vec<GeneratedFile>> {
    ensure!(
        retail.customers >= 10 && retail.lines >= 100,
        "generated data needs at least 10 customers and 100 lines"
    );
    ensure!(dir.is_dir(), "{} is not a folder", dir.display());
    for table in ["transactions", "customers", "interactions"] {
        let folder = dir.join(table);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let shop = Shop::open(retail, threads);
    let year = YearWriter::new(&shop, shop.play(1, threads), progress);
    // Longest task first, so that the threads finish at about the same time.
    let made = in_parallel(16, threads, |task| match task {
        0 => year.write_customers(dir),
        1..=12 => year.write_transactions(12 - task, dir),
        _ => year.write_interactions(task - 4, dir),
    });
    let mut files = made.into_iter().collect::<Result<Vec<_>>>()?;
    if retail.customers <= 100_000 {
        let february = files[11].clone();
        let path = dir.join("transactions").join(file_name("2025-02 (copy).csv", retail.compress));
        fs::copy(&february.path, &path).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(GeneratedFile { path, ..february });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Runs `count` tasks on `threads` threads and returns the results in the order of the tasks.
fn in_parallel<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut results = Vec::new();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= count {
                return results;
            }
            results.push((task, work(task)));
        }
    };
    let mut results: Vec<(usize, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.flat_map(|results| results.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    results.sort_unstable_by_key(|(task, _)| *task);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;

    const SMALL: Retail = Retail { customers: 1_000, lines: 20_000, seed: 7, compress: false };

    /// Generates data and returns the files with their content.
    fn made(retail: &Retail, threads: usize) -> Vec<(GeneratedFile, Vec<u8>)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = make(retail, folder.path(), &|_, _| {}, threads).expect("generated data");
        let read = |file: GeneratedFile| {
            let content = fs::read(&file.path).expect("the generated file");
            let path = file.path.strip_prefix(folder.path()).expect("a path in the folder").to_owned();
            (GeneratedFile { path, ..file }, content)
        };
        files.into_iter().map(read).collect()
    }

    /// Returns the lines of a table without headers and copies.
    fn lines<'a>(made: &'a [(GeneratedFile, Vec<u8>)], table: &'a str) -> impl Iterator<Item = &'a str> {
        let files = made.iter().filter(move |(file, _)| file.table == table && !is_copy(file));
        let texts = files.map(|(_, content)| std::str::from_utf8(content).expect("UTF-8"));
        texts.flat_map(|text| text.lines()).filter(|line| !line.starts_with("customer_id,"))
    }

    fn is_copy(file: &GeneratedFile) -> bool {
        file.path.to_string_lossy().contains("(copy)")
    }

    #[test]
    fn same_seed_gives_same_bytes_for_any_thread_count() {
        let retail = Retail { compress: true, ..SMALL };
        let first = made(&retail, 1);
        assert!(first == made(&retail, 3));
        let other = made(&Retail { seed: 8, ..retail }, 2);
        assert!(first.iter().zip(&other).all(|(one, other)| one.1 != other.1 && one.0.path == other.0.path));
        assert!(first.iter().all(|(file, content)| file.bytes == content.len() as u64));
        assert!(first.iter().all(|(_, content)| content.starts_with(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0])));
    }

    #[test]
    fn generated_counts_match_the_request() {
        let made = made(&SMALL, 2);
        assert_eq!(made.len(), 12 + 1 + 1 + 3);
        for (file, content) in &made {
            let header = u64::from(file.table != "customers");
            let newlines = memchr::memchr_iter(b'\n', content).count() as u64;
            assert_eq!(file.lines + header, newlines, "{}", file.path.display());
        }
        let transactions = lines(&made, "transactions").count();
        assert!(transactions.abs_diff(20_000) < 1_000, "{transactions} transactions");
        let interactions = lines(&made, "interactions").count();
        assert!(interactions.abs_diff(2_000) < 200, "{interactions} interactions");

        let buyers = lines(&made, "transactions").filter_map(|line| line.split(',').next());
        let buyers: HashSet<&str> = buyers.map(str::trim).filter(|id| !id.is_empty()).collect();
        let listed = lines(&made, "customers").filter_map(|line| line.split('"').nth(3));
        let listed: HashSet<&str> = listed.map(str::trim).collect();
        assert_eq!(buyers.union(&listed).count(), 1_000);
        assert!((12..50).contains(&buyers.difference(&listed).count()));
        assert!((40..90).contains(&listed.difference(&buyers).count()));
        for line in lines(&made, "customers") {
            serde_json::from_str::<serde_json::Value>(line).expect("a JSON object");
        }
    }

    #[test]
    fn generated_data_has_realistic_defects() {
        let made = made(&SMALL, 2);
        let all: Vec<&str> = lines(&made, "transactions").collect();
        let share = |what: &str, range: std::ops::Range<f64>, is: &dyn Fn(&[&str]) -> bool| {
            // Names may contain commas, so the last fields are counted from the end.
            let hits = all.iter().filter(|line| is(&line.split(',').collect::<Vec<_>>())).count();
            let share = hits as f64 / all.len() as f64;
            assert!(range.contains(&share), "{what}: {share}");
        };
        share("guests", 0.06..0.10, &|line| line[0].trim().is_empty());
        share("blanks", 0.01..0.03, &|line| line[0] != line[0].trim());
        share("returns", 0.02..0.04, &|line| line[1].starts_with('R'));
        share("cancellations", 0.005..0.015, &|line| line[1].starts_with('C'));
        share("gifts", 0.001..0.006, &|line| line[line.len() - 3] == "0.00");
        share("services", 0.006..0.015, &|line| ["POSTAGE", "GIFT-WRAP", "MANUAL"].contains(&line[2]));
        share("bad lines", 0.0003..0.001, &|line| {
            line.len() < 9
                || line.contains(&"n/a")
                || line.contains(&"x")
                || line.contains(&"2025-02-30 25:61:00")
        });
        let repeated = all.len() - all.iter().collect::<HashSet<_>>().len();
        assert!((15..80).contains(&repeated), "{repeated} repeated lines");
        for signs in ["KØ", "EU/", "C+", "\"\"", ", large\""] {
            assert!(all.iter().any(|line| line.contains(signs)), "{signs}");
        }

        let quantity =
            |line: &str| line.rsplit(',').nth(3).and_then(|it| it.parse::<i32>().ok()).unwrap_or(0);
        let ids = |sign: i32| -> HashSet<&str> {
            let lines = all.iter().filter(|line| quantity(line).signum() == sign);
            lines.filter_map(|line| line.split(',').next()).map(str::trim).collect()
        };
        assert!(ids(-1).difference(&ids(1)).count() >= 2, "customers with returns only");
        let huge = all.iter().filter(|line| (70_000..90_000).contains(&quantity(line).abs()));
        assert_eq!(huge.count(), 4, "orders of two whales and their cancellations");

        let february = made.iter().filter(|(file, _)| file.path.to_string_lossy().contains("2025-02"));
        let contents: Vec<&Vec<u8>> = february.map(|(_, content)| content).collect();
        assert!(contents.len() == 2 && contents[0] == contents[1]);
    }

    #[test]
    fn lines_are_sorted_by_time() {
        let made = made(&SMALL, 2);
        for table in ["transactions", "interactions"] {
            let times = lines(&made, table)
                .filter_map(|line| line.split(',').find(|field| field.starts_with("2025-")));
            let times: Vec<&str> = times.filter(|time| !time.ends_with("25:61:00")).collect();
            assert!(times.len() > 1_000 && times.is_sorted(), "{table}");
        }
    }

    #[test]
    fn progress_is_monotonic_and_ends_at_the_expected_count() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let reports = Mutex::new(Vec::new());
        let report = |done, expected| reports.lock().expect("the reports").push((done, expected));
        generate(&SMALL, folder.path(), &report).expect("generated data");
        let reports = reports.into_inner().expect("the reports");
        assert!(reports.is_sorted() && reports.len() > 10);
        assert!(reports.last().is_some_and(|(done, expected)| done == expected));
    }

    #[test]
    fn too_few_customers_and_missing_folder_are_rejected() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(generate(&Retail { customers: 9, ..SMALL }, folder.path(), &|_, _| {}).is_err());
        assert!(generate(&SMALL, &folder.path().join("missing"), &|_, _| {}).is_err());
    }
}
