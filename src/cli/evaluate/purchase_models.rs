//! The part of a model card about the purchase models.

use crate::{cli::table, snapshot::models::PurchaseModels};

/// Prints the parameters of the purchase models (NBD, BG/NBD, Gamma-Gamma).
pub(super) fn purchases(models: &PurchaseModels) -> std::io::Result<()> {
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
