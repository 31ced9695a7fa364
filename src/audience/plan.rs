//! Plans: expressions with resolved names and checked types, in two-valued logic.
//!
//! `not` is pushed down to the leaves by De Morgan's laws, which also hold in three-valued logic. A negated
//! predicate is true for customers who do not match it and whose feature is not null. The remaining plan
//! consists of sets of customers, complements of these sets, `and` and `or`.

use super::{
    bitmap::Bitmap,
    expression::{Expression, ExpressionError, FeatureName, Operand, Operator},
    literal::{self, Literal},
};
use crate::feature::{FeatureView, near};

/// Greatest number of different conditions in an expression; each is a pass over all customers.
pub const MAX_CONDITIONS: usize = 128;

/// An expression compiled for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudiencePlan {
    root: PlanNode,
    /// The distinct sets that the plan combines.
    pub leaves: Vec<Leaf>,
}

/// A set of customers that does not depend on other sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// The members of a segment.
    Segment(String),
    /// The customers for whom a feature is null, or who are absent from its view.
    Null(FeatureName),
    /// The customers whose feature matches a predicate; null never matches.
    Predicate(FeatureName, Predicate),
}

/// A condition on a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// Equals one of these operands.
    OneOf(Vec<Operand>),
    /// Compares with the operand by an operator other than `=` and `!=`.
    Compare(Operator, Operand),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PlanNode {
    All(Vec<PlanNode>),
    Any(Vec<PlanNode>),
    /// Index of a leaf, and whether the set is complemented.
    Leaf(usize, bool),
}

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
    /// Lists and structs, which can only be compared with null.
    Nested,
}

impl Leaf {
    /// Returns the approximate size in memory in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let name = |name: &FeatureName| name.view.len() + name.feature.len();
        size_of::<Self>()
            + match self {
                Self::Segment(segment) => segment.len(),
                Self::Null(feature) => name(feature),
                Self::Predicate(feature, predicate) => {
                    let operands = predicate.operands().iter();
                    name(feature)
                        + operands
                            .map(|operand| size_of::<Operand>() + operand.literal.bytes())
                            .sum::<usize>()
                }
            }
    }
}

impl Predicate {
    /// Returns the operands.
    #[must_use]
    pub fn operands(&self) -> &[Operand] {
        match self {
            Self::OneOf(operands) => operands,
            Self::Compare(_, operand) => std::slice::from_ref(operand),
        }
    }
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
            _ => Self::Nested,
        }
    }

    /// Returns the noun for error messages.
    fn noun(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer | Self::Number => "a number",
            Self::Time => "a time",
            Self::Boolean => "true or false",
            Self::Nested => "a list or a struct",
        }
    }
}

/// The names that expressions can refer to.
#[derive(Debug, Clone, Copy)]
pub struct Catalog<'a> {
    /// The views.
    pub views: &'a [FeatureView],
    /// The names of the segments.
    pub segments: &'a [&'a str],
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

    /// Compiles `expression` to a plan.
    ///
    /// # Errors
    /// Fails for names that do not exist and operands of the wrong type, with the position in the expression.
    pub fn plan(&self, expression: &Expression) -> Result<AudiencePlan, ExpressionError> {
        let mut leaves = Vec::new();
        let root = self.node(expression, false, &mut leaves)?;
        if leaves.len() > MAX_CONDITIONS {
            let message = format!(
                "an expression may have at most {MAX_CONDITIONS} different conditions, this one has {}",
                leaves.len()
            );
            return Err(ExpressionError { position: 0, message });
        }
        Ok(AudiencePlan { root, leaves })
    }

    /// Compiles `expression`, negated if `not`, and adds its sets to `leaves`.
    fn node(
        &self,
        expression: &Expression,
        not: bool,
        leaves: &mut Vec<Leaf>,
    ) -> Result<PlanNode, ExpressionError> {
        match expression {
            Expression::Not(part) => self.node(part, !not, leaves),
            Expression::All(parts) | Expression::Any(parts) => {
                let nodes =
                    parts.iter().map(|part| self.node(part, not, leaves)).collect::<Result<_, _>>()?;
                let is_all = matches!(expression, Expression::All(_)) != not;
                Ok(if is_all { PlanNode::All(nodes) } else { PlanNode::Any(nodes) })
            }
            Expression::Segment(name, at) => {
                if !self.segments.contains(&name.as_str()) {
                    let hint = near::hint(name, self.segments.iter().copied());
                    let message = format!("there is no segment `{}`{hint}", truncated(name));
                    return Err(ExpressionError { position: at.0, message });
                }
                Ok(PlanNode::Leaf(leaf_index(leaves, Leaf::Segment(name.clone())), not))
            }
            Expression::IsNull(feature) => {
                self.kind(feature)?;
                Ok(PlanNode::Leaf(leaf_index(leaves, Leaf::Null(feature.clone())), not))
            }
            Expression::Compare(feature, Operator::NotEqual, operand) => {
                let equal = Expression::Compare(feature.clone(), Operator::Equal, operand.clone());
                self.node(&equal, !not, leaves)
            }
            Expression::Compare(feature, operator, operand) => {
                let predicate = self.comparison(feature, *operator, operand)?;
                Ok(predicate_node(feature, predicate, not, leaves))
            }
            Expression::In(feature, operands) => {
                let kind = self.kind(feature)?;
                let checked = operands.iter().map(|operand| checked_operand(feature, kind, operand));
                let mut checked = checked.collect::<Result<Vec<_>, _>>()?;
                // Lists with the same values are the same set.
                checked.sort_by(|a, b| a.literal.cmp(&b.literal));
                checked.dedup_by(|a, b| a.literal == b.literal);
                Ok(predicate_node(feature, Predicate::OneOf(checked), not, leaves))
            }
        }
    }

    /// Returns the predicate of a comparison other than `!=`.
    fn comparison(
        &self,
        feature: &FeatureName,
        operator: Operator,
        operand: &Operand,
    ) -> Result<Predicate, ExpressionError> {
        let kind = self.kind(feature)?;
        let operand = checked_operand(feature, kind, operand)?;
        if operator == Operator::Equal {
            return Ok(Predicate::OneOf(vec![operand]));
        }
        if kind == ValueKind::Boolean {
            let message = format!("{feature} is true or false, which have no order; use `=` or `!=`");
            return Err(ExpressionError { position: feature.at.0, message });
        }
        Ok(Predicate::Compare(operator, operand))
    }
}

fn feature_names(view: &FeatureView) -> impl Iterator<Item = String> {
    view.features.iter().map(|feature| format!("{}.{}", view.name, feature.name))
}

/// Returns the node for a predicate. If negated, it excludes customers for whom the feature is null.
fn predicate_node(
    feature: &FeatureName,
    predicate: Predicate,
    not: bool,
    leaves: &mut Vec<Leaf>,
) -> PlanNode {
    let matching = leaf_index(leaves, Leaf::Predicate(feature.clone(), predicate));
    if !not {
        return PlanNode::Leaf(matching, false);
    }
    let null = leaf_index(leaves, Leaf::Null(feature.clone()));
    PlanNode::All(vec![PlanNode::Leaf(matching, true), PlanNode::Leaf(null, true)])
}

/// Returns the index of `leaf` in `leaves`, adding it if necessary.
fn leaf_index(leaves: &mut Vec<Leaf>, leaf: Leaf) -> usize {
    leaves.iter().position(|known| *known == leaf).unwrap_or_else(|| {
        leaves.push(leaf);
        leaves.len() - 1
    })
}

/// Returns `operand` converted to the kind of `feature`, or an error with advice.
fn checked_operand(
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
        _ => None,
    };
    converted.ok_or_else(|| {
        let advice = match kind {
            ValueKind::Text if matches!(operand.literal, Literal::Number(_)) && feature.view == "profile" => {
                "; put text in quotes, or set the column's type by `types` in [raw.customers]: CSV columns \
                 are text by default"
            }
            ValueKind::Text => "; put text in quotes",
            ValueKind::Time => "; write a date, or a time with its zone such as 2011-12-09T12:50:00Z",
            _ => "",
        };
        let (noun, found) = (kind.noun(), truncated(&operand.literal.to_string()));
        let message = match kind {
            ValueKind::Nested => format!("{feature} is {noun}, which can only be compared with null"),
            _ => format!("{feature} is {noun} and cannot be compared with {found}{advice}"),
        };
        ExpressionError { position: operand.at.0, message }
    })
}

/// Returns at most 64 characters of `word` for a message.
fn truncated(word: &str) -> String {
    word.chars().take(64).collect()
}

/// Number of words that are combined at a time, so that the words of all sets stay in the L1 cache.
const CHUNK: usize = 512;

impl AudiencePlan {
    /// Returns the members among `customers` customers. `leaves` are the sets of the plan's leaves, in their
    /// order.
    #[must_use]
    pub fn members(&self, leaves: &[&Bitmap], customers: usize) -> Bitmap {
        let mut words = vec![0; customers.div_ceil(64)];
        for (chunk, out) in words.chunks_mut(CHUNK).enumerate() {
            fill(&self.root, leaves, chunk * CHUNK, out);
        }
        Bitmap::from_words(words, customers)
    }
}

/// Writes the words of `node`, beginning at the word `start`, to `out`.
fn fill(node: &PlanNode, leaves: &[&Bitmap], start: usize, out: &mut [u64]) {
    let (parts, all) = match node {
        PlanNode::Leaf(leaf, not) => {
            let words = &leaves[*leaf].words()[start..start + out.len()];
            let flip = if *not { u64::MAX } else { 0 };
            return out.iter_mut().zip(words).for_each(|(out, word)| *out = word ^ flip);
        }
        PlanNode::All(parts) => (parts, true),
        PlanNode::Any(parts) => (parts, false),
    };
    out.fill(if all { u64::MAX } else { 0 });
    let mut space = [0; CHUNK];
    for part in parts {
        // Most parts are leaves that are not complemented and need no copy.
        let other = if let PlanNode::Leaf(leaf, false) = part {
            &leaves[*leaf].words()[start..start + out.len()]
        } else {
            let space = &mut space[..out.len()];
            fill(part, leaves, start, space);
            space
        };
        if all {
            out.iter_mut().zip(other).for_each(|(out, word)| *out &= word);
        } else {
            out.iter_mut().zip(other).for_each(|(out, word)| *out |= word);
        }
    }
}

/// Returns a hint, with its position, for each operand of `leaf` that no customer has. `absent` comes from
/// [`FeatureColumn::absent`](super::FeatureColumn::absent).
#[must_use]
pub fn hints(leaf: &Leaf, absent: &[(usize, Vec<String>)]) -> Vec<(usize, String)> {
    let Leaf::Predicate(name, Predicate::OneOf(operands)) = leaf else { return Vec::new() };
    let hint = |(at, similar): &(usize, Vec<String>)| {
        let operand = operands.get(*at)?;
        let quoted: Vec<String> = similar.iter().map(|text| format!("`{text}`")).collect();
        let suggestion = if quoted.is_empty() {
            String::new()
        } else {
            format!("; did you mean {}?", quoted.join(" or "))
        };
        Some((operand.at.0, format!("no customer has {name} {}{suggestion}", operand.literal)))
    };
    absent.iter().filter_map(hint).collect()
}
