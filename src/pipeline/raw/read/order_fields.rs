//! Fields that the lines of an order take over from its first line.

/// Fields of the first line of an order.
#[derive(Debug, Default)]
pub(super) struct OrderFields {
    pub(super) texts: Vec<String>,
    pub(super) typed: u32,
}
