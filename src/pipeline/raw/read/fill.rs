//! Fields of an order that only its first line has, taken over to its other lines.

use super::{order_fields::OrderFields, reader::FileReader};
use crate::pipeline::raw::{
    check::{ExtraField, FieldKinds},
    error::RawError,
    table::{MAX_COLUMNS, transaction_column},
    value::trimmed,
};

/// Columns of a line that are its own.
const OWN: [&str; 6] = ["product_id", "quantity", "unit_price", "amount", "product_name", "category"];

impl FileReader<'_> {
    /// Passes a record to the sink, with the empty fields of its order taken over from the first line of the
    /// order, which must be right before the other lines.
    pub(super) fn filled(
        &mut self,
        fields: &[&str; MAX_COLUMNS],
        mut kind: FieldKinds,
        extras: Vec<ExtraField<'_>>,
    ) -> Result<(), RawError> {
        let id = trimmed(fields[transaction_column::ORDER]);
        let first = std::mem::take(&mut self.order);
        let is_same =
            !id.is_empty() && first.texts.get(transaction_column::ORDER).is_some_and(|first| first == id);
        let order = if is_same {
            first
        } else {
            OrderFields {
                texts: fields.iter().map(|field| trimmed(field).to_owned()).collect(),
                typed: kind.typed,
            }
        };
        let mut fields: [&str; MAX_COLUMNS] = *fields;
        for (at, column) in self.spec.columns.iter().enumerate() {
            if fields[at].trim().is_empty() && !OWN.contains(&column.name.as_str()) {
                fields[at] = &order.texts[at];
                kind.typed |= order.typed & 1 << at;
            }
        }
        let passed = self.pass(&fields, kind, extras);
        self.order = order;
        passed
    }
}
