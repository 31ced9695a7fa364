//! What the churn model reads of a customer: features of the views, and the columns that are made of them.

use std::{collections::BTreeSet, fmt::Write as _};

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Float64Type, Schema},
};
use chrono::{DateTime, Utc};
use futures::StreamExt;

use crate::pipeline::{ViewError, query::Session};

/// A feature of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) view: String,
    pub(super) column: String,
}

impl Source {
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.view, self.column)
    }
}

/// The features of built-in views, by their places in [`Inputs::raw`].
pub(super) const BUILT_IN: [(&str, &str); 12] = [
    ("rfm", "recency_days"),
    ("rfm", "frequency"),
    ("rfm", "monetary"),
    ("behavior", "first_purchase_at"),
    ("behavior", "days_between_orders"),
    ("behavior", "products"),
    ("behavior", "basket_value"),
    ("behavior", "basket_items"),
    ("behavior", "return_rate"),
    ("behavior", "spend_30d"),
    ("behavior", "spend_90d"),
    ("behavior", "spend_365d"),
];
pub(super) const RECENCY: usize = 0;
pub(super) const FREQUENCY: usize = 1;
pub(super) const MONETARY: usize = 2;
pub(super) const TENURE: usize = 3;
pub(super) const GAP: usize = 4;
const PRODUCTS: usize = 5;
const BASKET_VALUE: usize = 6;
const BASKET_ITEMS: usize = 7;
const RETURN_RATE: usize = 8;
const SPEND_30: usize = 9;
const SPEND_90: usize = 10;
pub(super) const SPEND_365: usize = 11;

/// The columns that models learn from, each with the place of the feature that it is made of; a user's follow.
pub(super) const COLUMNS: [(&str, usize); 13] = [
    ("log_recency", RECENCY),
    ("log_frequency", FREQUENCY),
    ("overdue", GAP),
    ("one_order", FREQUENCY),
    ("log_order_rate", FREQUENCY),
    ("log_monetary", MONETARY),
    ("log_tenure", TENURE),
    ("log_products", PRODUCTS),
    ("log_basket_value", BASKET_VALUE),
    ("log_basket_items", BASKET_ITEMS),
    ("return_rate", RETURN_RATE),
    ("log_spend_30d", SPEND_30),
    ("log_spend_90d", SPEND_90),
];
pub(super) const OF_RECENCY: usize = 0;
pub(super) const OF_FREQUENCY: usize = 1;
pub(super) const OF_OVERDUE: usize = 2;

/// Customers with an order, by id, and their features; what is null is NaN. Times are days before the instant.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    pub(super) ids: Vec<String>,
    pub(super) raw: Vec<Vec<f64>>,
}

/// The features to read: the built-in ones, and every number in views of the user's own that have one.
pub(super) fn sources<'a>(views: impl IntoIterator<Item = (&'a str, &'a Schema)>) -> Vec<Source> {
    let mut sources: Vec<Source> =
        BUILT_IN.iter().map(|(view, column)| Source { view: (*view).into(), column: (*column).into() }).collect();
    for (view, schema) in views.into_iter().filter(|(view, _)| !["profile", "rfm", "behavior"].contains(view)) {
        for field in schema.fields() {
            let number = matches!(
                field.data_type(),
                DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Decimal128(..) | DataType::Boolean
            );
            if number {
                sources.push(Source { view: view.to_owned(), column: field.name().clone() });
            }
        }
    }
    sources
}

/// Reads the features of the customers with an order, as `session` has them at `at`. A customer whose id's hash is no multiple of
/// `one_in` is left out. `known` tells which columns there are: a replaced view may lack some.
pub(super) async fn read(
    session: &Session,
    at: DateTime<Utc>,
    sources: &[Source],
    known: &BTreeSet<String>,
    one_in: u64,
) -> Result<Inputs, ViewError> {
    let selected: Vec<String> = sources
        .iter()
        .map(|source| match (known.contains(&source.name()), source.column.as_str()) {
            (false, _) => "CAST(NULL AS DOUBLE)".to_owned(),
            (true, "first_purchase_at") => {
                format!("CAST(CAST(v_{}.first_purchase_at AS BIGINT) AS DOUBLE)", source.view)
            }
            (true, column) => format!("CAST(v_{}.\"{column}\" AS DOUBLE)", source.view),
        })
        .collect();
    let mut joins = String::new();
    let joined: BTreeSet<&str> = sources
        .iter()
        .filter(|source| source.view != "rfm" && known.contains(&source.name()))
        .map(|source| source.view.as_str())
        .collect();
    for view in joined {
        // Into memory it cannot fail.
        let _ = write!(joins, " LEFT JOIN {view} AS v_{view} ON v_{view}.customer_id = v_rfm.customer_id");
    }
    let numbered: Vec<String> = selected.iter().enumerate().map(|(at, text)| format!("{text} AS c{at}")).collect();
    let sql = format!(
        "SELECT v_rfm.customer_id AS id, {} FROM rfm AS v_rfm{joins} WHERE v_rfm.frequency > 0 ORDER BY id",
        numbered.join(", ")
    );
    let mut rows = session.query("churn", &sql).await?;
    let mut inputs = Inputs { ids: Vec::new(), raw: vec![Vec::new(); sources.len()] };
    #[expect(clippy::cast_precision_loss, reason = "times of our age fit to the microsecond")]
    let now = at.timestamp_micros() as f64;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|source| ViewError::Sql { view: "churn".to_owned(), source: Box::new(source) })?;
        let ids = batch.column(0).as_string::<i32>();
        let columns: Vec<_> = batch.columns()[1..].iter().map(AsArray::as_primitive::<Float64Type>).collect();
        for row in (0..batch.num_rows()).filter(|row| hash(ids.value(*row)).is_multiple_of(one_in)) {
            inputs.ids.push(ids.value(row).to_owned());
            for (place, (column, values)) in columns.iter().zip(&mut inputs.raw).enumerate() {
                let value = if column.is_valid(row) { column.value(row) } else { f64::NAN };
                values.push(if place == TENURE { (now - value) / 86_400e6 } else { value });
            }
        }
    }
    Ok(inputs)
}

/// FNV-1a: the same on every machine and in every version.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The time between orders that a customer is used to: their own mean, else the time since the first order.
pub(super) fn rhythm(raw: &[Vec<f64>], row: usize) -> f64 {
    let own = raw[GAP][row];
    let gap = if own.is_nan() { raw[TENURE][row] } else { own };
    if gap.is_nan() { 1.0 } else { gap.max(1.0) }
}

impl Inputs {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The columns that models learn from; NaN where nothing is known.
    pub(super) fn columns(&self) -> Vec<Vec<f64>> {
        let log = |source: usize| self.raw[source].iter().map(|value| value.max(0.0).ln_1p()).collect::<Vec<f64>>();
        let rows = |of: &dyn Fn(usize) -> f64| (0..self.len()).map(of).collect::<Vec<f64>>();
        let raw = &self.raw;
        let mut columns = vec![
            log(RECENCY),
            log(FREQUENCY),
            rows(&|row| raw[RECENCY][row].ln_1p() - rhythm(raw, row).ln_1p()),
            rows(&|row| f64::from(u8::from(raw[FREQUENCY][row] <= 1.0))),
            rows(&|row| (raw[FREQUENCY][row] / (raw[TENURE][row] + 30.0)).ln()),
            log(MONETARY),
            log(TENURE),
            log(PRODUCTS),
            log(BASKET_VALUE),
            log(BASKET_ITEMS),
            rows(&|row| raw[RETURN_RATE][row].clamp(0.0, 1.0)),
            log(SPEND_30),
            log(SPEND_90),
        ];
        // Of a user's numbers nothing is known; the logarithm tames large ones of either sign.
        let own = raw[BUILT_IN.len()..].iter();
        columns.extend(own.map(|values| values.iter().map(|v| v.signum() * v.abs().ln_1p()).collect()));
        columns
    }
}
