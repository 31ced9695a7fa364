//! Made-up retail data, the same for the same seed: a year of a shop's exports, with habits that models can
//! learn (loyalty, drop-out, taste, season, what is bought together or again) and the dirt of real exports.
//!
//! ```text
//! customer_id,order_id,product_id,product_name,category,quantity,unit_price,ordered_at,country
//! C0012345,517204,KIT-0042,"Walnut Serving Board, large",Kitchen & Dining,1,24.99,2025-03-04 17:22:10,Germany
//! ```
//!
//! It writes files into a local folder; it must not know the lake, views or snapshots. Neither threads nor the
//! machine change a byte; of gzipped files that holds for one version of flate2 and its backend.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "made-up numbers, all small"
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

use files::{Books, file_name};
use shop::Shop;

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retail {
    /// How many known customers, prospects included.
    pub customers: u32,
    /// About how many transaction lines; the copied month comes on top.
    pub lines: u64,
    /// Where chance begins.
    pub seed: u64,
    /// Whether the files are gzipped.
    pub compress: bool,
}

impl Default for Retail {
    fn default() -> Self {
        Self { customers: 20_000, lines: 500_000, seed: 42, compress: true }
    }
}

/// One file made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// The table that it belongs to: `transactions`, `customers` or `interactions`.
    pub table: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Its lines without the header.
    pub lines: u64,
    /// Its size on disk.
    pub bytes: u64,
}

/// Writes the files of `retail` into `dir`, which must exist; calls `progress(done_lines, expected_lines)` now
/// and then, from any thread, one call at a time. Files of the same names are overwritten.
///
/// It makes `transactions/2025-01.csv` to `2025-12.csv`, `customers/customers.jsonl` and
/// `interactions/2025-10.csv` to `2025-12.csv`; for up to 100,000 customers, one month a second time as a copy.
/// They have what real shops have: guests without an id, returns (orders `R…`), cancellations (orders `C…`),
/// gifts at price zero, services among the products, repeated lines, bad lines, ids with blanks around them or
/// signs in them, customers who only returned, prospects who never bought, and buyers whom the customers' table
/// does not have.
///
/// # Errors
/// When there are fewer than 10 customers or 100 lines to make, or a file cannot be written.
pub fn generate(retail: &Retail, dir: &Path, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Vec<RawFile>> {
    make(retail, dir, progress, thread::available_parallelism().map_or(1, NonZero::get))
}

fn make(
    retail: &Retail,
    dir: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
    threads: usize,
) -> Result<Vec<RawFile>> {
    ensure!(
        retail.customers >= 10 && retail.lines >= 100,
        "made-up data has at least 10 customers and 100 lines"
    );
    ensure!(dir.is_dir(), "no folder {}", dir.display());
    for table in ["transactions", "customers", "interactions"] {
        let folder = dir.join(table);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let shop = Shop::open(retail, threads);
    let books = Books::close(&shop, shop.play(1, threads), progress);
    // The longest first, so that the threads end together.
    let made = in_parallel(16, threads, |task| match task {
        0 => books.write_customers(dir),
        1..=12 => books.write_transactions(12 - task, dir),
        _ => books.write_interactions(task - 4, dir),
    });
    let mut files = made.into_iter().collect::<Result<Vec<_>>>()?;
    if retail.customers <= 100_000 {
        let february = files[11].clone();
        let path = dir.join("transactions").join(file_name("2025-02 (copy).csv", retail.compress));
        fs::copy(&february.path, &path).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(RawFile { path, ..february });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Does `count` pieces of work on some threads; the results are in the order of the pieces.
fn in_parallel<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut results = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return results;
            }
            results.push((piece, work(piece)));
        }
    };
    let mut results: Vec<(usize, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.flat_map(|results| results.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    results.sort_unstable_by_key(|(piece, _)| *piece);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;

    const SMALL: Retail = Retail { customers: 1_000, lines: 20_000, seed: 7, compress: false };

    /// Makes data and returns the files with their content.
    fn made(retail: &Retail, threads: usize) -> Vec<(RawFile, Vec<u8>)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = make(retail, folder.path(), &|_, _| {}, threads).expect("made-up data");
        let read = |file: RawFile| {
            let content = fs::read(&file.path).expect("the file made");
            let path = file.path.strip_prefix(folder.path()).expect("a path in the folder").to_owned();
            (RawFile { path, ..file }, content)
        };
        files.into_iter().map(read).collect()
    }

    /// The lines of a table without headers and copies.
    fn lines<'a>(made: &'a [(RawFile, Vec<u8>)], table: &'a str) -> impl Iterator<Item = &'a str> {
        let files = made.iter().filter(move |(file, _)| file.table == table && !is_copy(file));
        let texts = files.map(|(_, content)| std::str::from_utf8(content).expect("UTF-8"));
        texts.flat_map(|text| text.lines()).filter(|line| !line.starts_with("customer_id,"))
    }

    fn is_copy(file: &RawFile) -> bool {
        file.path.to_string_lossy().contains("(copy)")
    }

    #[test]
    fn a_seed_gives_the_same_bytes_on_any_number_of_threads() {
        let retail = Retail { compress: true, ..SMALL };
        let first = made(&retail, 1);
        assert!(first == made(&retail, 3));
        let other = made(&Retail { seed: 8, ..retail }, 2);
        assert!(first.iter().zip(&other).all(|(one, other)| one.1 != other.1 && one.0.path == other.0.path));
        assert!(first.iter().all(|(file, content)| file.bytes == content.len() as u64));
        assert!(first.iter().all(|(_, content)| content.starts_with(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0])));
    }

    #[test]
    fn it_is_as_much_as_asked_for() {
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
    fn it_is_as_dirty_as_real_data() {
        let made = made(&SMALL, 2);
        let all: Vec<&str> = lines(&made, "transactions").collect();
        let share = |what: &str, range: std::ops::Range<f64>, is: &dyn Fn(&[&str]) -> bool| {
            // Names may hold commas: the last four fields are counted from the end.
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
        assert_eq!(huge.count(), 4, "two whales' orders and their cancellations");

        let february = made.iter().filter(|(file, _)| file.path.to_string_lossy().contains("2025-02"));
        let contents: Vec<&Vec<u8>> = february.map(|(_, content)| content).collect();
        assert!(contents.len() == 2 && contents[0] == contents[1]);
    }

    #[test]
    fn lines_are_in_the_order_of_time() {
        let made = made(&SMALL, 2);
        for table in ["transactions", "interactions"] {
            let times = lines(&made, table)
                .filter_map(|line| line.split(',').find(|field| field.starts_with("2025-")));
            let times: Vec<&str> = times.filter(|time| !time.ends_with("25:61:00")).collect();
            assert!(times.len() > 1_000 && times.is_sorted(), "{table}");
        }
    }

    #[test]
    fn progress_only_grows_and_ends_at_what_was_expected() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let reports = Mutex::new(Vec::new());
        let note = |done, expected| reports.lock().expect("the reports").push((done, expected));
        generate(&SMALL, folder.path(), &note).expect("made-up data");
        let reports = reports.into_inner().expect("the reports");
        assert!(reports.is_sorted() && reports.len() > 10);
        assert!(reports.last().is_some_and(|(done, expected)| done == expected));
    }

    #[test]
    fn too_little_and_nowhere_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(generate(&Retail { customers: 9, ..SMALL }, folder.path(), &|_, _| {}).is_err());
        assert!(generate(&SMALL, &folder.path().join("missing"), &|_, _| {}).is_err());
    }
}
