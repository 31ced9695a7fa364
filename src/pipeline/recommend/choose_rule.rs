//! Chooses the rule that ranks the products to buy again, by the purchases of this shop's customers.
//!
//! The split in time for the choice is one horizon before the split of the evaluation, so the evaluation is
//! unbiased.

use super::{
    buy_again::BuyAgainRule,
    evaluation::{TimeSplit, list_metrics},
    owned_products::{current_sales, owned_products},
    purchase_log::PurchaseLog,
    recommender::LENGTH,
};
use crate::pipeline::raw::RawError;

/// Least gain of the mean NDCG for which a more complex rule is preferred.
const MIN_GAIN: f64 = 0.001;

/// Returns the rule whose lists at `split` have the greatest mean NDCG against the purchases after it.
/// Returns `None` if too few customers are eligible.
///
/// # Errors
/// Fails if the log cannot be read.
pub(super) fn choose_rule(
    log: &PurchaseLog,
    split: TimeSplit,
    threads: usize,
) -> Result<Option<BuyAgainRule>, RawError> {
    let Ok(sample) = split.customers(log, threads)? else { return Ok(None) };
    let sales = current_sales(log, split.at, threads)?;
    let gains = sample.map(
        log,
        threads,
        || (),
        |(), customer| {
            let owned = owned_products(customer.purchases, split.at);
            let bought = split.bought_after(customer);
            BuyAgainRule::ALL.map(|rule| list_metrics(&rule.rank(&owned, &sales, LENGTH), &bought)[2])
        },
    )?;
    let mean = |place: usize| {
        gains.iter().map(|gains| gains[place]).sum::<f64>()
            / f64::from(u32::try_from(gains.len()).unwrap_or(u32::MAX))
    };
    let means: Vec<f64> = (0..BuyAgainRule::ALL.len()).map(mean).collect();
    let best = (1..means.len())
        .fold(0, |best, place| if means[place] > means[best] + MIN_GAIN { place } else { best });
    tracing::debug!(?means, rule = BuyAgainRule::ALL[best].name(), "buy_again rule chosen");
    Ok(Some(BuyAgainRule::ALL[best]))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{owned_products::DAY, purchase_log::of_lines},
        *,
    };

    /// Returns the rule for forty customers with three products: 0 is ordered most often, 1 most recently,
    /// and 2 has the greatest current sales in the shop. After the split all of them buy the product `again`.
    fn rule(again: u32) -> Option<BuyAgainRule> {
        let names: Vec<String> = (0..40).map(|at| format!("c{at:02}")).collect();
        let crowd: Vec<String> = (0..400).map(|at| format!("d{at:03}")).collect();
        let mut lines: Vec<(&str, u32, u32)> =
            crowd.iter().map(|name| (name.as_str(), 2, 399 * DAY)).collect();
        for name in &names {
            let own = [(0, 10), (0, 11), (0, 12), (1, 395), (1, 396), (2, 395), (again, 410)];
            lines.extend(own.map(|(product, day)| (name.as_str(), product, day * DAY)));
        }
        choose_rule(&of_lines(&lines), TimeSplit { at: 400 * DAY, until: 450 * DAY }, 2).expect("read")
    }

    #[test]
    fn rule_that_predicts_repeat_purchases_is_chosen() {
        assert_eq!(
            [0, 1, 2].map(rule),
            [
                Some(BuyAgainRule::OrderCount),
                Some(BuyAgainRule::DecayedOrders),
                Some(BuyAgainRule::DecayedOrdersAndSales)
            ]
        );
        assert_eq!(
            choose_rule(
                &of_lines(&[("a", 0, DAY), ("a", 0, 9 * DAY)]),
                TimeSplit { at: 5 * DAY, until: 10 * DAY },
                1
            )
            .expect("read"),
            None
        );
    }
}
