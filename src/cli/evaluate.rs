//! `larder evaluate`: prints the model cards of a snapshot.

mod recommendations;
mod value;

use indicatif::HumanCount;

use super::{Setup, table};
use crate::snapshot::{
    Manifest, SnapshotError, SnapshotId,
    models::{ChurnCut, ChurnModel, PurchaseModels},
    read_current, rfc3339,
};

/// Show the quality metrics of the models in a snapshot
///
/// Prints the card of each model as tables: metrics of all candidates on held-out data, calibration and lift,
/// features, and reasons not to trust the model. The build measured them; they are also in the manifest and
/// at /v1/models/.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder evaluate")]
pub(super) struct Args {
    /// Snapshot id [default: the current snapshot]
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<SnapshotId>,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let lake = setup.lake()?;
    let id = match args.snapshot {
        Some(id) => id,
        None => read_current(&lake).await?.ok_or(SnapshotError::NoCurrent)?.snapshot,
    };
    let manifest = Manifest::read(&lake, &id).await?;
    table::line(&format!("snapshot {id}, as of {}", rfc3339::format(manifest.as_of)))?;
    match &manifest.models.churn {
        Some(card) => churn(card)?,
        None => table::line("the snapshot has no churn model")?,
    }
    match &manifest.models.value {
        Some(card) => value::value(card)?,
        None => table::line("the snapshot has no value model")?,
    }
    match &manifest.models.recommendations {
        Some(card) => recommendations::recommendations(card),
        None => Ok(table::line("the snapshot has no recommendations model")?),
    }
}

/// Prints the card of the churn model.
fn churn(card: &ChurnModel) -> std::io::Result<()> {
    table::line(&format!(
        "\nchurn: no purchase within {} days; chosen model {}, {}",
        card.horizon_days,
        card.chosen,
        if card.trusted { "trusted" } else { "NOT TRUSTED" }
    ))?;
    for reason in &card.reasons {
        table::line(&format!("  not trusted: {reason}"))?;
    }
    for caveat in &card.caveats {
        table::line(&format!("  caveat: {caveat}"))?;
    }
    if card.cuts.is_empty() {
        return Ok(());
    }
    training(card)?;
    candidates(&card.cuts)?;
    if let Some(cutoff) = card.cuts.last() {
        calibration(cutoff)?;
    }
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
         calibration slope {:.3}\n",
        HumanCount(card.training_rows),
        card.sampling,
        card.training_cuts.len(),
        card.training_cuts.first().map_or("", String::as_str),
        card.training_cuts.last().map_or("", String::as_str),
        card.learned_days.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        card.base_rate * 100.0,
        card.calibration_slope,
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

/// Prints the parameters of the purchase models (NBD, BG/NBD, Gamma-Gamma).
fn purchases(models: &PurchaseModels) -> std::io::Result<()> {
    table::line("")?;
    for (name, fit) in [("nbd", &models.nbd), ("bg_nbd", &models.bg_nbd)] {
        let Some(fit) = fit else { continue };
        let dropout = fit.a.zip(fit.b).map(|(a, b)| format!(", a {a:.3}, b {b:.3}")).unwrap_or_default();
        table::line(&format!(
            "{name}: r {:.3}, alpha {:.2} days{dropout}; log-likelihood {:.1}",
            fit.r, fit.alpha, fit.log_likelihood
        ))?;
    }
    if let Some(fit) = &models.gamma_gamma {
        table::line(&format!("gamma_gamma: p {:.3}, q {:.3}, gamma {:.2}", fit.p, fit.q, fit.gamma))?;
    }
    for why in &models.degenerate {
        table::line(&format!("degenerate: {why}"))?;
    }
    Ok(())
}
