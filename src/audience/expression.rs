//! Expressions: trees of conditions on segments and features.

use std::{fmt, hash::Hash};

use super::{
    events::{EventKey, Times},
    literal::Literal,
    operator::Operator,
};

/// A condition on customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// All of two or more: `a and b and c`.
    All(Vec<Expression>),
    /// At least one of two or more: `a or b or c`.
    Any(Vec<Expression>),
    /// `not a`
    Not(Box<Expression>),
    /// `segment:champions`
    Segment(String, Position),
    /// `rfm.monetary >= 1000`
    Compare(FeatureName, Operator, Operand),
    /// `profile.country in (France, "United Kingdom")`
    In(FeatureName, Vec<Operand>),
    /// `profile.name contains Smith`
    Match(FeatureName, TextMatch, Operand),
    /// `recommendations.products has 22423`
    Has(FeatureName, Operand),
    /// `churn.risk is null`
    IsNull(FeatureName),
    /// `bought(product:"22423", since:-90d, times >= 2)`, `did(event:view)`
    Event(EventTerm),
}

/// A condition on the number of a customer's events within a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTerm {
    /// Subject of the events.
    pub key: EventKey,
    /// First instant of the period.
    pub since: Option<Operand>,
    /// End of the period, which is not part of it.
    pub before: Option<Operand>,
    /// Wanted number of events.
    pub times: Times,
    /// Position in the expression.
    pub at: Position,
}

/// A feature with its position in an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FeatureName {
    /// Name of the view.
    pub view: String,
    /// Name of the feature in the view.
    pub feature: String,
    /// Position in the expression.
    pub at: Position,
}

/// A literal with its position in an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operand {
    /// The value.
    pub literal: Literal,
    /// Position in the expression.
    pub at: Position,
}

/// A comparison of a part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum TextMatch {
    Contains,
    StartsWith,
    EndsWith,
}

/// A position in an expression: number of characters before it. All positions are equal, so that equal
/// expressions with different spacing compare as equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Position(pub usize);

impl PartialEq for Position {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Position {}

impl Hash for Position {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// An error in an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {message}")]
pub struct ExpressionError {
    /// Position of the error: number of characters before it.
    pub position: usize,
    /// Description of the error.
    pub message: String,
}

impl Expression {
    /// Returns all features of the expression, in the order of appearance.
    #[must_use]
    pub fn features(&self) -> Vec<&FeatureName> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::features).collect(),
            Self::Not(part) => part.features(),
            Self::Segment(..) | Self::Event(_) => Vec::new(),
            Self::Compare(feature, ..)
            | Self::In(feature, _)
            | Self::Match(feature, ..)
            | Self::Has(feature, _)
            | Self::IsNull(feature) => vec![feature],
        }
    }

    /// Returns the names of all segments of the expression, in the order of appearance.
    #[must_use]
    pub fn segments(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::segments).collect(),
            Self::Not(part) => part.segments(),
            Self::Segment(name, _) => vec![name],
            _ => Vec::new(),
        }
    }
}

impl FeatureName {
    /// Creates the name of a feature outside of an expression.
    #[must_use]
    pub fn new(view: &str, feature: &str) -> Self {
        Self { view: view.to_owned(), feature: feature.to_owned(), at: Position(0) }
    }

    /// Parses a text such as `rfm.monetary`. Returns `None` for any other form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (view, feature) = text.split_once('.')?;
        if view.is_empty() || feature.is_empty() || feature.contains('.') {
            return None;
        }
        Some(Self::new(view, feature))
    }
}

impl fmt::Display for FeatureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.view, self.feature)
    }
}
