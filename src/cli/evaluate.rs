//! `larder evaluate`

mod recommendations;

use super::{App, table};
use crate::snapshot::{
    Manifest, SnapshotError, SnapshotId,
    models::{ChurnModel, PurchaseModels},
    read_current, rfc3339,
};

/// Show how good the models of the current snapshot are
///
/// Prints each model's card as tables: the candidates with their figures on data that they did not see, calibration and lift,
/// features, and when not to trust it. The figures were measured by the build; they are in the manifest and at /v1/models/.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder evaluate")]
pub(super) struct Args {
    /// The snapshot [default: the current one]
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<SnapshotId>,
}

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let lake = app.lake()?;
    let id = match args.snapshot {
        Some(id) => id,
        None => read_current(&lake).await?.ok_or(SnapshotError::NoCurrent)?.snapshot,
    };
    let manifest = Manifest::read(&lake, &id).await?;
    table::line(&format!("snapshot {id}, as of {}", rfc3339::format(manifest.as_of)))?;
    match &manifest.models.churn {
        Some(card) => churn(card)?,
        None => table::line("it has no churn model")?,
    }
    match &manifest.models.recommendations {
        Some(card) => recommendations::recommendations(card),
        None => Ok(table::line("it has no model of recommendations")?),
    }
}

fn churn(card: &ChurnModel) -> std::io::Result<()> {
    table::line(&format!(
        "\nchurn: no purchase within {} days; made by {}, {}",
        card.horizon_days,
        card.chosen,
        if card.trusted { "trusted" } else { "NOT TO BE TRUSTED" }
    ))?;
    for reason in &card.reasons {
        table::line(&format!("  not to be trusted: {reason}"))?;
    }
    for caveat in &card.caveats {
        table::line(&format!("  mind: {caveat}"))?;
    }
    if card.cuts.is_empty() {
        return Ok(());
    }
    table::line(&format!(
        "trained on {} rows ({}) of {} cuts from {} to {}, on what was done within {} days; {:.1} % churned; calibration slope {:.3}\n",
        table::count(card.training_rows),
        card.sampling,
        card.training_cuts.len(),
        card.training_cuts.first().map_or("", String::as_str),
        card.training_cuts.last().map_or("", String::as_str),
        card.learned_days.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        card.base_rate * 100.0,
        card.calibration_slope,
    ))?;
    let mut rows = Vec::new();
    for cut in &card.cuts {
        for (at, figures) in cut.candidates.iter().enumerate() {
            let first = at == 0;
            let only = |text: String| if first { text } else { String::new() };
            rows.push(vec![
                only(rfc3339::format(cut.at)),
                only(if cut.used_to_choose { "chosen on" } else { "kept out" }.to_owned()),
                only(table::count(cut.training_rows)),
                only(table::count(cut.customers)),
                only(format!("{:.3}", cut.churned)),
                figures.name.clone(),
                format!("{:.4}", figures.auc),
                format!("{:.4}", figures.log_loss),
                format!("{:.4}", figures.brier),
                format!("{:.4}", figures.calibration_error),
                format!("{:.2}", figures.top_lift),
            ]);
        }
    }
    table::print(
        &[
            "cut",
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
        ],
        &rows,
    )?;
    if let Some(cut) = card.cuts.last() {
        table::line(&format!(
            "\nthe model on the cut {}, by tenths of probability",
            rfc3339::format(cut.at)
        ))?;
        let tenths = cut.bins.iter().enumerate().map(|(at, bin)| {
            vec![
                (at + 1).to_string(),
                table::count(bin.customers),
                format!("{:.3}", bin.foretold),
                format!("{:.3}", bin.seen),
                format!("{:.2}", bin.lift),
            ]
        });
        table::print(&["tenth", "customers", "foretold", "seen", "lift"], &tenths.collect::<Vec<_>>())?;
    }
    table::line("")?;
    let features = card.features.iter().map(|feature| {
        vec![
            feature.name.clone(),
            feature.source.clone(),
            format!("{:.3}", feature.weight),
            format!("{:.3}", feature.importance),
        ]
    });
    table::print(&["feature", "made of", "weight", "importance"], &features.collect::<Vec<_>>())?;
    if let Some(models) = &card.purchases {
        purchases(models)?;
    }
    let value = &card.expected_value;
    table::line(&format!(
        "\nexpected value: made by {}; own rate counts {:.1}, mean of those who stayed {:.2}\n",
        value.chosen, value.own, value.mean
    ))?;
    let rows = value.candidates.iter().map(|one| {
        vec![one.name.clone(), format!("{:.2}", one.error_to_choose), format!("{:.2}", one.error)]
    });
    table::print(&["candidate", "mean error, chosen on", "kept out"], &rows.collect::<Vec<_>>())
}

/// The parameters of the models of coming and going.
fn purchases(models: &PurchaseModels) -> std::io::Result<()> {
    table::line("")?;
    for (name, fit) in [("nbd", &models.nbd), ("bg_nbd", &models.bg_nbd)] {
        let Some(fit) = fit else { continue };
        let leaving = fit.a.zip(fit.b).map(|(a, b)| format!(", a {a:.3}, b {b:.3}")).unwrap_or_default();
        table::line(&format!(
            "{name}: r {:.3}, alpha {:.2} days{leaving}; log-likelihood {:.1}",
            fit.r, fit.alpha, fit.log_likelihood
        ))?;
    }
    if let Some(fit) = &models.gamma_gamma {
        table::line(&format!("gamma_gamma: p {:.3}, q {:.3}, gamma {:.2}", fit.p, fit.q, fit.gamma))?;
    }
    for why in &models.degenerate {
        table::line(&format!("degenerate, {why}"))?;
    }
    Ok(())
}
