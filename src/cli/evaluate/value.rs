//! Tables of the model card of the customer value.

use indicatif::HumanCount;

use super::{findings, purchase_models::purchases};
use crate::{
    cli::table,
    snapshot::{
        models::{ForecastFigures, ValueCut, ValueModel},
        rfc3339,
    },
};

/// Prints the training data of the forecast and the metrics of each candidate.
pub(super) fn value(card: &ValueModel) -> std::io::Result<()> {
    table::line(&format!(
        "\nvalue: spending and orders within {} days; chosen model {}, for orders {}, {}",
        card.horizon_days,
        card.chosen,
        card.chosen_for_orders,
        if card.trusted { "trusted" } else { "NOT TRUSTED" }
    ))?;
    findings(&card.reasons, &card.caveats)?;
    if card.cuts.is_empty() {
        return Ok(());
    }
    table::line(&format!(
        "trained on {} rows ({}) of {} cutoffs from {} to {}, with a horizon of {} days, extended by the \
         factor {:.3}\n",
        HumanCount(card.training_rows),
        card.sampling,
        card.training_cuts.len(),
        card.training_cuts.first().map_or("", String::as_str),
        card.training_cuts.last().map_or("", String::as_str),
        card.learned_days,
        card.stretch
    ))?;
    forecasts("mean spending", &card.cuts, |cut| format!("{:.2}", cut.mean_spending), |cut| &cut.candidates)?;
    table::line("\nnumber of orders\n")?;
    forecasts("returned", &card.cuts, |cut| format!("{:.3}", cut.returned), |cut| &cut.orders)?;
    next_orders(&card.cuts)?;
    card.purchases.as_ref().map_or(Ok(()), purchases)
}

/// Prints the metrics of every candidate at every cutoff.
fn forecasts(
    outcome: &str,
    cutoffs: &[ValueCut],
    outcome_of: impl Fn(&ValueCut) -> String,
    candidates: impl Fn(&ValueCut) -> &[ForecastFigures],
) -> std::io::Result<()> {
    let header = [
        "cutoff",
        "use",
        "days",
        "customers",
        outcome,
        "candidate",
        "mean error",
        "bias",
        "explained",
        "rank cor.",
        "top decile",
    ];
    let mut rows = Vec::new();
    for cutoff in cutoffs {
        for (at, figures) in candidates(cutoff).iter().enumerate() {
            let mut row = if at > 0 {
                vec![String::new(); 5]
            } else {
                vec![
                    rfc3339::format(cutoff.at),
                    if cutoff.used_to_choose { "validation" } else { "test" }.to_owned(),
                    cutoff.horizon_days.to_string(),
                    HumanCount(cutoff.customers).to_string(),
                    outcome_of(cutoff),
                ]
            };
            row.push(figures.name.clone());
            row.push(format!("{:.2}", figures.mean_absolute_error));
            row.push(format!("{:+.3}", figures.bias));
            let shares = [figures.explained_deviance, figures.rank_correlation, figures.top_decile_share];
            row.extend(shares.map(|share| format!("{share:.3}")));
            rows.push(row);
        }
    }
    table::print(&header, &rows)
}

/// Prints the accuracy of the expected dates of the next order.
fn next_orders(cutoffs: &[ValueCut]) -> std::io::Result<()> {
    table::line("\nexpected date of the next order\n")?;
    let row = |cutoff: &ValueCut| {
        let figures = cutoff.next_order.as_ref()?;
        Some(vec![
            rfc3339::format(cutoff.at),
            HumanCount(figures.customers).to_string(),
            format!("{:.3}", figures.ordered_by_date),
            format!("{:.3}", figures.others_ordered),
        ])
    };
    let header = ["cutoff", "customers with a date", "ordered by it", "others who ordered"];
    table::print(&header, &cutoffs.iter().filter_map(row).collect::<Vec<_>>())
}
