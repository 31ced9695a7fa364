//! Where in a snapshot the forgotten customers are: how many of them it holds, and which places of its lists are theirs.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};

use super::SnapshotReader;
use crate::{
    feature::CustomerId,
    snapshot::{FileKind, Forgotten, SnapshotError},
};

/// Customers that are looked up at a time.
const LOOKUPS: usize = 16;

/// The places that forgotten customers leave empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    customers: u64,
    lists: HashMap<String, Vec<u64>>,
}

impl Gaps {
    /// How many customers of the snapshot are forgotten.
    #[must_use]
    pub fn customers(&self) -> u64 {
        self.customers
    }

    /// The ranks of `list` that are theirs, counted from 0, ascending.
    #[must_use]
    pub fn of(&self, list: &str) -> &[u64] {
        self.lists.get(list).map_or(&[], Vec::as_slice)
    }
}

impl SnapshotReader {
    /// Those of `ids` that the snapshot holds.
    ///
    /// # Errors
    /// As [`SnapshotReader::row`].
    pub async fn held<'a>(
        &self,
        ids: impl Iterator<Item = &'a CustomerId>,
    ) -> Result<Vec<&'a CustomerId>, Arc<SnapshotError>> {
        let lookups: Vec<_> = ids
            .map(|id| async move { Ok::<_, Arc<SnapshotError>>(self.row(id).await?.map(|_| id)) })
            .collect();
        let found: Vec<Option<_>> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The places that are those of `forgotten`. The lists are read through only where the snapshot holds any of them.
    ///
    /// # Errors
    /// As [`SnapshotReader::row`].
    pub async fn gaps(&self, forgotten: &Forgotten) -> Result<Gaps, Arc<SnapshotError>> {
        let mut gaps = Gaps { customers: self.held(forgotten.ids()).await?.len() as u64, ..Gaps::default() };
        if gaps.customers == 0 {
            return Ok(gaps);
        }
        for (at, file) in
            self.manifest.files.iter().enumerate().filter(|(_, file)| file.kind == FileKind::Ranking)
        {
            let footer = self.footer(at).await?;
            let (mut rank, mut empty) = (0, Vec::new());
            for block in 0..footer.blocks() {
                let block = self.columns(at, &footer, block).await?;
                for id in self.texts(at, &block, 0)? {
                    if id.is_some_and(|id| forgotten.contains(id)) {
                        empty.push(rank);
                    }
                    rank += 1;
                }
            }
            gaps.lists.insert(file.segment.clone().unwrap_or_default(), empty);
        }
        Ok(gaps)
    }
}
