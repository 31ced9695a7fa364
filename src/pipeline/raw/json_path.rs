//! Paths to values in nested JSON: `customer.id`, and `items[].sku` for each element of a list.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::{object::JsonObject, spec::TableSpec};

/// Mark after the name of a list.
const EACH: &str = "[]";

/// A JSON object of which values are looked up.
pub(super) type Object<'a> = JsonObject<'a, &'a RawValue>;

/// The lists whose elements become lines, from the outside in: the keys to each list, from the element of the
/// list around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListPath(pub(super) Vec<Vec<String>>);

impl ListPath {
    /// Returns the lists that the sources of all columns of `spec` name.
    ///
    /// # Errors
    /// Fails if two columns are in different lists, of which neither is in the other.
    pub(super) fn new(spec: &TableSpec) -> Result<Self, String> {
        let sources = spec.columns.iter().chain(&spec.renamed).flat_map(|column| &column.sources);
        let lists: BTreeSet<&str> =
            sources.filter_map(|source| source.rfind(EACH).map(|end| &source[..end])).collect();
        let Some(deepest) = lists.iter().max_by_key(|list| list.matches(EACH).count()) else {
            return Ok(Self::default());
        };
        let is_around = |list: &str| *deepest == list || deepest.starts_with(&format!("{list}{EACH}"));
        if let Some(other) = lists.iter().find(|list| !is_around(list)) {
            return Err(format!(
                "`columns` names values of the lists `{other}` and `{deepest}`, of which neither is in the \
                 other"
            ));
        }
        Ok(Self(deepest.split(EACH).map(keys).collect()))
    }

    /// Returns the depth of the object that `source` starts from, and the rest of the path.
    pub(super) fn split<'a>(&self, source: &'a str) -> (usize, &'a str) {
        let depth = source.matches(EACH).count();
        if depth == 0 || self.0.is_empty() {
            return (0, source);
        }
        let rest = source.rfind(EACH).map_or(source, |end| &source[end + EACH.len()..]);
        (depth.min(self.0.len()), rest.trim_start_matches('.'))
    }
}

fn keys(path: &str) -> Vec<String> {
    path.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// Returns the value at `path` in `object`: of the key `path`, of the key in another case, or of nested keys.
pub(super) fn find<'a>(object: &Object<'a>, path: &str) -> Option<&'a RawValue> {
    if let Some(value) = object.get_in_any_case(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    let inner: Object<'a> = serde_json::from_str(object.get_in_any_case(first)?.get()).ok()?;
    find(&inner, rest)
}

/// Returns the value at the end of `keys`.
pub(super) fn follow<'a>(object: &Object<'a>, keys: &[String]) -> Option<&'a RawValue> {
    find(object, &keys.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_key_and_by_path() {
        let text = r#"{"a.b": 1, "c": {"d": {"E": 2}}, "f": 3}"#;
        let object: Object<'_> = serde_json::from_str(text).expect("an object");
        let found = |path: &str| find(&object, path).map(RawValue::get);
        assert_eq!((found("a.b"), found("c.d.e"), found("F")), (Some("1"), Some("2"), Some("3")));
        assert_eq!((found("c.x"), found("f.x"), found("g")), (None, None, None));
    }
}
