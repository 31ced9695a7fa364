//! Named audiences: read before the raw data is, counted on the written parts by the same code that answers requests, and then
//! segments like the others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{ArrayRef, Decimal128Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};

use super::{
    BuildError,
    segments::{self, is_built_in},
    staging::derive::MONEY,
};
use crate::{
    audience::{
        Bitmap, Dictionary, Expression, ExpressionError, FeatureColumn, FeatureName, Leaf, SortedCustomers,
        figures::Figures,
        plan::{self, Catalog, Predicate},
    },
    config::AudienceConfig,
    feature::{SegmentKind, is_name},
    lake::Lake,
    snapshot::{FileEntry, Manifest, SegmentStats, SnapshotError, Warning, sets::Sets},
};

/// What one read on the lake may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// The digits of money behind its point.
const MONEY_SCALE: u32 = 4;
/// Members that are written at a time.
const BATCH: usize = 65_536;

/// What is wrong with a named audience.
#[derive(Debug, thiserror::Error)]
pub enum AudienceError {
    /// A name that none may have.
    #[error("audience `{0}`: no such name; use a to z, 0 to 9 and _, at most 64")]
    Name(String),
    /// A name that another segment has.
    #[error("audience {0}: the name is that of a segment of another kind")]
    Taken(String),
    /// An expression that cannot be read, or names what there is not.
    #[error("audience {name}")]
    Expression {
        /// The audience.
        name: String,
        /// What and where.
        source: ExpressionError,
    },
    /// Two audiences of the same priority.
    #[error(
        "audiences {first} and {second} both have priority {priority}; of those that have one, each needs its own"
    )]
    Priority {
        /// The first by name.
        first: String,
        /// The other.
        second: String,
        /// Their priority.
        priority: u32,
    },
    /// Audiences that wait for each other.
    #[error(
        "audiences {} refer to each other in a circle (with a priority, an audience waits for all of lower numbers)",
        .0.join(", ")
    )]
    Circle(Vec<String>),
}

/// A named audience.
#[derive(Debug)]
pub(super) struct Audience {
    name: String,
    expression: Expression,
    config: AudienceConfig,
}

/// Reads and checks the audiences of the configuration; returns them in an order in which each finds those that it needs.
pub(super) fn read(configured: &BTreeMap<String, AudienceConfig>) -> Result<Vec<Audience>, AudienceError> {
    let mut waiting = Vec::new();
    for (name, config) in configured {
        if !is_name(name) {
            return Err(AudienceError::Name(name.clone()));
        }
        if is_built_in(name) {
            return Err(AudienceError::Taken(name.clone()));
        }
        let expression = Expression::parse(&config.r#where)
            .map_err(|source| AudienceError::Expression { name: name.clone(), source })?;
        waiting.push(Audience { name: name.clone(), expression, config: config.clone() });
    }
    let mut priorities: BTreeMap<u32, &str> = BTreeMap::new();
    for (priority, name) in
        waiting.iter().filter_map(|audience| Some((audience.config.priority?, &audience.name)))
    {
        if let Some(first) = priorities.insert(priority, name) {
            return Err(AudienceError::Priority { first: first.to_owned(), second: name.clone(), priority });
        }
    }
    let mut ordered: Vec<Audience> = Vec::new();
    while !waiting.is_empty() {
        let names: BTreeSet<String> = waiting.iter().map(|audience| audience.name.clone()).collect();
        let first = waiting.iter().filter_map(|audience| audience.config.priority).min();
        let is_ready = |audience: &Audience| {
            let is_first = audience.config.priority.is_none_or(|priority| Some(priority) == first);
            is_first && !audience.expression.segments().iter().any(|name| names.contains(*name))
        };
        let (ready, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
        if ready.is_empty() {
            return Err(AudienceError::Circle(names.into_iter().collect()));
        }
        ordered.extend(ready);
        waiting = others;
    }
    Ok(ordered)
}

/// What a build has of its audiences.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) segments: Vec<SegmentStats>,
    pub(super) files: Vec<FileEntry>,
    pub(super) warnings: Vec<Warning>,
}

/// Counts `audiences` in the snapshot of `manifest`, whose other files are written, and writes their rankings.
pub(super) async fn write(
    lake: &Lake,
    manifest: &Manifest,
    audiences: &[Audience],
) -> Result<Written, BuildError> {
    let mut written = Written::default();
    if audiences.is_empty() {
        return Ok(written);
    }
    if let Some(taken) = audiences.iter().find(|audience| manifest.segment(&audience.name).is_some()) {
        return Err(AudienceError::Taken(taken.name.clone()).into());
    }
    let shared = Arc::new(manifest.clone());
    let sets = Sets::new(lake.clone(), Arc::clone(&shared), DEADLINE);
    let ids = Arc::new(sets.ids().await?);
    let mut memory =
        Memory { manifest: shared, ids, sets, columns: HashMap::new(), segments: HashMap::new() };
    let segments = manifest.segments.iter().map(|segment| segment.name.as_str());
    let segments: Vec<&str> =
        segments.chain(audiences.iter().map(|audience| audience.name.as_str())).collect();
    let known = Catalog { views: &manifest.views, segments: &segments };
    let rfm = |feature: &str| FeatureName::new("rfm", feature);
    let monetary = memory.column(&rfm("monetary")).await?;
    let scores = [rfm("r_score"), rfm("f_score"), rfm("m_score")];
    let scores = [
        memory.column(&scores[0]).await?,
        memory.column(&scores[1]).await?,
        memory.column(&scores[2]).await?,
    ];
    let order = SortedCustomers::by(&monetary, true);
    let mut taken = Bitmap::empty(memory.sets.customers());
    for audience in audiences {
        let name = &audience.name;
        let failed = |source| AudienceError::Expression { name: name.clone(), source };
        let plan = known.plan(&audience.expression).map_err(failed)?;
        let mut leaves = Vec::new();
        for leaf in &plan.leaves {
            let (leaf, hints) = memory.leaf(leaf).await?;
            leaves.push(leaf);
            written.warnings.extend(
                hints
                    .into_iter()
                    .map(|hint| Warning::new("audience", format!("audience {name}, at character {hint}"))),
            );
        }
        let leaves: Vec<&Bitmap> = leaves.iter().map(AsRef::as_ref).collect();
        let mut members = plan.members(&leaves, memory.sets.customers());
        if audience.config.priority.is_some() {
            members.remove_all(&taken);
            taken.insert_all(&members);
        }
        let figures = Figures::of(
            &members,
            memory.sets.customers(),
            Some(&monetary),
            scores.each_ref().map(|column| Some(&**column)),
        );
        written.segments.push(stats(audience, figures));
        if let Some(file) = ranking(lake, manifest, name, &members, (&order, &monetary, &memory.ids)).await? {
            written.files.push(file);
        }
        memory.segments.insert(name.clone(), Arc::new(members));
    }
    written.segments.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(written)
}

/// What has been read of the snapshot.
struct Memory {
    manifest: Arc<Manifest>,
    sets: Sets,
    ids: Arc<Dictionary>,
    columns: HashMap<FeatureName, Arc<FeatureColumn>>,
    segments: HashMap<String, Arc<Bitmap>>,
}

impl Memory {
    async fn column(&mut self, name: &FeatureName) -> Result<Arc<FeatureColumn>, SnapshotError> {
        if let Some(column) = self.columns.get(name) {
            return Ok(Arc::clone(column));
        }
        let column = Arc::new(self.sets.feature(name).await?);
        self.columns.insert(name.clone(), Arc::clone(&column));
        Ok(column)
    }

    /// The customers of a leaf, and what may be a mistake in it.
    async fn leaf(&mut self, leaf: &Leaf) -> Result<(Arc<Bitmap>, Vec<String>), SnapshotError> {
        let set = match leaf {
            Leaf::Segment(name) => {
                if let Some(members) = self.segments.get(name) {
                    return Ok((Arc::clone(members), Vec::new()));
                }
                let members = Arc::new(self.sets.segment(name, &self.ids).await?);
                self.segments.insert(name.clone(), Arc::clone(&members));
                return Ok((members, Vec::new()));
            }
            Leaf::Null(name) => self.column(name).await?.nulls.clone(),
            Leaf::Predicate(name, test) => {
                let column = self.column(name).await?;
                let mut absent =
                    if let Predicate::OneOf(values) = test { column.absent(values) } else { Vec::new() };
                // What customers are called or where they live is not for those who read what a build says.
                if self.manifest.is_personal(&name.view, &name.feature) {
                    absent = absent.into_iter().map(|(at, _)| (at, Vec::new())).collect();
                }
                let hints = plan::hints(leaf, &absent).into_iter().map(|(at, hint)| format!("{at}: {hint}"));
                return Ok((Arc::new(column.passing(test)), hints.collect()));
            }
        };
        Ok((Arc::new(set), Vec::new()))
    }
}

fn stats(audience: &Audience, figures: Figures) -> SegmentStats {
    let AudienceConfig { r#where, priority, description } = &audience.config;
    let mut definition = r#where.clone();
    if let Some(priority) = priority {
        definition = format!("{definition}; priority {priority}");
    }
    if !description.is_empty() {
        definition = format!("{description}: {definition}");
    }
    let [mean_r_score, mean_f_score, mean_m_score] = figures.mean_scores;
    SegmentStats {
        name: audience.name.clone(),
        kind: SegmentKind::Audience,
        definition,
        size: figures.size as u64,
        share: figures.share,
        revenue: figures.revenue,
        mean_r_score,
        mean_f_score,
        mean_m_score,
    }
}

/// Writes `members` by `monetary` and then id; nothing where there are none.
async fn ranking(
    lake: &Lake,
    manifest: &Manifest,
    name: &str,
    members: &Bitmap,
    (order, monetary, ids): (&SortedCustomers, &FeatureColumn, &Dictionary),
) -> Result<Option<FileEntry>, BuildError> {
    let total = members.count();
    if total == 0 {
        return Ok(None);
    }
    let schema = Schema::new(vec![
        Field::new("customer_id", DataType::Utf8, true),
        Field::new("monetary", MONEY, true),
    ]);
    let schema = Arc::new(schema);
    let failed = |error: ArrowError| SnapshotError::Write {
        object: format!("rankings/{name}.parquet"),
        source: error.into(),
    };
    let mut writer = segments::writer(lake, &manifest.id, name, Arc::clone(&schema))?;
    let ranked = order.page(members, total, 0, total);
    for customers in ranked.chunks(BATCH) {
        let texts: StringArray = customers.iter().map(|customer| Some(ids.get(*customer))).collect();
        let values: Decimal128Array =
            customers.iter().map(|customer| monetary.scaled(*customer, MONEY_SCALE)).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(values.with_data_type(MONEY))];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(failed)?;
        segments::write(&mut writer, &batch).await?;
    }
    Ok(Some(writer.finish().await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(toml: &str) -> Result<Vec<String>, String> {
        let configured: BTreeMap<String, AudienceConfig> = toml::from_str(toml).expect("valid");
        let read = read(&configured).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error} {source}")
        });
        read.map(|audiences| audiences.into_iter().map(|audience| audience.name).collect())
    }

    #[test]
    fn audiences_come_after_those_that_they_need() {
        let by_name =
            "a = { where = 'segment:b' }\nb = { where = 'segment:c' }\nc = { where = 'rfm.monetary > 0' }";
        assert_eq!(order(by_name), Ok(["c", "b", "a"].map(str::to_owned).to_vec()));
        let by_priority =
            "a = { where = 'segment:new', priority = 2 }\nb = { where = 'segment:loyal', priority = 1 }";
        assert_eq!(order(by_priority), Ok(["b", "a"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |toml: &str, part: &str| {
            let error = order(toml).expect_err(toml);
            assert!(error.contains(part), "{error}");
        };
        refused(
            "a = { where = 'segment:b' }\nb = { where = 'not segment:a' }",
            "audiences a, b refer to each other",
        );
        refused("a = { where = 'segment:a' }", "circle");
        let waits = "a = { where = 'segment:b', priority = 1 }\nb = { where = 'segment:new', priority = 2 }";
        refused(waits, "circle");
        let same = "a = { where = 'segment:new', priority = 1 }\nb = { where = 'segment:new', priority = 1 }";
        refused(same, "audiences a and b both have priority 1");
        refused("champions = { where = 'segment:new' }", "audience champions: the name");
        refused("churn = { where = 'segment:new' }", "audience churn: the name");
        refused("Vip = { where = 'segment:new' }", "audience `Vip`");
        refused("vip = { where = 'segment:new and' }", "audience vip at character 15");
    }
}
