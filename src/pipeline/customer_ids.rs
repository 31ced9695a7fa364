//! The sorted ids of all customers, from the staged table `customers`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

use arrow::array::AsArray;

use super::{
    parallel::parallel_map,
    raw::RawError,
    staging::{StagedFile, open, staging},
};
use crate::feature::PackedTexts;

/// Returns the ids of all `customers`, whose files are sorted by id. Only ids are in memory: a merge of whole
/// batches of hundreds of files would need many times as much.
pub(super) fn sorted(customers: &[StagedFile], threads: usize) -> Result<PackedTexts, RawError> {
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
fn merged(files: &[PackedTexts]) -> PackedTexts {
    let mut all = PackedTexts::default();
    let mut rests: Vec<_> = files.iter().map(PackedTexts::iter).collect();
    let firsts = rests.iter_mut().enumerate().filter_map(|(at, ids)| Some(Reverse((ids.next()?, at))));
    let mut heap: BinaryHeap<Reverse<(&str, usize)>> = firsts.collect();
    while let Some(mut least) = heap.peek_mut() {
        let Reverse((id, at)) = &mut *least;
        all.push(id);
        match rests[*at].next() {
            Some(next) => *id = next,
            None => drop(PeekMut::pop(least)),
        }
    }
    all
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
        assert_eq!(merged(&files).iter().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "é"]);
        assert!(merged(&[]).is_empty());
    }
}
