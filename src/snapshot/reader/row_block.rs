//! A decoded block of `rows` or `products`, laid out for lookups: a hash table of ids, and the texts of a row
//! side by side.
//!
//! Cached blocks are far larger than the processor's caches, so the cost of a lookup is its cache misses.
//! Columns would cost some cache lines each, besides those of a binary search; this layout costs one line of
//! the table, and the lines of the row.

use crate::feature::ViewRows;
use arrow::array::{Array, RecordBatch, StringArray};

/// Rows of a block by id.
#[derive(Debug)]
pub(super) struct RowBlock {
    /// Number of texts of a row, without the id.
    texts: usize,
    /// Hash table with linear probing, at most half full; the length is a power of two.
    slots: Box<[IdSlot]>,
    /// For each row the length of the id, the id, and the texts in the form of [`ViewRows`].
    rows: Box<[u8]>,
}

/// An entry of the hash table.
#[derive(Debug, Clone, Copy)]
struct IdSlot {
    /// Hash of the id, so that a lookup rarely touches the row of another id.
    hash: u32,
    /// Offset of the row.
    start: u32,
}

impl IdSlot {
    const EMPTY: Self = Self { hash: 0, start: u32::MAX };

    fn is_empty(self) -> bool {
        self.start == Self::EMPTY.start
    }
}

impl RowBlock {
    /// Converts `batch`, whose first column holds distinct ids and whose other columns hold texts.
    pub(super) fn new(batch: &RecordBatch) -> Result<Self, String> {
        let columns = batch.columns().iter().map(|column| column.as_any().downcast_ref::<StringArray>());
        let columns = columns.collect::<Option<Vec<_>>>().ok_or("a column does not hold text")?;
        let (ids, texts) = columns.split_first().ok_or("there are no columns")?;
        let bytes = columns.iter().map(|texts| texts.value_data().len() + ids.len() * size_of::<u32>());
        let mut rows = Vec::with_capacity(bytes.sum());
        let mut slots = vec![IdSlot::EMPTY; (2 * ids.len()).next_power_of_two()];
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
            let free =
                probe(hash, slots.len()).find(|at| slots[*at].is_empty()).ok_or("the hash table is full")?;
            slots[free] = IdSlot { hash, start };
        }
        Ok(Self { texts: texts.len(), slots: slots.into(), rows: rows.into() })
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.slots) + self.rows.len()
    }

    /// Returns a copy of the texts of the row of `id`, so that a cached row does not keep the block in
    /// memory.
    pub(super) fn get(&self, id: &str) -> Option<ViewRows> {
        let hash = hash(id);
        let slots =
            probe(hash, self.slots.len()).map(|at| self.slots[at]).take_while(|slot| !slot.is_empty());
        slots.filter(|slot| slot.hash == hash).find_map(|slot| self.texts_at(slot.start, id))
    }

    /// Returns the texts of the row at `start`, if the row is that of `id`.
    fn texts_at(&self, start: u32, id: &str) -> Option<ViewRows> {
        let (length, row) = self.rows.get(start as usize..)?.split_first_chunk()?;
        if u32::from_le_bytes(*length) as usize != id.len() {
            return None;
        }
        ViewRows::first_of(row.strip_prefix(id.as_bytes())?, self.texts)
    }
}

/// Iterates over the positions to probe, in a table of `slots`, for an id with this hash.
fn probe(hash: u32, slots: usize) -> impl Iterator<Item = usize> {
    let first = hash as usize;
    (first..first + slots).map(move |at| at & (slots - 1))
}

/// Hashes with FNV-1a: ids are short, and the hash only needs to spread the ids of one block.
/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>
fn hash(id: &str) -> u32 {
    id.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Checks that a block made of `data` finds each of its rows and no other id.
///
/// The first byte is the number of texts per row. A row is a line of fields between tabs, the id first; a
/// missing field is null.
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
    fn get_finds_every_row_and_no_unknown_id() {
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
    fn hash_collisions_are_resolved() {
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
    fn empty_block_is_accepted_and_other_types_are_rejected() {
        let none = block(vec![StringArray::from(Vec::<&str>::new())]).expect("texts");
        assert_eq!(none.get("a"), None);
        let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("id", numbers)]).expect("a batch");
        assert!(RowBlock::new(&batch).is_err());
    }
}
