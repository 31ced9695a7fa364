//! A temporary file with the purchases of one partition. Memory holds the partitions that threads work on.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use super::purchase::{PartitionPurchases, Purchase};
use crate::pipeline::{raw::RawError, staging::staging};

/// Bytes of a number.
const NUMBER: usize = 4;

/// The purchases of a partition in a file: little-endian numbers of 32 bits, and texts. The first numbers are
/// those of customers and purchases.
#[derive(Debug, Clone)]
pub(super) struct LogFile {
    path: PathBuf,
    customers: usize,
}

impl LogFile {
    /// Writes `part` to `path`.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) fn write(path: PathBuf, part: &PartitionPurchases) -> Result<Self, RawError> {
        let count = |count: usize| u32::try_from(count).map_err(std::io::Error::other);
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::with_capacity(1 << 18, File::create(&path)?);
            for number in [count(part.len())?, count(part.purchases.len())?] {
                file.write_all(&number.to_le_bytes())?;
            }
            for number in part.countries.iter().chain(&part.categories).chain(&part.ends) {
                file.write_all(&number.to_le_bytes())?;
            }
            for id in &part.ids {
                file.write_all(&count(id.len())?.to_le_bytes())?;
            }
            for one in &part.purchases {
                for number in [one.product, one.order, one.at, one.returned] {
                    file.write_all(&number.to_le_bytes())?;
                }
            }
            part.ids.iter().try_for_each(|id| file.write_all(id.as_bytes()))?;
            file.flush()
        };
        write().map_err(|error| staging(&path, error))?;
        Ok(Self { path, customers: part.len() })
    }

    #[cfg(feature = "cluster")]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of customers.
    pub(super) fn customers(&self) -> usize {
        self.customers
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Fails if the file cannot be read or was changed.
    pub(super) fn read(&self) -> Result<PartitionPurchases, RawError> {
        read(&self.path)
    }
}

/// Reads a file that [`LogFile::write`] has written.
///
/// # Errors
/// Fails if the file cannot be read or was changed.
pub(in super::super) fn read(path: &Path) -> Result<PartitionPurchases, RawError> {
    let bytes = std::fs::read(path).map_err(|error| staging(path, error))?;
    parse(&bytes).ok_or_else(|| staging(path, "the file was changed"))
}

/// Returns the purchases of a file with this content; `None` if it has another length.
fn parse(bytes: &[u8]) -> Option<PartitionPurchases> {
    let (counts, rest) = numbers(bytes, 2)?;
    let (customers, purchases) = (counts[0] as usize, counts[1] as usize);
    let (countries, rest) = numbers(rest, customers)?;
    let (categories, rest) = numbers(rest, customers)?;
    let (ends, rest) = numbers(rest, customers)?;
    let (lengths, rest) = numbers(rest, customers)?;
    let (purchases, texts) = rest.split_at_checked(purchases * 4 * NUMBER)?;
    let purchase = |bytes: &[u8; 4 * NUMBER]| {
        let [product, order, at, returned] = [0, 1, 2, 3].map(|place| {
            let from = place * NUMBER;
            u32::from_le_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]])
        });
        Purchase { product, order, at, returned }
    };
    let purchases = purchases.as_chunks().0.iter().map(purchase).collect();
    let mut texts = std::str::from_utf8(texts).ok()?;
    let mut ids = Vec::with_capacity(customers);
    for length in lengths {
        let (id, rest) = texts.split_at_checked(length as usize)?;
        ids.push(id.to_owned());
        texts = rest;
    }
    texts.is_empty().then_some(PartitionPurchases { ids, countries, categories, ends, purchases })
}

/// Returns the first `count` numbers of `bytes`, and the other bytes.
fn numbers(bytes: &[u8], count: usize) -> Option<(Vec<u32>, &[u8])> {
    let (numbers, rest) = bytes.split_at_checked(count * NUMBER)?;
    let numbers = numbers.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number));
    Some((numbers.collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_has_all_purchases() {
        let folder = tempfile::tempdir().expect("a folder");
        let purchase = |product| Purchase { product, order: 7, at: 8, returned: u32::MAX };
        let part = PartitionPurchases {
            ids: ["a", "", "é"].map(str::to_owned).to_vec(),
            countries: vec![1, 2, 3],
            categories: vec![4, 5, 6],
            ends: vec![2, 2, 3],
            purchases: [1, 2, 3].map(purchase).to_vec(),
        };
        let file = LogFile::write(folder.path().join("log"), &part).expect("written");
        let read = file.read().expect("read");
        assert_eq!((read.ids, read.countries, read.categories), (part.ids, part.countries, part.categories));
        assert_eq!((read.ends, read.purchases), (part.ends, part.purchases));
        std::fs::write(folder.path().join("log"), [0; 70]).expect("written");
        assert!(file.read().expect_err("changed").to_string().contains("log"));
    }
}
