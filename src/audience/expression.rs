//! Expressions: trees of tests over segments and features.

use std::{fmt, hash::Hash};

use super::literal::Literal;

/// Who is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Both, or all of more: `a and b and c`.
    All(Vec<Expression>),
    /// One at least: `a or b or c`.
    Any(Vec<Expression>),
    /// `not a`
    Not(Box<Expression>),
    /// `segment:champions`
    Segment(String, At),
    /// `rfm.monetary >= 1000`
    Compare(FeatureName, Operator, Value),
    /// `profile.country in (France, "United Kingdom")`
    In(FeatureName, Vec<Value>),
    /// `churn.risk is null`
    IsNull(FeatureName),
}

/// A feature, and where the expression names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FeatureName {
    /// The view.
    pub view: String,
    /// The feature.
    pub feature: String,
    /// Where it stands.
    pub at: At,
}

/// A value, and where the expression has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value {
    /// The value.
    pub literal: Literal,
    /// Where it stands.
    pub at: At,
}

/// How a feature is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// A place in an expression, in characters from 0. Two expressions are the same wherever their parts stand.
#[derive(Debug, Clone, Copy, Default)]
pub struct At(pub usize);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

impl Hash for At {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {message}")]
pub struct ExpressionError {
    /// The character, counted from 0.
    pub position: usize,
    /// What was expected.
    pub message: String,
}

impl Expression {
    /// Every feature that it names, in its order.
    #[must_use]
    pub fn features(&self) -> Vec<&FeatureName> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::features).collect(),
            Self::Not(part) => part.features(),
            Self::Segment(..) => Vec::new(),
            Self::Compare(feature, ..) | Self::In(feature, _) | Self::IsNull(feature) => vec![feature],
        }
    }

    /// Every segment that it names, in its order.
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
    /// `feature` of `view`, named outside an expression.
    #[must_use]
    pub fn new(view: &str, feature: &str) -> Self {
        Self { view: view.to_owned(), feature: feature.to_owned(), at: At(0) }
    }

    /// The feature in a text such as `rfm.monetary`, which is all of it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (view, feature) = text.split_once('.')?;
        let is_one = !view.is_empty() && !feature.is_empty() && !feature.contains('.');
        is_one.then(|| Self::new(view, feature))
    }
}

impl fmt::Display for FeatureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.view, self.feature)
    }
}
