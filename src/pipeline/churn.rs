//! The churn model: trained on what the views said at earlier instants and what became of the customers since, measured on
//! cuts that it did not learn from, and served as the view `churn` with its card.
//!
//! Everything runs row after row in the order of ids, so that the same input gives the same probabilities whatever the
//! threads. Where there is too little to learn from, a rule takes the model's place and the card says so. Knows nothing of rankings.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::{
    array::{Array, AsArray},
    datatypes::{Float64Type, Schema, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use super::{BuildError, ViewError, past::Past, query::Session, staging::derive::StagedFile};
use crate::{
    config::{ChurnConfig, level},
    snapshot::{
        models::{ChurnModel, ExpectedValueModel, ModelFeature, RiskThresholds, ValueLevels},
        rfc3339,
    },
    views::{ColumnNote, ViewDefinition},
};

mod candidates;
mod choose;
mod inputs;
mod logistic;
mod measure;
mod trees;
mod value;
mod view;

use candidates::Rows;
use choose::{Choice, Cut, choose, rule, share};
use inputs::{BUILT_IN, COLUMNS, Inputs, RECENCY, Source, rhythm, sources};
use measure::{mean, rounded};
use value::{Stayed, expected, own_rate};

/// The name of the view.
pub(super) const VIEW: &str = "churn";
/// Fewer customers than these at the latest cut are too few.
const LEAST_CUSTOMERS: usize = 200;
/// The least time between cuts: nearer ones hold nearly the same rows.
const LEAST_STEP: TimeDelta = TimeDelta::days(7);
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

/// A cut with what only the value model needs.
struct Seen {
    cut: Cut,
    stayed: Stayed,
}

/// Makes the view; `None` where a replaced `rfm` has no recency and frequency, with a warning.
pub(super) async fn model(
    known: &Known<'_>,
    config: &ChurnConfig,
    warnings: &mut Vec<String>,
) -> Result<Option<Model>, BuildError> {
    let has =
        |view: &str, column: &str| known.schemas.get(view).is_some_and(|schema| schema.field_with_name(column).is_ok());
    if !has("rfm", "recency_days") || !has("rfm", "frequency") {
        warnings.push("the view rfm has no recency_days or no frequency: there is no view churn".to_owned());
        return Ok(None);
    }
    let timed: BTreeSet<&str> = known.past.timed().iter().map(|view| view.name.as_str()).collect();
    let of_past = known.schemas.iter().filter(|(view, _)| timed.contains(*view)).map(|(view, schema)| (*view, *schema));
    let sources = sources(of_past);
    let columns: BTreeSet<String> = sources
        .iter()
        .filter(|source| timed.contains(source.view.as_str()) && has(&source.view, &source.column))
        .map(Source::name)
        .collect();
    let inputs = inputs::read(known.session, known.as_of, &sources, &columns, 1).await?;
    let horizon = TimeDelta::days(config.horizon_days().into());
    let ends = match first_order(known.session).await? {
        Some(first) => cut_times(first, known.as_of, horizon, config.cuts),
        None => Vec::new(),
    };
    let sample = Sample::new(inputs.len(), ends.len(), known.past.spilled.partitions, config.training_rows);
    let mut seen = Vec::new();
    for at in &ends {
        seen.push(look_back(known, *at, horizon, (&sources, &columns), sample).await?);
    }
    let (mut reasons, mut caveats) = (too_little(&seen, horizon), Vec::new());
    let choice = if reasons.is_empty() {
        let cuts: Vec<Cut> = seen.iter().map(|seen| seen.cut.clone()).collect();
        tokio::task::spawn_blocking(move || choose(&cuts, horizon)).await?
    } else {
        None
    };
    match &choice {
        Some(choice) => doubts(choice, &seen, &mut reasons, &mut caveats),
        None if reasons.is_empty() => reasons.push(format!(
            "no cut has {} customers who churned and as many who stayed, in itself and before it",
            choose::LEAST_OF_A_CLASS
        )),
        None => {}
    }
    for reason in &reasons {
        warnings.push(format!("churn: {reason}; its probabilities are not to be trusted"));
    }
    let made = make(known, config, &inputs, &sources, choice.as_ref(), &seen)?;
    let (file, expected_value, value_levels) = made;
    let card = ChurnModel {
        horizon_days: config.horizon_days(),
        chosen: choice.as_ref().map_or("rule", |choice| choice.fitted.candidate.name()).to_owned(),
        trusted: reasons.is_empty(),
        reasons,
        caveats,
        training_cuts: if choice.is_some() { ends.iter().map(|at| rfc3339::format(*at)).collect() } else { Vec::new() },
        training_rows: choice.as_ref().map_or(0, |choice| choice.rows as u64),
        sampling: sample.text(known.past.spilled.partitions),
        base_rate: rounded(choice.as_ref().map_or(0.0, |choice| choice.base_rate)),
        calibration_slope: rounded(choice.as_ref().map_or(1.0, |choice| choice.calibration.slope)),
        features: choice.as_ref().map(|choice| features(choice, &sources)).unwrap_or_default(),
        cuts: choice.map(|choice| choice.cuts).unwrap_or_default(),
        expected_value,
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

async fn first_order(session: &Session) -> Result<Option<DateTime<Utc>>, ViewError> {
    let failed = |source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) };
    let mut rows = session.query(VIEW, "SELECT min(ordered_at) AS first FROM orders").await?;
    let Some(batch) = rows.next().await.transpose().map_err(failed)? else { return Ok(None) };
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    let first = (batch.num_rows() > 0 && times.is_valid(0)).then(|| times.value(0));
    Ok(first.and_then(DateTime::from_timestamp_micros))
}

/// The instants to look back at, oldest first: evenly from a third of a horizon after the first order to a horizon before `as_of`.
fn cut_times(first: DateTime<Utc>, as_of: DateTime<Utc>, horizon: TimeDelta, most: usize) -> Vec<DateTime<Utc>> {
    let (oldest, newest) = (first + horizon / 3, as_of - horizon);
    if newest < oldest {
        return Vec::new();
    }
    let span = newest - oldest;
    let steps = i32::try_from(most.saturating_sub(1)).unwrap_or(i32::MAX);
    let fit = i32::try_from(span.num_seconds() / LEAST_STEP.num_seconds()).unwrap_or(i32::MAX).min(steps);
    let step = if fit > 0 { span / fit } else { TimeDelta::zero() };
    (0..=fit).rev().map(|back| newest - step * back).collect()
}

/// Which customers are looked at in earlier cuts, so that there are no more rows than wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    /// Partitions of the staging, from the first on: the others cost nothing.
    partitions: usize,
    /// Of their customers, one in so many, by the hash of the id.
    one_in: u64,
}

impl Sample {
    fn new(customers: usize, cuts: usize, partitions: usize, rows: u64) -> Self {
        let all = (customers as u64).saturating_mul(cuts as u64).max(1);
        let wanted = rows.min(all).saturating_mul(partitions as u64).div_ceil(all);
        let filled = usize::try_from(wanted).unwrap_or(partitions).clamp(1, partitions);
        let of_filled = all.saturating_mul(filled as u64) / partitions as u64;
        // Partitions are not of the same size to the customer: a little more than wanted is no reason to halve them.
        let one_in = of_filled.saturating_mul(9).div_ceil(rows.saturating_mul(10).max(1)).max(1);
        Self { partitions: filled, one_in }
    }

    fn text(self, partitions: usize) -> String {
        match self {
            Self { partitions: filled, one_in: 1 } if filled == partitions => "all customers".to_owned(),
            Self { partitions: filled, one_in } => format!(
                "customers of {filled} of {partitions} partitions by the hash of their id, of those one in {one_in}; views saw those partitions alone"
            ),
        }
    }
}

/// What the views said at `at`, and what became of the customers within the horizon.
async fn look_back(
    known: &Known<'_>,
    at: DateTime<Utc>,
    horizon: TimeDelta,
    (sources, columns): (&[Source], &BTreeSet<String>),
    sample: Sample,
) -> Result<Seen, BuildError> {
    let (session, folder) = known.past.at(at, sample.partitions).await?;
    let inputs = inputs::read(&session, at, sources, columns, sample.one_in).await?;
    drop((session, folder));
    let spent = spent(known.session, at, at + horizon).await?;
    let churned: Vec<bool> = inputs.ids.iter().map(|id| !spent.contains_key(id)).collect();
    let mut stayed = Stayed::default();
    for (row, id) in inputs.ids.iter().enumerate() {
        if let Some(amount) = spent.get(id) {
            stayed.own.push(own_rate(&inputs.raw, row, days(horizon)));
            stayed.seen.push(*amount);
        }
    }
    Ok(Seen { cut: Cut { at, rows: Rows { columns: inputs.columns(), churned } }, stayed })
}

#[expect(clippy::cast_precision_loss, reason = "days")]
fn days(horizon: TimeDelta) -> f64 {
    horizon.num_days() as f64
}

/// Who ordered after `from` and up to `to`, and for how much, less what was given back by then.
async fn spent(session: &Session, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<HashMap<String, f64>, ViewError> {
    let instant = |at| format!("arrow_cast('{}', 'Timestamp(Microsecond, Some(\"UTC\"))')", rfc3339::format(at));
    let sum = |amount, table, at| {
        let (from, to) = (instant(from), instant(to));
        format!(
            "SELECT customer_id, sum({amount}) AS amount FROM {table} WHERE {at} > {from} AND {at} <= {to} GROUP BY customer_id"
        )
    };
    let sql = format!(
        "SELECT o.customer_id, CAST(greatest(o.amount - coalesce(r.amount, 0), 0) AS DOUBLE) AS spent \
         FROM ({}) o LEFT JOIN ({}) r ON r.customer_id = o.customer_id",
        sum("revenue", "orders", "ordered_at"),
        sum("amount", "returns", "returned_at"),
    );
    let mut rows = session.query(VIEW, &sql).await?;
    let mut spent = HashMap::new();
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|source| ViewError::Sql { view: VIEW.to_owned(), source: Box::new(source) })?;
        let (ids, amounts) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Float64Type>());
        spent.extend((0..batch.num_rows()).map(|row| (ids.value(row).to_owned(), amounts.value(row))));
    }
    Ok(spent)
}

/// Why nothing can be learned, if so.
fn too_little(seen: &[Seen], horizon: TimeDelta) -> Vec<String> {
    let days = horizon.num_days();
    let Some(latest) = seen.last() else {
        return vec![format!(
            "the history is too short for a horizon of {days} days: it takes more than {} days",
            days * 4 / 3
        )];
    };
    if latest.cut.at - seen[0].cut.at < horizon {
        return vec![format!(
            "the history is too short to measure a model on a horizon of {days} days: it takes more than {} days",
            days * 7 / 3
        )];
    }
    let customers = latest.cut.rows.churned.len();
    if customers < LEAST_CUSTOMERS {
        return vec![format!("{customers} customers had an order a horizon before as_of; it takes {LEAST_CUSTOMERS}")];
    }
    Vec::new()
}

/// What the measurements say against the model, and what is to be kept in mind.
fn doubts(choice: &Choice, seen: &[Seen], reasons: &mut Vec<String>, caveats: &mut Vec<String>) {
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
        caveats
            .push("there was one cut to measure on, which the choice rests on as well: its figures flatter".to_owned());
    }
    let shares: Vec<f64> = seen.iter().map(|seen| share(&seen.cut.rows.churned)).collect();
    let (least, most) = shares.iter().fold((1.0_f64, 0.0_f64), |(low, high), s| (low.min(*s), high.max(*s)));
    if most - least > 0.05 {
        caveats.push(format!(
            "the share that churned moved between {least:.2} and {most:.2} over the training cuts: the level of the probabilities may be off by as much, their order is not touched"
        ));
    }
}

/// What is made of the model: the staged view, the model of values, and the levels of value.
type Made = (StagedFile, ExpectedValueModel, ValueLevels);

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
    let latest = seen.last().map(|seen| &seen.stayed).filter(|stayed| choice.is_some() && !stayed.seen.is_empty());
    let values = latest.map_or_else(
        || value::unfitted(&own),
        |latest| {
            let mut training = Stayed::default();
            for seen in seen {
                training.own.extend_from_slice(&seen.stayed.own);
                training.seen.extend_from_slice(&seen.stayed.seen);
            }
            value::fit(&training, latest)
        },
    );
    let expected: Vec<f64> = own.iter().map(|own| rounded(expected(&values, *own))).collect();
    let levels = levels(&expected);
    let columns = inputs.columns();
    let scored = choice.map(|choice| (choice, choice.fitted.scores(&columns), choice.fitted.scale.apply(&columns)));
    let base = scored.as_ref().map(|(choice, _, scaled)| usual(choice, scaled, sources, inputs.len()));
    let file = view::stage(inputs, known.past.scratch, |row| {
        let (probability, moved) = if let (Some((choice, scores, scaled)), Some(base)) = (&scored, &base) {
            let mut moved = by_source(choice, scaled, sources, row);
            moved.iter_mut().zip(base).for_each(|(moved, base)| *moved = (*moved - base) * choice.calibration.slope);
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
            action: config.action(risk, level(expected[row], levels.high, levels.medium)).to_owned(),
        }
    })?;
    Ok((file, values, levels))
}

/// What each source adds to the log-odds of `row`: columns made of one feature are taken together.
fn by_source(choice: &Choice, scaled: &[Vec<f64>], sources: &[Source], row: usize) -> Vec<f64> {
    let mut moved = vec![0.0; sources.len()];
    for (column, part) in choice.fitted.contributions(scaled, row).into_iter().enumerate() {
        moved[source_of(column)] += part;
    }
    moved
}

/// The mean of that over customers, so that a reason is what sets a customer apart from the others.
fn usual(choice: &Choice, scaled: &[Vec<f64>], sources: &[Source], rows: usize) -> Vec<f64> {
    let looked: Vec<Vec<f64>> =
        (0..rows).step_by((rows / 2_000).max(1)).map(|row| by_source(choice, scaled, sources, row)).collect();
    (0..sources.len()).map(|at| mean(looked.iter().map(|moved| moved[at]))).collect()
}

fn source_of(column: usize) -> usize {
    COLUMNS.get(column).map_or_else(|| BUILT_IN.len() + column - COLUMNS.len(), |(_, source)| *source)
}

/// The greatest fifth of values is high, the next three tenths medium.
fn levels(expected: &[f64]) -> ValueLevels {
    let mut sorted = expected.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let from = |place: usize| sorted.get(place).copied().unwrap_or(0.0);
    ValueLevels { high: from(sorted.len() / 5), medium: from(sorted.len() / 2) }
}

fn features(choice: &Choice, sources: &[Source]) -> Vec<ModelFeature> {
    let mut features: Vec<ModelFeature> = (0..choice.weights.len())
        .map(|column| ModelFeature {
            name: COLUMNS
                .get(column)
                .map_or_else(|| format!("log_{}", sources[source_of(column)].column), |(name, _)| (*name).to_owned()),
            source: sources[source_of(column)].name(),
            weight: rounded(choice.weights[column]),
            importance: rounded(choice.importance[column]),
        })
        .collect();
    features.sort_by(|a, b| b.importance.total_cmp(&a.importance).then_with(|| a.name.cmp(&b.name)));
    features
}
