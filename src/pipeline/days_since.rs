//! The SQL function `days_since(time)`: the number of whole days from a time to `$as_of`.
//!
//! A view that selects `days_since(time) AS name` changes with every day, although the time does not. So the
//! build keeps the time next to the number, in a column that no other view sees, and the rows of the snapshot
//! hold the time alone.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array},
    datatypes::{DataType, TimestampMicrosecondType},
    error::ArrowError,
};
use datafusion::{
    error::DataFusionError,
    logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf},
    sql::sqlparser::{
        ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, SelectItem, SetExpr, Statement},
        dialect::GenericDialect,
        parser::{Parser, ParserError},
    },
};

use super::staging::{TIME_TYPE, time_type};
use crate::feature::days_since;

/// Name of the SQL function.
const NAME: &str = "days_since";
/// Suffix of the name of a column of times. No feature has a space in its name.
const SUFFIX: &str = " since";

/// Returns the SQL function for `as_of`, in microseconds since 1970.
pub(super) fn function(as_of: i64) -> ScalarUDF {
    let count = move |arguments: &[ColumnarValue]| {
        let times = ColumnarValue::values_to_arrays(arguments)?;
        let days = times.first().map(|times| count_days(times, as_of)).transpose()?;
        let days = days.ok_or_else(|| DataFusionError::Execution(format!("{NAME} needs a time")))?;
        Ok(ColumnarValue::Array(days))
    };
    create_udf(NAME, vec![time_type()], DataType::Int64, Volatility::Immutable, Arc::new(count))
}

/// Returns the number of days from each of `times` to `as_of`.
pub(super) fn count_days(times: &ArrayRef, as_of: i64) -> Result<ArrayRef, ArrowError> {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let days = times.iter().map(|time| match time {
        None => Ok(None),
        Some(time) => days_since(time, as_of).map(Some).ok_or_else(|| {
            ArrowError::ComputeError(format!("{NAME}: the time is too far from as_of: {time} µs since 1970"))
        }),
    });
    Ok(Arc::new(days.collect::<Result<Int64Array, _>>()?))
}

/// Returns the name of the column with the times of the feature `name`.
pub(super) fn times_of(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// Returns the feature whose times the column `name` holds; `None` for any other column.
pub(super) fn feature_of(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX)
}

/// Returns `query` with a column of times for each `days_since(time) AS name` that it selects, and the number
/// of these columns, which come last. Returns `None` if there is none, and for queries that are no plain
/// `SELECT`, such as a `UNION`.
pub(super) fn with_times(query: &Statement) -> Result<Option<(Statement, usize)>, ParserError> {
    let mut query = query.clone();
    let Statement::Query(inner) = &mut query else { return Ok(None) };
    let SetExpr::Select(select) = inner.body.as_mut() else { return Ok(None) };
    let counts = select.projection.iter().filter_map(day_count);
    let times: Vec<SelectItem> = counts.map(|(name, time)| times(name, time)).collect::<Result<_, _>>()?;
    if times.is_empty() || select.distinct.is_some() {
        return Ok(None);
    }
    let count = times.len();
    select.projection.extend(times);
    Ok(Some((query, count)))
}

/// Returns the name and the time of `days_since(time) AS name`.
fn day_count(item: &SelectItem) -> Option<(&Ident, &Expr)> {
    let SelectItem::ExprWithAlias { expr: Expr::Function(function), alias } = item else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    match &list.args[..] {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(time))]
            if function.name.to_string().eq_ignore_ascii_case(NAME) =>
        {
            Some((alias, time))
        }
        _ => None,
    }
}

/// Returns the column with the times of `days_since(time) AS name`, in the type that the function reads.
fn times(name: &Ident, time: &Expr) -> Result<SelectItem, ParserError> {
    let text = format!("arrow_cast({time}, '{TIME_TYPE}')");
    let expr = Parser::new(&GenericDialect {}).try_with_sql(&text)?.parse_expr()?;
    Ok(SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', times_of(&name.value)) })
}
