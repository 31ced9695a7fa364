//! `[privacy]`: protection of small groups of customers.

use serde::Deserialize;

/// The `[privacy]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyConfig {
    /// Least number of customers that callers without the scope `pii` may count. It applies to audiences,
    /// breakdowns, segments, histories, overlaps, migrations, lists and exports; `0` shows every count.
    ///
    /// Default: `0`. Unit: customers.
    pub min_count: usize,
}
