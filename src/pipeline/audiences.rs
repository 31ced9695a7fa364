//! Named audiences: parsed before the raw data is read, evaluated on the written parts by the code that also
//! answers audience queries, and then segments like any other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Decimal128Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use datafusion::common::runtime::SpawnedTask;
use futures::{StreamExt, stream};

use super::{
    error::{BuildError, NamedAudienceError},
    memberships::AudienceMembers,
    parts::SnapshotTarget,
    segments::{self, Rankings, is_built_in},
    staging::MONEY,
};
use crate::{
    audience::{
        Bitmap, ErasedTexts, Expression, FeatureColumn, FeatureName, Leaf, SortedCustomers,
        catalog::Catalog,
        figures::Figures,
        plan::{self, Predicate},
    },
    config::AudienceConfig,
    feature::{PackedTexts, SegmentKind, is_name},
    lake::Lake,
    snapshot::{
        FileEntry, Manifest, SegmentStats, SnapshotError, SnapshotFiles, Warning,
        audience_loader::AudienceLoader,
    },
};

/// Number of decimal digits of money.
const MONEY_SCALE: u32 = 4;
/// Number of members written at a time.
const BATCH: usize = 65_536;

/// A named audience.
#[derive(Debug)]
pub(super) struct NamedAudience {
    name: String,
    expression: Expression,
    config: AudienceConfig,
}

/// Parses and checks the configured audiences. Returns each one after the audiences that it depends on.
pub(super) fn read(
    configured: &BTreeMap<String, AudienceConfig>,
) -> Result<Vec<NamedAudience>, NamedAudienceError> {
    let mut waiting = Vec::new();
    for (name, config) in configured {
        if !is_name(name) {
            return Err(NamedAudienceError::Name(name.clone()));
        }
        if is_built_in(name) {
            return Err(NamedAudienceError::Taken(name.clone()));
        }
        let expression = Expression::parse(&config.r#where)
            .map_err(|source| NamedAudienceError::Expression { name: name.clone(), source })?;
        waiting.push(NamedAudience { name: name.clone(), expression, config: config.clone() });
    }
    let mut priorities: BTreeMap<u32, &str> = BTreeMap::new();
    for (priority, name) in
        waiting.iter().filter_map(|audience| Some((audience.config.priority?, &audience.name)))
    {
        if let Some(first) = priorities.insert(priority, name) {
            return Err(NamedAudienceError::Priority {
                first: first.to_owned(),
                second: name.clone(),
                priority,
            });
        }
    }
    let mut ordered: Vec<NamedAudience> = Vec::new();
    while !waiting.is_empty() {
        let names: BTreeSet<String> = waiting.iter().map(|audience| audience.name.clone()).collect();
        let first = waiting.iter().filter_map(|audience| audience.config.priority).min();
        let is_ready = |audience: &NamedAudience| {
            let is_first = audience.config.priority.is_none_or(|priority| Some(priority) == first);
            is_first && !audience.expression.segments().iter().any(|name| names.contains(*name))
        };
        let (ready, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
        if ready.is_empty() {
            return Err(NamedAudienceError::Circle(names.into_iter().collect()));
        }
        ordered.extend(ready);
        waiting = others;
    }
    Ok(ordered)
}

/// Features that the figures and rankings of all audiences are computed from.
const MEASURES: [(&str, &str); 4] =
    [("rfm", "monetary"), ("rfm", "r_score"), ("rfm", "f_score"), ("rfm", "m_score")];

/// Returns the features, as view and feature, that the evaluation of `audiences` reads.
pub(super) fn features(audiences: &[NamedAudience]) -> BTreeSet<(&str, &str)> {
    let named = audiences.iter().flat_map(|audience| audience.expression.features());
    named.map(|name| (name.view.as_str(), name.feature.as_str())).chain(MEASURES).collect()
}

/// Segments, members, rankings and warnings of the named audiences.
#[derive(Debug, Default)]
pub(super) struct AudienceOutput {
    pub(super) rankings: Rankings,
    pub(super) members: Vec<AudienceMembers>,
    pub(super) warnings: Vec<Warning>,
}

/// A snapshot whose rankings are written, and the features that audiences are evaluated on.
#[derive(Debug, Clone, Copy)]
pub(super) struct AudienceInput<'a> {
    pub(super) target: SnapshotTarget<'a>,
    /// Manifest of the snapshot so far.
    pub(super) base: &'a Manifest,
    /// Lake and manifest with the ids and the typed columns.
    pub(super) columns: (&'a Lake, &'a Manifest),
    pub(super) threads: usize,
}

/// Evaluates `audiences` and writes their rankings.
pub(super) async fn write(
    input: AudienceInput<'_>,
    audiences: &[NamedAudience],
) -> Result<AudienceOutput, BuildError> {
    let AudienceInput { target, base: manifest, columns: (lake, columns), threads } = input;
    let mut output = AudienceOutput::default();
    if let Some(taken) = audiences.iter().find(|audience| manifest.segment(&audience.name).is_some()) {
        return Err(NamedAudienceError::Taken(taken.name.clone()).into());
    }
    let shared = Arc::new(manifest.clone());
    let rankings = AudienceLoader::new(SnapshotFiles::offline(target.lake, &shared));
    let sets = AudienceLoader::new(SnapshotFiles::offline(lake, &Arc::new(columns.clone())));
    let ids = Arc::new(sets.ids().await?);
    let mut cache =
        SetCache { manifest: shared, ids, sets, rankings, columns: HashMap::new(), segments: HashMap::new() };
    let segments: Vec<&str> = manifest
        .segments
        .iter()
        .map(|segment| segment.name.as_str())
        .chain(audiences.iter().map(|audience| audience.name.as_str()))
        .collect();
    let known = Catalog {
        views: &manifest.views,
        segments: &segments,
        as_of: manifest.as_of,
        has_events: manifest.has_events(),
    };
    let measures = Arc::new(Measures::read(&mut cache).await?);
    let mut taken = Bitmap::empty(cache.sets.customers());
    for audience in audiences {
        let mut members = members(audience, &known, &mut cache, &mut output.warnings).await?;
        if audience.config.priority.is_some() {
            members.remove_all(&taken);
            taken.insert_all(&members);
        }
        let scores = measures.scores.each_ref().map(|column| Some(&**column));
        let figures = Figures::of(&members, cache.sets.customers(), Some(&measures.monetary), scores);
        output.rankings.segments.push(stats(audience, figures));
        let customers = Arc::new(members);
        cache.segments.insert(audience.name.clone(), Arc::clone(&customers));
        output.members.push(AudienceMembers { name: audience.name.clone(), customers, is_personal: false });
    }
    output.rankings.files = write_rankings(target, &output.members, &measures, &cache.ids, threads).await?;
    output.rankings.segments.sort_by(|a, b| a.name.cmp(&b.name));
    let mut known = manifest.clone();
    known.segments.extend(output.rankings.segments.iter().cloned());
    for audience in &mut output.members {
        let segment = known.segment(&audience.name);
        audience.is_personal = segment.is_some_and(|segment| !known.personal_behind(segment).is_empty());
    }
    Ok(output)
}

/// Returns the customers that match the expression of `audience`, before its priority counts. Adds hints
/// about probable mistakes in the expression to `warnings`.
async fn members(
    audience: &NamedAudience,
    known: &Catalog<'_>,
    cache: &mut SetCache,
    warnings: &mut Vec<Warning>,
) -> Result<Bitmap, BuildError> {
    let name = &audience.name;
    let failed = |source| NamedAudienceError::Expression { name: name.clone(), source };
    let plan = known.plan(&audience.expression).map_err(failed)?;
    let mut leaves = Vec::new();
    for leaf in &plan.leaves {
        let (customers, hints) = cache.leaf(leaf).await?;
        leaves.push(customers);
        let warning =
            |hint: String| Warning::new("audience", format!("audience {name}, at character {hint}"));
        warnings.extend(hints.into_iter().map(warning));
    }
    let bitmaps: Vec<&Bitmap> = leaves.iter().map(AsRef::as_ref).collect();
    Ok(plan.members(&bitmaps, cache.sets.customers()))
}

/// Columns of `rfm` that the figures and rankings of audiences are computed from.
struct Measures {
    monetary: Arc<FeatureColumn>,
    /// R, F and M.
    scores: [Arc<FeatureColumn>; 3],
    /// Customers sorted by `monetary` and then id.
    order: SortedCustomers,
}

impl Measures {
    async fn read(cache: &mut SetCache) -> Result<Self, SnapshotError> {
        let rfm = |feature: &str| FeatureName::new("rfm", feature);
        let monetary = cache.column(&rfm("monetary")).await?;
        let scores = [
            cache.column(&rfm("r_score")).await?,
            cache.column(&rfm("f_score")).await?,
            cache.column(&rfm("m_score")).await?,
        ];
        let order = SortedCustomers::by(&monetary, true);
        Ok(Self { monetary, scores, order })
    }
}

/// Columns and segments of the snapshot that are already read.
struct SetCache {
    manifest: Arc<Manifest>,
    /// Loader of ids and columns.
    sets: AudienceLoader,
    ids: Arc<PackedTexts>,
    /// Loader of the segments and the events.
    rankings: AudienceLoader,
    columns: HashMap<FeatureName, Arc<FeatureColumn>>,
    segments: HashMap<String, Arc<Bitmap>>,
}

impl SetCache {
    async fn column(&mut self, name: &FeatureName) -> Result<Arc<FeatureColumn>, SnapshotError> {
        if let Some(column) = self.columns.get(name) {
            return Ok(Arc::clone(column));
        }
        let column = Arc::new(self.sets.feature(name).await?);
        self.columns.insert(name.clone(), Arc::clone(&column));
        Ok(column)
    }

    /// Returns the customers that match a leaf, and hints about probable mistakes in it.
    async fn leaf(&mut self, leaf: &Leaf) -> Result<(Arc<Bitmap>, Vec<String>), SnapshotError> {
        let set = match leaf {
            Leaf::Segment(name) => {
                if let Some(members) = self.segments.get(name) {
                    return Ok((Arc::clone(members), Vec::new()));
                }
                let members = Arc::new(self.rankings.segment(name, &self.ids).await?);
                self.segments.insert(name.clone(), Arc::clone(&members));
                return Ok((members, Vec::new()));
            }
            Leaf::Null(name) => self.column(name).await?.nulls.clone(),
            Leaf::Event(condition, _) => {
                // The index is in the lake of the snapshot, like the rankings.
                let events = self.rankings.events(&condition.key).await?;
                let absent = if events.customers().is_empty() { vec![(0, Vec::new())] } else { Vec::new() };
                let hints = plan::hints(leaf, &absent).into_iter().map(|(at, hint)| format!("{at}: {hint}"));
                return Ok((Arc::new(events.matching(condition, self.ids.len())), hints.collect()));
            }
            Leaf::Predicate(name, test) => {
                let column = self.column(name).await?;
                let mut absent = Vec::new();
                if let Predicate::OneOf(values) = test {
                    // A build has no erased customers.
                    let erased = ErasedTexts::default();
                    let places = column.absent(values, &erased);
                    // Similar values of a personal column must not appear in the warnings of a build.
                    absent = if self.manifest.is_personal(&name.view, &name.feature) {
                        places.into_iter().map(|at| (at, Vec::new())).collect()
                    } else {
                        column.suggestions(values, &places, &erased)
                    };
                }
                let hints = plan::hints(leaf, &absent).into_iter().map(|(at, hint)| format!("{at}: {hint}"));
                return Ok((Arc::new(column.passing(test)), hints.collect()));
            }
        };
        Ok((Arc::new(set), Vec::new()))
    }
}

fn stats(audience: &NamedAudience, figures: Figures) -> SegmentStats {
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

/// Writes the rankings of `audiences`, as many at a time as there are `threads`.
async fn write_rankings(
    target: SnapshotTarget<'_>,
    audiences: &[AudienceMembers],
    measures: &Arc<Measures>,
    ids: &Arc<PackedTexts>,
    threads: usize,
) -> Result<Vec<FileEntry>, BuildError> {
    let tasks: Vec<_> = audiences
        .iter()
        .map(|AudienceMembers { name, customers, .. }| {
            let (lake, id) = (target.lake.clone(), target.id.clone());
            let (name, customers) = (name.clone(), Arc::clone(customers));
            let (measures, ids) = (Arc::clone(measures), Arc::clone(ids));
            async move {
                let target = SnapshotTarget { lake: &lake, id: &id };
                write_ranking(target, &name, &customers, &measures, &ids).await
            }
        })
        .collect();
    let mut written = stream::iter(tasks).map(SpawnedTask::spawn).buffered(threads);
    let mut files = Vec::new();
    while let Some(file) = written.next().await {
        files.extend(file??);
    }
    Ok(files)
}

/// Writes the ranking of `members`, sorted by `monetary` and then id. An empty audience has no file.
async fn write_ranking(
    target: SnapshotTarget<'_>,
    name: &str,
    members: &Bitmap,
    measures: &Measures,
    ids: &PackedTexts,
) -> Result<Option<FileEntry>, BuildError> {
    let total = members.count();
    if total == 0 {
        return Ok(None);
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("customer_id", DataType::Utf8, true),
        Field::new("monetary", MONEY, true),
    ]));
    let failed = |error: ArrowError| SnapshotError::Write {
        object: format!("rankings/{name}.parquet"),
        source: error.into(),
    };
    let mut writer = segments::ranking_writer(target, name, Arc::clone(&schema))?;
    let ranked = measures.order.page(members, total, 0, total);
    for customers in ranked.chunks(BATCH) {
        let texts: StringArray = customers.iter().map(|customer| Some(ids.get(*customer))).collect();
        let values: Decimal128Array =
            customers.iter().map(|customer| measures.monetary.scaled(*customer, MONEY_SCALE)).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(values.with_data_type(MONEY))];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(failed)?;
        segments::write_blocks(&mut writer, &batch).await?;
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
    fn audiences_are_ordered_by_dependency() {
        let by_name =
            "a = { where = 'segment:b' }\nb = { where = 'segment:c' }\nc = { where = 'rfm.monetary > 0' }";
        assert_eq!(order(by_name), Ok(["c", "b", "a"].map(str::to_owned).to_vec()));
        let by_priority =
            "a = { where = 'segment:new', priority = 2 }\nb = { where = 'segment:loyal', priority = 1 }";
        assert_eq!(order(by_priority), Ok(["b", "a"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn invalid_audiences_are_errors_that_name_the_audience() {
        let refused = |toml: &str, part: &str| {
            let error = order(toml).expect_err(toml);
            assert!(error.contains(part), "{error}");
        };
        refused(
            "a = { where = 'segment:b' }\nb = { where = 'not segment:a' }",
            "audiences a, b depend on each other",
        );
        refused("a = { where = 'segment:a' }", "cycle");
        let waits = "a = { where = 'segment:b', priority = 1 }\nb = { where = 'segment:new', priority = 2 }";
        refused(waits, "cycle");
        let same = "a = { where = 'segment:new', priority = 1 }\nb = { where = 'segment:new', priority = 1 }";
        refused(same, "audiences a and b both have priority 1");
        refused("champions = { where = 'segment:new' }", "audience champions: the name");
        refused("churn = { where = 'segment:new' }", "audience churn: the name");
        refused("Vip = { where = 'segment:new' }", "audience `Vip`");
        refused("vip = { where = 'segment:new and' }", "audience vip at character 15");
    }
}
