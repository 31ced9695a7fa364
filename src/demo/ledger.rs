//! Orders and interactions of the generated year in compact form: about 20 bytes per order, 12 per line.
//!
//! Times are seconds since the start of the year; customers and products are indexes.

/// A line of an order.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrderLine {
    pub(super) product: u16,
    pub(super) quantity: i32,
    pub(super) cents: u32,
}

/// The kind of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderKind {
    Purchase,
    Return,
    Cancellation,
}

/// An order, whose lines are in the same shard.
#[derive(Debug)]
pub(super) struct PackedOrder {
    pub(super) at: u32,
    pub(super) customer: u32,
    /// Index of the first line in the shard.
    pub(super) first: u32,
    /// Number of lines.
    pub(super) count: u16,
    pub(super) kind: OrderKind,
    pub(super) country: u8,
    /// Notation of the customer id: 0 for plain, else with surrounding blanks.
    pub(super) blanks: u8,
}

/// The kind of an interaction.
#[derive(Debug, Clone, Copy)]
pub(super) enum InteractionKind {
    View,
    Cart,
    Wishlist,
    EmailOpen,
}

impl InteractionKind {
    /// Returns the name in the interactions files.
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
pub(super) struct Interaction {
    pub(super) at: u32,
    pub(super) customer: u32,
    pub(super) product: u16,
    pub(super) kind: InteractionKind,
    /// Random mark. Only interactions with low marks are written, so that the number can be controlled.
    pub(super) mark: u16,
}

/// The year of some customers.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) orders: Vec<PackedOrder>,
    pub(super) lines: Vec<OrderLine>,
    pub(super) interactions: Vec<Interaction>,
}

impl Shard {
    /// Returns the lines of an order of this shard.
    pub(super) fn lines(&self, order: &PackedOrder) -> &[OrderLine] {
        &self.lines[order.first as usize..][..usize::from(order.count)]
    }
}

/// Returns the number of order lines in the shards.
pub(super) fn count_lines(shards: &[Shard]) -> usize {
    shards.iter().map(|shard| shard.lines.len()).sum()
}
