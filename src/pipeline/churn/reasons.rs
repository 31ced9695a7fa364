//! The reasons of a prediction: the features with the greatest contributions, as sentences.

use super::features::{BUILT_IN, FREQUENCY, FeatureSource, FeatureTable, GAP, RECENCY, TENURE};

/// Greatest number of reasons of a customer.
const MAX_REASONS: usize = 3;
/// Least absolute contribution to the log-odds for which a feature is a reason.
const MIN_CONTRIBUTION: f64 = 0.05;

/// A reason for a customer's probability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChurnReason {
    pub(super) feature: String,
    pub(super) value: String,
    pub(super) direction: &'static str,
    pub(super) text: String,
}

/// Returns the features with the greatest absolute contributions for the customer at `row`, greatest first.
/// `contributions` are log-odds by source.
pub(super) fn reasons(
    table: &FeatureTable,
    sources: &[FeatureSource],
    row: usize,
    contributions: &[f64],
) -> Vec<ChurnReason> {
    let mut order: Vec<usize> =
        (0..contributions.len()).filter(|at| contributions[*at].abs() >= MIN_CONTRIBUTION).collect();
    order.sort_by(|a, b| contributions[*b].abs().total_cmp(&contributions[*a].abs()).then(a.cmp(b)));
    let reason = |at: &usize| {
        let raw = table.raw[*at][row];
        let (text, raises) = (sentence(table, &sources[*at], *at, row), contributions[*at] > 0.0);
        ChurnReason {
            feature: sources[*at].name(),
            value: if *at == TENURE { number(raw.floor()) } else { number(raw) },
            direction: if raises { "raises" } else { "lowers" },
            text: format!("{text}: this {} the risk", if raises { "raises" } else { "lowers" }),
        }
    };
    order.iter().take(MAX_REASONS).map(reason).collect()
}

/// Returns a sentence about the feature at `at` for readers who do not know feature names. Changing a text
/// changes the part files of a snapshot.
fn sentence(table: &FeatureTable, source: &FeatureSource, at: usize, row: usize) -> String {
    let raw = |place: usize| table.raw[place][row];
    let value = number(raw(at));
    let plural =
        |text: &str, one: &str, many: &str| format!("{text} {}", if text == "1" { one } else { many });
    if at == GAP {
        let since = plural(&number(raw(RECENCY)), "day", "days");
        return if raw(GAP).is_nan() {
            let tenure = plural(&number(raw(TENURE).floor()), "day", "days");
            format!("{since} since the last order; customer for {tenure}, no usual interval yet")
        } else {
            format!("{since} since the last order, usually {value} between orders")
        };
    }
    if at >= BUILT_IN.len() {
        return if raw(at).is_nan() {
            format!("{} is not known", source.name())
        } else {
            format!("{} is {value}", source.name())
        };
    }
    match source.column.as_str() {
        "recency_days" => format!("last order {} ago", plural(&value, "day", "days")),
        "frequency" if raw(FREQUENCY) <= 1.0 => "only one order so far".to_owned(),
        "frequency" => format!("{value} orders in {} days", number(raw(TENURE).floor())),
        "monetary" => format!("spent {value} so far, less returns"),
        "first_purchase_at" => {
            format!("first order {} ago", plural(&number(raw(TENURE).floor()), "day", "days"))
        }
        "products" => format!("bought {}", plural(&value, "product", "different products")),
        "basket_value" => format!("an order is worth {value} on average"),
        "basket_items" => format!("an order has {} on average", plural(&value, "item", "items")),
        "return_rate" if raw(at) <= 0.0 => "has returned nothing".to_owned(),
        "return_rate" => format!("returned {} % of the purchases' worth", number(raw(at) * 100.0)),
        "spend_30d" => format!("spent {value} within the last 30 days"),
        "spend_90d" => format!("spent {value} within the last 90 days"),
        "late_sales" => format!(
            "of all sales of the products bought, {} % were within the last {} days",
            number(raw(at) * 100.0),
            number(table.horizon)
        ),
        "active_buyers" => format!(
            "of others who bought the same products, {} % ordered within the last {} days",
            number(raw(at) * 100.0),
            number(table.horizon / 2.0)
        ),
        _ => format!("{} is {value}", source.name()),
    }
}

/// Formats `value` with at most two decimal places and without trailing zeros.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "not known".to_owned();
    }
    let text = format!("{value:.2}");
    let trimmed = text.trim_end_matches('0').trim_end_matches('.');
    if trimmed == "-0" { "0".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_trailing_zeros() {
        assert_eq!(
            [12.0, 12.5, 0.126, -0.001, f64::NAN].map(number),
            ["12", "12.5", "0.13", "0", "not known"]
        );
    }

    #[test]
    fn reasons_are_the_greatest_contributions_with_their_direction() {
        let (sources, mut table) =
            (crate::pipeline::churn::features::sources([], |_, _| false), FeatureTable::default());
        table.ids = vec!["a".to_owned()];
        table.raw = sources.iter().map(|_| vec![f64::NAN]).collect();
        table.raw[RECENCY] = vec![1.0];
        table.raw[FREQUENCY] = vec![1.0];
        table.raw[TENURE] = vec![1.5];
        let mut contributions = vec![0.0; sources.len()];
        (contributions[RECENCY], contributions[FREQUENCY], contributions[GAP], contributions[5]) =
            (-0.4, 0.9, 0.2, 0.01);
        let found = reasons(&table, &sources, 0, &contributions);
        let shown: Vec<_> =
            found.iter().map(|r| (r.feature.as_str(), r.direction, r.text.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("rfm.frequency", "raises", "only one order so far: this raises the risk"),
                ("rfm.recency_days", "lowers", "last order 1 day ago: this lowers the risk"),
                (
                    "behavior.days_between_orders",
                    "raises",
                    "1 day since the last order; customer for 1 day, no usual interval yet: \
                     this raises the risk"
                ),
            ]
        );
    }
}
