//! Conditions on events: how often a customer bought something, or did something, within a period.

use std::fmt;

use super::{
    bitmap::{Bitmap, scan},
    operator::Operator,
};

/// Subject of an event. The text of a subject is the key of the event in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKey {
    /// An order of anything.
    Order,
    /// An order that has a product, by product id.
    Product(String),
    /// An order that has a product of a category.
    Category(String),
    /// An interaction, by the name of its event.
    Interaction(String),
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order => f.write_str("order"),
            Self::Product(id) => write!(f, "product:{id}"),
            Self::Category(name) => write!(f, "category:{name}"),
            Self::Interaction(event) => write!(f, "event:{event}"),
        }
    }
}

impl EventKey {
    /// Returns the size in memory beyond the value itself, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Order => 0,
            Self::Product(text) | Self::Category(text) | Self::Interaction(text) => text.capacity(),
        }
    }

    /// Returns the statement that no customer has such an event.
    pub(super) fn absent(&self) -> String {
        match self {
            Self::Order => "no customer has an order".to_owned(),
            Self::Product(id) => format!("no customer bought product `{id}`"),
            Self::Category(name) => format!("no customer bought anything of category `{name}`"),
            Self::Interaction(event) => format!("no customer has an event `{event}`"),
        }
    }
}

/// A comparison of the number of a customer's events with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Times {
    /// Operator.
    pub operator: Operator,
    /// Number to compare with.
    pub number: u32,
}

impl Times {
    /// At least one event.
    pub const ANY: Self = Self { operator: Operator::AtLeast, number: 1 };

    /// Checks whether `count` events match.
    fn accepts(self, count: usize) -> bool {
        let number = self.number as usize;
        match self.operator {
            Operator::Equal => count == number,
            Operator::NotEqual => count != number,
            Operator::Less => count < number,
            Operator::AtMost => count <= number,
            Operator::Greater => count > number,
            Operator::AtLeast => count >= number,
        }
    }
}

/// A condition on the number of a customer's events of one key within a period.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventCondition {
    /// Subject of the events.
    pub key: EventKey,
    /// First instant of the period, in microseconds since 1970; `None` for the beginning of the history.
    pub since: Option<i64>,
    /// End of the period, which is not part of it, in microseconds since 1970; `None` for no end.
    pub before: Option<i64>,
    /// Wanted number of events.
    pub times: Times,
}

/// The events of one key, by customer and time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventList {
    /// Customers with events, by number in ascending order.
    customers: Vec<u32>,
    /// End of the events of each of `customers` in `times`.
    ends: Vec<usize>,
    /// Times in microseconds since 1970, those of one customer in ascending order.
    times: Vec<i64>,
    /// Time of the last event of every customer, or the least number; empty unless many customers have
    /// events.
    last: Vec<i64>,
}

/// Ratio of all customers to those with events up to which a list has the last time of every customer.
const DENSE: usize = 4;

impl EventList {
    /// Adds events. `customers` must continue in ascending order, and `times` likewise for each customer.
    pub fn extend(&mut self, customers: &[u32], times: &[i64]) {
        self.times.extend_from_slice(times);
        let mut end = self.times.len() - times.len();
        for run in customers.chunk_by(|a, b| a == b) {
            end += run.len();
            match self.ends.last_mut() {
                Some(last) if self.customers.last() == run.first() => *last = end,
                _ => {
                    self.customers.push(run[0]);
                    self.ends.push(end);
                }
            }
        }
    }

    /// Prepares the complete list for `customers` customers.
    #[must_use]
    pub fn finish(mut self, customers: usize) -> Self {
        if self.customers.len() * DENSE >= customers {
            self.last = vec![i64::MIN; customers];
            for (customer, end) in self.customers.iter().zip(&self.ends) {
                if let Some(last) = self.last.get_mut(*customer as usize) {
                    *last = self.times[end - 1];
                }
            }
        }
        for part in [&mut self.times, &mut self.last] {
            part.shrink_to_fit();
        }
        self
    }

    /// Returns the size in memory in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let times = self.times.capacity() + self.last.capacity();
        times * size_of::<i64>()
            + self.customers.capacity() * size_of::<u32>()
            + self.ends.capacity() * size_of::<usize>()
    }

    /// Returns the customers with events, by number in ascending order.
    #[must_use]
    pub fn customers(&self) -> &[u32] {
        &self.customers
    }

    /// Returns the customers among `customers` customers whose number of events within the period of
    /// `condition` is the wanted one. The key of `condition` is not compared.
    #[must_use]
    pub fn matching(&self, condition: &EventCondition, customers: usize) -> Bitmap {
        let EventCondition { since, before, times: wanted, .. } = condition;
        let since = since.unwrap_or(i64::MIN);
        if *wanted == Times::ANY && before.is_none() && !self.last.is_empty() {
            let mut words = vec![0; customers.div_ceil(64)];
            // The least number stands for no event.
            let since = since.max(i64::MIN + 1);
            scan(&self.last, |last| last >= since, &mut words);
            return Bitmap::from_words(words, customers);
        }
        if wanted.operator == Operator::AtLeast && wanted.number > 0 && before.is_none() {
            return self.at_least(wanted.number as usize, since, customers);
        }
        // Customers without any event match if none is wanted.
        let none = wanted.accepts(0);
        let mut matching = if none { Bitmap::full(customers) } else { Bitmap::empty(customers) };
        let mut start = 0;
        for (customer, end) in self.customers.iter().zip(&self.ends) {
            let times = &self.times[start..*end];
            start = *end;
            let end = before.map_or(times.len(), |before| times.partition_point(|at| *at < before));
            let count = end.saturating_sub(times.partition_point(|at| *at < since));
            match (none, wanted.accepts(count)) {
                (false, true) => matching.insert(*customer as usize),
                (true, false) => matching.remove(*customer as usize),
                _ => {}
            }
        }
        matching
    }

    /// Returns the customers with at least `number` events at `since` or later. The times of a customer are
    /// sorted, so the last but so many decides.
    fn at_least(&self, number: usize, since: i64, customers: usize) -> Bitmap {
        let mut matching = Bitmap::empty(customers);
        let mut start = 0;
        for (customer, end) in self.customers.iter().zip(&self.ends) {
            let count = end - start;
            start = *end;
            let decisive = self.times[end - count.min(number)];
            #[expect(clippy::needless_bitwise_bool, reason = "a branch would be hard to predict")]
            let is_member = (count >= number) & (decisive >= since);
            matching.insert_if(*customer as usize, is_member);
        }
        matching
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_within_the_period() {
        let mut list = EventList::default();
        list.extend(&[0, 0, 0, 2], &[10, 20, 30, 20]);
        list.extend(&[2, 5], &[25, 5]);
        let found = |since, before, operator, number| {
            let times = Times { operator, number };
            let condition = EventCondition { key: EventKey::Order, since, before, times };
            let found = list.matching(&condition, 7);
            // A list of which many customers have events has another form.
            assert_eq!(list.clone().finish(7).matching(&condition, 7), found);
            assert!(list.clone().finish(700).matching(&condition, 7) == found);
            found.iter().collect::<Vec<_>>()
        };
        assert_eq!(found(None, None, Operator::AtLeast, 1), [0, 2, 5]);
        assert_eq!(found(Some(20), None, Operator::AtLeast, 1), [0, 2]);
        assert_eq!(found(None, Some(20), Operator::AtLeast, 1), [0, 5]);
        assert_eq!(found(Some(20), Some(30), Operator::Greater, 1), [2]);
        assert_eq!(found(Some(20), None, Operator::Equal, 2), [0, 2]);
        assert_eq!(found(Some(20), None, Operator::NotEqual, 0), [0, 2]);
        assert_eq!(found(None, None, Operator::Less, 2), [1, 3, 4, 5, 6]);
        assert_eq!(found(Some(6), None, Operator::AtMost, 0), [1, 3, 4, 5, 6]);
        assert_eq!(found(None, None, Operator::Equal, 0), [1, 3, 4, 6]);
    }
}
