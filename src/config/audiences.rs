//! `[audiences.NAME]`: named audiences, which a build computes and which are segments then.

use serde::Deserialize;

/// `[audiences.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudienceConfig {
    /// Who is in it: an expression over segments, features and other audiences.
    pub r#where: String,
    /// Of all audiences with a priority a customer is only in that with the lowest number; default: it stands for itself.
    pub priority: Option<u32>,
    /// What it is for.
    #[serde(default)]
    pub description: String,
}
