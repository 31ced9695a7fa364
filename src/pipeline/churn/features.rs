//! The features that the churn model reads, and tables of the features of customers.

use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};

use crate::pipeline::{id_hash::is_sampled, learning::purchase_model::PurchaseHistory};

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

/// Name that stands for the view of the features from [`super::product_demand`].
pub(super) const DEMAND: &str = "demand";
/// The features of built-in views and of [`super::product_demand`], by their index in [`FeatureTable::raw`].
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

/// The features of customers with an order, sorted by id. Null is NaN. Times are in days before the
/// instant of the table.
#[derive(Debug, Clone, Default)]
pub(super) struct FeatureTable {
    pub(super) ids: Vec<String>,
    /// Values by source, then by customer.
    pub(super) raw: Vec<Vec<f64>>,
    /// Horizon in days of the features from [`super::product_demand`].
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

    /// Appends the customers of `other`.
    pub(super) fn append(&mut self, mut other: Self) {
        self.ids.append(&mut other.ids);
        self.days.append(&mut other.days);
        self.raw.iter_mut().zip(&mut other.raw).for_each(|(values, more)| values.append(more));
    }

    /// Sorts the customers by id.
    pub(super) fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_unstable_by(|a, b| self.ids[*a].cmp(&self.ids[*b]));
        let sorted = |values: &Vec<f64>| order.iter().map(|row| values[*row]).collect::<Vec<f64>>();
        self.raw = self.raw.iter().map(sorted).collect();
        self.days = sorted(&self.days);
        self.ids = order.iter().map(|row| std::mem::take(&mut self.ids[*row])).collect();
    }

    /// Returns the customers of a sample of one in `one_in`, by the hash of the id.
    pub(super) fn sample(&self, one_in: u64) -> Self {
        let keep: Vec<bool> = self.ids.iter().map(|id| is_sampled(id, one_in)).collect();
        let mut sample = self.clone();
        sample.retain(&keep);
        sample
    }

    /// Keeps at most `most` customers, evenly spread by id.
    pub(super) fn thin(&mut self, most: usize) {
        let all = self.len();
        if all > most {
            let keep: Vec<bool> = (0..all).map(|at| at * most / all < (at + 1) * most / all).collect();
            self.retain(&keep);
        }
    }

    fn retain(&mut self, keep: &[bool]) {
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
