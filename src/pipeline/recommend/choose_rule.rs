//! In which order a customer's own products are offered again: a few rules, and the choice among them by what the shop's customers did.
//!
//! The choice rests on a split in time that lies a horizon before the one that is measured, so that the figures are those of a stranger.

use super::{
    buy_again::Rule,
    ledger::{Ledger, Shopper},
    measure::{FEWEST, SAMPLE, bought, meet},
    owned::{lately, owned},
    taste::LENGTH,
    threads::each,
};

/// By so much the gain of a rule that is less simple must be greater.
const MARGIN: f64 = 0.001;

/// The rule whose lists from what was known at `split` met best what was bought until `until`; nothing where too few bought.
pub(super) fn choose(ledger: &Ledger, (split, until): (u32, u32), threads: usize) -> Option<Rule> {
    let counts = |shopper: &Shopper<'_>| {
        shopper.purchases.iter().any(|purchase| purchase.holds(split))
            && !bought(shopper, split, until).is_empty()
    };
    let all: Vec<usize> = (0..ledger.len()).filter(|at| counts(&ledger.get(*at))).collect();
    if all.len() < FEWEST {
        return None;
    }
    let chosen: Vec<usize> = all.iter().copied().step_by(all.len().div_ceil(SAMPLE)).collect();
    let lately = lately(ledger, split);
    let gains = each(
        threads,
        chosen.len(),
        || (),
        |(), at| {
            let shopper = ledger.get(chosen[at]);
            let (owned, bought) = (owned(shopper.purchases, split), bought(&shopper, split, until));
            Rule::ALL.map(|rule| meet(&rule.rank(&owned, &lately, LENGTH), &bought)[2])
        },
    );
    let mean = |place: usize| {
        gains.iter().map(|gains| gains[place]).sum::<f64>()
            / f64::from(u32::try_from(gains.len()).unwrap_or(u32::MAX))
    };
    let means: Vec<f64> = (0..Rule::ALL.len()).map(mean).collect();
    let best = (1..means.len())
        .fold(0, |best, place| if means[place] > means[best] + MARGIN { place } else { best });
    tracing::debug!(?means, rule = Rule::ALL[best].name(), "the rule of buy_again was chosen");
    Some(Rule::ALL[best])
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ledger::of_lines, owned::DAY},
        *,
    };

    /// Forty customers with three products: 0 ordered most often, 1 lately, and 2, in which the shop does most of its business. Who
    /// comes back buys `again`.
    fn rule(again: u32) -> Option<Rule> {
        let names: Vec<String> = (0..40).map(|at| format!("c{at:02}")).collect();
        let crowd: Vec<String> = (0..400).map(|at| format!("d{at:03}")).collect();
        let mut lines: Vec<(&str, u32, u32)> =
            crowd.iter().map(|name| (name.as_str(), 2, 399 * DAY)).collect();
        for name in &names {
            let own = [(0, 10), (0, 11), (0, 12), (1, 395), (1, 396), (2, 395), (again, 410)];
            lines.extend(own.map(|(product, day)| (name.as_str(), product, day * DAY)));
        }
        choose(&of_lines(&lines), (400 * DAY, 450 * DAY), 2)
    }

    #[test]
    fn the_rule_is_the_one_that_customers_follow() {
        assert_eq!([0, 1, 2].map(rule), [Some(Rule::Often), Some(Rule::Fading), Some(Rule::Selling)]);
        assert_eq!(choose(&of_lines(&[("a", 0, DAY), ("a", 0, 9 * DAY)]), (5 * DAY, 10 * DAY), 1), None);
    }
}
