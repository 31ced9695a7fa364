//! The rows of the `recommendations` view: the lists of each customer, sorted by customer id.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{
        ArrayBuilder, ArrayRef, Date32Builder, Decimal128Builder, ListBuilder, RecordBatch, StringArray,
        StringBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use serde::{Deserialize, Serialize};

use super::{
    buy_again::{BuyAgainProduct, BuyAgainRule},
    owned_products::{DAY, owned_products},
    purchase_log::{CustomerPurchases, PartitionPurchases, ProductInfo},
    recommender::{Recommender, Suggestion},
    votes::Votes,
};
use crate::{
    pipeline::{
        raw::RawError,
        staging::staging,
        view_files::{self, ViewFile, ViewFileWriter},
    },
    snapshot::writer::ID,
    views::{ColumnNote, ViewDefinition},
};

/// Name of the view.
pub(in crate::pipeline) const VIEW: &str = "recommendations";
/// Description of the view.
const DESCRIPTION: &str = "Recommended products: new ones that customers with similar purchases bought, and \
    own ones to buy again. Lists are parallel: the first score belongs to the first product. \
    /v1/customers/{id}/recommendations returns them with names.";

/// Columns of the view with their descriptions.
const COLUMNS: [(&str, &str); 6] = [
    ("products", "Ids of products that are new to the customer, best first."),
    (
        "product_scores",
        "Score of each product: the sum of votes of the customer's products, times the product's trend; 0 \
         for a best seller that fills the list.",
    ),
    (
        "product_because",
        "The customer's product with the greatest vote for each product; null for a best seller.",
    ),
    ("buy_again", "Ids of products to buy again, most likely first."),
    ("buy_again_last_on", "Day (UTC) of the last purchase of each product."),
    (
        "buy_again_due_on",
        "Day (UTC) on which each product is due, by the customer's own interval between purchases, else by \
         that of all customers; null if no customer bought it twice.",
    ),
];

/// Number of customers in a batch of the view.
const BATCH: usize = 8_192;
/// Precision, scale and factor of scores: DECIMAL(18, 6).
const SCORE: (u8, i8, f64) = (18, 6, 1e6);

/// Returns the definition of the view for the manifest.
pub(in crate::pipeline) fn definition() -> ViewDefinition {
    let note = |text: &str| ColumnNote { description: text.to_owned(), personal: false };
    let columns: BTreeMap<String, ColumnNote> =
        COLUMNS.iter().map(|(name, text)| ((*name).to_owned(), note(text))).collect();
    ViewDefinition {
        name: VIEW.to_owned(),
        description: DESCRIPTION.to_owned(),
        columns,
        step: false,
        sql: String::new(),
        file: None,
    }
}

/// Makes the lists of each customer, one partition at a time.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::pipeline) struct ListRows {
    recommender: Recommender,
    /// Ids of products by number.
    products: Vec<String>,
    rule: BuyAgainRule,
    /// Greatest number of products to buy again.
    buy_again: usize,
}

/// The lists of one customer.
#[derive(Debug)]
struct CustomerLists {
    products: Vec<Suggestion>,
    buy_again: Vec<BuyAgainProduct>,
}

impl ListRows {
    pub(super) fn new(
        recommender: Recommender,
        products: &[ProductInfo],
        rule: BuyAgainRule,
        buy_again: usize,
    ) -> Self {
        let products = products.iter().map(|product| product.id.clone()).collect();
        Self { recommender, products, rule, buy_again }
    }

    /// Returns buffers for a thread that makes rows.
    pub(super) fn votes(&self) -> Votes {
        Votes::new(self.products.len())
    }

    /// Stages the lists of the customers of the partition `number` in `folder`.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) fn stage(
        &self,
        number: usize,
        part: &PartitionPurchases,
        votes: &mut Votes,
        folder: &Path,
    ) -> Result<ViewFile, RawError> {
        let path = folder.join(view_files::name(VIEW, number));
        let failed = |error: arrow::error::ArrowError| staging(&path, error);
        let schema = schema();
        let mut writer = ViewFileWriter::create(path.clone(), Arc::clone(&schema))?;
        for first in (0..part.len()).step_by(BATCH) {
            let places = first..part.len().min(first + BATCH);
            let lists: Vec<CustomerLists> =
                places.clone().map(|place| self.lists(part.get(place), votes)).collect();
            let ids = StringArray::from_iter_values(places.map(|place| part.get(place).id));
            writer.write(&self.batch(&schema, ids, &lists).map_err(failed)?)?;
        }
        writer.finish()
    }

    /// Returns the lists of `customer`.
    fn lists(&self, customer: CustomerPurchases<'_>, votes: &mut Votes) -> CustomerLists {
        let recommender = &self.recommender;
        let owned = owned_products(customer.purchases, recommender.as_of);
        CustomerLists {
            products: recommender.new_products(&customer, &owned, votes),
            buy_again: recommender.buy_again(&owned, self.rule, self.buy_again),
        }
    }

    fn batch(
        &self,
        schema: &SchemaRef,
        ids: StringArray,
        lists: &[CustomerLists],
    ) -> Result<RecordBatch, arrow::error::ArrowError> {
        let id = |product: u32| Some(self.products[product as usize].as_str());
        let scores = Decimal128Builder::new().with_data_type(DataType::Decimal128(SCORE.0, SCORE.1));
        #[expect(clippy::cast_possible_truncation, reason = "a score is a sum of at most 100 votes")]
        let digits = |score: f64| (score * SCORE.2).round() as i128;
        let day = |at: u32| i32::try_from(at / DAY).ok();
        let texts = || ListBuilder::new(StringBuilder::new());
        let dates = || ListBuilder::new(Date32Builder::new());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids),
            column(texts(), lists, |to, one| {
                one.products.iter().for_each(|one| to.append_option(id(one.product)));
            }),
            column(ListBuilder::new(scores), lists, |to, one| {
                one.products.iter().for_each(|one| to.append_value(digits(one.score)));
            }),
            column(texts(), lists, |to, one| {
                one.products.iter().for_each(|one| to.append_option(one.because.and_then(id)));
            }),
            column(texts(), lists, |to, one| {
                one.buy_again.iter().for_each(|one| to.append_option(id(one.product)));
            }),
            column(dates(), lists, |to, one| {
                one.buy_again.iter().for_each(|one| to.append_option(day(one.last)));
            }),
            column(dates(), lists, |to, one| {
                one.buy_again.iter().for_each(|one| to.append_option(one.due.and_then(day)));
            }),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}

/// Returns the schema of the view.
pub(in crate::pipeline) fn schema() -> SchemaRef {
    let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let text = || list(DataType::Utf8);
    let date = || list(DataType::Date32);
    let types = [text(), list(DataType::Decimal128(SCORE.0, SCORE.1)), text(), text(), date(), date()];
    let columns = COLUMNS.iter().zip(types).map(|((name, _), data_type)| Field::new(*name, data_type, true));
    Arc::new(Schema::new(
        [Field::new(ID, DataType::Utf8, false)].into_iter().chain(columns).collect::<Vec<_>>(),
    ))
}

/// Returns a column of lists. `fill` appends the values of one customer.
fn column<B: ArrayBuilder>(
    mut builder: ListBuilder<B>,
    lists: &[CustomerLists],
    fill: impl Fn(&mut B, &CustomerLists),
) -> ArrayRef {
    for one in lists {
        fill(builder.values(), one);
        builder.append(true);
    }
    Arc::new(builder.finish())
}
