//! The purchase log: all purchases by customer, product and time, read from the staging once. A purchase
//! takes 16 bytes of a temporary file; memory holds the partitions that threads work on.
//!
//! A purchase that was fully returned holds until its return. The log keeps such a purchase, and a return
//! without a purchase, since the product is not new to the customer. Products are numbered in the order of
//! their ids, so numbers do not depend on the partitioning of the staging.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

use crate::pipeline::{
    exclude_patterns::ExcludePatterns,
    parallel::{parallel_fold, parallel_map},
    raw::RawError,
    staging::{derive::StagedFile, staging},
};

mod catalog;
mod category_signals;
mod log_file;
mod numbering;
mod partition_log;
mod product_texts;
mod purchase;

use catalog::Catalog;
use category_signals::CategorySignals;
use log_file::LogFile;
#[cfg(feature = "cluster")]
pub(super) use log_file::read;
use partition_log::PartitionLog;
use product_texts::ProductTexts;
#[cfg(test)]
use purchase::NEVER;
pub(super) use purchase::{CustomerPurchases, NONE, PartitionPurchases, ProductInfo, Purchase};

/// The staged tables, by partition.
#[derive(Debug, Clone)]
pub(super) struct TableFiles {
    pub(super) customers: Vec<StagedFile>,
    pub(super) transactions: Vec<StagedFile>,
    pub(super) interactions: Vec<StagedFile>,
}

/// Options for reading the purchase log.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogOptions<'a> {
    /// Products to leave out.
    pub(super) exclude: &'a ExcludePatterns,
    /// Customer attribute with the preferred category; `None` if it must not be read.
    pub(super) category_column: Option<&'a str>,
    /// Customer attribute with the country; `None` if it must not be read.
    pub(super) country_column: Option<&'a str>,
    /// Columns of `transactions` that are part of an order's identity.
    pub(super) order_scope: &'a [String],
    /// Maximum time from the first to the last line of an order in seconds.
    pub(super) order_span: u32,
    pub(super) threads: usize,
}

/// All purchases of products that are not excluded.
#[derive(Debug)]
pub(super) struct PurchaseLog {
    /// Products sorted by id; the index is the product's number.
    pub(super) products: Vec<ProductInfo>,
    /// Number of excluded products.
    pub(super) excluded: u64,
    /// Number of each product's category; categories are numbered by name.
    pub(super) categories: Vec<u32>,
    /// Purchases by partition.
    parts: Vec<LogFile>,
    /// Times of the first and the last purchase, in seconds since 1970.
    pub(super) span: Option<(u32, u32)>,
    /// Folder of the files, which is removed with the log.
    _folder: TempDir,
}

impl PurchaseLog {
    /// Reads the staged tables, which must be partitioned alike, and writes the purchases of each partition
    /// to a file in the folder `scratch`.
    ///
    /// # Errors
    /// Fails if a staged file cannot be read or written.
    pub(super) fn read(
        tables: &TableFiles,
        options: LogOptions<'_>,
        scratch: &Path,
    ) -> Result<Self, RawError> {
        let folder = tempfile::tempdir_in(scratch).map_err(|error| staging(scratch, error))?;
        let (read, catalog) = read_partitions(tables, options, folder.path())?;
        let excluded = catalog.excluded();
        let (texts, numbers) = catalog.finish();
        let products: Vec<ProductInfo> = texts.into_iter().map(ProductTexts::into_product).collect();
        let by_name = numbered(products.iter().filter_map(|product| product.category.as_deref()));
        let category = |name: &str| by_name.get(name).copied().unwrap_or(NONE);
        let of_product = |product: &ProductInfo| product.category.as_deref().map_or(NONE, category);
        let categories: Vec<u32> = products.iter().map(of_product).collect();
        let by_product = |id: &str| {
            let found = products.binary_search_by(|product| product.id.as_str().cmp(id));
            found.map_or(NONE, |place| categories[place])
        };
        let number = |at: usize| -> Result<(LogFile, Option<(u32, u32)>), RawError> {
            let mut part = read[at].read()?;
            part.renumber(&numbers);
            part.sort();
            let signals = CategorySignals::read(
                &part.ids,
                &tables.customers[at],
                tables.interactions.get(at),
                options,
            )?;
            part.categories = signals.categories(category, by_product);
            let times = || part.purchases.iter().filter(|one| one.is_known()).map(|one| one.at);
            let span = times().min().zip(times().max());
            Ok((LogFile::write(place(folder.path(), at), &part)?, span))
        };
        let numbered = parallel_map(options.threads, read.len(), || (), |(), at| number(at));
        let numbered = numbered.into_iter().collect::<Result<Vec<_>, RawError>>()?;
        let spans = || numbered.iter().filter_map(|(_, span)| *span);
        let span = spans().map(|(first, _)| first).min().zip(spans().map(|(_, last)| last).max());
        let parts = numbered.into_iter().map(|(file, _)| file).collect();
        Ok(Self { products, excluded, categories, parts, span, _folder: folder })
    }

    /// Returns the number of customers.
    pub(super) fn customers(&self) -> usize {
        self.parts.iter().map(LogFile::customers).sum()
    }

    /// Returns the files with the purchases of the partitions.
    #[cfg(feature = "cluster")]
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(LogFile::path)
    }

    /// Returns the results of `work` for each partition. Each thread has its own `state`.
    ///
    /// # Errors
    /// Fails if a file cannot be read, or if `work` fails.
    pub(super) fn map<S: Send, T: Send>(
        &self,
        threads: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize, &PartitionPurchases) -> Result<T, RawError> + Sync,
    ) -> Result<Vec<T>, RawError> {
        let results = parallel_map(threads, self.parts.len(), state, |state, at| {
            work(state, at, &self.parts[at].read()?)
        });
        results.into_iter().collect()
    }

    /// Calls `work` with each customer, and returns the states of the threads, as [`parallel_fold`] does.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub(super) fn fold<S: Send>(
        &self,
        threads: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, CustomerPurchases<'_>) + Sync,
    ) -> Result<Vec<S>, RawError> {
        let empty = || (state(), Ok(()));
        let states = parallel_fold(threads, self.parts.len(), empty, |(state, result), at| {
            match self.parts[at].read() {
                Ok(part) => part.customers().for_each(|customer| work(state, customer)),
                Err(error) => *result = Err(error),
            }
        });
        states.into_iter().map(|(state, result)| result.map(|()| state)).collect()
    }
}

/// Reads all partitions, and writes their purchases with the numbers of the catalog to `folder`.
fn read_partitions(
    tables: &TableFiles,
    options: LogOptions<'_>,
    folder: &Path,
) -> Result<(Vec<LogFile>, Catalog), RawError> {
    let catalog = Mutex::new(Catalog::default());
    let count = tables.customers.len().min(tables.transactions.len());
    let read = |at: usize| -> Result<LogFile, RawError> {
        let mut log = PartitionLog::read(&tables.customers[at], &tables.transactions[at], options)?;
        let numbers = catalog.lock().unwrap_or_else(PoisonError::into_inner).add(&mut log);
        log.part.renumber(&numbers);
        LogFile::write(place(folder, at), &log.part)
    };
    let files = parallel_map(options.threads, count, || (), |(), at| read(at));
    let files = files.into_iter().collect::<Result<Vec<LogFile>, RawError>>()?;
    Ok((files, catalog.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// Returns the name of the file with the purchases of a partition.
pub(super) fn file_name(partition: usize) -> String {
    format!("purchases-{partition}")
}

/// Returns the place of the file of a partition. The purchases with final numbers replace those with the
/// numbers of the catalog.
fn place(folder: &Path, partition: usize) -> PathBuf {
    folder.join(file_name(partition))
}

/// Returns the number of each distinct text in alphabetical order.
fn numbered<'a>(texts: impl Iterator<Item = &'a str>) -> HashMap<String, u32> {
    let mut sorted: Vec<&str> = texts.collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.into_iter().map(str::to_owned).zip(0..).collect()
}

/// Returns the log of lines with customer, product and time, for tests.
#[cfg(test)]
pub(super) fn of_lines(lines: &[(&str, u32, u32)]) -> PurchaseLog {
    let most = lines.iter().map(|(_, product, _)| product + 1).max().unwrap_or(0);
    let product = |at: u32| ProductInfo { id: format!("p{at:03}"), name: None, category: None };
    let mut part = PartitionPurchases::default();
    let mut sorted: Vec<_> = lines.to_vec();
    sorted.sort_unstable();
    for of_customer in sorted.chunk_by(|a, b| a.0 == b.0) {
        part.ids.push(of_customer[0].0.to_owned());
        part.countries.push(NONE);
        part.categories.push(NONE);
        let purchases = of_customer.iter().map(|(_, product, at)| Purchase {
            product: *product,
            order: *at,
            at: *at,
            returned: NEVER,
        });
        part.purchases.extend(purchases);
        part.ends.push(u32::try_from(part.purchases.len()).expect("few"));
    }
    let times = || part.purchases.iter().map(|purchase| purchase.at);
    let span = times().min().zip(times().max());
    let folder = tempfile::tempdir().expect("a folder");
    PurchaseLog {
        products: (0..most).map(product).collect(),
        excluded: 0,
        categories: vec![NONE; most as usize],
        parts: vec![LogFile::write(folder.path().join("purchases"), &part).expect("written")],
        span,
        _folder: folder,
    }
}
