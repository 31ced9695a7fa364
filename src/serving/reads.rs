//! The way of a read through the tiers: memory, Tair, snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use futures::{StreamExt, stream};

use super::{
    Answer, Label, ReadError, Served, Serving,
    online::{Found, Online},
};
use crate::{
    feature::{CustomerId, Row, Tier},
    snapshot::{
        CHURN_LIST, SnapshotError,
        reader::{ChurnFilter, MemberPage, ProductRow},
    },
};

/// Customers of one batch that are read at a time.
const BATCH_READS: usize = 32;

/// The answer about a forgotten customer: the process knows that there is nothing to tell.
const FORGOTTEN: Answer = Answer { row: None, tier: Tier::Memory, label: None };

/// Why the memory tier has nothing to keep.
#[derive(Debug)]
pub(super) enum NotKept {
    /// The row is of a publish under way.
    Ahead(Arc<Row>, Label),
    /// No tier could tell.
    Failed(Arc<SnapshotError>),
}

impl Serving {
    /// One customer.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] where no tier could tell.
    pub async fn customer(&self, served: &Served, id: &CustomerId) -> Result<Answer, ReadError> {
        if served.forgets(id.as_str()) {
            return Ok(FORGOTTEN);
        }
        // A snapshot that is open for a cursor's sake has no publish number to keep its rows under.
        let Some(memory) = self.memory.as_ref().filter(|_| served.publish > 0) else {
            return Ok(Box::pin(self.beyond(served, id)).await?);
        };
        let since = Instant::now();
        let key = (served.publish, id.clone());
        if let Some(row) = memory.get(&key) {
            self.counted.memory.hits.inc();
            self.counted.memory.seconds.observe(since.elapsed().as_secs_f64());
            return Ok(Answer { row, tier: Tier::Memory, label: None });
        }
        self.counted.memory.misses.inc();
        let mut tier = Tier::Memory;
        let load = async {
            let answer = self.beyond(served, id).await.map_err(NotKept::Failed)?;
            tier = answer.tier;
            match (answer.row, answer.label) {
                (Some(row), Some(label)) => Err(NotKept::Ahead(row, label)),
                (row, _) => Ok(row),
            }
        };
        // On the heap, so that the way of a hit stays small.
        match Box::pin(memory.get_or_make(&key, load)).await {
            Ok(row) => Ok(Answer { row, tier, label: None }),
            Err(not_kept) => match not_kept.as_ref() {
                NotKept::Ahead(row, label) => {
                    Ok(Answer { row: Some(Arc::clone(row)), tier: Tier::Tair, label: Some(label.clone()) })
                }
                NotKept::Failed(error) => Err(Arc::clone(error).into()),
            },
        }
    }

    /// One customer, from behind the memory tier.
    async fn beyond(&self, served: &Served, id: &CustomerId) -> Result<Answer, Arc<SnapshotError>> {
        if let Some(online) = self.online.as_ref().filter(|_| served.publish > 0) {
            let since = Instant::now();
            let found = online.row(served.publish, &served.fields, id).await;
            self.counted.tair.seconds.observe(since.elapsed().as_secs_f64());
            if let Some(answer) = self.use_found(online, found) {
                return Ok(answer);
            }
        }
        self.read_snapshot(served, id).await
    }

    fn use_found(&self, online: &Online, found: Found) -> Option<Answer> {
        match found {
            Found::Row(row, label) => {
                self.counted.tair.hits.inc();
                Some(Answer { row: Some(row), tier: Tier::Tair, label })
            }
            Found::Nothing(reason) => {
                let counters = &self.counted.tair;
                let counter = if reason == "miss" { &counters.misses } else { &counters.errors };
                counter.inc();
                online.count(reason);
                None
            }
        }
    }

    async fn read_snapshot(&self, served: &Served, id: &CustomerId) -> Result<Answer, Arc<SnapshotError>> {
        let (since, counters) = (Instant::now(), &self.counted.snapshot);
        let row = served.reader.row(id).await;
        counters.seconds.observe(since.elapsed().as_secs_f64());
        match &row {
            Ok(Some(_)) => counters.hits.inc(),
            Ok(None) => counters.misses.inc(),
            Err(_) => counters.errors.inc(),
        }
        Ok(Answer { row: row?.map(Arc::new), tier: Tier::Snapshot, label: None })
    }

    /// Several customers, in the order of `ids`.
    pub async fn customers(&self, served: &Served, ids: &[CustomerId]) -> Vec<Result<Answer, ReadError>> {
        let mut answers: Vec<Option<Result<Answer, ReadError>>> = Vec::with_capacity(ids.len());
        let memory = self.memory.as_ref().filter(|_| served.publish > 0);
        for id in ids {
            if served.forgets(id.as_str()) {
                answers.push(Some(Ok(FORGOTTEN)));
                continue;
            }
            let Some(memory) = memory else {
                answers.push(None);
                continue;
            };
            let found = memory.get(&(served.publish, id.clone()));
            let counter =
                if found.is_some() { &self.counted.memory.hits } else { &self.counted.memory.misses };
            counter.inc();
            answers.push(found.map(|row| Ok(Answer { row, tier: Tier::Memory, label: None })));
        }
        let missing = |answers: &[Option<Result<Answer, ReadError>>]| -> Vec<usize> {
            (0..ids.len()).filter(|at| answers[*at].is_none()).collect()
        };
        let wanted = missing(&answers);
        if let Some(online) = self.online.as_ref().filter(|_| served.publish > 0 && !wanted.is_empty()) {
            let since = Instant::now();
            let asked: Vec<&CustomerId> = wanted.iter().map(|at| &ids[*at]).collect();
            let found = online.rows(served.publish, &served.fields, &asked).await;
            self.counted.tair.seconds.observe(since.elapsed().as_secs_f64());
            for (at, found) in wanted.iter().zip(found) {
                answers[*at] = self.use_found(online, found).map(Ok);
            }
        }
        let left = missing(&answers);
        let reads: Vec<_> = left.iter().map(|at| self.read_snapshot(served, &ids[*at])).collect();
        let read: Vec<_> = stream::iter(reads).buffered(BATCH_READS).collect().await;
        for (at, answer) in left.into_iter().zip(read) {
            answers[at] = Some(answer.map_err(Into::into));
        }
        if let Some(memory) = memory {
            for at in wanted {
                if let Some(Ok(Answer { row, label: None, .. })) = &answers[at] {
                    memory.insert((served.publish, ids[at].clone()), row.clone());
                }
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// A product of the snapshot, with what is similar to it.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn product(&self, served: &Served, id: &str) -> Result<Option<ProductRow>, ReadError> {
        Ok(served.reader.product(id).await?)
    }

    /// The names of products; of those that have none, or cannot be read at the moment, there is none.
    pub async fn product_names(&self, served: &Served, ids: &BTreeSet<String>) -> BTreeMap<String, String> {
        let name = |id: &String| {
            let id = id.clone();
            async move {
                let product = served.reader.product(&id).await;
                // The reader has counted and logged what failed; a list without a name is better than none.
                Some((id, product.ok()??.name?))
            }
        };
        let reads: Vec<_> = ids.iter().map(name).collect();
        stream::iter(reads).buffered(BATCH_READS).filter_map(std::future::ready).collect().await
    }

    /// The members of a segment from rank `offset` (counted from 0) on, at most `limit`, best first.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn members(
        &self,
        served: &Served,
        segment: &str,
        offset: u64,
        limit: usize,
    ) -> Result<MemberPage, ReadError> {
        let (size, gaps) = (served.manifest.ranking_size(segment), served.gaps().await?.of(segment));
        let (mut customers, mut at, mut tier) = (Vec::new(), offset, None);
        // One round, unless there were forgotten ones among them.
        while at < size && customers.len() < limit {
            let wanted = usize::try_from(size - at).unwrap_or(usize::MAX).min(limit - customers.len());
            let (stretch, from) = self.stretch(served, (segment, gaps), at, wanted).await?;
            // Of more than one, the one that was asked last.
            tier = tier.max(Some(from));
            if stretch.is_empty() {
                break;
            }
            let end = at + stretch.len() as u64;
            let alive = |id: &CustomerId| !served.forgets(id.as_str());
            customers.extend((at..).zip(stretch).filter_map(|(rank, id)| Some((rank, id.filter(alive)?))));
            at = end;
        }
        let left = size.saturating_sub(at) > (gaps.len() - gaps.partition_point(|gap| *gap < at)) as u64;
        let next = (left && !customers.is_empty()).then_some(at);
        Ok(MemberPage {
            customers,
            total: size.saturating_sub(gaps.len() as u64),
            next,
            tier: tier.unwrap_or(Tier::Snapshot),
        })
    }

    /// The places of a list from rank `at` on, `wanted` of them where it goes so far.
    async fn stretch(
        &self,
        served: &Served,
        (list, gaps): (&str, &[u64]),
        at: u64,
        wanted: usize,
    ) -> Result<(Vec<Option<CustomerId>>, Tier), ReadError> {
        if let Some(online) = self.online.as_ref().filter(|_| served.publish > 0) {
            match online.members(served.publish, list, at, wanted).await {
                // An empty place of somebody who is not forgotten any more is only Tair's.
                Ok(found)
                    if (at..)
                        .zip(&found)
                        .all(|(rank, id)| id.is_some() || gaps.binary_search(&rank).is_ok()) =>
                {
                    return Ok((found, Tier::Tair));
                }
                Ok(_) => online.count("miss"),
                Err(reason) => online.count(reason),
            }
        }
        let members = served.reader.members(list, at, wanted).await?;
        Ok((members.into_iter().map(Some).collect(), Tier::Snapshot))
    }

    /// The customers that `filter` wants, by value at risk, from rank `offset` (counted from 0) on, at most `limit`. What is kept
    /// ready comes as [`Serving::members`] do, what is filtered from the snapshot.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn churn(
        &self,
        served: &Served,
        filter: &ChurnFilter,
        offset: u64,
        limit: usize,
    ) -> Result<MemberPage, ReadError> {
        if !filter.is_by_risk_alone() {
            return Ok(served.reader.churn(filter, &served.forgotten, offset, limit).await?);
        }
        let list =
            filter.risk.as_ref().map_or_else(|| CHURN_LIST.to_owned(), |risk| format!("{CHURN_LIST}_{risk}"));
        self.members(served, &list, offset, limit).await
    }
}
