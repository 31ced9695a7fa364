//! A sample of customers with all their orders, from which models learn and on which they are measured.

use std::collections::BTreeMap;

use super::{
    order_log::{CustomerOrders, PartitionOrders},
    summary::DAY,
};
use crate::pipeline::{id_hash::is_sampled, parallel::parallel_map, raw::RawError, staging::StagedFile};

/// Number of orders to sample. More hardly improve the models, and would make builds slow.
const ORDERS: usize = 200_000;
/// One order in this many may lie before the start of the history: single orders with a wrong date do not
/// make a history long.
const STRAY: u64 = 1_000;

/// Sampled customers, sorted by id.
#[derive(Debug, Default)]
pub(super) struct OrderSample {
    pub(super) customers: Vec<CustomerOrders>,
    /// One customer in this many is in the sample.
    pub(super) one_in: u64,
    /// Start of the history in microseconds since 1970; `None` without orders.
    pub(super) start: Option<i64>,
}

/// The sampled customers of a partition.
#[derive(Default)]
struct PartitionSample {
    customers: Vec<CustomerOrders>,
    /// Number of orders by day since 1970, of all customers.
    days: BTreeMap<i64, u64>,
}

impl OrderSample {
    /// Reads the staged tables `orders` and `returns`, which are partitioned alike.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub(super) fn read(
        orders: &[StagedFile],
        returns: &[StagedFile],
        threads: usize,
    ) -> Result<Self, RawError> {
        let all: usize = orders.iter().map(|file| file.rows).sum();
        let one_in = all.div_ceil(ORDERS).max(1) as u64;
        let read = |at: usize| -> Result<PartitionSample, RawError> {
            let mut sample = PartitionSample::default();
            for customer in PartitionOrders::open(&orders[at], returns.get(at))? {
                let customer = customer?;
                for order in customer.events.iter().filter(|event| !event.is_return) {
                    *sample.days.entry(order.at.div_euclid(DAY)).or_default() += 1;
                }
                if is_sampled(&customer.id, one_in) {
                    sample.customers.push(customer);
                }
            }
            Ok(sample)
        };
        let parts = parallel_map(threads, orders.len(), || (), |(), at| read(at));
        let (mut sample, mut days) = (Self { one_in, ..Self::default() }, BTreeMap::new());
        for part in parts {
            let part = part?;
            sample.customers.extend(part.customers);
            for (day, orders) in part.days {
                *days.entry(day).or_default() += orders;
            }
        }
        sample.customers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        sample.start = start(&days);
        Ok(sample)
    }

    /// Describes the sample for the model card.
    pub(super) fn description(&self) -> String {
        match self.one_in {
            0 | 1 => "all customers".to_owned(),
            one_in => format!("one in {one_in} customers, by hash of the id"),
        }
    }
}

/// Returns the start of the history for the numbers of orders by day.
fn start(days: &BTreeMap<i64, u64>) -> Option<i64> {
    let all: u64 = days.values().sum();
    let mut before = 0;
    let day = days.iter().find(|(_, orders)| {
        before += **orders;
        before * STRAY > all
    });
    day.map(|(day, _)| day * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stray_orders_do_not_lengthen_the_history() {
        assert_eq!(start(&BTreeMap::new()), None);
        assert_eq!(start(&BTreeMap::from([(5, 1), (7, 1)])), Some(5 * DAY));
        let mut days: BTreeMap<i64, u64> = (100..200).map(|day| (day, 50)).collect();
        days.insert(0, 5);
        assert_eq!(start(&days), Some(100 * DAY));
    }
}
