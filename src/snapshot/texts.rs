//! The texts of a page, read where they lie: comparing two columns needs no copies of them.
//!
//! A page of [`rows`](super::writer::rows_properties) holds, where texts may be missing, the levels that tell which are there (the
//! format's hybrid of runs and bits), then each text behind its length.

use std::ops::Range;

use bytes::{Buf, Bytes};
use parquet::{
    basic::Encoding,
    column::page::{Page, PageReader},
};

/// The texts of one column of a block.
#[derive(Debug)]
pub struct Texts {
    page: Bytes,
    places: Vec<Option<Range<usize>>>,
}

impl Texts {
    /// The `rows` texts of the only page of `pages`; `optional` says that some may be missing.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the page.
    pub(super) fn read(pages: &mut dyn PageReader, rows: usize, optional: bool) -> Result<Self, String> {
        let page = pages.get_next_page().map_err(|error| error.to_string())?;
        let Some(Page::DataPage { buf: page, num_values, encoding: Encoding::PLAIN, .. }) = page else {
            return Err("a column of a block has no page of plain texts".to_owned());
        };
        if usize::try_from(num_values) != Ok(rows) {
            return Err("a page has not the rows that its footer says".to_owned());
        }
        let mut rest = page.clone();
        let there = if optional { levels(&mut rest, rows)? } else { vec![true; rows] };
        let mut places = Vec::with_capacity(rows);
        for there in there {
            let place = there.then(|| {
                let length = length(&mut rest)?;
                let start = page.len() - rest.len();
                rest.advance(length);
                Ok::<_, String>(start..start + length)
            });
            places.push(place.transpose()?);
        }
        Ok(Self { page, places })
    }

    /// The text of the row at `row`, if there is one.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.places[row].clone().map(|place| &self.page[place])
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

const SHORT: &str = "a page is shorter than it says";

/// A length, behind which as many bytes follow.
fn length(bytes: &mut Bytes) -> Result<usize, String> {
    let length = bytes.try_get_u32_le().map_err(|_| SHORT)?;
    usize::try_from(length).ok().filter(|length| *length <= bytes.len()).ok_or_else(|| SHORT.to_owned())
}

/// Which of `rows` rows have a text.
fn levels(bytes: &mut Bytes, rows: usize) -> Result<Vec<bool>, String> {
    let length = length(bytes)?;
    let mut levels = bytes.split_to(length);
    let mut there = Vec::with_capacity(rows);
    while there.len() < rows {
        let header = varint(&mut levels)?;
        let count = header >> 1;
        if count == 0 {
            return Err("a page has a run of no rows".to_owned());
        }
        if header & 1 == 0 {
            let level = levels.try_get_u8().map_err(|_| SHORT)?;
            there.resize(rows.min(there.len().saturating_add(count)), level == 1);
        } else {
            for _ in 0..count.min(rows.div_ceil(8)) {
                let bits = levels.try_get_u8().map_err(|_| SHORT)?;
                there.extend((0..8).map(|bit| bits >> bit & 1 == 1));
            }
            there.truncate(rows);
        }
    }
    Ok(there)
}

fn varint(bytes: &mut Bytes) -> Result<usize, String> {
    let mut number = 0;
    for shift in (0..32).step_by(7) {
        let byte = bytes.try_get_u8().map_err(|_| SHORT)?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a page has a run too long".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use parquet::{
        arrow::ArrowWriter, file::reader::FileReader, file::serialized_reader::SerializedFileReader,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::writer::{rows_properties, rows_schema};

    /// The texts as [`Texts`] reads them from a file that holds `texts`.
    fn read_back(texts: &[Option<String>]) -> Result<Texts, String> {
        let ids: Vec<String> = (0..texts.len()).map(|at| format!("{at:09}")).collect();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(ids)), Arc::new(texts.iter().cloned().collect::<StringArray>())];
        let batch = RecordBatch::try_new(rows_schema(["one"]), columns).expect("rows");
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(rows_properties())).expect("a writer");
        writer.write(&batch).expect("written");
        let file =
            SerializedFileReader::new(Bytes::from(writer.into_inner().expect("a file"))).expect("a footer");
        let group = file.get_row_group(0).expect("a block");
        let ids = Texts::read(&mut *group.get_column_page_reader(0).expect("pages"), texts.len(), false)?;
        assert_eq!(ids.get(texts.len() - 1), Some(format!("{:09}", texts.len() - 1).as_bytes()));
        Texts::read(&mut *group.get_column_page_reader(1).expect("pages"), texts.len(), true)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn what_was_written_is_read(
            runs in prop::collection::vec((prop::option::of("[a-zé\"]{0,20}"), 1_usize..60), 1..30),
        ) {
            let texts: Vec<Option<String>> = runs.iter().flat_map(|(text, times)| vec![text.clone(); *times]).collect();
            let found = read_back(&texts).expect("texts");
            prop_assert_eq!(found.len(), texts.len());
            for (row, text) in texts.iter().enumerate() {
                prop_assert_eq!(found.get(row), text.as_deref().map(str::as_bytes));
            }
        }

        #[test]
        fn no_bytes_are_read_behind_the_end(bytes in prop::collection::vec(any::<u8>(), 0..80), rows in 1_usize..200) {
            // Whatever they hold, it is told or read.
            let _ = levels(&mut Bytes::from(bytes), rows).map(|there| assert_eq!(there.len(), rows));
        }
    }
}
