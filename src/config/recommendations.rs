//! `[recommendations]`

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// Ids that shops' systems use for what is no product: postage and carriage, discounts, entries by hand, samples, bank and market
/// place fees, adjustments, bad debt, charity, vouchers, gift wrapping, tests.
const NO_PRODUCTS: [&str; 31] = [
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

/// `[recommendations]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecommendationsConfig {
    /// Whether there is the view `recommendations`; default true.
    pub enabled: bool,
    /// Product ids that are no products and never recommended: whole ids in any case, `*` for any text; replaces the default, which holds
    /// `POST`, `DOT`, `M`, `C2`, `D`, `S`, `BANK CHARGES`, `AMAZONFEE`, `CRUK`, `gift_0*` and the like.
    pub exclude: Vec<String>,
    /// The column of `customers` that names the category a customer likes, for those of whom purchases do not tell it; default
    /// `favourite_category`. Where there is none, the customer's latest interactions tell.
    pub category_column: String,
    /// How long after the split of the measurement customers are watched; default `90d`, and never more than a third of the history.
    #[serde(deserialize_with = "duration")]
    pub horizon: Duration,
}

impl Default for RecommendationsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            exclude: NO_PRODUCTS.map(str::to_owned).to_vec(),
            category_column: "favourite_category".to_owned(),
            horizon: Duration::from_hours(24 * 90),
        }
    }
}
