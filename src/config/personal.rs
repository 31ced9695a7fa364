//! Columns that the configuration declares as personal data, and columns that cannot be personal. Whether a
//! view has the column is checked elsewhere.

use std::fmt;

use serde::Deserialize;

use super::Config;

/// A reference to a column of a view: `view.column`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ColumnRef {
    /// Name of the view.
    pub view: String,
    /// Name of the column.
    pub column: String,
}

impl TryFrom<String> for ColumnRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('.') {
            Some((view, column)) if !view.is_empty() && !column.is_empty() => {
                Ok(Self { view: view.to_owned(), column: column.to_owned() })
            }
            _ => Err(format!("`{text}` is not a column of a view; write view.column")),
        }
    }
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.view, self.column)
    }
}

/// Columns that segments, lists and figures show to every caller, by view.
const EXPOSED: [(&str, &[&str]); 2] = [
    ("rfm", &["segment", "monetary", "r_score", "f_score", "m_score"]),
    ("churn", &["probability", "risk", "value_at_risk"]),
];

/// Returns the reason why `column` of `view` cannot be personal: answers show it to every caller. Returns
/// `None` if it can. Names are those of features.
#[must_use]
pub fn shown_to_all(view: &str, column: &str) -> Option<&'static str> {
    if column == "customer_id" {
        return Some("the id is part of every answer; use pseudonymous ids in the raw data instead");
    }
    let mut exposed = EXPOSED.iter().filter(|(known, _)| *known == view);
    if exposed.any(|(_, columns)| columns.contains(&column)) {
        return Some("segments, and the order and the filters of lists, show the column to every caller");
    }
    None
}

impl Config {
    /// Returns the columns declared as personal. A service masks them also in snapshots built before the
    /// declaration.
    #[must_use]
    pub fn personal(&self) -> Vec<ColumnRef> {
        let of_customers = self.raw.customers.personal.iter();
        let of_profile =
            of_customers.map(|column| ColumnRef { view: "profile".to_owned(), column: column.clone() });
        of_profile.chain(self.views.personal.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_columns_of_segments_and_lists_cannot_be_personal() {
        for (view, column) in [("profile", "customer_id"), ("rfm", "monetary"), ("churn", "probability")] {
            assert!(shown_to_all(view, column).is_some(), "{view}.{column}");
        }
        for (view, column) in [("churn", "reasons"), ("recommendations", "buy_again"), ("crm", "risk")] {
            assert_eq!(shown_to_all(view, column), None, "{view}.{column}");
        }
    }

    #[test]
    fn column_reference_is_parsed() {
        let text = "[views]\npersonal = [\"crm.mail\"]\n[raw.customers]\npersonal = [\"email\"]";
        let config = Config::parse(text, "larder.toml", []).expect("valid");
        assert_eq!(
            config.personal().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["profile.email", "crm.mail"]
        );
        for wrong in ["", "mail", ".mail", "crm."] {
            assert!(
                ColumnRef::try_from(wrong.to_owned()).is_err_and(|why| why.contains("view.column")),
                "{wrong}"
            );
        }
    }
}
