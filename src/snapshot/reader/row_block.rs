//! A decoded block of `rows` or `products` as lookups want it: the texts of a row side by side, found by the hash of its id.
//!
//! The blocks in memory are far larger than the processor's caches, so a lookup costs what it waits for memory. Columns make it wait for
//! some lines of each, and for those of a binary search; this makes it wait for one line of a table, and for the row.

use crate::feature::ViewRows;
use arrow::array::{Array, RecordBatch, StringArray};

/// Rows by id.
#[derive(Debug)]
pub(super) struct RowBlock {
    /// The texts of a row beside its id.
    texts: usize,
    /// A hash table with linear probing, at most half full; its length is a power of two.
    slots: Box<[Slot]>,
    /// Of each row the length of its id, the id, and the texts as [`ViewRows`] keeps them.
    rows: Box<[u8]>,
}

/// Where a row starts.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Of the id, so that hardly ever a row is looked at that is another's.
    hash: u32,
    start: u32,
}

impl Slot {
    const EMPTY: Self = Self { hash: 0, start: u32::MAX };

    fn is_empty(self) -> bool {
        self.start == Self::EMPTY.start
    }
}

impl RowBlock {
    /// The rows of `batch`, whose first column holds the ids, all different.
    pub(super) fn new(batch: &RecordBatch) -> Result<Self, String> {
        let columns = batch.columns().iter().map(|column| column.as_any().downcast_ref::<StringArray>());
        let columns = columns.collect::<Option<Vec<_>>>().ok_or("a column that should hold text does not")?;
        let (ids, texts) = columns.split_first().ok_or("it has no columns")?;
        let bytes = columns.iter().map(|texts| texts.value_data().len() + ids.len() * size_of::<u32>());
        let mut rows = Vec::with_capacity(bytes.sum());
        let mut slots = vec![Slot::EMPTY; (2 * ids.len()).next_power_of_two()];
        for row in 0..ids.len() {
            let start = u32::try_from(rows.len()).map_err(|error| error.to_string())?;
            let id = ids.value(row);
            rows.extend_from_slice(
                &u32::try_from(id.len()).map_err(|error| error.to_string())?.to_le_bytes(),
            );
            rows.extend_from_slice(id.as_bytes());
            let texts = texts.iter().map(|texts| texts.is_valid(row).then(|| texts.value(row).as_bytes()));
            ViewRows::append(texts, &mut rows).ok_or("a text is too long")?;
            let hash = hash(id);
            let free = probe(hash, slots.len()).find(|at| slots[*at].is_empty()).ok_or("it is full")?;
            slots[free] = Slot { hash, start };
        }
        Ok(Self { texts: texts.len(), slots: slots.into(), rows: rows.into() })
    }

    /// How many bytes it keeps in memory.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.slots) + self.rows.len()
    }

    /// The texts of the row of `id`, as a copy, so that a row kept in memory does not keep the block.
    pub(super) fn get(&self, id: &str) -> Option<ViewRows> {
        let hash = hash(id);
        let slots =
            probe(hash, self.slots.len()).map(|at| self.slots[at]).take_while(|slot| !slot.is_empty());
        slots.filter(|slot| slot.hash == hash).find_map(|slot| self.texts_at(slot.start, id))
    }

    /// The texts of the row at `start`, if it is that of `id`.
    fn texts_at(&self, start: u32, id: &str) -> Option<ViewRows> {
        let (length, row) = self.rows.get(start as usize..)?.split_first_chunk()?;
        let row =
            row.strip_prefix(id.as_bytes()).filter(|_| u32::from_le_bytes(*length) as usize == id.len())?;
        ViewRows::first_of(row, self.texts)
    }
}

/// The places of a table of `slots` to look at, one after the other, for an id with this hash.
fn probe(hash: u32, slots: usize) -> impl Iterator<Item = usize> {
    let first = hash as usize;
    (first..first + slots).map(move |at| at & (slots - 1))
}

/// FNV-1a: ids are short, and all that it has to do is to spread those of one block.
/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>
fn hash(id: &str) -> u32 {
    id.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Checks that a block made of `data` finds each of its rows and no other id.
///
/// The first byte is the number of texts per row. A row is a line of fields between tabs, the id first; a missing field is null.
pub(crate) fn fuzz(data: &[u8]) {
    use std::{collections::BTreeMap, sync::Arc};

    use arrow::{
        array::ArrayRef,
        datatypes::{DataType, Field, Schema},
    };

    let Some((count, data)) = data.split_first() else { return };
    let count = usize::from(count % 5);
    let text = String::from_utf8_lossy(data);
    let mut rows: BTreeMap<&str, Vec<Option<&str>>> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let id = fields.next().unwrap_or_default();
        rows.insert(id, (0..count).map(|_| fields.next()).collect());
    }
    let mut columns = vec![Arc::new(StringArray::from_iter_values(rows.keys())) as ArrayRef];
    columns.extend((0..count).map(|at| {
        let texts: StringArray = rows.values().map(|texts| texts[at]).collect();
        Arc::new(texts) as ArrayRef
    }));
    let fields: Vec<Field> =
        (0..columns.len()).map(|at| Field::new(at.to_string(), DataType::Utf8, true)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length");
    let block = RowBlock::new(&batch).expect("columns of text");
    for (id, texts) in &rows {
        let found = block.get(id).unwrap_or_else(|| panic!("{id:?} is missing"));
        assert!(found.iter().eq(texts.iter().map(|text| text.map(str::as_bytes))), "{id:?}: {found:?}");
        let other = format!("{id}\t");
        assert_eq!(block.get(&other), None, "{other:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::ArrayRef,
        datatypes::{DataType, Field, Schema},
    };

    use super::*;

    fn block(columns: Vec<StringArray>) -> Result<RowBlock, String> {
        let fields: Vec<Field> =
            (0..columns.len()).map(|at| Field::new(at.to_string(), DataType::Utf8, true)).collect();
        let columns = columns.into_iter().map(|column| Arc::new(column) as ArrayRef).collect();
        RowBlock::new(&RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("equal lengths"))
    }

    #[test]
    fn every_row_is_found_and_no_other() {
        let ids: Vec<String> = (0..5_000).map(|number| format!("C{number:05}")).collect();
        let first = ids.iter().map(|id| (id.as_str() != "C00007").then(|| format!("[\"{id}\"]")));
        let second = (0..ids.len()).map(|number| Some("x".repeat(number % 7)));
        let block =
            block(vec![ids.iter().map(Some).collect(), first.collect(), second.collect()]).expect("texts");
        for (number, id) in ids.iter().enumerate() {
            let found = block.get(id).expect("a known id");
            let (first, second) = (format!("[\"{id}\"]"), "x".repeat(number % 7));
            let expected = [(number != 7).then_some(first.as_bytes()), Some(second.as_bytes())];
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{id}");
            for other in [&id[..5], &format!("{id}["), &format!("D{}", &id[1..])] {
                assert_eq!(block.get(other), None);
            }
        }
        assert_eq!(block.get(""), None);
    }

    #[test]
    fn ids_with_one_hash_are_told_apart() {
        // Both have the hash 0x5e4daa9d.
        let same = ["costarring", "liquid"];
        assert_eq!(hash(same[0]), hash(same[1]));
        let texts = StringArray::from(vec!["first", "second"]);
        let block = block(vec![StringArray::from(same.to_vec()), texts]).expect("texts");
        for (id, text) in same.iter().zip(["first", "second"]) {
            assert_eq!(block.get(id).expect("a known id").get(0), Some(text.as_bytes()));
        }
    }

    #[test]
    fn a_block_may_be_empty_but_must_hold_texts() {
        let none = block(vec![StringArray::from(Vec::<&str>::new())]).expect("texts");
        assert_eq!(none.get("a"), None);
        let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("id", numbers)]).expect("a batch");
        assert!(RowBlock::new(&batch).is_err());
    }
}
