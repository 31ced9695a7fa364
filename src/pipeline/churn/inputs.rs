//! The input columns of the models: how each is derived from features, in which direction it may move the
//! risk, and the theme under which its effect is explained.

use serde::{Deserialize, Serialize};

use super::features::{
    ACTIVE_BUYERS, BASKET_ITEMS, BASKET_VALUE, BUILT_IN, FREQUENCY, FeatureTable, GAP, LATE_SALES, MONETARY,
    PRODUCTS, RECENCY, RETURN_RATE, SPEND_30, SPEND_90, TENURE, days_between_orders,
};
use crate::pipeline::learning::Direction::{self, Any, Falling, Rising};

/// Correlated inputs whose effect is explained as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// Time since the last order, also relative to the customer's usual interval.
    Recency,
    /// Number and rate of orders.
    Orders,
    Spending,
    /// Number of different products, and items of an order.
    Assortment,
    Returns,
    /// Demand for the products that the customer bought.
    ProductDemand,
}

impl Theme {
    /// All themes in the order of their indexes. Each of the user's features is a theme of its own after
    /// these.
    pub(super) const ALL: [Self; 6] =
        [Self::Recency, Self::Orders, Self::Spending, Self::Assortment, Self::Returns, Self::ProductDemand];

    /// Returns the name in reasons.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Recency => "recency",
            Self::Orders => "orders",
            Self::Spending => "spending",
            Self::Assortment => "assortment",
            Self::Returns => "returns",
            Self::ProductDemand => "product_demand",
        }
    }
}

/// An input column.
pub(super) struct Input {
    pub(super) name: &'static str,
    /// Index of the feature that the column is mainly derived from.
    pub(super) source: usize,
    theme: Theme,
    /// Allowed direction of the risk.
    direction: Direction,
}

const fn input(name: &'static str, source: usize, theme: Theme, direction: Direction) -> Input {
    Input { name, source, theme, direction }
}

/// The columns derived from built-in features. Columns of the user's own features follow, and then those of
/// the purchase model.
pub(super) const INPUTS: [Input; 16] = [
    input("log_recency", RECENCY, Theme::Recency, Rising),
    input("log_frequency", FREQUENCY, Theme::Orders, Falling),
    input("overdue", GAP, Theme::Recency, Rising),
    input("one_order", FREQUENCY, Theme::Orders, Rising),
    input("log_order_rate", FREQUENCY, Theme::Orders, Falling),
    input("log_monetary", MONETARY, Theme::Spending, Falling),
    input("log_active_days", TENURE, Theme::Orders, Falling),
    input("log_products", PRODUCTS, Theme::Assortment, Falling),
    input("log_basket_value", BASKET_VALUE, Theme::Spending, Falling),
    input("log_basket_items", BASKET_ITEMS, Theme::Assortment, Any),
    input("return_rate", RETURN_RATE, Theme::Returns, Any),
    input("log_spend_30d", SPEND_30, Theme::Spending, Falling),
    input("log_spend_90d", SPEND_90, Theme::Spending, Falling),
    input("log_purchase_days", FREQUENCY, Theme::Orders, Falling),
    input("log_late_sales", LATE_SALES, Theme::ProductDemand, Falling),
    input("active_buyers", ACTIVE_BUYERS, Theme::ProductDemand, Falling),
];
/// Indexes into [`INPUTS`].
pub(super) const RECENCY_INPUT: usize = 0;
pub(super) const FREQUENCY_INPUT: usize = 1;
pub(super) const OVERDUE_INPUT: usize = 2;

/// The columns of the purchase model; see [`super::candidates`].
const PURCHASE_INPUTS: [Input; 2] =
    [input("quiet_odds", FREQUENCY, Theme::Orders, Rising), input("left", GAP, Theme::Recency, Rising)];

/// The layout of the columns that models learn from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Inputs {
    /// Number of features.
    pub(super) sources: usize,
    /// Whether the risk may move only in the directions of the inputs.
    pub(super) monotone: bool,
}

impl Inputs {
    fn own(self) -> usize {
        self.sources - BUILT_IN.len()
    }

    /// Returns the number of columns, with those of the purchase model.
    pub(super) fn len(self) -> usize {
        INPUTS.len() + self.own() + PURCHASE_INPUTS.len()
    }

    /// Returns the number of themes.
    pub(super) fn themes(self) -> usize {
        Theme::ALL.len() + self.own()
    }

    /// Returns the input of a column; `None` for one of the user's features.
    fn built_in(self, column: usize) -> Option<&'static Input> {
        INPUTS.get(column).or_else(|| PURCHASE_INPUTS.get(column.checked_sub(INPUTS.len() + self.own())?))
    }

    /// Returns the index of the feature that a column is mainly derived from.
    pub(super) fn source(self, column: usize) -> usize {
        self.built_in(column).map_or_else(|| BUILT_IN.len() + column - INPUTS.len(), |input| input.source)
    }

    /// Returns the name of a column that is derived from a built-in feature.
    pub(super) fn name(self, column: usize) -> Option<&'static str> {
        self.built_in(column).map(|input| input.name)
    }

    /// Returns the index of the theme of each column.
    pub(super) fn theme_of_columns(self) -> Vec<usize> {
        let theme = |column| match self.built_in(column) {
            Some(input) => input.theme as usize,
            None => Theme::ALL.len() + column - INPUTS.len(),
        };
        (0..self.len()).map(theme).collect()
    }

    /// Returns the allowed direction of the risk for each column.
    pub(super) fn directions(self) -> Vec<Direction> {
        let direction = |column| match self.built_in(column) {
            Some(input) if self.monotone => input.direction,
            _ => Any,
        };
        (0..self.len()).map(direction).collect()
    }
}

/// The features that are centered: the logarithm of late sales, and active buyers. Shares of all past sales
/// shrink as the history grows, so uncentered values would tell the learners the date of a cut.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DemandSums {
    sums: [f64; 2],
    /// Numbers of customers with a known value.
    known: [f64; 2],
}

impl DemandSums {
    /// Returns the sums over the customers of `table`.
    pub(super) fn of(table: &FeatureTable) -> Self {
        let mut all = Self::default();
        for (late_sales, active_buyers) in table.raw[LATE_SALES].iter().zip(&table.raw[ACTIVE_BUYERS]) {
            for (place, value) in [late_sales.ln(), *active_buyers].into_iter().enumerate() {
                if value.is_finite() {
                    all.sums[place] += value;
                    all.known[place] += 1.0;
                }
            }
        }
        all
    }

    /// Adds the sums over other customers.
    pub(super) fn add(&mut self, other: Self) {
        for place in 0..self.sums.len() {
            self.sums[place] += other.sums[place];
            self.known[place] += other.known[place];
        }
    }

    /// Returns the means; 0 without a known value.
    fn means(self) -> [f64; 2] {
        std::array::from_fn(|place| self.sums[place] / self.known[place].max(1.0))
    }
}

/// Derives the columns of single customers from a table, without those of the purchase model.
pub(super) struct InputRows<'a> {
    pub(super) table: &'a FeatureTable,
    /// Means of the features that are centered.
    means: [f64; 2],
}

impl<'a> InputRows<'a> {
    /// Centers on the customers of `table`.
    pub(super) fn new(table: &'a FeatureTable) -> Self {
        Self::centered(table, DemandSums::of(table))
    }

    /// Centers on the customers of `sums`.
    pub(super) fn centered(table: &'a FeatureTable, sums: DemandSums) -> Self {
        Self { table, means: sums.means() }
    }

    /// Fills `columns` with the values of the customer at `row`; NaN where unknown.
    pub(super) fn fill(&self, row: usize, columns: &mut Vec<f64>) {
        let raw = |source: usize| self.table.raw[source][row];
        let log = |source: usize| raw(source).max(0.0).ln_1p();
        columns.clear();
        columns.extend([
            log(RECENCY),
            log(FREQUENCY),
            raw(RECENCY).ln_1p() - days_between_orders(&self.table.raw, row).ln_1p(),
            f64::from(u8::from(raw(FREQUENCY) <= 1.0)),
            (raw(FREQUENCY) / (raw(TENURE) + 30.0)).ln(),
            log(MONETARY),
            (raw(TENURE) - raw(RECENCY)).max(0.0).ln_1p(),
            log(PRODUCTS),
            log(BASKET_VALUE),
            log(BASKET_ITEMS),
            raw(RETURN_RATE).clamp(0.0, 1.0),
            log(SPEND_30),
            log(SPEND_90),
            self.table.days[row].ln_1p(),
            raw(LATE_SALES).ln() - self.means[0],
            raw(ACTIVE_BUYERS) - self.means[1],
        ]);
        // The scale of the user's features is unknown. The signed logarithm compresses large values.
        let own = self.table.raw[BUILT_IN.len()..].iter().map(|values| values[row]);
        columns.extend(own.map(|value| value.signum() * value.abs().ln_1p()));
    }

    /// Returns the values of all customers by column.
    pub(super) fn columns(&self) -> Vec<Vec<f64>> {
        let count = INPUTS.len() + self.table.raw.len() - BUILT_IN.len();
        let mut columns = vec![Vec::with_capacity(self.table.len()); count];
        let mut values = Vec::with_capacity(count);
        for row in 0..self.table.len() {
            self.fill(row, &mut values);
            columns.iter_mut().zip(&values).for_each(|(column, value)| column.push(*value));
        }
        columns
    }
}
