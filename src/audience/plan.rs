//! From expression to plan: names looked up, types checked, and unknown done away with.
//!
//! `not` is pushed down to the tests (de Morgan's laws hold where there is an unknown too). A test that is negated is true where it
//! is not true and the feature is not null. So all that is left is sets of customers, and `and`, `or` and "not in the set" of them.

use super::{
    bitmap::Bitmap,
    expression::{Expression, ExpressionError, FeatureName, Operator, Value},
    literal::{self, Literal},
};
use crate::feature::{FeatureView, near};

/// What an expression means in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    root: Node,
    /// The sets that it is made of, each once.
    pub leaves: Vec<Leaf>,
}

/// A set of customers that needs no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// The members of a segment.
    Segment(String),
    /// Those of whom a feature is null, or who are absent from its view.
    Null(FeatureName),
    /// Those whose feature passes a test; never of a null.
    Test(FeatureName, Test),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// One of these.
    Any(Vec<Value>),
    /// Less, greater, or as much.
    Ordered(Operator, Value),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    /// A leaf by its place, or all that are not in it.
    Leaf(usize, bool),
}

/// What kind of values a type of Arrow's has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Text.
    Text,
    /// Whole numbers.
    Integer,
    /// Decimals and binary floating point.
    Number,
    /// Dates and instants.
    Time,
    /// True or false.
    Boolean,
    /// Lists and structs, which can be null or not and no more.
    Nested,
}

impl ValueKind {
    /// The kind of a type as the manifest writes it.
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

/// What expressions may name.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The views.
    pub views: &'a [FeatureView],
    /// The names of the segments.
    pub segments: &'a [&'a str],
}

impl Known<'_> {
    /// The kind of a feature's values.
    ///
    /// # Errors
    /// Of a view or feature that does not exist, with those of like names.
    pub fn kind(&self, name: &FeatureName) -> Result<ValueKind, ExpressionError> {
        let error = |message: String| ExpressionError { position: name.at.0, message };
        let Some(view) = self.views.iter().find(|view| view.name == name.view) else {
            let names: Vec<String> = self.views.iter().flat_map(names).collect();
            let mut hint = near::hint(&name.to_string(), names.iter().map(String::as_str));
            if hint.is_empty() {
                hint = near::hint(&name.view, self.views.iter().map(|view| view.name.as_str()));
            }
            return Err(error(format!("there is no view `{}`{hint}", shown(&name.view))));
        };
        let Some(feature) = view.features.iter().find(|feature| feature.name == name.feature) else {
            let mut hint =
                near::hint(&name.feature, view.features.iter().map(|feature| feature.name.as_str()));
            if hint.is_empty() {
                let elsewhere = self.views.iter().flat_map(names);
                let same =
                    elsewhere.filter(|known| known.split_once('.').is_some_and(|(_, f)| f == name.feature));
                let same: Vec<String> = same.take(3).collect();
                hint = if same.is_empty() { hint } else { format!("; did you mean {}?", same.join(" or ")) };
            }
            let (view, feature) = (&view.name, shown(&name.feature));
            return Err(error(format!("there is no feature `{feature}` in view {view}{hint}")));
        };
        Ok(ValueKind::of(&feature.data_type))
    }

    /// The plan of `expression`.
    ///
    /// # Errors
    /// Of names that do not exist, and of values of the wrong type, with the place in the expression.
    pub fn plan(&self, expression: &Expression) -> Result<Plan, ExpressionError> {
        let mut leaves = Vec::new();
        let root = self.node(expression, false, &mut leaves)?;
        Ok(Plan { root, leaves })
    }

    fn node(
        &self,
        expression: &Expression,
        not: bool,
        leaves: &mut Vec<Leaf>,
    ) -> Result<Node, ExpressionError> {
        let leaf = match expression {
            Expression::Not(part) => return self.node(part, !not, leaves),
            Expression::All(parts) | Expression::Any(parts) => {
                let nodes =
                    parts.iter().map(|part| self.node(part, not, leaves)).collect::<Result<_, _>>()?;
                let all = matches!(expression, Expression::All(_)) != not;
                return Ok(if all { Node::All(nodes) } else { Node::Any(nodes) });
            }
            Expression::Segment(name, at) => {
                if !self.segments.contains(&name.as_str()) {
                    let hint = near::hint(name, self.segments.iter().copied());
                    let message = format!("there is no segment `{}`{hint}", shown(name));
                    return Err(ExpressionError { position: at.0, message });
                }
                return Ok(Node::Leaf(place(leaves, Leaf::Segment(name.clone())), not));
            }
            Expression::IsNull(feature) => {
                self.kind(feature)?;
                return Ok(Node::Leaf(place(leaves, Leaf::Null(feature.clone())), not));
            }
            Expression::Compare(feature, Operator::NotEqual, value) => {
                let equal = Expression::Compare(feature.clone(), Operator::Equal, value.clone());
                return self.node(&equal, !not, leaves);
            }
            Expression::Compare(feature, operator, value) => {
                let kind = self.kind(feature)?;
                let value = fitting(feature, kind, value)?;
                if *operator == Operator::Equal {
                    Leaf::Test(feature.clone(), Test::Any(vec![value]))
                } else if kind == ValueKind::Boolean {
                    let message =
                        format!("{feature} is true or false, which are not less or greater; use `=` or `!=`");
                    return Err(ExpressionError { position: feature.at.0, message });
                } else {
                    Leaf::Test(feature.clone(), Test::Ordered(*operator, value))
                }
            }
            Expression::In(feature, values) => {
                let kind = self.kind(feature)?;
                let values =
                    values.iter().map(|value| fitting(feature, kind, value)).collect::<Result<_, _>>()?;
                Leaf::Test(feature.clone(), Test::Any(values))
            }
        };
        let Leaf::Test(feature, _) = &leaf else { return Ok(Node::All(Vec::new())) };
        let null = Leaf::Null(feature.clone());
        let test = place(leaves, leaf);
        if not {
            return Ok(Node::All(vec![Node::Leaf(test, true), Node::Leaf(place(leaves, null), true)]));
        }
        Ok(Node::Leaf(test, false))
    }
}

fn names(view: &FeatureView) -> impl Iterator<Item = String> {
    view.features.iter().map(|feature| format!("{}.{}", view.name, feature.name))
}

/// The place of `leaf` in `leaves`, where it is put if it is new.
fn place(leaves: &mut Vec<Leaf>, leaf: Leaf) -> usize {
    leaves.iter().position(|known| *known == leaf).unwrap_or_else(|| {
        leaves.push(leaf);
        leaves.len() - 1
    })
}

/// `value` as `feature` can have it.
fn fitting(feature: &FeatureName, kind: ValueKind, value: &Value) -> Result<Value, ExpressionError> {
    let fits = match (kind, &value.literal) {
        (ValueKind::Text, Literal::Text(_))
        | (ValueKind::Integer | ValueKind::Number, Literal::Number(_))
        | (ValueKind::Boolean, Literal::Boolean(_))
        | (ValueKind::Time, Literal::Time(_)) => Some(value.clone()),
        // A time in quotes is one too.
        (ValueKind::Time, Literal::Text(text)) => {
            literal::time(text).map(|time| Value { literal: Literal::Time(time), at: value.at })
        }
        _ => None,
    };
    fits.ok_or_else(|| {
        let advice = match kind {
            ValueKind::Text if matches!(value.literal, Literal::Number(_)) && feature.view == "profile" => {
                "; put text in quotes, or give the column a type by `types` in [raw.customers]: columns of CSV are text unless typed"
            }
            ValueKind::Text => "; put text in quotes",
            ValueKind::Time => "; write a date, or a time with its zone such as 2011-12-09T12:50:00Z",
            _ => "",
        };
        let (noun, found) = (kind.noun(), shown(&value.literal.to_string()));
        let message = match kind {
            ValueKind::Nested => format!("{feature} is {noun}, which can be compared with null only"),
            _ => format!("{feature} is {noun}, and cannot be compared with {found}{advice}"),
        };
        ExpressionError { position: value.at.0, message }
    })
}

fn shown(word: &str) -> String {
    word.chars().take(64).collect()
}

/// Words that are worked on at a time: such a piece of every set stays in the nearest cache.
const PIECE: usize = 512;

impl Plan {
    /// The members, of `customers`, given the set of each leaf in order.
    #[must_use]
    pub fn members(&self, leaves: &[&Bitmap], customers: usize) -> Bitmap {
        let mut words = vec![0; customers.div_ceil(64)];
        for (piece, out) in words.chunks_mut(PIECE).enumerate() {
            fill(&self.root, leaves, piece * PIECE, out);
        }
        Bitmap::from_words(words, customers)
    }
}

/// Writes the words of `node` from `start` on into `out`.
fn fill(node: &Node, leaves: &[&Bitmap], start: usize, out: &mut [u64]) {
    let (parts, all) = match node {
        Node::Leaf(leaf, not) => {
            let words = &leaves[*leaf].words()[start..start + out.len()];
            let flip = if *not { u64::MAX } else { 0 };
            return out.iter_mut().zip(words).for_each(|(out, word)| *out = word ^ flip);
        }
        Node::All(parts) => (parts, true),
        Node::Any(parts) => (parts, false),
    };
    out.fill(if all { u64::MAX } else { 0 });
    let mut space = [0; PIECE];
    for part in parts {
        // Most are leaves as they are.
        let other = if let Node::Leaf(leaf, false) = part {
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

/// What may have been meant by the texts of `leaf` that nobody has, as [`Column::absent`](super::Column::absent) tells them: place and message.
#[must_use]
pub fn hints(leaf: &Leaf, absent: &[(usize, Vec<String>)]) -> Vec<(usize, String)> {
    let Leaf::Test(name, Test::Any(values)) = leaf else { return Vec::new() };
    let hint = |(at, near): &(usize, Vec<String>)| {
        let value = values.get(*at)?;
        let near: Vec<String> = near.iter().map(|text| format!("`{text}`")).collect();
        let meant =
            if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
        Some((value.at.0, format!("no customer has {name} {}{meant}", value.literal)))
    };
    absent.iter().filter_map(hint).collect()
}
