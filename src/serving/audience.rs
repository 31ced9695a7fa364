//! An audience: how many, who first, and the figures of all of them.

use std::sync::Arc;

use super::{Members, ReadError, Served, Serving, sets::Set};
use crate::{
    audience::{
        AudiencePlan, Bitmap, Dictionary, Expression, ExpressionError, FeatureColumn, FeatureName,
        SortedCustomers,
        breakdown::{self, Buckets, ValueCounts},
        figures::Figures,
        plan::{self, Catalog, ValueKind},
    },
    feature::{CustomerId, InvalidId, Tier},
    snapshot::SnapshotError,
};

/// Which customers are wanted, and what of them.
#[derive(Debug, Clone)]
pub struct AudienceRequest {
    /// Who.
    pub expression: Expression,
    /// What they are ordered by, and whether the greatest comes first.
    pub order_by: (FeatureName, bool),
    /// How many members to leave out.
    pub offset: u64,
    /// How many to give at most.
    pub limit: usize,
    /// What to divide them by.
    pub breakdown: Option<Breakdown>,
}

/// All members of an audience, each with a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    /// Who.
    pub expression: Expression,
    /// What they are ordered by, and whether the greatest comes first.
    pub order_by: (FeatureName, bool),
    /// How many of them, the first ones; all unless given.
    pub limit: Option<u64>,
}

/// How an audience is divided.
#[derive(Debug, Clone)]
pub struct Breakdown {
    /// By which feature.
    pub feature: FeatureName,
    /// How many values to name.
    pub top: usize,
    /// Into how many parts of its range instead.
    pub buckets: Option<usize>,
}

/// What is known of an audience.
#[derive(Debug)]
pub struct Audience {
    /// The figures of all of them.
    pub figures: Figures,
    /// Those of the ranks asked for.
    pub members: Members,
    /// How they are divided.
    pub parts: Option<Parts>,
    /// What the caller may have meant otherwise, by place in the expression.
    pub hints: Vec<(usize, String)>,
}

/// The parts of an audience.
#[derive(Debug)]
pub enum Parts {
    /// By value.
    Values(ValueCounts),
    /// By range.
    Ranges(Buckets),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AudienceError {
    /// The expression.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// Another part of the request.
    #[error("`{0}`: {1}")]
    Request(&'static str, String),
    /// No tier could answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Arc<SnapshotError>> for AudienceError {
    fn from(error: Arc<SnapshotError>) -> Self {
        Self::Read(error.into())
    }
}

impl Serving {
    /// The audience that `asked` describes, in the snapshot `served`. What was asked for before is counted in memory.
    ///
    /// # Errors
    /// [`AudienceError::Expression`] with the place, [`AudienceError::Request`] with the part, or [`AudienceError::Read`].
    pub async fn audience(
        &self,
        served: &Served,
        asked: &AudienceRequest,
    ) -> Result<Audience, AudienceError> {
        let plan = served.plan(&asked.expression)?;
        served.check(asked)?;
        let counting = served.counting(plan).await?;
        let sets = &served.sets;
        let monetary = served.rfm("monetary").await?;
        let scores =
            [served.rfm("r_score").await?, served.rfm("f_score").await?, served.rfm("m_score").await?];
        let (ids, order) = if asked.limit > 0 {
            let (feature, descending) = &asked.order_by;
            (Some(sets.ids().await?), Some(sets.order(feature, *descending).await?))
        } else {
            (None, None)
        };
        let divided = match &asked.breakdown {
            None => None,
            Some(by) => {
                let ascending =
                    if by.buckets.is_some() { Some(sets.order(&by.feature, false).await?) } else { None };
                Some((by.clone(), sets.column(&by.feature).await?, ascending))
            }
        };
        let (offset, limit) = (usize::try_from(asked.offset).unwrap_or(usize::MAX), asked.limit);
        let hints = counting.hints();
        let count = move || {
            let (all, members) = counting.members();
            let left = counting.customers - counting.forgotten.as_ref().map_or(0, Bitmap::count);
            let figures =
                Figures::of(&members, left, monetary.as_deref(), scores.each_ref().map(Option::as_deref));
            let page = ids.zip(order).map(|(ids, order)| page(&all, &members, (&ids, &order), offset, limit));
            let parts = divided.map(|(by, column, order)| match (by.buckets, order) {
                (Some(parts), Some(order)) => Parts::Ranges(Buckets::of(&column, &order, &members, parts)),
                _ => Parts::Values(ValueCounts::of(&column, &members, by.top)),
            });
            (figures, page.unwrap_or_default(), parts)
        };
        let (figures, (page, next), parts) = sets.cache.compute(count).await?;
        let page = page.into_iter().map(|(rank, id)| Ok((rank, CustomerId::parse(&id)?)));
        let customers = page.collect::<Result<_, InvalidId>>().map_err(|error| {
            let object = served.manifest.id.path("customers").to_string();
            Arc::new(SnapshotError::Damaged { object, why: error.to_string() })
        })?;
        let members = Members { customers, total: figures.size as u64, next, tier: Tier::Snapshot };
        Ok(Audience { figures, members, parts, hints })
    }
}

/// Ids with their ranks, and the rank to go on from.
type Page = (Vec<(u64, String)>, Option<u64>);

/// The first `limit` of `members` from the rank `offset` on. Ranks are those among `all`, of whom `members` are not forgotten: so a cursor
/// goes on where it was although somebody is forgotten meanwhile.
fn page(
    all: &Bitmap,
    members: &Bitmap,
    (ids, order): (&Dictionary, &SortedCustomers),
    offset: usize,
    limit: usize,
) -> Page {
    let (ranks, gaps) = (all.count(), all.count() - members.count());
    // One more than is wanted, and as many as may be forgotten.
    let ranked = order.page(all, ranks, offset, limit + gaps + 1).into_iter().zip(offset as u64..);
    let mut found: Vec<_> =
        ranked.filter(|(customer, _)| members.contains(*customer)).take(limit + 1).collect();
    let next = found.get(limit).map(|(_, rank)| *rank);
    found.truncate(limit);
    (found.into_iter().map(|(customer, rank)| (rank, ids.get(customer).to_owned())).collect(), next)
}

/// What an expression is counted with.
struct Counting {
    plan: AudiencePlan,
    /// The set of each leaf of the plan.
    leaves: Vec<Arc<Set>>,
    /// Who is forgotten; nothing where nobody is.
    forgotten: Option<Bitmap>,
    /// All customers of the snapshot.
    customers: usize,
}

impl Counting {
    /// All members, and those of them who are not forgotten.
    fn members(&self) -> (Bitmap, Bitmap) {
        let leaves: Vec<&Bitmap> = self.leaves.iter().map(|set| &set.customers).collect();
        let all = self.plan.members(&leaves, self.customers);
        let mut members = all.clone();
        if let Some(forgotten) = &self.forgotten {
            members.remove_all(forgotten);
        }
        (all, members)
    }

    fn hints(&self) -> Vec<(usize, String)> {
        let leaves = self.plan.leaves.iter().zip(&self.leaves);
        leaves.flat_map(|(leaf, set)| plan::hints(leaf, &set.absent)).collect()
    }
}

impl Served {
    async fn counting(&self, plan: AudiencePlan) -> Result<Counting, Arc<SnapshotError>> {
        let mut leaves = Vec::with_capacity(plan.leaves.len());
        for leaf in &plan.leaves {
            leaves.push(self.sets.leaf(leaf).await?);
        }
        let forgotten = self.forgotten_here().await?;
        Ok(Counting { plan, leaves, forgotten, customers: self.sets.customers() })
    }

    /// The ranks of the members of an audience by the places of the customers in the snapshot, counted from 1; 0 for those who are no
    /// members, or are beyond the limit. And what the caller may have meant otherwise.
    pub(super) async fn ranks(
        &self,
        asked: &Ranked,
    ) -> Result<(Vec<u32>, Vec<(usize, String)>), AudienceError> {
        let plan = self.plan(&asked.expression)?;
        let (feature, descending) = &asked.order_by;
        self.check_order(feature)?;
        let counting = self.counting(plan).await?;
        let (hints, order) = (counting.hints(), self.sets.order(feature, *descending).await?);
        let limit = asked.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let rank = move || {
            let (all, members) = counting.members();
            let mut ranks = vec![0; counting.customers];
            let ranked = (1..).zip(order.walk(&all)).filter(|(_, customer)| members.contains(*customer));
            ranked.take(limit).for_each(|(rank, customer)| ranks[customer] = rank);
            ranks
        };
        Ok((self.sets.cache.compute(rank).await?, hints))
    }

    /// The plan of `expression` in this snapshot.
    fn plan(&self, expression: &Expression) -> Result<AudiencePlan, ExpressionError> {
        let segments: Vec<&str> =
            self.manifest.segments.iter().map(|segment| segment.name.as_str()).collect();
        Catalog { views: &self.manifest.views, segments: &segments }.plan(expression)
    }

    /// Those of its customers who are forgotten; nothing where nobody is.
    async fn forgotten_here(&self) -> Result<Option<Bitmap>, Arc<SnapshotError>> {
        if self.forgotten.is_empty() {
            return Ok(None);
        }
        let ids = self.sets.ids().await?;
        let mut forgotten = Bitmap::empty(self.sets.customers());
        for (number, known) in self.forgotten.ids().map(|id| ids.search(id.as_str())) {
            if known {
                forgotten.insert(number);
            }
        }
        Ok(Some(forgotten))
    }

    /// A column of `rfm`, where the snapshot has it.
    async fn rfm(&self, feature: &str) -> Result<Option<Arc<FeatureColumn>>, Arc<SnapshotError>> {
        let name = FeatureName::new("rfm", feature);
        if self.kind(&name).is_err() {
            return Ok(None);
        }
        self.sets.column(&name).await.map(Some)
    }

    fn kind(&self, name: &FeatureName) -> Result<ValueKind, ExpressionError> {
        Catalog { views: &self.manifest.views, segments: &[] }.kind(name)
    }

    /// Checks the feature that is ordered by.
    fn check_order(&self, feature: &FeatureName) -> Result<(), AudienceError> {
        let wrong = |why: String| Err(AudienceError::Request("order_by", why));
        match self.kind(feature) {
            Err(error) => wrong(error.message),
            Ok(kind) if breakdown::is_ordered(kind) => Ok(()),
            Ok(_) => wrong(format!("members can be ordered by numbers and times; {feature} is neither")),
        }
    }

    /// Checks the features that are ordered and divided by.
    fn check(&self, asked: &AudienceRequest) -> Result<(), AudienceError> {
        if asked.limit > 0 {
            self.check_order(&asked.order_by.0)?;
        }
        let wrong = |why: String| AudienceError::Request("breakdown", why);
        let Some(by) = &asked.breakdown else { return Ok(()) };
        let feature = &by.feature;
        let kind = self.kind(feature).map_err(|error| wrong(error.message))?;
        if by.buckets.is_some() && !breakdown::is_ordered(kind) {
            return Err(wrong(format!("only numbers and times have `buckets`; {feature} is neither")));
        }
        if by.buckets.is_none() && !breakdown::is_counted(kind) {
            let what = "only text, whole numbers, and true or false are counted value by value";
            return Err(wrong(format!("{what}; ask for `buckets` of {feature}")));
        }
        Ok(())
    }
}
