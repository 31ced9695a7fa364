//! Rows of nested objects: values by their paths, and one row for each element of a list of order lines.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::dictionary;

/// Rows of objects.
#[derive(Debug, Default)]
pub(super) struct NestedRows {
    /// Paths of the values: `customer.id`, `items[].sku`.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// Path of the list whose elements are the rows.
    pub(super) list: Option<String>,
}

/// Maximum number of columns. Objects with more keys use the keys as data.
const MOST_COLUMNS: usize = 500;
/// Number of objects by which lists are chosen.
const LOOKED_AT: usize = 200;

/// Returns the rows of `objects`.
pub(super) fn rows(objects: &[Value], most: usize) -> NestedRows {
    let mut lists: Vec<String> = Vec::new();
    let mut level: Vec<&Value> = objects.iter().take(LOOKED_AT).collect();
    let mut path = String::new();
    while let Some(list) = list_of_lines(&level, lists.is_empty() && objects.len() == 1) {
        level = level.iter().filter_map(|object| at(object, &list)?.as_array()).flatten().collect();
        level.truncate(LOOKED_AT);
        path = if path.is_empty() { list.clone() } else { format!("{path}[].{list}") };
        lists.push(list);
    }
    let mut found: Vec<BTreeMap<String, String>> = Vec::new();
    for object in objects {
        explode(object, &lists, "", &BTreeMap::new(), &mut found, most);
    }
    let mut columns: BTreeSet<&String> = BTreeSet::new();
    for row in &found {
        if columns.len() < MOST_COLUMNS {
            columns.extend(row.keys());
        }
    }
    let columns: Vec<String> = columns.into_iter().cloned().collect();
    let row = |row: &BTreeMap<String, String>| {
        columns.iter().map(|column| row.get(column).cloned().unwrap_or_default()).collect()
    };
    let rows = found.iter().map(row).collect();
    NestedRows { columns, rows, list: (!path.is_empty()).then_some(path) }
}

/// Appends a row for each element of the innermost list to `found`. `around` are the values of the objects
/// around `object`.
fn explode(
    object: &Value,
    lists: &[String],
    prefix: &str,
    around: &BTreeMap<String, String>,
    found: &mut Vec<BTreeMap<String, String>>,
    most: usize,
) {
    if found.len() >= most {
        return;
    }
    let mut row = around.clone();
    scalars(object, prefix, &mut row);
    let Some((list, inner)) = lists.split_first() else {
        found.push(row);
        return;
    };
    let elements = at(object, list).and_then(Value::as_array);
    for element in elements.into_iter().flatten() {
        explode(element, inner, &format!("{prefix}{list}[]."), &row, found, most);
    }
}

/// Returns the list of `objects` whose elements seem to be order lines. The only list of a document that is
/// one object holds its data.
fn list_of_lines(objects: &[&Value], is_document: bool) -> Option<String> {
    let mut lists: BTreeMap<String, &Value> = BTreeMap::new();
    for object in objects {
        collect_lists(object, "", &mut lists);
    }
    let score = |element: &Value| {
        let keys = element.as_object().map(|object| object.keys().map(String::as_str).collect::<Vec<_>>());
        dictionary::fields_of_lines(&keys.unwrap_or_default())
    };
    let best = lists.iter().max_by_key(|(_, element)| score(element))?;
    let own = objects.first().map_or(0, |object| score(object));
    (score(best.1) >= 2 && score(best.1) > own || is_document).then(|| best.0.clone())
}

/// Collects the paths of all lists of objects in `object`, each with an element.
fn collect_lists<'a>(object: &'a Value, prefix: &str, lists: &mut BTreeMap<String, &'a Value>) {
    for (key, value) in object.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => collect_lists(value, &format!("{prefix}{key}."), lists),
            Value::Array(elements) => {
                if let Some(element) = elements.first().filter(|element| element.is_object()) {
                    lists.entry(format!("{prefix}{key}")).or_insert(element);
                }
            }
            _ => {}
        }
    }
}

/// Adds the scalar values of `object` and of the objects in it to `row`. Keys that look like values are left
/// out.
fn scalars(object: &Value, prefix: &str, row: &mut BTreeMap<String, String>) {
    for (key, value) in object.as_object().into_iter().flatten() {
        if dictionary::looks_like_value(key) {
            continue;
        }
        let path = format!("{prefix}{key}");
        match value {
            Value::Object(_) => scalars(value, &format!("{path}."), row),
            Value::String(text) => {
                row.insert(path, text.clone());
            }
            Value::Number(_) | Value::Bool(_) => {
                row.insert(path, value.to_string());
            }
            Value::Null => {
                row.insert(path, String::new());
            }
            Value::Array(_) => {}
        }
    }
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, key| value.get(key))
}

/// Returns at most `most` objects of a JSON text: of a list, of lines, or of one document after the other.
pub(super) fn objects(text: &[u8], most: usize) -> Vec<Value> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut found = Vec::new();
    let is_list = text.trim_ascii_start().first() == Some(&b'[');
    let mut rest = text.trim_ascii_start();
    if is_list {
        rest = &rest[1..];
    }
    while found.len() < most {
        let separator = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
        let start = rest.iter().position(|byte| !separator(byte)).unwrap_or(rest.len());
        rest = &rest[start..];
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                rest = &rest[values.byte_offset()..];
                if value.is_object() {
                    found.push(value);
                }
            }
            // A line that is no JSON; the last line may be cut off.
            Some(Err(_)) if !is_list => match memchr::memchr(b'\n', rest) {
                Some(end) => rest = &rest[end..],
                None => break,
            },
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_lines_in_lists_become_rows() {
        let text = br#"[{"id": 1, "customer": {"id": "a"}, "tags": ["x"],
            "line_items": [{"sku": "p", "quantity": 2, "price": "1.50"}, {"sku": "q", "quantity": 1}]}]"#;
        let found = rows(&objects(text, 10), 10);
        assert_eq!(found.list.as_deref(), Some("line_items"));
        let columns =
            ["customer.id", "id", "line_items[].price", "line_items[].quantity", "line_items[].sku"];
        assert_eq!(found.columns, columns);
        assert_eq!(found.rows, [["a", "1", "1.50", "2", "p"], ["a", "1", "", "1", "q"]]);
        // Addresses of customers are no order lines.
        let people = objects(b"{\"id\":1,\"addresses\":[{\"city\":\"x\",\"zip\":\"y\"}]}\n{\"id\":2}\nno", 9);
        let found = rows(&people, 10);
        assert_eq!((found.columns.len(), found.rows.len(), found.list), (1, 2, None));
        let wrapped = rows(&objects(br#"{"data": [{"email": "a"}, {"email": "b"}]}"#, 9), 10);
        assert_eq!((wrapped.columns.join(" "), wrapped.rows.len()), ("data[].email".to_owned(), 2));
    }
}
