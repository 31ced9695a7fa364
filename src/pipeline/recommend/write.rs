//! Writes the lists: the staged view, a row for each customer by id, and the products with what is similar to them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{
        ArrayBuilder, ArrayRef, Date32Builder, Decimal128Builder, ListBuilder, RecordBatch, StringArray,
        StringBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use serde_json::json;

use super::{
    buy_again::{Repeat, Rule},
    ledger::Ledger,
    owned::{DAY, owned},
    taste::{Suggestion, Taste, Votes},
    threads::each,
};
use crate::{
    lake::Lake,
    pipeline::{
        raw::RawError,
        staging::{create, derive::StagedFile, staging},
    },
    snapshot::{
        FileEntry, FileKind, SnapshotError, SnapshotId,
        writer::{ID, PART_ROWS, PartWriter, products_properties, products_schema},
    },
    views::{ColumnNote, ViewDefinition},
};

const DESCRIPTION: &str = "The next products: new ones that go with what the customer bought, and own ones to buy again. Lists side by side: \
    the first score belongs to the first product. /v1/customers/{id}/recommendations shows them with names.";

const COLUMNS: [(&str, &str); 6] = [
    ("products", "Products new to the customer, the best first, by id."),
    (
        "product_scores",
        "How much of the customer's votes each product got, times its trend; 0 for a best seller that fills the list.",
    ),
    ("product_because", "The product the customer bought that spoke for it most; null for a best seller."),
    ("buy_again", "Products the customer may buy again, the likeliest first, by id."),
    ("buy_again_last_on", "The day (UTC) each of them was last bought."),
    (
        "buy_again_due_on",
        "The day (UTC) each of them is due by the customer's own pace, else by that of all customers; null where nobody bought it twice.",
    ),
];

/// Customers whose lists are made at a time.
const BATCH: usize = 8_192;
/// Scores have six digits behind the point.
const SCORE: (u8, i8, f64) = (18, 6, 1e6);

/// The staged view.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) file: StagedFile,
    /// Customers whose lists come from what they bought.
    pub(super) with_history: u64,
}

/// The lists of one customer.
#[derive(Debug)]
struct Lists {
    with_history: bool,
    products: Vec<Suggestion>,
    buy_again: Vec<Repeat>,
}

/// Settings of the lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) rule: Rule,
    /// Greatest number of products to buy again.
    pub(super) buy_again: usize,
    pub(super) threads: usize,
    pub(super) scratch: &'a Path,
}

/// Stages the lists of all customers as they are at `as_of`.
pub(super) fn stage(ledger: &Ledger, taste: &Taste, as_of: u32, plan: &Plan<'_>) -> Result<Staged, RawError> {
    let path = plan.scratch.join("view-recommendations.arrow");
    let failed = |error: arrow::error::ArrowError| staging(&path, error);
    let schema = schema();
    let mut writer = create(&path, &schema)?;
    let mut with_history = 0;
    for start in (0..ledger.len()).step_by(BATCH) {
        let count = BATCH.min(ledger.len() - start);
        let lists = each(
            plan.threads,
            count,
            || Votes::new(ledger.products.len()),
            |votes, at| {
                let shopper = ledger.get(start + at);
                let owned = owned(shopper.purchases, as_of);
                Lists {
                    with_history: !owned.is_empty(),
                    products: taste.products(&shopper, &owned, votes),
                    buy_again: taste.buy_again(&owned, plan.rule, plan.buy_again),
                }
            },
        );
        with_history += lists.iter().filter(|lists| lists.with_history).count() as u64;
        let ids = StringArray::from_iter_values((start..start + count).map(|at| ledger.get(at).id));
        let batch = batch(&schema, ids, &lists, ledger).map_err(failed)?;
        writer.write(&batch).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    Ok(Staged { file: StagedFile { path, schema, rows: ledger.len() }, with_history })
}

/// What the manifest and the contract say of the view.
pub(super) fn definition() -> ViewDefinition {
    let note = |text: &str| ColumnNote { description: text.to_owned(), personal: false };
    let columns: BTreeMap<String, ColumnNote> =
        COLUMNS.iter().map(|(name, text)| ((*name).to_owned(), note(text))).collect();
    ViewDefinition {
        name: "recommendations".to_owned(),
        description: DESCRIPTION.to_owned(),
        columns,
        step: false,
        sql: String::new(),
        file: None,
    }
}

fn schema() -> SchemaRef {
    let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let text = || list(DataType::Utf8);
    let date = || list(DataType::Date32);
    let types = [text(), list(DataType::Decimal128(SCORE.0, SCORE.1)), text(), text(), date(), date()];
    let columns = COLUMNS.iter().zip(types).map(|((name, _), data_type)| Field::new(*name, data_type, true));
    Arc::new(Schema::new(
        [Field::new(ID, DataType::Utf8, false)].into_iter().chain(columns).collect::<Vec<_>>(),
    ))
}

fn batch(
    schema: &SchemaRef,
    ids: StringArray,
    lists: &[Lists],
    ledger: &Ledger,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let id = |product: u32| Some(ledger.products[product as usize].id.as_str());
    let scores = Decimal128Builder::new().with_data_type(DataType::Decimal128(SCORE.0, SCORE.1));
    #[expect(clippy::cast_possible_truncation, reason = "a score is a sum of at most a hundred votes")]
    let digits = |score: f64| (score * SCORE.2).round() as i128;
    let day = |at: u32| i32::try_from(at / DAY).ok();
    let texts = || ListBuilder::new(StringBuilder::new());
    let dates = || ListBuilder::new(Date32Builder::new());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        column(texts(), lists, |to, one| {
            one.products.iter().for_each(|one| to.append_option(id(one.product)))
        }),
        column(ListBuilder::new(scores), lists, |to, one| {
            one.products.iter().for_each(|one| to.append_value(digits(one.score)));
        }),
        column(texts(), lists, |to, one| {
            one.products.iter().for_each(|one| to.append_option(one.because.and_then(id)));
        }),
        column(texts(), lists, |to, one| {
            one.buy_again.iter().for_each(|one| to.append_option(id(one.product)))
        }),
        column(dates(), lists, |to, one| {
            one.buy_again.iter().for_each(|one| to.append_option(day(one.last)))
        }),
        column(dates(), lists, |to, one| {
            one.buy_again.iter().for_each(|one| to.append_option(one.due.and_then(day)));
        }),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// A column of lists, each filled by `fill`.
fn column<B: ArrayBuilder>(
    mut builder: ListBuilder<B>,
    lists: &[Lists],
    fill: impl Fn(&mut B, &Lists),
) -> ArrayRef {
    for one in lists {
        fill(builder.values(), one);
        builder.append(true);
    }
    Arc::new(builder.finish())
}

/// The products with their names and what is similar to them, ready to serve.
#[derive(Debug)]
pub(super) struct ProductRows(RecordBatch);

impl ProductRows {
    pub(super) fn new(ledger: &Ledger, taste: &Taste) -> Self {
        let products = &ledger.products;
        let similar = (0..).zip(products).map(|(number, _)| {
            let list = taste.similar(number).iter().map(|(other, significance)| {
                let other = &products[*other as usize];
                json!({"product_id": other.id, "name": other.name, "score": (significance * 100.0).round() / 100.0})
            });
            list.collect::<serde_json::Value>().to_string()
        });
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(products.iter().map(|product| &product.id))),
            Arc::new(products.iter().map(|product| product.name.as_deref()).collect::<StringArray>()),
            Arc::new(products.iter().map(|product| product.category.as_deref()).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(similar)),
        ];
        // The columns are made of the products just above, so their lengths are the same.
        let schema = products_schema();
        Self(
            RecordBatch::try_new(Arc::clone(&schema), columns)
                .unwrap_or_else(|_| RecordBatch::new_empty(schema)),
        )
    }

    /// Writes `products/*.parquet`, cut and blocked as `rows` are.
    pub(super) async fn write(&self, lake: &Lake, id: &SnapshotId) -> Result<Vec<FileEntry>, SnapshotError> {
        let mut files = Vec::new();
        for start in (0..self.0.num_rows()).step_by(PART_ROWS) {
            let rows = self.0.slice(start, PART_ROWS.min(self.0.num_rows() - start));
            let path = format!("products/part-{:05}.parquet", files.len());
            let mut part =
                PartWriter::new(lake, id, path, FileKind::Products, rows.schema(), products_properties())?;
            part.write_in_blocks(&rows).await?;
            files.push(part.finish().await?);
        }
        Ok(files)
    }
}
