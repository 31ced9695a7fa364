//! Test of global queries over as many partitions as a large shop has, in little memory.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{Array, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Decimal128Type, Field, Int32Type, Schema},
};
use chrono::DateTime;

use super::{Session, SessionSettings};
use crate::{
    pipeline::{
        exclude_patterns::ExcludePatterns,
        staged_table::StagedTable,
        staging::{MONEY, StagedFile, create, open},
    },
    views,
};

const PARTITIONS: usize = 256;
/// Number of customers in a partition.
const ROWS: usize = 500;
/// Memory of all operators: half a MiB for each partition.
const MEMORY: u64 = 128 << 20;

/// Measures of a customer: days, orders, and money in ten-thousandths.
type Measures = (i64, i64, i128);

fn measures(partition: usize) -> Vec<Measures> {
    let values = |row: usize| {
        let number = (partition * ROWS + row) * 7_919 % 1_000_003;
        let number = i64::try_from(number).expect("a small number");
        (number % 365, number % 30, i128::from(number) * 12_345)
    };
    (0..ROWS).map(values).collect()
}

/// Stages a partition of `rfm_values`.
fn stage(folder: &Path, partition: usize) -> StagedFile {
    let schema = Arc::new(Schema::new(vec![
        Field::new("customer_id", DataType::Utf8, false),
        Field::new("recency_days", DataType::Int64, true),
        Field::new("frequency", DataType::Int64, false),
        Field::new("monetary", MONEY, false),
    ]));
    let rows = measures(partition);
    let ids: StringArray = (0..ROWS).map(|row| Some(format!("{partition:03}-{row:03}"))).collect();
    let money: Decimal128Array = rows.iter().map(|row| Some(row.2)).collect();
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(ids),
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(money.with_data_type(MONEY)),
    ];
    let path = folder.join(format!("values-{partition}.arrow"));
    let mut writer = create(&path, &schema).expect("a file");
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("a batch");
    writer.write(&batch).and_then(|()| writer.finish()).expect("written");
    StagedFile { path, schema, rows: ROWS }
}

/// Returns the quintile edges of `values` in hundred-thousandths, of values in ten-thousandths.
fn edges(mut values: Vec<i128>) -> Vec<i128> {
    values.sort_unstable();
    let edge = |k: usize| {
        let (at, part) = ((values.len() - 1) * k / 5, (values.len() - 1) * k % 5);
        let next = values[(at + 1).min(values.len() - 1)];
        let part = i128::try_from(part).expect("a small number");
        (values[at] * (5 - part) + next * part) * 2
    };
    (1..5).map(edge).collect()
}

#[tokio::test]
async fn quintile_edges_of_many_partitions_need_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let exclude = Arc::new(ExcludePatterns::new(&[]));
    let settings = SessionSettings { partitions: PARTITIONS, memory: MEMORY, exclude };
    let session = Session::new(&settings, folder.path().to_path_buf(), DateTime::UNIX_EPOCH).expect("open");
    let files = (0..PARTITIONS).map(|partition| stage(folder.path(), partition)).collect();
    session.register("rfm_values", StagedTable::partitioned(files)).expect("registered");
    let view = views::built_in().into_iter().find(|view| view.name == "rfm_edges").expect("a view");
    let run = session.run(&view).await.expect("edges");

    let rows: Vec<Measures> = (0..PARTITIONS).flat_map(measures).filter(|row| row.1 > 0).collect();
    let mut found = Vec::new();
    for file in run.staged() {
        for batch in open(&file.path, None).expect("a file") {
            let batch = batch.expect("rows");
            let (k, edge) = (
                batch.column(1).as_primitive::<Int32Type>(),
                batch.column(2).as_primitive::<Decimal128Type>(),
            );
            let names = batch.column(0).as_string::<i32>();
            found.extend(
                (0..batch.num_rows()).map(|row| (names.value(row).to_owned(), k.value(row), edge.value(row))),
            );
        }
    }
    let of = |name: &str, values: Vec<i128>| {
        let edges = edges(values).into_iter();
        (1..).zip(edges).map(|(k, edge)| (name.to_owned(), k, edge)).collect::<Vec<_>>()
    };
    let expected = [
        of("frequency", rows.iter().map(|row| i128::from(row.1) * 10_000).collect()),
        of("monetary", rows.iter().map(|row| row.2).collect()),
        of("recency_days", rows.iter().map(|row| i128::from(row.0) * 10_000).collect()),
    ];
    assert_eq!(found, expected.concat());

    // The tables of the session are still there.
    let again = session.run(&view).await.expect("edges");
    assert_eq!(again.rows(), run.rows());
}
