//! `[value]`: the `value` view.

use serde::Deserialize;

/// The `[value]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValueConfig {
    /// Whether builds compute the `value` view: spending so far, and a forecast for the next 365 days.
    ///
    /// Default: `true`.
    pub enabled: bool,
}

impl Default for ValueConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}
