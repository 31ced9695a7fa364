//! The features that the churn model reads, and the input columns that are derived from them.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type, Schema},
};
use datafusion::error::DataFusionError;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::{
    horizon::days,
    product_demand::{self, DemandWindow, ProductDemand},
};
use crate::pipeline::{ViewError, id_hash::fnv1a, learning::purchase_model::PurchaseHistory, query::Session};

/// Name of the view that the model makes.
pub(in crate::pipeline) const VIEW: &str = "churn";

/// A feature of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FeatureSource {
    pub(super) view: String,
    pub(super) column: String,
}

impl FeatureSource {
    /// Returns the name with the view, such as `rfm.recency_days`.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.view, self.column)
    }
}

/// Name that stands for the view of the features from [`product_demand`].
const DEMAND: &str = "demand";
/// The features of built-in views and of [`product_demand`], by their index in [`FeatureTable::raw`].
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
/// Indexes into [`BUILT_IN`].
pub(super) const RECENCY: usize = 0;
pub(super) const FREQUENCY: usize = 1;
pub(super) const MONETARY: usize = 2;
pub(super) const TENURE: usize = 3;
pub(super) const GAP: usize = 4;
pub(super) const PRODUCTS: usize = 5;
pub(super) const BASKET_VALUE: usize = 6;
pub(super) const BASKET_ITEMS: usize = 7;
pub(super) const RETURN_RATE: usize = 8;
pub(super) const SPEND_30: usize = 9;
pub(super) const SPEND_90: usize = 10;
pub(super) const SPEND_365: usize = 11;
pub(super) const LATE_SALES: usize = 12;
pub(super) const ACTIVE_BUYERS: usize = 13;

/// The features of all customers with an order, sorted by id. Null is NaN. Times are in days before the
/// instant of the table.
#[derive(Debug, Clone, Default)]
pub(super) struct FeatureTable {
    pub(super) ids: Vec<String>,
    /// Values by source, then by customer.
    pub(super) raw: Vec<Vec<f64>>,
    /// Horizon in days of the features from [`product_demand`].
    pub(super) horizon: f64,
    /// Number of days (UTC) with an order. The purchase models count several orders of one day as one
    /// purchase.
    pub(super) days: Vec<f64>,
}

/// Returns the features to read: the built-in ones, and all numeric and boolean columns of the user's own
/// views in `views` for which `is_input` is true.
pub(super) fn sources<'a>(
    views: impl IntoIterator<Item = (&'a str, &'a Schema)>,
    is_input: impl Fn(&str, &str) -> bool,
) -> Vec<FeatureSource> {
    let mut sources: Vec<FeatureSource> = BUILT_IN
        .iter()
        .map(|(view, column)| FeatureSource { view: (*view).into(), column: (*column).into() })
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
            if number && is_input(view, field.name()) {
                sources.push(FeatureSource { view: view.to_owned(), column: field.name().clone() });
            }
        }
    }
    sources
}

/// A query for features, of all customers with an order or of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct FeatureQuery<'a> {
    pub(super) sources: &'a [FeatureSource],
    /// Names of the sources that exist. A view that replaces a built-in one may lack columns, which read as
    /// null.
    pub(super) available: &'a BTreeSet<String>,
    /// Keeps one customer in this many, by the hash of the id; 1 keeps all.
    pub(super) one_in: u64,
    /// Whether to read the features from [`product_demand`]; without, their values are NaN.
    pub(super) with_demand: bool,
}

impl FeatureQuery<'_> {
    /// Reads the features as the views of `session` have them at the instant of `window`.
    ///
    /// # Errors
    /// Fails if a query fails.
    pub(super) async fn read(
        &self,
        session: &Session,
        window: DemandWindow,
    ) -> Result<FeatureTable, ViewError> {
        let mut rows = session.query(VIEW, &self.sql()).await?;
        let demand =
            if self.with_demand { product_demand::demand(session, window).await? } else { HashMap::new() };
        let mut table = FeatureTable {
            raw: vec![Vec::new(); self.sources.len()],
            horizon: days(window.horizon),
            ..FeatureTable::default()
        };
        while let Some(batch) = rows.next().await {
            self.append(&mut table, &batch.map_err(failed)?, &demand, window);
        }
        for values in &mut table.raw[BUILT_IN.len()..] {
            values.resize(table.ids.len(), f64::NAN);
        }
        for view in self.own_views() {
            self.read_own(session, view, &mut table).await?;
        }
        Ok(table)
    }

    /// Returns the views with a feature to read.
    pub(super) fn views(&self) -> BTreeSet<&str> {
        let available = self.sources.iter().filter(|source| self.available.contains(&source.name()));
        available.map(|source| source.view.as_str()).chain(["rfm"]).collect()
    }

    /// Returns the user's views with a feature to read.
    fn own_views(&self) -> BTreeSet<&str> {
        let own = self.sources[BUILT_IN.len()..].iter();
        own.filter(|source| self.available.contains(&source.name()))
            .map(|source| source.view.as_str())
            .collect()
    }

    /// Fills the features of the user's `view`. Each view is a query of its own, since planning a join of
    /// many views takes longer than running it.
    async fn read_own(
        &self,
        session: &Session,
        view: &str,
        table: &mut FeatureTable,
    ) -> Result<(), ViewError> {
        let places: Vec<usize> = (BUILT_IN.len()..self.sources.len())
            .filter(|at| {
                let source = &self.sources[*at];
                source.view == view && self.available.contains(&source.name())
            })
            .collect();
        let columns =
            places.iter().map(|at| format!("CAST(\"{}\" AS DOUBLE) AS c{at}", self.sources[*at].column));
        let sql =
            format!("SELECT customer_id, {} FROM \"{view}\"", columns.collect::<Vec<String>>().join(", "));
        let mut rows = session.query(VIEW, &sql).await?;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(failed)?;
            let ids = batch.column(0).as_string::<i32>();
            for row in 0..batch.num_rows() {
                let id = ids.value(row);
                let Ok(found) = table.ids.binary_search_by(|known| known.as_str().cmp(id)) else { continue };
                for (place, column) in places.iter().zip(&batch.columns()[1..]) {
                    let column = column.as_primitive::<Float64Type>();
                    if column.is_valid(row) {
                        table.raw[*place][found] = column.value(row);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the query for id, built-in features and days with an order, sorted by id.
    fn sql(&self) -> String {
        let built_in = &self.sources[..BUILT_IN.len()];
        let selected: Vec<String> = built_in
            .iter()
            .map(|source| match (self.available.contains(&source.name()), source.column.as_str()) {
                (false, _) => "CAST(NULL AS DOUBLE)".to_owned(),
                (true, "first_purchase_at") => {
                    format!("CAST(CAST(v_{}.first_purchase_at AS BIGINT) AS DOUBLE)", source.view)
                }
                (true, column) => format!("CAST(v_{}.\"{column}\" AS DOUBLE)", source.view),
            })
            .collect();
        let mut joins = String::new();
        let joined: BTreeSet<&str> = built_in
            .iter()
            .filter(|source| source.view != "rfm" && self.available.contains(&source.name()))
            .map(|source| source.view.as_str())
            .collect();
        for view in joined {
            // Writing to a string does not fail.
            let _ =
                write!(joins, " LEFT JOIN {view} AS v_{view} ON v_{view}.customer_id = v_rfm.customer_id");
        }
        let numbered: Vec<String> =
            selected.iter().enumerate().map(|(at, text)| format!("{text} AS c{at}")).collect();
        format!(
            "SELECT v_rfm.customer_id AS id, {}, CAST(d.days AS DOUBLE) AS days FROM rfm AS v_rfm{joins} \
             LEFT JOIN (SELECT customer_id, count(*) AS days FROM \
                 (SELECT customer_id, date_trunc('day', ordered_at) AS day \
                  FROM orders GROUP BY customer_id, day) GROUP BY customer_id \
             ) d ON d.customer_id = v_rfm.customer_id WHERE v_rfm.frequency > 0 ORDER BY id",
            numbered.join(", ")
        )
    }

    /// Returns whether the customer `id` is in the sample.
    pub(super) fn samples(&self, id: &str) -> bool {
        fnv1a(id).is_multiple_of(self.one_in)
    }

    /// Appends the sampled customers of `batch` to `table`.
    fn append(
        &self,
        table: &mut FeatureTable,
        batch: &RecordBatch,
        demand: &HashMap<String, ProductDemand>,
        window: DemandWindow,
    ) {
        #[expect(clippy::cast_precision_loss, reason = "present-day times are exact to the microsecond")]
        let now = window.at.timestamp_micros() as f64;
        let ids = batch.column(0).as_string::<i32>();
        let columns: Vec<_> = batch.columns()[1..].iter().map(AsArray::as_primitive::<Float64Type>).collect();
        for row in (0..batch.num_rows()).filter(|row| self.samples(ids.value(*row))) {
            table.ids.push(ids.value(row).to_owned());
            let of_products = demand.get(ids.value(row));
            let days = &columns[BUILT_IN.len()];
            table.days.push(if days.is_valid(row) { days.value(row) } else { 1.0 });
            for (place, (column, values)) in columns[..BUILT_IN.len()].iter().zip(&mut table.raw).enumerate()
            {
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
}

fn failed(source: DataFusionError) -> ViewError {
    ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) }
}

/// Returns the customer's usual days between orders: the own mean, else the days since the first order; at
/// least 1.
pub(super) fn days_between_orders(raw: &[Vec<f64>], row: usize) -> f64 {
    let own = raw[GAP][row];
    let gap = if own.is_nan() { raw[TENURE][row] } else { own };
    if gap.is_nan() { 1.0 } else { gap.max(1.0) }
}

impl FeatureTable {
    /// Returns the number of customers.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Keeps at most `most` customers, evenly spread by id.
    pub(super) fn thin(&mut self, most: usize) {
        let all = self.len();
        if all <= most {
            return;
        }
        let keep: Vec<bool> = (0..all).map(|at| at * most / all < (at + 1) * most / all).collect();
        let retain = |values: &mut Vec<f64>| {
            let mut keep = keep.iter();
            values.retain(|_| keep.next().copied().unwrap_or_default());
        };
        self.raw.iter_mut().for_each(retain);
        retain(&mut self.days);
        let mut keep = keep.iter();
        self.ids.retain(|_| keep.next().copied().unwrap_or_default());
    }

    /// Returns the purchase history of each customer, in whole days.
    pub(super) fn histories(&self) -> Vec<PurchaseHistory> {
        (0..self.len()).map(|row| self.history(row)).collect()
    }

    /// Returns the purchase history of the customer at `row`, in whole days.
    pub(super) fn history(&self, row: usize) -> PurchaseHistory {
        let [recency, tenure, spent] = [RECENCY, TENURE, MONETARY].map(|place| self.raw[place][row]);
        let repeats = self.days[row] - 1.0;
        // `max` ignores a NaN tenure.
        let watched = tenure.floor().max(recency).max(0.0);
        let last = if repeats > 0.0 { (watched - recency).max(0.0) } else { 0.0 };
        let mean_amount = if spent.is_nan() { spent } else { spent.max(0.0) / self.days[row] };
        PurchaseHistory { repeats, last, watched, mean_amount }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn refused_columns_are_no_features() {
        let schema =
            Schema::new(["income", "visits"].map(|name| Field::new(name, DataType::Int64, true)).to_vec());
        let found =
            sources([("household", &schema)], |view, column| (view, column) != ("household", "income"));
        let own: Vec<String> = found[BUILT_IN.len()..].iter().map(FeatureSource::name).collect();
        assert_eq!(own, ["household.visits"]);
    }
}
