//! `[recommendations]`: the `recommendations` view and how it is measured.

use std::time::Duration;

use serde::Deserialize;

use super::units::duration;

/// Product ids that shop systems use for lines that are not products: postage and carriage, discounts, manual
/// entries, samples, bank and marketplace fees, adjustments, bad debt, charity, vouchers, gift wrapping,
/// tests.
const NON_PRODUCTS: [&str; 31] = [
    "POST",
    "POSTAGE",
    "DOT",
    "C2",
    "CARRIAGE",
    "SHIPPING",
    "SHIPPING-*",
    "DELIVERY",
    "D",
    "DISCOUNT",
    "DISCOUNT-*",
    "M",
    "MANUAL",
    "S",
    "SAMPLES",
    "B",
    "BANK CHARGES",
    "AMAZONFEE",
    "FEE",
    "FEE-*",
    "ADJUST",
    "ADJUST2",
    "CRUK",
    "PADS",
    "gift_0*",
    "GIFT-WRAP",
    "GIFT-CARD*",
    "VOUCHER",
    "VOUCHER-*",
    "TEST0*",
    "DEPOSIT",
];

/// The `[recommendations]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecommendationsConfig {
    /// Whether builds compute the `recommendations` view.
    ///
    /// Default: `true`.
    pub enabled: bool,
    /// Product ids that are not products and are never recommended. They are no favorite product, and
    /// `is_product` in the SQL of views is false for them. Whole ids, case-insensitive; `*` matches any text.
    /// A configured list replaces the default list.
    ///
    /// Default: `["POST", "POSTAGE", "DOT", "C2", "CARRIAGE", "SHIPPING", "SHIPPING-*", "DELIVERY", "D",
    /// "DISCOUNT", "DISCOUNT-*", "M", "MANUAL", "S", "SAMPLES", "B", "BANK CHARGES", "AMAZONFEE", "FEE",
    /// "FEE-*", "ADJUST", "ADJUST2", "CRUK", "PADS", "gift_0*", "GIFT-WRAP", "GIFT-CARD*", "VOUCHER",
    /// "VOUCHER-*", "TEST0*", "DEPOSIT"]`.
    pub exclude: Vec<String>,
    /// Column of `customers` with the preferred category of customers without enough purchases. If the column
    /// is missing, the category comes from the latest interactions.
    ///
    /// Default: `"favourite_category"`.
    pub category_column: String,
    /// Length of the evaluation period after the training period, at most a third of the history.
    ///
    /// Default: `"90d"`.
    #[serde(deserialize_with = "duration")]
    pub horizon: Duration,
    /// Time for which builds use the rule and the measurement of the current snapshot. It counts from as-of
    /// time to as-of time. `0d` trains in every build. A build with other settings or other code of Larder
    /// trains anew, and so does `larder build --retrain`.
    ///
    /// Default: `"0d"`. Example: `"7d"`.
    #[serde(deserialize_with = "duration")]
    pub retrain: Duration,
}

impl Default for RecommendationsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            exclude: NON_PRODUCTS.map(str::to_owned).to_vec(),
            category_column: "favourite_category".to_owned(),
            horizon: Duration::from_hours(24 * 90),
            retrain: Duration::ZERO,
        }
    }
}
