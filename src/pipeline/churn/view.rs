//! The rows of the `churn` view: probability, risk, values, reasons and action of every customer with an order.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Decimal128Array, ListArray, RecordBatch, StringArray, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};

use super::inputs::{FREQUENCY, GAP, Inputs, RECENCY, Source, TENURE};
use crate::pipeline::{
    RawError,
    staging::{
        create,
        derive::{MONEY, StagedFile},
        staging,
    },
};

/// Name of the view.
pub(in crate::pipeline) const VIEW: &str = "churn";
/// Rows of a batch.
const BATCH: usize = 8_192;
/// Reasons given, at most.
const REASONS: usize = 3;
/// What moves the log-odds by less is no reason.
const NO_REASON: f64 = 0.05;

/// What the columns mean, for the manifest.
pub(super) const NOTES: [(&str, &str); 6] = [
    (
        "probability",
        "Probability of no purchase within the horizon after as_of, 0 to 1; the model's card says how good it is.",
    ),
    ("risk", "high, medium or low, by the configured thresholds of the probability."),
    ("expected_value", "Spending expected within the horizon if the customer stays."),
    ("value_at_risk", "probability × expected_value: what is lost on average if nothing is done."),
    (
        "reasons",
        "Up to three features that moved this customer's probability most: feature, value, direction (raises or lowers) and text.",
    ),
    ("action", "What the policy table says for the customer's risk and expected value."),
];
pub(super) const DESCRIPTION: &str =
    "Who will not buy again, and what is at stake. Customers without a purchase are absent.";

/// A reason for a probability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    feature: String,
    value: String,
    direction: &'static str,
    text: String,
}

/// One customer's row without the id.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// In ten-thousandths.
    pub(super) probability: i128,
    pub(super) risk: &'static str,
    /// In ten-thousandths.
    pub(super) expected_value: i128,
    pub(super) reasons: Vec<Reason>,
    pub(super) action: String,
}

impl Row {
    fn value_at_risk(&self) -> i128 {
        (self.probability * self.expected_value + 5_000) / 10_000
    }
}

/// A number in ten-thousandths, as DECIMAL(…, 4) keeps it.
#[expect(clippy::cast_possible_truncation, reason = "money and probabilities")]
pub(super) fn fixed(value: f64) -> i128 {
    (value * 10_000.0).round() as i128
}

/// The features that move the log-odds of `row` most; `moved` has what each source adds.
pub(super) fn reasons(inputs: &Inputs, sources: &[Source], row: usize, moved: &[f64]) -> Vec<Reason> {
    let mut order: Vec<usize> = (0..moved.len()).filter(|at| moved[*at].abs() >= NO_REASON).collect();
    order.sort_by(|a, b| moved[*b].abs().total_cmp(&moved[*a].abs()).then(a.cmp(b)));
    let reason = |at: &usize| {
        let raw = inputs.raw[*at][row];
        let (said, effect) = (sentence(inputs, &sources[*at], *at, row), moved[*at] > 0.0);
        Reason {
            feature: sources[*at].name(),
            value: if *at == TENURE { number(raw.floor()) } else { number(raw) },
            direction: if effect { "raises" } else { "lowers" },
            text: format!("{said}: this {} the risk", if effect { "raises" } else { "lowers" }),
        }
    };
    order.iter().take(REASONS).map(reason).collect()
}

/// What is said of a feature to someone who has never seen its name.
fn sentence(inputs: &Inputs, source: &Source, at: usize, row: usize) -> String {
    let raw = |place: usize| inputs.raw[place][row];
    let value = number(raw(at));
    let plural =
        |text: &str, one: &str, many: &str| format!("{text} {}", if text == "1" { one } else { many });
    if at == GAP {
        let since = plural(&number(raw(RECENCY)), "day", "days");
        return if raw(GAP).is_nan() {
            format!(
                "{since} since the last order, of a customer for {} days without a rhythm yet",
                number(raw(TENURE).floor())
            )
        } else {
            format!("{since} since the last order, usually {value} between orders")
        };
    }
    if at >= super::inputs::BUILT_IN.len() {
        return if raw(at).is_nan() {
            format!("{} is not known", source.name())
        } else {
            format!("{} is {value}", source.name())
        };
    }
    match source.column.as_str() {
        "recency_days" => format!("last order {} ago", plural(&value, "day", "days")),
        "frequency" if raw(FREQUENCY) <= 1.0 => "only one order so far".to_owned(),
        "frequency" => format!("{value} orders in {} days", number(raw(TENURE).floor())),
        "monetary" => format!("spent {value} so far, less returns"),
        "first_purchase_at" => {
            format!("first order {} ago", plural(&number(raw(TENURE).floor()), "day", "days"))
        }
        "products" => format!("bought {}", plural(&value, "product", "different products")),
        "basket_value" => format!("an order is worth {value} on average"),
        "basket_items" => format!("an order has {} on average", plural(&value, "item", "items")),
        "return_rate" if raw(at) <= 0.0 => "has returned nothing".to_owned(),
        "return_rate" => format!("returned {} % of the purchases' worth", number(raw(at) * 100.0)),
        "spend_30d" => format!("spent {value} within the last 30 days"),
        "spend_90d" => format!("spent {value} within the last 90 days"),
        "late_sales" => format!(
            "of all sales of the products bought, {} % were within the last {} days",
            number(raw(at) * 100.0),
            number(inputs.horizon)
        ),
        "active_buyers" => format!(
            "of others who bought the same products, {} % ordered within the last {} days",
            number(raw(at) * 100.0),
            number(inputs.horizon / 2.0)
        ),
        _ => format!("{} is {value}", source.name()),
    }
}

/// At most two digits behind the point, and none that is 0.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "not known".to_owned();
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn reason_fields() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Fields::from(vec![text("feature"), text("value"), text("direction"), text("text")])
}

fn schema() -> SchemaRef {
    let item = Field::new("item", DataType::Struct(reason_fields()), true);
    Arc::new(Schema::new(vec![
        Field::new("customer_id", DataType::Utf8, false),
        Field::new("probability", DataType::Decimal128(5, 4), true),
        Field::new("risk", DataType::Utf8, true),
        Field::new("expected_value", MONEY, true),
        Field::new("value_at_risk", MONEY, true),
        Field::new("reasons", DataType::List(Arc::new(item)), true),
        Field::new("action", DataType::Utf8, true),
    ]))
}

/// Stages the rows of `make`, one for each customer in turn.
pub(super) fn stage(
    inputs: &Inputs,
    scratch: &Path,
    mut make: impl FnMut(usize) -> Row,
) -> Result<StagedFile, RawError> {
    let path = scratch.join("view-churn.arrow");
    let schema = schema();
    let mut writer = create(&path, &schema)?;
    for start in (0..inputs.len()).step_by(BATCH) {
        let end = (start + BATCH).min(inputs.len());
        let rows: Vec<Row> = (start..end).map(&mut make).collect();
        let batch = batch(&inputs.ids[start..end], &rows, &schema).map_err(|error| staging(&path, error))?;
        writer.write(&batch).map_err(|error| staging(&path, error))?;
    }
    writer.finish().map_err(|error| staging(&path, error))?;
    Ok(StagedFile { path, schema, rows: inputs.len() })
}

fn batch(ids: &[String], rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let texts = |texts: &mut dyn Iterator<Item = &str>| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(texts))
    };
    let money = |of: &dyn Fn(&Row) -> i128| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<Decimal128Array>().with_data_type(MONEY))
    };
    let probabilities = rows.iter().map(|row| Some(row.probability)).collect::<Decimal128Array>();
    let reasons: Vec<&Reason> = rows.iter().flat_map(|row| &row.reasons).collect();
    let of_reasons = |of: &dyn Fn(&Reason) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(reasons.iter().map(|reason| of(reason))))
    };
    let parts = StructArray::new(
        reason_fields(),
        vec![
            of_reasons(&|reason| &reason.feature),
            of_reasons(&|reason| &reason.value),
            of_reasons(&|reason| reason.direction),
            of_reasons(&|reason| &reason.text),
        ],
        None,
    );
    let item = Arc::new(Field::new("item", DataType::Struct(reason_fields()), true));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.reasons.len()));
    RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            texts(&mut ids.iter().map(String::as_str)),
            Arc::new(probabilities.with_data_type(DataType::Decimal128(5, 4))),
            texts(&mut rows.iter().map(|row| row.risk)),
            money(&|row| row.expected_value),
            money(&Row::value_at_risk),
            Arc::new(ListArray::new(item, offsets, Arc::new(parts), None)),
            texts(&mut rows.iter().map(|row| row.action.as_str())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        assert_eq!(
            [12.0, 12.5, 0.126, -0.001, f64::NAN].map(number),
            ["12", "12.5", "0.13", "0", "not known"]
        );
    }

    #[test]
    fn reasons_are_the_greatest_movers_with_their_direction() {
        let (sources, mut inputs) = (super::super::inputs::sources([], |_, _| false), Inputs::default());
        inputs.ids = vec!["a".to_owned()];
        inputs.raw = sources.iter().map(|_| vec![f64::NAN]).collect();
        inputs.raw[RECENCY] = vec![1.0];
        inputs.raw[FREQUENCY] = vec![1.0];
        inputs.raw[TENURE] = vec![1.5];
        let mut moved = vec![0.0; sources.len()];
        (moved[RECENCY], moved[FREQUENCY], moved[GAP], moved[5]) = (-0.4, 0.9, 0.2, 0.01);
        let found = reasons(&inputs, &sources, 0, &moved);
        let shown: Vec<_> =
            found.iter().map(|r| (r.feature.as_str(), r.direction, r.text.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("rfm.frequency", "raises", "only one order so far: this raises the risk"),
                ("rfm.recency_days", "lowers", "last order 1 day ago: this lowers the risk"),
                (
                    "behavior.days_between_orders",
                    "raises",
                    "1 day since the last order, of a customer for 1 days without a rhythm yet: this raises the risk"
                ),
            ]
        );
    }
}
