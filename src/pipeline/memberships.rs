//! The view `segments`: the names of the segments of each customer. It is computed after all segments, from
//! the views `rfm` and `churn` and from the members of the named audiences.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListBuilder, RecordBatch, StringArray, StringBuilder},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};

use super::{
    error::BuildError,
    parts::ServedView,
    query::{Convert, Session},
};
use crate::{
    audience::Bitmap,
    feature::{PERSONAL_SEGMENT_NAMES, PackedTexts, SEGMENT_NAMES, SEGMENTS_VIEW},
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

/// Stages the view by customer. `has_churn` is whether there is a view `churn`, `ids` are the ids of all
/// customers, sorted.
pub(super) async fn stage(
    session: &Session,
    has_churn: bool,
    audiences: Vec<AudienceMembers>,
    ids: &Arc<PackedTexts>,
) -> Result<ServedView, BuildError> {
    let (risk, join) = if has_churn {
        ("'churn_' || k.risk", "LEFT JOIN churn k ON k.customer_id = c.customer_id")
    } else {
        ("CAST(NULL AS VARCHAR)", "")
    };
    let sql = format!(
        "SELECT c.customer_id, r.segment, {risk} AS risk FROM customers c \
         LEFT JOIN rfm r ON r.customer_id = c.customer_id {join}"
    );
    let schema = schema(audiences.iter().any(|audience| audience.is_personal));
    let (ids, shown) = (Arc::clone(ids), Arc::clone(&schema));
    let convert: Convert = Arc::new(move |batch| names(batch, &ids, &audiences, &shown));
    let files = session.stage_query(SEGMENTS_VIEW, &sql, &schema, convert).await?;
    Ok(ServedView { definition: definition(), files })
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
fn names(
    batch: &RecordBatch,
    ids: &PackedTexts,
    audiences: &[AudienceMembers],
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let text = |column: usize| cast(batch.column(column), &DataType::Utf8);
    let (customers, segment, risk) = (text(0)?, text(1)?, text(2)?);
    let built_in = [segment.as_string::<i32>(), risk.as_string::<i32>()];
    let (personal, plain): (Vec<&AudienceMembers>, Vec<&AudienceMembers>) =
        audiences.iter().partition(|audience| audience.is_personal);
    // Audiences hold customers by their numbers in the order of ids.
    let number = |id: Option<&str>| id.and_then(|id| ids.search(id).ok());
    let numbers: Vec<Option<usize>> = if audiences.is_empty() {
        vec![None; batch.num_rows()]
    } else {
        customers.as_string::<i32>().iter().map(number).collect()
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::clone(&customers), lists(&numbers, &built_in, &plain)];
    if schema.fields().len() > columns.len() {
        columns.push(lists(&numbers, &[], &personal));
    }
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// Returns a sorted list for each of the customers with the given `numbers`: the texts of `built_in`, and the
/// names of the `audiences` that the customer is in.
fn lists(numbers: &[Option<usize>], built_in: &[&StringArray], audiences: &[&AudienceMembers]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut found: Vec<&str> = Vec::new();
    for (row, number) in numbers.iter().enumerate() {
        found.clear();
        found.extend(built_in.iter().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row)));
        let is_member = |audience: &AudienceMembers| number.is_some_and(|n| audience.customers.contains(n));
        let of = audiences.iter().filter(|audience| is_member(audience));
        found.extend(of.map(|audience| audience.name.as_str()));
        found.sort_unstable();
        for name in &found {
            lists.values().append_value(name);
        }
        lists.append(true);
    }
    Arc::new(lists.finish())
}
