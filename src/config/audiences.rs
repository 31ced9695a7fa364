//! `[audiences.NAME]`: named audiences, which a build turns into segments.

use serde::Deserialize;

/// One `[audiences.NAME]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudienceConfig {
    /// Expression over segments, features and other audiences that selects the members.
    ///
    /// Required. Example: `"churn.risk:high and rfm.monetary >= 1000"`.
    pub r#where: String,
    /// Priority among the audiences that have one. A customer belongs only to the matching audience with the
    /// lowest number.
    ///
    /// Default: none, the audience is independent of the others. Example: `1`.
    pub priority: Option<u32>,
    /// Description of the audience, shown by the API.
    ///
    /// Default: `""`.
    #[serde(default)]
    pub description: String,
}
