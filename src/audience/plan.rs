//! Plans: expressions with resolved names and checked types, in two-valued logic.
//!
//! `not` is pushed down to the leaves by De Morgan's laws, which also hold in three-valued logic. A negated
//! predicate is true for customers who do not match it and whose feature is not null. The remaining plan
//! consists of sets of customers, complements of these sets, `and` and `or`.

use super::{
    bitmap::Bitmap,
    catalog::{Catalog, ElementKind, ValueKind},
    events::EventCondition,
    expression::{Expression, ExpressionError, FeatureName, Operand, Position, TextMatch},
    operator::Operator,
    tokens::truncated,
};
use crate::feature::near;

/// Greatest number of different conditions in an expression; each is a pass over all customers.
pub const MAX_CONDITIONS: usize = 128;

/// Greatest number of different searches for parts of texts, each a pass over all different texts.
pub const MAX_SEARCHES: usize = 16;

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
    /// The customers with a number of events.
    Event(EventCondition, Position),
}

/// A condition on a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// Equals one of these operands.
    OneOf(Vec<Operand>),
    /// Compares with the operand by an operator other than `=` and `!=`.
    Compare(Operator, Operand),
    /// Compares a part of the text with the operand.
    Match(TextMatch, Operand),
    /// Is a list that has the operand.
    Has(Operand),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PlanNode {
    All(Vec<PlanNode>),
    Any(Vec<PlanNode>),
    /// Index of a leaf, and whether the set is complemented.
    Leaf(usize, bool),
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
                Self::Event(condition, _) => condition.key.bytes(),
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
            Self::Compare(_, operand) | Self::Match(_, operand) | Self::Has(operand) => {
                std::slice::from_ref(operand)
            }
        }
    }
}

impl Catalog<'_> {
    /// Compiles `expression` to a plan.
    ///
    /// # Errors
    /// Fails for names that do not exist and operands of the wrong type, with the position in the expression.
    pub fn plan(&self, expression: &Expression) -> Result<AudiencePlan, ExpressionError> {
        let mut leaves = Vec::new();
        let root = self.node(expression, false, &mut leaves)?;
        let is_search = |leaf: &&Leaf| matches!(leaf, Leaf::Predicate(_, Predicate::Match(..)));
        if leaves.iter().filter(is_search).count() > MAX_SEARCHES {
            let message = format!(
                "an expression may have at most {MAX_SEARCHES} different conditions with `contains`, `starts \
                 with` or `ends with`"
            );
            return Err(ExpressionError { position: 0, message });
        }
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
            Expression::Event(term) => {
                let leaf = Leaf::Event(self.event(term)?, term.at);
                Ok(PlanNode::Leaf(leaf_index(leaves, leaf), not))
            }
            Expression::Compare(feature, Operator::NotEqual, operand) => {
                let equal = Expression::Compare(feature.clone(), Operator::Equal, operand.clone());
                self.node(&equal, !not, leaves)
            }
            Expression::Compare(feature, operator, operand) => {
                let predicate = self.comparison(feature, *operator, operand)?;
                Ok(predicate_node(feature, predicate, not, leaves))
            }
            Expression::Has(feature, element) => {
                let of_list = match self.kind(feature)? {
                    ValueKind::List(ElementKind::Text) => ValueKind::Text,
                    ValueKind::List(ElementKind::Number) => ValueKind::Number,
                    ValueKind::List(ElementKind::Time) => ValueKind::Time,
                    kind => {
                        let found = kind.noun();
                        let message = format!("{feature} is {found}; `has` needs a list of texts or numbers");
                        return Err(ExpressionError { position: feature.at.0, message });
                    }
                };
                let element = self.operand(feature, of_list, element)?;
                Ok(predicate_node(feature, Predicate::Has(element), not, leaves))
            }
            Expression::Match(feature, part, text) => {
                let kind = self.kind(feature)?;
                if kind != ValueKind::Text {
                    let message = format!("{feature} is {}; `{part}` needs a text", kind.noun());
                    return Err(ExpressionError { position: feature.at.0, message });
                }
                let text = self.operand(feature, kind, text)?;
                Ok(predicate_node(feature, Predicate::Match(*part, text), not, leaves))
            }
            Expression::In(feature, operands) => {
                let kind = self.kind(feature)?;
                let checked = operands.iter().map(|operand| self.operand(feature, kind, operand));
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
        let operand = self.operand(feature, kind, operand)?;
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
    let (name, operands) = match leaf {
        Leaf::Predicate(name, Predicate::OneOf(operands)) => (name, operands),
        Leaf::Event(condition, at) if !absent.is_empty() => return vec![(at.0, condition.key.absent())],
        _ => return Vec::new(),
    };
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
