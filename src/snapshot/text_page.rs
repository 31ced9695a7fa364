//! A Parquet page of plain texts, located but not copied: a comparison of two columns needs no copies.
//!
//! A page of [`rows`](super::writer::rows_properties) holds, if the column is nullable, the definition levels
//! (in Parquet's hybrid of run lengths and bit packing), then each text after its length.
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

use std::ops::Range;

use bytes::{Buf, Bytes};
use parquet::{
    basic::Encoding,
    column::page::{Page, PageReader},
};

/// Texts of one column of a block.
#[derive(Debug)]
pub struct TextPage {
    page: Bytes,
    /// Range of each text in `page`.
    ranges: Vec<Option<Range<usize>>>,
}

impl TextPage {
    /// Locates the `rows` texts in the only page of `pages`; `nullable` columns have definition levels.
    ///
    /// # Errors
    /// A description of the damage.
    pub(super) fn read(pages: &mut dyn PageReader, rows: usize, nullable: bool) -> Result<Self, String> {
        let page = pages.get_next_page().map_err(|error| error.to_string())?;
        let Some(Page::DataPage { buf: page, num_values, encoding: Encoding::PLAIN, .. }) = page else {
            return Err("a column of a block has no page of plain texts".to_owned());
        };
        if usize::try_from(num_values) != Ok(rows) {
            return Err("a page and its footer have different numbers of rows".to_owned());
        }
        let mut rest = page.clone();
        let present = if nullable { levels(&mut rest, rows)? } else { vec![true; rows] };
        let mut ranges = Vec::with_capacity(rows);
        for is_present in present {
            if !is_present {
                ranges.push(None);
                continue;
            }
            let length = length(&mut rest)?;
            let start = page.len() - rest.len();
            rest.advance(length);
            ranges.push(Some(start..start + length));
        }
        Ok(Self { page, ranges })
    }

    /// Returns the text at `row`, or `None` for null.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.ranges[row].clone().map(|range| &self.page[range])
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Checks whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

const SHORT: &str = "a page is shorter than its lengths say";

/// Reads a length, and checks that as many bytes follow.
fn length(bytes: &mut Bytes) -> Result<usize, String> {
    let length = bytes.try_get_u32_le().map_err(|_| SHORT)?;
    match usize::try_from(length) {
        Ok(length) if length <= bytes.len() => Ok(length),
        _ => Err(SHORT.to_owned()),
    }
}

/// Decodes the definition levels: whether each of `rows` rows has a text.
fn levels(bytes: &mut Bytes, rows: usize) -> Result<Vec<bool>, String> {
    let length = length(bytes)?;
    let mut levels = bytes.split_to(length);
    let mut present = Vec::with_capacity(rows);
    while present.len() < rows {
        let header = varint(&mut levels)?;
        let count = header >> 1;
        if count == 0 {
            return Err("a page has an empty run of levels".to_owned());
        }
        if header & 1 == 0 {
            let level = levels.try_get_u8().map_err(|_| SHORT)?;
            present.resize(rows.min(present.len().saturating_add(count)), level == 1);
        } else {
            for _ in 0..count.min(rows.div_ceil(8)) {
                let bits = levels.try_get_u8().map_err(|_| SHORT)?;
                present.extend((0..8).map(|bit| bits >> bit & 1 == 1));
            }
            present.truncate(rows);
        }
    }
    Ok(present)
}

/// Reads an unsigned LEB128 number.
fn varint(bytes: &mut Bytes) -> Result<usize, String> {
    let mut number = 0;
    for shift in (0..32).step_by(7) {
        let byte = bytes.try_get_u8().map_err(|_| SHORT)?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a page has a run of levels that is too long".to_owned())
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

    /// Writes a file of `texts` and reads them back.
    fn read_back(texts: &[Option<String>]) -> Result<TextPage, String> {
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
        let ids = TextPage::read(&mut *group.get_column_page_reader(0).expect("pages"), texts.len(), false)?;
        assert_eq!(ids.get(texts.len() - 1), Some(format!("{:09}", texts.len() - 1).as_bytes()));
        TextPage::read(&mut *group.get_column_page_reader(1).expect("pages"), texts.len(), true)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn texts_round_trip(
            runs in prop::collection::vec((prop::option::of("[a-zé\"]{0,20}"), 1_usize..60), 1..30),
        ) {
            let texts: Vec<Option<String>> =
                runs.iter().flat_map(|(text, times)| vec![text.clone(); *times]).collect();
            let found = read_back(&texts).expect("texts");
            prop_assert_eq!(found.len(), texts.len());
            for (row, text) in texts.iter().enumerate() {
                prop_assert_eq!(found.get(row), text.as_deref().map(str::as_bytes));
            }
        }

        #[test]
        fn damaged_levels_never_read_past_the_end(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            rows in 1_usize..200,
        ) {
            // Random bytes are decoded or rejected, without a panic.
            let _ = levels(&mut Bytes::from(bytes), rows).map(|present| assert_eq!(present.len(), rows));
        }
    }
}
