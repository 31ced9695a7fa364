//! The SQL function `is_product(product_id)`: whether an id is that of a product, and not of postage, a fee
//! or another line that shop systems write like one.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    datatypes::DataType,
};
use datafusion::{
    error::DataFusionError,
    logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf},
};

use super::exclude_patterns::ExcludePatterns;

/// Name of the SQL function.
const NAME: &str = "is_product";

/// Returns the SQL function with the patterns `exclude` of ids that are not products. An absent id is none.
pub(super) fn function(exclude: Arc<ExcludePatterns>) -> ScalarUDF {
    let check = move |arguments: &[ColumnarValue]| {
        let ids = ColumnarValue::values_to_arrays(arguments)?;
        let found = ids.first().and_then(|ids| are_products(ids, &exclude));
        let found = found.ok_or_else(|| DataFusionError::Execution(format!("{NAME} needs a text")))?;
        Ok(ColumnarValue::Array(found))
    };
    create_udf(NAME, vec![DataType::Utf8], DataType::Boolean, Volatility::Immutable, Arc::new(check))
}

/// Returns whether each of `ids` is that of a product; `None` if they are not texts.
fn are_products(ids: &ArrayRef, exclude: &ExcludePatterns) -> Option<ArrayRef> {
    let ids = ids.as_string_opt::<i32>()?;
    let is_product =
        |at: usize| ids.is_valid(at) && !ids.value(at).is_empty() && !exclude.matches(ids.value(at));
    Some(Arc::new((0..ids.len()).map(|at| Some(is_product(at))).collect::<BooleanArray>()))
}
