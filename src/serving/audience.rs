//! Audiences: size, figures, members in order and breakdown of the customers that match an expression.

use std::sync::Arc;

use super::{
    MemberPage, ReadError, Served, Serving,
    audience_cache::{ErasedCustomers, LeafSet, erased_texts},
    audience_comparison::{AudienceComparison, ComparisonRequest},
};
use crate::{
    audience::{
        AudiencePlan, Bitmap, Expression, ExpressionError, FeatureColumn, FeatureName, Leaf, SortedCustomers,
        breakdown::{self, Buckets, ValueCounts},
        catalog::{Catalog, ValueKind},
        figures::Figures,
        plan::{self, Predicate},
    },
    feature::{CustomerId, InvalidId, PackedTexts, Tier},
    snapshot::SnapshotError,
    workers::Cancellation,
};

/// Greatest number of hints of an answer. Each is a search for similar texts.
const MAX_HINTS: usize = 5;

/// Query of an audience.
#[derive(Debug, Clone)]
pub struct AudienceRequest {
    /// Expression that the members match.
    pub expression: Expression,
    /// Feature that orders the members, and whether the order is descending.
    pub order_by: (FeatureName, bool),
    /// Number of members to skip.
    pub offset: u64,
    /// Most members to return; 0 for the figures alone.
    pub limit: usize,
    /// Breakdown of the members.
    pub breakdown: Option<Breakdown>,
    /// Comparison of the members with all customers.
    pub compare: Option<ComparisonRequest>,
}

/// Ranked list of the members of an audience, for exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    /// Expression that the members match.
    pub expression: Expression,
    /// Feature that orders the members, and whether the order is descending.
    pub order_by: (FeatureName, bool),
    /// Number of first members to list; `None` for all.
    pub limit: Option<u64>,
}

/// Breakdown of an audience by a feature.
#[derive(Debug, Clone)]
pub struct Breakdown {
    /// Feature to break down by.
    pub feature: FeatureName,
    /// Number of most frequent values to count one by one.
    pub top: usize,
    /// Number of buckets of the feature's range; if given, members are counted by bucket instead of by value.
    pub buckets: Option<usize>,
}

/// Result of an audience query.
#[derive(Debug)]
pub struct Audience {
    /// Figures of all members.
    pub figures: Figures,
    /// Requested page of members.
    pub members: MemberPage,
    /// Breakdown of all members.
    pub parts: Option<Parts>,
    /// Comparison of all members with all customers.
    pub comparison: Option<AudienceComparison>,
    /// Suggestions for texts of the expression that no customer has, with their positions in the expression.
    pub hints: Vec<(usize, String)>,
}

/// Result of a breakdown.
#[derive(Debug)]
pub enum Parts {
    /// Counts by value.
    Values(ValueCounts),
    /// Counts by bucket.
    Ranges(Buckets),
}

/// Error of an audience query.
#[derive(Debug, thiserror::Error)]
pub enum AudienceError {
    /// The expression is not valid in this snapshot.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// Another parameter of the request is not valid: its name, and the reason.
    #[error("`{0}`: {1}")]
    Request(&'static str, String),
    /// The snapshot cannot be read, or too many operations run.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Arc<SnapshotError>> for AudienceError {
    fn from(error: Arc<SnapshotError>) -> Self {
        Self::Read(error.into())
    }
}

impl Serving {
    /// Evaluates an audience in the snapshot `served`. Columns and sets of earlier queries are cached.
    ///
    /// # Errors
    /// [`AudienceError::Expression`] with the position of the mistake, [`AudienceError::Request`] with the
    /// parameter, or [`AudienceError::Read`].
    pub async fn audience(
        &self,
        served: &Served,
        request: &AudienceRequest,
    ) -> Result<Audience, AudienceError> {
        let plan = served.plan(&request.expression)?;
        served.check(request)?;
        let _admitted = served.sets.cache.admit().await;
        let evaluation = served.evaluation(plan).await?;
        let hints = served.hints(&evaluation).await?;
        let sets = &served.sets;
        let rfm = served.rfm_columns().await?;
        let pager = if request.limit > 0 {
            let (feature, descending) = &request.order_by;
            Some(Pager {
                ids: sets.ids().await?,
                order: sets.order(feature, *descending).await?,
                offset: usize::try_from(request.offset).unwrap_or(usize::MAX),
                limit: request.limit,
            })
        } else {
            None
        };
        let breakdown = match &request.breakdown {
            None => None,
            Some(by) => {
                let ascending =
                    if by.buckets.is_some() { Some(sets.order(&by.feature, false).await?) } else { None };
                Some((by.clone(), sets.column(&by.feature).await?, ascending))
            }
        };
        let compared = request.compare.is_some();
        let evaluate = move |cancellation: &Cancellation| {
            let members = evaluation.members();
            cancellation.check()?;
            let figures = rfm.figures(&members, evaluation.customers - evaluation.erased_count());
            cancellation.check()?;
            let page = pager.map(|pager| pager.page(&members, figures.size)).unwrap_or_default();
            cancellation.check()?;
            let parts = breakdown.map(|(by, column, order)| match (by.buckets, order) {
                (Some(buckets), Some(order)) => {
                    Parts::Ranges(Buckets::of(&column, &order, &members, buckets))
                }
                _ => Parts::Values(ValueCounts::of(&column, &members, by.top)),
            });
            Ok((figures, page, parts, compared.then(|| Arc::new(members))))
        };
        let (figures, RankedPage { customers, next }, parts, compared) = sets.cache.compute(evaluate).await?;
        let comparison = match (&request.compare, compared) {
            (Some(compare), Some(members)) => Some(Box::pin(served.compare(members, compare)).await?),
            _ => None,
        };
        let parsed = customers.into_iter().map(|(rank, id)| Ok((rank, CustomerId::parse(&id)?)));
        let customers = parsed.collect::<Result<_, InvalidId>>().map_err(|error| {
            let object = served.manifest.id.path("customers").to_string();
            Arc::new(SnapshotError::Damaged { object, why: error.to_string() })
        })?;
        let members = MemberPage { customers, total: figures.size as u64, next, tier: Tier::Snapshot };
        Ok(Audience { figures, members, parts, comparison, hints })
    }
}

/// Ranks of the members of an audience.
pub(super) struct AudienceRanking {
    /// Rank of every customer of the snapshot, by the customer's number, counted from 1; 0 for a customer who
    /// is not a member or is beyond the limit.
    pub(super) ranks: Vec<u32>,
    /// Number of members.
    pub(super) total: u64,
    /// Hints of the expression.
    pub(super) hints: Vec<(usize, String)>,
}

/// Page of members.
#[derive(Default)]
struct RankedPage {
    /// Customer ids with their ranks, which count from 0.
    customers: Vec<(u64, String)>,
    /// Rank of the first member of the next page.
    next: Option<u64>,
}

/// Request for a page of members, with the columns to answer it.
struct Pager {
    ids: Arc<PackedTexts>,
    order: Arc<SortedCustomers>,
    offset: usize,
    limit: usize,
}

impl Pager {
    /// Returns the first `limit` customers of `members` from rank `offset` on. `total` is the number of
    /// members.
    fn page(&self, members: &Bitmap, total: usize) -> RankedPage {
        let ranked = self.order.page(members, total, self.offset, self.limit);
        let end = self.offset.saturating_add(ranked.len());
        let ranked = (self.offset as u64..).zip(ranked);
        let customers = ranked.map(|(rank, customer)| (rank, self.ids.get(customer).to_owned())).collect();
        RankedPage { customers, next: if end < total { Some(end as u64) } else { None } }
    }
}

/// Plan of an expression with the sets to evaluate it.
struct Evaluation {
    plan: AudiencePlan,
    /// Set of each leaf of the plan.
    leaves: Vec<Arc<LeafSet>>,
    /// Erased customers; `None` if the erasure list is empty.
    erased: Option<ErasedCustomers>,
    /// Number of customers in the snapshot.
    customers: usize,
}

impl Evaluation {
    /// Returns the customers that match the expression and are not erased.
    fn members(&self) -> Bitmap {
        let leaves: Vec<&Bitmap> = self.leaves.iter().map(|leaf| &leaf.customers).collect();
        let mut members = self.plan.members(&leaves, self.customers);
        if let Some(erased) = &self.erased {
            members.remove_all(&erased.customers);
        }
        members
    }

    /// Returns the number of erased customers in the snapshot.
    fn erased_count(&self) -> usize {
        self.erased.as_ref().map_or(0, |erased| erased.customers.count())
    }

    /// Returns the first texts of the expression that no customer has: the leaf, and the index of the text.
    fn absent(&self) -> Vec<(&Leaf, usize)> {
        let leaves = self.plan.leaves.iter().zip(&self.leaves);
        let mut absent: Vec<(usize, &Leaf, usize)> = leaves
            .flat_map(|(leaf, set)| set.absent.iter().map(move |index| (leaf, *index)))
            .filter_map(|(leaf, index)| match leaf {
                Leaf::Predicate(_, predicate) => Some((predicate.operands().get(index)?.at.0, leaf, index)),
                Leaf::Event(_, at) => Some((at.0, leaf, index)),
                Leaf::Segment(_) | Leaf::Null(_) => None,
            })
            .collect();
        absent.sort_by_key(|(position, ..)| *position);
        absent.into_iter().take(MAX_HINTS).map(|(_, leaf, index)| (leaf, index)).collect()
    }
}

/// Columns that the figures of an audience are computed from; `None` if the snapshot does not have a column.
pub(super) struct RfmColumns {
    monetary: Option<Arc<FeatureColumn>>,
    scores: [Option<Arc<FeatureColumn>>; 3],
}

impl RfmColumns {
    /// Returns the figures of `members` among `customers` customers.
    pub(super) fn figures(&self, members: &Bitmap, customers: usize) -> Figures {
        let scores = self.scores.each_ref().map(Option::as_deref);
        Figures::of(members, customers, self.monetary.as_deref(), scores)
    }
}

impl Served {
    /// Loads the sets to evaluate `plan`.
    async fn evaluation(&self, plan: AudiencePlan) -> Result<Evaluation, Arc<SnapshotError>> {
        let erased = self.erased_customers().await?;
        let mut leaves = Vec::with_capacity(plan.leaves.len());
        for leaf in &plan.leaves {
            leaves.push(self.sets.leaf(leaf, erased.as_ref()).await?);
        }
        Ok(Evaluation { plan, leaves, erased, customers: self.sets.customers() })
    }

    /// Returns suggestions for the first texts of an expression that no customer has, with their positions.
    /// Texts that only erased customers have are neither known nor suggested.
    async fn hints(&self, evaluation: &Evaluation) -> Result<Vec<(usize, String)>, Arc<SnapshotError>> {
        let mut hints = Vec::new();
        for (leaf, index) in evaluation.absent() {
            if let Leaf::Event(..) = leaf {
                hints.extend(plan::hints(leaf, &[(index, Vec::new())]));
            }
            let Leaf::Predicate(name, Predicate::OneOf(values)) = leaf else { continue };
            let (column, values) = (self.sets.column(name).await?, values.clone());
            let erased = evaluation.erased.as_ref().map(|erased| Arc::clone(&erased.customers));
            let search = move |_: &Cancellation| {
                Ok(column.suggestions(&values, &[index], &erased_texts(&column, erased.as_deref())))
            };
            hints.extend(plan::hints(leaf, &self.sets.cache.compute(search).await?));
        }
        Ok(hints)
    }

    /// Ranks the members of an audience.
    pub(super) async fn ranking(&self, request: &Ranked) -> Result<AudienceRanking, AudienceError> {
        let plan = self.plan(&request.expression)?;
        let (feature, descending) = &request.order_by;
        self.check_order(feature)?;
        let _admitted = self.sets.cache.admit().await;
        let evaluation = self.evaluation(plan).await?;
        let (hints, order) = (self.hints(&evaluation).await?, self.sets.order(feature, *descending).await?);
        let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let rank = move |cancellation: &Cancellation| {
            let members = evaluation.members();
            cancellation.check()?;
            let mut ranks = vec![0; evaluation.customers];
            let ranked = (1..).zip(order.walk(&members));
            ranked.take(limit).for_each(|(rank, customer)| ranks[customer] = rank);
            Ok((ranks, members.count() as u64))
        };
        let (ranks, total) = self.sets.cache.compute(rank).await?;
        Ok(AudienceRanking { ranks, total, hints })
    }

    /// Plans `expression` against the views and segments of the snapshot.
    fn plan(&self, expression: &Expression) -> Result<AudiencePlan, ExpressionError> {
        let segments: Vec<&str> =
            self.manifest.segments.iter().map(|segment| segment.name.as_str()).collect();
        let catalog = Catalog {
            views: &self.manifest.views,
            segments: &segments,
            as_of: self.manifest.as_of,
            has_events: self.manifest.has_events(),
        };
        catalog.plan(expression)
    }

    /// Returns the erased customers of the snapshot; `None` if the erasure list is empty. They are located on
    /// the first call.
    pub(super) async fn erased_customers(&self) -> Result<Option<ErasedCustomers>, Arc<SnapshotError>> {
        if self.forgotten.is_empty() {
            return Ok(None);
        }
        let locate = || async {
            let ids = self.sets.ids().await?;
            let mut erased = Bitmap::empty(self.sets.customers());
            for number in self.forgotten.ids().filter_map(|id| ids.search(id.as_str()).ok()) {
                erased.insert(number);
            }
            Ok::<_, Arc<SnapshotError>>(Arc::new(erased))
        };
        let customers = Arc::clone(self.erased.get_or_try_init(locate).await?);
        Ok(Some(ErasedCustomers { version: Arc::from(self.forgotten.version()), customers }))
    }

    /// Returns the columns that the figures of audiences are computed from.
    pub(super) async fn rfm_columns(&self) -> Result<RfmColumns, Arc<SnapshotError>> {
        Ok(RfmColumns {
            monetary: self.rfm("monetary").await?,
            scores: [self.rfm("r_score").await?, self.rfm("f_score").await?, self.rfm("m_score").await?],
        })
    }

    /// Returns a column of the view `rfm`; `None` if the snapshot does not have the column.
    async fn rfm(&self, feature: &str) -> Result<Option<Arc<FeatureColumn>>, Arc<SnapshotError>> {
        let name = FeatureName::new("rfm", feature);
        if self.kind(&name).is_err() {
            return Ok(None);
        }
        self.sets.column(&name).await.map(Some)
    }

    /// Returns the kind of values of a feature.
    pub(super) fn kind(&self, name: &FeatureName) -> Result<ValueKind, ExpressionError> {
        let (views, as_of) = (&self.manifest.views, self.manifest.as_of);
        Catalog { views, segments: &[], as_of, has_events: false }.kind(name)
    }

    /// Checks that members can be ordered by `feature`.
    fn check_order(&self, feature: &FeatureName) -> Result<(), AudienceError> {
        let invalid = |why: String| Err(AudienceError::Request("order_by", why));
        match self.kind(feature) {
            Err(error) => invalid(error.message),
            Ok(kind) if breakdown::is_ordered(kind) => Ok(()),
            Ok(_) => invalid(format!("members can be ordered by numbers and times; {feature} is neither")),
        }
    }

    /// Checks the features of the order and of the breakdown.
    fn check(&self, request: &AudienceRequest) -> Result<(), AudienceError> {
        if request.limit > 0 {
            self.check_order(&request.order_by.0)?;
        }
        let invalid = |why: String| AudienceError::Request("breakdown", why);
        let Some(by) = &request.breakdown else { return Ok(()) };
        let feature = &by.feature;
        let kind = self.kind(feature).map_err(|error| invalid(error.message))?;
        if by.buckets.is_some() && !breakdown::is_ordered(kind) {
            return Err(invalid(format!("only numbers and times have `buckets`; {feature} is neither")));
        }
        if by.buckets.is_none() && !breakdown::is_counted(kind) {
            return Err(invalid(format!(
                "only text, whole numbers, and true or false are counted value by value; \
                 use `buckets` for {feature}"
            )));
        }
        Ok(())
    }
}
