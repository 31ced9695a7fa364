//! What happened in the made-up year, packed: about 20 bytes an order, 12 a line.
//!
//! Times are seconds since the year began, customers and products are places in their lists.

/// A line of an order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) product: u16,
    pub(super) quantity: i32,
    pub(super) cents: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Purchase,
    Return,
    Cancellation,
}

/// Some lines at one time; they are in the order's shard.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) at: u32,
    pub(super) customer: u32,
    /// Where its lines start in the shard, and how many there are.
    pub(super) first: u32,
    pub(super) count: u16,
    pub(super) kind: Kind,
    pub(super) country: u8,
    /// How the id is written: plain, or with blanks before or behind it.
    pub(super) blanks: u8,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    View,
    Cart,
    Wishlist,
    EmailOpen,
}

impl Act {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Cart => "cart",
            Self::Wishlist => "wishlist",
            Self::EmailOpen => "email_open",
        }
    }
}

/// An interaction.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: u32,
    pub(super) customer: u32,
    pub(super) product: u16,
    pub(super) act: Act,
    /// Those with low marks are kept, so that there are as many as wanted.
    pub(super) mark: u16,
}

/// What some customers did in the year.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) orders: Vec<Order>,
    pub(super) lines: Vec<Line>,
    pub(super) events: Vec<Event>,
}

impl Shard {
    /// The lines of an order of this shard.
    pub(super) fn lines(&self, order: &Order) -> &[Line] {
        &self.lines[order.first as usize..][..usize::from(order.count)]
    }
}

/// How many lines the shards have.
pub(super) fn count_lines(shards: &[Shard]) -> usize {
    shards.iter().map(|shard| shard.lines.len()).sum()
}
