//! The registry of views: the built-in SQL files, and the files of a folder, which add views or replace
//! built-in views of the same name.
//!
//! The module reads the leading comments of a file and does not parse SQL. A file begins like this:
//!
//! ```sql
//! -- Description of the view, in one or more lines.
//! --
//! -- spend: Revenue in the last 30 days.
//! -- email (personal): The address; only callers with the scope `pii` get the values.
//! SELECT customer_id, … FROM orders …
//! ```
//!
//! A file whose first line is `-- step` is a step that other views read. A step may have any columns and is
//! not served.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::feature::{SEGMENTS_VIEW, is_feature_name, is_name, near};

/// A view, or a step of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewDefinition {
    /// Name of the view.
    pub name: String,
    /// Description of the view.
    pub description: String,
    /// Descriptions by column.
    pub columns: BTreeMap<String, ColumnNote>,
    /// Whether the view is a step, which only other views read.
    pub step: bool,
    /// Text of the file.
    pub sql: String,
    /// Path of the file; `None` if the view is built in.
    pub file: Option<PathBuf>,
}

/// Note on a column in the leading comments of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnNote {
    /// Description of the column.
    pub description: String,
    /// Whether the column holds personal data.
    pub personal: bool,
}

/// Error in the file of a view.
#[derive(Debug, thiserror::Error)]
pub enum ViewFileError {
    /// The folder or a file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Folder or file.
        path: PathBuf,
        /// Cause of the error.
        source: std::io::Error,
    },
    /// The name of the file is not a valid name of a view.
    #[error(
        "{path}: `{name}` is not a valid name of a view; use at most 64 characters of a to z, 0 to 9 and _"
    )]
    Name {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("view {name}: the name is taken by {owner}")]
    Taken {
        /// The name.
        name: String,
        /// Owner of the name.
        owner: &'static str,
    },
}

/// Tables that views read. No view may have the name of a table.
pub const TABLES: [&str; 5] = ["transactions", "orders", "returns", "customers", "interactions"];

/// Views that models compute instead of SQL.
const MODELS: [&str; 3] = ["churn", "value", "recommendations"];

/// Checks whether a model computes the view `name`.
#[must_use]
pub fn is_model(name: &str) -> bool {
    MODELS.contains(&name)
}

/// Built-in views and steps, in the order in which snapshots store them.
const BUILT_IN: [(&str, &str); 5] = [
    ("profile", include_str!("views/profile.sql")),
    ("rfm", include_str!("views/rfm.sql")),
    ("behavior", include_str!("views/behavior.sql")),
    ("rfm_values", include_str!("views/rfm_values.sql")),
    ("rfm_edges", include_str!("views/rfm_edges.sql")),
];

/// Returns the built-in views and steps.
#[must_use]
pub fn built_in() -> Vec<ViewDefinition> {
    BUILT_IN.iter().map(|(name, sql)| parse(name, sql, None)).collect()
}

/// Returns the built-in views and the views of `folder`. A view of the folder replaces a built-in view of the
/// same name; the others follow in the order of their names. `others` are the names of views of another kind.
///
/// # Errors
/// [`ViewFileError`] if a file cannot be read, or if a name is invalid or taken.
pub fn load<'a>(
    folder: Option<&Path>,
    others: impl IntoIterator<Item = &'a String>,
) -> Result<Vec<ViewDefinition>, ViewFileError> {
    let mut views = built_in();
    for path in folder.map(sql_files).transpose()?.into_iter().flatten() {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if !is_name(&name) {
            return Err(ViewFileError::Name { path, name });
        }
        check_free(&name)?;
        let sql = std::fs::read_to_string(&path)
            .map_err(|source| ViewFileError::Read { path: path.clone(), source })?;
        let view = parse(&name, &sql, Some(path));
        match views.iter_mut().find(|built_in| built_in.name == name) {
            Some(built_in) => *built_in = view,
            None => views.push(view),
        }
    }
    for other in others {
        if !is_name(other) {
            return Err(ViewFileError::Name { path: PathBuf::from("[views.parquet]"), name: other.clone() });
        }
        check_free(other)?;
        if BUILT_IN.iter().any(|(name, _)| name == other) {
            return Err(ViewFileError::Taken { name: other.clone(), owner: "a built-in view" });
        }
    }
    Ok(views)
}

fn check_free(name: &str) -> Result<(), ViewFileError> {
    let owner = if TABLES.contains(&name) {
        "a table that views read"
    } else if is_model(name) {
        "a view that a model makes"
    } else if name == SEGMENTS_VIEW {
        "the view of the segments of each customer"
    } else {
        return Ok(());
    };
    Err(ViewFileError::Taken { name: name.to_owned(), owner })
}

fn sql_files(folder: &Path) -> Result<Vec<PathBuf>, ViewFileError> {
    let failed = |source| ViewFileError::Read { path: folder.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Parses the leading comments of a view.
fn parse(name: &str, sql: &str, file: Option<PathBuf>) -> ViewDefinition {
    let mut columns: BTreeMap<String, ColumnNote> = BTreeMap::new();
    let (mut description, mut step, mut column) = (Vec::new(), false, None::<String>);
    let head = sql.lines().map(str::trim_end).take_while(|line| line.starts_with("--") || line.is_empty());
    for (at, line) in head.enumerate() {
        let text = line.trim_start_matches('-');
        if at == 0 && text.trim() == "step" {
            step = true;
        } else if let Some((name, note)) = column_note(text) {
            columns.insert(name.clone(), note);
            column = Some(name);
        } else if text.starts_with("  ")
            && let Some(note) = column.as_ref().and_then(|name| columns.get_mut(name))
        {
            note.description = format!("{} {}", note.description, text.trim());
        } else if !text.trim().is_empty() && column.is_none() {
            description.push(text.trim());
        }
    }
    let (name, sql) = (name.to_owned(), sql.to_owned());
    ViewDefinition { name, description: description.join(" "), columns, step, sql, file }
}

/// Word that marks a column as personal.
const PERSONAL: &str = "personal";

/// Parses a note such as ` spend: Revenue …` or ` email (personal): The address …`. A personal column needs
/// no description and no colon.
fn column_note(text: &str) -> Option<(String, ColumnNote)> {
    let text = text.trim();
    let note = |name: &str, description: &str, personal| {
        (name.to_owned(), ColumnNote { description: description.trim().to_owned(), personal })
    };
    if let Some((name, mark)) = text.split_once('(').map(|(name, mark)| (name.trim_end(), mark.trim_start()))
        && is_feature_name(name)
    {
        let (word, description) = mark.split_once(')').unwrap_or((mark, ""));
        let (word, description) = (word.trim(), description.trim_start().trim_start_matches(':'));
        // A misspelled mark must not make a personal column public.
        if word.len().abs_diff(PERSONAL.len()) > 2 || near::most_similar(word, [PERSONAL]).is_empty() {
            return None;
        }
        return Some(note(name, description, true));
    }
    let (name, description) = text.split_once(": ")?;
    (is_feature_name(name) && !description.is_empty()).then(|| note(name, description, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_describe_views_and_columns() {
        let text = "-- First line\n-- and second.\n--\n-- spend: Revenue\n--   of a month.\n\
            -- email (personal): Address.\nSELECT 1 -- x: y\n";
        let view = parse("v", text, None);
        assert_eq!(view.description, "First line and second.");
        assert_eq!(view.columns["spend"].description, "Revenue of a month.");
        assert!(view.columns["email"].personal && !view.columns["spend"].personal && !view.step);
        assert!(parse("v", "-- step\nSELECT 1", None).step);
    }

    #[test]
    fn personal_mark_allows_variations() {
        for head in [
            "email (personal): The address.",
            "email (Personal)",
            "email(personal):",
            "email ( personal ) : x",
            "email (persnal): The address.",
            "email (personal) The address.",
            "email (personal",
        ] {
            let view = parse("v", &format!("-- A view.\n-- {head}\nSELECT 1"), None);
            let note = view.columns.get("email").expect(head);
            let expected = if head.contains("The") {
                "The address."
            } else {
                head.split_once(": ").map_or("", |(_, x)| x)
            };
            assert!(note.personal && note.description == expected, "{head}: {note:?}");
        }
        let view = parse(
            "v",
            "-- A view (personal).\n-- email\n-- note (of the shop): x\n-- offers (personalized): x\n\
             SELECT 1",
            None,
        );
        assert!(view.columns.is_empty(), "{view:?}");
    }

    #[test]
    fn built_in_views_have_descriptions() {
        for view in built_in() {
            assert!(!view.description.is_empty(), "{}", view.name);
            assert!(view.step || !view.columns.is_empty(), "{}", view.name);
        }
    }

    #[test]
    fn folders_add_and_replace_but_take_no_table_names() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("rfm.sql"), "SELECT 1").expect("written");
        std::fs::write(folder.path().join("vip.sql"), "SELECT 2").expect("written");
        let views = load(Some(folder.path()), []).expect("loads");
        let names: Vec<_> = views.iter().map(|view| view.name.as_str()).collect();
        assert_eq!(names, ["profile", "rfm", "behavior", "rfm_values", "rfm_edges", "vip"]);
        assert_eq!(views[1].sql, "SELECT 1");
        // Parquet files may have SQL of their own, but not the name of a built-in view.
        assert!(load(Some(folder.path()), [&"vip".to_owned()]).is_ok());
        assert!(matches!(load(Some(folder.path()), [&"rfm".to_owned()]), Err(ViewFileError::Taken { .. })));
        std::fs::write(folder.path().join("orders.sql"), "SELECT 2").expect("written");
        assert!(matches!(load(Some(folder.path()), []), Err(ViewFileError::Taken { .. })));
        assert!(matches!(load(None, [&"segments".to_owned()]), Err(ViewFileError::Taken { .. })));
    }
}
