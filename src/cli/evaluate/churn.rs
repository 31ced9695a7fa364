//! Prints the card of the churn model.

use indicatif::HumanCount;

use super::{findings, purchase_models::purchases};
use crate::{
    cli::table,
    snapshot::{
        models::{ChurnCut, ChurnModel, SeenPredictions},
        rfc3339,
    },
};

/// Prints the card of the churn model.
pub(super) fn churn(card: &ChurnModel) -> std::io::Result<()> {
    table::line(&format!(
        "\nchurn: no purchase within {} days; chosen model {}, {}",
        card.horizon_days,
        card.chosen,
        if card.trusted { "trusted" } else { "NOT TRUSTED" }
    ))?;
    findings(&card.reasons, &card.caveats)?;
    if card.cuts.is_empty() {
        return Ok(());
    }
    training(card)?;
    candidates(&card.cuts)?;
    if let Some(cutoff) = card.cuts.last() {
        calibration(cutoff)?;
    }
    levels(card)?;
    seen(&card.seen)?;
    features(card)?;
    if let Some(models) = &card.purchases {
        purchases(models)?;
    }
    expected_value(card)
}

/// Prints the training data of the churn model.
fn training(card: &ChurnModel) -> std::io::Result<()> {
    table::line(&format!(
        "trained on {} rows ({}) of {} cutoffs from {} to {}, with horizons of {} days; {:.1} % churned; \
         calibration slope {:.3}, level of {}; {}\n",
        HumanCount(card.training_rows),
        card.sampling,
        card.training_cuts.len(),
        card.training_cuts.first().map_or("", String::as_str),
        card.training_cuts.last().map_or("", String::as_str),
        card.learned_days.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        card.base_rate * 100.0,
        card.calibration_slope,
        card.calibration_level.replace('_', " "),
        if card.monotone { "monotone" } else { "not monotone" },
    ))
}

/// Prints the metrics of every candidate at every cutoff.
fn candidates(cutoffs: &[ChurnCut]) -> std::io::Result<()> {
    let header = [
        "cutoff",
        "use",
        "trained on",
        "customers",
        "churned",
        "candidate",
        "AUC",
        "log loss",
        "Brier",
        "cal. error",
        "top lift",
    ];
    let mut rows = Vec::new();
    for cutoff in cutoffs {
        for (at, metrics) in cutoff.candidates.iter().enumerate() {
            let mut row = if at > 0 {
                vec![String::new(); 5]
            } else {
                vec![
                    rfc3339::format(cutoff.at),
                    if cutoff.used_to_choose { "validation" } else { "test" }.to_owned(),
                    HumanCount(cutoff.training_rows).to_string(),
                    HumanCount(cutoff.customers).to_string(),
                    format!("{:.3}", cutoff.churned),
                ]
            };
            row.push(metrics.name.clone());
            let errors = [metrics.auc, metrics.log_loss, metrics.brier, metrics.calibration_error];
            row.extend(errors.map(|value| format!("{value:.4}")));
            row.push(format!("{:.2}", metrics.top_lift));
            rows.push(row);
        }
    }
    table::print(&header, &rows)
}

/// Prints the calibration and lift of the chosen model at a cutoff, by deciles of predicted probability.
fn calibration(cutoff: &ChurnCut) -> std::io::Result<()> {
    table::line(&format!(
        "\nchosen model at the cutoff {}, by deciles of predicted probability",
        rfc3339::format(cutoff.at)
    ))?;
    let deciles = cutoff.bins.iter().enumerate().map(|(at, bin)| {
        vec![
            (at + 1).to_string(),
            HumanCount(bin.customers).to_string(),
            format!("{:.3}", bin.foretold),
            format!("{:.3}", bin.seen),
            format!("{:.2}", bin.lift),
        ]
    });
    table::print(&["decile", "customers", "predicted", "observed", "lift"], &deciles.collect::<Vec<_>>())
}

/// Prints the customers of each risk level, and the outcomes of such customers at the latest cutoff.
fn levels(card: &ChurnModel) -> std::io::Result<()> {
    table::line(&format!("\nrisk levels by {}, and such customers at the latest cutoff", card.level_rule))?;
    let rows = card.risk_levels.iter().map(|level| {
        let mut row = vec![
            level.level.clone(),
            HumanCount(level.customers).to_string(),
            format!("{:.3}", level.predicted),
        ];
        row.extend(level.observed.as_ref().map_or_else(
            || vec![String::new(); 3],
            |then| {
                let shares = [then.predicted, then.churned].map(|share| format!("{share:.3}"));
                [HumanCount(then.customers).to_string()].into_iter().chain(shares).collect()
            },
        ));
        row
    });
    let header = ["level", "customers", "predicted", "customers then", "predicted then", "observed"];
    table::print(&header, &rows.collect::<Vec<_>>())
}

/// Prints the predictions of earlier snapshots and what happened since.
fn seen(seen: &[SeenPredictions]) -> std::io::Result<()> {
    if seen.is_empty() {
        return Ok(());
    }
    table::line("\npredictions of earlier snapshots, and what happened since")?;
    let rows = seen.iter().map(|one| {
        vec![
            one.snapshot.to_string(),
            format!("{}{}", one.observed_days, if one.finished { ", finished" } else { "" }),
            HumanCount(one.customers).to_string(),
            format!("{:.3}", one.predicted),
            format!("{:.3}", one.churned),
            format!("{:.4}", one.auc),
            one.calibration_error.map(|error| format!("{error:.4}")).unwrap_or_default(),
        ]
    });
    let header = ["snapshot", "days since", "customers", "predicted", "no order since", "AUC", "cal. error"];
    table::print(&header, &rows.collect::<Vec<_>>())
}

/// Prints the features of the churn model.
fn features(card: &ChurnModel) -> std::io::Result<()> {
    table::line("")?;
    let features = card.features.iter().map(|feature| {
        vec![
            feature.name.clone(),
            feature.source.clone(),
            format!("{:.3}", feature.weight),
            format!("{:.3}", feature.importance),
        ]
    });
    table::print(&["feature", "computed from", "weight", "importance"], &features.collect::<Vec<_>>())
}

/// Prints the candidates for the expected value.
fn expected_value(card: &ChurnModel) -> std::io::Result<()> {
    let value = &card.expected_value;
    table::line(&format!(
        "\nexpected value: chosen model {}; weight of the own rate {:.1}, mean of retained customers {:.2}\n",
        value.chosen, value.own, value.mean
    ))?;
    let rows = value.candidates.iter().map(|one| {
        vec![one.name.clone(), format!("{:.2}", one.error_to_choose), format!("{:.2}", one.error)]
    });
    table::print(&["candidate", "mean error, validation", "test"], &rows.collect::<Vec<_>>())
}
