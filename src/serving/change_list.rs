//! List of the customers who changed between two snapshots, by their numbers in both.

use std::{fmt, ops::Range, str::FromStr};

/// Number of a customer in the earlier and in the later snapshot; `None` if the snapshot does not have the
/// customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChangedCustomer {
    pub(super) before: Option<u32>,
    pub(super) after: Option<u32>,
}

/// Customers who changed: those who entered first, then those who left. A change of a value counts as
/// entering.
#[derive(Debug, Default)]
pub struct ChangeList {
    pub(super) customers: Vec<ChangedCustomer>,
    pub(super) entered: usize,
}

/// Direction of a change of a segment's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Members of the later snapshot who are not members in the earlier one.
    Entered,
    /// Members of the earlier snapshot who are not members in the later one.
    Left,
    /// All of these.
    Both,
}

impl ChangeList {
    /// Returns the number of customers who entered.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.entered as u64
    }

    /// Returns the number of customers who left.
    #[must_use]
    pub fn left(&self) -> u64 {
        (self.customers.len() - self.entered) as u64
    }

    /// Returns the number of customers of `direction`.
    #[must_use]
    pub fn total(&self, direction: Direction) -> u64 {
        self.places(direction).len() as u64
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.customers.len() * size_of::<ChangedCustomer>()
    }

    /// Returns the places of the customers of `direction`.
    pub(super) fn places(&self, direction: Direction) -> Range<usize> {
        match direction {
            Direction::Entered => 0..self.entered,
            Direction::Left => self.entered..self.customers.len(),
            Direction::Both => 0..self.customers.len(),
        }
    }
}

impl FromStr for Direction {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "entered" => Ok(Self::Entered),
            "left" => Ok(Self::Left),
            "both" => Ok(Self::Both),
            _ => Err("entered, left or both"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Entered => "entered",
            Self::Left => "left",
            Self::Both => "both",
        })
    }
}
