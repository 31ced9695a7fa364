//! Customers who changed between two snapshots: who entered or left a segment, and whose value of a feature
//! changed.
//!
//! Both snapshots number their customers in the order of ids. A merge of the ids gives each customer the two
//! numbers, and the changed customers are kept by these, among the comparisons.

use std::{collections::HashMap, sync::Arc};

use super::{
    ReadError, Served, Serving,
    change_list::{ChangeList, ChangedCustomer, Direction},
    compare::{Comparison, ComparisonKey, Subject},
};
use crate::{
    audience::{Bitmap, FeatureName, Leaf, SortedCustomers, catalog::ValueKind, column_pair::ColumnPair},
    feature::{CustomerId, PackedTexts, SegmentKind},
    snapshot::{Manifest, SnapshotError},
    workers::{Canceled, Cancellation},
};

/// Number of customers between two checks whether a comparison is still awaited.
const CHECKED: usize = 65_536;

/// Two open snapshots.
#[derive(Debug, Clone)]
pub struct SnapshotPair {
    /// Earlier snapshot.
    pub before: Arc<Served>,
    /// Later snapshot.
    pub after: Arc<Served>,
}

/// Customer of a page of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Id of the customer.
    pub id: CustomerId,
    /// Whether the customer entered, not left.
    pub entered: bool,
    /// Whether the earlier snapshot has the customer.
    pub was_known: bool,
    /// Whether the later snapshot has the customer.
    pub is_known: bool,
    /// Value in both snapshots as JSON, for changes of a value.
    pub values: Option<(String, String)>,
}

impl SnapshotPair {
    fn manifests(&self) -> [&Arc<Manifest>; 2] {
        [&self.before.manifest, &self.after.manifest]
    }
}

impl Serving {
    /// Opens two snapshots.
    ///
    /// # Errors
    /// [`ReadError::UnknownSnapshot`] if a snapshot was removed, [`ReadError::Unavailable`] if it cannot be
    /// read.
    pub async fn pair(&self, from: &Arc<Manifest>, to: &Arc<Manifest>) -> Result<SnapshotPair, ReadError> {
        Ok(SnapshotPair { before: self.opened(from).await?, after: self.opened(to).await? })
    }

    /// Returns the customers who entered or left `segment`, best first by the order of the segment: those who
    /// entered by the later snapshot, those who left by the earlier one. Both snapshots must have the
    /// segment.
    ///
    /// # Errors
    /// The errors of [`Serving::pair`].
    pub async fn segment_changes(
        &self,
        pair: &SnapshotPair,
        segment: &str,
    ) -> Result<Arc<ChangeList>, ReadError> {
        let subject = Subject::Members(segment.to_owned());
        let (of, segment) = (pair.clone(), segment.to_owned());
        self.change_list(pair, subject, async move { members(of, &segment).await }).await
    }

    /// Returns the customers whose value of `feature` differs, sorted by id. Both snapshots must have the
    /// feature.
    ///
    /// # Errors
    /// The errors of [`Serving::pair`].
    pub async fn value_changes(
        &self,
        pair: &SnapshotPair,
        feature: &FeatureName,
    ) -> Result<Arc<ChangeList>, ReadError> {
        let subject = Subject::Values(feature.clone());
        let (of, feature) = (pair.clone(), feature.clone());
        self.change_list(pair, subject, async move { values(of, &feature).await }).await
    }

    async fn change_list(
        &self,
        pair: &SnapshotPair,
        subject: Subject,
        find: impl Future<Output = Result<ChangeList, Arc<SnapshotError>>> + Send + 'static,
    ) -> Result<Arc<ChangeList>, ReadError> {
        let [from, to] = pair.manifests();
        let [was, is] = [&pair.before, &pair.after].map(|served| served.forgotten.version());
        let erasures = if was == is { was.to_owned() } else { format!("{was} {is}") };
        let key = ComparisonKey { from: from.id.clone(), to: to.id.clone(), erasures, subject };
        let compute = async move { Ok(Comparison::Changes(Arc::new(Box::pin(find).await?))) };
        match self.comparisons.get_or_compute(key, compute).await {
            Ok(Comparison::Changes(list)) => Ok(list),
            Ok(_) => Err(ReadError::NoSnapshot),
            Err(error) => Err(self.gone([&from.id, &to.id], error).await),
        }
    }

    /// Returns at most `limit` customers of `list` from place `offset` on, among those of `direction`, with
    /// the values of `feature` if given.
    ///
    /// # Errors
    /// The errors of [`Serving::pair`].
    pub async fn changed(
        &self,
        pair: &SnapshotPair,
        list: &ChangeList,
        wanted: ChangedRange<'_>,
    ) -> Result<Vec<Changed>, ReadError> {
        match page(pair, list, wanted).await {
            Ok(page) => Ok(page),
            Err(error) => Err(self.gone(pair.manifests().map(|manifest| &manifest.id), error).await),
        }
    }
}

/// Part of a list of changes.
#[derive(Debug, Clone, Copy)]
pub struct ChangedRange<'a> {
    /// Direction of the changes.
    pub direction: Direction,
    /// Number of customers to skip.
    pub offset: u64,
    /// Most customers to return.
    pub limit: usize,
    /// Feature whose values are returned.
    pub feature: Option<&'a FeatureName>,
}

async fn page(
    pair: &SnapshotPair,
    list: &ChangeList,
    wanted: ChangedRange<'_>,
) -> Result<Vec<Changed>, Arc<SnapshotError>> {
    let ids = [pair.before.sets.ids().await?, pair.after.sets.ids().await?];
    let columns = match wanted.feature {
        Some(name) => Some((pair.before.sets.column(name).await?, pair.after.sets.column(name).await?)),
        None => None,
    };
    let places = list.places(wanted.direction);
    let offset = usize::try_from(wanted.offset).unwrap_or(usize::MAX);
    let mut found = Vec::with_capacity(wanted.limit.min(places.len()));
    for place in places.skip(offset).take(wanted.limit) {
        let ChangedCustomer { before, after } = list.customers[place];
        let [was, is] = [before, after].map(|number| number.map(|number| number as usize));
        let text = is.map(|at| ids[1].get(at)).or_else(|| was.map(|at| ids[0].get(at))).unwrap_or_default();
        let id = CustomerId::parse(text).map_err(|error| {
            let object = pair.after.manifest.id.path("customers").to_string();
            Arc::new(SnapshotError::Damaged { object, why: error.to_string() })
        })?;
        let values = columns.as_ref().map(|(before, after)| {
            let null = || "null".to_owned();
            (was.map_or_else(null, |at| before.json(at)), is.map_or_else(null, |at| after.json(at)))
        });
        found.push(Changed {
            id,
            entered: place < list.entered,
            was_known: was.is_some(),
            is_known: is.is_some(),
            values,
        });
    }
    Ok(found)
}

/// Ids and erased customers of both snapshots.
struct PairIds {
    ids: [Arc<PackedTexts>; 2],
    erased: [Option<Arc<Bitmap>>; 2],
}

impl PairIds {
    async fn read(pair: &SnapshotPair) -> Result<Self, Arc<SnapshotError>> {
        let ids = [pair.before.sets.ids().await?, pair.after.sets.ids().await?];
        let erased = [pair.before.erased_customers().await?, pair.after.erased_customers().await?];
        Ok(Self { ids, erased: erased.map(|erased| erased.map(|erased| erased.customers)) })
    }

    /// Calls `visit` with the numbers of each customer of either snapshot, in the order of ids, except for
    /// erased customers.
    fn merge(
        &self,
        cancellation: &Cancellation,
        mut visit: impl FnMut(Option<usize>, Option<usize>),
    ) -> Result<(), Canceled> {
        let [before, after] = &self.ids;
        let is_erased = |snapshot: usize, number: Option<usize>| {
            let erased = self.erased[snapshot].as_ref();
            number.is_some_and(|number| erased.is_some_and(|erased| erased.contains(number)))
        };
        let (mut was, mut is) = (0, 0);
        while was < before.len() || is < after.len() {
            if (was + is).is_multiple_of(CHECKED) {
                cancellation.check()?;
            }
            let order = match (was < before.len(), is < after.len()) {
                (true, true) => before.get(was).cmp(after.get(is)),
                (true, false) => std::cmp::Ordering::Less,
                _ => std::cmp::Ordering::Greater,
            };
            let numbers = (order.is_le().then_some(was), order.is_ge().then_some(is));
            was += usize::from(order.is_le());
            is += usize::from(order.is_ge());
            if !is_erased(0, numbers.0) && !is_erased(1, numbers.1) {
                visit(numbers.0, numbers.1);
            }
        }
        Ok(())
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Finds the customers whose value of `feature` differs.
async fn values(pair: SnapshotPair, feature: &FeatureName) -> Result<ChangeList, Arc<SnapshotError>> {
    let cache = &pair.after.sets.cache;
    let _admitted = cache.admit().await;
    let ids = PairIds::read(&pair).await?;
    let (before, after) = (pair.before.sets.column(feature).await?, pair.after.sets.column(feature).await?);
    let compare = move |cancellation: &Cancellation| {
        let columns = ColumnPair::new(&before, &after);
        let mut customers = Vec::new();
        ids.merge(cancellation, |was, is| {
            if columns.differs(was, is) {
                customers.push(ChangedCustomer { before: was.map(small), after: is.map(small) });
            }
        })?;
        let entered = customers.len();
        Ok(ChangeList { customers, entered })
    };
    cache.compute(compare).await
}

/// Finds the customers who entered or left `segment`.
async fn members(pair: SnapshotPair, segment: &str) -> Result<ChangeList, Arc<SnapshotError>> {
    let cache = &pair.after.sets.cache;
    let _admitted = cache.admit().await;
    let ids = PairIds::read(&pair).await?;
    let leaf = Leaf::Segment(segment.to_owned());
    let sets = [pair.before.sets.leaf(&leaf, None).await?, pair.after.sets.leaf(&leaf, None).await?];
    let orders = [pair.before.order_of(segment).await?, pair.after.order_of(segment).await?];
    let compare = move |cancellation: &Cancellation| {
        let is_member = |snapshot: usize, number: Option<usize>| {
            number.is_some_and(|number| sets[snapshot].customers.contains(number))
        };
        // By the number in the snapshot that the customer is a member in.
        let mut changed = [Side::new(ids.ids[0].len()), Side::new(ids.ids[1].len())];
        ids.merge(cancellation, |was, is| {
            let customer = ChangedCustomer { before: was.map(small), after: is.map(small) };
            match (is_member(0, was), is_member(1, is)) {
                (true, false) => changed[0].add(was, customer),
                (false, true) => changed[1].add(is, customer),
                _ => {}
            }
        })?;
        let [left, entered] = changed;
        let mut customers = entered.sorted(orders[1].as_deref());
        let entered = customers.len();
        customers.extend(left.sorted(orders[0].as_deref()));
        Ok(ChangeList { customers, entered })
    };
    cache.compute(compare).await
}

/// Customers who are members in one of the two snapshots alone.
struct Side {
    members: Bitmap,
    customers: HashMap<usize, ChangedCustomer>,
}

impl Side {
    fn new(customers: usize) -> Self {
        Self { members: Bitmap::empty(customers), customers: HashMap::new() }
    }

    fn add(&mut self, number: Option<usize>, customer: ChangedCustomer) {
        if let Some(number) = number {
            self.members.insert(number);
            self.customers.insert(number, customer);
        }
    }

    /// Returns the customers in `order`, or by id.
    fn sorted(&self, order: Option<&SortedCustomers>) -> Vec<ChangedCustomer> {
        let found = |number: usize| self.customers.get(&number).copied();
        match order {
            Some(order) => order.walk(&self.members).filter_map(found).collect(),
            None => self.members.iter().filter_map(found).collect(),
        }
    }
}

impl Served {
    /// Checks that the snapshot has `feature` and that its values can be compared.
    ///
    /// # Errors
    /// The reason as text.
    pub fn check_comparable(&self, feature: &FeatureName) -> Result<(), String> {
        match self.kind(feature) {
            Ok(ValueKind::List(_) | ValueKind::Nested) => {
                Err(format!("{feature} is a list or a struct, whose values are not compared"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.message),
        }
    }

    /// Returns the order in which `segment` lists its members; `None` if the snapshot lacks the feature.
    async fn order_of(&self, segment: &str) -> Result<Option<Arc<SortedCustomers>>, Arc<SnapshotError>> {
        let kind = self.manifest.segment(segment).map(|segment| segment.kind);
        let name = match kind {
            Some(SegmentKind::Churn) => FeatureName::new("churn", "value_at_risk"),
            _ => FeatureName::new("rfm", "monetary"),
        };
        if self.kind(&name).is_err() {
            return Ok(None);
        }
        self.sets.order(&name, true).await.map(Some)
    }
}
