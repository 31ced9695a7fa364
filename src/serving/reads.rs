//! Reads through the tiers: memory, Tair, snapshot.

use std::{sync::Arc, time::Instant};

use futures::{StreamExt, stream};

use super::{
    CustomerRead, Label, ReadError, Served, Serving,
    online::{Online, TairRead},
    tier_span::TierSpan,
};
use crate::{
    feature::{CustomerId, Row, Tier},
    snapshot::{
        CHURN_LIST, SnapshotError,
        reader::{ChurnFilter, MemberPage, ProductRow},
    },
    telemetry::{FallbackReason, KnownLabel},
};

/// Number of customers of a batch that are read concurrently from the snapshot.
pub(super) const BATCH_READS: usize = 32;

/// Result for an erased customer, known without asking a tier.
const ERASED: CustomerRead = CustomerRead { row: None, tier: Tier::Memory, label: None };

/// Reason why the memory tier does not cache the outcome of a load.
#[derive(Debug)]
pub(super) enum NotCached {
    /// The row belongs to a publish under way.
    Ahead(Arc<Row>, Label),
    /// No tier could answer.
    Failed(Arc<SnapshotError>),
}

/// Returns the name of the list of customers by value at risk, for one level of churn risk or for all.
pub(super) fn churn_list(risk: Option<&str>) -> String {
    risk.map_or_else(|| CHURN_LIST.to_owned(), |risk| format!("{CHURN_LIST}_{risk}"))
}

impl Serving {
    /// Reads one customer.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if no tier could answer.
    pub async fn customer(&self, served: &Served, id: &CustomerId) -> Result<CustomerRead, ReadError> {
        if served.forgets(id.as_str()) {
            return Ok(ERASED);
        }
        // An older snapshot has no publish number of its own, so its rows are not cached.
        let memory = if served.publish > 0 { self.memory.as_ref() } else { None };
        let Some(memory) = memory else {
            return Ok(Box::pin(self.read_behind_memory(served, id)).await?);
        };
        let since = Instant::now();
        let key = (served.publish, id.clone());
        if let Some(row) = memory.get(&key) {
            TierSpan::start(Tier::Memory).end("hit");
            self.read_metrics.memory.hits.inc();
            self.read_metrics.memory.seconds.observe(since.elapsed().as_secs_f64());
            return Ok(CustomerRead { row, tier: Tier::Memory, label: None });
        }
        self.read_metrics.memory.misses.inc();
        let mut tier = Tier::Memory;
        let load = async {
            let read = self.read_behind_memory(served, id).await.map_err(NotCached::Failed)?;
            tier = read.tier;
            match (read.row, read.label) {
                (Some(row), Some(label)) => Err(NotCached::Ahead(row, label)),
                (row, _) => Ok(row),
            }
        };
        // Boxed so that the future of a memory hit stays small.
        match Box::pin(memory.get_or_make(&key, load)).await {
            Ok(row) => Ok(CustomerRead { row, tier, label: None }),
            Err(not_cached) => match not_cached.as_ref() {
                NotCached::Ahead(row, label) => {
                    let (row, label) = (Some(Arc::clone(row)), Some(label.clone()));
                    Ok(CustomerRead { row, tier: Tier::Tair, label })
                }
                NotCached::Failed(error) => Err(Arc::clone(error).into()),
            },
        }
    }

    /// Returns the Tair tier, if it is configured and `served` is a published snapshot.
    fn online_for(&self, served: &Served) -> Option<&Online> {
        if served.publish > 0 { self.online.as_ref() } else { None }
    }

    /// Reads one customer from Tair, or else from the snapshot.
    async fn read_behind_memory(
        &self,
        served: &Served,
        id: &CustomerId,
    ) -> Result<CustomerRead, Arc<SnapshotError>> {
        if let Some(online) = self.online_for(served) {
            let (since, span) = (Instant::now(), TierSpan::start(Tier::Tair));
            let read = span.around(online.row(served, id)).await;
            span.end(outcome(&read));
            self.read_metrics.tair.seconds.observe(since.elapsed().as_secs_f64());
            if let Some(answer) = self.answer_of_tair(online, read) {
                return Ok(answer);
            }
        }
        let span = TierSpan::start(Tier::Snapshot);
        let row = span.around(self.read_snapshot(served, id)).await;
        span.end_with(&row.as_ref().map(|read| read.row.as_ref()));
        row
    }

    /// Counts a read from Tair, and returns its row if there is one.
    fn answer_of_tair(&self, online: &Online, read: TairRead) -> Option<CustomerRead> {
        let metrics = &self.read_metrics.tair;
        match read {
            TairRead::Row(row, label) => {
                metrics.hits.inc();
                Some(CustomerRead { row: Some(row), tier: Tier::Tair, label })
            }
            TairRead::Unusable(reason) => {
                let counter = if reason == FallbackReason::Miss { &metrics.misses } else { &metrics.errors };
                counter.inc();
                online.count_fallback(reason);
                None
            }
        }
    }

    async fn read_snapshot(
        &self,
        served: &Served,
        id: &CustomerId,
    ) -> Result<CustomerRead, Arc<SnapshotError>> {
        let (since, metrics) = (Instant::now(), &self.read_metrics.snapshot);
        let row = served.reader.row(id).await;
        metrics.seconds.observe(since.elapsed().as_secs_f64());
        match &row {
            Ok(Some(_)) => metrics.hits.inc(),
            Ok(None) => metrics.misses.inc(),
            Err(_) => metrics.errors.inc(),
        }
        Ok(CustomerRead { row: row?.map(Arc::new), tier: Tier::Snapshot, label: None })
    }

    /// Reads several customers. Results are in the order of `ids`.
    ///
    /// # Errors
    /// The first error, if no customer could be read.
    pub async fn customers(
        &self,
        served: &Served,
        ids: &[CustomerId],
    ) -> Result<Vec<Result<CustomerRead, ReadError>>, ReadError> {
        let mut results: Vec<Option<Result<CustomerRead, ReadError>>> = Vec::with_capacity(ids.len());
        let memory = if served.publish > 0 { self.memory.as_ref() } else { None };
        for id in ids {
            if served.forgets(id.as_str()) {
                results.push(Some(Ok(ERASED)));
                continue;
            }
            let Some(memory) = memory else {
                results.push(None);
                continue;
            };
            let cached = memory.get(&(served.publish, id.clone()));
            let metrics = &self.read_metrics.memory;
            let counter = if cached.is_some() { &metrics.hits } else { &metrics.misses };
            counter.inc();
            results.push(cached.map(|row| Ok(CustomerRead { row, tier: Tier::Memory, label: None })));
        }
        let not_in_memory = indexes_without_result(&results);
        if not_in_memory.len() < ids.len() {
            TierSpan::start(Tier::Memory).end_batch(ids.len(), ids.len() - not_in_memory.len());
        }
        if let Some(online) = self.online_for(served)
            && !not_in_memory.is_empty()
        {
            let (since, span) = (Instant::now(), TierSpan::start(Tier::Tair));
            let wanted: Vec<&CustomerId> = not_in_memory.iter().map(|at| &ids[*at]).collect();
            let reads = span.around(online.rows(served, &wanted)).await;
            let hits = reads.iter().filter(|read| matches!(read, TairRead::Row(..))).count();
            span.end_batch(wanted.len(), hits);
            self.read_metrics.tair.seconds.observe(since.elapsed().as_secs_f64());
            for (at, read) in not_in_memory.iter().zip(reads) {
                results[*at] = self.answer_of_tair(online, read).map(Ok);
            }
        }
        let not_in_tair = indexes_without_result(&results);
        if !not_in_tair.is_empty() {
            let span = TierSpan::start(Tier::Snapshot);
            let reads: Vec<_> = not_in_tair.iter().map(|at| self.read_snapshot(served, &ids[*at])).collect();
            let reads = stream::iter(reads).buffered(BATCH_READS).collect::<Vec<_>>();
            let reads = span.around(reads).await;
            let is_hit = |read: &&Result<CustomerRead, _>| read.as_ref().is_ok_and(|read| read.row.is_some());
            span.end_batch(reads.len(), reads.iter().filter(is_hit).count());
            for (at, read) in not_in_tair.into_iter().zip(reads) {
                results[at] = Some(read.map_err(Into::into));
            }
        }
        if let Some(memory) = memory {
            for at in not_in_memory {
                if let Some(Ok(CustomerRead { row, label: None, .. })) = &results[at] {
                    memory.insert((served.publish, ids[at].clone()), row.clone());
                }
            }
        }
        let results: Vec<_> = results.into_iter().flatten().collect();
        match results.first() {
            Some(Err(error)) if results.iter().all(Result::is_err) => Err(error.clone()),
            _ => Ok(results),
        }
    }

    /// Reads a product of the snapshot with its similar products; `None` if the product is unknown.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the snapshot cannot be read.
    pub async fn product(&self, served: &Served, id: &str) -> Result<Option<ProductRow>, ReadError> {
        Ok(served.reader.product(id).await?)
    }

    /// Reads at most `limit` members of a segment from place `offset` on, best first. Places count from 0,
    /// without erased customers.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if no tier could answer.
    pub async fn members(
        &self,
        served: &Served,
        segment: &str,
        offset: u64,
        limit: usize,
    ) -> Result<MemberPage, ReadError> {
        let (size, all_gaps) = (served.manifest.ranking_size(segment), served.gaps().await?);
        let gaps = all_gaps.of(segment);
        let (mut customers, mut at, mut tier) = (Vec::new(), all_gaps.rank(segment, offset), None);
        // One iteration, unless erased customers are among the members read.
        while at < size && customers.len() < limit {
            let range = RankRange {
                list: segment,
                gaps,
                start: at,
                len: usize::try_from(size - at).unwrap_or(usize::MAX).min(limit - customers.len()),
            };
            let (members, answered) = self.ranked_members(served, &range).await?;
            // If several tiers contributed, the slowest is reported.
            tier = tier.max(Some(answered));
            if members.is_empty() {
                break;
            }
            let end = at + members.len() as u64;
            for id in members.into_iter().flatten().filter(|id| !served.forgets(id.as_str())) {
                customers.push((offset + customers.len() as u64, id));
            }
            at = end;
        }
        let gaps_left = gaps.len() - gaps.partition_point(|gap| *gap < at);
        let has_more = size.saturating_sub(at) > gaps_left as u64 && !customers.is_empty();
        let next = offset + customers.len() as u64;
        Ok(MemberPage {
            customers,
            total: size.saturating_sub(gaps.len() as u64),
            next: if has_more { Some(next) } else { None },
            tier: tier.unwrap_or(Tier::Snapshot),
        })
    }

    /// Reads the members of a range of ranks from Tair, or else from the snapshot. `None` stands for an
    /// erased customer. Fewer members than wanted are returned if the list ends before.
    async fn ranked_members(
        &self,
        served: &Served,
        range: &RankRange<'_>,
    ) -> Result<(Vec<Option<CustomerId>>, Tier), ReadError> {
        let RankRange { list, start, len, .. } = *range;
        if let Some(online) = self.online_for(served) {
            let span = TierSpan::start(Tier::Tair);
            let reason = match span.around(online.members(served.publish, list, start, len)).await {
                Ok(members) if range.explains_gaps_of(&members) => {
                    span.end("hit");
                    return Ok((members, Tier::Tair));
                }
                Ok(_) => FallbackReason::Miss,
                Err(reason) => reason,
            };
            span.end(reason.as_str());
            online.count_fallback(reason);
        }
        let span = TierSpan::start(Tier::Snapshot);
        let members = span.around(served.reader.members(list, start, len)).await;
        span.end(if members.is_ok() { "hit" } else { "error" });
        let members = members?;
        Ok((members.into_iter().map(Some).collect(), Tier::Snapshot))
    }

    /// Reads at most `limit` customers that match `filter`, by value at risk, from place `offset` on.
    /// Places count from 0, without erased customers. Filters by risk level alone have a list of their own
    /// and are read as [`Serving::members`] does; other filters are evaluated on the snapshot.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if no tier could answer.
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
        self.members(served, &churn_list(filter.risk.as_deref()), offset, limit).await
    }
}

/// Range of ranks of a list, with the ranks of all erased customers of the list.
struct RankRange<'a> {
    list: &'a str,
    gaps: &'a [u64],
    start: u64,
    len: usize,
}

impl RankRange<'_> {
    /// Checks whether every empty place of `members` is the rank of an erased customer. Tair may still have
    /// an empty place for a customer whose erasure was undone.
    fn explains_gaps_of(&self, members: &[Option<CustomerId>]) -> bool {
        let is_explained = |(rank, member): (u64, &Option<CustomerId>)| {
            member.is_some() || self.gaps.binary_search(&rank).is_ok()
        };
        (self.start..).zip(members).all(is_explained)
    }
}

/// Returns the outcome of a read from Tair as a trace shows it.
fn outcome(read: &TairRead) -> &'static str {
    match read {
        TairRead::Row(..) => "hit",
        TairRead::Unusable(reason) => reason.as_str(),
    }
}

fn indexes_without_result<T>(results: &[Option<T>]) -> Vec<usize> {
    (0..results.len()).filter(|at| results[*at].is_none()).collect()
}
