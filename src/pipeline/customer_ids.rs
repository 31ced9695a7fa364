//! The sorted customers with their partitions, from the staged table `customers`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
};

use arrow::array::AsArray;

use super::{
    parallel::parallel_map,
    raw::RawError,
    staging::{StagedFile, open, staging},
};
use crate::feature::PackedTexts;

/// All customers, sorted by id.
#[derive(Debug)]
pub(super) struct SortedCustomers {
    pub(super) ids: Arc<PackedTexts>,
    /// Partition of the staging that each customer is in.
    pub(super) partitions: Vec<u16>,
}

/// Returns all `customers`, whose files, one of each partition, are sorted by id. Only ids are in memory: a
/// merge of whole batches of hundreds of files would need many times as much.
pub(super) fn sorted(customers: &[StagedFile], threads: usize) -> Result<SortedCustomers, RawError> {
    let files = parallel_map(threads, customers.len(), || (), |(), at| read(&customers[at]));
    let files = files.into_iter().collect::<Result<Vec<PackedTexts>, RawError>>()?;
    Ok(merged(&files))
}

/// Returns the ids of a file.
fn read(customers: &StagedFile) -> Result<PackedTexts, RawError> {
    let failed = |error| staging(&customers.path, error);
    let mut ids = PackedTexts::default();
    for batch in open(&customers.path, Some(vec![0]))? {
        batch.map_err(failed)?.column(0).as_string::<i32>().iter().flatten().for_each(|id| ids.push(id));
    }
    Ok(ids)
}

/// Merges sorted `files`.
fn merged(files: &[PackedTexts]) -> SortedCustomers {
    let (mut ids, mut partitions) = (PackedTexts::default(), Vec::new());
    let mut rests: Vec<_> = files.iter().map(PackedTexts::iter).collect();
    let firsts = rests.iter_mut().enumerate().filter_map(|(at, ids)| Some(Reverse((ids.next()?, at))));
    let mut heap: BinaryHeap<Reverse<(&str, usize)>> = firsts.collect();
    while let Some(mut least) = heap.peek_mut() {
        let Reverse((id, at)) = &mut *least;
        ids.push(id);
        // There are at most 4,096 partitions.
        partitions.push(u16::try_from(*at).unwrap_or(u16::MAX));
        match rests[*at].next() {
            Some(next) => *id = next,
            None => drop(PeekMut::pop(least)),
        }
    }
    SortedCustomers { ids: Arc::new(ids), partitions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_all_files_are_sorted() {
        let files: Vec<PackedTexts> = [vec!["b", "e"], vec![], vec!["a", "c", "d", "é"]]
            .into_iter()
            .map(|ids| ids.into_iter().collect())
            .collect();
        let found = merged(&files);
        assert_eq!(found.ids.iter().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "é"]);
        assert_eq!(found.partitions, [2, 0, 2, 2, 0, 2]);
        assert!(merged(&[]).ids.is_empty());
    }
}
