//! The rows of the `churn` view: probability, risk, values, reasons and action of each customer with an
//! order.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Decimal128Array, ListArray, RecordBatch, StringArray, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};

use super::{features::VIEW, reasons::ChurnReason};
use crate::{
    pipeline::{
        RawError,
        staging::{derive::MONEY, staging},
        view_files::{RowOrder, ViewFile, ViewFileWriter, ViewFiles},
    },
    views::{ColumnNote, ViewDefinition},
};

/// Number of rows of a record batch.
const BATCH: usize = 8_192;
/// Types of a reason's effect and share.
const EFFECT: DataType = DataType::Decimal128(9, 4);
const SHARE: DataType = DataType::Decimal128(5, 4);

/// Description of the view.
const DESCRIPTION: &str = "Churn prediction: the probability of no further purchase, and the value at risk. \
    Customers without a purchase are absent.";
/// Descriptions of the columns.
const COLUMN_NOTES: [(&str, &str); 6] = [
    (
        "probability",
        "Probability of no purchase within the horizon after as_of, 0 to 1; the model card has its accuracy.",
    ),
    ("risk", "Risk level by the configured rule: high, medium or low."),
    ("expected_value", "Expected spending within the horizon if the customer stays."),
    ("value_at_risk", "probability × expected_value: the expected loss without any action."),
    (
        "reasons",
        "Why the probability differs from the average, by theme: theme, direction (raises or lowers), effect \
         (change of the log-odds; all effects add up to the difference), share (of the effects), and text.",
    ),
    ("action", "Action from the policy table for the customer's risk and expected value."),
];

/// Returns the definition of the view for the manifest.
pub(in crate::pipeline) fn definition() -> ViewDefinition {
    let note = |description: &str| ColumnNote { description: description.to_owned(), personal: false };
    ViewDefinition {
        name: VIEW.to_owned(),
        description: DESCRIPTION.to_owned(),
        columns: COLUMN_NOTES.iter().map(|(name, text)| ((*name).to_owned(), note(text))).collect(),
        step: false,
        sql: String::new(),
        file: None,
    }
}

/// A customer's row without the id.
#[derive(Debug, Clone)]
pub(super) struct ChurnRow {
    /// Probability in ten-thousandths.
    pub(super) probability: i128,
    pub(super) risk: &'static str,
    /// Expected value in ten-thousandths.
    pub(super) expected_value: i128,
    pub(super) reasons: Vec<ChurnReason>,
    pub(super) action: String,
}

/// Returns the value at risk, rounded; all in ten-thousandths.
pub(super) fn value_at_risk(probability: i128, expected_value: i128) -> i128 {
    (probability * expected_value + 5_000) / 10_000
}

/// Returns `value` in ten-thousandths: the unscaled value of a decimal with scale 4.
#[expect(clippy::cast_possible_truncation, reason = "money and probabilities")]
pub(super) fn to_ten_thousandths(value: f64) -> i128 {
    (value * 10_000.0).round() as i128
}

/// Returns the fields of a reason.
fn reason_fields() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Fields::from(vec![
        text("theme"),
        text("direction"),
        Field::new("effect", EFFECT, true),
        Field::new("share", SHARE, true),
        text("text"),
    ])
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

/// Returns the staged view of the files of all partitions.
pub(super) fn view(files: Vec<ViewFile>) -> ViewFiles {
    ViewFiles::new(schema(), RowOrder::Partitions, files)
}

/// Stages a row for each customer of `ids`, which are those of a partition. `make` returns the row of the
/// customer at an index.
///
/// # Errors
/// Fails if the file cannot be written.
pub(super) fn stage(
    scratch: &Path,
    partition: usize,
    ids: &[String],
    make: impl Fn(usize) -> ChurnRow,
) -> Result<ViewFile, RawError> {
    let path = scratch.join(format!("view-{VIEW}-{partition}.arrow"));
    let schema = schema();
    let mut writer = ViewFileWriter::create(path.clone(), Arc::clone(&schema))?;
    for start in (0..ids.len()).step_by(BATCH) {
        let end = (start + BATCH).min(ids.len());
        let rows: Vec<ChurnRow> = (start..end).map(&make).collect();
        writer.write(&batch(&ids[start..end], &rows, &schema).map_err(|error| staging(&path, error))?)?;
    }
    writer.finish()
}

fn batch(
    ids: &[String],
    rows: &[ChurnRow],
    schema: &SchemaRef,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let texts = |texts: &mut dyn Iterator<Item = &str>| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(texts))
    };
    let money = |of: &dyn Fn(&ChurnRow) -> i128| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<Decimal128Array>().with_data_type(MONEY))
    };
    let probabilities = rows.iter().map(|row| Some(row.probability)).collect::<Decimal128Array>();
    let reasons: Vec<&ChurnReason> = rows.iter().flat_map(|row| &row.reasons).collect();
    let of_reasons = |of: &dyn Fn(&ChurnReason) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(reasons.iter().map(|reason| of(reason))))
    };
    let decimals = |of: &dyn Fn(&ChurnReason) -> f64, data_type: DataType| -> ArrayRef {
        let values = reasons.iter().map(|reason| Some(to_ten_thousandths(of(reason))));
        Arc::new(values.collect::<Decimal128Array>().with_data_type(data_type))
    };
    let parts = StructArray::new(
        reason_fields(),
        vec![
            of_reasons(&|reason| &reason.theme),
            of_reasons(&|reason| reason.direction),
            decimals(&|reason| reason.effect, EFFECT),
            decimals(&|reason| reason.share, SHARE),
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
            money(&|row| value_at_risk(row.probability, row.expected_value)),
            Arc::new(ListArray::new(item, offsets, Arc::new(parts), None)),
            texts(&mut rows.iter().map(|row| row.action.as_str())),
        ],
    )
}
