//! Audiences: boolean expressions over segments and features, and the sets of customers that match them.
//!
//! ```text
//! segment:champions and churn.risk:high and not profile.country:"United Kingdom" and rfm.monetary >= 1000
//! ```
//!
//! A text is parsed to an [`Expression`], which is checked against the views and compiled to an
//! [`AudiencePlan`] over bitmaps of customers. Customers are numbered from 0 in the order of their ids. This
//! module has no I/O; callers load columns and segments.
//!
//! Expressions have three-valued logic, as in SQL: a comparison with null is unknown, and so is its negation.
//! Therefore `not churn.risk:high` excludes customers without a risk. Members are the customers for whom the
//! whole expression is true. `is null` and `segment:` are always true or false.

pub mod bitmap;
pub mod breakdown;
pub mod catalog;
pub mod column;
mod column_builder;
pub mod column_pair;
pub mod comparison;
mod display;
pub mod events;
mod expression;
mod feature_value;
pub mod figures;
mod filter;
mod lists;
mod literal;
mod operator;
pub mod order;
mod parse;
mod parse_event;
pub mod plan;
pub mod statistics;
mod suggestions;
mod tokens;

pub use bitmap::Bitmap;
pub use column::FeatureColumn;
pub use column_builder::ColumnBuilder;
pub use events::{EventCondition, EventKey, EventList};
pub use expression::{EventTerm, Expression, ExpressionError, FeatureName, Operand, Position, TextMatch};
pub use feature_value::FeatureValue;
pub use literal::{Ago, Decimal, Literal};
pub use operator::Operator;
pub use order::SortedCustomers;
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_VALUES};
pub use plan::{AudiencePlan, Leaf};
pub use suggestions::{AbsentValues, ErasedTexts};
