//! Audiences: expressions over segments and features, and the sets of customers that they mean.
//!
//! ```text
//! segment:champions and churn.risk:high and not profile.country:"United Kingdom" and rfm.monetary >= 1000
//! ```
//!
//! Pure: text → [`Expression`] → [`Plan`] over bitmaps of customers, who are counted from 0 in the order of their ids. Where
//! columns and members come from is nothing that it knows: no I/O, nothing of Parquet, Redis, SQL or HTTP.
//!
//! A comparison with null is neither true nor false but unknown, and `not` leaves it so, as in SQL: `not churn.risk:high` has no
//! customer without a risk. Members are those for whom the whole is true. `is null` and `segment:` are always true or false.

pub mod bitmap;
pub mod breakdown;
pub mod column;
mod expression;
pub mod figures;
mod literal;
pub mod order;
mod parse;
pub mod plan;
mod print;
mod scan;

pub use bitmap::Bitmap;
pub use column::{Column, ColumnBuilder, Dictionary};
pub use expression::{At, Expression, ExpressionError, FeatureName, Operator, Value};
pub use literal::{Decimal, Literal};
pub use order::Order;
pub use parse::{MAX_BYTES, MAX_DEPTH};
pub use plan::{Leaf, Plan};
