//! A snapshot of generated customers, written without a build, for benchmarks and tests.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use anyhow::Context;
use arrow::{
    array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, StructArray, new_null_array},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use chrono::{DateTime, Utc};
use larder::{
    feature::{Feature, FeatureView, SegmentKind},
    lake::Lake,
    publish::{Options, Publisher},
    snapshot::{
        CHURN_LIST, FORMAT, FileEntry, FileKind, Manifest, Quality, SegmentStats, SnapshotId,
        models::Models,
        write_statistics,
        writer::{
            ID, PART_ROWS, PartWriter, RANKING_BLOCK_ROWS, customers_properties, ranking_properties,
            rows_properties, rows_schema,
        },
    },
};
use serde_json::json;

/// Type of amounts of money and of probabilities: four decimal places.
const MONEY: DataType = DataType::Decimal128(38, 4);
const COUNTRIES: [&str; 8] =
    ["United Kingdom", "Germany", "France", "EIRE", "Spain", "Netherlands", "Belgium", "Switzerland"];
const RISKS: [&str; 3] = ["high", "medium", "low"];
const ACTIONS: [&str; 3] = ["call", "win_back_offer", "reward"];
/// Segments by recency score.
const SEGMENTS: [&str; 5] = ["hibernating", "at_risk", "need_attention", "loyal", "champions"];
/// Rows of a batch.
const BATCH_ROWS: u32 = 8_192;

/// Extent of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Typed columns and segments.
    Columns,
    /// Also rows, the churn list, a model card and statistics: all that pages over all customers read.
    Pages,
}

/// A lake with a published snapshot.
pub(crate) struct Made {
    pub(crate) lake: Lake,
    pub(crate) manifest: Arc<Manifest>,
    /// Members of each segment, by number.
    pub(crate) segments: Vec<(&'static str, Vec<u32>)>,
}

/// Returns the id of the customer `customer`.
pub(crate) fn id(customer: u32) -> String {
    format!("C{customer:08}")
}

/// A customer; country and risk are places in the lists above.
#[derive(Clone)]
struct Customer {
    /// In ten-thousandths.
    monetary: i128,
    r_score: usize,
    country: usize,
    risk: usize,
}

impl Customer {
    /// Returns the frequency score, which depends on the digits of `monetary`.
    fn f_score(&self) -> i128 {
        1 + self.monetary / 10_000 % 5
    }

    fn m_score(&self) -> i128 {
        1 + self.monetary / 20_000_000
    }

    fn recency_days(&self) -> i128 {
        (5 - self.r_score as i128) * 60 + self.monetary % 60
    }

    /// Returns the probability of churn in ten-thousandths.
    fn probability(&self) -> i128 {
        [7_000, 4_000, 1_000][self.risk] + self.monetary % 3_000
    }

    fn expected_value(&self) -> i128 {
        self.monetary / 4
    }

    fn value_at_risk(&self) -> i128 {
        self.expected_value() * self.probability() / 10_000
    }
}

/// Values of a feature.
enum Values {
    Text(fn(&Customer) -> &'static str),
    Whole(fn(&Customer) -> i128),
    Money(fn(&Customer) -> i128),
    /// Reasons of a risk, which only rows have.
    Reasons,
}

struct MadeFeature {
    name: &'static str,
    values: Values,
}

struct MadeView {
    name: &'static str,
    features: &'static [MadeFeature],
}

const fn feature(name: &'static str, values: Values) -> MadeFeature {
    MadeFeature { name, values }
}

const VIEWS: [MadeView; 3] = [
    MadeView {
        name: "profile",
        features: &[feature("country", Values::Text(|customer| COUNTRIES[customer.country]))],
    },
    MadeView {
        name: "rfm",
        features: &[
            feature("recency_days", Values::Whole(Customer::recency_days)),
            feature("frequency", Values::Whole(|customer| customer.f_score() * 2)),
            feature("monetary", Values::Money(|customer| customer.monetary)),
            feature("r_score", Values::Whole(|customer| customer.r_score as i128)),
            feature("f_score", Values::Whole(Customer::f_score)),
            feature("m_score", Values::Whole(Customer::m_score)),
            feature("segment", Values::Text(|customer| SEGMENTS[customer.r_score - 1])),
        ],
    },
    MadeView {
        name: "churn",
        features: &[
            feature("probability", Values::Money(Customer::probability)),
            feature("risk", Values::Text(|customer| RISKS[customer.risk])),
            feature("expected_value", Values::Money(Customer::expected_value)),
            feature("value_at_risk", Values::Money(Customer::value_at_risk)),
            feature("reasons", Values::Reasons),
            feature("action", Values::Text(|customer| ACTIONS[customer.risk])),
        ],
    },
];

impl Values {
    fn data_type(&self) -> DataType {
        match self {
            Self::Text(_) => DataType::Utf8,
            Self::Whole(_) => DataType::Int64,
            Self::Money(_) => MONEY,
            Self::Reasons => {
                let decimal = |precision| DataType::Decimal128(precision, 4);
                let fields: Fields = [
                    ("theme", DataType::Utf8),
                    ("direction", DataType::Utf8),
                    ("effect", decimal(9)),
                    ("share", decimal(5)),
                    ("text", DataType::Utf8),
                ]
                .map(|(name, data_type)| Field::new(name, data_type, true))
                .to_vec()
                .into();
                DataType::List(Arc::new(Field::new("item", DataType::Struct(fields), true)))
            }
        }
    }

    /// Returns the values of `customers` as a column.
    fn column(&self, customers: &[Customer]) -> ArrayRef {
        match self {
            Self::Text(of) => Arc::new(customers.iter().map(of).map(Some).collect::<StringArray>()),
            Self::Whole(of) => {
                let numbers = customers.iter().map(|customer| i64::try_from(of(customer)).ok());
                Arc::new(numbers.collect::<Int64Array>())
            }
            Self::Money(of) => {
                let amounts: Vec<i128> = customers.iter().map(of).collect();
                Arc::new(Decimal128Array::from(amounts).with_data_type(MONEY))
            }
            Self::Reasons => new_null_array(&self.data_type(), customers.len()),
        }
    }

    /// Returns the value of a customer as JSON.
    fn json(&self, customer: &Customer) -> String {
        match self {
            Self::Text(of) => format!("\"{}\"", of(customer)),
            Self::Whole(of) => of(customer).to_string(),
            Self::Money(of) => format!("{}.{:04}", of(customer) / 10_000, of(customer) % 10_000),
            Self::Reasons => {
                r#"[{"theme":"recency","direction":"raises","effect":0.4,"share":1,"text":"40 days"}]"#
                    .to_owned()
            }
        }
    }
}

impl MadeView {
    fn fields(&self) -> Fields {
        let fields = self.features.iter().map(|one| Field::new(one.name, one.values.data_type(), true));
        fields.collect::<Vec<_>>().into()
    }

    fn described(&self) -> FeatureView {
        let feature = |feature: &MadeFeature| Feature {
            name: feature.name.to_owned(),
            data_type: feature.values.data_type().to_string(),
            description: String::new(),
            personal: false,
            days_since: false,
        };
        FeatureView {
            name: self.name.to_owned(),
            description: String::new(),
            source: "sql".to_owned(),
            features: self.features.iter().map(feature).collect(),
        }
    }

    /// Returns the typed columns of `customers`.
    fn column(&self, customers: &[Customer]) -> anyhow::Result<ArrayRef> {
        let columns = self.features.iter().map(|feature| feature.values.column(customers));
        Ok(Arc::new(StructArray::try_new(self.fields(), columns.collect(), None)?))
    }

    /// Returns the rows of `customers`: JSON arrays as text.
    fn rows(&self, customers: &[Customer]) -> ArrayRef {
        let row = |customer: &Customer| {
            let values: Vec<String> =
                self.features.iter().map(|feature| feature.values.json(customer)).collect();
            Some(format!("[{}]", values.join(",")))
        };
        Arc::new(customers.iter().map(row).collect::<StringArray>())
    }
}

/// A snapshot that is being written.
struct Target<'a> {
    lake: &'a Lake,
    snapshot: SnapshotId,
    customers: Vec<Customer>,
}

impl Made {
    /// Writes and publishes a snapshot of `customers` customers. `below` returns a random number below its
    /// argument.
    pub(crate) async fn write(
        lake: &Lake,
        customers: u32,
        extent: Extent,
        mut below: impl FnMut(usize) -> usize,
    ) -> anyhow::Result<Self> {
        let mut made = Vec::new();
        // A third active, a third at risk, half British, each independent of the others.
        let mut members: [Vec<u32>; 3] = Default::default();
        for customer in 0..customers {
            let monetary = i128::try_from(below(100_000_000))?;
            let r_score = 1 + below(5);
            let country = if below(2) == 0 { 0 } else { below(COUNTRIES.len()) };
            let risk = below(RISKS.len());
            let is = [below(3) == 0, risk == 0, country == 0];
            members.iter_mut().zip(is).filter(|(_, is)| *is).for_each(|(members, _)| members.push(customer));
            made.push(Customer { monetary, r_score, country, risk });
        }
        let [active, high, british] = members;
        let segments = vec![("active", active), ("churn_high", high), ("british", british)];
        let snapshot = SnapshotId::new(DateTime::UNIX_EPOCH, customers);
        let target = Target { lake, snapshot, customers: made };
        let mut files = target.parts(extent).await?;
        for (name, members) in &segments {
            files.push(target.ranking(name, members.clone(), |customer| customer.monetary).await?);
        }
        let mut models = Models::default();
        if extent == Extent::Pages {
            let all = (0..customers).collect();
            files.push(target.ranking(CHURN_LIST, all, Customer::value_at_risk).await?);
            models.churn = Some(serde_json::from_value(card())?);
        }
        let mut manifest = Arc::new(target.manifest(files, &segments, models));
        if extent == Extent::Pages {
            let statistics = write_statistics(lake, &manifest).await?;
            Arc::make_mut(&mut manifest).statistics = Some(statistics);
        }
        manifest.write(lake).await?;
        Publisher::new(lake.clone(), None, Options::default()).publish(Some(&manifest.id)).await?;
        Ok(Self { lake: lake.clone(), manifest, segments })
    }

    /// Returns the members of a segment.
    pub(crate) fn members(&self, name: &str) -> anyhow::Result<&[u32]> {
        let found = self.segments.iter().find(|(known, _)| *known == name);
        Ok(&found.context("no such segment")?.1)
    }
}

impl Target<'_> {
    /// Writes the typed columns, and the rows if `extent` includes them.
    async fn parts(&self, extent: Extent) -> anyhow::Result<Vec<FileEntry>> {
        let id_field = Field::new(ID, DataType::Utf8, false);
        let views = VIEWS.iter().map(|view| Field::new(view.name, DataType::Struct(view.fields()), true));
        let schema = Arc::new(Schema::new([id_field].into_iter().chain(views).collect::<Vec<_>>()));
        let rows_form = rows_schema(VIEWS.iter().map(|view| view.name));
        let customers = u32::try_from(self.customers.len())?;
        let mut files = Vec::new();
        for (part, start) in (0..customers).step_by(PART_ROWS).enumerate() {
            let name = |folder: &str| format!("{folder}/part-{part:05}.parquet");
            let writer = |path, kind, schema: &SchemaRef, properties| {
                PartWriter::new(self.lake, &self.snapshot, path, kind, Arc::clone(schema), properties)
            };
            let mut typed = writer(name("customers"), FileKind::Customers, &schema, customers_properties())?;
            let mut rows = match extent {
                Extent::Columns => None,
                Extent::Pages => Some(writer(name("rows"), FileKind::Rows, &rows_form, rows_properties())?),
            };
            let end = customers.min(start + u32::try_from(PART_ROWS)?);
            for first in (start..end).step_by(usize::try_from(BATCH_ROWS)?) {
                let range = first..end.min(first + BATCH_ROWS);
                let some = &self.customers[range.start as usize..range.end as usize];
                let ids = ids(range);
                let columns: anyhow::Result<Vec<ArrayRef>> =
                    VIEWS.iter().map(|view| view.column(some)).collect();
                let columns = [Arc::clone(&ids)].into_iter().chain(columns?).collect();
                typed.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
                if let Some(rows) = &mut rows {
                    let columns = VIEWS.iter().map(|view| view.rows(some));
                    let columns = [ids].into_iter().chain(columns).collect();
                    rows.write_in_blocks(&RecordBatch::try_new(Arc::clone(&rows_form), columns)?).await?;
                }
            }
            files.push(typed.finish().await?);
            if let Some(rows) = rows {
                files.push(rows.finish().await?);
            }
        }
        Ok(files)
    }

    /// Writes a ranking by `value`, as a build does. The churn list has the columns that requests filter by.
    async fn ranking(
        &self,
        name: &str,
        mut members: Vec<u32>,
        value: fn(&Customer) -> i128,
    ) -> anyhow::Result<FileEntry> {
        let mut fields = vec![Field::new(ID, DataType::Utf8, true)];
        let filtered: Vec<&MadeFeature> = if name == CHURN_LIST {
            let wanted = ["value_at_risk", "probability", "risk", "expected_value", "segment"];
            let all = VIEWS.iter().flat_map(|view| view.features);
            all.filter(|feature| wanted.contains(&feature.name)).collect()
        } else {
            Vec::new()
        };
        fields.extend(filtered.iter().map(|one| Field::new(one.name, one.values.data_type(), true)));
        let schema = Arc::new(Schema::new(fields));
        let path = format!("rankings/{name}.parquet");
        let (kind, properties) = (FileKind::Ranking, ranking_properties());
        let writer = PartWriter::new(self.lake, &self.snapshot, path, kind, Arc::clone(&schema), properties)?;
        let mut writer = writer.of_segment(name);
        let customer = |member: u32| &self.customers[member as usize];
        members.sort_by_cached_key(|member| std::cmp::Reverse(value(customer(*member))));
        for block in members.chunks(RANKING_BLOCK_ROWS) {
            let ids: StringArray = block.iter().map(|customer| Some(id(*customer))).collect();
            let some: Vec<Customer> = block.iter().map(|member| customer(*member).clone()).collect();
            let columns = filtered.iter().map(|feature| feature.values.column(&some));
            let columns = [Arc::new(ids) as ArrayRef].into_iter().chain(columns).collect();
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
            writer.end_block().await?;
        }
        Ok(writer.finish().await?)
    }

    fn manifest(
        &self,
        files: Vec<FileEntry>,
        segments: &[(&'static str, Vec<u32>)],
        models: Models,
    ) -> Manifest {
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
        Manifest {
            format: FORMAT,
            id: self.snapshot.clone(),
            larder: String::new(),
            as_of: DateTime::UNIX_EPOCH,
            created_at: Utc::now(),
            rewritten_from: None,
            fingerprint: Manifest::fingerprint_of(&files),
            customers: self.customers.len() as u64,
            views: VIEWS.iter().map(MadeView::described).collect(),
            edges: BTreeMap::new(),
            models,
            segments: stats.collect(),
            counts: BTreeMap::new(),
            warnings: Vec::new(),
            quality: Quality::default(),
            sources: Vec::new(),
            files,
            statistics: None,
            stages: Vec::new(),
        }
    }
}

/// Returns the ids of customers as a column.
fn ids(customers: Range<u32>) -> ArrayRef {
    Arc::new(customers.map(|customer| Some(id(customer))).collect::<StringArray>())
}

/// Returns the card of a churn model without measurements.
fn card() -> serde_json::Value {
    json!({
        "horizon_days": 90, "chosen": "rule", "trusted": false, "reasons": ["made up"], "caveats": [],
        "training_cuts": [], "training_rows": 0, "sampling": "none", "base_rate": 0.5,
        "calibration_slope": 1.0, "cuts": [], "features": [], "thresholds": {"high": 0.7, "medium": 0.4},
        "expected_value": {"own": 1.0, "scale": 1.0, "mean": 1.0, "error": 0.0, "error_of_mean": 0.0},
        "value_levels": {"high": 2_000.0, "medium": 1_000.0},
    })
}
