//! Audience expressions and the numbers, features and orders beside them, as endpoints of audiences take
//! them.

use crate::{
    audience::{Expression, FeatureName, order},
    http::{
        access::Access,
        problem::{Problem, excerpt},
    },
    serving::{AudienceError, Served},
};

/// Parses an audience expression.
pub(crate) fn expression(text: &str) -> Result<Expression, Problem> {
    Expression::parse(text).map_err(|error| AudienceError::from(error).into())
}

/// Checks that the caller may query by `expression` and by `others`. Returns the personal features that the
/// answer depends on, those behind named audiences included.
pub(crate) fn check_query_by<'a>(
    access: &Access,
    served: &Served,
    expression: &'a Expression,
    others: impl IntoIterator<Item = &'a FeatureName>,
) -> Result<Vec<String>, Problem> {
    let manifest = &served.manifest;
    let mut asked_by = Vec::new();
    for name in expression.features().into_iter().chain(others) {
        asked_by.extend(access.check_query_by(manifest, &name.view, &name.feature)?);
    }
    for segment in expression.segments().into_iter().filter_map(|name| manifest.segment(name)) {
        asked_by.extend(access.check_segment(manifest, segment)?);
    }
    asked_by.sort_unstable();
    asked_by.dedup();
    Ok(asked_by)
}

/// Checks that a request whose address is logged asks by no personal feature.
pub(crate) fn check_not_personal(asked_by: &[String]) -> Result<(), Problem> {
    match asked_by {
        [] => Ok(()),
        names => Err(Problem::bad_parameter(format!(
            "the request depends on {}, which is personal, and addresses are logged; use POST with a body",
            names.join(" and ")
        ))),
    }
}

/// Reads the parameter `name` as a whole number.
pub(crate) fn whole(name: &str, text: Option<String>) -> Result<Option<u64>, Problem> {
    let number = text.map(|text| text.parse()).transpose();
    number.map_err(|_| Problem::bad_parameter(format!("`{name}` must be a whole number")))
}

/// Checks that the field `name` of a body is within `least` and `most`.
pub(crate) fn number(name: &str, number: u64, least: u64, most: u64) -> Result<usize, Problem> {
    match usize::try_from(number) {
        Ok(small) if (least..=most).contains(&number) => Ok(small),
        _ => Err(Problem::bad_body(format!("`{name}` must be a number from {least} to {most}"))),
    }
}

/// Reads the feature name in the field `field` of a body.
pub(crate) fn feature(field: &str, text: &str) -> Result<FeatureName, Problem> {
    FeatureName::parse(text).ok_or_else(|| {
        Problem::unknown_feature(format!(
            "`{field}`: `{}` is not a feature; write view.feature",
            excerpt(text)
        ))
    })
}

/// Reads an order such as `rfm.monetary desc`, which is the default: the feature, and whether it descends.
pub(crate) fn order_by(text: Option<&str>) -> Result<(FeatureName, bool), Problem> {
    let bad = || Problem::bad_body("`order_by` is a feature, then `asc` or `desc` or nothing");
    let (name, descending) = order::parse(text.unwrap_or(order::DEFAULT)).ok_or_else(bad)?;
    Ok((feature("order_by", name)?, descending))
}

impl From<AudienceError> for Problem {
    fn from(error: AudienceError) -> Self {
        match error {
            AudienceError::Expression(error) => Self::bad_expression(error.to_string()).at(error.position),
            AudienceError::Request(..) => Self::unknown_feature(error.to_string()),
            AudienceError::Read(error) => error.into(),
        }
    }
}
