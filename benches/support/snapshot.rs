//! A snapshot of generated customers, written without a build: typed columns and segments, but no models and
//! no rows.

use std::sync::Arc;

use anyhow::Context;
use arrow::{
    array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field, Fields, Schema},
};
use chrono::{DateTime, Utc};
use larder::{
    config::Config,
    feature::{Feature, FeatureView, SegmentKind},
    lake::Lake,
    publish::{Options, Publisher},
    snapshot::{
        FORMAT, FileEntry, FileKind, Manifest, SegmentStats, SnapshotId,
        models::Models,
        writer::{PART_ROWS, PartWriter, RANKING_BLOCK_ROWS, customers_properties, ranking_properties},
    },
};
use tempfile::TempDir;

use crate::shop::Dice;

/// Type of amounts of money: four decimal places.
const MONEY: DataType = DataType::Decimal128(38, 4);
const COUNTRIES: [&str; 8] =
    ["United Kingdom", "Germany", "France", "EIRE", "Spain", "Netherlands", "Belgium", "Switzerland"];
const RISKS: [&str; 3] = ["high", "medium", "low"];

/// A lake with a published snapshot.
pub(crate) struct Made {
    /// Folder of the lake; removed when dropped.
    pub(crate) _folder: TempDir,
    pub(crate) lake: Lake,
    pub(crate) manifest: Arc<Manifest>,
    /// Members of each segment, by number.
    pub(crate) segments: Vec<(&'static str, Vec<u32>)>,
}

/// Returns the id of the customer `customer`.
pub(crate) fn id(customer: u32) -> String {
    format!("C{customer:08}")
}

/// Columns of the customers; scores, countries and risks are numbers.
struct Customers {
    monetary: Vec<i128>,
    scores: Vec<i64>,
    countries: Vec<usize>,
    risks: Vec<usize>,
}

impl Made {
    /// Writes and publishes a snapshot of `customers` customers.
    pub(crate) async fn write(customers: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut config = Config::parse("", "the benchmark", [])?;
        config.base = folder.path().to_path_buf();
        let lake = Lake::open(&config.lake, &config.base)?;
        let snapshot = SnapshotId::new(DateTime::UNIX_EPOCH, customers);
        let mut dice = Dice::new();
        let mut made = Customers { monetary: vec![], scores: vec![], countries: vec![], risks: vec![] };
        // A third active, a third at risk, half British, each independent of the others.
        let mut members: [Vec<u32>; 3] = Default::default();
        for customer in 0..customers {
            made.monetary.push(i128::try_from(dice.below(100_000_000))?);
            made.scores.push(1 + i64::try_from(dice.below(5))?);
            made.countries.push(if dice.below(2) == 0 { 0 } else { dice.below(COUNTRIES.len()) });
            made.risks.push(dice.below(RISKS.len()));
            let is = [
                dice.below(3) == 0,
                made.risks[made.risks.len() - 1] == 0,
                made.countries[made.countries.len() - 1] == 0,
            ];
            members.iter_mut().zip(is).filter(|(_, is)| *is).for_each(|(members, _)| members.push(customer));
        }
        let mut files = Vec::new();
        let (schema, views) = form();
        for (part, start) in (0..customers).step_by(PART_ROWS).enumerate() {
            let rows = start..customers.min(start + u32::try_from(PART_ROWS)?);
            let path = format!("customers/part-{part:05}.parquet");
            let mut writer = PartWriter::new(
                &lake,
                &snapshot,
                path,
                FileKind::Customers,
                Arc::clone(&schema),
                customers_properties(),
            )?;
            writer.write(&batch(&schema, &made, rows)?)?;
            files.push(writer.finish().await?);
        }
        let [active, high, british] = members;
        let segments = vec![("active", active), ("churn_high", high), ("british", british)];
        for (name, members) in &segments {
            files.push(ranking(&lake, &snapshot, name, members, &made).await?);
        }
        let stats = segments.iter().map(|(name, members)| SegmentStats {
            name: (*name).to_owned(),
            kind: SegmentKind::Rfm,
            definition: "made up".to_owned(),
            size: members.len() as u64,
            share: 0.0,
            revenue: "0".to_owned(),
            mean_r_score: None,
            mean_f_score: None,
            mean_m_score: None,
        });
        let manifest = Manifest {
            format: FORMAT,
            id: snapshot,
            larder: String::new(),
            as_of: DateTime::UNIX_EPOCH,
            created_at: Utc::now(),
            rewritten_from: None,
            fingerprint: Manifest::fingerprint_of(&files),
            customers: customers.into(),
            views,
            edges: std::collections::BTreeMap::new(),
            models: Models::default(),
            segments: stats.collect(),
            counts: std::collections::BTreeMap::new(),
            warnings: Vec::new(),
            quality: larder::snapshot::Quality::default(),
            sources: Vec::new(),
            files,
            statistics: None,
            stages: Vec::new(),
        };
        manifest.write(&lake).await?;
        Publisher::new(lake.clone(), None, Options::default()).publish(Some(&manifest.id)).await?;
        Ok(Self { _folder: folder, lake, manifest: Arc::new(manifest), segments })
    }

    /// Returns the members of a segment.
    pub(crate) fn members(&self, name: &str) -> anyhow::Result<&[u32]> {
        let found = self.segments.iter().find(|(known, _)| *known == name);
        Ok(&found.context("no such segment")?.1)
    }
}

/// Returns the schema of the typed columns, and their views.
fn form() -> (Arc<Schema>, Vec<FeatureView>) {
    let field = |name: &str, kind: DataType| Arc::new(Field::new(name, kind, true));
    let views: Vec<(&str, Fields)> = vec![
        ("profile", vec![field("country", DataType::Utf8)].into()),
        (
            "rfm",
            vec![
                field("monetary", MONEY),
                field("r_score", DataType::Int64),
                field("f_score", DataType::Int64),
                field("m_score", DataType::Int64),
            ]
            .into(),
        ),
        ("churn", vec![field("risk", DataType::Utf8)].into()),
    ];
    let described = |(name, fields): &(&str, Fields)| FeatureView {
        name: (*name).to_owned(),
        description: String::new(),
        source: "sql".to_owned(),
        features: fields
            .iter()
            .map(|field| Feature {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                description: String::new(),
                personal: false,
            })
            .collect(),
    };
    let described = views.iter().map(described).collect();
    let mut fields = vec![Field::new("customer_id", DataType::Utf8, false)];
    fields.extend(views.into_iter().map(|(name, fields)| Field::new(name, DataType::Struct(fields), true)));
    (Arc::new(Schema::new(fields)), described)
}

/// Returns the rows `rows` as a record batch.
fn batch(schema: &Arc<Schema>, made: &Customers, rows: std::ops::Range<u32>) -> anyhow::Result<RecordBatch> {
    let ids: StringArray = rows.clone().map(|customer| Some(id(customer))).collect();
    let rows = usize::try_from(rows.start)?..usize::try_from(rows.end)?;
    let texts = |of: &[usize], names: &[&'static str]| -> ArrayRef {
        Arc::new(of[rows.clone()].iter().map(|at| Some(names[*at])).collect::<StringArray>())
    };
    let scores: ArrayRef = Arc::new(Int64Array::from(made.scores[rows.clone()].to_vec()));
    let monetary = Decimal128Array::from(made.monetary[rows.clone()].to_vec()).with_data_type(MONEY);
    let views: [Vec<ArrayRef>; 3] = [
        vec![texts(&made.countries, &COUNTRIES)],
        vec![Arc::new(monetary), Arc::clone(&scores), Arc::clone(&scores), scores],
        vec![texts(&made.risks, &RISKS)],
    ];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ids)];
    for (field, view) in schema.fields()[1..].iter().zip(views) {
        let DataType::Struct(fields) = field.data_type() else { continue };
        columns.push(Arc::new(StructArray::try_new(fields.clone(), view, None)?));
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Writes a ranking by `monetary`, as a build does.
async fn ranking(
    lake: &Lake,
    snapshot: &SnapshotId,
    name: &str,
    members: &[u32],
    made: &Customers,
) -> anyhow::Result<FileEntry> {
    let schema = Arc::new(Schema::new(vec![Field::new("customer_id", DataType::Utf8, true)]));
    let path = format!("rankings/{name}.parquet");
    let writer =
        PartWriter::new(lake, snapshot, path, FileKind::Ranking, Arc::clone(&schema), ranking_properties())?;
    let mut writer = writer.of_segment(name);
    let mut ranked = members.to_vec();
    ranked.sort_by_key(|customer| std::cmp::Reverse(made.monetary[*customer as usize]));
    for block in ranked.chunks(RANKING_BLOCK_ROWS) {
        let ids: StringArray = block.iter().map(|customer| Some(id(*customer))).collect();
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids)])?)?;
        writer.end_block().await?;
    }
    Ok(writer.finish().await?)
}
