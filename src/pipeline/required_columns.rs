//! Check of the columns of built-in views that Larder itself reads. A view that replaces a built-in one must
//! have them.

use arrow::datatypes::{DataType, Field, Schema};

use super::error::ViewError;
use crate::views::ViewDefinition;

/// Checks that `view`, whose rows have the given schema, has the required columns.
///
/// # Errors
/// Fails for the first column that is missing or has another type.
pub(super) fn check(view: &ViewDefinition, schema: &Schema) -> Result<(), ViewError> {
    const TEXT: &str = "text";
    const NUMBER: &str = "a decimal or an integer";
    const INTEGER: &str = "an integer";
    let needed: &[(&'static str, &'static str)] = match view.name.as_str() {
        "rfm" => &[
            ("segment", TEXT),
            ("monetary", NUMBER),
            ("r_score", INTEGER),
            ("f_score", INTEGER),
            ("m_score", INTEGER),
        ],
        "rfm_edges" => &[("measure", TEXT), ("k", INTEGER), ("edge", NUMBER)],
        _ => &[],
    };
    for (column, expected) in needed {
        let found = schema.field_with_name(column).ok().map(Field::data_type);
        let fits = matches!(
            (found, *expected),
            (Some(DataType::Utf8), TEXT)
                | (Some(DataType::Int32 | DataType::Int64), NUMBER | INTEGER)
                | (Some(DataType::Decimal128(..)), NUMBER)
        );
        if !fits {
            return Err(ViewError::MissingColumn { view: view.name.clone(), column, expected });
        }
    }
    Ok(())
}
