//! A model that a build writes into its snapshot, and that later builds score with instead of training anew.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    ChurnContext,
    expected_value::ExpectedValues,
    features::{BUILT_IN, FeatureSource},
    scoring::Scored,
    served_model::ServedModel,
};
use crate::{
    config::ChurnConfig,
    pipeline::retrain,
    snapshot::models::{ChurnModel, Training},
};

/// Name of the file.
pub(in crate::pipeline) const FILE: &str = "churn";

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptModel {
    pub(super) sources: Vec<FeatureSource>,
    pub(super) model: ServedModel,
    pub(super) values: ExpectedValues,
    /// Share of the customers that the model learned from.
    pub(super) sample_share: f64,
}

impl KeptModel {
    /// Returns the content of the file. A model with a number that is not finite has none.
    pub(super) fn content(&self) -> Option<Vec<u8>> {
        let content = serde_json::to_vec(self).ok()?;
        serde_json::from_slice::<Self>(&content).is_ok().then_some(content)
    }
}

/// Returns the training of a model by this build.
pub(super) fn training(context: &ChurnContext<'_>, config: &ChurnConfig) -> Training {
    let ChurnConfig { horizon, levels, high, medium, top, monotone, inputs, exclude, .. } = config;
    let learned = (horizon, monotone, inputs, exclude, config.cuts, config.training_rows);
    let measured = (levels, high, medium, top);
    let views: Vec<_> = context.past.timed().iter().map(|view| (&view.name, &view.sql)).collect();
    retrain::training(context.as_of, context.raw, &format!("{learned:?} {measured:?} {views:?}"))
}

/// Returns the model of the current snapshot and its card, if the model is to be used in place of one of the
/// training `new`. All features of the user that it reads must be `available`.
pub(super) async fn read(
    context: &ChurnContext<'_>,
    config: &ChurnConfig,
    new: &Training,
    available: &BTreeSet<String>,
) -> Option<(KeptModel, Vec<u8>, ChurnModel)> {
    let previous = context.previous?;
    let card = previous.models.churn.as_ref()?;
    let training = retrain::kept(card.training.as_ref(), new, config.retrain)?;
    let content = card.file.as_ref()?.read(context.lake, &previous.id).await?;
    let kept: KeptModel = serde_json::from_slice(&content)
        .inspect_err(|error| tracing::warn!(%error, "cannot read the churn model; training anew"))
        .ok()?;
    if !kept.sources[BUILT_IN.len()..].iter().all(|source| available.contains(&source.name())) {
        return None;
    }
    Some((kept, content, ChurnModel { training: Some(training), ..card.clone() }))
}

/// Returns the card of a build that used the model of `card`.
pub(super) fn card(card: ChurnModel, scored: Scored) -> ChurnModel {
    // The outcomes on the held-out cut belong to the model, the numbers of customers to the build.
    let observed = |level: &str| {
        let known = card.risk_levels.iter().find(|one| one.level == level);
        known.and_then(|one| one.observed.clone())
    };
    let mut risk_levels = scored.risk_levels;
    for level in &mut risk_levels {
        level.observed = observed(&level.level);
    }
    ChurnModel { risk_levels, value_levels: scored.value_levels, ..card }
}
