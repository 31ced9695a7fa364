//! The rows of the `value` view, one for each customer with an order. Partitions are made independently of
//! each other.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use serde::{Deserialize, Serialize};

use super::{
    forecast::{ChosenModel, Forecast},
    order_log::{CustomerOrders, PartitionOrders},
    summary::{DAY, Summary, signed},
};
use crate::{
    pipeline::{
        raw::RawError,
        staging::{MONEY, StagedFile, UTC, staging, time_type},
        view_files::{self, ViewFile, ViewFileWriter},
    },
    snapshot::writer::ID,
    views::{ColumnNote, ViewDefinition},
};

/// Name of the view.
pub(in crate::pipeline) const VIEW: &str = "value";
/// Number of rows of a record batch.
const BATCH: usize = 8_192;
/// Type of expected numbers of orders.
const ORDER_COUNT: DataType = DataType::Decimal128(18, 4);

/// Description of the view.
const DESCRIPTION: &str = "Customer lifetime value (CLV): spending so far and expected spending within the \
    next 365 days; the model card has its accuracy. Customers without a purchase are absent.";
/// Descriptions of the columns.
const COLUMNS: [(&str, &str); 6] = [
    ("historic_clv", "Spending so far: revenue less returns."),
    ("predicted_clv", "Expected spending, less returns, within the 365 days after as_of."),
    ("total_clv", "historic_clv + predicted_clv."),
    ("predicted_number_of_orders", "Expected number of orders within the 365 days after as_of."),
    (
        "expected_date_of_next_order",
        "Time by which an order is as likely as not; null if that is not within 365 days.",
    ),
    ("average_order_value", "Mean revenue of an order so far."),
];

/// Returns the definition of the view for the manifest.
pub(in crate::pipeline) fn definition() -> ViewDefinition {
    let note = |description: &str| ColumnNote { description: description.to_owned(), personal: false };
    ViewDefinition {
        name: VIEW.to_owned(),
        description: DESCRIPTION.to_owned(),
        columns: COLUMNS.iter().map(|(name, text)| ((*name).to_owned(), note(text))).collect(),
        step: false,
        sql: String::new(),
        file: None,
    }
}

/// Makes the rows of the view, one partition at a time.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::pipeline) struct ValueRows {
    /// Start of the history in microseconds since 1970.
    pub(super) start: i64,
    /// As-of time in microseconds since 1970.
    pub(super) as_of: i64,
    /// The fitted model; `None` if there was too little data.
    pub(super) model: Option<ChosenModel>,
}

/// The row of a customer. Amounts and numbers of orders are in ten-thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ValueRow {
    id: String,
    historic: i128,
    predicted: i128,
    orders: i128,
    /// Microseconds since 1970.
    next: Option<i64>,
    order_value: i128,
}

#[expect(clippy::cast_possible_truncation, reason = "money, and numbers of orders")]
fn to_ten_thousandths(value: f64) -> i128 {
    (value * 10_000.0).round() as i128
}

impl ValueRow {
    /// Returns the row of a customer; `None` without an order up to the as-of time.
    fn of(customer: CustomerOrders, rows: &ValueRows) -> Option<Self> {
        let ValueRows { start, as_of, model } = rows;
        let CustomerOrders { id, events } = customer;
        let summary = Summary::at(&events, *start, *as_of)?;
        let forecast = Forecast::of(model.as_ref(), &summary);
        let known = || events.iter().filter(|event| event.at <= *as_of);
        let orders = || known().filter(|event| !event.is_return);
        let revenue: i128 = orders().map(|order| order.amount).sum();
        #[expect(clippy::cast_possible_truncation, reason = "whole days of a year")]
        let days_later = |days: f64| *as_of + days as i64 * DAY;
        Some(Self {
            historic: known().map(signed).sum(),
            predicted: to_ten_thousandths(forecast.spending).max(0),
            orders: to_ten_thousandths(forecast.orders).max(0),
            next: forecast.next.map(days_later),
            order_value: mean(revenue, orders().count() as i128),
            id,
        })
    }
}

/// Returns `sum` / `count`, rounded half up.
fn mean(sum: i128, count: i128) -> i128 {
    (2 * sum + count).div_euclid(2 * count.max(1))
}

/// Returns the schema of the view.
pub(in crate::pipeline) fn schema() -> SchemaRef {
    let types = [MONEY, MONEY, MONEY, ORDER_COUNT, time_type(), MONEY];
    let columns = COLUMNS.iter().zip(types).map(|((name, _), data_type)| Field::new(*name, data_type, true));
    let id = Field::new(ID, DataType::Utf8, false);
    Arc::new(Schema::new([id].into_iter().chain(columns).collect::<Vec<_>>()))
}

impl ValueRows {
    /// Stages the rows of the partition `number` in `folder`, from the tables of this partition.
    ///
    /// # Errors
    /// Fails if a staged file cannot be read or written.
    pub(in crate::pipeline) fn stage(
        &self,
        number: usize,
        orders: &StagedFile,
        returns: Option<&StagedFile>,
        folder: &Path,
    ) -> Result<ViewFile, RawError> {
        let path = folder.join(view_files::name(VIEW, number));
        let schema = schema();
        let mut writer = ViewFileWriter::create(path.clone(), Arc::clone(&schema))?;
        let mut write = |rows: &mut Vec<ValueRow>| {
            let batch = batch(rows, &schema).map_err(|error| staging(&path, error))?;
            rows.clear();
            writer.write(&batch)
        };
        let mut rows = Vec::new();
        for customer in PartitionOrders::open(orders, returns)? {
            rows.extend(ValueRow::of(customer?, self));
            if rows.len() == BATCH {
                write(&mut rows)?;
            }
        }
        write(&mut rows)?;
        writer.finish()
    }
}

fn batch(rows: &[ValueRow], schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let decimals = |data_type: DataType, of: &dyn Fn(&ValueRow) -> i128| -> ArrayRef {
        let values: Decimal128Array = rows.iter().map(|row| Some(of(row))).collect();
        Arc::new(values.with_data_type(data_type))
    };
    let next: TimestampMicrosecondArray = rows.iter().map(|row| row.next).collect();
    RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id))),
            decimals(MONEY, &|row| row.historic),
            decimals(MONEY, &|row| row.predicted),
            decimals(MONEY, &|row| row.historic + row.predicted),
            decimals(ORDER_COUNT, &|row| row.orders),
            Arc::new(next.with_timezone(UTC)),
            decimals(MONEY, &|row| row.order_value),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_rounded_half_up() {
        assert_eq!([mean(10, 4), mean(11, 4), mean(9, 4), mean(0, 3), mean(7, 1)], [3, 3, 2, 0, 7]);
    }
}
