//! The view `segments`: the names of the segments of each customer. It is computed after all segments, from
//! the views `rfm` and `churn` and from the members of the named audiences.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListBuilder, RecordBatch, StringArray, StringBuilder},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use futures::StreamExt;

use super::{
    error::{BuildError, ViewError},
    parts::ServedView,
    query::Session,
    staging::staging,
    view_files::{ViewFileWriter, ViewFiles},
};
use crate::{
    audience::Bitmap,
    feature::{PERSONAL_SEGMENT_NAMES, SEGMENT_NAMES, SEGMENTS_VIEW},
    snapshot::writer::ID,
    views::{ColumnNote, ViewDefinition},
};

/// Description of the view.
const DESCRIPTION: &str = "Segments that the customer is in. /v1/customers/{id}/segments returns them. \
    Customers' features have this view only if it is asked for.";

/// Members of a named audience.
#[derive(Debug)]
pub(super) struct AudienceMembers {
    pub(super) name: String,
    /// Members by their numbers in the order of ids.
    pub(super) customers: Arc<Bitmap>,
    /// Whether the audience depends on personal features.
    pub(super) is_personal: bool,
}

/// Returns the definition of the view for the manifest.
pub(super) fn definition() -> ViewDefinition {
    let note = |description: &str, personal| ColumnNote { description: description.to_owned(), personal };
    let columns = BTreeMap::from([
        (SEGMENT_NAMES.to_owned(), note("Names of the segments, sorted.", false)),
        (
            PERSONAL_SEGMENT_NAMES.to_owned(),
            note("Names of the audiences that depend on personal features, sorted.", true),
        ),
    ]);
    ViewDefinition {
        name: SEGMENTS_VIEW.to_owned(),
        description: DESCRIPTION.to_owned(),
        columns,
        step: false,
        sql: String::new(),
        file: None,
    }
}

/// Stages the view in the folder `scratch`, sorted by customer. `has_churn` is whether there is a view
/// `churn`.
pub(super) async fn stage(
    session: &Session,
    has_churn: bool,
    audiences: &[AudienceMembers],
    scratch: &Path,
) -> Result<ServedView, BuildError> {
    let (risk, join) = if has_churn {
        ("'churn_' || k.risk", "LEFT JOIN churn k ON k.customer_id = c.customer_id")
    } else {
        ("CAST(NULL AS VARCHAR)", "")
    };
    let sql = format!(
        "SELECT c.customer_id, r.segment, {risk} AS risk FROM customers c \
         LEFT JOIN rfm r ON r.customer_id = c.customer_id {join} ORDER BY c.customer_id"
    );
    let failed = |source| ViewError::Sql { view: SEGMENTS_VIEW.to_owned(), source: Box::new(source) };
    let schema = schema(audiences.iter().any(|audience| audience.is_personal));
    let path = scratch.join(format!("view-{SEGMENTS_VIEW}.arrow"));
    let unwritten = |error: ArrowError| staging(&path, error);
    let mut writer = ViewFileWriter::create(path.clone(), Arc::clone(&schema))?;
    let mut customers = session.query(SEGMENTS_VIEW, &sql).await?;
    let mut rows = 0;
    while let Some(batch) = customers.next().await {
        let batch = batch.map_err(failed)?;
        writer.write(&names(&batch, rows, audiences, &schema).map_err(unwritten)?)?;
        rows += batch.num_rows();
    }
    Ok(ServedView { definition: definition(), files: ViewFiles::sorted(writer.finish()?) })
}

fn schema(has_personal: bool) -> SchemaRef {
    let list = |name: &str| {
        let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        Field::new(name, texts, true)
    };
    let mut fields = vec![Field::new(ID, DataType::Utf8, false), list(SEGMENT_NAMES)];
    if has_personal {
        fields.push(list(PERSONAL_SEGMENT_NAMES));
    }
    Arc::new(Schema::new(fields))
}

/// Returns the rows of the view for the customers of `batch`: id, segment of kind `rfm` and of kind `churn`.
/// `first` is the number of the first customer.
fn names(
    batch: &RecordBatch,
    first: usize,
    audiences: &[AudienceMembers],
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
    let (ids, segment, risk) = (text(0)?, text(1)?, text(2)?);
    let built_in = [segment.as_string::<i32>(), risk.as_string::<i32>()];
    let (personal, plain): (Vec<&AudienceMembers>, Vec<&AudienceMembers>) =
        audiences.iter().partition(|audience| audience.is_personal);
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = vec![Arc::clone(&ids), lists(rows, first, &built_in, &plain)];
    if schema.fields().len() > columns.len() {
        columns.push(lists(rows, first, &[], &personal));
    }
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// Returns a sorted list for each of `rows` customers: the texts of `built_in`, and the names of the
/// `audiences` that the customer is in.
fn lists(rows: usize, first: usize, built_in: &[&StringArray], audiences: &[&AudienceMembers]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut found: Vec<&str> = Vec::new();
    for row in 0..rows {
        found.clear();
        found.extend(built_in.iter().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row)));
        let of = audiences.iter().filter(|audience| audience.customers.contains(first + row));
        found.extend(of.map(|audience| audience.name.as_str()));
        found.sort_unstable();
        for name in &found {
            lists.values().append_value(name);
        }
        lists.append(true);
    }
    Arc::new(lists.finish())
}
