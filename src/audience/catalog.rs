//! The names that expressions can refer to, and the kinds of their values.

use chrono::{DateTime, Utc};

use super::{
    events::EventCondition,
    expression::{EventTerm, ExpressionError, FeatureName, Operand},
    literal::{self, Literal},
    tokens::truncated,
};
use crate::feature::{FeatureView, near};

/// The kind of values of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Text.
    Text,
    /// Integers.
    Integer,
    /// Decimals and floating-point numbers.
    Number,
    /// Dates and timestamps.
    Time,
    /// Booleans.
    Boolean,
    /// Lists of texts, numbers or dates, which may have an element.
    List(ElementKind),
    /// Structs and lists of them, which can only be compared with null.
    Nested,
}

/// The kind of the elements of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ElementKind {
    Text,
    Number,
    Time,
}

impl ValueKind {
    /// Returns the kind of an Arrow type as written in the manifest.
    #[must_use]
    pub fn of(data_type: &str) -> Self {
        match data_type.split('(').next().unwrap_or_default() {
            "Utf8" => Self::Text,
            "Int32" | "Int64" => Self::Integer,
            "Float64" | "Decimal128" => Self::Number,
            "Date32" | "Timestamp" => Self::Time,
            "Boolean" => Self::Boolean,
            "List" => match Self::of(&data_type["List(".len()..data_type.len() - 1]) {
                Self::Text => Self::List(ElementKind::Text),
                Self::Integer => Self::List(ElementKind::Number),
                Self::Number if !data_type.contains("Float") => Self::List(ElementKind::Number),
                Self::Time if data_type.contains("Date32") => Self::List(ElementKind::Time),
                _ => Self::Nested,
            },
            _ => Self::Nested,
        }
    }

    /// Returns the noun for error messages.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer | Self::Number => "a number",
            Self::Time => "a time",
            Self::Boolean => "true or false",
            Self::List(_) => "a list",
            Self::Nested => "a list or a struct",
        }
    }
}

/// Advice for a value that is no time.
const TIME_ADVICE: &str = "write a date, a time with its zone such as 2011-12-09T12:50:00Z, or a time before \
                           the as-of time such as -30d";

/// The names that expressions can refer to.
#[derive(Debug, Clone, Copy)]
pub struct Catalog<'a> {
    /// The views.
    pub views: &'a [FeatureView],
    /// The names of the segments.
    pub segments: &'a [&'a str],
    /// The as-of time, from which relative times count.
    pub as_of: DateTime<Utc>,
    /// Whether the snapshot has events, which `bought` and `did` count.
    pub has_events: bool,
}

impl Catalog<'_> {
    /// Returns the kind of values of a feature.
    ///
    /// # Errors
    /// Fails if the view or the feature does not exist; the message suggests similar names.
    pub fn kind(&self, name: &FeatureName) -> Result<ValueKind, ExpressionError> {
        let error = |message: String| ExpressionError { position: name.at.0, message };
        let Some(view) = self.views.iter().find(|view| view.name == name.view) else {
            let hint = self.view_hint(name);
            return Err(error(format!("there is no view `{}`{hint}", truncated(&name.view))));
        };
        let Some(feature) = view.features.iter().find(|feature| feature.name == name.feature) else {
            let hint = self.feature_hint(view, name);
            let (view, feature) = (&view.name, truncated(&name.feature));
            return Err(error(format!("there is no feature `{feature}` in view {view}{hint}")));
        };
        Ok(ValueKind::of(&feature.data_type))
    }

    /// Returns the condition that `term` stands for.
    pub(super) fn event(&self, term: &EventTerm) -> Result<EventCondition, ExpressionError> {
        if !self.has_events {
            let message = "this snapshot has no purchases and events; build one with `purchases = true` in \
                           [build]";
            return Err(ExpressionError { position: term.at.0, message: message.to_owned() });
        }
        let micros = |operand: &Option<Operand>| {
            let Some(operand) = operand else { return Ok(None) };
            let time = match &operand.literal {
                Literal::Time(time) => Some(*time),
                Literal::Text(text) => literal::time(text),
                Literal::Ago(ago) => ago.before(self.as_of),
                Literal::Number(_) | Literal::Boolean(_) => None,
            };
            let found = || truncated(&operand.literal.to_string());
            let message = || format!("{} is no time; {TIME_ADVICE}", found());
            let error = || ExpressionError { position: operand.at.0, message: message() };
            // Events have whole microseconds, so the first one at or after a time is at its ceiling.
            let ceiling = |time: DateTime<Utc>| {
                time.timestamp_micros() + i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000))
            };
            time.ok_or_else(error).map(|time| Some(ceiling(time)))
        };
        let (since, before) = (micros(&term.since)?, micros(&term.before)?);
        Ok(EventCondition { key: term.key.clone(), since, before, times: term.times })
    }

    /// Suggests a feature with a similar full name, else a view with a similar name.
    fn view_hint(&self, name: &FeatureName) -> String {
        let names: Vec<String> = self.views.iter().flat_map(feature_names).collect();
        let hint = near::hint(&name.to_string(), names.iter().map(String::as_str));
        if hint.is_empty() {
            near::hint(&name.view, self.views.iter().map(|view| view.name.as_str()))
        } else {
            hint
        }
    }

    /// Suggests a feature of `view` with a similar name, else features with the same name in other views.
    fn feature_hint(&self, view: &FeatureView, name: &FeatureName) -> String {
        let hint = near::hint(&name.feature, view.features.iter().map(|feature| feature.name.as_str()));
        if !hint.is_empty() {
            return hint;
        }
        let all = self.views.iter().flat_map(feature_names);
        let is_same = |known: &String| known.split_once('.').is_some_and(|(_, f)| f == name.feature);
        let same: Vec<String> = all.filter(is_same).take(3).collect();
        if same.is_empty() { hint } else { format!("; did you mean {}?", same.join(" or ")) }
    }

    /// Returns `operand` converted to the kind of `feature`, or an error with advice.
    pub(super) fn operand(
        &self,
        feature: &FeatureName,
        kind: ValueKind,
        operand: &Operand,
    ) -> Result<Operand, ExpressionError> {
        let converted = match (kind, &operand.literal) {
            (ValueKind::Text, Literal::Text(_))
            | (ValueKind::Integer | ValueKind::Number, Literal::Number(_))
            | (ValueKind::Boolean, Literal::Boolean(_))
            | (ValueKind::Time, Literal::Time(_)) => Some(operand.clone()),
            // A time may be quoted.
            (ValueKind::Time, Literal::Text(text)) => {
                literal::time(text).map(|time| Operand { literal: Literal::Time(time), at: operand.at })
            }
            (ValueKind::Time, Literal::Ago(ago)) => {
                let time = ago.before(self.as_of);
                time.map(|time| Operand { literal: Literal::Time(time), at: operand.at })
            }
            _ => None,
        };
        converted.ok_or_else(|| {
        let advice = match kind {
            ValueKind::Text if matches!(operand.literal, Literal::Number(_)) && feature.view == "profile" => {
                "; put text in quotes, or set the column's type by `types` in [raw.customers]: CSV columns \
                 are text by default"
            }
            ValueKind::Text => "; put text in quotes",
            ValueKind::Time => &format!("; {TIME_ADVICE}"),
            _ => "",
        };
        let (noun, found) = (kind.noun(), truncated(&operand.literal.to_string()));
        let message = match kind {
            ValueKind::List(_) => format!("{feature} is a list; write `{feature} has {found}`"),
            ValueKind::Nested => format!("{feature} is {noun}, which can only be compared with null"),
            _ => format!("{feature} is {noun} and cannot be compared with {found}{advice}"),
        };
        ExpressionError { position: operand.at.0, message }
    })
    }
}

fn feature_names(view: &FeatureView) -> impl Iterator<Item = String> {
    view.features.iter().map(|feature| format!("{}.{}", view.name, feature.name))
}
