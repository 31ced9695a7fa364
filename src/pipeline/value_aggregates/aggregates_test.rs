//! The aggregates against SQL that groups by value first.

use arrow::{
    array::{Int32Array, RecordBatch},
    datatypes::{Int32Type, Schema},
    util::pretty::pretty_format_batches,
};
use datafusion::{
    datasource::MemTable,
    prelude::{SessionConfig, SessionContext},
};

use super::*;

const ROWS: i64 = 20_000;

/// Returns a context with the table `t` of random rows, in `partitions` partitions.
fn context(partitions: usize) -> SessionContext {
    let mut state = 7_u64;
    let mut dice = move |sides: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(state >> 33).expect("31 bits") % sides
    };
    let fields = [
        ("customer", DataType::Int64),
        ("product", DataType::Utf8),
        ("hour", DataType::Int32),
        ("quantity", DataType::Int64),
        ("revenue", DataType::Decimal128(38, 4)),
    ];
    let fields: Vec<Field> = fields.map(|(name, kind)| Field::new(name, kind, true)).into();
    let schema = Arc::new(Schema::new(fields));
    let mut batch = |rows: i64| {
        let rows = 0..rows;
        // Few values, so that many have equal counts and equal sums.
        let customers: Int64Array = rows.clone().map(|_| Some(dice(3_000))).collect();
        let products = rows.clone().map(|_| (dice(9) > 0).then(|| format!("p{}", dice(6))));
        let products: StringArray = products.collect();
        let hours: Int32Array = rows.clone().map(|_| i32::try_from(dice(5)).ok()).collect();
        let quantities: Int64Array = rows.clone().map(|_| Some(dice(3) - 1)).collect();
        let revenues: Decimal128Array = rows.map(|_| Some(i128::from(dice(3)))).collect();
        let revenues = revenues.with_data_type(DataType::Decimal128(38, 4));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(customers),
            Arc::new(products),
            Arc::new(hours),
            Arc::new(quantities),
            Arc::new(revenues),
        ];
        RecordBatch::try_new(Arc::clone(&schema), columns).expect("a batch")
    };
    let count = i64::try_from(partitions).expect("few");
    let batches: Vec<Vec<RecordBatch>> =
        (0..count).map(|_| (0..4).map(|_| batch(ROWS / 4 / count)).collect()).collect();
    let context = SessionContext::new_with_config(
        SessionConfig::new().with_target_partitions(partitions).with_batch_size(512),
    );
    context.register_udaf(most_frequent());
    context.register_udaf(distinct_count());
    let table = MemTable::try_new(schema, batches).expect("a table");
    context.register_table("t", Arc::new(table)).expect("registered");
    context
}

async fn rows(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    context.sql(sql).await.expect("a plan").collect().await.expect("rows")
}

async fn shown(context: &SessionContext, sql: &str) -> String {
    pretty_format_batches(&rows(context, sql).await).expect("shown").to_string()
}

/// Returns SQL for the most frequent `value` of each customer in two steps.
fn two_steps(value: &str, weight: &str) -> String {
    format!(
        "SELECT customer, first_value({value} ORDER BY n DESC, w DESC, {value}) AS best, count(*) AS many
         FROM (SELECT customer, {value}, count(*) AS n, sum({weight}) AS w FROM t
               WHERE {value} IS NOT NULL AND hour <> 3 GROUP BY customer, {value})
         GROUP BY customer ORDER BY customer"
    )
}

#[tokio::test]
async fn aggregates_agree_with_grouping_by_value_first() {
    for partitions in [1, 3] {
        let context = context(partitions);
        for (value, weight) in [("product", "quantity"), ("hour", "revenue"), ("product", "revenue")] {
            // The rows of each customer are next to each other in the second form, as in the staging.
            for from in ["t", "(SELECT * FROM t ORDER BY customer)"] {
                let sql = format!(
                    "SELECT customer, most_frequent({value}, {weight}) FILTER (WHERE hour <> 3) AS best,
                         distinct_count({value}) FILTER (WHERE hour <> 3) AS many
                     FROM {from} WHERE {value} IS NOT NULL AND hour <> 3
                     GROUP BY customer ORDER BY customer"
                );
                let expected = shown(&context, &two_steps(value, weight)).await;
                assert!(expected.lines().count() > 2_500);
                assert_eq!(shown(&context, &sql).await, expected, "{partitions} {value} {from}");
            }
        }
    }
}

#[tokio::test]
async fn groups_without_a_value_have_no_most_frequent_value() {
    let context = context(2);
    let sql =
        "SELECT most_frequent(product, quantity) AS a, distinct_count(product) AS b FROM t WHERE hour > 9";
    let found = rows(&context, sql).await;
    assert!(found[0].column(0).is_null(0) && found[0].column(1).as_primitive::<Int64Type>().value(0) == 0);
    let sql = "SELECT customer, most_frequent(hour, quantity) FILTER (WHERE hour > 9) AS a FROM t GROUP BY 1";
    let found = rows(&context, sql).await;
    assert!(found.iter().all(|batch| batch.column(1).null_count() == batch.num_rows()));
    assert_eq!(*found[0].schema().field(1).data_type(), DataType::Int32);
    let _ = found[0].column(1).as_primitive::<Int32Type>();
}

#[tokio::test]
async fn other_types_are_refused_by_name() {
    let context = context(1);
    for (sql, why) in [
        (
            "most_frequent(revenue, quantity)",
            "most_frequent needs a text or an integer, not Decimal128(38, 4)",
        ),
        (
            "most_frequent(product, product)",
            "most_frequent needs an integer or a decimal as weight, not Utf8",
        ),
        ("most_frequent(product)", "most_frequent needs 2 argument(s), not 1"),
        ("distinct_count(revenue)", "distinct_count needs a text or an integer, not Decimal128(38, 4)"),
    ] {
        let refused = context.sql(&format!("SELECT {sql} FROM t")).await.expect_err(sql).to_string();
        assert!(refused.contains(why), "{refused}");
    }
}
