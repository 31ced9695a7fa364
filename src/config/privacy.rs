//! `[privacy]`: protection of small groups of customers.

use serde::Deserialize;

/// The `[privacy]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyConfig {
    /// Least number of customers in an audience, and in a group of a breakdown, whose count is shown to
    /// callers without the scope `pii`; `0` shows every count.
    ///
    /// Default: `0`. Unit: customers.
    pub min_count: usize,
}
