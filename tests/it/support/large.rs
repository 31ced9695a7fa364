//! Snapshots with many customers, written directly instead of built.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, Decimal128Array, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field, Fields, Schema},
};
use chrono::DateTime;
use larder::{
    feature::{Feature, FeatureView, SegmentKind},
    lake::Lake,
    snapshot::{
        Edges, FileEntry, FileKind, Manifest, SegmentStats, SnapshotId,
        models::Models,
        writer::{
            PART_ROWS, PartWriter, RANKING_BLOCK_ROWS, customers_properties, ranking_properties,
            rows_properties, rows_schema,
        },
    },
};

use crate::support::shop::Shop;

/// Length of a note in characters.
const NOTE: usize = 400;

fn id(at: usize) -> String {
    format!("c{at:07}")
}

/// Returns a distinct amount of money in ten-thousandths for each customer, in an order other than that of
/// the ids.
fn monetary(at: usize, customers: usize) -> i128 {
    (at * 7_919 % customers) as i128 * 10_000 + 2_500
}

fn note(at: usize) -> String {
    let word = format!("{:016x}", (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word.repeat(NOTE / word.len())
}

fn view(name: &str, features: &[(&str, &str)]) -> FeatureView {
    let feature = |(name, data_type): &(&str, &str)| Feature {
        name: (*name).to_owned(),
        data_type: (*data_type).to_owned(),
        description: String::new(),
        personal: false,
        days_since: false,
    };
    FeatureView {
        name: name.to_owned(),
        description: String::new(),
        source: "parquet".to_owned(),
        features: features.iter().map(feature).collect(),
    }
}

/// Creates a shop with a published snapshot of `customers` customers, all in the segment `all`.
pub(crate) async fn large(customers: usize) -> Shop {
    // 7,919 is prime, so amounts are distinct unless it divides the number of customers.
    assert_ne!(customers % 7_919, 0);
    let shop = Shop::new("");
    let (lake, snapshot) =
        (shop.lake(), SnapshotId::new(DateTime::from_timestamp(1_700_000_000, 0).unwrap(), 7));
    let mut files = parts(&lake, &snapshot, customers).await;
    files.push(ranking(&lake, &snapshot, customers).await);
    let manifest = Manifest {
        format: larder::snapshot::FORMAT,
        id: snapshot,
        larder: "test".to_owned(),
        as_of: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        created_at: DateTime::from_timestamp(1_700_000_100, 0).unwrap(),
        fingerprint: Manifest::fingerprint_of(&files),
        customers: customers as u64,
        views: vec![
            view("rfm", &[("monetary", "Decimal128(38, 4)"), ("segment", "Utf8")]),
            view("notes", &[("text", "Utf8")]),
        ],
        edges: Edges::default(),
        models: Models::default(),
        segments: vec![SegmentStats {
            name: "all".to_owned(),
            kind: SegmentKind::Rfm,
            definition: "all".to_owned(),
            size: customers as u64,
            share: 1.0,
            revenue: "0".to_owned(),
            mean_r_score: None,
            mean_f_score: None,
            mean_m_score: None,
        }],
        counts: BTreeMap::default(),
        warnings: Vec::new(),
        quality: larder::snapshot::Quality::default(),
        sources: Vec::new(),
        files,
        statistics: None,
        stages: Vec::new(),
        rewritten_from: None,
    };
    manifest.write(&lake).await.unwrap();
    shop.publish(&manifest.id).await;
    shop
}

/// Writes the parts of `customers` and `rows`.
async fn parts(lake: &Lake, snapshot: &SnapshotId, customers: usize) -> Vec<FileEntry> {
    let rfm: Fields = vec![
        Field::new("monetary", DataType::Decimal128(38, 4), true),
        Field::new("segment", DataType::Utf8, true),
    ]
    .into();
    let notes: Fields = vec![Field::new("text", DataType::Utf8, true)].into();
    let structs = |fields: &Fields, columns: Vec<ArrayRef>| {
        Arc::new(StructArray::new(fields.clone(), columns, None)) as ArrayRef
    };
    let typed = Arc::new(Schema::new(vec![
        Field::new("customer_id", DataType::Utf8, false),
        Field::new("rfm", DataType::Struct(rfm.clone()), true),
        Field::new("notes", DataType::Struct(notes.clone()), true),
    ]));
    let mut files = Vec::new();
    for (part, start) in (0..customers).step_by(PART_ROWS).enumerate() {
        let all = start..customers.min(start + PART_ROWS);
        let path = |kind: &str| format!("{kind}/part-{part:05}.parquet");
        let mut customers_out = PartWriter::new(
            lake,
            snapshot,
            path("customers"),
            FileKind::Customers,
            Arc::clone(&typed),
            customers_properties(),
        )
        .unwrap();
        let mut rows_out = PartWriter::new(
            lake,
            snapshot,
            path("rows"),
            FileKind::Rows,
            rows_schema(["rfm", "notes"]),
            rows_properties(),
        )
        .unwrap();
        for first in all.clone().step_by(8_192) {
            let some: Vec<usize> = (first..all.end.min(first + 8_192)).collect();
            let ids: ArrayRef = Arc::new(some.iter().map(|at| Some(id(*at))).collect::<StringArray>());
            let money: Decimal128Array = some.iter().map(|at| Some(monetary(*at, customers))).collect();
            let money = Arc::new(money.with_precision_and_scale(38, 4).unwrap());
            let segment = Arc::new(some.iter().map(|_| Some("all")).collect::<StringArray>());
            let texts = Arc::new(some.iter().map(|at| Some(note(*at))).collect::<StringArray>());
            let columns =
                vec![Arc::clone(&ids), structs(&rfm, vec![money, segment]), structs(&notes, vec![texts])];
            customers_out.write(&RecordBatch::try_new(Arc::clone(&typed), columns).unwrap()).unwrap();
            let json = |at: &usize| Some(format!("[{}.25,\"all\"]", monetary(*at, customers) / 10_000));
            let columns: Vec<ArrayRef> = vec![
                ids,
                Arc::new(some.iter().map(json).collect::<StringArray>()),
                Arc::new(some.iter().map(|at| Some(format!("[\"{}\"]", note(*at)))).collect::<StringArray>()),
            ];
            let batch = RecordBatch::try_new(rows_schema(["rfm", "notes"]), columns).unwrap();
            rows_out.write_in_blocks(&batch).await.unwrap();
        }
        files.push(customers_out.finish().await.unwrap());
        files.push(rows_out.finish().await.unwrap());
    }
    files
}

/// Writes the ranking of the segment `all`.
async fn ranking(lake: &Lake, snapshot: &SnapshotId, customers: usize) -> FileEntry {
    let mut ranked: Vec<usize> = (0..customers).collect();
    ranked.sort_by_key(|at| std::cmp::Reverse(monetary(*at, customers)));
    let schema = Arc::new(Schema::new(vec![Field::new("customer_id", DataType::Utf8, false)]));
    let path = "rankings/all.parquet".to_owned();
    let mut ranking =
        PartWriter::new(lake, snapshot, path, FileKind::Ranking, Arc::clone(&schema), ranking_properties())
            .unwrap()
            .of_segment("all");
    for some in ranked.chunks(RANKING_BLOCK_ROWS) {
        let ids: ArrayRef = Arc::new(some.iter().map(|at| Some(id(*at))).collect::<StringArray>());
        ranking.write(&RecordBatch::try_new(Arc::clone(&schema), vec![ids]).unwrap()).unwrap();
        ranking.end_block().await.unwrap();
    }
    ranking.finish().await.unwrap()
}
