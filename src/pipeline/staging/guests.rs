//! Guest lines: lines of `transactions` without a customer, counted by order. Other lines of the same order
//! may name a customer.

use std::{collections::HashMap, hash::Hasher, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch, UInt64Array},
    datatypes::{Decimal128Type, UInt64Type},
};
use bytes::Bytes;
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use twox_hash::XxHash64;

use crate::pipeline::raw::{
    TableSpec,
    transaction::{Effect, TransactionLine},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Number and amount of guest lines.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct GuestLines {
    pub(crate) lines: u64,
    /// Sum of the amounts, in ten-thousandths.
    pub(crate) amount: i128,
}

impl GuestLines {
    pub(super) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.amount += other.amount;
    }
}

/// Guest lines of one file, by order. Lines of an order usually follow each other, so the last
/// order is kept outside the map.
#[derive(Debug, Default, Clone)]
pub(super) struct GuestOrders {
    last: (u64, GuestLines),
    pub(super) orders: HashMap<u64, GuestLines>,
}

impl GuestOrders {
    /// Adds a line of the order with the hash `order`. Guests have no free orders.
    pub(super) fn add(&mut self, order: u64, line: &TransactionLine<'_>, spec: &TableSpec) {
        if self.last.0 != order {
            self.flush();
            self.last.0 = order;
        }
        let amount = Effect::of(line.value, false).amount(spec.magnitude(line.value));
        self.last.1.add(GuestLines { lines: 1, amount });
    }

    /// Moves the last order to the map.
    pub(super) fn flush(&mut self) {
        let (order, guests) = std::mem::take(&mut self.last);
        if guests.lines > 0 {
            self.orders.entry(order).or_default().add(guests);
        }
    }
}

/// Returns the hashes of guest lines and the guest lines by order as a Parquet file with the columns `hash`,
/// `lines` and `amount`. A hash of a line has neither lines nor amount.
pub(super) fn encode(lines: &[u64], orders: &GuestOrders) -> Result<Vec<u8>, Failure> {
    let mut sorted: Vec<(&u64, &GuestLines)> = orders.orders.iter().collect();
    sorted.sort_unstable_by_key(|(order, _)| **order);
    let absent = lines.iter().map(|_| None);
    let hashes = lines.iter().copied().chain(sorted.iter().map(|(order, _)| **order));
    let counts = absent.clone().chain(sorted.iter().map(|(_, guests)| Some(guests.lines)));
    let amounts =
        absent.map(|_: Option<u64>| None).chain(sorted.iter().map(|(_, guests)| Some(guests.amount)));
    let amounts: Decimal128Array = amounts.collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("hash", Arc::new(UInt64Array::from_iter_values(hashes))),
        ("lines", Arc::new(counts.collect::<UInt64Array>())),
        ("amount", Arc::new(amounts.with_precision_and_scale(38, 0)?)),
    ];
    let batch = RecordBatch::try_from_iter(columns)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// Returns the hashes of guest lines and the guest lines by order from the file `bytes` of [`encode`].
pub(super) fn decode(bytes: Bytes) -> Result<(Vec<u64>, GuestOrders), Failure> {
    let (mut lines, mut orders) = (Vec::new(), GuestOrders::default());
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        let batch = batch?;
        let hashes = batch.column(0).as_primitive::<UInt64Type>().values();
        let counts = batch.column(1).as_primitive::<UInt64Type>();
        let amounts = batch.column(2).as_primitive::<Decimal128Type>();
        for (row, hash) in hashes.iter().enumerate() {
            if counts.is_valid(row) {
                let guests = GuestLines { lines: counts.value(row), amount: amounts.value(row) };
                orders.orders.insert(*hash, guests);
            } else {
                lines.push(*hash);
            }
        }
    }
    Ok((lines, orders))
}

/// Returns a hash of an order's id and of its columns of `order_scope`.
pub(crate) fn order_hash<'a>(id: &'a str, scope: impl Iterator<Item = &'a str>) -> u64 {
    let mut hash = XxHash64::default();
    for text in std::iter::once(id).chain(scope.map(str::trim)) {
        hash.write_usize(text.len());
        hash.write(text.as_bytes());
    }
    hash.finish()
}
