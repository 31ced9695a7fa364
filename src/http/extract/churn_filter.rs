//! Filters of the churn list, as queries of the list and of its export have them.

use crate::{
    feature::SegmentKind,
    http::{
        access::Access,
        problem::{Problem, excerpt, segment_hint},
    },
    serving::Served,
    snapshot::{CHURN_LIST, reader::ChurnFilter},
};

/// The greatest `min_value` that a filter may have.
const MAX_VALUE: f64 = 1e15;

/// The filters as written in a query.
#[derive(Debug)]
pub(crate) struct ChurnFilters {
    pub(crate) risk: Option<String>,
    pub(crate) segment: Option<String>,
    pub(crate) min_probability: Option<String>,
    pub(crate) min_value: Option<String>,
}

impl ChurnFilters {
    /// Reads the filters.
    pub(crate) fn parse(self) -> Result<ChurnFilter, Problem> {
        if self.risk.as_deref().is_some_and(|risk| !["high", "medium", "low"].contains(&risk)) {
            return Err(Problem::bad_parameter("`risk` must be high, medium or low"));
        }
        Ok(ChurnFilter {
            risk: self.risk,
            segment: self.segment,
            min_probability: at_least("min_probability", self.min_probability.as_deref(), 1.0)?,
            min_value: at_least("min_value", self.min_value.as_deref(), MAX_VALUE)?,
        })
    }
}

/// Reads a lower bound from 0 to `most`, in ten-thousandths.
fn at_least(name: &str, text: Option<&str>, most: f64) -> Result<Option<i128>, Problem> {
    match text.map(str::parse::<f64>) {
        None => Ok(None),
        Some(Ok(number)) if (0.0..=most).contains(&number) => Ok(Some(ChurnFilter::at_least(number))),
        Some(_) => Err(Problem::bad_parameter(format!("`{name}` must be a number from 0 to {most}"))),
    }
}

/// Checks that the snapshot has a churn model and the segment of the filter, and that the caller may filter
/// by its features. Returns the personal features.
pub(crate) fn check(served: &Served, access: &Access, filter: &ChurnFilter) -> Result<Vec<String>, Problem> {
    if served.manifest.models.churn.is_none() {
        return Err(Problem::model_not_found("the snapshot has no churn model"));
    }
    let mut asked_by = Vec::new();
    for (view, feature) in features(filter) {
        asked_by.extend(access.check_query_by(&served.manifest, view, feature)?);
    }
    let Some(segment) = &filter.segment else { return Ok(asked_by) };
    let known = || served.manifest.segments.iter().filter(|known| known.kind == SegmentKind::Rfm);
    if known().any(|known| known.name == *segment) {
        return Ok(asked_by);
    }
    let hint = segment_hint(segment, known());
    Err(Problem::bad_parameter(format!("`{}` is not a segment of kind rfm{hint}", excerpt(segment))))
}

/// Returns the features that the list is ordered and filtered by, as pairs of view and feature.
fn features(filter: &ChurnFilter) -> impl Iterator<Item = (&'static str, &'static str)> {
    let risk = filter.risk.as_ref().map(|_| ("churn", "risk"));
    let segment = filter.segment.as_ref().map(|_| ("rfm", "segment"));
    let probability = filter.min_probability.map(|_| ("churn", "probability"));
    [Some(("churn", "value_at_risk")), risk, segment, probability].into_iter().flatten()
}

/// Returns the name of the filtered list in cursors: a list continues with the filter that it began with.
pub(crate) fn list_name(filter: &ChurnFilter) -> String {
    let number = |number: Option<i128>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    // The name of a segment has no space, which separates the fields of a cursor.
    let segment: String = text(&filter.segment).split_whitespace().collect();
    let (probability, value) = (number(filter.min_probability), number(filter.min_value));
    format!("{CHURN_LIST}:{}:{segment}:{probability}:{value}", text(&filter.risk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_bounds_are_exact_ten_thousandths() {
        let bound = |text| at_least("x", Some(text), 1.0).ok().flatten();
        assert_eq!(
            [bound("0.3"), bound("0.30001"), bound("0"), bound("1")],
            [Some(3_000), Some(3_001), Some(0), Some(10_000)]
        );
        assert_eq!([bound("-0.1"), bound("1.1"), bound("NaN"), bound("half")], [None; 4]);
    }
}
