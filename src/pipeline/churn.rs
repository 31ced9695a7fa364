//! The churn model: trained on what the views said at earlier instants and what became of the customers since, measured on
//! cuts that it did not learn from, and served as the view `churn` with its card.
//!
//! Everything runs row after row in the order of ids, so that the same input gives the same probabilities whatever the
//! threads. Where there is too little to learn from, a rule takes the model's place and the card says so. Knows nothing of rankings.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;
use chrono::{DateTime, TimeDelta, Utc};

use super::{BuildError, past::Past, query::Session, staging::derive::StagedFile};
use crate::{
    config::ChurnConfig,
    snapshot::{
        Warning,
        models::{
            ChurnModel, GammaGammaFit, ModelFeature, PurchaseFit, PurchaseModels, RiskThresholds, ValueLevels,
        },
        rfc3339,
    },
    views::{ColumnNote, ViewDefinition},
};

mod ascent;
mod candidates;
mod choose;
mod cuts;
mod demand;
mod horizon;
mod inputs;
mod logistic;
mod measure;
mod purchasing;
mod special;
mod spending;
mod trees;
mod value;
mod view;

use candidates::Rows;
use choose::{Choice, Cut, choose, rule};
use cuts::{CutReader, Sample, cut_times, too_little};
use demand::Look;
use horizon::days;
use inputs::{BUILT_IN, COLUMNS, Inputs, RECENCY, Source, rhythm, sources};
use measure::{mean, rounded, share};
use purchasing::Purchasing;
use value::{Seen, Values, own_rate};
pub(super) use view::VIEW;

/// An area under the curve below this is hardly better than a coin.
const LEAST_AUC: f64 = 0.6;
/// Shares that are off by more than this on the latest cut are not to be believed.
const MOST_ERROR: f64 = 0.1;

/// The view and its card.
pub(super) struct Model {
    pub(super) definition: ViewDefinition,
    pub(super) file: StagedFile,
    pub(super) card: ChurnModel,
}

/// What a build knows: the views at `as_of`, and the way back.
pub(super) struct Known<'a> {
    pub(super) session: &'a Session,
    pub(super) as_of: DateTime<Utc>,
    pub(super) schemas: BTreeMap<&'a str, &'a Schema>,
    pub(super) past: &'a Past<'a>,
}

/// Makes the view; `None` where a replaced `rfm` has no recency and frequency, with a warning.
pub(super) async fn model(
    known: &Known<'_>,
    config: &ChurnConfig,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Model>, BuildError> {
    let has = |view: &str, column: &str| {
        known.schemas.get(view).is_some_and(|schema| schema.field_with_name(column).is_ok())
    };
    if !has("rfm", "recency_days") || !has("rfm", "frequency") {
        warnings.push(Warning::new(
            "churn",
            "the view rfm has no recency_days or no frequency: there is no view churn",
        ));
        return Ok(None);
    }
    let timed: BTreeSet<&str> = known.past.timed().iter().map(|view| view.name.as_str()).collect();
    let of_past =
        known.schemas.iter().filter(|(view, _)| timed.contains(*view)).map(|(view, schema)| (*view, *schema));
    let personal = |view: &str, column: &str| {
        let definition = known.past.views.iter().find(|known| known.name == view);
        definition.and_then(|view| view.columns.get(column)).is_some_and(|note| note.personal)
    };
    let sources = sources(of_past, personal);
    let columns: BTreeSet<String> = sources
        .iter()
        .filter(|source| timed.contains(source.view.as_str()) && has(&source.view, &source.column))
        .filter(|source| !personal(&source.view, &source.column))
        .map(Source::name)
        .collect();
    let horizon = TimeDelta::days(config.horizon_days().into());
    let (customers, first) = cuts::customers(known.session).await?;
    let ends = first.map(|first| cut_times(first, known.as_of, horizon, config.cuts)).unwrap_or_default();
    let partitions = known.past.spilled.partitions;
    let sample = Sample::new(customers, ends.len(), partitions, config.training_rows);
    let look = Look { at: known.as_of, horizon, share: sample.filled(partitions) };
    let inputs = inputs::read(known.session, look, &sources, &columns, 1).await?;
    let (mut seen, mut younger) = (Vec::new(), Vec::new());
    let reader = CutReader {
        session: known.session,
        past: known.past,
        horizon,
        sources: &sources,
        columns: &columns,
        sample,
    };
    for at in &ends {
        let cut = reader.read(*at).await?;
        if *at + horizon <= known.as_of { seen.push(cut) } else { younger.push(cut.cut) }
    }
    let (mut reasons, mut caveats) = (too_little(&seen, horizon), Vec::new());
    let choice = if reasons.is_empty() {
        let cuts: Vec<Cut> = seen.iter().map(|seen| seen.cut.clone()).chain(younger).collect();
        let as_of = known.as_of;
        tokio::task::spawn_blocking(move || choose(&cuts, horizon, as_of)).await?
    } else {
        None
    };
    match &choice {
        Some(choice) => doubts(choice, &seen, horizon, &mut reasons, &mut caveats),
        None if reasons.is_empty() => reasons.push(format!(
            "no cut has {} customers who churned and as many who stayed, in itself and before it",
            choose::LEAST_OF_A_CLASS
        )),
        None => {}
    }
    for reason in &reasons {
        warnings
            .push(Warning::new("churn", format!("churn: {reason}; its probabilities are not to be trusted")));
    }
    let made = make(known, config, &inputs, &sources, choice.as_ref(), &seen)?;
    let (file, values, value_levels) = made;
    caveats.extend(value_levels.caveat());
    let card = ChurnModel {
        horizon_days: config.horizon_days(),
        chosen: choice.as_ref().map_or("rule", |choice| choice.fitted.candidate.name()).to_owned(),
        trusted: reasons.is_empty(),
        reasons,
        caveats,
        training_cuts: if choice.is_some() {
            ends.iter().map(|at| rfc3339::format(*at)).collect()
        } else {
            Vec::new()
        },
        learned_days: choice.as_ref().map(|choice| choice.parts.clone()).unwrap_or_default(),
        training_rows: choice.as_ref().map_or(0, |choice| choice.rows as u64),
        sampling: sample.text(known.past.spilled.partitions),
        base_rate: rounded(choice.as_ref().map_or(0.0, |choice| choice.base_rate)),
        calibration_slope: rounded(choice.as_ref().map_or(1.0, |choice| choice.calibration.slope)),
        features: choice.as_ref().map(|choice| features(choice, &sources)).unwrap_or_default(),
        cuts: choice.as_ref().map(|choice| choice.cuts.clone()).unwrap_or_default(),
        purchases: choice.as_ref().map(|choice| purchases(choice, &values)),
        expected_value: values.card,
        thresholds: RiskThresholds { high: config.high, medium: config.medium },
        value_levels,
    };
    Ok(Some(Model { definition: definition(), file, card }))
}

fn definition() -> ViewDefinition {
    let note = |description: &str| ColumnNote { description: description.to_owned(), personal: false };
    ViewDefinition {
        name: VIEW.to_owned(),
        description: view::DESCRIPTION.to_owned(),
        columns: view::NOTES.iter().map(|(name, text)| ((*name).to_owned(), note(text))).collect(),
        step: false,
        sql: String::new(),
        file: None,
    }
}

/// What the measurements say against the model, and what is to be kept in mind.
fn doubts(
    choice: &Choice,
    seen: &[Seen],
    horizon: TimeDelta,
    reasons: &mut Vec<String>,
    caveats: &mut Vec<String>,
) {
    let Some(latest) = choice.cuts.last() else { return };
    let figures = latest.candidates.iter().find(|figures| figures.name == "model");
    if let Some(figures) = figures {
        let at = rfc3339::format(latest.at);
        if figures.auc < LEAST_AUC {
            reasons.push(format!(
                "on the cut {at} it told the customers apart hardly better than a coin (AUC {:.3})",
                figures.auc
            ));
        }
        if figures.calibration_error > MOST_ERROR {
            reasons.push(format!(
                "on the cut {at} its probabilities were off by {:.3} on average",
                figures.calibration_error
            ));
        }
    }
    if choice.cuts.len() == 1 {
        caveats.push(
            "there was one cut to measure on, which the choice rests on as well: its figures flatter"
                .to_owned(),
        );
    }
    let shares: Vec<f64> = seen.iter().map(|seen| share(&seen.cut.rows.churned(days(horizon)))).collect();
    let (least, most) = shares.iter().fold((1.0_f64, 0.0_f64), |(low, high), s| (low.min(*s), high.max(*s)));
    if most - least > 0.05 {
        caveats.push(format!(
            "the share that churned moved between {least:.2} and {most:.2} over the training cuts: the level of the probabilities may be off by as much, their order is not touched"
        ));
    }
}

/// What is made of the model: the staged view, the model of values, and the levels of value.
type Made = (StagedFile, Values, ValueLevels);

/// Stages the view.
fn make(
    known: &Known<'_>,
    config: &ChurnConfig,
    inputs: &Inputs,
    sources: &[Source],
    choice: Option<&Choice>,
    seen: &[Seen],
) -> Result<Made, BuildError> {
    let horizon = f64::from(config.horizon_days());
    let own: Vec<f64> = (0..inputs.len()).map(|row| own_rate(&inputs.raw, row, horizon)).collect();
    let histories = inputs.histories();
    let values = match choice {
        Some(choice) if seen.last().is_some_and(|seen| !seen.stayed.seen.is_empty()) => {
            Values::fit(seen, &choice.fits, TimeDelta::days(config.horizon_days().into()))
        }
        _ => Values::unfitted(&own),
    };
    let expected: Vec<f64> =
        own.iter().zip(&histories).map(|(own, history)| rounded(values.expected(*own, history))).collect();
    let levels = ValueLevels::of(&expected);
    let rows = Rows { columns: inputs.columns(), histories, next: Vec::new() };
    let scored = choice.map(|choice| (choice, choice.fitted.scores(&rows), choice.fitted.scaled(&rows)));
    let base = scored.as_ref().map(|(choice, _, scaled)| usual(choice, scaled, sources, inputs.len()));
    let file = view::stage(inputs, known.past.scratch, |row| {
        let (probability, moved) = if let (Some((choice, scores, scaled)), Some(base)) = (&scored, &base) {
            let mut moved = by_source(choice, scaled, sources, row);
            moved
                .iter_mut()
                .zip(base)
                .for_each(|(moved, base)| *moved = (*moved - base) * choice.calibration.slope);
            (choice.calibration.probability(scores[row]), moved)
        } else {
            let probability = rule(inputs.raw[RECENCY][row], rhythm(&inputs.raw, row));
            let mut moved = vec![0.0; sources.len()];
            moved[inputs::GAP] = probability - 0.5;
            (probability, moved)
        };
        // Quantized before anything depends on it, so that risk and thresholds agree with what is shown.
        let probability = rounded(probability.clamp(0.0001, 0.9999));
        let risk = config.risk(probability);
        view::Row {
            probability: view::fixed(probability),
            risk,
            expected_value: view::fixed(expected[row]),
            reasons: view::reasons(inputs, sources, row, &moved),
            action: config.action(risk, levels.level(expected[row])).to_owned(),
        }
    })?;
    Ok((file, values, levels))
}

/// What each source adds to the log-odds of `row`: columns made of one feature are taken together.
fn by_source(choice: &Choice, scaled: &[Vec<Vec<f64>>], sources: &[Source], row: usize) -> Vec<f64> {
    let mut moved = vec![0.0; sources.len()];
    for (column, part) in choice.fitted.contributions(scaled, row).into_iter().enumerate() {
        moved[source_of(column, sources.len())] += part;
    }
    moved
}

/// The mean of that over customers, so that a reason is what sets a customer apart from the others.
fn usual(choice: &Choice, scaled: &[Vec<Vec<f64>>], sources: &[Source], rows: usize) -> Vec<f64> {
    let looked: Vec<Vec<f64>> =
        (0..rows).step_by((rows / 2_000).max(1)).map(|row| by_source(choice, scaled, sources, row)).collect();
    (0..sources.len()).map(|at| mean(looked.iter().map(|moved| moved[at]))).collect()
}

/// The feature that a column is made of. The last column is the purchase model's, which goes by when and how often the customer bought.
fn source_of(column: usize, sources: usize) -> usize {
    let own = || BUILT_IN.len() + column - COLUMNS.len();
    COLUMNS
        .get(column)
        .map_or_else(|| if own() < sources { own() } else { inputs::GAP }, |(_, source)| *source)
}

/// The parameters of the purchase models, and why one is degenerate.
fn purchases(choice: &Choice, values: &Values) -> PurchaseModels {
    let fit = |model: &Purchasing| PurchaseFit {
        r: rounded(model.r),
        alpha: rounded(model.alpha),
        a: model.leaving.map(|(a, _)| rounded(a)),
        b: model.leaving.map(|(_, b)| rounded(b)),
        log_likelihood: rounded(model.log_likelihood),
    };
    let why = |name: &str, error: Option<&String>| error.map(|why| format!("{name}: {why}"));
    let (nbd, bg_nbd, spending) = (&choice.fits.nbd, &choice.fits.bg_nbd, &values.spending);
    let degenerate = [
        why("nbd", nbd.as_ref().err()),
        why("bg_nbd", bg_nbd.as_ref().err()),
        why("gamma_gamma", spending.as_ref().err()),
    ];
    PurchaseModels {
        nbd: nbd.as_ref().ok().map(fit),
        bg_nbd: bg_nbd.as_ref().ok().map(fit),
        gamma_gamma: spending.as_ref().ok().map(|model| GammaGammaFit {
            p: rounded(model.p),
            q: rounded(model.q),
            gamma: rounded(model.gamma),
        }),
        degenerate: degenerate.into_iter().flatten().collect(),
    }
}

fn features(choice: &Choice, sources: &[Source]) -> Vec<ModelFeature> {
    let mut features: Vec<ModelFeature> = (0..choice.weights.len())
        .map(|column| ModelFeature {
            name: match COLUMNS.get(column) {
                Some((name, _)) => (*name).to_owned(),
                None if column + 1 == choice.weights.len() => "no_purchase_odds".to_owned(),
                None => format!("log_{}", sources[source_of(column, sources.len())].column),
            },
            source: sources[source_of(column, sources.len())].name(),
            weight: rounded(choice.weights[column]),
            importance: rounded(choice.importance[column]),
        })
        .collect();
    features.sort_by(|a, b| b.importance.total_cmp(&a.importance).then_with(|| a.name.cmp(&b.name)));
    features
}
