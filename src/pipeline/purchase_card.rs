//! The part of a model card about the purchase models and the model of amounts.

use super::learning::{
    gamma_gamma::GammaGamma,
    metrics::rounded,
    purchase_model::{PurchaseFits, PurchaseModel},
};
use crate::snapshot::models::{GammaGammaFit, PurchaseFit, PurchaseModels};

/// Returns the parameters of the models, and why a model is degenerate.
pub(super) fn purchase_models(fits: &PurchaseFits, amounts: &Result<GammaGamma, String>) -> PurchaseModels {
    let fit = |model: &PurchaseModel| PurchaseFit {
        r: rounded(model.r),
        alpha: rounded(model.alpha),
        a: model.leaving.map(|(a, _)| rounded(a)),
        b: model.leaving.map(|(_, b)| rounded(b)),
        log_likelihood: rounded(model.log_likelihood),
    };
    let reason = |name: &str, error: Option<&String>| error.map(|error| format!("{name}: {error}"));
    let degenerate = [
        reason("nbd", fits.nbd.as_ref().err()),
        reason("bg_nbd", fits.bg_nbd.as_ref().err()),
        reason("gamma_gamma", amounts.as_ref().err()),
    ];
    PurchaseModels {
        nbd: fits.nbd.as_ref().ok().map(fit),
        bg_nbd: fits.bg_nbd.as_ref().ok().map(fit),
        gamma_gamma: amounts.as_ref().ok().map(|model| GammaGammaFit {
            p: rounded(model.p),
            q: rounded(model.q),
            gamma: rounded(model.gamma),
        }),
        degenerate: degenerate.into_iter().flatten().collect(),
    }
}
