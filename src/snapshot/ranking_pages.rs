//! The ids of a ranking, best first, in pages of one size: the form in which publish writes a list.

use arrow::array::{Array, StringArray};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{SnapshotError, files::SnapshotFiles, row_scan::texts};

/// Pages of a ranking that are still to be read.
pub struct RankingPages {
    blocks: BoxStream<'static, Result<StringArray, SnapshotError>>,
    /// Ids of the last block that belong to the next page.
    rest: Option<StringArray>,
    size: usize,
}

/// Ids of one page, as slices of blocks.
#[derive(Debug, Default)]
pub struct RankingPage(Vec<StringArray>);

impl RankingPage {
    /// Iterates over the ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|slice| slice.iter().flatten())
    }
}

impl SnapshotFiles {
    /// Opens the ranking of `list` in pages of `size` ids; the last page may be shorter. A list without a
    /// ranking is empty.
    #[must_use]
    pub fn ranking_pages(&self, list: &str, size: usize) -> RankingPages {
        let blocks = match self.manifest.ranking(list) {
            None => stream::empty().boxed(),
            Some(file) => self.scan_blocks(vec![file], |block| {
                let ids = texts(&block.decode_column(0)?).next().flatten();
                ids.ok_or_else(|| block.damaged("the column of ids does not hold text"))
            }),
        };
        RankingPages { blocks, rest: None, size }
    }
}

impl RankingPages {
    /// Returns the next page, or `None` after the last.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`], [`SnapshotError::Timeout`], or [`SnapshotError::Damaged`].
    pub async fn next(&mut self) -> Result<Option<RankingPage>, SnapshotError> {
        let (mut page, mut missing) = (RankingPage::default(), self.size);
        while missing > 0 {
            let block = match self.rest.take() {
                Some(rest) if !rest.is_empty() => rest,
                _ => match self.blocks.try_next().await? {
                    Some(block) => block,
                    None => break,
                },
            };
            let length = missing.min(block.len());
            page.0.push(block.slice(0, length));
            self.rest = Some(block.slice(length, block.len() - length));
            missing -= length;
        }
        Ok((missing < self.size).then_some(page))
    }
}
