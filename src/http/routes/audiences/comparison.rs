//! Comparison of an audience with all customers: the features that distinguish the members.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    audience::{
        FeatureName, FeatureValue,
        catalog::ValueKind,
        comparison::{ComparedSizes, ComparedValues},
    },
    config::Scope,
    feature::SEGMENTS_VIEW,
    http::{
        Problem,
        extract::SnapshotRead,
        reply::{MinCount, raw},
    },
    serving::{AudienceComparison, ComparedFeature, ComparisonRequest},
};

/// Greatest number of values of a feature in an answer.
const MAX_VALUES: usize = 5;

/// An audience compared with all customers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComparisonAnswer {
    /// The features that distinguish the members most, at most 20, strongest first.
    features: Vec<FeatureAnswer>,
    /// Number of features that were not compared, because there are too many or they took too long.
    #[schema(example = 0)]
    left_out: usize,
    /// The setting `min_count`, if it applies to the caller: numbers of fewer members, or of fewer other
    /// customers, are left out, and so are features of which only such numbers remain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    min_count: Option<u64>,
}

/// A feature of the members and of all customers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeatureAnswer {
    /// The feature.
    #[schema(example = "behavior.spend_90d")]
    feature: String,
    /// How strongly the members differ: the absolute standardized difference of a number or a time, and
    /// Cohen's w of the shares of a text or a boolean.
    #[schema(example = 1.37)]
    strength: f64,
    /// Number of members without a value.
    #[schema(example = 0)]
    null: usize,
    /// Number of customers without a value.
    #[schema(example = 12)]
    null_all: usize,
    /// Means of a number or a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    numbers: Option<MeanAnswer>,
    /// The values with the highest lifts, at most 5, for a text or a boolean.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    values: Option<Vec<ShareAnswer>>,
}

/// Means and medians of a number or a time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MeanAnswer {
    /// Mean of the members.
    #[schema(value_type = FeatureValue)]
    mean: Box<RawValue>,
    /// Mean of all customers.
    #[schema(value_type = FeatureValue)]
    mean_all: Box<RawValue>,
    /// Median of the members, the lower one of two; null where it took too long.
    #[schema(value_type = Option<FeatureValue>)]
    median: Option<Box<RawValue>>,
    /// Median of all customers.
    #[schema(value_type = Option<FeatureValue>)]
    median_all: Option<Box<RawValue>>,
    /// Difference of the means, in standard deviations over all customers.
    #[schema(example = -1.37)]
    difference: f64,
}

/// A value, with its share of the members and of all customers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShareAnswer {
    /// The value.
    #[schema(value_type = FeatureValue)]
    value: Box<RawValue>,
    /// Number of members.
    #[schema(example = 41)]
    customers: usize,
    /// Number of customers.
    #[schema(example = 95)]
    customers_all: usize,
    /// Share of the members.
    #[schema(example = 0.41)]
    share: f64,
    /// Share of all customers.
    #[schema(example = 0.0217)]
    share_all: f64,
    /// Ratio of the shares.
    #[schema(example = 18.9)]
    lift: f64,
}

/// Returns the features that the caller may compare: all but lists, and personal ones only with the scope
/// `pii`.
pub(super) fn request(read: &SnapshotRead) -> ComparisonRequest {
    let (manifest, pii) = (&read.served.manifest, read.access.has(Scope::Pii));
    let views = manifest.views.iter().filter(|view| view.name != SEGMENTS_VIEW);
    let features = views.flat_map(|view| {
        let comparable = view.features.iter().filter(move |feature| {
            let kind = ValueKind::of(&feature.data_type);
            !matches!(kind, ValueKind::List(_) | ValueKind::Nested) && (pii || !feature.personal)
        });
        comparable.map(|feature| FeatureName::new(&view.name, &feature.name))
    });
    ComparisonRequest { features: features.collect(), least: MinCount::of(&read.app, &read.access).members() }
}

/// Returns the personal features among those that `comparison` has.
pub(super) fn personal(read: &SnapshotRead, comparison: &AudienceComparison) -> Vec<String> {
    let names = comparison.features.iter().map(|feature| &feature.name);
    let personal = names.filter(|name| read.served.manifest.is_personal(&name.view, &name.feature));
    personal.map(ToString::to_string).collect()
}

/// Checks that the numbers of all customers who are not members tell about enough of them.
pub(super) fn check_others(read: &SnapshotRead, sizes: ComparedSizes) -> Result<(), Problem> {
    MinCount::of(&read.app, &read.access).check_list((sizes.all - sizes.members) as u64)
}

impl ComparisonAnswer {
    pub(super) fn new(comparison: AudienceComparison, least: MinCount) -> Self {
        let AudienceComparison { features, left_out, sizes } = comparison;
        let features = features.into_iter().map(|feature| FeatureAnswer::new(feature, sizes)).collect();
        Self { features, left_out, min_count: least.shown() }
    }
}

impl FeatureAnswer {
    fn new(feature: ComparedFeature, sizes: ComparedSizes) -> Self {
        let ComparedFeature { name, comparison, medians } = feature;
        let (mut numbers, mut values) = (None, None);
        match comparison.values {
            ComparedValues::Mean(compared) => {
                let ([mean, mean_all], [median, median_all]) =
                    (compared.means.map(raw), medians.map_or([None, None], |both| both.map(raw).map(Some)));
                let difference = compared.difference;
                numbers = Some(MeanAnswer { mean, mean_all, median, median_all, difference });
            }
            ComparedValues::Shares(shares) => {
                let share = |part: usize, whole: usize| {
                    #[expect(clippy::cast_precision_loss, reason = "a share")]
                    let share = part as f64 / whole as f64;
                    share
                };
                let answer = shares.into_iter().take(MAX_VALUES).map(|one| {
                    let (share, share_all) =
                        (share(one.customers, sizes.members), share(one.customers_all, sizes.all));
                    ShareAnswer {
                        value: raw(one.value),
                        customers: one.customers,
                        customers_all: one.customers_all,
                        share,
                        share_all,
                        lift: share / share_all,
                    }
                });
                values = Some(answer.collect());
            }
        }
        let (null, null_all) = (comparison.null, comparison.null_all);
        Self { feature: name.to_string(), strength: comparison.strength, null, null_all, numbers, values }
    }
}
