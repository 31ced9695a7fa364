//! Flat columns of nested Parquet: values of structs by path, a row for each element of a list, and lists and
//! structs as JSON text.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array},
    compute::{cast, take_record_batch},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use arrow_json::writer::{LineDelimited, WriterBuilder};

use crate::pipeline::raw::{json_path::ListPath, spec::TableSpec};

/// Name of the column with the elements of the list at a depth.
fn element_name(depth: usize) -> String {
    // No column name of a Parquet file has this character.
    format!("\u{0}{depth}")
}

/// Returns `batch` with the columns that the sources of `spec` name by a path, and with `folder_columns`. If
/// the sources name lists, the result has a row for each element of the innermost list.
pub(crate) fn flatten(
    batch: &RecordBatch,
    spec: &TableSpec,
    lists: &ListPath,
    folder_columns: &[(String, String)],
) -> Result<RecordBatch, ArrowError> {
    let mut rows = batch.clone();
    for (depth, keys) in lists.0.iter().enumerate() {
        let start = if depth == 0 { None } else { rows.column_by_name(&element_name(depth)) };
        let list = match start {
            Some(element) => descend(element, keys),
            None => column_at(&rows, keys),
        };
        let Some(list) = list else {
            return Err(ArrowError::SchemaError(format!("there is no list `{}`", keys.join("."))));
        };
        rows = explode(&rows, &list, &element_name(depth + 1))?;
    }
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if !field.name().starts_with('\u{0}') {
            columns.push((field.name().clone(), Arc::clone(column)));
        }
    }
    let sources = spec.columns.iter().chain(&spec.renamed).flat_map(|column| &column.sources);
    for source in sources {
        let (depth, path) = lists.split(source);
        let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
        let found = match depth {
            0 if keys.len() < 2 => None,
            0 => column_at(&rows, &keys),
            depth => rows.column_by_name(&element_name(depth)).and_then(|element| descend(element, &keys)),
        };
        let is_new = |found: &ArrayRef| {
            !found.data_type().is_nested() && columns.iter().all(|(name, _)| name != source)
        };
        if let Some(found) = found.filter(is_new) {
            columns.push((source.clone(), found));
        }
    }
    for (name, column) in &mut columns {
        if spec.keeps_extras() && column.data_type().is_nested() {
            *column = json_texts(name, column)?;
        }
    }
    for (name, value) in folder_columns {
        if columns.iter().all(|(known, _)| known != name) {
            let texts = StringArray::from_iter_values(std::iter::repeat_n(value.as_str(), rows.num_rows()));
            columns.push((name.clone(), Arc::new(texts)));
        }
    }
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// Returns the column of `batch` at the end of `keys`.
fn column_at(batch: &RecordBatch, keys: &[String]) -> Option<ArrayRef> {
    let (first, rest) = keys.split_first()?;
    descend(batch.column_by_name(first)?, rest)
}

/// Returns the field of the structs `column` at the end of `keys`. A field of a null struct is null.
fn descend(column: &ArrayRef, keys: &[String]) -> Option<ArrayRef> {
    let Some((first, rest)) = keys.split_first() else { return Some(Arc::clone(column)) };
    let structs = column.as_struct_opt()?;
    let place = structs.fields().iter().position(|field| field.name() == first)?;
    let child = structs.column(place);
    let child = match structs.nulls() {
        None => Arc::clone(child),
        Some(nulls) => {
            let nulls = nulls.inner();
            let is_null = arrow::array::BooleanArray::new(!nulls, None);
            arrow::compute::nullif(child, &is_null).ok()?
        }
    };
    descend(&child, rest)
}

/// Returns a row for each element of `list`, with the element as the column `name`.
fn explode(batch: &RecordBatch, list: &ArrayRef, name: &str) -> Result<RecordBatch, ArrowError> {
    let list = match list.data_type() {
        DataType::List(_) => Arc::clone(list),
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) | DataType::ListView(field) => {
            cast(list, &DataType::List(Arc::clone(field)))?
        }
        other => {
            return Err(ArrowError::SchemaError(format!(
                "expected a list of elements, found the type {other}"
            )));
        }
    };
    let list = list.as_list::<i32>();
    let (mut rows, mut elements) = (Vec::new(), Vec::new());
    for row in 0..list.len() {
        if list.is_null(row) {
            continue;
        }
        let (start, length) = (list.value_offsets()[row], list.value_length(row));
        for element in start..start + length {
            rows.push(u32::try_from(row).unwrap_or(u32::MAX));
            elements.push(u32::try_from(element).unwrap_or(u32::MAX));
        }
    }
    let taken = take_record_batch(batch, &UInt32Array::from(rows))?;
    let values = arrow::compute::take(list.values(), &UInt32Array::from(elements), None)?;
    let mut fields: Vec<Arc<Field>> = taken.schema_ref().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, values.data_type().clone(), true)));
    let mut columns = taken.columns().to_vec();
    columns.push(values);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Returns the values of a nested column as JSON text.
fn json_texts(name: &str, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field = Field::new("v", column.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::clone(column)])?;
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    let text = String::from_utf8(text)
        .map_err(|error| ArrowError::JsonError(format!("column `{name}`: {error}")))?;
    let value = |line: &str| {
        let value = line.strip_prefix(r#"{"v":"#)?.strip_suffix('}')?;
        if value == "null" { None } else { Some(value.to_owned()) }
    };
    Ok(Arc::new(text.lines().map(value).collect::<StringArray>()))
}
