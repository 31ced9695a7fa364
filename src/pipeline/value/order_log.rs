//! Reads the orders and returns of each customer from the staged tables, one partition at a time.

use std::iter::Peekable;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Decimal128Type, TimestampMicrosecondType},
};

use crate::pipeline::{
    raw::RawError,
    staging::{StagedFile, staging},
};

/// An order or a return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrderEvent {
    /// Time in microseconds since 1970.
    pub(super) at: i64,
    /// Amount in ten-thousandths.
    pub(super) amount: i128,
    pub(super) is_return: bool,
}

/// The orders and returns of a customer, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CustomerOrders {
    pub(super) id: String,
    pub(super) events: Vec<OrderEvent>,
}

/// A batch of `orders` or `returns`.
struct EventBatch {
    rows: RecordBatch,
    /// Next row to read.
    next: usize,
}

/// Groups the rows of a staged table, which are sorted by customer.
struct CustomerGroups<'a> {
    file: &'a StagedFile,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, RawError>> + 'a>,
    current: Option<EventBatch>,
    is_return: bool,
}

impl<'a> CustomerGroups<'a> {
    /// Opens `file`. `time` and `amount` are the names of its columns.
    fn open(file: &'a StagedFile, [time, amount]: [&str; 2], is_return: bool) -> Result<Self, RawError> {
        let batches = file.open_columns(["customer_id", time, amount])?;
        let batches = batches.map(|batch| batch.map_err(|error| staging(&file.path, error)));
        Ok(Self { file, batches: Box::new(batches), current: None, is_return })
    }

    /// Moves on to a batch with unread rows. Returns whether there is one.
    fn fill(&mut self) -> Result<bool, RawError> {
        while self.current.as_ref().is_none_or(|batch| batch.next >= batch.rows.num_rows()) {
            match self.batches.next() {
                Some(rows) => self.current = Some(EventBatch { rows: rows?, next: 0 }),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Reads the events of the next customer; `None` at the end.
    fn read(&mut self) -> Result<Option<CustomerOrders>, RawError> {
        let mut group: Option<CustomerOrders> = None;
        while self.fill()? {
            let Some(EventBatch { rows, next }) = &mut self.current else { break };
            let ids = rows.column(0).as_string::<i32>();
            let times = rows.column(1).as_primitive_opt::<TimestampMicrosecondType>();
            let amounts = rows.column(2).as_primitive_opt::<Decimal128Type>();
            let (Some(times), Some(amounts)) = (times, amounts) else {
                return Err(staging(&self.file.path, "a column has an unexpected type"));
            };
            let id = ids.value(*next);
            let group = group.get_or_insert_with(|| CustomerOrders { id: id.to_owned(), events: Vec::new() });
            if group.id != id {
                break;
            }
            let (at, amount) = (times.value(*next), amounts.value(*next));
            group.events.push(OrderEvent { at, amount, is_return: self.is_return });
            *next += 1;
        }
        Ok(group)
    }
}

impl Iterator for CustomerGroups<'_> {
    type Item = Result<CustomerOrders, RawError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The orders and returns of a partition, by customer. Customers without an order are left out.
pub(super) struct PartitionOrders<'a> {
    orders: CustomerGroups<'a>,
    returns: Option<Peekable<CustomerGroups<'a>>>,
}

impl<'a> PartitionOrders<'a> {
    /// Opens the staged tables of a partition.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub(super) fn open(orders: &'a StagedFile, returns: Option<&'a StagedFile>) -> Result<Self, RawError> {
        let orders = CustomerGroups::open(orders, ["ordered_at", "revenue"], false)?;
        let returns = returns
            .map(|file| CustomerGroups::open(file, ["returned_at", "amount"], true))
            .transpose()?
            .map(Iterator::peekable);
        Ok(Self { orders, returns })
    }

    /// Returns the events of the customer `id` in `returns`, if any. Ids must rise from call to call.
    fn returns_of(&mut self, id: &str) -> Result<Vec<OrderEvent>, RawError> {
        let Some(returns) = &mut self.returns else { return Ok(Vec::new()) };
        while let Some(group) = returns.next_if(|group| group.as_ref().map_or(true, |group| *group.id <= *id))
        {
            let group = group?;
            if group.id == id {
                return Ok(group.events);
            }
        }
        Ok(Vec::new())
    }
}

impl Iterator for PartitionOrders<'_> {
    type Item = Result<CustomerOrders, RawError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut customer = match self.orders.next()? {
            Ok(customer) => customer,
            Err(error) => return Some(Err(error)),
        };
        match self.returns_of(&customer.id) {
            Ok(returns) => customer.events.extend(returns),
            Err(error) => return Some(Err(error)),
        }
        customer.events.sort_unstable_by_key(|event| (event.at, event.is_return, event.amount));
        Some(Ok(customer))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use arrow::{
        array::{Decimal128Array, StringArray},
        datatypes::{DataType, Field, Schema},
    };

    use super::*;
    use crate::pipeline::staging::{MONEY, create, time_type, times};

    /// Writes a staged table with batches of `size` rows of customer, time and amount.
    fn table(folder: &Path, names: [&str; 3], rows: &[(&str, i64, i128)], size: usize) -> StagedFile {
        let [name, time, amount] = names;
        let path = folder.join(format!("{name}-{size}.arrow"));
        let schema = Arc::new(Schema::new(vec![
            Field::new("customer_id", DataType::Utf8, false),
            Field::new(time, time_type(), false),
            Field::new(amount, MONEY, false),
        ]));
        let mut writer = create(&path, &schema).expect("a file");
        for rows in rows.chunks(size) {
            let ids = StringArray::from_iter_values(rows.iter().map(|row| row.0));
            let amounts: Decimal128Array = rows.iter().map(|row| Some(row.2)).collect();
            let batch = RecordBatch::try_new(
                Arc::clone(&schema),
                vec![
                    Arc::new(ids),
                    Arc::new(times(rows.iter().map(|row| row.1).collect())),
                    Arc::new(amounts.with_data_type(MONEY)),
                ],
            );
            writer.write(&batch.expect("a batch")).expect("written");
        }
        writer.finish().expect("finished");
        StagedFile { path, schema, rows: rows.len() }
    }

    #[test]
    fn returns_follow_orders_and_customers_without_orders_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let orders = [("a", 30, 5), ("a", 10, 7), ("b", 1, 2), ("d", 4, 4), ("d", 5, 4)];
        let returns = [("0", 1, 1), ("a", 20, 3), ("c", 9, 9), ("d", 5, 1), ("x", 1, 1)];
        for size in [1, 2, 7] {
            let orders = table(folder.path(), ["orders", "ordered_at", "revenue"], &orders, size);
            let returns = table(folder.path(), ["returns", "returned_at", "amount"], &returns, size);
            let read = |returns| {
                let all = PartitionOrders::open(&orders, returns).expect("opens");
                let all = all.collect::<Result<Vec<_>, _>>().expect("reads");
                let signed =
                    |one: &OrderEvent| (one.at, if one.is_return { -one.amount } else { one.amount });
                all.into_iter()
                    .map(|one| (one.id.clone(), one.events.iter().map(signed).collect::<Vec<_>>()))
                    .collect::<Vec<_>>()
            };
            let expected = |returned: bool| {
                let of = |id: &str, events: &[(i64, i128)]| {
                    let kept = events.iter().copied().filter(|event| returned || event.1 > 0);
                    (id.to_owned(), kept.collect::<Vec<_>>())
                };
                [
                    of("a", &[(10, 7), (20, -3), (30, 5)]),
                    of("b", &[(1, 2)]),
                    of("d", &[(4, 4), (5, 4), (5, -1)]),
                ]
            };
            assert_eq!(read(Some(&returns)), expected(true), "batches of {size}");
            assert_eq!(read(None), expected(false), "batches of {size}");
        }
    }
}
