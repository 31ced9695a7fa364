//! `[feast]`: feature services and maximum ages for Feast clients.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use super::parse_duration;

/// The `[feast]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeastConfig {
    /// Feature services: name to list of features, each `view:feature`, or `view` for every feature of a
    /// view.
    ///
    /// Default: `{}`. Example: `{ campaigns = ["rfm:segment", "churn"] }`.
    pub services: BTreeMap<String, Vec<FeatureRef>>,
    /// Maximum age of a view: view name to duration. Values whose as-of time is older are withheld with the
    /// status `OUTSIDE_MAX_AGE`.
    ///
    /// Default: `{}`. Example: `{ rfm = "2d" }`.
    #[serde(deserialize_with = "durations")]
    pub max_age: BTreeMap<String, Duration>,
}

/// A reference to features: `view:feature`, or `view` for every feature of a view.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FeatureRef {
    /// Name of the view.
    pub view: String,
    /// Name of the feature; `None` for every feature of the view.
    pub feature: Option<String>,
}

impl TryFrom<String> for FeatureRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (view, feature) =
            text.split_once(':').map_or((text.as_str(), None), |(view, feature)| (view, Some(feature)));
        let is_valid = |name: &str| !name.is_empty() && !name.contains(':') && name.trim() == name;
        if !is_valid(view) || !feature.is_none_or(is_valid) {
            return Err(format!(
                "`{text}` is not a feature; write view:feature, or view for all of its features"
            ));
        }
        Ok(Self { view: view.to_owned(), feature: feature.map(str::to_owned) })
    }
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.feature {
            Some(feature) => write!(f, "{}:{feature}", self.view),
            None => f.write_str(&self.view),
        }
    }
}

/// Deserializes a map of durations from their texts.
fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Duration>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let parsed = texts.into_iter().map(|(view, text)| Ok((view, parse_duration(&text)?)));
    parsed.collect::<Result<_, String>>().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_reference_is_parsed() {
        let parse = |text: &str| FeatureRef::try_from(text.to_owned());
        assert_eq!(
            parse("rfm:segment"),
            Ok(FeatureRef { view: "rfm".to_owned(), feature: Some("segment".to_owned()) })
        );
        assert_eq!(parse("rfm").map(|all| all.to_string()), Ok("rfm".to_owned()));
        for wrong in ["", ":", "rfm:", ":segment", "rfm:a:b", "rfm: segment"] {
            assert!(parse(wrong).is_err_and(|message| message.contains("view:feature")), "{wrong}");
        }
    }

    #[test]
    fn max_age_is_parsed_as_duration() {
        let config: FeastConfig = toml::from_str("max_age = { rfm = \"2d\" }").expect("valid");
        assert_eq!(config.max_age["rfm"], Duration::from_hours(48));
        assert!(toml::from_str::<FeastConfig>("max_age = { rfm = \"2 weeks\" }").is_err());
    }
}
