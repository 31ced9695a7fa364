//! What the churn model reads of a customer: features of the views, and the columns that are made of them.

use std::{collections::BTreeSet, fmt::Write as _};

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Float64Type, Schema},
};
use futures::StreamExt;

use super::{
    demand::{self, Look},
    horizon::days,
    measure::mean,
    purchasing::History,
};
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

/// Where [`demand`] takes a view's place.
const DEMAND: &str = "demand";
/// The features of built-in views and of [`demand`], by their places in [`Inputs::raw`].
pub(super) const BUILT_IN: [(&str, &str); 14] = [
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
    (DEMAND, "late_sales"),
    (DEMAND, "active_buyers"),
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
pub(super) const LATE_SALES: usize = 12;
pub(super) const ACTIVE_BUYERS: usize = 13;

/// The columns that models learn from, each with the place of the feature that it is made of; a user's follow.
pub(super) const COLUMNS: [(&str, usize); 16] = [
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
    ("log_purchase_days", FREQUENCY),
    ("log_late_sales", LATE_SALES),
    ("active_buyers", ACTIVE_BUYERS),
];
pub(super) const OF_RECENCY: usize = 0;
pub(super) const OF_FREQUENCY: usize = 1;
pub(super) const OF_OVERDUE: usize = 2;

/// Customers with an order, by id, and their features; what is null is NaN. Times are days before the instant.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    pub(super) ids: Vec<String>,
    pub(super) raw: Vec<Vec<f64>>,
    /// The horizon in days, which [`demand`] goes by.
    pub(super) horizon: f64,
    /// On how many days (UTC) each of them ordered: several orders of a day are one purchase to those who model purchases.
    days: Vec<f64>,
}

/// The features to read: the built-in ones, and every number in views of the user's own that have one. What is `personal` is none: reasons
/// would tell it.
pub(super) fn sources<'a>(
    views: impl IntoIterator<Item = (&'a str, &'a Schema)>,
    personal: impl Fn(&str, &str) -> bool,
) -> Vec<Source> {
    let mut sources: Vec<Source> = BUILT_IN
        .iter()
        .map(|(view, column)| Source { view: (*view).into(), column: (*column).into() })
        .collect();
    for (view, schema) in views.into_iter().filter(|(view, _)| !["profile", "rfm", "behavior"].contains(view))
    {
        for field in schema.fields() {
            let number = matches!(
                field.data_type(),
                DataType::Int32
                    | DataType::Int64
                    | DataType::Float64
                    | DataType::Decimal128(..)
                    | DataType::Boolean
            );
            if number && !personal(view, field.name()) {
                sources.push(Source { view: view.to_owned(), column: field.name().clone() });
            }
        }
    }
    sources
}

/// Reads the features of the customers with an order, as `session` has them at the instant of `look`. A customer whose id's hash is
/// no multiple of `one_in` is left out. `known` tells which columns there are: a replaced view may lack some.
pub(super) async fn read(
    session: &Session,
    look: Look,
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
    let numbered: Vec<String> =
        selected.iter().enumerate().map(|(at, text)| format!("{text} AS c{at}")).collect();
    let sql = format!(
        "SELECT v_rfm.customer_id AS id, {}, CAST(d.days AS DOUBLE) AS days FROM rfm AS v_rfm{joins} \
         LEFT JOIN (SELECT customer_id, count(*) AS days FROM \
             (SELECT customer_id, date_trunc('day', ordered_at) AS day FROM orders GROUP BY customer_id, day) GROUP BY customer_id \
         ) d ON d.customer_id = v_rfm.customer_id WHERE v_rfm.frequency > 0 ORDER BY id",
        numbered.join(", ")
    );
    let mut rows = session.query("churn", &sql).await?;
    let demand = demand::demand(session, look).await?;
    let horizon = days(look.horizon);
    let mut inputs = Inputs { raw: vec![Vec::new(); sources.len()], horizon, ..Inputs::default() };
    #[expect(clippy::cast_precision_loss, reason = "times of our age fit to the microsecond")]
    let now = look.at.timestamp_micros() as f64;
    while let Some(batch) = rows.next().await {
        let batch =
            batch.map_err(|source| ViewError::Sql { view: "churn".to_owned(), source: Box::new(source) })?;
        let ids = batch.column(0).as_string::<i32>();
        let columns: Vec<_> = batch.columns()[1..].iter().map(AsArray::as_primitive::<Float64Type>).collect();
        for row in (0..batch.num_rows()).filter(|row| hash(ids.value(*row)).is_multiple_of(one_in)) {
            inputs.ids.push(ids.value(row).to_owned());
            let of_products = demand.get(ids.value(row));
            let days = &columns[sources.len()];
            inputs.days.push(if days.is_valid(row) { days.value(row) } else { 1.0 });
            for (place, (column, values)) in columns.iter().zip(&mut inputs.raw).enumerate() {
                let value = if column.is_valid(row) { column.value(row) } else { f64::NAN };
                values.push(match place {
                    TENURE => (now - value) / 86_400e6,
                    LATE_SALES => of_products.map_or(f64::NAN, |demand| demand.late_sales),
                    ACTIVE_BUYERS => of_products.map_or(f64::NAN, |demand| demand.active_buyers),
                    _ => value,
                });
            }
        }
    }
    Ok(inputs)
}

/// FNV-1a: the same on every machine and in every version.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Less the mean of those known. Shares of all there ever was shrink as the history grows: left as they are, they tell the learners the date.
fn centred(mut values: Vec<f64>) -> Vec<f64> {
    let usual = mean(values.iter().copied().filter(|value| value.is_finite()));
    for value in &mut values {
        *value -= usual;
    }
    values
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

    /// Leaves `most` customers at most, evenly by id.
    pub(super) fn thin(&mut self, most: usize) {
        let all = self.len();
        if all <= most {
            return;
        }
        let keep: Vec<bool> = (0..all).map(|at| at * most / all < (at + 1) * most / all).collect();
        let of = |values: &mut Vec<f64>| {
            let mut keep = keep.iter();
            values.retain(|_| keep.next().copied().unwrap_or_default());
        };
        self.raw.iter_mut().for_each(of);
        of(&mut self.days);
        let mut keep = keep.iter();
        self.ids.retain(|_| keep.next().copied().unwrap_or_default());
    }

    /// The purchases of each customer, in whole days.
    pub(super) fn histories(&self) -> Vec<History> {
        let history = |row: usize| {
            let [recency, tenure, spent] = [RECENCY, TENURE, MONETARY].map(|place| self.raw[place][row]);
            let repeats = self.days[row] - 1.0;
            // The greater of the two, of which the first may not be known.
            let watched = tenure.floor().max(recency).max(0.0);
            let last = if repeats > 0.0 { (watched - recency).max(0.0) } else { 0.0 };
            History {
                repeats,
                last,
                watched,
                worth: if spent.is_nan() { spent } else { spent.max(0.0) / self.days[row] },
            }
        };
        (0..self.len()).map(history).collect()
    }

    /// The columns that models learn from; NaN where nothing is known.
    pub(super) fn columns(&self) -> Vec<Vec<f64>> {
        let log =
            |source: usize| self.raw[source].iter().map(|value| value.max(0.0).ln_1p()).collect::<Vec<f64>>();
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
            self.days.iter().map(|days| days.ln_1p()).collect(),
            centred(raw[LATE_SALES].iter().map(|share| share.ln()).collect()),
            centred(raw[ACTIVE_BUYERS].clone()),
        ];
        // Of a user's numbers nothing is known; the logarithm tames large ones of either sign.
        let own = raw[BUILT_IN.len()..].iter();
        columns.extend(own.map(|values| values.iter().map(|v| v.signum() * v.abs().ln_1p()).collect()));
        columns
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn what_is_personal_is_no_input() {
        let schema =
            Schema::new(["income", "visits"].map(|name| Field::new(name, DataType::Int64, true)).to_vec());
        let found =
            sources([("household", &schema)], |view, column| (view, column) == ("household", "income"));
        let own: Vec<String> = found[BUILT_IN.len()..].iter().map(Source::name).collect();
        assert_eq!(own, ["household.visits"]);
    }
}
